//! What a kind says about itself. Pure: small traits beside their readers, with defaults; effects are in the operator's
//! `provider`. Imports `terms` and what is below it.

pub(crate) mod compare;
pub(crate) mod ledger;
pub(crate) mod ownership;
pub(crate) mod shape;

pub use compare::{Compare, Correction, DesiredState, Difference, Immutable};
pub use ledger::{Ledger, RecordContext, Refused};
pub use ownership::Ownership;
pub use shape::Shape;

/// A kind of object, without effects.
pub trait Kind: Shape + Compare + Ownership + Ledger {}

impl<K: Shape + Compare + Ownership + Ledger> Kind for K {}
