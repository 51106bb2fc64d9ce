//! Names an object in queues, indexes and wakes.

use std::collections::HashMap;
use std::fmt;

use kube::runtime::reflector::ObjectRef;
use tokio::sync::broadcast;

use super::kind::Kind;
use super::managed::Managed;

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

/// Carries wakes to the controllers.
#[derive(Clone, Debug, Default)]
pub struct Wakes {
    senders: HashMap<&'static str, broadcast::Sender<Key>>,
}

impl Wakes {
    /// Where a kind's controllers, one per namespace, listen for its wakes.
    pub fn subscribe(&mut self, kind: &'static str, capacity: usize) -> broadcast::Sender<Key> {
        let sender = broadcast::Sender::new(capacity);
        self.senders.insert(kind, sender.clone());
        sender
    }

    /// Has the object reconciled soon.
    pub fn wake(&self, key: Key) {
        if let Some(sender) = self.senders.get(key.kind) {
            // A controller that is gone has nothing to reconcile.
            let _ = sender.send(key);
        }
    }
}
