//! Everything that talks to the apiserver for an object: status, Events, Secrets, watches.

pub mod digest_key;
pub(crate) mod events;
pub(crate) mod initial_list;
pub(crate) mod owner_existence;
pub(crate) mod report;
pub(crate) mod secret_watch;
pub(crate) mod secrets;
pub(crate) mod watch_health;
