//! Records which held objects are missing in the cloud, and which read found it. This distinguishes many deletions at
//! once from as many single ones. A loss still counts after its object was recreated.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::cache::query::ReaderKey;

/// When a held object was first found missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostAt {
    /// By the first LIST of this process, or when the object was first held after it. The object may have been deleted
    /// at any time before, so all of these count as deleted at once. The value is the start of the read that found it.
    Start(Instant),
    /// By a later read, which started then.
    Read(Instant),
}

impl LostAt {
    fn found(self) -> Instant {
        match self {
            Self::Start(found) | Self::Read(found) => found,
        }
    }
}

/// Whether a held object that is missing counts as lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum IfMissing {
    /// It was present at the last check.
    #[default]
    Lost,
    /// Its status already reports it as missing.
    Reported,
    /// Its creation is not confirmed yet, or it is being deleted.
    Expected,
}

/// A loss whose cloud object is no longer held, because its replacement is being created.
#[derive(Clone)]
struct PastLoss<K> {
    reader: K,
    found: Instant,
}

/// See the module. `K` names a reader.
#[derive(Clone)]
pub(crate) struct Losses<K> {
    lost: HashMap<String, LostAt>,
    /// Contains no `IfMissing::Lost`.
    exempt: HashMap<String, IfMissing>,
    /// By id: the last loss of each reader, until the reader is forgotten.
    past: HashMap<String, PastLoss<K>>,
    past_ids: HashMap<K, String>,
    first_list: Option<Instant>,
}

impl<K: ReaderKey> Losses<K> {
    /// Starts without losses.
    pub(crate) fn new() -> Self {
        Self {
            lost: HashMap::new(),
            exempt: HashMap::new(),
            past: HashMap::new(),
            past_ids: HashMap::new(),
            first_list: None,
        }
    }

    /// Records that a complete LIST has ended, which started then.
    pub(crate) fn listed(&mut self, started: Instant) {
        self.first_list.get_or_insert(started);
    }

    /// Records that a read, which started then, found a held object missing. The first such read counts.
    pub(crate) fn found_missing(&mut self, id: &str, started: Instant) {
        let at = match self.first_list {
            Some(first) if started > first => LostAt::Read(started),
            _ => LostAt::Start(started),
        };
        self.lost.entry(id.to_owned()).or_insert(at);
    }

    /// Records that an object is held from now on. The last LIST, which started at `listed`, does not contain it.
    pub(crate) fn held_missing(&mut self, id: &str, listed: Instant) {
        self.lost.entry(id.to_owned()).or_insert(LostAt::Start(listed));
    }

    /// Records that the object is held from now on: if it is missing, it counts for its new holder only.
    pub(crate) fn held(&mut self, id: &str) {
        if let Some(past) = self.past.remove(id) {
            self.past_ids.remove(&past.reader);
        }
    }

    /// Sets whether the object counts as lost if it is missing.
    pub(crate) fn if_missing(&mut self, id: &str, kind: IfMissing) {
        match kind {
            IfMissing::Lost => self.exempt.remove(id),
            exempt => self.exempt.insert(id.to_owned(), exempt),
        };
    }

    /// Records that the object exists.
    pub(crate) fn seen(&mut self, id: &str) {
        self.lost.remove(id);
        self.held(id);
        if self.exempt.get(id) == Some(&IfMissing::Reported) {
            self.exempt.remove(id);
        }
    }

    /// Records that the reader no longer holds the object. Its loss still counts.
    pub(crate) fn released(&mut self, reader: &K, id: &str) {
        let lost = self.lost.remove(id);
        let is_exempt = self.exempt.remove(id).is_some();
        if let Some(lost) = lost.filter(|_| !is_exempt) {
            self.forget(reader);
            self.past_ids.insert(reader.clone(), id.to_owned());
            let (reader, found) = (reader.clone(), lost.found());
            self.past.insert(id.to_owned(), PastLoss { reader, found });
        }
    }

    /// Removes the past loss of a reader that no longer exists.
    pub(crate) fn forget(&mut self, reader: &K) {
        if let Some(id) = self.past_ids.remove(reader) {
            self.past.remove(&id);
        }
    }

    /// Returns when the object was lost; `None` if it exists, or if its absence does not count as a loss.
    pub(crate) fn lost_at(&self, id: &str) -> Option<LostAt> {
        self.lost.get(id).copied().filter(|_| !self.exempt.contains_key(id))
    }

    /// Counts the readers that lost an object at once with a loss at `at`: at most `window` before or after it. Each
    /// reader counts once, even if its replacement is lost as well.
    pub(crate) fn with(&self, at: LostAt, window: Duration, ids: &HashMap<K, Arc<str>>) -> usize {
        let is_with = |other: LostAt| match (at, other) {
            (LostAt::Start(_), LostAt::Start(_)) => true,
            (LostAt::Read(one), LostAt::Read(other)) => is_near(one, other, window),
            (LostAt::Start(_), LostAt::Read(read)) | (LostAt::Read(read), LostAt::Start(_)) => {
                self.first_list.is_some_and(|first| is_near(first, read, window))
            }
        };
        let is_lost = |id: &str| self.lost_at(id).is_some_and(is_with);
        let lost = self.lost.keys().filter(|id| is_lost(id)).count();
        let past = self.past_near(at, window);
        lost + past
            .filter(|reader| !ids.get(reader).is_some_and(|id| is_lost(id)))
            .count()
    }

    /// Counts the readers with a past loss near `at` that hold no object now, or one already reported as missing.
    pub(crate) fn without_object(&self, at: LostAt, window: Duration, ids: &HashMap<K, Arc<str>>) -> usize {
        let is_reported = |id: &Arc<str>| self.exempt.get(&**id) == Some(&IfMissing::Reported);
        let past = self.past_near(at, window);
        past.filter(|reader| ids.get(reader).is_none_or(is_reported)).count()
    }

    /// Compares the times of the reads: `LostAt::Start` alone would count all losses of a long-running process.
    fn past_near(&self, at: LostAt, window: Duration) -> impl Iterator<Item = &K> {
        let near = move |past: &&PastLoss<K>| is_near(at.found(), past.found, window);
        self.past.values().filter(near).map(|past| &past.reader)
    }

    /// Counts the objects already reported as missing.
    pub(crate) fn reported(&self) -> usize {
        let reported = self.exempt.values().filter(|kind| **kind == IfMissing::Reported);
        reported.count()
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.lost.is_empty() && self.exempt.is_empty() && self.past.is_empty() && self.past_ids.is_empty()
    }
}

fn is_near(one: Instant, other: Instant, window: Duration) -> bool {
    let apart = one
        .saturating_duration_since(other)
        .max(other.saturating_duration_since(one));
    apart <= window
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    fn count(losses: &Losses<&'static str>, at: LostAt) -> usize {
        losses.with(at, WINDOW, &HashMap::new())
    }

    #[tokio::test(start_paused = true)]
    async fn only_losses_within_the_window_count_together() {
        let began = Instant::now();
        let mut losses = Losses::<&'static str>::new();
        losses.listed(began);
        for (id, after) in [("a", 20), ("b", 30), ("c", 31), ("d", 60)] {
            losses.found_missing(id, began + Duration::from_secs(after));
        }
        let at = |id| losses.lost_at(id).expect("lost");
        for (id, together) in [("a", 2), ("b", 3), ("c", 2), ("d", 1)] {
            assert_eq!(count(&losses, at(id)), together, "{id}");
        }
        // Its time remains that of the first read that found it missing.
        losses.found_missing("a", began + Duration::from_secs(60));
        assert_eq!(count(&losses, losses.lost_at("a").expect("lost")), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn entries_missing_at_the_start_count_together() {
        let began = Instant::now();
        let mut losses = Losses::<&'static str>::new();
        losses.listed(began);
        losses.found_missing("listed", began);
        tokio::time::advance(Duration::from_secs(3600)).await;
        losses.held_missing("held later", began);
        losses.found_missing("lost much later", Instant::now());
        assert_eq!(count(&losses, LostAt::Start(began)), 2);
        losses.found_missing("lost soon after", began + Duration::from_secs(9));
        assert_eq!(count(&losses, LostAt::Start(began)), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn reported_or_expected_missing_entries_are_no_losses() {
        let began = Instant::now();
        let mut losses = Losses::<&'static str>::new();
        losses.listed(began);
        for (id, kind) in [
            ("r", IfMissing::Reported),
            ("e", IfMissing::Expected),
            ("l", IfMissing::Lost),
        ] {
            losses.if_missing(id, kind);
            losses.found_missing(id, began);
        }
        assert_eq!(count(&losses, LostAt::Start(began)), 1);
        assert_eq!((losses.lost_at("r"), losses.lost_at("e")), (None, None));
        assert_eq!(losses.reported(), 1);
        // Once it is back, it can be lost again.
        losses.seen("r");
        losses.found_missing("r", began);
        assert_eq!(count(&losses, LostAt::Start(began)), 2);
        for id in ["r", "e", "l"] {
            losses.if_missing(id, IfMissing::Expected);
            losses.released(&id, id);
        }
        assert!(losses.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_loss_of_a_released_object_counts_until_the_window_ends() {
        let began = Instant::now();
        let after = |seconds| began + Duration::from_secs(seconds);
        let mut losses = Losses::new();
        losses.listed(began);
        for (reader, id, found) in [("a", "1", 20), ("b", "2", 25)] {
            losses.found_missing(id, after(found));
            losses.released(&reader, id);
        }
        for (now, together) in [(26, 3), (30, 3), (31, 2), (35, 2), (36, 1)] {
            losses.found_missing("3", after(now));
            assert_eq!(count(&losses, losses.lost_at("3").expect("lost")), together, "{now}");
            losses.seen("3");
        }
        // An object that is back no longer counts as lost.
        losses.seen("1");
        assert_eq!(count(&losses, LostAt::Read(after(26))), 1);
        losses.forget(&"b");
        assert!(losses.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_also_loses_its_replacement_counts_once() {
        let at = LostAt::Read(Instant::now());
        let mut losses = Losses::new();
        losses.listed(at.found());
        losses.found_missing("1", at.found());
        losses.released(&"a", "1");
        let total = |losses: &Losses<&'static str>, ids: &HashMap<&'static str, Arc<str>>| {
            let held = ids.len() - losses.reported();
            let without_object = losses.without_object(at, WINDOW, ids);
            (losses.with(at, WINDOW, ids), held + without_object)
        };
        assert_eq!(total(&losses, &HashMap::new()), (1, 1));
        let ids = HashMap::from([("a", "2".into())]);
        assert_eq!(total(&losses, &ids), (1, 1));
        losses.found_missing("2", at.found());
        assert_eq!(total(&losses, &ids), (1, 1));
        losses.if_missing("2", IfMissing::Reported);
        assert_eq!(total(&losses, &ids), (1, 1));
        losses.if_missing("2", IfMissing::Lost);
        losses.released(&"a", "2");
        assert_eq!(total(&losses, &HashMap::new()), (1, 1));
        // Another reader holds it now: the loss counts for that one only.
        losses.held("2");
        assert!(losses.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_recreated_loss_does_not_count_with_a_later_one() {
        let began = Instant::now();
        let mut losses = Losses::new();
        losses.listed(began);
        let later = began + Duration::from_secs(3600);
        losses.held_missing("1", began);
        losses.released(&"a", "1");
        losses.held_missing("2", later);
        assert_eq!(count(&losses, losses.lost_at("2").expect("lost")), 1);
        losses.released(&"b", "2");
        losses.held_missing("3", later + WINDOW);
        assert_eq!(count(&losses, losses.lost_at("3").expect("lost")), 2);
    }
}
