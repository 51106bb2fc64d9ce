//! How long pages of users may be is not documented.

use serde_json::{Value, json};
use vpn_operator_testbed::eventually;

use crate::operator::world::{DEADLINE, Options, VPN_SERVER, World};

/// More than two of the shorter pages.
const OTHERS: usize = 120;

#[tokio::test]
async fn a_refused_page_size_is_reduced_permanently() {
    let mut world = World::with(Options::with(["--resync-period=1s"])).await;
    let pages = json!({"p2c-page-limit": "50"});
    world.simulator.set_switches(&pages).await.unwrap();
    let others: Vec<Value> = (0..OTHERS)
        .map(|number| json!({"server_id": VPN_SERVER, "name": format!("other-{number}")}))
        .collect();
    world.simulator.seed_users::<Value>(&others).await.unwrap();
    world.apply_password("people", "Correct-horse-1").await;
    let mark = world.mark().await;
    world
        .apply_user("alice", "{passwordSecretRef: {name: people}, description: ours}")
        .await;
    let object = world.users().wait_for_reason("alice", "Available").await;
    let id = object["status"]["id"].as_str().expect("an id").to_owned();

    // What the lists show is heeded.
    world
        .simulator
        .edit_user(&id, &json!({"description": "by hand"}))
        .await
        .unwrap();
    let corrected = eventually("the drift is corrected", DEADLINE, async || {
        let users = world.cloud_users().await;
        let alice = users
            .into_iter()
            .find(|user| user["id"] == id.as_str())
            .unwrap_or_default();
        match alice["description"] == "ours" {
            true => Ok(()),
            false => Err(alice.to_string()),
        }
    });
    corrected.await.unwrap_or_else(|error| panic!("{error}"));
    world.wait_for_calls("ListVpnUsers", 6).await;
    let counts: Value = world.simulator.counts_since(mark).await.unwrap();
    assert_eq!(counts["by_error_code"]["VPN.0001"], 1, "refused once: {counts}");
    world.finish().await;
}
