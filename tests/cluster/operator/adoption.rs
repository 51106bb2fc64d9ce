//! Objects that exist already: `externalID` and `adoptionPolicy`.

use serde_json::{Value, json};

use crate::operator::console::{DEAD_UID, OWNER, counts, message};
use crate::operator::world::{World, gateway};

#[tokio::test]
async fn external_id_adopts_and_manages_a_gateway() {
    let world = World::start().await;
    let id = world
        .seed(json!({"name": "by-hand", "id_type": "fqdn", "id_value": "branch.example.com", "tags": {"theirs": "1"}}))
        .await;
    let mark = world.mark().await;
    // The spec has no idType: an FQDN gateway is adopted as it is.
    let spec = format!("{{externalID: {id}, name: branch, idValue: branch.example.com, tags: {{team: net}}}}");
    assert_eq!(world.create("branch", &spec).await, id);
    let owner = world.owner_value("branch").await;
    let cloud = world.cloud_gateway(&id).await;
    assert_eq!(cloud["name"], "branch");
    assert_eq!(cloud["tags"], json!({OWNER: owner, "theirs": "1", "team": "net"}));
    let note = world.wait_for_event("branch", "Adopted").await;
    assert!(note.contains(&id), "{note}");
    assert_eq!(
        world.writes_since(mark).await,
        counts([("UpdateCustomerGateway", 1), ("AddCustomerGatewayTags", 2)])
    );
    // externalID may be unset later, once the other fields identify the gateway, and set again; another id is refused.
    world.patch("branch", json!({"spec": {"idType": "FQDN"}})).await;
    for external in [Value::Null, json!(id), Value::Null] {
        world.patch("branch", json!({"spec": {"externalID": external}})).await;
        world.wait_for_reason("branch", "Available").await;
    }
    let other = json!({"spec": {"externalID": "00000000-0000-4000-8000-000000000001"}});
    let refused = world.try_patch("branch", other).await.unwrap_err().to_string();
    assert!(refused.contains("externalID may be set only"), "{refused}");
    world.delete("branch").await;
    world.wait_until_deleted("branch").await;
    assert!(world.cloud_gateways().await.is_empty());
    world.finish().await;
}

#[tokio::test]
async fn a_gateway_that_cannot_be_adopted_is_unchanged() {
    let world = World::start().await;
    let plain = world
        .seed(json!({"name": "plain", "id_value": "203.0.113.1", "bgp_asn": 65001}))
        .await;
    let tags: serde_json::Map<String, Value> = (0..20).map(|n| (format!("tag-{n}"), json!("x"))).collect();
    let full = world
        .seed(json!({"name": "full", "id_value": "203.0.113.2", "tags": tags}))
        .await;
    let mark = world.mark().await;
    let unknown = "00000000-0000-4000-8000-000000000001";
    for (name, spec, reason, shown) in [
        (
            "value",
            format!("{{externalID: {plain}, idValue: 203.0.113.9}}"),
            "InvalidSpec",
            "idValue",
        ),
        (
            "type",
            format!("{{externalID: {plain}, idType: FQDN, idValue: 203.0.113.1}}"),
            "InvalidSpec",
            "idType",
        ),
        (
            "asn",
            format!("{{externalID: {plain}, idValue: 203.0.113.1, bgpASN: 65002}}"),
            "InvalidSpec",
            "bgpASN",
        ),
        (
            "full",
            format!("{{externalID: {full}, idValue: 203.0.113.2}}"),
            "InvalidSpec",
            "20 tags",
        ),
        (
            "unknown",
            format!("{{externalID: {unknown}, idValue: 203.0.113.3}}"),
            "NotFound",
            unknown,
        ),
    ] {
        world.apply_gateway(name, &spec).await;
        let object = world.wait_for_reason(name, reason).await;
        assert!(message(&object).contains(shown), "{name}: {}", message(&object));
        assert!(object["status"]["id"].is_null(), "{name}: {object}");
        // Nothing was adopted, so nothing delays the deletion.
        world.delete(name).await;
        world.wait_until_deleted(name).await;
    }
    assert_eq!(world.writes_since(mark).await, counts([]));

    // An adopted resource that disappears is never recreated, not even with managementPolicy: Manage.
    let spec = format!("{{externalID: {plain}, idValue: 203.0.113.1}}");
    world.create("plain", &spec).await;
    world.simulator.remove_gateway(&plain).await.unwrap();
    let mark = world.mark().await;
    world.request("plain").await;
    let object = world.wait_for_reason("plain", "NotFound").await;
    assert!(message(&object).contains(&plain), "{}", message(&object));
    assert_eq!(world.writes_since(mark).await, counts([]));
    world.delete("plain").await;
    world.wait_until_deleted("plain").await;
    assert_eq!(world.cloud_gateways().await.len(), 1);
    world.finish().await;
}

#[tokio::test]
async fn the_second_object_with_an_external_id_reports_the_owner() {
    let world = World::start().await;
    let id = world.seed(json!({"name": "one", "id_value": "203.0.113.1"})).await;
    let spec = format!("{{externalID: {id}, idValue: 203.0.113.1}}");
    world.create("first", &spec).await;
    let mark = world.mark().await;
    world.apply_gateway("second", &spec).await;
    let object = world.wait_for_reason("second", "AlreadyManaged").await;
    let first = format!("{}/first", world.namespace);
    assert!(message(&object).contains(&first), "{}", message(&object));
    assert_eq!(world.writes_since(mark).await, counts([]));
    world.delete("second").await;
    world.wait_until_deleted("second").await;
    assert_eq!(world.cloud_gateways().await.len(), 1);
    // Two at once: one adopts it.
    let id = world.seed(json!({"name": "two", "id_value": "203.0.113.2"})).await;
    let spec = format!("{{externalID: {id}, idValue: 203.0.113.2}}");
    let both = [gateway("left", &spec), gateway("right", &spec)].join("---\n");
    world.apply(&both).await;
    let left = world
        .wait_for("left", "settled", |object| {
            ["Available", "AlreadyManaged"]
                .iter()
                .any(|reason| crate::operator::world::condition(object, "Ready")["reason"] == *reason)
        })
        .await;
    let left_has_it = left["status"]["id"] == id.as_str();
    let (winner, loser) = if left_has_it {
        ("left", "right")
    } else {
        ("right", "left")
    };
    world.wait_for_reason(winner, "Available").await;
    world.wait_for_reason(loser, "AlreadyManaged").await;
    let owner = world.owner_value(winner).await;
    assert_eq!(world.cloud_gateway(&id).await["tags"][OWNER], owner.as_str());
    world.finish().await;
}

#[tokio::test]
async fn external_id_adopts_from_deleted_objects_of_this_cluster_only() {
    let world = World::start().await;
    let existing = world.create("living", "{idValue: 203.0.113.1}").await;
    let dead = world
        .seed(json!({"name": "dead", "id_value": "203.0.113.2", "tags": {OWNER: world.owner_of(DEAD_UID, "former")}}))
        .await;
    let foreign_tag = format!("{DEAD_UID}:elsewhere:{}:foreign", world.namespace);
    let foreign = world
        .seed(json!({"name": "foreign", "id_value": "203.0.113.3", "tags": {OWNER: foreign_tag}}))
        .await;
    let mark = world.mark().await;
    world
        .apply_gateway("thief", &format!("{{externalID: {existing}, idValue: 203.0.113.1}}"))
        .await;
    let object = world.wait_for_reason("thief", "AlreadyManaged").await;
    assert!(message(&object).contains("living"), "{}", message(&object));
    world
        .apply_gateway("foreign", &format!("{{externalID: {foreign}, idValue: 203.0.113.3}}"))
        .await;
    let object = world.wait_for_reason("foreign", "AlreadyManaged").await;
    assert!(message(&object).contains(&foreign_tag), "{}", message(&object));
    assert!(message(&object).contains("removing that tag"), "{}", message(&object));
    assert_eq!(world.writes_since(mark).await, counts([]));
    world
        .create("heir", &format!("{{externalID: {dead}, idValue: 203.0.113.2}}"))
        .await;
    let owner = world.owner_value("heir").await;
    assert_eq!(world.cloud_gateway(&dead).await["tags"][OWNER], owner.as_str());
    assert_eq!(world.writes_since(mark).await, counts([("AddCustomerGatewayTags", 1)]));
    // Removing the tag, as the message says, releases the gateway.
    world.edit(&foreign, json!({"remove_tags": [OWNER]})).await;
    world.request("foreign").await;
    world.wait_for_reason("foreign", "Available").await;
    world.finish().await;
}

#[tokio::test]
async fn if_exists_adopts_a_single_equal_unmanaged_gateway() {
    let world = World::start().await;
    // The operator reads the cloud before the following gateways exist.
    world.create("early", "{name: early, idValue: 203.0.113.99}").await;
    let one = world
        .seed(json!({"name": "one", "id_value": "203.0.113.1", "bgp_asn": 65001}))
        .await;
    for _ in 0..2 {
        world.seed(json!({"name": "two", "id_value": "203.0.113.2"})).await;
    }
    let tagged = world
        .seed(json!({"name": "tagged", "id_value": "203.0.113.3", "tags": {OWNER: "someone"}}))
        .await;
    let mark = world.mark().await;
    let adopted = world
        .create(
            "one",
            "{name: one, idValue: 203.0.113.1, bgpASN: 65001, adoptionPolicy: IfExists}",
        )
        .await;
    assert_eq!(adopted, one);
    world.wait_for_event("one", "Adopted").await;
    assert_eq!(world.writes_since(mark).await, counts([("AddCustomerGatewayTags", 1)]));
    // Nothing is created beside several candidates, or beside one that differs in an immutable field.
    let other_asn = "{name: plain, idValue: 203.0.113.4, bgpASN: 65001, adoptionPolicy: IfExists}";
    let plain = world
        .seed(json!({"name": "plain", "id_value": "203.0.113.4", "bgp_asn": 65099}))
        .await;
    let mark = world.mark().await;
    for (name, spec) in [
        ("two", "{name: two, idValue: 203.0.113.2, adoptionPolicy: IfExists}"),
        ("other-asn", other_asn),
    ] {
        world.apply_gateway(name, spec).await;
        let object = world.wait_for_reason(name, "NameConflict").await;
        assert!(message(&object).contains("spec.externalID"), "{}", message(&object));
        world.delete(name).await;
        world.wait_until_deleted(name).await;
    }
    assert_eq!(world.writes_since(mark).await, counts([]));
    // An ASN that the spec omits is not compared.
    let spec = "{name: plain, idValue: 203.0.113.4, adoptionPolicy: IfExists}";
    assert_eq!(world.create("plain", spec).await, plain);
    // A gateway with another owner tag or another holder is no match.
    for (name, spec) in [
        (
            "tagged",
            "{name: tagged, idValue: 203.0.113.3, adoptionPolicy: IfExists}",
        ),
        (
            "again",
            "{name: one, idValue: 203.0.113.1, bgpASN: 65001, adoptionPolicy: IfExists}",
        ),
        (
            "early-2",
            "{name: early, idValue: 203.0.113.99, adoptionPolicy: IfExists}",
        ),
        ("never", "{name: two, idValue: 203.0.113.2}"),
    ] {
        let mark = world.mark().await;
        world.create(name, spec).await;
        assert_eq!(
            world.writes_since(mark).await,
            counts([("CreateCustomerGateway", 1)]),
            "{name}"
        );
    }
    assert_eq!(world.cloud_gateway(&tagged).await["tags"], json!({OWNER: "someone"}));
    // It is deleted like any other.
    world.delete("one").await;
    world.wait_until_deleted("one").await;
    assert!(world.cloud_gateway(&one).await.is_null());
    world.finish().await;
}

#[tokio::test]
async fn fields_omitted_by_lists_are_read_before_adoption_or_creation() {
    let world = World::start().await;
    world
        .simulator
        .set_switches(&json!({"list-bgp-asn": "absent"}))
        .await
        .unwrap();
    let equal = world
        .seed(json!({"name": "equal", "id_value": "203.0.113.1", "bgp_asn": 65001}))
        .await;
    world
        .seed(json!({"name": "other", "id_value": "203.0.113.2", "bgp_asn": 65099}))
        .await;
    let spec = "{name: equal, idValue: 203.0.113.1, bgpASN: 65001, adoptionPolicy: IfExists}";
    assert_eq!(world.create("equal", spec).await, equal);
    let spec = "{name: other, idValue: 203.0.113.2, bgpASN: 65001, adoptionPolicy: IfExists}";
    world.apply_gateway("other", spec).await;
    let object = world.wait_for_reason("other", "NameConflict").await;
    assert!(message(&object).contains("differs in bgpASN"), "{}", message(&object));
    assert_eq!(world.cloud_gateways().await.len(), 2);
    world.finish().await;
}

#[tokio::test]
async fn required_adopts_the_matching_gateway_and_never_creates() {
    let world = World::start().await;
    let mark = world.mark().await;
    for (name, spec) in [
        (
            "branch",
            "{name: branch, idType: FQDN, idValue: Branch.example.com, adoptionPolicy: Required}",
        ),
        (
            "watcher",
            "{name: branch, adoptionPolicy: Required, managementPolicy: Observe}",
        ),
    ] {
        world.apply_gateway(name, spec).await;
        world.wait_for_reason(name, "NotFound").await;
    }
    assert_eq!(world.writes_since(mark).await, counts([]));
    let id = world
        .seed(json!({"name": "branch", "id_type": "fqdn", "id_value": "branch.example.com"}))
        .await;
    for name in ["branch", "watcher"] {
        world.request(name).await;
        let object = world.wait_for_reason(name, "Available").await;
        assert_eq!(object["status"]["id"], id.as_str(), "{name}");
    }
    assert_eq!(world.writes_since(mark).await, counts([("AddCustomerGatewayTags", 1)]));
    world.simulator.remove_gateway(&id).await.unwrap();
    world.request("branch").await;
    world.wait_for_reason("branch", "NotFound").await;
    assert_eq!(world.writes_since(mark).await, counts([("AddCustomerGatewayTags", 1)]));
    world.finish().await;
}

#[tokio::test]
async fn two_objects_racing_for_a_gateway_adopt_it_once() {
    let world = World::start().await;
    let one = world.seed(json!({"name": "one", "id_value": "203.0.113.1"})).await;
    let mark = world.mark().await;
    let spec = "{name: one, idValue: 203.0.113.1, adoptionPolicy: IfExists}";
    world
        .apply(&[gateway("left", spec), gateway("right", spec)].join("---\n"))
        .await;
    let objects = world.wait_until_all_ready(2).await;
    let adopters = objects.iter().filter(|object| object["status"]["id"] == one.as_str());
    assert_eq!(adopters.count(), 1);
    assert_ne!(objects[0]["status"]["id"], objects[1]["status"]["id"]);
    assert_eq!(
        world.writes_since(mark).await,
        counts([("CreateCustomerGateway", 1), ("AddCustomerGatewayTags", 1)])
    );
    assert_eq!(world.cloud_gateways().await.len(), 2);
    world.finish().await;
}
