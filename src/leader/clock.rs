//! Time for the leader election: two clocks and a sleep, all of which tests can control.

use std::{
    future::Future,
    pin::Pin,
    time::{Duration, Instant, SystemTime},
};

/// Both of the machine's clocks.
pub trait ElectionClock: Send + Sync + 'static {
    /// Never goes back, but may stand still while the machine is suspended.
    fn monotonic(&self) -> Instant;
    /// Runs on while the machine is suspended, but can be set.
    fn wall(&self) -> SystemTime;
    /// Waits, by the monotonic clock.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// The clocks of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl ElectionClock for SystemClock {
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
