//! A credential at work: its client, clock and mirrors. Equal credentials share one tenant, and tenants of one access key
//! its budget and breaker.

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
use super::credential_health::{CredentialHealth, Failure, Finding};
use super::decide::{AGAIN, Access, Trouble};
use super::key::Key;
use super::servers::{Server, Servers};
use crate::api::Scope;
use crate::api::conditions::{Reason, Verdict};
use crate::cloud::breaker::{Admit, Flight};
use crate::cloud::budget::{Budget, Priority};
use crate::cloud::clock::{CloudClock, Moment};
use crate::cloud::customer_gateways::CustomerGateway;
use crate::cloud::endpoints::EndpointAliases;
use crate::cloud::lane::Lanes;
use crate::cloud::transport::Transport;
use crate::cloud::{self, Answer, Client, CloudError, Meaning, iam};
use crate::mirror::{LostAt, MassDeletion, Mirror};

/// What the look-up of the project is called among what is read.
const PROJECT: &str = "project";
/// So the tags of gateways, where lists omit them.
const TAGS: &str = "tags";
/// How long a failed project look-up stands before it is tried again.
const LOOK_UP_AGAIN: Duration = Duration::from_secs(5);
/// What counts as at once where there are no drift checks.
const WITHOUT_CHECKS: Duration = Duration::from_secs(300);
/// How often a request asks again whether the first one of its credential has proved it.
const FIRST_FLIGHT_POLL: Duration = Duration::from_millis(20);

/// What all tenants share.
pub struct Shared {
    pub transport: Transport,
    pub max_requests_per_second: f64,
    pub request_timeout: Duration,
    pub resync_period: Option<Duration>,
    pub owner_tag_key: String,
    /// There is news for an object.
    pub wake: Box<dyn Fn(Key) + Send + Sync>,
    /// A permit or a write queue is kept for an object.
    pub grant: Box<dyn Fn(Key) + Send + Sync>,
    pub health: Arc<CredentialHealth>,
    /// Told of each ended LIST: collection and outcome.
    pub listed: Box<dyn Fn(&'static str, bool) + Send + Sync>,
    /// Told of each LIST that was read: collection, and how many items could not be read in full.
    pub unreadable: Box<dyn Fn(&'static str, usize) + Send + Sync>,
    /// Other names of endpoints.
    pub endpoint_aliases: EndpointAliases,
}

/// See the module.
pub struct Tenant {
    pub credential: Credential,
    access_key: Arc<AccessKey>,
    shared: Arc<Shared>,
    clock: Mutex<CloudClock>,
    project: tokio::sync::Mutex<Option<FailedLookUp>>,
    open: OnceLock<Open>,
    fingerprint: [u8; 32],
    heard: Mutex<Heard>,
    /// The second of the last success, by our own clock.
    last_success: AtomicI64,
    overwrites_tags: AtomicBool,
    tasks: Mutex<Vec<AbortHandle>>,
}

/// A tenant whose project is known.
pub struct Open {
    pub scope: Scope,
    pub client: Client,
    pub gateways: Arc<Mirror<CustomerGateway, Key>>,
    servers: Servers,
    resync_period: Option<Duration>,
}

impl Open {
    /// A VPN server's mirrors, for an object that reads from them from now on.
    pub fn server(&self, id: &str, reader: &Key) -> Arc<Server> {
        self.servers.of(id, reader)
    }

    /// Whether more than max(10, 20 %) of the credential's objects were lost at once with one that was lost then.
    pub fn mass_deletion(&self, at: LostAt) -> Option<MassDeletion> {
        let period = self.resync_period.unwrap_or(WITHOUT_CHECKS);
        // Deletions within one period may be found by two checks in a row, and a check takes its time.
        let window = period.saturating_mul(3) / 2;
        let gateways = self.gateways.known().losses(at, window);
        let losses = self.servers.losses(at, window).into_iter().chain([gateways]);
        let (missing, of) = losses.fold((0, 0), |(missing, of), (more, more_of)| (missing + more, of + more_of));
        MassDeletion::suspected(missing, of)
    }

    /// Whether what is missing of the credential's objects has been counted.
    pub fn is_counted(&self) -> bool {
        self.servers.are_counted() && self.gateways.known().is_counted()
    }

    fn forget(&self, reader: &Key) {
        self.gateways.known().forget(reader);
        self.servers.forget(reader);
    }
}

impl Tenant {
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

    /// Who asks the cloud needs a turn, and keeps it until the answer is in.
    pub fn budget(&self) -> &Budget<Key> {
        &self.access_key.budget
    }

    /// The client, once the project is known.
    pub fn client(&self) -> Option<Client> {
        self.open.get().map(|open| open.client.clone())
    }

    /// What is needed to talk about objects; looks the project up if nobody has told it. A failure from before `since`
    /// is none.
    pub async fn open(self: &Arc<Self>, since: Option<Instant>) -> Result<&Open, Trouble> {
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
            return Err(trouble(&last.error));
        }
        let project_id = match &self.credential.project_id {
            Some(project_id) => project_id.clone(),
            None => match self.look_up_project().await {
                Ok(project_id) => project_id,
                Err(LookUp::Trouble(trouble)) => return Err(trouble),
                Err(LookUp::Cloud(error)) => {
                    let trouble = trouble(&error);
                    let again = error.retry_after.unwrap_or_default().max(LOOK_UP_AGAIN);
                    *failed = Some(FailedLookUp {
                        error: *error,
                        started: now,
                        until: Instant::now() + again,
                    });
                    return Err(trouble);
                }
            },
        };
        *failed = None;
        Ok(self.open.get_or_init(|| self.opened(project_id)))
    }

    /// The cloud's present time, never ahead of it; `None` until an answer tells it.
    pub fn cloud_now(&self) -> Option<Timestamp> {
        lock(&self.clock).now(Moment::now())
    }

    /// If the cloud's time is not known: only an answer to what is started from then on tells it.
    pub fn time_unknown_since(&self) -> Option<Instant> {
        lock(&self.clock).unknown_since()
    }

    pub fn access(&self, open: &Open) -> Access {
        Access {
            scope: open.scope.clone(),
            cloud_now: self.cloud_now(),
        }
    }

    /// Whether this cloud overwrites the value of a tag that exists; it is believed to until it refuses.
    pub fn overwrites_tags(&self) -> bool {
        self.overwrites_tags.load(Ordering::Relaxed)
    }

    pub fn refused_to_overwrite_tags(&self) {
        self.overwrites_tags.store(false, Ordering::Relaxed);
    }

    /// Sends a request, for which the caller has a turn in the budget, unless the breaker is open, and learns from its
    /// answer.
    pub async fn send<T>(
        &self,
        call: impl Future<Output = Result<Answer<T>, CloudError>>,
    ) -> Result<Answer<T>, CloudError> {
        let flight = self.admitted().await?;
        self.fly(flight, call, true).await
    }

    /// The same for a request that changes something. Whether it may still be sent is asked after all waiting, with nothing
    /// left to be done but to send; `None`: it may not, and nothing was sent.
    pub async fn send_if<T>(
        &self,
        may_send: impl FnOnce() -> bool,
        call: impl Future<Output = Result<Answer<T>, CloudError>>,
    ) -> Option<Result<Answer<T>, CloudError>> {
        let flight = match self.admitted().await {
            Ok(flight) => flight,
            Err(error) => return Some(Err(error)),
        };
        if !may_send() {
            self.access_key.breaker().not_sent(flight, Instant::now());
            return None;
        }
        Some(self.fly(flight, call, true).await)
    }

    /// Waits until the breaker lets a request through.
    async fn admitted(&self) -> Result<Flight, CloudError> {
        loop {
            match self.access_key.breaker().admit(Instant::now()) {
                Admit::Go(flight) => return Ok(flight),
                Admit::Wait => {}
                Admit::Refused { error, until } => {
                    let mut error = *error;
                    error.retry_after = Some(until.saturating_duration_since(Instant::now()));
                    // This request was not sent at all.
                    error.outcome_unknown = false;
                    self.answered(Some(&error));
                    return Err(error);
                }
            }
            tokio::time::sleep(FIRST_FLIGHT_POLL).await;
        }
    }

    async fn fly<T>(
        &self,
        flight: Flight,
        call: impl Future<Output = Result<Answer<T>, CloudError>>,
        tells_time: bool,
    ) -> Result<Answer<T>, CloudError> {
        let sent = Instant::now();
        let result = call.await;
        let now = Instant::now();
        self.access_key
            .breaker()
            .finished(flight, result.as_ref().map(|_| ()), now);
        let date = match &result {
            Ok(answer) => Some(answer.date),
            // One that never came says nothing, not even that the cloud does not tell the time.
            Err(error) => error.date.map(Some),
        };
        if let Some(date) = date.filter(|_| tells_time) {
            lock(&self.clock).answered(date, sent, Moment::now());
        }
        match &result {
            Err(error) if error.meaning == Meaning::Throttled => self.budget().throttled(error.retry_after, now),
            _ => self.budget().succeeded(now),
        }
        self.answered(result.as_ref().err());
        result
    }

    async fn look_up_project(&self) -> Result<String, LookUp> {
        let (Some(endpoint), Some(region)) = (&self.credential.iam_endpoint, &self.credential.region) else {
            let message = "the credentials name neither a project id nor a region to look it up by: set one of them";
            let trouble = person(Reason::InvalidSpec, message);
            self.heard(|heard| heard.unusable = Some(trouble.verdict.clone()));
            return Err(LookUp::Trouble(trouble));
        };
        let _turn = self.budget().turn(Priority::Read).await;
        let call = iam::look_up_project(&self.shared.transport, &self.credential.keys, endpoint, region);
        // By the clock of the VPN API objects get their times, not by that of IAM.
        let answer = match self.admitted().await {
            Ok(flight) => self.fly(flight, call, false).await,
            Err(error) => Err(error),
        };
        let result = answer.map(|answer| answer.value);
        self.read_ended(PROJECT, result.as_ref().err());
        result.map_err(|error| LookUp::Cloud(Box::new(error)))
    }

    fn opened(self: &Arc<Self>, project_id: String) -> Open {
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
        let gateways = Mirror::new(self.shared.owner_tag_key.clone(), source, move |key| (shared.wake)(key));
        if let Some(period) = self.shared.resync_period {
            let mirror = Arc::downgrade(&gateways);
            self.spawn(async move {
                loop {
                    tokio::time::sleep(period).await;
                    let Some(mirror) = mirror.upgrade() else { return };
                    mirror.relist();
                }
            });
        }
        Open {
            scope,
            client,
            gateways,
            servers: Servers::new(reads, Arc::clone(&self.shared)),
            resync_period: self.shared.resync_period,
        }
    }

    /// A read of a whole collection ended; `source` tells it from others of its kind.
    pub fn listed(&self, collection: &'static str, source: &str, error: Option<&CloudError>) {
        self.read_ended(source, error);
        (self.shared.listed)(collection, error.is_none());
    }

    /// The tags that lists omit could be read otherwise, or not.
    pub fn tags_read(&self, error: Option<&CloudError>) {
        self.read_ended(TAGS, error);
    }

    /// So many items of a list could not be read in full.
    pub fn read_unreadable(&self, collection: &'static str, count: usize) {
        (self.shared.unreadable)(collection, count);
    }

    /// The source is not read any more: that it failed says nothing.
    pub fn unlisted(&self, source: &str) {
        self.heard(|heard| {
            heard.refused.remove(source);
            heard.outages.remove(source);
        });
    }

    /// What is known of the credential, for a Secret that leads here.
    pub fn finding(&self) -> Option<Finding> {
        lock(&self.heard).finding()
    }

    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    fn read_ended(&self, source: &str, error: Option<&CloudError>) {
        self.heard(|heard| heard.read_ended(source, error));
    }

    fn answered(&self, error: Option<&CloudError>) {
        if error.is_none() {
            let now = Timestamp::now();
            if self.last_success.swap(now.as_second(), Ordering::Relaxed) != now.as_second() {
                self.shared.health.succeeded(&self.fingerprint, now);
            }
        }
        self.heard(|heard| heard.answered(error));
    }

    /// Reports what that changes.
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

    /// The object does not use it any more.
    fn forget(&self, key: &Key) {
        self.budget().forget(key);
        if let Some(open) = self.open.get() {
            open.forget(key);
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        lock(&self.tasks).push(tokio::spawn(task).abort_handle());
    }
}

impl Drop for Tenant {
    fn drop(&mut self) {
        for task in lock(&self.tasks).iter() {
            task.abort();
        }
    }
}

/// How the cloud treats a credential, from all answers.
#[derive(Default)]
struct Heard {
    /// Nothing can be asked with it.
    unusable: Option<Verdict>,
    /// The cloud does not accept the access key.
    key: Option<CloudError>,
    /// What it may not read, or cannot where it leads.
    refused: Failing,
    /// What could not be read last, which is not the credential's fault.
    outages: Failing,
    works: bool,
}

/// Collections whose reads fail, the one that has failed for longest first: what others do besides is no news.
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
    fn answered(&mut self, error: Option<&CloudError>) {
        match error.map(|error| error.meaning) {
            None => {
                self.works = true;
                self.key = None;
            }
            Some(Meaning::Unauthorized) => {
                if self.key.is_none() {
                    self.key = error.cloned();
                }
            }
            // These come before anybody has asked who we are.
            Some(Meaning::CloudFault | Meaning::Throttled | Meaning::NotAvailable) => {}
            Some(_) => self.key = None,
        }
    }

    fn read_ended(&mut self, source: &str, error: Option<&CloudError>) {
        let Some(error) = error else {
            self.refused.remove(source);
            self.outages.remove(source);
            return;
        };
        match error.meaning {
            Meaning::Unauthorized => {}
            Meaning::Forbidden | Meaning::NotAvailable => {
                self.refused.insert(source, error);
                self.outages.remove(source);
            }
            _ => self.outages.insert(source, error),
        }
    }

    fn finding(&self) -> Option<Finding> {
        if let Some(verdict) = &self.unusable {
            return Some(Finding::Fails(Failure::of(verdict.clone())));
        }
        let verdict = |error: &CloudError| trouble(error).verdict;
        match (self.key.as_ref().or_else(|| self.refused.first()), self.outages.first()) {
            (Some(error), _) => Some(Finding::Fails(Failure::of(verdict(error)))),
            (None, Some(error)) => Some(Finding::Outage {
                verdict: verdict(error),
                is_accepted: self.works,
            }),
            (None, None) => self.works.then_some(Finding::Works),
        }
    }
}

/// Stands for everybody who asks soon after.
struct FailedLookUp {
    error: CloudError,
    started: Instant,
    until: Instant,
}

enum LookUp {
    Trouble(Trouble),
    Cloud(Box<CloudError>),
}

/// What a cloud error says about an object.
pub fn trouble(error: &CloudError) -> Trouble {
    let (reason, hint) = match error.meaning {
        Meaning::Throttled => (Reason::Throttled, "it is tried again, more slowly"),
        Meaning::QueueFull => (Reason::Throttled, "it is tried again, more slowly"),
        Meaning::CloudFault if error.outcome_unknown && error.operation == cloud::Operation::ResetVpnUserPassword => (
            Reason::CloudError,
            "whether it took effect is not known: the same password is sent again, until the cloud takes it or says that it \
             has it",
        ),
        Meaning::CloudFault if error.outcome_unknown => (
            Reason::CloudError,
            "whether it took effect is not known: the cloud is looked at before it is tried again",
        ),
        Meaning::CloudFault => (Reason::CloudError, "it is tried again"),
        Meaning::Repeated => (Reason::CloudError, "it is looked at and tried again"),
        Meaning::Dependency if error.operation.is_about_users() => (
            Reason::DependencyNotReady,
            "it is tried again until the VPN server (spec.vpnServerID) and the group (spec.userGroupID or userGroupName) are \
             there, the server is ACTIVE with LOCAL_PASSWORD authentication, and no deletion stands in the way",
        ),
        Meaning::Dependency => (
            Reason::DependencyNotReady,
            "remove what stands in the way, or wait: it is tried again until that is out of the way",
        ),
        Meaning::Unauthorized => (
            Reason::Unauthorized,
            "correct the credentials: until they change, only one request every 6 minutes is sent, since more would lock \
             the access key",
        ),
        Meaning::Forbidden => (Reason::Forbidden, "grant that to the credentials' user"),
        Meaning::NotAvailable if error.operation.is_about_users() => (
            Reason::NotAvailable,
            "check the endpoint and the region: what was asked for is not served there (VPN users are offered by Huawei Cloud \
             only)",
        ),
        Meaning::NotAvailable => (
            Reason::NotAvailable,
            "check the endpoint and the region: what was asked for is not served there",
        ),
        Meaning::QuotaExceeded => (
            Reason::QuotaExceeded,
            "delete what is not needed, or have the quota raised",
        ),
        Meaning::RecentPassword => (
            Reason::InvalidPassword,
            "the cloud takes none of a user's latest five passwords again, so the one that was set last stays in force: put \
             a new one into the Secret that spec.passwordSecretRef names",
        ),
        Meaning::BadPassword => (
            Reason::InvalidPassword,
            "put a password that keeps the cloud's rules into the Secret that spec.passwordSecretRef names",
        ),
        Meaning::Duplicate if error.operation == cloud::Operation::CreateVpnUser => (
            Reason::NameConflict,
            "the user that exists is not this object's: to adopt it, set spec.externalID to its id or \
             spec.adoptionPolicy to IfExists; else make this object anew with another spec.name",
        ),
        // Only what has no object yet can adopt one.
        Meaning::Duplicate if error.operation != cloud::Operation::CreateCustomerGateway => (
            Reason::NameConflict,
            "another one in the cloud has that already: change the spec, or that one",
        ),
        Meaning::Duplicate => (
            Reason::NameConflict,
            "the one that exists is not this object's: set spec.externalID to its id to adopt it, or change the spec",
        ),
        Meaning::Gone => (Reason::CloudError, "it is looked for again"),
        Meaning::Rejected => (Reason::Rejected, "correct the spec, or the Secret that it names"),
    };
    let mut pace = error.meaning.pace();
    if let Some(after) = error.retry_after {
        pace.first = pace.first.max(after);
        if error.meaning == Meaning::Unauthorized {
            pace.first = after.max(AGAIN.first);
        }
        pace.cap = pace.cap.max(pace.first);
    }
    Trouble {
        verdict: crate::api::conditions::Verdict::new(reason, format!("{error}; {hint}")),
        pace,
    }
}

/// All tenants, and who uses which.
pub struct Tenants {
    /// Writes that must not overlap, whoever's credentials they use.
    pub lanes: Arc<Lanes<Key>>,
    shared: Arc<Shared>,
    in_use: Mutex<InUse>,
}

/// Under one lock: a tenant that is left by its last user while another object is assigned to it must not go on beside a
/// second one of the same credential.
#[derive(Default)]
struct InUse {
    tenants: HashMap<[u8; 32], (Arc<Tenant>, HashSet<Key>)>,
    by_user: HashMap<Key, [u8; 32]>,
    access_keys: HashMap<[u8; 32], Weak<AccessKey>>,
}

impl InUse {
    /// The object uses no tenant any more; the one that it used.
    fn leave(&mut self, key: &Key) -> Option<Arc<Tenant>> {
        let fingerprint = self.by_user.remove(key)?;
        let (tenant, users) = self.tenants.get_mut(&fingerprint)?;
        users.remove(key);
        if users.is_empty() {
            return self.tenants.remove(&fingerprint).map(|(tenant, _)| tenant);
        }
        Some(Arc::clone(tenant))
    }
}

/// An object's use of a tenant, of one at a time. It uses none any more, and waits for no write, when this is dropped.
pub struct TenantUser {
    tenants: Arc<Tenants>,
    key: Key,
}

impl TenantUser {
    /// The tenant of a credential, which the object uses from now on.
    pub fn assign(&self, credential: Credential) -> Arc<Tenant> {
        self.tenants.assign(&self.key, credential)
    }

    /// The object uses none any more.
    pub fn release(&self) {
        self.tenants.release(&self.key);
    }
}

impl Drop for TenantUser {
    fn drop(&mut self) {
        self.tenants.release(&self.key);
    }
}

impl Tenants {
    pub fn new(shared: Shared) -> Arc<Self> {
        let shared = Arc::new(shared);
        let waker = Arc::clone(&shared);
        Arc::new(Self {
            lanes: Lanes::new(move |key| (waker.grant)(key)),
            shared,
            in_use: Mutex::default(),
        })
    }

    /// For one object, for as long as it is watched.
    pub fn user(self: &Arc<Self>, key: &Key) -> TenantUser {
        TenantUser {
            tenants: Arc::clone(self),
            key: key.clone(),
        }
    }

    fn assign(&self, key: &Key, credential: Credential) -> Arc<Tenant> {
        let fingerprint = credential.fingerprint();
        let (tenant, former) = {
            let mut in_use = lock(&self.in_use);
            let stays = in_use.by_user.get(key) == Some(&fingerprint);
            let former = if stays { None } else { in_use.leave(key) };
            let InUse {
                tenants,
                by_user,
                access_keys,
            } = &mut *in_use;
            let start = || {
                let access_key = self.access_key(access_keys, &credential);
                let tenant = Tenant::start(credential, access_key, Arc::clone(&self.shared));
                (tenant, HashSet::new())
            };
            let (tenant, users) = tenants.entry(fingerprint).or_insert_with(start);
            if !stays {
                users.insert(key.clone());
                by_user.insert(key.clone(), fingerprint);
            }
            (Arc::clone(tenant), former)
        };
        if let Some(former) = former {
            former.forget(key);
        }
        tenant
    }

    fn release(&self, key: &Key) {
        self.lanes.forget(key);
        let former = lock(&self.in_use).leave(key);
        if let Some(former) = former {
            former.forget(key);
        }
    }

    /// Who uses the same credential.
    pub fn fellows(&self, key: &Key) -> Vec<Key> {
        let in_use = lock(&self.in_use);
        let fingerprint = in_use.by_user.get(key);
        let users = fingerprint.and_then(|fingerprint| in_use.tenants.get(fingerprint));
        users.into_iter().flat_map(|(_, users)| users.iter().cloned()).collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        lock(&self.in_use).tenants.len()
    }

    /// Requests that wait for their turn, of all tenants.
    pub fn waiting(&self) -> usize {
        let in_use = lock(&self.in_use);
        let access_keys = in_use.access_keys.values().filter_map(Weak::upgrade);
        access_keys.map(|access_key| access_key.budget.waiting()).sum::<usize>() + self.lanes.waiting()
    }

    /// The one that a credential uses; it lasts as long as its tenants do.
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
    use crate::cloud::transport::{Observer, TransportOptions};
    use crate::metrics::Metrics;

    struct Unobserved;

    impl Observer for Unobserved {
        fn finished(&self, _: cloud::Operation, _: &'static str, _: Duration) {}
    }

    /// Tenants of a cloud that nobody asks.
    pub fn tenants() -> Arc<Tenants> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let request_timeout = Duration::from_secs(1);
        let options = TransportOptions {
            ca_file: None,
            request_timeout,
        };
        Tenants::new(Shared {
            transport: Transport::new(&options, Arc::new(Unobserved)).unwrap(),
            max_requests_per_second: 1.0,
            request_timeout,
            resync_period: None,
            owner_tag_key: "owner".to_owned(),
            wake: Box::new(|_| {}),
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
        let error = |meaning| CloudError::new(cloud::Operation::ListCustomerGateways, meaning, "words");
        let says = |heard: &Heard| match heard.finding() {
            None => "nothing",
            Some(Finding::Works) => "works",
            Some(Finding::Outage { .. }) => "outage",
            Some(Finding::Fails(failure)) => failure.verdict.reason.as_str(),
        };
        let mut heard = Heard::default();
        assert_eq!(says(&heard), "nothing");
        let ends = |heard: &mut Heard, source: &str, meaning: Option<Meaning>| {
            let error = meaning.map(error);
            heard.answered(error.as_ref());
            heard.read_ended(source, error.as_ref());
        };
        for (source, meaning, expected) in [
            ("gateways", Some(Meaning::CloudFault), "outage"),
            ("gateways", None, "works"),
            ("users", Some(Meaning::Forbidden), "Forbidden"),
            ("gateways", None, "Forbidden"),
            ("users", Some(Meaning::CloudFault), "Forbidden"),
            ("gateways", Some(Meaning::Unauthorized), "Unauthorized"),
            ("gateways", Some(Meaning::CloudFault), "Unauthorized"),
            ("gateways", None, "Forbidden"),
            ("users", None, "works"),
            // One collection that is read says nothing of another that is not.
            ("users", Some(Meaning::CloudFault), "outage"),
            ("gateways", None, "outage"),
            ("gateways", Some(Meaning::Forbidden), "Forbidden"),
            ("gateways", None, "outage"),
            ("users", None, "works"),
        ] {
            ends(&mut heard, source, meaning);
            assert_eq!(says(&heard), expected, "{source}: {meaning:?}");
        }
    }

    #[test]
    fn what_is_found_changes_only_with_the_collection_that_has_failed_for_longest() {
        let error = |meaning, text: &str| CloudError::new(cloud::Operation::ListVpnUsers, meaning, text);
        let names = |heard: &Heard, text: &str| match heard.finding() {
            Some(Finding::Outage { verdict, .. } | Finding::Fails(Failure { verdict, .. })) => {
                verdict.message.contains(text)
            }
            _ => false,
        };
        for meaning in [Meaning::CloudFault, Meaning::Forbidden] {
            let mut heard = Heard::default();
            heard.read_ended("b", Some(&error(meaning, "second server")));
            for _ in 0..2 {
                heard.read_ended("a", Some(&error(meaning, "first server")));
                assert!(names(&heard, "second server"), "{meaning:?}");
                heard.read_ended("a", None);
                assert!(names(&heard, "second server"), "{meaning:?}");
            }
            heard.read_ended("a", Some(&error(meaning, "first server")));
            heard.read_ended("b", None);
            assert!(names(&heard, "first server"), "{meaning:?}");
        }
    }

    #[tokio::test]
    async fn what_is_not_read_any_more_fails_no_more() {
        let tenants = tenants();
        let user = tenants.user(&key("one"));
        let tenant = user.assign(credential("A"));
        let error = |meaning| CloudError::new(cloud::Operation::ListVpnUsers, meaning, "words");
        tenant.listed("vpn-users", "users", Some(&error(Meaning::CloudFault)));
        tenant.listed("vpn-user-groups", "groups", Some(&error(Meaning::Forbidden)));
        assert!(matches!(tenant.finding(), Some(Finding::Fails(_))));
        tenant.unlisted("groups");
        assert!(matches!(
            tenant.finding(),
            Some(Finding::Outage { is_accepted: false, .. })
        ));
        tenant.unlisted("users");
        assert_eq!(tenant.finding(), None);
    }

    #[tokio::test]
    async fn an_object_that_changes_its_credential_leaves_the_former_tenant() {
        let tenants = tenants();
        let (one, other) = (tenants.user(&key("one")), tenants.user(&key("other")));
        let shared = one.assign(credential("A"));
        assert!(Arc::ptr_eq(&shared, &other.assign(credential("A"))));
        assert_eq!(tenants.fellows(&key("one")).len(), 2);
        assert!(!Arc::ptr_eq(&shared, &one.assign(credential("B"))));
        assert_eq!(tenants.fellows(&key("one")), [key("one")]);
        assert_eq!(tenants.count(), 2);
        other.release();
        assert_eq!(tenants.count(), 1);
        drop(one);
        assert_eq!(tenants.count(), 0);
        assert_eq!(tenants.fellows(&key("one")), []);
    }

    #[tokio::test]
    async fn one_credential_is_never_split_into_two_tenants() {
        const ROUNDS: usize = 2000;
        let tenants = tenants();
        let (together, runtime) = (Barrier::new(2), tokio::runtime::Handle::current());
        let rounds = |name: &str| {
            let _runtime = runtime.enter();
            let user = tenants.user(&key(name));
            let mut used = Vec::with_capacity(ROUNDS);
            for _ in 0..ROUNDS {
                // One is assigned while the other leaves, or is assigned as well.
                let tenant = user.assign(credential("A"));
                together.wait();
                used.push(Arc::as_ptr(&tenant) as usize);
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
        assert_eq!(tenants.count(), 0);
    }
}
