//! A session: a credential in use, with its client, clock and caches. Equal credentials share one session. Sessions of
//! one access key share its rate limiter and circuit breaker.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use vpn_cloud::limits::rate_limiter::{Priority, RateLimiter};
use vpn_cloud::limits::write_queue::WriteQueues;
use vpn_cloud::resources::iam;
use vpn_cloud::{Client, CloudError, CloudResponse};
use vpn_core::api::conditions::Reason;
use vpn_core::terms::access::Access;
use vpn_core::terms::failure::{Failure, failure_of, user_action};
use vpn_core::terms::key::ObjectKey;

use crate::reconcile::session::access_key::AccessKey;
use crate::reconcile::session::credential::ResolvedCredential;
use crate::reconcile::session::credential_health::Finding;
use crate::reconcile::session::gate::Gate;
use crate::reconcile::session::project::Project;
use crate::reconcile::session::resources::SessionResources;

/// The pause before a failed project look-up is retried.
const LOOKUP_RETRY: Duration = Duration::from_secs(5);

/// See the module.
pub(crate) struct Session {
    pub credential: ResolvedCredential,
    gate: Arc<Gate>,
    resources: Arc<SessionResources>,
    failed_lookup: tokio::sync::Mutex<Option<FailedLookup>>,
    open: OnceLock<Project>,
    overwrites_tags: AtomicBool,
}

impl Session {
    fn start(
        credential: ResolvedCredential,
        access_key: Arc<AccessKey>,
        resources: Arc<SessionResources>,
    ) -> Arc<Self> {
        let (origin, fingerprint) = (credential.origin.clone(), credential.fingerprint());
        Arc::new(Self {
            gate: Arc::new(Gate::new(access_key, origin, fingerprint, Arc::clone(&resources))),
            credential,
            resources,
            failed_lookup: tokio::sync::Mutex::default(),
            open: OnceLock::new(),
            overwrites_tags: AtomicBool::new(true),
        })
    }

    /// Each request needs a permit of this rate limiter, and keeps it until the response arrives.
    pub(crate) fn rate_limiter(&self) -> &RateLimiter<ObjectKey> {
        self.gate.rate_limiter()
    }

    /// Returns the refusal with which the cloud required a long wait of this access key, while that wait lasts.
    pub(crate) fn held_back(&self) -> Option<CloudError> {
        self.gate.held_back()
    }

    /// Returns the client, once the project is known.
    pub(crate) fn client(&self) -> Option<Client> {
        self.open.get().map(|open| open.client.clone())
    }

    /// Returns the project; looks up its id if the credential does not name it. Ignores failures from before `since`.
    pub(crate) async fn open(&self, since: Option<Instant>) -> Result<&Project, Failure> {
        if let Some(open) = self.open.get() {
            return Ok(open);
        }
        let mut failed = self.failed_lookup.lock().await;
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
                Err(LookupFailure::Failure(failure)) => return Err(failure),
                Err(LookupFailure::Cloud(error)) => {
                    let failure = failure_of(&error);
                    let again = error.retry_after.unwrap_or_default().max(LOOKUP_RETRY);
                    *failed = Some(FailedLookup {
                        error: *error,
                        started: now,
                        until: Instant::now() + again,
                    });
                    return Err(failure);
                }
            },
        };
        *failed = None;
        let start = || Project::start(project_id, &self.credential, &self.gate, &self.resources);
        Ok(self.open.get_or_init(start))
    }

    /// The cloud's present time, never ahead of it; `None` until a response contains it.
    pub(crate) fn cloud_now(&self) -> Option<Timestamp> {
        self.gate.cloud_now()
    }

    /// Since when the cloud's time is unknown: only the response to a later request contains it. `None`: it is known.
    pub(crate) fn time_unknown_since(&self) -> Option<Instant> {
        self.gate.time_unknown_since()
    }

    /// Returns the scope and the cloud's time, for decisions.
    pub(crate) fn access(&self, open: &Project) -> Access {
        Access {
            scope: open.scope.clone(),
            cloud_now: self.cloud_now(),
        }
    }

    /// Whether this cloud overwrites the value of an existing tag; assumed until it refuses.
    pub(crate) fn overwrites_tags(&self) -> bool {
        self.overwrites_tags.load(Ordering::Relaxed)
    }

    pub(crate) fn refused_to_overwrite_tags(&self) {
        self.overwrites_tags.store(false, Ordering::Relaxed);
    }

    /// Sends a request that changes something. Calls `may_send` after all waiting, immediately before the request is
    /// sent. `None`: it returned false, and nothing was sent.
    pub(crate) async fn send_if<T>(
        &self,
        may_send: impl FnOnce() -> bool,
        call: impl Future<Output = Result<CloudResponse<T>, CloudError>>,
    ) -> Option<Result<CloudResponse<T>, CloudError>> {
        self.gate.send_if(may_send, call).await
    }

    async fn look_up_project(&self) -> Result<String, LookupFailure> {
        let (Some(endpoint), Some(region)) = (&self.credential.iam_endpoint, &self.credential.region) else {
            let message = "the credentials name neither a project id nor a region to look it up by: set one of them";
            let failure = user_action(Reason::InvalidSpec, message);
            self.gate.cannot_be_used(failure.condition.clone());
            return Err(LookupFailure::Failure(failure));
        };
        let of_cloud = |error| LookupFailure::Cloud(Box::new(error));
        let _permit = self.gate.permit(|| Priority::Read).await.map_err(of_cloud)?;
        let call = iam::look_up_project(&self.resources.transport, &self.credential.keys, endpoint, region);
        self.gate.send_lookup(call).await.map_err(of_cloud)
    }

    /// Returns the state of the credential, for the Secrets that contain it.
    pub(crate) fn finding(&self) -> Option<Finding> {
        self.gate.finding()
    }

    /// Equal for equal credentials.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        self.gate.fingerprint
    }

    /// Removes an object that no longer uses the session.
    fn forget(&self, key: &ObjectKey) {
        self.rate_limiter().forget(key);
        if let Some(open) = self.open.get() {
            open.forget(key);
        }
    }
}

/// A failed look-up of the project. Until `until`, callers get this error.
struct FailedLookup {
    error: CloudError,
    started: Instant,
    until: Instant,
}

enum LookupFailure {
    Failure(Failure),
    Cloud(Box<CloudError>),
}

/// All sessions, and which objects use them.
pub(crate) struct Sessions {
    /// Queues of writes that must not overlap, whatever credentials they use.
    pub write_queues: Arc<WriteQueues<ObjectKey>>,
    resources: Arc<SessionResources>,
    in_use: Mutex<SessionsInUse>,
}

/// Under one lock: while the last user of a session leaves it, another object may be assigned to it. The session must
/// not then exist beside a second one of the same credential.
#[derive(Default)]
struct SessionsInUse {
    sessions: HashMap<[u8; 32], (Arc<Session>, HashSet<ObjectKey>)>,
    by_user: HashMap<ObjectKey, [u8; 32]>,
    access_keys: HashMap<[u8; 32], Weak<AccessKey>>,
}

impl SessionsInUse {
    /// Ends the object's use of its session. Returns that session.
    fn leave(&mut self, key: &ObjectKey) -> Option<Arc<Session>> {
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
pub(crate) struct SessionUser {
    sessions: Arc<Sessions>,
    key: ObjectKey,
}

impl SessionUser {
    /// Returns the session of a credential, which the object uses from now on.
    pub(crate) fn assign(&self, credential: ResolvedCredential) -> Arc<Session> {
        self.sessions.assign(&self.key, credential)
    }

    /// Ends the object's use of its session.
    pub(crate) fn release(&self) {
        self.sessions.release(&self.key);
    }
}

impl Drop for SessionUser {
    fn drop(&mut self) {
        self.sessions.release(&self.key);
    }
}

impl Sessions {
    pub(crate) fn new(resources: SessionResources) -> Arc<Self> {
        let resources = Arc::new(resources);
        let callbacks = Arc::clone(&resources);
        Arc::new(Self {
            write_queues: WriteQueues::new(move |key| (callbacks.permit)(key)),
            resources,
            in_use: Mutex::default(),
        })
    }

    /// Registers one object, for as long as it is watched.
    pub(crate) fn user(self: &Arc<Self>, key: &ObjectKey) -> SessionUser {
        SessionUser {
            sessions: Arc::clone(self),
            key: key.clone(),
        }
    }

    fn assign(&self, key: &ObjectKey, credential: ResolvedCredential) -> Arc<Session> {
        let fingerprint = credential.fingerprint();
        let (session, former) = {
            let mut in_use = lock(&self.in_use);
            let stays = in_use.by_user.get(key) == Some(&fingerprint);
            let former = if stays { None } else { in_use.leave(key) };
            let SessionsInUse {
                sessions,
                by_user,
                access_keys,
            } = &mut *in_use;
            let start = || {
                let access_key = self.access_key(access_keys, &credential);
                let session = Session::start(credential, access_key, Arc::clone(&self.resources));
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

    fn release(&self, key: &ObjectKey) {
        self.write_queues.forget(key);
        let former = lock(&self.in_use).leave(key);
        if let Some(former) = former {
            former.forget(key);
        }
    }

    /// Returns the objects that use the same credential, this one included.
    pub(crate) fn sharing_session(&self, key: &ObjectKey) -> Vec<ObjectKey> {
        let in_use = lock(&self.in_use);
        let fingerprint = in_use.by_user.get(key);
        let users = fingerprint.and_then(|fingerprint| in_use.sessions.get(fingerprint));
        users.into_iter().flat_map(|(_, users)| users.iter().cloned()).collect()
    }

    /// The number of sessions.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        lock(&self.in_use).sessions.len()
    }

    /// The number of requests of all sessions that wait for a permit or in a write queue.
    pub(crate) fn waiting(&self) -> usize {
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
        credential: &ResolvedCredential,
    ) -> Arc<AccessKey> {
        let fingerprint = credential.key_fingerprint();
        if let Some(in_use) = access_keys.get(&fingerprint).and_then(Weak::upgrade) {
            return in_use;
        }
        access_keys.retain(|_, access_key| access_key.strong_count() > 0);
        let resources = Arc::clone(&self.resources);
        let (rate, timeout) = (resources.max_requests_per_second, resources.request_timeout);
        let started = AccessKey::start(rate, timeout, move |key| (resources.permit)(key));
        access_keys.insert(fingerprint, Arc::downgrade(&started));
        started
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Barrier;
    use vpn_cloud::Backoff;

    use super::*;
    use crate::metrics::Metrics;
    use crate::reconcile::session::credential_health::CredentialHealth;
    use crate::reconcile::session::observed_health::tests::throttled;
    use vpn_cloud::http::transport::{RequestObserver, Transport, TransportOptions};
    use vpn_cloud::regions::endpoints::EndpointAliases;
    use vpn_cloud::{Credentials, ErrorKind};
    use vpn_core::api::conditions::ReadyCondition;

    struct Unobserved;

    impl RequestObserver for Unobserved {
        fn finished(&self, _: vpn_cloud::Operation, _: &'static str, _: Duration) {}
    }

    /// Sessions of a cloud that gets no requests.
    pub(crate) fn sessions() -> Arc<Sessions> {
        Sessions::new(resources())
    }

    /// What such sessions share.
    pub(crate) fn resources() -> SessionResources {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let request_timeout = Duration::from_secs(1);
        let options = TransportOptions {
            ca_file: None,
            request_timeout,
        };
        SessionResources {
            transport: Transport::new(&options, Arc::new(Unobserved)).unwrap(),
            max_requests_per_second: 1.0,
            request_timeout,
            resync_period: None,
            owner_tag_key: "owner".to_owned(),
            enqueue: Box::new(|_| {}),
            permit: Box::new(|_| {}),
            health: CredentialHealth::new(None, Metrics::default(), Box::new(|_, _| {})),
            listed: Box::new(|_, _| {}),
            unreadable: Box::new(|_, _| {}),
            endpoint_aliases: EndpointAliases::default(),
        }
    }

    /// A credential with this access key.
    pub(crate) fn credential(access_key: &str) -> ResolvedCredential {
        ResolvedCredential {
            keys: Arc::new(Credentials::new(access_key.to_owned(), "secret".into(), None).unwrap()),
            vpn_endpoint: "https://vpn.example.com".to_owned(),
            iam_endpoint: None,
            region: None,
            project_id: Some("project".to_owned()),
            origin: "a test".to_owned(),
            secret: None,
        }
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("CustomerGateway", "n", name)
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_retry_after_blocks_all_requests_of_the_access_key() {
        let sessions = sessions();
        let (one, other) = (sessions.user(&key("one")), sessions.user(&key("other")));
        let session = one.assign(credential("A"));
        let elsewhere = other.assign(ResolvedCredential {
            project_id: Some("other".to_owned()),
            ..credential("A")
        });
        assert!(!Arc::ptr_eq(&session, &elsewhere));
        let start = Instant::now();
        let refused = async { Err::<CloudResponse<()>, _>(throttled(3600, "1")) };
        assert!(session.gate.send(refused).await.is_err());
        for (seconds, request) in [(3601, "2"), (60, "3")] {
            session.gate.access_key.throttled(&throttled(seconds, request), start);
        }
        for session in [&session, &elsewhere] {
            let never = async { panic!("nothing is sent") };
            let refused = session.gate.send::<()>(never).await.unwrap_err();
            assert_eq!(refused.retry_after, Some(Duration::from_secs(3601)));
            assert!(session.gate.permit(|| Priority::Read).await.is_err());
            let reported = failure_of(&refused);
            let expected = "listing the customer gateways failed: too many (VPN.0429, request id 1); the cloud asks \
                            for that wait: no request of this access key is sent before 1970-01-01T01:00:00Z";
            assert_eq!(reported.condition, ReadyCondition::new(Reason::Throttled, expected));
            assert_eq!(reported.backoff, Backoff::exactly(Duration::from_secs(3601)));
            assert!(matches!(session.finding(), Some(Finding::Fails(_))));
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        tokio::time::advance(Duration::from_secs(3595)).await;
        assert!(session.held_back().is_none(), "its end is waited for");
        let permit = session.gate.permit(|| Priority::Read).await.unwrap();
        assert!(start.elapsed() >= Duration::from_secs(3601));
        drop(permit);
    }

    #[tokio::test]
    async fn a_failure_of_an_unused_collection_is_dropped() {
        let sessions = sessions();
        let user = sessions.user(&key("one"));
        let session = user.assign(credential("A"));
        let error = |kind| CloudError::new(vpn_cloud::Operation::ListVpnUsers, kind, "words");
        session
            .gate
            .listed("vpn-users", "users", Some(&error(ErrorKind::CloudFault)));
        session
            .gate
            .listed("vpn-user-groups", "groups", Some(&error(ErrorKind::Forbidden)));
        assert!(matches!(session.finding(), Some(Finding::Fails(_))));
        session.gate.unlisted("groups");
        assert!(matches!(
            session.finding(),
            Some(Finding::Outage { is_accepted: false, .. })
        ));
        session.gate.unlisted("users");
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

    #[tokio::test]
    async fn an_access_key_is_shared_and_ends_with_its_last_session() {
        let sessions = sessions();
        let (one, other) = (sessions.user(&key("one")), sessions.user(&key("other")));
        let session = one.assign(credential("A"));
        let elsewhere = other.assign(ResolvedCredential {
            project_id: Some("other".to_owned()),
            ..credential("A")
        });
        let access_key = Arc::downgrade(&session.gate.access_key);
        assert!(Arc::ptr_eq(&session.gate.access_key, &elsewhere.gate.access_key));
        drop((session, elsewhere));
        one.release();
        assert!(access_key.upgrade().is_some(), "the other session uses it");
        drop(other);
        assert!(access_key.upgrade().is_none());
        one.assign(credential("B"));
        assert_eq!(lock(&sessions.in_use).access_keys.len(), 1, "only the one in use");
    }

    #[tokio::test]
    async fn an_object_that_leaves_a_session_leaves_its_queues() {
        let sessions = sessions();
        let [one, other] = ["one", "other"].map(key);
        let user = sessions.user(&one);
        let session = user.assign(credential("A"));
        let held = sessions.write_queues.enter("server", &other, Priority::Write);
        assert!(sessions.write_queues.enter("server", &one, Priority::Write).is_none());
        let take = |waiter| {
            session
                .rate_limiter()
                .take(key(waiter), Priority::Write, Instant::now())
        };
        // The first that gets no permit waits as well.
        let permits: Vec<_> = std::iter::from_fn(|| take("other")).collect();
        assert!(take("one").is_none());
        assert_eq!(sessions.waiting(), 3);
        sessions.user(&key("unknown")).release();
        assert_eq!(sessions.waiting(), 3);
        drop(user);
        assert_eq!(sessions.waiting(), 1);
        drop((held, permits));
    }

    #[tokio::test]
    async fn an_object_that_leaves_a_session_leaves_its_caches() {
        let sessions = sessions();
        let (one, other) = (sessions.user(&key("one")), sessions.user(&key("other")));
        let session = one.assign(credential("A"));
        other.assign(credential("A"));
        let project = session.open(None).await.expect("its id is known");
        project.gateways.known().hold(&key("one"), "1", Some("gateway"));
        let caches = project.server("server", &key("one"));
        caches.users.known().hold(&key("one"), "1", Some("user"));
        assert!(!project.is_counted(), "nothing was listed");
        drop(one);
        assert!(project.is_counted(), "nothing is held");
        assert_eq!(Arc::strong_count(&caches), 1, "no object uses the server");
    }
}
