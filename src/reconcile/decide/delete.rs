//! The CR is being deleted: nothing of its own is left behind in the cloud, and nothing of anybody else is touched.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::establish::{Resolved, resolve};
use super::ownership::was_marked;
use super::tend::{is_left_behind, unsettled_for};
use super::{
    AGAIN, Access, Guard, Inputs, Note, Rest, Step, Trouble, Why, confirm_absence, crd_deleting, homeless,
    look_to_delete, object, owner, owner_of, scope_changed, stop,
};
use crate::api::conditions::{Progress, Reason, Verdict};
use crate::api::{DeletionPolicy, ManagementPolicy};
use crate::cloud::error::Pace;
use crate::mirror::{Look, Remote, Sighting};
use crate::ownership::Owner;
use crate::reconcile::kind::Kind;

pub(super) fn delete<K: Kind>(inputs: &Inputs<'_, K>, since: &Time) -> Step<K> {
    if !inputs.has_finalizer {
        return Step::Rest(Rest::Done);
    }
    let is_observed = object(inputs).observe_only && inputs.policy.keeps(Guard::ObserverClaims);
    if inputs.lifecycle.management() == ManagementPolicy::Observe || is_observed {
        let message = format!("left the {} in the cloud, where it was only observed", K::NOUN);
        return Step::Release(Some(message));
    }
    let retain = inputs.lifecycle.deletion(inputs.policy.default_deletion) == DeletionPolicy::Retain;
    if !retain && inputs.crd_deleting_since.is_some_and(|crd| since.0 >= crd.0) {
        return crd_deleting::<K>();
    }
    let recorded = object(inputs);
    let noun = K::NOUN;
    let stays = |why: &str| {
        let id = recorded.id.as_deref().unwrap_or("(id not recorded)");
        let tag = if K::Remote::TAGGED {
            format!("; its ownership tag stays, since {why}")
        } else {
            String::new()
        };
        Step::Release(Some(format!("kept the {noun} {id} in the cloud{tag}")))
    };
    let access = match &inputs.access {
        Ok(access) => access,
        Err(trouble) if retain && lasts(trouble) => return stays("there are no credentials to take it off with"),
        Err(trouble) => {
            let mut trouble = trouble.clone();
            let way_out =
                "; it cannot be deleted in the cloud until then (deletionPolicy: Retain lets this object go without)";
            trouble.verdict.message.push_str(way_out);
            return Step::Rest(Rest::Troubled(trouble));
        }
    };
    if let Some(step) = scope_changed(inputs, access) {
        return if retain {
            stays("the credentials lead to another project now")
        } else {
            step
        };
    }
    if !inputs.has_home {
        return match (&recorded.id, &recorded.intent) {
            // A creation would have put its home on record.
            (None, None) => Step::Release(None),
            _ if retain => stays("where in the project it lives is not known"),
            _ => stop(Reason::InvalidSpec, homeless::<K>()),
        };
    }
    if let (Some(id), Some(rival)) = (&recorded.id, &inputs.view.rival)
        && inputs.policy.keeps(Guard::OneHolder)
    {
        return Step::Release(Some(format!(
            "left the {noun} {id} alone: it belongs to the {} {}/{}",
            K::KIND,
            rival.namespace,
            rival.name
        )));
    }
    match (&recorded.id, inputs.view.owned.first()) {
        (Some(id), _) => remove(inputs, access, id, retain),
        // On record first: what is deleted is then followed by its id until it is gone.
        (None, Some(remote)) => found(remote),
        (None, None) => search_before_release(inputs, access),
    }
}

/// Whether credentials are gone until somebody gives new ones, unlike a cloud that is away for a while.
pub(super) fn lasts(trouble: &Trouble) -> bool {
    let reason = trouble.verdict.reason;
    reason == Reason::SecretNotFound || reason.progress() == Progress::Stalled
}

pub(super) fn found<K: Kind>(remote: &K::Remote) -> Step<K> {
    Step::Note(Note::Found {
        remote: remote.clone(),
        event: None,
    })
}

/// The object to delete is known by its id.
pub(super) fn remove<K: Kind>(inputs: &Inputs<'_, K>, access: &Access, id: &str, retain: bool) -> Step<K> {
    match &inputs.view.known {
        Sighting::Seen {
            remote, fresh: true, ..
        } => remove_seen(inputs, remote, retain),
        absence @ (Sighting::Gone | Sighting::Unconfirmed { .. }) => {
            if K::settles_at(inputs.status).is_some() && access.cloud_now.is_none() {
                return look_to_delete(inputs, Look::Object(id.to_owned()));
            }
            let unsettled = unsettled_for(inputs, access).filter(|_| inputs.policy.keeps(Guard::SettledBeforeGone));
            match (unsettled, absence) {
                (Some(left), _) => {
                    let message = format!("the {} {id} may still show up, since it was created just now", K::NOUN);
                    Step::Rest(Rest::Until(Some(Verdict::new(Reason::Deleting, message)), left))
                }
                (None, Sighting::Unconfirmed { list_incomplete }) if inputs.policy.keeps(Guard::AbsenceIsConfirmed) => {
                    confirm_absence(inputs, id, *list_incomplete, look_to_delete)
                }
                (None, _) => finish(inputs),
            }
        }
        _ => look_to_delete(inputs, Look::Object(id.to_owned())),
    }
}

pub(super) fn remove_seen<K: Kind>(inputs: &Inputs<'_, K>, remote: &K::Remote, retain: bool) -> Step<K> {
    let id = remote.id().to_owned();
    let kept = format!("kept the {} {id} in the cloud", K::NOUN);
    if !K::Remote::TAGGED {
        return if retain {
            Step::Release(Some(kept))
        } else {
            send_delete(inputs, id)
        };
    }
    let Some(tags) = remote.tags() else {
        return look_to_delete(inputs, Look::Tags(id));
    };
    let key = &inputs.policy.owner_tag_key;
    let mine = owner(inputs);
    let Some(value) = tags.get(key) else {
        return if retain {
            Step::Release(Some(kept))
        } else {
            send_delete(inputs, id)
        };
    };
    let theirs = Owner::parse(value);
    let is_mine = theirs.as_ref().is_some_and(|theirs| theirs.uid == mine.uid);
    // A CR that was restored under a new uid and deleted before it could take its object back.
    let was_mine = inputs.policy.cluster_name.is_some()
        && !was_marked(inputs, &id)
        && theirs.is_some_and(|theirs| theirs.same_place(&mine));
    if !is_mine && !was_mine && inputs.policy.keeps(Guard::OwnTagBeforeDelete) {
        return Step::Release(Some(format!(
            "left the {} {id} alone: its tag {key}={value} names another owner",
            K::NOUN
        )));
    }
    if !retain {
        return send_delete(inputs, id);
    }
    if inputs.policy.read_only {
        let message = format!("--read-only: would take the tag {key} off the {} {id}", K::NOUN);
        return stop(Reason::Deleting, message);
    }
    match K::untag(BTreeMap::from([(key.clone(), value.clone())])) {
        Some(call) => Step::Change {
            id,
            call,
            why: Why::LetGo,
        },
        None => Step::Release(Some(kept)),
    }
}

/// One DELETE, and then patience: the cloud may take its time. What was accepted so long ago that nothing can come of it any
/// more is not told of, and so sent again.
pub(super) fn send_delete<K: Kind>(inputs: &Inputs<'_, K>, id: String) -> Step<K> {
    if inputs.delete_sent == Some(id.as_str()) {
        let message = format!(
            "the {} {id} is being deleted; waiting until the cloud has it no more",
            K::NOUN
        );
        return Step::Rest(Rest::Troubled(Trouble {
            verdict: Verdict::new(Reason::Deleting, message),
            pace: DELETING,
        }));
    }
    if inputs.policy.read_only {
        let message = format!("--read-only: would delete the {} {id} in the cloud", K::NOUN);
        return stop(Reason::Deleting, message);
    }
    Step::Delete { id, twin: false }
}

/// How often to look whether a deletion that was accepted is done.
const DELETING: Pace = Pace {
    first: Duration::from_secs(1),
    cap: Duration::from_secs(30),
};

/// The recorded object is gone; a creation that was given up may have left another.
pub(super) fn finish<K: Kind>(inputs: &Inputs<'_, K>) -> Step<K> {
    let recorded = object(inputs).id.as_deref();
    let others = inputs.view.owned.iter().filter(|other| Some(other.id()) != recorded);
    let is_ours = |other: &&K::Remote| !K::Remote::TAGGED || is_left_behind(inputs, other);
    if let Some(other) = others.into_iter().find(is_ours) {
        return found(other);
    }
    let doubtful = object(inputs).past_intents.iter().any(|past| past.given_up);
    if doubtful && !inputs.view.listed.is_some_and(|listed| listed.fresh && listed.complete) {
        return look_to_delete(inputs, Look::Collection);
    }
    Step::Release(None)
}

/// No id is on record: whatever may exist is looked for before the finalizer goes.
pub(super) fn search_before_release<K: Kind>(inputs: &Inputs<'_, K>, access: &Access) -> Step<K> {
    if let Some(id) = inputs.view.untold.first() {
        return look_to_delete(inputs, owner_of::<K>(id));
    }
    let Some(listed) = inputs.view.listed else {
        return look_to_delete(inputs, Look::Collection);
    };
    if let Some(intent) = &object(inputs).intent
        && inputs.policy.keeps(Guard::IntentBeforeRelease)
    {
        return match resolve(inputs, intent, listed, access) {
            Resolved::Absent => Step::Release(None),
            Resolved::NotYet(step) => step,
        };
    }
    if !listed.fresh {
        return look_to_delete(inputs, Look::Collection);
    }
    if !listed.complete && inputs.policy.keeps(Guard::CompleteBeforeRelease) {
        let message = format!("looking for the {}: the cloud's list is incomplete", K::NOUN);
        return Step::Rest(Rest::Troubled(Trouble {
            verdict: Verdict::new(Reason::CloudError, message),
            pace: AGAIN,
        }));
    }
    Step::Release(None)
}
