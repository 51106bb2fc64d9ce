//! Secrets, by name.

/// At most this and one byte of a value is kept; the extra byte shows that the value is too long. A Secret may hold a
/// MiB: memory must grow with the number of objects, not with the size of their Secrets.
pub const LONGEST_VALUE: usize = 64 * 1024;

/// Namespace and name of a Secret.
pub type SecretName = (String, String);
