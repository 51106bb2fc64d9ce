//! Which queries the readers wait for, and the fewest requests that answer them.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;
use vpn_cloud::CloudError;

use crate::cache::contents::CacheContents;
use crate::cache::pending::AnsweredBy;
use crate::cache::query::{Query, ReaderKey, Remote, Urgency};

/// Without a creation or deletion for so long, they have probably ended.
const QUIET: Duration = Duration::from_millis(250);

/// Between the beginnings of two LISTs meanwhile.
const BETWEEN_LISTS: Duration = Duration::from_secs(4);

/// The most GETs in progress at once for one collection. If more objects wait, a LIST is worth its cost.
pub(crate) const MAX_GETS: usize = 4;

impl<R: Remote, K: ReaderKey> CacheContents<R, K> {
    /// Requests an answer that is started at `since` or later. Returns whether it is known already: it may have arrived
    /// while the reader was busy.
    pub fn request(&mut self, reader: &K, query: Query, since: Instant, urgency: Urgency) -> bool {
        let is_in = |id: &String| {
            self.entries
                .get(id.as_str())
                .is_some_and(|entry| entry.is_known_at(since))
        };
        if matches!(&query, Query::Object(id) if is_in(id)) {
            return true;
        }
        let mut pending = std::mem::take(&mut self.pending);
        pending.add(reader, query, since, urgency, |query, since| {
            self.answered_by(query, since)
        });
        self.pending = pending;
        false
    }

    /// How long a LIST waits for the end of this process's creations and deletions: it confirms only those before it, and they
    /// may disturb it. It does not wait for all of many, since their readers would continue only after the last.
    pub(super) fn pause_before_list(&self, now: Instant) -> Option<Duration> {
        let (last, ..) = self.listed?;
        let begins = (self.wrote_at? + QUIET).min(last + BETWEEN_LISTS);
        begins.checked_duration_since(now).filter(|pause| !pause.is_zero())
    }

    /// Returns the fewest queries that answer all pending ones, and marks them as in progress.
    pub fn next_queries(&mut self) -> Vec<Query> {
        let mut next_queries = Vec::new();
        let collection_requested = self.pending.has(&Query::Collection);
        let waiting_objects = self.pending.listable();
        if self.listed.is_none() || collection_requested || waiting_objects > self.gets_per_list() {
            if !self.pending.is_empty() {
                next_queries.extend(self.begin_pending(Query::Collection));
            }
            if self.listed.is_none() {
                return next_queries;
            }
        }
        if std::mem::take(&mut self.tags_omitted) {
            next_queries.extend(self.begin_pending(Query::AllTags));
        }
        let mut kinds = vec![AnsweredBy::Get];
        // Else the query for all tags may answer these.
        if !self.in_progress.contains_key(&Query::AllTags) {
            kinds.insert(0, AnsweredBy::Tags);
        }
        // Else the LIST in progress answers these.
        if !self.in_progress.contains_key(&Query::Collection) || waiting_objects <= MAX_GETS {
            kinds.insert(0, AnsweredBy::List);
        }
        next_queries.extend(self.next_singles(&kinds));
        while self.reads_in_progress(Urgency::Background) < MAX_GETS
            && let Some(id) = self.unread.pop_first()
        {
            next_queries.extend(self.begin_pending(Query::Object(id)));
        }
        next_queries
    }

    /// Begins queries for one object, as many as may be in progress.
    fn next_singles(&mut self, kinds: &[AnsweredBy]) -> Vec<Query> {
        let mut begun = Vec::new();
        for (urgency, query) in self.pending.singles(kinds) {
            if self.reads_in_progress(urgency) + begun.len() >= MAX_GETS {
                break;
            }
            let read = match query {
                // A GET reads all fields.
                Query::Whole(id) => Query::Object(id.clone()),
                query => query.clone(),
            };
            if !self.in_progress.contains_key(&read) && !begun.iter().any(|(other, _)| *other == read) {
                begun.push((read, urgency));
            }
        }
        self.in_progress.extend(begun.iter().cloned());
        begun.into_iter().map(|(query, _)| query).collect()
    }

    /// What can answer a query; `None` for those for the whole collection.
    fn answered_by(&self, query: &Query, since: Instant) -> Option<AnsweredBy> {
        match query {
            Query::Object(id) if self.needs_get(id, since) => Some(AnsweredBy::Get),
            Query::Object(_) => Some(AnsweredBy::List),
            Query::Tags(_) => Some(AnsweredBy::Tags),
            Query::Whole(_) => Some(AnsweredBy::Get),
            Query::Collection | Query::AllTags => None,
        }
    }

    /// Determines again what can answer the pending queries, after a LIST.
    pub(super) fn reclassify_pending(&mut self) {
        let mut pending = std::mem::take(&mut self.pending);
        pending.reclassify(|query, since| self.answered_by(query, since));
        self.pending = pending;
    }

    /// Whether only a GET can answer a query for this object: LISTs lack the object or return it without all fields.
    fn needs_get(&self, id: &str, since: Instant) -> bool {
        let is_lacked = || self.listed.is_some_and(|(at, ..)| at >= since);
        match self.entries.get(id) {
            // An incomplete LIST may lack an object that is held, and leaves its entry.
            Some(entry) => entry.is_partial || (entry.as_of < since && is_lacked()),
            None => self.missing.contains(id) || self.absences.contains_key(id) || is_lacked(),
        }
    }

    /// The reads of one object that are in progress and no less urgent: others wait for writes, and must not block these.
    fn reads_in_progress(&self, urgency: Urgency) -> usize {
        let counts = |(query, its_urgency): &(&Query, &Urgency)| {
            !matches!(query, Query::Collection | Query::AllTags) && **its_urgency <= urgency
        };
        self.in_progress.iter().filter(counts).count()
    }

    /// Limits `unread` to the cost of the LIST that just ended. Keeps the ids that were read longest ago.
    pub(super) fn choose_unread(&mut self) {
        let most = self.gets_per_list();
        let mut unread: Vec<String> = std::mem::take(&mut self.unread).into_iter().collect();
        unread.sort_by_key(|id| self.entries.get(id.as_str()).map(|entry| entry.as_of));
        unread.truncate(most);
        self.unread.extend(unread);
    }

    /// How many GETs are worth their cost instead of a LIST: as many as it has pages, and at least a few.
    pub(super) fn gets_per_list(&self) -> usize {
        MAX_GETS.max(self.entries.len() / 200 + 1)
    }

    /// Marks a query as in progress. Returns it unless it was in progress already.
    pub fn begin(&mut self, query: Query, urgency: Urgency) -> Option<Query> {
        let is_new = !self.in_progress.contains_key(&query);
        is_new.then(|| {
            self.in_progress.insert(query.clone(), urgency);
            query
        })
    }

    /// The same for a query that is as urgent as its readers.
    fn begin_pending(&mut self, query: Query) -> Option<Query> {
        let urgency = self.pending.urgency(&query);
        self.begin(query, urgency)
    }

    /// How urgent a query in progress was when it became due.
    pub(super) fn urgency(&self, query: &Query) -> Urgency {
        self.in_progress.get(query).copied().unwrap_or(Urgency::Background)
    }

    pub(super) fn ended(&mut self, query: &Query) {
        self.in_progress.remove(query);
        if self.in_progress.is_empty() {
            self.tombstones.clear();
        }
    }

    /// Returns the failure of a query of this reader, once.
    pub fn take_failure(&mut self, reader: &K) -> Option<CloudError> {
        self.failures.remove(reader)
    }

    /// Removes the readers of these queries whose answer was started at this time. Returns them.
    pub(super) fn answer<'a>(&mut self, queries: impl IntoIterator<Item = &'a Query>, started: Instant) -> HashSet<K> {
        let mut readers = HashSet::new();
        for query in queries {
            self.pending.answer(query, started, &mut readers);
        }
        readers
    }

    /// The same after a failure, which each of the readers takes.
    pub(super) fn fail(&mut self, readers: HashSet<K>, error: &CloudError) -> HashSet<K> {
        for reader in &readers {
            self.failures.insert(reader.clone(), error.clone());
        }
        readers
    }
}
