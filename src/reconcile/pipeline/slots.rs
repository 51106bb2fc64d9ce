//! How many reconciliations run at a time.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::kubernetes::client::MOST_REQUESTS;

/// Concurrent reconciles of all kinds together. A reconcile has at most one request to the apiserver in progress, and
/// never waits to send it: the client admits more. More reconciles would only take memory, since the apiserver answers
/// within milliseconds.
pub(crate) const MOST_RECONCILES: usize = 20;

const _: () = assert!(MOST_RECONCILES < MOST_REQUESTS);

/// How many reconciles may run at a time. Clones share it.
#[derive(Clone)]
pub(crate) struct Slots(Arc<Semaphore>);

impl Default for Slots {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST_RECONCILES)))
    }
}

impl Slots {
    pub(crate) async fn acquire(&self) -> Slot {
        Slot {
            held: Mutex::new(self.permit().await),
            slots: self.clone(),
        }
    }

    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(&self.0).acquire_owned().await.ok()
    }
}

/// The permit of one reconcile to run.
pub(crate) struct Slot {
    slots: Slots,
    held: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Slot {
    /// Frees the slot while this reconcile waits for the cloud: a cloud that does not answer one credential must not
    /// occupy all slots.
    pub(crate) async fn yielded<T>(&self, wait: impl Future<Output = T>) -> T {
        self.set(None);
        let result = wait.await;
        self.set(self.slots.permit().await);
        result
    }

    fn set(&self, held: Option<OwnedSemaphorePermit>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }
}
