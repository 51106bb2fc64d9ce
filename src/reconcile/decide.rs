//! The decision: from what is declared, recorded and observed to one step. Pure and synchronous, so that every state
//! that a crash can leave behind is a row in a table of tests.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::kind::{Difference, Immutable, Kind, Mend, Wanted};
use crate::api::conditions::{self, Progress, Reason, Verdict};
use crate::api::{
    AdoptionPolicy, DeletionPolicy, Intent, Lifecycle, ManagementPolicy, ObjectStatus, PastIntent,
    RECREATE_APPROVED_ANNOTATION, Scope,
};
use crate::cloud::error::Pace;
use crate::mirror::{Listed, Look, MassDeletion, Remote, Sighting};
use crate::ownership::Owner;

/// The most tags that the cloud takes on one object (contract: at most 20, ours among them).
const MAX_TAGS: usize = 20;

/// The operator's settings, as far as decisions depend on them.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub cluster_name: Option<String>,
    pub owner_tag_key: String,
    pub default_deletion: DeletionPolicy,
    pub mass_deletion_guard: bool,
    pub read_only: bool,
    pub settle_time: Duration,
    /// Certificates and FQDN identifiers are Huawei Cloud's only.
    pub is_otc: bool,
}

/// Where the credentials lead.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    pub scope: Scope,
    /// The cloud's present time, never ahead of it.
    pub cloud_now: Timestamp,
}

/// Why a step cannot be taken now, and when to come again.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    pub verdict: Verdict,
    pub pace: Pace,
}

/// Another CR that has, or claims, the same cloud object or the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rival {
    pub namespace: String,
    pub name: String,
    /// It is being deleted, so that what it holds may come free by itself.
    pub deleting: bool,
}

/// What the spec refers to outside of itself, as far as it could be read.
#[derive(Clone, Debug, PartialEq)]
pub enum Extras<E> {
    Read(E),
    /// Being read; the object is woken when it is in.
    Waiting,
    Lacking(Trouble),
    /// Something that the spec names is not in the cloud. Unlike a look that failed, that is seen.
    Absent(Trouble),
}

/// What the mirror knows, seen from one object.
#[derive(Clone, Debug, PartialEq)]
pub struct View<R> {
    pub listed: Option<Listed>,
    /// Of the recorded id, else of `externalID`.
    pub known: Sighting<R>,
    /// Carry our uid, oldest first.
    pub owned: Vec<R>,
    /// Carry our place and another uid.
    pub predecessors: Vec<R>,
    /// Look like what we would create, and have no owner.
    pub lookalikes: Vec<R>,
    /// Has, in what cannot be changed, what the spec asks for, and a tag that names a CR of this cluster that is no more.
    pub orphan: Option<R>,
    /// Could be ours, but their tags are not known.
    pub untold: Vec<String>,
    pub mass_deletion: Option<MassDeletion>,
    /// A CR with a better claim to the known id.
    pub rival: Option<Rival>,
    /// Where names are unique: an object that nobody of ours has, and whose name is the one that we would create.
    pub namesake: Option<R>,
    /// Where names are unique: another CR that holds, or is about to create, the name.
    pub name_holder: Option<Rival>,
    /// The uid that the known object's tag names is a CR that still lives.
    pub owner_lives: bool,
}

impl<R> View<R> {
    /// Nothing is known.
    pub fn blank() -> Self {
        Self {
            listed: None,
            known: Sighting::Unknown,
            owned: Vec::new(),
            predecessors: Vec::new(),
            lookalikes: Vec::new(),
            orphan: None,
            untold: Vec::new(),
            mass_deletion: None,
            rival: None,
            namesake: None,
            name_holder: None,
            owner_lives: false,
        }
    }
}

/// Everything that a decision rests on.
#[derive(Clone, Debug)]
pub struct Inputs<'a, K: Kind> {
    pub policy: &'a Policy,
    pub uid: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    pub generation: Option<i64>,
    pub deleting_since: Option<&'a Time>,
    pub has_finalizer: bool,
    pub paused: bool,
    pub recreate_approved: Option<&'a str>,
    pub spec: &'a Result<K::Spec, String>,
    pub lifecycle: &'a Lifecycle,
    pub status: &'a K::Status,
    /// When the CRD itself was asked to go.
    pub crd_deleting_since: Option<&'a Time>,
    pub access: Result<Access, Trouble>,
    pub extras: Extras<K::Extras>,
    /// Whether it is known which collection of the project the object lives in.
    pub has_home: bool,
    pub view: View<K::Remote>,
    /// The look that was asked for failed.
    pub failed_look: Option<Trouble>,
    /// Something asked for attention: an edit, a Secret, an annotation, a deletion.
    pub triggered: bool,
    /// The object that a DELETE of ours was accepted for.
    pub delete_sent: Option<&'a str>,
    /// A change that the cloud accepted and that nothing shows yet.
    pub accepted: Option<K::Change>,
    /// The announced creation was sent again, which did not tell what came of it.
    pub replayed: bool,
    /// Whether this cloud overwrites the value of a tag that exists.
    pub overwrites_tags: bool,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step<K: Kind> {
    /// Look at the cloud; `anew`: only an answer that is started from now on will do.
    Look {
        look: Look,
        anew: bool,
    },
    AddFinalizer,
    /// Put the intent on record, then create.
    Create(K::New),
    /// Send the announced creation once more, under its own token: the answer tells what came of it.
    Replay(K::New),
    /// One call that changes an object.
    Change {
        id: String,
        call: K::Change,
        why: Why,
    },
    /// One DELETE.
    Delete {
        id: String,
        twin: bool,
    },
    /// Put something on record, then go on.
    Note(Note<K::Remote>),
    /// Nothing is left to do in the cloud: the finalizer goes.
    Release(Option<String>),
    Rest(Rest<K::Remote>),
}

/// Why an object is changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Why {
    /// These fields differ from the spec.
    Differs(Vec<String>),
    /// Our tag goes on.
    Mark,
    /// Our tag goes off.
    LetGo,
}

/// A fact to put on record.
#[derive(Clone, Debug, PartialEq)]
pub enum Note<R> {
    /// This object is ours.
    Found {
        remote: R,
        event: Option<(&'static str, String)>,
    },
    /// The recorded object is gone and shall be made anew.
    Lost,
    /// No creation came of the intent.
    GivenUp,
    /// The recorded object is gone before its creation was confirmed.
    Vanished,
}

/// Nothing to do for now.
#[derive(Clone, Debug, PartialEq)]
pub enum Rest<R> {
    /// Confirmed against the cloud. These fields differ, and these other objects carry our tag: both only reported.
    Confirmed {
        remote: R,
        drifted: Vec<String>,
        strays: Vec<String>,
    },
    /// Say so, and come again at the pace.
    Troubled(Trouble),
    /// Say nothing, and come again at the pace: nothing is waiting for the cloud to answer.
    Quiet(Pace),
    /// Say this, if anything, and come again after that long.
    Until(Option<Verdict>, Duration),
    /// Say nothing: what is being read wakes the object when it is in.
    Waiting,
    Paused,
    /// Nothing to do with us.
    Done,
}

/// Retried with backoff.
pub const AGAIN: Pace = Pace {
    first: Duration::from_secs(1),
    cap: Duration::from_secs(300),
};
/// Waits for something that may come by itself.
pub const WAIT: Pace = Pace {
    first: Duration::from_secs(5),
    cap: Duration::from_secs(60),
};
/// A person must act; looked at again now and then.
pub const PERSON: Pace = Pace {
    first: Duration::from_secs(600),
    cap: Duration::from_secs(600),
};

/// Decides one step.
pub fn decide<K: Kind>(inputs: &Inputs<'_, K>) -> Step<K> {
    if inputs.paused {
        return Step::Rest(Rest::Paused);
    }
    match inputs.deleting_since {
        Some(since) => delete(inputs, since),
        None => maintain(inputs),
    }
}

fn maintain<K: Kind>(inputs: &Inputs<'_, K>) -> Step<K> {
    let spec = match inputs.spec {
        Ok(spec) => spec,
        Err(error) => return stop(Reason::InvalidSpec, format!("spec cannot be read: {error}")),
    };
    if inputs.crd_deleting_since.is_some() {
        return crd_deleting::<K>();
    }
    if !inputs.has_home {
        return stop(Reason::InvalidSpec, homeless::<K>());
    }
    if let Some(problem) = K::problem(spec, inputs.policy) {
        return stop(Reason::InvalidSpec, problem);
    }
    let access = match &inputs.access {
        Ok(access) => access,
        Err(trouble) => return troubled(inputs, trouble),
    };
    if let Some(step) = scope_changed(inputs, access) {
        return step;
    }
    match &object(inputs).id {
        Some(id) => tend(inputs, spec, access, id),
        None => establish(inputs, spec, access),
    }
}

/// The object is known by its id: is it there, ours, and as specified?
fn tend<K: Kind>(inputs: &Inputs<'_, K>, spec: &K::Spec, access: &Access, id: &str) -> Step<K> {
    if let Some(left) = unsettled_for(inputs, access) {
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
        Sighting::Gone if !is_confirmed => return Step::Note(Note::Vanished),
        Sighting::Gone => return lost(inputs, id),
        // Who asks is told by a look of now whether it is back.
        Sighting::Missing if is_confirmed && !inputs.triggered && suspects_mass_deletion(inputs) => {
            return mass_deletion(inputs);
        }
        _ => return look(inputs, Look::Object(id.to_owned())),
    };
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
        owner_tag_key: &inputs.policy.owner_tag_key,
        overwrites_tags: inputs.overwrites_tags,
        cloud_now: access.cloud_now,
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
            return wait(Reason::Updating, message);
        }
        Mend::Call(call) if K::needs_whole(&call) && !full => return look(inputs, Look::Whole(id.to_owned())),
        Mend::Call(call) => call,
        Mend::Until(at) => {
            let verdict = Verdict::new(Reason::Updating, format!("changing in the cloud: {names}"));
            return Step::Rest(Rest::Until(Some(verdict), time_left(at, access)));
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
fn unsettled_for<K: Kind>(inputs: &Inputs<'_, K>, access: &Access) -> Option<Duration> {
    let at = K::settles_at(inputs.status)?.0;
    (access.cloud_now < at).then(|| time_left(at, access))
}

/// The cloud's clock is known in whole seconds: one more, and that time has surely come.
fn time_left(at: Timestamp, access: &Access) -> Duration {
    Duration::try_from(at.duration_since(access.cloud_now)).unwrap_or_default() + Duration::from_secs(1)
}

/// Whose an object is, seen from this CR.
enum Ownership<K: Kind> {
    Mine,
    /// Free to be marked as ours; `true` if another value of our tag stands in the way.
    Free {
        marked: bool,
    },
    /// Nothing can be concluded before the tags are known.
    Untold,
    NotMine(Step<K>),
}

fn ownership<K: Kind>(inputs: &Inputs<'_, K>, remote: &K::Remote) -> Ownership<K> {
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
            // A CR of this cluster that is no more.
            || (!is_taken && named && theirs.cluster == mine.cluster && !inputs.view.owner_lives)
    });
    if is_free {
        Ownership::Free { marked: true }
    } else {
        Ownership::NotMine(already_managed(inputs, remote.id(), value))
    }
}

/// Whether this very CR, and not a former self whose status it was given, had its tag on the recorded object.
fn was_marked<K: Kind>(inputs: &Inputs<'_, K>, id: &str) -> bool {
    let recorded = object(inputs);
    recorded.id.as_deref() == Some(id) && recorded.owner_uid.as_deref() == Some(inputs.uid)
}

/// Sees to it that the recorded object's tag names this CR. `None`: it does.
fn mark<K: Kind>(inputs: &Inputs<'_, K>, remote: &K::Remote) -> Option<Step<K>> {
    if !K::Remote::TAGGED {
        return None;
    }
    let id = remote.id().to_owned();
    let marked = match ownership(inputs, remote) {
        Ownership::Mine => return None,
        Ownership::Untold => return Some(look(inputs, Look::Tags(id))),
        Ownership::NotMine(step) => return Some(step),
        Ownership::Free { marked } => marked,
    };
    if inputs.policy.read_only {
        let message = format!("--read-only: would mark the {} {id} as this object's", K::NOUN);
        return Some(wait(Reason::Updating, message));
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
fn claim<K: Kind>(inputs: &Inputs<'_, K>, remote: &K::Remote, event: (&'static str, String)) -> Step<K> {
    match ownership(inputs, remote) {
        Ownership::Untold => return look(inputs, Look::Tags(remote.id().to_owned())),
        Ownership::NotMine(step) => return step,
        Ownership::Free { .. } if inputs.policy.read_only => {
            let message = format!("--read-only: would adopt the {} {}", K::NOUN, remote.id());
            return wait(Reason::Creating, message);
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

/// A second object with our uid that one of our own creations left behind goes; any other is left alone.
fn remove_twin<K: Kind>(inputs: &Inputs<'_, K>, kept: &K::Remote) -> Option<Step<K>> {
    if inputs.policy.read_only {
        return None;
    }
    let twin = inputs
        .view
        .owned
        .iter()
        .find(|other| other.id() != kept.id() && K::is_twin(kept, other) && is_left_behind(inputs, other))?;
    Some(Step::Delete {
        id: twin.id().to_owned(),
        twin: true,
    })
}

/// Others that carry our tag, and that no creation of ours can have left behind: they are only reported.
fn strays<K: Kind>(inputs: &Inputs<'_, K>, kept: &K::Remote) -> Vec<String> {
    if !K::Remote::TAGGED {
        return Vec::new();
    }
    let others = inputs.view.owned.iter().filter(|other| other.id() != kept.id());
    others.map(|other| other.id().to_owned()).collect()
}

/// Created within the window of one of our own creations.
fn is_left_behind<K: Kind>(inputs: &Inputs<'_, K>, other: &K::Remote) -> bool {
    let settle = inputs.policy.settle_time;
    let within = |window: &PastIntent, created: Timestamp| {
        let from = window
            .recorded_at
            .0
            .checked_sub(Duration::from_secs(2))
            .unwrap_or(Timestamp::MIN);
        // What was given up has no end: it may take effect whenever the cloud gets round to it.
        let end = (!window.given_up).then(|| window.deadline.0.checked_add(settle).ok());
        let until = end.flatten().unwrap_or(Timestamp::MAX);
        (from..=until).contains(&created)
    };
    let windows = &object(inputs).past_intents;
    K::times(other)
        .0
        .is_some_and(|created| windows.iter().any(|window| within(window, created)))
}

/// The recorded object is proved gone.
fn lost<K: Kind>(inputs: &Inputs<'_, K>, id: &str) -> Step<K> {
    let noun = K::NOUN;
    let message = if inputs.lifecycle.management() == ManagementPolicy::Observe {
        format!("the {noun} {id}, which was only observed, does not exist in the cloud any more: delete this object")
    } else if inputs.lifecycle.external_id.is_some() {
        format!(
            "the {noun} {id} does not exist in the cloud any more, and what externalID names is never made anew: remove \
             externalID to have a new one created, or delete this object"
        )
    } else if inputs.lifecycle.management() != ManagementPolicy::Manage {
        format!(
            "the {noun} {id} does not exist in the cloud any more, and managementPolicy: ReportDrift does not make it \
             anew: set Manage, or delete this object"
        )
    } else if suspects_mass_deletion(inputs) {
        return mass_deletion(inputs);
    } else if inputs.policy.read_only {
        return wait(
            Reason::Creating,
            format!("--read-only: would make the {noun} {id} anew, which is gone"),
        );
    } else {
        return Step::Note(Note::Lost);
    };
    stop(Reason::NotFound, message)
}

/// No id is on record: whose, if any, is it already, and if nobody's, create it.
fn establish<K: Kind>(inputs: &Inputs<'_, K>, spec: &K::Spec, access: &Access) -> Step<K> {
    if let Some(id) = &inputs.lifecycle.external_id {
        return adopt(inputs, spec, id);
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
    if let Some(id) = inputs.view.untold.first() {
        return look(inputs, Look::Tags(id.clone()));
    }
    if let Some(intent) = &object(inputs).intent {
        return match resolve(inputs, intent, listed, access) {
            Resolved::Absent => Step::Note(Note::GivenUp),
            Resolved::NotYet(step) => replay(inputs, spec, intent, listed).unwrap_or(step),
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
    // What somebody made just now, to be adopted, shows only in a look of now.
    if inputs.lifecycle.adoption() == AdoptionPolicy::IfExists && !listed.fresh {
        return look(inputs, Look::Collection);
    }
    if inputs.lifecycle.adoption() == AdoptionPolicy::IfExists
        && let [remote] = inputs.view.lookalikes.as_slice()
    {
        return claim(inputs, remote, adopted_event::<K>(remote));
    }
    if let Some(orphan) = &inputs.view.orphan {
        // What is said of it is said of what is there now.
        return match listed.fresh {
            true => orphaned(inputs, orphan),
            false => look(inputs, Look::Collection),
        };
    }
    let name = K::cloud_name(spec, inputs.status, inputs.name);
    if K::UNIQUE_NAMES
        && let Some(step) = name_taken(inputs, &name, listed)
    {
        return step;
    }
    let extras = match &inputs.extras {
        Extras::Read(extras) => extras,
        Extras::Waiting => return Step::Rest(Rest::Waiting),
        Extras::Lacking(trouble) | Extras::Absent(trouble) => return troubled(inputs, trouble),
    };
    if inputs.policy.read_only {
        return wait(
            Reason::Creating,
            format!("--read-only: would create the {} {name}", K::NOUN),
        );
    }
    if !inputs.has_finalizer {
        return Step::AddFinalizer;
    }
    let owner = owner(inputs).to_string();
    match K::new(spec, &name, extras, (&inputs.policy.owner_tag_key, &owner)) {
        Ok(new) => Step::Create(new),
        Err((reason, message)) => stop(reason, message),
    }
}

/// The CR was renamed or moved, most likely, and left its object behind: a second one is not what anybody wants.
fn orphaned<K: Kind>(inputs: &Inputs<'_, K>, orphan: &K::Remote) -> Step<K> {
    let (noun, id, key) = (K::NOUN, orphan.id(), &inputs.policy.owner_tag_key);
    let value = orphan.tags().and_then(|tags| tags.get(key)).map_or("", String::as_str);
    let message = format!(
        "the {noun} {id} is what this object asks for, and its tag {key}={value} names a {} that is no more: to take it \
         over, as after a change of this object's name or namespace, set spec.externalID to {id}; to have another one \
         created beside it, remove that tag in the cloud (if it is another cluster's: give each cluster a --cluster-name \
         of its own)",
        K::KIND
    );
    stop(Reason::AlreadyManaged, message)
}

/// Where names are unique: whether the name is another's, as far as that can be known without asking for it.
fn name_taken<K: Kind>(inputs: &Inputs<'_, K>, name: &str, listed: Listed) -> Option<Step<K>> {
    let noun = K::NOUN;
    if let Some(holder) = &inputs.view.name_holder {
        let other = format!("{} {}/{}", K::KIND, holder.namespace, holder.name);
        if holder.deleting {
            let message = format!(
                "spec.name: the {other}, which is being deleted, still has the name {name} {}: the {noun} is created once \
                 that one is gone",
                K::PLACE
            );
            return Some(Step::Rest(Rest::Troubled(Trouble {
                verdict: Verdict::new(Reason::DependencyNotReady, message),
                pace: WAIT,
            })));
        }
        let message = format!(
            "spec.name: the {other} has the name {name} already {} (in upper or lower case): delete that one, or make this \
             object anew with another spec.name",
            K::PLACE
        );
        return Some(stop(Reason::NameConflict, message));
    }
    let was_refused = conditions::ready_reason(&object(inputs).conditions) == Some(Reason::NameConflict.as_str());
    // What is said of a stranger's object, or was said by the cloud, is said of what is there now.
    if (inputs.view.namesake.is_some() || was_refused) && !listed.fresh {
        return Some(look(inputs, Look::Collection));
    }
    let namesake = inputs.view.namesake.as_ref()?;
    let (id, its_name) = (namesake.id(), K::remote_name(namesake).unwrap_or(name));
    let message = format!(
        "a {noun} {its_name} exists already ({id}), and it is not this object's: to adopt it, set spec.externalID to \
         {id}, or spec.adoptionPolicy to IfExists; else delete it in the cloud, or make this object anew with another \
         spec.name"
    );
    Some(stop(Reason::NameConflict, message))
}

fn homeless<K: Kind>() -> String {
    format!(
        "where in the project the {} lives is not known, since spec cannot be read and nothing is on record: correct spec",
        K::NOUN
    )
}

/// Somebody has the name, and it is not known whether that came of our creation: the cloud knows, by the token. It can do
/// no harm, since the name is taken.
fn replay<K: Kind>(inputs: &Inputs<'_, K>, spec: &K::Spec, intent: &Intent, listed: Listed) -> Option<Step<K>> {
    inputs
        .view
        .namesake
        .as_ref()
        .filter(|_| listed.fresh && !inputs.replayed)?;
    let Extras::Read(extras) = &inputs.extras else {
        return None;
    };
    let owner = owner(inputs).to_string();
    let new = K::new(spec, &intent.name, extras, (&inputs.policy.owner_tag_key, &owner)).ok()?;
    let may_send = inputs.has_finalizer && !inputs.policy.read_only && K::is_as_announced(inputs.status, &new);
    may_send.then_some(Step::Replay(new))
}

enum Resolved<K: Kind> {
    Absent,
    NotYet(Step<K>),
}

/// An intent is never followed by a blind second POST: only a complete look that was started after the request's
/// deadline and the settle time proves that nothing came of it.
fn resolve<K: Kind>(inputs: &Inputs<'_, K>, intent: &Intent, listed: Listed, access: &Access) -> Resolved<K> {
    let proves_at = intent
        .deadline
        .0
        .checked_add(inputs.policy.settle_time)
        .unwrap_or(Timestamp::MAX);
    if listed.started > proves_at {
        if listed.complete {
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
    if !listed.fresh || access.cloud_now > proves_at {
        return Resolved::NotYet(Step::Look {
            look: Look::Collection,
            anew: true,
        });
    }
    Resolved::NotYet(Step::Rest(Rest::Until(None, time_left(proves_at, access))))
}

/// `externalID` names an object that is not on record yet.
fn adopt<K: Kind>(inputs: &Inputs<'_, K>, spec: &K::Spec, id: &str) -> Step<K> {
    let (remote, full) = match &inputs.view.known {
        Sighting::Seen {
            remote,
            fresh: true,
            full,
        } => (remote, *full),
        Sighting::Gone => {
            let message = format!(
                "externalID: there is no {} {id} {}: delete this object and create it with the right id{}",
                K::NOUN,
                K::PLACE,
                match inputs.lifecycle.management() {
                    ManagementPolicy::Observe => "",
                    _ => ", or remove externalID to have a new one created",
                }
            );
            return stop(Reason::NotFound, message);
        }
        _ => return look(inputs, Look::Object(id.to_owned())),
    };
    let observes = inputs.lifecycle.management() == ManagementPolicy::Observe;
    if !observes {
        if let Some(rival) = &inputs.view.rival {
            let Rival {
                namespace,
                name,
                deleting,
            } = rival;
            if *deleting {
                let message = format!(
                    "externalID: the {} {id} still belongs to the {} {namespace}/{name}, which is being deleted: it is \
                     looked at again once that one is gone",
                    K::NOUN,
                    K::KIND
                );
                return Step::Rest(Rest::Troubled(Trouble {
                    verdict: Verdict::new(Reason::DependencyNotReady, message),
                    pace: WAIT,
                }));
            }
            let message = format!(
                "the {} {id} belongs to the {} {namespace}/{name}: remove externalID here, or delete that one first \
                 (with deletionPolicy: Retain to keep the cloud's)",
                K::NOUN,
                K::KIND
            );
            return stop(Reason::AlreadyManaged, message);
        }
        match K::immutable_difference(spec, remote, full) {
            Immutable::Untold => return look(inputs, Look::Whole(id.to_owned())),
            Immutable::Differs { message, .. } => return stop(Reason::InvalidSpec, message),
            Immutable::Same => {}
        }
        return claim(inputs, remote, adopted_event::<K>(remote));
    }
    Step::Note(Note::Found {
        remote: remote.clone(),
        event: None,
    })
}

fn delete<K: Kind>(inputs: &Inputs<'_, K>, since: &Time) -> Step<K> {
    if !inputs.has_finalizer {
        return Step::Rest(Rest::Done);
    }
    if inputs.lifecycle.management() == ManagementPolicy::Observe {
        let message = format!("left the {} in the cloud, where it was only observed", K::NOUN);
        return Step::Release(Some(message));
    }
    let retain = inputs
        .lifecycle
        .deletion_policy
        .unwrap_or(inputs.policy.default_deletion)
        == DeletionPolicy::Retain;
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
    match (&recorded.id, inputs.view.owned.first()) {
        (Some(id), _) => remove(inputs, access, id, retain),
        // On record first: what is deleted is then followed by its id until it is gone.
        (None, Some(remote)) => found(remote),
        (None, None) => search_before_release(inputs, access),
    }
}

/// Whether credentials are gone until somebody gives new ones, unlike a cloud that is away for a while.
fn lasts(trouble: &Trouble) -> bool {
    let reason = trouble.verdict.reason;
    reason == Reason::SecretNotFound || reason.progress() == Progress::Stalled
}

fn found<K: Kind>(remote: &K::Remote) -> Step<K> {
    Step::Note(Note::Found {
        remote: remote.clone(),
        event: None,
    })
}

/// The object to delete is known by its id.
fn remove<K: Kind>(inputs: &Inputs<'_, K>, access: &Access, id: &str, retain: bool) -> Step<K> {
    match &inputs.view.known {
        Sighting::Seen {
            remote, fresh: true, ..
        } => remove_seen(inputs, remote, retain),
        Sighting::Gone => match unsettled_for(inputs, access) {
            Some(left) => {
                let message = format!("the {} {id} may still show up, since it was created just now", K::NOUN);
                Step::Rest(Rest::Until(Some(Verdict::new(Reason::Deleting, message)), left))
            }
            None => finish(inputs),
        },
        _ => look_to_delete(inputs, Look::Object(id.to_owned())),
    }
}

fn remove_seen<K: Kind>(inputs: &Inputs<'_, K>, remote: &K::Remote, retain: bool) -> Step<K> {
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
    if !is_mine && !was_mine {
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
        return wait(Reason::Deleting, message);
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

/// One DELETE, and then patience: the cloud may take its time.
fn send_delete<K: Kind>(inputs: &Inputs<'_, K>, id: String) -> Step<K> {
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
        return wait(Reason::Deleting, message);
    }
    Step::Delete { id, twin: false }
}

/// How often to look whether a deletion that was accepted is done.
const DELETING: Pace = Pace {
    first: Duration::from_secs(1),
    cap: Duration::from_secs(30),
};

/// The recorded object is gone; a creation that was given up may have left another.
fn finish<K: Kind>(inputs: &Inputs<'_, K>) -> Step<K> {
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
fn search_before_release<K: Kind>(inputs: &Inputs<'_, K>, access: &Access) -> Step<K> {
    if let Some(id) = inputs.view.untold.first() {
        return look_to_delete(inputs, Look::Tags(id.clone()));
    }
    let Some(listed) = inputs.view.listed else {
        return look_to_delete(inputs, Look::Collection);
    };
    if let Some(intent) = &object(inputs).intent {
        return match resolve(inputs, intent, listed, access) {
            Resolved::Absent => Step::Release(None),
            Resolved::NotYet(step) => step,
        };
    }
    if !listed.fresh {
        return look_to_delete(inputs, Look::Collection);
    }
    if !listed.complete {
        let message = format!("looking for the {}: the cloud's list is incomplete", K::NOUN);
        return Step::Rest(Rest::Troubled(Trouble {
            verdict: Verdict::new(Reason::CloudError, message),
            pace: AGAIN,
        }));
    }
    Step::Release(None)
}

fn object<'a, K: Kind>(inputs: &'a Inputs<'_, K>) -> &'a ObjectStatus {
    K::object(inputs.status)
}

/// The tag that names this CR.
pub fn owner<K: Kind>(inputs: &Inputs<'_, K>) -> Owner {
    Owner::new(
        inputs.uid,
        inputs.policy.cluster_name.as_deref(),
        inputs.namespace,
        inputs.name,
    )
}

/// Whether anything waits for the cloud: if not, a failed look changes nothing.
fn has_work<K: Kind>(inputs: &Inputs<'_, K>) -> bool {
    let status = object(inputs);
    let ready = conditions::find(&status.conditions, conditions::READY);
    inputs.triggered
        || status.intent.is_some()
        || status.observed_generation != inputs.generation
        || ready.is_none_or(|ready| ready.status != "True")
}

fn look<K: Kind>(inputs: &Inputs<'_, K>, look: Look) -> Step<K> {
    match &inputs.failed_look {
        Some(trouble) => troubled(inputs, trouble),
        None => Step::Look { look, anew: false },
    }
}

fn look_to_delete<K: Kind>(inputs: &Inputs<'_, K>, look: Look) -> Step<K> {
    match &inputs.failed_look {
        Some(trouble) => Step::Rest(Rest::Troubled(trouble.clone())),
        None => Step::Look { look, anew: false },
    }
}

fn troubled<K: Kind>(inputs: &Inputs<'_, K>, trouble: &Trouble) -> Step<K> {
    if has_work(inputs) {
        Step::Rest(Rest::Troubled(trouble.clone()))
    } else {
        Step::Rest(Rest::Quiet(trouble.pace))
    }
}

/// Whether what the spec refers to was read, and is missing or wrong: unlike a failed look that is to be told, also of
/// what became of it while nobody was looking.
fn is_wanting(trouble: &Trouble) -> bool {
    let reasons = [
        Reason::SecretNotFound,
        Reason::InvalidPassword,
        Reason::InvalidSpec,
        Reason::DependencyNotReady,
    ];
    reasons.contains(&trouble.verdict.reason)
}

fn stop<K: Kind>(reason: Reason, message: impl Into<String>) -> Step<K> {
    Step::Rest(Rest::Troubled(Trouble {
        verdict: Verdict::new(reason, message),
        pace: PERSON,
    }))
}

fn wait<K: Kind>(reason: Reason, message: impl Into<String>) -> Step<K> {
    Step::Rest(Rest::Troubled(Trouble {
        verdict: Verdict::new(reason, message),
        pace: PERSON,
    }))
}

fn crd_deleting<K: Kind>() -> Step<K> {
    let message = format!(
        "the CRD of {} is being deleted, so nothing is deleted in the cloud: set deletionPolicy: Retain on this object to \
         let it go; what stays in the cloud can be adopted later with externalID or adoptionPolicy: IfExists",
        K::KIND
    );
    stop(Reason::CrdDeleting, message)
}

fn scope_changed<K: Kind>(inputs: &Inputs<'_, K>, access: &Access) -> Option<Step<K>> {
    let recorded = object(inputs).scope.as_ref()?;
    let binding = object(inputs).id.is_some() || object(inputs).intent.is_some();
    if !binding || *recorded == access.scope {
        return None;
    }
    let message = format!(
        "the {} lives in project {} at {}, but the credentials now lead to project {} at {}: give back credentials for \
         the old project; nothing is created, changed or deleted until then",
        K::NOUN,
        recorded.project_id,
        recorded.endpoint,
        access.scope.project_id,
        access.scope.endpoint
    );
    Some(stop(Reason::ScopeChanged, message))
}

fn suspects_mass_deletion<K: Kind>(inputs: &Inputs<'_, K>) -> bool {
    let exempt = inputs.lifecycle.external_id.is_some()
        || inputs.lifecycle.management() != ManagementPolicy::Manage
        || !inputs.policy.mass_deletion_guard;
    !exempt && inputs.view.mass_deletion.is_some() && !is_recreation_approved(inputs)
}

/// An approval counts if it was given after the suspicion was raised.
fn is_recreation_approved<K: Kind>(inputs: &Inputs<'_, K>) -> bool {
    let Some(approved) = inputs.recreate_approved.and_then(|text| text.parse::<Timestamp>().ok()) else {
        return false;
    };
    let ready = conditions::find(&object(inputs).conditions, conditions::READY);
    ready.is_some_and(|ready| {
        ready.reason == Reason::MassDeletionSuspected.as_str() && approved >= ready.last_transition_time.0
    })
}

fn mass_deletion<K: Kind>(inputs: &Inputs<'_, K>) -> Step<K> {
    let MassDeletion { missing, of } = inputs.view.mass_deletion.unwrap_or(MassDeletion { missing: 0, of: 0 });
    let message = format!(
        "{missing} of {of} objects of these credentials are missing in the cloud at once, this one among them, so none \
         is made anew: find out why; if they are really gone, and not only out of sight, allow it with: kubectl \
         annotate {} {} -n {} {RECREATE_APPROVED_ANNOTATION}=$(date -u +%FT%TZ) --overwrite",
        K::KIND.to_lowercase(),
        inputs.name,
        inputs.namespace
    );
    stop(Reason::MassDeletionSuspected, message)
}

fn already_managed<K: Kind>(inputs: &Inputs<'_, K>, id: &str, value: &str) -> Step<K> {
    let key = &inputs.policy.owner_tag_key;
    let mine = owner(inputs);
    let is_former_self = Owner::parse(value).is_some_and(|theirs| theirs.same_place(&mine));
    let way_out = if was_marked(inputs, id) {
        ", which was put in the place of this object's own: does another cluster with the same --cluster-name run, or a \
         copy of this object? Stop that one's operator, or give each cluster a name of its own; then remove that tag in \
         the cloud, and this object takes the gateway back"
    } else if is_former_self {
        // Its tag names no cluster, so --cluster-name would come too late now.
        ", this object as it was before it was made anew; to take it back set externalID to this id (with --cluster-name, \
         set from the start, that happens by itself)"
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

/// The event of a creation.
pub fn created_event<K: Kind>(remote: &K::Remote) -> (&'static str, String) {
    ("Created", format!("created the {} {}", K::NOUN, remote.id()))
}

fn adopted_event<K: Kind>(remote: &K::Remote) -> (&'static str, String) {
    ("Adopted", format!("adopted the {} {}", K::NOUN, remote.id()))
}

fn found_event<K: Kind>(remote: &K::Remote) -> (&'static str, String) {
    let how = if K::Remote::TAGGED {
        "by its ownership tag"
    } else {
        "which an earlier creation of this object made"
    };
    ("Adopted", format!("found the {} {} {how}", K::NOUN, remote.id()))
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "decide_user_tests.rs"]
mod user_tests;
