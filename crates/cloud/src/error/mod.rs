//! What a failed call means. The only place that knows HTTP statuses and codes.

pub mod cause;
pub mod cloud_error;
pub(crate) mod error_body;
pub mod error_kind;
pub mod http_error;
pub(crate) mod operation;
