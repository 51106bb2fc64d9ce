//! Decides one step from the declared, recorded and observed state. Pure and synchronous, so that every state that a
//! crash can leave behind is a row in a table of tests. One file per question: creation (`establish`), the outcome of
//! an earlier one (`resolve`), adoption (`adopt`), competing names (`names`), owner (`ownership`), maintenance (`tend`),
//! a resource that is not usable (`health`), deletion (`delete`).

pub(crate) mod adopt;
pub(crate) mod delete;
pub(crate) mod establish;
pub(crate) mod health;
pub mod inputs;
pub(crate) mod mass_deletion;
pub(crate) mod names;
pub(crate) mod ownership;
pub(crate) mod reads;
pub(crate) mod resolve;
pub mod step;
pub(crate) mod stops;
pub(crate) mod tend;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
pub(crate) mod user_tests;

use crate::api::ManagementPolicy;
use crate::api::conditions::Reason;
use crate::decide::adopt::adopt;
use crate::decide::delete::delete;
use crate::decide::establish::establish;
use crate::decide::inputs::{Inputs, object};
use crate::decide::step::{Rest, Step};
use crate::decide::stops::{crd_deleting, held_by_another, report_failure, scope_changed, stop, unknown_parent};

pub use crate::decide::tend::awaiting_confirmation;
use crate::decide::tend::tend;
use crate::kind::Kind;
use crate::terms::access::Access;
pub use crate::terms::guard::Guard;
use crate::terms::note::Note;
use vpn_cloud::limits::clock::longest_wait;

/// Decides one step.
pub fn decide<K: Kind>(inputs: &Inputs<'_, K>) -> Step<K> {
    if inputs.paused {
        return Step::Rest(Rest::Paused);
    }
    if awaits_an_unbelievable_time(inputs) {
        return Step::Note(Note::Unbelievable);
    }
    match inputs.deleting_since {
        Some(since) => delete(inputs, since),
        None => maintain(inputs),
    }
}

/// Whether the object would wait for longer than any request can take.
fn awaits_an_unbelievable_time<K: Kind>(inputs: &Inputs<'_, K>) -> bool {
    let Ok(Access {
        cloud_now: Some(cloud_now),
        ..
    }) = &inputs.access
    else {
        return false;
    };
    let latest = longest_wait(*cloud_now, inputs.policy.confirmation_period);
    let mut past = object(inputs).past_intents.iter().map(|past| past.deadline.0);
    // Without a parent, nothing can be recorded.
    inputs.has_parent
        && (past.any(|deadline| deadline > latest)
            || K::awaited(&mut inputs.status.clone()).iter().any(|at| at.0 > latest))
}

fn maintain<K: Kind>(inputs: &Inputs<'_, K>) -> Step<K> {
    let spec = match inputs.spec {
        Ok(spec) => spec,
        Err(error) => return stop(Reason::InvalidSpec, format!("spec cannot be read: {error}")),
    };
    if inputs.crd_deleting_since.is_some() {
        return crd_deleting::<K>();
    }
    if !inputs.has_parent {
        return stop(Reason::InvalidSpec, unknown_parent::<K>());
    }
    if let Some(problem) = K::problem(spec, inputs.policy) {
        return stop(Reason::InvalidSpec, problem);
    }
    let access = match &inputs.access {
        Ok(access) => access,
        Err(failure) => return report_failure(inputs, failure),
    };
    if let Some(step) = scope_changed(inputs, access) {
        return step;
    }
    let Some(id) = &object(inputs).id else {
        return establish(inputs, spec, access);
    };
    let manages = inputs.lifecycle.management() != ManagementPolicy::Observe;
    if manages && object(inputs).observe_only && inputs.policy.keeps(Guard::ObserverClaims) {
        return adopt(inputs, spec, id);
    }
    if manages && let Some(step) = held_by_another(inputs, id) {
        return step;
    }
    tend(inputs, spec, access, id)
}
