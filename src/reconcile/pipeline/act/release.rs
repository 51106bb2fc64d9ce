//! The end of an object: its finalizer, and the objects that waited for what becomes free.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use vpn_core::api::conditions::Reason;
use vpn_core::api::{ManagementPolicy, conditions};
use vpn_core::object::Object;
use vpn_core::terms::key::ObjectKey;
use vpn_core::terms::sent_delete::DeleteOutcome;

use super::{Next, Pass};
use crate::reconcile::provider::cloud_kind::CloudKind;
use crate::reconcile::state::queue::Action;

impl<K: CloudKind> Pass<'_, K> {
    pub(super) async fn release(&self, note: Option<String>) -> Result<Next<K>, kube::Error> {
        let id = K::object(&self.object.status).id.clone();
        let is_place_free = note.is_none() && id.is_some();
        let outcome = self.gathered.sent_delete.map(|sent| sent.outcome);
        let text = match (note, &id) {
            (Some(note), _) => Some(note),
            (None, Some(id)) if outcome == Some(DeleteOutcome::Accepted) => {
                Some(format!("deleted the {} {id}", K::NOUN))
            }
            (None, Some(id)) => Some(format!("the {} {id} no longer exists in the cloud", K::NOUN)),
            (None, None) => self.deleted_of_lost(),
        };
        // Read before the watch reports the deletion and the session forgets the object.
        let sharing_session = self.context.shared.sessions.sharing_session(self.key);
        match self.context.shared.reporter.set_finalizer(&*self.object, false).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
        self.context.states.finalizer_removed(self.key);
        if let Some(text) = text {
            self.context
                .shared
                .reporter
                .event(&*self.object, "Deleted", &text)
                .await;
        }
        self.context.finalizer_removed(self.key);
        if is_place_free {
            self.enqueue_who_waits_for_quota(&sharing_session);
        }
        self.enqueue_who_waits_for_the_name();
        if let Some(id) = id {
            self.enqueue_who_names(&id);
        }
        Ok(Next::Rest(Action::await_change()))
    }

    /// The message for resources that reads no longer showed, but that were deleted.
    pub(super) fn deleted_of_lost(&self) -> Option<String> {
        let (states, period, now) = (&self.context.states, Duration::ZERO, Instant::now());
        let is_deleted = |id: &&String| {
            let sent = states.sent_delete(self.key, id, period, now);
            sent.is_some_and(|sent| sent.outcome == DeleteOutcome::Accepted)
        };
        let deleted = K::lost_ids(&self.object.status).iter().filter(is_deleted);
        let deleted: Vec<_> = deleted.map(String::as_str).collect();
        (!deleted.is_empty()).then(|| format!("deleted the {} {}", K::NOUN, deleted.join(", ")))
    }

    /// Enqueues one of the objects that wait for quota, since one place is free: the others would only be refused
    /// again.
    pub(super) fn enqueue_who_waits_for_quota(&self, sharing_session: &[ObjectKey]) {
        let sharing_session: HashSet<&ObjectKey> = sharing_session.iter().collect();
        let shares = |key: &ObjectKey| sharing_session.contains(key);
        let since = |object: &Object<K>| {
            let conditions = &K::object(&object.status).conditions;
            conditions::find(conditions, conditions::STALLED).map(|stalled| stalled.last_transition_time.0)
        };
        if let Some(key) =
            self.context
                .states
                .longest_waiting(Instant::now(), Reason::QuotaExceeded, shares, can_create, since)
        {
            self.context.states.reset_backoff(&key);
            self.context.shared.wake_queues.enqueue(key);
        }
    }

    pub(super) fn enqueue_who_waits_for_the_name(&self) {
        let (true, Ok(spec)) = (K::UNIQUE_NAMES, &self.object.spec) else {
            return;
        };
        let name = K::cloud_name(spec, &self.object.status, self.object.name());
        let mut waiting = self
            .context
            .states
            .waiting(&[Reason::DependencyNotReady, Reason::NameConflict], "");
        waiting.retain(|other| {
            let has_name =
                |spec: &K::Spec| K::cloud_name(spec, &other.status, other.name()).eq_ignore_ascii_case(&name);
            other.spec.as_ref().is_ok_and(has_name)
        });
        self.enqueue(&waiting);
    }

    /// Enqueues objects that name this id or still have it recorded: they may adopt the resource now.
    pub(super) fn enqueue_who_names(&self, id: &str) {
        let mut waiting = self
            .context
            .states
            .waiting(&[Reason::DependencyNotReady, Reason::AlreadyManaged], id);
        waiting.retain(|other| {
            let named = [&other.lifecycle.external_id, &K::object(&other.status).id];
            named.into_iter().any(|named| named.as_deref() == Some(id))
        });
        self.enqueue(&waiting);
    }

    pub(super) fn enqueue(&self, waiting: &[Arc<Object<K>>]) {
        for object in waiting {
            let key = object.key();
            self.context.states.reset_backoff(&key);
            self.context.shared.wake_queues.enqueue(key);
        }
    }
}

/// Whether the object would send a creation if it were enqueued now: any other object would leave the free place
/// unused.
fn can_create<K: CloudKind>(object: &Object<K>) -> bool {
    object.spec.is_ok()
        && object.deleting_since().is_none()
        && !object.is_paused()
        && object.lifecycle.management() == ManagementPolicy::Manage
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use vpn_core::kinds::customer_gateway::Gateways;

    #[test]
    fn freed_quota_is_offered_only_to_objects_that_would_create() {
        let object = |metadata: Value, spec: Value| -> Object<Gateways> {
            let mut object = json!({
                "metadata": {"name": "office", "namespace": "n", "uid": "u", "resourceVersion": "1"},
                "spec": {"idValue": "203.0.113.7"},
            });
            for (part, more) in [("metadata", metadata), ("spec", spec)] {
                let part = object[part].as_object_mut().expect("an object");
                part.extend(more.as_object().expect("an object").clone());
            }
            serde_json::from_value(object).expect("readable")
        };
        let paused = json!({"annotations": {"vpn.huaweicloud.com/paused": "true"}});
        let deleted = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [vpn_core::api::FINALIZER]});
        for (metadata, spec, offers) in [
            (json!({}), json!({}), true),
            (json!({}), json!({"managementPolicy": "Manage"}), true),
            (json!({}), json!({"managementPolicy": "ReportDrift"}), false),
            (json!({}), json!({"managementPolicy": "Observe"}), false),
            (json!({}), json!({"idValue": 5}), false),
            (paused, json!({}), false),
            (deleted, json!({}), false),
        ] {
            let object = object(metadata, spec);
            assert_eq!(can_create(&object), offers, "{:?} {:?}", object.metadata, object.spec);
        }
    }
}
