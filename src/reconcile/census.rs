//! Whether this process has looked at every object that has something in the cloud. Until then it does not know how much
//! is missing there, and takes nothing for lost.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether every object of a kind was looked at.
pub type OfKind = Box<dyn Fn() -> bool + Send + Sync>;

/// See the module.
#[derive(Default)]
pub struct Census {
    kinds: OnceLock<Vec<OfKind>>,
    is_complete: AtomicBool,
}

impl Census {
    /// Says which kinds there are; asked once, when the controllers are made.
    pub fn of(&self, kinds: Vec<OfKind>) {
        // Whoever came first has said the same.
        let _ = self.kinds.set(kinds);
    }

    /// Once complete it stays so: what comes later is looked at from its beginning.
    pub fn is_complete(&self) -> bool {
        if self.is_complete.load(Ordering::Relaxed) {
            return true;
        }
        let is_complete = self
            .kinds
            .get()
            .is_some_and(|kinds| kinds.iter().all(|was_looked_at| was_looked_at()));
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
        let census = Census::default();
        assert!(!census.is_complete(), "nobody has said which kinds there are");
        let looked_at = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let kinds = looked_at
            .clone()
            .map(|kind| -> OfKind { Box::new(move || kind.load(Ordering::Relaxed)) });
        census.of(kinds.into());
        for kind in &looked_at {
            assert!(!census.is_complete());
            kind.store(true, Ordering::Relaxed);
        }
        assert!(census.is_complete());
        looked_at[0].store(false, Ordering::Relaxed);
        assert!(census.is_complete());
    }
}
