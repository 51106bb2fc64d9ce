//! Items of the cloud's lists that cannot be read: nobody else is kept from anything by them.

use serde_json::json;
use vpn_operator_testbed::eventually;

use super::expect_recovered;
use crate::operator::console::{counts, message};
use crate::operator::world::{DEADLINE, Options, World};

#[tokio::test]
async fn an_unreadable_foreign_item_hides_no_drift_and_is_reported_once() {
    let world = World::with(Options::with(["--resync-period=1s"])).await;
    let id = world.create("office", "{name: office, idValue: 203.0.113.1}").await;

    let foreign = world.seed(json!({"name": "a", "id_value": "198.51.100.1"})).await;
    let null_value = json!({"tags": [{"key": "team", "value": null}]});
    world.edit(&foreign, json!({"answered_instead": null_value})).await;
    let broken = world.seed(json!({"name": "b", "id_value": "198.51.100.2"})).await;
    world.edit(&broken, json!({"answered_instead": {"name": 5}})).await;

    world.edit(&id, json!({"name": "moved"})).await;
    world
        .wait_for_cloud(&id, "the drift is corrected", |gateway| gateway["name"] == "office")
        .await;
    // What is new is created as well.
    world
        .apply_gateway("branch", "{name: branch, idValue: 203.0.113.2}")
        .await;
    expect_recovered(&world, "branch").await;
    // More than one list has ended since.
    world.wait_for_cycles(2).await;
    let log = world.running().log();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("items of the list cannot be read in full"))
        .collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains(&broken) && !lines[0].contains(&foreign),
        "{}",
        lines[0]
    );
    let metrics = world.running().metrics(DEADLINE).await.unwrap();
    let counted = metrics
        .lines()
        .find_map(|line| line.strip_prefix(r#"vpn_operator_unreadable_items_total{collection="customer-gateways"} "#));
    assert!(counted.is_some_and(|count| count != "0"), "{metrics}");

    // Read again, it is reported so.
    world.edit(&broken, json!({"answered_instead": {}})).await;
    world.wait_for_cycles(2).await;
    assert!(
        world
            .running()
            .log()
            .contains("all items of the list can be read again")
    );
    world.finish().await;
}

#[tokio::test]
async fn an_unreadable_gateway_is_neither_recreated_nor_updated() {
    let mut world = World::start().await;
    let id = world.create("office", "{name: office, idValue: 203.0.113.1}").await;
    let mark = world.mark().await;
    let broken = json!({"name": ["office"], "tags": [{"key": {}, "value": "x"}]});
    world.edit(&id, json!({"answered_instead": broken})).await;
    world.restart_operator().await;
    let reported = eventually("the report of the item", DEADLINE, async || {
        let log = world.running().log();
        match log.contains("items of the list cannot be read in full") {
            true => Ok(()),
            false => Err("not logged"),
        }
    });
    reported.await.unwrap_or_else(|error| panic!("{error}"));
    // An edit is compared with an answer about the object itself, which cannot be read either.
    world.patch("office", json!({"spec": {"name": "renamed"}})).await;
    let object = world.wait_for_reason("office", "CloudError").await;
    assert!(message(&object).contains("did not answer as"), "{object}");
    assert!(world.writes_since(mark).await.is_empty());

    world.edit(&id, json!({"answered_instead": {}})).await;
    let object = expect_recovered(&world, "office").await;
    assert_eq!(object["status"]["id"], id.as_str());
    assert_eq!(world.writes_since(mark).await, counts([("UpdateCustomerGateway", 1)]));
    world.finish().await;
}
