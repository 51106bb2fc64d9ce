//! A machine that freezes with every replica on it.

use serde_json::Value;

use super::history::History;
use super::replicas::Replica;
use super::stopped::check_totals;
use super::{SLOW, begin_with_gateways, world_of_replicas};

#[tokio::test]
async fn a_former_leader_frozen_past_its_lease_writes_nothing() {
    let mut world = world_of_replicas([SLOW]).await;
    let history = History::follow(&world).await;
    let first = Replica::start(&mut world, "first").await;
    first.leads().await;
    let second = Replica::start(&mut world, "second").await;
    begin_with_gateways(&world, 12).await;
    second.pause().unwrap();
    first.pause().unwrap();
    history.wait_until_over().await;
    let mark = world.mark().await;
    // The former leader continues first: no replica has taken its lease, but the lease has expired.
    first.resume().unwrap();
    first.ends_without_its_lease("").await;
    assert_eq!(first.writes_since(&world, mark).await, Vec::<Value>::new());
    second.resume().unwrap();
    second.leads().await;
    world.wait_until_all_ready(12).await;
    check_totals(&world, &history, &[&first, &second], 1).await;
    for replica in [first, second] {
        replica.retire(&mut world);
    }
    world.finish().await;
}
