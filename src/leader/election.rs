//! The loop around the decisions: acquire, renew, detect the loss, release.

use std::{future::Future, sync::Arc, time::Duration};

use thiserror::Error;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::leader::clock::ElectionClock;
use crate::leader::decide::{ElectionStep, LeaseObservation, decide};
use crate::leader::record::LeaseRecord;
use crate::leader::store::{LeaseStore, StoreError, Stored};
use crate::leader::term::{ElectionState, LeaderHandle, LossReason, Renewal, Standing};

/// The longest request, whatever the lease's duration: a slower one counts as lost, and a stop must not wait for it.
const LONGEST_REQUEST: Duration = Duration::from_secs(5);

/// A candidate of the election, and the duration of its lease.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Never used by another process, see [`super::identity`].
    pub identity: String,
    /// In whole seconds, as in the Lease.
    pub lease_duration: Duration,
}

impl Candidate {
    fn renew_period(&self) -> Duration {
        self.lease_duration / 6
    }

    /// The pause between two reads of a follower, and after a failed attempt.
    fn retry_period(&self) -> Duration {
        self.lease_duration / 15
    }

    /// A leader that could not renew for this long steps down, well before another candidate may acquire the lease.
    fn renew_deadline(&self) -> Duration {
        self.lease_duration * 2 / 3
    }

    /// The limit of one request to the apiserver: a request that hangs must leave time for another.
    fn request_limit(&self) -> Duration {
        (self.lease_duration / 6).min(LONGEST_REQUEST)
    }
}

/// A candidate's part in the election.
pub struct Election<S> {
    store: S,
    candidate: Candidate,
    shared: Arc<ElectionState>,
    observation: Option<LeaseObservation>,
    /// The Lease as last read or written. `None`: the outcome of the last write is unknown.
    stored: Option<Stored>,
}

enum Attempt {
    /// We hold the lease, by a write that began then.
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
    pub fn new(store: S, candidate: Candidate, clock: Arc<dyn ElectionClock>) -> Self {
        let standing = watch::Sender::new(Standing::Candidate);
        let shared = Arc::new(ElectionState {
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

    /// Returns the fence, which opens when the election is won.
    pub fn handle(&self) -> LeaderHandle {
        LeaderHandle::new(Arc::clone(&self.shared))
    }

    /// Waits until this process leads, and starts a task that renews the lease. Returns `None` if `stop` came first.
    pub async fn acquire(mut self, stop: &CancellationToken) -> Option<Leadership<S>> {
        let mut last_reported = String::new();
        let mut report = |line: String, warning: bool| {
            if line != last_reported {
                if warning {
                    warn!("{line}");
                } else {
                    info!("{line}");
                }
                last_reported = line;
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
                    report(format!("standing by: the lease is held by {holder}"), false);
                }
                Ok(Attempt::Taken { .. }) | Err(StoreError::Conflict) => {
                    debug!("another candidate acquired the lease first");
                }
                Err(error) => report(format!("cannot take part in the leader election: {error}"), true),
            }
            self.shared.standing.send_if_modified(|standing| {
                let is_first = *standing == Standing::Candidate;
                if is_first {
                    *standing = Standing::Following;
                }
                is_first
            });
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.shared.clock.sleep(pause) => {}
            }
        }
        None
    }

    /// Sends at most one read and one write. A leader that knows the Lease's version needs no read.
    async fn attempt(&mut self, leading: bool, limit: Duration) -> Result<Attempt, StoreError> {
        let clock = Arc::clone(&self.shared.clock);
        if !leading || self.stored.is_none() {
            self.stored = limited(&*clock, limit, self.store.get()).await?;
            let now = clock.monotonic();
            let previous = self.observation.take();
            self.observation = self
                .stored
                .as_ref()
                .map(|seen| LeaseObservation::note(previous, seen.record.clone(), now));
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
            (ElectionStep::Wait { remaining }, _) => {
                return Ok(Attempt::Waiting {
                    holder: holder(),
                    remaining: *remaining,
                });
            }
            (ElectionStep::Lost, _) => return Ok(Attempt::Taken { holder: holder() }),
            (ElectionStep::Renew, Some(stored)) => stored.record.renewed(term, begun.wall),
            (ElectionStep::Take { transitions }, _) => {
                LeaseRecord::taken(&self.candidate.identity, term, begun.wall, *transitions)
            }
            // `Renew` without a Lease is impossible: the decision is based on the Lease.
            (ElectionStep::Create | ElectionStep::Renew, _) => {
                LeaseRecord::taken(&self.candidate.identity, term, begun.wall, 0)
            }
        };
        // The outcome is unknown until the response arrives: the next attempt reads first.
        let written = match self.stored.take() {
            Some(stored) => limited(&*clock, limit, self.store.replace(&stored, &record)).await?,
            None => limited(&*clock, limit, self.store.create(&record)).await?,
        };
        self.observation = Some(LeaseObservation {
            record: written.record.clone(),
            since: clock.monotonic(),
        });
        self.stored = Some(written);
        Ok(Attempt::Held(begun))
    }

    /// Renews until `stop` is canceled (returns `None`) or the lease is lost.
    async fn renew(&mut self, mut last: Renewal, stop: &CancellationToken) -> Option<LossReason> {
        let clock = Arc::clone(&self.shared.clock);
        let mut pause = self.candidate.renew_period();
        let mut last_error = None;
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
                let since = self.candidate.renew_deadline();
                return Some(match last_error {
                    Some(last_error) => LossReason::NotRenewed { since, last_error },
                    None => LossReason::Stalled { since },
                });
            }
            let limit = self.candidate.request_limit().min(remaining);
            match self.attempt(true, limit).await {
                Ok(Attempt::Held(renewal)) => {
                    last = renewal;
                    last_error = None;
                    self.shared.standing.send_replace(Standing::Leading(renewal));
                    pause = self.candidate.renew_period();
                }
                Ok(Attempt::Taken { holder } | Attempt::Waiting { holder, .. }) => {
                    let holder = if holder.is_empty() {
                        "no one (another client removed the holder)".to_owned()
                    } else {
                        holder
                    };
                    return Some(LossReason::Taken { holder });
                }
                // Another client wrote to the Lease: read its present holder at once.
                Err(StoreError::Conflict) => pause = Duration::ZERO,
                Err(error) => {
                    warn!(%error, "the lease was not renewed; retrying");
                    last_error = Some(Arc::new(error));
                    pause = self.candidate.retry_period();
                }
            }
        }
    }

    /// Removes the holder from the Lease, so that the next leader need not wait until it expires.
    async fn give_back(&mut self) -> Result<(), ReleaseError> {
        let clock = Arc::clone(&self.shared.clock);
        let limit = self.candidate.request_limit();
        let mut last_error = None;
        // The second round handles a write of ours whose response was lost.
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

/// The lease could not be released; it expires by itself.
#[derive(Debug, Error)]
#[error("the lease was not released: {0}; it expires by itself")]
pub struct ReleaseError(#[source] StoreError);

/// One term as leader. If it is dropped without [`Self::release`], renewal stops and the fence closes.
pub struct Leadership<S> {
    shared: Arc<ElectionState>,
    stop: CancellationToken,
    renewal: JoinHandle<(Election<S>, Option<LossReason>)>,
    /// How the task ended, once that was seen.
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

    /// Waits until the lease is lost. By then the fence is closed. The future may be dropped and called again.
    pub async fn lost(&mut self) -> LossReason {
        match self.end().await {
            (_, Some(reason)) => reason.clone(),
            (_, None) => LossReason::Broken,
        }
    }

    /// Closes the fence, then releases the lease. Call it when no write is in progress.
    pub async fn release(mut self) -> Result<(), ReleaseError> {
        self.shared.standing.send_replace(Standing::Over);
        self.stop.cancel();
        match self.end().await {
            (Some(election), None) => election.give_back().await,
            // Lost: there is no lease of ours to release.
            _ => Ok(()),
        }
    }

    async fn end(&mut self) -> &mut (Option<Election<S>>, Option<LossReason>) {
        let ended = match self.ended.take() {
            Some(ended) => ended,
            None => {
                if let Ok((election, loss)) = (&mut self.renewal).await {
                    (Some(election), loss)
                } else {
                    self.shared.standing.send_replace(Standing::Over);
                    (None, Some(LossReason::Broken))
                }
            }
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
    clock: &dyn ElectionClock,
    limit: Duration,
    request: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::select! {
        result = request => result,
        () = clock.sleep(limit) => Err(StoreError::Timeout(limit)),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        sync::Mutex,
        time::{Instant, SystemTime},
    };

    use futures::FutureExt;
    use k8s_openapi::api::coordination::v1::Lease;
    use kube::core::Status;

    use super::*;

    const LEASE: Duration = Duration::from_secs(30);
    /// More wake-ups than any step of these tests needs; all of them run on one thread.
    const ROUNDS: usize = 200;

    /// A clock that the test advances. Clones are the same clock; [`Self::skewed`] returns one with another wall clock.
    #[derive(Clone)]
    struct TestClock {
        start: Instant,
        passed: watch::Sender<Duration>,
        wall_offset: Arc<Mutex<i64>>,
    }

    impl TestClock {
        fn new() -> Self {
            let wall_offset = Arc::new(Mutex::new(1_000_000));
            Self {
                start: Instant::now(),
                passed: watch::Sender::new(Duration::ZERO),
                wall_offset,
            }
        }

        /// Returns the same moment on a machine whose wall clock is off by `seconds`.
        fn skewed(&self, seconds: i64) -> Self {
            let wall_offset = Arc::new(Mutex::new(*self.wall_offset.lock().unwrap() + seconds));
            Self {
                wall_offset,
                ..self.clone()
            }
        }

        async fn pass(&self, duration: Duration) {
            // In small steps, so that each candidate acts at its own time and not all at the end.
            let step = Duration::from_millis(250);
            let mut left = duration;
            while !left.is_zero() {
                let now = left.min(step);
                self.passed.send_modify(|passed| *passed += now);
                left -= now;
                run_tasks().await;
            }
        }
    }

    impl ElectionClock for TestClock {
        fn monotonic(&self) -> Instant {
            self.start + *self.passed.borrow()
        }

        fn wall(&self) -> SystemTime {
            let seconds = u64::try_from(*self.wall_offset.lock().unwrap()).unwrap();
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) + *self.passed.borrow()
        }

        fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
            let mut passed = self.passed.subscribe();
            let end = *self.passed.borrow() + duration;
            Box::pin(async move {
                passed.wait_for(|now| *now >= end).await.unwrap();
            })
        }
    }

    async fn run_tasks() {
        for _ in 0..ROUNDS {
            tokio::task::yield_now().await;
        }
    }

    fn refused(message: &str) -> StoreError {
        StoreError::Refused(Status::failure(message, "").boxed())
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum FakeResponse {
        Normal,
        Refusing,
        Hanging,
        /// Writes take effect, and their responses are lost.
        AnswersLost,
    }

    #[derive(Default)]
    struct LeaseServer {
        lease: Option<(u64, Lease)>,
        versions: u64,
        calls: Vec<&'static str>,
    }

    /// An apiserver that has one Lease.
    #[derive(Clone)]
    struct TestLeases {
        server: Arc<Mutex<LeaseServer>>,
        response: Arc<Mutex<FakeResponse>>,
    }

    impl TestLeases {
        fn new() -> Self {
            Self {
                server: Arc::default(),
                response: Arc::new(Mutex::new(FakeResponse::Normal)),
            }
        }

        /// The same server over another network path.
        fn another_path(&self) -> Self {
            Self {
                server: Arc::clone(&self.server),
                response: Arc::new(Mutex::new(FakeResponse::Normal)),
            }
        }

        fn respond_with(&self, response: FakeResponse) {
            *self.response.lock().unwrap() = response;
        }

        fn record(&self) -> LeaseRecord {
            LeaseRecord::of(&self.server.lock().unwrap().lease.as_ref().unwrap().1)
        }

        fn edit(&self, edit: impl FnOnce(&mut LeaseRecord)) {
            let mut server = self.server.lock().unwrap();
            let (_, mut lease) = server.lease.clone().unwrap();
            let mut record = LeaseRecord::of(&lease);
            edit(&mut record);
            record.write_into(&mut lease);
            server.put(lease);
        }

        fn delete(&self) {
            self.server.lock().unwrap().lease = None;
        }

        fn calls(&self, name: &str) -> usize {
            self.server
                .lock()
                .unwrap()
                .calls
                .iter()
                .filter(|call| **call == name)
                .count()
        }

        async fn answer<T>(
            &self,
            act: impl FnOnce(&mut LeaseServer) -> Result<T, StoreError>,
        ) -> Result<T, StoreError> {
            let response = *self.response.lock().unwrap();
            match response {
                FakeResponse::Normal => act(&mut self.server.lock().unwrap()),
                FakeResponse::Refusing => Err(refused("refused")),
                FakeResponse::Hanging => std::future::pending().await,
                FakeResponse::AnswersLost => {
                    let _ = act(&mut self.server.lock().unwrap());
                    Err(refused("answer lost"))
                }
            }
        }
    }

    impl LeaseServer {
        fn put(&mut self, mut lease: Lease) -> Stored {
            self.versions += 1;
            lease.metadata.resource_version = Some(self.versions.to_string());
            self.lease = Some((self.versions, lease.clone()));
            Stored::new(lease)
        }
    }

    impl LeaseStore for TestLeases {
        async fn get(&self) -> Result<Option<Stored>, StoreError> {
            self.answer(|server| {
                server.calls.push("get");
                Ok(server.lease.clone().map(|(_, lease)| Stored::new(lease)))
            })
            .await
        }

        async fn create(&self, record: &LeaseRecord) -> Result<Stored, StoreError> {
            self.answer(|server| {
                server.calls.push("create");
                if server.lease.is_some() {
                    return Err(StoreError::Conflict);
                }
                let mut lease = Lease::default();
                record.write_into(&mut lease);
                Ok(server.put(lease))
            })
            .await
        }

        async fn replace(&self, stored: &Stored, record: &LeaseRecord) -> Result<Stored, StoreError> {
            self.answer(|server| {
                server.calls.push("replace");
                let lease = stored.with(record);
                match &server.lease {
                    Some((version, _)) if lease.metadata.resource_version == Some(version.to_string()) => {
                        Ok(server.put(lease))
                    }
                    _ => Err(StoreError::Conflict),
                }
            })
            .await
        }
    }

    /// A candidate whose election runs in a task.
    struct Running {
        handle: LeaderHandle,
        stop: CancellationToken,
        leadership: JoinHandle<Option<Leadership<TestLeases>>>,
    }

    async fn start(name: &str, store: &TestLeases, clock: &TestClock) -> Running {
        let candidate = Candidate {
            identity: name.into(),
            lease_duration: LEASE,
        };
        let election = Election::new(store.clone(), candidate, Arc::new(clock.clone()));
        let handle = election.handle();
        let stop = CancellationToken::new();
        let token = stop.clone();
        let leadership = tokio::spawn(async move { election.acquire(&token).await });
        run_tasks().await;
        Running {
            handle,
            stop,
            leadership,
        }
    }

    impl Running {
        async fn won(self) -> Leadership<TestLeases> {
            assert!(self.handle.is_leader(), "this candidate does not lead yet");
            self.leadership.await.unwrap().unwrap()
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[tokio::test]
    async fn the_first_candidate_leads_and_the_second_stands_by() {
        let (store, clock) = (TestLeases::new(), TestClock::new());
        let first = start("first", &store, &clock).await;
        let second = start("second", &store, &clock).await;
        assert!(first.handle.may_write(seconds(10)));
        assert!(!second.handle.is_leader() && !second.handle.may_write(Duration::ZERO));
        let record = store.record();
        assert_eq!(
            (record.holder.as_str(), record.duration, record.transitions),
            ("first", LEASE, 0)
        );
    }

    #[tokio::test]
    async fn the_first_attempt_decides_whether_a_candidate_leads_from_the_start() {
        let (store, clock) = (TestLeases::new(), TestClock::new());
        let is_decided = |running: &Running| running.handle.decided().now_or_never().is_some();
        let first = start("first", &store, &clock).await;
        let second = start("second", &store, &clock).await;
        assert!(is_decided(&first) && is_decided(&second));
        let cut_off = store.another_path();
        cut_off.respond_with(FakeResponse::Hanging);
        let third = start("third", &cut_off, &clock).await;
        assert!(!is_decided(&third));
        clock.pass(LONGEST_REQUEST).await;
        assert!(is_decided(&third) && !third.handle.is_leader());
    }

    #[tokio::test]
    async fn a_leader_renews_the_lease_every_sixth_of_its_duration() {
        let (store, clock) = (TestLeases::new(), TestClock::new());
        let first = start("first", &store, &clock).await;
        let second = start("second", &store, &clock).await;
        clock.pass(LEASE * 4).await;
        assert!(first.handle.is_leader() && !second.handle.is_leader());
        assert_eq!(store.calls("replace"), 24);
    }

    #[tokio::test]
    async fn the_lease_of_a_dead_leader_is_acquired_after_it_expires() {
        let (store, clock) = (TestLeases::new(), TestClock::new());
        let first = start("first", &store, &clock).await;
        let second = start("second", &store, &clock).await;
        // Killed: the lease is neither renewed nor released.
        drop(first.won().await);
        clock.pass(LEASE.saturating_sub(seconds(1))).await;
        assert!(!second.handle.is_leader());
        clock.pass(seconds(2)).await;
        assert!(second.handle.is_leader());
        assert_eq!(
            (store.record().holder.as_str(), store.record().transitions),
            ("second", 1)
        );
    }

    #[tokio::test]
    async fn clock_skew_of_the_holder_does_not_cost_it_the_lease() {
        for skew in [-3600, -20, 20, 3600] {
            let (store, clock) = (TestLeases::new(), TestClock::new());
            let first = start("first", &store, &clock.skewed(skew)).await;
            let second = start("second", &store, &clock).await;
            clock.pass(LEASE * 3).await;
            assert!(
                first.handle.is_leader() && !second.handle.is_leader(),
                "skew of {skew} s"
            );
            drop(first.won().await);
            // The second candidate reads every fifteenth of the duration, so it saw the last renewal a little later.
            clock.pass(LEASE + LEASE / 15 * 2).await;
            assert!(second.handle.is_leader(), "skew of {skew} s");
        }
    }

    #[tokio::test]
    async fn a_released_lease_is_acquired_before_it_expires() {
        let (store, clock) = (TestLeases::new(), TestClock::new());
        let first = start("first", &store, &clock).await;
        let fence = first.handle.clone();
        let second = start("second", &store, &clock).await;
        first.won().await.release().await.unwrap();
        assert!(!fence.is_leader() && !fence.may_write(Duration::ZERO));
        assert_eq!(
            (store.record().holder.as_str(), store.record().duration),
            ("", seconds(1))
        );
        clock.pass(LEASE / 15).await;
        assert!(second.handle.is_leader());
        assert_eq!(store.record().transitions, 1);
    }

    #[tokio::test]
    async fn a_stolen_lease_ends_the_term_at_the_next_renewal() {
        let (store, clock) = (TestLeases::new(), TestClock::new());
        let first = start("first", &store, &clock).await;
        let fence = first.handle.clone();
        let mut leadership = first.won().await;
        store.edit(|record| record.holder = "thief".into());
        clock.pass(LEASE / 6).await;
        assert!(!fence.may_write(Duration::ZERO));
        for asked in ["first", "again"] {
            let reason = leadership.lost().await;
            assert!(
                matches!(&reason, LossReason::Taken { holder } if holder == "thief"),
                "{asked}: {reason}"
            );
        }
        leadership.release().await.unwrap();
        assert_eq!(store.record().holder, "thief", "another holder's lease is not released");
    }

    #[tokio::test]
    async fn a_deleted_lease_is_recreated() {
        let (store, clock) = (TestLeases::new(), TestClock::new());
        let first = start("first", &store, &clock).await;
        store.delete();
        clock.pass(LEASE / 3).await;
        assert!(first.handle.is_leader());
        assert_eq!(store.record().holder, "first");
    }

    #[tokio::test]
    async fn a_foreign_write_to_the_lease_does_not_end_the_term() {
        let (store, clock) = (TestLeases::new(), TestClock::new());
        let first = start("first", &store, &clock).await;
        store.edit(|record| record.acquired = None);
        clock.pass(LEASE * 2).await;
        assert!(first.handle.is_leader());
    }

    #[tokio::test]
    async fn a_leader_without_apiserver_steps_down_before_its_lease_expires() {
        for response in [FakeResponse::Refusing, FakeResponse::Hanging] {
            let (store, clock) = (TestLeases::new(), TestClock::new());
            let first = start("first", &store, &clock).await;
            let others = store.another_path();
            let second = start("second", &others, &clock).await;
            let fence = first.handle.clone();
            let mut leadership = first.won().await;
            store.respond_with(response);
            clock.pass(seconds(19)).await;
            assert!(fence.is_leader(), "{response:?}: a short outage costs nothing");
            assert!(
                !fence.may_write(seconds(10)),
                "{response:?}: but no long write may begin any more"
            );
            clock.pass(seconds(1)).await;
            assert!(
                matches!(leadership.lost().await, LossReason::NotRenewed { .. }),
                "{response:?}"
            );
            assert!(
                !fence.is_leader() && !second.handle.is_leader(),
                "{response:?}: no process leads in between"
            );
            clock.pass(seconds(11)).await;
            assert!(second.handle.is_leader(), "{response:?}");
        }
    }

    #[tokio::test]
    async fn a_stalled_leader_reports_the_stall() {
        let (store, clock) = (TestLeases::new(), TestClock::new());
        let mut leadership = start("first", &store, &clock).await.won().await;
        clock.passed.send_modify(|passed| *passed += LEASE);
        let reason = leadership.lost().await.to_string();
        assert!(reason.contains("stalled"), "{reason}");
    }

    #[tokio::test]
    async fn a_short_apiserver_outage_does_not_end_the_term() {
        let (store, clock) = (TestLeases::new(), TestClock::new());
        let first = start("first", &store, &clock).await;
        store.respond_with(FakeResponse::Hanging);
        clock.pass(seconds(12)).await;
        store.respond_with(FakeResponse::Normal);
        clock.pass(LEASE).await;
        assert!(first.handle.is_leader() && first.handle.may_write(seconds(10)));
    }

    #[tokio::test]
    async fn lost_responses_to_renewals_do_not_end_the_term() {
        let (store, clock) = (TestLeases::new(), TestClock::new());
        let first = start("first", &store, &clock).await;
        store.respond_with(FakeResponse::AnswersLost);
        clock.pass(seconds(9)).await;
        store.respond_with(FakeResponse::Normal);
        clock.pass(seconds(3)).await;
        assert!(first.handle.is_leader() && first.handle.may_write(seconds(10)));
    }

    #[tokio::test]
    async fn a_candidate_with_a_lost_acquire_response_leads_after_a_renewal() {
        let (store, clock) = (TestLeases::new(), TestClock::new());
        store.server.lock().unwrap().put(Lease::default());
        store.respond_with(FakeResponse::Refusing);
        let first = start("first", &store, &clock).await;
        let others = store.another_path();
        // The write took effect, but the candidate does not know it.
        others.edit(|record| *record = LeaseRecord::taken("first", LEASE, clock.wall(), 1));
        store.respond_with(FakeResponse::Normal);
        clock.pass(LEASE / 15).await;
        assert!(first.handle.is_leader());
        assert_eq!(store.record().transitions, 1, "it is the same term");
    }

    #[tokio::test]
    async fn a_resumed_machine_does_not_write_before_a_renewal() {
        let (store, clock) = (TestLeases::new(), TestClock::new());
        let first = start("first", &store, &clock).await;
        *clock.wall_offset.lock().unwrap() += 60;
        assert!(
            !first.handle.may_write(Duration::ZERO),
            "the monotonic clock stood still, the wall clock did not"
        );
        clock.pass(LEASE / 6).await;
        assert!(
            first.handle.may_write(seconds(10)),
            "no other process acquired the lease, so the renewal succeeded"
        );
    }

    #[tokio::test]
    async fn a_resumed_leader_detects_its_successor() {
        let (store, clock) = (TestLeases::new(), TestClock::new());
        let first = start("first", &store, &clock).await;
        let fence = first.handle.clone();
        let mut leadership = first.won().await;
        *clock.wall_offset.lock().unwrap() += 60;
        store.edit(|record| *record = LeaseRecord::taken("second", LEASE, SystemTime::UNIX_EPOCH, 1));
        assert!(!fence.may_write(Duration::ZERO));
        clock.pass(LEASE / 6).await;
        let reason = leadership.lost().await;
        assert!(
            matches!(&reason, LossReason::Taken { holder } if holder == "second"),
            "{reason}"
        );
    }

    #[tokio::test]
    async fn a_stopped_candidate_ends_its_wait() {
        let (store, clock) = (TestLeases::new(), TestClock::new());
        let _first = start("first", &store, &clock).await;
        let second = start("second", &store, &clock).await;
        second.stop.cancel();
        assert!(second.leadership.await.unwrap().is_none());
        assert_eq!(store.record().holder, "first");
    }

    #[tokio::test]
    async fn leading_completes_when_the_election_is_won() {
        let (store, clock) = (TestLeases::new(), TestClock::new());
        let first = start("first", &store, &clock).await;
        let second = start("second", &store, &clock).await;
        let handle = second.handle.clone();
        let waiting = tokio::spawn(async move { handle.leading().await });
        run_tasks().await;
        assert!(!waiting.is_finished());
        first.won().await.release().await.unwrap();
        clock.pass(LEASE / 15).await;
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn a_failed_release_of_the_lease_is_reported() {
        let (store, clock) = (TestLeases::new(), TestClock::new());
        let leadership = start("first", &store, &clock).await.won().await;
        store.respond_with(FakeResponse::Refusing);
        let error = leadership.release().await.unwrap_err().to_string();
        assert!(error.contains("expires by itself"), "{error}");
    }

    #[tokio::test]
    async fn a_lease_is_released_after_a_renewal_with_an_unknown_outcome() {
        let (store, clock) = (TestLeases::new(), TestClock::new());
        let leadership = start("first", &store, &clock).await.won().await;
        store.respond_with(FakeResponse::AnswersLost);
        clock.pass(seconds(6)).await;
        store.respond_with(FakeResponse::Normal);
        leadership.release().await.unwrap();
        assert_eq!(store.record().holder, "");
    }
}
