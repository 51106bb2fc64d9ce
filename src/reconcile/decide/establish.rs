//! No id is recorded: finds or adopts an existing cloud object, else creates one, but never blindly a second one.

use std::time::Duration;

use jiff::Timestamp;

use super::ownership::claim;
use super::{
    Access, CompetingClaim, Dereferencing, Failure, Guard, Inputs, Note, POLL, RETRY, Rest, Step, confirm_absence,
    created_event, held_by_another, look, object, owner, owner_of, stop, time_left, troubled,
};
use crate::api::conditions::{self, ReadyCondition, Reason};
use crate::api::{AdoptionPolicy, Intent, ManagementPolicy};
use crate::cache::{Listed, Observed, Query, Remote};
use crate::cloud::clock::later;
use crate::reconcile::kind::{Immutable, Kind};

/// No id is recorded: finds or adopts an existing cloud object, else creates one.
pub(super) fn establish<K: Kind>(inputs: &Inputs<'_, K>, spec: &K::Spec, access: &Access) -> Step<K> {
    if let Some(id) = &inputs.lifecycle.external_id {
        return adopt(inputs, spec, id);
    }
    if inputs.lifecycle.management() == ManagementPolicy::Observe {
        return observe(inputs, spec);
    }
    // Without tags, no cloud object is ours before the first creation, so no search is needed.
    let is_first = object(inputs).intent.is_none() && object(inputs).past_intents.is_empty();
    if let (false, true, Dereferencing::Lacking(failure)) = (K::Remote::TAGGED, is_first, &inputs.dereferenced)
        && matches!(
            failure.condition.reason,
            Reason::SecretNotFound | Reason::InvalidPassword
        )
    {
        return troubled(inputs, failure);
    }
    let Some(listed) = inputs.observation.listed else {
        return look(inputs, Query::Collection);
    };
    if let Some(remote) = inputs.observation.owned.first() {
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
    if let Some(id) = inputs.observation.tags_unknown.first()
        && inputs.policy.keeps(Guard::TagsBeforeConclusions)
    {
        return look(inputs, owner_of::<K>(id));
    }
    if let Some(id) = inputs.observation.unread.first()
        && inputs.policy.keeps(Guard::FieldsBeforeConclusions)
    {
        return look(inputs, Query::Whole(id.clone()));
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
        return look(inputs, Query::Collection);
    }
    if let Some(remote) = inputs.observation.former_owners.first() {
        let event = (
            "Readopted",
            format!(
                "adopted the {} {} again: its tag names this object as it was before it was recreated",
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
    if let Some(orphan) = &inputs.observation.orphan {
        // The message must describe the current state.
        return match listed.fresh {
            true => orphaned(inputs, orphan),
            false => look(inputs, Query::Collection),
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
    let dereferenced = match &inputs.dereferenced {
        Dereferencing::Read(dereferenced) => dereferenced,
        Dereferencing::Waiting => return Step::Rest(Rest::Waiting),
        Dereferencing::Lacking(failure) | Dereferencing::Absent(failure) => return troubled(inputs, failure),
    };
    if inputs.policy.read_only {
        return stop(
            Reason::Creating,
            format!("--read-only: would create the {} {name}", K::NOUN),
        );
    }
    // The recorded time of a creation later shows whether it took effect.
    if access.cloud_now.is_none() {
        return look(inputs, Query::Collection);
    }
    if !inputs.has_finalizer && inputs.policy.keeps(Guard::FinalizerFirst) {
        return Step::AddFinalizer;
    }
    let owner = owner(inputs).to_string();
    match K::new(spec, &name, dereferenced, (&inputs.policy.owner_tag_key, &owner)) {
        Ok(new) => match K::standing_refusal(inputs.status, &new) {
            Some((reason, message)) if inputs.policy.keeps(Guard::RefusedOnce) => stop(reason, message),
            _ => Step::Create(new),
        },
        Err((reason, message)) => stop(reason, message),
    }
}

/// For kinds without owner tags, only this cluster's objects show who owns which cloud object. All of them must be
/// known before a creation or an adoption.
fn unlisted<K: Kind>(inputs: &Inputs<'_, K>) -> Option<Step<K>> {
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
    Some(Step::Rest(Rest::Troubled(Failure {
        condition: ReadyCondition::new(Reason::DependencyNotReady, message),
        backoff: POLL,
    })))
}

/// Finds the one object to observe.
fn observe<K: Kind>(inputs: &Inputs<'_, K>, spec: &K::Spec) -> Step<K> {
    if inputs.lifecycle.adoption() == AdoptionPolicy::Never {
        // Admission requires it, but an older CRD may not.
        let message = "managementPolicy: Observe needs externalID, the ID of the cloud resource to observe, or \
                       adoptionPolicy: Required, to find it by the spec";
        return stop(Reason::InvalidSpec, message);
    }
    let Some(listed) = inputs.observation.listed else {
        return look(inputs, Query::Collection);
    };
    if let Some(id) = inputs.observation.unread.first()
        && inputs.policy.keeps(Guard::FieldsBeforeConclusions)
    {
        return look(inputs, Query::Whole(id.clone()));
    }
    let name = K::cloud_name(spec, inputs.status, inputs.name);
    adopt_existing(inputs, spec, &name, listed).unwrap_or_else(|| nothing_to_adopt(inputs, &name))
}

/// Most likely, the CR was renamed or moved and left its object behind: a second one is not wanted.
fn orphaned<K: Kind>(inputs: &Inputs<'_, K>, orphan: &K::Remote) -> Step<K> {
    let (noun, id, key) = (K::NOUN, orphan.id(), &inputs.policy.owner_tag_key);
    let value = orphan.tags().and_then(|tags| tags.get(key)).map_or("", String::as_str);
    if inputs.policy.cluster_name.is_none() {
        let message = format!(
            "the {noun} {id} matches the spec of this object, and its tag {key}={value} names a {} that is not in \
             this cluster; without --cluster-name it is unknown whether another cluster owns it: if none does, remove \
             that tag in the cloud and set spec.externalID to {id}; if one does, give each cluster a --cluster-name \
             of its own",
            K::KIND
        );
        return stop(Reason::AlreadyManaged, message);
    }
    let message = format!(
        "the {noun} {id} matches the spec of this object, and its tag {key}={value} names a {} that no longer exists: \
         to take it over, as after a change of this object's name or namespace, set spec.externalID to {id}; to have \
         another one created beside it, remove that tag in the cloud (if it is another cluster's: give each cluster a \
         --cluster-name of its own)",
        K::KIND
    );
    stop(Reason::AlreadyManaged, message)
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
        return Step::Rest(Rest::Troubled(Failure {
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

/// Where names are unique: whether another object has the name, as far as is known without a create request.
pub(super) fn name_taken<K: Kind>(inputs: &Inputs<'_, K>, name: &str, listed: Listed) -> Option<Step<K>> {
    let noun = K::NOUN;
    if let Some(holder) = &inputs.observation.name_holder
        && inputs.policy.keeps(Guard::NameOfFellow)
    {
        return Some(name_held(holder, name));
    }
    let was_refused = conditions::ready_reason(&object(inputs).conditions) == Some(Reason::NameConflict.as_str());
    // A message about an unmanaged object, or about a refusal of the cloud, must describe the current state.
    if (inputs.observation.name_collision.is_some() || was_refused) && !listed.fresh {
        return Some(look(inputs, Query::Collection));
    }
    let name_collision = inputs
        .observation
        .name_collision
        .as_ref()
        .filter(|_| inputs.policy.keeps(Guard::NameOfStranger))?;
    let (id, its_name) = (name_collision.id(), K::remote_name(name_collision).unwrap_or(name));
    let may_be_ours = object(inputs).unresolved_creations().next().is_some();
    let whose = if may_be_ours {
        "it is unknown whether an earlier creation of this object made it, since it differs from that creation or is \
         too new for it"
    } else {
        "it is not this object's"
    };
    let message = format!(
        "a {noun} {its_name} exists already ({id}), and {whose}: to adopt it, set spec.externalID to {id}, or \
         spec.adoptionPolicy to IfExists; else delete it in the cloud, or recreate this object with another \
         spec.name"
    );
    Some(stop(Reason::NameConflict, message))
}

/// An object has the name, and whether our creation made it is unknown: a replay with the client token shows it. The
/// replay is harmless, since the name is taken.
pub(super) fn replay<K: Kind>(inputs: &Inputs<'_, K>, listed: Listed) -> Option<Step<K>> {
    inputs
        .observation
        .name_collision
        .as_ref()
        .filter(|_| listed.fresh && !(inputs.replayed && inputs.policy.keeps(Guard::ReplayedOnce)))?;
    let Dereferencing::Read(dereferenced) = &inputs.dereferenced else {
        return None;
    };
    let may_send = inputs.has_finalizer && !inputs.policy.read_only;
    K::announced_before(inputs.status, dereferenced)
        .filter(|_| may_send)
        .map(Step::Replay)
}

pub(super) enum Resolved<K: Kind> {
    Absent,
    NotYet(Step<K>),
}

/// A creation whose outcome is unknown.
pub(super) struct Unresolved {
    /// When its request ends at the latest.
    pub deadline: Timestamp,
    /// What it may have created, for messages.
    pub what: String,
}

impl Unresolved {
    pub(super) fn of<K: Kind>(intent: &Intent) -> Self {
        Self {
            deadline: intent.deadline.0,
            what: format!("the {} {}", K::NOUN, intent.name),
        }
    }
}

/// An intent is never followed by a blind second POST. Only a complete list that starts after the request's deadline
/// and the confirmation period proves that nothing was created.
pub(super) fn resolve<K: Kind>(
    inputs: &Inputs<'_, K>,
    creation: &Unresolved,
    listed: Listed,
    access: &Access,
) -> Resolved<K> {
    let settle = match inputs.policy.keeps(Guard::ProofAfterSettling) {
        true => inputs.policy.confirmation_period,
        false => Duration::ZERO,
    };
    let proves_at = later(creation.deadline, settle);
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
            Some(failed) => Step::Rest(Rest::Troubled(failed.clone())),
            None if inputs.triggered && !listed.fresh => Step::Query {
                look: Query::Collection,
                anew: true,
            },
            None => Step::Rest(Rest::Troubled(failure)),
        });
    }
    if let Some(failed) = &inputs.failed_query {
        return Resolved::NotYet(Step::Rest(Rest::Troubled(failed.clone())));
    }
    match access.cloud_now {
        Some(cloud_now) if listed.fresh && cloud_now <= proves_at => Resolved::NotYet(Step::Rest(Rest::Until(
            Some(unresolved(inputs, creation, proves_at)),
            time_left(proves_at, cloud_now),
        ))),
        cloud_now => Resolved::NotYet(Step::Query {
            look: Query::Collection,
            // Any answer reports the time.
            anew: cloud_now.is_some(),
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

/// Adopts the object that `externalID` names, or that was only observed until now.
pub(super) fn adopt<K: Kind>(inputs: &Inputs<'_, K>, spec: &K::Spec, id: &str) -> Step<K> {
    let (remote, full) = match &inputs.observation.known {
        Observed::Seen {
            remote,
            fresh: true,
            full,
        } => (remote, *full),
        Observed::Unconfirmed { list_incomplete } if inputs.policy.keeps(Guard::AbsenceIsConfirmed) => {
            return confirm_absence(inputs, id, *list_incomplete, look);
        }
        Observed::Gone | Observed::Unconfirmed { .. } => return nothing_of_id(inputs, id),
        _ => return look(inputs, Query::Object(id.to_owned())),
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
        Immutable::Untold => look(inputs, Query::Whole(id.to_owned())),
        Immutable::Differs { message, .. } => stop(Reason::InvalidSpec, message),
        Immutable::Same => unlisted(inputs).unwrap_or_else(|| claim(inputs, remote, adopted_event::<K>(remote))),
    }
}

/// Only observes: nothing is written to the cloud, so no claim is needed.
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
            "the {noun} {id}, which was only observed, no longer exists in the cloud: delete this object, and create \
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

/// Adopts the one existing object that the spec can mean. Nothing is created beside an object that it might mean.
fn adopt_existing<K: Kind>(inputs: &Inputs<'_, K>, spec: &K::Spec, name: &str, listed: Listed) -> Option<Step<K>> {
    if inputs.lifecycle.adoption() == AdoptionPolicy::Never {
        return None;
    }
    // An object that was created just before its adoption appears only in a fresh list. An incomplete list proves
    // nothing.
    if !listed.fresh {
        return Some(look(inputs, Query::Collection));
    }
    if !listed.complete {
        let message = format!(
            "whether there is a {} {name} to adopt is not known: the cloud's list is incomplete; it is read again \
             until it is complete",
            K::NOUN
        );
        return Some(Step::Rest(Rest::Troubled(Failure {
            condition: ReadyCondition::new(Reason::CloudError, message),
            backoff: RETRY,
        })));
    }
    let observes = inputs.lifecycle.management() == ManagementPolicy::Observe;
    if !observes && let Some(step) = name_in_use(inputs, name) {
        return Some(step);
    }
    let candidates = &inputs.observation.candidates;
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

/// Maximum number of ids in a message.
const MOST_LISTED: usize = 10;

/// Lists the objects that a spec could mean, or the one that differs in an immutable field, and how to choose.
fn choice<K: Kind>(inputs: &Inputs<'_, K>, spec: &K::Spec, name: &str) -> String {
    let candidates = &inputs.observation.candidates;
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
        "the {noun} {name} to adopt is ambiguous: unmanaged, and with this name and identifier, there are \
         {}{and_more}: set spec.externalID to the one that is meant; to have another one created beside them, set \
         adoptionPolicy: Never",
        listed.join(", "),
        noun = K::NOUN,
    )
}

/// There is nothing to adopt, and creation is not allowed.
fn nothing_to_adopt<K: Kind>(inputs: &Inputs<'_, K>, name: &str) -> Step<K> {
    let observes = inputs.lifecycle.management() == ManagementPolicy::Observe;
    let message = format!(
        "adoptionPolicy: {}: there is no {}{} {name} {} that matches this spec: create it there{}",
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
    Step::Rest(Rest::Troubled(Failure {
        condition: ReadyCondition::new(Reason::NotFound, message),
        backoff: RETRY,
    }))
}

/// Another object of ours has the name, or is creating it: its creation may have made the cloud object of this name.
fn name_in_use<K: Kind>(inputs: &Inputs<'_, K>, name: &str) -> Option<Step<K>> {
    if !inputs.policy.keeps(Guard::NameBeforeAdoption) {
        return None;
    }
    inputs
        .observation
        .name_holder
        .as_ref()
        .map(|holder| name_held::<K>(holder, name))
}

pub(super) fn adopted_event<K: Kind>(remote: &K::Remote) -> (&'static str, String) {
    ("Adopted", format!("adopted the {} {}", K::NOUN, remote.id()))
}

pub(super) fn found_event<K: Kind>(remote: &K::Remote) -> (&'static str, String) {
    let how = if K::Remote::TAGGED {
        "by its owner tag"
    } else {
        "which an earlier creation of this object made"
    };
    ("Adopted", format!("found the {} {} {how}", K::NOUN, remote.id()))
}
