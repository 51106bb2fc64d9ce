//! How long the leader may act by its own clocks, and the fence built on that.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use thiserror::Error;
use tokio::sync::watch;

use crate::leader::clock::ElectionClock;
use crate::leader::store::StoreError;

/// Why a process no longer leads.
#[derive(Clone, Debug, Error)]
pub enum LossReason {
    /// Another process holds the lease.
    #[error("the lease is now held by {holder}")]
    Taken {
        /// The identity of that process, or a text if the Lease names none.
        holder: String,
    },
    /// The lease ran out before a renewal succeeded.
    #[error("the lease could not be renewed for {} ({last_error})", humantime::format_duration(*since))]
    NotRenewed {
        /// The time since the last successful renewal.
        since: Duration,
        /// Why the last attempt failed.
        #[source]
        last_error: Arc<StoreError>,
    },
    /// The lease ran out without an attempt to renew it.
    #[error(
        "the lease could not be renewed for {} (no renewal was attempted: this process or its machine stalled)",
        humantime::format_duration(*since)
    )]
    Stalled {
        /// The time since the last successful renewal.
        since: Duration,
    },
    /// The task that renews the lease panicked or was aborted.
    #[error("the task that renews the lease failed")]
    Broken,
}

/// The state of this process in the election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// No attempt has ended yet.
    Candidate,
    /// The first attempt did not acquire the lease.
    Following,
    Leading(Renewal),
    /// The lease is lost or released. This state is final.
    Over,
}

/// When the last successful renewal was *begun*: other processes start to count later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Renewal {
    pub monotonic: Instant,
    pub wall: SystemTime,
}

impl Renewal {
    /// Now, by both clocks.
    pub(crate) fn begun_now(clock: &dyn ElectionClock) -> Self {
        Self {
            monotonic: clock.monotonic(),
            wall: clock.wall(),
        }
    }

    /// Whether a term of `lease` from here lasts for another `needed` by both clocks. A suspended machine stops the
    /// monotonic clock and not the wall clock. A wall clock that was set back proves nothing, so the next renewal is
    /// awaited.
    pub(crate) fn lasts_for(&self, needed: Duration, lease: Duration, now: Self) -> bool {
        let monotonic_age = now.monotonic.saturating_duration_since(self.monotonic);
        let Ok(wall_age) = now.wall.duration_since(self.wall) else {
            return false;
        };
        [monotonic_age, wall_age]
            .into_iter()
            .all(|age| age.checked_add(needed).is_some_and(|end| end < lease))
    }
}

pub(crate) struct ElectionState {
    pub clock: Arc<dyn ElectionClock>,
    pub lease: Duration,
    pub standing: watch::Sender<Standing>,
}

/// Checked before each write to the cloud. Cheap to clone.
#[derive(Clone)]
pub struct LeaderHandle {
    /// `None`: there is no election.
    shared: Option<Arc<ElectionState>>,
}

impl LeaderHandle {
    pub(crate) fn new(shared: Arc<ElectionState>) -> Self {
        Self { shared: Some(shared) }
    }

    /// For `--leader-elect=false`: always leads.
    pub fn always() -> Self {
        Self { shared: None }
    }

    /// Whether a write that takes up to `needed` would be over, with a margin, before another process may lead.
    ///
    /// The limit of this promise is a process that is stopped after this check and continued after the lease's end. It
    /// still sends the one request that it checked for.
    pub fn may_write(&self, needed: Duration) -> bool {
        let Some(shared) = &self.shared else { return true };
        let Standing::Leading(renewal) = *shared.standing.borrow() else {
            return false;
        };
        // For clocks of different speed, and for the time that the request takes to reach the cloud.
        let margin = shared.lease / 10;
        renewal.lasts_for(
            needed.saturating_add(margin),
            shared.lease,
            Renewal::begun_now(&*shared.clock),
        )
    }

    /// Whether this process leads, as far as it knows.
    pub fn is_leader(&self) -> bool {
        self.shared
            .as_ref()
            .is_none_or(|shared| matches!(*shared.standing.borrow(), Standing::Leading(_)))
    }

    /// Completes once it is known whether this process leads from the start or stands by: after one attempt.
    pub async fn decided(&self) {
        let Some(shared) = &self.shared else { return };
        let mut standing = shared.standing.subscribe();
        // Cannot fail: `shared` holds the sender.
        let _ = standing.wait_for(|now| *now != Standing::Candidate).await;
    }

    /// Completes once this process leads, or never.
    pub async fn leading(&self) {
        let Some(shared) = &self.shared else { return };
        let mut standing = shared.standing.subscribe();
        if standing
            .wait_for(|now| matches!(now, Standing::Leading(_)))
            .await
            .is_err()
        {
            std::future::pending::<()>().await;
        }
    }
}

impl fmt::Debug for LeaderHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaderHandle")
            .field("is_leader", &self.is_leader())
            .finish()
    }
}

/// Makes the handle's process the leader.
#[cfg(test)]
pub struct Elect(Arc<ElectionState>);

#[cfg(test)]
impl Elect {
    /// The term begins now.
    pub fn now(&self) {
        let begun = Renewal::begun_now(&*self.0.clock);
        self.0.standing.send_replace(Standing::Leading(begun));
    }
}

#[cfg(test)]
impl LeaderHandle {
    /// The handle of a process that stands by until it is elected.
    pub(crate) fn standing_by() -> (Self, Elect) {
        let shared = Arc::new(ElectionState {
            clock: Arc::new(crate::leader::clock::SystemClock),
            lease: Duration::from_secs(3600),
            standing: watch::Sender::new(Standing::Following),
        });
        (Self::new(Arc::clone(&shared)), Elect(shared))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_write_requires_a_valid_lease_by_both_clocks() {
        let start = Renewal {
            monotonic: Instant::now(),
            wall: SystemTime::UNIX_EPOCH + seconds(1_000_000),
        };
        let at = |monotonic, wall| Renewal {
            monotonic: start.monotonic + seconds(monotonic),
            wall: start.wall + seconds(wall),
        };
        for (name, now, needed, lasts) in [
            ("fresh", at(0, 0), 10, true),
            ("aged", at(19, 19), 10, true),
            ("ends with the request", at(20, 20), 10, false),
            ("too short for the request", at(25, 25), 10, false),
            ("run out", at(40, 40), 0, false),
            ("suspended: the wall clock continued", at(1, 40), 10, false),
            ("the wall clock was set back or stands still", at(40, 1), 10, false),
            ("longer than any lease", at(0, 0), 31, false),
        ] {
            assert_eq!(start.lasts_for(seconds(needed), LEASE, now), lasts, "{name}");
        }
        assert!(start.lasts_for(Duration::ZERO, LEASE, at(0, 0)));
        assert!(
            !start.lasts_for(Duration::MAX, LEASE, at(0, 0)),
            "an endless need does not overflow"
        );
    }

    #[test]
    fn a_wall_clock_before_the_renewal_allows_no_write() {
        let start = Renewal {
            monotonic: Instant::now(),
            wall: SystemTime::UNIX_EPOCH + seconds(100),
        };
        let now = Renewal {
            monotonic: start.monotonic,
            wall: SystemTime::UNIX_EPOCH + seconds(99),
        };
        assert!(!start.lasts_for(Duration::ZERO, LEASE, now));
    }

    #[tokio::test]
    async fn without_leader_election_every_write_is_allowed() {
        let handle = LeaderHandle::always();
        handle.leading().await;
        assert!(handle.is_leader());
        assert!(handle.may_write(Duration::MAX));
    }
}
