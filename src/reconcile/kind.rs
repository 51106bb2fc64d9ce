//! What a kind adds to the pipeline: its API type, its resources in the cloud, the differences, and their corrections.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResourceExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::decide::Policy;
use super::dereferencer::{DereferenceError, Dereferencer};
use super::key::Key;
use super::session::Project;
use crate::api::conditions::Reason;
use crate::api::{Intent, ObjectStatus};
use crate::cache::{Cache, Remote};
use crate::cloud::clock::creation_window;
use crate::cloud::{Answer, Client, CloudError};

/// A key of a Secret that a spec names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    /// The field of the spec that names it.
    pub field: &'static str,
    pub name: String,
    pub key: String,
}

/// A kind of object. All functions but the reads and calls at the end are pure.
pub trait Kind: Clone + Debug + PartialEq + Send + Sync + Sized + 'static {
    type Resource: CustomResourceExt + kube::Resource<DynamicType = ()>;
    type Spec: DeserializeOwned + Clone + Debug + PartialEq + Send + Sync + 'static;
    type Status: Serialize + DeserializeOwned + Default + Clone + Debug + PartialEq + Send + Sync + 'static;
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

    fn object(status: &Self::Status) -> &ObjectStatus;
    fn object_mut(status: &mut Self::Status) -> &mut ObjectStatus;

    /// `None` if neither a readable spec nor the status names it.
    fn parent(spec: Option<&Self::Spec>, status: &Self::Status) -> Option<Self::Parent>;
    /// The name of the write queue. Within a project, a write queue sends one write at a time.
    fn write_queue(parent: &Self::Parent) -> Option<&str>;

    /// The keys of Secrets that the spec names, besides the credentials.
    fn secret_refs(spec: &Self::Spec) -> Vec<SecretRef>;

    /// Returns an error of the spec that admission cannot detect.
    fn problem(spec: &Self::Spec, policy: &Policy) -> Option<String>;
    /// The name for a creation.
    fn cloud_name(spec: &Self::Spec, status: &Self::Status, object_name: &str) -> String;
    /// The name in the cloud.
    fn remote_name(remote: &Self::Remote) -> Option<&str>;
    /// The name in status, for a spec that cannot be read.
    fn recorded_name(_: &Self::Status) -> Option<&str> {
        None
    }
    /// The name that a creation claims against other objects, in a form that is equal for all names that are the same
    /// to the cloud.
    fn claimed_name(spec: Option<&Self::Spec>, name: &str) -> String;
    /// The same for an existing resource, if the cloud returned enough of its fields.
    fn claimed_name_of(remote: &Self::Remote) -> Option<String>;
    /// Returns the body of a creation with that name; `owner_tag` is the tag's key and value. The error is what
    /// prevents the creation.
    fn new(
        spec: &Self::Spec,
        name: &str,
        dereferenced: &Self::Dereferenced,
        owner_tag: (&str, &str),
    ) -> Result<Self::New, (Reason, String)>;

    /// Whether this spec could adopt the resource: its name matches, and its identifier as far as the spec and the
    /// cloud give one.
    fn looks_like(spec: &Self::Spec, name: &str, remote: &Self::Remote) -> bool;
    /// Whether the resource matches this spec in the immutable fields that the cloud returned. Called only for kinds
    /// with tags.
    fn is_same_peer(spec: &Self::Spec, remote: &Self::Remote) -> bool;
    /// Whether the immutable fields are equal: two with one CR's tag are then duplicates of one creation.
    fn is_duplicate(one: &Self::Remote, other: &Self::Remote) -> bool;
    /// Whether all fields that distinguish two resources are known; if not, a list may have omitted some.
    fn is_identified(remote: &Self::Remote) -> bool;
    /// For kinds without tags: whether a recorded creation of ours made this resource.
    fn is_of_record(status: &Self::Status, remote: &Self::Remote, policy: &Policy) -> bool;
    /// Until when a creation that was answered may still fail; `None` once it is confirmed.
    fn confirmed_at(status: &Self::Status) -> Option<&Time>;
    /// The recorded times of the cloud that an object waits for.
    fn awaited(status: &mut Self::Status) -> Vec<&mut Time>;

    /// The difference in an immutable field, with a message that names the field.
    fn immutable_difference(spec: &Self::Spec, remote: &Self::Remote, full: bool) -> Immutable;
    /// The differences that can be changed: the fields, and the next correction for some of them.
    fn difference(wanted: &Wanted<'_, Self>, remote: &Self::Remote) -> Option<Difference<Self::Change>>;
    /// Whether the call sends back values that it does not change, and so needs them from more than a list.
    fn needs_whole(change: &Self::Change) -> bool;
    /// The change that adds tags to a resource; `None` for kinds without tags.
    fn tag(tags: BTreeMap<String, String>) -> Option<Self::Change>;
    /// The change that removes tags from a resource; `None` for kinds without tags.
    fn untag(tags: BTreeMap<String, String>) -> Option<Self::Change>;
    /// Applies a change to the cache's entry, if the response of the change lacks the resource.
    fn apply_change(change: &Self::Change, remote: &mut Self::Remote);

    /// Sets what status can show of an object before anything is known of it in the cloud.
    fn expected(_: &mut Self::Status, _: &Self::Spec, _object_name: &str) {}
    /// Records a creation before it is sent, in addition to the intent itself.
    fn announced(status: &mut Self::Status, parent: &Self::Parent, new: &Self::New, intent: &Intent);
    /// Records a creation that was answered at this time of the cloud.
    fn created(status: &mut Self::Status, new: &Self::New, remote: &Self::Remote, record: &Record<'_>);
    /// The recorded body of a creation, if it is still known: a replay with the same token resolves the outcome. `None`
    /// for kinds without such tokens.
    fn announced_before(status: &Self::Status, dereferenced: &Self::Dereferenced) -> Option<Self::New>;
    /// Updates the record after a creation was refused.
    fn creation_refused(status: &mut Self::Status, new: &Self::New, error: &CloudError);
    /// Why the cloud would refuse this creation: it has refused it before.
    fn standing_refusal(_: &Self::Status, _: &Self::New) -> Option<(Reason, String)> {
        None
    }
    /// Whether a resource can be the result of this creation.
    fn settles(intent: &Intent, remote: &Self::Remote, record: &Record<'_>) -> bool;
    /// Whether no earlier creation of this object can take effect, and no lost resource can reappear, as long as this
    /// resource exists.
    fn settles_all(status: &Self::Status, remote: &Self::Remote) -> bool;
    /// Clears the records of earlier creations and of the resources that they made.
    fn forget_earlier(status: &mut Self::Status);
    /// Records a resource that was found; with the intent, if a creation of ours made it.
    fn found(
        status: &mut Self::Status,
        parent: Option<&Self::Parent>,
        remote: &Self::Remote,
        intent: Option<&Intent>,
        record: &Record<'_>,
    );
    /// Ids of lost resources that may reappear: they belong to the object until another id is confirmed. Empty for
    /// kinds with an owner tag.
    fn lost_ids(_: &Self::Status) -> &[String] {
        &[]
    }
    /// Clears what belonged to the recorded resource: it no longer exists, and another one is created.
    fn lost(_: &mut Self::Status) {}
    /// Records that this id no longer exists: its creation was not confirmed, or a kind without tags lost it.
    fn vanished(status: &mut Self::Status, id: &str);
    /// Copies the kind's own fields from the cloud into status; the caller copies the shared ones.
    fn confirm(
        status: &mut Self::Status,
        spec: Option<&Self::Spec>,
        dereferenced: Option<&Self::Dereferenced>,
        remote: &Self::Remote,
    );
    /// Records a change before it is sent; by `deadline` it has succeeded or failed.
    fn announce_change(status: &mut Self::Status, change: &Self::Change, deadline: Timestamp);
    /// Status fields that hold the outcome of a change, besides those recorded before. The change is not sent while the
    /// CRD does not keep them.
    fn remembered_after(_: &Self::Change) -> &'static [&'static str] {
        &[]
    }
    /// Records a change that was made.
    fn changed(status: &mut Self::Status, change: &Self::Change, remote: Option<&Self::Remote>, record: &Record<'_>);
    /// Records a change that was refused, and returns what follows.
    fn refused(status: &mut Self::Status, change: &Self::Change, error: &CloudError, record: &Record<'_>) -> Refused;
    /// The Event of a change that was made, if it has its own.
    fn change_event(change: &Self::Change, id: &str) -> Option<(&'static str, String)>;

    fn times(remote: &Self::Remote) -> (Option<Timestamp>, Option<Timestamp>);

    /// The cache of the parent's collection, for an object that reads from it from now on.
    fn cache(open: &Project, parent: &Self::Parent, reader: &Key) -> Arc<Cache<Self::Remote, Key>>;
    /// Reads what the spec refers to outside of itself.
    fn dereferenced<'a>(
        spec: &'a Self::Spec,
        dereferencer: &'a Dereferencer<'a>,
    ) -> BoxFuture<'a, Result<Self::Dereferenced, DereferenceError>>;
    /// Whether the change adds tags, which may overwrite values.
    fn overwrites(change: &Self::Change) -> bool;
    fn create<'a>(
        client: &'a Client,
        parent: &'a Self::Parent,
        new: &'a Self::New,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Answer<Self::Remote>, CloudError>>;
    /// `None` if the response does not contain the resource.
    fn change<'a>(
        client: &'a Client,
        parent: &'a Self::Parent,
        id: &'a str,
        change: &'a Self::Change,
    ) -> BoxFuture<'a, Result<Answer<Option<Self::Remote>>, CloudError>>;
    fn delete<'a>(
        client: &'a Client,
        parent: &'a Self::Parent,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Answer<()>, CloudError>>;
}

/// What a resource is compared with.
pub struct Wanted<'a, K: Kind> {
    pub spec: &'a K::Spec,
    pub status: &'a K::Status,
    pub dereferenced: &'a K::Dereferenced,
    pub policy: &'a Policy,
    /// Whether this cloud overwrites the value of a tag that exists.
    pub overwrites_tags: bool,
    /// The current time of the cloud, never ahead of it.
    pub cloud_now: Timestamp,
}

/// Circumstances for the record of an outcome.
pub struct Record<'a> {
    pub policy: &'a Policy,
    /// Of the object in the cluster.
    pub uid: &'a str,
    /// The cloud's present time.
    pub cloud_now: Timestamp,
}

impl Record<'_> {
    /// Whether a resource was created while the request of this creation could take effect.
    pub fn is_in_window<K: Kind>(&self, intent: &Intent, remote: &K::Remote) -> bool {
        let confirmation_period = self.policy.confirmation_period;
        let window = creation_window(intent.recorded_at.0, Some(intent.deadline.0), confirmation_period);
        K::times(remote).0.is_some_and(|created| window.contains(&created))
    }
}

/// Result of the comparison of the immutable fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Immutable {
    Same,
    /// The list omitted a field that matters: the resource itself must be read.
    Untold,
    /// The field, and a message for `InvalidSpec` that names it.
    Differs {
        field: &'static str,
        message: String,
    },
}

/// Differences that can be corrected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference<C> {
    /// Every field that differs, by its path in spec.
    pub fields: Vec<String>,
    pub correction: Correction<C>,
}

/// The next correction of a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Correction<C> {
    /// This call.
    Call(C),
    /// Nothing before this time of the cloud.
    Until(Timestamp),
    /// Nothing: user action is required.
    UserAction(Reason, String),
}

/// What follows from a refused change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// What the error says.
    AsTold,
    /// The refusal proves that the change is in force.
    InForce,
    /// Another reason than the error's.
    Because(Reason, String),
}
