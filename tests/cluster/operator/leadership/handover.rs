//! Of two operators on one Lease one works, and the other takes over at once.

use std::time::Duration;

use crate::operator::console::counts;
use crate::operator::world::World;

#[tokio::test]
async fn only_the_leader_works_and_hands_over_on_sigterm() {
    let mut world = World::start().await;
    world.create("one", "{idValue: 203.0.113.1}").await;
    let follower = world.start_another([]).await;
    let mark = world.mark().await;
    world.create("two", "{idValue: 203.0.113.2}").await;
    assert_eq!(
        world.calls_since(mark).await,
        counts([("CreateCustomerGateway", 1)]),
        "the follower sends no request to the cloud"
    );
    // The Lease is given back, so the follower need not wait for its end; what comes meanwhile is its work.
    let mark = world.mark().await;
    let leader = world.operator.replace(follower).expect("an operator runs");
    let ended = leader.terminate(Duration::from_secs(20));
    let (status, ()) = tokio::join!(ended, world.apply_gateway("three", "{idValue: 203.0.113.3}"));
    assert!(status.unwrap().success());
    world.ended.push(leader);
    world.wait_until_all_ready(3).await;
    let writes = world.writes_since(mark).await;
    assert_eq!(writes, counts([("CreateCustomerGateway", 1)]));
    assert_eq!(world.cloud_gateways().await.len(), 3);
    world.finish().await;
}
