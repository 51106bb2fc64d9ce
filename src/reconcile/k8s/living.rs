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
pub(crate) struct Living(Mutex<HashMap<String, Instant>>);

impl Living {
    /// Records that the apiserver has this object now.
    pub(crate) fn lives(&self, uid: &str, now: Instant) {
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
        let (living, now) = (Living::default(), Instant::now());
        living.lives("a", now);
        assert!(living.has("a", now + STANDS_FOR / 2));
        assert!(!living.has("a", now + STANDS_FOR) && !living.has("b", now));
        for uid in 0..2 * MOST {
            living.lives(&uid.to_string(), now);
        }
        assert_eq!(living.lock().len(), MOST);
        living.lives("later", now + STANDS_FOR);
        assert!(living.has("later", now + STANDS_FOR));
        assert_eq!(living.lock().len(), 1);
    }

    #[test]
    fn a_repeated_look_up_renews_the_entry() {
        let (living, now) = (Living::default(), Instant::now());
        for at in [now, now + STANDS_FOR / 2] {
            living.lives("a", at);
        }
        assert!(living.has("a", now + STANDS_FOR));
        assert_eq!(living.lock().len(), 1);
    }
}
