//! Clusters that are lost and restored, status that is lost, and duplicates of cloud resources.

mod clusters;
mod crds;
mod elsewhere;
mod estate;
mod lost;

use serde_json::{Value, json};

use crate::operator::console::{DEAD_UID, OWNER, counts, message};
use crate::operator::world::{Options, World, condition, gateway};

fn three() -> String {
    [
        gateway("one", "{name: one, idValue: 203.0.113.1}"),
        gateway("two", "{name: two, idValue: branch.example.com, idType: FQDN}"),
        gateway(
            "three",
            "{name: three, idValue: 203.0.113.3, bgpASN: 65003, tags: {team: net}}",
        ),
    ]
    .join("---\n")
}

/// Loses the cluster, and applies the manifests from Git to a new one.
async fn lose_and_reapply(world: &mut World) {
    world.stop_operator().await;
    for name in ["one", "two", "three"] {
        world.lose(name).await;
    }
    world.apply(&three()).await;
}

fn ids(gateways: &[Value]) -> Vec<String> {
    let mut ids: Vec<String> = gateways.iter().map(|gateway| gateway["id"].to_string()).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn gateways_of_a_lost_cluster_are_readopted() {
    let mut world = World::start().await;
    world.apply(&three()).await;
    world.wait_until_all_ready(3).await;
    let before = ids(&world.cloud_gateways().await);
    lose_and_reapply(&mut world).await;
    let mark = world.mark().await;
    world.start_operator().await;
    let objects = world.wait_until_all_ready(3).await;
    assert_eq!(ids(&world.cloud_gateways().await), before);
    for object in &objects {
        let name = object["metadata"]["name"].as_str().expect("a name");
        let note = world.wait_for_event(name, "Readopted").await;
        let id = object["status"]["id"].as_str().expect("an id");
        assert!(note.contains(id), "{note}");
        let owner = world.owner_value(name).await;
        assert_eq!(world.cloud_gateway(id).await["tags"][OWNER], owner.as_str());
    }
    assert_eq!(world.writes_since(mark).await, counts([("AddCustomerGatewayTags", 3)]));
    // They are deleted like gateways that the objects created themselves.
    world.delete("one").await;
    world.wait_until_deleted("one").await;
    assert_eq!(world.cloud_gateways().await.len(), 2);
    world.finish().await;
}

#[tokio::test]
async fn gateways_of_a_lost_cluster_are_readopted_despite_limited_tags() {
    let mut world = World::start().await;
    world
        .simulator
        .set_switches(&json!({"tag-add-existing-key": "refused", "list-tags": "absent"}))
        .await
        .unwrap();
    world.apply(&three()).await;
    world.wait_until_all_ready(3).await;
    let before = ids(&world.cloud_gateways().await);
    lose_and_reapply(&mut world).await;
    let mark = world.mark().await;
    world.start_operator().await;
    world.wait_until_all_ready(3).await;
    assert_eq!(ids(&world.cloud_gateways().await), before);
    let writes = world.writes_since(mark).await;
    assert_eq!(writes.get("CreateCustomerGateway"), None, "{writes:?}");
    assert_eq!(writes.get("DeleteCustomerGateway"), None, "{writes:?}");
    for name in ["one", "two", "three"] {
        let owner = world.owner_value(name).await;
        let id = world.get(name).await["status"]["id"]
            .as_str()
            .expect("an id")
            .to_owned();
        assert_eq!(world.cloud_gateway(&id).await["tags"][OWNER], owner.as_str());
    }
    world.finish().await;
}

#[tokio::test]
async fn without_a_cluster_name_gateways_of_a_lost_cluster_are_not_readopted() {
    let mut world = World::start().await;
    world
        .arguments
        .retain(|argument| !argument.starts_with("--cluster-name"));
    world.restart_operator().await;
    world.apply(&three()).await;
    world.wait_until_all_ready(3).await;
    lose_and_reapply(&mut world).await;
    let mark = world.mark().await;
    world.start_operator().await;
    for name in ["one", "two", "three"] {
        let object = world.wait_for_reason(name, "AlreadyManaged").await;
        assert!(message(&object).contains("--cluster-name"), "{}", message(&object));
    }
    assert_eq!(world.writes_since(mark).await, counts([]));
    // As the message advises: without the tag, which may be another cluster's, externalID takes the gateway over.
    let id = {
        let cloud = world.cloud_gateways().await;
        let one = cloud.iter().find(|gateway| gateway["name"] == "one").expect("one");
        one["id"].as_str().expect("an id").to_owned()
    };
    world.patch("one", json!({"spec": {"externalID": id}})).await;
    let is_reported = |object: &serde_json::Value| {
        object["status"]["observedGeneration"] == object["metadata"]["generation"]
            && crate::operator::world::condition(object, "Ready")["reason"] == "AlreadyManaged"
    };
    world.wait_for("one", "AlreadyManaged", is_reported).await;
    assert_eq!(world.writes_since(mark).await, counts([]));
    world.edit(&id, json!({"remove_tags": [OWNER]})).await;
    world.request("one").await;
    world.wait_for_reason("one", "Available").await;
    assert_eq!(world.writes_since(mark).await, counts([("AddCustomerGatewayTags", 1)]));
    world.finish().await;
}

#[tokio::test]
async fn a_wiped_status_is_restored_from_the_owner_tag() {
    let world = World::start().await;
    world.apply(&three()).await;
    let before = world.wait_until_all_ready(3).await;
    let mark = world.mark().await;
    for object in &before {
        let name = object["metadata"]["name"].as_str().expect("a name");
        world.wipe_status(name).await;
        let again = world.wait_for_reason(name, "Available").await;
        assert_eq!(again["status"]["id"], object["status"]["id"]);
    }
    assert_eq!(world.writes_since(mark).await, counts([]));
    world.finish().await;
}

/// A backup restores objects with their status under new uids.
#[tokio::test]
async fn a_status_restored_under_a_new_uid_is_used_and_the_tag_is_updated() {
    let mut world = World::start().await;
    let id = world.create("one", "{name: one, idValue: 203.0.113.1}").await;
    let status = world.get("one").await["status"].clone();
    world.stop_operator().await;
    world.lose("one").await;
    // Under its own name, and under another one.
    for name in ["one", "renamed"] {
        world.apply_gateway(name, "{name: one, idValue: 203.0.113.1}").await;
        let patch = json!({"status": status}).to_string();
        let resource = format!("customergateway/{name}");
        world
            .kubectl([
                "patch",
                &resource,
                "--subresource=status",
                "--type=merge",
                "--patch",
                &patch,
            ])
            .await;
    }
    let mark = world.mark().await;
    world.start_operator().await;
    world.request("one").await;
    let owner = world.owner_value("one").await;
    world
        .wait_for_cloud(&id, "the tag names the new uid", |cloud| {
            cloud["tags"][OWNER] == owner.as_str()
        })
        .await;
    world.request("renamed").await;
    // By the tag, or by the older object's status; the message has the former tag until the next read.
    let holder = format!("{}/one", world.namespace);
    let names_it = |text: &str| text.contains(&holder) || text.contains(&owner);
    world
        .wait_for("renamed", "AlreadyManaged, by one", |object| {
            condition(object, "Ready")["reason"] == "AlreadyManaged" && names_it(&message(object))
        })
        .await;
    world.delete("renamed").await;
    world.wait_until_deleted("renamed").await;
    assert_eq!(world.writes_since(mark).await, counts([("AddCustomerGatewayTags", 1)]));
    assert_eq!(world.cloud_gateways().await.len(), 1);
    world.finish().await;
}

#[tokio::test]
async fn external_id_moves_a_gateway_to_an_object_of_another_name() {
    let mut world = World::start().await;
    let id = world.create("old", "{name: office, idValue: 203.0.113.1}").await;
    world.stop_operator().await;
    world.lose("old").await;
    let mark = world.mark().await;
    world.start_operator().await;
    let spec = format!("{{name: office, idValue: 203.0.113.1, externalID: {id}}}");
    assert_eq!(world.create("new", &spec).await, id);
    let owner = world.owner_value("new").await;
    assert_eq!(world.cloud_gateway(&id).await["tags"][OWNER], owner.as_str());
    assert_eq!(world.writes_since(mark).await, counts([("AddCustomerGatewayTags", 1)]));
    world.finish().await;
}

#[tokio::test]
async fn two_clusters_in_one_project_ignore_each_others_gateways() {
    let mut world = World::with(Options::with(["--resync-period=1s"])).await;
    let theirs = world.create("office", "{name: office, idValue: 203.0.113.1}").await;
    // The other cluster's namespace has objects of the same kind and name.
    let namespace = world.plane.create_namespace("other").await.unwrap();
    world.move_operator(&namespace).await;
    let watched = format!("--watch-namespace={namespace}");
    let other = world.start_another(["--cluster-name=other", &watched]).await;
    let manifest = gateway(
        "office",
        "{name: office, idValue: 203.0.113.1, adoptionPolicy: IfExists}",
    );
    let arguments = ["--namespace", namespace.as_str(), "apply", "--filename", "-"];
    let applied = world.plane.kubectl_with_input(arguments, &manifest).await.unwrap();
    applied.success().unwrap();
    let ready = "--for=condition=Ready";
    let arguments = [
        "--namespace",
        namespace.as_str(),
        "wait",
        ready,
        "cgw/office",
        "--timeout=60s",
    ];
    world.plane.kubectl(arguments).await.unwrap().success().unwrap();
    let cloud = world.cloud_gateways().await;
    assert_eq!(cloud.len(), 2);
    let tag = |gateway: &Value| gateway["tags"][OWNER].as_str().unwrap_or_default().to_owned();
    let own = cloud
        .iter()
        .find(|gateway| gateway["id"] != theirs.as_str())
        .expect("a second");
    assert!(tag(own).contains(&format!(":other:{namespace}:office")), "{}", tag(own));
    let mark = world.mark().await;
    world.wait_for_cycles(4).await;
    assert_eq!(world.writes_since(mark).await, counts([]));
    let arguments = [
        "--namespace",
        namespace.as_str(),
        "delete",
        "cgw/office",
        "--timeout=60s",
    ];
    world.plane.kubectl(arguments).await.unwrap().success().unwrap();
    assert_eq!(ids(&world.cloud_gateways().await), [json!(theirs).to_string()]);
    assert!(
        other
            .terminate(std::time::Duration::from_secs(20))
            .await
            .unwrap()
            .success()
    );
    let mut world = world;
    world.ended.push(other);
    world.finish().await;
}

#[tokio::test]
async fn only_a_duplicate_from_a_recorded_creation_is_deleted() {
    let world = World::with(Options::with(["--resync-period=1s"])).await;
    let id = world.create("office", "{name: office, idValue: 203.0.113.1}").await;
    let owner = world.owner_value("office").await;
    let window = world.get("office").await["status"]["pastIntents"][0].clone();
    let within = window["deadline"].clone();
    let duplicate = |created_at: &Value, value: &str| json!({"name": "office", "id_value": value, "tags": {OWNER: owner}, "created_at": created_at});
    // Created long ago, or with another identifier: not left behind by a creation of this object.
    let old = world
        .seed(duplicate(&json!("2024-01-01T00:00:00Z"), "203.0.113.1"))
        .await;
    let other = world.seed(duplicate(&within, "203.0.113.2")).await;
    world.wait_for_cycles(2).await;
    let mark = world.mark().await;
    let late = world.seed(duplicate(&within, "203.0.113.1")).await;
    let note = world.wait_for_event("office", "Deleted").await;
    assert!(note.contains(&late), "{note}");
    world.wait_for_cycles(2).await;
    assert_eq!(world.writes_since(mark).await, counts([("DeleteCustomerGateway", 1)]));
    let mut left = vec![id.clone(), old, other];
    left.sort();
    let mut cloud: Vec<String> = world
        .cloud_gateways()
        .await
        .iter()
        .map(|gateway| gateway["id"].as_str().unwrap_or_default().to_owned())
        .collect();
    cloud.sort();
    assert_eq!(cloud, left);
    assert_eq!(world.get("office").await["status"]["id"], id.as_str());
    world.finish().await;
}

#[tokio::test]
async fn a_creation_effective_after_its_window_results_in_one_gateway() {
    let world = World::with(Options::with(["--resync-period=1s"])).await;
    let late = json!({"fault": "late-commit", "operation": "CreateCustomerGateway"});
    // The list omits the field that identifies duplicates of one creation: it must be read by GET.
    let omits = json!({"list-bgp-asn": "absent"});
    world.simulator.set_switches(&omits).await.unwrap();
    for _ in 0..2 {
        world.simulator.add_fault(&late).await.unwrap();
    }
    let mark = world.mark().await;
    world
        .apply_gateway("with-asn", "{name: with-asn, idValue: 203.0.113.3, bgpASN: 65001}")
        .await;
    let id = world.create("office", "{name: office, idValue: 203.0.113.1}").await;
    let with_asn = world.wait_for_reason("with-asn", "Available").await;
    assert_eq!(world.writes_since(mark).await, counts([("CreateCustomerGateway", 4)]));
    world.simulator.release(&json!({})).await.unwrap();
    for name in ["office", "with-asn"] {
        world.wait_for_event(name, "Deleted").await;
    }
    let left = world.cloud_gateways().await;
    let id_of = |name: &str| {
        left.iter()
            .find(|gateway| gateway["name"] == name)
            .map(|gateway| &gateway["id"])
    };
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(id_of("office"), Some(&json!(id)));
    assert_eq!(id_of("with-asn"), Some(&with_asn["status"]["id"]));
    // The same while the object is being deleted: nothing is left.
    world.simulator.add_fault(&late).await.unwrap();
    world.create("leaving", "{name: leaving, idValue: 203.0.113.2}").await;
    world.simulator.release(&json!({})).await.unwrap();
    world.delete("leaving").await;
    world.wait_until_deleted("leaving").await;
    assert_eq!(ids(&world.cloud_gateways().await), ids(&left));
    world.finish().await;
}

#[tokio::test]
async fn an_unreadable_owner_tag_counts_as_another_owner() {
    let world = World::start().await;
    let id = world
        .seed(json!({"name": "odd", "id_value": "203.0.113.1", "tags": {OWNER: DEAD_UID}}))
        .await;
    world
        .apply_gateway("odd", &format!("{{externalID: {id}, idValue: 203.0.113.1}}"))
        .await;
    let object = world.wait_for_reason("odd", "AlreadyManaged").await;
    assert!(message(&object).contains(DEAD_UID), "{}", message(&object));
    assert_eq!(world.cloud_gateway(&id).await["tags"], json!({OWNER: DEAD_UID}));
    world.finish().await;
}
