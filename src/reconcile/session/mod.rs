//! Credentials at work: what one access key, project and VPN server share.

pub(crate) mod access_key;
pub(crate) mod collections;
pub mod credential;
pub(crate) mod credential_health;
pub(crate) mod gate;
pub(crate) mod incomplete;
pub(crate) mod observed_health;
pub(crate) mod permits;
pub(crate) mod project;
pub(crate) mod resources;
pub(crate) mod servers;
pub(crate) mod sessions;
pub(crate) mod unreadable;
