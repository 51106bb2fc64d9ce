//! What a kind adds to the pipeline: its API type, how its objects look in the cloud, what differs, what mends it.

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
use super::key::Key;
use super::sources::{Lack, Sources};
use super::tenant::Open;
use crate::api::conditions::Reason;
use crate::api::{Intent, ObjectStatus};
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

/// A kind of object. All but the reads and calls at the end is pure.
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
    /// Which collection of a project an object lives in, such as the users of one server.
    type Home: Clone + Debug + PartialEq + Send + Sync + 'static;

    /// As in `kind:` of a manifest.
    const KIND: &'static str;
    /// For people: "customer gateway".
    const NOUN: &'static str;
    /// For people: where an object of a kind is looked for, such as "in the cloud project".
    const PLACE: &'static str;
    /// Whether the cloud refuses a second object of one name in one home.
    const UNIQUE_NAMES: bool;

    fn object(status: &Self::Status) -> &ObjectStatus;
    fn object_mut(status: &mut Self::Status) -> &mut ObjectStatus;

    /// `None` if neither a readable spec nor the record tells.
    fn home(spec: Option<&Self::Spec>, status: &Self::Status) -> Option<Self::Home>;
    /// Writes of one lane, within a project, go one at a time.
    fn lane(home: &Self::Home) -> Option<&str>;

    /// Keys of Secrets, beside the credentials, that the spec names.
    fn secret_refs(spec: &Self::Spec) -> Vec<SecretRef>;

    /// What admission could not know to be wrong.
    fn problem(spec: &Self::Spec, policy: &Policy) -> Option<String>;
    /// The name to create it under.
    fn cloud_name(spec: &Self::Spec, status: &Self::Status, object_name: &str) -> String;
    /// The name that the cloud knows it by.
    fn remote_name(remote: &Self::Remote) -> Option<&str>;
    /// The name that status has, where a spec that cannot be read does not say.
    fn recorded_name(_: &Self::Status) -> Option<&str> {
        None
    }
    /// What a creation under this name claims against other objects, in a form that is equal for what the cloud takes for
    /// the same.
    fn claimed_name(spec: Option<&Self::Spec>, name: &str) -> String;
    /// The same of an object that exists, if the cloud has said enough of it.
    fn claimed_name_of(remote: &Self::Remote) -> Option<String>;
    /// What to send for a creation under that name; `owner_tag` is the tag's key and value. An error is what stands in
    /// its way.
    fn new(
        spec: &Self::Spec,
        name: &str,
        extras: &Self::Extras,
        owner_tag: (&str, &str),
    ) -> Result<Self::New, (Reason, String)>;

    /// An object that this spec could adopt: it has the name and the identifier, as far as the spec names one and the cloud
    /// has said.
    fn looks_like(spec: &Self::Spec, name: &str, remote: &Self::Remote) -> bool;
    /// An object that has what this spec asks for in what cannot be changed, as far as the cloud has said; only kinds with
    /// tags are asked.
    fn is_same_peer(spec: &Self::Spec, remote: &Self::Remote) -> bool;
    /// The same in what cannot be changed: two that carry one CR's tag are twins of one creation.
    fn is_twin(one: &Self::Remote, other: &Self::Remote) -> bool;
    /// Whether all that tells two objects apart is there; if not, a list may have omitted it.
    fn is_identified(remote: &Self::Remote) -> bool;
    /// Kinds without tags: whether a creation of ours, by its record, made this object.
    fn is_of_record(status: &Self::Status, remote: &Self::Remote, policy: &Policy) -> bool;
    /// Until when a creation that was answered may still come to nothing; `None` once it is confirmed.
    fn settles_at(status: &Self::Status) -> Option<&Time>;
    /// The recorded times of the cloud that an object waits for.
    fn awaited(status: &mut Self::Status) -> Vec<&mut Time>;

    /// What cannot be changed and differs: a message that names the field.
    fn immutable_difference(spec: &Self::Spec, remote: &Self::Remote, full: bool) -> Immutable;
    /// What differs and can be changed: the fields, and what mends some of them next.
    fn difference(wanted: &Wanted<'_, Self>, remote: &Self::Remote) -> Option<Difference<Self::Change>>;
    /// Whether the call sends back what it does not change, and so must know it from more than a list.
    fn needs_whole(change: &Self::Change) -> bool;
    /// Puts tags on an object; `None` for kinds without tags.
    fn tag(tags: BTreeMap<String, String>) -> Option<Self::Change>;
    /// Takes tags off an object; `None` for kinds without tags.
    fn untag(tags: BTreeMap<String, String>) -> Option<Self::Change>;
    /// How the mirror's entry looks after a change that was answered without the object.
    fn apply_change(change: &Self::Change, remote: &mut Self::Remote);

    /// What can be shown of an object before anything is known of it in the cloud.
    fn expected(_: &mut Self::Status, _: &Self::Spec, _object_name: &str) {}
    /// What to remember of a creation before it is sent, beside the intent itself.
    fn announced(status: &mut Self::Status, home: &Self::Home, new: &Self::New, intent: &Intent);
    /// What to remember of a creation that was answered at this time of the cloud.
    fn created(status: &mut Self::Status, new: &Self::New, remote: &Self::Remote, record: &Record<'_>);
    /// The body that was announced, if it is still known: sending it again under the same token tells what came of it.
    /// Kinds without such tokens have none.
    fn announced_before(status: &Self::Status, extras: &Self::Extras) -> Option<Self::New>;
    /// What to remember, and what to forget, of a creation that was refused.
    fn creation_refused(status: &mut Self::Status, new: &Self::New, error: &CloudError);
    /// Why the cloud would refuse this creation, as it has refused it before.
    fn standing_refusal(_: &Self::Status, _: &Self::New) -> Option<(Reason, String)> {
        None
    }
    /// What to remember of an object that was found; with the intent, if a creation of ours made it.
    fn found(
        status: &mut Self::Status,
        home: Option<&Self::Home>,
        remote: &Self::Remote,
        intent: Option<&Intent>,
        record: &Record<'_>,
    );
    /// The recorded object is gone, and another is made: what was the object's own is forgotten.
    fn lost(_: &mut Self::Status) {}
    /// The recorded object, whose creation was not confirmed, is gone.
    fn vanished(status: &mut Self::Status, id: &str);
    /// Copies what the cloud says into status; true fields of the kind only, the shared ones are copied by the caller.
    fn confirm(
        status: &mut Self::Status,
        spec: Option<&Self::Spec>,
        extras: Option<&Self::Extras>,
        remote: &Self::Remote,
    );
    /// What to remember of a change before it is sent; `deadline` is when it will have ended one way or the other.
    fn announce_change(status: &mut Self::Status, change: &Self::Change, deadline: Timestamp);
    /// Fields of the status that what comes of a change is remembered in, beside what is announced: it is not made while
    /// the CRD does not keep them.
    fn remembered_after(_: &Self::Change) -> &'static [&'static str] {
        &[]
    }
    /// What to remember of a change that was made.
    fn changed(status: &mut Self::Status, change: &Self::Change, remote: Option<&Self::Remote>, record: &Record<'_>);
    /// What to remember of a change that was refused.
    fn refused(status: &mut Self::Status, change: &Self::Change, error: &CloudError, record: &Record<'_>) -> Refused;
    /// The Event of a change that was made, if it has one of its own.
    fn change_event(change: &Self::Change, id: &str) -> Option<(&'static str, String)>;

    fn times(remote: &Self::Remote) -> (Option<Timestamp>, Option<Timestamp>);

    /// The mirror of its collection, for an object that reads from it from now on.
    fn mirror(open: &Open, home: &Self::Home, reader: &Key) -> Arc<Mirror<Self::Remote, Key>>;
    /// Reads what the spec refers to outside of itself.
    fn extras<'a>(spec: &'a Self::Spec, sources: &'a Sources<'a>) -> BoxFuture<'a, Result<Self::Extras, Lack>>;
    /// A change that puts tags on, which may overwrite values.
    fn overwrites(change: &Self::Change) -> bool;
    fn create<'a>(
        client: &'a Client,
        home: &'a Self::Home,
        new: &'a Self::New,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Answer<Self::Remote>, CloudError>>;
    /// `None` if the answer does not hold the object.
    fn change<'a>(
        client: &'a Client,
        home: &'a Self::Home,
        id: &'a str,
        change: &'a Self::Change,
    ) -> BoxFuture<'a, Result<Answer<Option<Self::Remote>>, CloudError>>;
    fn delete<'a>(
        client: &'a Client,
        home: &'a Self::Home,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Answer<()>, CloudError>>;
}

/// What an object is compared with.
pub struct Wanted<'a, K: Kind> {
    pub spec: &'a K::Spec,
    pub status: &'a K::Status,
    pub extras: &'a K::Extras,
    pub policy: &'a Policy,
    /// Whether this cloud overwrites the value of a tag that exists.
    pub overwrites_tags: bool,
    /// The cloud's present time, never ahead of it.
    pub cloud_now: Timestamp,
}

/// What the record of an outcome needs to know of its circumstances.
pub struct Record<'a> {
    pub owner_tag_key: &'a str,
    /// The cloud's present time.
    pub cloud_now: Timestamp,
    pub settle_time: std::time::Duration,
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
    pub mend: Mend<C>,
}

/// What mends a difference next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mend<C> {
    /// This call.
    Call(C),
    /// Nothing before this time of the cloud.
    Until(Timestamp),
    /// Nothing before a person has acted.
    Person(Reason, String),
}

/// What a refused change comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// What the error says.
    AsTold,
    /// The refusal proves that the change is in force.
    InForce,
    /// Something else than what the error says.
    Because(Reason, String),
}
