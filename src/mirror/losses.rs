//! Which held objects are missing in the cloud, and since which read: many deletions at once are told from the same number
//! one after the other.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// When a held object was first found missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostAt {
    /// By the first LIST of this process, or when the object was first held after it: it may have been deleted at any time
    /// before, so all of these count as deleted at once.
    Start,
    /// By a read that was started then.
    Read(Instant),
}

/// What it means that a held object is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum IfMissing {
    /// It was present at the last check.
    #[default]
    Lost,
    /// Its status has reported that before.
    Reported,
    /// Its creation is not confirmed yet, or it is being deleted.
    Expected,
}

/// See the module.
#[derive(Clone, Default)]
pub(super) struct Losses {
    lost: HashMap<String, LostAt>,
    /// Without those for which it is `IfMissing::Lost`.
    exempt: HashMap<String, IfMissing>,
    first_list: Option<Instant>,
}

impl Losses {
    /// A complete LIST has ended that was started then.
    pub fn listed(&mut self, started: Instant) {
        self.first_list.get_or_insert(started);
    }

    /// A held object was found missing by a read that was started then; the first one counts.
    pub fn found_missing(&mut self, id: &str, started: Instant) {
        let at = match self.first_list {
            Some(first) if started > first => LostAt::Read(started),
            _ => LostAt::Start,
        };
        self.lost.entry(id.to_owned()).or_insert(at);
    }

    /// An object that the last LIST lacks is held from now on.
    pub fn held_missing(&mut self, id: &str) {
        self.lost.entry(id.to_owned()).or_insert(LostAt::Start);
    }

    /// Says what it means if the object is missing.
    pub fn if_missing(&mut self, id: &str, meaning: IfMissing) {
        match meaning {
            IfMissing::Lost => self.exempt.remove(id),
            exempt => self.exempt.insert(id.to_owned(), exempt),
        };
    }

    /// The object is there.
    pub fn seen(&mut self, id: &str) {
        self.lost.remove(id);
        if self.exempt.get(id) == Some(&IfMissing::Reported) {
            self.exempt.remove(id);
        }
    }

    /// Nobody holds the object any more.
    pub fn released(&mut self, id: &str) {
        self.lost.remove(id);
        self.exempt.remove(id);
    }

    /// When the object was lost; `None` if it is there, or if that it is missing is no loss.
    pub fn lost_at(&self, id: &str) -> Option<LostAt> {
        self.lost.get(id).copied().filter(|_| !self.exempt.contains_key(id))
    }

    /// How many were lost at once with one that was lost then: no further from it in time than `window`.
    pub fn with(&self, at: LostAt, window: Duration) -> usize {
        let is_near = |one: Instant, other: Instant| {
            let apart = one
                .saturating_duration_since(other)
                .max(other.saturating_duration_since(one));
            apart <= window
        };
        let is_with = |other: LostAt| match (at, other) {
            (LostAt::Start, LostAt::Start) => true,
            (LostAt::Read(one), LostAt::Read(other)) => is_near(one, other),
            (LostAt::Start, LostAt::Read(read)) | (LostAt::Read(read), LostAt::Start) => {
                self.first_list.is_some_and(|first| is_near(first, read))
            }
        };
        let counted = self.lost.iter().filter(|(id, _)| !self.exempt.contains_key(*id));
        counted.filter(|(_, other)| is_with(**other)).count()
    }

    /// How many were reported as missing before.
    pub fn reported(&self) -> usize {
        let reported = self.exempt.values().filter(|meaning| **meaning == IfMissing::Reported);
        reported.count()
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.lost.is_empty() && self.exempt.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn only_what_is_lost_within_the_window_is_lost_at_once() {
        let began = Instant::now();
        let mut losses = Losses::default();
        losses.listed(began);
        for (id, after) in [("a", 20), ("b", 30), ("c", 31), ("d", 60)] {
            losses.found_missing(id, began + Duration::from_secs(after));
        }
        let at = |id| losses.lost_at(id).expect("lost");
        for (id, together) in [("a", 2), ("b", 3), ("c", 2), ("d", 1)] {
            assert_eq!(losses.with(at(id), WINDOW), together, "{id}");
        }
        // It stays at the moment at which it was first found missing.
        losses.found_missing("a", began + Duration::from_secs(60));
        assert_eq!(losses.with(losses.lost_at("a").expect("lost"), WINDOW), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_missing_when_the_process_starts_is_lost_at_once_however_long_the_start_takes() {
        let began = Instant::now();
        let mut losses = Losses::default();
        losses.listed(began);
        losses.found_missing("listed", began);
        tokio::time::advance(Duration::from_secs(3600)).await;
        losses.held_missing("held later");
        losses.found_missing("lost much later", Instant::now());
        assert_eq!(losses.with(LostAt::Start, WINDOW), 2);
        losses.found_missing("lost soon after", began + Duration::from_secs(9));
        assert_eq!(losses.with(LostAt::Start, WINDOW), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_reported_before_or_is_expected_to_be_missing_is_no_loss() {
        let now = Instant::now();
        let mut losses = Losses::default();
        losses.listed(now);
        for (id, meaning) in [
            ("r", IfMissing::Reported),
            ("e", IfMissing::Expected),
            ("l", IfMissing::Lost),
        ] {
            losses.if_missing(id, meaning);
            losses.found_missing(id, now);
        }
        assert_eq!(losses.with(LostAt::Start, WINDOW), 1);
        assert_eq!((losses.lost_at("r"), losses.lost_at("e")), (None, None));
        assert_eq!(losses.reported(), 1);
        // Back again, it can be lost again.
        losses.seen("r");
        losses.found_missing("r", now);
        assert_eq!(losses.with(LostAt::Start, WINDOW), 2);
        for id in ["r", "e", "l"] {
            losses.released(id);
        }
        assert!(losses.is_empty());
    }
}
