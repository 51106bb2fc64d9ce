//! The work queues of all kinds.

use std::collections::HashMap;
use std::sync::Arc;

use vpn_core::terms::key::ObjectKey;

use crate::reconcile::state::queue::WorkQueue;

/// The work queues of all kinds.
#[derive(Clone, Default)]
pub(crate) struct WakeQueues {
    queues: HashMap<&'static str, Arc<WorkQueue>>,
}

impl WakeQueues {
    /// The queue of a kind.
    pub(crate) fn queue(&mut self, kind: &'static str) -> Arc<WorkQueue> {
        Arc::clone(self.queues.entry(kind).or_default())
    }

    /// Enqueues the object, since there is new information for it.
    pub(crate) fn enqueue(&self, key: ObjectKey) {
        if let Some(queue) = self.queues.get(key.kind) {
            queue.enqueue(key);
        }
    }

    /// Enqueues the object before all others, since a permit or a write queue is kept for it.
    pub(crate) fn grant(&self, key: ObjectKey) {
        if let Some(queue) = self.queues.get(key.kind) {
            queue.grant(key);
        }
    }
}
