//! What a spec refers to outside of itself.

use std::fmt::Debug;

use crate::terms::failure::Failure;

/// The resources that the spec refers to, as far as they could be read.
#[derive(Clone, Debug, PartialEq)]
pub enum Dereferencing<E> {
    /// All of them were read.
    Read(E),
    /// A read is in progress; the object is enqueued when it ends.
    Waiting,
    /// One of them could not be read, is missing, or is invalid.
    Lacking(Failure),
    /// The spec names something that does not exist in the cloud. Unlike a failed read, this is observed.
    Absent(Failure),
}
/// A key of a Secret that a spec names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    /// The field of the spec that names it.
    pub field: &'static str,
    /// The name of the Secret, in the namespace of the object.
    pub name: String,
    /// The key in the Secret.
    pub key: String,
}
