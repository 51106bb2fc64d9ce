//! The cloud's clock, as its answers tell it, and how far any two clocks are trusted to agree. Pure: both of the machine's
//! clocks are handed in.

use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// How far clocks that should agree may be apart: those of two API nodes of the cloud, the whole seconds of a `Date` header
/// and of a record, and what passes between a record and the request that it announces ([`SENT_WITHIN`]).
pub const CLOCK_MARGIN: Duration = Duration::from_secs(5);
/// A request leaves no later than this after the time by which its deadline was recorded, or it does not leave.
pub const SENT_WITHIN: Duration = Duration::from_secs(3);
/// If one of the machine's clocks is so much further than the other, the machine was suspended, or somebody set its clock.
const SUSPENDED: Duration = Duration::from_secs(1);
/// A `Date` header is cut to it.
const SECOND: Duration = Duration::from_secs(1);

/// The present, by both of the machine's clocks: the monotonic one may stand while the machine is suspended, the wall clock
/// may be set.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub monotonic: Instant,
    pub wall: SystemTime,
}

impl Moment {
    pub fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// How long ago it is, by the clock that says more.
    pub fn elapsed(&self, now: Self) -> Duration {
        // A wall clock that went back tells nothing.
        let wall = now.wall.duration_since(self.wall).unwrap_or_default();
        now.monotonic.saturating_duration_since(self.monotonic).max(wall)
    }

    /// Whether both clocks have gone on alike since.
    fn agrees_with(&self, now: Self) -> bool {
        let monotonic = now.monotonic.saturating_duration_since(self.monotonic);
        let apart = match now.wall.duration_since(self.wall) {
            Ok(wall) => wall.max(monotonic) - wall.min(monotonic),
            Err(back) => monotonic.saturating_add(back.duration()),
        };
        apart <= SUSPENDED
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct CloudClock {
    told: Option<(Timestamp, Moment)>,
    unknown_since: Instant,
}

impl CloudClock {
    /// Nothing is known before the first answer.
    pub fn new(now: Instant) -> Self {
        Self {
            told: None,
            unknown_since: now,
        }
    }

    /// The cloud's present time: never ahead of its slowest node by more than the rest of the margin. `None`: no answer has
    /// told it since [`Self::unknown_since`].
    pub fn now(&mut self, now: Moment) -> Option<Timestamp> {
        let (told, at) = self.told?;
        if !at.agrees_with(now) {
            *self = Self::new(now.monotonic);
            return None;
        }
        Some(later(told, now.monotonic.saturating_duration_since(at.monotonic)))
    }

    /// Only an answer to what is started from then on tells the time.
    pub fn unknown_since(&self) -> Option<Instant> {
        self.told.is_none().then_some(self.unknown_since)
    }

    /// An answer came `now` to what was sent then. A cloud that does not tell the time has ours.
    pub fn answered(&mut self, date: Option<Timestamp>, sent: Instant, now: Moment) {
        let expected = self.now(now);
        let Some(date) = date else {
            if expected.is_none() {
                self.told = Timestamp::try_from(now.wall).ok().map(|wall| (wall, now));
            }
            return;
        };
        if expected.is_none_or(|expected| is_better(date, expected, now.monotonic.saturating_duration_since(sent))) {
            self.told = Some((date, now));
        }
    }
}

/// Whether what an answer tells, which took so long, is a better bound than what was expected. The header's whole seconds
/// are a time that has been. Of two nodes whose clocks differ, the slower one counts; a clock that was set is followed.
fn is_better(date: Timestamp, expected: Timestamp, took: Duration) -> bool {
    let ahead = Duration::try_from(date.duration_since(expected)).unwrap_or_default();
    let behind = Duration::try_from(expected.duration_since(date)).unwrap_or_default();
    let is_same_clock = ahead <= SECOND && behind.is_zero();
    let is_slower_clock = behind > took.saturating_add(SECOND);
    is_same_clock || is_slower_clock || ahead > CLOCK_MARGIN
}

/// When the cloud made what a recorded creation asked for. What was given up without a deadline to it has no end.
pub fn creation_window(
    recorded_at: Timestamp,
    deadline: Option<Timestamp>,
    settle_time: Duration,
) -> RangeInclusive<Timestamp> {
    let from = recorded_at.checked_sub(CLOCK_MARGIN).unwrap_or(Timestamp::MIN);
    let until = deadline.map(|deadline| later(later(deadline, settle_time), CLOCK_MARGIN));
    from..=until.unwrap_or(Timestamp::MAX)
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// So much earlier.
pub fn earlier(time: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by)
        .ok()
        .and_then(|by| time.checked_sub(by).ok())
        .unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine of which the test says how long both of its clocks went on.
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

        /// For so long both went on, and for so long only the wall clock.
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

    fn told(clock: &mut CloudClock, machine: &Machine, date: i64, now: u64) -> Option<i64> {
        let now = machine.after(now);
        clock.answered(Some(at(date)), now.monotonic, now);
        clock.now(now).map(Timestamp::as_second)
    }

    #[test]
    fn the_time_is_unknown_before_the_first_answer_and_then_goes_on_by_itself() {
        let machine = Machine::new();
        let mut clock = machine.clock();
        assert_eq!(clock.now(machine.after(1)), None);
        assert_eq!(clock.unknown_since(), Some(machine.0.monotonic));
        // 120 s behind, or where it likes.
        assert_eq!(told(&mut clock, &machine, 4880, 2), Some(4880));
        assert_eq!(clock.now(machine.after(62)), Some(at(4940)));
        assert_eq!(clock.unknown_since(), None);
    }

    #[test]
    fn the_later_of_two_times_within_a_second_is_the_better_bound() {
        let machine = Machine::new();
        let mut clock = machine.clock();
        assert_eq!(told(&mut clock, &machine, 100, 0), Some(100));
        assert_eq!(told(&mut clock, &machine, 101, 0), Some(101));
        assert_eq!(told(&mut clock, &machine, 110, 10), Some(111), "cut to its second");
    }

    #[test]
    fn of_two_nodes_the_slower_one_counts_whichever_answers_first() {
        for dates in [[100, 103], [103, 100]] {
            let machine = Machine::new();
            let mut clock = machine.clock();
            for date in dates {
                told(&mut clock, &machine, date, 0);
            }
            for (second, node) in (1_u64..20).zip([0, 3, 3, 0].into_iter().cycle()) {
                let passed = i64::try_from(second).expect("a small number");
                let now = told(&mut clock, &machine, 100 + node + passed, second);
                assert_eq!(now, Some(100 + passed), "{dates:?}");
            }
        }
    }

    #[test]
    fn an_answer_that_took_long_does_not_set_the_clock_back() {
        let machine = Machine::new();
        let mut clock = machine.clock();
        told(&mut clock, &machine, 100, 0);
        let (sent, now) = (machine.after(10).monotonic, machine.after(18));
        clock.answered(Some(at(110)), sent, now);
        assert_eq!(clock.now(now), Some(at(118)));
    }

    #[test]
    fn a_clock_that_was_set_is_followed() {
        for set_to in [90, 50, 106, 1_000_000] {
            let machine = Machine::new();
            let mut clock = machine.clock();
            told(&mut clock, &machine, 100, 0);
            assert_eq!(told(&mut clock, &machine, set_to, 0), Some(set_to));
        }
    }

    #[test]
    fn a_machine_that_was_suspended_asks_again() {
        let machine = Machine::new();
        let mut clock = machine.clock();
        told(&mut clock, &machine, 100, 0);
        let awake = machine.suspended(10, 600);
        assert_eq!(clock.now(awake), None);
        assert_eq!(clock.unknown_since(), Some(awake.monotonic));
        clock.answered(Some(at(710)), awake.monotonic, awake);
        assert_eq!(clock.now(awake), Some(at(710)));
        // So does one whose wall clock was set back.
        let back = Moment {
            wall: SystemTime::UNIX_EPOCH,
            ..awake
        };
        assert_eq!(clock.now(back), None);
    }

    #[test]
    fn a_cloud_that_does_not_tell_the_time_has_ours() {
        let machine = Machine::new();
        let mut clock = machine.clock();
        let now = machine.after(7);
        clock.answered(None, now.monotonic, now);
        assert_eq!(clock.now(machine.after(8)), Some(at(5008)));
        // What one has told is not forgotten for one that does not.
        assert_eq!(told(&mut clock, &machine, 100, 9), Some(100));
        clock.answered(None, machine.after(10).monotonic, machine.after(10));
        assert_eq!(clock.now(machine.after(10)), Some(at(101)));
    }

    #[test]
    fn time_has_passed_if_either_clock_says_so() {
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
    fn what_any_node_says_of_a_creation_of_ours_lies_within_its_window() {
        let (request_timeout, settle_time) = (Duration::from_secs(10), Duration::from_secs(30));
        for node in [-3, 0, 3] {
            for seconds in [0, SENT_WITHIN.as_secs()] {
                let recorded_at = at(1000);
                let deadline = later(later(recorded_at, request_timeout), CLOCK_MARGIN);
                let window = creation_window(recorded_at, Some(deadline), settle_time);
                let sent = later(recorded_at, Duration::from_secs(seconds));
                let ended = later(later(sent, request_timeout), settle_time);
                for created in [sent, ended] {
                    assert!(
                        window.contains(&(created + SignedDuration::from_secs(node))),
                        "{node} {seconds}"
                    );
                }
                // Nor does the record prove too early that nothing came of it.
                assert!(ended <= later(deadline, settle_time));
            }
        }
    }
}
