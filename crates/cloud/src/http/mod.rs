//! Sending one request and reading its response.

pub(crate) mod client;
pub(crate) mod failure;
pub(crate) mod http_client;
pub(crate) mod options;
pub(crate) mod redaction;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod tls;
pub mod transport;
