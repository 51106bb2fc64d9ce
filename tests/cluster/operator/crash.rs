//! Exactly one cloud object, from the first day: lost answers and kills.

use serde_json::json;

use crate::operator::world::{Options, World};

#[tokio::test]
async fn a_lost_create_response_results_in_one_gateway() {
    let world = World::start().await;
    for (name, address, fault) in [
        (
            "lost",
            "203.0.113.1",
            json!({"fault": "lost-answer", "operation": "CreateCustomerGateway", "commit": true}),
        ),
        (
            "never",
            "203.0.113.2",
            json!({"fault": "lost-answer", "operation": "CreateCustomerGateway"}),
        ),
        (
            "reset",
            "203.0.113.3",
            json!({"fault": "connection-reset", "operation": "CreateCustomerGateway", "commit": true}),
        ),
        (
            "html",
            "203.0.113.4",
            json!({"fault": "html-504", "operation": "CreateCustomerGateway", "commit": true}),
        ),
        (
            "late",
            "203.0.113.5",
            json!({"fault": "late-commit", "operation": "CreateCustomerGateway", "ms": 1500}),
        ),
    ] {
        world.simulator.add_fault(&fault).await.unwrap();
        let mark = world.mark().await;
        world.apply_gateway(name, &format!("{{idValue: {address}}}")).await;
        let object = world.wait_for_reason(name, "Available").await;
        let cloud = world.cloud_gateways().await;
        let of_name: Vec<_> = cloud.iter().filter(|gateway| gateway["name"] == name).collect();
        assert_eq!(of_name.len(), 1, "{name}: {cloud:?}");
        assert_eq!(of_name[0]["id"], object["status"]["id"], "{name}");
        assert!(object["status"]["intent"].is_null(), "{name}: {}", object["status"]);
        let posts = world.calls_since(mark).await["CreateCustomerGateway"];
        assert_eq!(posts, if name == "never" { 2 } else { 1 }, "{name}");
    }
    world.finish().await;
}

#[tokio::test]
async fn a_kill_during_the_creation_results_in_one_gateway() {
    let mut world = World::with(Options::with([
        "--resync-period=0",
        "--leader-elect-lease-duration=12s",
    ]))
    .await;
    for (name, address, commit) in [("before", "203.0.113.1", false), ("after", "203.0.113.2", true)] {
        let fault = json!({"fault": "hold", "operation": "CreateCustomerGateway", "commit": commit});
        world.simulator.add_fault(&fault).await.unwrap();
        world.apply_gateway(name, &format!("{{idValue: {address}}}")).await;
        world.simulator.wait_for_held::<serde_json::Value>(1).await.unwrap();
        world.kill_operator();
        // What was held before it took effect is lost with the connection, or takes effect later; both must do.
        world.simulator.release(&json!({})).await.unwrap();
        world.start_operator().await;
        let object = world.wait_for_reason(name, "Available").await;
        let cloud = world.cloud_gateways().await;
        let of_name: Vec<_> = cloud.iter().filter(|gateway| gateway["name"] == name).collect();
        assert_eq!(of_name.len(), 1, "{name}: {cloud:?}");
        assert_eq!(of_name[0]["id"], object["status"]["id"], "{name}");
    }
    world.finish().await;
}
