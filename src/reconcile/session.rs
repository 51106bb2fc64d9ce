//! A session: a credential in use, with its client, clock and caches. Equal credentials share one session. Sessions of
//! one access key share its rate limiter and circuit breaker.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::access::{Credential, person};
use super::access_key::AccessKey;
use super::collections::{GatewaySource, Reads};
use super::credential_health::{CredentialFailure, CredentialHealth, Finding};
use super::decide::{Access, Failure, RETRY};
use super::key::Key;
use super::servers::{Server, Servers};
use crate::api::Scope;
use crate::api::conditions::{ReadyCondition, Reason};
use crate::cache::{Cache, LostAt, MassDeletion};
use crate::cloud::circuit_breaker::{Admit, Admitted};
use crate::cloud::clock::{CloudClock, Moment};
use crate::cloud::customer_gateways::CustomerGateway;
use crate::cloud::endpoints::EndpointAliases;
use crate::cloud::error::{Backoff, Retry};
use crate::cloud::rate_limiter::{HeldBack, Permit, Priority, RateLimiter};
use crate::cloud::transport::Transport;
use crate::cloud::write_queue::WriteQueues;
use crate::cloud::{self, Answer, Client, CloudError, ErrorKind, iam};

/// The source name of the project look-up among all reads.
const PROJECT: &str = "project";
/// The source name of the gateways' tags, where lists omit them.
const TAGS: &str = "tags";
/// The pause before a failed project look-up is retried.
const LOOK_UP_AGAIN: Duration = Duration::from_secs(5);
/// Replaces the period of drift checks for [`Project::mass_deletion`] if there are none.
const WITHOUT_CHECKS: Duration = Duration::from_secs(300);
/// How often a waiting request checks whether the first request of its credential has proved it valid.
const FIRST_FLIGHT_POLL: Duration = Duration::from_millis(20);

/// What all sessions share.
pub struct Shared {
    pub transport: Transport,
    pub max_requests_per_second: f64,
    pub request_timeout: Duration,
    pub resync_period: Option<Duration>,
    pub owner_tag_key: String,
    /// Enqueues an object that has new information.
    pub enqueue: Box<dyn Fn(Key) + Send + Sync>,
    /// Enqueues an object for which a permit or a write queue is reserved.
    pub grant: Box<dyn Fn(Key) + Send + Sync>,
    pub health: Arc<CredentialHealth>,
    /// Reports each ended LIST: collection, and whether it succeeded.
    pub listed: Box<dyn Fn(&'static str, bool) + Send + Sync>,
    /// Reports each LIST that was read: collection, and how many items could not be read in full.
    pub unreadable: Box<dyn Fn(&'static str, usize) + Send + Sync>,
    /// Other names of endpoints.
    pub endpoint_aliases: EndpointAliases,
}

/// See the module.
pub struct Session {
    pub credential: Credential,
    access_key: Arc<AccessKey>,
    shared: Arc<Shared>,
    clock: Mutex<CloudClock>,
    project: tokio::sync::Mutex<Option<FailedLookUp>>,
    open: OnceLock<Project>,
    fingerprint: [u8; 32],
    heard: Mutex<Heard>,
    /// The time of the last success, in seconds of our own clock.
    last_success: AtomicI64,
    overwrites_tags: AtomicBool,
    tasks: Mutex<Vec<AbortHandle>>,
}

/// The project of a session, once it is known.
pub struct Project {
    pub scope: Scope,
    pub client: Client,
    pub gateways: Arc<Cache<CustomerGateway, Key>>,
    servers: Servers,
    resync_period: Option<Duration>,
}

impl Project {
    /// Returns a VPN server's caches, and registers an object that reads from them.
    pub fn server(&self, id: &str, reader: &Key) -> Arc<Server> {
        self.servers.of(id, reader)
    }

    /// Whether more than max(10, 20 %) of the credential's objects were lost together with the one lost at `at`.
    pub fn mass_deletion(&self, at: LostAt) -> Option<MassDeletion> {
        let period = self.resync_period.unwrap_or(WITHOUT_CHECKS);
        // Two successive checks may find the deletions of one period, and a check takes time.
        let window = period.saturating_mul(3) / 2;
        let gateways = self.gateways.known().losses(at, window);
        let losses = self.servers.losses(at, window).into_iter().chain([gateways]);
        let (missing, of) = losses.fold((0, 0), |(missing, of), (more, more_of)| (missing + more, of + more_of));
        MassDeletion::suspected(missing, of)
    }

    /// Whether the missing objects of the credential have been counted.
    pub fn is_counted(&self) -> bool {
        self.servers.are_counted() && self.gateways.known().is_counted()
    }

    fn forget(&self, reader: &Key) {
        self.gateways.known().forget(reader);
        self.servers.forget(reader);
    }
}

impl Session {
    fn start(credential: Credential, access_key: Arc<AccessKey>, shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self {
            fingerprint: credential.fingerprint(),
            heard: Mutex::default(),
            last_success: AtomicI64::new(0),
            credential,
            access_key,
            shared,
            clock: Mutex::new(CloudClock::new(Instant::now())),
            project: tokio::sync::Mutex::default(),
            open: OnceLock::new(),
            overwrites_tags: AtomicBool::new(true),
            tasks: Mutex::default(),
        })
    }

    /// Each request needs a permit of this rate limiter, and keeps it until the response arrives.
    pub fn rate_limiter(&self) -> &RateLimiter<Key> {
        &self.access_key.rate_limiter
    }

    /// Waits for a permit. Fails at once while the cloud requires a long wait of the access key.
    pub async fn permit(&self, priority: Priority) -> Result<Permit<'_, Key>, CloudError> {
        loop {
            if let Some(error) = self.held_back() {
                return Err(error);
            }
            // A long wait began meanwhile, or ends a moment later for the rate limiter than for `held_back`.
            match self.rate_limiter().permit(priority).await {
                Ok(permit) => return Ok(permit),
                Err(HeldBack) => tokio::task::yield_now().await,
            }
        }
    }

    /// Returns the refusal with which the cloud required a long wait of this access key, while that wait lasts.
    pub fn held_back(&self) -> Option<CloudError> {
        let now = Instant::now();
        let error = self.access_key.held_back(now)?;
        // The refusal may have come to another session of the access key: this session notes it here.
        self.answered(Some(&error), now);
        Some(error)
    }

    /// Returns the client, once the project is known.
    pub fn client(&self) -> Option<Client> {
        self.open.get().map(|open| open.client.clone())
    }

    /// Returns the project; looks up its id if the credential does not name it. Ignores failures from before `since`.
    pub async fn open(self: &Arc<Self>, since: Option<Instant>) -> Result<&Project, Failure> {
        if let Some(open) = self.open.get() {
            return Ok(open);
        }
        let mut failed = self.project.lock().await;
        if let Some(open) = self.open.get() {
            return Ok(open);
        }
        let now = Instant::now();
        if let Some(last) = &*failed
            && last.until > now
            && since.is_none_or(|since| last.started >= since)
        {
            let left = last
                .error
                .retry_after
                .map(|_| last.until.saturating_duration_since(now));
            return Err(failure_of(&CloudError {
                retry_after: left,
                ..last.error.clone()
            }));
        }
        let project_id = match &self.credential.project_id {
            Some(project_id) => project_id.clone(),
            None => match self.look_up_project().await {
                Ok(project_id) => project_id,
                Err(LookUp::Failure(failure)) => return Err(failure),
                Err(LookUp::Cloud(error)) => {
                    let failure = failure_of(&error);
                    let again = error.retry_after.unwrap_or_default().max(LOOK_UP_AGAIN);
                    *failed = Some(FailedLookUp {
                        error: *error,
                        started: now,
                        until: Instant::now() + again,
                    });
                    return Err(failure);
                }
            },
        };
        *failed = None;
        Ok(self.open.get_or_init(|| self.opened(project_id)))
    }

    /// The cloud's present time, never ahead of it; `None` until a response contains it.
    pub fn cloud_now(&self) -> Option<Timestamp> {
        lock(&self.clock).now(Moment::now())
    }

    /// Since when the cloud's time is unknown: only the response to a later request contains it. `None`: it is known.
    pub fn time_unknown_since(&self) -> Option<Instant> {
        lock(&self.clock).unknown_since()
    }

    pub fn access(&self, open: &Project) -> Access {
        Access {
            scope: open.scope.clone(),
            cloud_now: self.cloud_now(),
        }
    }

    /// Whether this cloud overwrites the value of an existing tag; assumed until it refuses.
    pub fn overwrites_tags(&self) -> bool {
        self.overwrites_tags.load(Ordering::Relaxed)
    }

    pub fn refused_to_overwrite_tags(&self) {
        self.overwrites_tags.store(false, Ordering::Relaxed);
    }

    /// Sends a request unless the circuit breaker is open, and evaluates the response. The caller holds a permit of the
    /// rate limiter.
    pub async fn send<T>(
        &self,
        call: impl Future<Output = Result<Answer<T>, CloudError>>,
    ) -> Result<Answer<T>, CloudError> {
        let admitted = self.admitted().await?;
        self.fly(admitted, call, true).await
    }

    /// Sends a request that changes something. Calls `may_send` after all waiting, immediately before the request is
    /// sent. `None`: it returned false, and nothing was sent.
    pub async fn send_if<T>(
        &self,
        may_send: impl FnOnce() -> bool,
        call: impl Future<Output = Result<Answer<T>, CloudError>>,
    ) -> Option<Result<Answer<T>, CloudError>> {
        let admitted = match self.admitted().await {
            Ok(admitted) => admitted,
            Err(error) => return Some(Err(error)),
        };
        if !may_send() {
            self.access_key.circuit_breaker().not_sent(admitted, Instant::now());
            return None;
        }
        Some(self.fly(admitted, call, true).await)
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
            tokio::time::sleep(FIRST_FLIGHT_POLL).await;
        }
    }

    async fn fly<T>(
        &self,
        admitted: Admitted,
        call: impl Future<Output = Result<Answer<T>, CloudError>>,
        tells_time: bool,
    ) -> Result<Answer<T>, CloudError> {
        let sent = Instant::now();
        let result = call.await;
        let now = Instant::now();
        self.access_key
            .circuit_breaker()
            .finished(admitted, result.as_ref().map(|_| ()), now);
        let date = match &result {
            Ok(answer) => Some(answer.date),
            // Without a response nothing is known, not even that the cloud omits the time.
            Err(error) => error.date.map(Some),
        };
        if let Some(date) = date.filter(|_| tells_time) {
            lock(&self.clock).answered(date, sent, Moment::now());
        }
        match &result {
            Err(error) if error.kind == ErrorKind::Throttled => self.access_key.throttled(error, now),
            _ => self.rate_limiter().succeeded(now),
        }
        self.answered(result.as_ref().err(), sent);
        result
    }

    async fn look_up_project(&self) -> Result<String, LookUp> {
        let (Some(endpoint), Some(region)) = (&self.credential.iam_endpoint, &self.credential.region) else {
            let message = "the credentials name neither a project id nor a region to look it up by: set one of them";
            let failure = person(Reason::InvalidSpec, message);
            self.heard(|heard| heard.unusable = Some(failure.condition.clone()));
            return Err(LookUp::Failure(failure));
        };
        let _turn = self
            .permit(Priority::Read)
            .await
            .map_err(|error| LookUp::Cloud(Box::new(error)))?;
        let call = iam::look_up_project(&self.shared.transport, &self.credential.keys, endpoint, region);
        // The times of objects come from the clock of the VPN API, not from that of IAM.
        let answer = match self.admitted().await {
            Ok(admitted) => self.fly(admitted, call, false).await,
            Err(error) => Err(error),
        };
        let result = answer.map(|answer| answer.value);
        self.read_ended(PROJECT, result.as_ref().err());
        result.map_err(|error| LookUp::Cloud(Box::new(error)))
    }

    fn opened(self: &Arc<Self>, project_id: String) -> Project {
        let endpoint = &self.credential.vpn_endpoint;
        let scope = Scope {
            endpoint: self.shared.endpoint_aliases.recorded_as(endpoint).to_owned(),
            project_id,
        };
        let cloud_scope = cloud::Scope {
            endpoint: endpoint.clone(),
            project_id: scope.project_id.clone(),
        };
        let keys = Arc::clone(&self.credential.keys);
        let client = Client::new(self.shared.transport.clone(), keys, cloud_scope);
        let reads = Reads::new(self, client.clone());
        let shared = Arc::clone(&self.shared);
        let source = Arc::new(GatewaySource(reads.clone()));
        let gateways = Cache::new(self.shared.owner_tag_key.clone(), source, move |key| {
            (shared.enqueue)(key)
        });
        if let Some(period) = self.shared.resync_period {
            let cache = Arc::downgrade(&gateways);
            self.spawn(async move {
                loop {
                    tokio::time::sleep(period).await;
                    let Some(cache) = cache.upgrade() else { return };
                    cache.relist();
                }
            });
        }
        Project {
            scope,
            client,
            gateways,
            servers: Servers::new(reads, Arc::clone(&self.shared)),
            resync_period: self.shared.resync_period,
        }
    }

    /// Records the end of a LIST. `source` distinguishes collections of one kind.
    pub fn listed(&self, collection: &'static str, source: &str, error: Option<&CloudError>) {
        self.read_ended(source, error);
        (self.shared.listed)(collection, error.is_none());
    }

    /// Records whether another request could read the tags that lists omit.
    pub fn tags_read(&self, error: Option<&CloudError>) {
        self.read_ended(TAGS, error);
    }

    /// Reports how many items of a list could not be read in full.
    pub fn read_unreadable(&self, collection: &'static str, count: usize) {
        (self.shared.unreadable)(collection, count);
    }

    /// Drops the failures of a source that is no longer read.
    pub fn unlisted(&self, source: &str) {
        self.heard(|heard| {
            heard.refused.remove(source);
            heard.outages.remove(source);
        });
    }

    /// Returns the state of the credential, for the Secrets that contain it.
    pub fn finding(&self) -> Option<Finding> {
        lock(&self.heard).finding()
    }

    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    fn read_ended(&self, source: &str, error: Option<&CloudError>) {
        self.heard(|heard| heard.read_ended(source, error));
    }

    /// `sent`: when the request was sent.
    fn answered(&self, error: Option<&CloudError>, sent: Instant) {
        if error.is_none() {
            let now = Timestamp::now();
            if self.last_success.swap(now.as_second(), Ordering::Relaxed) != now.as_second() {
                self.shared.health.succeeded(&self.fingerprint, now);
            }
        }
        self.heard(|heard| heard.answered(error, sent));
    }

    /// Applies a change, and reports the finding if that changes.
    fn heard(&self, change: impl FnOnce(&mut Heard)) {
        let news = {
            let mut heard = lock(&self.heard);
            let before = heard.finding();
            change(&mut heard);
            heard.finding().filter(|finding| before.as_ref() != Some(finding))
        };
        if let Some(finding) = news {
            self.shared.health.session(&self.fingerprint, &finding);
        }
    }

    /// Removes an object that no longer uses the session.
    fn forget(&self, key: &Key) {
        self.rate_limiter().forget(key);
        if let Some(open) = self.open.get() {
            open.forget(key);
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        lock(&self.tasks).push(tokio::spawn(task).abort_handle());
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for task in lock(&self.tasks).iter() {
            task.abort();
        }
    }
}

/// The state of a credential, derived from all responses.
#[derive(Default)]
struct Heard {
    /// No request can be sent with the credential.
    unusable: Option<ReadyCondition>,
    /// The cloud does not accept the access key.
    key: Option<CloudError>,
    /// The cloud requires a long wait; and when that response arrived.
    held_back: Option<(CloudError, Instant)>,
    /// Collections that it has no permission to read, or that its endpoint does not offer.
    refused: Failing,
    /// Collections whose last read failed for a cause other than the credential.
    outages: Failing,
    works: bool,
}

/// Collections whose reads fail, the one that has failed for longest first: only that one is reported.
#[derive(Default)]
struct Failing(Vec<(String, CloudError)>);

impl Failing {
    fn insert(&mut self, source: &str, error: &CloudError) {
        match self.0.iter_mut().find(|(failing, _)| failing == source) {
            Some((_, latest)) => latest.clone_from(error),
            None => self.0.push((source.to_owned(), error.clone())),
        }
    }

    fn remove(&mut self, source: &str) {
        self.0.retain(|(failing, _)| failing != source);
    }

    fn first(&self) -> Option<&CloudError> {
        self.0.first().map(|(_, error)| error)
    }
}

impl Heard {
    fn answered(&mut self, error: Option<&CloudError>, sent: Instant) {
        self.hold_back(error, sent);
        match error.map(|error| error.kind) {
            None => {
                self.works = true;
                self.key = None;
            }
            Some(ErrorKind::Unauthorized) => {
                if self.key.is_none() {
                    self.key = error.cloned();
                }
            }
            // These errors occur before authentication.
            Some(ErrorKind::CloudFault | ErrorKind::Throttled | ErrorKind::NotAvailable) => {}
            Some(_) => self.key = None,
        }
    }

    fn hold_back(&mut self, error: Option<&CloudError>, sent: Instant) {
        let kind = error.map(|error| error.kind);
        match (error, &self.held_back) {
            (Some(error), known) if kind == Some(ErrorKind::Throttled) && error.not_before.is_some() => {
                let is_known = known
                    .as_ref()
                    .is_some_and(|(known, since)| sent < *since || known.not_before == error.not_before);
                if !is_known {
                    self.held_back = Some((error.clone(), Instant::now()));
                }
            }
            // Neither error means that requests are served again.
            (Some(_), _) if matches!(kind, Some(ErrorKind::Throttled | ErrorKind::CloudFault)) => {}
            // Nor does the response to a request from before that refusal.
            (_, Some((_, since))) if sent >= *since => self.held_back = None,
            _ => {}
        }
    }

    fn read_ended(&mut self, source: &str, error: Option<&CloudError>) {
        let Some(error) = error else {
            self.refused.remove(source);
            self.outages.remove(source);
            return;
        };
        match error.kind {
            ErrorKind::Unauthorized => {}
            // This applies to all reads, not only to this source.
            ErrorKind::Throttled if error.not_before.is_some() => {}
            ErrorKind::Forbidden | ErrorKind::NotAvailable => {
                self.refused.insert(source, error);
                self.outages.remove(source);
            }
            _ => self.outages.insert(source, error),
        }
    }

    fn finding(&self) -> Option<Finding> {
        if let Some(condition) = &self.unusable {
            return Some(Finding::Fails(CredentialFailure::of(condition.clone())));
        }
        let condition = |error: &CloudError| failure_of(error).condition;
        let held_back = self.held_back.as_ref().map(|(error, _)| error);
        let fails = self.key.as_ref().or(held_back).or_else(|| self.refused.first());
        match (fails, self.outages.first()) {
            (Some(error), _) => Some(Finding::Fails(CredentialFailure::of(condition(error)))),
            (None, Some(error)) => Some(Finding::Outage {
                // Each response names another time: every one would be a new finding.
                condition: condition(&CloudError {
                    not_before: None,
                    ..error.clone()
                }),
                is_accepted: self.works,
            }),
            (None, None) => self.works.then_some(Finding::Works),
        }
    }
}

/// A failed look-up of the project. Until `until`, callers get this error.
struct FailedLookUp {
    error: CloudError,
    started: Instant,
    until: Instant,
}

enum LookUp {
    Failure(Failure),
    Cloud(Box<CloudError>),
}

/// Converts a cloud error to the failure of an object.
pub fn failure_of(error: &CloudError) -> Failure {
    let (reason, hint) = match error.kind {
        ErrorKind::Throttled => (Reason::Throttled, "it is tried again, more slowly"),
        ErrorKind::QueueFull => (Reason::Throttled, "it is tried again, more slowly"),
        ErrorKind::CloudFault if error.outcome_unknown && error.operation == cloud::Operation::ResetVpnUserPassword => {
            (
                Reason::CloudError,
                "whether it took effect is not known: the same password is sent again, until the cloud accepts it or \
             reports that it is already set",
            )
        }
        ErrorKind::CloudFault if error.outcome_unknown => (
            Reason::CloudError,
            "whether it took effect is not known: the cloud is read before it is tried again",
        ),
        ErrorKind::CloudFault => (Reason::CloudError, "it is tried again"),
        ErrorKind::Repeated => (Reason::CloudError, "it is read again, then retried"),
        ErrorKind::Dependency if error.operation.is_about_users() => (
            Reason::DependencyNotReady,
            "it is tried again until the VPN server (spec.vpnServerID) and the group (spec.userGroupID or \
             userGroupName) are there, the server is ACTIVE with LOCAL_PASSWORD authentication, and no deletion \
             blocks it",
        ),
        ErrorKind::Dependency => (
            Reason::DependencyNotReady,
            "remove what blocks it, or wait: it is tried again until nothing blocks it",
        ),
        ErrorKind::Unauthorized => (
            Reason::Unauthorized,
            "correct the credentials: until they change, only one request every 6 minutes is sent, since more would \
             lock the access key",
        ),
        ErrorKind::Forbidden => (Reason::Forbidden, "grant that to the credentials' user"),
        ErrorKind::NotAvailable if error.operation.is_about_users() => (
            Reason::NotAvailable,
            "check the endpoint and the region: the requested API is not served there (VPN users are offered by \
             Huawei Cloud only)",
        ),
        ErrorKind::NotAvailable => (
            Reason::NotAvailable,
            "check the endpoint and the region: the requested API is not served there",
        ),
        ErrorKind::QuotaExceeded => (
            Reason::QuotaExceeded,
            "delete what is not needed, or request a higher quota",
        ),
        ErrorKind::RecentPassword => (
            Reason::InvalidPassword,
            "the cloud takes none of a user's latest five passwords again, so the one that was set last stays in \
             force: put a new one into the Secret that spec.passwordSecretRef names",
        ),
        ErrorKind::BadPassword => (
            Reason::InvalidPassword,
            "put a password that keeps the cloud's rules into the Secret that spec.passwordSecretRef names",
        ),
        ErrorKind::Duplicate if error.operation == cloud::Operation::CreateVpnUser => (
            Reason::NameConflict,
            "the user that exists is not this object's: to adopt it, set spec.externalID to its id or \
             spec.adoptionPolicy to IfExists; else recreate this object with another spec.name",
        ),
        // Only an object without a cloud resource can adopt one.
        ErrorKind::Duplicate if error.operation != cloud::Operation::CreateCustomerGateway => (
            Reason::NameConflict,
            "another one in the cloud has that already: change the spec, or that one",
        ),
        ErrorKind::Duplicate => (
            Reason::NameConflict,
            "the one that exists is not this object's: set spec.externalID to its id to adopt it, or change the spec",
        ),
        ErrorKind::Gone => (Reason::CloudError, "it is searched for again"),
        ErrorKind::Rejected => (Reason::Rejected, "correct the spec, or the Secret that it names"),
    };
    let hint = match (&error.not_before, error.kind) {
        (Some(end), ErrorKind::Throttled) => {
            format!("the cloud asks for that wait: no request of this access key is sent before {end}")
        }
        (Some(end), ErrorKind::QueueFull | ErrorKind::CloudFault | ErrorKind::Repeated) => {
            format!("{hint}, but not before {end}: the cloud asks for that wait")
        }
        _ => hint.to_owned(),
    };
    let mut backoff = error.kind.backoff();
    if let (Some(after), Some(_)) = (error.retry_after, &error.not_before)
        && error.retry() == Retry::Again
    {
        backoff = Backoff::exactly(after);
    } else if let Some(after) = error.retry_after {
        backoff.first = backoff.first.max(after);
        if error.kind == ErrorKind::Unauthorized {
            backoff.first = after.max(RETRY.first);
        }
        backoff.cap = backoff.cap.max(backoff.first);
    }
    Failure {
        condition: crate::api::conditions::ReadyCondition::new(reason, format!("{error}; {hint}")),
        backoff,
    }
}

/// All sessions, and which objects use them.
pub struct Sessions {
    /// Queues of writes that must not overlap, whatever credentials they use.
    pub write_queues: Arc<WriteQueues<Key>>,
    shared: Arc<Shared>,
    in_use: Mutex<InUse>,
}

/// Under one lock: while the last user of a session leaves it, another object may be assigned to it. The session must
/// not then exist beside a second one of the same credential.
#[derive(Default)]
struct InUse {
    sessions: HashMap<[u8; 32], (Arc<Session>, HashSet<Key>)>,
    by_user: HashMap<Key, [u8; 32]>,
    access_keys: HashMap<[u8; 32], Weak<AccessKey>>,
}

impl InUse {
    /// Ends the object's use of its session. Returns that session.
    fn leave(&mut self, key: &Key) -> Option<Arc<Session>> {
        let fingerprint = self.by_user.remove(key)?;
        let (session, users) = self.sessions.get_mut(&fingerprint)?;
        users.remove(key);
        if users.is_empty() {
            return self.sessions.remove(&fingerprint).map(|(session, _)| session);
        }
        Some(Arc::clone(session))
    }
}

/// An object's use of one session at a time. Dropping it ends that use, and removes the object from the write queues.
pub struct SessionUser {
    sessions: Arc<Sessions>,
    key: Key,
}

impl SessionUser {
    /// Returns the session of a credential, which the object uses from now on.
    pub fn assign(&self, credential: Credential) -> Arc<Session> {
        self.sessions.assign(&self.key, credential)
    }

    /// Ends the object's use of its session.
    pub fn release(&self) {
        self.sessions.release(&self.key);
    }
}

impl Drop for SessionUser {
    fn drop(&mut self) {
        self.sessions.release(&self.key);
    }
}

impl Sessions {
    pub fn new(shared: Shared) -> Arc<Self> {
        let shared = Arc::new(shared);
        let waker = Arc::clone(&shared);
        Arc::new(Self {
            write_queues: WriteQueues::new(move |key| (waker.grant)(key)),
            shared,
            in_use: Mutex::default(),
        })
    }

    /// Registers one object, for as long as it is watched.
    pub fn user(self: &Arc<Self>, key: &Key) -> SessionUser {
        SessionUser {
            sessions: Arc::clone(self),
            key: key.clone(),
        }
    }

    fn assign(&self, key: &Key, credential: Credential) -> Arc<Session> {
        let fingerprint = credential.fingerprint();
        let (session, former) = {
            let mut in_use = lock(&self.in_use);
            let stays = in_use.by_user.get(key) == Some(&fingerprint);
            let former = if stays { None } else { in_use.leave(key) };
            let InUse {
                sessions,
                by_user,
                access_keys,
            } = &mut *in_use;
            let start = || {
                let access_key = self.access_key(access_keys, &credential);
                let session = Session::start(credential, access_key, Arc::clone(&self.shared));
                (session, HashSet::new())
            };
            let (session, users) = sessions.entry(fingerprint).or_insert_with(start);
            if !stays {
                users.insert(key.clone());
                by_user.insert(key.clone(), fingerprint);
            }
            (Arc::clone(session), former)
        };
        if let Some(former) = former {
            former.forget(key);
        }
        session
    }

    fn release(&self, key: &Key) {
        self.write_queues.forget(key);
        let former = lock(&self.in_use).leave(key);
        if let Some(former) = former {
            former.forget(key);
        }
    }

    /// Returns the objects that use the same credential, this one included.
    pub fn sharing_session(&self, key: &Key) -> Vec<Key> {
        let in_use = lock(&self.in_use);
        let fingerprint = in_use.by_user.get(key);
        let users = fingerprint.and_then(|fingerprint| in_use.sessions.get(fingerprint));
        users.into_iter().flat_map(|(_, users)| users.iter().cloned()).collect()
    }

    /// The number of sessions.
    pub fn count(&self) -> usize {
        lock(&self.in_use).sessions.len()
    }

    /// The number of requests of all sessions that wait for a permit or in a write queue.
    pub fn waiting(&self) -> usize {
        let in_use = lock(&self.in_use);
        let access_keys = in_use.access_keys.values().filter_map(Weak::upgrade);
        access_keys
            .map(|access_key| access_key.rate_limiter.waiting())
            .sum::<usize>()
            + self.write_queues.waiting()
    }

    /// Returns the access key of a credential. It exists for as long as its sessions.
    fn access_key(
        &self,
        access_keys: &mut HashMap<[u8; 32], Weak<AccessKey>>,
        credential: &Credential,
    ) -> Arc<AccessKey> {
        let fingerprint = credential.key_fingerprint();
        if let Some(in_use) = access_keys.get(&fingerprint).and_then(Weak::upgrade) {
            return in_use;
        }
        access_keys.retain(|_, access_key| access_key.strong_count() > 0);
        let shared = Arc::clone(&self.shared);
        let (rate, timeout) = (shared.max_requests_per_second, shared.request_timeout);
        let started = AccessKey::start(rate, timeout, move |key| (shared.grant)(key));
        access_keys.insert(fingerprint, Arc::downgrade(&started));
        started
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::cloud::Credentials;
    use crate::cloud::transport::{RequestObserver, TransportOptions};
    use crate::metrics::Metrics;

    struct Unobserved;

    impl RequestObserver for Unobserved {
        fn finished(&self, _: cloud::Operation, _: &'static str, _: Duration) {}
    }

    /// Sessions of a cloud that gets no requests.
    pub fn sessions() -> Arc<Sessions> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let request_timeout = Duration::from_secs(1);
        let options = TransportOptions {
            ca_file: None,
            request_timeout,
        };
        Sessions::new(Shared {
            transport: Transport::new(&options, Arc::new(Unobserved)).unwrap(),
            max_requests_per_second: 1.0,
            request_timeout,
            resync_period: None,
            owner_tag_key: "owner".to_owned(),
            enqueue: Box::new(|_| {}),
            grant: Box::new(|_| {}),
            health: CredentialHealth::new(None, Metrics::default(), Box::new(|_, _| {})),
            listed: Box::new(|_, _| {}),
            unreadable: Box::new(|_, _| {}),
            endpoint_aliases: EndpointAliases::default(),
        })
    }

    /// A credential with this access key.
    pub fn credential(access_key: &str) -> Credential {
        Credential {
            keys: Arc::new(Credentials::new(access_key.to_owned(), "secret".into(), None).unwrap()),
            vpn_endpoint: "https://vpn.example.com".to_owned(),
            iam_endpoint: None,
            region: None,
            project_id: Some("project".to_owned()),
            origin: "a test".to_owned(),
            secret: None,
        }
    }

    fn key(name: &str) -> Key {
        Key {
            kind: "CustomerGateway",
            namespace: "n".to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn an_outage_is_no_failure_of_the_credential_and_hides_none() {
        let error = |kind| CloudError::new(cloud::Operation::ListCustomerGateways, kind, "words");
        let says = |heard: &Heard| match heard.finding() {
            None => "nothing",
            Some(Finding::Works) => "works",
            Some(Finding::Outage { .. }) => "outage",
            Some(Finding::Fails(failure)) => failure.condition.reason.as_str(),
        };
        let mut heard = Heard::default();
        assert_eq!(says(&heard), "nothing");
        let ends = |heard: &mut Heard, source: &str, kind: Option<ErrorKind>| {
            let error = kind.map(error);
            heard.answered(error.as_ref(), Instant::now());
            heard.read_ended(source, error.as_ref());
        };
        for (source, kind, expected) in [
            ("gateways", Some(ErrorKind::CloudFault), "outage"),
            ("gateways", None, "works"),
            ("users", Some(ErrorKind::Forbidden), "Forbidden"),
            ("gateways", None, "Forbidden"),
            ("users", Some(ErrorKind::CloudFault), "Forbidden"),
            ("gateways", Some(ErrorKind::Unauthorized), "Unauthorized"),
            ("gateways", Some(ErrorKind::CloudFault), "Unauthorized"),
            ("gateways", None, "Forbidden"),
            ("users", None, "works"),
            // A successful read of one collection proves nothing about another.
            ("users", Some(ErrorKind::CloudFault), "outage"),
            ("gateways", None, "outage"),
            ("gateways", Some(ErrorKind::Forbidden), "Forbidden"),
            ("gateways", None, "outage"),
            ("users", None, "works"),
        ] {
            ends(&mut heard, source, kind);
            assert_eq!(says(&heard), expected, "{source}: {kind:?}");
        }
    }

    /// A refusal with a long wait.
    fn throttled(seconds: u64, request: &str) -> CloudError {
        let wait = Duration::from_secs(seconds);
        CloudError {
            status: Some(429),
            code: Some("VPN.0429".to_owned()),
            request_id: Some(request.to_owned()),
            retry_after: Some(wait),
            not_before: cloud::time::end_of(wait, Timestamp::UNIX_EPOCH).map(Box::new),
            ..CloudError::new(cloud::Operation::ListCustomerGateways, ErrorKind::Throttled, "too many")
        }
    }

    #[test]
    fn a_long_wait_fails_until_a_later_request_is_served() {
        let is_throttled = |heard: &Heard| match heard.finding() {
            Some(Finding::Fails(failure)) => {
                assert_eq!(failure.condition.reason, Reason::Throttled);
                true
            }
            _ => false,
        };
        let mut heard = Heard::default();
        let before = Instant::now();
        heard.answered(None, before);
        let refusal = throttled(3600, "1");
        heard.answered(Some(&refusal), before);
        heard.read_ended("gateways", Some(&refusal));
        assert!(is_throttled(&heard));
        let found = heard.finding();
        // Requests from before, and requests that are refused without being sent, change nothing.
        heard.answered(None, before);
        heard.answered(Some(&throttled(3610, "2")), before);
        heard.answered(Some(&throttled(3600, "1")), Instant::now());
        heard.read_ended("users", Some(&refusal));
        assert_eq!(heard.finding(), found);
        // Neither does another refusal, or an outage.
        let short = CloudError {
            not_before: None,
            ..refusal
        };
        heard.answered(Some(&short), Instant::now());
        heard.answered(
            Some(&CloudError::new(
                cloud::Operation::GetVpnUser,
                ErrorKind::CloudFault,
                "no",
            )),
            Instant::now(),
        );
        assert_eq!(heard.finding(), found);
        heard.answered(None, Instant::now());
        assert_eq!(heard.finding(), Some(Finding::Works));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_wait_holds_back_everything_of_the_access_key_and_names_one_end() {
        let sessions = sessions();
        let (one, other) = (sessions.user(&key("one")), sessions.user(&key("other")));
        let session = one.assign(credential("A"));
        let elsewhere = other.assign(Credential {
            project_id: Some("other".to_owned()),
            ..credential("A")
        });
        assert!(!Arc::ptr_eq(&session, &elsewhere));
        let start = Instant::now();
        let refused = async { Err::<Answer<()>, _>(throttled(3600, "1")) };
        assert!(session.send(refused).await.is_err());
        for (seconds, request) in [(3601, "2"), (60, "3")] {
            session.access_key.throttled(&throttled(seconds, request), start);
        }
        for session in [&session, &elsewhere] {
            let never = async { panic!("nothing is sent") };
            let refused = session.send::<()>(never).await.unwrap_err();
            assert_eq!(refused.retry_after, Some(Duration::from_secs(3601)));
            assert!(session.permit(Priority::Read).await.is_err());
            let told = failure_of(&refused);
            let expected = "listing the customer gateways failed: too many (VPN.0429, request id 1); the cloud asks \
                            for that wait: no request of this access key is sent before 1970-01-01T01:00:00Z";
            assert_eq!(told.condition, ReadyCondition::new(Reason::Throttled, expected));
            assert_eq!(told.backoff, Backoff::exactly(Duration::from_secs(3601)));
            assert!(matches!(session.finding(), Some(Finding::Fails(_))));
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        tokio::time::advance(Duration::from_secs(3595)).await;
        assert!(session.held_back().is_none(), "its end is waited for");
        let permit = session.permit(Priority::Read).await.unwrap();
        assert!(start.elapsed() >= Duration::from_secs(3601));
        drop(permit);
    }

    #[test]
    fn an_object_that_waits_for_long_says_until_when_and_an_outage_of_reads_does_not() {
        for kind in [ErrorKind::QueueFull, ErrorKind::CloudFault] {
            let error = CloudError {
                kind,
                ..throttled(3600, "1")
            };
            let told = failure_of(&error);
            let words = "it is tried again";
            assert!(told.condition.message.contains(words), "{}", told.condition.message);
            assert!(
                told.condition.message.contains("not before 1970-01-01T01:00:00Z"),
                "{}",
                told.condition.message
            );
            assert_eq!(told.backoff, Backoff::exactly(Duration::from_secs(3600)));
        }
        let outage = CloudError {
            kind: ErrorKind::CloudFault,
            ..throttled(3600, "1")
        };
        let mut heard = Heard::default();
        heard.read_ended("gateways", Some(&outage));
        let Some(Finding::Outage { condition, .. }) = heard.finding() else {
            panic!("no outage")
        };
        assert!(!condition.message.contains("1970"), "{}", condition.message);
    }

    #[test]
    fn what_is_found_changes_only_with_the_collection_that_has_failed_for_longest() {
        let error = |kind, text: &str| CloudError::new(cloud::Operation::ListVpnUsers, kind, text);
        let names = |heard: &Heard, text: &str| match heard.finding() {
            Some(Finding::Outage { condition, .. } | Finding::Fails(CredentialFailure { condition, .. })) => {
                condition.message.contains(text)
            }
            _ => false,
        };
        for kind in [ErrorKind::CloudFault, ErrorKind::Forbidden] {
            let mut heard = Heard::default();
            heard.read_ended("b", Some(&error(kind, "second server")));
            for _ in 0..2 {
                heard.read_ended("a", Some(&error(kind, "first server")));
                assert!(names(&heard, "second server"), "{kind:?}");
                heard.read_ended("a", None);
                assert!(names(&heard, "second server"), "{kind:?}");
            }
            heard.read_ended("a", Some(&error(kind, "first server")));
            heard.read_ended("b", None);
            assert!(names(&heard, "first server"), "{kind:?}");
        }
    }

    #[tokio::test]
    async fn what_is_not_read_any_more_fails_no_more() {
        let sessions = sessions();
        let user = sessions.user(&key("one"));
        let session = user.assign(credential("A"));
        let error = |kind| CloudError::new(cloud::Operation::ListVpnUsers, kind, "words");
        session.listed("vpn-users", "users", Some(&error(ErrorKind::CloudFault)));
        session.listed("vpn-user-groups", "groups", Some(&error(ErrorKind::Forbidden)));
        assert!(matches!(session.finding(), Some(Finding::Fails(_))));
        session.unlisted("groups");
        assert!(matches!(
            session.finding(),
            Some(Finding::Outage { is_accepted: false, .. })
        ));
        session.unlisted("users");
        assert_eq!(session.finding(), None);
    }

    #[tokio::test]
    async fn an_object_that_changes_its_credential_leaves_the_former_session() {
        let sessions = sessions();
        let (one, other) = (sessions.user(&key("one")), sessions.user(&key("other")));
        let shared = one.assign(credential("A"));
        assert!(Arc::ptr_eq(&shared, &other.assign(credential("A"))));
        assert_eq!(sessions.sharing_session(&key("one")).len(), 2);
        assert!(!Arc::ptr_eq(&shared, &one.assign(credential("B"))));
        assert_eq!(sessions.sharing_session(&key("one")), [key("one")]);
        assert_eq!(sessions.count(), 2);
        other.release();
        assert_eq!(sessions.count(), 1);
        drop(one);
        assert_eq!(sessions.count(), 0);
        assert_eq!(sessions.sharing_session(&key("one")), []);
    }

    #[tokio::test]
    async fn one_credential_is_never_split_into_two_sessions() {
        const ROUNDS: usize = 2000;
        let sessions = sessions();
        let (together, runtime) = (Barrier::new(2), tokio::runtime::Handle::current());
        let rounds = |name: &str| {
            let _runtime = runtime.enter();
            let user = sessions.user(&key(name));
            let mut used = Vec::with_capacity(ROUNDS);
            for _ in 0..ROUNDS {
                // One object is assigned while the other leaves, or is assigned as well.
                let session = user.assign(credential("A"));
                together.wait();
                used.push(Arc::as_ptr(&session) as usize);
                together.wait();
                user.release();
            }
            used
        };
        let (one, other) = std::thread::scope(|scope| {
            let one = scope.spawn(|| rounds("one"));
            let other = scope.spawn(|| rounds("other"));
            (one.join().unwrap(), other.join().unwrap())
        });
        assert_eq!(one, other);
        assert_eq!(sessions.count(), 0);
    }
}
