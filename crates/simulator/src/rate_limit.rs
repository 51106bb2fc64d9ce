//! The limit of requests per second: a token bucket for each access key.

use std::collections::HashMap;

use axum::http::StatusCode;
use jiff::Timestamp;

use crate::admin::RateLimitSpec;
use crate::refusal::ApiRefusal;

/// The limit, and what is left of it for each access key; without an access key, requests share one bucket.
#[derive(Debug, Default)]
pub(crate) struct RateLimit {
    spec: RateLimitSpec,
    buckets: HashMap<Option<String>, TokenBucket>,
}

#[derive(Debug)]
struct TokenBucket {
    tokens: f64,
    filled_at: Timestamp,
}

impl RateLimit {
    /// A limit of which nothing is used, unless it is invalid.
    pub(crate) fn new(spec: RateLimitSpec) -> Result<Self, String> {
        if spec.per_second.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
            return Err("per_second must be greater than 0; omit it for no limit".to_owned());
        }
        if spec.burst == Some(0) {
            return Err("burst must be at least 1".to_owned());
        }
        if spec.burst.is_some() && spec.per_second.is_none() {
            return Err("burst needs per_second".to_owned());
        }
        Ok(Self {
            spec,
            buckets: HashMap::new(),
        })
    }

    pub(crate) fn spec(&self) -> RateLimitSpec {
        self.spec
    }

    /// Takes a token for a request, or refuses the request. Refused requests take no token.
    pub(crate) fn admit(&mut self, access_key: Option<&str>, now: Timestamp) -> Result<(), ApiRefusal> {
        let Some(rate) = self.spec.per_second else {
            return Ok(());
        };
        let capacity = self.spec.burst.map_or((rate / 10.0).max(1.0), f64::from);
        let full = || TokenBucket {
            tokens: capacity,
            filled_at: now,
        };
        let bucket = self.buckets.entry(access_key.map(str::to_owned)).or_insert_with(full);
        // A clock that is set back refills nothing.
        let passed = now.duration_since(bucket.filled_at).as_secs_f64().max(0.0);
        bucket.tokens = (bucket.tokens + passed * rate).min(capacity);
        bucket.filled_at = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        Err(throttled(rate))
    }
}

/// 429 with 0308 of the gateway before the service.
pub(crate) fn throttled(limit: impl std::fmt::Display) -> ApiRefusal {
    let text =
        format!("The throttling threshold has been reached: policy user over ratelimit,limit:{limit},time:1 second");
    ApiRefusal::gateway(StatusCode::TOO_MANY_REQUESTS, "0308", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(per_second: f64, burst: Option<u32>) -> RateLimit {
        let per_second = Some(per_second);
        RateLimit::new(RateLimitSpec { per_second, burst }).unwrap()
    }

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(milliseconds).unwrap()
    }

    fn admitted(limit: &mut RateLimit, requests: usize, milliseconds: i64) -> usize {
        (0..requests)
            .filter(|_| limit.admit(Some("AK"), at(milliseconds)).is_ok())
            .count()
    }

    #[test]
    fn a_bucket_refills_at_its_rate_up_to_the_burst() {
        let mut limit = limit(50.0, Some(5));
        assert_eq!(admitted(&mut limit, 10, 0), 5);
        assert_eq!(admitted(&mut limit, 10, 19), 0);
        assert_eq!(admitted(&mut limit, 10, 20), 1);
        assert_eq!(admitted(&mut limit, 10, 60), 2);
        assert_eq!(admitted(&mut limit, 10, 60_000), 5);
        // A clock that is set back neither refills nor blocks.
        assert_eq!(admitted(&mut limit, 10, 1_000), 0);
        assert_eq!(admitted(&mut limit, 10, 1_020), 1);
    }

    #[test]
    fn the_burst_defaults_to_a_tenth_of_a_second() {
        assert_eq!(admitted(&mut limit(50.0, None), 10, 0), 5);
        assert_eq!(admitted(&mut limit(0.5, None), 10, 0), 1);
    }

    #[test]
    fn each_access_key_has_its_own_bucket() {
        let mut limit = limit(1.0, Some(1));
        for key in [Some("A"), Some("B"), None] {
            assert!(limit.admit(key, at(0)).is_ok());
            assert_eq!(limit.admit(key, at(0)).unwrap_err().code, "0308");
        }
    }

    #[test]
    fn an_invalid_limit_is_refused() {
        let spec = |per_second, burst| RateLimit::new(RateLimitSpec { per_second, burst });
        for (spec, words) in [
            (spec(Some(0.0), None), "greater than 0"),
            (spec(Some(f64::INFINITY), None), "greater than 0"),
            (spec(Some(1.0), Some(0)), "at least 1"),
            (spec(None, Some(1)), "needs per_second"),
        ] {
            let error = spec.unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
