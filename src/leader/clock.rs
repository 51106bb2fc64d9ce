//! Time as the election needs it: two clocks and a way to wait, so that tests can hold all three.

use std::{
    future::Future,
    pin::Pin,
    time::{Duration, Instant, SystemTime},
};

/// Both of the machine's clocks.
pub trait Clock: Send + Sync + 'static {
    /// Never goes back, but may stand still while the machine is suspended.
    fn monotonic(&self) -> Instant;
    /// Goes on while the machine is suspended, but may be set by anybody.
    fn wall(&self) -> SystemTime;
    /// Waits, by the monotonic clock.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// The machine's.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn monotonic(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(duration))
    }
}
