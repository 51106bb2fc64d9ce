//! Types, names and places of a kind.

use std::fmt::Debug;

use jiff::Timestamp;
use kube::CustomResourceExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::ObjectStatus;
use crate::api::conditions::Reason;
use crate::cache::Remote;
use crate::terms::dereferenced::SecretRef;
use crate::terms::policy::Policy;
use crate::terms::reference::Reference;

/// What a kind is: its types, and where its resources are.
pub trait Shape: Clone + Debug + PartialEq + Send + Sync + Sized + 'static {
    /// The type of the custom resource.
    type Resource: CustomResourceExt + kube::Resource<DynamicType = ()>;

    /// The type of `spec`.
    type Spec: Serialize + DeserializeOwned + Clone + Debug + PartialEq + Send + Sync + 'static;

    /// The type of `status`.
    type Status: Serialize + DeserializeOwned + Default + Clone + Debug + PartialEq + Send + Sync + 'static;

    /// The resource as the cloud returns it.
    type Remote: Remote;

    /// What the spec refers to outside of itself, such as the text of a certificate.
    type Dereferenced: Clone + Debug + Default + PartialEq + Send + Sync + 'static;

    /// The body of a creation.
    type New: Clone + Debug + PartialEq + Send + Sync + 'static;

    /// A call that corrects a difference.
    type Change: Clone + Debug + PartialEq + Send + Sync + 'static;

    /// The collection of a project that an object belongs to, such as the users of one server.
    type Parent: Clone + Debug + PartialEq + Send + Sync + 'static;

    /// As in `kind:` of a manifest.
    const KIND: &'static str;

    /// For messages: "customer gateway".
    const NOUN: &'static str;

    /// For messages: where the resources of the kind are, such as "in the cloud project".
    const PLACE: &'static str;

    /// Whether the cloud refuses a second resource of the same name in one parent.
    const UNIQUE_NAMES: bool;

    /// The field of the status that records a loss: nothing is recreated while the CRD does not keep it.
    const LOSS_RECORD: &'static str;

    /// The part of the status that all kinds share.
    fn object(status: &Self::Status) -> &ObjectStatus;

    /// The same, to change it.
    fn object_mut(status: &mut Self::Status) -> &mut ObjectStatus;

    /// `None` if neither a readable spec nor the status names it.
    fn parent(spec: Option<&Self::Spec>, status: &Self::Status) -> Option<Self::Parent>;

    /// The name of the write queue. Within a project, a write queue sends one write at a time. The default: writes of
    /// the kind may overlap.
    fn write_queue(_: &Self::Parent) -> Option<&str> {
        None
    }

    /// The keys of Secrets that the spec names, besides the credentials.
    fn secret_refs(spec: &Self::Spec) -> Vec<SecretRef>;

    /// What the spec names besides Secrets. The default: nothing.
    fn references(_: &Self::Spec) -> Vec<Reference> {
        Vec::new()
    }

    /// The ID that status records for a reference to an object, if it was recorded for the same name. Set in
    /// [`super::Ledger::created`], [`super::Ledger::changed`] or [`super::Ledger::confirm`], so that neither a deletion
    /// nor a resource that exists needs the target. The default: no reference is recorded.
    fn recorded_reference<'a>(_: &'a Self::Status, _: &Reference) -> Option<&'a str> {
        None
    }

    /// Returns an error of the spec that admission cannot detect.
    fn problem(spec: &Self::Spec, policy: &Policy) -> Option<String>;

    /// The name for a creation.
    fn cloud_name(spec: &Self::Spec, status: &Self::Status, object_name: &str) -> String;

    /// The name in the cloud.
    fn remote_name(remote: &Self::Remote) -> Option<&str>;

    /// The name in status, for a spec that cannot be read. The default: status has no name.
    fn recorded_name(_: &Self::Status) -> Option<&str> {
        None
    }

    /// Returns the body of a creation with that name; `owner_tag` is the tag's key and value. The error is what
    /// prevents the creation.
    fn new(
        spec: &Self::Spec,
        name: &str,
        dereferenced: &Self::Dereferenced,
        owner_tag: (&str, &str),
    ) -> Result<Self::New, (Reason, String)>;

    /// When the resource was created and last changed, by the cloud's clock, as far as the cloud returned that.
    fn times(remote: &Self::Remote) -> (Option<Timestamp>, Option<Timestamp>);
}
