//! VPN servers with their users and groups (P2C), for remote access. This file declares modules only.

pub mod admin;
pub(crate) mod admin_api;
pub(crate) mod cidr;
pub(crate) mod codes;
pub(crate) mod handlers;
pub(crate) mod server_values;
pub(crate) mod stores;
pub(crate) mod user_rules;
