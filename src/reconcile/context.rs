//! The context of a reconcile: a part that all kinds share, and a part for each kind.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Client;
use kube::runtime::reflector::Store;
use tokio::sync::watch;
use tokio::time::Instant;

use super::claims::Claims;
use super::credential_health::CredentialHealth;
use super::decide::Policy;
use super::digest_key::DigestKeys;
use super::initial_list::{Progress, Unlisted};
use super::initial_sync::InitialSync;
use super::key::{Key, WakeQueues};
use super::kind::Kind;
use super::living::Living;
use super::object::Object;
use super::object_states::ObjectStates;
use super::registrations::{Registrations, Reported};
use super::report::Reporter;
use super::secrets::Secrets;
use super::session::Sessions;
use crate::api::conditions::Reason;
use crate::cloud::credentials::DefaultCredentialsSource;
use crate::crd_skew::PrunedFields;
use crate::kube_client::Heard;
use crate::leader::LeaderHandle;
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::web::Check;

/// Shared by the controllers of all kinds.
pub struct Context {
    pub settings: Arc<Settings>,
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
    pub initial_sync: InitialSync,
    /// When this process started: it made every observation since then itself.
    pub started: Instant,
    #[cfg(test)]
    pub tripwires: super::tripwire::Tripwires,
}

impl Context {
    /// Whether a cloud write may be sent now: this process must still lead when the answer comes.
    pub fn may_write(&self) -> bool {
        self.leader.may_write(self.settings.request_timeout)
    }

    /// Whether this process leads by its clocks, not only because no loss was reported: a process that was stopped for
    /// a while detects this first.
    pub fn leads(&self) -> bool {
        self.leader.may_write(Duration::ZERO)
    }

    /// A factor of 0.8 to 1.2, so that objects that fail together do not retry together.
    pub fn jitter(&self) -> f64 {
        rand::random_range(0.8..=1.2)
    }
}

/// What the controllers of one kind have besides the shared context.
pub struct KindContext<K: Kind> {
    pub shared: Arc<Context>,
    pub states: ObjectStates<K>,
    /// Which object holds, intends or wants which cloud object.
    pub claims: Claims,
    pub living: Living,
    pub heard: Heard,
    /// One for each watched namespace.
    pub watches: Mutex<Vec<Watched<K>>>,
    /// Fails while the CRD in the cluster prunes fields that the operator must remember.
    pub crd_check: Check,
    /// The fields that the CRD in the cluster prunes. Not all of them are needed at all times.
    pub pruned_fields: PrunedFields,
}

/// What a watch has delivered.
#[derive(Clone)]
pub struct Watched<K: Kind> {
    /// None: every namespace.
    pub namespace: Option<String>,
    pub store: Store<Object<K>>,
    /// Whether the store is complete. The store itself can notify only one waiter.
    pub listed: watch::Receiver<Progress>,
}

impl<K: Kind> KindContext<K> {
    /// The apiserver kept a record. This is the proof where the CRD itself cannot be read.
    pub fn record_was_kept(&self) {
        if self.pruned_fields.is_empty() {
            self.crd_check.ok();
        }
    }

    /// Adds a watch.
    pub fn watched_by(&self, watched: Watched<K>) {
        self.watches().push(watched);
    }

    /// Whether no watch is still listing: see [`Self::all_is_known`].
    pub fn is_all_known(&self) -> bool {
        let is_under_way = |watched: &Watched<K>| *watched.listed.borrow() == Progress::UnderWay;
        !self.watches().iter().any(is_under_way)
    }

    /// Waits until every watch has delivered all objects, or is known to fail: see [`Self::unlisted`].
    pub async fn all_is_known(&self) {
        let watches = self.watches().clone();
        for mut watched in watches {
            if *watched.listed.borrow() == Progress::UnderWay {
                tracing::debug!("waiting until every watched namespace is listed");
            }
            // The sender is dropped only when the process ends.
            let _ = watched
                .listed
                .wait_for(|progress| *progress != Progress::UnderWay)
                .await;
        }
    }

    /// Returns a namespace whose objects are not known, if any: their cloud objects must not be adopted.
    pub fn unlisted(&self) -> Option<Unlisted> {
        self.watches().iter().find_map(|watched| {
            let cause = match &*watched.listed.borrow() {
                Progress::Complete => return None,
                Progress::UnderWay => "the list is in progress".to_owned(),
                Progress::Failing(cause) => cause.clone(),
            };
            Some(Unlisted {
                namespace: watched.namespace.clone(),
                cause,
            })
        })
    }

    /// Whether the cloud object of every object with an id was read, or could not be read.
    pub fn all_have_been_read(&self) -> bool {
        self.watches().iter().all(|watched| {
            match *watched.listed.borrow() {
                Progress::UnderWay => return false,
                // Its objects are not reconciled, and do not delay others.
                Progress::Failing(_) => return true,
                Progress::Complete => {}
            }
            let objects = watched.store.state();
            let has_any = |object: &Object<K>| K::object(&object.status).id.is_some();
            let mut holders = objects.iter().filter(|object| has_any(object));
            holders.all(|object| self.states.has_been_read(&Key::of(&**object)))
        })
    }

    /// Records the object that one of our writes returned.
    pub fn wrote(&self, key: &Key, object: &Arc<Object<K>>) {
        self.claims.update(object);
        self.states.wrote(key, object);
    }

    fn watches(&self) -> MutexGuard<'_, Vec<Watched<K>>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records what was delivered, and returns the newest known state of the object. Returns `None` if the object no
    /// longer exists, or if another object has its name by now, which the watch will report.
    pub fn arrive(&self, key: &Key, object: Arc<Object<K>>) -> Option<Arc<Object<K>>> {
        let uid = object.uid().to_owned();
        self.claims.update(&object);
        let latest = self.states.observe(key, object, Instant::now());
        // Checked afterwards: an object leaves the store before it is forgotten, so a state that came too late for that
        // is not found here.
        let is_there = self.watched(key).is_some_and(|watched| watched.uid() == uid);
        if !is_there {
            self.states.forget(key);
        }
        is_there.then_some(latest)
    }

    /// The same for a state that was read after the apiserver refused a write to the newest known state.
    pub fn reread(&self, key: &Key, object: Arc<Object<K>>) -> Option<Arc<Object<K>>> {
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
        self.arrive(key, object)
    }

    /// Returns the object as the watches have it.
    pub fn watched(&self, key: &Key) -> Option<Arc<Object<K>>> {
        let reference = key.object_ref::<K>();
        self.watches().iter().find_map(|watched| watched.store.get(&reference))
    }

    /// Whether a watch has the object with this uid; `key` is its key, if known.
    pub fn has_uid(&self, key: Option<&Key>, uid: &str) -> bool {
        match key {
            Some(key) => self.watched(key).is_some_and(|watched| watched.uid() == uid),
            None => self
                .watches()
                .iter()
                .any(|watched| watched.store.find(|object| object.uid() == uid).is_some()),
        }
    }

    /// Nothing is left to do for the object. Its state stays until the watch reports the deletion. What the watch
    /// delivers until then is older, and would look like an object that is still to be deleted.
    pub fn finalizer_removed(&self, key: &Key) {
        self.states.unregister(key);
        self.claims.index().finalizer_removed(key);
        // The store is updated first: if it still has the object, the watch will report the deletion later.
        if self.watched(key).is_none() {
            self.states.forget(key);
        }
    }

    /// Sets how metrics count the object from now on.
    pub fn count(&self, key: &Key, reason: Reason, drifted: bool) {
        let now = Reported {
            reason: Some(reason.as_str()),
            drifted,
        };
        if let Some(registrations) = self.registrations(key) {
            registrations.counted.set(now);
        }
    }

    /// What an object has registered; `None` if it is no longer watched.
    pub fn registrations(&self, key: &Key) -> Option<Arc<Registrations>> {
        self.states.registrations(key, || Registrations::new(&self.shared, key))
    }
}
