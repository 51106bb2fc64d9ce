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

    /// Enqueues the object, whose backoff stays.
    pub(crate) fn enqueue_without_news(&self, key: ObjectKey) {
        if let Some(queue) = self.queues.get(key.kind) {
            queue.enqueue_without_news(key);
        }
    }

    /// Enqueues the object before all others, since a permit or a write queue is kept for it.
    pub(crate) fn permit(&self, key: ObjectKey) {
        if let Some(queue) = self.queues.get(key.kind) {
            queue.permit(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: &'static str, name: &str) -> ObjectKey {
        ObjectKey::new(kind, "n", name)
    }

    #[test]
    fn an_object_is_enqueued_for_its_kind_only() {
        let mut wake_queues = WakeQueues::default();
        let [gateways, users] = ["CustomerGateway", "VpnUser"].map(|kind| wake_queues.queue(kind));
        assert!(Arc::ptr_eq(&users, &wake_queues.queue("VpnUser")));
        let shared = wake_queues.clone();
        shared.enqueue(key("VpnUser", "a"));
        shared.permit(key("VpnUser", "b"));
        shared.enqueue(key("Unknown", "a"));
        shared.permit(key("Unknown", "b"));
        let taken: Vec<_> = std::iter::from_fn(|| users.take())
            .map(|due| (due.key.name.clone(), due.enqueued))
            .collect();
        assert_eq!(taken, [("b".to_owned(), false), ("a".to_owned(), true)]);
        assert_eq!(gateways.take(), None);
    }
}
