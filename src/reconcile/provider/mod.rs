//! Effects of a kind, and reading what a spec refers to.

pub(crate) mod cloud_kind;
pub(crate) mod dereferencer;
