//! How a kind compares a spec with a resource.

use std::collections::BTreeMap;
use std::fmt::Debug;

use jiff::Timestamp;

use super::shape::Shape;
use crate::api::conditions::Reason;
use crate::terms::health::Health;
use crate::terms::policy::Policy;

/// Differences between a spec and a resource, and their corrections.
pub trait Compare: Shape {
    /// Whether this spec could adopt the resource: its name matches, and its identifier as far as the spec and the
    /// cloud give one.
    fn is_candidate(spec: &Self::Spec, name: &str, remote: &Self::Remote) -> bool;

    /// The identifier that the resource must have, in the form of [`Remote::identifier`](crate::cache::Remote::identifier);
    /// `None`: any one.
    fn identifier(_: &Self::Spec) -> Option<String> {
        None
    }

    /// Whether the resource matches this spec in the immutable fields that the cloud returned. The default, for kinds
    /// without tags: no resource shows its owner, so none is a peer.
    fn is_same_peer(_: &Self::Spec, _: &Self::Remote) -> bool {
        false
    }

    /// Whether the immutable fields are equal: two with one CR's tag are then duplicates of one creation. The default:
    /// names are unique, so there are no duplicates.
    fn is_duplicate(_: &Self::Remote, _: &Self::Remote) -> bool {
        false
    }

    /// Whether all fields that distinguish two resources are known; if not, a list may have omitted some.
    fn is_identified(remote: &Self::Remote) -> bool;

    /// The difference in an immutable field, with a message that names the field.
    fn immutable_difference(spec: &Self::Spec, remote: &Self::Remote, full: bool) -> Immutable;

    /// The differences that can be changed: the fields, and the next correction for some of them.
    fn difference(wanted: &DesiredState<'_, Self>, remote: &Self::Remote) -> Option<Difference<Self::Change>>;

    /// Whether the call sends back values that it does not change, and so needs them from more than a list.
    fn needs_whole(change: &Self::Change) -> bool;

    /// The change that adds tags to a resource. The default: the kind has no tags.
    fn tag(_: BTreeMap<String, String>) -> Option<Self::Change> {
        None
    }

    /// The change that removes tags from a resource. The default: the kind has no tags.
    fn untag(_: BTreeMap<String, String>) -> Option<Self::Change> {
        None
    }

    /// The state of the resource. Responses to writes may lack it, and [`Self::apply_change`] must then make it unknown:
    /// the cloud has just begun to work. A list item without the state is partial: see
    /// [`crate::cache::Remote::is_partial`]. The default: a resource that exists is ready.
    fn health(_: &Self::Remote) -> Health {
        Health::Ready
    }

    /// Applies a change to the cache's entry, if the response of the change lacks the resource.
    fn apply_change(change: &Self::Change, remote: &mut Self::Remote);

    /// The Event of a change that was made. The default: no change has an Event of its own.
    fn change_event(_: &Self::Change, _id: &str) -> Option<(&'static str, String)> {
        None
    }

    /// Whether the change adds tags, which may overwrite values. The default: the kind has no tags.
    fn overwrites(_: &Self::Change) -> bool {
        false
    }
}

/// What a resource is compared with.
pub struct DesiredState<'a, K: Shape> {
    /// The spec.
    pub spec: &'a K::Spec,
    /// The recorded status.
    pub status: &'a K::Status,
    /// What the spec refers to, as it was read.
    pub dereferenced: &'a K::Dereferenced,
    /// The operator's settings.
    pub policy: &'a Policy,
    /// Whether this cloud overwrites the value of a tag that exists.
    pub overwrites_tags: bool,
    /// The current time of the cloud, never ahead of it.
    pub cloud_now: Timestamp,
}

/// Result of the comparison of the immutable fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Immutable {
    /// No known immutable field differs.
    Same,
    /// The list omitted a field that matters: the resource itself must be read.
    Unknown,
    /// The field, and a message for `InvalidSpec` that names it.
    Differs {
        /// The path of the field in spec.
        field: &'static str,
        /// What differs, and what to do.
        message: String,
    },
}

/// Differences that can be corrected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference<C> {
    /// Every field that differs, by its path in spec.
    pub fields: Vec<String>,
    /// What to do first about them.
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
