//! What a kind adds to the pipeline: its API type, how its objects look in the cloud, what differs, what mends it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use futures::future::BoxFuture;
use kube::CustomResourceExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::decide::Policy;
use super::key::Key;
use super::tenant::Open;
use crate::api::ObjectStatus;
use crate::cloud::{Answer, Client, CloudError};
use crate::mirror::{Mirror, Remote};

/// A key of a Secret that a spec names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    /// The field of the spec that names it.
    pub field: &'static str,
    pub name: String,
    pub key: String,
}

/// A kind of object. All but the calls at the end is pure.
pub trait Kind: Clone + Debug + PartialEq + Send + Sync + Sized + 'static {
    type Resource: CustomResourceExt + kube::Resource<DynamicType = ()>;
    type Spec: DeserializeOwned + Clone + Debug + PartialEq + Send + Sync + 'static;
    type Status: Serialize + DeserializeOwned + Default + Clone + Debug + PartialEq + Send + Sync + 'static;
    type Remote: Remote;
    /// What the spec refers to outside of itself, such as the text of a certificate.
    type Extras: Clone + Debug + Default + PartialEq + Send + Sync + 'static;
    /// The body of a creation.
    type New: Clone + Debug + PartialEq + Send + Sync + 'static;
    /// A call that mends a difference.
    type Change: Clone + Debug + PartialEq + Send + Sync + 'static;

    /// As in `kind:` of a manifest.
    const KIND: &'static str;
    /// For people: "customer gateway".
    const NOUN: &'static str;

    fn object(status: &Self::Status) -> &ObjectStatus;
    fn object_mut(status: &mut Self::Status) -> &mut ObjectStatus;

    /// Keys of Secrets, beside the credentials, that the spec names.
    fn secret_refs(spec: &Self::Spec) -> Vec<SecretRef>;
    /// Makes sense of what these Secrets hold, in the same order; an error is a message for `InvalidSpec`.
    fn extras(spec: &Self::Spec, contents: Vec<Vec<u8>>) -> Result<Self::Extras, String>;

    /// What admission could not know to be wrong.
    fn problem(spec: &Self::Spec, policy: &Policy) -> Option<String>;
    /// The name to create it under.
    fn cloud_name(spec: &Self::Spec, object_name: &str) -> String;
    /// What to send for a creation; `owner_tag` is the tag's key and value.
    fn new(spec: &Self::Spec, object_name: &str, extras: &Self::Extras, owner_tag: (&str, &str)) -> Self::New;

    /// An object that could be the one that this spec would create (name and what cannot be changed).
    fn looks_like(spec: &Self::Spec, object_name: &str, remote: &Self::Remote) -> bool;
    /// The same in what cannot be changed: two that carry one CR's tag are twins of one creation.
    fn is_twin(one: &Self::Remote, other: &Self::Remote) -> bool;
    fn created_at(remote: &Self::Remote) -> Option<jiff::Timestamp>;

    /// What cannot be changed and differs: a message that names the field.
    fn immutable_difference(spec: &Self::Spec, remote: &Self::Remote, full: bool) -> Immutable;
    /// What differs and can be changed: the fields, and the next call that mends some of them.
    fn difference(
        spec: &Self::Spec,
        status: &Self::Status,
        extras: &Self::Extras,
        remote: &Self::Remote,
        owner_tag_key: &str,
        overwrites_tags: bool,
    ) -> Option<Difference<Self::Change>>;
    /// Puts tags on an object. Kinds without tags never meet this.
    fn tag(tags: BTreeMap<String, String>) -> Self::Change;
    /// Takes tags off an object.
    fn untag(tags: BTreeMap<String, String>) -> Self::Change;
    /// How the mirror's entry looks after a change that was answered without the object.
    fn apply_change(change: &Self::Change, tags: &mut BTreeMap<String, String>);

    /// Copies what the cloud says into status; true fields of the kind only, the shared ones are copied by the caller.
    fn confirm(status: &mut Self::Status, spec: Option<&Self::Spec>, remote: &Self::Remote);
    /// What to remember of a change that was made.
    fn changed(status: &mut Self::Status, change: &Self::Change, remote: Option<&Self::Remote>, owner_tag_key: &str);
    /// What to remember of a creation that was made.
    fn created(status: &mut Self::Status, new: &Self::New, remote: &Self::Remote, owner_tag_key: &str);

    fn times(remote: &Self::Remote) -> (Option<jiff::Timestamp>, Option<jiff::Timestamp>);

    /// The mirror of its collection.
    fn mirror(open: &Open) -> &Arc<Mirror<Self::Remote, Key>>;
    /// A change that puts tags on, which may overwrite values.
    fn overwrites(change: &Self::Change) -> bool;
    fn create<'a>(client: &'a Client, new: &'a Self::New) -> BoxFuture<'a, Result<Answer<Self::Remote>, CloudError>>;
    /// `None` if the answer does not hold the object.
    fn change<'a>(
        client: &'a Client,
        id: &'a str,
        change: &'a Self::Change,
    ) -> BoxFuture<'a, Result<Answer<Option<Self::Remote>>, CloudError>>;
    fn delete<'a>(client: &'a Client, id: &'a str) -> BoxFuture<'a, Result<Answer<()>, CloudError>>;
}

/// What a look at the immutable fields found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Immutable {
    Same,
    /// The list left a field out that matters: the object itself must be asked for.
    Untold,
    /// The field, and a message for `InvalidSpec` that names it.
    Differs {
        field: &'static str,
        message: String,
    },
}

/// What differs and can be mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference<C> {
    /// Every field that differs, by its path in spec.
    pub fields: Vec<String>,
    /// The next call to make.
    pub call: C,
}
