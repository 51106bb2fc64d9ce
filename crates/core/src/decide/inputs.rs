//! Everything that a decision depends on.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::{Lifecycle, ObjectStatus};
use crate::kind::Kind;
use crate::owner_tag::Owner;
use crate::terms::access::Access;
use crate::terms::dereferenced::Dereferencing;
use crate::terms::failure::Failure;
use crate::terms::observation::Observation;
use crate::terms::policy::Policy;
use crate::terms::sent_delete::SentDelete;

/// Everything that a decision depends on.
#[derive(Clone, Debug)]
pub struct Inputs<'a, K: Kind> {
    /// The operator's settings.
    pub policy: &'a Policy,
    /// The UID of the CR.
    pub uid: &'a str,
    /// The namespace of the CR.
    pub namespace: &'a str,
    /// The name of the CR.
    pub name: &'a str,
    /// The generation of the spec.
    pub generation: Option<i64>,
    /// When the deletion of the CR was requested.
    pub deleting_since: Option<&'a Time>,
    /// Whether the CR has our finalizer.
    pub has_finalizer: bool,
    /// Whether the annotation pauses reconciliation.
    pub paused: bool,
    /// When recreation was approved, if the approval is valid.
    pub recreation_approved_at: Option<Timestamp>,
    /// The spec, or why it cannot be read.
    pub spec: &'a Result<K::Spec, String>,
    /// The part of the spec that all kinds share, also known if the spec cannot be read.
    pub lifecycle: &'a Lifecycle,
    /// The recorded status.
    pub status: &'a K::Status,
    /// When the deletion of the CRD itself was requested.
    pub crd_deleting_since: Option<&'a Time>,
    /// What the credentials give access to, or why they cannot be used.
    pub access: Result<Access, Failure>,
    /// What the spec refers to, as far as it was read.
    pub dereferenced: Dereferencing<K::Dereferenced>,
    /// Whether the parent of the object, a collection of the project, is known.
    pub has_parent: bool,
    /// The cache, seen from this CR.
    pub observation: Observation<K::Remote>,
    /// The failure of the requested read.
    pub failed_query: Option<Failure>,
    /// Something triggered a reconciliation: an edit, a Secret, an annotation, a deletion.
    pub triggered: bool,
    /// The DELETE of the recorded id.
    pub sent_delete: Option<SentDelete>,
    /// Ids recorded as lost that no other object has a better claim to, and whose DELETE this process has no answer to.
    pub undeleted: Vec<String>,
    /// A change that the cloud accepted and that no read shows yet.
    pub accepted: Option<K::Change>,
    /// The recorded creation was replayed, and its outcome is still unknown.
    pub replayed: bool,
    /// Whether this cloud overwrites the value of a tag that exists.
    pub overwrites_tags: bool,
}

/// The part of the recorded status that all kinds share.
pub fn object<'a, K: Kind>(inputs: &'a Inputs<'_, K>) -> &'a ObjectStatus {
    K::object(inputs.status)
}

/// Returns the owner tag that names this CR.
pub fn owner<K: Kind>(inputs: &Inputs<'_, K>) -> Owner {
    Owner::new(
        inputs.uid,
        inputs.policy.cluster_name.as_deref(),
        inputs.namespace,
        inputs.name,
    )
}
