//! Gateways that are in use, that have another owner, or that are in another project than the credentials.

use serde_json::{Value, json};

use super::{WRITES, add_access_key, ask_again, count, expect_failure, expect_recovered, owned_gateways, secret_of};
use crate::operator::world::World;

#[tokio::test]
async fn a_gateway_is_deleted_after_its_connection() {
    let world = World::start().await;
    for status in ["400", "409"] {
        let switch = json!({"has-connection-status": status});
        world.simulator.set_switches(&switch).await.unwrap();
        world.apply_gateway("office", "{idValue: 203.0.113.1}").await;
        let object = expect_recovered(&world, "office").await;
        let id = object["status"]["id"].as_str().expect("an id").to_owned();
        let attach = json!({"connection": "vpn-1"});
        world.simulator.edit_gateway(&id, &attach).await.unwrap();
        world
            .kubectl(["delete", "customergateway", "office", "--wait=false"])
            .await;
        let words = [
            "deleting the customer gateway",
            "has connection",
            "VPN.0001",
            "request id",
            "until nothing blocks it",
        ];
        expect_failure(&world, "office", "DependencyNotReady", &words).await;
        assert_eq!(world.cloud_gateways().await.len(), 1);
        // It is deleted without a reconcile request.
        world
            .simulator
            .edit_gateway(&id, &json!({"connection": ""}))
            .await
            .unwrap();
        world.wait_until_deleted("office").await;
        assert_eq!(world.cloud_gateways().await.len(), 0);
    }
    world.finish().await;
}

#[tokio::test]
async fn a_gateway_of_another_owner_is_adopted_after_its_release() {
    let world = World::start().await;
    world.apply_gateway("first", "{idValue: 203.0.113.1}").await;
    let first = expect_recovered(&world, "first").await;
    let first_id = first["status"]["id"].as_str().expect("an id").to_owned();
    let owner = format!("{}:other-cluster:prod:vpn", "11111111-2222-3333-4444-555555555555");
    let seeds = json!([
        {"name": "theirs", "id_value": "198.51.100.1", "tags": {"vpn-operator-owner": owner}},
        {"name": "odd", "id_value": "198.51.100.2", "tags": {"vpn-operator-owner": "someone"}},
    ]);
    let seeded: Vec<Value> = world.simulator.seed_gateways(&seeds).await.unwrap();
    let id_of = |name: &str| {
        let found = seeded.iter().find(|gateway| gateway["name"] == name);
        found
            .and_then(|gateway| gateway["id"].as_str())
            .expect("an id")
            .to_owned()
    };
    let (theirs, odd) = (id_of("theirs"), id_of("odd"));
    let mark = world.mark().await;
    let adopting = |id: &str, address: &str| format!("{{idValue: {address}, externalID: {id}}}");

    world.apply_gateway("second", &adopting(&first_id, "203.0.113.1")).await;
    let place = format!("{}/first", world.namespace);
    let words = [first_id.as_str(), &place, "remove externalID", "Retain"];
    expect_failure(&world, "second", "AlreadyManaged", &words).await;
    for (name, id, address, tag) in [
        ("third", &theirs, "198.51.100.1", owner.as_str()),
        ("fourth", &odd, "198.51.100.2", "someone"),
    ] {
        world.apply_gateway(name, &adopting(id, address)).await;
        let words = [id.as_str(), tag, "vpn-operator-owner", "removing that tag in the cloud"];
        expect_failure(&world, name, "AlreadyManaged", &words).await;
    }
    assert_eq!(count(&world, mark, &WRITES).await, 0);

    for (name, id) in [("third", &theirs), ("fourth", &odd)] {
        let release = json!({"remove_tags": ["vpn-operator-owner"]});
        world.simulator.edit_gateway(id, &release).await.unwrap();
        ask_again(&world, name).await;
        let adopted = expect_recovered(&world, name).await;
        assert_eq!(adopted["status"]["id"], id.as_str());
    }
    world
        .patch("first", json!({"spec": {"deletionPolicy": "Retain"}}))
        .await;
    world.wait_for_reason("first", "Available").await;
    world.kubectl(["delete", "customergateway", "first"]).await;
    ask_again(&world, "second").await;
    let adopted = expect_recovered(&world, "second").await;
    assert_eq!(adopted["status"]["id"], first_id.as_str());
    assert_eq!(world.cloud_gateways().await.len(), 3);
    let creations_and_deletions = ["CreateCustomerGateway", "DeleteCustomerGateway"];
    assert_eq!(count(&world, mark, &creations_and_deletions).await, 0);
    world.finish().await;
}

#[tokio::test]
async fn a_gateway_refused_as_duplicate_can_be_adopted() {
    let world = World::start().await;
    let cases = [
        ("duplicate-name", "VPN.0012"),
        ("duplicate-name", "VPN.0001"),
        ("duplicate-id-value", "VPN.0012"),
        ("duplicate-id-value", "VPN.0001"),
    ];
    for (number, (switch, code)) in cases.into_iter().enumerate() {
        world.simulator.set_switches(&json!({switch: code})).await.unwrap();
        let (name, address) = (format!("office-{number}"), format!("203.0.113.{number}"));
        let seed = json!({"name": name, "id_value": address});
        let seeded: Vec<Value> = world.simulator.seed_gateways(&seed).await.unwrap();
        let mark = world.mark().await;
        world.apply_gateway(&name, &format!("{{idValue: {address}}}")).await;
        let words = [code, "request id", "externalID", "not this object's"];
        expect_failure(&world, &name, "NameConflict", &words).await;
        assert_eq!(count(&world, mark, &["CreateCustomerGateway"]).await, 1);
        let id = seeded[0]["id"].clone();
        world.patch(&name, json!({"spec": {"externalID": id}})).await;
        let adopted = expect_recovered(&world, &name).await;
        assert_eq!(adopted["status"]["id"], id);
        assert_eq!(count(&world, mark, &["CreateCustomerGateway"]).await, 1);
        assert_eq!(world.cloud_gateways().await.len(), number + 1);
    }
    world.finish().await;
}

#[tokio::test]
async fn a_rename_to_a_taken_name_can_be_reverted() {
    let world = World::start().await;
    world
        .simulator
        .set_switches(&json!({"duplicate-name": "VPN.0012"}))
        .await
        .unwrap();
    let seed = json!({"name": "taken", "id_value": "198.51.100.1"});
    world.simulator.seed_gateways::<Value>(&seed).await.unwrap();
    world
        .apply_gateway("office", "{name: office, idValue: 203.0.113.1}")
        .await;
    expect_recovered(&world, "office").await;
    world.patch("office", json!({"spec": {"name": "taken"}})).await;
    let words = [
        "updating the customer gateway",
        "VPN.0012",
        "request id",
        "change the spec",
    ];
    expect_failure(&world, "office", "NameConflict", &words).await;
    world.patch("office", json!({"spec": {"name": "free"}})).await;
    let recovered = expect_recovered(&world, "office").await;
    assert_eq!(owned_gateways(&world, &recovered).await[0]["name"], "free");
    assert_eq!(world.cloud_gateways().await.len(), 2);
    world.finish().await;
}

#[tokio::test]
async fn credentials_of_another_project_suspend_all_writes() {
    let mut world = World::start().await;
    let elsewhere = "ffffffffffffffffffffffffffffffff";
    let project = json!({"name": "eu-west-101_b"});
    let path = format!("projects/{elsewhere}");
    world.simulator.put::<Value>(&path, &project).await.unwrap();
    let (access_key, secret_key) = (world.access_key.clone(), world.secret_key.clone());
    let here = crate::operator::world::PROJECT;
    for name in ["kept", "deleted"] {
        world
            .apply_credentials(name, &access_key, &secret_key, &[("projectID", here)])
            .await;
        let address = if name == "kept" { "203.0.113.1" } else { "203.0.113.2" };
        let spec = format!("{{name: {name}, idValue: {address}, credentialsRef: {{name: {name}}}}}");
        world.apply_gateway(name, &spec).await;
    }
    let kept = expect_recovered(&world, "kept").await;
    expect_recovered(&world, "deleted").await;
    let mark = world.mark().await;
    for name in ["kept", "deleted"] {
        let more: &[(&str, &str)] = &[("projectID", elsewhere)];
        world.apply_credentials(name, &access_key, &secret_key, more).await;
        let words = [here, elsewhere, "restore credentials"];
        expect_failure(&world, name, "ScopeChanged", &words).await;
    }
    world.patch("kept", json!({"spec": {"name": "renamed"}})).await;
    expect_failure(&world, "kept", "ScopeChanged", &[here, elsewhere]).await;
    world
        .kubectl(["delete", "customergateway", "deleted", "--wait=false"])
        .await;
    let deleted = expect_failure(&world, "deleted", "ScopeChanged", &[here, elsewhere]).await;
    assert!(deleted["metadata"]["finalizers"][0].is_string(), "{deleted}");
    assert_eq!(count(&world, mark, &WRITES).await, 0);
    assert_eq!(world.cloud_gateways().await.len(), 2);

    for name in ["kept", "deleted"] {
        world
            .apply_credentials(name, &access_key, &secret_key, &[("projectID", here)])
            .await;
    }
    world.wait_until_deleted("deleted").await;
    let recovered = expect_recovered(&world, "kept").await;
    assert_eq!(recovered["status"]["id"], kept["status"]["id"]);
    assert_eq!(owned_gateways(&world, &recovered).await[0]["name"], "renamed");

    // Another access key of the same project works as well.
    add_access_key(&world, "AKOTHER", &secret_of("other"), json!({})).await;
    world
        .apply_credentials("kept", "AKOTHER", &secret_of("other"), &[("projectID", here)])
        .await;
    let before = world.mark().await;
    world.patch("kept", json!({"spec": {"name": "by-another-key"}})).await;
    let recovered = expect_recovered(&world, "kept").await;
    assert_eq!(owned_gateways(&world, &recovered).await[0]["name"], "by-another-key");
    assert_eq!(count(&world, before, &WRITES).await, 1);
    assert_eq!(count(&world, mark, &["CreateCustomerGateway"]).await, 0);
    assert_eq!(count(&world, mark, &["DeleteCustomerGateway"]).await, 1);
    assert_eq!(world.cloud_gateways().await.len(), 1);
    world.finish().await;
}

#[tokio::test]
async fn an_endpoint_alias_makes_two_endpoints_equal() {
    let mut world = World::start().await;
    world
        .apply_gateway("office", "{name: office, idValue: 203.0.113.1}")
        .await;
    let before = expect_recovered(&world, "office").await;
    let old = world.simulator.url().to_owned();
    let new = old.replace("127.0.0.1", "localhost");
    assert_ne!(old, new);
    let mark = world.mark().await;

    world.set_argument(&format!("--vpn-endpoint={new}"));
    world.restart_operator().await;
    let way_out = format!("--endpoint-alias {old}={new}");
    expect_failure(&world, "office", "ScopeChanged", &[&way_out]).await;

    world.set_argument(&format!("--endpoint-alias={old}={new}"));
    world.restart_operator().await;
    world.patch("office", json!({"spec": {"name": "renamed"}})).await;
    world
        .wait_for("office", "the new name", |object| {
            object["status"]["observedGeneration"] == 2
        })
        .await;
    let after = expect_recovered(&world, "office").await;
    assert_eq!(after["status"]["id"], before["status"]["id"]);
    assert_eq!(
        after["status"]["scope"], before["status"]["scope"],
        "recorded under its first name"
    );
    assert_eq!(owned_gateways(&world, &after).await[0]["name"], "renamed");
    assert_eq!(count(&world, mark, &WRITES).await, 1);
    world.finish().await;
}
