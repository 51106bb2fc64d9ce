//! The context of a reconcile: a part that all kinds share, and a part for each kind.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio::time::Instant;
use vpn_cloud::credentials::keys::DefaultCredentialsSource;
use vpn_core::api::conditions::Reason;
use vpn_core::kind::Kind;
use vpn_core::object::Object;
use vpn_core::observe::claims::Claims;
use vpn_core::terms::key::ObjectKey;
use vpn_core::terms::observation::Unlisted;
use vpn_core::terms::policy::Policy;
use vpn_core::terms::reference::Resolution;

use crate::kubernetes::client::WatchActivity;
use crate::kubernetes::crd_skew::PrunedFields;
use crate::leader::LeaderHandle;
use crate::metrics::Metrics;
use crate::reconcile::k8s::digest_key::DigestKeys;
use crate::reconcile::k8s::initial_list::InitialListProgress;
use crate::reconcile::k8s::owner_existence::OwnerExistence;
use crate::reconcile::k8s::report::Reporter;
use crate::reconcile::k8s::secrets::Secrets;
use crate::reconcile::session::credential_health::CredentialHealth;
use crate::reconcile::session::sessions::Sessions;
use crate::reconcile::state::initial_sync::InitialSync;
use crate::reconcile::state::object_states::ObjectStates;
use crate::reconcile::state::references::References;
use crate::reconcile::state::registrations::{Counted, Registrations, Reported};
use crate::reconcile::state::wake_queues::WakeQueues;
use crate::reconcile::state::watched_objects::WatchedObjects;
use crate::settings::OperatorSettings;
use crate::web::ReadinessCheck;

/// Shared by the controllers of all kinds.
pub(crate) struct Context {
    pub settings: Arc<OperatorSettings>,
    pub policy: Policy,
    pub client: Client,
    pub reporter: Reporter,
    pub secrets: Arc<Secrets>,
    pub digest_keys: DigestKeys,
    pub sessions: Arc<Sessions>,
    pub credential_health: Arc<CredentialHealth>,
    pub default_credentials: DefaultCredentialsSource,
    pub leader: LeaderHandle,
    pub metrics: Metrics,
    pub wake_queues: Arc<WakeQueues>,
    pub references: Arc<References>,
    pub initial_sync: InitialSync,
    /// A factor for each backoff, so that objects that fail together do not retry together.
    pub jitter: fn() -> f64,
    /// When this process started: it made every observation since then itself.
    pub started: Instant,
    #[cfg(test)]
    pub tripwires: crate::reconcile::pipeline::tripwire::Tripwires,
}

impl Context {
    /// Registers an object in all registries.
    fn register(&self, key: &ObjectKey) -> Registrations {
        Registrations {
            secrets: self.secrets.reader(key),
            session: self.sessions.user(key),
            credential: self.credential_health.user(key),
            references: self.references.user(key),
            counted: Counted::new(self.metrics.clone(), key.kind),
        }
    }

    /// Whether a cloud write may be sent now: this process must still lead when the answer comes.
    pub(crate) fn may_write(&self) -> bool {
        self.leader.may_write(self.settings.request_timeout)
    }

    /// Whether this process leads by its clocks, not only because no loss was reported: a process that was stopped for
    /// a while detects this first.
    pub(crate) fn leads(&self) -> bool {
        self.leader.may_write(Duration::ZERO)
    }
}

/// What the controllers of one kind have besides the shared context.
pub(crate) struct KindContext<K: Kind> {
    pub shared: Arc<Context>,
    pub states: ObjectStates<K>,
    /// Which object holds, intends or wants which cloud object.
    pub claims: Claims,
    pub owner_existence: OwnerExistence,
    pub heard: WatchActivity,
    /// One for each watched namespace.
    pub watches: Mutex<Vec<Watched<K>>>,
    /// Fails while the CRD in the cluster prunes fields that the operator must remember.
    pub crd_check: ReadinessCheck,
    /// The fields that the CRD in the cluster prunes. Not all of them are needed at all times.
    pub pruned_fields: PrunedFields,
}

/// What a watch has delivered.
#[derive(Clone)]
pub(crate) struct Watched<K: Kind> {
    /// None: every namespace.
    pub namespace: Option<String>,
    pub objects: Arc<WatchedObjects<K>>,
    /// Whether the list is complete.
    pub listed: watch::Receiver<InitialListProgress>,
}

impl<K: Kind> KindContext<K> {
    /// The apiserver kept a record. This is the proof where the CRD itself cannot be read.
    pub(crate) fn record_was_kept(&self) {
        if self.pruned_fields.is_empty() {
            self.crd_check.ok();
        }
    }

    /// Adds a watch.
    pub(crate) fn watched_by(&self, watched: Watched<K>) {
        self.watches().push(watched);
    }

    /// Whether no watch is still listing: see [`Self::all_is_known`].
    pub(crate) fn is_all_known(&self) -> bool {
        let is_in_progress = |watched: &Watched<K>| *watched.listed.borrow() == InitialListProgress::InProgress;
        !self.watches().iter().any(is_in_progress)
    }

    /// Waits until every watch has delivered all objects, or is known to fail: see [`Self::unlisted`].
    pub(crate) async fn all_is_known(&self) {
        let watches = self.watches().clone();
        for mut watched in watches {
            if *watched.listed.borrow() == InitialListProgress::InProgress {
                tracing::debug!("waiting until every watched namespace is listed");
            }
            // The sender is dropped only when the process ends.
            let _ = watched
                .listed
                .wait_for(|progress| *progress != InitialListProgress::InProgress)
                .await;
        }
    }

    /// Returns a namespace whose objects are not known, if any: their cloud objects must not be adopted.
    pub(crate) fn unlisted(&self) -> Option<Unlisted> {
        self.watches().iter().find_map(|watched| {
            let cause = match &*watched.listed.borrow() {
                InitialListProgress::Complete => return None,
                InitialListProgress::InProgress => "the list is in progress".to_owned(),
                InitialListProgress::Failing(cause) => cause.clone(),
            };
            Some(Unlisted {
                namespace: watched.namespace.clone(),
                cause,
            })
        })
    }

    /// Whether the cloud object of every object with an id was read, or could not be read.
    pub(crate) fn all_have_been_read(&self) -> bool {
        self.watches().iter().all(|watched| {
            match *watched.listed.borrow() {
                InitialListProgress::InProgress => return false,
                // Its objects are not reconciled, and do not delay others.
                InitialListProgress::Failing(_) => return true,
                InitialListProgress::Complete => {}
            }
            watched.objects.all_with_id(|key| self.states.has_been_read(key))
        })
    }

    /// Records the object that one of our writes returned.
    pub(crate) fn wrote(&self, key: &ObjectKey, object: &Arc<Object<K>>) {
        self.claims.update(object);
        self.states.wrote(key, object);
        self.shared.references.changed(key);
    }

    /// What a reference to the object leads to: by the newest known state, also of one that was not reconciled yet.
    pub(crate) fn resolution(&self, key: &ObjectKey) -> Resolution {
        match self.progress_in(&key.namespace) {
            InitialListProgress::Complete => {}
            InitialListProgress::InProgress => return Resolution::Pending,
            InitialListProgress::Failing(_) => return Resolution::Unknown,
        }
        // An object leaves the watches first. Its state may be newer than theirs.
        match (self.watched(key), self.states.latest(key)) {
            (Some(watched), Some(latest)) if latest.uid() == watched.uid() => latest.resolution(),
            (Some(watched), _) => watched.resolution(),
            (None, _) if self.shared.settings.watch_selector.is_some() => Resolution::Unknown,
            (None, _) => Resolution::Absent,
        }
    }

    /// Whether the objects of the namespace are known.
    fn progress_in(&self, namespace: &str) -> InitialListProgress {
        let watches = self.watches();
        let of_namespace = |watched: &&Watched<K>| watched.namespace.as_deref().is_none_or(|its| its == namespace);
        let watched = watches.iter().find(of_namespace);
        watched.map_or(InitialListProgress::InProgress, |watched| {
            watched.listed.borrow().clone()
        })
    }

    fn watches(&self) -> MutexGuard<'_, Vec<Watched<K>>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records what was delivered, and returns the newest known state of the object. Returns `None` if the object no
    /// longer exists, or if another object has its name by now, which the watch will report.
    pub(crate) fn observe(&self, key: &ObjectKey, object: Arc<Object<K>>) -> Option<Arc<Object<K>>> {
        let uid = object.uid().to_owned();
        self.claims.update(&object);
        let latest = self.states.observe(key, object, Instant::now());
        // Checked afterwards: an object leaves the store before it is forgotten, so a state that came too late for that
        // is not found here.
        let is_there = self.watched(key).is_some_and(|watched| watched.uid() == uid);
        if !is_there {
            self.states.forget(key);
        }
        self.shared.references.changed(key);
        is_there.then_some(latest)
    }

    /// The same for a state that was read after the apiserver refused a write to the newest known state.
    pub(crate) fn reread(&self, key: &ObjectKey, object: Arc<Object<K>>) -> Option<Arc<Object<K>>> {
        if self.states.reread(key, &object, Instant::now()) {
            let (namespace, name, version) = (&key.namespace, &key.name, object.resource_version());
            tracing::warn!(
                kind = K::KIND,
                namespace,
                name,
                resource_version = version,
                "the apiserver has an older version of the object than was read before, as after a restore of its \
                 data: the older one counts; restart the operator, or its watches may miss changes"
            );
        }
        self.observe(key, object)
    }

    /// Whether the watches have what this process wrote last, and nothing newer: then there is nothing to do.
    pub(crate) fn is_echo(&self, key: &ObjectKey) -> bool {
        let watched = self.watched(key);
        watched.is_some_and(|object| self.states.is_echo(key, &object, Instant::now()))
    }

    /// Returns the object as the watches have it.
    pub(crate) fn watched(&self, key: &ObjectKey) -> Option<Arc<Object<K>>> {
        let stored = self.watches().iter().find_map(|watched| watched.objects.get(key));
        // Parsed after the lock is released.
        stored.map(|stored| stored.get())
    }

    /// Whether a watch has the object with this uid; `key` is its key, if known.
    pub(crate) fn has_uid(&self, key: Option<&ObjectKey>, uid: &str) -> bool {
        match key {
            Some(key) => self.watched(key).is_some_and(|watched| watched.uid() == uid),
            None => self.watches().iter().any(|watched| watched.objects.has_uid(uid)),
        }
    }

    /// Nothing is left to do for the object. Its state stays until the watch reports the deletion. What the watch
    /// delivers until then is older, and would look like an object that is still to be deleted.
    pub(crate) fn finalizer_removed(&self, key: &ObjectKey) {
        self.states.unregister(key);
        self.claims.index().finalizer_removed(key);
        // The store is updated first: if it still has the object, the watch will report the deletion later.
        if self.watched(key).is_none() {
            self.states.forget(key);
        }
    }

    /// Sets how metrics count the object from now on.
    pub(crate) fn count(&self, key: &ObjectKey, reason: Reason, drifted: bool) {
        let now = Reported {
            reason: Some(reason.as_str()),
            drifted,
        };
        if let Some(registrations) = self.registrations(key) {
            registrations.counted.set(now);
        }
    }

    /// What an object has registered; `None` if it is no longer watched.
    pub(crate) fn registrations(&self, key: &ObjectKey) -> Option<Arc<Registrations>> {
        self.states.registrations(key, || self.shared.register(key))
    }
}
