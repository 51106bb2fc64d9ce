//! Secrets that are not there, or not yet.

use std::collections::BTreeMap;

use serde_json::json;

use super::{apply, delete_secret, id, patch_secret, reset_calls, wait_for_message, wait_for_password};
use crate::operator::world::World;

#[tokio::test]
async fn a_secret_created_later_is_used() {
    let mut world = World::start().await;
    let mark = world.mark().await;
    world.apply_user("alice", "{passwordSecretRef: {name: alice}}").await;
    world
        .apply_secret("bert", &BTreeMap::from([("other", "not a password")]))
        .await;
    world
        .apply_user("bert", "{passwordSecretRef: {name: bert, key: vpn}}")
        .await;
    let message = wait_for_message(&world, "alice", "SecretNotFound").await;
    assert!(message.contains(&format!("{}/alice", world.namespace)), "{message}");
    let message = wait_for_message(&world, "bert", "SecretNotFound").await;
    assert!(message.contains("no key vpn"), "{message}");
    let calls = world.calls_since(mark).await;
    assert!(!calls.contains_key("CreateVpnUser"), "{calls:?}");

    world.apply_password("alice", "Sentinel Miss-1").await;
    world.sentinels.add("Sentinel Miss-1b");
    world
        .apply_secret("bert", &BTreeMap::from([("vpn", "Sentinel Miss-1b")]))
        .await;
    world.users().wait_until_all_ready(2).await;
    wait_for_password(&world, "alice", "Sentinel Miss-1").await;
    wait_for_password(&world, "bert", "Sentinel Miss-1b").await;

    // A user that exists keeps its password.
    let (alice, bert, mark) = (id(&world, "alice").await, id(&world, "bert").await, world.mark().await);
    delete_secret(&world, "alice").await;
    patch_secret(&world, "bert", json!({"data": {"vpn": null}})).await;
    for name in ["alice", "bert"] {
        world.users().wait_for_reason(name, "SecretNotFound").await;
    }
    world.apply_password("alice", "Sentinel Miss-1").await;
    wait_for_password(&world, "alice", "Sentinel Miss-1").await;
    world.sentinels.add("Sentinel Miss-2b");
    world
        .apply_secret("bert", &BTreeMap::from([("vpn", "Sentinel Miss-2b")]))
        .await;
    wait_for_password(&world, "bert", "Sentinel Miss-2b").await;
    assert_eq!(reset_calls(&world, &alice, mark).await, 0);
    assert_eq!(reset_calls(&world, &bert, mark).await, 1);
    world.finish().await;
}

#[tokio::test]
async fn changes_of_secrets_during_downtime_are_reported() {
    let mut world = World::start().await;
    apply(&mut world, "alice", "Sentinel Down-1").await;
    apply(&mut world, "bert", "Sentinel Down-1b").await;
    world.users().wait_until_all_ready(2).await;
    let mark = world.mark().await;
    world.stop_operator().await;
    delete_secret(&world, "alice").await;
    world.apply_password("bert", "sentineldownlower").await;
    world.start_operator().await;
    world.users().wait_for_reason("alice", "SecretNotFound").await;
    let message = wait_for_message(&world, "bert", "InvalidPassword").await;
    assert!(message.contains("too simple"), "{message}");
    let calls = world.calls_since(mark).await;
    assert!(!calls.contains_key("ResetVpnUserPassword"), "{calls:?}");
    world.apply_password("alice", "Sentinel Down-2").await;
    world.apply_password("bert", "Sentinel Down-2b").await;
    wait_for_password(&world, "alice", "Sentinel Down-2").await;
    wait_for_password(&world, "bert", "Sentinel Down-2b").await;
    world.finish().await;
}
