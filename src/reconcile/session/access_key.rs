//! What all sessions of one access key share: its rate limiter and its circuit breaker. The cloud counts requests and
//! bad signatures per access key, across projects.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use vpn_cloud::CloudError;
use vpn_cloud::limits::circuit_breaker::CircuitBreaker;
use vpn_cloud::limits::rate_limiter::{LONG_WAIT, RateLimiter};
use vpn_core::terms::key::ObjectKey;

/// See the module.
pub(crate) struct AccessKey {
    pub rate_limiter: Arc<RateLimiter<ObjectKey>>,
    held_back: Mutex<Option<LongWait>>,
    circuit_breaker: Mutex<CircuitBreaker>,
    _driver: AbortOnDropHandle<()>,
}

/// The cloud asked for a long wait.
struct LongWait {
    error: CloudError,
    until: Instant,
}

impl AccessKey {
    /// Calls `enqueue` for each waiter that gets a permit, or loses its place to a long wait.
    pub(crate) fn start(
        max_requests_per_second: f64,
        request_timeout: Duration,
        enqueue: impl Fn(ObjectKey) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let rate_limiter = Arc::new(RateLimiter::new(max_requests_per_second));
        let driven = Arc::clone(&rate_limiter);
        let driver = tokio::spawn(async move {
            loop {
                for waiter in driven.next_permits().await {
                    enqueue(waiter);
                }
            }
        });
        Arc::new(Self {
            rate_limiter,
            held_back: Mutex::default(),
            circuit_breaker: Mutex::new(CircuitBreaker::new(request_timeout * 2)),
            _driver: AbortOnDropHandle::new(driver),
        })
    }

    /// Records that the cloud throttled a request, and slows down the following ones.
    pub(crate) fn throttled(&self, error: &CloudError, now: Instant) {
        if error.not_before.is_some() {
            let until = now + error.retry_after.unwrap_or_default();
            let mut held_back = self.held_back.lock().unwrap_or_else(PoisonError::into_inner);
            match &mut *held_back {
                // The answers to requests that were sent together name slightly different times: one message for all.
                Some(known) if until <= known.until + LONG_WAIT => known.until = known.until.max(until),
                known => {
                    let error = error.clone();
                    *known = Some(LongWait { error, until });
                }
            }
        }
        // After that, so that each enqueued waiter finds `held_back` set.
        self.rate_limiter.throttled(error.retry_after, now);
    }

    /// Returns the error with which the cloud asked for a long wait, while more than [`LONG_WAIT`] remains. Requests
    /// then fail at once.
    pub(crate) fn held_back(&self, now: Instant) -> Option<CloudError> {
        let held_back = self.held_back.lock().unwrap_or_else(PoisonError::into_inner);
        let LongWait { error, until } = held_back.as_ref()?;
        let left = until.saturating_duration_since(now);
        (left > LONG_WAIT).then(|| CloudError {
            retry_after: Some(left),
            ..error.clone()
        })
    }

    pub(crate) fn circuit_breaker(&self) -> MutexGuard<'_, CircuitBreaker> {
        self.circuit_breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
