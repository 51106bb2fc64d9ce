//! The simulated cloud's clock: it may be skewed, and no two of its instants share a millisecond.

use jiff::{SignedDuration, Timestamp, tz::Offset};

use crate::switches::{CreateTimes, CreationTimes, ReadTimes, Switches};

/// Maximum skew of the cloud's clock, in milliseconds: a century.
pub(crate) const MAX_SKEW_MS: i64 = 100 * 366 * 24 * 3600 * 1000;

/// Default duration of slow operations, in milliseconds.
pub(crate) const SLOW_MS: u32 = 3_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct SimulatedClock {
    skew_ms: i64,
    /// Duration of slow operations, in milliseconds.
    pub slow_ms: u32,
    last: Option<Timestamp>,
    tied: Option<Timestamp>,
}

impl Default for SimulatedClock {
    fn default() -> Self {
        Self {
            skew_ms: 0,
            slow_ms: SLOW_MS,
            last: None,
            tied: None,
        }
    }
}

impl SimulatedClock {
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::now()
            .saturating_add(SignedDuration::from_millis(self.skew_ms))
            .unwrap_or(Timestamp::MAX)
    }

    pub(crate) fn skew_ms(&self) -> i64 {
        self.skew_ms
    }

    pub(crate) fn set_skew_ms(&mut self, skew_ms: i64) {
        *self = Self {
            skew_ms,
            slow_ms: self.slow_ms,
            ..Self::default()
        };
    }

    /// Returns when a slow operation that begins now will end.
    pub(crate) fn slow_end(&self) -> Timestamp {
        let slow = SignedDuration::from_millis(self.slow_ms.into());
        self.now().saturating_add(slow).unwrap_or(Timestamp::MAX)
    }

    /// Returns the time of a change, later than any before it by a millisecond or more.
    pub(crate) fn tick(&mut self) -> Timestamp {
        let now = self.now();
        let instant = match self.last {
            Some(last) if now.as_millisecond() <= last.as_millisecond() => {
                Timestamp::from_millisecond(last.as_millisecond() + 1).unwrap_or(now)
            }
            _ => now,
        };
        self.last = Some(instant);
        instant
    }

    /// Returns the time of a creation, which a switch can make equal to earlier ones.
    pub(crate) fn creation(&mut self, switches: &Switches) -> Timestamp {
        match (switches.creation_times, self.tied) {
            (CreationTimes::Tied, Some(tied)) => tied,
            (CreationTimes::Tied, None) => {
                let instant = self.tick();
                self.tied = Some(instant);
                instant
            }
            (CreationTimes::Distinct, _) => {
                self.tied = None;
                self.tick()
            }
        }
    }
}

/// Formats a time as in the response to a creation.
pub(crate) fn in_create_answer(time: Timestamp, switches: &Switches) -> String {
    let digits = match switches.create_times {
        CreateTimes::Nanos => 9,
        CreateTimes::Micros => 6,
        CreateTimes::Millis => 3,
    };
    utc(time, digits)
}

/// Formats a time as in every other response.
pub(crate) fn in_read_answer(time: Timestamp, switches: &Switches) -> String {
    match switches.read_times {
        ReadTimes::Millis => utc(time, 3),
        ReadTimes::Micros => utc(time, 6),
        ReadTimes::Trimmed => {
            let text = utc(time, 3);
            let cut = text.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
            format!("{cut}Z")
        }
        ReadTimes::Offset => {
            let local = Offset::constant(8).to_datetime(time);
            format!(
                "{}.{:03}+08:00",
                local.strftime("%Y-%m-%dT%H:%M:%S"),
                local.subsec_nanosecond() / 1_000_000
            )
        }
    }
}

/// Truncates a time to its precision in lists, and so in their markers.
pub(crate) fn in_list(time: Timestamp, switches: &Switches) -> Timestamp {
    let step = match switches.read_times {
        ReadTimes::Millis | ReadTimes::Trimmed | ReadTimes::Offset => 1_000_000,
        ReadTimes::Micros => 1_000,
    };
    let nanoseconds = time.as_nanosecond();
    Timestamp::from_nanosecond(nanoseconds - nanoseconds.rem_euclid(step)).unwrap_or(time)
}

/// Formats a time as in the `Date` header.
pub(crate) fn http_date(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn utc(time: Timestamp, digits: usize) -> String {
    let civil = Offset::UTC.to_datetime(time);
    let fraction = format!("{:09}", civil.subsec_nanosecond());
    format!("{}.{}Z", civil.strftime("%Y-%m-%dT%H:%M:%S"), &fraction[..digits])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn switches(name: &str, value: &str) -> Switches {
        Switches::default()
            .with(&[(name.to_owned(), value.to_owned())].into())
            .unwrap()
    }

    #[test]
    fn changes_never_share_a_millisecond() {
        let mut clock = SimulatedClock::default();
        let instants: Vec<_> = (0..1000).map(|_| clock.tick().as_millisecond()).collect();
        assert!(instants.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn creation_times_are_equal_only_with_the_switch() {
        let mut clock = SimulatedClock::default();
        let tied = switches("creation-times", "tied");
        let first = clock.creation(&tied);
        assert_eq!(clock.creation(&tied), first);
        assert!(clock.creation(&Switches::default()) > first);
        assert!(clock.creation(&tied) > first);
    }

    #[test]
    fn list_markers_have_the_form_of_read_times() {
        let time: Timestamp = "2025-07-17T16:49:28.567890123Z".parse().unwrap();
        for form in ["millis", "trimmed", "micros", "offset"] {
            let switches = switches("read-times", form);
            let reported: Timestamp = in_read_answer(time, &switches).parse().unwrap();
            assert_eq!(in_list(time, &switches), reported, "{form}");
        }
    }

    #[test]
    fn times_are_formatted_in_each_documented_form() {
        let time: Timestamp = "2025-07-17T16:49:28.500000007Z".parse().unwrap();
        assert_eq!(
            in_create_answer(time, &Switches::default()),
            "2025-07-17T16:49:28.500000007Z"
        );
        assert_eq!(
            in_create_answer(time, &switches("create-answer-times", "micros")),
            "2025-07-17T16:49:28.500000Z"
        );
        assert_eq!(
            in_create_answer(time, &switches("create-answer-times", "millis")),
            "2025-07-17T16:49:28.500Z"
        );
        assert_eq!(in_read_answer(time, &Switches::default()), "2025-07-17T16:49:28.500Z");
        assert_eq!(
            in_read_answer(time, &switches("read-times", "trimmed")),
            "2025-07-17T16:49:28.5Z"
        );
        assert_eq!(
            in_read_answer(time, &switches("read-times", "micros")),
            "2025-07-17T16:49:28.500000Z"
        );
        assert_eq!(
            in_read_answer(time, &switches("read-times", "offset")),
            "2025-07-18T00:49:28.500+08:00"
        );
        assert_eq!(http_date(time), "Thu, 17 Jul 2025 16:49:28 GMT");
    }
}
