//! The cloud's clock as read from the `Date` headers of its answers, and how far two clocks may differ. Pure: the
//! caller passes both of the machine's clocks.

use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use tokio::time::Instant;

/// The largest difference between clocks that should agree. It covers two API nodes of the cloud and the whole seconds
/// of a `Date` header and of a record. It also covers the time from a record to its request ([`SENT_WITHIN`]).
pub const CLOCK_MARGIN: Duration = Duration::from_secs(5);

/// A request is sent at most this long after the instant from which its recorded deadline counts, or not at all.
pub const SENT_WITHIN: Duration = Duration::from_secs(3);

/// Longer than the time from any record to the deadline of its request, with any flags.
const LONGEST_REQUEST: Duration = Duration::from_secs(6 * 60);

/// If the machine's two clocks differ by more than this, the machine was suspended, or someone set its clock.
const SUSPENDED: Duration = Duration::from_secs(1);

/// A known time changes by more than this only if [`AGREEING`] answers in a row agree: one node may be wrong.
const JUMP: Duration = Duration::from_secs(60);

/// The cloud refuses signatures whose time differs by more than this. A first time that differs more from the machine's
/// own also needs [`AGREEING`] answers.
pub(crate) const SIGNATURE_SKEW: Duration = Duration::from_secs(15 * 60);

/// How many answers in a row must agree on a time far from the expected one.
const AGREEING: u32 = 3;

/// The unit to which a `Date` header is truncated.
const SECOND: Duration = Duration::from_secs(1);

/// The present time by both of the machine's clocks. The monotonic clock may stop while the machine is suspended; the
/// wall clock may be set.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Never goes back; may stop during a suspension.
    pub monotonic: Instant,
    /// Counts during a suspension; may be set, also back.
    pub wall: SystemTime,
}

impl Moment {
    /// Reads both clocks.
    pub fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// The time since then, by the clock that shows more.
    pub fn elapsed(&self, now: Self) -> Duration {
        // A wall clock that was set back proves nothing.
        let wall = now.wall.duration_since(self.wall).unwrap_or_default();
        now.monotonic.saturating_duration_since(self.monotonic).max(wall)
    }

    /// Whether both clocks have advanced equally since then.
    fn agrees_with(&self, now: Self) -> bool {
        let monotonic = now.monotonic.saturating_duration_since(self.monotonic);
        let apart = match now.wall.duration_since(self.wall) {
            Ok(wall) => wall.abs_diff(monotonic),
            Err(back) => monotonic.saturating_add(back.duration()),
        };
        apart <= SUSPENDED
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct CloudClock {
    observed: Option<(Timestamp, Moment)>,
    unknown_since: Instant,
    doubted: Option<Doubted>,
}

/// A time far from the expected one, and how many answers in a row agreed on it.
#[derive(Clone, Copy, Debug)]
struct Doubted {
    date: Timestamp,
    at: Instant,
    answers: u32,
}

impl CloudClock {
    /// Nothing is known before the first answer.
    pub fn new(now: Instant) -> Self {
        Self {
            observed: None,
            unknown_since: now,
            doubted: None,
        }
    }

    /// The cloud's present time: never ahead of its slowest node by more than the rest of the margin. `None`: no answer
    /// has shown it since [`Self::unknown_since`].
    pub fn now(&mut self, now: Moment) -> Option<Timestamp> {
        let (observed, at) = self.observed?;
        if !at.agrees_with(now) {
            *self = Self::new(now.monotonic);
            return None;
        }
        Some(later(observed, now.monotonic.saturating_duration_since(at.monotonic)))
    }

    /// Only an answer to a request that starts from this instant on shows the time.
    pub fn unknown_since(&self) -> Option<Instant> {
        self.observed.is_none().then_some(self.unknown_since)
    }

    /// Records an answer that came `now` to a request of that time. A cloud that sends no date gets the machine's time.
    pub fn answered(&mut self, date: Option<Timestamp>, sent: Instant, now: Moment) {
        let expected = self.now(now);
        let Some(date) = date else {
            if expected.is_none() {
                self.observed = Timestamp::try_from(now.wall).ok().map(|wall| (wall, now));
            }
            return;
        };
        let took = now.monotonic.saturating_duration_since(sent);
        let is_far = match expected {
            Some(expected) => is_apart(date, expected, took, JUMP),
            None => Timestamp::try_from(now.wall).is_ok_and(|ours| is_apart(date, ours, took, SIGNATURE_SKEW)),
        };
        if is_far {
            self.doubt(date, took, now);
            return;
        }
        self.doubted = None;
        if expected.is_none_or(|expected| is_better(date, expected, took)) {
            self.observed = Some((date, now));
        }
    }

    /// Follows a time far from the expected one once enough answers in a row agree on it.
    fn doubt(&mut self, date: Timestamp, took: Duration, now: Moment) {
        let before = self.doubted.filter(|doubted| {
            let expected = later(doubted.date, now.monotonic.saturating_duration_since(doubted.at));
            !is_apart(date, expected, took, CLOCK_MARGIN)
        });
        let answers = before.map_or(0, |doubted| doubted.answers) + 1;
        if answers >= AGREEING {
            self.doubted = None;
            self.observed = Some((date, now));
            return;
        }
        self.doubted = Some(Doubted {
            date,
            at: now.monotonic,
            answers,
        });
        // While the time is unknown, another request is needed to learn it.
        self.unknown_since = now.monotonic;
    }
}

/// Whether a date differs from the expected one by more than `by`, given how long its answer took.
fn is_apart(date: Timestamp, expected: Timestamp, took: Duration, by: Duration) -> bool {
    let (ahead, behind) = (gap(expected, date), gap(date, expected));
    ahead > by || behind.saturating_sub(took) > by
}

/// Whether a date is a better bound than the expected time, given how long its answer took. The header's whole seconds
/// lie in the past. Of two nodes whose clocks differ, the slower one counts; a clock that was set is followed.
fn is_better(date: Timestamp, expected: Timestamp, took: Duration) -> bool {
    let (ahead, behind) = (gap(expected, date), gap(date, expected));
    let is_same_clock = ahead <= SECOND && behind.is_zero();
    let is_slower_clock = behind > took.saturating_add(SECOND);
    is_same_clock || is_slower_clock || ahead > CLOCK_MARGIN
}

/// How much later the second time is; zero if it is not.
fn gap(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// The period in which the cloud created what a recorded intent requested. Without a deadline it has no end, as for an
/// intent that was given up.
pub fn creation_window(
    recorded_at: Timestamp,
    deadline: Option<Timestamp>,
    confirmation_period: Duration,
) -> RangeInclusive<Timestamp> {
    let until = deadline.map(|deadline| later(later(deadline, confirmation_period), CLOCK_MARGIN));
    earlier(recorded_at, CLOCK_MARGIN)..=until.unwrap_or(Timestamp::MAX)
}

/// The latest time that a record made now may wait for.
pub fn longest_wait(cloud_now: Timestamp, confirmation_period: Duration) -> Timestamp {
    later(later(cloud_now, LONGEST_REQUEST), confirmation_period)
}

/// Returns `time` plus `by`, at most the largest timestamp.
pub fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// Returns `time` minus `by`, at least the smallest timestamp.
pub fn earlier(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_sub(by).unwrap_or(Timestamp::MIN)
}

/// Truncated, not rounded: a time in the future would be wrong.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second() - i64::from(time.subsec_nanosecond() < 0)).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    /// A machine whose clocks the test advances.
    struct Machine(Moment);

    impl Machine {
        fn new() -> Self {
            Self(Moment {
                monotonic: Instant::now(),
                wall: SystemTime::UNIX_EPOCH + Duration::from_secs(5000),
            })
        }

        fn after(&self, seconds: u64) -> Moment {
            self.suspended(seconds, 0)
        }

        /// Both clocks advance by `seconds`, then only the wall clock by `asleep`.
        fn suspended(&self, seconds: u64, asleep: u64) -> Moment {
            Moment {
                monotonic: self.0.monotonic + Duration::from_secs(seconds),
                wall: self.0.wall + Duration::from_secs(seconds + asleep),
            }
        }

        fn clock(&self) -> CloudClock {
            CloudClock::new(self.0.monotonic)
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number")
    }

    const YEAR: i64 = 365 * 24 * 3600;

    fn observe(clock: &mut CloudClock, machine: &Machine, date: i64, now: u64) -> Option<i64> {
        let now = machine.after(now);
        clock.answered(Some(at(date)), now.monotonic, now);
        clock.now(now).map(Timestamp::as_second)
    }

    #[test]
    fn the_clouds_time_is_known_after_the_first_response() {
        let machine = Machine::new();
        let mut clock = machine.clock();
        assert_eq!(clock.now(machine.after(1)), None);
        assert_eq!(clock.unknown_since(), Some(machine.0.monotonic));
        // The cloud's clock may be 120 s behind.
        assert_eq!(observe(&mut clock, &machine, 4880, 2), Some(4880));
        assert_eq!(clock.now(machine.after(62)), Some(at(4940)));
        assert_eq!(clock.unknown_since(), None);
    }

    #[test]
    fn the_later_of_two_dates_within_a_second_is_used() {
        let machine = Machine::new();
        let mut clock = machine.clock();
        assert_eq!(observe(&mut clock, &machine, 5000, 0), Some(5000));
        assert_eq!(observe(&mut clock, &machine, 5001, 0), Some(5001));
        assert_eq!(observe(&mut clock, &machine, 5010, 10), Some(5011), "cut to its second");
    }

    #[test]
    fn the_slower_clock_of_two_nodes_is_used() {
        for dates in [[5000, 5003], [5003, 5000]] {
            let machine = Machine::new();
            let mut clock = machine.clock();
            for date in dates {
                observe(&mut clock, &machine, date, 0);
            }
            for (second, node) in (1_u64..20).zip([0, 3, 3, 0].into_iter().cycle()) {
                let passed = i64::try_from(second).expect("a small number");
                let now = observe(&mut clock, &machine, 5000 + node + passed, second);
                assert_eq!(now, Some(5000 + passed), "{dates:?}");
            }
        }
    }

    #[test]
    fn a_slow_response_does_not_set_the_clock_back() {
        let machine = Machine::new();
        let mut clock = machine.clock();
        observe(&mut clock, &machine, 5000, 0);
        let (sent, now) = (machine.after(10).monotonic, machine.after(18));
        clock.answered(Some(at(5010)), sent, now);
        assert_eq!(clock.now(now), Some(at(5018)));
    }

    #[test]
    fn consistent_very_slow_responses_do_not_set_the_clock_back() {
        let machine = Machine::new();
        let mut clock = machine.clock();
        observe(&mut clock, &machine, 5000, 0);
        for second in 10..15 {
            let (sent, now) = (machine.after(second).monotonic, machine.after(second + 110));
            let passed = i64::try_from(second).expect("a small number");
            clock.answered(Some(at(5000 + passed)), sent, now);
            assert_eq!(clock.now(now), Some(at(5110 + passed)));
        }
    }

    #[test]
    fn a_small_change_of_the_clouds_clock_is_followed() {
        for set_to in [4990, 4950, 5006, 5050] {
            let machine = Machine::new();
            let mut clock = machine.clock();
            observe(&mut clock, &machine, 5000, 0);
            assert_eq!(observe(&mut clock, &machine, set_to, 0), Some(set_to));
        }
    }

    #[test]
    fn a_large_clock_change_needs_three_consistent_responses() {
        for jump in [-3600, -600, 600, YEAR] {
            let machine = Machine::new();
            let mut clock = machine.clock();
            assert_eq!(observe(&mut clock, &machine, 5000, 0), Some(5000));
            assert_eq!(observe(&mut clock, &machine, 5001 + jump, 1), Some(5001), "{jump}");
            assert_eq!(observe(&mut clock, &machine, 5002 + jump, 2), Some(5002), "{jump}");
            // An answer that does not agree resets the count.
            assert_eq!(observe(&mut clock, &machine, 5003, 3), Some(5003), "{jump}");
            assert_eq!(observe(&mut clock, &machine, 5004 + jump, 4), Some(5004), "{jump}");
            assert_eq!(observe(&mut clock, &machine, 5005 - 2 * jump, 5), Some(5005), "{jump}");
            assert_eq!(observe(&mut clock, &machine, 5006 + jump, 6), Some(5006), "{jump}");
            assert_eq!(observe(&mut clock, &machine, 5007 + jump, 7), Some(5007), "{jump}");
            assert_eq!(observe(&mut clock, &machine, 5008 + jump, 8), Some(5008 + jump));
            assert_eq!(clock.unknown_since(), None);
        }
    }

    #[test]
    fn an_implausible_first_time_must_be_confirmed() {
        let machine = Machine::new();
        let mut clock = machine.clock();
        assert_eq!(observe(&mut clock, &machine, YEAR + 1, 1), None);
        assert_eq!(clock.unknown_since(), Some(machine.after(1).monotonic));
        assert_eq!(observe(&mut clock, &machine, YEAR + 2, 2), None);
        assert_eq!(clock.unknown_since(), Some(machine.after(2).monotonic));
        assert_eq!(observe(&mut clock, &machine, 5003, 3), Some(5003), "near ours");
        let mut clock = machine.clock();
        assert_eq!(observe(&mut clock, &machine, YEAR + 1, 1), None);
        assert_eq!(observe(&mut clock, &machine, YEAR + 2, 2), None);
        assert_eq!(observe(&mut clock, &machine, YEAR + 3, 3), Some(YEAR + 3));
    }

    #[test]
    fn the_clouds_time_is_unknown_after_a_suspend() {
        let machine = Machine::new();
        let mut clock = machine.clock();
        observe(&mut clock, &machine, 5000, 0);
        let awake = machine.suspended(10, 600);
        assert_eq!(clock.now(awake), None);
        assert_eq!(clock.unknown_since(), Some(awake.monotonic));
        clock.answered(Some(at(5610)), awake.monotonic, awake);
        assert_eq!(clock.now(awake), Some(at(5610)));
        // The same for a machine whose wall clock was set back.
        let back = Moment {
            wall: SystemTime::UNIX_EPOCH,
            ..awake
        };
        assert_eq!(clock.now(back), None);
    }

    #[test]
    fn without_dates_of_the_cloud_the_local_time_is_used() {
        let machine = Machine::new();
        let mut clock = machine.clock();
        let now = machine.after(7);
        clock.answered(None, now.monotonic, now);
        assert_eq!(clock.now(machine.after(8)), Some(at(5008)));
        // An answer without a date does not replace a known time.
        assert_eq!(observe(&mut clock, &machine, 5000, 9), Some(5000));
        clock.answered(None, machine.after(10).monotonic, machine.after(10));
        assert_eq!(clock.now(machine.after(10)), Some(at(5001)));
    }

    #[test]
    fn elapsed_time_is_the_longer_of_both_clocks() {
        let machine = Machine::new();
        let then = machine.after(0);
        assert_eq!(then.elapsed(machine.after(2)), Duration::from_secs(2));
        assert_eq!(then.elapsed(machine.suspended(2, 60)), Duration::from_secs(62));
        let back = Moment {
            wall: SystemTime::UNIX_EPOCH,
            ..machine.after(2)
        };
        assert_eq!(then.elapsed(back), Duration::from_secs(2));
    }

    #[test]
    fn creation_times_of_any_node_lie_within_the_creation_window() {
        let (request_timeout, confirmation_period) = (Duration::from_secs(10), Duration::from_secs(30));
        for node in [-3, 0, 3] {
            for seconds in [0, SENT_WITHIN.as_secs()] {
                let recorded_at = at(1000);
                let deadline = later(later(recorded_at, request_timeout), CLOCK_MARGIN);
                let window = creation_window(recorded_at, Some(deadline), confirmation_period);
                let sent = later(recorded_at, Duration::from_secs(seconds));
                let ended = later(later(sent, request_timeout), confirmation_period);
                for created in [sent, ended] {
                    assert!(
                        window.contains(&(created + SignedDuration::from_secs(node))),
                        "{node} {seconds}"
                    );
                }
                // The record also does not prove too early that the creation had no effect.
                assert!(ended <= later(deadline, confirmation_period));
            }
        }
    }
}
