//! Leader election against a real kube-apiserver: whatever a test double gets wrong about resourceVersions, this finds.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use vpn_operator::leader::{
    Candidate, Election, ElectionClock, KubeLeases, LeaderHandle, Leadership, LossReason, SystemClock,
};
use vpn_operator_testbed::{ControlPlane, eventually};

const LEASE: Duration = Duration::from_secs(10);
const DEADLINE: Duration = Duration::from_secs(60);
const NAME: &str = "election";

/// A machine whose wall clock is off.
struct Skewed {
    by: Duration,
    behind: bool,
}

impl ElectionClock for Skewed {
    fn monotonic(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> SystemTime {
        if self.behind {
            SystemTime::now() - self.by
        } else {
            SystemTime::now() + self.by
        }
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        SystemClock.sleep(duration)
    }
}

struct Fixture {
    client: Client,
    namespace: String,
}

struct Running {
    handle: LeaderHandle,
    stop: CancellationToken,
    leadership: JoinHandle<Option<Leadership<KubeLeases>>>,
}

impl Running {
    async fn leads(&self) {
        let leading = tokio::time::timeout(DEADLINE, self.handle.leading());
        leading.await.expect("this candidate never led");
    }

    async fn won(self) -> Leadership<KubeLeases> {
        self.leads().await;
        self.leadership.await.unwrap().unwrap()
    }
}

impl Fixture {
    async fn new() -> Self {
        let plane = ControlPlane::shared().await.unwrap();
        let namespace = plane.create_namespace("leader").await.unwrap();
        Self {
            client: plane.client().await.unwrap(),
            namespace,
        }
    }

    fn run(&self, identity: &str, clock: Arc<dyn ElectionClock>) -> Running {
        self.run_for(identity, LEASE, clock)
    }

    fn run_for(&self, identity: &str, lease_duration: Duration, clock: Arc<dyn ElectionClock>) -> Running {
        let leases = KubeLeases::new(self.client.clone(), &self.namespace, NAME);
        let candidate = Candidate {
            identity: identity.to_owned(),
            lease_duration,
        };
        let election = Election::new(leases, candidate, clock);
        let handle = election.handle();
        let stop = CancellationToken::new();
        let token = stop.clone();
        let leadership = tokio::spawn(async move { election.acquire(&token).await });
        Running {
            handle,
            stop,
            leadership,
        }
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn lease(&self) -> k8s_openapi::api::coordination::v1::LeaseSpec {
        self.leases().get(NAME).await.unwrap().spec.unwrap()
    }

    /// Waits until the holder renewed so many times more.
    async fn renewals(&self, count: usize) {
        for _ in 0..count {
            let before = self.lease().await.renew_time;
            eventually("a renewal", DEADLINE, async || {
                let now = self.lease().await.renew_time;
                if now == before {
                    Err(format!("still renewed at {now:?}"))
                } else {
                    Ok(())
                }
            })
            .await
            .unwrap();
        }
    }
}

#[tokio::test]
async fn a_second_candidate_takes_over_when_the_leader_dies() {
    let fixture = Fixture::new().await;
    let first = fixture.run("first", Arc::new(SystemClock));
    first.leads().await;
    let second = fixture.run("second", Arc::new(SystemClock));
    fixture.renewals(4).await;
    eventually("a write fits into the rest of the lease", DEADLINE, async || {
        let may_write = first.handle.may_write(LEASE / 2);
        may_write.then_some(()).ok_or("not yet")
    })
    .await
    .unwrap();
    assert!(!second.handle.is_leader());
    // Killed: nothing is given back.
    drop(first.won().await);
    second.leads().await;
    let lease = fixture.lease().await;
    assert_eq!(lease.holder_identity.as_deref(), Some("second"));
    assert_eq!(
        (lease.lease_transitions, lease.lease_duration_seconds),
        (Some(1), Some(10))
    );
}

#[tokio::test]
async fn exactly_one_of_many_concurrent_candidates_leads() {
    let fixture = Fixture::new().await;
    let candidates: Vec<_> = (0..8)
        .map(|n| fixture.run(&format!("candidate-{n}"), Arc::new(SystemClock)))
        .collect();
    eventually("a leader", DEADLINE, async || {
        if candidates.iter().any(|candidate| candidate.handle.is_leader()) {
            Ok(())
        } else {
            Err("none leads")
        }
    })
    .await
    .unwrap();
    fixture.renewals(3).await;
    assert_eq!(
        candidates
            .iter()
            .filter(|candidate| candidate.handle.is_leader())
            .count(),
        1
    );
}

#[tokio::test]
async fn a_leader_detects_a_stolen_lease_and_does_not_change_it() {
    let fixture = Fixture::new().await;
    let first = fixture.run("first", Arc::new(SystemClock));
    let fence = first.handle.clone();
    let mut leadership = first.won().await;
    let theft = json!({ "spec": { "holderIdentity": "thief" } });
    fixture
        .leases()
        .patch(NAME, &PatchParams::default(), &Patch::Merge(theft))
        .await
        .unwrap();
    let reason = tokio::time::timeout(DEADLINE, leadership.lost()).await.unwrap();
    assert!(
        matches!(&reason, LossReason::Taken { holder } if holder == "thief"),
        "{reason}"
    );
    assert!(!fence.may_write(Duration::ZERO));
    leadership.release().await.unwrap();
    assert_eq!(fixture.lease().await.holder_identity.as_deref(), Some("thief"));
}

#[tokio::test]
async fn a_released_lease_is_acquired_before_it_expires() {
    let fixture = Fixture::new().await;
    // Longer than this test waits for the second one.
    let long = DEADLINE * 2;
    let first = fixture.run_for("first", long, Arc::new(SystemClock));
    first.leads().await;
    let second = fixture.run_for("second", long / 4, Arc::new(SystemClock));
    first.won().await.release().await.unwrap();
    second.leads().await;
    let lease = fixture.lease().await;
    assert_eq!(
        (lease.holder_identity.as_deref(), lease.lease_transitions),
        (Some("second"), Some(1))
    );
}

#[tokio::test]
async fn clock_skew_of_the_holder_does_not_cost_it_the_lease() {
    for behind in [true, false] {
        let fixture = Fixture::new().await;
        let first = fixture.run(
            "first",
            Arc::new(Skewed {
                by: Duration::from_secs(3600),
                behind,
            }),
        );
        first.leads().await;
        let second = fixture.run("second", Arc::new(SystemClock));
        // Longer than the lease lasts.
        fixture.renewals(8).await;
        assert!(first.handle.is_leader() && !second.handle.is_leader());
        assert_eq!(fixture.lease().await.lease_transitions, Some(0));
    }
}

#[tokio::test]
async fn a_deleted_lease_is_recreated() {
    let fixture = Fixture::new().await;
    let first = fixture.run("first", Arc::new(SystemClock));
    first.leads().await;
    fixture.leases().delete(NAME, &DeleteParams::default()).await.unwrap();
    eventually("the lease", DEADLINE, async || fixture.leases().get(NAME).await)
        .await
        .unwrap();
    fixture.renewals(2).await;
    assert!(first.handle.is_leader());
}

#[tokio::test]
async fn foreign_labels_on_the_lease_are_kept_and_leadership_continues() {
    let fixture = Fixture::new().await;
    let first = fixture.run("first", Arc::new(SystemClock));
    first.leads().await;
    let label = json!({ "metadata": { "labels": { "team": "net" } } });
    fixture
        .leases()
        .patch(NAME, &PatchParams::default(), &Patch::Merge(label))
        .await
        .unwrap();
    fixture.renewals(3).await;
    assert!(first.handle.is_leader());
    let labels = fixture
        .leases()
        .get(NAME)
        .await
        .unwrap()
        .metadata
        .labels
        .unwrap_or_default();
    assert_eq!(labels.get("team").map(String::as_str), Some("net"));
}

#[tokio::test]
async fn a_stopped_candidate_does_not_change_the_lease() {
    let fixture = Fixture::new().await;
    let first = fixture.run("first", Arc::new(SystemClock));
    first.leads().await;
    let second = fixture.run("second", Arc::new(SystemClock));
    second.stop.cancel();
    assert!(second.leadership.await.unwrap().is_none());
    fixture.renewals(2).await;
    assert!(first.handle.is_leader());
}
