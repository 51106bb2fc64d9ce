//! What credentials give access to.

use jiff::Timestamp;

use crate::api::Scope;

/// What the credentials give access to.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// Their endpoint and project.
    pub scope: Scope,
    /// The cloud's current time, never ahead of it; `None` until an answer reports it.
    pub cloud_now: Option<Timestamp>,
}
