//! Whether this process has read every object that has something in the cloud. Until then it does not know how much is
//! missing there, and treats nothing as lost.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether every object of a kind was read.
pub type OfKind = Box<dyn Fn() -> bool + Send + Sync>;

/// See the module.
#[derive(Default)]
pub struct InitialSync {
    kinds: OnceLock<Vec<OfKind>>,
    is_complete: AtomicBool,
}

impl InitialSync {
    /// Sets the kinds; called once, when the controllers are created.
    pub fn of(&self, kinds: Vec<OfKind>) {
        // An earlier call has set the same.
        let _ = self.kinds.set(kinds);
    }

    /// Once complete, it stays complete: later objects are read from their creation on.
    pub fn is_complete(&self) -> bool {
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
    fn it_is_complete_when_every_kind_is_and_stays_so() {
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
