//! The spec conflicts with existing resources, which requires user action.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vpn_core::api::conditions::Reason;
use vpn_operator_testbed::ControlPlane;

use super::{show, still};
use crate::operator::world::{Options, PROJECT, REGION, World, gateway, repository};

const OTHER_PROJECT: &str = "fedcba9876543210fedcba9876543210";

#[tokio::test]
async fn invalid_spec_matches_golden_files() {
    let world = World::with(still([])).await;
    world
        .apply_gateway("asn", "{idValue: 203.0.113.1, bgpASN: 65010}")
        .await;
    let id = world.wait_for_reason("asn", "Available").await["status"]["id"].clone();
    world
        .simulator
        .edit_gateway(id.as_str().unwrap(), &json!({"bgp_asn": 65020}))
        .await
        .unwrap();
    world.patch("asn", json!({"spec": {"name": "asn"}})).await;
    let events = ["Created", "InvalidSpec"];
    show(&world, "invalid-spec-bgp-asn", "asn", Reason::InvalidSpec, &events).await;

    world
        .apply_secret("no-pem", &BTreeMap::from([("ca.crt", "see the wiki")]))
        .await;
    let spec = "{idValue: 203.0.113.2, caCertificateSecretRef: {name: no-pem}}";
    world.apply_gateway("certificate", spec).await;
    show(
        &world,
        "invalid-spec-certificate",
        "certificate",
        Reason::InvalidSpec,
        &["InvalidSpec"],
    )
    .await;

    let seed = json!({"name": "by-hand", "id_value": "203.0.113.9"});
    let seeded: Vec<Value> = world.simulator.seed_gateways(&seed).await.unwrap();
    let spec = format!(
        "{{idValue: 203.0.113.3, externalID: {}}}",
        seeded[0]["id"].as_str().unwrap()
    );
    world.apply_gateway("adopted", &spec).await;
    show(
        &world,
        "invalid-spec-adopted",
        "adopted",
        Reason::InvalidSpec,
        &["InvalidSpec"],
    )
    .await;
    world.finish().await;
}

#[tokio::test]
async fn a_gateway_of_another_owner_matches_golden_files() {
    let world = World::with(still([])).await;
    let other = "11111111-2222-3333-4444-555555555555:other-cluster:network:office";
    let seeded: Vec<Value> = world
        .simulator
        .seed_gateways(&json!([
            {"name": "theirs", "id_value": "203.0.113.1", "tags": {"vpn-operator-owner": other}},
            {"name": "shared", "id_value": "203.0.113.2"},
        ]))
        .await
        .unwrap();
    let spec = |at: usize| {
        let (address, id) = (&seeded[at]["id_value"], &seeded[at]["id"]);
        format!("{{idValue: {address}, externalID: {id}}}")
    };
    world.apply_gateway("theirs", &spec(0)).await;
    let events = ["AlreadyManaged"];
    show(
        &world,
        "already-managed-by-another-cluster",
        "theirs",
        Reason::AlreadyManaged,
        &events,
    )
    .await;

    world.apply_gateway("first", &spec(1)).await;
    world.wait_for_reason("first", "Available").await;
    world.apply_gateway("second", &spec(1)).await;
    show(
        &world,
        "already-managed-by-another-object",
        "second",
        Reason::AlreadyManaged,
        &events,
    )
    .await;

    let missing = "{idValue: 203.0.113.3, externalID: 11111111-2222-3333-4444-555555555555}";
    world.apply_gateway("nobody", missing).await;
    show(
        &world,
        "not-found-external-id",
        "nobody",
        Reason::NotFound,
        &["NotFound"],
    )
    .await;
    world.finish().await;
}

#[tokio::test]
async fn former_owner_without_a_cluster_name_matches_golden_files() {
    let world = World::with(Options {
        without_cluster_name: true,
        ..still([])
    })
    .await;
    let former = format!("11111111-2222-3333-4444-555555555555::{}:office", world.namespace);
    let seed = json!({"name": "office", "id_value": "203.0.113.1", "tags": {"vpn-operator-owner": former}});
    world.simulator.seed_gateways::<Value>(&seed).await.unwrap();
    world.apply_gateway("office", "{idValue: 203.0.113.1}").await;
    let events = ["AlreadyManaged"];
    show(
        &world,
        "already-managed-by-former-self",
        "office",
        Reason::AlreadyManaged,
        &events,
    )
    .await;
    world.finish().await;
}

#[tokio::test]
async fn credentials_of_another_project_match_golden_files() {
    let mut world = World::with(still([])).await;
    let project = json!({"name": format!("{REGION}_other")});
    world
        .simulator
        .put::<Value>(&format!("projects/{OTHER_PROJECT}"), &project)
        .await
        .unwrap();
    let (access_key, secret_key) = (world.access_key.clone(), world.secret_key.clone());
    world
        .apply_credentials("cloud", &access_key, &secret_key, &[("projectID", PROJECT)])
        .await;
    world
        .apply_gateway("office", "{idValue: 203.0.113.1, credentialsRef: {name: cloud}}")
        .await;
    world.wait_for_reason("office", "Available").await;
    world
        .apply_credentials("cloud", &access_key, &secret_key, &[("projectID", OTHER_PROJECT)])
        .await;
    let events = ["Created", "ScopeChanged"];
    show(&world, "scope-changed", "office", Reason::ScopeChanged, &events).await;
    world
        .apply_credentials("cloud", &access_key, &secret_key, &[("projectID", PROJECT)])
        .await;
    world.wait_for_reason("office", "Available").await;
    world.finish().await;
}

#[tokio::test]
async fn mass_deletion_matches_golden_files() {
    let world = World::with(still(["--resync-period=1s"])).await;
    let manifests: Vec<String> = (1..=13)
        .map(|number| gateway(&format!("gw-{number}"), &format!("{{idValue: 203.0.113.{number}}}")))
        .collect();
    world.apply(&manifests.join("---\n")).await;
    world.wait_until_all_ready(13).await;
    // A drift check must not see only some of the deletions, so lists are held until all are done.
    let hold = json!({"fault": "hold", "operation": "ListCustomerGateways"});
    world.simulator.add_fault(&hold).await.unwrap();
    world.simulator.wait_for_held::<Value>(1).await.unwrap();
    for gateway in world.cloud_gateways().await {
        world
            .simulator
            .remove_gateway(gateway["id"].as_str().unwrap())
            .await
            .unwrap();
    }
    world.simulator.release(&json!({})).await.unwrap();
    let events = ["Created", "MassDeletionSuspected"];
    show(
        &world,
        "mass-deletion-suspected",
        "gw-1",
        Reason::MassDeletionSuspected,
        &events,
    )
    .await;
    assert!(world.cloud_gateways().await.is_empty());
    world.finish().await;
}

#[tokio::test]
async fn crd_in_deletion_matches_golden_files() {
    // All other tests share the CRD.
    let plane = ControlPlane::own().await.unwrap();
    plane.apply_crds(&repository().join("crds")).await.unwrap();
    let world = World::on(plane, still([])).await;
    world.apply_gateway("office", "{idValue: 203.0.113.1}").await;
    world.wait_for_reason("office", "Available").await;
    world
        .kubectl(["delete", "crd", "customergateways.vpn.huaweicloud.com", "--wait=false"])
        .await;
    let events = ["Created", "CRDDeleting"];
    show(&world, "crd-deleting", "office", Reason::CrdDeleting, &events).await;
    assert_eq!(world.cloud_gateways().await.len(), 1);
    world.finish().await;
}
