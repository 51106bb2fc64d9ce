//! Finds the owner of a cloud resource by its tag, and marks or claims the resource for this CR.

use std::collections::BTreeMap;

use crate::api::conditions::Reason;
use crate::cache::{Query, Remote};
use crate::decide::inputs::{Inputs, object, owner};
use crate::decide::reads::query;
use crate::decide::step::{Step, Why};
use crate::decide::stops::{MAX_TAGS, stop};
use crate::kind::Kind;
use crate::owner_tag::Owner;
use crate::terms::guard::Guard;
use crate::terms::note::Note;

/// The owner of a resource, seen from this CR.
pub(crate) enum ResourceOwner<K: Kind> {
    Mine,
    /// May be marked as ours. `marked`: our tag has another value, which must be removed first.
    Free {
        marked: bool,
    },
    /// Unknown until the tags are read.
    Unknown,
    NotMine(Step<K>),
}

pub(crate) fn ownership<K: Kind>(inputs: &Inputs<'_, K>, remote: &K::Remote) -> ResourceOwner<K> {
    if !K::Remote::TAGGED {
        return ResourceOwner::Free { marked: false };
    }
    let Some(tags) = remote.tags() else {
        return ResourceOwner::Unknown;
    };
    let mine = owner(inputs);
    let key = &inputs.policy.owner_tag_key;
    let Some(value) = tags.get(key) else {
        if tags.len() < MAX_TAGS {
            return ResourceOwner::Free { marked: false };
        }
        let message = format!(
            "the {} {} already has {} tags in the cloud, so there is no room for the operator's own ({key}): remove \
             one there",
            K::NOUN,
            remote.id(),
            tags.len(),
        );
        return ResourceOwner::NotMine(stop(Reason::InvalidSpec, message));
    };
    if *value == mine.to_string() {
        return ResourceOwner::Mine;
    }
    let named = inputs.lifecycle.external_id.as_deref() == Some(remote.id());
    // A resource that was marked as ours and now has another owner was taken. Taking it back would never end.
    let is_taken = was_marked(inputs, remote.id());
    let is_free = Owner::parse(value).is_some_and(|theirs| {
        // This CR; its namespace, its name or the cluster name has changed since.
        theirs.uid == mine.uid
            // This CR before it was restored or recreated.
            || (!is_taken && theirs.same_place(&mine) && inputs.policy.cluster_name.is_some())
            // A CR of this cluster that no longer exists. Without cluster names, its cluster is unknown.
            || (!is_taken
                && named
                && theirs.cluster == mine.cluster
                && inputs.policy.cluster_name.is_some()
                && !inputs.observation.owner_exists)
    });
    if is_free {
        ResourceOwner::Free { marked: true }
    } else {
        ResourceOwner::NotMine(already_managed(inputs, remote.id(), value))
    }
}

/// Whether this CR, and not a former one whose status it inherited, put its tag on the recorded resource.
pub(crate) fn was_marked<K: Kind>(inputs: &Inputs<'_, K>, id: &str) -> bool {
    let recorded = object(inputs);
    recorded.id.as_deref() == Some(id) && recorded.owner_uid.as_deref() == Some(inputs.uid)
}

/// Makes the tag of the recorded resource name this CR. `None`: it already does.
pub(crate) fn mark<K: Kind>(inputs: &Inputs<'_, K>, remote: &K::Remote) -> Option<Step<K>> {
    if !K::Remote::TAGGED {
        return None;
    }
    let id = remote.id().to_owned();
    let marked = match ownership(inputs, remote) {
        ResourceOwner::Mine => return None,
        ResourceOwner::Unknown => return Some(query(inputs, Query::Tags(id))),
        ResourceOwner::NotMine(step) if inputs.policy.keeps(Guard::OwnTagBeforeChange) => return Some(step),
        ResourceOwner::NotMine(_) => true,
        ResourceOwner::Free { marked } => marked,
    };
    if inputs.policy.read_only {
        let message = format!("--read-only: would set the owner tag of the {} {id}", K::NOUN);
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

/// Claims a resource that is not recorded. First records its id, so that no kill can lose it; then the tag is set.
pub(crate) fn claim<K: Kind>(inputs: &Inputs<'_, K>, remote: &K::Remote, event: (&'static str, String)) -> Step<K> {
    match ownership(inputs, remote) {
        ResourceOwner::Unknown => return query(inputs, Query::Tags(remote.id().to_owned())),
        ResourceOwner::NotMine(step) => return step,
        ResourceOwner::Free { .. } if inputs.policy.read_only => {
            let message = format!("--read-only: would adopt the {} {}", K::NOUN, remote.id());
            return stop(Reason::Creating, message);
        }
        ResourceOwner::Mine | ResourceOwner::Free { .. } => {}
    }
    if !inputs.has_finalizer {
        return Step::AddFinalizer;
    }
    Step::Note(Note::Found {
        remote: remote.clone(),
        event: Some(event),
    })
}

pub(crate) fn already_managed<K: Kind>(inputs: &Inputs<'_, K>, id: &str, value: &str) -> Step<K> {
    let key = &inputs.policy.owner_tag_key;
    let mine = owner(inputs);
    let is_former_self = Owner::parse(value).is_some_and(|theirs| theirs.same_place(&mine));
    let way_out = if was_marked(inputs, id) {
        ", which replaced this object's own: does another cluster with the same --cluster-name run, or a copy of this \
         object? Stop that one's operator, or give each cluster a name of its own; then remove that tag in the cloud, \
         and this object claims the gateway again"
    } else if inputs.policy.cluster_name.is_none()
        && Owner::parse(value).is_some_and(|theirs| theirs.cluster.is_empty())
    {
        if is_former_self {
            // Its tag names no cluster, so --cluster-name would come too late now.
            "; that may be this object before it was recreated, or an object of another cluster: if it is this \
             object, remove that tag in the cloud and set spec.externalID to this id (with --cluster-name, set from \
             the start, that happens automatically)"
        } else {
            "; without --cluster-name it is unknown whether that owner is of this cluster and still exists: if it \
             does not, removing that tag in the cloud releases it (give each cluster a --cluster-name of its own)"
        }
    } else if Owner::parse(value).is_some_and(|theirs| theirs.cluster == mine.cluster) {
        &format!(
            "; if that owner no longer exists, set spec.externalID to {id} to take it over, or remove that tag in the \
             cloud, which releases it"
        )
    } else {
        "; if that owner no longer exists, removing that tag in the cloud releases it"
    };
    let message = format!(
        "the {} {id} has another owner: its tag {key} is {value}{way_out}",
        K::NOUN
    );
    stop(Reason::AlreadyManaged, message)
}
