//! Makes a reconciliation panic, for tests.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use vpn_core::terms::key::ObjectKey;

/// A step of a reconciliation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PipelineStep {
    Gather,
    Decide,
    Act,
    Report,
}

/// See the module. Clones share their state.
#[derive(Clone, Default)]
pub struct Tripwires(Arc<Mutex<HashSet<(String, PipelineStep)>>>);

impl Tripwires {
    /// Makes each reconciliation of the object of this name panic at that step.
    pub fn set(&self, name: &str, step: PipelineStep) {
        self.with(|set| set.insert((name.to_owned(), step)));
    }

    pub fn clear(&self) {
        self.with(HashSet::clear);
    }

    pub(crate) fn cross(&self, key: &ObjectKey, step: PipelineStep) {
        let trips = self.with(|set| set.contains(&(key.name.clone(), step)));
        assert!(
            !trips,
            "a test wants {key} to panic at {step:?}, which quotes the password SENTINEL"
        );
    }

    fn with<T>(&self, work: impl FnOnce(&mut HashSet<(String, PipelineStep)>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
