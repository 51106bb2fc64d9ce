//! What all tenants of one access key share: its budget and its breaker. The cloud counts requests and bad signatures by
//! access key, whatever project they are about.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use super::key::Key;
use crate::cloud::breaker::Breaker;
use crate::cloud::budget::Budget;

/// See the module.
pub struct AccessKey {
    pub budget: Arc<Budget<Key>>,
    breaker: Mutex<Breaker>,
    _driver: AbortOnDropHandle<()>,
}

impl AccessKey {
    /// `wake` is told whose turn has come.
    pub fn start(
        max_requests_per_second: f64,
        request_timeout: Duration,
        wake: impl Fn(Key) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let budget = Arc::new(Budget::new(max_requests_per_second));
        let driven = Arc::clone(&budget);
        let driver = tokio::spawn(async move {
            loop {
                for waiter in driven.next_turn().await {
                    wake(waiter);
                }
            }
        });
        Arc::new(Self {
            budget,
            breaker: Mutex::new(Breaker::new(request_timeout * 2)),
            _driver: AbortOnDropHandle::new(driver),
        })
    }

    pub fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
