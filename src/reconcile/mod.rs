//! One pipeline for every kind: gather → decide → act → report. A kind is a folder with a file for each of its traits.

pub mod k8s;
pub(crate) mod kinds;
pub(crate) mod pipeline;
pub(crate) mod provider;
pub mod session;
pub(crate) mod state;
