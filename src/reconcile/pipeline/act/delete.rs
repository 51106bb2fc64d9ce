//! Deletions of a resource.

use futures::future::BoxFuture;
use tokio::time::Instant;
use vpn_cloud::{CloudError, CloudResponse};
use vpn_core::api::conditions::{ReadyCondition, Reason};
use vpn_core::ledger::record;
use vpn_core::terms::failure::{RETRY, failure_of};
use vpn_core::terms::sent_delete::{DeleteOutcome, SentDelete};
use vpn_core::write_order::{WriteEnd, WriteRequest};

use super::audit::{Audited, WriteCause};
use super::execute::{CloudWrite, Executed};
use super::recorded::Recorded;
use super::{CloudContext, Next, Pass, ready_reason};
use crate::reconcile::k8s::report::stamp;
use crate::reconcile::provider::cloud_kind::CloudKind;

/// A deletion of a resource.
struct Deletion<'a> {
    id: &'a str,
    /// It is a second resource of one creation.
    duplicate: bool,
}

impl<K: CloudKind> CloudWrite<K> for Deletion<'_> {
    type Response = ();

    fn proves_the_crd(&self) -> bool {
        false
    }

    async fn record(&self, pass: &Pass<'_, K>, _: &CloudContext<'_, K>) -> Result<Recorded<K>, kube::Error> {
        let mut recorded = Recorded::nothing(&pass.object);
        // If it was sent before, status reports the deletion already.
        if !self.duplicate && ready_reason::<K>(&pass.object) != Some(Reason::Deleting.as_str()) {
            let stamp = stamp(&pass.object);
            let text = format!("deleting the {} {} in the cloud", K::NOUN, self.id);
            let condition = ReadyCondition::new(Reason::Deleting, text);
            recorded.object = pass
                .write(|status| record::in_progress::<K>(status, &condition, stamp))
                .await?;
        }
        Ok(recorded)
    }

    fn claims(&self, pass: &Pass<'_, K>, cloud: &CloudContext<'_, K>) -> bool {
        !pass.is_held_by_another(cloud, self.id)
    }

    fn audited<'a>(&'a self, _: &Pass<'_, K>) -> Audited<'a> {
        Audited {
            operation: K::DELETE,
            id: Some(self.id),
            fields: String::new(),
            cause: if self.duplicate {
                WriteCause::Duplicate
            } else {
                WriteCause::Delete
            },
        }
    }

    fn request<'a>(&'a self, cloud: &'a CloudContext<'_, K>) -> BoxFuture<'a, Result<CloudResponse<()>, CloudError>> {
        K::delete(&cloud.client, &cloud.parent, self.id)
    }
}

impl<K: CloudKind> Pass<'_, K> {
    pub(super) async fn delete(&self, id: &str, duplicate: bool) -> Result<Next<K>, kube::Error> {
        let Some(cloud) = self.cloud() else {
            return Ok(self.requeue_after(RETRY));
        };
        let (object, sent) = match self.execute(&cloud, &Deletion { id, duplicate }).await? {
            Executed::Answered(object, sent) => (object, sent),
            Executed::Aborted(next) => return Ok(next),
        };
        let pass = self.on(&object);
        let now = Instant::now();
        let end = WriteRequest::Delete.end(sent);
        if let Some(outcome) = DeleteOutcome::of(&end).filter(|_| !duplicate) {
            self.context.states.delete_was_sent(self.key, id, outcome, now);
        }
        match end {
            WriteEnd::Done(_) if duplicate => {
                cloud.cache.wrote_absence(self.key, id);
                let text = format!("deleted the {} {id}, a second one left behind by one creation", K::NOUN);
                self.context
                    .shared
                    .reporter
                    .event(&*self.object, "Deleted", &text)
                    .await;
                Ok(Next::Again(pass.object))
            }
            WriteEnd::Done(_) => {
                // A LIST that is started later confirms it or shows the object.
                cloud.cache.wrote_deletion(self.key, id);
                self.context.states.require_fresh(self.key, now);
                // The name becomes free without user action, so waiting objects must report another cause.
                pass.enqueue_who_waits_for_the_name();
                Ok(Next::Again(pass.object))
            }
            WriteEnd::AlreadyAbsent(error) => {
                cloud.cache.wrote_absence(self.key, id);
                self.context.states.require_fresh(
                    self.key,
                    self.gathered.triggered_at.unwrap_or(self.context.shared.started),
                );
                let is_recorded = K::object(&self.object.status).id.as_deref() == Some(id);
                if is_recorded && self.gathered.sent_delete.is_some_and(SentDelete::is_answered) {
                    // A list still shows it: without backoff, one DELETE would follow the other.
                    return pass.record_failure(&failure_of(&error), |_| {}).await;
                }
                Ok(Next::Again(pass.object))
            }
            WriteEnd::Unknown(error) | WriteEnd::Refused(error) => {
                pass.record_failure(&failure_of(&error), |_| {}).await
            }
            WriteEnd::ReplayShowedNothing => Ok(Next::Again(pass.object)),
        }
    }
}
