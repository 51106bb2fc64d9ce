//! A query from the moment it is due. It starts with the permit for its first request: the longer it waits for that, the
//! more readers share its answer.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::cache::query::Urgency;

/// The longest that a query lets writes go first: with many writes it would wait until the last of them.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub struct RunningQuery {
    due: Instant,
    /// As an index of [`Urgency::ALL`].
    urgency: AtomicU8,
    started: Mutex<Option<(Instant, Option<Timestamp>)>>,
}

impl RunningQuery {
    /// A query that is due now.
    pub fn new(urgency: Urgency) -> Self {
        Self {
            due: Instant::now(),
            urgency: AtomicU8::new(urgency as u8),
            started: Mutex::new(None),
        }
    }

    /// How urgent its next request is. Once a reader's LIST has begun, its pages follow each other without a pause: the
    /// fewer changes in between, the more often they fit together.
    pub fn urgency(&self) -> Urgency {
        let index = usize::from(self.urgency.load(Ordering::Relaxed));
        match Urgency::ALL.get(index) {
            Some(Urgency::Reader) if self.has_started() => Urgency::Edit,
            Some(urgency) if self.due.elapsed() < LONGEST_WAIT => *urgency,
            _ => Urgency::Edit,
        }
    }

    fn has_started(&self) -> bool {
        self.started.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Another reader waits for the answer.
    pub(super) fn raise(&self, urgency: Urgency) {
        self.urgency.fetch_min(urgency as u8, Ordering::Relaxed);
    }

    /// Records that a request is about to be sent, and the cloud's time, if it is known. The first one counts.
    pub fn starts(&self, cloud_now: Option<Timestamp>) {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        started.get_or_insert_with(|| (Instant::now(), cloud_now));
    }

    /// When the first request was sent, by our clock and by the cloud's. Without a request: now.
    pub(super) fn started(&self) -> (Instant, Option<Timestamp>) {
        let started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        started.unwrap_or_else(|| (Instant::now(), None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_request_is_the_start() {
        let run = RunningQuery::new(Urgency::Reader);
        tokio::time::advance(Duration::from_secs(5)).await;
        run.starts(Some(Timestamp::UNIX_EPOCH));
        let first = Instant::now();
        tokio::time::advance(Duration::from_secs(5)).await;
        run.starts(None);
        assert_eq!(run.started(), (first, Some(Timestamp::UNIX_EPOCH)));
        assert_eq!(run.urgency(), Urgency::Edit, "its pages follow without a pause");
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_as_urgent_as_its_most_urgent_reader_and_does_not_wait_forever() {
        let run = RunningQuery::new(Urgency::Background);
        assert_eq!(run.urgency(), Urgency::Background);
        run.raise(Urgency::Reader);
        run.raise(Urgency::Background);
        assert_eq!(run.urgency(), Urgency::Reader);
        tokio::time::advance(LONGEST_WAIT).await;
        assert_eq!(run.urgency(), Urgency::Edit);
    }
}
