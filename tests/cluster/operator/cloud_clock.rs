//! The cloud's clock may differ from ours; the outcome of a creation is judged by the cloud's.

use serde_json::{Value, json};

use crate::operator::console::{counts, message};
use crate::operator::users::steps::{add_server, apply_pw, on, the_only_one};
use crate::operator::world::{Options, World};

#[tokio::test]
async fn a_creation_with_a_lost_response_is_identified_despite_clock_skew() {
    for (number, skew_ms) in [-120_000, 120_000].into_iter().enumerate() {
        let mut world = World::with(Options {
            stopped: true,
            ..Options::with(["--resync-period=0", "--creation-confirmation-period=1s"])
        })
        .await;
        let clock = json!({"skew_ms": skew_ms});
        world.simulator.put::<Value>("clock", &clock).await.unwrap();
        apply_pw(&mut world).await;
        let server = add_server(&world, 7200 + number).await;
        for operation in ["CreateVpnUser", "CreateCustomerGateway"] {
            let lost = json!({"fault": "lost-answer", "operation": operation, "commit": true});
            world.simulator.add_fault(&lost).await.unwrap();
        }
        world.apply(&on(&server, "alice", "name: alice")).await;
        world
            .apply_gateway("office", "{name: office, idValue: 203.0.113.7}")
            .await;
        let mark = world.mark().await;
        world.start_operator().await;
        the_only_one(&world, &server, "alice").await;
        world.wait_for_reason("office", "Available").await;
        let expected = counts([("CreateVpnUser", 1), ("CreateCustomerGateway", 1)]);
        assert_eq!(world.writes_since(mark).await, expected, "{skew_ms}");
        world.finish().await;
    }
}

#[tokio::test]
async fn the_date_header_of_a_web_page_is_ignored() {
    let world = World::with(Options::with([
        "--resync-period=5s",
        "--creation-confirmation-period=1s",
    ]))
    .await;
    world.apply_gateway("first", "{idValue: 203.0.113.1}").await;
    world.wait_for_reason("first", "Available").await;
    world
        .simulator
        .add_fault(&json!({"fault": "html-502", "times": 0}))
        .await
        .unwrap();
    let year = json!({"skew_ms": 365_u64 * 24 * 3_600_000});
    world.simulator.put::<Value>("clock", &year).await.unwrap();
    world.apply_gateway("second", "{idValue: 203.0.113.2}").await;
    world.wait_for_reason("second", "CloudError").await;
    // Since then, every read has failed as well.
    world.patch("first", json!({"spec": {"name": "renamed"}})).await;
    world.wait_for_reason("first", "CloudError").await;
    world.apply_gateway("third", "{idValue: 203.0.113.3}").await;
    let third = world.wait_for_reason("third", "CloudError").await;
    assert!(message(&third).contains("502"), "{third}");
    for name in ["second", "third"] {
        let deadline = world.get(name).await["status"]["intent"]["deadline"].clone();
        let deadline: Option<jiff::Timestamp> = deadline.as_str().map(|time| time.parse().unwrap());
        let next_week = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(7 * 24);
        assert!(deadline.is_none_or(|deadline| deadline < next_week), "{deadline:?}");
    }
    world.simulator.clear_faults().await.unwrap();
    let ours = json!({"skew_ms": 0});
    world.simulator.put::<Value>("clock", &ours).await.unwrap();
    for name in ["first", "second", "third"] {
        world.wait_for_reason(name, "Available").await;
    }
    world.finish().await;
}
