//! Effects of a kind, and reading what its spec refers to: Secrets, other objects, and groups of the cloud.

pub(crate) mod cloud_kind;
pub(crate) mod dereferencer;
pub(crate) mod references;
