//! Times and hashes of what the cache knows, for the model check: states that differ only in instants become one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::cache::contents::CacheContents;
use crate::cache::query::{ReaderKey, Remote};

impl<R: Remote, K: ReaderKey> CacheContents<R, K> {
    /// When the known answers were requested.
    pub(crate) fn seen_at(&self) -> Vec<Instant> {
        let seen = self.entries.values().map(|entry| entry.as_of);
        let listed = self.listed.iter().map(|(at, ..)| *at);
        let absent = self.absences.values().map(|absence| absence.at);
        seen.chain(listed).chain(absent).collect()
    }

    /// The earliest start that each pending query accepts.
    pub(crate) fn requested_since(&self) -> Vec<Instant> {
        self.pending.iter().map(|(_, _, since)| since).collect()
    }

    /// Returns a copy with each time replaced; `None` if all times stay the same.
    pub(crate) fn with_times(
        &self,
        place: impl Fn(Instant) -> Instant,
        listed: impl Fn(Timestamp) -> Timestamp,
    ) -> Option<Self> {
        let mut instants = self.seen_at().into_iter().chain(self.requested_since());
        let stays = |(_, started, _): (Instant, Timestamp, bool)| listed(started) == started;
        if self.listed.is_none_or(stays) && instants.all(|instant| place(instant) == instant) {
            return None;
        }
        let mut other = self.clone();
        let seen = other.entries.values_mut().map(|entry| &mut entry.as_of);
        let wanted = other.pending.since_mut();
        let absent = other.absences.values_mut().map(|absence| &mut absence.at);
        for instant in seen.chain(absent).chain(wanted) {
            *instant = place(*instant);
        }
        other.listed = other
            .listed
            .map(|(at, started, complete)| (place(at), listed(started), complete));
        Some(other)
    }
}

impl<R: Remote + std::hash::Hash, K: ReaderKey + Ord> std::hash::Hash for CacheContents<R, K> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let sorted = |map: &HashMap<Arc<str>, K>| map.clone().into_iter().collect::<BTreeMap<_, _>>();
        for (id, entry) in self.entries.iter().collect::<BTreeMap<_, _>>() {
            (
                id,
                entry.remote.get(),
                entry.as_of,
                entry.full,
                entry.tags_listed,
                entry.was_listed,
            )
                .hash(state);
        }
        self.listed.hash(state);
        self.absences.iter().collect::<BTreeMap<_, _>>().hash(state);
        self.missing.iter().collect::<BTreeSet<_>>().hash(state);
        sorted(&self.holders).hash(state);
        // The other indexes follow from these; the queries in progress follow from the pending ones.
        self.pending.iter().collect::<BTreeSet<_>>().hash(state);
    }
}
