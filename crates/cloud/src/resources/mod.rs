//! The resources of the API, a file each.

pub mod customer_gateways;
pub mod iam;
pub(crate) mod tags;
pub mod user_groups;
pub mod users;
pub(crate) mod vpn_servers;
