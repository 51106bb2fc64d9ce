//! Writes status patches, finalizers and Events. Nothing else of an object is ever written.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource};
use serde_json::{Map, Value, json};
use tracing::{info, warn};
use vpn_cloud::text::{cut_to_bytes, one_line};
use vpn_core::api::conditions::{Progress, ReadyCondition, Reason};
use vpn_core::api::{FINALIZER, conditions};
use vpn_core::kind::Kind;
use vpn_core::ledger::record::Stamp;
use vpn_core::object::Object;

use crate::reconcile::k8s::digest_key::lower_hex;
use crate::reconcile::k8s::events::{Event, EventType, Recorder};

/// The apiserver refuses Events whose note has more than 1024 bytes.
const MAX_NOTE: usize = 1000;

/// Writes to the apiserver.
pub(crate) struct Reporter {
    client: Client,
    recorder: Arc<Recorder>,
}

impl Reporter {
    pub(crate) fn new(client: Client, recorder: Arc<Recorder>) -> Self {
        Self { client, recorder }
    }

    /// Applies `change` to the status and writes it, pinned to the version of the decision. `None`: nothing to write.
    pub(crate) async fn write<K: Kind>(
        &self,
        object: &Object<K>,
        change: impl Fn(&mut K::Status),
    ) -> Result<Option<Object<K>>, kube::Error> {
        let mut status = object.status.clone();
        change(&mut status);
        if status == object.status && object.broken_status.is_none() {
            return Ok(None);
        }
        let old = match &object.broken_status {
            Some(broken) => broken.clone(),
            None => to_value(&object.status),
        };
        let patch = json!({
            "metadata": {"resourceVersion": object.resource_version(), "uid": object.uid()},
            "status": merge_patch(&old, &to_value(&status)),
        });
        let api = Api::<Object<K>>::namespaced(self.client.clone(), object.namespace());
        let written = api
            .patch_status(object.name(), &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
        log_change(object, &written);
        Ok(Some(written))
    }

    /// Reads the object as the apiserver has it now.
    pub(crate) async fn read<K: Kind>(&self, object: &Object<K>) -> Result<Option<Object<K>>, kube::Error> {
        let api = Api::<Object<K>>::namespaced(self.client.clone(), object.namespace());
        Ok(api
            .get_opt(object.name())
            .await?
            .filter(|found| found.uid() == object.uid()))
    }

    /// Adds or removes our finalizer.
    pub(crate) async fn set_finalizer<K: Kind>(&self, object: &Object<K>, on: bool) -> Result<Object<K>, kube::Error> {
        let others = object
            .metadata
            .finalizers
            .iter()
            .flatten()
            .filter(|finalizer| *finalizer != FINALIZER);
        let mut finalizers: Vec<&str> = others.map(String::as_str).collect();
        if on {
            finalizers.push(FINALIZER);
        }
        let patch = json!({
            "metadata": {
                "resourceVersion": object.resource_version(),
                "uid": object.uid(),
                "finalizers": finalizers,
            }
        });
        let api = Api::<Object<K>>::namespaced(self.client.clone(), object.namespace());
        let (namespace, name) = (object.namespace(), object.name());
        let written = api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        if !on {
            info!(kind = K::KIND, namespace, name, "finalizer removed");
        }
        Ok(written)
    }

    /// Publishes a Normal Event.
    pub(crate) async fn event<K: Kind>(&self, object: &Object<K>, reason: &str, note: &str) {
        self.publish(&object.object_ref(&()), EventType::Normal, reason, note)
            .await;
    }

    /// Publishes a Warning Event: a failure begins or changes.
    pub(crate) async fn warning<K: Kind>(&self, object: &Object<K>, reason: &str, note: &str) {
        self.publish(&object.object_ref(&()), EventType::Warning, reason, note)
            .await;
    }

    async fn publish(&self, about: &ObjectReference, type_: EventType, reason: &str, note: &str) {
        publish(&self.recorder, about, type_, reason, note).await;
    }
}

/// Publishes an Event about any object, such as a Secret.
pub(crate) async fn publish(recorder: &Recorder, about: &ObjectReference, type_: EventType, reason: &str, note: &str) {
    let line = one_line(note, MAX_NOTE);
    let event = Event {
        type_,
        reason: reason.to_owned(),
        note: Some(cut_to_bytes(&line, MAX_NOTE).to_owned()),
        // Events of one action are counted on the first one and keep its text, so another text needs another action.
        action: action(reason, note),
        secondary: None,
    };
    // A lost Event loses no information: status has the same.
    if let Err(error) = recorder.publish(&event, about).await {
        warn!(%error, reason, "an Event could not be written");
    }
}

/// Whether the change of a status is worth a Warning: a failure begins or changes.
pub(crate) fn is_new_failure<K: Kind>(before: &K::Status, condition: &ReadyCondition) -> bool {
    if condition.reason.is_in_progress() {
        return false;
    }
    let ready = conditions::find(&K::object(before).conditions, conditions::READY);
    ready.is_none_or(|ready| {
        ready.reason != condition.reason.as_str()
            || !conditions::same_but_for_request_id(&ready.message, &condition.message)
    })
}

/// Returns the generation of this object and the present time.
pub(crate) fn stamp<K: Kind>(object: &Object<K>) -> Stamp {
    Stamp {
        generation: object.metadata.generation,
        now: Timestamp::now(),
    }
}

fn action(reason: &str, note: &str) -> String {
    use sha2::{Digest, Sha256};
    let text = lower_hex(&Sha256::digest(note.as_bytes())[..4]);
    format!("{reason}-{text}")
}

/// Logs one line per object and change of reason.
fn log_change<K: Kind>(before: &Object<K>, after: &Object<K>) {
    let ready = |object: &Object<K>| {
        let conditions = &K::object(&object.status).conditions;
        conditions::find(conditions, conditions::READY).map(|ready| (ready.reason.clone(), ready.message.clone()))
    };
    let (old, new) = (ready(before), ready(after));
    let Some((reason, message)) = new else { return };
    if old.is_some_and(|(old, _)| old == reason) {
        return;
    }
    let id = K::object(&after.status).id.as_deref();
    let (namespace, name) = (after.namespace(), after.name());
    match Reason::ALL.into_iter().find(|known| known.as_str() == reason) {
        Some(Reason::Creating | Reason::Updating | Reason::Deleting) => {
            tracing::debug!(kind = K::KIND, namespace, name, id, reason, message);
        }
        Some(known) if known.progress() == Progress::Stalled => {
            warn!(kind = K::KIND, namespace, name, id, reason, message);
        }
        _ => info!(kind = K::KIND, namespace, name, id, reason, message),
    }
}

fn to_value<T: serde::Serialize>(value: &T) -> Value {
    // A status is plain data: maps with text keys, numbers and texts.
    serde_json::to_value(value).unwrap_or_else(|_| Value::Object(Map::new()))
}

/// The JSON merge patch (RFC 7396) that makes `old` into `new`.
fn merge_patch(old: &Value, new: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return new.clone();
    };
    let removed = old
        .keys()
        .filter(|key| !new.contains_key(*key))
        .map(|key| (key.clone(), Value::Null));
    let changed = new
        .iter()
        .filter(|(key, value)| old.get(*key) != Some(value))
        .map(|(key, value)| {
            let patch = old
                .get(key)
                .map_or_else(|| value.clone(), |old| merge_patch(old, value));
            (key.clone(), patch)
        });
    Value::Object(removed.chain(changed).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn apply(target: &mut Value, patch: &Value) {
        let Value::Object(patch) = patch else {
            *target = patch.clone();
            return;
        };
        if !target.is_object() {
            *target = Value::Object(Map::new());
        }
        let Value::Object(target) = target else { return };
        for (key, value) in patch {
            if value.is_null() {
                target.remove(key);
            } else {
                apply(target.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
    }

    fn documents() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<bool>().prop_map(Value::from), (0..3_i64).prop_map(Value::from)];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map("[abc]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_merge_patch_turns_the_old_document_into_the_new_one(old in documents(), new in documents()) {
            let mut patched = old.clone();
            apply(&mut patched, &merge_patch(&old, &new));
            prop_assert_eq!(patched, new);
        }
    }
}
