//! A user in normal operation, from its creation to its deletion.

use serde_json::{Value, json};
use vpn_core::api::conditions::Reason;

use super::super::still;
use super::{apply, create, go_on, hold, login, request_reconcile, seed, show, show_farewell};
use crate::operator::world::{World, condition};

#[tokio::test]
async fn available_user_matches_golden_files() {
    let mut world = World::with(still([])).await;
    login(&mut world).await;
    apply(&world, "alice", "{}").await;
    let full = "{name: Bob.Bauer, description: on call, userGroupName: default, staticIP: 192.168.10.5}";
    apply(&world, "bob", full).await;
    world.apply_password("carol", "Golden Carol-1").await;
    world.apply_user("carol", "{passwordSecretRef: {name: carol}}").await;
    show(&world, "user-available", "alice", Reason::Available, &["Created"]).await;
    show(&world, "user-available-full", "bob", Reason::Available, &["Created"]).await;

    world.users().wait_for_reason("carol", "Available").await;
    world.apply_password("carol", "Golden Carol-2").await;
    let events = ["Created", "PasswordSet"];
    world.users().wait_for_event("carol", "PasswordSet").await;
    show(
        &world,
        "user-available-password-set",
        "carol",
        Reason::Available,
        &events,
    )
    .await;

    let edit = json!({"spec": {"description": "", "userGroupName": null, "userGroupID": "None"}});
    world.users().patch("bob", edit).await;
    let events = ["Created", "Updated"];
    show(&world, "user-available-updated", "bob", Reason::Available, &events).await;

    let paused = json!({"metadata": {"annotations": {"vpn.huaweicloud.com/paused": "true"}}});
    world.users().patch("alice", paused).await;
    let is_paused = |object: &Value| condition(object, "Paused")["status"] == "True";
    world.users().wait_for("alice", "is paused", is_paused).await;
    show(
        &world,
        "user-available-paused",
        "alice",
        Reason::Available,
        &["Created"],
    )
    .await;
    world.finish().await;
}

#[tokio::test]
async fn user_with_drift_matches_golden_files() {
    let mut world = World::with(still([])).await;
    login(&mut world).await;
    apply(
        &world,
        "reported",
        "{description: on call, managementPolicy: ReportDrift}",
    )
    .await;
    apply(&world, "again", "{}").await;
    let edited = create(&world, "edited", "{description: on call, staticIP: Disabled}").await;
    let edit = json!({"description": "by hand", "static_ip": "192.168.10.9"});
    world.simulator.edit_user(&edited, &edit).await.unwrap();
    request_reconcile(&world, "edited", "1").await;
    let events = ["Created", "DriftDetected", "DriftCorrected"];
    show(
        &world,
        "user-available-drift-corrected",
        "edited",
        Reason::Available,
        &events,
    )
    .await;

    let object = world.users().wait_for_reason("reported", "Available").await;
    let id = object["status"]["id"].as_str().unwrap();
    let edit = json!({"description": "by hand"});
    world.simulator.edit_user(id, &edit).await.unwrap();
    request_reconcile(&world, "reported", "1").await;
    let drifted = |object: &Value| condition(object, "Drifted")["status"] == "True";
    world.users().wait_for("reported", "has drifted", drifted).await;
    let events = ["Created", "DriftDetected"];
    show(
        &world,
        "user-available-report-drift",
        "reported",
        Reason::Available,
        &events,
    )
    .await;

    world.simulator.remove_user(id).await.unwrap();
    request_reconcile(&world, "reported", "2").await;
    let events = ["Created", "DriftDetected", "NotFound"];
    show(
        &world,
        "user-not-found-report-drift",
        "reported",
        Reason::NotFound,
        &events,
    )
    .await;

    let object = world.users().wait_for_reason("again", "Available").await;
    let id = object["status"]["id"].as_str().unwrap();
    world.simulator.remove_user(id).await.unwrap();
    request_reconcile(&world, "again", "1").await;
    let events = ["Created", "DriftDetected", "Recreated"];
    world.users().wait_for_event("again", "Recreated").await;
    show(&world, "user-available-recreated", "again", Reason::Available, &events).await;
    world.finish().await;
}

#[tokio::test]
async fn adopted_and_observed_user_matches_golden_files() {
    let mut world = World::with(still([])).await;
    login(&mut world).await;
    let by_hand = seed(
        &world,
        json!({"name": "by-hand", "password": "Golden Hand-1", "description": "on call"}),
    )
    .await;
    let watched = seed(&world, json!({"name": "watched", "password": "Golden Hand-2"})).await;
    apply(&world, "adopted", &format!("{{externalID: {by_hand}}}")).await;
    let events = ["Adopted", "PasswordSet"];
    let adopted = show(&world, "user-available-adopted", "adopted", Reason::Available, &events).await;
    world
        .apply_user(
            "observed",
            &format!("{{externalID: {watched}, managementPolicy: Observe}}"),
        )
        .await;
    show(&world, "user-available-observed", "observed", Reason::Available, &[]).await;

    apply(&world, "second", &format!("{{externalID: {by_hand}}}")).await;
    let events = ["AlreadyManaged"];
    show(
        &world,
        "user-already-managed",
        "second",
        Reason::AlreadyManaged,
        &events,
    )
    .await;
    apply(&world, "misnamed", &format!("{{externalID: {watched}, name: other}}")).await;
    let events = ["InvalidSpec"];
    show(
        &world,
        "user-invalid-spec-adopted-name",
        "misnamed",
        Reason::InvalidSpec,
        &events,
    )
    .await;
    apply(&world, "nobody", "{externalID: 11111111-2222-3333-4444-555555555555}").await;
    show(
        &world,
        "user-not-found-external-id",
        "nobody",
        Reason::NotFound,
        &["NotFound"],
    )
    .await;

    world.simulator.remove_user(&by_hand).await.unwrap();
    world.simulator.remove_user(&watched).await.unwrap();
    request_reconcile(&world, "adopted", "1").await;
    request_reconcile(&world, "observed", "1").await;
    let events = ["Adopted", "PasswordSet", "NotFound"];
    let deleted = show(&world, "user-not-found-adopted", "adopted", Reason::NotFound, &events).await;
    assert_eq!(deleted["status"]["id"], adopted["status"]["id"]);
    show(
        &world,
        "user-not-found-observed",
        "observed",
        Reason::NotFound,
        &["NotFound"],
    )
    .await;
    world.finish().await;
}

#[tokio::test]
async fn user_in_progress_matches_golden_files() {
    let mut world = World::with(still([])).await;
    login(&mut world).await;
    hold(&world, "CreateVpnUser").await;
    apply(&world, "alice", "{description: on call}").await;
    show(&world, "user-creating", "alice", Reason::Creating, &[]).await;
    go_on(&world).await;
    world.users().wait_for_reason("alice", "Available").await;

    hold(&world, "UpdateVpnUser").await;
    world
        .users()
        .patch("alice", json!({"spec": {"description": "on leave"}}))
        .await;
    show(&world, "user-updating", "alice", Reason::Updating, &["Created"]).await;
    go_on(&world).await;
    world.users().wait_for_reason("alice", "Available").await;

    hold(&world, "ResetVpnUserPassword").await;
    world.apply_password("login", "Golden Login-2").await;
    let events = ["Created", "Updated"];
    show(&world, "user-updating-password", "alice", Reason::Updating, &events).await;
    go_on(&world).await;
    world.users().wait_for_reason("alice", "Available").await;

    hold(&world, "DeleteVpnUser").await;
    world.kubectl(["delete", "vpnu", "alice", "--wait=false"]).await;
    let mut events = vec!["Created", "Updated", "PasswordSet"];
    show(&world, "user-deleting", "alice", Reason::Deleting, &events).await;
    let held = json!({"user-deletion": "held"});
    world.simulator.set_switches(&held).await.unwrap();
    go_on(&world).await;
    let is_slow = |object: &Value| {
        let message = condition(object, "Ready")["message"].to_string();
        message.contains("waiting")
    };
    world.users().wait_for("alice", "waits for the cloud", is_slow).await;
    let alice = show(&world, "user-deleting-slowly", "alice", Reason::Deleting, &events).await;
    world.simulator.set_switches(&json!({})).await.unwrap();
    let _: Value = world
        .simulator
        .admin_post("finish-deletions", &json!({}))
        .await
        .unwrap();
    events.push("Deleted");
    show_farewell(&world, "user-deleted", "alice", &alice, &events).await;

    apply(&world, "kept", "{deletionPolicy: Retain}").await;
    let kept = world.users().wait_for_reason("kept", "Available").await;
    world.kubectl(["delete", "vpnu", "kept", "--wait=false"]).await;
    show_farewell(&world, "user-deleted-retained", "kept", &kept, &["Created", "Deleted"]).await;
    world.finish().await;
}

#[tokio::test]
async fn user_before_its_confirmation_matches_golden_files() {
    let mut world = World::with(still(["--creation-confirmation-period=10m"])).await;
    login(&mut world).await;
    apply(&world, "alice", "{}").await;
    let alice = show(
        &world,
        "user-creating-unconfirmed",
        "alice",
        Reason::Creating,
        &["Created"],
    )
    .await;

    // An earlier failure is reported only while it is true.
    let fault = json!({"fault": "throttled-by-service", "operation": "CreateVpnUser"});
    world.simulator.add_fault(&fault).await.unwrap();
    apply(&world, "troubled", "{}").await;
    let events = ["Throttled", "Created"];
    world.users().wait_for_event("troubled", "Created").await;
    let golden = "user-creating-unconfirmed-after-failure";
    show(&world, golden, "troubled", Reason::Creating, &events).await;

    let id = alice["status"]["id"].as_str().unwrap();
    world.simulator.remove_user(id).await.unwrap();
    world.kubectl(["delete", "vpnu", "alice", "--wait=false"]).await;
    show(
        &world,
        "user-deleting-unconfirmed",
        "alice",
        Reason::Deleting,
        &["Created"],
    )
    .await;
    world.finish().await;
}
