//! The VPN API v5 of Huawei Cloud and Open Telekom Cloud: signing, typed requests and answers,
//! errors that say what they mean. Nothing in here knows of Kubernetes.

pub mod client;
pub mod customer_gateways;
pub mod error;
pub mod tags;

pub use client::{Answer, Client, Scope};
pub use error::{Class, CloudError, Meaning, Operation};
