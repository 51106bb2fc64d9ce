//! A leader that reaches the cloud, but the apiserver no more.

use serde_json::Value;
use vpn_operator_testbed::{ApiProxy, Line};

use super::history::History;
use super::replicas::Replica;
use super::stopped::settle_up;
use super::{SLOW, apply_gateways, world_of_replicas};

/// The leader is cut off in the middle of its work; another replica takes over and ends it.
async fn cut_off(line: Line) {
    let mut world = world_of_replicas([SLOW]).await;
    let history = History::follow(&world).await;
    let proxy = ApiProxy::start(world.plane).unwrap();
    let first = Replica::start_behind(&mut world, "first", proxy.kubeconfig()).await;
    first.leads().await;
    let second = Replica::start(&mut world, "second").await;
    apply_gateways(&world, 12).await;
    world.wait_for_calls("CreateCustomerGateway", 3).await;
    proxy.set_line(line);
    first.ends_without_its_lease("could not be renewed").await;
    assert_eq!(second.identity(), None, "it gave up before anybody could take over");
    let mark = world.mark().await;
    second.leads().await;
    world.wait_until_all_ready(12).await;
    assert_eq!(first.writes_since(&world, mark).await, Vec::<Value>::new());
    settle_up(&world, &history, &[&first, &second], 1).await;
    for replica in [first, second] {
        replica.retire(&mut world);
    }
    world.finish().await;
}

#[tokio::test]
async fn a_leader_whose_connections_to_the_apiserver_break_gives_up_before_another_takes_over() {
    cut_off(Line::Closed).await;
}

#[tokio::test]
async fn a_leader_that_the_apiserver_does_not_answer_gives_up_before_another_takes_over() {
    cut_off(Line::Silent).await;
}
