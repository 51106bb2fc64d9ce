//! A holder whose clock is off: its renewals are timed by our own clock, from when we saw them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio_util::sync::CancellationToken;
use vpn_operator::leader::{Candidate, Election, ElectionClock, KubeLeases, SystemClock};

use super::history::History;
use super::replicas::Replica;
use super::{LEDGER, world_of_replicas};

/// A machine whose wall clock is so many seconds ahead.
struct Skewed(i64);

impl ElectionClock for Skewed {
    fn monotonic(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> SystemTime {
        let off = Duration::from_secs(self.0.unsigned_abs());
        if self.0 < 0 {
            SystemTime::now() - off
        } else {
            SystemTime::now() + off
        }
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        SystemClock.sleep(duration)
    }
}

/// More than twice the lease, either way: by comparing clocks its word would have run out already, or not for long.
async fn holder_with_clock_skew(seconds: i64) {
    let mut world = world_of_replicas([]).await;
    let history = History::follow(&world).await;
    let leases = KubeLeases::new(world.client.clone(), &world.namespace, "vpn-operator");
    let candidate = Candidate {
        identity: "skewed".to_owned(),
        lease_duration: Duration::from_secs(12),
    };
    let stop = CancellationToken::new();
    let election = Election::new(leases, candidate, Arc::new(Skewed(seconds)));
    let holder = election.acquire(&stop).await.expect("no other replica runs");
    let follower = Replica::start(&mut world, "follower").await;
    world.apply_gateway("office", "{idValue: 203.0.113.7}").await;
    // Longer than the lease lasts.
    history.wait_for_renewals(9).await;
    assert_eq!(
        follower.identity(),
        None,
        "it leaves the Lease to a holder that renews it"
    );
    assert_eq!(world.calls_since(0).await.len(), 0, "and sends no request to the cloud");
    // Nothing is given back.
    drop(holder);
    follower.leads().await;
    world.wait_for_reason("office", "Available").await;
    history.caught_up().await;
    let takeovers = history.takeovers(|holder| if holder == "skewed" { seconds } else { 0 });
    assert_eq!(takeovers.len(), 1, "{takeovers:?}");
    assert!((100..=200).contains(&takeovers[0].percent), "{takeovers:?}");
    let tally = world.exactly_one_each().await;
    LEDGER.most("longest takeover in % of a lease", takeovers[0].percent);
    LEDGER.add(&[
        ("leaders with a fault", 1),
        ("objects", tally.objects),
        ("takeovers", 1),
        ("duplicates", tally.duplicates),
        ("objects without their resource", tally.lost),
    ]);
    follower.retire(&mut world);
    world.finish().await;
}

#[tokio::test]
async fn a_holder_with_a_slow_clock_keeps_the_lease_until_it_dies() {
    holder_with_clock_skew(-20).await;
}

#[tokio::test]
async fn a_holder_with_a_fast_clock_delays_no_takeover() {
    holder_with_clock_skew(20).await;
}
