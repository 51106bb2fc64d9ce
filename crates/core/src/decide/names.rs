//! Whether another object has the name that this one would create or adopt, or may have it.

use crate::api::conditions;
use crate::api::conditions::{ReadyCondition, Reason};
use crate::cache::{LastList, Query, Remote};
use crate::decide::inputs::{Inputs, object};
use crate::decide::reads::query;
use crate::decide::step::{Rest, Step};
use crate::decide::stops::stop;
use crate::kind::Kind;
use crate::terms::competing_claim::CompetingClaim;
use crate::terms::failure::{Failure, POLL};
use crate::terms::guard::Guard;

/// Where names are unique: whether another object has the name, as far as is known without a create request.
pub(crate) fn name_taken<K: Kind>(inputs: &Inputs<'_, K>, name: &str, listed: LastList) -> Option<Step<K>> {
    let noun = K::NOUN;
    if let Some(holder) = &inputs.observation.name_holder
        && inputs.policy.keeps(Guard::NameOfAnotherObject)
    {
        return Some(name_held(holder, name));
    }
    let was_refused = conditions::ready_reason(&object(inputs).conditions) == Some(Reason::NameConflict.as_str());
    // A message about an unmanaged object, or about a refusal of the cloud, must describe the current state.
    if (inputs.observation.name_collision.is_some() || was_refused) && !listed.fresh {
        return Some(query(inputs, Query::Collection));
    }
    let name_collision = inputs
        .observation
        .name_collision
        .as_ref()
        .filter(|_| inputs.policy.keeps(Guard::NameOfUnmanaged))?;
    let (id, its_name) = (name_collision.id(), K::remote_name(name_collision).unwrap_or(name));
    let may_be_ours = object(inputs).unresolved_creations().next().is_some();
    let owner = if may_be_ours {
        "it is unknown whether an earlier creation of this object made it, since it differs from that creation or is \
         too new for it"
    } else {
        "it is not this object's"
    };
    let message = format!(
        "a {noun} {its_name} exists already ({id}), and {owner}: to adopt it, set spec.externalID to {id}, or \
         spec.adoptionPolicy to IfExists; else delete it in the cloud, or recreate this object with another \
         spec.name"
    );
    Some(stop(Reason::NameConflict, message))
}

/// Another object of ours has the name, or is creating it: its creation may have made the cloud object of this name.
pub(crate) fn name_in_use<K: Kind>(inputs: &Inputs<'_, K>, name: &str) -> Option<Step<K>> {
    if !inputs.policy.keeps(Guard::NameBeforeAdoption) {
        return None;
    }
    inputs
        .observation
        .name_holder
        .as_ref()
        .map(|holder| name_held::<K>(holder, name))
}

/// Another object of ours holds a name, or is about to create it.
fn name_held<K: Kind>(holder: &CompetingClaim, name: &str) -> Step<K> {
    let noun = K::NOUN;
    let other = format!("{} {}/{}", K::KIND, holder.namespace, holder.name);
    if holder.deleting {
        let message = format!(
            "spec.name: the {other}, which is being deleted, still has the name {name} {}: the {noun} is created once \
             that one is deleted",
            K::PLACE
        );
        return Step::Rest(Rest::Failed(Failure {
            condition: ReadyCondition::new(Reason::DependencyNotReady, message),
            backoff: POLL,
        }));
    }
    if !K::UNIQUE_NAMES {
        let message = format!(
            "the {other} is creating a {noun} of the same name {name} and identifier {}, so the owner of the existing \
             one is unknown: wait until that one is Ready, or give this object another spec.name",
            K::PLACE
        );
        return stop(Reason::NameConflict, message);
    }
    let message = format!(
        "spec.name: the {other} has the name {name} already {} (in upper or lower case): delete that one, or recreate \
         this object with another spec.name",
        K::PLACE
    );
    stop(Reason::NameConflict, message)
}

/// For kinds without owner tags, only this cluster's objects show who owns which cloud object. All of them must be
/// known before a creation or an adoption.
pub(crate) fn unlisted<K: Kind>(inputs: &Inputs<'_, K>) -> Option<Step<K>> {
    let unlisted = inputs.observation.unlisted.as_ref()?;
    if K::Remote::TAGGED {
        return None;
    }
    let (kind, noun) = (K::KIND, K::NOUN);
    let resource = <K::Resource as kube::CustomResourceExt>::crd_name();
    let place = match &unlisted.namespace {
        Some(namespace) => format!("the namespace {namespace}"),
        None => "all namespaces".to_owned(),
    };
    let message = format!(
        "{kind}s of {place} cannot be listed, so one of them may have this {noun} or its name: {}; grant list and \
         watch on {resource} there, or remove the namespace from --watch-namespace",
        unlisted.cause
    );
    Some(Step::Rest(Rest::Failed(Failure {
        condition: ReadyCondition::new(Reason::DependencyNotReady, message),
        backoff: POLL,
    })))
}
