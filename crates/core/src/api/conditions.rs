//! Conditions and reasons. Their names are stable, because users write scripts against them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use vpn_cloud::text::one_line;

/// Types of conditions.
pub const READY: &str = "Ready";

pub(crate) const RECONCILING: &str = "Reconciling";

/// As in kstatus: only user action can resolve it. Absent while it does not hold.
pub const STALLED: &str = "Stalled";

/// The cloud differs from the spec in fields that are only reported. Absent while it does not hold.
pub const DRIFTED: &str = "Drifted";

/// The annotation [`super::PAUSED_ANNOTATION`] pauses reconciliation. Absent otherwise.
pub const PAUSED: &str = "Paused";

/// Whether the credentials work. Absent for an object that uses none, or whose credentials never failed.
pub const CREDENTIALS_HEALTHY: &str = "CredentialsHealthy";

/// One of our annotations has an invalid value. Absent while all are valid.
pub const INVALID_ANNOTATION: &str = "InvalidAnnotation";

/// Maximum length of a message, which may quote text of the cloud, a Secret or a tag. The schema of conditions allows
/// 32,768 characters.
const LONGEST_MESSAGE: usize = 2000;

/// The reason of `Ready`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Confirmed in the cloud as specified, except for drift that is only reported.
    Available,
    /// The resource is being created, or its creation is not confirmed yet.
    Creating,
    /// A difference is being corrected.
    Updating,
    /// The resource is being deleted.
    Deleting,
    /// A Secret that the object refers to does not exist.
    SecretNotFound,
    /// Something that the object needs is missing or not ready; it may change without user action.
    DependencyNotReady,
    /// The cloud, or the operator on its behalf, limits the rate of requests.
    Throttled,
    /// The cloud failed, or its answer does not show the outcome.
    CloudError,
    /// The spec cannot be read, contradicts itself, or differs from the cloud in an immutable field.
    InvalidSpec,
    /// The cloud refuses the password, or the Secret holds none that can be sent.
    InvalidPassword,
    /// The name is taken, or several resources could be meant.
    NameConflict,
    /// The resource belongs to another owner.
    AlreadyManaged,
    /// The resource does not exist and is not recreated automatically.
    NotFound,
    /// The credentials lead to another endpoint or project than the recorded one.
    ScopeChanged,
    /// Many resources are missing at once: none is recreated without approval.
    MassDeletionSuspected,
    /// The CRD itself is being deleted, so nothing is deleted in the cloud.
    #[doc(alias = "CRDDeleting")]
    CrdDeleting,
    /// The cloud does not accept the credentials.
    Unauthorized,
    /// The credentials lack a permission.
    Forbidden,
    /// The endpoint does not serve the requested API.
    NotAvailable,
    /// The quota of the project is exhausted.
    QuotaExceeded,
    /// The cloud refuses the request for another reason.
    Rejected,
    /// The operator failed: a bug.
    InternalError,
}

/// What a reason means for users who wait for an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Confirmed as specified.
    Done,
    /// The operator is working, or waits for something that requires no user action.
    Reconciling,
    /// Requires user action.
    Stalled,
}

impl Reason {
    /// Every reason, in the order of the documentation.
    pub const ALL: [Reason; 22] = [
        Reason::Available,
        Reason::Creating,
        Reason::Updating,
        Reason::Deleting,
        Reason::SecretNotFound,
        Reason::DependencyNotReady,
        Reason::Throttled,
        Reason::CloudError,
        Reason::InvalidSpec,
        Reason::InvalidPassword,
        Reason::NameConflict,
        Reason::AlreadyManaged,
        Reason::NotFound,
        Reason::ScopeChanged,
        Reason::MassDeletionSuspected,
        Reason::CrdDeleting,
        Reason::Unauthorized,
        Reason::Forbidden,
        Reason::NotAvailable,
        Reason::QuotaExceeded,
        Reason::Rejected,
        Reason::InternalError,
    ];

    /// The name in the condition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Available => "Available",
            Reason::Creating => "Creating",
            Reason::Updating => "Updating",
            Reason::Deleting => "Deleting",
            Reason::SecretNotFound => "SecretNotFound",
            Reason::DependencyNotReady => "DependencyNotReady",
            Reason::Throttled => "Throttled",
            Reason::CloudError => "CloudError",
            Reason::InvalidSpec => "InvalidSpec",
            Reason::InvalidPassword => "InvalidPassword",
            Reason::NameConflict => "NameConflict",
            Reason::AlreadyManaged => "AlreadyManaged",
            Reason::NotFound => "NotFound",
            Reason::ScopeChanged => "ScopeChanged",
            Reason::MassDeletionSuspected => "MassDeletionSuspected",
            Reason::CrdDeleting => "CRDDeleting",
            Reason::Unauthorized => "Unauthorized",
            Reason::Forbidden => "Forbidden",
            Reason::NotAvailable => "NotAvailable",
            Reason::QuotaExceeded => "QuotaExceeded",
            Reason::Rejected => "Rejected",
            Reason::InternalError => "InternalError",
        }
    }

    /// Whether the object is done, in progress or stalled.
    pub const fn progress(self) -> Progress {
        match self {
            Reason::Available => Progress::Done,
            Reason::Creating
            | Reason::Updating
            | Reason::Deleting
            | Reason::SecretNotFound
            | Reason::DependencyNotReady
            | Reason::Throttled
            | Reason::CloudError => Progress::Reconciling,
            Reason::InvalidSpec
            | Reason::InvalidPassword
            | Reason::NameConflict
            | Reason::AlreadyManaged
            | Reason::NotFound
            | Reason::ScopeChanged
            | Reason::MassDeletionSuspected
            | Reason::CrdDeleting
            | Reason::Unauthorized
            | Reason::Forbidden
            | Reason::NotAvailable
            | Reason::QuotaExceeded
            | Reason::Rejected
            | Reason::InternalError => Progress::Stalled,
        }
    }

    /// Whether the reason is the outcome of a request to the cloud. The same outcome of a retry is not news.
    pub(crate) const fn is_clouds_answer(self) -> bool {
        matches!(
            self,
            Reason::DependencyNotReady
                | Reason::Throttled
                | Reason::CloudError
                | Reason::NameConflict
                | Reason::Unauthorized
                | Reason::Forbidden
                | Reason::NotAvailable
                | Reason::QuotaExceeded
                | Reason::Rejected
        )
    }

    /// Whether the reason describes normal progress, which needs no Warning.
    pub const fn is_in_progress(self) -> bool {
        matches!(
            self,
            Reason::Available | Reason::Creating | Reason::Updating | Reason::Deleting
        )
    }
}

/// The state that an object reports in `Ready` and `Drifted`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyCondition {
    /// The reason of `Ready`; the other conditions follow from it.
    pub reason: Reason,
    /// One line: what failed, its cause, and what to do.
    pub message: String,
    /// Names of the fields that differ in the cloud, if drift is only reported.
    pub drifted: Vec<String>,
}

impl ReadyCondition {
    /// A condition without drift. The message becomes one line, whatever it quotes.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: one_line(&message.into(), LONGEST_MESSAGE),
            drifted: Vec::new(),
        }
    }
}

/// Updates `conditions`. A transition time changes only with the status of its condition.
pub fn apply(conditions: &mut Vec<Condition>, condition: &ReadyCondition, generation: Option<i64>, now: &Time) {
    let progress = condition.reason.progress();
    let ready = progress == Progress::Done;
    let reason = condition.reason.as_str();
    let message = keep_first_request_id(conditions, READY, reason, &condition.message);
    set(conditions, READY, ready, reason, &message, generation, now);
    set_abnormal(
        conditions,
        RECONCILING,
        progress == Progress::Reconciling,
        reason,
        &message,
        generation,
        now,
    );
    set_abnormal(
        conditions,
        STALLED,
        progress == Progress::Stalled,
        reason,
        &message,
        generation,
        now,
    );
    let drift = format!("differs in the cloud: {}", condition.drifted.join(", "));
    set_abnormal(
        conditions,
        DRIFTED,
        !condition.drifted.is_empty(),
        "DriftDetected",
        &drift,
        generation,
        now,
    );
    remove(conditions, PAUSED);
}

/// Adds `Paused`. All other conditions keep their values.
pub fn pause(conditions: &mut Vec<Condition>, generation: Option<i64>, now: &Time) {
    let message = format!(
        "reconciliation is paused by the annotation {}: remove it to resume",
        super::PAUSED_ANNOTATION
    );
    set(conditions, PAUSED, true, "Paused", &message, generation, now);
}

/// The health of the credentials that an object uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialsHealth {
    /// They work again.
    Works,
    /// They fail in this way.
    Fails(ReadyCondition),
    /// The object no longer uses credentials.
    NotUsed,
}

/// Sets `CredentialsHealthy`. All other conditions keep their values.
pub fn credentials(conditions: &mut Vec<Condition>, health: &CredentialsHealth, generation: Option<i64>, now: &Time) {
    let (works, reason, message) = match health {
        CredentialsHealth::NotUsed => return remove(conditions, CREDENTIALS_HEALTHY),
        CredentialsHealth::Works => (true, "Works", "the credentials work again".to_owned()),
        CredentialsHealth::Fails(condition) => {
            let reason = condition.reason.as_str();
            let message = keep_first_request_id(conditions, CREDENTIALS_HEALTHY, reason, &condition.message);
            (false, reason, message)
        }
    };
    // An unchanged condition is not rewritten for a new generation, because the two are unrelated.
    let is_unchanged = find(conditions, CREDENTIALS_HEALTHY)
        .is_some_and(|old| (old.status == "True") == works && old.reason == reason && old.message == message);
    if !is_unchanged {
        set(
            conditions,
            CREDENTIALS_HEALTHY,
            works,
            reason,
            &message,
            generation,
            now,
        );
    }
}

/// Sets `InvalidAnnotation` if there is a problem, else removes it. All other conditions keep their values.
pub fn annotations(conditions: &mut Vec<Condition>, problem: Option<&str>, generation: Option<i64>, now: &Time) {
    let shown = find(conditions, INVALID_ANNOTATION).map(|shown| shown.message.as_str());
    if shown != problem {
        let message = problem.unwrap_or_default();
        let holds = problem.is_some();
        set_abnormal(
            conditions,
            INVALID_ANNOTATION,
            holds,
            INVALID_ANNOTATION,
            message,
            generation,
            now,
        );
    }
}

/// The condition of a type.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether `Ready` is True.
pub fn is_ready(conditions: &[Condition]) -> bool {
    find(conditions, READY).is_some_and(|ready| ready.status == "True")
}

/// The reason of `Ready`; `None` before the first report.
pub fn ready_reason(conditions: &[Condition]) -> Option<&str> {
    find(conditions, READY).map(|ready| ready.reason.as_str())
}

/// Repeated equal failures keep the request ID of the first one, so that retries do not rewrite status.
fn keep_first_request_id(conditions: &[Condition], type_: &str, reason: &str, message: &str) -> String {
    match find(conditions, type_) {
        Some(old) if old.reason == reason && same_but_for_request_id(&old.message, message) => old.message.clone(),
        _ => message.to_owned(),
    }
}

/// Whether two messages are equal except for their request IDs.
pub fn same_but_for_request_id(one: &str, other: &str) -> bool {
    without_request_ids(one) == without_request_ids(other)
}

fn without_request_ids(message: &str) -> String {
    const MARK: &str = "request id ";
    let mut parts = message.split(MARK);
    let mut rest = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find([')', ',', ';', ' ']).unwrap_or(part.len());
        rest.push_str(MARK);
        rest.push_str(&part[end..]);
    }
    rest
}

fn set(
    conditions: &mut Vec<Condition>,
    type_: &str,
    status: bool,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: &Time,
) {
    let status = if status { "True" } else { "False" };
    let since = match find(conditions, type_) {
        Some(old) if old.status == status => old.last_transition_time.clone(),
        _ => now.clone(),
    };
    let condition = Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: generation,
        last_transition_time: since,
    };
    match conditions.iter_mut().find(|old| old.type_ == type_) {
        Some(old) => *old = condition,
        None => conditions.push(condition),
    }
}

/// Abnormal-true conditions exist only while they hold.
fn set_abnormal(
    conditions: &mut Vec<Condition>,
    type_: &str,
    holds: bool,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: &Time,
) {
    if holds {
        set(conditions, type_, true, reason, message, generation, now);
    } else {
        remove(conditions, type_);
    }
}

fn remove(conditions: &mut Vec<Condition>, type_: &str) {
    conditions.retain(|condition| condition.type_ != type_);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Time {
        Time(jiff::Timestamp::from_second(seconds).expect("a small number of seconds"))
    }

    #[test]
    fn the_transition_time_changes_only_with_the_status() {
        let mut conditions = Vec::new();
        apply(
            &mut conditions,
            &ReadyCondition::new(Reason::Creating, "a"),
            Some(1),
            &at(1),
        );
        apply(
            &mut conditions,
            &ReadyCondition::new(Reason::Throttled, "b"),
            Some(1),
            &at(2),
        );
        let ready = find(&conditions, READY).expect("Ready is always there");
        assert_eq!(
            (ready.reason.as_str(), &ready.last_transition_time),
            ("Throttled", &at(1))
        );
        apply(
            &mut conditions,
            &ReadyCondition::new(Reason::Available, "c"),
            Some(1),
            &at(3),
        );
        let ready = find(&conditions, READY).expect("Ready is always there");
        assert_eq!((ready.status.as_str(), &ready.last_transition_time), ("True", &at(3)));
        assert!(find(&conditions, RECONCILING).is_none());
    }

    #[test]
    fn repeated_equal_failures_keep_the_first_request_id() {
        let mut conditions = Vec::new();
        apply(
            &mut conditions,
            &ReadyCondition::new(Reason::Throttled, "x (VPN.0429, request id a1)"),
            Some(1),
            &at(1),
        );
        let first = conditions.clone();
        apply(
            &mut conditions,
            &ReadyCondition::new(Reason::Throttled, "x (VPN.0429, request id b2)"),
            Some(1),
            &at(2),
        );
        assert_eq!(conditions, first);
        apply(
            &mut conditions,
            &ReadyCondition::new(Reason::Throttled, "y (VPN.0429, request id b2)"),
            Some(1),
            &at(3),
        );
        assert_ne!(conditions, first);
    }

    #[test]
    fn a_pause_keeps_ready_and_its_end_removes_paused() {
        let mut conditions = Vec::new();
        apply(
            &mut conditions,
            &ReadyCondition::new(Reason::Available, "a"),
            Some(1),
            &at(1),
        );
        pause(&mut conditions, Some(2), &at(2));
        assert_eq!(find(&conditions, READY).expect("kept").observed_generation, Some(1));
        assert!(find(&conditions, PAUSED).is_some());
        apply(
            &mut conditions,
            &ReadyCondition::new(Reason::Available, "a"),
            Some(2),
            &at(3),
        );
        assert!(find(&conditions, PAUSED).is_none());
    }

    #[test]
    fn failing_credentials_set_one_condition_once() {
        let mut conditions = Vec::new();
        apply(
            &mut conditions,
            &ReadyCondition::new(Reason::Available, "a"),
            Some(1),
            &at(1),
        );
        let ready = conditions.clone();
        let fails = |id: &str| {
            let message = format!("refused (APIGW.0301, request id {id})");
            CredentialsHealth::Fails(ReadyCondition::new(Reason::Unauthorized, message))
        };
        credentials(&mut conditions, &fails("a1"), Some(1), &at(2));
        assert_eq!(conditions[..1], ready);
        let failing = conditions.clone();
        let shown = find(&failing, CREDENTIALS_HEALTHY).expect("it is set");
        assert_eq!(
            (shown.status.as_str(), shown.reason.as_str()),
            ("False", "Unauthorized")
        );
        credentials(&mut conditions, &fails("b2"), Some(2), &at(3));
        assert_eq!(conditions, failing);
        credentials(&mut conditions, &CredentialsHealth::Works, Some(2), &at(4));
        let shown = find(&conditions, CREDENTIALS_HEALTHY).expect("it is set");
        assert_eq!((shown.status.as_str(), &shown.last_transition_time), ("True", &at(4)));
        credentials(&mut conditions, &CredentialsHealth::NotUsed, Some(2), &at(5));
        assert_eq!(conditions, ready);
    }

    #[test]
    fn every_reason_is_listed_once() {
        let mut names: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
    }
}
