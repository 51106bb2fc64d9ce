//! A value that is shared between states, with its hash, which is computed once.

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// See the module.
pub(crate) struct Kept<T> {
    value: Arc<T>,
    hash: u64,
}

impl<T> Kept<T> {
    /// `digest` feeds the hasher with what distinguishes the value from others.
    pub(crate) fn new(value: T, digest: impl FnOnce(&T, &mut DefaultHasher)) -> Self {
        Self::of(Arc::new(value), digest)
    }

    pub(crate) fn of(value: Arc<T>, digest: impl FnOnce(&T, &mut DefaultHasher)) -> Self {
        let mut hasher = DefaultHasher::new();
        digest(&value, &mut hasher);
        Self {
            value,
            hash: hasher.finish(),
        }
    }

    pub(crate) fn shared(&self) -> Arc<T> {
        Arc::clone(&self.value)
    }
}

impl<T: fmt::Debug> Kept<T> {
    /// Distinguished from others by its `Debug` text.
    pub(crate) fn by_text(value: T) -> Self {
        Self::new(value, |value, hasher| format!("{value:?}").hash(hasher))
    }
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            hash: self.hash,
        }
    }
}

impl<T> Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Hash for Kept<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

impl<T: fmt::Debug> fmt::Debug for Kept<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(formatter)
    }
}
