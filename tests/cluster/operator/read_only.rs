//! `--read-only`: nothing is written to the cloud, and each object says what would be.

use serde_json::json;

use crate::operator::console::{OWNER, counts, message};
use crate::operator::world::{Options, World};

#[tokio::test]
async fn read_only_mode_reports_planned_writes_and_sends_none() {
    let mut world = World::start().await;
    let edited = world.create("edited", "{name: edited, idValue: 203.0.113.1}").await;
    let deleted = world.create("deleted", "{idValue: 203.0.113.2}").await;
    let kept = world
        .create("kept", "{idValue: 203.0.113.3, deletionPolicy: Retain}")
        .await;
    let missing = world.create("gone", "{idValue: 203.0.113.4}").await;
    world.stop_operator().await;
    world.set_argument("--read-only=true");
    let foreign = world.seed(json!({"name": "foreign", "id_value": "203.0.113.5"})).await;
    world.simulator.remove_gateway(&missing).await.unwrap();
    world.start_operator().await;
    let mark = world.mark().await;

    world
        .apply_gateway("new", "{name: brand-new, idValue: 203.0.113.6}")
        .await;
    world.patch("edited", json!({"spec": {"name": "edited-2"}})).await;
    world
        .apply_gateway("adopted", &format!("{{externalID: {foreign}, idValue: 203.0.113.5}}"))
        .await;
    world.delete("deleted").await;
    world.delete("kept").await;
    world.request("gone").await;
    for (name, reason, shown) in [
        ("new", "Creating", "would create the customer gateway brand-new"),
        ("edited", "Updating", "would change name"),
        ("adopted", "Creating", "would adopt the customer gateway"),
        ("deleted", "Deleting", "would delete the customer gateway"),
        (
            "kept",
            "Deleting",
            "would remove the tag vpn-operator-owner from the customer gateway",
        ),
        ("gone", "Creating", "would recreate the customer gateway"),
    ] {
        let object = world
            .wait_for(name, shown, |object| message(object).contains(shown))
            .await;
        assert!(message(&object).contains("--read-only"), "{}", message(&object));
        assert_eq!(
            crate::operator::world::condition(&object, "Ready")["reason"],
            reason,
            "{name}"
        );
    }
    // Nothing of it in the cloud: nothing keeps the object.
    world.delete("new").await;
    world.wait_until_deleted("new").await;
    assert_eq!(world.writes_since(mark).await, counts([]));
    let adopted = world.events("adopted").await;
    assert!(adopted.iter().all(|event| event["reason"] != "Adopted"), "{adopted:?}");

    world.set_argument("--read-only=false");
    world.restart_operator().await;
    world.wait_until_deleted("deleted").await;
    world.wait_until_deleted("kept").await;
    for name in ["edited", "adopted", "gone"] {
        world.wait_for_reason(name, "Available").await;
    }
    assert!(world.cloud_gateway(&deleted).await.is_null());
    assert!(world.cloud_gateway(&kept).await["tags"][OWNER].is_null());
    assert_eq!(world.cloud_gateway(&edited).await["name"], "edited-2");
    let owner = world.owner_value("adopted").await;
    assert_eq!(world.cloud_gateway(&foreign).await["tags"][OWNER], owner.as_str());
    assert_eq!(world.cloud_gateways().await.len(), 4);
    world.finish().await;
}

#[tokio::test]
async fn read_only_mode_reports_a_gateway_to_readopt() {
    let world = World::with(Options::with(["--resync-period=0", "--read-only"])).await;
    let owner = world.owner_of(crate::operator::console::DEAD_UID, "office");
    let id = world
        .seed(json!({"name": "office", "id_value": "203.0.113.7", "tags": {OWNER: owner}}))
        .await;
    let mark = world.mark().await;
    world.apply_gateway("office", "{idValue: 203.0.113.7}").await;
    let object = world.wait_for_reason("office", "Creating").await;
    let shown = message(&object);
    assert!(shown.contains("--read-only") && shown.contains(&id), "{shown}");
    assert!(object["status"]["id"].is_null(), "{object}");
    assert_eq!(world.writes_since(mark).await, counts([]));
    world.finish().await;
}
