//! The permission to send one write: the server's write queue, where the kind has one, and a permit of the credential's
//! rate limiter. Both are held for the request only. What is recorded before it is recorded under a reservation, which
//! others pass if the apiserver is slow.

use std::sync::Arc;

use tokio::time::Instant;

use super::key::Key;
use crate::cloud::budget::{Budget, Priority, Turn};
use crate::cloud::lane::{LaneGuard, Lanes};

/// What a write of one object has to be admitted by.
pub struct WriteQueues<'a> {
    pub lanes: &'a Arc<Lanes<Key>>,
    /// The server's, if its writes go one at a time.
    pub lane: Option<String>,
    pub budget: &'a Budget<Key>,
    pub key: &'a Key,
    pub priority: Priority,
}

/// Another write goes first; the object is in the queue and is enqueued when it may write.
pub struct NotYet;

impl<'a> WriteQueues<'a> {
    /// The object may send its write soon.
    pub fn reserve(self) -> Result<Reservation<'a>, NotYet> {
        let Self {
            lanes, key, priority, ..
        } = self;
        if let Some(lane) = &self.lane
            && !lanes.reserve(lane, key, priority)
        {
            return Err(NotYet);
        }
        if !self.budget.reserve(key.clone(), priority, Instant::now()) {
            // It has no use for the one without the other.
            lanes.forget(key);
            return Err(NotYet);
        }
        Ok(Reservation { queues: Some(self) })
    }

    fn permit(&self) -> Result<WritePermit<'a>, NotYet> {
        let lane = match &self.lane {
            Some(lane) => Some(self.lanes.enter(lane, self.key, self.priority).ok_or(NotYet)?),
            None => None,
        };
        let request = self.budget.take(self.key.clone(), self.priority, Instant::now());
        Ok(WritePermit {
            _request: request.ok_or(NotYet)?,
            _lane: lane,
        })
    }
}

/// A place at the head of both queues, for as long as recording usually takes. It is given up when this is dropped.
#[must_use = "it is given up when this is dropped"]
pub struct Reservation<'a> {
    queues: Option<WriteQueues<'a>>,
}

impl<'a> Reservation<'a> {
    /// The permit, unless others have passed meanwhile.
    pub fn take(mut self) -> Result<WritePermit<'a>, NotYet> {
        match self.queues.take() {
            Some(queues) => queues.permit(),
            None => Err(NotYet),
        }
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if let Some(queues) = &self.queues {
            queues.lanes.forget(queues.key);
            queues.budget.forget(queues.key);
        }
    }
}

/// The object may send one write. The next one may when this is dropped.
#[must_use = "the next write is admitted when this is dropped"]
pub struct WritePermit<'a> {
    _request: Turn<'a, Key>,
    _lane: Option<LaneGuard<Key>>,
}
