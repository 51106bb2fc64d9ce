//! Decides the next step of the leader election: pure, from one observation of the Lease, our identity and our
//! monotonic clock.

use std::time::{Duration, Instant};

use crate::leader::record::LeaseRecord;

/// The last observed state of the Lease, and since when it is unchanged *by our clock*.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseObservation {
    /// The Lease as last read.
    pub record: LeaseRecord,
    /// When this record was first read.
    pub since: Instant,
}

impl LeaseObservation {
    /// Records an observation at `now`. Only a changed record moves `since`: a holder that stopped renewing no longer
    /// changes it. So the lease expires one duration after its last observed change, whatever the holder's clock says.
    pub fn note(previous: Option<Self>, record: LeaseRecord, now: Instant) -> Self {
        match previous {
            Some(seen) if seen.record == record => seen,
            _ => Self { record, since: now },
        }
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElectionStep {
    /// No Lease exists: create it, held by us.
    Create,
    /// It is free or expired: take it, with this number of transitions.
    Take {
        /// One more than the Lease has now.
        transitions: i32,
    },
    /// We hold it: renew.
    Renew,
    /// The lease of another holder lasts for at least this long.
    Wait {
        /// Until it expires, unless it is renewed.
        remaining: Duration,
    },
    /// We led, but the Lease no longer names us.
    Lost,
}

/// Decides the next step. `leading`: whether we lead now. `seen`: the Lease as observed (`None`: there is none).
pub fn decide(seen: Option<&LeaseObservation>, leading: bool, me: &str, now: Instant) -> ElectionStep {
    let Some(LeaseObservation { record, since }) = seen else {
        return ElectionStep::Create;
    };
    if record.holder == me {
        // While not leading, this is our own write whose answer was lost. Its times are ours, but our leadership begins
        // only with a renewal whose start we know.
        return ElectionStep::Renew;
    }
    if leading {
        return ElectionStep::Lost;
    }
    let taken = ElectionStep::Take {
        transitions: record.transitions.saturating_add(1),
    };
    if record.holder.is_empty() {
        return taken;
    }
    match record.duration.checked_sub(now.saturating_duration_since(*since)) {
        Some(remaining) if !remaining.is_zero() => ElectionStep::Wait { remaining },
        _ => taken,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    fn held_by(holder: &str) -> LeaseRecord {
        LeaseRecord {
            holder: holder.into(),
            duration: LEASE,
            transitions: 3,
            ..LeaseRecord::default()
        }
    }

    fn seen(record: LeaseRecord, since: Instant) -> LeaseObservation {
        LeaseObservation { record, since }
    }

    #[test]
    fn each_observation_leads_to_the_expected_step() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let remaining = |seconds| ElectionStep::Wait {
            remaining: Duration::from_secs(seconds),
        };
        let cases = [
            ("no lease", None, false, 0, ElectionStep::Create),
            ("no lease any more while leading", None, true, 0, ElectionStep::Create),
            (
                "released",
                Some(held_by("")),
                false,
                0,
                ElectionStep::Take { transitions: 4 },
            ),
            ("just seen", Some(held_by("other")), false, 0, remaining(30)),
            ("halfway", Some(held_by("other")), false, 15, remaining(15)),
            ("last second", Some(held_by("other")), false, 29, remaining(1)),
            (
                "run out",
                Some(held_by("other")),
                false,
                30,
                ElectionStep::Take { transitions: 4 },
            ),
            (
                "long run out",
                Some(held_by("other")),
                false,
                3000,
                ElectionStep::Take { transitions: 4 },
            ),
            ("ours", Some(held_by("me")), true, 0, ElectionStep::Renew),
            ("ours, late", Some(held_by("me")), true, 40, ElectionStep::Renew),
            ("ours, answer lost", Some(held_by("me")), false, 0, ElectionStep::Renew),
            ("stolen", Some(held_by("other")), true, 0, ElectionStep::Lost),
            (
                "stolen and run out",
                Some(held_by("other")),
                true,
                40,
                ElectionStep::Lost,
            ),
            (
                "holder removed by another client",
                Some(held_by("")),
                true,
                0,
                ElectionStep::Lost,
            ),
        ];
        for (name, record, leading, seconds, step) in cases {
            let observation = record.map(|record| seen(record, start));
            assert_eq!(decide(observation.as_ref(), leading, "me", at(seconds)), step, "{name}");
        }
    }

    #[test]
    fn the_holders_lease_duration_applies_and_not_the_own_setting() {
        let start = Instant::now();
        let short = LeaseRecord {
            duration: Duration::from_secs(5),
            ..held_by("other")
        };
        assert_eq!(
            decide(Some(&seen(short, start)), false, "me", start + Duration::from_secs(5)),
            ElectionStep::Take { transitions: 4 }
        );
        let long = LeaseRecord {
            duration: Duration::from_secs(300),
            ..held_by("other")
        };
        assert_eq!(
            decide(Some(&seen(long, start)), false, "me", start + Duration::from_secs(31)),
            ElectionStep::Wait {
                remaining: Duration::from_secs(269)
            }
        );
    }

    #[test]
    fn the_transition_count_does_not_overflow() {
        let record = LeaseRecord {
            transitions: i32::MAX,
            ..held_by("")
        };
        let now = Instant::now();
        assert_eq!(
            decide(Some(&seen(record, now)), false, "me", now),
            ElectionStep::Take { transitions: i32::MAX }
        );
    }

    proptest! {
        /// Nobody takes a lease before one duration after its last observed change, whatever the holder's clock says.
        #[test]
        fn a_live_holder_keeps_the_lease_with_any_clock(
            renewed in proptest::option::of(-2_000_000_000_i64..4_000_000_000),
            acquired in proptest::option::of(-2_000_000_000_i64..4_000_000_000),
            duration in 1_u64..600,
            waited in 0_u64..600,
        ) {
            let start = Instant::now();
            let record = LeaseRecord {
                duration: Duration::from_secs(duration),
                renewed: renewed.map(|s| Timestamp::from_second(s).unwrap()),
                acquired: acquired.map(|s| Timestamp::from_second(s).unwrap()),
                ..held_by("other")
            };
            let step = decide(Some(&seen(record, start)), false, "me", start + Duration::from_secs(waited));
            let took = matches!(step, ElectionStep::Take { .. });
            prop_assert_eq!(took, waited >= duration);
        }

        /// A holder that renews at least once per duration keeps its lease, however often it is observed.
        #[test]
        fn timely_renewals_keep_the_lease(
            // Per observation: seconds since the one before, and whether the holder renewed in between.
            queries in proptest::collection::vec((1_u64..10, any::<bool>()), 1..60),
        ) {
            let mut now = Instant::now();
            let mut observation = LeaseObservation::note(None, held_by("other"), now);
            let mut unchanged_for = 0;
            for (index, (seconds, renewed)) in queries.into_iter().enumerate() {
                now += Duration::from_secs(seconds);
                unchanged_for = if renewed { 0 } else { unchanged_for + seconds };
                let mut record = observation.record.clone();
                if renewed {
                    record.renewed = Some(Timestamp::from_second(i64::try_from(index).unwrap()).unwrap());
                }
                observation = LeaseObservation::note(Some(observation), record, now);
                let took = matches!(decide(Some(&observation), false, "me", now), ElectionStep::Take { .. });
                prop_assert_eq!(took, unchanged_for >= LEASE.as_secs());
            }
        }

        /// A leader never continues under a record that names another holder.
        #[test]
        fn a_leader_continues_only_under_its_own_record(holder in "[a-z]{0,3}", waited in 0_u64..100) {
            let start = Instant::now();
            let step = decide(Some(&seen(held_by(&holder), start)), true, "me", start + Duration::from_secs(waited));
            prop_assert_eq!(step, if holder == "me" { ElectionStep::Renew } else { ElectionStep::Lost });
        }
    }
}
