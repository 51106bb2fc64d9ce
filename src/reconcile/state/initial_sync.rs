//! Whether this process has read every object that has something in the cloud. Until then it does not know how much is
//! missing there, and treats nothing as lost.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether every object of a kind was read.
pub(crate) type OfKind = Box<dyn Fn() -> bool + Send + Sync>;

/// See the module.
#[derive(Default)]
pub(crate) struct InitialSync {
    kinds: OnceLock<Vec<OfKind>>,
    is_complete: AtomicBool,
}

impl InitialSync {
    /// Sets the kinds; called once, when the controllers are created.
    pub(crate) fn of(&self, kinds: Vec<OfKind>) {
        // An earlier call has set the same.
        let _ = self.kinds.set(kinds);
    }

    /// Once complete, it stays complete: later objects are read from their creation on.
    pub(crate) fn is_complete(&self) -> bool {
        if self.is_complete.load(Ordering::Relaxed) {
            return true;
        }
        let is_complete = self
            .kinds
            .get()
            .is_some_and(|kinds| kinds.iter().all(|has_been_read| has_been_read()));
        self.is_complete.fetch_or(is_complete, Ordering::Relaxed);
        is_complete
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_initial_sync_completes_with_every_kind_and_stays_complete() {
        let initial_sync = InitialSync::default();
        assert!(!initial_sync.is_complete(), "nobody has said which kinds there are");
        let was_read = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let kinds = was_read
            .clone()
            .map(|kind| -> OfKind { Box::new(move || kind.load(Ordering::Relaxed)) });
        initial_sync.of(kinds.into());
        for kind in &was_read {
            assert!(!initial_sync.is_complete());
            kind.store(true, Ordering::Relaxed);
        }
        assert!(initial_sync.is_complete());
        was_read[0].store(false, Ordering::Relaxed);
        assert!(initial_sync.is_complete());
    }
}
