//! Adopts or observes an existing cloud object: the one that the spec names by its id, or the only one that it can mean.

use crate::api::conditions::{ReadyCondition, Reason};
use crate::api::{AdoptionPolicy, ManagementPolicy};
use crate::cache::{LastList, Observed, Query, Remote};
use crate::decide::inputs::{Inputs, object};
use crate::decide::names::{name_in_use, unlisted};
use crate::decide::ownership::claim;
use crate::decide::reads::{confirm_absence, query, read_omitted_fields};
use crate::decide::step::{Rest, Step};
use crate::decide::stops::{held_by_another, stop};
use crate::kind::{Immutable, Kind};
use crate::terms::failure::{Failure, RETRY};
use crate::terms::guard::Guard;
use crate::terms::note::Note;

/// Adopts the object that `externalID` names, or that was only observed until now.
pub(crate) fn adopt<K: Kind>(inputs: &Inputs<'_, K>, spec: &K::Spec, id: &str) -> Step<K> {
    let (remote, full) = match &inputs.observation.known {
        Observed::Seen {
            remote,
            fresh: true,
            full,
        } => (remote, *full),
        Observed::Unconfirmed { list_incomplete } if inputs.policy.keeps(Guard::AbsenceIsConfirmed) => {
            return confirm_absence(inputs, id, *list_incomplete, query);
        }
        Observed::Absent | Observed::Unconfirmed { .. } => return nothing_of_id(inputs, id),
        _ => return query(inputs, Query::Object(id.to_owned())),
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
        Immutable::Unknown => query(inputs, Query::Whole(id.to_owned())),
        Immutable::Differs { message, .. } => stop(Reason::InvalidSpec, message),
        Immutable::Same => unlisted(inputs).unwrap_or_else(|| claim(inputs, remote, adopted_event::<K>(remote))),
    }
}

/// Finds the one object to observe.
pub(crate) fn observe<K: Kind>(inputs: &Inputs<'_, K>, spec: &K::Spec) -> Step<K> {
    if inputs.lifecycle.adoption() == AdoptionPolicy::Never {
        // Admission requires it, but an older CRD may not.
        let message = "managementPolicy: Observe needs externalID, the ID of the cloud resource to observe, or \
                       adoptionPolicy: Required, to find it by the spec";
        return stop(Reason::InvalidSpec, message);
    }
    let Some(listed) = inputs.observation.listed else {
        return query(inputs, Query::Collection);
    };
    if let Some(step) = read_omitted_fields(inputs) {
        return step;
    }
    let name = K::cloud_name(spec, inputs.status, inputs.name);
    adopt_existing(inputs, spec, &name, listed).unwrap_or_else(|| nothing_to_adopt(inputs, &name))
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
pub(crate) fn adopt_existing<K: Kind>(
    inputs: &Inputs<'_, K>,
    spec: &K::Spec,
    name: &str,
    listed: LastList,
) -> Option<Step<K>> {
    if inputs.lifecycle.adoption() == AdoptionPolicy::Never {
        return None;
    }
    // An object that was created just before its adoption appears only in a fresh list. An incomplete list proves
    // nothing.
    if !listed.fresh {
        return Some(query(inputs, Query::Collection));
    }
    if !listed.complete {
        let message = format!(
            "whether there is a {} {name} to adopt is not known: the cloud's list is incomplete; it is read again \
             until it is complete",
            K::NOUN
        );
        return Some(Step::Rest(Rest::Failed(Failure {
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
            Immutable::Same | Immutable::Unknown => remote.id().to_owned(),
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
pub(crate) fn nothing_to_adopt<K: Kind>(inputs: &Inputs<'_, K>, name: &str) -> Step<K> {
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
    Step::Rest(Rest::Failed(Failure {
        condition: ReadyCondition::new(Reason::NotFound, message),
        backoff: RETRY,
    }))
}

/// Most likely, the CR was renamed or moved and left its object behind: a second one is not wanted.
pub(crate) fn orphaned<K: Kind>(inputs: &Inputs<'_, K>, orphan: &K::Remote) -> Step<K> {
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

pub(crate) fn adopted_event<K: Kind>(remote: &K::Remote) -> (&'static str, String) {
    ("Adopted", format!("adopted the {} {}", K::NOUN, remote.id()))
}
