//! What a kind records in status.

use std::fmt::Debug;

use jiff::Timestamp;
use vpn_cloud::CloudError;
use vpn_cloud::limits::clock::creation_window;

use super::shape::Shape;
use crate::api::Intent;
use crate::api::conditions::Reason;
use crate::terms::policy::Policy;

/// The kind's own fields of a status, for each outcome.
pub trait Ledger: Shape {
    /// Sets what status can show of an object before anything is known of it in the cloud. The default: nothing.
    fn expected(_: &mut Self::Status, _: &Self::Spec, _object_name: &str) {}

    /// Records a creation before it is sent, in addition to the intent itself. The default: the intent is sufficient.
    fn record_creation(_: &mut Self::Status, _: &Self::Parent, _: &Self::New, _: &Intent) {}

    /// Records a creation that was answered at this time of the cloud.
    fn created(status: &mut Self::Status, new: &Self::New, remote: &Self::Remote, record: &RecordContext<'_>);

    /// The recorded body of a creation, if it is still known: a replay with the same token resolves the outcome. The
    /// default: creations of the kind have no such tokens.
    fn recorded_creation(_: &Self::Status, _: &Self::Dereferenced) -> Option<Self::New> {
        None
    }

    /// Updates the record after a creation was refused. The default: the intent was its only record.
    fn creation_refused(_: &mut Self::Status, _: &Self::New, _: &CloudError) {}

    /// Why the cloud would refuse this creation: it has refused it before. The default: refusals are not recorded.
    fn standing_refusal(_: &Self::Status, _: &Self::New) -> Option<(Reason, String)> {
        None
    }

    /// Clears the records of earlier creations and of the resources that they made. The default: the kind has none.
    fn forget_earlier(_: &mut Self::Status) {}

    /// Records a resource that was found; with the intent, if a creation of ours made it. The default: the shared
    /// fields are sufficient.
    fn found(
        _: &mut Self::Status,
        _: Option<&Self::Parent>,
        _: &Self::Remote,
        _: Option<&Intent>,
        _: &RecordContext<'_>,
    ) {
    }

    /// Clears what belonged to the recorded resource: it no longer exists, and another one is created. The default:
    /// nothing belonged to it alone.
    fn lost(_: &mut Self::Status) {}

    /// Records that this id no longer exists: its creation was not confirmed, or a kind without tags lost it. The
    /// default: creations of the kind need no confirmation, and its tags identify what reappears.
    fn disappeared(_: &mut Self::Status, _id: &str) {}

    /// Copies the kind's own fields from the cloud into status; the caller copies the shared ones.
    fn confirm(
        status: &mut Self::Status,
        spec: Option<&Self::Spec>,
        dereferenced: Option<&Self::Dereferenced>,
        remote: &Self::Remote,
    );

    /// Records a change before it is sent; by `deadline` it has succeeded or failed. The default: reads show the outcome.
    fn record_change(_: &mut Self::Status, _: &Self::Change, _deadline: Timestamp) {}

    /// Status fields that hold the outcome of a change, besides those recorded before. The change is not sent while the
    /// CRD does not keep them. The default: there are none.
    fn remembered_after(_: &Self::Change) -> &'static [&'static str] {
        &[]
    }

    /// Records a change that was made.
    fn changed(
        status: &mut Self::Status,
        change: &Self::Change,
        remote: Option<&Self::Remote>,
        record: &RecordContext<'_>,
    );

    /// Records a change that was refused, and returns what follows.
    fn refused(
        status: &mut Self::Status,
        change: &Self::Change,
        error: &CloudError,
        record: &RecordContext<'_>,
    ) -> Refused;
}

/// Circumstances for the record of an outcome.
pub struct RecordContext<'a> {
    /// The operator's settings.
    pub policy: &'a Policy,
    /// Of the object in the cluster.
    pub uid: &'a str,
    /// The cloud's present time.
    pub cloud_now: Timestamp,
}

impl RecordContext<'_> {
    /// Whether a resource was created while the request of this creation could take effect.
    pub(crate) fn is_in_window<K: Shape>(&self, intent: &Intent, remote: &K::Remote) -> bool {
        let confirmation_period = self.policy.confirmation_period;
        let window = creation_window(intent.recorded_at.0, Some(intent.deadline.0), confirmation_period);
        K::times(remote).0.is_some_and(|created| window.contains(&created))
    }
}

/// What follows from a refused change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// What the error says.
    AsReported,
    /// The refusal proves that the change is in force.
    InForce,
    /// Another reason than the error's.
    Because(Reason, String),
}
