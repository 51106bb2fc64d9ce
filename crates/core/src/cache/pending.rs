//! The queries that readers wait for. To add, find or answer one costs the same, however many wait: at a bulk deletion all
//! objects do.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Bound;

use tokio::time::Instant;

use crate::cache::query::{Query, ReaderKey, Urgency};
use crate::spare_capacity;

/// What can answer a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum AnsweredBy {
    /// A LIST, or a GET.
    List,
    /// Tags of all objects, or of this one.
    Tags,
    /// A GET alone.
    Get,
}

/// The readers of one query.
#[derive(Clone)]
struct QueryReaders<K> {
    /// By reader: only an answer to a request that is started then or later counts.
    since: HashMap<K, Instant>,
    /// Of the most urgent reader.
    urgency: Urgency,
    /// The latest of the times, also of readers that wait no longer.
    latest: Instant,
    /// `None` for queries for the whole collection.
    answered_by: Option<AnsweredBy>,
}

/// See the module.
#[derive(Clone)]
pub(super) struct PendingQueries<K> {
    by_query: HashMap<Query, QueryReaders<K>>,
    by_reader: HashMap<K, Vec<Query>>,
    /// The queries for one object, in the order in which they are sent.
    singles: BTreeSet<(Urgency, AnsweredBy, Query)>,
    /// How many of them a LIST can answer.
    listable: usize,
}

impl<K> Default for PendingQueries<K> {
    fn default() -> Self {
        Self {
            by_query: HashMap::new(),
            by_reader: HashMap::new(),
            singles: BTreeSet::new(),
            listable: 0,
        }
    }
}

impl<K: ReaderKey> PendingQueries<K> {
    pub(super) fn is_empty(&self) -> bool {
        self.by_query.is_empty()
    }

    /// Whether a reader waits for this query.
    pub(super) fn has(&self, query: &Query) -> bool {
        self.by_query.contains_key(query)
    }

    /// The number of readers of a query.
    pub(super) fn readers(&self, query: &Query) -> usize {
        self.by_query.get(query).map_or(0, |readers| readers.since.len())
    }

    /// The number of objects that a LIST could answer for.
    pub(super) fn listable(&self) -> usize {
        self.listable
    }

    /// How urgent a query is: that for the collection as the most urgent of all, that for all tags as those for tags.
    pub(super) fn urgency(&self, query: &Query) -> Urgency {
        let own = self.by_query.get(query).map(|waiting| waiting.urgency);
        let any = match query {
            Query::Collection => self.singles.first().map(|(urgency, ..)| *urgency),
            Query::AllTags => self.singles(&[AnsweredBy::Tags]).next().map(|(urgency, _)| urgency),
            Query::Object(_) | Query::Whole(_) | Query::Tags(_) => None,
        };
        own.into_iter().chain(any).min().unwrap_or(Urgency::Background)
    }

    /// Adds a reader. If it waits already, the later time counts.
    pub(super) fn add(
        &mut self,
        reader: &K,
        query: Query,
        since: Instant,
        urgency: Urgency,
        answered_by: impl FnOnce(&Query, Instant) -> Option<AnsweredBy>,
    ) {
        let mut waiting = self.take(&query).unwrap_or_else(|| QueryReaders {
            since: HashMap::with_capacity(1),
            urgency,
            latest: since,
            answered_by: None,
        });
        waiting.urgency = waiting.urgency.min(urgency);
        let of_reader = waiting.since.entry(reader.clone()).or_insert(since);
        *of_reader = since.max(*of_reader);
        waiting.latest = waiting.latest.max(since);
        waiting.answered_by = answered_by(&query, waiting.latest);
        let queries = self.by_reader.entry(reader.clone()).or_default();
        if !queries.contains(&query) {
            queries.push(query.clone());
        }
        self.put(query, waiting);
    }

    /// The queries for one object that these can answer, in the order in which they are sent.
    pub(super) fn singles(&self, kinds: &[AnsweredBy]) -> impl Iterator<Item = (Urgency, &Query)> {
        let lowest = || Query::Object(String::new());
        let ranges = Urgency::ALL
            .into_iter()
            .flat_map(move |urgency| kinds.iter().map(move |kind| (urgency, *kind)));
        let ranges = ranges.flat_map(move |(urgency, kind)| {
            let of_kind = self
                .singles
                .range((Bound::Included((urgency, kind, lowest())), Bound::Unbounded));
            of_kind.take_while(move |(its_urgency, its_kind, _)| (*its_urgency, *its_kind) == (urgency, kind))
        });
        ranges.map(|(urgency, _, query)| (*urgency, query))
    }

    /// The ids of the objects that readers wait for.
    pub(super) fn objects(&self) -> impl Iterator<Item = &String> {
        self.singles.iter().filter_map(|(_, _, query)| match query {
            Query::Object(id) => Some(id),
            Query::Whole(_) | Query::Tags(_) | Query::AllTags | Query::Collection => None,
        })
    }

    /// Removes the readers of a query whose answer was started at this time. Returns them.
    pub(super) fn answer(&mut self, query: &Query, started: Instant, answered: &mut HashSet<K>) {
        let Some(mut waiting) = self.take(query) else { return };
        waiting.since.retain(|reader, since| {
            let is_answered = *since <= started;
            if is_answered {
                drop_query(&mut self.by_reader, reader, query);
                answered.insert(reader.clone());
            }
            !is_answered
        });
        if !waiting.since.is_empty() {
            self.put(query.clone(), waiting);
        }
        self.release();
    }

    /// The same for all queries.
    pub(super) fn answer_all(&mut self, started: Instant, answered: &mut HashSet<K>) {
        let queries: Vec<Query> = self.by_query.keys().cloned().collect();
        for query in queries {
            self.answer(&query, started, answered);
        }
    }

    /// Removes a reader from all queries.
    pub(super) fn forget(&mut self, reader: &K) {
        for query in self.by_reader.remove(reader).into_iter().flatten() {
            if let Some(mut waiting) = self.take(&query) {
                waiting.since.remove(reader);
                if !waiting.since.is_empty() {
                    self.put(query, waiting);
                }
            }
        }
        self.release();
    }

    fn release(&mut self) {
        spare_capacity::release(&mut self.by_query);
        spare_capacity::release(&mut self.by_reader);
    }

    /// Determines again what can answer each query, after a LIST.
    pub(super) fn reclassify(&mut self, answered_by: impl Fn(&Query, Instant) -> Option<AnsweredBy>) {
        (self.singles, self.listable) = (BTreeSet::new(), 0);
        for (query, waiting) in &mut self.by_query {
            waiting.answered_by = answered_by(query, waiting.latest);
            if let Some(kind) = waiting.answered_by {
                self.listable += usize::from(kind == AnsweredBy::List);
                self.singles.insert((waiting.urgency, kind, query.clone()));
            }
        }
    }

    fn take(&mut self, query: &Query) -> Option<QueryReaders<K>> {
        let waiting = self.by_query.remove(query)?;
        if let Some(kind) = waiting.answered_by {
            self.singles.remove(&(waiting.urgency, kind, query.clone()));
            self.listable -= usize::from(kind == AnsweredBy::List);
        }
        Some(waiting)
    }

    fn put(&mut self, query: Query, waiting: QueryReaders<K>) {
        if let Some(kind) = waiting.answered_by {
            self.singles.insert((waiting.urgency, kind, query.clone()));
            self.listable += usize::from(kind == AnsweredBy::List);
        }
        self.by_query.insert(query, waiting);
    }
}

fn drop_query<K: ReaderKey>(by_reader: &mut HashMap<K, Vec<Query>>, reader: &K, query: &Query) {
    if let Some(queries) = by_reader.get_mut(reader) {
        queries.retain(|other| other != query);
        if queries.is_empty() {
            by_reader.remove(reader);
        }
    }
}

#[cfg(test)]
impl<K: ReaderKey> PendingQueries<K> {
    /// All waiting readers, for the model.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &Query, Instant)> {
        let waiting = self.by_query.iter();
        waiting.flat_map(|(query, waiting)| waiting.since.iter().map(move |(reader, since)| (reader, query, *since)))
    }

    /// The times from which on answers count, for the model.
    pub(super) fn since_mut(&mut self) -> impl Iterator<Item = &mut Instant> {
        self.by_query
            .values_mut()
            .flat_map(|waiting| waiting.since.values_mut())
    }
}
