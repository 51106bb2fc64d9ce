//! A failed call: what the cloud said or what happened on the way, and what that means.

use crate::error::error_kind;

pub use crate::error::cause::Cause;
pub use crate::error::error_kind::{Backoff, ErrorKind, Retry, known_codes};
pub use crate::error::operation::Operation;
use jiff::Timestamp;
use std::{borrow::Cow, error::Error, fmt, sync::Arc, time::Duration};

/// A failed call.
#[derive(Clone, Debug)]
pub struct CloudError {
    /// The call that failed.
    pub operation: Operation,
    /// The meaning, from which retry and backoff follow.
    pub kind: ErrorKind,
    /// HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// The cloud's code, such as `VPN.0001`.
    pub code: Option<String>,
    /// The cloud's message, or what happened on the way.
    pub cause: Arc<Cause>,
    /// The id for support requests: from the header, else from the body.
    pub request_id: Option<String>,
    /// The wait that the cloud asked for, at most an hour.
    pub retry_after: Option<Duration>,
    /// When that wait is over by our own clock, if it is a long one: it stands in messages, which a remaining time would
    /// change each time.
    pub not_before: Option<Box<Timestamp>>,
    /// A write that failed so may yet have been, or become, committed.
    pub outcome_unknown: bool,
    /// The cloud's clock, from its `Date` header.
    pub date: Option<Timestamp>,
}

impl CloudError {
    /// An error without an answer of the cloud.
    pub fn new(operation: Operation, kind: ErrorKind, cause: impl Into<Cause>) -> Self {
        Self {
            operation,
            kind,
            status: None,
            code: None,
            cause: Arc::new(cause.into()),
            request_id: None,
            retry_after: None,
            not_before: None,
            outcome_unknown: false,
            date: None,
        }
    }

    /// The same failure, whose write may have been committed; reads have no outcome.
    pub(crate) fn with_unknown_outcome(mut self) -> Self {
        self.outcome_unknown = self.operation.is_write();
        self
    }

    /// The message of the cause: bounded, one line, no control characters.
    pub fn text(&self) -> Cow<'_, str> {
        self.cause.text()
    }

    /// What to do about it.
    pub fn retry(&self) -> Retry {
        self.kind.retry()
    }

    /// Whether the collection that was asked for is no more, since the object that it belongs to is not.
    pub fn is_without_its_owner(&self) -> bool {
        let (status, code) = (self.status, self.code.as_deref());
        error_kind::is_without_its_owner(self.kind, self.operation, status, code, &self.text())
    }

    /// How long to wait after this many such failures in a row, the first being 1: as the meaning asks, and no less
    /// than the cloud asked for.
    pub fn delay(&self, failures: u32) -> Duration {
        self.kind
            .backoff()
            .delay(failures)
            .max(self.retry_after.unwrap_or_default())
    }
}

impl fmt::Display for CloudError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // More follows, so the cloud's full stop is none.
        let text = self.text();
        let text = text.trim_end_matches('.');
        write!(formatter, "{} failed: {text}", self.operation.what())?;
        let action = self.operation.iam_action();
        // Without a code it was not IAM that refused, but something on the way.
        if self.kind == ErrorKind::Forbidden && self.code.is_some() && !text.contains(action) {
            write!(formatter, "; the credential needs the IAM action {action}")?;
        }
        // Where the cloud had no words, the text is about the status already.
        let status = self.status.map(|status| format!("HTTP {status}"));
        let status = status.filter(|status| !text.contains(status.as_str()));
        let request_id = self.request_id.as_ref().map(|id| format!("request id {id}"));
        let known: Vec<_> = self.code.clone().or(status).into_iter().chain(request_id).collect();
        if !known.is_empty() {
            write!(formatter, " ({})", known.join(", "))?;
        }
        Ok(())
    }
}

impl Error for CloudError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.error()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::cause::ProjectError;

    fn error(kind: ErrorKind) -> CloudError {
        CloudError::new(Operation::CreateCustomerGateway, kind, "no room")
    }

    #[test]
    fn the_message_has_operation_cause_code_and_request_id() {
        let mut error = error(ErrorKind::Rejected);
        assert_eq!(error.to_string(), "creating the customer gateway failed: no room");
        error.status = Some(400);
        assert_eq!(
            error.to_string(),
            "creating the customer gateway failed: no room (HTTP 400)"
        );
        error.cause = Arc::new("the proxy answered HTTP 400".into());
        assert_eq!(
            error.to_string(),
            "creating the customer gateway failed: the proxy answered HTTP 400"
        );
        error.cause = Arc::new("no room".into());
        error.code = Some("VPN.0001".to_owned());
        error.request_id = Some("r1".to_owned());
        assert_eq!(
            error.to_string(),
            "creating the customer gateway failed: no room (VPN.0001, request id r1)"
        );
    }

    #[test]
    fn a_missing_permission_is_named() {
        let error = CloudError {
            code: Some("VPN.0007".to_owned()),
            ..error(ErrorKind::Forbidden)
        };
        assert_eq!(
            error.to_string(),
            "creating the customer gateway failed: no room; \
             the credential needs the IAM action vpn:customerGateways:create (VPN.0007)"
        );
        let named = CloudError {
            cause: Arc::new("You may not vpn:customerGateways:create.".into()),
            ..error
        };
        assert_eq!(
            named.to_string(),
            "creating the customer gateway failed: You may not vpn:customerGateways:create (VPN.0007)"
        );
    }

    #[test]
    fn the_cause_is_the_source_unless_it_is_a_message() {
        let message = error(ErrorKind::Rejected);
        assert!(message.source().is_none());
        let cause = ProjectError::Several("eu-de".to_owned());
        let error = CloudError::new(Operation::LookUpProject, ErrorKind::Rejected, cause.clone());
        assert!(error.to_string().contains(&cause.to_string()), "{error}");
        let source = error.source().expect("an error");
        assert_eq!(source.downcast_ref(), Some(&cause));
    }

    #[test]
    fn only_writes_can_have_an_unknown_outcome() {
        assert!(error(ErrorKind::CloudFault).with_unknown_outcome().outcome_unknown);
        let read = CloudError::new(Operation::GetCustomerGateway, ErrorKind::CloudFault, "");
        assert!(!read.with_unknown_outcome().outcome_unknown);
    }

    #[test]
    fn the_longer_of_retry_after_and_backoff_applies() {
        let seconds = |error: &CloudError, failures| error.delay(failures).as_secs();
        let mut error = error(ErrorKind::Throttled);
        assert_eq!([1, 2, 5].map(|failures| seconds(&error, failures)), [1, 2, 16]);
        error.retry_after = Some(Duration::from_secs(7));
        assert_eq!([1, 2, 5].map(|failures| seconds(&error, failures)), [7, 7, 16]);
    }
}
