//! No id is on record: whose, if any, is it already, and if nobody's, create it; never blindly a second time.

use std::time::Duration;

use jiff::Timestamp;

use super::ownership::claim;
use super::{
    AGAIN, Access, Extras, Guard, Inputs, Note, Rest, Rival, Step, Trouble, WAIT, confirm_absence, created_event,
    held_by_another, look, object, owner, owner_of, stop, time_left, troubled,
};
use crate::api::conditions::{self, Reason, Verdict};
use crate::api::{AdoptionPolicy, Intent, ManagementPolicy};
use crate::cloud::clock::later;
use crate::mirror::{Listed, Look, Remote, Sighting};
use crate::reconcile::kind::{Immutable, Kind};

/// No id is on record: whose, if any, is it already, and if nobody's, create it.
pub(super) fn establish<K: Kind>(inputs: &Inputs<'_, K>, spec: &K::Spec, access: &Access) -> Step<K> {
    if let Some(id) = &inputs.lifecycle.external_id {
        return adopt(inputs, spec, id);
    }
    if inputs.lifecycle.management() == ManagementPolicy::Observe {
        return observe(inputs, spec);
    }
    // Without tags nothing is ours before the first creation, so that nothing need be looked for.
    let is_first = object(inputs).intent.is_none() && object(inputs).past_intents.is_empty();
    if let (false, true, Extras::Lacking(trouble)) = (K::Remote::TAGGED, is_first, &inputs.extras)
        && matches!(trouble.verdict.reason, Reason::SecretNotFound | Reason::InvalidPassword)
    {
        return troubled(inputs, trouble);
    }
    let Some(listed) = inputs.view.listed else {
        return look(inputs, Look::Collection);
    };
    if let Some(remote) = inputs.view.owned.first() {
        let intended = object(inputs).intent.is_some();
        let event = if intended {
            created_event::<K>(remote)
        } else {
            found_event::<K>(remote)
        };
        return Step::Note(Note::Found {
            remote: remote.clone(),
            event: Some(event),
        });
    }
    if let Some(id) = inputs.view.untold.first()
        && inputs.policy.keeps(Guard::TagsBeforeConclusions)
    {
        return look(inputs, owner_of::<K>(id));
    }
    if let Some(id) = inputs.view.unread.first()
        && inputs.policy.keeps(Guard::FieldsBeforeConclusions)
    {
        return look(inputs, Look::Whole(id.clone()));
    }
    if let Some(intent) = &object(inputs).intent {
        return match resolve(inputs, intent, listed, access) {
            // What only a repetition can tell is asked before the creation is given up.
            Resolved::Absent => replay(inputs, listed).unwrap_or(Step::Note(Note::GivenUp)),
            Resolved::NotYet(step) => replay(inputs, listed).unwrap_or(step),
        };
    }
    // What an earlier creation made may show up at any time: another one rests on a look of now.
    let in_doubt = !K::Remote::TAGGED && object(inputs).past_intents.iter().any(|past| past.given_up);
    if in_doubt && !listed.fresh {
        return look(inputs, Look::Collection);
    }
    if let Some(remote) = inputs.view.predecessors.first() {
        let event = (
            "Readopted",
            format!(
                "took back the {} {}, whose tag names this object as it was before it was made anew",
                K::NOUN,
                remote.id()
            ),
        );
        return claim(inputs, remote, event);
    }
    let name = K::cloud_name(spec, inputs.status, inputs.name);
    if let Some(step) = adopt_existing(inputs, spec, &name, listed) {
        return step;
    }
    if let Some(orphan) = &inputs.view.orphan {
        // What is said of it is said of what is there now.
        return match listed.fresh {
            true => orphaned(inputs, orphan),
            false => look(inputs, Look::Collection),
        };
    }
    if inputs.lifecycle.adoption() == AdoptionPolicy::Required {
        return nothing_to_adopt(inputs, &name);
    }
    if K::UNIQUE_NAMES
        && let Some(step) = name_taken(inputs, &name, listed)
    {
        return step;
    }
    if let Some(step) = unlisted(inputs) {
        return step;
    }
    let extras = match &inputs.extras {
        Extras::Read(extras) => extras,
        Extras::Waiting => return Step::Rest(Rest::Waiting),
        Extras::Lacking(trouble) | Extras::Absent(trouble) => return troubled(inputs, trouble),
    };
    if inputs.policy.read_only {
        return stop(
            Reason::Creating,
            format!("--read-only: would create the {} {name}", K::NOUN),
        );
    }
    // The recorded time of a creation is what tells later whether it took effect.
    if access.cloud_now.is_none() {
        return look(inputs, Look::Collection);
    }
    if !inputs.has_finalizer && inputs.policy.keeps(Guard::FinalizerFirst) {
        return Step::AddFinalizer;
    }
    let owner = owner(inputs).to_string();
    match K::new(spec, &name, extras, (&inputs.policy.owner_tag_key, &owner)) {
        Ok(new) => match K::standing_refusal(inputs.status, &new) {
            Some((reason, message)) if inputs.policy.keeps(Guard::RefusedOnce) => stop(reason, message),
            _ => Step::Create(new),
        },
        Err((reason, message)) => stop(reason, message),
    }
}

/// Where only this cluster's objects tell who has what in the cloud, all of them must be known before anything is created
/// or adopted. Kinds with owner tags are told by the cloud.
fn unlisted<K: Kind>(inputs: &Inputs<'_, K>) -> Option<Step<K>> {
    let unlisted = inputs.view.unlisted.as_ref()?;
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
        "{kind}s of {place} cannot be listed, so that one of them may have this {noun} or its name: {}; grant list and watch \
         on {resource} there, or remove the namespace from --watch-namespace",
        unlisted.cause
    );
    Some(Step::Rest(Rest::Troubled(Trouble {
        verdict: Verdict::new(Reason::DependencyNotReady, message),
        pace: WAIT,
    })))
}

/// Looks for the one object to observe.
fn observe<K: Kind>(inputs: &Inputs<'_, K>, spec: &K::Spec) -> Step<K> {
    if inputs.lifecycle.adoption() == AdoptionPolicy::Never {
        // Admission demands it; an older CRD may not have.
        let message = "managementPolicy: Observe needs externalID, the id of the cloud object to look at, or adoptionPolicy: \
                       Required, to find it by what spec says";
        return stop(Reason::InvalidSpec, message);
    }
    let Some(listed) = inputs.view.listed else {
        return look(inputs, Look::Collection);
    };
    if let Some(id) = inputs.view.unread.first()
        && inputs.policy.keeps(Guard::FieldsBeforeConclusions)
    {
        return look(inputs, Look::Whole(id.clone()));
    }
    let name = K::cloud_name(spec, inputs.status, inputs.name);
    adopt_existing(inputs, spec, &name, listed).unwrap_or_else(|| nothing_to_adopt(inputs, &name))
}

/// The CR was renamed or moved, most likely, and left its object behind: a second one is not what anybody wants.
fn orphaned<K: Kind>(inputs: &Inputs<'_, K>, orphan: &K::Remote) -> Step<K> {
    let (noun, id, key) = (K::NOUN, orphan.id(), &inputs.policy.owner_tag_key);
    let value = orphan.tags().and_then(|tags| tags.get(key)).map_or("", String::as_str);
    if inputs.policy.cluster_name.is_none() {
        let message = format!(
            "the {noun} {id} is what this object asks for, and its tag {key}={value} names a {} that is not in this cluster; \
             without --cluster-name it cannot be told whether another cluster has it: if none has, remove that tag in the \
             cloud and set spec.externalID to {id}; if one has, give each cluster a --cluster-name of its own",
            K::KIND
        );
        return stop(Reason::AlreadyManaged, message);
    }
    let message = format!(
        "the {noun} {id} is what this object asks for, and its tag {key}={value} names a {} that is no more: to take it \
         over, as after a change of this object's name or namespace, set spec.externalID to {id}; to have another one \
         created beside it, remove that tag in the cloud (if it is another cluster's: give each cluster a --cluster-name \
         of its own)",
        K::KIND
    );
    stop(Reason::AlreadyManaged, message)
}

/// Another object of ours holds a name, or is about to create it.
fn name_held<K: Kind>(holder: &Rival, name: &str) -> Step<K> {
    let noun = K::NOUN;
    let other = format!("{} {}/{}", K::KIND, holder.namespace, holder.name);
    if holder.deleting {
        let message = format!(
            "spec.name: the {other}, which is being deleted, still has the name {name} {}: the {noun} is created once that \
             one is gone",
            K::PLACE
        );
        return Step::Rest(Rest::Troubled(Trouble {
            verdict: Verdict::new(Reason::DependencyNotReady, message),
            pace: WAIT,
        }));
    }
    if !K::UNIQUE_NAMES {
        let message = format!(
            "the {other} is creating a {noun} of the same name {name} and identifier {}, so that it cannot be told whose the \
             one that exists is: wait until that one is Ready, or give this object another spec.name",
            K::PLACE
        );
        return stop(Reason::NameConflict, message);
    }
    let message = format!(
        "spec.name: the {other} has the name {name} already {} (in upper or lower case): delete that one, or make this \
         object anew with another spec.name",
        K::PLACE
    );
    stop(Reason::NameConflict, message)
}

/// Where names are unique: whether the name is another's, as far as that can be known without asking for it.
pub(super) fn name_taken<K: Kind>(inputs: &Inputs<'_, K>, name: &str, listed: Listed) -> Option<Step<K>> {
    let noun = K::NOUN;
    if let Some(holder) = &inputs.view.name_holder
        && inputs.policy.keeps(Guard::NameOfFellow)
    {
        return Some(name_held(holder, name));
    }
    let was_refused = conditions::ready_reason(&object(inputs).conditions) == Some(Reason::NameConflict.as_str());
    // What is said of a stranger's object, or was said by the cloud, is said of what is there now.
    if (inputs.view.namesake.is_some() || was_refused) && !listed.fresh {
        return Some(look(inputs, Look::Collection));
    }
    let namesake = inputs
        .view
        .namesake
        .as_ref()
        .filter(|_| inputs.policy.keeps(Guard::NameOfStranger))?;
    let (id, its_name) = (namesake.id(), K::remote_name(namesake).unwrap_or(name));
    let may_be_ours = object(inputs).past_intents.iter().any(|past| past.given_up);
    let whose = if may_be_ours {
        "it cannot be told whether an earlier creation of this object has made it, since it looks otherwise or came later \
         than that would have"
    } else {
        "it is not this object's"
    };
    let message = format!(
        "a {noun} {its_name} exists already ({id}), and {whose}: to adopt it, set spec.externalID to {id}, or \
         spec.adoptionPolicy to IfExists; else delete it in the cloud, or make this object anew with another spec.name"
    );
    Some(stop(Reason::NameConflict, message))
}

/// Somebody has the name, and it is not known whether that came of our creation: the cloud knows, by the token. It can do
/// no harm, since the name is taken.
pub(super) fn replay<K: Kind>(inputs: &Inputs<'_, K>, listed: Listed) -> Option<Step<K>> {
    inputs
        .view
        .namesake
        .as_ref()
        .filter(|_| listed.fresh && !(inputs.replayed && inputs.policy.keeps(Guard::ReplayedOnce)))?;
    let Extras::Read(extras) = &inputs.extras else {
        return None;
    };
    let may_send = inputs.has_finalizer && !inputs.policy.read_only;
    K::announced_before(inputs.status, extras)
        .filter(|_| may_send)
        .map(Step::Replay)
}

pub(super) enum Resolved<K: Kind> {
    Absent,
    NotYet(Step<K>),
}

/// An intent is never followed by a blind second POST: only a complete look that was started after the request's
/// deadline and the settle time proves that nothing came of it.
pub(super) fn resolve<K: Kind>(
    inputs: &Inputs<'_, K>,
    intent: &Intent,
    listed: Listed,
    access: &Access,
) -> Resolved<K> {
    let settle = match inputs.policy.keeps(Guard::ProofAfterSettling) {
        true => inputs.policy.settle_time,
        false => Duration::ZERO,
    };
    let proves_at = later(intent.deadline.0, settle);
    // A list that seems to start later than now is of a time when the cloud's clock was wrong.
    let started = listed.started.min(access.cloud_now.unwrap_or(listed.started));
    if started > proves_at || !inputs.policy.keeps(Guard::ProofAfterDeadline) {
        if listed.complete || !inputs.policy.keeps(Guard::ProofIsComplete) {
            return Resolved::Absent;
        }
        let message = format!(
            "whether the {} {} was created is not known: the cloud's list is incomplete; it is read again until it is \
             complete",
            K::NOUN,
            intent.name
        );
        let trouble = Trouble {
            verdict: Verdict::new(Reason::CloudError, message),
            pace: AGAIN,
        };
        return Resolved::NotYet(match &inputs.failed_look {
            Some(failed) => Step::Rest(Rest::Troubled(failed.clone())),
            None if inputs.triggered && !listed.fresh => Step::Look {
                look: Look::Collection,
                anew: true,
            },
            None => Step::Rest(Rest::Troubled(trouble)),
        });
    }
    if let Some(failed) = &inputs.failed_look {
        return Resolved::NotYet(Step::Rest(Rest::Troubled(failed.clone())));
    }
    match access.cloud_now {
        Some(cloud_now) if listed.fresh && cloud_now <= proves_at => Resolved::NotYet(Step::Rest(Rest::Until(
            Some(unresolved(inputs, intent, proves_at)),
            time_left(proves_at, cloud_now),
        ))),
        cloud_now => Resolved::NotYet(Step::Look {
            look: Look::Collection,
            // Any answer tells the time.
            anew: cloud_now.is_some(),
        }),
    }
}

/// Until when it is not known what came of a creation.
fn unresolved<K: Kind>(inputs: &Inputs<'_, K>, intent: &Intent, proves_at: Timestamp) -> Verdict {
    let reason = match inputs.deleting_since {
        Some(_) => Reason::Deleting,
        None => Reason::Creating,
    };
    let message = format!(
        "whether the {} {} was created is not known: the cloud is read again after {proves_at}, when no request for it can be \
         under way any more",
        K::NOUN,
        intent.name
    );
    Verdict::new(reason, message)
}

/// Adopts the object that `externalID` names, or that was only observed until now.
pub(super) fn adopt<K: Kind>(inputs: &Inputs<'_, K>, spec: &K::Spec, id: &str) -> Step<K> {
    let (remote, full) = match &inputs.view.known {
        Sighting::Seen {
            remote,
            fresh: true,
            full,
        } => (remote, *full),
        Sighting::Unconfirmed { list_incomplete } if inputs.policy.keeps(Guard::AbsenceIsConfirmed) => {
            return confirm_absence(inputs, id, *list_incomplete, look);
        }
        Sighting::Gone | Sighting::Unconfirmed { .. } => return nothing_of_id(inputs, id),
        _ => return look(inputs, Look::Object(id.to_owned())),
    };
    if inputs.lifecycle.management() == ManagementPolicy::Observe {
        return observed(remote);
    }
    if let Some(step) = held_by_another(inputs, id) {
        return step;
    }
    if let Some(step) = name_in_use(inputs, K::remote_name(remote).unwrap_or_default()) {
        return step;
    }
    match K::immutable_difference(spec, remote, full) {
        Immutable::Untold => look(inputs, Look::Whole(id.to_owned())),
        Immutable::Differs { message, .. } => stop(Reason::InvalidSpec, message),
        Immutable::Same => unlisted(inputs).unwrap_or_else(|| claim(inputs, remote, adopted_event::<K>(remote))),
    }
}

/// Only looked at: nothing is written to the cloud, so that nothing need be claimed.
fn observed<K: Kind>(remote: &K::Remote) -> Step<K> {
    Step::Note(Note::Found {
        remote: remote.clone(),
        event: None,
    })
}

fn nothing_of_id<K: Kind>(inputs: &Inputs<'_, K>, id: &str) -> Step<K> {
    let (noun, place) = (K::NOUN, K::PLACE);
    if object(inputs).id.is_some() {
        let message = format!(
            "the {noun} {id}, which was only observed, does not exist in the cloud any more: delete this object, and create \
             another to have one created"
        );
        return stop(Reason::NotFound, message);
    }
    let message = format!(
        "externalID: there is no {noun} {id} {place}: delete this object and create it with the right id{}",
        match inputs.lifecycle.management() {
            ManagementPolicy::Observe => "",
            _ => ", or remove externalID to have a new one created",
        }
    );
    stop(Reason::NotFound, message)
}

/// The spec asks for what exists already: adopts the one object that it can mean. Nothing is created beside one that it
/// might mean.
fn adopt_existing<K: Kind>(inputs: &Inputs<'_, K>, spec: &K::Spec, name: &str, listed: Listed) -> Option<Step<K>> {
    if inputs.lifecycle.adoption() == AdoptionPolicy::Never {
        return None;
    }
    // What was made just now, to be adopted, shows only in a list of now; and one that skips objects proves nothing.
    if !listed.fresh {
        return Some(look(inputs, Look::Collection));
    }
    if !listed.complete {
        let message = format!(
            "whether there is a {} {name} to adopt is not known: the cloud's list is incomplete; it is read again until it \
             is complete",
            K::NOUN
        );
        return Some(Step::Rest(Rest::Troubled(Trouble {
            verdict: Verdict::new(Reason::CloudError, message),
            pace: AGAIN,
        })));
    }
    let observes = inputs.lifecycle.management() == ManagementPolicy::Observe;
    if !observes && let Some(step) = name_in_use(inputs, name) {
        return Some(step);
    }
    let candidates = &inputs.view.candidates;
    let fits = |remote: &K::Remote| K::immutable_difference(spec, remote, true) == Immutable::Same;
    match candidates.as_slice() {
        [] => None,
        [remote] if fits(remote) && observes => Some(observed(remote)),
        [remote] if fits(remote) => {
            Some(unlisted(inputs).unwrap_or_else(|| claim(inputs, remote, adopted_event::<K>(remote))))
        }
        _ if !inputs.policy.keeps(Guard::CandidatesBeforeCreation) => None,
        _ => Some(stop(Reason::NameConflict, choice(inputs, spec, name))),
    }
}

/// How many ids a message lists.
const MOST_LISTED: usize = 10;

/// Several objects that a spec could mean, or one that differs in what is immutable: which there are, and how to choose.
fn choice<K: Kind>(inputs: &Inputs<'_, K>, spec: &K::Spec, name: &str) -> String {
    let candidates = &inputs.view.candidates;
    let listed = candidates
        .iter()
        .take(MOST_LISTED)
        .map(|remote| match K::immutable_difference(spec, remote, true) {
            Immutable::Differs { field, .. } => format!("{} (which differs in {field})", remote.id()),
            Immutable::Same | Immutable::Untold => remote.id().to_owned(),
        });
    let listed: Vec<_> = listed.collect();
    let more = candidates.len().saturating_sub(MOST_LISTED);
    let and_more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!(
        "which {noun} {name} to adopt cannot be told: unmanaged, and with this name and identifier, there are {}{and_more}: \
         set spec.externalID to the one that is meant; to have another one created beside them, set adoptionPolicy: Never",
        listed.join(", "),
        noun = K::NOUN,
    )
}

/// No creation, and nothing to adopt.
fn nothing_to_adopt<K: Kind>(inputs: &Inputs<'_, K>, name: &str) -> Step<K> {
    let observes = inputs.lifecycle.management() == ManagementPolicy::Observe;
    let message = format!(
        "adoptionPolicy: {}: there is no {}{} {name} {} with what this spec asks for: create it there{}",
        if inputs.lifecycle.adoption() == AdoptionPolicy::Required {
            "Required"
        } else {
            "IfExists"
        },
        if observes { "" } else { "unmanaged " },
        K::NOUN,
        K::PLACE,
        if observes {
            ", or correct spec"
        } else {
            ", or set adoptionPolicy: IfExists to have it created"
        },
    );
    Step::Rest(Rest::Troubled(Trouble {
        verdict: Verdict::new(Reason::NotFound, message),
        pace: AGAIN,
    }))
}

/// Another object of ours has the name, or is creating it: what is called so may be what that creation made.
fn name_in_use<K: Kind>(inputs: &Inputs<'_, K>, name: &str) -> Option<Step<K>> {
    if !inputs.policy.keeps(Guard::NameBeforeAdoption) {
        return None;
    }
    inputs
        .view
        .name_holder
        .as_ref()
        .map(|holder| name_held::<K>(holder, name))
}

pub(super) fn adopted_event<K: Kind>(remote: &K::Remote) -> (&'static str, String) {
    ("Adopted", format!("adopted the {} {}", K::NOUN, remote.id()))
}

pub(super) fn found_event<K: Kind>(remote: &K::Remote) -> (&'static str, String) {
    let how = if K::Remote::TAGGED {
        "by its ownership tag"
    } else {
        "which an earlier creation of this object made"
    };
    ("Adopted", format!("found the {} {} {how}", K::NOUN, remote.id()))
}
