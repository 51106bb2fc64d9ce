//! The client: one per credential and scope.

use jiff::Timestamp;

/// Where an object lives: endpoint and project.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Base URL of the VPN API, without a trailing slash.
    pub endpoint: String,
    pub project_id: String,
}

/// A successful answer.
#[derive(Clone, Debug)]
pub struct Answer<T> {
    pub value: T,
    pub request_id: Option<String>,
    /// The cloud's clock, from its `Date` header.
    pub date: Option<Timestamp>,
}

/// See the module.
pub struct Client;
