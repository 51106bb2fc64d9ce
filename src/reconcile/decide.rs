//! Decides one step from the declared, recorded and observed state. Pure and synchronous, so that every state that a
//! crash can leave behind is a row in a table of tests. One file per question: creation and adoption (`establish`),
//! owner (`ownership`), maintenance (`tend`), deletion (`delete`).

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
use crate::api::conditions::{self, ReadyCondition, Reason};
use crate::api::{DeletionPolicy, Lifecycle, ManagementPolicy, ObjectStatus, RECREATE_APPROVED_ANNOTATION, Scope};
use crate::cache::{Listed, MassDeletion, Observed, Query, Remote};
use crate::cloud::clock::longest_wait;
use crate::cloud::error::Backoff;
use crate::cloud::{CloudError, ErrorKind};
use crate::owner_tag::Owner;

/// Maximum number of tags on one object (contract: at most 20, the owner tag included).
const MAX_TAGS: usize = 20;

/// The operator's settings that decisions depend on.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub cluster_name: Option<String>,
    pub owner_tag_key: String,
    pub default_deletion: DeletionPolicy,
    pub mass_deletion_guard: bool,
    pub read_only: bool,
    pub confirmation_period: Duration,
    /// Only Huawei Cloud has certificates and FQDN identifiers.
    pub is_otc: bool,
    /// The guard that a test disables, to see the effect.
    #[cfg(test)]
    pub without: Option<Guard>,
}

/// What the credentials give access to.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    pub scope: Scope,
    /// The cloud's current time, never ahead of it; `None` until an answer reports it.
    pub cloud_now: Option<Timestamp>,
}

/// Why a step is not possible now, and when to try again.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    pub condition: ReadyCondition,
    pub backoff: Backoff,
}

/// Another CR that has, or claims, the same cloud object or the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompetingClaim {
    pub namespace: String,
    pub name: String,
    /// It is being deleted, which may release the object or the name without user action.
    pub deleting: bool,
}

/// The outcome of a DELETE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// The cloud deletes the object, sooner or later.
    Accepted,
    /// The cloud has no such object.
    NotFound,
    /// The answer was lost: the cloud may have accepted the DELETE.
    Lost,
}

impl DeleteOutcome {
    /// `None`: the cloud refused the DELETE.
    pub fn of<T>(answer: &Result<T, CloudError>) -> Option<Self> {
        match answer {
            Ok(_) => Some(Self::Accepted),
            Err(error) if error.kind == ErrorKind::Gone => Some(Self::NotFound),
            Err(error) if error.outcome_unknown => Some(Self::Lost),
            Err(_) => None,
        }
    }
}

/// A DELETE that this process sent, and the cloud did not refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentDelete {
    /// `Accepted` if it was accepted at any time.
    pub outcome: DeleteOutcome,
    /// It was accepted so recently that reads may still return the object: it is not sent again.
    pub is_pending: bool,
}

impl SentDelete {
    /// Whether the cloud accepted it, or had no such object.
    pub fn is_answered(self) -> bool {
        self.outcome != DeleteOutcome::Lost
    }
}

#[cfg(test)]
impl SentDelete {
    /// The cloud has just accepted it.
    pub const PENDING: Self = Self {
        outcome: DeleteOutcome::Accepted,
        is_pending: true,
    };
    /// The cloud answered it, and the wait for its effect is over.
    pub const ANSWERED: Self = Self {
        outcome: DeleteOutcome::NotFound,
        is_pending: false,
    };
}

/// The resources that the spec refers to, as far as they could be read.
#[derive(Clone, Debug, PartialEq)]
pub enum Dereferencing<E> {
    Read(E),
    /// A read is in progress; the object is enqueued when it ends.
    Waiting,
    Lacking(Failure),
    /// The spec names something that does not exist in the cloud. Unlike a failed read, this is observed.
    Absent(Failure),
}

/// The content of the cache, seen from one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation<R> {
    pub listed: Option<Listed>,
    /// Of the recorded id, else of `externalID`.
    pub known: Observed<R>,
    /// Carry our uid, or, for kinds without tags, match the record in status; oldest first.
    pub owned: Vec<R>,
    /// Carry our namespace and name in the owner tag, and another uid.
    pub former_owners: Vec<R>,
    /// Could be adopted: have the name and the identifier of the spec, and are unmanaged unless the spec only observes.
    pub candidates: Vec<R>,
    /// Matches the immutable fields of the spec, and carries a tag that names a CR of this cluster that no longer
    /// exists.
    pub orphan: Option<R>,
    /// Could be ours, but the fields that show it are unknown: their tags, or fields that are unreadable in a list.
    pub tags_unknown: Vec<String>,
    /// Must be read one by one, since a list may have omitted fields that matter.
    pub unread: Vec<String>,
    pub mass_deletion: Option<MassDeletion>,
    /// Whether the number of missing objects is known. If not, no missing object counts as lost.
    pub counted: bool,
    /// A CR with a better claim to the known id.
    pub competing_claim: Option<CompetingClaim>,
    /// Where names are unique: an unmanaged object that has the name that we would create.
    pub name_collision: Option<R>,
    /// Another CR that holds, or is about to create, the name. Where names are not unique: one that is about to create
    /// an object of this name and identifier.
    pub name_holder: Option<CompetingClaim>,
    /// The uid in the known object's tag belongs to a CR that still exists.
    pub owner_lives: bool,
    /// A namespace whose CRs are unknown: any of them may hold what this spec requests.
    pub unlisted: Option<Unlisted>,
}

impl<R> Observation<R> {
    /// Nothing is known.
    pub fn blank() -> Self {
        Self {
            listed: None,
            known: Observed::Unknown,
            owned: Vec::new(),
            former_owners: Vec::new(),
            candidates: Vec::new(),
            orphan: None,
            tags_unknown: Vec::new(),
            unread: Vec::new(),
            mass_deletion: None,
            counted: true,
            competing_claim: None,
            name_collision: None,
            name_holder: None,
            owner_lives: false,
            unlisted: None,
        }
    }
}

/// Everything that a decision depends on.
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
    /// When recreation was approved, if the approval is valid.
    pub recreation_approved_at: Option<Timestamp>,
    pub spec: &'a Result<K::Spec, String>,
    pub lifecycle: &'a Lifecycle,
    pub status: &'a K::Status,
    /// When the deletion of the CRD itself was requested.
    pub crd_deleting_since: Option<&'a Time>,
    pub access: Result<Access, Failure>,
    pub dereferenced: Dereferencing<K::Dereferenced>,
    /// Whether the parent of the object, a collection of the project, is known.
    pub has_home: bool,
    pub observation: Observation<K::Remote>,
    /// The failure of the requested read.
    pub failed_query: Option<Failure>,
    /// Something triggered a reconciliation: an edit, a Secret, an annotation, a deletion.
    pub triggered: bool,
    /// The DELETE of the recorded id.
    pub sent_delete: Option<SentDelete>,
    /// Ids recorded as lost that no other object has a better claim to, and whose DELETE this process has no answer to.
    pub undeleted: Vec<String>,
    /// A change that the cloud accepted and that no read shows yet.
    pub accepted: Option<K::Change>,
    /// The recorded creation was replayed, and its outcome is still unknown.
    pub replayed: bool,
    /// Whether this cloud overwrites the value of a tag that exists.
    pub overwrites_tags: bool,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step<K: Kind> {
    /// Read from the cloud. `anew`: only a read that starts from now on is sufficient.
    Query {
        look: Query,
        anew: bool,
    },
    AddFinalizer,
    /// Record the intent, then create.
    Create(K::New),
    /// Replay the recorded creation with its own client token: the answer shows the outcome.
    Replay(K::New),
    /// One call that updates an object.
    Change {
        id: String,
        call: K::Change,
        why: Why,
    },
    /// One DELETE.
    Delete {
        id: String,
        duplicate: bool,
    },
    /// Record a fact, then continue.
    Note(Note<K::Remote>),
    /// Nothing is left to do in the cloud: remove the finalizer.
    Release(Option<String>),
    Rest(Rest<K::Remote>),
}

/// Why an object is changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Why {
    /// These fields differ from the spec.
    Differs(Vec<String>),
    /// Add our owner tag.
    Mark,
    /// Remove our owner tag.
    LetGo,
}

/// A fact to record.
#[derive(Clone, Debug, PartialEq)]
pub enum Note<R> {
    /// This object is ours.
    Found {
        remote: R,
        event: Option<(&'static str, String)>,
    },
    /// The recorded object no longer exists and is to be recreated.
    Lost,
    /// The intent led to no creation.
    GivenUp,
    /// The recorded object no longer exists, and its creation was never confirmed.
    Vanished,
    /// The recorded object, whose loss was suspected to be part of a mass deletion, exists again.
    Returned,
    /// A recorded time is later than any request can last: the cloud's clock was wrong when it was recorded.
    Unbelievable,
}

/// Nothing to do for now.
#[derive(Clone, Debug, PartialEq)]
pub enum Rest<R> {
    /// Confirmed against the cloud. The drifted fields and the duplicates are only reported.
    Confirmed {
        remote: R,
        drifted: Vec<String>,
        unexplained_duplicates: Vec<String>,
    },
    /// Report the failure, and retry with its backoff.
    Troubled(Failure),
    /// Report nothing, and retry with this backoff: no work waits for the cloud's answer.
    Quiet(Backoff),
    /// Set this condition, if any, and reconcile again after that time.
    Until(Option<ReadyCondition>, Duration),
    /// Report nothing: the read in progress enqueues the object when it ends.
    Waiting,
    Paused,
    /// The object has no finalizer of ours.
    Done,
}

/// Retried with backoff.
pub const RETRY: Backoff = Backoff {
    first: Duration::from_secs(1),
    cap: Duration::from_secs(300),
    is_exact: false,
};
/// Waits for something that may happen without user action.
pub const POLL: Backoff = Backoff {
    first: Duration::from_secs(5),
    cap: Duration::from_secs(60),
    is_exact: false,
};
/// Requires user action; checked again every 10 minutes.
pub const USER_ACTION: Backoff = Backoff {
    first: Duration::from_secs(600),
    cap: Duration::from_secs(600),
    is_exact: false,
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
    let latest = longest_wait(*cloud_now, inputs.policy.confirmation_period);
    let mut past = object(inputs).past_intents.iter().map(|past| past.deadline.0);
    // Without a parent, nothing can be recorded.
    inputs.has_home
        && (past.any(|deadline| deadline > latest)
            || K::awaited(&mut inputs.status.clone()).iter().any(|at| at.0 > latest))
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
        Err(failure) => return troubled(inputs, failure),
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

/// Stops without a write if another object has a better claim to this one's cloud object.
fn held_by_another<K: Kind>(inputs: &Inputs<'_, K>, id: &str) -> Option<Step<K>> {
    let competing_claim = inputs.observation.competing_claim.as_ref()?;
    if !inputs.policy.keeps(Guard::OneHolder) {
        return None;
    }
    let CompetingClaim {
        namespace,
        name,
        deleting,
    } = competing_claim;
    let (noun, kind) = (K::NOUN, K::KIND);
    if *deleting {
        let message = format!(
            "the {noun} {id} still belongs to the {kind} {namespace}/{name}, which is being deleted: it is read again \
             once that one is deleted"
        );
        return Some(Step::Rest(Rest::Troubled(Failure {
            condition: ReadyCondition::new(Reason::DependencyNotReady, message),
            backoff: POLL,
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

/// The cloud's clock is known in whole seconds: one more second ensures that the time is reached.
fn time_left(at: Timestamp, cloud_now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(cloud_now)).unwrap_or_default() + Duration::from_secs(1)
}

fn homeless<K: Kind>() -> String {
    format!(
        "the location of the {} in the project is not known, since spec cannot be read and status records none: \
         correct spec",
        K::NOUN
    )
}

fn object<'a, K: Kind>(inputs: &'a Inputs<'_, K>) -> &'a ObjectStatus {
    K::object(inputs.status)
}

/// Returns the owner tag that names this CR.
pub fn owner<K: Kind>(inputs: &Inputs<'_, K>) -> Owner {
    Owner::new(
        inputs.uid,
        inputs.policy.cluster_name.as_deref(),
        inputs.namespace,
        inputs.name,
    )
}

/// Whether anything waits for the cloud: if not, a failed read changes nothing.
fn has_work<K: Kind>(inputs: &Inputs<'_, K>) -> bool {
    let status = object(inputs);
    let ready = conditions::find(&status.conditions, conditions::READY);
    inputs.triggered
        || status.intent.is_some()
        || status.observed_generation != inputs.generation
        || ready.is_none_or(|ready| ready.status != "True")
}

fn look<K: Kind>(inputs: &Inputs<'_, K>, look: Query) -> Step<K> {
    match &inputs.failed_query {
        Some(failure) => troubled(inputs, failure),
        None => Step::Query { look, anew: false },
    }
}

/// Returns the query that shows the owner of an object.
fn owner_of<K: Kind>(id: &str) -> Query {
    if K::Remote::TAGGED {
        Query::Tags(id.to_owned())
    } else {
        Query::Whole(id.to_owned())
    }
}

fn read_before_delete<K: Kind>(inputs: &Inputs<'_, K>, look: Query) -> Step<K> {
    match &inputs.failed_query {
        Some(failure) => Step::Rest(Rest::Troubled(failure.clone())),
        None => Step::Query { look, anew: false },
    }
}

fn troubled<K: Kind>(inputs: &Inputs<'_, K>, failure: &Failure) -> Step<K> {
    if has_work(inputs) {
        Step::Rest(Rest::Troubled(failure.clone()))
    } else {
        Step::Rest(Rest::Quiet(failure.backoff))
    }
}

/// Whether a resource that the spec refers to was read, and is missing or wrong. Unlike a failed read, this is always
/// reported, even if it happened while no watch was running.
fn is_wanting(failure: &Failure) -> bool {
    let reasons = [
        Reason::SecretNotFound,
        Reason::InvalidPassword,
        Reason::InvalidSpec,
        Reason::DependencyNotReady,
    ];
    reasons.contains(&failure.condition.reason)
}

fn stop<K: Kind>(reason: Reason, message: impl Into<String>) -> Step<K> {
    Step::Rest(Rest::Troubled(Failure {
        condition: ReadyCondition::new(reason, message),
        backoff: USER_ACTION,
    }))
}

fn crd_deleting<K: Kind>() -> Step<K> {
    let message = format!(
        "the CRD of {} is being deleted, so nothing is deleted in the cloud: set deletionPolicy: Retain on this \
         object to release it; what stays in the cloud can be adopted later with externalID or adoptionPolicy: \
         IfExists",
        K::KIND
    );
    stop(Reason::CrdDeleting, message)
}

fn scope_changed<K: Kind>(inputs: &Inputs<'_, K>, access: &Access) -> Option<Step<K>> {
    let recorded = object(inputs).scope.as_ref()?;
    let has_unresolved = object(inputs).unresolved_creations().next().is_some();
    let may_have_more = has_unresolved || !K::lost_ids(inputs.status).is_empty();
    let leaves_it = inputs.deleting_since.is_some() && may_have_more;
    let binding = object(inputs).id.is_some() || object(inputs).intent.is_some() || leaves_it;
    if !binding || *recorded == access.scope {
        return None;
    }
    let (old, new) = (recorded, &access.scope);
    // A flag can declare that both endpoints of the project are the same one.
    let alias = match old.project_id == new.project_id {
        true => format!(
            ", or, if both are names of one endpoint, start the operator with --endpoint-alias {}={}",
            old.endpoint, new.endpoint
        ),
        false => String::new(),
    };
    let until_then = match inputs.deleting_since {
        Some(_) => {
            "the deletion waits until then (deletionPolicy: Retain releases this object and keeps its resources \
             there)"
        }
        None => "nothing is created, changed or deleted until then",
    };
    let message = format!(
        "the {} is in project {} at {}, but the credentials now belong to project {} at {}: restore credentials for \
         the old project{alias}; {until_then}",
        K::NOUN,
        old.project_id,
        old.endpoint,
        new.project_id,
        new.endpoint
    );
    Some(stop(Reason::ScopeChanged, message))
}

/// Once suspected, a mass deletion stays suspected for this object until recreation is approved or the object exists
/// again. Other objects have no influence on it then.
fn suspects_mass_deletion<K: Kind>(inputs: &Inputs<'_, K>) -> bool {
    let exempt = inputs.lifecycle.external_id.is_some()
        || inputs.lifecycle.management() != ManagementPolicy::Manage
        || !inputs.policy.mass_deletion_guard;
    !exempt
        && match &object(inputs).mass_deletion_suspected_at {
            Some(suspected_at) => !is_recreation_approved(inputs, suspected_at),
            None => inputs.observation.mass_deletion.is_some(),
        }
}

/// An approval counts if it was given after the suspicion began.
fn is_recreation_approved<K: Kind>(inputs: &Inputs<'_, K>, suspected_at: &Time) -> bool {
    let approved = inputs.recreation_approved_at;
    approved.is_some_and(|approved| approved >= suspected_at.0)
}

/// Precedes the time of an approval that does not count.
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
        // Keeps the count from the start of the suspicion: a changing count would change the message each time.
        let began = reported.message.split(TOO_EARLY).next().unwrap_or_default();
        return stop(Reason::MassDeletionSuspected, format!("{began}{too_early}"));
    }
    let how_many = match inputs.observation.mass_deletion {
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

/// One answer reports that the object does not exist: a LIST that starts later must confirm it.
fn confirm_absence<K: Kind>(
    inputs: &Inputs<'_, K>,
    id: &str,
    list_incomplete: bool,
    look: impl Fn(&Inputs<'_, K>, Query) -> Step<K>,
) -> Step<K> {
    if !list_incomplete {
        return look(inputs, Query::Collection);
    }
    let message = format!(
        "whether the {} {id} still exists is not known: one request for it was answered with 404, and the cloud's \
         list, which is to confirm that, is incomplete; both are read again",
        K::NOUN
    );
    let condition = ReadyCondition::new(Reason::CloudError, message);
    let failure = Failure {
        condition,
        backoff: RETRY,
    };
    if inputs.deleting_since.is_some() {
        return Step::Rest(Rest::Troubled(failure));
    }
    troubled(inputs, &failure)
}

/// Returns the Event of a creation.
pub fn created_event<K: Kind>(remote: &K::Remote) -> (&'static str, String) {
    ("Created", format!("created the {} {}", K::NOUN, remote.id()))
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod user_tests;
