//! Which resources and names belong to an object of a kind.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::ledger::RecordContext;
use super::shape::Shape;
use crate::api::Intent;
use crate::terms::policy::Policy;

/// What an object of the kind owns, claims and waits for.
pub trait Ownership: Shape {
    /// The name that a creation claims against other objects, in a form that is equal for all names that are the same
    /// to the cloud.
    fn claimed_name(spec: Option<&Self::Spec>, name: &str) -> String;

    /// The same for an existing resource, if the cloud returned enough of its fields.
    fn claimed_name_of(remote: &Self::Remote) -> Option<String>;

    /// For kinds without tags: whether a recorded creation of ours made this resource. The default: its tag names the
    /// owner.
    fn is_of_record(_: &Self::Status, _: &Self::Remote, _: &Policy) -> bool {
        false
    }

    /// Until when a creation that was answered may still fail; `None` once it is confirmed. The default: the answer
    /// confirms it.
    fn confirmed_at(_: &Self::Status) -> Option<&Time> {
        None
    }

    /// The recorded times of the cloud that an object waits for.
    fn awaited(status: &mut Self::Status) -> Vec<&mut Time>;

    /// Whether a resource can be the result of this creation.
    fn resolves_intent(intent: &Intent, remote: &Self::Remote, record: &RecordContext<'_>) -> bool;

    /// Whether no earlier creation of this object can take effect, and no lost resource can reappear, as long as this
    /// resource exists. The default: any number of resources may share a name, so no resource prevents another.
    fn resolves_all_intents(_: &Self::Status, _: &Self::Remote) -> bool {
        false
    }

    /// Ids of lost resources that may reappear: they belong to the object until another id is confirmed. Empty for
    /// kinds with an owner tag.
    fn lost_ids(_: &Self::Status) -> &[String] {
        &[]
    }
}
