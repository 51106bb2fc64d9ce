//! A used-up quota.

use serde_json::{Value, json};

use super::{count, expect_mended, expect_trouble};
use crate::world::{PROJECT, World};

#[tokio::test]
async fn who_waits_for_the_quota_is_woken_when_another_object_goes() {
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
        expect_mended(&world, &first).await;
        world.apply_gateway(&second, "{idValue: 203.0.113.2}").await;
        let words = ["quota", code, "request id", "have the quota raised"];
        expect_trouble(&world, &second, "QuotaExceeded", &words).await;
        world.kubectl(["delete", "customergateway", &first]).await;
        expect_mended(&world, &second).await;
        assert_eq!(world.cloud_gateways().await.len(), 1, "{status}");
        assert_eq!(count(&world, mark, &["CreateCustomerGateway"]).await, 3, "{status}");
        world.kubectl(["delete", "customergateway", &second]).await;
    }
    assert_eq!(world.cloud_gateways().await.len(), 0);
    world.finish().await;
}
