//! The cloud's clock is not ours: what came of a creation is told by the cloud's.

use serde_json::{Value, json};

use crate::console::counts;
use crate::users::steps::{add_server, apply_pw, on, the_only_one};
use crate::world::{Options, World};

#[tokio::test]
async fn a_creation_whose_answer_is_lost_is_recognised_whatever_the_clouds_clock_says() {
    for (number, skew_ms) in [-120_000, 120_000].into_iter().enumerate() {
        let mut world = World::with(Options {
            stopped: true,
            ..Options::with(["--resync-period=0", "--settle-time=1s"])
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
