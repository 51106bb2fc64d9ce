//! Which queries the readers wait for, and the fewest requests that answer them.

use std::collections::{BTreeSet, HashSet};

use tokio::time::Instant;
use vpn_cloud::CloudError;

use crate::cache::contents::{CacheContents, PendingQuery};
use crate::cache::query::{Query, ReaderKey, Remote};

/// The most GETs in progress at once for one collection. If more objects wait, a LIST is worth its cost.
pub(crate) const MAX_GETS: usize = 4;

impl<R: Remote, K: ReaderKey> CacheContents<R, K> {
    /// Requests an answer that is started at `since` or later. Returns whether it is known already: it may have arrived
    /// while the reader was busy.
    pub fn request(&mut self, reader: &K, query: Query, since: Instant) -> bool {
        let is_in = |id: &String| {
            self.entries
                .get(id.as_str())
                .is_some_and(|entry| entry.is_known_at(since))
        };
        if matches!(&query, Query::Object(id) if is_in(id)) {
            return true;
        }
        let same = |request: &PendingQuery<K>| request.reader == *reader && request.query == query;
        match self.pending.iter_mut().find(|request| same(request)) {
            Some(request) => request.since = request.since.max(since),
            None => self.pending.push(PendingQuery {
                reader: reader.clone(),
                query,
                since,
            }),
        }
        false
    }

    /// Returns the fewest queries that answer all pending ones, and marks them as in progress.
    pub fn next_queries(&mut self) -> Vec<Query> {
        let mut next_queries = Vec::new();
        let singles: BTreeSet<(u8, String)> = self
            .pending
            .iter()
            .filter_map(|request| match &request.query {
                Query::Object(id) if self.needs_get(id, request.since) => Some((2, id.clone())),
                Query::Object(id) => Some((0, id.clone())),
                Query::Tags(id) => Some((1, id.clone())),
                Query::Whole(id) => Some((2, id.clone())),
                Query::Collection | Query::AllTags => None,
            })
            .collect();
        let collection_requested = self.pending.iter().any(|request| request.query == Query::Collection);
        let waiting_objects = singles.iter().filter(|(kind, _)| *kind == 0).count();
        let pages = self.pages();
        if self.listed.is_none() || collection_requested || waiting_objects > MAX_GETS.max(pages) {
            if !self.pending.is_empty() {
                next_queries.extend(self.begin(Query::Collection));
            }
            if self.listed.is_none() {
                return next_queries;
            }
        }
        let listing = self.in_progress.contains(&Query::Collection);
        if std::mem::take(&mut self.tags_omitted) {
            next_queries.extend(self.begin(Query::AllTags));
        }
        let reads_all_tags = self.in_progress.contains(&Query::AllTags);
        for (kind, id) in singles {
            if self.reads_in_progress() >= MAX_GETS {
                break;
            }
            match kind {
                // The LIST in progress answers these.
                0 if listing && waiting_objects > MAX_GETS => {}
                // The query for all tags may answer these.
                1 if reads_all_tags => {}
                1 => next_queries.extend(self.begin(Query::Tags(id))),
                _ => next_queries.extend(self.begin(Query::Object(id))),
            }
        }
        while self.reads_in_progress() < MAX_GETS
            && let Some(id) = self.unread.pop_first()
        {
            next_queries.extend(self.begin(Query::Object(id)));
        }
        next_queries
    }

    /// Whether only a GET can answer a query for this object: LISTs lack the object or return it without all fields.
    fn needs_get(&self, id: &str, since: Instant) -> bool {
        let is_lacked = || self.listed.is_some_and(|(at, ..)| at >= since);
        match self.entries.get(id) {
            Some(entry) => entry.remote.is_partial(),
            None => self.missing.contains(id) || self.absences.contains_key(id) || is_lacked(),
        }
    }

    fn reads_in_progress(&self) -> usize {
        let is_of_one = |query: &&Query| !matches!(query, Query::Collection | Query::AllTags);
        self.in_progress.iter().filter(is_of_one).count()
    }

    /// Limits `unread` to the cost of the LIST that just ended. Keeps the ids that were read longest ago.
    pub(super) fn choose_unread(&mut self) {
        let most = MAX_GETS.max(self.pages());
        let mut unread: Vec<String> = std::mem::take(&mut self.unread).into_iter().collect();
        unread.sort_by_key(|id| self.entries.get(id.as_str()).map(|entry| entry.as_of));
        unread.truncate(most);
        self.unread.extend(unread);
    }

    /// Returns the number of pages of a LIST.
    pub(super) fn pages(&self) -> usize {
        self.entries.len() / 200 + 1
    }

    /// Marks a query as in progress. Returns it unless it was in progress already.
    pub fn begin(&mut self, query: Query) -> Option<Query> {
        self.in_progress.insert(query.clone()).then_some(query)
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

    /// Removes the pending queries that `asked` accepts. Returns their readers.
    pub(super) fn answer(&mut self, asked: impl Fn(&PendingQuery<K>) -> bool) -> HashSet<K> {
        let mut readers = HashSet::new();
        self.pending.retain(|request| {
            let is_answered = asked(request);
            if is_answered {
                readers.insert(request.reader.clone());
            }
            !is_answered
        });
        readers
    }

    pub(super) fn fail(&mut self, asked: impl Fn(&PendingQuery<K>) -> bool, error: &CloudError) -> HashSet<K> {
        let readers = self.answer(asked);
        for reader in &readers {
            self.failures.insert(reader.clone(), error.clone());
        }
        readers
    }
}
