//! Caches which owners exist in the apiserver: it is asked once in a while, however many objects need the answer. A
//! stale entry is safe, since a cloud resource is only taken from an owner that does not exist.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long an entry is valid.
const STANDS_FOR: Duration = Duration::from_secs(60);

/// Maximum number of entries: users who may write tags in the cloud control how many owners appear there.
const MOST: usize = 4096;

/// See the module. The key is the uid.
#[derive(Default)]
pub(crate) struct OwnerExistence(Mutex<HashMap<String, Instant>>);

impl OwnerExistence {
    /// Records that the apiserver has this object now.
    pub(crate) fn record(&self, uid: &str, now: Instant) {
        let mut seen = self.lock();
        if seen.len() >= MOST {
            seen.retain(|_, at| now.saturating_duration_since(*at) < STANDS_FOR);
        }
        if seen.len() < MOST {
            seen.insert(uid.to_owned(), now);
        }
    }

    /// Whether the apiserver had it a short while ago.
    pub(crate) fn has(&self, uid: &str, now: Instant) -> bool {
        let at = self.lock().get(uid).copied();
        at.is_some_and(|at| now.saturating_duration_since(at) < STANDS_FOR)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_owner_lookups_expire_and_are_bounded() {
        let (owner_existence, now) = (OwnerExistence::default(), Instant::now());
        owner_existence.record("a", now);
        assert!(owner_existence.has("a", now + STANDS_FOR / 2));
        assert!(!owner_existence.has("a", now + STANDS_FOR) && !owner_existence.has("b", now));
        for uid in 0..2 * MOST {
            owner_existence.record(&uid.to_string(), now);
        }
        assert_eq!(owner_existence.lock().len(), MOST);
        owner_existence.record("later", now + STANDS_FOR);
        assert!(owner_existence.has("later", now + STANDS_FOR));
        assert_eq!(owner_existence.lock().len(), 1);
    }

    #[test]
    fn a_repeated_lookup_renews_the_entry() {
        let (owner_existence, now) = (OwnerExistence::default(), Instant::now());
        for at in [now, now + STANDS_FOR / 2] {
            owner_existence.record("a", at);
        }
        assert!(owner_existence.has("a", now + STANDS_FOR));
        assert_eq!(owner_existence.lock().len(), 1);
    }
}
