//! No id is recorded: finds or adopts an existing cloud object, else creates one, but never blindly a second one.

use crate::api::conditions::Reason;
use crate::api::{AdoptionPolicy, ManagementPolicy};
use crate::cache::{LastList, Query, Remote};
use crate::decide::adopt::{adopt, adopt_existing, nothing_to_adopt, observe, orphaned};
use crate::decide::inputs::{Inputs, object, owner};
use crate::decide::names::{name_taken, unlisted};
use crate::decide::ownership::claim;
use crate::decide::reads::{owner_of, query, read_omitted_fields};
use crate::decide::resolve::{Resolved, Unresolved, replay, resolve};
use crate::decide::step::{Rest, Step, created_event};
use crate::decide::stops::{report_failure, stop};
use crate::kind::Kind;
use crate::terms::access::Access;
use crate::terms::dereferenced::Dereferencing;
use crate::terms::failure::Failure;
use crate::terms::guard::Guard;
use crate::terms::note::Note;

/// No id is recorded: finds or adopts an existing cloud object, else creates one.
pub(crate) fn establish<K: Kind>(inputs: &Inputs<'_, K>, spec: &K::Spec, access: &Access) -> Step<K> {
    if let Some(id) = &inputs.lifecycle.external_id {
        return adopt(inputs, spec, id);
    }
    if inputs.lifecycle.management() == ManagementPolicy::Observe {
        return observe(inputs, spec);
    }
    if let Some(failure) = lacks_password_for_the_first_creation(inputs) {
        return report_failure(inputs, failure);
    }
    let Some(listed) = inputs.observation.listed else {
        return query(inputs, Query::Collection);
    };
    if let Some(step) = find_own(inputs) {
        return step;
    }
    if let Some(intent) = &object(inputs).intent {
        return match resolve(inputs, &Unresolved::of::<K>(intent), listed, access) {
            // A replay may be the only way to learn the outcome, so it precedes giving up.
            Resolved::Absent => replay(inputs, listed).unwrap_or(Step::Note(Note::GivenUp)),
            Resolved::NotYet(step) => replay(inputs, listed).unwrap_or(step),
        };
    }
    // The result of an earlier creation may appear at any time, so another creation requires a fresh list.
    let in_doubt = !K::Remote::TAGGED && object(inputs).unresolved_creations().next().is_some();
    if in_doubt && !listed.fresh {
        return query(inputs, Query::Collection);
    }
    let name = K::cloud_name(spec, inputs.status, inputs.name);
    if let Some(step) = adopt_instead(inputs, spec, &name, listed) {
        return step;
    }
    if K::UNIQUE_NAMES
        && let Some(step) = name_taken(inputs, &name, listed)
    {
        return step;
    }
    if let Some(step) = unlisted(inputs) {
        return step;
    }
    create(inputs, spec, access, &name)
}

/// Why the password of the first creation cannot be read. Without tags, no cloud object is ours before that creation, so
/// no search is needed.
fn lacks_password_for_the_first_creation<'a, K: Kind>(inputs: &'a Inputs<'_, K>) -> Option<&'a Failure> {
    let is_first = object(inputs).intent.is_none() && object(inputs).past_intents.is_empty();
    let Dereferencing::Lacking(failure) = &inputs.dereferenced else {
        return None;
    };
    let is_about_it = matches!(
        failure.condition.reason,
        Reason::SecretNotFound | Reason::InvalidPassword
    );
    (!K::Remote::TAGGED && is_first && is_about_it).then_some(failure)
}

/// Finds the cloud object that is this CR's own by its tag or by the record, or reads what might show one.
fn find_own<K: Kind>(inputs: &Inputs<'_, K>) -> Option<Step<K>> {
    if let Some(remote) = inputs.observation.owned.first() {
        let intended = object(inputs).intent.is_some();
        let event = if intended {
            created_event::<K>(remote)
        } else {
            found_event::<K>(remote)
        };
        return Some(Step::Note(Note::Found {
            remote: remote.clone(),
            event: Some(event),
        }));
    }
    if let Some(id) = inputs.observation.tags_unknown.first()
        && inputs.policy.keeps(Guard::TagsBeforeConclusions)
    {
        return Some(query(inputs, owner_of::<K>(id)));
    }
    read_omitted_fields(inputs)
}

/// Adopts an existing cloud object, or stops because one that exists, or the adoption policy, forbids a creation.
fn adopt_instead<K: Kind>(inputs: &Inputs<'_, K>, spec: &K::Spec, name: &str, listed: LastList) -> Option<Step<K>> {
    if let Some(remote) = inputs.observation.former_owners.first() {
        let event = (
            "Readopted",
            format!(
                "adopted the {} {} again: its tag names this object as it was before it was recreated",
                K::NOUN,
                remote.id()
            ),
        );
        return Some(claim(inputs, remote, event));
    }
    if let Some(step) = adopt_existing(inputs, spec, name, listed) {
        return Some(step);
    }
    if let Some(orphan) = &inputs.observation.orphan {
        // The message must describe the current state.
        return Some(match listed.fresh {
            true => orphaned(inputs, orphan),
            false => query(inputs, Query::Collection),
        });
    }
    (inputs.lifecycle.adoption() == AdoptionPolicy::Required).then(|| nothing_to_adopt(inputs, name))
}

/// Creates the cloud object, as soon as everything that its record and its body need is known.
fn create<K: Kind>(inputs: &Inputs<'_, K>, spec: &K::Spec, access: &Access, name: &str) -> Step<K> {
    let dereferenced = match &inputs.dereferenced {
        Dereferencing::Read(dereferenced) => dereferenced,
        Dereferencing::Waiting => return Step::Rest(Rest::Waiting),
        Dereferencing::Lacking(failure) | Dereferencing::Absent(failure) => return report_failure(inputs, failure),
    };
    if inputs.policy.read_only {
        return stop(
            Reason::Creating,
            format!("--read-only: would create the {} {name}", K::NOUN),
        );
    }
    // The recorded time of a creation later shows whether it took effect.
    if access.cloud_now.is_none() {
        return query(inputs, Query::Collection);
    }
    if !inputs.has_finalizer && inputs.policy.keeps(Guard::FinalizerFirst) {
        return Step::AddFinalizer;
    }
    let owner = owner(inputs).to_string();
    match K::new(spec, name, dereferenced, (&inputs.policy.owner_tag_key, &owner)) {
        Ok(new) => match K::standing_refusal(inputs.status, &new) {
            Some((reason, message)) if inputs.policy.keeps(Guard::RefusedOnce) => stop(reason, message),
            _ => Step::Create(new),
        },
        Err((reason, message)) => stop(reason, message),
    }
}

pub(crate) fn found_event<K: Kind>(remote: &K::Remote) -> (&'static str, String) {
    let how = if K::Remote::TAGGED {
        "by its owner tag"
    } else {
        "which an earlier creation of this object made"
    };
    ("Adopted", format!("found the {} {} {how}", K::NOUN, remote.id()))
}
