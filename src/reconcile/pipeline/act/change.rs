//! Changes of a resource.

use futures::future::BoxFuture;
use tokio::time::Instant;
use vpn_cloud::limits::rate_limiter::Priority;
use vpn_cloud::{CloudError, CloudResponse, ErrorKind};
use vpn_core::api::conditions;
use vpn_core::api::conditions::{ReadyCondition, Reason};
use vpn_core::decide::step::Why;
use vpn_core::kind::Refused;
use vpn_core::ledger::outcome;
use vpn_core::terms::failure::{RETRY, failure_of};
use vpn_core::write_order::{WriteEnd, WriteRequest};

use super::audit::{Audited, WriteCause};
use super::execute::{CloudWrite, Executed};
use super::recorded::Recorded;
use super::{CloudContext, Next, Pass, ready_reason};
use crate::reconcile::provider::cloud_kind::CloudKind;

/// A change of a resource.
struct Correcting<'a, K: CloudKind> {
    id: &'a str,
    call: K::Change,
    why: Why,
}

impl<K: CloudKind> CloudWrite<K> for Correcting<'_, K> {
    type Response = Option<K::Remote>;

    fn priority(&self, pass: &Pass<'_, K>) -> Priority {
        if pass.gathered.triggered_at.is_some() {
            Priority::Edit
        } else {
            Priority::Write
        }
    }

    async fn record(&self, pass: &Pass<'_, K>, cloud: &CloudContext<'_, K>) -> Result<Recorded<K>, kube::Error> {
        pass.record_change(cloud, &self.call, &self.why).await
    }

    fn claims(&self, pass: &Pass<'_, K>, cloud: &CloudContext<'_, K>) -> bool {
        !pass.is_held_by_another(cloud, self.id)
    }

    fn audited<'a>(&'a self, pass: &Pass<'_, K>) -> Audited<'a> {
        Audited {
            operation: K::operation(&self.call),
            id: Some(self.id),
            fields: match &self.why {
                Why::Differs(fields) => fields.join(","),
                Why::Mark | Why::RemoveTag => String::new(),
            },
            cause: pass.cause(&self.call, &self.why),
        }
    }

    fn request<'a>(
        &'a self,
        cloud: &'a CloudContext<'_, K>,
    ) -> BoxFuture<'a, Result<CloudResponse<Option<K::Remote>>, CloudError>> {
        K::change(&cloud.client, &cloud.parent, self.id, &self.call)
    }
}

impl<K: CloudKind> Pass<'_, K> {
    pub(super) async fn change(&self, id: &str, call: K::Change, why: Why) -> Result<Next<K>, kube::Error> {
        let Some(cloud) = self.cloud() else {
            return Ok(self.requeue_after(RETRY));
        };
        let lost = self.context.pruned_fields.among(K::remembered_after(&call));
        if !lost.is_empty() {
            return self.crd_is_too_old(&format!("drops {}", lost.join(", "))).await;
        }
        // Before the reservation, since other objects would wait for the Event as well.
        self.report_drift(&call, &why).await;
        let change = Correcting { id, call, why };
        let (object, sent) = match self.execute(&cloud, &change).await? {
            Executed::Answered(object, sent) => (object, sent),
            Executed::Aborted(next) => return Ok(next),
        };
        let pass = self.on(&object);
        let call = change.call;
        match WriteRequest::Change.end(sent) {
            WriteEnd::Done(answer) => {
                let circumstances = self.circumstances(&cloud, cloud.present());
                let updated =
                    outcome::seen_change::<K>(&mut cloud.cache.known(), id, &call, answer.value, Instant::now());
                let written = pass
                    .write_surely(|status| K::changed(status, &call, updated.as_ref(), &circumstances.record()))
                    .await?;
                self.changed(id, call).await;
                Ok(Next::Again(written))
            }
            // Only if this pass assumed that tags are overwritten: another object may have learned otherwise meanwhile.
            WriteEnd::Refused(error) if K::overwrites(&call) && is_refusal(&error) && self.gathered.overwrites_tags => {
                cloud.session.refused_to_overwrite_tags();
                Ok(Next::Again(pass.object))
            }
            // A new read shows whether it was done, and whether the resource still exists.
            WriteEnd::Unknown(error) => pass.record_failure(&failure_of(&error), |_| {}).await,
            WriteEnd::ReplayShowedNothing => Ok(Next::Again(pass.object)),
            WriteEnd::Refused(error) | WriteEnd::AlreadyAbsent(error) => {
                let circumstances = self.circumstances(&cloud, cloud.present());
                let record = circumstances.record();
                let mut failure = failure_of(&error);
                match K::refused(&mut pass.object.status.clone(), &call, &error, &record) {
                    Refused::AsReported => {}
                    Refused::InForce => {
                        let change = |status: &mut K::Status| {
                            K::refused(status, &call, &error, &record);
                        };
                        let written = pass.write_surely(change).await?;
                        self.changed(id, call.clone()).await;
                        return Ok(Next::Again(written));
                    }
                    Refused::Because(reason, message) => failure.condition = ReadyCondition::new(reason, message),
                }
                pass.record_failure(&failure, |status| {
                    K::refused(status, &call, &error, &record);
                })
                .await
            }
        }
    }

    /// Reports a change that is in force.
    pub(super) async fn changed(&self, id: &str, call: K::Change) {
        if let Some((reason, text)) = K::change_event(&call, id) {
            self.context.shared.reporter.event(&*self.object, reason, &text).await;
        }
        // A change that is repeated without visible effect is no progress.
        if !self.context.states.accepted(self.key, call) {
            self.context.states.progressed(self.key);
        }
    }

    /// Reports drift that is about to be corrected.
    pub(super) async fn report_drift(&self, call: &K::Change, why: &Why) {
        let Why::Differs(fields) = why else { return };
        let has_own_event = K::change_event(call, "").is_some();
        let drifted = self.cause(call, why) == WriteCause::Drift;
        if !has_own_event && self.context.states.corrects(self.key, fields, drifted) && drifted {
            let text = format!("differs in the cloud: {}", fields.join(", "));
            self.context
                .shared
                .reporter
                .event(&*self.object, "DriftDetected", &text)
                .await;
        }
    }

    /// Why a change is sent. Decided on the object as it was before the change is recorded.
    fn cause(&self, call: &K::Change, why: &Why) -> WriteCause {
        let status = K::object(&self.object.status);
        match why {
            Why::RemoveTag => WriteCause::Delete,
            // The tag was set before, so someone removed or changed it.
            Why::Mark if status.owner_uid.as_deref() == Some(self.object.uid()) => WriteCause::Drift,
            Why::Mark => WriteCause::Adoption,
            Why::Differs(_) if status.observed_generation != self.object.metadata.generation => WriteCause::Edit,
            // A password cannot drift: it is never read.
            Why::Differs(fields) if self.is_edit_of_secrets(fields) || K::change_event(call, "").is_some() => {
                WriteCause::Rotation
            }
            Why::Differs(_) => {
                // A correction may take several calls, and the record of the first ends the readiness.
                if conditions::is_ready(&status.conditions) || self.context.states.corrects_drift(self.key) {
                    WriteCause::Drift
                } else {
                    WriteCause::Edit
                }
            }
        }
    }

    /// Whether only Secrets that the spec names were changed, which does not change its generation.
    pub(super) fn is_edit_of_secrets(&self, fields: &[String]) -> bool {
        let Ok(spec) = &self.object.spec else { return false };
        let of_secrets = K::secret_refs(spec);
        let is_of_secret = |field: &String| of_secrets.iter().any(|secret| secret.field == field);
        self.gathered.triggered_at.is_some() && fields.iter().all(is_of_secret)
    }

    /// Records what is about to be changed.
    pub(super) async fn record_change(
        &self,
        cloud: &CloudContext<'_, K>,
        call: &K::Change,
        why: &Why,
    ) -> Result<Recorded<K>, kube::Error> {
        let Why::Differs(fields) = why else {
            return Ok(Recorded::nothing(&self.object));
        };
        let fields = fields.join(", ");
        let recorded = self
            .record(cloud, |circumstances, status| {
                circumstances.record_change(status, call, &fields);
            })
            .await?;
        if ready_reason::<K>(&recorded.object) == Some(Reason::Updating.as_str()) {
            self.count(Reason::Updating);
        }
        Ok(recorded)
    }
}

/// Whether the cloud refused definitely; another form of the request may still succeed.
fn is_refusal(error: &CloudError) -> bool {
    matches!(error.kind, ErrorKind::Rejected | ErrorKind::Duplicate)
}
