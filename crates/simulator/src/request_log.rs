//! Every request to the API, without secrets: bodies are never kept, and of the headers only the client token.

use std::collections::{BTreeMap, VecDeque};

use crate::admin::{Counts, LogEntry};

/// How many requests are kept.
const KEPT: usize = 200_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct RequestLog {
    entries: VecDeque<LogEntry>,
    last_sequence: u64,
}

/// Selects requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Only requests with a greater number.
    pub since: u64,
    pub operation: Option<String>,
    pub method: Option<String>,
    pub access_key: Option<String>,
    /// Only finished requests.
    pub finished: bool,
}

impl RequestLog {
    /// Adds a request. Returns its number.
    pub(crate) fn add(&mut self, mut entry: LogEntry) -> u64 {
        self.last_sequence += 1;
        entry.sequence = self.last_sequence;
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
        self.last_sequence
    }

    /// Returns the request of that number, unless it was discarded.
    pub(crate) fn entry(&mut self, sequence: u64) -> Option<&mut LogEntry> {
        let first = self.entries.front()?.sequence;
        self.entries
            .get_mut(usize::try_from(sequence.checked_sub(first)?).ok()?)
    }

    pub(crate) fn last_sequence(&self) -> u64 {
        self.last_sequence
    }

    /// Discards the requests. The numbers continue, so that a request in progress is not taken for a later one.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    pub(crate) fn select<'a>(&'a self, filter: &'a Filter) -> impl Iterator<Item = &'a LogEntry> {
        // The numbers are consecutive, so the entries up to `since` need not be visited: there may be very many.
        let first = self.entries.front().map_or(0, |entry| entry.sequence);
        let passed = usize::try_from(filter.since.saturating_add(1).saturating_sub(first)).unwrap_or(usize::MAX);
        self.entries.range(passed.min(self.entries.len())..).filter(|entry| {
            entry.sequence > filter.since
                && (filter.operation.is_none() || filter.operation == entry.operation)
                && filter.method.as_ref().is_none_or(|method| *method == entry.method)
                && (filter.access_key.is_none() || filter.access_key == entry.access_key)
                && (entry.finished || !filter.finished)
        })
    }

    pub(crate) fn counts(&self, filter: &Filter) -> Counts {
        let mut counts = Counts {
            last_sequence: self.last_sequence,
            ..Counts::default()
        };
        let count = |map: &mut BTreeMap<String, u64>, key: &str| *map.entry(key.to_owned()).or_default() += 1;
        for entry in self.select(filter) {
            counts.total += 1;
            count(
                &mut counts.by_operation,
                entry.operation.as_deref().unwrap_or("Unknown"),
            );
            count(&mut counts.by_method, &entry.method);
            if let Some(code) = &entry.error_code {
                count(&mut counts.by_error_code, code);
            }
        }
        counts
    }
}
