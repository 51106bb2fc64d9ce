//! Leader election on a Lease, by client-go's algorithm, and the fence that each cloud write passes.
//!
//! `record` is what the Lease says, `decide` what to do about it (pure), `term` the leader's own idea of how long it
//! may act, `election` the loop around them, `store` the apiserver, `clock` the time.

pub(crate) mod clock;
pub(crate) mod decide;
pub(crate) mod election;
pub(crate) mod record;
pub(crate) mod store;
pub(crate) mod term;

pub use crate::leader::clock::{ElectionClock, SystemClock};
pub use crate::leader::decide::{ElectionStep, LeaseObservation, decide};
pub use crate::leader::election::{Candidate, Election, Leadership, ReleaseError};
pub use crate::leader::record::LeaseRecord;
pub use crate::leader::store::{KubeLeases, LeaseStore, StoreError, Stored};
#[cfg(test)]
pub use crate::leader::term::Elect;
pub use crate::leader::term::{LeaderHandle, LossReason};

/// A name that no other process ever had: the pod's (or host's) name for people, and a random part, since a restarted
/// container keeps its pod's name.
pub fn identity() -> String {
    let host = ["POD_NAME", "HOSTNAME"]
        .into_iter()
        .filter_map(|variable| std::env::var(variable).ok())
        .chain(std::fs::read_to_string("/etc/hostname"))
        .map(|name| name.trim().to_owned())
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| "vpn-operator".to_owned());
    format!("{host}_{}", uuid::Uuid::new_v4())
}
