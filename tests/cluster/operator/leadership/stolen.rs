//! A Lease that another writer changes.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use serde_json::{Value, json};

use super::history::History;
use super::replicas::{Replica, trespasses};
use super::{LEDGER, SLOW, begin_with_gateways, world_of_replicas};

#[tokio::test]
async fn a_stolen_lease_ends_the_leader_and_is_acquired_after_it_expires() {
    let mut world = world_of_replicas([SLOW]).await;
    let history = History::follow(&world).await;
    let first = Replica::start(&mut world, "first").await;
    first.leads().await;
    let second = Replica::start(&mut world, "second").await;
    begin_with_gateways(&world, 12).await;
    let now = MicroTime(Timestamp::now());
    let theft = json!({"spec": {"holderIdentity": "thief", "acquireTime": now, "renewTime": now}}).to_string();
    world
        .kubectl(["patch", "lease", "vpn-operator", "--type=merge", "--patch", &theft])
        .await;
    first.ends_without_its_lease("thief").await;
    let mark = world.mark().await;
    second.leads().await;
    world.wait_until_all_ready(12).await;
    assert_eq!(first.writes_since(&world, mark).await, Vec::<Value>::new());
    history.caught_up().await;
    assert_eq!(trespasses(&world, &history, &[&second]).await, 0);
    let takeovers = history.takeovers(|_| 0);
    assert_eq!(takeovers.len(), 2, "{takeovers:?}");
    assert!(
        takeovers[1].from == "thief" && takeovers[1].percent >= 100,
        "{takeovers:?}"
    );
    assert!(takeovers[1].percent <= 200, "{takeovers:?}");
    let tally = world.exactly_one_each().await;
    LEDGER.most("longest takeover in % of a lease", takeovers[1].percent);
    LEDGER.add(&[
        ("leaders with a fault", 1),
        ("objects", tally.objects),
        ("takeovers", 1),
        ("duplicates", tally.duplicates),
        ("objects without their resource", tally.lost),
    ]);
    for replica in [first, second] {
        replica.retire(&mut world);
    }
    world.finish().await;
}
