//! One pipeline for every kind: gather → decide → act → report. A kind is one file with its behavior.

pub mod access;
pub mod access_key;
pub mod act;
pub mod annotations;
pub mod claims;
pub mod collections;
pub mod conditions_beside;
pub mod context;
pub mod controller;
pub mod credential_health;
pub mod customer_gateway;
pub mod decide;
pub mod dereferencer;
pub mod digest_key;
pub mod events;
pub mod gather;
mod incomplete;
pub mod initial_list;
pub mod initial_sync;
pub mod key;
pub mod kind;
pub mod living;
#[cfg(test)]
mod model;
pub mod object;
pub mod object_states;
pub mod observation;
pub mod outcome;
pub mod password;
pub mod permits;
pub mod pipeline;
pub mod queue;
pub mod record;
pub mod registrations;
pub mod report;
pub mod secret_watch;
pub mod secrets;
pub mod servers;
pub mod session;
#[cfg(test)]
pub mod tripwire;
pub mod unreadable;
pub mod vpn_user;
pub mod watch_health;
pub mod workers;
