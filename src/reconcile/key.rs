//! Identifies an object in queues and indexes.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use kube::runtime::reflector::ObjectRef;

use super::kind::Kind;
use super::object::Object;
use super::queue::WorkQueue;

/// An object of one of our kinds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub kind: &'static str,
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn of<K: Kind>(object: &Object<K>) -> Self {
        Self {
            kind: K::KIND,
            namespace: object.namespace().to_owned(),
            name: object.name().to_owned(),
        }
    }

    pub fn object_ref<K: Kind>(&self) -> ObjectRef<Object<K>> {
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
pub struct WakeQueues {
    queues: HashMap<&'static str, Arc<WorkQueue>>,
}

impl WakeQueues {
    /// The queue of a kind.
    pub fn queue(&mut self, kind: &'static str) -> Arc<WorkQueue> {
        Arc::clone(self.queues.entry(kind).or_default())
    }

    /// Enqueues the object, since there is new information for it.
    pub fn enqueue(&self, key: Key) {
        if let Some(queue) = self.queues.get(key.kind) {
            queue.enqueue(key);
        }
    }

    /// Enqueues the object before all others, since a permit or a write queue is kept for it.
    pub fn grant(&self, key: Key) {
        if let Some(queue) = self.queues.get(key.kind) {
            queue.grant(key);
        }
    }
}
