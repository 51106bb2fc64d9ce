//! Decides for an object with a recorded id: does it exist, is it ours, and is it as specified?

use std::time::Duration;

use jiff::Timestamp;
use vpn_cloud::limits::clock::{creation_window, whole_seconds};

use crate::api::conditions::{ReadyCondition, Reason};
use crate::api::{AdoptionPolicy, ManagementPolicy, PastIntent};
use crate::cache::{Observed, Query, Remote};
use crate::decide::health::in_progress;
use crate::decide::inputs::{Inputs, object};
use crate::decide::mass_deletion::{mass_deletion, suspects_mass_deletion};
use crate::decide::ownership::mark;
use crate::decide::reads::{confirm_absence, query, read_omitted_fields};
use crate::decide::step::{Rest, Step, Why};
use crate::decide::stops::{is_wanting, report_failure, stop, time_left};
use crate::kind::{Correction, DesiredState, Difference, Immutable, Kind};
use crate::terms::access::Access;
use crate::terms::dereferenced::Dereferencing;
use crate::terms::failure::{Failure, RETRY};
use crate::terms::guard::Guard;
use crate::terms::health::Health;
use crate::terms::note::Note;

/// Time for a new leader to observe its objects; then the absence is checked again.
const COUNTED_SOON: Duration = Duration::from_secs(1);

/// Decides for an object with a recorded id: does it exist, is it ours, and is it as specified?
pub(crate) fn tend<K: Kind>(inputs: &Inputs<'_, K>, spec: &K::Spec, access: &Access, id: &str) -> Step<K> {
    if let Some(left) = unconfirmed_for(inputs, access)
        && inputs.policy.keeps(Guard::PeriodBeforeConfirmation)
    {
        let condition = awaiting_confirmation::<K>(id, inputs.policy.confirmation_period);
        return Step::Rest(Rest::Until(Some(condition), left));
    }
    let found = match find_recorded(inputs, access, id) {
        Ok(found) => found,
        Err(step) => return *step,
    };
    if object(inputs).mass_deletion_suspected_at.is_some() {
        return Step::Note(Note::Returned);
    }
    if K::health(found.remote) == Health::Unknown && !found.full {
        return query(inputs, Query::Whole(id.to_owned()));
    }
    let management = inputs.lifecycle.management();
    if let Some(condition) = in_progress::<K>(&object(inputs).conditions, found.remote) {
        return match inputs.has_finalizer || management == ManagementPolicy::Observe {
            true => Step::Rest(Rest::InProgress(condition)),
            false => Step::AddFinalizer,
        };
    }
    if management != ManagementPolicy::Observe
        && let Some(step) = mark(inputs, found.remote)
    {
        return step;
    }
    let immutable_field = match K::immutable_difference(spec, found.remote, found.full) {
        Immutable::Unknown => return query(inputs, Query::Whole(id.to_owned())),
        Immutable::Differs { message, .. } if management == ManagementPolicy::Manage => {
            return stop(Reason::InvalidSpec, message);
        }
        Immutable::Differs { field, .. } => Some(field.to_owned()),
        Immutable::Same => None,
    };
    if management == ManagementPolicy::Manage
        && let Some(step) = remove_duplicate(inputs, found.remote)
    {
        return step;
    }
    if !inputs.has_finalizer && management != ManagementPolicy::Observe {
        return Step::AddFinalizer;
    }
    // A value that we never sent cannot be compared: the cloud does not return the text of a certificate.
    let nothing = K::Dereferenced::default();
    let dereferenced = match known_references(inputs) {
        Ok(dereferenced) => dereferenced.unwrap_or(&nothing),
        Err(step) => return *step,
    };
    let wanted = DesiredState {
        spec,
        status: inputs.status,
        dereferenced,
        policy: inputs.policy,
        overwrites_tags: inputs.overwrites_tags,
        cloud_now: found.cloud_now,
    };
    let difference = K::difference(&wanted, found.remote);
    if management != ManagementPolicy::Manage {
        let mut drifted = difference.map(|difference| difference.fields).unwrap_or_default();
        drifted.extend(immutable_field);
        return confirmed(inputs, found.remote, drifted);
    }
    match difference {
        None => confirmed(inputs, found.remote, Vec::new()),
        Some(difference) => correct(inputs, id, &found, difference),
    }
}

/// The recorded cloud object, as it was read.
struct FoundResource<'a, R> {
    remote: &'a R,
    /// As in [`Observed::Seen`].
    full: bool,
    /// The cloud's present time.
    cloud_now: Timestamp,
}

/// Returns the recorded cloud object, or the step that comes first: a read, or what follows from its absence.
fn find_recorded<'a, K: Kind>(
    inputs: &'a Inputs<'_, K>,
    access: &Access,
    id: &str,
) -> Result<FoundResource<'a, K::Remote>, Box<Step<K>>> {
    let is_confirmed = K::confirmed_at(inputs.status).is_none();
    let step = match &inputs.observation.known {
        Observed::Seen {
            remote,
            fresh: true,
            full,
        } => match access.cloud_now {
            Some(cloud_now) => {
                return Ok(FoundResource {
                    remote,
                    full: *full,
                    cloud_now,
                });
            }
            None => query(inputs, Query::Object(id.to_owned())),
        },
        Observed::Unconfirmed { list_incomplete } if inputs.policy.keeps(Guard::AbsenceIsConfirmed) => {
            confirm_absence(inputs, id, *list_incomplete, query)
        }
        Observed::Absent | Observed::Unconfirmed { .. }
            if !is_confirmed && inputs.policy.keeps(Guard::DisappearanceIsRecorded) =>
        {
            Step::Note(Note::Disappeared)
        }
        Observed::Absent | Observed::Unconfirmed { .. } => lost(inputs, id),
        Observed::Missing if !inputs.policy.keeps(Guard::OnlyGetProvesAbsence) => lost(inputs, id),
        // A triggered reconcile reads the object again, to see whether it is back.
        Observed::Missing if is_confirmed && !inputs.triggered && suspects_mass_deletion(inputs) => {
            mass_deletion(inputs)
        }
        _ => query(inputs, Query::Object(id.to_owned())),
    };
    Err(Box::new(step))
}

/// Returns what the spec refers to, `None` where it is not compared, or the step that comes first.
fn known_references<'a, K: Kind>(inputs: &'a Inputs<'_, K>) -> Result<Option<&'a K::Dereferenced>, Box<Step<K>>> {
    let management = inputs.lifecycle.management();
    let step = match &inputs.dereferenced {
        _ if management == ManagementPolicy::Observe => return Ok(None),
        // Where differences are only reported, this is one.
        Dereferencing::Absent(_) if management != ManagementPolicy::Manage => return Ok(None),
        Dereferencing::Read(dereferenced) => return Ok(Some(dereferenced)),
        Dereferencing::Waiting => Step::Rest(Rest::Waiting),
        Dereferencing::Lacking(failure) if !is_wanting(failure) => report_failure(inputs, failure),
        Dereferencing::Lacking(failure) | Dereferencing::Absent(failure) => Step::Rest(Rest::Failed(failure.clone())),
    };
    Err(Box::new(step))
}

/// Confirms the cloud object, with the fields whose drift is only reported.
fn confirmed<K: Kind>(inputs: &Inputs<'_, K>, remote: &K::Remote, drifted: Vec<String>) -> Step<K> {
    Step::Rest(Rest::Confirmed {
        remote: remote.clone(),
        drifted,
        unexplained_duplicates: unexplained_duplicates(inputs, remote),
    })
}

/// Sends the next correction of a difference, or waits for the effect of the last one.
fn correct<K: Kind>(
    inputs: &Inputs<'_, K>,
    id: &str,
    found: &FoundResource<'_, K::Remote>,
    difference: Difference<K::Change>,
) -> Step<K> {
    let Difference { fields, correction } = difference;
    let names = fields.join(", ");
    let call = match correction {
        _ if inputs.policy.read_only => {
            let message = format!("--read-only: would change {names} in the cloud");
            return stop(Reason::Updating, message);
        }
        Correction::Call(call) if K::needs_whole(&call) && !found.full => {
            return query(inputs, Query::Whole(id.to_owned()));
        }
        Correction::Call(call) => call,
        Correction::Until(at) => {
            let condition = ReadyCondition::new(Reason::Updating, format!("changing in the cloud: {names}"));
            return Step::Rest(Rest::Until(Some(condition), time_left(at, found.cloud_now)));
        }
        Correction::UserAction(reason, message) => return stop(reason, message),
    };
    if inputs.accepted.as_ref() == Some(&call) {
        let message = format!("the cloud accepted the change of {names}, but does not show it yet; it is read again");
        return Step::Rest(Rest::Failed(Failure {
            condition: ReadyCondition::new(Reason::Updating, message),
            backoff: RETRY,
        }));
    }
    Step::Change {
        id: id.to_owned(),
        call,
        why: Why::Differs(fields),
    }
}

/// Returns the condition of an object that is created and not confirmed yet.
pub fn awaiting_confirmation<K: Kind>(id: &str, confirmation_period: Duration) -> ReadyCondition {
    let message = format!(
        "created the {} {id}; it becomes Ready if the cloud still has it {} after its creation \
         (--creation-confirmation-period); until then, the creation may still fail",
        K::NOUN,
        humantime::format_duration(confirmation_period)
    );
    ReadyCondition::new(Reason::Creating, message)
}

/// How long the recorded creation may still have no effect.
pub(crate) fn unconfirmed_for<K: Kind>(inputs: &Inputs<'_, K>, access: &Access) -> Option<Duration> {
    let at = K::confirmed_at(inputs.status)?.0;
    // While the cloud's time is unknown, no observation counts either.
    let cloud_now = access.cloud_now?;
    (cloud_now < at).then(|| time_left(at, cloud_now))
}

/// Deletes a second object with our uid that one of our own creations left behind; leaves any other alone.
pub(crate) fn remove_duplicate<K: Kind>(inputs: &Inputs<'_, K>, kept: &K::Remote) -> Option<Step<K>> {
    if inputs.policy.read_only {
        return None;
    }
    // The omitted fields may distinguish the two.
    if let Some(step) = read_omitted_fields(inputs) {
        return Some(step);
    }
    let duplicate = inputs.observation.owned.iter().find(|other| {
        let is_ours = is_left_behind(inputs, other) || !inputs.policy.keeps(Guard::DuplicateWithinWindow);
        other.id() != kept.id() && K::is_duplicate(kept, other) && is_ours && !K::health(other).is_in_progress()
    })?;
    Some(Step::Delete {
        id: duplicate.id().to_owned(),
        duplicate: true,
    })
}

/// Returns other objects that are this object's own by tag or by record, and are not deleted as duplicates: they are
/// only reported.
pub(crate) fn unexplained_duplicates<K: Kind>(inputs: &Inputs<'_, K>, kept: &K::Remote) -> Vec<String> {
    let others = inputs.observation.owned.iter().filter(|other| other.id() != kept.id());
    others.map(|other| other.id().to_owned()).collect()
}

/// Whether it was created within one of our creation windows, and later than any gateway that was recorded as lost: a
/// lost one may only have been missing in stale answers.
pub(crate) fn is_left_behind<K: Kind>(inputs: &Inputs<'_, K>, other: &K::Remote) -> bool {
    let confirmation_period = inputs.policy.confirmation_period;
    let within = |window: &PastIntent, created: Timestamp| {
        // A creation that was given up has no deadline: the cloud may execute it at any later time.
        let deadline = (!window.given_up).then_some(window.deadline.0);
        creation_window(window.recorded_at.0, deadline, confirmation_period).contains(&created)
    };
    let recorded = object(inputs);
    let lost_created_at = recorded.lost_created_at.as_ref();
    let may_be_the_lost = |created: Timestamp| {
        // Status has whole seconds, the cloud fractions.
        lost_created_at.is_some_and(|lost| whole_seconds(created) <= lost.0)
            && inputs.policy.keeps(Guard::LostIsNotLeftBehind)
    };
    let windows = &recorded.past_intents;
    K::times(other)
        .0
        .is_some_and(|created| !may_be_the_lost(created) && windows.iter().any(|window| within(window, created)))
}

/// Decides for an object whose recorded cloud object no longer exists.
pub(crate) fn lost<K: Kind>(inputs: &Inputs<'_, K>, id: &str) -> Step<K> {
    let noun = K::NOUN;
    let message = if inputs.lifecycle.management() == ManagementPolicy::Observe {
        format!("the {noun} {id}, which was only observed, no longer exists in the cloud: delete this object")
    } else if inputs.lifecycle.external_id.is_some() {
        format!(
            "the {noun} {id} no longer exists in the cloud, and what externalID names is never recreated: remove \
             externalID to have a new one created, or delete this object"
        )
    } else if inputs.lifecycle.adoption() == AdoptionPolicy::Required {
        format!(
            "the {noun} {id} no longer exists in the cloud, and adoptionPolicy: Required never creates one: delete \
             this object, and create it again once there is another to adopt; or set IfExists to have one created"
        )
    } else if inputs.lifecycle.management() != ManagementPolicy::Manage {
        format!(
            "the {noun} {id} no longer exists in the cloud, and managementPolicy: ReportDrift does not recreate it: \
             set Manage, or delete this object"
        )
    } else if suspects_mass_deletion(inputs) {
        return mass_deletion(inputs);
    } else if !inputs.observation.counted && inputs.policy.mass_deletion_guard {
        return Step::Rest(Rest::Until(None, COUNTED_SOON));
    } else if inputs.policy.read_only {
        return stop(
            Reason::Creating,
            format!("--read-only: would recreate the {noun} {id}, which no longer exists"),
        );
    } else {
        return Step::Note(Note::Lost);
    };
    stop(Reason::NotFound, message)
}
