//! The VPN API v5 of Huawei Cloud and Open Telekom Cloud: signing, typed requests and answers,
//! errors that say what they mean. Nothing in here knows of Kubernetes.

mod bounded_value;
pub mod breaker;
pub mod budget;
pub mod client;
pub mod clock;
pub mod credentials;
mod credentials_folder;
pub mod customer_gateways;
pub mod endpoints;
pub mod error;
mod error_body;
mod failure;
mod fields;
mod file_stamp;
mod http_client;
pub mod iam;
pub mod lane;
mod lists;
mod meaning;
mod operation;
pub mod paging;
#[doc(hidden)]
pub mod parsing;
pub mod password;
pub mod password_rules;
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

pub use breaker::{Admit, Breaker, Flight};
pub use budget::{Budget, Priority, Turn};
pub use client::{Answer, Client, Scope};
pub use credentials::Credentials;
pub use endpoints::Cloud;
pub use error::{Class, CloudError, Meaning, Operation, Pace};
pub use transport::{Observer, Transport, TransportOptions};
