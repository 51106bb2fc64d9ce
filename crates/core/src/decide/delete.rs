//! Deletes what the CR owns in the cloud, leaves nothing of it behind, and touches no resource of another owner.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use vpn_cloud::error::cloud_error::Backoff;

use crate::api::conditions::{Progress, ReadyCondition, Reason};
use crate::api::{DeletionPolicy, ManagementPolicy};
use crate::cache::{Observed, Query, Remote};
use crate::decide::health::in_progress_before_deletion;
use crate::decide::inputs::{Inputs, object, owner};
use crate::decide::ownership::was_marked;
use crate::decide::reads::{confirm_absence, owner_of, read_before_delete};
use crate::decide::resolve::{Resolved, Unresolved, resolve};
use crate::decide::step::{Rest, Step, Why};
use crate::decide::stops::{crd_deleting, scope_changed, stop, unknown_parent};
use crate::decide::tend::{is_left_behind, unconfirmed_for};
use crate::kind::Kind;
use crate::owner_tag::Owner;
use crate::terms::access::Access;
use crate::terms::failure::{Failure, RETRY};
use crate::terms::guard::Guard;
use crate::terms::health::Health;
use crate::terms::note::Note;
use crate::terms::sent_delete::SentDelete;

pub(crate) fn delete<K: Kind>(inputs: &Inputs<'_, K>, since: &Time) -> Step<K> {
    if !inputs.has_finalizer {
        return Step::Rest(Rest::Done);
    }
    let is_observed = object(inputs).observe_only && inputs.policy.keeps(Guard::ObserverClaims);
    if inputs.lifecycle.management() == ManagementPolicy::Observe || is_observed {
        return Step::Release(Some(observed_until_now(inputs)));
    }
    let retain = retains(inputs);
    if !retain && inputs.crd_deleting_since.is_some_and(|crd| since.0 >= crd.0) {
        return crd_deleting::<K>();
    }
    let recorded = object(inputs);
    let noun = K::NOUN;
    let stays = |why: &str| {
        let id = recorded.id.as_deref().unwrap_or("(id not recorded)");
        let tag = if K::Remote::TAGGED {
            format!("; its owner tag stays, since {why}")
        } else {
            String::new()
        };
        Step::Release(Some(format!("kept the {noun} {id} in the cloud{tag}")))
    };
    let access = match &inputs.access {
        Ok(access) => access,
        Err(failure) if retain && lasts(failure) => return stays("there are no credentials to remove it"),
        Err(failure) => {
            let mut failure = failure.clone();
            let way_out = "; it cannot be deleted in the cloud until then (set deletionPolicy: Retain to release this \
                 object without deleting the cloud resource)";
            failure.condition.message.push_str(way_out);
            return Step::Rest(Rest::Failed(failure));
        }
    };
    if let Some(step) = scope_changed(inputs, access) {
        return if retain {
            stays("the credentials now belong to another project")
        } else {
            step
        };
    }
    if !inputs.has_parent {
        return match (&recorded.id, &recorded.intent) {
            // A creation would have recorded its parent.
            (None, None) => Step::Release(None),
            _ if retain => stays("its location in the project is not known"),
            _ => stop(Reason::InvalidSpec, unknown_parent::<K>()),
        };
    }
    let competing_claim = inputs.observation.competing_claim.as_ref();
    let competing_claim = competing_claim.filter(|_| inputs.policy.keeps(Guard::OneHolder));
    let left_to_it = recorded.id.as_ref().zip(competing_claim).map(|(id, claim)| {
        let (namespace, name) = (&claim.namespace, &claim.name);
        format!(
            "left the {noun} {id} alone: it belongs to the {} {namespace}/{name}",
            K::KIND
        )
    });
    // Once its DELETE is sent, the deletion is followed: the cache no longer shows whom the tag named.
    if left_to_it.is_some() && inputs.sent_delete.is_none() {
        return finish(inputs, access, left_to_it);
    }
    match (&recorded.id, inputs.observation.owned.first()) {
        (Some(id), _) => match remove(inputs, access, id, retain) {
            // No other DELETE is sent.
            Step::Delete { .. } if left_to_it.is_some() => finish(inputs, access, left_to_it),
            step => step,
        },
        // Its id is recorded first, so that the deletion can be followed until the object no longer exists.
        (None, Some(remote)) => found(remote),
        (None, None) => search_before_release(inputs, access),
    }
}

fn retains<K: Kind>(inputs: &Inputs<'_, K>) -> bool {
    inputs.lifecycle.deletion(inputs.policy.default_deletion) == DeletionPolicy::Retain
}

/// Whether credentials are missing until a user provides new ones, unlike a cloud that is unavailable for a while.
pub(crate) fn lasts(failure: &Failure) -> bool {
    let reason = failure.condition.reason;
    reason == Reason::SecretNotFound || reason.progress() == Progress::Stalled
}

pub(crate) fn found<K: Kind>(remote: &K::Remote) -> Step<K> {
    Step::Note(Note::Found {
        remote: remote.clone(),
        event: None,
    })
}

/// Deletes the object with the recorded id.
pub(crate) fn remove<K: Kind>(inputs: &Inputs<'_, K>, access: &Access, id: &str, retain: bool) -> Step<K> {
    match &inputs.observation.known {
        Observed::Seen {
            remote,
            fresh: true,
            full: false,
            ..
        } if K::health(remote) == Health::Unknown => read_before_delete(inputs, Query::Whole(id.to_owned())),
        Observed::Seen {
            remote, fresh: true, ..
        } => remove_seen(inputs, access, remote, retain),
        absence @ (Observed::Absent | Observed::Unconfirmed { .. }) => {
            if K::confirmed_at(inputs.status).is_some() && access.cloud_now.is_none() {
                return read_before_delete(inputs, Query::Object(id.to_owned()));
            }
            let unconfirmed =
                unconfirmed_for(inputs, access).filter(|_| inputs.policy.keeps(Guard::ConfirmationBeforeAbsence));
            match (unconfirmed, absence) {
                (Some(left), _) => {
                    let message = format!("the {} {id} may still appear, since it was created just now", K::NOUN);
                    Step::Rest(Rest::Until(Some(ReadyCondition::new(Reason::Deleting, message)), left))
                }
                // The list may show the object with a tag that names another owner.
                (None, Observed::Unconfirmed { list_incomplete }) if inputs.policy.keeps(Guard::AbsenceIsConfirmed) => {
                    confirm_absence(inputs, id, *list_incomplete, read_before_delete)
                }
                (None, _) if !retain && must_be_sent(inputs, id) => Step::Delete {
                    id: id.to_owned(),
                    duplicate: false,
                },
                (None, _) => finish(inputs, access, None),
            }
        }
        _ => read_before_delete(inputs, Query::Object(id.to_owned())),
    }
}

pub(crate) fn remove_seen<K: Kind>(
    inputs: &Inputs<'_, K>,
    access: &Access,
    remote: &K::Remote,
    retain: bool,
) -> Step<K> {
    let id = remote.id().to_owned();
    let kept = format!("kept the {} {id} in the cloud", K::NOUN);
    if !K::Remote::TAGGED {
        return if retain {
            Step::Release(Some(kept))
        } else {
            delete_when_idle(inputs, remote)
        };
    }
    let Some(tags) = remote.tags() else {
        return read_before_delete(inputs, Query::Tags(id));
    };
    let key = &inputs.policy.owner_tag_key;
    let mine = owner(inputs);
    let Some(value) = tags.get(key) else {
        return if retain {
            Step::Release(Some(kept))
        } else {
            delete_when_idle(inputs, remote)
        };
    };
    let theirs = Owner::parse(value);
    let is_mine = theirs.as_ref().is_some_and(|theirs| theirs.uid == mine.uid);
    // A CR that was restored under a new uid and deleted before it could adopt its object again.
    let was_mine = inputs.policy.cluster_name.is_some()
        && !was_marked(inputs, &id)
        && theirs.is_some_and(|theirs| theirs.same_place(&mine));
    if !is_mine && !was_mine && inputs.policy.keeps(Guard::OwnTagBeforeDelete) {
        let left = format!(
            "left the {} {id} alone: its tag {key}={value} names another owner",
            K::NOUN
        );
        return finish(inputs, access, Some(left));
    }
    if !retain {
        return delete_when_idle(inputs, remote);
    }
    if let Some(condition) = in_progress_before_deletion::<K>(remote) {
        return Step::Rest(Rest::InProgress(condition));
    }
    if inputs.policy.read_only {
        let message = format!("--read-only: would remove the tag {key} from the {} {id}", K::NOUN);
        return stop(Reason::Deleting, message);
    }
    match K::untag(BTreeMap::from([(key.clone(), value.clone())])) {
        Some(call) => Step::Change {
            id,
            call,
            why: Why::RemoveTag,
        },
        None => Step::Release(Some(kept)),
    }
}

/// Sends the DELETE as soon as the cloud has ended its work on the resource. Its work may be the deletion.
fn delete_when_idle<K: Kind>(inputs: &Inputs<'_, K>, remote: &K::Remote) -> Step<K> {
    let is_sent = inputs.sent_delete.is_some_and(|sent| sent.is_pending);
    match in_progress_before_deletion::<K>(remote) {
        Some(condition) if !is_sent => Step::Rest(Rest::InProgress(condition)),
        _ => send_delete(inputs, remote.id().to_owned()),
    }
}

/// Sends one DELETE and then waits: the cloud may take its time. If it was accepted too long ago to have an effect any
/// more, it does not count as pending and is sent again.
pub(crate) fn send_delete<K: Kind>(inputs: &Inputs<'_, K>, id: String) -> Step<K> {
    if inputs.sent_delete.is_some_and(|sent| sent.is_pending) {
        let message = format!(
            "the {} {id} is being deleted; waiting until it no longer exists in the cloud",
            K::NOUN
        );
        return Step::Rest(Rest::Failed(Failure {
            condition: ReadyCondition::new(Reason::Deleting, message),
            backoff: DELETING,
        }));
    }
    if inputs.policy.read_only {
        let message = format!("--read-only: would delete the {} {id} in the cloud", K::NOUN);
        return stop(Reason::Deleting, message);
    }
    Step::Delete { id, duplicate: false }
}

/// Reads that lack the object may be stale, but an answered DELETE by its id reaches it all the same. An object that is
/// not known to be this object's own is not deleted unseen.
fn must_be_sent<K: Kind>(inputs: &Inputs<'_, K>, id: &str) -> bool {
    let is_own = !K::Remote::TAGGED || was_marked(inputs, id);
    is_own
        && !inputs.sent_delete.is_some_and(SentDelete::is_answered)
        && !inputs.policy.read_only
        && inputs.policy.keeps(Guard::DeleteBeforeRelease)
}

/// How often to check whether an accepted deletion is done.
const DELETING: Backoff = Backoff {
    first: Duration::from_secs(1),
    cap: Duration::from_secs(30),
    is_exact: false,
};

/// Deletes what else this object may have in the cloud, then removes the finalizer. The recorded object does not exist,
/// or has another owner. `left` names what stays in the cloud.
pub(crate) fn finish<K: Kind>(inputs: &Inputs<'_, K>, access: &Access, left: Option<String>) -> Step<K> {
    let recorded = object(inputs).id.as_deref();
    let others = inputs
        .observation
        .owned
        .iter()
        .filter(|other| Some(other.id()) != recorded);
    let is_ours = |other: &&K::Remote| !K::Remote::TAGGED || is_left_behind(inputs, other);
    if let Some(other) = others.into_iter().find(is_ours) {
        return found(other);
    }
    if retains(inputs) {
        return Step::Release(left);
    }
    if let Some(id) = inputs.observation.tags_unknown.first() {
        return read_before_delete(inputs, owner_of::<K>(id));
    }
    if let Some(step) = search_for_unresolved(inputs, access) {
        return step;
    }
    if let Some(id) = inputs.undeleted.first()
        && !inputs.policy.read_only
        && inputs.policy.keeps(Guard::LostBeforeRelease)
    {
        return Step::Delete {
            id: id.clone(),
            duplicate: false,
        };
    }
    Step::Release(left)
}

/// Searches for what a creation may have made that was given up, or that was unresolved when another object was
/// recorded.
fn search_for_unresolved<K: Kind>(inputs: &Inputs<'_, K>, access: &Access) -> Option<Step<K>> {
    let unresolved = object(inputs).unresolved_creations();
    let deadline = unresolved.map(|past| past.deadline.0).max()?;
    let creation = Unresolved {
        deadline,
        what: format!("another {} by an earlier creation", K::NOUN),
    };
    let query = || Some(read_before_delete(inputs, Query::Collection));
    let Some(listed) = inputs.observation.listed else {
        return query();
    };
    match resolve(inputs, &creation, listed, access) {
        Resolved::NotYet(step) => Some(step),
        Resolved::Absent if !(listed.fresh && listed.complete) => query(),
        Resolved::Absent => None,
    }
}

/// Returns the message for an object that only observes: nothing is written, but unresolved earlier creations are
/// reported.
fn observed_until_now<K: Kind>(inputs: &Inputs<'_, K>) -> String {
    let noun = K::NOUN;
    let left = format!("left the {noun} in the cloud, where it was only observed");
    let recorded = object(inputs);
    let unresolved = recorded.unresolved_creations();
    let open = recorded.intent.iter().map(|intent| &intent.recorded_at);
    let lost = K::lost_ids(inputs.status).join(", ");
    match unresolved.map(|past| &past.recorded_at).chain(open).max() {
        None if lost.is_empty() => left,
        None => format!("{left}; the cloud no longer returned {lost}, which this object owned"),
        Some(since) => format!(
            "{left}; the outcome of a creation by this object at {} is not known: check the cloud for another {noun} \
             created since then",
            since.0
        ),
    }
}

/// Searches for any cloud object before the finalizer is removed, if no id is recorded.
pub(crate) fn search_before_release<K: Kind>(inputs: &Inputs<'_, K>, access: &Access) -> Step<K> {
    if let Some(id) = inputs.observation.tags_unknown.first() {
        return read_before_delete(inputs, owner_of::<K>(id));
    }
    let Some(listed) = inputs.observation.listed else {
        return read_before_delete(inputs, Query::Collection);
    };
    if let Some(intent) = &object(inputs).intent
        && inputs.policy.keeps(Guard::IntentBeforeRelease)
    {
        return match resolve(inputs, &Unresolved::of::<K>(intent), listed, access) {
            Resolved::Absent => finish(inputs, access, None),
            Resolved::NotYet(step) => step,
        };
    }
    if !listed.fresh {
        return read_before_delete(inputs, Query::Collection);
    }
    if !listed.complete && inputs.policy.keeps(Guard::CompleteBeforeRelease) {
        let message = format!("searching for the {}: the cloud's list is incomplete", K::NOUN);
        return Step::Rest(Rest::Failed(Failure {
            condition: ReadyCondition::new(Reason::CloudError, message),
            backoff: RETRY,
        }));
    }
    finish(inputs, access, None)
}
