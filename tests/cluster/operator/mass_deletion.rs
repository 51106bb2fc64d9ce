//! Many gateways that are missing at once are not recreated without the user's approval.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vpn_operator_testbed::eventually;

use crate::operator::console::{counts, message};
use crate::operator::world::{DEADLINE, Options, World, condition, gateway};

/// The held lists must not time out before their release.
const WATCHFUL: [&str; 2] = ["--resync-period=1s", "--request-timeout=7s"];

/// Creates twenty gateways. Returns them by name.
async fn twenty(world: &World) -> BTreeMap<String, Value> {
    let manifests: Vec<String> = (1..=20)
        .map(|number| {
            let name = format!("gw-{number:02}");
            gateway(&name, &format!("{{name: {name}, idValue: 203.0.113.{number}}}"))
        })
        .collect();
    world.apply(&manifests.join("---\n")).await;
    world.wait_until_all_ready(20).await;
    let cloud = world.cloud_gateways().await;
    cloud
        .into_iter()
        .map(|gateway| (gateway["name"].as_str().unwrap_or_default().to_owned(), gateway))
        .collect()
}

async fn take_away(world: &World, gateways: impl Iterator<Item = &Value>) {
    for gateway in gateways {
        let id = gateway["id"].as_str().expect("an id");
        world.simulator.remove_gateway(id).await.unwrap();
    }
}

/// Removes all gateways between two lists of the operator.
async fn take_away_at_once(world: &World, gateways: impl Iterator<Item = &Value>) {
    let hold = json!({"fault": "hold", "operation": "ListCustomerGateways"});
    world.simulator.add_fault(&hold).await.unwrap();
    world.simulator.wait_for_held::<Value>(1).await.unwrap();
    take_away(world, gateways).await;
    world.simulator.release(&json!({})).await.unwrap();
}

/// Restores the same gateways, ids included.
async fn restore(world: &World, gateways: impl Iterator<Item = &Value>) {
    let seeds: Vec<Value> = gateways
        .map(|gateway| {
            json!({"id": gateway["id"], "name": gateway["name"], "id_value": gateway["id_value"],
                "tags": gateway["tags"], "created_at": gateway["created_at"]})
        })
        .collect();
    world.simulator.seed_gateways::<Value>(&seeds).await.unwrap();
}

async fn wait_for_suspected(world: &World, count: usize) {
    let result = eventually(&format!("{count} are suspected"), DEADLINE, async || {
        let objects = world.list().await;
        let suspected = objects
            .iter()
            .filter(|object| condition(object, "Ready")["reason"] == "MassDeletionSuspected")
            .count();
        if suspected == count {
            Ok(())
        } else {
            Err(format!("{suspected} are"))
        }
    })
    .await;
    result.unwrap_or_else(|error| panic!("{error}\n{}", world.log_tail()));
}

#[tokio::test]
async fn mass_deletion_suspends_recreation_until_approval_or_return() {
    let mut world = World::with(Options::with(WATCHFUL)).await;
    let all = twenty(&world).await;
    let mark = world.mark().await;
    take_away_at_once(&world, all.values().take(15)).await;
    wait_for_suspected(&world, 15).await;
    let object = world.get("gw-01").await;
    let shown = message(&object);
    assert!(shown.contains("15 of 20"), "{shown}");
    assert!(shown.contains("vpn.huaweicloud.com/recreate-approved-at"), "{shown}");
    assert_eq!(condition(&object, "Stalled")["status"], "True");
    world.wait_for_cycles(2).await;
    assert_eq!(world.writes_since(mark).await, counts([]));
    // A restart in between changes nothing.
    world.restart_operator().await;
    world.wait_for_cycles(3).await;
    wait_for_suspected(&world, 15).await;
    assert_eq!(world.writes_since(mark).await, counts([]));

    let approved = jiff::Timestamp::now().to_string();
    let annotations = json!({"vpn.huaweicloud.com/recreate-approved-at": approved});
    world
        .patch("gw-01", json!({"metadata": {"annotations": annotations}}))
        .await;
    let object = world.wait_for_reason("gw-01", "Available").await;
    assert_ne!(object["status"]["id"], all["gw-01"]["id"]);
    world.wait_for_cycles(2).await;
    assert_eq!(world.writes_since(mark).await, counts([("CreateCustomerGateway", 1)]));
    wait_for_suspected(&world, 14).await;

    restore(&world, all.values().take(15).skip(1)).await;
    world.wait_until_all_ready(20).await;
    assert_eq!(world.writes_since(mark).await, counts([("CreateCustomerGateway", 1)]));
    assert_eq!(world.cloud_gateways().await.len(), 20);
    // An old approval does not apply to a later loss.
    let again = world.cloud_gateways().await;
    let mark = world.mark().await;
    take_away_at_once(&world, again.iter()).await;
    wait_for_suspected(&world, 20).await;
    world.wait_for_cycles(2).await;
    assert_eq!(world.writes_since(mark).await, counts([]));
    world.finish().await;
}

#[tokio::test]
async fn mass_deletion_during_downtime_suspends_recreation() {
    let mut world = World::start().await;
    let all = twenty(&world).await;
    world.stop_operator().await;
    take_away(&world, all.values().take(15)).await;
    let mark = world.mark().await;
    // A GET for each object also answers that it does not exist.
    world.start_operator().await;
    wait_for_suspected(&world, 15).await;
    assert_eq!(world.writes_since(mark).await, counts([]));
    for name in all.keys().take(15) {
        world.request(name).await;
    }
    restore(&world, all.values().take(15)).await;
    for name in all.keys().take(15) {
        world.request(name).await;
    }
    world.wait_until_all_ready(20).await;
    assert_eq!(world.writes_since(mark).await, counts([]));
    world.finish().await;
}

async fn approve(world: &World, name: &str) {
    let approved = jiff::Timestamp::now().to_string();
    let annotations = json!({"vpn.huaweicloud.com/recreate-approved-at": approved});
    world
        .patch(name, json!({"metadata": {"annotations": annotations}}))
        .await;
}

/// Creates twelve gateways and waits until they are Ready. Returns their ids by name.
async fn twelve(world: &World, more: &str) -> BTreeMap<String, String> {
    let mut ids = BTreeMap::new();
    for number in 1..=12 {
        let name = format!("gw-{number:02}");
        let spec = format!("{{name: {name}, idValue: 203.0.113.{number}{more}}}");
        world.apply_gateway(&name, &spec).await;
    }
    for object in world.wait_until_all_ready(12).await {
        let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
        ids.insert(text(&object["metadata"]["name"]), text(&object["status"]["id"]));
    }
    ids
}

/// The resource versions of the suspected objects, by name.
async fn suspected_versions(world: &World) -> BTreeMap<String, String> {
    let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
    let objects = world.list().await;
    let suspected = objects
        .iter()
        .filter(|object| condition(object, "Ready")["reason"] == "MassDeletionSuspected");
    let metadata = suspected.map(|object| &object["metadata"]);
    metadata
        .map(|metadata| (text(&metadata["name"]), text(&metadata["resourceVersion"])))
        .collect()
}

#[tokio::test]
async fn each_approval_allows_the_recreation_of_its_object_only() {
    let mut world = World::with(Options::with(WATCHFUL)).await;
    twelve(&world, "").await;
    let all = world.cloud_gateways().await;
    let mark = world.mark().await;
    take_away_at_once(&world, all.iter()).await;
    wait_for_suspected(&world, 12).await;
    let suspected_at = world.get("gw-03").await["status"]["massDeletionSuspectedAt"].clone();
    assert!(suspected_at.is_string(), "{suspected_at}");
    let mut versions = suspected_versions(&world).await;
    for (approved, restart) in [("gw-01", false), ("gw-02", true)] {
        approve(&world, approved).await;
        let object = world.wait_for_reason(approved, "Available").await;
        assert_eq!(object["status"]["massDeletionSuspectedAt"], Value::Null);
        if restart {
            world.restart_operator().await;
        }
        world.wait_for_cycles(3).await;
        versions.remove(approved);
        assert_eq!(
            suspected_versions(&world).await,
            versions,
            "nothing is written to the others"
        );
    }
    assert_eq!(world.writes_since(mark).await, counts([("CreateCustomerGateway", 2)]));
    let events = world.events("gw-03").await;
    let suspicions = events.iter().filter(|event| event["reason"] == "MassDeletionSuspected");
    assert_eq!(suspicions.count(), 1, "{events:?}");
    world.finish().await;
}

#[tokio::test]
async fn an_earlier_approval_does_not_apply_to_the_next_mass_deletion() {
    let mut world = World::with(Options::with(WATCHFUL)).await;
    let ids = twelve(&world, "").await;
    world.patch("gw-01", json!({"spec": {"bgpASN": 65010}})).await;
    world.wait_for_reason("gw-01", "InvalidSpec").await;
    approve(&world, "gw-01").await;
    world.wait_for_cycles(2).await;
    let all = world.cloud_gateways().await;
    let mark = world.mark().await;
    take_away_at_once(&world, all.iter()).await;
    wait_for_suspected(&world, 12).await;
    world.request("gw-01").await;
    world.restart_operator().await;
    world.wait_for_cycles(3).await;
    wait_for_suspected(&world, 12).await;
    assert_eq!(world.get("gw-01").await["status"]["id"], ids["gw-01"].as_str());
    assert_eq!(world.writes_since(mark).await, counts([]));
    world.finish().await;
}

#[tokio::test]
async fn losses_reported_earlier_do_not_count_as_mass_deletion() {
    let mut world = World::with(Options::with(WATCHFUL)).await;
    let ids = twelve(&world, ", managementPolicy: ReportDrift").await;
    world
        .patch("gw-12", json!({"spec": {"managementPolicy": "Manage"}}))
        .await;
    world.wait_until_all_ready(12).await;
    let mark = world.mark().await;
    for (name, id) in ids.iter().take(11) {
        world.simulator.remove_gateway(id).await.unwrap();
        world.wait_for_reason(name, "NotFound").await;
    }
    world.restart_operator().await;
    world.wait_for_cycles(2).await;
    world.simulator.remove_gateway(&ids["gw-12"]).await.unwrap();
    world
        .wait_for("gw-12", "is recreated", |object| {
            object["status"]["id"] != ids["gw-12"].as_str() && condition(object, "Ready")["status"] == "True"
        })
        .await;
    assert_eq!(world.writes_since(mark).await, counts([("CreateCustomerGateway", 1)]));
    world.finish().await;
}

#[tokio::test]
async fn losses_within_one_resync_period_count_together() {
    let world = World::with(Options::with(["--resync-period=10m"])).await;
    let ids = twenty(&world).await;
    let id_of = |name: &str| ids[name]["id"].clone();
    let waves: Vec<&String> = ids.keys().collect();
    let (first, second) = (&waves[..8], &waves[8..16]);
    let mark = world.mark().await;
    take_away(&world, first.iter().map(|name| &ids[*name])).await;
    // To confirm its absence the operator reads the list, which shows that the others are missing.
    world.request(first[0]).await;
    for name in first {
        world
            .wait_for(name, "is recreated", |object| {
                object["status"]["id"] != id_of(name) && condition(object, "Ready")["status"] == "True"
            })
            .await;
    }
    assert_eq!(world.writes_since(mark).await, counts([("CreateCustomerGateway", 8)]));
    let mark = world.mark().await;
    take_away(&world, second.iter().map(|name| &ids[*name])).await;
    world.request(second[0]).await;
    wait_for_suspected(&world, 8).await;
    let shown = message(&world.get(second[0]).await);
    assert!(shown.contains("16 of 20"), "{shown}");
    assert_eq!(world.writes_since(mark).await, counts([]));
    world.finish().await;
}

#[tokio::test]
async fn without_the_mass_deletion_guard_gateways_are_recreated() {
    let world = World::with(Options::with(["--resync-period=1s", "--mass-deletion-guard=false"])).await;
    let all = twenty(&world).await;
    let mark = world.mark().await;
    take_away(&world, all.values().take(15)).await;
    eventually("fifteen are new", DEADLINE, async || {
        let cloud = world.cloud_gateways().await;
        if cloud.len() == 20 {
            Ok(())
        } else {
            Err(format!("{} gateways", cloud.len()))
        }
    })
    .await
    .unwrap();
    world.wait_until_all_ready(20).await;
    assert_eq!(world.writes_since(mark).await, counts([("CreateCustomerGateway", 15)]));
    world.finish().await;
}

#[tokio::test]
async fn an_incomplete_list_recreates_no_gateway() {
    let world = World::with(Options::with(WATCHFUL)).await;
    let all = twenty(&world).await;
    // Nine are too few for the guard: each of them is read by a GET.
    for lacking in [9, 15] {
        let mark = world.mark().await;
        // The first list has all of them. The next list is computed while they are removed, and returned when they are
        // back.
        let hold = json!({"fault": "hold", "operation": "ListCustomerGateways", "commit": true});
        world.simulator.add_fault(&hold).await.unwrap();
        world.simulator.wait_for_held::<Value>(1).await.unwrap();
        world.simulator.add_fault(&hold).await.unwrap();
        take_away(&world, all.values().take(lacking)).await;
        world.simulator.release(&json!({})).await.unwrap();
        world.simulator.wait_for_held::<Value>(1).await.unwrap();
        restore(&world, all.values().take(lacking)).await;
        world.simulator.release(&json!({})).await.unwrap();
        world.wait_for_cycles(2).await;
        world.wait_until_all_ready(20).await;
        assert_eq!(world.writes_since(mark).await, counts([]), "{lacking}");
    }
    world.finish().await;
}
