//! A leader that reaches the cloud, but no longer the apiserver.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use vpn_operator_testbed::{ApiRequest, Line, Moment, eventually};

use super::history::History;
use super::replicas::Replica;
use super::stopped::{check_totals, takeovers_were_quick};
use super::{SLOW, apply_gateways, begin_with_gateways, world_of_replicas};
use crate::operator::world::DEADLINE;

/// Cuts the leader off from the apiserver during its work; another replica takes over and completes it.
async fn cut_off(line: Line) {
    let mut world = world_of_replicas([SLOW]).await;
    let history = History::follow(&world).await;
    let proxy = world.proxy();
    let first = Replica::start_behind(&mut world, "first", proxy.kubeconfig()).await;
    first.leads().await;
    let second = Replica::start(&mut world, "second").await;
    begin_with_gateways(&world, 12).await;
    proxy.set_line(line);
    first.ends_without_its_lease("could not be renewed").await;
    let gave_up = first.last_logged();
    let mark = world.mark().await;
    second.leads().await;
    let acquired = history.now().await.acquire_time.expect("it leads").0;
    assert!(
        gave_up < acquired,
        "it gave up at {gave_up}, before another replica could take over, which was at {acquired}"
    );
    world.wait_until_all_ready(12).await;
    assert_eq!(first.writes_since(&world, mark).await, Vec::<Value>::new());
    takeovers_were_quick(&history).await;
    check_totals(&world, &history, &[&first, &second], 1).await;
    for replica in [first, second] {
        replica.retire(&mut world);
    }
    world.finish().await;
}

#[tokio::test]
async fn a_disconnected_leader_steps_down_before_the_takeover() {
    cut_off(Line::Closed).await;
}

#[tokio::test]
async fn a_leader_without_apiserver_responses_steps_down_before_the_takeover() {
    cut_off(Line::Silent).await;
}

/// Whether the request records an intent.
fn records_intent(request: &ApiRequest) -> bool {
    !request.body["status"]["intent"].is_null()
}

#[tokio::test]
async fn a_leader_sends_no_request_that_could_outlast_its_lease() {
    // A request may take 10 s of the lease's 20 s. 8 s after the last renewal no further request fits, though the
    // leader steps down only after 13 s.
    let mut world = world_of_replicas(["--leader-elect-lease-duration=20s", "--request-timeout=10s"]).await;
    let history = History::follow(&world).await;
    let proxy = world.proxy();
    let first = Replica::start_behind(&mut world, "first", proxy.kubeconfig()).await;
    first.leads().await;
    world.create("calm", "{idValue: 203.0.113.100}").await;
    let second = Replica::start(&mut world, "second").await;
    let intents = proxy.hold_all(Moment::Before, records_intent);
    apply_gateways(&world, 3).await;
    eventually("three creations are about to be recorded", DEADLINE, async || {
        let held = intents.held().len();
        if held == 3 { Ok(()) } else { Err(held) }
    })
    .await
    .unwrap();
    let renewals = proxy.hold_all(Moment::Before, |request| request.is_lease() && request.is_write());
    renewals.reached(DEADLINE).await.unwrap();
    let renewed = history.now().await.renew_time.expect("it was renewed").0;
    eventually("no request fits into the lease any more", DEADLINE, async || {
        let now = Timestamp::now();
        if now > renewed + Duration::from_millis(8_200) {
            Ok(())
        } else {
            Err(now)
        }
    })
    .await
    .unwrap();
    let mark = world.mark().await;
    intents.release();
    first.ends_without_its_lease("could not be renewed").await;
    assert_eq!(first.writes_since(&world, mark).await, Vec::<Value>::new());
    drop((intents, renewals));
    second.leads().await;
    world.wait_until_all_ready(4).await;
    takeovers_were_quick(&history).await;
    check_totals(&world, &history, &[&first, &second], 1).await;
    for replica in [first, second] {
        replica.retire(&mut world);
    }
    world.finish().await;
}
