//! The loop around the decisions: acquire, renew, notice the loss, give back.

use std::{future::Future, sync::Arc, time::Duration};

use thiserror::Error;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    Clock, LeaderHandle, LeaseStore, LossReason, Observation, Record, Step, StoreError, Stored, decide,
    term::{Renewal, Shared, Standing},
};

/// Who runs for election, and for how long a term.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Never used by another process, see [`super::identity`].
    pub identity: String,
    /// Whole seconds, as the Lease says it.
    pub lease_duration: Duration,
}

impl Candidate {
    fn renew_period(&self) -> Duration {
        self.lease_duration / 6
    }

    /// Between looks of a follower, and between attempts after a failed one.
    fn retry_period(&self) -> Duration {
        self.lease_duration / 15
    }

    /// A leader that could not renew for this long gives up, well before anybody else may take the lease.
    fn renew_deadline(&self) -> Duration {
        self.lease_duration * 2 / 3
    }

    /// One request to the apiserver: one that hangs must leave time for another.
    fn request_limit(&self) -> Duration {
        self.lease_duration / 6
    }
}

/// Runs for the lease.
pub struct Election<S> {
    store: S,
    candidate: Candidate,
    shared: Arc<Shared>,
    observation: Option<Observation>,
    /// The Lease as we last read or wrote it; `None` when that is in doubt.
    stored: Option<Stored>,
}

enum Attempt {
    /// Ours, by a write that was begun then.
    Held(Renewal),
    Waiting {
        holder: String,
        remaining: Duration,
    },
    Taken {
        holder: String,
    },
}

impl<S: LeaseStore> Election<S> {
    /// Nothing happens before [`Self::acquire`].
    pub fn new(store: S, candidate: Candidate, clock: Arc<dyn Clock>) -> Self {
        let standing = watch::Sender::new(Standing::Candidate);
        let shared = Arc::new(Shared {
            clock,
            lease: candidate.lease_duration,
            standing,
        });
        Self {
            store,
            candidate,
            shared,
            observation: None,
            stored: None,
        }
    }

    /// The fence, which opens once the election is won.
    pub fn handle(&self) -> LeaderHandle {
        LeaderHandle::new(Arc::clone(&self.shared))
    }

    /// Completes once this process leads, with a task behind it that renews; `None` if `stop` came first.
    pub async fn acquire(mut self, stop: &CancellationToken) -> Option<Leadership<S>> {
        let mut told = String::new();
        let mut tell = |line: String, warning: bool| {
            if line != told {
                if warning {
                    warn!("{line}")
                } else {
                    info!("{line}")
                }
                told = line;
            }
        };
        while !stop.is_cancelled() {
            let mut pause = self.candidate.retry_period();
            match self.attempt(false, self.candidate.request_limit()).await {
                Ok(Attempt::Held(renewal)) => {
                    info!(identity = self.candidate.identity, "leading");
                    self.shared.standing.send_replace(Standing::Leading(renewal));
                    return Some(Leadership::start(self, renewal));
                }
                Ok(Attempt::Waiting { holder, remaining }) => {
                    pause = pause.min(remaining);
                    tell(format!("standing by: the lease is held by {holder}"), false);
                }
                Ok(Attempt::Taken { .. }) | Err(StoreError::Conflict) => debug!("another candidate was faster"),
                Err(error) => tell(format!("cannot take part in the leader election: {error}"), true),
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.shared.clock.sleep(pause) => {}
            }
        }
        None
    }

    /// One look and one write at most; a leader that knows the Lease's version saves the look.
    async fn attempt(&mut self, leading: bool, limit: Duration) -> Result<Attempt, StoreError> {
        let clock = Arc::clone(&self.shared.clock);
        if !leading || self.stored.is_none() {
            self.stored = limited(&*clock, limit, self.store.get()).await?;
            let now = clock.monotonic();
            let previous = self.observation.take();
            self.observation = self
                .stored
                .as_ref()
                .map(|seen| Observation::note(previous, seen.record.clone(), now));
        }
        let step = decide(
            self.observation.as_ref(),
            leading,
            &self.candidate.identity,
            clock.monotonic(),
        );
        let term = self.candidate.lease_duration;
        let begun = Renewal::begun_now(&*clock);
        let holder = || {
            self.observation
                .as_ref()
                .map(|seen| seen.record.holder.clone())
                .unwrap_or_default()
        };
        let record = match (&step, &self.stored) {
            (Step::Wait { remaining }, _) => {
                return Ok(Attempt::Waiting {
                    holder: holder(),
                    remaining: *remaining,
                });
            }
            (Step::Lost, _) => return Ok(Attempt::Taken { holder: holder() }),
            (Step::Renew, Some(stored)) => stored.record.renewed(term, begun.wall),
            (Step::Take { transitions }, _) => Record::taken(&self.candidate.identity, term, begun.wall, *transitions),
            // `Renew` without a Lease cannot be: the decision was made from it.
            (Step::Create | Step::Renew, _) => Record::taken(&self.candidate.identity, term, begun.wall, 0),
        };
        // In doubt until the answer is here: the next attempt looks first.
        let written = match self.stored.take() {
            Some(stored) => limited(&*clock, limit, self.store.replace(&stored, &record)).await?,
            None => limited(&*clock, limit, self.store.create(&record)).await?,
        };
        self.observation = Some(Observation {
            record: written.record.clone(),
            since: clock.monotonic(),
        });
        self.stored = Some(written);
        Ok(Attempt::Held(begun))
    }

    /// Renews until told to stop (`None`) or until the lease is lost.
    async fn renew(&mut self, mut last: Renewal, stop: &CancellationToken) -> Option<LossReason> {
        let clock = Arc::clone(&self.shared.clock);
        let mut pause = self.candidate.renew_period();
        let mut last_error = String::new();
        loop {
            let left = |last: Renewal| {
                let age = clock.monotonic().saturating_duration_since(last.monotonic);
                self.candidate.renew_deadline().saturating_sub(age)
            };
            tokio::select! {
                () = stop.cancelled() => return None,
                () = clock.sleep(pause.min(left(last))) => {}
            }
            let remaining = left(last);
            if remaining.is_zero() {
                return Some(LossReason::NotRenewed {
                    since: self.candidate.renew_deadline(),
                    last_error,
                });
            }
            let limit = self.candidate.request_limit().min(remaining);
            match self.attempt(true, limit).await {
                Ok(Attempt::Held(renewal)) => {
                    last = renewal;
                    self.shared.standing.send_replace(Standing::Leading(renewal));
                    pause = self.candidate.renew_period();
                }
                Ok(Attempt::Taken { holder } | Attempt::Waiting { holder, .. }) => {
                    let holder = if holder.is_empty() {
                        "nobody, it was emptied".to_owned()
                    } else {
                        holder
                    };
                    return Some(LossReason::Taken { holder });
                }
                // Somebody wrote to the Lease; who holds it now is asked at once.
                Err(StoreError::Conflict) => pause = Duration::ZERO,
                Err(error) => {
                    warn!(%error, "the lease was not renewed, trying again");
                    last_error = error.to_string();
                    pause = self.candidate.retry_period();
                }
            }
        }
    }

    /// Leaves the Lease without a holder, so that the next one need not wait for its end.
    async fn give_back(&mut self) -> Result<(), ReleaseError> {
        let clock = Arc::clone(&self.shared.clock);
        let limit = self.candidate.request_limit();
        let mut last_error = None;
        // The second round is for a write of ours whose answer was lost.
        for _ in 0..2 {
            let current = match self.stored.take() {
                Some(stored) => Ok(Some(stored)),
                None => limited(&*clock, limit, self.store.get()).await,
            };
            let result = match current {
                Ok(Some(stored)) if stored.record.holder == self.candidate.identity => {
                    let released = stored.record.released(clock.wall());
                    limited(&*clock, limit, self.store.replace(&stored, &released))
                        .await
                        .map(|_| ())
                }
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            };
            match result {
                Ok(()) => return Ok(()),
                Err(error) => last_error = Some(error),
            }
        }
        last_error.map_or(Ok(()), |error| Err(ReleaseError(error)))
    }
}

/// The lease could not be given back; it ends by itself.
#[derive(Debug, Error)]
#[error("the lease was not given back and ends by itself: {0}")]
pub struct ReleaseError(StoreError);

/// A term. Dropped without [`Self::release`] it is no longer renewed, and the fence closes.
pub struct Leadership<S> {
    shared: Arc<Shared>,
    stop: CancellationToken,
    renewal: JoinHandle<(Election<S>, Option<LossReason>)>,
    /// The task's end, once it was seen.
    ended: Option<(Option<Election<S>>, Option<LossReason>)>,
}

impl<S: LeaseStore> Leadership<S> {
    fn start(mut election: Election<S>, begun: Renewal) -> Self {
        let shared = Arc::clone(&election.shared);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let renewal = tokio::spawn(async move {
            let loss = election.renew(begun, &stopped).await;
            election.shared.standing.send_replace(Standing::Over);
            (election, loss)
        });
        Self {
            shared,
            stop,
            renewal,
            ended: None,
        }
    }

    /// Completes when the lease is lost. By then the fence is closed. May be dropped and asked again.
    pub async fn lost(&mut self) -> LossReason {
        match self.end().await {
            (_, Some(reason)) => reason.clone(),
            (_, None) => LossReason::Broken,
        }
    }

    /// Closes the fence, then gives the lease back. Call it when no write is under way.
    pub async fn release(mut self) -> Result<(), ReleaseError> {
        self.shared.standing.send_replace(Standing::Over);
        self.stop.cancel();
        match self.end().await {
            (Some(election), None) => election.give_back().await,
            // Lost: there is nothing of ours to give back.
            _ => Ok(()),
        }
    }

    async fn end(&mut self) -> &mut (Option<Election<S>>, Option<LossReason>) {
        let ended = match self.ended.take() {
            Some(ended) => ended,
            None => match (&mut self.renewal).await {
                Ok((election, loss)) => (Some(election), loss),
                Err(_) => {
                    self.shared.standing.send_replace(Standing::Over);
                    (None, Some(LossReason::Broken))
                }
            },
        };
        self.ended.insert(ended)
    }
}

impl<S> Drop for Leadership<S> {
    fn drop(&mut self) {
        self.stop.cancel();
        self.shared.standing.send_replace(Standing::Over);
    }
}

async fn limited<T>(
    clock: &dyn Clock,
    limit: Duration,
    request: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::select! {
        result = request => result,
        () = clock.sleep(limit) => {
            Err(StoreError::Other(format!("no answer from the apiserver within {}", humantime::format_duration(limit))))
        }
    }
}
