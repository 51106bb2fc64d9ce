//! What a decision can be.

use std::time::Duration;

use vpn_cloud::error::cloud_error::Backoff;

use crate::api::conditions::ReadyCondition;
use crate::cache::{Query, Remote};
use crate::kind::Kind;
use crate::terms::failure::Failure;
use crate::terms::note::Note;

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step<K: Kind> {
    /// Read from the cloud. `fresh`: only a read that starts from now on is sufficient.
    Query {
        /// The query.
        query: Query,
        /// Whether only a read that starts from now on is sufficient.
        fresh: bool,
    },
    /// Add our finalizer, before anything is written to the cloud.
    AddFinalizer,
    /// Record the intent, then create.
    Create(K::New),
    /// Replay the recorded creation with its own client token: the answer shows the outcome.
    Replay(K::New),
    /// One call that updates an object.
    Change {
        /// The ID of the resource.
        id: String,
        /// The call.
        call: K::Change,
        /// Why it is sent.
        why: Why,
    },
    /// One DELETE.
    Delete {
        /// The ID of the resource.
        id: String,
        /// Whether it is a second resource of a CR that keeps another one.
        duplicate: bool,
    },
    /// Record a fact, then continue.
    Note(Note<K::Remote>),
    /// Nothing is left to do in the cloud: remove the finalizer.
    Release(Option<String>),
    /// Send nothing for now.
    Rest(Rest<K::Remote>),
}

/// Why an object is changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Why {
    /// These fields differ from the spec.
    Differs(Vec<String>),
    /// Add our owner tag.
    Mark,
    /// Remove our owner tag.
    RemoveTag,
}

/// Nothing to do for now.
#[derive(Clone, Debug, PartialEq)]
pub enum Rest<R> {
    /// Confirmed against the cloud. The drifted fields and the duplicates are only reported.
    Confirmed {
        /// The resource as it was read.
        remote: R,
        /// The paths of the fields that differ from the spec.
        drifted: Vec<String>,
        /// The IDs of other resources that are the CR's own and are not deleted.
        unexplained_duplicates: Vec<String>,
    },
    /// Report the failure, and retry with its backoff.
    Failed(Failure),
    /// The cloud is still working on the resource: set this condition, and read it again at the next common time of all
    /// objects that wait so, which then share a list.
    InProgress(ReadyCondition),
    /// Report nothing, and retry with this backoff: no work waits for the cloud's answer.
    Quiet(Backoff),
    /// Set this condition, if any, and reconcile again after that time.
    Until(Option<ReadyCondition>, Duration),
    /// Report nothing: the read in progress enqueues the object when it ends.
    Waiting,
    /// The annotation pauses reconciliation.
    Paused,
    /// The object has no finalizer of ours.
    Done,
}

/// Returns the Event of a creation.
pub fn created_event<K: Kind>(remote: &K::Remote) -> (&'static str, String) {
    ("Created", format!("created the {} {}", K::NOUN, remote.id()))
}
