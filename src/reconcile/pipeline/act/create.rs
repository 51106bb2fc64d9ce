//! Creations.

use std::time::Duration;

use futures::future::BoxFuture;
use tracing::warn;
use uuid::Uuid;
use vpn_cloud::{CloudError, CloudResponse, ErrorKind};
use vpn_core::api::conditions::{ReadyCondition, Reason};
use vpn_core::api::{DeletionPolicy, Intent};
use vpn_core::cache::Remote;
use vpn_core::decide::step::created_event;
use vpn_core::ledger::record;
use vpn_core::observe::observer::wanted_name;
use vpn_core::terms::failure::{RETRY, failure_of};
use vpn_core::write_order::{WriteEnd, WriteRequest};

use super::audit::{Audited, WriteCause, audited};
use super::execute::{CloudWrite, Executed};
use super::recorded::Recorded;
use super::status::is_no_more;
use super::{CloudContext, Next, Pass, ready_reason};
use crate::reconcile::k8s::report::stamp;
use crate::reconcile::provider::cloud_kind::CloudKind;
use crate::reconcile::state::queue::Action;

/// A creation, or the replay of one.
struct Creation<K: CloudKind> {
    new: K::New,
    recorded_intent: Option<Intent>,
    /// The client token.
    token: String,
}

impl<K: CloudKind> CloudWrite<K> for Creation<K> {
    type Response = K::Remote;

    async fn waits(&self, pass: &Pass<'_, K>) -> Result<(), kube::Error> {
        pass.report_waiting().await
    }

    async fn record(&self, pass: &Pass<'_, K>, cloud: &CloudContext<'_, K>) -> Result<Recorded<K>, kube::Error> {
        pass.record(cloud, |circumstances, status| {
            let intent = circumstances.intent(self.recorded_intent.as_ref(), || self.token.clone());
            circumstances.record_creation(status, &intent, &self.new);
        })
        .await
    }

    fn claims(&self, pass: &Pass<'_, K>, cloud: &CloudContext<'_, K>) -> bool {
        pass.intends(cloud)
    }

    fn audited<'a>(&'a self, _: &Pass<'_, K>) -> Audited<'a> {
        Audited {
            operation: K::CREATE,
            id: None,
            fields: String::new(),
            cause: WriteCause::Create,
        }
    }

    fn id_of(created: &K::Remote) -> Option<&str> {
        Some(created.id())
    }

    fn request<'a>(
        &'a self,
        cloud: &'a CloudContext<'_, K>,
    ) -> BoxFuture<'a, Result<CloudResponse<K::Remote>, CloudError>> {
        K::create(&cloud.client, &cloud.parent, &self.new, &self.token)
    }
}

impl<K: CloudKind> Pass<'_, K> {
    /// `recorded_intent`: the recorded intent of a creation that is replayed with the same token.
    pub(super) async fn create(&self, new: K::New, recorded_intent: Option<Intent>) -> Result<Next<K>, kube::Error> {
        let Some(cloud) = self.cloud() else {
            return Ok(self.requeue_after(RETRY));
        };
        let token = match &recorded_intent {
            Some(intent) => intent.token.clone(),
            None => Uuid::new_v4().to_string(),
        };
        let creation = Creation {
            new,
            recorded_intent,
            token,
        };
        let (object, sent) = match self.execute(&cloud, &creation).await? {
            Executed::Answered(object, sent) => (object, sent),
            Executed::Aborted(next) => return Ok(next),
        };
        let pass = self.on(&object);
        let Creation {
            new,
            recorded_intent,
            token,
        } = creation;
        let request = if recorded_intent.is_some() {
            WriteRequest::ReplayOfCreate
        } else {
            WriteRequest::Create
        };
        match request.end(sent) {
            WriteEnd::Done(answer) => {
                pass.created(&cloud, &new, answer.value, recorded_intent.is_some())
                    .await
            }
            WriteEnd::ReplayShowedNothing => {
                self.context.shared.metrics.creation_sent_again(K::KIND, false);
                self.context.states.replays(self.key, &token);
                Ok(Next::Again(pass.object))
            }
            WriteEnd::Unknown(error) => {
                pass.record_failure(&failure_of(&error), |_| {}).await?;
                // If it is found at once, it was committed; the wait for its absence comes later.
                self.context.states.reset_backoff(self.key);
                Ok(Next::Rest(Action::requeue(Duration::ZERO)))
            }
            WriteEnd::Refused(error) | WriteEnd::AlreadyAbsent(error) => {
                let mut failure = failure_of(&error);
                if K::UNIQUE_NAMES && error.kind == ErrorKind::Duplicate {
                    // The retry finds and reports the owner of the name.
                    failure.backoff = RETRY;
                    let lost_ids = K::lost_ids(&pass.object.status);
                    if !lost_ids.is_empty() {
                        failure.condition.message = format!(
                            "{error}; it may be this object's own, which the cloud did not return ({}): it is \
                             searched for again; to adopt another one, set spec.externalID to its id or \
                             spec.adoptionPolicy to IfExists",
                            lost_ids.join(", ")
                        );
                    }
                }
                pass.record_failure(&failure, |status| record::refused::<K>(status, &new, &error))
                    .await
            }
        }
    }

    /// Reserves the name of a creation. Returns whether no other object has it.
    pub(super) fn intends(&self, cloud: &CloudContext<'_, K>) -> bool {
        let name = wanted_name(&self.object, &cloud.scope).filter(|_| K::UNIQUE_NAMES);
        name.is_none_or(|name| self.context.claims.index().intend(self.key, &name).is_ok())
    }

    /// Sets a condition if there is none: without one the object would count as done.
    pub(super) async fn report_waiting(&self) -> Result<(), kube::Error> {
        if ready_reason::<K>(&self.object).is_some() {
            return Ok(());
        }
        let stamp = stamp(&self.object);
        let message = format!("the creation of the {} is queued behind earlier writes", K::NOUN);
        let condition = ReadyCondition::new(Reason::Creating, message);
        self.write(|status| {
            self.expect(status);
            record::condition::<K>(status, &condition, stamp);
        })
        .await?;
        self.count(Reason::Creating);
        Ok(())
    }

    /// `again`: the creation was replayed, since the first answer was lost.
    pub(super) async fn created(
        &self,
        cloud: &CloudContext<'_, K>,
        new: &K::New,
        remote: K::Remote,
        again: bool,
    ) -> Result<Next<K>, kube::Error> {
        cloud.cache.wrote(remote.clone());
        self.context.claims.index().made(self.key, remote.id());
        cloud.cache.known().hold(self.key, self.object.uid(), Some(remote.id()));
        let circumstances = self.circumstances(cloud, cloud.present());
        let written = match self
            .write_surely(|status| circumstances.created(status, new, &remote))
            .await
        {
            Err(error) if is_no_more(&error, self.object.name()) => {
                self.take_back(cloud, &remote).await;
                return Err(error);
            }
            written => written?,
        };
        let (reason, mut text) = if self.context.states.has_recreated(self.key) {
            ("Recreated", format!("recreated the {} as {}", K::NOUN, remote.id()))
        } else {
            created_event::<K>(&remote)
        };
        if again {
            self.context.shared.metrics.creation_sent_again(K::KIND, true);
            text.push_str(": the response was lost; the same request, replayed with its client token, returned it");
        }
        self.context.shared.reporter.event(&*self.object, reason, &text).await;
        // An unconfirmed creation may still fail: then its backoff must continue to grow.
        if K::confirmed_at(&written.status).is_none() {
            self.context.states.progressed(self.key);
        }
        Ok(Next::Again(written))
    }

    /// Deletes what was created for an object that was deleted meanwhile. A finalizer that is added while a deletion is
    /// carried out is removed with the object, so no later reconcile would delete the resource.
    pub(super) async fn take_back(&self, cloud: &CloudContext<'_, K>, remote: &K::Remote) {
        let (object, noun, id) = (self.key, K::NOUN, remote.id());
        let default = self.context.shared.policy.default_deletion;
        if self.object.lifecycle.deletion(default) != DeletionPolicy::Delete {
            warn!(%object, id, "deleted from the cluster while its {noun} was created; deletionPolicy keeps it");
            return;
        }
        let entry = Audited {
            operation: K::DELETE,
            id: Some(id),
            fields: String::new(),
            cause: WriteCause::Delete,
        };
        let request = K::delete(&cloud.client, &cloud.parent, id);
        let deletion = audited(&self.object, entry, request, |()| None);
        // Another object may have adopted it since this one was deleted from the cluster.
        let may_delete = || self.context.shared.may_write() && !self.is_held_by_another(cloud, id);
        let sending = cloud.session.send_if(may_delete, deletion);
        let deleted = self.visit.slot.yielded(sending).await;
        match deleted {
            Some(Ok(_)) => {
                cloud.cache.wrote_absence(self.key, id);
                warn!(%object, id, "deleted from the cluster while its {noun} was created; it is deleted again");
            }
            Some(Err(error)) => {
                warn!(%object, id, %error, "deleted from the cluster while its {noun} was created; deleting it failed");
            }
            None => warn!(%object, id, "deleted from the cluster while its {noun} was created; it is an orphan"),
        }
    }
}
