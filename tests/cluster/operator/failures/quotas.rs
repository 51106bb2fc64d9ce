//! A used-up quota.

use serde_json::{Value, json};

use super::{count, expect_failure, expect_recovered};
use crate::operator::world::{PROJECT, World, condition};

#[tokio::test]
async fn an_object_waiting_for_quota_is_requeued_after_a_deletion() {
    let world = World::start().await;
    let project = json!({"name": "eu-west-101", "gateway_quota": 1});
    let path = format!("projects/{PROJECT}");
    world.simulator.put::<Value>(&path, &project).await.unwrap();
    for (status, code) in [
        ("400", "VPN.0001"),
        ("403", "VPN.0001"),
        ("409", "VPN.0001"),
        ("429", "VPN.0429"),
    ] {
        let switch = json!({"quota-exceeded-status": status});
        world.simulator.set_switches(&switch).await.unwrap();
        let (first, second) = (format!("first-{status}"), format!("second-{status}"));
        let mark = world.mark().await;
        world.apply_gateway(&first, "{idValue: 203.0.113.1}").await;
        expect_recovered(&world, &first).await;
        world.apply_gateway(&second, "{idValue: 203.0.113.2}").await;
        let words = ["quota", code, "request id", "request a higher quota"];
        expect_failure(&world, &second, "QuotaExceeded", &words).await;
        world.kubectl(["delete", "customergateway", &first]).await;
        expect_recovered(&world, &second).await;
        assert_eq!(world.cloud_gateways().await.len(), 1, "{status}");
        assert_eq!(count(&world, mark, &["CreateCustomerGateway"]).await, 3, "{status}");
        world.kubectl(["delete", "customergateway", &second]).await;
    }
    assert_eq!(world.cloud_gateways().await.len(), 0);
    world.finish().await;
}

/// The place would stay empty until a retry minutes later if it were offered to an object that cannot use it.
#[tokio::test]
async fn free_quota_is_offered_to_the_first_object_that_can_use_it() {
    let world = World::start().await;
    let project = json!({"name": "eu-west-101", "gateway_quota": 1});
    let path = format!("projects/{PROJECT}");
    world.simulator.put::<Value>(&path, &project).await.unwrap();
    world.apply_gateway("first", "{idValue: 203.0.113.1}").await;
    expect_recovered(&world, "first").await;
    for (name, address) in [("paused", 2), ("able", 3)] {
        world
            .apply_gateway(name, &format!("{{idValue: 203.0.113.{address}}}"))
            .await;
        expect_failure(&world, name, "QuotaExceeded", &["quota"]).await;
    }
    let pause = [
        "annotate",
        "customergateway",
        "paused",
        "vpn.huaweicloud.com/paused=true",
    ];
    world.kubectl(pause).await;
    world
        .wait_for("paused", "Paused", |object| {
            condition(object, "Paused")["status"] == "True"
        })
        .await;
    world.kubectl(["delete", "customergateway", "first"]).await;
    expect_recovered(&world, "able").await;
    let resume = ["annotate", "customergateway", "paused", "vpn.huaweicloud.com/paused-"];
    world.kubectl(resume).await;
    for name in ["able", "paused"] {
        world.kubectl(["delete", "customergateway", name]).await;
    }
    world.finish().await;
}
