//! Users that others made: their password is set once, or never touched.

use serde_json::{Value, json};

use super::{id, in_cloud, reset_calls, resets, wait_for_password};
use crate::operator::world::{Options, World};

#[tokio::test]
async fn the_password_of_an_adopted_user_is_set_at_most_once() {
    let mut world = World::with(Options::with(["--resync-period=1s"])).await;
    let seeds = ["sets", "same", "left", "found"].map(|name| {
        world.sentinels.add(&format!("Sentinel Seed-{name}"));
        json!({"name": name, "password": format!("Sentinel Seed-{name}")})
    });
    let _: Vec<Value> = world.simulator.seed_users(&seeds).await.unwrap();
    let mark = world.mark().await;
    world.apply_password("sets", "Sentinel Adopt-1").await;
    world.apply_password("same", "Sentinel Seed-same").await;
    world.apply_password("found", "Sentinel Adopt-2").await;
    for (name, with) in [
        ("sets", "passwordSecretRef: {name: sets}"),
        ("same", "passwordSecretRef: {name: same}"),
        ("left", "description: ours"),
    ] {
        let id = id(&world, name).await;
        world.apply_user(name, &format!("{{externalID: {id}, {with}}}")).await;
    }
    let spec = "{adoptionPolicy: IfExists, passwordSecretRef: {name: found}}";
    world.apply_user("found", spec).await;
    world.users().wait_until_all_ready(4).await;
    for name in ["sets", "same", "left", "found"] {
        world.users().wait_for_event(name, "Adopted").await;
    }
    wait_for_password(&world, "sets", "Sentinel Adopt-1").await;
    wait_for_password(&world, "same", "Sentinel Seed-same").await;
    wait_for_password(&world, "left", "Sentinel Seed-left").await;
    wait_for_password(&world, "found", "Sentinel Adopt-2").await;

    world.restart_operator().await;
    world
        .wait_for_metric("vpn_operator_objects{kind=\"VpnUser\",reason=\"Available\"} 4")
        .await;
    // A refusal as recently used counts as set.
    for (name, calls, made) in [("sets", 1, 1), ("same", 1, 0), ("left", 0, 0), ("found", 1, 1)] {
        let id = id(&world, name).await;
        assert_eq!(reset_calls(&world, &id, mark).await, calls, "{name}");
        assert_eq!(resets(&world, name).await, made, "{name}");
    }
    let left = world.users().get("left").await;
    assert!(left["status"]["passwordSetAt"].is_null(), "{}", left["status"]);
    assert_eq!(in_cloud(&world, "left").await["description"], "ours");

    // From now on it is like any other.
    world.apply_password("same", "Sentinel Adopt-3").await;
    wait_for_password(&world, "same", "Sentinel Adopt-3").await;
    assert_eq!(resets(&world, "same").await, 1);
    world.finish().await;
}
