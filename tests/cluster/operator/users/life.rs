//! From kubectl to the cloud and back: a user is created, updated and deleted.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::operator::world::{Options, World};

/// Applies a user, waits until it is available, and returns its id.
pub(crate) async fn create(world: &World, name: &str, spec: &str) -> String {
    world.apply_user(name, spec).await;
    let object = world.users().wait_for_reason(name, "Available").await;
    object["status"]["id"].as_str().expect("an id").to_owned()
}

/// Creates a user in the cloud without the operator, and returns its id.
pub(crate) async fn seed(world: &World, seed: Value) -> String {
    let made: Vec<Value> = world.simulator.seed_users(&seed).await.unwrap();
    made[0]["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn a_user_is_created_updated_and_deleted() {
    let mut world = World::with(Options::with([
        "--resync-period=0",
        "--creation-confirmation-period=2s",
    ]))
    .await;
    world.apply_password("alice", "Sentinel Pass-1").await;
    let mark = world.mark().await;
    world
        .apply_user(
            "alice",
            "{passwordSecretRef: {name: alice}, description: ops, userGroupName: default, staticIP: 192.168.10.5}",
        )
        .await;
    let object = world.users().wait_for_reason("alice", "Available").await;
    let calls = world.calls_since(mark).await;
    assert_eq!(calls.get("CreateVpnUser"), Some(&1), "{calls:?}");
    let user = &world.cloud_users().await[0];
    let id = user["id"].as_str().unwrap().to_owned();
    assert_eq!(object["status"]["id"], user["id"]);
    assert_eq!(object["status"]["userGroupName"], "default");
    for (field, value) in [("name", "alice"), ("description", "ops"), ("static_ip", "192.168.10.5")] {
        assert_eq!(user[field], value);
    }

    let mark = world.mark().await;
    let edit = json!({"spec": {"description": "net", "userGroupName": null, "userGroupID": "None"}});
    world.users().patch("alice", edit).await;
    world.users().wait_for_reason("alice", "Available").await;
    let expected = ["GetVpnUser", "RemoveVpnUsersFromGroup", "UpdateVpnUser"].map(|call| (call.to_owned(), 1));
    assert_eq!(world.calls_since(mark).await, BTreeMap::from(expected));
    let user = &world.cloud_users().await[0];
    assert_eq!(
        (&user["description"], &user["user_group_id"]),
        (&json!("net"), &json!(null))
    );

    world.apply_password("alice", "Sentinel Pass-2").await;
    world.users().wait_for_event("alice", "PasswordSet").await;
    assert!(world.simulator.is_password(&id, "Sentinel Pass-2").await.unwrap());

    world.kubectl(["delete", "vpnu", "alice"]).await;
    assert!(world.cloud_users().await.is_empty());
    world.finish().await;
}
