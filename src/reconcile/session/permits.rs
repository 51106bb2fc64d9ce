//! The permission to send one write: the server's write queue, where the kind has one, and a permit of the rate
//! limiter. Both are held for the request only. What is recorded before it is recorded under a reservation, which others
//! pass if the apiserver is slow.

use std::sync::Arc;

use tokio::time::Instant;
use vpn_cloud::CloudError;
use vpn_cloud::limits::rate_limiter::{Permit, Priority, RateLimiter};
use vpn_cloud::limits::write_queue::{WriteQueueGuard, WriteQueues};
use vpn_core::terms::key::ObjectKey;

/// What a write of one object has to be admitted by.
pub(crate) struct WriteAdmission<'a> {
    pub write_queues: &'a Arc<WriteQueues<ObjectKey>>,
    /// The server's, if its writes go one at a time.
    pub write_queue: Option<String>,
    pub rate_limiter: &'a RateLimiter<ObjectKey>,
    pub key: &'a ObjectKey,
    pub priority: Priority,
}

/// Another write goes first; the object is in the queue and is enqueued when it may write.
pub(crate) struct NotYet;

/// Why a write cannot be sent now.
pub(crate) enum WriteRefusal {
    NotYet,
    /// The cloud has the credential held back, and no place is kept.
    HeldBack(Box<CloudError>),
}

impl<'a> WriteAdmission<'a> {
    /// The object may send its write soon.
    pub(crate) fn reserve(self) -> Result<Reservation<'a>, NotYet> {
        let Self {
            write_queues,
            key,
            priority,
            ..
        } = self;
        if let Some(write_queue) = &self.write_queue
            && !write_queues.reserve(write_queue, key, priority)
        {
            return Err(NotYet);
        }
        if !self.rate_limiter.reserve(key.clone(), priority, Instant::now()) {
            // It has no use for the one without the other.
            write_queues.forget(key);
            return Err(NotYet);
        }
        Ok(Reservation { queues: Some(self) })
    }

    fn permit(&self) -> Result<WritePermit<'a>, NotYet> {
        let write_queue = match &self.write_queue {
            Some(write_queue) => Some(
                self.write_queues
                    .enter(write_queue, self.key, self.priority)
                    .ok_or(NotYet)?,
            ),
            None => None,
        };
        let request = self.rate_limiter.take(self.key.clone(), self.priority, Instant::now());
        Ok(WritePermit {
            _request: request.ok_or(NotYet)?,
            _write_queue: write_queue,
        })
    }
}

/// A place at the head of both queues, for as long as recording usually takes. It is given up when this is dropped.
#[must_use = "it is given up when this is dropped"]
pub(crate) struct Reservation<'a> {
    queues: Option<WriteAdmission<'a>>,
}

impl<'a> Reservation<'a> {
    /// The permit, unless others have passed meanwhile.
    pub(crate) fn take(mut self) -> Result<WritePermit<'a>, NotYet> {
        match self.queues.take() {
            Some(queues) => queues.permit(),
            None => Err(NotYet),
        }
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if let Some(queues) = &self.queues {
            queues.write_queues.forget(queues.key);
            queues.rate_limiter.forget(queues.key);
        }
    }
}

/// The object may send one write. The next one may when this is dropped.
#[must_use = "the next write is admitted when this is dropped"]
pub(crate) struct WritePermit<'a> {
    _request: Permit<'a, ObjectKey>,
    _write_queue: Option<WriteQueueGuard<ObjectKey>>,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use vpn_cloud::limits::rate_limiter::USUALLY_IN_PROGRESS;

    const SERVER: &str = "server";

    /// Write queues whose permits enqueue nothing: the tests ask again themselves.
    fn write_queues() -> Arc<WriteQueues<ObjectKey>> {
        WriteQueues::new(|_| {})
    }

    fn rate_limiter() -> RateLimiter<ObjectKey> {
        RateLimiter::new(1000.0)
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("VpnUser", "n", name)
    }

    fn queues<'a>(
        write_queues: &'a Arc<WriteQueues<ObjectKey>>,
        rate_limiter: &'a RateLimiter<ObjectKey>,
        key: &'a ObjectKey,
    ) -> WriteAdmission<'a> {
        WriteAdmission {
            write_queues,
            write_queue: Some(SERVER.to_owned()),
            rate_limiter,
            key,
            priority: Priority::Write,
        }
    }

    /// A write without a write queue.
    fn alone<'a>(
        write_queues: &'a Arc<WriteQueues<ObjectKey>>,
        rate_limiter: &'a RateLimiter<ObjectKey>,
        key: &'a ObjectKey,
    ) -> WriteAdmission<'a> {
        WriteAdmission {
            write_queue: None,
            ..queues(write_queues, rate_limiter, key)
        }
    }

    fn permit(queues: WriteAdmission<'_>) -> WritePermit<'_> {
        let reservation = queues.reserve().ok().expect("it may write soon");
        reservation.take().ok().expect("it may write")
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_occupies_the_write_queue_until_it_is_dropped() {
        let (write_queues, rate_limiter, [alice, bobby]) =
            (write_queues(), rate_limiter(), ["alice", "bobby"].map(key));
        let held = permit(queues(&write_queues, &rate_limiter, &alice));
        assert_eq!(rate_limiter.in_progress(), 1);
        assert!(
            queues(&write_queues, &rate_limiter, &bobby).reserve().is_err(),
            "one write at a time"
        );
        drop(permit(alone(&write_queues, &rate_limiter, &key("gateway"))));
        drop(held);
        assert_eq!(rate_limiter.in_progress(), 0);
        drop(permit(queues(&write_queues, &rate_limiter, &bobby)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_reservation_frees_both_queues() {
        let (write_queues, rate_limiter) = (write_queues(), rate_limiter());
        for number in 0..=USUALLY_IN_PROGRESS {
            let key = key(&number.to_string());
            let reservation = queues(&write_queues, &rate_limiter, &key).reserve();
            assert!(reservation.is_ok(), "number {number}: those before it have given up");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttled_waiter_does_not_occupy_the_write_queue() {
        let (write_queues, rate_limiter, [alice, bobby]) =
            (write_queues(), rate_limiter(), ["alice", "bobby"].map(key));
        let throttled = RateLimiter::new(1000.0);
        throttled.throttled(Some(Duration::from_secs(60)), Instant::now());
        assert!(queues(&write_queues, &throttled, &alice).reserve().is_err());
        assert!(queues(&write_queues, &rate_limiter, &bobby).reserve().is_ok());
        // Nor if others have used all permits since.
        let reserved = queues(&write_queues, &throttled, &alice);
        let others: Vec<ObjectKey> = (0..USUALLY_IN_PROGRESS)
            .map(|number| key(&number.to_string()))
            .collect();
        let mut busy = Vec::new();
        tokio::time::advance(Duration::from_secs(60)).await;
        let reservation = reserved.reserve().ok().expect("it may write soon");
        tokio::time::advance(Duration::from_millis(300)).await;
        for other in &others {
            busy.push(permit(alone(&write_queues, &throttled, other)));
        }
        assert!(reservation.take().is_err());
        assert!(queues(&write_queues, &rate_limiter, &bobby).reserve().is_ok());
        drop(busy);
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_reservation_is_passed_by_others() {
        let (write_queues, rate_limiter, [alice, bobby]) =
            (write_queues(), rate_limiter(), ["alice", "bobby"].map(key));
        let slow = queues(&write_queues, &rate_limiter, &alice)
            .reserve()
            .ok()
            .expect("it may write soon");
        assert!(
            queues(&write_queues, &rate_limiter, &bobby).reserve().is_err(),
            "not yet"
        );
        tokio::time::sleep(Duration::from_secs(2)).await;
        let passes = permit(queues(&write_queues, &rate_limiter, &bobby));
        assert!(slow.take().is_err());
        drop(passes);
        drop(permit(queues(&write_queues, &rate_limiter, &alice)));
    }
}
