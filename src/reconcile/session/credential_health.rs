//! Tracks which credentials work, by their source. A failure is reported once for each Secret that holds the
//! credential. The objects that use it show a condition only once the failure has lasted a resync period, spread over
//! the next one.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;
use vpn_cloud::credentials::keys::DefaultCredentialsSource;
use vpn_core::api::conditions::{CredentialsHealth, ReadyCondition, same_but_for_request_id};
use vpn_core::terms::key::ObjectKey;
use vpn_core::terms::secret::SecretName;

use crate::metrics::Metrics;

/// Without drift checks, how long a failure lasts before objects show it.
const WITHOUT_RESYNC: Duration = Duration::from_secs(300);

/// How often the default credentials are read.
const DEFAULT_POLL: Duration = Duration::from_secs(10);

/// Where a credential comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CredentialName {
    /// The default credentials.
    Default,
    /// The default credentials, for an object of a namespace that may not use them. No credential fails here, so there
    /// is no metric; the object shows it.
    DefaultRefused(String),
    Secret(SecretName),
}

impl CredentialName {
    fn has_metrics(&self) -> bool {
        !matches!(self, Self::DefaultRefused(_))
    }

    /// Whether a Secret exists that Events can be about.
    fn is_secret(&self) -> bool {
        matches!(self, Self::Secret(_))
    }
}

impl fmt::Display for CredentialName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::DefaultRefused(namespace) => write!(formatter, "default, for the namespace {namespace}"),
            Self::Secret((namespace, name)) => write!(formatter, "{namespace}/{name}"),
        }
    }
}

/// How a credential fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CredentialFailure {
    pub condition: ReadyCondition,
    /// There is no Secret that an Event could be about.
    pub is_secret_absent: bool,
}

impl CredentialFailure {
    /// Creates a failure of the credential itself.
    pub(crate) fn of(condition: ReadyCondition) -> Self {
        Self {
            condition,
            is_secret_absent: false,
        }
    }
}

/// What a request or a read shows about a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    Works,
    Fails(CredentialFailure),
    /// The cloud fails, not the credential. This is reported, but no object shows it.
    Outage {
        condition: ReadyCondition,
        /// The responses that do arrive accept the credential.
        is_accepted: bool,
    },
}

/// Reports that a credential fails, or (`None`) that it works again.
pub(crate) type Report = Box<dyn Fn(&CredentialName, Option<&CredentialFailure>) + Send + Sync>;

/// Equal for equal content, whatever its source.
type Fingerprint = [u8; 32];

#[derive(Default)]
struct CredentialState {
    users: HashMap<ObjectKey, ShownHealth>,
    /// The session of its present content. Findings of other sessions are about former content.
    session: Option<Fingerprint>,
    failing: Option<OngoingFailure>,
    /// When it began to work again.
    works_since: Option<Instant>,
    works: bool,
    reported: Option<CredentialFailure>,
}

#[derive(Default)]
struct ShownHealth {
    /// Its status shows a failure.
    shows_failure: bool,
}

struct OngoingFailure {
    since: Instant,
    failure: CredentialFailure,
}

#[derive(Default)]
struct HealthState {
    entries: HashMap<Arc<CredentialName>, CredentialState>,
    /// Shares the keys of `entries`.
    by_user: HashMap<ObjectKey, Arc<CredentialName>>,
    by_session: HashMap<Fingerprint, HashSet<CredentialName>>,
    /// When to enqueue which object to update its condition.
    due: BTreeSet<(Instant, ObjectKey)>,
    due_of: HashMap<ObjectKey, Instant>,
}

impl HealthState {
    fn schedule(&mut self, key: &ObjectKey, at: Instant) {
        self.unschedule(key);
        self.due.insert((at, key.clone()));
        self.due_of.insert(key.clone(), at);
    }

    fn unschedule(&mut self, key: &ObjectKey) {
        if let Some(at) = self.due_of.remove(key) {
            self.due.remove(&(at, key.clone()));
        }
    }

    fn set_session(&mut self, name: &CredentialName, session: Option<Fingerprint>) {
        let Some(entry) = self.entries.get_mut(name) else {
            return;
        };
        let former = std::mem::replace(&mut entry.session, session);
        if former == session {
            return;
        }
        if let Some(former) = former
            && let Some(names) = self.by_session.get_mut(&former)
        {
            names.remove(name);
            if names.is_empty() {
                self.by_session.remove(&former);
            }
        }
        if let Some(session) = session {
            self.by_session.entry(session).or_default().insert(name.clone());
        }
    }
}

/// See the module.
pub(crate) struct CredentialHealth {
    period: Duration,
    metrics: Metrics,
    report: Report,
    state: Mutex<HealthState>,
    is_rescheduled: Notify,
}

/// An object's use of a credential, one at a time. Dropping it ends the use.
pub(crate) struct CredentialUser {
    health: Arc<CredentialHealth>,
    key: ObjectKey,
}

impl CredentialUser {
    /// Sets the credential that the object uses from now on, or none.
    pub(crate) fn uses(&self, name: Option<CredentialName>) {
        self.health.uses(&self.key, name);
    }

    /// Records that its credential cannot even be tried.
    pub(crate) fn cannot_be_used(&self, failure: CredentialFailure) {
        self.health
            .found_by(&self.key, None, Some(Finding::Fails(failure)), Instant::now());
    }

    /// Records the session of its credential, and what is known about that session.
    pub(crate) fn leads_to(&self, session: Fingerprint, finding: Option<Finding>) {
        self.health.found_by(&self.key, Some(session), finding, Instant::now());
    }

    /// Returns what the object's status must show from now on, if that differs from `shown`. The flag is `true` if no
    /// Event about the Secret can have reported it.
    pub(crate) fn to_show(&self, shown: Option<&str>) -> Option<(CredentialsHealth, bool)> {
        self.health.to_show(&self.key, shown, Instant::now())
    }

    /// Records whether the object shows a failure from now on: what was written is not read again.
    pub(crate) fn shows(&self, failure: bool) {
        self.health.shows(&self.key, failure);
    }
}

impl Drop for CredentialUser {
    fn drop(&mut self) {
        self.health.uses(&self.key, None);
    }
}

impl CredentialHealth {
    pub(crate) fn new(resync_period: Option<Duration>, metrics: Metrics, report: Report) -> Arc<Self> {
        Arc::new(Self {
            period: resync_period.unwrap_or(WITHOUT_RESYNC),
            metrics,
            report,
            state: Mutex::default(),
            is_rescheduled: Notify::new(),
        })
    }

    /// Creates the user for one object, to be kept for as long as it is watched.
    pub(crate) fn user(self: &Arc<Self>, key: &ObjectKey) -> CredentialUser {
        CredentialUser {
            health: Arc::clone(self),
            key: key.clone(),
        }
    }

    /// Enqueues objects whose condition must follow their credential, for as long as the future is polled.
    pub(crate) async fn enqueue(&self, enqueue: impl Fn(ObjectKey)) {
        loop {
            let next = self.lock().due.first().map(|(at, _)| *at);
            let reached = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = reached => {}
                () = self.is_rescheduled.notified() => {}
            }
            for key in self.take_due(Instant::now()) {
                enqueue(key);
            }
        }
    }

    fn take_due(&self, now: Instant) -> Vec<ObjectKey> {
        let mut state = self.lock();
        let mut due = Vec::new();
        while let Some((at, key)) = state.due.pop_first() {
            if at > now {
                state.due.insert((at, key));
                break;
            }
            state.due_of.remove(&key);
            due.push(key);
        }
        due
    }

    /// Returns the objects that use a credential.
    pub(crate) fn users_of(&self, name: &CredentialName) -> Vec<ObjectKey> {
        let state = self.lock();
        let entry = state.entries.get(name);
        entry
            .into_iter()
            .flat_map(|entry| entry.users.keys().cloned())
            .collect()
    }

    /// Records a finding about a session, whichever object sent the request.
    pub(crate) fn session(&self, session: &Fingerprint, finding: &Finding) {
        let now = Instant::now();
        let mut state = self.lock();
        let names = state.by_session.get(session).cloned().unwrap_or_default();
        for name in names {
            self.found(&mut state, &name, finding.clone(), now);
        }
    }

    /// Records that a request of this session succeeded.
    pub(crate) fn succeeded(&self, session: &Fingerprint, at: Timestamp) {
        let state = self.lock();
        for name in state.by_session.get(session).into_iter().flatten() {
            self.metrics.credential_succeeded(&name.to_string(), at);
        }
    }

    fn uses(&self, key: &ObjectKey, name: Option<CredentialName>) {
        let mut state = self.lock();
        if state.by_user.get(key).map(|name| &**name) == name.as_ref() {
            return;
        }
        state.unschedule(key);
        let shared = |name| match state.entries.get_key_value(&name) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::new(name),
        };
        let name = name.map(shared);
        let former = match &name {
            Some(name) => state.by_user.insert(key.clone(), name.clone()),
            None => state.by_user.remove(key),
        };
        if let Some(former) = former
            && let Some(entry) = state.entries.get_mut(&former)
        {
            entry.users.remove(key);
            if entry.users.is_empty() {
                state.set_session(&former, None);
                state.entries.remove(&former);
                if former.has_metrics() {
                    self.metrics.credential_unused(&former.to_string());
                }
            }
        }
        let Some(name) = name else { return };
        let entry = state.entries.entry(name).or_default();
        entry.users.insert(key.clone(), ShownHealth::default());
        if let Some(failing) = &entry.failing {
            let at = self.shown_at(key, failing);
            state.schedule(key, at);
            self.is_rescheduled.notify_one();
        }
    }

    fn found_by(&self, key: &ObjectKey, session: Option<Fingerprint>, finding: Option<Finding>, now: Instant) {
        let mut state = self.lock();
        let Some(name) = state.by_user.get(key).cloned() else {
            return;
        };
        state.set_session(&name, session);
        if let Some(finding) = finding {
            self.found(&mut state, &name, finding, now);
        }
    }

    fn found(&self, state: &mut HealthState, name: &CredentialName, finding: Finding, now: Instant) {
        let Some(entry) = state.entries.get_mut(name) else {
            return;
        };
        let due = match finding {
            Finding::Works => {
                if entry.works && entry.reported.is_none() {
                    return;
                }
                if entry.reported.take().is_some() {
                    (self.report)(name, None);
                }
                self.accepted(entry, name, now)
            }
            Finding::Outage { condition, is_accepted } => {
                self.report_once(entry, name, &CredentialFailure::of(condition));
                if entry.works || !is_accepted {
                    return;
                }
                self.accepted(entry, name, now)
            }
            Finding::Fails(failure) => {
                self.report_once(entry, name, &failure);
                if entry.works || entry.failing.is_none() {
                    self.measure(name, false);
                }
                entry.works = false;
                let former = entry.failing.as_ref();
                if former.is_some_and(|former| is_same(&former.failure, &failure)) {
                    return;
                }
                let failing = OngoingFailure {
                    since: former.map_or(now, |former| former.since),
                    failure,
                };
                // A failure that differs from the former one is spread as well.
                let shown_at = |key: &ObjectKey| {
                    let at = self.shown_at(key, &failing);
                    if at > now { at } else { now + self.spread(key) }
                };
                let due = entry
                    .users
                    .keys()
                    .map(|key| (key.clone(), Some(shown_at(key))))
                    .collect();
                entry.failing = Some(failing);
                due
            }
        };
        for (key, at) in due {
            match at {
                Some(at) => state.schedule(&key, at),
                None => state.unschedule(&key),
            }
        }
        self.is_rescheduled.notify_one();
    }

    fn measure(&self, name: &CredentialName, is_healthy: bool) {
        if name.has_metrics() {
            self.metrics.credential_healthy(&name.to_string(), is_healthy);
        }
    }

    fn report_once(&self, entry: &mut CredentialState, name: &CredentialName, failure: &CredentialFailure) {
        let is_known = entry
            .reported
            .as_ref()
            .is_some_and(|reported| is_same(reported, failure));
        if !is_known {
            (self.report)(name, Some(failure));
            entry.reported = Some(failure.clone());
        }
    }

    /// Records that the cloud accepts the credential. Returns when each object removes the failure that it shows.
    fn accepted(
        &self,
        entry: &mut CredentialState,
        name: &CredentialName,
        now: Instant,
    ) -> Vec<(ObjectKey, Option<Instant>)> {
        if !entry.works {
            self.measure(name, true);
        }
        entry.works = true;
        if entry.failing.take().is_some() {
            entry.works_since = Some(now);
        }
        let works_since = entry.works_since.unwrap_or(now);
        // An object that shows no failure has nothing to remove.
        let taken_back = |(key, user): (&ObjectKey, &ShownHealth)| {
            (key.clone(), user.shows_failure.then(|| works_since + self.spread(key)))
        };
        entry.users.iter().map(taken_back).collect()
    }

    /// Records whether an object shows a failure from now on.
    fn shows(&self, key: &ObjectKey, failure: bool) {
        let mut state = self.lock();
        let Some(name) = state.by_user.get(key).cloned() else {
            return;
        };
        if let Some(entry) = state.entries.get_mut(&name) {
            entry.users.entry(key.clone()).or_default().shows_failure = failure;
        }
    }

    fn to_show(&self, key: &ObjectKey, shown: Option<&str>, now: Instant) -> Option<(CredentialsHealth, bool)> {
        let mut state = self.lock();
        let shows_failure = shown == Some("False");
        let Some(name) = state.by_user.get(key).cloned() else {
            return shows_failure.then_some((CredentialsHealth::NotUsed, false));
        };
        let entry = state.entries.get_mut(&name)?;
        entry.users.entry(key.clone()).or_default().shows_failure = shows_failure;
        match &entry.failing {
            Some(failing) if now >= self.shown_at(key, failing) => {
                let has_no_secret = failing.failure.is_secret_absent || !name.is_secret();
                Some((
                    CredentialsHealth::Fails(failing.failure.condition.clone()),
                    has_no_secret && !shows_failure,
                ))
            }
            None if entry.works && shows_failure => {
                let due = entry.works_since.map_or(now, |since| since + self.spread(key));
                if now >= due {
                    return Some((CredentialsHealth::Works, false));
                }
                state.schedule(key, due);
                self.is_rescheduled.notify_one();
                None
            }
            Some(_) | None => None,
        }
    }

    /// Returns when an object shows a failure.
    fn shown_at(&self, key: &ObjectKey, failing: &OngoingFailure) -> Instant {
        failing.since + self.period + self.spread(key)
    }

    /// Returns an object's offset within a resync period, always the same one.
    fn spread(&self, key: &ObjectKey) -> Duration {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let part = (hasher.finish() >> 32) as u32;
        self.period.mul_f64(f64::from(part) / f64::from(u32::MAX))
    }

    fn lock(&self) -> MutexGuard<'_, HealthState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Enqueues the objects that use the default credentials when these change or become unreadable. Nothing else would
/// enqueue objects at rest.
pub(crate) async fn watch_default(
    health: &CredentialHealth,
    source: &DefaultCredentialsSource,
    enqueue: impl Fn(ObjectKey),
) {
    let mut last = source.read();
    loop {
        tokio::time::sleep(DEFAULT_POLL).await;
        let now = source.read();
        if now != last {
            last = now;
            health.users_of(&CredentialName::Default).into_iter().for_each(&enqueue);
        }
    }
}

fn is_same(one: &CredentialFailure, other: &CredentialFailure) -> bool {
    one.condition.reason == other.condition.reason
        && one.is_secret_absent == other.is_secret_absent
        && same_but_for_request_id(&one.condition.message, &other.condition.message)
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::metrics::encode;
    use vpn_core::api::conditions::Reason;

    const PERIOD: Duration = Duration::from_secs(100);
    const SESSION: Fingerprint = [1; 32];

    struct HealthBench {
        health: Arc<CredentialHealth>,
        reports: Arc<Mutex<Vec<String>>>,
        registry: Registry,
    }

    impl HealthBench {
        fn new() -> Self {
            let metrics = Metrics::default();
            let mut registry = Registry::default();
            metrics.register(&mut registry);
            let reports = Arc::new(Mutex::new(Vec::new()));
            let reported = Arc::clone(&reports);
            let report: Report = Box::new(move |credential, failure| {
                let what = failure.map_or("works", |failure| failure.condition.reason.as_str());
                reported.lock().unwrap().push(format!("{credential} {what}"));
            });
            Self {
                health: CredentialHealth::new(Some(PERIOD), metrics, report),
                reports,
                registry,
            }
        }

        /// An object of a namespace that uses its Secret `cloud`.
        fn user(&self, namespace: &str, name: &str) -> CredentialUser {
            let user = self.health.user(&ObjectKey::new("CustomerGateway", namespace, name));
            user.uses(Some(CredentialName::Secret((namespace.to_owned(), "cloud".to_owned()))));
            user.leads_to(SESSION, None);
            user
        }

        fn reports(&self) -> Vec<String> {
            let mut reports = std::mem::take(&mut *self.reports.lock().unwrap());
            reports.sort();
            reports
        }

        fn healthy(&self, credential: &str) -> Option<String> {
            let name = format!("vpn_operator_credential_healthy{{credential=\"{credential}\"}} ");
            let page = encode(&self.registry).unwrap();
            page.lines()
                .find_map(|line| line.strip_prefix(&name).map(str::to_owned))
        }
    }

    fn fails(reason: Reason, request: &str) -> Finding {
        let message = format!("refused (request id {request})");
        Finding::Fails(CredentialFailure::of(ReadyCondition::new(reason, message)))
    }

    fn outage(is_accepted: bool) -> Finding {
        Finding::Outage {
            condition: ReadyCondition::new(Reason::CloudError, "no answer"),
            is_accepted,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_reported_once_for_each_secret_that_holds_the_credential() {
        let bench = HealthBench::new();
        let (_one, two) = (bench.user("team-a", "one"), bench.user("team-b", "two"));
        for request in ["1", "2"] {
            bench.health.session(&SESSION, &fails(Reason::Unauthorized, request));
        }
        assert_eq!(
            bench.reports(),
            ["team-a/cloud Unauthorized", "team-b/cloud Unauthorized"]
        );
        // An object that comes later with another Secret gets a report of its own.
        let third = bench.user("team-c", "three");
        third.leads_to(SESSION, Some(fails(Reason::Unauthorized, "3")));
        third.leads_to(SESSION, Some(fails(Reason::Unauthorized, "4")));
        assert_eq!(bench.reports(), ["team-c/cloud Unauthorized"]);
        assert_eq!(bench.healthy("team-a/cloud").as_deref(), Some("0"));
        bench.health.session(&SESSION, &Finding::Works);
        let works = ["team-a/cloud works", "team-b/cloud works", "team-c/cloud works"];
        assert_eq!(bench.reports(), works);
        assert_eq!(bench.healthy("team-b/cloud").as_deref(), Some("1"));
        drop(two);
        assert_eq!(bench.healthy("team-b/cloud"), None, "its series ends");
        bench.health.session(&SESSION, &fails(Reason::Forbidden, "5"));
        assert_eq!(bench.reports(), ["team-a/cloud Forbidden", "team-c/cloud Forbidden"]);
    }

    #[tokio::test(start_paused = true)]
    async fn objects_show_a_lasting_failure_at_different_times() {
        const OBJECTS: usize = 1000;
        let bench = HealthBench::new();
        let users: Vec<CredentialUser> = (0..OBJECTS).map(|n| bench.user("a", &n.to_string())).collect();
        let enqueued = Arc::new(Mutex::new(Vec::new()));
        let (health, heard) = (Arc::clone(&bench.health), Arc::clone(&enqueued));
        let driver = tokio::spawn(async move {
            let begun = Instant::now();
            health
                .enqueue(|key| heard.lock().unwrap().push((begun.elapsed(), key)))
                .await;
        });
        tokio::task::yield_now().await;
        bench.health.session(&SESSION, &fails(Reason::Unauthorized, "1"));
        assert!(
            users.iter().all(|user| user.to_show(None).is_none()),
            "a blip shows nothing"
        );
        tokio::time::sleep(PERIOD * 3).await;
        let times: Vec<Duration> = enqueued.lock().unwrap().drain(..).map(|(at, _)| at).collect();
        assert_eq!(times.len(), OBJECTS);
        assert!(
            times
                .iter()
                .all(|at| (PERIOD..=PERIOD * 2 + Duration::from_secs(1)).contains(at))
        );
        for tenth in 0..10 {
            let in_it = |at: &&Duration| (at.as_secs() - 100) / 10 == tenth;
            let count = times.iter().filter(in_it).count();
            assert!((50..200).contains(&count), "{count} in tenth {tenth}");
        }
        let shows = |user: &CredentialUser, shown| user.to_show(shown).map(|(health, _)| health);
        assert!(
            users
                .iter()
                .all(|user| matches!(shows(user, None), Some(CredentialsHealth::Fails(_))))
        );

        // Objects that show it remove it in the same way; the others have nothing to remove.
        let (showing, silent) = users.split_at(OBJECTS / 2);
        for user in showing {
            let _ = user.to_show(Some("False"));
        }
        bench.health.session(&SESSION, &Finding::Works);
        tokio::time::sleep(PERIOD * 2).await;
        assert_eq!(enqueued.lock().unwrap().len(), showing.len());
        assert!(
            showing
                .iter()
                .all(|user| shows(user, Some("False")) == Some(CredentialsHealth::Works))
        );
        assert!(silent.iter().all(|user| shows(user, None).is_none()));
        driver.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn an_unobserved_failure_condition_is_cleared_as_well() {
        let bench = HealthBench::new();
        let user = bench.user("a", "office");
        bench.health.session(&SESSION, &fails(Reason::Unauthorized, "1"));
        tokio::time::sleep(PERIOD * 2).await;
        bench.health.take_due(Instant::now());
        assert!(user.to_show(None).is_some(), "it is written now");
        bench.health.session(&SESSION, &Finding::Works);
        assert_eq!(user.to_show(Some("False")), None, "not yet");
        tokio::time::sleep(PERIOD).await;
        assert_eq!(bench.health.take_due(Instant::now()).len(), 1);
        assert_eq!(user.to_show(Some("False")), Some((CredentialsHealth::Works, false)));
    }

    /// No other reconcile follows the one that has written the condition.
    #[tokio::test(start_paused = true)]
    async fn a_failure_that_was_just_written_is_cleared_after_its_end() {
        let bench = HealthBench::new();
        let user = bench.user("a", "office");
        bench.health.session(&SESSION, &fails(Reason::Forbidden, "1"));
        tokio::time::sleep(PERIOD * 2).await;
        bench.health.take_due(Instant::now());
        assert!(user.to_show(None).is_some(), "it is written now");
        user.shows(true);
        bench.health.session(&SESSION, &Finding::Works);
        tokio::time::sleep(PERIOD * 2).await;
        assert_eq!(bench.health.take_due(Instant::now()).len(), 1);
        assert_eq!(user.to_show(Some("False")), Some((CredentialsHealth::Works, false)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_reported_but_not_shown_by_objects() {
        let bench = HealthBench::new();
        let user = bench.user("a", "office");
        bench.health.session(&SESSION, &Finding::Works);
        bench.health.session(&SESSION, &outage(true));
        assert_eq!(bench.reports(), ["a/cloud CloudError"]);
        tokio::time::sleep(PERIOD * 3).await;
        assert_eq!(user.to_show(None), None);
        assert_eq!(bench.healthy("a/cloud").as_deref(), Some("1"));
        bench.health.session(&SESSION, &Finding::Works);
        assert_eq!(bench.reports(), ["a/cloud works"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_resolved_failure_is_cleared_during_another_outage() {
        let bench = HealthBench::new();
        let user = bench.user("a", "office");
        bench.health.session(&SESSION, &fails(Reason::Forbidden, "1"));
        tokio::time::sleep(PERIOD * 2).await;
        assert!(user.to_show(None).is_some());
        bench.health.session(&SESSION, &outage(false));
        tokio::time::sleep(PERIOD).await;
        assert!(matches!(
            user.to_show(Some("False")),
            Some((CredentialsHealth::Fails(_), _))
        ));
        assert_eq!(bench.healthy("a/cloud").as_deref(), Some("0"));
        bench.health.session(&SESSION, &outage(true));
        tokio::time::sleep(PERIOD).await;
        assert_eq!(user.to_show(Some("False")), Some((CredentialsHealth::Works, false)));
        assert_eq!(bench.healthy("a/cloud").as_deref(), Some("1"));
        assert_eq!(bench.reports(), ["a/cloud CloudError", "a/cloud Forbidden"]);
    }

    #[tokio::test(start_paused = true)]
    async fn results_of_former_keys_do_not_apply_to_a_changed_secret() {
        let bench = HealthBench::new();
        let user = bench.user("a", "office");
        let absent = CredentialFailure {
            is_secret_absent: true,
            ..CredentialFailure::of(ReadyCondition::new(Reason::SecretNotFound, "create it"))
        };
        user.cannot_be_used(absent);
        bench.health.session(&SESSION, &Finding::Works);
        assert_eq!(bench.reports(), ["a/cloud SecretNotFound"]);
        tokio::time::sleep(PERIOD * 2).await;
        let (health, has_no_secret) = user.to_show(None).unwrap();
        assert!(matches!(health, CredentialsHealth::Fails(condition) if condition.reason == Reason::SecretNotFound));
        assert!(has_no_secret, "an Event about the object says it");
        let rotated = [2; 32];
        user.leads_to(rotated, None);
        bench.health.session(&SESSION, &Finding::Works);
        assert_eq!(
            bench.healthy("a/cloud").as_deref(),
            Some("0"),
            "the new content has not been tried"
        );
        bench.health.session(&rotated, &Finding::Works);
        bench.health.session(&SESSION, &fails(Reason::Unauthorized, "1"));
        assert_eq!(bench.reports(), ["a/cloud works"]);
        // An object that uses no credential any more shows none.
        user.uses(None);
        assert_eq!(user.to_show(Some("False")), Some((CredentialsHealth::NotUsed, false)));
        assert_eq!(user.to_show(Some("True")), None);
    }

    #[tokio::test(start_paused = true)]
    async fn refused_default_credentials_have_no_metric_and_one_event_per_object() {
        let bench = HealthBench::new();
        let refused = || Some(CredentialName::DefaultRefused("a".to_owned()));
        let user = bench.user("a", "office");
        user.uses(refused());
        let forbidden = || CredentialFailure::of(ReadyCondition::new(Reason::Forbidden, "not for this namespace"));
        user.cannot_be_used(forbidden());
        assert_eq!(bench.reports(), ["default, for the namespace a Forbidden"]);
        tokio::time::sleep(PERIOD * 2).await;
        let (health, has_event) = user.to_show(None).unwrap();
        assert!(matches!(health, CredentialsHealth::Fails(condition) if condition.reason == Reason::Forbidden));
        assert!(has_event, "no Secret has it");
        assert!(!encode(&bench.registry).unwrap().contains("credential=\"default"));
        // Default credentials that are allowed, but fail, have both.
        user.uses(Some(CredentialName::Default));
        user.cannot_be_used(forbidden());
        assert_eq!(bench.healthy("default").as_deref(), Some("0"));
        tokio::time::sleep(PERIOD * 2).await;
        assert!(user.to_show(None).unwrap().1);
        user.uses(refused());
        assert_eq!(bench.healthy("default"), None, "its series ends");
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_or_lost_credentials_file_requeues_its_objects() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        let write = |key: &str| std::fs::write(&path, format!("[basic]\nak = {key}\nsk = sentinel\n")).unwrap();
        write("first");
        let named = path.display().to_string();
        let source = DefaultCredentialsSource::new(|name| {
            (name == vpn_cloud::credentials::keys::CREDENTIALS_FILE).then(|| named.clone())
        });
        assert!(source.read().is_ok());
        let bench = HealthBench::new();
        let (user, _other) = (bench.user("a", "office"), bench.user("a", "other"));
        user.uses(Some(CredentialName::Default));
        let (enqueued, mut requeued) = tokio::sync::mpsc::unbounded_channel();
        let health = Arc::clone(&bench.health);
        let watcher = tokio::spawn(async move {
            watch_default(&health, &source, |key| _ = enqueued.send(key.name.clone())).await;
        });
        tokio::time::sleep(DEFAULT_POLL * 3).await;
        assert!(requeued.try_recv().is_err(), "nothing has changed");
        std::fs::remove_file(&path).unwrap();
        tokio::time::sleep(DEFAULT_POLL * 3).await;
        assert_eq!(requeued.try_recv().as_deref(), Ok("office"), "lost");
        write("second");
        tokio::time::sleep(DEFAULT_POLL * 3).await;
        assert_eq!(requeued.try_recv().as_deref(), Ok("office"), "another one");
        assert!(requeued.try_recv().is_err(), "once for each change");
        watcher.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_credential_is_forgotten_with_its_last_user() {
        let bench = HealthBench::new();
        let secret = CredentialName::Secret(("a".to_owned(), "cloud".to_owned()));
        let (one, two) = (bench.user("a", "one"), bench.user("a", "two"));
        one.uses(Some(secret.clone()));
        bench.health.session(&SESSION, &fails(Reason::Unauthorized, "1"));
        assert_eq!(bench.health.lock().due.len(), 2);
        drop(one);
        assert_eq!(bench.health.users_of(&secret).len(), 1);
        assert_eq!(bench.health.lock().due.len(), 1);
        assert_eq!(
            bench.healthy("a/cloud").as_deref(),
            Some("0"),
            "the other object uses it"
        );
        let without_credential = ObjectKey::new("CustomerGateway", "a", "three");
        drop(bench.health.user(&without_credential));
        drop(two);
        assert_eq!(bench.healthy("a/cloud"), None);
        let state = bench.health.lock();
        assert!(state.entries.is_empty() && state.by_user.is_empty() && state.by_session.is_empty());
        assert!(state.due.is_empty() && state.due_of.is_empty());
    }
}
