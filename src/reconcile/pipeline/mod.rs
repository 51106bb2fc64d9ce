//! One reconciliation: gather, decide, act, report; and what runs it.

pub(crate) mod act;
pub(crate) mod conditions_beside;
pub(crate) mod context;
pub(crate) mod controller;
pub(crate) mod gather;
pub(crate) mod pass;
pub(crate) mod slots;
#[cfg(test)]
pub(crate) mod tripwire;
pub(crate) mod visit;
pub(crate) mod workers;
