//! The VPN API v5 of Huawei Cloud and Open Telekom Cloud: signing, typed requests and answers,
//! errors that say what they mean. Nothing in here knows of Kubernetes.
#![forbid(unsafe_code)]
// Tests may stop at what they do not expect.
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::unwrap_used))]

pub mod credentials;
pub mod error;
pub mod http;
pub mod limits;
pub mod lists;
pub mod parsing;
pub mod regions;
pub mod resources;
pub mod text;
pub mod values;

pub use crate::credentials::access_key::Credentials;
pub use crate::error::cloud_error::{Backoff, CloudError, ErrorKind, Operation, Retry};
pub use crate::http::client::{Client, ProjectScope};
pub use crate::http::response::CloudResponse;
pub use crate::http::transport::{RequestObserver, Transport, TransportOptions};
pub use crate::limits::circuit_breaker::{Admit, Admitted, CircuitBreaker};
pub use crate::limits::rate_limiter::{Permit, Priority, RateLimiter};
pub use crate::regions::cloud::Cloud;
