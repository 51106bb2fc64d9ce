//! A gateway that waits for something that may come by itself.

use std::collections::BTreeMap;

use serde_json::json;
use vpn_core::api::conditions::Reason;

use super::{show, still};
use crate::operator::world::World;

/// The next requests of this operation meet this fault, until there is another.
async fn inject_fault(world: &World, operation: &str, mut fault: serde_json::Value) {
    world.simulator.clear_faults().await.unwrap();
    fault["operation"] = json!(operation);
    fault["times"] = json!(0);
    world.simulator.add_fault(&fault).await.unwrap();
}

#[tokio::test]
async fn missing_secret_matches_golden_files() {
    let world = World::with(still([])).await;
    let spec = "{idValue: 203.0.113.1, credentialsRef: {name: cloud-credentials}}";
    world.apply_gateway("credentials", spec).await;
    let events = ["SecretNotFound"];
    show(
        &world,
        "secret-not-found-credentials",
        "credentials",
        Reason::SecretNotFound,
        &events,
    )
    .await;

    let spec = "{idValue: 203.0.113.2, caCertificateSecretRef: {name: gateway-ca}}";
    world.apply_gateway("certificate", spec).await;
    show(
        &world,
        "secret-not-found-certificate",
        "certificate",
        Reason::SecretNotFound,
        &events,
    )
    .await;

    world
        .apply_secret("other-ca", &BTreeMap::from([("tls.crt", "x")]))
        .await;
    let spec = "{idValue: 203.0.113.3, caCertificateSecretRef: {name: other-ca}}";
    world.apply_gateway("key", spec).await;
    show(&world, "secret-not-found-key", "key", Reason::SecretNotFound, &events).await;
    world.finish().await;
}

#[tokio::test]
async fn gateway_with_a_connection_matches_golden_files() {
    let world = World::with(still([])).await;
    world.apply_gateway("office", "{idValue: 203.0.113.1}").await;
    let object = world.wait_for_reason("office", "Available").await;
    let id = object["status"]["id"].as_str().unwrap();
    world
        .simulator
        .edit_gateway(id, &json!({"connection": "vpn-1"}))
        .await
        .unwrap();
    world.kubectl(["delete", "cgw", "office", "--wait=false"]).await;
    let events = ["Created", "DependencyNotReady"];
    show(
        &world,
        "dependency-not-ready",
        "office",
        Reason::DependencyNotReady,
        &events,
    )
    .await;
    world
        .simulator
        .edit_gateway(id, &json!({"connection": ""}))
        .await
        .unwrap();
    world.wait_until_deleted("office").await;
    world.finish().await;
}

#[tokio::test]
async fn throttling_matches_golden_files() {
    let world = World::with(still([])).await;
    inject_fault(
        &world,
        "CreateCustomerGateway",
        json!({"fault": "throttled-by-service"}),
    )
    .await;
    world.apply_gateway("throttled", "{idValue: 203.0.113.1}").await;
    show(&world, "throttled", "throttled", Reason::Throttled, &["Throttled"]).await;
    world.simulator.clear_faults().await.unwrap();
    world.wait_for_reason("throttled", "Available").await;

    inject_fault(&world, "CreateCustomerGateway", json!({"fault": "queue-full"})).await;
    world.apply_gateway("queued", "{idValue: 203.0.113.2}").await;
    show(
        &world,
        "throttled-queue-full",
        "queued",
        Reason::Throttled,
        &["Throttled"],
    )
    .await;
    world.finish().await;
}

#[tokio::test]
async fn cloud_error_matches_golden_files() {
    let world = World::with(still([])).await;
    world.apply_gateway("read", "{name: read, idValue: 203.0.113.1}").await;
    world.wait_for_reason("read", "Available").await;
    let error = json!({"fault": "error", "status": 500, "code": "VPN.0002", "message": "internal error"});
    inject_fault(&world, "GetCustomerGateway", error).await;
    world.patch("read", json!({"spec": {"name": "read-2"}})).await;
    show(
        &world,
        "cloud-error",
        "read",
        Reason::CloudError,
        &["Created", "CloudError"],
    )
    .await;

    inject_fault(&world, "CreateCustomerGateway", json!({"fault": "html-502"})).await;
    world.apply_gateway("html", "{idValue: 203.0.113.2}").await;
    show(&world, "cloud-error-html", "html", Reason::CloudError, &["CloudError"]).await;

    inject_fault(&world, "CreateCustomerGateway", json!({"fault": "lost-answer"})).await;
    world.apply_gateway("lost", "{idValue: 203.0.113.3}").await;
    show(
        &world,
        "cloud-error-unknown-outcome",
        "lost",
        Reason::CloudError,
        &["CloudError"],
    )
    .await;
    world.finish().await;
}

#[tokio::test]
async fn unreachable_endpoint_matches_golden_files() {
    // Port 9 is the discard service's, which nobody runs.
    let world = World::with(still(["--vpn-endpoint=http://127.0.0.1:9"])).await;
    world.apply_gateway("office", "{idValue: 203.0.113.1}").await;
    show(
        &world,
        "cloud-error-no-connection",
        "office",
        Reason::CloudError,
        &["CloudError"],
    )
    .await;
    world.finish().await;
}
