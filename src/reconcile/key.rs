//! Names an object in queues, indexes and wakes.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use kube::runtime::reflector::ObjectRef;

use super::kind::Kind;
use super::managed::Managed;
use super::queue::WorkQueue;

/// An object of one of our kinds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub kind: &'static str,
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn of<K: Kind>(object: &Managed<K>) -> Self {
        Self {
            kind: K::KIND,
            namespace: object.namespace().to_owned(),
            name: object.name().to_owned(),
        }
    }

    pub fn object_ref<K: Kind>(&self) -> ObjectRef<Managed<K>> {
        ObjectRef::new(&self.name).within(&self.namespace)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// The work queues of all kinds.
#[derive(Clone, Default)]
pub struct Wakes {
    queues: HashMap<&'static str, Arc<WorkQueue>>,
}

impl Wakes {
    /// The queue of a kind.
    pub fn queue(&mut self, kind: &'static str) -> Arc<WorkQueue> {
        Arc::clone(self.queues.entry(kind).or_default())
    }

    /// Has the object reconciled soon, since there is news for it.
    pub fn wake(&self, key: Key) {
        if let Some(queue) = self.queues.get(key.kind) {
            queue.wake(key);
        }
    }

    /// Has the object reconciled before all others, since a permit or a write queue is kept for it.
    pub fn grant(&self, key: Key) {
        if let Some(queue) = self.queues.get(key.kind) {
            queue.grant(key);
        }
    }
}
