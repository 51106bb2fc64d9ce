//! A touched but unchanged password is not sent; a changed one is sent once.

use serde_json::{Value, json};
use vpn_operator_testbed::eventually;

use super::{
    DIGEST_KEY, apply, delete_secret, id, patch_secret, reset_calls, resets, secrets, wait_for_cycles,
    wait_for_password,
};
use crate::operator::world::{DEADLINE, Options, World, condition};

/// Waits until status records the present version of the Secret.
async fn wait_until_secret_is_seen(world: &World, name: &str) -> Value {
    let secret = secrets(world).get(name).await.unwrap().metadata;
    let is_seen = |object: &Value| {
        let record = &object["status"]["password"];
        record["secretUID"].as_str() == secret.uid.as_deref()
            && record["secretResourceVersion"].as_str() == secret.resource_version.as_deref()
            && condition(object, "Ready")["reason"] == "Available"
    };
    world.users().wait_for(name, "has seen its Secret", is_seen).await
}

async fn wait_until_one_is_available(world: &World) {
    world
        .wait_for_metric("vpn_operator_objects{kind=\"VpnUser\",reason=\"Available\"} 1")
        .await;
}

#[tokio::test]
async fn only_a_changed_password_is_sent() {
    let mut world = World::with(Options::with(["--resync-period=1s"])).await;
    apply(&mut world, "alice", "Sentinel Once-1").await;
    let before = world.users().wait_for_reason("alice", "Available").await;
    world.users().wait_for_event("alice", "Created").await;
    let events = world.plane_events().await;
    let (id, mark) = (id(&world, "alice").await, world.mark().await);

    for touch in ["labels", "annotations"] {
        patch_secret(&world, "alice", json!({"metadata": {touch: {"touched": "yes"}}})).await;
        wait_until_secret_is_seen(&world, "alice").await;
    }
    let gets = world
        .calls_since(mark)
        .await
        .get("GetVpnUser")
        .copied()
        .unwrap_or_default();
    let request = json!({"metadata": {"annotations": {"vpn.huaweicloud.com/reconcile-requested-at": "now"}}});
    world.users().patch("alice", request).await;
    eventually("a read on request", DEADLINE, async || {
        let calls = world.calls_since(mark).await;
        let is_read = calls.get("GetVpnUser").is_some_and(|now| *now > gets);
        if is_read { Ok(()) } else { Err(format!("{calls:?}")) }
    })
    .await
    .unwrap();
    wait_for_cycles(&world).await;
    world.restart_operator().await;
    wait_until_one_is_available(&world).await;
    let after = world.users().get("alice").await;
    assert_eq!(after["status"]["conditions"], before["status"]["conditions"]);
    assert_eq!(after["status"]["passwordSetAt"], before["status"]["passwordSetAt"]);
    assert_eq!(world.plane_events().await, events);
    assert_eq!(reset_calls(&world, &id, mark).await, 0, "nothing has changed");

    delete_secret(&world, "alice").await;
    world.apply_password("alice", "Sentinel Once-1").await;
    wait_until_secret_is_seen(&world, "alice").await;
    world.stop_operator().await;
    delete_secret(&world, DIGEST_KEY).await;
    world.start_operator().await;
    let known = after["status"]["password"]["keyID"].clone();
    let object = world
        .users()
        .wait_for("alice", "is remembered under the new key", |object| {
            object["status"]["password"]["keyID"] != known
        })
        .await;
    assert_eq!(reset_calls(&world, &id, mark).await, 0, "the same value");

    // Now a change cannot be detected: the password is sent once, and the cloud's answer shows it.
    world.stop_operator().await;
    delete_secret(&world, DIGEST_KEY).await;
    patch_secret(&world, "alice", json!({"metadata": {"labels": {"touched": "again"}}})).await;
    world.start_operator().await;
    let known = object["status"]["password"]["keyID"].clone();
    let object = world
        .users()
        .wait_for("alice", "is remembered under the third key", |object| {
            object["status"]["password"]["keyID"] != known
        })
        .await;
    assert!(object["status"]["passwordReset"].is_null(), "{}", object["status"]);
    world.users().wait_for_reason("alice", "Available").await;
    assert_eq!(reset_calls(&world, &id, mark).await, 1);
    assert_eq!(resets(&world, "alice").await, 0);

    world.stop_operator().await;
    world.apply_password("alice", "Sentinel Once-2").await;
    world.start_operator().await;
    wait_for_password(&world, "alice", "Sentinel Once-2").await;
    world.users().wait_for_event("alice", "PasswordSet").await;
    assert_eq!(resets(&world, "alice").await, 1);

    world.apply_password("alice", "Sentinel Once-3").await;
    wait_for_password(&world, "alice", "Sentinel Once-3").await;
    wait_for_cycles(&world).await;
    assert_eq!(resets(&world, "alice").await, 2);
    assert_eq!(reset_calls(&world, &id, mark).await, 3);
    world.finish().await;
}

#[tokio::test]
async fn a_password_changed_twice_ends_with_the_last_value() {
    // The held request must not time out before its release.
    let mut world = World::with(Options::with(["--resync-period=0", "--request-timeout=7s"])).await;
    apply(&mut world, "alice", "Sentinel Twice-1").await;
    apply(&mut world, "bert", "Sentinel Twice-1b").await;
    world.users().wait_until_all_ready(2).await;
    let mark = world.mark().await;

    // A third password while the second is in progress.
    let alice = id(&world, "alice").await;
    let hold = json!({"fault": "hold", "operation": "ResetVpnUserPassword", "path_contains": alice});
    world.simulator.add_fault(&hold).await.unwrap();
    world.apply_password("alice", "Sentinel Twice-2").await;
    world.simulator.wait_for_held::<Value>(1).await.unwrap();
    world.apply_password("alice", "Sentinel Twice-3").await;
    world.simulator.release(&json!({})).await.unwrap();
    wait_for_password(&world, "alice", "Sentinel Twice-3").await;
    assert_eq!(reset_calls(&world, &alice, mark).await, 2);

    // A third password before the operator has read the second.
    world.apply_password("bert", "Sentinel Twice-2b").await;
    world.apply_password("bert", "Sentinel Twice-3b").await;
    wait_for_password(&world, "bert", "Sentinel Twice-3b").await;
    let calls = reset_calls(&world, &id(&world, "bert").await, mark).await;
    assert!((1..=2).contains(&calls), "{calls}");
    world.finish().await;
}
