//! The VPN API v5 of Huawei Cloud and Open Telekom Cloud: signing, typed requests and answers,
//! errors that say what they mean. Nothing in here knows of Kubernetes.

mod bounded_value;
pub mod circuit_breaker;
pub mod client;
pub mod clock;
pub mod credentials;
mod credentials_folder;
pub mod customer_gateways;
pub mod endpoints;
pub mod error;
mod error_body;
mod error_kind;
mod failure;
mod fields;
mod file_stamp;
mod http_client;
pub mod iam;
mod lists;
mod operation;
pub mod paging;
#[doc(hidden)]
pub mod parsing;
pub mod password;
pub mod password_rules;
pub mod rate_limiter;
mod redaction;
mod regions;
mod request;
pub mod signing;
pub mod tags;
pub mod time;
mod tls;
pub mod transport;
pub mod user_groups;
pub mod users;
pub mod vpn_servers;
pub mod walks;
pub mod write_queue;

pub use circuit_breaker::{Admit, Admitted, CircuitBreaker};
pub use client::{Answer, Client, Scope};
pub use credentials::Credentials;
pub use endpoints::Cloud;
pub use error::{Backoff, CloudError, ErrorKind, Operation, Retry};
pub use rate_limiter::{Permit, Priority, RateLimiter};
pub use transport::{RequestObserver, Transport, TransportOptions};
