//! A custom resource as the operator keeps it: reduced to the used fields, and readable even if its spec is invalid.

pub(crate) mod annotations;
pub mod stored_object;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::{CustomResourceExt, Resource};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::api::conditions::INVALID_ANNOTATION;
use crate::api::{
    DeletionPolicy, FINALIZER, Lifecycle, ManagementPolicy, PAUSED_ANNOTATION, RECREATE_APPROVED_ANNOTATION, conditions,
};
use crate::compact_json::CompactJson;
use crate::kind::Kind;
use crate::terms::key::ObjectKey;
use crate::terms::reference::Resolution;

/// A watched object of a kind. managedFields, labels and foreign annotations are dropped on reading: they need most of
/// an object's memory. For a spec that does not fit the type, the error is kept, so that the object can still get a
/// status and be deleted.
pub struct Object<K: Kind> {
    /// The metadata, reduced to the used fields.
    pub metadata: ObjectMeta,
    /// The spec, or why it cannot be read.
    pub spec: Result<K::Spec, String>,
    /// The part of the spec that all kinds share. If the spec is invalid: the readable fields.
    pub lifecycle: Lifecycle,
    /// If the status is invalid: its readable fields, so that the object keeps its cloud resources.
    pub status: K::Status,
    /// A spec that does not fit the type.
    pub broken_spec: Option<Value>,
    /// A status that does not fit the type: the next write replaces it as a whole.
    pub broken_status: Option<Value>,
    /// The object as JSON, once it was asked for. A clone, which may be changed, has its own.
    json: OnceLock<CompactJson>,
}

impl<K: Kind> Clone for Object<K> {
    fn clone(&self) -> Self {
        Self {
            metadata: self.metadata.clone(),
            spec: self.spec.clone(),
            lifecycle: self.lifecycle.clone(),
            status: self.status.clone(),
            broken_spec: self.broken_spec.clone(),
            broken_status: self.broken_status.clone(),
            json: OnceLock::new(),
        }
    }
}

impl<K: Kind> std::fmt::Debug for Object<K> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}/{}", K::KIND, self.namespace(), self.name())
    }
}

impl<K: Kind> Object<K> {
    /// A readable object without status.
    #[cfg(test)]
    pub(crate) fn new(metadata: ObjectMeta, spec: K::Spec, lifecycle: Lifecycle) -> Self {
        Self {
            metadata,
            spec: Ok(spec),
            lifecycle,
            status: K::Status::default(),
            broken_spec: None,
            broken_status: None,
            json: OnceLock::new(),
        }
    }

    /// Stands for an object that cannot be read: nothing is written or deleted for it.
    fn unreadable(error: &serde_json::Error) -> Self {
        Self {
            metadata: ObjectMeta::default(),
            spec: Err(error.to_string()),
            lifecycle: Lifecycle {
                management_policy: Some(ManagementPolicy::Observe),
                deletion_policy: Some(DeletionPolicy::Retain),
                ..Lifecycle::default()
            },
            status: K::Status::default(),
            broken_spec: None,
            broken_status: None,
            json: OnceLock::new(),
        }
    }

    /// Identifies the object in queues and indexes.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(K::KIND, self.namespace(), self.name())
    }

    /// The name of the CR.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// The namespace of the CR.
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// The UID of the CR.
    pub fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// The version of this state in the apiserver.
    pub fn resource_version(&self) -> &str {
        self.metadata.resource_version.as_deref().unwrap_or_default()
    }

    /// Whether a user has changed the spec of an object that was reconciled before. A deletion does not count.
    pub fn is_edited(&self) -> bool {
        let observed = K::object(&self.status).observed_generation;
        // The CRD's default for a new object is -1.
        let was_reconciled = observed.is_some_and(|observed| observed >= 0);
        was_reconciled && observed != self.metadata.generation && self.deleting_since().is_none()
    }

    /// Whether it is being deleted without our finalizer: the operator has no more to do for it.
    pub fn is_released(&self) -> bool {
        self.deleting_since().is_some() && !self.has_finalizer()
    }

    /// Whether it has our finalizer.
    pub fn has_finalizer(&self) -> bool {
        self.metadata
            .finalizers
            .iter()
            .flatten()
            .any(|finalizer| finalizer == FINALIZER)
    }

    /// Whether the annotation pauses reconciliation; an unreadable value does.
    pub fn is_paused(&self) -> bool {
        annotations::pauses(self.annotation(PAUSED_ANNOTATION))
    }

    /// Describes what is wrong with our annotations, if anything.
    pub fn invalid_annotations(&self, now: Timestamp) -> Option<String> {
        annotations::problems(self.metadata.annotations.as_ref()?, self.shown_problem(), now)
    }

    /// Returns when recreation was approved, if the approval is valid.
    pub fn recreation_approved_at(&self, now: Timestamp) -> Option<Timestamp> {
        let value = self.annotation(RECREATE_APPROVED_ANNOTATION)?;
        annotations::approved_at(value, self.shown_problem(), now)
    }

    /// The problem with the annotations that status shows.
    fn shown_problem(&self) -> Option<&str> {
        let shown = conditions::find(&K::object(&self.status).conditions, INVALID_ANNOTATION)?;
        Some(shown.message.as_str())
    }

    /// When its deletion was requested.
    pub fn deleting_since(&self) -> Option<&Time> {
        self.metadata.deletion_timestamp.as_ref()
    }

    /// What a reference to this object leads to.
    pub fn resolution(&self) -> Resolution {
        let status = K::object(&self.status);
        let id = status.id.clone();
        if self.deleting_since().is_some() {
            return Resolution::Deleting { id };
        }
        match (id, &status.scope) {
            (Some(id), Some(scope)) if conditions::is_ready(&status.conditions) => Resolution::Ready {
                id,
                scope: scope.clone(),
            },
            (id, _) => Resolution::NotReady { id },
        }
    }

    /// The value of an annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// Whether two states of one version have the same content: a watch may drop fields that a newer CRD keeps.
    pub(crate) fn has_same_content_as(&self, other: &Self) -> bool {
        self.spec == other.spec
            && self.lifecycle == other.lifecycle
            && self.status == other.status
            && self.broken_status == other.broken_status
    }

    /// Whether this state is at least as new as `other`, a state of the same object. Resource versions of an object are
    /// increasing numbers: in etcd always, by the API conventions since Kubernetes 1.35.
    pub(crate) fn is_at_least_as_new_as(&self, other: &Self) -> bool {
        match (
            self.resource_version().parse::<u64>(),
            other.resource_version().parse::<u64>(),
        ) {
            (Ok(own), Ok(others)) => own >= others,
            _ => true,
        }
    }
}

#[derive(Deserialize)]
struct Wire {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
}

impl<'de, K: Kind> Deserialize<'de> for Object<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Wire {
            mut metadata,
            spec,
            status,
        } = Wire::deserialize(deserializer)?;
        if metadata.name.is_none() || metadata.uid.is_none() {
            return Err(D::Error::custom("an object without name or uid"));
        }
        metadata.managed_fields = None;
        metadata.labels = None;
        metadata.owner_references = None;
        metadata.annotations = metadata
            .annotations
            .map(ours)
            .filter(|annotations| !annotations.is_empty());
        let lifecycle = readable(&spec);
        let typed_spec = K::Spec::deserialize(&spec).map_err(|error| unreadable_fields::<K>(&spec, &error.to_string()));
        let broken_spec = typed_spec.is_err().then_some(spec);
        let (typed_status, broken_status) = match K::Status::deserialize(&status) {
            _ if status.is_null() => (K::Status::default(), None),
            Ok(typed) => (typed, None),
            Err(_) => (readable_status::<K>(&status), Some(status)),
        };
        Ok(Self {
            metadata,
            spec: typed_spec,
            lifecycle,
            status: typed_status,
            broken_spec,
            broken_status,
            json: OnceLock::new(),
        })
    }
}

fn ours(annotations: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let prefix = format!("{}/", crate::api::GROUP);
    annotations
        .into_iter()
        .filter(|(key, _)| key.starts_with(&prefix))
        .collect()
}

/// Reads each shared field by itself, so that one broken field does not hide the others.
fn readable(spec: &Value) -> Lifecycle {
    fn field<T: DeserializeOwned>(spec: &Value, name: &str) -> Option<T> {
        serde_json::from_value(spec.get(name)?.clone()).ok()
    }
    Lifecycle {
        credentials_ref: field(spec, "credentialsRef"),
        external_id: field(spec, "externalID"),
        adoption_policy: field(spec, "adoptionPolicy"),
        management_policy: field(spec, "managementPolicy"),
        // An unreadable value might have meant `Retain`.
        deletion_policy: field(spec, "deletionPolicy").or_else(|| {
            spec.get("deletionPolicy")
                .filter(|value| !value.is_null())
                .map(|_| DeletionPolicy::Retain)
        }),
    }
}

/// Reads the fields of a status that fit the type, and of lists the elements that do.
fn readable_status<K: Kind>(status: &Value) -> K::Status {
    let fits = |name: &str, value: &Value| K::Status::deserialize(&field_alone(name, value)).is_ok();
    let fields = status.as_object().into_iter().flatten();
    let kept = fields.filter_map(|(name, value)| {
        let value = match value {
            Value::Array(elements) => {
                let fitting = elements
                    .iter()
                    .filter(|element| fits(name, &Value::Array(vec![(*element).clone()])));
                Value::Array(fitting.cloned().collect())
            }
            value => value.clone(),
        };
        fits(name, &value).then(|| (name.clone(), value))
    });
    let mut typed = K::Status::deserialize(&Value::Object(kept.collect())).unwrap_or_default();
    let observe_only = &status["observeOnly"];
    // An unreadable value might have meant `true`: that the object does not own the cloud resource.
    if !observe_only.is_null() && !observe_only.is_boolean() {
        K::object_mut(&mut typed).observe_only = true;
    }
    typed
}

fn field_alone(name: &str, value: &Value) -> Value {
    Value::Object([(name.to_owned(), value.clone())].into_iter().collect())
}

/// Names the fields that do not fit the type: serde's error names the expected type, but not the field.
fn unreadable_fields<K: Kind>(spec: &Value, error: &str) -> String {
    let problem = |fields: &Value| K::Spec::deserialize(fields).err().map(|error| error.to_string());
    // An error that also occurs without any field is not about this field.
    let of_none = problem(&Value::Object(serde_json::Map::new()));
    let named: Vec<String> = spec
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| {
            let field = field_alone(name, value);
            let shared = Lifecycle::deserialize(&field).err().map(|error| error.to_string());
            let found = shared.or_else(|| problem(&field).filter(|found| Some(found) != of_none.as_ref()))?;
            Some(format!("{name}: {found}"))
        })
        .collect();
    if named.is_empty() {
        error.to_owned()
    } else {
        named.join("; ")
    }
}

impl<K: Kind> Resource for Object<K> {
    type DynamicType = ();
    type Scope = k8s_openapi::NamespaceResourceScope;

    fn kind((): &()) -> std::borrow::Cow<'_, str> {
        K::Resource::kind(&())
    }

    fn group((): &()) -> std::borrow::Cow<'_, str> {
        K::Resource::group(&())
    }

    fn version((): &()) -> std::borrow::Cow<'_, str> {
        K::Resource::version(&())
    }

    fn plural((): &()) -> std::borrow::Cow<'_, str> {
        K::Resource::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// The name of the kind's CRD.
pub fn crd_name<K: Kind>() -> &'static str {
    K::Resource::crd_name()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::customer_gateway::Gateways;

    fn read(value: Value) -> Object<Gateways> {
        serde_json::from_value(value).expect("readable")
    }

    #[test]
    fn only_a_changed_spec_that_was_reconciled_before_is_an_edit() {
        let object = |status: Value| {
            read(serde_json::json!({
                "metadata": {"name": "a", "namespace": "n", "uid": "u", "generation": 2},
                "spec": {"idValue": "203.0.113.7"}, "status": status,
            }))
        };
        for (observed, expected) in [
            (Value::Null, false),
            (Value::from(-1), false),
            (1.into(), true),
            (2.into(), false),
        ] {
            let object = object(serde_json::json!({"observedGeneration": observed}));
            assert_eq!(object.is_edited(), expected, "{observed}");
        }
        assert!(!object(Value::Null).is_edited());
    }

    #[test]
    fn an_unreadable_spec_keeps_the_fields_needed_for_deletion() {
        let object = read(serde_json::json!({
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "labels": {"x": "y"},
                "annotations": {"vpn.huaweicloud.com/paused": "true", "kubectl.kubernetes.io/last-applied": "{}"}},
            "spec": {"idType": "PIGEON", "idValue": "203.0.113.7", "deletionPolicy": "Retain",
                "credentialsRef": {"name": "keys"}, "managementPolicy": 7},
            "status": {"id": "x"}
        }));
        let error = object.spec.expect_err("two fields are broken");
        assert!(error.contains("idType: unknown variant `PIGEON`"), "{error}");
        assert!(error.contains("managementPolicy: "), "{error}");
        assert!(!error.contains("idValue"), "{error}");
        assert_eq!(object.lifecycle.deletion_policy, Some(DeletionPolicy::Retain));
        let misspelt = |policy: Value| {
            let spec = serde_json::json!({"deletionPolicy": policy});
            read(serde_json::json!({"metadata": {"name": "a", "uid": "u"}, "spec": spec}))
                .lifecycle
                .deletion_policy
        };
        assert_eq!(
            misspelt("Keep".into()),
            Some(DeletionPolicy::Retain),
            "the harmless reading"
        );
        assert_eq!(misspelt(Value::Null), None);
        assert_eq!(
            object.lifecycle.credentials_ref.map(|secret| secret.name),
            Some("keys".to_owned())
        );
        assert_eq!(object.status.object.id.as_deref(), Some("x"));
        assert_eq!(
            object.metadata.annotations.map(|annotations| annotations.len()),
            Some(1)
        );
        assert_eq!(object.metadata.labels, None);
    }

    #[test]
    fn an_unreadable_status_keeps_the_recorded_cloud_resource() {
        let ready = serde_json::json!({"type": "Ready", "status": "True", "reason": "Available", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let window = serde_json::json!({"recordedAt": "2026-01-01T00:00:00Z", "deadline": "2026-01-01T00:00:12Z"});
        let status = |observe_only: Value| {
            serde_json::json!({"id": "x", "observeOnly": observe_only, "createdAt": "yesterday",
                "conditions": [ready, {"type": "Stalled"}], "pastIntents": [window, 7],
                "scope": {"endpoint": "https://cloud", "projectID": "p"}})
        };
        let read =
            |status| read(serde_json::json!({"metadata": {"name": "a", "uid": "u"}, "spec": {}, "status": status}));
        let object = read(status(false.into()));
        let kept = &object.status.object;
        assert_eq!(kept.id.as_deref(), Some("x"));
        assert_eq!(kept.scope.as_ref().map(|scope| scope.project_id.as_str()), Some("p"));
        assert_eq!((kept.conditions.len(), kept.past_intents.len()), (1, 1));
        assert_eq!((&kept.created_at, kept.observe_only), (&None, false));
        assert!(object.broken_status.is_some(), "it is still replaced");
        assert!(
            read(status("no".into())).status.object.observe_only,
            "the harmless reading"
        );
        assert_eq!(
            read("broken".into()).status,
            crate::api::CustomerGatewayStatus::default()
        );
    }
}
