//! A cloud object as it is kept in the cache. As JSON it takes a fraction of the memory of the parsed form.

use std::sync::Arc;

use crate::cache::query::Remote;
use crate::compact_json::{CompactJson, Dictionary};

/// See the module. Clones share the memory.
#[derive(Clone, Debug)]
pub(super) enum StoredRemote<R> {
    /// Parsed.
    Whole(Arc<R>),
    /// As JSON that gives back the same object.
    Json(CompactJson),
}

impl<R: Remote> StoredRemote<R> {
    /// Keeps an object; as JSON if there is a dictionary. One that its JSON would not give back is kept whole.
    pub(super) fn new(remote: R, dictionary: Option<&Dictionary>) -> Self {
        let json = dictionary.and_then(|dictionary| {
            let json = serde_json::to_vec(&remote).ok()?;
            let is_given_back = serde_json::from_slice::<R>(&json).is_ok_and(|read| read == remote);
            is_given_back.then(|| dictionary.compress(&json))
        });
        json.map_or_else(|| Self::Whole(Arc::new(remote)), Self::Json)
    }

    /// Whether both are the same memory.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Whole(one), Self::Whole(other)) => Arc::ptr_eq(one, other),
            (Self::Json(one), Self::Json(other)) => one.is_same_as(other),
            _ => false,
        }
    }

    /// The parsed object. `None` cannot occur: it was read once when it was stored.
    pub(super) fn get(&self) -> Option<Arc<R>> {
        match self {
            Self::Whole(remote) => Some(Arc::clone(remote)),
            Self::Json(json) => serde_json::from_slice(&json.text()).ok().map(Arc::new),
        }
    }
}
