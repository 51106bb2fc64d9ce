//! Requests to the cloud, as the cloud counts them: no unnecessary ones.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vpn_operator_testbed::eventually;

use crate::operator::world::{DEADLINE, Options, World, condition, gateway};

fn counts<const N: usize>(expected: [(&str, u64); N]) -> BTreeMap<String, u64> {
    expected
        .into_iter()
        .map(|(operation, count)| (operation.to_owned(), count))
        .collect()
}

#[tokio::test]
async fn an_edit_costs_one_get_and_one_call_per_changed_aspect() {
    let world = World::start().await;
    let mark = world.mark().await;
    world
        .apply_gateway(
            "office",
            "{name: office, idValue: 203.0.113.7, tags: {team: net, old: yes-it-is}}",
        )
        .await;
    world.wait_for_reason("office", "Available").await;
    assert_eq!(
        world.calls_since(mark).await,
        counts([
            ("LookUpProject", 1),
            ("ListCustomerGateways", 1),
            ("CreateCustomerGateway", 1)
        ])
    );

    let edits: [(Value, &[(&str, u64)]); 4] = [
        (json!({"name": "office-2"}), &[("UpdateCustomerGateway", 1)]),
        (json!({"tags": {"site": "paris"}}), &[("AddCustomerGatewayTags", 1)]),
        (json!({"tags": {"old": null}}), &[("RemoveCustomerGatewayTags", 1)]),
        (
            json!({"name": "office-3", "tags": {"team": "core", "site": null, "floor": "2"}}),
            &[
                ("UpdateCustomerGateway", 1),
                ("AddCustomerGatewayTags", 1),
                ("RemoveCustomerGatewayTags", 1),
            ],
        ),
    ];
    for (edit, expected) in edits {
        let mark = world.mark().await;
        world.patch("office", json!({"spec": edit})).await;
        let object = world.wait_for_reason("office", "Available").await;
        let mut all: BTreeMap<String, u64> = expected
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect();
        all.insert("GetCustomerGateway".to_owned(), 1);
        assert_eq!(world.calls_since(mark).await, all, "{edit}");
        let cloud = &world.cloud_gateways().await[0];
        assert_eq!(cloud["name"], object["spec"]["name"]);
    }
    // A BGP ASN other than the cloud's cannot be set, and causes no call but the read.
    let mark = world.mark().await;
    world.patch("office", json!({"spec": {"bgpASN": 65010}})).await;
    let object = world.wait_for_reason("office", "InvalidSpec").await;
    assert!(
        condition(&object, "Ready")["message"]
            .as_str()
            .is_some_and(|message| message.contains("bgpASN"))
    );
    assert_eq!(world.calls_since(mark).await, counts([("GetCustomerGateway", 1)]));
    world.finish().await;
}

#[tokio::test]
async fn status_timestamps_match_the_cloud_after_each_write() {
    let world = World::start().await;
    world
        .apply_gateway("office", "{name: office, idValue: 203.0.113.7}")
        .await;
    let created = world.wait_for_reason("office", "Available").await;
    let cloud = &world.cloud_gateways().await[0];
    assert_eq!(created["status"]["id"], cloud["id"]);
    let second = |text: &Value| text.as_str().map(|text| text[..19].to_owned());
    assert_eq!(second(&created["status"]["createdAt"]), second(&cloud["created_at"]));
    // Repeats until the cloud's next second, so that the time differs from the first.
    let first = created["status"]["updatedAt"].clone();
    let updated = eventually("updatedAt moves on with a write", DEADLINE, async || {
        let name = format!("office-{}", world.mark().await);
        world.patch("office", json!({"spec": {"name": name}})).await;
        let object = world.wait_for_reason("office", "Available").await;
        let cloud = &world.cloud_gateways().await[0];
        assert_eq!(second(&object["status"]["updatedAt"]), second(&cloud["updated_at"]));
        if object["status"]["updatedAt"] == first {
            Err("still the same second")
        } else {
            Ok(object)
        }
    })
    .await
    .unwrap();
    assert_eq!(updated["status"]["createdAt"], created["status"]["createdAt"]);
    world.finish().await;
}

#[tokio::test]
async fn creating_100_gateways_costs_100_creates_and_at_most_10_other_calls() {
    let world = World::start().await;
    let mark = world.mark().await;
    let manifests: Vec<String> = (1..=100)
        .map(|number| gateway(&format!("gw-{number}"), &format!("{{idValue: 203.0.113.{number}}}")))
        .collect();
    world.apply(&manifests.join("---\n")).await;
    world.wait_until_all_ready(100).await;
    let calls = world.calls_since(mark).await;
    assert_eq!(calls.get("CreateCustomerGateway"), Some(&100), "{calls:?}");
    let others: u64 = calls
        .iter()
        .filter(|(name, _)| *name != "CreateCustomerGateway")
        .map(|(_, count)| count)
        .sum();
    assert!(others <= 10, "{calls:?}");
    assert_eq!(world.cloud_gateways().await.len(), 100);
    world.finish().await;
}

#[tokio::test]
async fn unchanged_gateways_cost_only_list_calls() {
    let mut world = World::with(Options::with(["--resync-period=1s"])).await;
    let manifests: Vec<String> = (1..=5)
        .map(|number| gateway(&format!("gw-{number}"), &format!("{{idValue: 203.0.113.{number}}}")))
        .collect();
    world.apply(&manifests.join("---\n")).await;
    world.wait_until_all_ready(5).await;
    let versions = |objects: &[Value]| -> BTreeMap<String, String> {
        let version = |object: &Value, field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        objects
            .iter()
            .map(|object| (version(object, "name"), version(object, "resourceVersion")))
            .collect()
    };
    let before = versions(&world.list().await);
    for number in 1..=5 {
        // An Event follows its status a little later.
        world.wait_for_event(&format!("gw-{number}"), "Created").await;
    }
    let events = world.plane_events().await;
    let mark = world.mark().await;
    let cycles = |count: u64| {
        let world = &world;
        async move {
            eventually(&format!("{count} cycles"), DEADLINE, async || {
                let calls = world.calls_since(mark).await;
                let lists = calls.get("ListCustomerGateways").copied().unwrap_or_default();
                if lists >= count {
                    Ok(())
                } else {
                    Err(format!("{calls:?}"))
                }
            })
            .await
            .unwrap();
        }
    };
    cycles(3).await;
    assert_eq!(
        world.calls_since(mark).await.keys().collect::<Vec<_>>(),
        ["ListCustomerGateways"]
    );
    // A restart lists once, and then only on request.
    world.set_argument("--resync-period=0");
    world.stop_operator().await;
    let restart = world.mark().await;
    world.start_operator().await;
    eventually("the start's list", DEADLINE, async || {
        let calls = world.calls_since(restart).await;
        let is_listed = calls.contains_key("LookUpProject") && calls.contains_key("ListCustomerGateways");
        if is_listed { Ok(()) } else { Err(format!("{calls:?}")) }
    })
    .await
    .unwrap();
    world
        .wait_for_metric("vpn_operator_objects{kind=\"CustomerGateway\",reason=\"Available\"} 5")
        .await;
    assert_eq!(
        world.calls_since(restart).await,
        counts([("LookUpProject", 1), ("ListCustomerGateways", 1)])
    );
    assert_eq!(versions(&world.list().await), before);
    assert_eq!(world.plane_events().await, events);
    world.finish().await;
}

#[tokio::test]
async fn drift_is_corrected_at_the_next_drift_check() {
    let world = World::with(Options::with(["--resync-period=1s"])).await;
    world
        .apply_gateway("office", "{name: office, idValue: 203.0.113.7, tags: {team: net}}")
        .await;
    let object = world.wait_for_reason("office", "Available").await;
    let id = object["status"]["id"].as_str().expect("an id").to_owned();
    world
        .simulator
        .edit_gateway(&id, &json!({"name": "renamed-by-hand"}))
        .await
        .unwrap();
    let note = world.wait_for_event("office", "DriftCorrected").await;
    assert!(note.contains("name"), "{note}");
    assert_eq!(world.cloud_gateways().await[0]["name"], "office");

    // Deleted out of band: recreated, once.
    world.simulator.remove_gateway(&id).await.unwrap();
    let again = world
        .wait_for("office", "has a new id and is Ready", |object| {
            object["status"]["id"] != id.as_str() && condition(object, "Ready")["status"] == "True"
        })
        .await;
    let cloud = world.cloud_gateways().await;
    assert_eq!(cloud.len(), 1);
    assert_eq!(cloud[0]["id"], again["status"]["id"]);
    world.wait_for_event("office", "Recreated").await;
    world.finish().await;
}
