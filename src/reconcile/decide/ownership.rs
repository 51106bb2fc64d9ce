//! Whose an object of the cloud is, by its tag, and how it becomes this CR's.

use std::collections::BTreeMap;

use super::{Guard, Inputs, MAX_TAGS, Note, Step, Why, look, object, owner, stop};
use crate::api::conditions::Reason;
use crate::mirror::{Look, Remote};
use crate::ownership::Owner;
use crate::reconcile::kind::Kind;

/// Whose an object is, seen from this CR.
pub(super) enum Ownership<K: Kind> {
    Mine,
    /// Free to be marked as ours; `true` if another value of our tag stands in the way.
    Free {
        marked: bool,
    },
    /// Nothing can be concluded before the tags are known.
    Untold,
    NotMine(Step<K>),
}

pub(super) fn ownership<K: Kind>(inputs: &Inputs<'_, K>, remote: &K::Remote) -> Ownership<K> {
    if !K::Remote::TAGGED {
        return Ownership::Free { marked: false };
    }
    let Some(tags) = remote.tags() else {
        return Ownership::Untold;
    };
    let mine = owner(inputs);
    let key = &inputs.policy.owner_tag_key;
    let Some(value) = tags.get(key) else {
        if tags.len() < MAX_TAGS {
            return Ownership::Free { marked: false };
        }
        let message = format!(
            "the {} {} already has {} tags in the cloud, so there is no room for the operator's own ({key}): remove one \
             there",
            K::NOUN,
            remote.id(),
            tags.len(),
        );
        return Ownership::NotMine(stop(Reason::InvalidSpec, message));
    };
    if *value == mine.to_string() {
        return Ownership::Mine;
    }
    let named = inputs.lifecycle.external_id.as_deref() == Some(remote.id());
    // What was marked as ours and is another's now was taken since: to take it back in turn would never end.
    let is_taken = was_marked(inputs, remote.id());
    let is_free = Owner::parse(value).is_some_and(|theirs| {
        // The CR's place or the cluster's name has changed since.
        theirs.uid == mine.uid
            // This CR's former self, before it was restored or made anew.
            || (!is_taken && theirs.same_place(&mine) && inputs.policy.cluster_name.is_some())
            // A CR of this cluster that is no more. Without a name for each cluster nobody can tell which one it was of.
            || (!is_taken
                && named
                && theirs.cluster == mine.cluster
                && inputs.policy.cluster_name.is_some()
                && !inputs.view.owner_lives)
    });
    if is_free {
        Ownership::Free { marked: true }
    } else {
        Ownership::NotMine(already_managed(inputs, remote.id(), value))
    }
}

/// Whether this very CR, and not a former self whose status it was given, had its tag on the recorded object.
pub(super) fn was_marked<K: Kind>(inputs: &Inputs<'_, K>, id: &str) -> bool {
    let recorded = object(inputs);
    recorded.id.as_deref() == Some(id) && recorded.owner_uid.as_deref() == Some(inputs.uid)
}

/// Sees to it that the recorded object's tag names this CR. `None`: it does.
pub(super) fn mark<K: Kind>(inputs: &Inputs<'_, K>, remote: &K::Remote) -> Option<Step<K>> {
    if !K::Remote::TAGGED {
        return None;
    }
    let id = remote.id().to_owned();
    let marked = match ownership(inputs, remote) {
        Ownership::Mine => return None,
        Ownership::Untold => return Some(look(inputs, Look::Tags(id))),
        Ownership::NotMine(step) if inputs.policy.keeps(Guard::OwnTagBeforeChange) => return Some(step),
        Ownership::NotMine(_) => true,
        Ownership::Free { marked } => marked,
    };
    if inputs.policy.read_only {
        let message = format!("--read-only: would mark the {} {id} as this object's", K::NOUN);
        return Some(stop(Reason::Updating, message));
    }
    if !inputs.has_finalizer {
        return Some(Step::AddFinalizer);
    }
    let key = inputs.policy.owner_tag_key.clone();
    let call = if marked && !inputs.overwrites_tags {
        let present = remote
            .tags()
            .and_then(|tags| tags.get(&key))
            .cloned()
            .unwrap_or_default();
        K::untag(BTreeMap::from([(key, present)]))
    } else {
        K::tag(BTreeMap::from([(key, owner(inputs).to_string())]))
    };
    call.map(|call| Step::Change {
        id,
        call,
        why: Why::Mark,
    })
}

/// Takes an object that is not on record: its id is put there first, so that no kill can lose it, then it is marked.
pub(super) fn claim<K: Kind>(inputs: &Inputs<'_, K>, remote: &K::Remote, event: (&'static str, String)) -> Step<K> {
    match ownership(inputs, remote) {
        Ownership::Untold => return look(inputs, Look::Tags(remote.id().to_owned())),
        Ownership::NotMine(step) => return step,
        Ownership::Free { .. } if inputs.policy.read_only => {
            let message = format!("--read-only: would adopt the {} {}", K::NOUN, remote.id());
            return stop(Reason::Creating, message);
        }
        Ownership::Mine | Ownership::Free { .. } => {}
    }
    if !inputs.has_finalizer {
        return Step::AddFinalizer;
    }
    Step::Note(Note::Found {
        remote: remote.clone(),
        event: Some(event),
    })
}

pub(super) fn already_managed<K: Kind>(inputs: &Inputs<'_, K>, id: &str, value: &str) -> Step<K> {
    let key = &inputs.policy.owner_tag_key;
    let mine = owner(inputs);
    let is_former_self = Owner::parse(value).is_some_and(|theirs| theirs.same_place(&mine));
    let way_out = if was_marked(inputs, id) {
        ", which was put in the place of this object's own: does another cluster with the same --cluster-name run, or a \
         copy of this object? Stop that one's operator, or give each cluster a name of its own; then remove that tag in \
         the cloud, and this object takes the gateway back"
    } else if inputs.policy.cluster_name.is_none()
        && Owner::parse(value).is_some_and(|theirs| theirs.cluster.is_empty())
    {
        if is_former_self {
            // Its tag names no cluster, so --cluster-name would come too late now.
            "; that may be this object before it was recreated, or an object of another cluster: if it is this object, remove \
             that tag in the cloud and set spec.externalID to this id (with --cluster-name, set from the start, that happens \
             by itself)"
        } else {
            "; without --cluster-name it cannot be told whether that owner is of this cluster and still exists: if it does \
             not, removing that tag in the cloud releases it (give each cluster a --cluster-name of its own)"
        }
    } else if Owner::parse(value).is_some_and(|theirs| theirs.cluster == mine.cluster) {
        &format!(
            "; if that one is no more, set spec.externalID to {id} to take it over, or remove that tag in the cloud, which \
             releases it"
        )
    } else {
        "; if that owner is no more, removing that tag in the cloud releases it"
    };
    let message = format!(
        "the {} {id} has another owner: its tag {key} is {value}{way_out}",
        K::NOUN
    );
    stop(Reason::AlreadyManaged, message)
}
