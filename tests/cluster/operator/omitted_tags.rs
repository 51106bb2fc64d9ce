//! Lists that omit tags hide no drift of tags, and what that costs does not grow with the number of gateways.

use serde_json::{Value, json};

use crate::operator::console::{OWNER, counts, message};
use crate::operator::world::{Options, World, condition, gateway};

const COUNT: usize = 12;

/// A world whose lists have no tags, with gateways that are Ready; the ids.
async fn world() -> (World, Vec<String>) {
    let world = World::with(Options::with(["--resync-period=1s"])).await;
    let switches = json!({"list-tags": "absent"});
    world.simulator.set_switches(&switches).await.unwrap();
    let manifests: Vec<String> = (0..COUNT)
        .map(|number| {
            let spec = format!(
                "{{name: gw-{number:02}, idValue: 203.0.113.{}, tags: {{team: net}}}}",
                number + 1
            );
            gateway(&format!("gw-{number:02}"), &spec)
        })
        .collect();
    world.apply(&manifests.join("---\n")).await;
    let mut objects = world.wait_until_all_ready(COUNT).await;
    objects.sort_by_key(|object| object["metadata"]["name"].to_string());
    let ids = objects
        .iter()
        .map(|object| object["status"]["id"].as_str().expect("an id").to_owned());
    let ids = ids.collect();
    (world, ids)
}

/// The credentials may not do these any more.
async fn deny(world: &World, actions: &[&str]) {
    let path = format!("credentials/{}/permissions", world.access_key);
    let permissions = json!({"denied_actions": actions});
    world.simulator.put::<Value>(&path, &permissions).await.unwrap();
}

fn has_tag(gateway: &Value, key: &str, value: &str) -> bool {
    gateway["tags"][key] == value
}

#[tokio::test]
async fn tag_drift_detection_costs_one_filter_request_per_list() {
    let (world, ids) = world().await;
    world.edit(&ids[0], json!({"set_tags": {"team": "core"}})).await;
    world.edit(&ids[1], json!({"remove_tags": [OWNER]})).await;
    world
        .wait_for_cloud(&ids[0], "the tag of the spec is restored", |gateway| {
            has_tag(gateway, "team", "net")
        })
        .await;
    let owner = world.owner_value("gw-01").await;
    world
        .wait_for_cloud(&ids[1], "the owner tag is restored", |gateway| {
            has_tag(gateway, OWNER, &owner)
        })
        .await;
    world.wait_for_event("gw-00", "DriftCorrected").await;
    world.wait_until_all_ready(COUNT).await;
    let mark = world.mark().await;
    world.wait_for_cycles(3).await;
    let calls = world.calls_since(mark).await;
    assert_eq!(
        calls.keys().collect::<Vec<_>>(),
        ["FilterCustomerGateways", "ListCustomerGateways"]
    );
    assert!(
        calls["FilterCustomerGateways"] <= calls["ListCustomerGateways"] + 1,
        "{calls:?}"
    );
    world.finish().await;
}

#[tokio::test]
async fn without_the_filter_permission_a_few_tags_are_read_after_each_list() {
    let (world, ids) = world().await;
    deny(&world, &["vpn:resourceInstances:list"]).await;
    world.wait_for_calls("FilterCustomerGateways", 2).await;
    let mark = world.mark().await;
    for id in &ids[..2] {
        world.edit(id, json!({"set_tags": {"team": "core"}})).await;
    }
    for id in &ids[..2] {
        world
            .wait_for_cloud(id, "the tag is restored", |gateway| has_tag(gateway, "team", "net"))
            .await;
    }
    let calls = world.calls_since(mark).await;
    assert!(
        calls["GetCustomerGateway"] <= 4 * (calls["ListCustomerGateways"] + 1),
        "{calls:?}"
    );
    assert_eq!(world.writes_since(mark).await, counts([("AddCustomerGatewayTags", 2)]));

    // Nothing can tell: that is reported, as of any permission that is missing.
    deny(&world, &["vpn:resourceInstances:list", "vpn:customerGateways:get"]).await;
    let object = world
        .wait_for("gw-03", "reports that tags cannot be read", |object| {
            let healthy = condition(object, "CredentialsHealthy");
            let shown = healthy["message"].as_str().unwrap_or_default();
            healthy["status"] == "False" && shown.contains("vpn:customerGateways:get")
        })
        .await;
    assert_eq!(condition(&object, "Ready")["status"], "True", "{}", message(&object));
    deny(&world, &[]).await;
    world
        .wait_for("gw-03", "is healthy again", |object| {
            condition(object, "CredentialsHealthy")["status"] != "False"
        })
        .await;
    world.finish().await;
}
