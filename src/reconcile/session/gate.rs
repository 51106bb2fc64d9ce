//! What a request of a session passes: a permit of the rate limiter, and the circuit breaker. Its response sets the
//! cloud's clock and the health of the credential. The session owns its gate; the readers of its caches hold it weakly.

use std::future::Future;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use vpn_cloud::limits::circuit_breaker::{Admit, Admitted};
use vpn_cloud::limits::clock::{CloudClock, Moment};
use vpn_cloud::limits::rate_limiter::{HeldBack, Permit, Priority, RateLimiter};
use vpn_cloud::{CloudError, CloudResponse, ErrorKind};
use vpn_core::api::conditions::ReadyCondition;
use vpn_core::terms::key::ObjectKey;

use crate::reconcile::session::access_key::AccessKey;
use crate::reconcile::session::credential_health::Finding;
use crate::reconcile::session::observed_health::ObservedHealth;
use crate::reconcile::session::resources::SessionResources;

/// The source name of the project look-up among all reads.
const PROJECT: &str = "project";

/// The source name of the gateways' tags, where lists omit them.
const TAGS: &str = "tags";

/// How often a waiting request checks whether the first request of its credential has proved it valid.
const FIRST_REQUEST_POLL: Duration = Duration::from_millis(20);

/// See the module.
pub(crate) struct Gate {
    pub access_key: Arc<AccessKey>,
    /// The source of the credential, for messages.
    pub origin: String,
    /// Equal for equal credentials.
    pub fingerprint: [u8; 32],
    resources: Arc<SessionResources>,
    clock: Mutex<CloudClock>,
    observed: Mutex<ObservedHealth>,
    /// The time of the last success, in seconds of our own clock.
    last_success: AtomicI64,
}

impl Gate {
    pub(crate) fn new(
        access_key: Arc<AccessKey>,
        origin: String,
        fingerprint: [u8; 32],
        resources: Arc<SessionResources>,
    ) -> Self {
        Self {
            access_key,
            origin,
            fingerprint,
            resources,
            clock: Mutex::new(CloudClock::new(Instant::now())),
            observed: Mutex::default(),
            last_success: AtomicI64::new(0),
        }
    }

    /// Each request needs a permit of this rate limiter, and keeps it until the response arrives.
    pub(crate) fn rate_limiter(&self) -> &RateLimiter<ObjectKey> {
        &self.access_key.rate_limiter
    }

    /// Waits for a permit. Fails at once while the cloud requires a long wait of the access key.
    pub(crate) async fn permit(&self, priority: impl Fn() -> Priority) -> Result<Permit<'_, ObjectKey>, CloudError> {
        loop {
            if let Some(error) = self.held_back() {
                return Err(error);
            }
            // A long wait began meanwhile, or ends a moment later for the rate limiter than for `held_back`.
            match self.rate_limiter().permit(&priority).await {
                Ok(permit) => return Ok(permit),
                Err(HeldBack) => tokio::task::yield_now().await,
            }
        }
    }

    /// Returns the refusal with which the cloud required a long wait of this access key, while that wait lasts.
    pub(crate) fn held_back(&self) -> Option<CloudError> {
        let now = Instant::now();
        let error = self.access_key.held_back(now)?;
        // The refusal may have come to another session of the access key: this session notes it here.
        self.answered(Some(&error), now);
        Some(error)
    }

    /// The cloud's present time, never ahead of it; `None` until a response contains it.
    pub(crate) fn cloud_now(&self) -> Option<Timestamp> {
        lock(&self.clock).now(Moment::now())
    }

    /// Since when the cloud's time is unknown: only the response to a later request contains it. `None`: it is known.
    pub(crate) fn time_unknown_since(&self) -> Option<Instant> {
        lock(&self.clock).unknown_since()
    }

    /// Sends a request unless the circuit breaker is open, and evaluates the response. The caller holds a permit of the
    /// rate limiter.
    pub(crate) async fn send<T>(
        &self,
        call: impl Future<Output = Result<CloudResponse<T>, CloudError>>,
    ) -> Result<CloudResponse<T>, CloudError> {
        let admitted = self.admitted().await?;
        self.execute(admitted, call, true).await
    }

    /// Looks up the project, and records the end of that read.
    pub(crate) async fn send_lookup<T>(
        &self,
        call: impl Future<Output = Result<CloudResponse<T>, CloudError>>,
    ) -> Result<T, CloudError> {
        // The times of objects come from the clock of the VPN API, not from that of IAM.
        let answer = match self.admitted().await {
            Ok(admitted) => self.execute(admitted, call, false).await,
            Err(error) => Err(error),
        };
        let result = answer.map(|answer| answer.value);
        self.read_ended(PROJECT, result.as_ref().err());
        result
    }

    /// Sends a request that changes something. Calls `may_send` after all waiting, immediately before the request is
    /// sent. `None`: it returned false, and nothing was sent.
    pub(crate) async fn send_if<T>(
        &self,
        may_send: impl FnOnce() -> bool,
        call: impl Future<Output = Result<CloudResponse<T>, CloudError>>,
    ) -> Option<Result<CloudResponse<T>, CloudError>> {
        let admitted = match self.admitted().await {
            Ok(admitted) => admitted,
            Err(error) => return Some(Err(error)),
        };
        if !may_send() {
            self.access_key.circuit_breaker().not_sent(admitted, Instant::now());
            return None;
        }
        Some(self.execute(admitted, call, true).await)
    }

    /// Waits until the circuit breaker admits a request.
    async fn admitted(&self) -> Result<Admitted, CloudError> {
        loop {
            // The permit may be older than the wait that the cloud requires.
            if let Some(error) = self.held_back() {
                return Err(error);
            }
            match self.access_key.circuit_breaker().admit(Instant::now()) {
                Admit::Go(admitted) => return Ok(admitted),
                Admit::Wait => {}
                Admit::Refused { error, until } => {
                    let mut error = *error;
                    error.retry_after = Some(until.saturating_duration_since(Instant::now()));
                    // This request was not sent at all.
                    error.outcome_unknown = false;
                    self.answered(Some(&error), Instant::now());
                    return Err(error);
                }
            }
            tokio::time::sleep(FIRST_REQUEST_POLL).await;
        }
    }

    /// Sends an admitted request, and evaluates the response.
    async fn execute<T>(
        &self,
        admitted: Admitted,
        call: impl Future<Output = Result<CloudResponse<T>, CloudError>>,
        sets_clock: bool,
    ) -> Result<CloudResponse<T>, CloudError> {
        let sent = Instant::now();
        let result = call.await;
        let now = Instant::now();
        self.access_key
            .circuit_breaker()
            .finished(admitted, result.as_ref().map(|_| ()), now);
        let has_response = result.as_ref().err().is_none_or(|error| error.status.is_some());
        if has_response {
            self.rate_limiter().responded(now.saturating_duration_since(sent));
        }
        let date = match &result {
            Ok(answer) => Some(answer.date),
            // Without a response nothing is known, not even that the cloud omits the time.
            Err(error) => error.date.map(Some),
        };
        if let Some(date) = date.filter(|_| sets_clock) {
            lock(&self.clock).answered(date, sent, Moment::now());
        }
        match &result {
            Err(error) if error.kind == ErrorKind::Throttled => self.access_key.throttled(error, now),
            _ => self.rate_limiter().succeeded(now),
        }
        self.answered(result.as_ref().err(), sent);
        result
    }

    /// Records the end of a LIST. `source` distinguishes collections of one kind.
    pub(crate) fn listed(&self, collection: &'static str, source: &str, error: Option<&CloudError>) {
        self.read_ended(source, error);
        (self.resources.listed)(collection, error.is_none());
    }

    /// Records whether another request could read the tags that lists omit.
    pub(crate) fn tags_read(&self, error: Option<&CloudError>) {
        self.read_ended(TAGS, error);
    }

    /// Reports how many items of a list could not be read in full.
    pub(crate) fn read_unreadable(&self, collection: &'static str, count: usize) {
        (self.resources.unreadable)(collection, count);
    }

    /// Drops the failures of a source that is no longer read.
    pub(crate) fn unlisted(&self, source: &str) {
        self.observe(|health| health.forget(source));
    }

    /// Records that no request can be sent with the credential.
    pub(crate) fn cannot_be_used(&self, condition: ReadyCondition) {
        self.observe(|health| health.cannot_be_used(condition));
    }

    /// Returns the state of the credential, for the Secrets that contain it.
    pub(crate) fn finding(&self) -> Option<Finding> {
        lock(&self.observed).finding()
    }

    fn read_ended(&self, source: &str, error: Option<&CloudError>) {
        self.observe(|health| health.read_ended(source, error));
    }

    /// `sent`: when the request was sent.
    fn answered(&self, error: Option<&CloudError>, sent: Instant) {
        if error.is_none() {
            let now = Timestamp::now();
            if self.last_success.swap(now.as_second(), Ordering::Relaxed) != now.as_second() {
                self.resources.health.succeeded(&self.fingerprint, now);
            }
        }
        self.observe(|health| health.answered(error, sent));
    }

    /// Applies a change, and reports the finding if that changes.
    fn observe(&self, change: impl FnOnce(&mut ObservedHealth)) {
        let news = {
            let mut health = lock(&self.observed);
            let before = health.finding();
            change(&mut health);
            health.finding().filter(|finding| before.as_ref() != Some(finding))
        };
        if let Some(finding) = news {
            self.resources.health.session(&self.fingerprint, &finding);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
