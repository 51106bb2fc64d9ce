//! Retries are quiet: they neither rewrite status nor add Events, and an outage changes no object that has nothing to do.

use serde_json::{Value, json};
use vpn_operator_testbed::eventually;

use super::{count, expect_failure, expect_recovered, warnings};
use crate::operator::world::{DEADLINE, Options, World, condition, gateway};

async fn wait_for_calls(world: &World, mark: u64, operation: &str, least: u64) {
    eventually(&format!("{least} times {operation}"), DEADLINE, async || {
        let calls = count(world, mark, &[operation]).await;
        if calls >= least { Ok(()) } else { Err(calls) }
    })
    .await
    .unwrap();
}

fn failing(operation: &str, status: u16, code: &str) -> Value {
    json!({
        "fault": "error", "operation": operation, "times": 0, "status": status, "code": code,
        "message": "the service cannot do that now",
    })
}

#[tokio::test]
async fn a_repeatedly_failing_update_is_reported_once() {
    let world = World::start().await;
    world
        .apply_gateway("office", "{name: office, idValue: 203.0.113.1}")
        .await;
    expect_recovered(&world, "office").await;
    let fault = failing("UpdateCustomerGateway", 500, "VPN.0002");
    world.simulator.add_fault(&fault).await.unwrap();
    world.patch("office", json!({"spec": {"name": "renamed"}})).await;
    let words = ["updating the customer gateway", "VPN.0002", "request id", "tried again"];
    let reported = expect_failure(&world, "office", "CloudError", &words).await;
    let events = world.plane_events().await;
    let mark = world.mark().await;
    wait_for_calls(&world, mark, "UpdateCustomerGateway", 3).await;
    let later = world.get("office").await;
    assert_eq!(
        later["metadata"]["resourceVersion"],
        reported["metadata"]["resourceVersion"]
    );
    assert_eq!(world.plane_events().await, events);
    world.simulator.clear_faults().await.unwrap();
    expect_recovered(&world, "office").await;
    assert_eq!(world.cloud_gateways().await[0]["name"], "renamed");
    world.finish().await;
}

#[tokio::test]
async fn a_repeatedly_failing_deletion_is_reported_once() {
    let world = World::start().await;
    world.apply_gateway("office", "{idValue: 203.0.113.1}").await;
    expect_recovered(&world, "office").await;
    let fault = failing("DeleteCustomerGateway", 503, "APIGW.0201");
    world.simulator.add_fault(&fault).await.unwrap();
    world
        .kubectl(["delete", "customergateway", "office", "--wait=false"])
        .await;
    let words = ["deleting the customer gateway", "APIGW.0201", "request id"];
    let reported = expect_failure(&world, "office", "CloudError", &words).await;
    let events = world.plane_events().await;
    let mark = world.mark().await;
    wait_for_calls(&world, mark, "DeleteCustomerGateway", 3).await;
    let later = world.get("office").await;
    assert_eq!(
        later["metadata"]["resourceVersion"],
        reported["metadata"]["resourceVersion"]
    );
    assert_eq!(world.plane_events().await, events);
    world.simulator.clear_faults().await.unwrap();
    world.wait_until_deleted("office").await;
    assert_eq!(world.cloud_gateways().await.len(), 0);
    world.finish().await;
}

#[tokio::test]
async fn a_repeatedly_failing_creation_is_reported_once() {
    let world = World::start().await;
    // The first is a definite no; what became of the second is found out before each new try.
    for (name, address, status, code, reason, tries) in [
        ("refused", "203.0.113.1", 429, "VPN.0429", "Throttled", 3),
        ("unknown", "203.0.113.2", 500, "VPN.0002", "CloudError", 2),
    ] {
        let fault = failing("CreateCustomerGateway", status, code);
        world.simulator.add_fault(&fault).await.unwrap();
        world.apply_gateway(name, &format!("{{idValue: {address}}}")).await;
        let words = ["creating the customer gateway", code, "request id"];
        let reported = expect_failure(&world, name, reason, &words).await;
        let mark = world.mark().await;
        wait_for_calls(&world, mark, "CreateCustomerGateway", tries).await;
        let later = world.get(name).await;
        assert_eq!(condition(&later, "Ready"), condition(&reported, "Ready"), "{name}");
        let warnings = warnings(&world, name).await;
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        world.simulator.clear_faults().await.unwrap();
        expect_recovered(&world, name).await;
    }
    assert_eq!(world.cloud_gateways().await.len(), 2);
    world.finish().await;
}

#[tokio::test]
async fn an_outage_changes_no_idle_object_and_drift_is_corrected_later() {
    let world = World::with(Options::with(["--resync-period=1s"])).await;
    let manifests: Vec<String> = (1..=5)
        .map(|number| {
            gateway(
                &format!("gw-{number}"),
                &format!("{{name: gw-{number}, idValue: 203.0.113.{number}}}"),
            )
        })
        .collect();
    world.apply(&manifests.join("---\n")).await;
    let before = world.wait_until_all_ready(5).await;
    // Events follow the status that they speak of.
    for number in 1..=5 {
        world.wait_for_event(&format!("gw-{number}"), "Created").await;
    }
    let events = world.plane_events().await;
    for operation in [
        "ListCustomerGateways",
        "GetCustomerGateway",
        "UpdateCustomerGateway",
        "CreateCustomerGateway",
    ] {
        let fault = failing(operation, 503, "APIGW.0201");
        world.simulator.add_fault(&fault).await.unwrap();
    }
    let mark = world.mark().await;
    let id = before[0]["status"]["id"].as_str().expect("an id");
    let renamed = json!({"name": "by-hand"});
    world.simulator.edit_gateway(id, &renamed).await.unwrap();
    wait_for_calls(&world, mark, "ListCustomerGateways", 4).await;
    let versions = |objects: &[Value]| -> Vec<Value> {
        let mut versions: Vec<_> = objects
            .iter()
            .map(|it| it["metadata"]["resourceVersion"].clone())
            .collect();
        versions.sort_by_key(Value::to_string);
        versions
    };
    assert_eq!(versions(&world.list().await), versions(&before));
    assert_eq!(world.plane_events().await, events);
    let log = world.running().log();
    let warnings: Vec<_> = log
        .lines()
        .filter(|line| line.contains("WARN") && line.contains("the credentials fail"))
        .collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("CloudError") && warnings[0].contains("APIGW.0201"),
        "{warnings:?}"
    );

    world.simulator.clear_faults().await.unwrap();
    let name = before[0]["metadata"]["name"].as_str().expect("a name");
    let note = world.wait_for_event(name, "DriftCorrected").await;
    assert!(note.contains("name"), "{note}");
    let cloud = world.cloud_gateways().await;
    assert_eq!(cloud.len(), 5);
    assert!(cloud.iter().all(|gateway| gateway["name"] != "by-hand"), "{cloud:?}");
    assert_eq!(
        count(&world, mark, &["CreateCustomerGateway", "DeleteCustomerGateway"]).await,
        0
    );
    world.finish().await;
}
