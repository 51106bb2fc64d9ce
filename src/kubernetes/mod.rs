//! The connection to the apiserver, and the CRDs there. Nothing of the kinds.

pub(crate) mod client;
pub(crate) mod config;
pub(crate) mod crd_skew;
pub mod crd_wait;
