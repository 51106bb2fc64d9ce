//! The object is known by its id: is it there, ours, and as specified?

use std::time::Duration;

use jiff::Timestamp;

use super::ownership::mark;
use super::{
    AGAIN, Access, Extras, Guard, Inputs, Note, Rest, Step, Trouble, Why, confirm_absence, is_wanting, look,
    mass_deletion, object, stop, suspects_mass_deletion, time_left, troubled,
};
use crate::api::conditions::{Reason, Verdict};
use crate::api::{AdoptionPolicy, ManagementPolicy, PastIntent};
use crate::cloud::clock::creation_window;
use crate::mirror::{Look, Remote, Sighting};
use crate::reconcile::kind::{Difference, Immutable, Kind, Mend, Wanted};

/// How long a process that has just begun to lead may need until it has looked at its objects; then it is asked again.
const COUNTED_SOON: Duration = Duration::from_secs(1);

/// The object is known by its id: is it there, ours, and as specified?
pub(super) fn tend<K: Kind>(inputs: &Inputs<'_, K>, spec: &K::Spec, access: &Access, id: &str) -> Step<K> {
    if let Some(left) = unsettled_for(inputs, access)
        && inputs.policy.keeps(Guard::SettledBeforeConfirmed)
    {
        let verdict = settling::<K>(id, inputs.policy.settle_time);
        return Step::Rest(Rest::Until(Some(verdict), left));
    }
    let is_confirmed = K::settles_at(inputs.status).is_none();
    let (remote, full) = match &inputs.view.known {
        Sighting::Seen {
            remote,
            fresh: true,
            full,
        } => (remote, *full),
        Sighting::Unconfirmed { list_incomplete } if inputs.policy.keeps(Guard::AbsenceIsConfirmed) => {
            return confirm_absence(inputs, id, *list_incomplete, look);
        }
        Sighting::Gone | Sighting::Unconfirmed { .. }
            if !is_confirmed && inputs.policy.keeps(Guard::VanishedIsRemembered) =>
        {
            return Step::Note(Note::Vanished);
        }
        Sighting::Gone | Sighting::Unconfirmed { .. } => return lost(inputs, id),
        Sighting::Missing if !inputs.policy.keeps(Guard::OnlyGetProvesGone) => return lost(inputs, id),
        // Who asks is told by a look of now whether it is back.
        Sighting::Missing if is_confirmed && !inputs.triggered && suspects_mass_deletion(inputs) => {
            return mass_deletion(inputs);
        }
        _ => return look(inputs, Look::Object(id.to_owned())),
    };
    let Some(cloud_now) = access.cloud_now else {
        return look(inputs, Look::Object(id.to_owned()));
    };
    if object(inputs).mass_deletion_suspected_at.is_some() {
        return Step::Note(Note::Returned);
    }
    let management = inputs.lifecycle.management();
    if management != ManagementPolicy::Observe
        && let Some(step) = mark(inputs, remote)
    {
        return step;
    }
    let immutable_field = match K::immutable_difference(spec, remote, full) {
        Immutable::Untold => return look(inputs, Look::Whole(id.to_owned())),
        Immutable::Differs { message, .. } if management == ManagementPolicy::Manage => {
            return stop(Reason::InvalidSpec, message);
        }
        Immutable::Differs { field, .. } => Some(field.to_owned()),
        Immutable::Same => None,
    };
    if management == ManagementPolicy::Manage
        && let Some(step) = remove_twin(inputs, remote)
    {
        return step;
    }
    if !inputs.has_finalizer && management != ManagementPolicy::Observe {
        return Step::AddFinalizer;
    }
    // What was never sent by us cannot be compared: the cloud does not give a certificate's text back.
    let nothing = K::Extras::default();
    let extras = match &inputs.extras {
        _ if management == ManagementPolicy::Observe => &nothing,
        // Where differences are only told, this is one.
        Extras::Absent(_) if management != ManagementPolicy::Manage => &nothing,
        Extras::Read(extras) => extras,
        Extras::Waiting => return Step::Rest(Rest::Waiting),
        Extras::Lacking(trouble) if is_wanting(trouble) => return Step::Rest(Rest::Troubled(trouble.clone())),
        Extras::Lacking(trouble) => return troubled(inputs, trouble),
        Extras::Absent(trouble) => return Step::Rest(Rest::Troubled(trouble.clone())),
    };
    let strays = strays(inputs, remote);
    let wanted = Wanted {
        spec,
        status: inputs.status,
        extras,
        policy: inputs.policy,
        overwrites_tags: inputs.overwrites_tags,
        cloud_now,
    };
    let difference = K::difference(&wanted, remote);
    if management != ManagementPolicy::Manage {
        let mut drifted = difference.map(|difference| difference.fields).unwrap_or_default();
        drifted.extend(immutable_field);
        return Step::Rest(Rest::Confirmed {
            remote: remote.clone(),
            drifted,
            strays,
        });
    }
    let Some(Difference { fields, mend }) = difference else {
        return Step::Rest(Rest::Confirmed {
            remote: remote.clone(),
            drifted: Vec::new(),
            strays,
        });
    };
    let names = fields.join(", ");
    let call = match mend {
        _ if inputs.policy.read_only => {
            let message = format!("--read-only: would change {names} in the cloud");
            return stop(Reason::Updating, message);
        }
        Mend::Call(call) if K::needs_whole(&call) && !full => return look(inputs, Look::Whole(id.to_owned())),
        Mend::Call(call) => call,
        Mend::Until(at) => {
            let verdict = Verdict::new(Reason::Updating, format!("changing in the cloud: {names}"));
            return Step::Rest(Rest::Until(Some(verdict), time_left(at, cloud_now)));
        }
        Mend::Person(reason, message) => return stop(reason, message),
    };
    if inputs.accepted.as_ref() == Some(&call) {
        let message =
            format!("the cloud accepted the change of {names}, but does not show it yet; it is looked at again");
        return Step::Rest(Rest::Troubled(Trouble {
            verdict: Verdict::new(Reason::Updating, message),
            pace: AGAIN,
        }));
    }
    Step::Change {
        id: id.to_owned(),
        call,
        why: Why::Differs(fields),
    }
}

/// Created, and not confirmed yet.
pub fn settling<K: Kind>(id: &str, settle_time: Duration) -> Verdict {
    let message = format!(
        "created the {} {id}; it becomes Ready if the cloud still has it {} after its creation (--settle-time), which may \
         come to nothing until then",
        K::NOUN,
        humantime::format_duration(settle_time)
    );
    Verdict::new(Reason::Creating, message)
}

/// How long the creation on record may still come to nothing.
pub(super) fn unsettled_for<K: Kind>(inputs: &Inputs<'_, K>, access: &Access) -> Option<Duration> {
    let at = K::settles_at(inputs.status)?.0;
    // While the cloud's time is not known, nothing that was seen counts either.
    let cloud_now = access.cloud_now?;
    (cloud_now < at).then(|| time_left(at, cloud_now))
}

/// A second object with our uid that one of our own creations left behind goes; any other is left alone.
pub(super) fn remove_twin<K: Kind>(inputs: &Inputs<'_, K>, kept: &K::Remote) -> Option<Step<K>> {
    if inputs.policy.read_only {
        return None;
    }
    // A list may have omitted what tells the two apart.
    if let Some(other) = inputs.view.unread.first()
        && inputs.policy.keeps(Guard::FieldsBeforeConclusions)
    {
        return Some(look(inputs, Look::Whole(other.clone())));
    }
    let twin = inputs.view.owned.iter().find(|other| {
        let is_ours = is_left_behind(inputs, other) || !inputs.policy.keeps(Guard::TwinWithinWindow);
        other.id() != kept.id() && K::is_twin(kept, other) && is_ours
    })?;
    Some(Step::Delete {
        id: twin.id().to_owned(),
        twin: true,
    })
}

/// Others that carry our tag, and that no creation of ours can have left behind: they are only reported.
pub(super) fn strays<K: Kind>(inputs: &Inputs<'_, K>, kept: &K::Remote) -> Vec<String> {
    if !K::Remote::TAGGED {
        return Vec::new();
    }
    let others = inputs.view.owned.iter().filter(|other| other.id() != kept.id());
    others.map(|other| other.id().to_owned()).collect()
}

/// Created within the window of one of our own creations.
pub(super) fn is_left_behind<K: Kind>(inputs: &Inputs<'_, K>, other: &K::Remote) -> bool {
    let settle = inputs.policy.settle_time;
    let within = |window: &PastIntent, created: Timestamp| {
        // What was given up has no end: it may take effect whenever the cloud gets round to it.
        let deadline = (!window.given_up).then_some(window.deadline.0);
        creation_window(window.recorded_at.0, deadline, settle).contains(&created)
    };
    let windows = &object(inputs).past_intents;
    K::times(other)
        .0
        .is_some_and(|created| windows.iter().any(|window| within(window, created)))
}

/// The recorded object is gone.
pub(super) fn lost<K: Kind>(inputs: &Inputs<'_, K>, id: &str) -> Step<K> {
    let noun = K::NOUN;
    let message = if inputs.lifecycle.management() == ManagementPolicy::Observe {
        format!("the {noun} {id}, which was only observed, does not exist in the cloud any more: delete this object")
    } else if inputs.lifecycle.external_id.is_some() {
        format!(
            "the {noun} {id} does not exist in the cloud any more, and what externalID names is never made anew: remove \
             externalID to have a new one created, or delete this object"
        )
    } else if inputs.lifecycle.adoption() == AdoptionPolicy::Required {
        format!(
            "the {noun} {id} does not exist in the cloud any more, and adoptionPolicy: Required never creates one: delete \
             this object, and create it again once there is another to adopt; or set IfExists to have one created"
        )
    } else if inputs.lifecycle.management() != ManagementPolicy::Manage {
        format!(
            "the {noun} {id} does not exist in the cloud any more, and managementPolicy: ReportDrift does not make it \
             anew: set Manage, or delete this object"
        )
    } else if suspects_mass_deletion(inputs) {
        return mass_deletion(inputs);
    } else if !inputs.view.counted && inputs.policy.mass_deletion_guard {
        return Step::Rest(Rest::Until(None, COUNTED_SOON));
    } else if inputs.policy.read_only {
        return stop(
            Reason::Creating,
            format!("--read-only: would make the {noun} {id} anew, which is gone"),
        );
    } else {
        return Step::Note(Note::Lost);
    };
    stop(Reason::NotFound, message)
}
