//! Act: executes the decided step, which is at most one cloud write, and records its outcome. A file per step;
//! `execute` has the order of a write, `status` writes to the apiserver.

mod audit;
mod change;
mod create;
mod delete;
mod execute;
mod note;
mod recorded;
mod release;
mod rest;
mod status;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use vpn_core::api::conditions::Reason;
use vpn_core::api::{Scope, conditions};
use vpn_core::cache::{Cache, Query};
use vpn_core::decide::step::Step;
use vpn_core::ledger::outcome::Circumstances;
use vpn_core::object::Object;
use vpn_core::terms::dereferenced::Dereferencing;
use vpn_core::terms::failure::RETRY;
use vpn_core::terms::key::ObjectKey;

use crate::reconcile::k8s::report::stamp;
use crate::reconcile::pipeline::context::KindContext;
use crate::reconcile::pipeline::gather::Gathered;
use crate::reconcile::pipeline::visit::Visit;
use crate::reconcile::provider::cloud_kind::CloudKind;
use crate::reconcile::session::sessions::Session;
use crate::reconcile::state::queue::Action;

/// What comes after a step.
pub(crate) enum Next<K: CloudKind> {
    /// Another pass, from this state of the object.
    Again(Arc<Object<K>>),
    /// The end of this reconcile.
    Rest(Action),
}

/// One iteration of a reconcile: gather, decide and act.
pub(crate) struct Pass<'a, K: CloudKind> {
    pub visit: &'a Visit<'a, K>,
    pub context: &'a KindContext<K>,
    pub key: &'a ObjectKey,
    pub object: Arc<Object<K>>,
    pub gathered: &'a Gathered<K>,
}

/// What a step needs of the cloud, once all of it is known.
pub(super) struct CloudContext<'a, K: CloudKind> {
    pub(super) session: &'a Arc<Session>,
    pub(super) cache: &'a Arc<Cache<K::Remote, ObjectKey>>,
    pub(super) client: vpn_cloud::Client,
    pub(super) parent: K::Parent,
    pub(super) scope: Scope,
    /// The cloud's time of the decision, or later.
    pub(super) now: Timestamp,
}

impl<K: CloudKind> CloudContext<'_, K> {
    /// The cloud's present time, as far as it is known.
    pub(super) fn present(&self) -> Timestamp {
        self.session.cloud_now().unwrap_or(self.now)
    }
}

impl<K: CloudKind> Pass<'_, K> {
    /// The same pass over a newer state of the object.
    fn on(&self, object: &Arc<Object<K>>) -> Self {
        Pass {
            object: Arc::clone(object),
            ..*self
        }
    }

    /// Executes a step.
    pub(crate) async fn take(&self, step: Step<K>) -> Result<Next<K>, kube::Error> {
        match step {
            Step::Rest(rest) => self.rest(rest).await,
            Step::AddFinalizer => {
                let written = self.context.shared.reporter.set_finalizer(&*self.object, true).await?;
                Ok(self.again(written))
            }
            Step::Release(note) => self.release(note).await,
            Step::Query { query, fresh } => Ok(self.query(query, fresh)),
            Step::Note(note) => self.note(note).await,
            Step::Create(new) => self.create(new, None).await,
            Step::Replay(new) => {
                let recorded_intent = K::object(&self.object.status).intent.clone();
                self.create(new, recorded_intent).await
            }
            Step::Change { id, call, why } => self.change(&id, call, why).await,
            Step::Delete { id, duplicate } => self.delete(&id, duplicate).await,
        }
    }

    pub(super) fn cloud(&self) -> Option<CloudContext<'_, K>> {
        let (session, cache) = (self.gathered.session.as_ref()?, self.gathered.cache.as_ref()?);
        let access = self.gathered.access.as_ref().ok()?;
        let client = session.client()?;
        Some(CloudContext {
            session,
            cache,
            parent: self.gathered.parent.clone()?,
            client,
            scope: access.scope.clone(),
            now: session.cloud_now().or(access.cloud_now)?,
        })
    }

    /// The circumstances of an outcome, at this time of the cloud.
    pub(super) fn circumstances<'a>(
        &'a self,
        cloud: &'a CloudContext<'_, K>,
        cloud_now: Timestamp,
    ) -> Circumstances<'a, K> {
        Circumstances {
            policy: &self.context.shared.policy,
            object: &self.object,
            scope: &cloud.scope,
            parent: &cloud.parent,
            dereferenced: self.dereferenced(),
            request_timeout: self.context.shared.settings.request_timeout,
            cloud_now,
            waits: Duration::ZERO,
            stamp: stamp(&self.object),
        }
    }

    pub(super) fn dereferenced(&self) -> Option<&K::Dereferenced> {
        match &self.gathered.dereferenced {
            Dereferencing::Read(dereferenced) => Some(dereferenced),
            Dereferencing::Waiting | Dereferencing::Lacking(_) | Dereferencing::Absent(_) => None,
        }
    }

    pub(super) fn observes(&self) -> bool {
        self.object.lifecycle.management() == vpn_core::api::ManagementPolicy::Observe
    }

    pub(super) fn expect(&self, status: &mut K::Status) {
        if let Ok(spec) = &self.object.spec {
            K::expected(status, spec, self.object.name());
        }
    }

    pub(super) fn query(&self, query: Query, fresh: bool) -> Next<K> {
        let Some(cache) = &self.gathered.cache else {
            return self.requeue_after(RETRY);
        };
        let since = match self.gathered.since {
            _ if fresh => Instant::now(),
            Some(since) => since,
            None => self.context.shared.started,
        };
        cache.request(self.key.clone(), query, since, self.gathered.urgency);
        Next::Rest(Action::await_change())
    }

    pub(super) fn requeue_after(&self, backoff: vpn_cloud::error::cloud_error::Backoff) -> Next<K> {
        let jitter = (self.context.shared.jitter)();
        Next::Rest(Action::requeue(self.context.states.back_off(
            self.key,
            backoff,
            jitter,
            Instant::now(),
        )))
    }

    pub(super) fn count(&self, reason: Reason) {
        self.count_as(reason, false);
    }

    pub(super) fn count_as(&self, reason: Reason, drifted: bool) {
        self.context.count(self.key, reason, drifted);
    }

    pub(super) fn again(&self, written: Object<K>) -> Next<K> {
        let written = Arc::new(written);
        self.context.wrote(self.key, &written);
        Next::Again(written)
    }
}

fn ready_reason<K: CloudKind>(object: &Object<K>) -> Option<&str> {
    conditions::ready_reason(&K::object(&object.status).conditions)
}
