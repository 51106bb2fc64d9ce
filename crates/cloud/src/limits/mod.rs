//! What bounds requests: time, rate, failures and writes in progress. Sends nothing.

pub mod circuit_breaker;
pub mod clock;
pub mod rate_limiter;
pub mod write_queue;
