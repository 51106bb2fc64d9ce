//! What to do about what the Lease says: pure, from one observation, who we are, and our own monotonic clock.

use std::time::{Duration, Instant};

use super::Record;

/// What was last seen of the Lease, and since when it has looked like this *by our clock*.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    pub record: Record,
    pub since: Instant,
}

impl Observation {
    /// Takes note of a record seen at `now`. Only a change moves `since`: a holder that stopped renewing looks the
    /// same each time, and whatever its clock says, its word ends one duration after its last change was seen.
    pub fn note(previous: Option<Self>, record: Record, now: Instant) -> Self {
        match previous {
            Some(seen) if seen.record == record => seen,
            _ => Self { record, since: now },
        }
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is no Lease: make it, held by us.
    Create,
    /// It is free, or its holder's word has run out: take it, with this many changes of holder.
    Take { transitions: i32 },
    /// We hold it: renew.
    Renew,
    /// Somebody else's word lasts for at least this long.
    Wait { remaining: Duration },
    /// We thought that we led, and the Lease says otherwise.
    Lost,
}

/// Decides. `leading` is whether we hold a term now, `seen` the Lease as it is (`None`: there is none).
pub fn decide(seen: Option<&Observation>, leading: bool, me: &str, now: Instant) -> Step {
    let Some(Observation { record, since }) = seen else {
        return Step::Create;
    };
    if record.holder == me {
        // While not leading this is our own write whose answer was lost. Its times were ours to choose, but the
        // term begins only with a renewal whose start we know.
        return Step::Renew;
    }
    if leading {
        return Step::Lost;
    }
    let taken = Step::Take {
        transitions: record.transitions.saturating_add(1),
    };
    if record.holder.is_empty() {
        return taken;
    }
    match record.duration.checked_sub(now.saturating_duration_since(*since)) {
        Some(remaining) if !remaining.is_zero() => Step::Wait { remaining },
        _ => taken,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    fn held_by(holder: &str) -> Record {
        Record {
            holder: holder.into(),
            duration: LEASE,
            transitions: 3,
            ..Record::default()
        }
    }

    fn seen(record: Record, since: Instant) -> Observation {
        Observation { record, since }
    }

    #[test]
    fn the_table_of_decisions() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let remaining = |seconds| Step::Wait {
            remaining: Duration::from_secs(seconds),
        };
        let cases = [
            ("no lease", None, false, 0, Step::Create),
            ("no lease any more while leading", None, true, 0, Step::Create),
            ("given back", Some(held_by("")), false, 0, Step::Take { transitions: 4 }),
            ("just seen", Some(held_by("other")), false, 0, remaining(30)),
            ("halfway", Some(held_by("other")), false, 15, remaining(15)),
            ("last second", Some(held_by("other")), false, 29, remaining(1)),
            (
                "run out",
                Some(held_by("other")),
                false,
                30,
                Step::Take { transitions: 4 },
            ),
            (
                "long run out",
                Some(held_by("other")),
                false,
                3000,
                Step::Take { transitions: 4 },
            ),
            ("ours", Some(held_by("me")), true, 0, Step::Renew),
            ("ours, late", Some(held_by("me")), true, 40, Step::Renew),
            ("ours, answer lost", Some(held_by("me")), false, 0, Step::Renew),
            ("stolen", Some(held_by("other")), true, 0, Step::Lost),
            ("stolen and run out", Some(held_by("other")), true, 40, Step::Lost),
            ("emptied under us", Some(held_by("")), true, 0, Step::Lost),
        ];
        for (name, record, leading, seconds, step) in cases {
            let observation = record.map(|record| seen(record, start));
            assert_eq!(decide(observation.as_ref(), leading, "me", at(seconds)), step, "{name}");
        }
    }

    #[test]
    fn the_holders_promise_counts_and_not_our_own_setting() {
        let start = Instant::now();
        let short = Record {
            duration: Duration::from_secs(5),
            ..held_by("other")
        };
        assert_eq!(
            decide(Some(&seen(short, start)), false, "me", start + Duration::from_secs(5)),
            Step::Take { transitions: 4 }
        );
        let long = Record {
            duration: Duration::from_secs(300),
            ..held_by("other")
        };
        assert_eq!(
            decide(Some(&seen(long, start)), false, "me", start + Duration::from_secs(31)),
            Step::Wait {
                remaining: Duration::from_secs(269)
            }
        );
    }

    #[test]
    fn a_count_at_its_end_does_not_overflow() {
        let record = Record {
            transitions: i32::MAX,
            ..held_by("")
        };
        let now = Instant::now();
        assert_eq!(
            decide(Some(&seen(record, now)), false, "me", now),
            Step::Take { transitions: i32::MAX }
        );
    }

    proptest! {
        /// Whatever the holder's clock says, nobody takes its lease before one duration has passed since we saw it change.
        #[test]
        fn a_living_holder_is_not_robbed_whatever_its_clock(
            renewed in proptest::option::of(-2_000_000_000_i64..4_000_000_000),
            acquired in proptest::option::of(-2_000_000_000_i64..4_000_000_000),
            duration in 1_u64..600,
            waited in 0_u64..600,
        ) {
            let start = Instant::now();
            let record = Record {
                duration: Duration::from_secs(duration),
                renewed: renewed.map(|s| Timestamp::from_second(s).unwrap()),
                acquired: acquired.map(|s| Timestamp::from_second(s).unwrap()),
                ..held_by("other")
            };
            let step = decide(Some(&seen(record, start)), false, "me", start + Duration::from_secs(waited));
            let took = matches!(step, Step::Take { .. });
            prop_assert_eq!(took, waited >= duration);
        }

        /// A holder that renews at least once per duration keeps its lease for as long as it does, however it is watched.
        #[test]
        fn renewals_seen_in_time_keep_the_lease(
            // Per look: seconds since the look before, and whether the holder renewed in between.
            looks in proptest::collection::vec((1_u64..10, any::<bool>()), 1..60),
        ) {
            let mut now = Instant::now();
            let mut observation = Observation::note(None, held_by("other"), now);
            let mut unchanged_for = 0;
            for (index, (seconds, renewed)) in looks.into_iter().enumerate() {
                now += Duration::from_secs(seconds);
                unchanged_for = if renewed { 0 } else { unchanged_for + seconds };
                let mut record = observation.record.clone();
                if renewed {
                    record.renewed = Some(Timestamp::from_second(index as i64).unwrap());
                }
                observation = Observation::note(Some(observation), record, now);
                let took = matches!(decide(Some(&observation), false, "me", now), Step::Take { .. });
                prop_assert_eq!(took, unchanged_for >= LEASE.as_secs());
            }
        }

        /// Who leads never goes on under a record that names somebody else.
        #[test]
        fn a_leader_accepts_no_record_but_its_own(holder in "[a-z]{0,3}", waited in 0_u64..100) {
            let start = Instant::now();
            let step = decide(Some(&seen(held_by(&holder), start)), true, "me", start + Duration::from_secs(waited));
            prop_assert_eq!(step, if holder == "me" { Step::Renew } else { Step::Lost });
        }
    }
}
