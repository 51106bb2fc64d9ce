//! The calls of the API on P2C: functions that take the state of the cloud. This file declares modules only.

pub(crate) mod admission;
pub(crate) mod answers;
pub(crate) mod batches;
pub(crate) mod client_tokens;
pub(crate) mod groups;
pub(crate) mod members;
pub(crate) mod passwords;
pub(crate) mod servers;
pub(crate) mod users;
