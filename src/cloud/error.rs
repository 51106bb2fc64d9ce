//! What went wrong in a call to the cloud, and what that means: class, reason and pace, in one table.

use std::time::Duration;

/// A call of the API, for messages, metrics and the IAM action that it needs (contract §8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    CreateCustomerGateway,
    GetCustomerGateway,
    ListCustomerGateways,
    UpdateCustomerGateway,
    DeleteCustomerGateway,
    AddCustomerGatewayTags,
    RemoveCustomerGatewayTags,
    ListCustomerGatewayTags,
    LookUpProject,
}

/// What a failure means, whatever its HTTP status and code were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// 429 of the gateway or of the service.
    Throttled,
    /// VPN.0030: the service's own queue is full; comes again slowly, from 10 s.
    QueueFull,
    /// 5xx, network, timeout, an answer that cannot be read.
    CloudFault,
    /// Something else must be ready or gone first (`has connection`, `is not ready`).
    Dependency,
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 404 with a gateway code: the API is not published at this endpoint.
    NotAvailable,
    QuotaExceeded,
    /// A definite "exists already".
    Duplicate,
    /// The object is not there.
    Gone,
    /// VPN.0031: the same request was seen before; read, then try again.
    Repeated,
    /// Any other definite refusal.
    Rejected,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Try again with backoff.
    Again,
    /// Wait for something that may come by itself.
    Wait,
    /// A person must act.
    Person,
    /// The object is not there.
    Gone,
}

/// A failed call.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{operation:?}: {text}")]
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
}
