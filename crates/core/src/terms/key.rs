//! Identifies an object in queues and indexes.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// An object of one of our kinds. Clones share its text, since many indexes contain each key.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey(Arc<KeyParts>);

/// The parts of an [`ObjectKey`].
#[derive(PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyParts {
    /// As in `kind:` of a manifest.
    pub kind: &'static str,
    /// The namespace of the object.
    pub namespace: String,
    /// The name of the object.
    pub name: String,
}

impl ObjectKey {
    /// The key of an object of this kind, namespace and name.
    pub fn new(kind: &'static str, namespace: &str, name: &str) -> Self {
        Self(Arc::new(KeyParts {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }))
    }
}

impl Deref for ObjectKey {
    type Target = KeyParts;

    fn deref(&self) -> &KeyParts {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}
