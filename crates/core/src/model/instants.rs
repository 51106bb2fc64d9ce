//! Instants of the process. Only their order counts, so states that differ in nothing else become one.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::api::ObjectStatus;
use crate::cache::Listing;
use crate::model::CONFIRMATION_PERIOD;
use crate::model::cloud::{at, second};
use crate::model::kinds::Modelled;
use crate::model::world::{CrKnowledge, ModelWorld, StartedQuery, kept_entry, kept_known};
use crate::object_state::ObjectState;

/// The deadlines of all recorded creations whose outcome is still open.
pub(crate) fn unresolved(status: &ObjectStatus) -> impl Iterator<Item = u16> + use<> {
    let given_up = status.past_intents.iter().filter(|past| past.given_up);
    let open = status.intent.iter().map(|intent| &intent.deadline);
    let deadlines: Vec<_> = given_up.map(|past| &past.deadline).chain(open).collect();
    let deadlines: Vec<u16> = deadlines.into_iter().map(|deadline| second(deadline.0)).collect();
    deadlines.into_iter()
}

impl<K: Modelled> ModelWorld<K> {
    /// A moment later than all that has happened.
    pub(crate) fn instant(&self, base: Instant) -> Instant {
        let all = self.asked_at().into_iter().chain(self.process.known.seen_at());
        let next = all.max().unwrap_or(base) + Duration::from_micros(1);
        next.max(base + Duration::from_secs(self.now.into()))
    }

    /// All instants from which on an observation counts for a reader.
    fn asked_at(&self) -> Vec<Instant> {
        let process = &self.process;
        let mut all = process.known.requested_since();
        all.push(process.started);
        all.extend(process.queries.iter().map(|query| query.started));
        all.extend(process.seats.iter().filter_map(|seat| match &seat.heard {
            CrKnowledge::Known(entry, _) => entry.triggered_at,
            CrKnowledge::Listed(_) | CrKnowledge::Nothing => None,
        }));
        all
    }

    /// Reduces instants to their order, since they are only compared. Observations are compared with requests, requests
    /// with the ends of confirmation periods, a list with the end of a creation. States that differ in nothing else
    /// become one.
    pub(crate) fn reduce_instants(&mut self, base: Instant) {
        let asked = self.asked_at();
        let ends = self.records().filter_map(|object| K::confirmed_at(&object.status));
        let mut period_ends: Vec<Instant> = ends
            .map(|end| second(end.0))
            .filter(|end| *end <= self.now)
            .map(|end| base + Duration::from_secs(end.into()))
            .collect();
        period_ends.push(base);
        let mut marks: Vec<Instant> = asked.into_iter().chain(period_ends.iter().copied()).collect();
        marks.sort_unstable();
        marks.dedup();
        let (mut last, mut rank) = (base, 0);
        let places: Vec<Instant> = marks
            .iter()
            .map(|mark| {
                rank += 1;
                if period_ends.contains(mark) {
                    (last, rank) = (*mark, 0);
                }
                last + Duration::from_micros(rank)
            })
            .collect();
        // An observation between two marks counts as made at the first of them.
        let place = |instant: Instant| match marks.partition_point(|mark| *mark <= instant) {
            0 => base,
            after => places[after - 1],
        };
        let mut proofs: Vec<u16> = self
            .records()
            .flat_map(|object| unresolved(K::object(&object.status)))
            .flat_map(|deadline| [deadline + 1, deadline + CONFIRMATION_PERIOD + 1])
            .collect();
        proofs.sort_unstable();
        let proved = |started: Timestamp| {
            let proved = proofs.partition_point(|proof| *proof <= second(started));
            at(proved.checked_sub(1).map_or(0, |proof| proofs[proof]))
        };
        let process = &mut self.process;
        process.started = place(process.started);
        if let Some(known) = process.known.with_times(place, proved) {
            process.known = kept_known::<K>(known);
        }
        let moved = |query: &&mut Arc<StartedQuery<K>>| query.started != place(query.started);
        for query in process.queries.iter_mut().filter(moved) {
            *query = Arc::new(StartedQuery {
                query: query.query.clone(),
                started: place(query.started),
                second: query.second,
                list: query.list.as_ref().map(|list| Listing {
                    items: list.items.clone(),
                    complete: list.complete,
                }),
                object: query.object.clone(),
            });
        }
        for seat in &mut process.seats {
            if let CrKnowledge::Known(entry, latest) = &seat.heard
                && entry.triggered_at != entry.triggered_at.map(place)
            {
                let (mut entry, latest) = (ObjectState::clone(entry), latest.clone());
                entry.triggered_at = entry.triggered_at.map(place);
                seat.heard = CrKnowledge::Known(kept_entry(entry), latest);
            }
        }
    }
}
