//! Decisions to wait, and the conditions that say why.

use std::time::Duration;

use jiff::Timestamp;

use crate::api::conditions;
use crate::api::conditions::{ReadyCondition, Reason};
use crate::decide::inputs::{Inputs, object};
use crate::decide::step::{Rest, Step};
use crate::kind::Kind;
use crate::terms::access::Access;
use crate::terms::competing_claim::CompetingClaim;
use crate::terms::failure::{Failure, POLL, USER_ACTION};
use crate::terms::guard::Guard;

/// Maximum number of tags on one object (contract: at most 20, the owner tag included).
pub(crate) const MAX_TAGS: usize = 20;

/// Stops without a write if another object has a better claim to this one's cloud object.
pub(crate) fn held_by_another<K: Kind>(inputs: &Inputs<'_, K>, id: &str) -> Option<Step<K>> {
    let competing_claim = inputs.observation.competing_claim.as_ref()?;
    if !inputs.policy.keeps(Guard::OneHolder) {
        return None;
    }
    let CompetingClaim {
        namespace,
        name,
        deleting,
    } = competing_claim;
    let (noun, kind) = (K::NOUN, K::KIND);
    if *deleting {
        let message = format!(
            "the {noun} {id} still belongs to the {kind} {namespace}/{name}, which is being deleted: it is read again \
             once that one is deleted"
        );
        return Some(Step::Rest(Rest::Failed(Failure {
            condition: ReadyCondition::new(Reason::DependencyNotReady, message),
            backoff: POLL,
        })));
    }
    let way_out = if inputs.lifecycle.external_id.is_some() && object(inputs).id.is_none() {
        "remove externalID here, or delete that one first"
    } else {
        "delete this object, which leaves it in the cloud, or delete that one first"
    };
    let message = format!(
        "the {noun} {id} belongs to the {kind} {namespace}/{name}: {way_out} (with deletionPolicy: Retain to keep the \
         cloud's)"
    );
    Some(stop(Reason::AlreadyManaged, message))
}

/// The cloud's clock is known in whole seconds: one more second ensures that the time is reached.
pub(crate) fn time_left(at: Timestamp, cloud_now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(cloud_now)).unwrap_or_default() + Duration::from_secs(1)
}

pub(crate) fn unknown_parent<K: Kind>() -> String {
    format!(
        "the location of the {} in the project is not known, since spec cannot be read and status records none: \
         correct spec",
        K::NOUN
    )
}

/// Whether anything waits for the cloud: if not, a failed read changes nothing.
pub(crate) fn has_work<K: Kind>(inputs: &Inputs<'_, K>) -> bool {
    let status = object(inputs);
    inputs.triggered
        || status.intent.is_some()
        || status.observed_generation != inputs.generation
        || !conditions::is_ready(&status.conditions)
}

pub(crate) fn report_failure<K: Kind>(inputs: &Inputs<'_, K>, failure: &Failure) -> Step<K> {
    if has_work(inputs) {
        Step::Rest(Rest::Failed(failure.clone()))
    } else {
        Step::Rest(Rest::Quiet(failure.backoff))
    }
}

/// Whether a resource that the spec refers to was read, and is missing or wrong. Unlike a failed read, this is always
/// reported, even if it happened while no watch was running.
pub(crate) fn is_wanting(failure: &Failure) -> bool {
    let reasons = [
        Reason::SecretNotFound,
        Reason::InvalidPassword,
        Reason::InvalidSpec,
        Reason::DependencyNotReady,
    ];
    reasons.contains(&failure.condition.reason)
}

pub(crate) fn stop<K: Kind>(reason: Reason, message: impl Into<String>) -> Step<K> {
    Step::Rest(Rest::Failed(Failure {
        condition: ReadyCondition::new(reason, message),
        backoff: USER_ACTION,
    }))
}

pub(crate) fn crd_deleting<K: Kind>() -> Step<K> {
    let message = format!(
        "the CRD of {} is being deleted, so nothing is deleted in the cloud: set deletionPolicy: Retain on this \
         object to release it; what stays in the cloud can be adopted later with externalID or adoptionPolicy: \
         IfExists",
        K::KIND
    );
    stop(Reason::CrdDeleting, message)
}

pub(crate) fn scope_changed<K: Kind>(inputs: &Inputs<'_, K>, access: &Access) -> Option<Step<K>> {
    let recorded = object(inputs).scope.as_ref()?;
    let has_unresolved = object(inputs).unresolved_creations().next().is_some();
    let may_have_more = has_unresolved || !K::lost_ids(inputs.status).is_empty();
    let leaves_it = inputs.deleting_since.is_some() && may_have_more;
    let binding = object(inputs).id.is_some() || object(inputs).intent.is_some() || leaves_it;
    if !binding || *recorded == access.scope {
        return None;
    }
    let (old, new) = (recorded, &access.scope);
    // A flag can declare that both endpoints of the project are the same one.
    let alias = match old.project_id == new.project_id {
        true => format!(
            ", or, if both are names of one endpoint, start the operator with --endpoint-alias {}={}",
            old.endpoint, new.endpoint
        ),
        false => String::new(),
    };
    let until_then = match inputs.deleting_since {
        Some(_) => {
            "the deletion waits until then (deletionPolicy: Retain releases this object and keeps its resources \
             there)"
        }
        None => "nothing is created, changed or deleted until then",
    };
    let message = format!(
        "the {} is in project {} at {}, but the credentials now belong to project {} at {}: restore credentials for \
         the old project{alias}; {until_then}",
        K::NOUN,
        old.project_id,
        old.endpoint,
        new.project_id,
        new.endpoint
    );
    Some(stop(Reason::ScopeChanged, message))
}
