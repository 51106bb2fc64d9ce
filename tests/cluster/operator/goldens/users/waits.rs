//! A user that waits for something that may come by itself.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vpn_core::api::conditions::Reason;

use super::super::still;
use super::{apply, create, inject_fault, login, server, show};
use crate::operator::world::World;

#[tokio::test]
async fn missing_secret_matches_golden_files() {
    let mut world = World::with(still([])).await;
    login(&mut world).await;
    let events = ["SecretNotFound"];
    let reason = Reason::SecretNotFound;
    world
        .apply_user("alice", "{passwordSecretRef: {name: alice-login}}")
        .await;
    show(&world, "user-secret-not-found", "alice", reason, &events).await;

    world
        .apply_secret("other-login", &BTreeMap::from([("passwd", "x")]))
        .await;
    world
        .apply_user("carol", "{passwordSecretRef: {name: other-login}}")
        .await;
    show(&world, "user-secret-not-found-key", "carol", reason, &events).await;

    apply(&world, "bobby", "{credentialsRef: {name: cloud-credentials}}").await;
    show(&world, "user-secret-not-found-credentials", "bobby", reason, &events).await;
    world.finish().await;
}

#[tokio::test]
async fn missing_dependency_matches_golden_files() {
    let mut world = World::with(still([])).await;
    login(&mut world).await;
    let events = ["DependencyNotReady"];
    let reason = Reason::DependencyNotReady;
    apply(&world, "alice", "{userGroupName: engineers}").await;
    show(&world, "user-dependency-group-name", "alice", reason, &events).await;

    let spec = "{userGroupID: 11111111-2222-3333-4444-555555555555}";
    apply(&world, "bobby", spec).await;
    show(&world, "user-dependency-group-id", "bobby", reason, &events).await;

    let frozen = server(&world, json!({"status": "FROZEN"})).await;
    apply(&world, "carol", &format!("{{vpnServerID: {frozen}}}")).await;
    show(&world, "user-dependency-server-not-ready", "carol", reason, &events).await;

    let unknown = "{vpnServerID: 11111111-2222-3333-4444-555555555555}";
    apply(&world, "david", unknown).await;
    show(&world, "user-dependency-server-unknown", "david", reason, &events).await;

    let erika = create(&world, "erika", "{}").await;
    let held = json!({"user-deletion": "held"});
    world.simulator.set_switches(&held).await.unwrap();
    world.kubectl(["delete", "vpnu", "erika", "--wait=false"]).await;
    world.users().wait_for_reason("erika", "Deleting").await;
    apply(&world, "erika-anew", "{name: erika}").await;
    show(&world, "user-dependency-name-held", "erika-anew", reason, &events).await;
    apply(&world, "erika-adopted", &format!("{{externalID: {erika}}}")).await;
    show(&world, "user-dependency-user-held", "erika-adopted", reason, &events).await;
    world.finish().await;
}

#[tokio::test]
async fn throttling_matches_golden_files() {
    let mut world = World::with(still([])).await;
    login(&mut world).await;
    world.apply_password("erika", "Golden Erika-1").await;
    world.apply_user("erika", "{passwordSecretRef: {name: erika}}").await;
    world.users().wait_for_reason("erika", "Available").await;
    inject_fault(&world, "CreateVpnUser", json!({"fault": "throttled-by-service"})).await;
    apply(&world, "alice", "{}").await;
    let events = ["Throttled"];
    show(&world, "user-throttled", "alice", Reason::Throttled, &events).await;

    let queue_full = json!({"fault": "queue-full"});
    inject_fault(&world, "ResetVpnUserPassword", queue_full.clone()).await;
    world.users().wait_for_reason("alice", "Available").await;
    world.apply_password("erika", "Golden Erika-2").await;
    let events = ["Created", "Throttled"];
    show(&world, "user-throttled-password", "erika", Reason::Throttled, &events).await;

    // On a server of its own, where nobody has to wait yet.
    let server = server(&world, json!({})).await;
    inject_fault(&world, "CreateVpnUser", queue_full).await;
    apply(&world, "bobby", &format!("{{vpnServerID: {server}}}")).await;
    show(
        &world,
        "user-throttled-queue-full",
        "bobby",
        Reason::Throttled,
        &["Throttled"],
    )
    .await;
    world.finish().await;
}

#[tokio::test]
async fn cloud_error_matches_golden_files() {
    let mut world = World::with(still([])).await;
    login(&mut world).await;
    world.apply_password("erika", "Golden Erika-1").await;
    world.apply_user("erika", "{passwordSecretRef: {name: erika}}").await;
    create(&world, "alice", "{description: on call}").await;
    let error = json!({"fault": "error", "status": 500, "code": "VPN.0002", "message": "internal error"});
    inject_fault(&world, "GetVpnUser", error).await;
    world
        .users()
        .patch("alice", json!({"spec": {"description": "on leave"}}))
        .await;
    let events = ["Created", "CloudError"];
    show(&world, "user-cloud-error", "alice", Reason::CloudError, &events).await;

    inject_fault(&world, "ResetVpnUserPassword", json!({"fault": "lost-answer"})).await;
    world.users().wait_for_reason("erika", "Available").await;
    world.apply_password("erika", "Golden Erika-2").await;
    let is_sent_again = |object: &Value| object["status"]["passwordReset"]["repeated"] == true;
    world.users().wait_for("erika", "it is sent again", is_sent_again).await;
    show(
        &world,
        "user-cloud-error-unknown-password",
        "erika",
        Reason::CloudError,
        &events,
    )
    .await;

    inject_fault(&world, "CreateVpnUser", json!({"fault": "lost-answer"})).await;
    apply(&world, "carol", "{}").await;
    let golden = "user-cloud-error-unknown-outcome";
    show(&world, golden, "carol", Reason::CloudError, &["CloudError"]).await;

    // What it makes is there, and then it is not; the next try is kept waiting, so that nothing moves.
    world.simulator.clear_faults().await.unwrap();
    let fault = json!({"fault": "vanish-after-create", "operation": "CreateVpnUser"});
    world.simulator.add_fault(&fault).await.unwrap();
    world
        .simulator
        .add_fault(&json!({"fault": "hold", "operation": "CreateVpnUser"}))
        .await
        .unwrap();
    apply(&world, "david", "{}").await;
    world.simulator.wait_for_held::<Value>(1).await.unwrap();
    let events = ["Created", "CloudError"];
    show(
        &world,
        "user-cloud-error-disappeared",
        "david",
        Reason::CloudError,
        &events,
    )
    .await;
    world.simulator.release(&json!({})).await.unwrap();
    world.finish().await;
}
