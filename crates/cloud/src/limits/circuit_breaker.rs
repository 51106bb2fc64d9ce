//! Keeps a bad access key from being tried by many requests at once: a few bad signatures in a row lock the key for
//! all its users. One circuit breaker per access key; a changed key gets a new one.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::cloud_error::{CloudError, ErrorKind};

/// The lock lasts 5 minutes from the last bad signature.
const OPEN_FOR: Duration = Duration::from_secs(360);

/// Wait after a probe that proved nothing, such as one that timed out.
const PROBE_AGAIN: Duration = Duration::from_secs(10);

/// Whether a request may be sent.
#[derive(Clone, Debug)]
pub enum Admit {
    /// Yes; pass this to [`CircuitBreaker::finished`] when the request ends.
    Go(Admitted),
    /// Not yet: the first request with this credential is in progress.
    Wait,
    /// No: the cloud refused the credential with this error. Ask again at `until`.
    Refused {
        /// The cloud's answer to the last request that it did not authenticate.
        error: Box<CloudError>,
        /// When the next request may be a probe.
        until: Instant,
    },
}

/// An admitted request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted(u64);

/// See the module. All times come from the caller.
#[derive(Debug)]
pub struct CircuitBreaker {
    state: BreakerState,
    /// Separates requests admitted before a change of the state from later ones.
    epoch: u64,
    /// A request whose end is not reported for this long counts as lost.
    longest_request: Duration,
}

#[derive(Debug)]
enum BreakerState {
    /// Not known to work; at most one request at a time.
    Unproven { lost_at: Option<Instant> },
    /// Works.
    Proven,
    /// Refused.
    Open { error: Box<CloudError>, until: Instant },
    /// One request checks whether it is still refused.
    Probing { error: Box<CloudError>, lost_at: Instant },
}

impl CircuitBreaker {
    /// Creates one for a credential that was not used yet. `longest_request`: longer than any request takes.
    pub fn new(longest_request: Duration) -> Self {
        Self {
            state: BreakerState::Unproven { lost_at: None },
            epoch: 0,
            longest_request,
        }
    }

    /// Asks to send a request.
    pub fn admit(&mut self, now: Instant) -> Admit {
        let lost_at = now + self.longest_request;
        match &mut self.state {
            BreakerState::Proven => Admit::Go(Admitted(self.epoch)),
            BreakerState::Unproven { lost_at: Some(lost) } if now < *lost => Admit::Wait,
            BreakerState::Unproven { lost_at: lost } => {
                *lost = Some(lost_at);
                self.take_off()
            }
            BreakerState::Open { error, until } if now < *until => Admit::Refused {
                error: error.clone(),
                until: *until,
            },
            BreakerState::Probing { error, lost_at } if now < *lost_at => Admit::Refused {
                error: error.clone(),
                until: *lost_at,
            },
            BreakerState::Open { error, .. } | BreakerState::Probing { error, .. } => {
                self.state = BreakerState::Probing {
                    error: error.clone(),
                    lost_at,
                };
                self.take_off()
            }
        }
    }

    /// Reports how a request ended. Without a report, it counts after a while as one that proved nothing.
    pub fn finished<T>(&mut self, admitted: Admitted, result: Result<T, &CloudError>, now: Instant) {
        // Requests from before the key was refused or proven prove nothing about it now.
        if admitted != Admitted(self.epoch) {
            // But the lock lasts from the last bad signature, whenever its request was admitted.
            if let (Err(error), BreakerState::Open { until, .. }) = (result, &mut self.state)
                && error.kind == ErrorKind::Unauthorized
            {
                *until = now + OPEN_FOR;
            }
            return;
        }
        match (result, &mut self.state) {
            (Err(error), _) if error.kind == ErrorKind::Unauthorized => {
                self.epoch += 1;
                self.state = BreakerState::Open {
                    error: Box::new(error.clone()),
                    until: now + OPEN_FOR,
                };
            }
            (result, _) if result.as_ref().err().is_none_or(|error| authenticated(error)) => {
                if !matches!(self.state, BreakerState::Proven) {
                    self.epoch += 1;
                    self.state = BreakerState::Proven;
                }
            }
            (_, BreakerState::Unproven { lost_at }) => *lost_at = None,
            (_, BreakerState::Probing { error, .. }) => {
                self.state = BreakerState::Open {
                    error: error.clone(),
                    until: now + PROBE_AGAIN,
                };
            }
            (_, BreakerState::Proven | BreakerState::Open { .. }) => {}
        }
    }

    /// Reports that an admitted request was not sent.
    pub fn not_sent(&mut self, admitted: Admitted, now: Instant) {
        if admitted != Admitted(self.epoch) {
            return;
        }
        match &mut self.state {
            BreakerState::Unproven { lost_at } => *lost_at = None,
            BreakerState::Probing { error, .. } => {
                self.state = BreakerState::Open {
                    error: error.clone(),
                    until: now,
                }
            }
            BreakerState::Proven | BreakerState::Open { .. } => {}
        }
    }

    fn take_off(&mut self) -> Admit {
        self.epoch += 1;
        Admit::Go(Admitted(self.epoch))
    }
}

/// Whether the service itself refused the request: it authenticates the caller first.
fn authenticated(error: &CloudError) -> bool {
    let refused = error.status.is_some_and(|status| (400..500).contains(&status));
    refused && error.code.as_ref().is_some_and(|code| code.starts_with("VPN."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Operation;
    use proptest::prelude::*;

    const LONGEST_REQUEST: Duration = Duration::from_secs(60);
    const MINUTE: Duration = Duration::from_secs(60);

    fn error(kind: ErrorKind, status: u16, code: &str) -> CloudError {
        CloudError {
            status: Some(status),
            code: Some(code.to_owned()),
            ..CloudError::new(Operation::GetCustomerGateway, kind, "words")
        }
    }

    fn unauthorized() -> CloudError {
        error(ErrorKind::Unauthorized, 401, "APIGW.0301")
    }

    fn fault() -> CloudError {
        error(ErrorKind::CloudFault, 502, "APIGW.0201")
    }

    fn go(circuit_breaker: &mut CircuitBreaker, now: Instant) -> Admitted {
        match circuit_breaker.admit(now) {
            Admit::Go(admitted) => admitted,
            other => panic!("not let through: {other:?}"),
        }
    }

    fn waits(circuit_breaker: &mut CircuitBreaker, now: Instant) -> bool {
        matches!(circuit_breaker.admit(now), Admit::Wait)
    }

    fn refused_until(circuit_breaker: &mut CircuitBreaker, now: Instant) -> Option<Instant> {
        match circuit_breaker.admit(now) {
            Admit::Refused { error, until } => {
                assert_eq!(error.kind, ErrorKind::Unauthorized);
                Some(until)
            }
            _ => None,
        }
    }

    #[test]
    fn the_first_request_is_admitted_alone_and_its_success_admits_all() {
        let (mut circuit_breaker, now) = (CircuitBreaker::new(LONGEST_REQUEST), Instant::now());
        let admitted = go(&mut circuit_breaker, now);
        assert!(waits(&mut circuit_breaker, now));
        circuit_breaker.finished(admitted, Ok(()), now);
        go(&mut circuit_breaker, now);
        go(&mut circuit_breaker, now);
    }

    #[test]
    fn an_inconclusive_first_request_is_followed_by_a_single_request() {
        let (mut circuit_breaker, now) = (CircuitBreaker::new(LONGEST_REQUEST), Instant::now());
        let admitted = go(&mut circuit_breaker, now);
        circuit_breaker.finished(admitted, Err::<(), _>(&fault()), now);
        let admitted = go(&mut circuit_breaker, now);
        assert!(waits(&mut circuit_breaker, now));
        circuit_breaker.not_sent(admitted, now);
        go(&mut circuit_breaker, now);
        assert!(waits(
            &mut circuit_breaker,
            now + LONGEST_REQUEST - Duration::from_millis(1)
        ));
        go(&mut circuit_breaker, now + LONGEST_REQUEST);
    }

    #[test]
    fn an_error_of_the_service_itself_proves_the_key() {
        let now = Instant::now();
        for (error, proves) in [
            (error(ErrorKind::Rejected, 400, "VPN.0001"), true),
            (error(ErrorKind::Forbidden, 403, "VPN.0007"), true),
            (error(ErrorKind::CloudFault, 500, "VPN.0005"), false),
            (error(ErrorKind::NotAvailable, 404, "APIGW.0101"), false),
            (error(ErrorKind::Throttled, 429, "APIGW.0308"), false),
        ] {
            let mut circuit_breaker = CircuitBreaker::new(LONGEST_REQUEST);
            let admitted = go(&mut circuit_breaker, now);
            circuit_breaker.finished(admitted, Err::<(), _>(&error), now);
            go(&mut circuit_breaker, now);
            assert_eq!(waits(&mut circuit_breaker, now), !proves, "{error:?}");
        }
    }

    #[test]
    fn a_401_opens_the_breaker_for_six_minutes_until_a_probe() {
        let (mut circuit_breaker, now) = (CircuitBreaker::new(LONGEST_REQUEST), Instant::now());
        let admitted = go(&mut circuit_breaker, now);
        circuit_breaker.finished(admitted, Err::<(), _>(&unauthorized()), now);
        assert_eq!(refused_until(&mut circuit_breaker, now), Some(now + 6 * MINUTE));
        assert!(refused_until(&mut circuit_breaker, now + 6 * MINUTE - Duration::from_millis(1)).is_some());

        let later = now + 6 * MINUTE;
        let probe = go(&mut circuit_breaker, later);
        assert!(refused_until(&mut circuit_breaker, later).is_some(), "one probe only");
        circuit_breaker.finished(probe, Err::<(), _>(&unauthorized()), later);
        assert_eq!(refused_until(&mut circuit_breaker, later), Some(later + 6 * MINUTE));

        let later = later + 6 * MINUTE;
        let probe = go(&mut circuit_breaker, later);
        circuit_breaker.finished(probe, Ok(()), later);
        go(&mut circuit_breaker, later);
        go(&mut circuit_breaker, later);
    }

    #[test]
    fn an_inconclusive_probe_is_repeated_soon() {
        let (mut circuit_breaker, now) = (CircuitBreaker::new(LONGEST_REQUEST), Instant::now());
        let admitted = go(&mut circuit_breaker, now);
        circuit_breaker.finished(admitted, Err::<(), _>(&unauthorized()), now);
        let later = now + 6 * MINUTE;
        let probe = go(&mut circuit_breaker, later);
        circuit_breaker.finished(probe, Err::<(), _>(&fault()), later);
        assert_eq!(refused_until(&mut circuit_breaker, later), Some(later + PROBE_AGAIN));
        let probe = go(&mut circuit_breaker, later + PROBE_AGAIN);
        circuit_breaker.not_sent(probe, later + PROBE_AGAIN);
        go(&mut circuit_breaker, later + PROBE_AGAIN);
        go(&mut circuit_breaker, later + PROBE_AGAIN + LONGEST_REQUEST);
    }

    #[test]
    fn results_of_earlier_requests_do_not_change_an_open_breaker() {
        let (mut circuit_breaker, now) = (CircuitBreaker::new(LONGEST_REQUEST), Instant::now());
        let admitted = go(&mut circuit_breaker, now);
        circuit_breaker.finished(admitted, Ok(()), now);
        let early = [
            go(&mut circuit_breaker, now),
            go(&mut circuit_breaker, now),
            go(&mut circuit_breaker, now),
        ];
        circuit_breaker.finished(early[0], Err::<(), _>(&unauthorized()), now);
        circuit_breaker.finished(early[1], Ok(()), now + MINUTE);
        assert_eq!(
            refused_until(&mut circuit_breaker, now + MINUTE),
            Some(now + 6 * MINUTE)
        );
        let probe = go(&mut circuit_breaker, now + 6 * MINUTE);
        circuit_breaker.finished(probe, Ok(()), now + 6 * MINUTE);
        circuit_breaker.finished(early[2], Err::<(), _>(&unauthorized()), now + 6 * MINUTE);
        go(&mut circuit_breaker, now + 6 * MINUTE);
    }

    proptest! {
        // The cloud locks a key after more than five bad signatures in a row.
        #[test]
        fn a_wrong_key_is_tried_at_most_once_in_six_minutes(
            steps in prop::collection::vec((0_u64..90, any::<bool>()), 1..200),
        ) {
            let mut circuit_breaker = CircuitBreaker::new(LONGEST_REQUEST);
            let mut now = Instant::now();
            let mut last: Option<Instant> = None;
            for (seconds, quick) in steps {
                now += Duration::from_secs(seconds);
                if let Admit::Go(admitted) = circuit_breaker.admit(now) {
                    prop_assert!(last.is_none_or(|last| now - last >= 6 * MINUTE));
                    if !quick {
                        now += Duration::from_secs(10);
                    }
                    circuit_breaker.finished(admitted, Err::<(), _>(&unauthorized()), now);
                    last = Some(now);
                }
            }
            prop_assert!(last.is_some());
        }
    }
}
