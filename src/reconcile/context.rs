//! What a reconcile is given: what all kinds share, and what each has of its own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Client;
use kube::runtime::reflector::Store;
use tokio::sync::watch;
use tokio::time::Instant;

use super::census::Census;
use super::claims::Claims;
use super::credential_health::CredentialHealth;
use super::decide::Policy;
use super::digest_key::DigestKeys;
use super::initial_list::{Progress, Unlisted};
use super::key::{Key, Wakes};
use super::kind::Kind;
use super::living::Living;
use super::managed::Managed;
use super::memory::Memory;
use super::registrations::{Registrations, Reported};
use super::report::Reporter;
use super::secrets::Secrets;
use super::tenant::Tenants;
use crate::api::conditions::Reason;
use crate::cloud::credentials::OwnCredentialsSource;
use crate::crd_age::Unkept;
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
    pub tenants: Arc<Tenants>,
    pub credential_health: Arc<CredentialHealth>,
    pub own_credentials: OwnCredentialsSource,
    pub leader: LeaderHandle,
    pub metrics: Metrics,
    pub wakes: Arc<Wakes>,
    pub census: Census,
    /// When this process began: what was seen since then was seen by it.
    pub started: Instant,
    #[cfg(test)]
    pub tripwires: super::tripwire::Tripwires,
}

impl Context {
    /// Whether a cloud write may leave now: this process must still lead when its answer comes.
    pub fn may_write(&self) -> bool {
        self.leader.may_write(self.settings.request_timeout)
    }

    /// Whether this process leads by its clocks, and not only because it has not heard otherwise: one that was stopped
    /// for a while finds that out before anything else.
    pub fn leads(&self) -> bool {
        self.leader.may_write(Duration::ZERO)
    }

    /// A factor of 0.8 to 1.2, so that those that fail together do not come again together.
    pub fn jitter(&self) -> f64 {
        rand::random_range(0.8..=1.2)
    }
}

/// What one kind's controllers have beside the context.
pub struct KindContext<K: Kind> {
    pub shared: Arc<Context>,
    pub memory: Memory<K>,
    /// Who holds, intends or wants which cloud object.
    pub claims: Claims,
    pub living: Living,
    pub heard: Heard,
    /// One for each watched namespace.
    pub watches: Mutex<Vec<Watched<K>>>,
    /// Fails while the CRD in the cluster does not keep what must be remembered.
    pub crd_check: Check,
    /// What the CRD in the cluster does not keep, of which not all is needed at all times.
    pub unkept: Unkept,
}

/// What a watch has delivered.
#[derive(Clone)]
pub struct Watched<K: Kind> {
    /// None: every namespace.
    pub namespace: Option<String>,
    pub store: Store<Managed<K>>,
    /// Whether the store has all that there is. The store itself can tell only one of those who wait for it.
    pub listed: watch::Receiver<Progress>,
}

impl<K: Kind> KindContext<K> {
    /// The apiserver kept a record, which is the proof where the CRD itself cannot be read.
    pub fn record_was_kept(&self) {
        if self.unkept.is_empty() {
            self.crd_check.ok();
        }
    }

    /// One more watch.
    pub fn watched_by(&self, watched: Watched<K>) {
        self.watches().push(watched);
    }

    /// Whether no watch is still listing: see [`Self::all_is_known`].
    pub fn is_all_known(&self) -> bool {
        let is_under_way = |watched: &Watched<K>| *watched.listed.borrow() == Progress::UnderWay;
        !self.watches().iter().any(is_under_way)
    }

    /// Waits until every watch has delivered all that there is, or is known to fail: see [`Self::unlisted`].
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

    /// A namespace whose objects are not known, if there is any: what they have in the cloud must not be taken.
    pub fn unlisted(&self) -> Option<Unlisted> {
        self.watches().iter().find_map(|watched| {
            let cause = match &*watched.listed.borrow() {
                Progress::Complete => return None,
                Progress::UnderWay => "the list is under way".to_owned(),
                Progress::Failing(cause) => cause.clone(),
            };
            Some(Unlisted {
                namespace: watched.namespace.clone(),
                cause,
            })
        })
    }

    /// Whether every object that has something in the cloud was looked at, as far as that could be.
    pub fn all_are_looked_at(&self) -> bool {
        self.watches().iter().all(|watched| {
            match *watched.listed.borrow() {
                Progress::UnderWay => return false,
                // Its objects are not reconciled, and hold up no others.
                Progress::Failing(_) => return true,
                Progress::Complete => {}
            }
            let objects = watched.store.state();
            let has_any = |object: &Managed<K>| K::object(&object.status).id.is_some();
            let mut holders = objects.iter().filter(|object| has_any(object));
            holders.all(|object| self.memory.was_looked_at(&Key::of(&**object)))
        })
    }

    /// One of our writes returned this.
    pub fn wrote(&self, key: &Key, object: &Arc<Managed<K>>) {
        self.claims.update(object);
        self.memory.wrote(key, object);
    }

    fn watches(&self) -> MutexGuard<'_, Vec<Watched<K>>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what was delivered, and returns the newest state of the object that is known; none if the object has gone
    /// meanwhile, or another one of its name has come, about which there is news on its way.
    pub fn arrive(&self, key: &Key, object: Arc<Managed<K>>) -> Option<Arc<Managed<K>>> {
        let uid = object.uid().to_owned();
        self.claims.update(&object);
        let latest = self.memory.arrive(key, object, Instant::now());
        // Asked afterwards: the store loses an object before it is forgotten, so what came too late to be forgotten with
        // it is not found here.
        let is_there = self.watched(key).is_some_and(|watched| watched.uid() == uid);
        if !is_there {
            self.memory.forget(key);
        }
        is_there.then_some(latest)
    }

    /// The same for what was read after the apiserver refused a write to the newest state that was known.
    pub fn reread(&self, key: &Key, object: Arc<Managed<K>>) -> Option<Arc<Managed<K>>> {
        if self.memory.reread(key, &object, Instant::now()) {
            let (namespace, name, version) = (&key.namespace, &key.name, object.resource_version());
            tracing::warn!(
                kind = K::KIND,
                namespace,
                name,
                resource_version = version,
                "the apiserver has an older version of the object than was read before, as after a restore of its data: \
                 the older one counts; restart the operator, or its watches may miss changes"
            );
        }
        self.arrive(key, object)
    }

    /// As the watches have it.
    pub fn watched(&self, key: &Key) -> Option<Arc<Managed<K>>> {
        let reference = key.object_ref::<K>();
        self.watches().iter().find_map(|watched| watched.store.get(&reference))
    }

    /// Whether a watch has the object with this uid; `key` is where it is, if that is known.
    pub fn has_uid(&self, key: Option<&Key>, uid: &str) -> bool {
        match key {
            Some(key) => self.watched(key).is_some_and(|watched| watched.uid() == uid),
            None => self
                .watches()
                .iter()
                .any(|watched| watched.store.find(|object| object.uid() == uid).is_some()),
        }
    }

    /// Nothing is left to do for the object. What is known of it stays until the watch has seen it go: what the watch
    /// delivers until then is older, and would be taken for an object that is still to be deleted.
    pub fn let_go(&self, key: &Key) {
        self.memory.unregister(key);
        self.claims.index().let_go(key);
        // The store is told first, so that one that still has it means that the watch will say so later.
        if self.watched(key).is_none() {
            self.memory.forget(key);
        }
    }

    /// How metrics count the object from now on.
    pub fn count(&self, key: &Key, reason: Reason, drifted: bool) {
        let now = Reported {
            reason: Some(reason.as_str()),
            drifted,
        };
        if let Some(registrations) = self.registrations(key) {
            registrations.counted.set(now);
        }
    }

    /// What an object has registered; `None` if it is not watched any more.
    pub fn registrations(&self, key: &Key) -> Option<Arc<Registrations>> {
        self.memory.registrations(key, || Registrations::new(&self.shared, key))
    }
}
