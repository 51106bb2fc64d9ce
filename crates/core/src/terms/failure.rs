//! A failure of an object: its condition and its backoff, which determines the requeue.

use std::time::Duration;

use vpn_cloud::error::cloud_error::{Backoff, Retry};
use vpn_cloud::{CloudError, ErrorKind, Operation};

use crate::api::conditions::{ReadyCondition, Reason};

/// Why a step is not possible now, and when to try again.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The condition that reports it.
    pub condition: ReadyCondition,
    /// When to try again.
    pub backoff: Backoff,
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
pub(crate) const USER_ACTION: Backoff = Backoff {
    first: Duration::from_secs(600),
    cap: Duration::from_secs(600),
    is_exact: false,
};

/// A failure that requires user action.
pub fn user_action(reason: Reason, message: impl Into<String>) -> Failure {
    Failure {
        condition: ReadyCondition::new(reason, message),
        backoff: USER_ACTION,
    }
}

/// Converts a cloud error to the failure of an object.
pub fn failure_of(error: &CloudError) -> Failure {
    let (reason, hint) = reason_and_hint(error);
    let hint = with_requested_wait(error, hint);
    Failure {
        condition: ReadyCondition::new(reason, format!("{error}; {hint}")),
        backoff: backoff_of(error),
    }
}

/// Returns the reason of the condition, and what to do or what happens next.
fn reason_and_hint(error: &CloudError) -> (Reason, &'static str) {
    match error.kind {
        ErrorKind::Throttled | ErrorKind::QueueFull => (Reason::Throttled, "it is tried again, more slowly"),
        ErrorKind::CloudFault if error.outcome_unknown && error.operation == Operation::ResetVpnUserPassword => (
            Reason::CloudError,
            "whether it took effect is not known: the same password is sent again, until the cloud accepts it or \
             reports that it is already set",
        ),
        ErrorKind::CloudFault if error.outcome_unknown => (
            Reason::CloudError,
            "whether it took effect is not known: the cloud is read before it is tried again",
        ),
        ErrorKind::CloudFault => (Reason::CloudError, "it is tried again"),
        ErrorKind::Repeated => (Reason::CloudError, "it is read again, then retried"),
        ErrorKind::Dependency if error.operation.is_about_users() => (
            Reason::DependencyNotReady,
            "it is tried again until the VPN server (spec.vpnServerID) and the group (spec.userGroupID or \
             userGroupName) are there, the server is ACTIVE with LOCAL_PASSWORD authentication, and no deletion \
             blocks it",
        ),
        ErrorKind::Dependency => (
            Reason::DependencyNotReady,
            "remove what blocks it, or wait: it is tried again until nothing blocks it",
        ),
        ErrorKind::Unauthorized => (
            Reason::Unauthorized,
            "correct the credentials: until they change, only one request every 6 minutes is sent, since more would \
             lock the access key",
        ),
        ErrorKind::Forbidden => (Reason::Forbidden, "grant that to the credentials' user"),
        ErrorKind::NotAvailable if error.operation.is_about_users() => (
            Reason::NotAvailable,
            "check the endpoint and the region: the requested API is not served there (VPN users are offered by \
             Huawei Cloud only)",
        ),
        ErrorKind::NotAvailable => (
            Reason::NotAvailable,
            "check the endpoint and the region: the requested API is not served there",
        ),
        ErrorKind::QuotaExceeded => (
            Reason::QuotaExceeded,
            "delete what is not needed, or request a higher quota",
        ),
        ErrorKind::RecentPassword => (
            Reason::InvalidPassword,
            "the cloud refuses a user's last five passwords, so the one that was set last stays in \
             force: put a new one into the Secret that spec.passwordSecretRef names",
        ),
        ErrorKind::BadPassword => (
            Reason::InvalidPassword,
            "put a password that keeps the cloud's rules into the Secret that spec.passwordSecretRef names",
        ),
        ErrorKind::Duplicate if error.operation == Operation::CreateVpnUser => (
            Reason::NameConflict,
            "the user that exists is not this object's: to adopt it, set spec.externalID to its id or \
             spec.adoptionPolicy to IfExists; else recreate this object with another spec.name",
        ),
        // Only an object without a cloud resource can adopt one.
        ErrorKind::Duplicate if error.operation != Operation::CreateCustomerGateway => (
            Reason::NameConflict,
            "another one in the cloud has that already: change the spec, or that one",
        ),
        ErrorKind::Duplicate => (
            Reason::NameConflict,
            "the one that exists is not this object's: set spec.externalID to its id to adopt it, or change the spec",
        ),
        ErrorKind::Gone => (Reason::CloudError, "it is searched for again"),
        ErrorKind::Rejected => (Reason::Rejected, "correct the spec, or the Secret that it names"),
    }
}

/// Adds until when the cloud asks the operator to wait, if it does.
fn with_requested_wait(error: &CloudError, hint: &str) -> String {
    match (&error.not_before, error.kind) {
        (Some(end), ErrorKind::Throttled) => {
            format!("the cloud asks for that wait: no request of this access key is sent before {end}")
        }
        (Some(end), ErrorKind::QueueFull | ErrorKind::CloudFault | ErrorKind::Repeated) => {
            format!("{hint}, but not before {end}: the cloud asks for that wait")
        }
        _ => hint.to_owned(),
    }
}

/// Returns the backoff of the error, but never less than the wait that the cloud asks for.
fn backoff_of(error: &CloudError) -> Backoff {
    let mut backoff = error.kind.backoff();
    if let (Some(after), Some(_)) = (error.retry_after, &error.not_before)
        && error.retry() == Retry::Again
    {
        backoff = Backoff::exactly(after);
    } else if let Some(after) = error.retry_after {
        backoff.first = backoff.first.max(after);
        if error.kind == ErrorKind::Unauthorized {
            backoff.first = after.max(RETRY.first);
        }
        backoff.cap = backoff.cap.max(backoff.first);
    }
    backoff
}
