//! The words of a decision: small types without behavior of a kind. No IO.

pub mod access;
pub(crate) mod competing_claim;
pub mod dereferenced;
pub mod failure;
pub(crate) mod guard;
pub mod health;
pub mod key;
pub mod note;
pub mod observation;
pub(crate) mod owner;
pub mod policy;
pub mod reference;
pub mod secret;
pub mod sent_delete;
