//! Facts that are recorded without a request.

use vpn_core::cache::Remote;
use vpn_core::observe::claims::name_to_take;
use vpn_core::observe::observer::is_named;
use vpn_core::terms::failure::RETRY;
use vpn_core::terms::note::Note;

use super::{CloudContext, Next, Pass};
use crate::reconcile::k8s::report::is_new_failure;
use crate::reconcile::provider::cloud_kind::CloudKind;

impl<K: CloudKind> Pass<'_, K> {
    pub(super) async fn note(&self, note: Note<K::Remote>) -> Result<Next<K>, kube::Error> {
        let Some(cloud) = self.cloud() else {
            return Ok(self.requeue_after(RETRY));
        };
        if let Note::Found { remote, .. } = &note
            && !self.observes()
            && !self.takes(&cloud, remote)
        {
            // Another object was faster; the next pass reports that.
            return Ok(self.requeue_after(RETRY));
        }
        if matches!(note, Note::Lost | Note::Disappeared)
            && let [dropped] = self.context.pruned_fields.among(&[K::LOSS_RECORD])[..]
        {
            return self.crd_is_too_old(&format!("drops {dropped}")).await;
        }
        let circumstances = self.circumstances(&cloud, cloud.present());
        let condition = circumstances.condition_of(&note);
        let written = self.write(|status| circumstances.noted(status, &note)).await?;
        let is_found = matches!(note, Note::Found { .. });
        if is_found && self.observes() && !K::object(&written.status).observe_only {
            // An observed resource would count as a held one.
            return self.on(&written).crd_is_too_old("drops required status fields").await;
        }
        let reporter = &self.context.shared.reporter;
        match &note {
            Note::Found {
                event: Some((reason, text)),
                ..
            } => reporter.event(&*self.object, reason, text).await,
            Note::Found { event: None, .. } | Note::Returned | Note::Unbelievable => {}
            Note::Lost => {
                let lost_id = K::object(&self.object.status).id.as_deref().unwrap_or_default();
                let text = format!(
                    "the {} {lost_id} no longer exists in the cloud; it is recreated",
                    K::NOUN
                );
                self.context.states.recreates(self.key);
                reporter.event(&*self.object, "DriftDetected", &text).await;
            }
            // A retry with backoff: a cloud that fails each creation would otherwise get endless requests.
            Note::GivenUp => return Ok(self.requeue_after(RETRY)),
            Note::Disappeared => {
                if is_new_failure::<K>(&self.object.status, &condition) {
                    let reason = condition.reason.as_str();
                    reporter.warning(&*self.object, reason, &condition.message).await;
                }
                self.count(condition.reason);
                return Ok(self.requeue_after(RETRY));
            }
        }
        self.context.states.progressed(self.key);
        Ok(Next::Again(written))
    }

    /// Reserves a cloud object until its id is recorded. Returns whether no other object has a better claim to it or to
    /// its name.
    pub(super) fn takes(&self, cloud: &CloudContext<'_, K>, remote: &K::Remote) -> bool {
        let owner_tag_key = &self.context.shared.policy.owner_tag_key;
        let name = name_to_take::<K>(&cloud.scope, &cloud.parent, owner_tag_key, remote);
        let index = || self.context.claims.index();
        let is_taken = is_named(&self.context.shared.policy, &self.object, remote)
            || index().take(self.key, remote.id(), name.as_ref()).is_ok();
        if is_taken {
            let mut known = cloud.cache.known();
            known.hold(self.key, self.object.uid(), Some(remote.id()));
        }
        is_taken
    }
}
