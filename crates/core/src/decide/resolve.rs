//! What came of a creation whose outcome is unknown: proof by a complete list, or a replay with its client token.

use std::time::Duration;

use jiff::Timestamp;
use vpn_cloud::limits::clock::later;

use crate::api::Intent;
use crate::api::conditions::{ReadyCondition, Reason};
use crate::cache::{LastList, Query};
use crate::decide::inputs::Inputs;
use crate::decide::step::{Rest, Step};
use crate::decide::stops::time_left;
use crate::kind::Kind;
use crate::terms::access::Access;
use crate::terms::dereferenced::Dereferencing;
use crate::terms::failure::{Failure, RETRY};
use crate::terms::guard::Guard;

/// Whether a creation had an effect.
pub(crate) enum Resolved<K: Kind> {
    /// It had none, and will have none.
    Absent,
    /// Unknown: this step comes first.
    NotYet(Step<K>),
}

/// A creation whose outcome is unknown.
pub(crate) struct Unresolved {
    /// When its request ends at the latest.
    pub deadline: Timestamp,
    /// What it may have created, for messages.
    pub what: String,
}

impl Unresolved {
    pub(crate) fn of<K: Kind>(intent: &Intent) -> Self {
        Self {
            deadline: intent.deadline.0,
            what: format!("the {} {}", K::NOUN, intent.name),
        }
    }
}

/// An intent is never followed by a blind second POST. Only a complete list that starts after the request's deadline
/// and the confirmation period proves that nothing was created.
pub(crate) fn resolve<K: Kind>(
    inputs: &Inputs<'_, K>,
    creation: &Unresolved,
    listed: LastList,
    access: &Access,
) -> Resolved<K> {
    let confirmation_period = match inputs.policy.keeps(Guard::ProofAfterConfirmationPeriod) {
        true => inputs.policy.confirmation_period,
        false => Duration::ZERO,
    };
    let proves_at = later(creation.deadline, confirmation_period);
    // A list that seems to start in the future was read while the cloud's clock was wrong.
    let started = listed.started.min(access.cloud_now.unwrap_or(listed.started));
    if started > proves_at || !inputs.policy.keeps(Guard::ProofAfterDeadline) {
        if listed.complete || !inputs.policy.keeps(Guard::ProofIsComplete) {
            return Resolved::Absent;
        }
        let message = format!(
            "whether {} was created is not known: the cloud's list is incomplete; it is read again until it is \
             complete",
            creation.what
        );
        let failure = Failure {
            condition: ReadyCondition::new(Reason::CloudError, message),
            backoff: RETRY,
        };
        return Resolved::NotYet(match &inputs.failed_query {
            Some(failed) => Step::Rest(Rest::Failed(failed.clone())),
            None if inputs.triggered && !listed.fresh => Step::Query {
                query: Query::Collection,
                fresh: true,
            },
            None => Step::Rest(Rest::Failed(failure)),
        });
    }
    if let Some(failed) = &inputs.failed_query {
        return Resolved::NotYet(Step::Rest(Rest::Failed(failed.clone())));
    }
    match access.cloud_now {
        Some(cloud_now) if listed.fresh && cloud_now <= proves_at => Resolved::NotYet(Step::Rest(Rest::Until(
            Some(unresolved(inputs, creation, proves_at)),
            time_left(proves_at, cloud_now),
        ))),
        cloud_now => Resolved::NotYet(Step::Query {
            query: Query::Collection,
            // Any answer reports the time.
            fresh: cloud_now.is_some(),
        }),
    }
}

/// Reports until when the outcome of a creation is unknown.
fn unresolved<K: Kind>(inputs: &Inputs<'_, K>, creation: &Unresolved, proves_at: Timestamp) -> ReadyCondition {
    let reason = match inputs.deleting_since {
        Some(_) => Reason::Deleting,
        None => Reason::Creating,
    };
    let message = format!(
        "whether {} was created is not known: the cloud is read again after {proves_at}, when no request for it can \
         be in progress any more",
        creation.what
    );
    ReadyCondition::new(reason, message)
}

/// An object has the name, and whether our creation made it is unknown: a replay with the client token shows it. The
/// replay is harmless, since the name is taken.
pub(crate) fn replay<K: Kind>(inputs: &Inputs<'_, K>, listed: LastList) -> Option<Step<K>> {
    inputs
        .observation
        .name_collision
        .as_ref()
        .filter(|_| listed.fresh && !(inputs.replayed && inputs.policy.keeps(Guard::ReplayedOnce)))?;
    let Dereferencing::Read(dereferenced) = &inputs.dereferenced else {
        return None;
    };
    let may_send = inputs.has_finalizer && !inputs.policy.read_only;
    K::recorded_creation(inputs.status, dereferenced)
        .filter(|_| may_send)
        .map(Step::Replay)
}
