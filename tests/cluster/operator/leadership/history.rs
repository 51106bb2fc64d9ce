//! All versions of the Lease, from the first to the last, as the apiserver sent them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Api;
use kube::api::ListParams;
use vpn_operator_testbed::eventually;

use crate::operator::follow::follow;
use crate::operator::world::{DEADLINE, World};

/// The versions of a world's Lease so far. Call [`History::caught_up`] before the last read.
#[derive(Clone)]
pub(super) struct History {
    leases: Api<Lease>,
    versions: Arc<Mutex<Vec<LeaseSpec>>>,
}

/// The holder changed without a release of the lease.
#[derive(Clone, Debug)]
pub(super) struct Takeover {
    pub from: String,
    /// From the last renewal until the takeover, in percent of the lease duration.
    pub percent: u64,
}

impl History {
    /// Follows the Lease from now on.
    pub(super) async fn follow(world: &World) -> Self {
        let leases: Api<Lease> = Api::namespaced(world.client.clone(), &world.namespace);
        let listed = leases.list(&ListParams::default()).await.unwrap();
        assert!(listed.items.is_empty(), "the history begins with the first holder");
        let versions = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&versions);
        follow(leases.clone(), "metadata.name=vpn-operator", move |lease| {
            seen.lock().unwrap().push(lease.spec.unwrap_or_default());
        })
        .await;
        Self { leases, versions }
    }

    /// Returns the current Lease.
    pub(super) async fn now(&self) -> LeaseSpec {
        self.leases.get("vpn-operator").await.unwrap().spec.unwrap_or_default()
    }

    /// Waits until the history contains the current version of the Lease.
    pub(super) async fn caught_up(&self) {
        let now = self.now().await;
        eventually("the Lease's history has its present state", DEADLINE, async || {
            let has = self.versions.lock().unwrap().contains(&now);
            has.then_some(()).ok_or("not yet")
        })
        .await
        .unwrap();
    }

    /// Returns the holder at that time; `None`: there was none.
    pub(super) fn holder_at(&self, at: Timestamp) -> Option<String> {
        let versions = self.versions.lock().unwrap();
        let begun = |spec: &&LeaseSpec| spec.acquire_time.as_ref().is_some_and(|time| time.0 <= at);
        let last = versions.iter().rev().find(begun)?;
        last.holder_identity.clone().filter(|holder| !holder.is_empty())
    }

    /// Returns every takeover of a lease that was not released. `skew`: how far a holder's clock is ahead, in seconds.
    pub(super) fn takeovers(&self, skew: impl Fn(&str) -> i64) -> Vec<Takeover> {
        let versions = self.versions.lock().unwrap();
        let holder = |spec: &LeaseSpec| spec.holder_identity.clone().unwrap_or_default();
        let pairs = versions.windows(2).map(|pair| (&pair[0], &pair[1]));
        let changes = pairs.filter(|(before, after)| {
            let (from, to) = (holder(before), holder(after));
            from != to && !from.is_empty() && !to.is_empty()
        });
        changes
            .map(|(before, after)| {
                let (from, to) = (holder(before), holder(after));
                let renewed = before.renew_time.as_ref().unwrap().0.as_millisecond() - 1000 * skew(&from);
                let taken = after.acquire_time.as_ref().unwrap().0.as_millisecond() - 1000 * skew(&to);
                let lease = 1000 * i64::from(before.lease_duration_seconds.unwrap());
                Takeover {
                    from,
                    percent: u64::try_from((taken - renewed) * 100 / lease).unwrap_or_default(),
                }
            })
            .collect()
    }

    /// Waits for `count` more renewals.
    pub(super) async fn wait_for_renewals(&self, count: usize) {
        let before = self.versions.lock().unwrap().len();
        eventually(&format!("{count} renewals"), DEADLINE, async || {
            let seen = self.versions.lock().unwrap().len() - before;
            if seen >= count { Ok(()) } else { Err(seen) }
        })
        .await
        .unwrap();
    }

    /// Waits until the lease has expired.
    pub(super) async fn wait_until_over(&self) {
        let lease = self.now().await;
        let duration = Duration::from_secs(u64::try_from(lease.lease_duration_seconds.unwrap()).unwrap());
        let end = lease.renew_time.unwrap().0 + duration;
        eventually("the lease is over", DEADLINE, async || {
            let now = Timestamp::now();
            if now > end { Ok(()) } else { Err(now) }
        })
        .await
        .unwrap();
    }
}
