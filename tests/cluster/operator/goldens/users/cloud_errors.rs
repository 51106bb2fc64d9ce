//! The cloud refuses, and user action is required.

use serde_json::{Value, json};
use vpn_core::api::conditions::Reason;

use super::super::cloud_errors::{access_key, credential};
use super::super::still;
use super::{apply, create, login, server, show};
use crate::operator::world::{World, condition};

/// Removes one permission from a credential.
async fn deny(world: &World, name: &str, action: &str) {
    let page = format!("credentials/{}/permissions", access_key(name));
    let permissions = json!({"denied_actions": [action]});
    let _: Value = world.simulator.put(&page, &permissions).await.unwrap();
}

#[tokio::test]
async fn refused_credentials_match_golden_files() {
    let mut world = World::with(still([])).await;
    login(&mut world).await;
    credential(&mut world, "wrong", json!({}), &[]).await;
    world
        .apply_credentials("wrong", "GOLDENWRONG", "not+the/one=", &[])
        .await;
    apply(&world, "refused", "{credentialsRef: {name: wrong}}").await;
    show(
        &world,
        "user-unauthorized",
        "refused",
        Reason::Unauthorized,
        &["Unauthorized"],
    )
    .await;
    world.finish().await;
}

/// Each case has its own credential, with the name of the user.
#[tokio::test]
async fn missing_permissions_match_golden_files() {
    let mut world = World::with(still([])).await;
    login(&mut world).await;
    let reason = Reason::Forbidden;
    let from_the_start = [
        ("create", "vpn:p2cVpnUser:create", "{"),
        ("list", "vpn:p2cVpnUser:list", "{"),
        ("groups", "vpn:p2cVpnGateway:listUserGroup", "{userGroupName: default, "),
        ("get", "vpn:p2cVpnUser:get", "{"),
    ];
    for (name, action, spec) in from_the_start {
        credential(&mut world, name, json!({"denied_actions": [action]}), &[]).await;
        let spec = format!("{spec}name: user-{name}, credentialsRef: {{name: {name}}}}}");
        apply(&world, name, &spec).await;
    }
    let later = [
        (
            "update",
            "vpn:p2cVpnUser:update",
            json!({"spec": {"description": "on leave"}}),
        ),
        (
            "leave-group",
            "vpn:p2cVpnGateway:removeUsers",
            json!({"spec": {"userGroupName": null, "userGroupID": "None"}}),
        ),
        (
            "reset",
            "vpn:p2cVpnUser:resetPassword",
            json!({"spec": {"passwordSecretRef": {"name": "other"}}}),
        ),
        ("delete", "vpn:p2cVpnUser:delete", json!({})),
    ];
    world.apply_password("other", "Golden Other-1").await;
    for (name, ..) in &later {
        credential(&mut world, name, json!({}), &[]).await;
        let group = if *name == "leave-group" {
            "userGroupName: default, "
        } else {
            ""
        };
        let spec = format!("{{{group}name: user-{name}, credentialsRef: {{name: {name}}}}}");
        apply(&world, name, &spec).await;
    }
    let names = |object: &Value, action: &str| {
        let message = condition(object, "Ready")["message"].to_string();
        assert!(message.contains(action), "{action}: {message}");
    };
    for (name, action, _) in &from_the_start[..3] {
        let golden = format!("user-forbidden-{name}");
        names(&show(&world, &golden, name, reason, &["Forbidden"]).await, action);
    }
    for (name, action, edit) in &later {
        world.users().wait_for_reason(name, "Available").await;
        deny(&world, name, action).await;
        world.users().patch(name, edit.clone()).await;
    }
    world.kubectl(["delete", "vpnu", "delete", "--wait=false"]).await;
    let events = ["Created", "Forbidden"];
    let later = later.iter().map(|(name, action, _)| (*name, *action));
    for (name, action) in later.chain([("get", "vpn:p2cVpnUser:get")]) {
        let golden = format!("user-forbidden-{name}");
        names(&show(&world, &golden, name, reason, &events).await, action);
    }
    world.finish().await;
}

#[tokio::test]
async fn refused_creation_matches_golden_files() {
    let mut world = World::with(still([])).await;
    login(&mut world).await;
    let full = server(&world, json!({"user_quota": 0})).await;
    apply(&world, "quota", &format!("{{vpnServerID: {full}}}")).await;
    let events = ["QuotaExceeded"];
    show(&world, "user-quota-exceeded", "quota", Reason::QuotaExceeded, &events).await;

    let events = ["Rejected"];
    let reason = Reason::Rejected;
    apply(&world, "elsewhere", "{staticIP: 10.9.8.5}").await;
    show(
        &world,
        "user-rejected-static-ip-elsewhere",
        "elsewhere",
        reason,
        &events,
    )
    .await;
    create(&world, "first", "{staticIP: 192.168.10.5}").await;
    apply(&world, "second", "{staticIP: 192.168.10.5}").await;
    show(&world, "user-rejected-static-ip-taken", "second", reason, &events).await;
    world.finish().await;

    let mut world = World::with(still([])).await;
    login(&mut world).await;
    world.simulator.set_switches(&json!({"p2c": "404"})).await.unwrap();
    apply(&world, "unpublished", "{}").await;
    let events = ["NotAvailable"];
    show(
        &world,
        "user-not-available",
        "unpublished",
        Reason::NotAvailable,
        &events,
    )
    .await;
    world.finish().await;
}
