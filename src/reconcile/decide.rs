//! The decision: from what is declared, recorded and observed to one step. Pure and synchronous, so that every state
//! that a crash can leave behind is a row in a table of tests. A file for each question: how an object comes to be
//! (`establish`), whose it is (`ownership`), what is kept up (`tend`), how it goes (`delete`).

mod delete;
mod establish;
mod guard;
mod ownership;
mod tend;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use self::delete::delete;
use self::establish::{adopt, establish};
pub use self::guard::Guard;
pub use self::tend::settling;
use self::tend::tend;
use super::initial_list::Unlisted;
use super::kind::Kind;
use crate::api::conditions::{self, Reason, Verdict};
use crate::api::{DeletionPolicy, Lifecycle, ManagementPolicy, ObjectStatus, RECREATE_APPROVED_ANNOTATION, Scope};
use crate::cloud::clock::longest_wait;
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
    /// What is not asked, to see what comes of it.
    #[cfg(test)]
    pub without: Option<Guard>,
}

/// Where the credentials lead.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    pub scope: Scope,
    /// The cloud's present time, never ahead of it; `None` until an answer tells it.
    pub cloud_now: Option<Timestamp>,
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
    /// What the spec could adopt: unmanaged, with the name and the identifier that it asks for.
    pub candidates: Vec<R>,
    /// Has, in what cannot be changed, what the spec asks for, and a tag that names a CR of this cluster that is no more.
    pub orphan: Option<R>,
    /// Could be ours, but what would tell is not known: their tags, or fields that a list has not told in a way that can be
    /// read.
    pub untold: Vec<String>,
    /// Must be read one by one, since a list may have omitted fields that matter.
    pub unread: Vec<String>,
    pub mass_deletion: Option<MassDeletion>,
    /// Whether it is known how many are missing; if it is not, nothing that is gone is taken for lost.
    pub counted: bool,
    /// A CR with a better claim to the known id.
    pub rival: Option<Rival>,
    /// Where names are unique: an object that nobody of ours has, and whose name is the one that we would create.
    pub namesake: Option<R>,
    /// Another CR that holds, or is about to create, the name; where names are not unique, one that is about to create an
    /// object of this name and identifier.
    pub name_holder: Option<Rival>,
    /// The uid that the known object's tag names is a CR that still lives.
    pub owner_lives: bool,
    /// A namespace whose CRs are not known: any of them may have what this one asks for.
    pub unlisted: Option<Unlisted>,
}

impl<R> View<R> {
    /// Nothing is known.
    pub fn blank() -> Self {
        Self {
            listed: None,
            known: Sighting::Unknown,
            owned: Vec::new(),
            predecessors: Vec::new(),
            candidates: Vec::new(),
            orphan: None,
            untold: Vec::new(),
            unread: Vec::new(),
            mass_deletion: None,
            counted: true,
            rival: None,
            namesake: None,
            name_holder: None,
            owner_lives: false,
            unlisted: None,
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
    /// When a recreation was approved, if that counts.
    pub recreation_approved_at: Option<Timestamp>,
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
    /// The recorded object, whose loss was suspected to be part of a mass deletion, is there again.
    Returned,
    /// A recorded time lies beyond any window of a request: the cloud's clock was wrong when it was recorded.
    Unbelievable,
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
    if awaits_an_unbelievable_time(inputs) {
        return Step::Note(Note::Unbelievable);
    }
    match inputs.deleting_since {
        Some(since) => delete(inputs, since),
        None => maintain(inputs),
    }
}

/// Whether the object would wait for longer than any request can take.
fn awaits_an_unbelievable_time<K: Kind>(inputs: &Inputs<'_, K>) -> bool {
    let Ok(Access {
        cloud_now: Some(cloud_now),
        ..
    }) = &inputs.access
    else {
        return false;
    };
    let latest = longest_wait(*cloud_now, inputs.policy.settle_time);
    // Without a home nothing can be recorded.
    inputs.has_home && K::awaited(&mut inputs.status.clone()).iter().any(|at| at.0 > latest)
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
    let Some(id) = &object(inputs).id else {
        return establish(inputs, spec, access);
    };
    let manages = inputs.lifecycle.management() != ManagementPolicy::Observe;
    if manages && object(inputs).observe_only && inputs.policy.keeps(Guard::ObserverClaims) {
        return adopt(inputs, spec, id);
    }
    if manages && let Some(step) = held_by_another(inputs, id) {
        return step;
    }
    tend(inputs, spec, access, id)
}

/// Another object has a better claim to this one's cloud object: nothing is written.
fn held_by_another<K: Kind>(inputs: &Inputs<'_, K>, id: &str) -> Option<Step<K>> {
    let rival = inputs.view.rival.as_ref()?;
    if !inputs.policy.keeps(Guard::OneHolder) {
        return None;
    }
    let Rival {
        namespace,
        name,
        deleting,
    } = rival;
    let (noun, kind) = (K::NOUN, K::KIND);
    if *deleting {
        let message = format!(
            "the {noun} {id} still belongs to the {kind} {namespace}/{name}, which is being deleted: it is read again once \
             that one is deleted"
        );
        return Some(Step::Rest(Rest::Troubled(Trouble {
            verdict: Verdict::new(Reason::DependencyNotReady, message),
            pace: WAIT,
        })));
    }
    let way_out = if inputs.lifecycle.external_id.is_some() && object(inputs).id.is_none() {
        "remove externalID here, or delete that one first"
    } else {
        "delete this object, which leaves it in the cloud, or delete that one first"
    };
    let message = format!(
        "the {noun} {id} belongs to the {kind} {namespace}/{name}: {way_out} (with deletionPolicy: Retain to keep the \
         cloud's)"
    );
    Some(stop(Reason::AlreadyManaged, message))
}

/// The cloud's clock is known in whole seconds: one more, and that time has surely come.
fn time_left(at: Timestamp, cloud_now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(cloud_now)).unwrap_or_default() + Duration::from_secs(1)
}

fn homeless<K: Kind>() -> String {
    format!(
        "where in the project the {} lives is not known, since spec cannot be read and nothing is on record: correct spec",
        K::NOUN
    )
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

/// How to read what tells whose an object is.
fn owner_of<K: Kind>(id: &str) -> Look {
    if K::Remote::TAGGED {
        Look::Tags(id.to_owned())
    } else {
        Look::Whole(id.to_owned())
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
    let (old, new) = (recorded, &access.scope);
    // The same project by another name of its endpoint can be declared.
    let alias = match old.project_id == new.project_id {
        true => format!(
            ", or, if both are names of one endpoint, start the operator with --endpoint-alias {}={}",
            old.endpoint, new.endpoint
        ),
        false => String::new(),
    };
    let message = format!(
        "the {} lives in project {} at {}, but the credentials now lead to project {} at {}: give back credentials for \
         the old project{alias}; nothing is created, changed or deleted until then",
        K::NOUN,
        old.project_id,
        old.endpoint,
        new.project_id,
        new.endpoint
    );
    Some(stop(Reason::ScopeChanged, message))
}

/// Once suspected, it stays so for this object until it is approved or the object is there again, however many others are.
fn suspects_mass_deletion<K: Kind>(inputs: &Inputs<'_, K>) -> bool {
    let exempt = inputs.lifecycle.external_id.is_some()
        || inputs.lifecycle.management() != ManagementPolicy::Manage
        || !inputs.policy.mass_deletion_guard;
    !exempt
        && match &object(inputs).mass_deletion_suspected_at {
            Some(suspected_at) => !is_recreation_approved(inputs, suspected_at),
            None => inputs.view.mass_deletion.is_some(),
        }
}

/// An approval counts if it was given after the suspicion began.
fn is_recreation_approved<K: Kind>(inputs: &Inputs<'_, K>, suspected_at: &Time) -> bool {
    let approved = inputs.recreation_approved_at;
    approved.is_some_and(|approved| approved >= suspected_at.0)
}

/// Before the time of an approval that does not count.
const TOO_EARLY: &str = "; the approval of ";

fn mass_deletion<K: Kind>(inputs: &Inputs<'_, K>) -> Step<K> {
    let ready = conditions::find(&object(inputs).conditions, conditions::READY);
    let reported = ready.filter(|ready| ready.reason == Reason::MassDeletionSuspected.as_str());
    let too_early = match inputs.recreation_approved_at {
        Some(approved) => {
            format!("{TOO_EARLY}{approved} was given before that, by its date: set it again to the present time")
        }
        None => String::new(),
    };
    if let Some(reported) = reported {
        // As it was when the suspicion began: a count that moves would be another message each time.
        let began = reported.message.split(TOO_EARLY).next().unwrap_or_default();
        return stop(Reason::MassDeletionSuspected, format!("{began}{too_early}"));
    }
    let how_many = match inputs.view.mass_deletion {
        Some(MassDeletion { missing, of }) => format!("{missing} of {of}"),
        None => "many".to_owned(),
    };
    let message = format!(
        "{how_many} resources of these credentials were missing in the cloud at once, this one among them; automatic \
         recreation is suspended: check the project; to recreate this one: kubectl annotate {} {} -n {} \
         {RECREATE_APPROVED_ANNOTATION}=$(date -u +%FT%TZ) --overwrite{too_early}",
        <K::Resource as kube::CustomResourceExt>::crd_name(),
        inputs.name,
        inputs.namespace
    );
    stop(Reason::MassDeletionSuspected, message)
}

/// One answer says that the object does not exist: a LIST that is started later is to confirm it.
fn confirm_absence<K: Kind>(
    inputs: &Inputs<'_, K>,
    id: &str,
    list_incomplete: bool,
    look: impl Fn(&Inputs<'_, K>, Look) -> Step<K>,
) -> Step<K> {
    if !list_incomplete {
        return look(inputs, Look::Collection);
    }
    let message = format!(
        "whether the {} {id} still exists is not known: one request for it was answered with 404, and the cloud's list, which \
         is to confirm that, is incomplete; both are read again",
        K::NOUN
    );
    let verdict = Verdict::new(Reason::CloudError, message);
    let trouble = Trouble { verdict, pace: AGAIN };
    if inputs.deleting_since.is_some() {
        return Step::Rest(Rest::Troubled(trouble));
    }
    troubled(inputs, &trouble)
}

/// The event of a creation.
pub fn created_event<K: Kind>(remote: &K::Remote) -> (&'static str, String) {
    ("Created", format!("created the {} {}", K::NOUN, remote.id()))
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod user_tests;
