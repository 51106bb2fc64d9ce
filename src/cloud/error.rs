//! A failed call: what the cloud said or what happened on the way, and what that means.

use std::{fmt, time::Duration};

use jiff::Timestamp;

pub use super::{
    meaning::{Class, Meaning, Pace},
    operation::Operation,
};

/// A failed call.
#[derive(Clone, Debug)]
pub struct CloudError {
    pub operation: Operation,
    pub meaning: Meaning,
    /// HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// The cloud's code, such as `VPN.0001`.
    pub code: Option<String>,
    /// The cloud's words, or what happened on the way; bounded, one line, no control characters.
    pub text: String,
    pub request_id: Option<String>,
    pub retry_after: Option<Duration>,
    /// A write that failed so may yet have been, or become, committed.
    pub outcome_unknown: bool,
    /// The cloud's clock, from its `Date` header.
    pub date: Option<Timestamp>,
}

impl CloudError {
    /// An error without an answer of the cloud.
    pub fn new(operation: Operation, meaning: Meaning, text: impl Into<String>) -> Self {
        Self {
            operation,
            meaning,
            status: None,
            code: None,
            text: text.into(),
            request_id: None,
            retry_after: None,
            outcome_unknown: false,
            date: None,
        }
    }

    /// The same failure, whose write may have been committed; reads have no outcome.
    pub(super) fn with_unknown_outcome(mut self) -> Self {
        self.outcome_unknown = self.operation.is_write();
        self
    }

    /// What to do about it.
    pub fn class(&self) -> Class {
        self.meaning.class()
    }

    /// How long to wait after this many such failures in a row, the first being 1: as the meaning asks, and no less
    /// than the cloud asked for.
    pub fn delay(&self, failures: u32) -> Duration {
        self.meaning
            .pace()
            .delay(failures)
            .max(self.retry_after.unwrap_or_default())
    }
}

impl fmt::Display for CloudError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} failed: {}", self.operation.what(), self.text)?;
        // Without a code it was not IAM that refused, but something on the way.
        if self.meaning == Meaning::Forbidden && self.code.is_some() {
            write!(
                formatter,
                "; the credential needs the IAM action {}",
                self.operation.iam_action()
            )?;
        }
        let status = self.status.map(|status| format!("HTTP {status}"));
        let request_id = self.request_id.as_ref().map(|id| format!("request id {id}"));
        let known: Vec<_> = self.code.clone().or(status).into_iter().chain(request_id).collect();
        if !known.is_empty() {
            write!(formatter, " ({})", known.join(", "))?;
        }
        Ok(())
    }
}

impl std::error::Error for CloudError {}
