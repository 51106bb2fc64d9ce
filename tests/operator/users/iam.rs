//! With the actions that docs/iam.md tells, and no others, everything works; and each of them is needed.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use vpn_operator::cloud::Operation;

use crate::world::{Options, World, repository};

/// The actions that the page's table grants.
fn told() -> BTreeSet<String> {
    let page = std::fs::read_to_string(repository().join("docs/iam.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let cells = rows.filter_map(|row| row.split('|').nth(2));
    let words = cells.flat_map(|cell| {
        cell.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    words.collect()
}

#[tokio::test]
async fn the_actions_that_are_told_are_enough_and_none_is_too_many() {
    let mut world = World::with(Options::with(["--resync-period=0", "--settle-time=1s"])).await;
    let told = told();
    let rights = format!("credentials/{}/rights", world.access_key);
    world
        .simulator
        .put::<Value>(&rights, &json!({ "allowed_actions": &told }))
        .await
        .unwrap();
    world
        .simulator
        .set_switches(&json!({"list-tags": "absent"}))
        .await
        .unwrap();
    // It looks like what is about to be created, and only its tags tell that it is a stranger's.
    let stranger = json!({"name": "office", "id_value": "203.0.113.1", "tags": {"by": "hand"}});
    world.simulator.seed_gateways::<Value>(&stranger).await.unwrap();

    world
        .apply_gateway(
            "office",
            "{name: office, idValue: 203.0.113.1, tags: {site: oslo, team: net}}",
        )
        .await;
    world.wait_for_reason("office", "Available").await;
    let edit = json!({"spec": {"name": "office-2", "tags": {"site": "paris", "team": null}}});
    world.patch("office", edit).await;
    world.wait_for_reason("office", "Available").await;

    world.apply_password("alice", "Sentinel Pass-1").await;
    world
        .apply_user("alice", "{passwordSecretRef: {name: alice}, userGroupName: default}")
        .await;
    world.users().wait_for_reason("alice", "Available").await;
    let edit = json!({"spec": {"description": "net", "userGroupName": null, "userGroupID": "none"}});
    world.users().patch("alice", edit).await;
    world.users().wait_for_reason("alice", "Available").await;
    world.apply_password("alice", "Sentinel Pass-2").await;
    world.users().wait_for_event("alice", "PasswordSet").await;
    let edit = json!({"spec": {"userGroupID": null, "userGroupName": "default"}});
    world.users().patch("alice", edit).await;
    world.users().wait_for_reason("alice", "Available").await;
    assert_eq!(world.users().get("alice").await["status"]["userGroupName"], "default");

    world.kubectl(["delete", "cgw/office", "vpnu/alice"]).await;
    assert_eq!(world.cloud_gateways().await.len(), 1);
    assert!(world.cloud_users().await.is_empty());

    let calls = world.calls_since(0).await;
    let called = Operation::ALL.into_iter().filter(|it| calls.contains_key(it.name()));
    let used: BTreeSet<String> = called.map(|it| it.iam_action().to_owned()).collect();
    assert_eq!(used, told);
    world.finish().await;
}
