//! A healthy gateway, from its creation to its deletion.

use std::collections::BTreeMap;

use serde_json::json;
use vpn_core::api::conditions::Reason;

use super::{show, show_farewell, still};
use crate::operator::world::{World, condition};

/// A CA certificate that the cloud accepts. The fields that it shows are the same in every run.
fn ca_certificate() -> String {
    let mut parameters = rcgen::CertificateParams::default();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters.not_before = rcgen::date_time_ymd(2024, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2124, 1, 1);
    let mut name = rcgen::DistinguishedName::new();
    name.push(rcgen::DnType::CommonName, "Gateway CA");
    parameters.distinguished_name = name;
    let key = rcgen::KeyPair::generate().unwrap();
    parameters.self_signed(&key).unwrap().pem()
}

/// Requests a reconcile by annotation.
async fn request_reconcile(world: &World, name: &str, when: &str) {
    let annotations = json!({"vpn.huaweicloud.com/reconcile-requested-at": when});
    world
        .patch(name, json!({"metadata": {"annotations": annotations}}))
        .await;
}

#[tokio::test]
async fn available_gateway_matches_golden_files() {
    let world = World::with(still([])).await;
    world.apply_gateway("office", "{idValue: 203.0.113.1}").await;
    show(&world, "available", "office", Reason::Available, &["Created"]).await;

    let spec = "{name: Office_Berlin, idValue: 203.0.113.2, bgpASN: 65010, tags: {site: berlin, team: network}}";
    world.apply_gateway("berlin", spec).await;
    show(
        &world,
        "available-tags-and-asn",
        "berlin",
        Reason::Available,
        &["Created"],
    )
    .await;

    world
        .apply_gateway("branch", "{idType: FQDN, idValue: branch.example.com}")
        .await;
    show(&world, "available-fqdn", "branch", Reason::Available, &["Created"]).await;

    let certificate = ca_certificate();
    world
        .apply_secret("gateway-ca", &BTreeMap::from([("ca.crt", certificate.as_str())]))
        .await;
    let spec = "{idValue: 203.0.113.4, caCertificateSecretRef: {name: gateway-ca}}";
    world.apply_gateway("certified", spec).await;
    show(
        &world,
        "available-certificate",
        "certified",
        Reason::Available,
        &["Created"],
    )
    .await;

    world
        .patch(
            "office",
            json!({"spec": {"name": "office-2", "tags": {"site": "paris"}}}),
        )
        .await;
    show(
        &world,
        "available-updated",
        "office",
        Reason::Available,
        &["Created", "Updated"],
    )
    .await;

    let paused = json!({"metadata": {"annotations": {"vpn.huaweicloud.com/paused": "true"}}});
    world.patch("branch", paused).await;
    let is_paused = |object: &serde_json::Value| condition(object, "Paused")["status"] == "True";
    world.wait_for("branch", "is paused", is_paused).await;
    show(&world, "available-paused", "branch", Reason::Available, &["Created"]).await;
    world.finish().await;
}

#[tokio::test]
async fn gateway_with_drift_matches_golden_files() {
    let world = World::with(still([])).await;
    world
        .apply_gateway("edited", "{name: edited, idValue: 203.0.113.1}")
        .await;
    let object = world.wait_for_reason("edited", "Available").await;
    let id = object["status"]["id"].as_str().unwrap();
    world
        .simulator
        .edit_gateway(id, &json!({"name": "by-hand"}))
        .await
        .unwrap();
    request_reconcile(&world, "edited", "1").await;
    let events = ["Created", "DriftDetected", "DriftCorrected"];
    show(
        &world,
        "available-drift-corrected",
        "edited",
        Reason::Available,
        &events,
    )
    .await;

    let spec = "{name: reported, idValue: 203.0.113.2, tags: {site: berlin}, managementPolicy: ReportDrift}";
    world.apply_gateway("reported", spec).await;
    let object = world.wait_for_reason("reported", "Available").await;
    let id = object["status"]["id"].as_str().unwrap();
    let edit = json!({"name": "by-hand", "remove_tags": ["site"]});
    world.simulator.edit_gateway(id, &edit).await.unwrap();
    request_reconcile(&world, "reported", "1").await;
    let drifted = |object: &serde_json::Value| condition(object, "Drifted")["status"] == "True";
    world.wait_for("reported", "has drifted", drifted).await;
    let events = ["Created", "DriftDetected"];
    show(&world, "available-report-drift", "reported", Reason::Available, &events).await;

    world.simulator.remove_gateway(id).await.unwrap();
    request_reconcile(&world, "reported", "2").await;
    let events = ["Created", "DriftDetected", "NotFound"];
    show(&world, "not-found-report-drift", "reported", Reason::NotFound, &events).await;

    world.apply_gateway("again", "{idValue: 203.0.113.3}").await;
    let object = world.wait_for_reason("again", "Available").await;
    world
        .simulator
        .remove_gateway(object["status"]["id"].as_str().unwrap())
        .await
        .unwrap();
    request_reconcile(&world, "again", "1").await;
    let events = ["Created", "DriftDetected", "Recreated"];
    show(&world, "available-recreated", "again", Reason::Available, &events).await;
    world.finish().await;
}

#[tokio::test]
async fn adopted_and_observed_gateway_matches_golden_files() {
    let world = World::with(still([])).await;
    let seeded: Vec<serde_json::Value> = world
        .simulator
        .seed_gateways(&json!([
            {"name": "by-hand", "id_value": "203.0.113.1", "bgp_asn": 65010},
            {"name": "watched", "id_value": "203.0.113.2", "tags": {"site": "berlin"}},
            {"name": "restored", "id_value": "203.0.113.3",
             "tags": {"vpn-operator-owner": format!("11111111-2222-3333-4444-555555555555:test:{}:restored", world.namespace)}},
        ]))
        .await
        .unwrap();
    let id = |at: usize| seeded[at]["id"].as_str().unwrap();
    let spec = format!("{{idValue: 203.0.113.1, externalID: {}}}", id(0));
    world.apply_gateway("adopted", &spec).await;
    let adopted = show(&world, "available-adopted", "adopted", Reason::Available, &["Adopted"]).await;

    world.simulator.remove_gateway(id(0)).await.unwrap();
    request_reconcile(&world, "adopted", "1").await;
    let events = ["Adopted", "NotFound"];
    let deleted = show(&world, "not-found-adopted", "adopted", Reason::NotFound, &events).await;
    assert_eq!(deleted["status"]["id"], adopted["status"]["id"]);

    let spec = format!("{{externalID: {}, managementPolicy: Observe}}", id(1));
    world.apply_gateway("observed", &spec).await;
    show(&world, "available-observed", "observed", Reason::Available, &[]).await;

    world
        .apply_gateway("restored", "{name: restored, idValue: 203.0.113.3}")
        .await;
    show(
        &world,
        "available-readopted",
        "restored",
        Reason::Available,
        &["Readopted"],
    )
    .await;
    world.finish().await;
}

#[tokio::test]
async fn gateway_in_progress_matches_golden_files() {
    let world = World::with(still([])).await;
    let hold = async |operation: &str| {
        world
            .simulator
            .add_fault(&json!({"fault": "hold", "operation": operation}))
            .await
            .unwrap();
    };
    let go_on = async || {
        world.simulator.wait_for_held::<serde_json::Value>(1).await.unwrap();
        world.simulator.release(&json!({})).await.unwrap();
    };
    hold("CreateCustomerGateway").await;
    world
        .apply_gateway("office", "{name: office, idValue: 203.0.113.1}")
        .await;
    show(&world, "creating", "office", Reason::Creating, &[]).await;
    go_on().await;
    world.wait_for_reason("office", "Available").await;

    hold("UpdateCustomerGateway").await;
    world.patch("office", json!({"spec": {"name": "office-2"}})).await;
    show(&world, "updating", "office", Reason::Updating, &["Created"]).await;
    go_on().await;
    world.wait_for_reason("office", "Available").await;

    hold("DeleteCustomerGateway").await;
    world.kubectl(["delete", "cgw", "office", "--wait=false"]).await;
    show(&world, "deleting", "office", Reason::Deleting, &["Created", "Updated"]).await;
    world
        .simulator
        .set_switches(&json!({"gateway-deletion": "held"}))
        .await
        .unwrap();
    go_on().await;
    let is_slow = |object: &serde_json::Value| {
        condition(object, "Ready")["message"]
            .as_str()
            .is_some_and(|message| message.contains("waiting"))
    };
    world.wait_for("office", "waits for the cloud", is_slow).await;
    let office = show(
        &world,
        "deleting-slowly",
        "office",
        Reason::Deleting,
        &["Created", "Updated"],
    )
    .await;
    world.simulator.set_switches(&json!({})).await.unwrap();
    world
        .simulator
        .post::<serde_json::Value>("finish-deletions", &json!({}))
        .await
        .unwrap();
    show_farewell(&world, "deleted", "office", &office, &["Created", "Updated", "Deleted"]).await;

    world
        .apply_gateway("kept", "{idValue: 203.0.113.2, deletionPolicy: Retain}")
        .await;
    let kept = world.wait_for_reason("kept", "Available").await;
    world.kubectl(["delete", "cgw", "kept", "--wait=false"]).await;
    show_farewell(&world, "deleted-retained", "kept", &kept, &["Created", "Deleted"]).await;

    world.apply_gateway("taken", "{idValue: 203.0.113.3}").await;
    let taken = world.wait_for_reason("taken", "Available").await;
    let other = "11111111-2222-3333-4444-555555555555:other-cluster:network:taken";
    let edit = json!({"set_tags": {"vpn-operator-owner": other}});
    world
        .simulator
        .edit_gateway(taken["status"]["id"].as_str().unwrap(), &edit)
        .await
        .unwrap();
    world.kubectl(["delete", "cgw", "taken", "--wait=false"]).await;
    show_farewell(&world, "deleted-left-alone", "taken", &taken, &["Created", "Deleted"]).await;
    world.finish().await;
}

#[tokio::test]
async fn read_only_mode_matches_golden_files() {
    let mut world = World::with(still([])).await;
    world
        .apply_gateway("changed", "{name: changed, idValue: 203.0.113.1}")
        .await;
    world.wait_for_reason("changed", "Available").await;
    world.set_argument("--read-only");
    world.restart_operator().await;
    world.apply_gateway("new", "{idValue: 203.0.113.2}").await;
    show(&world, "creating-read-only", "new", Reason::Creating, &[]).await;
    world.patch("changed", json!({"spec": {"name": "changed-2"}})).await;
    show(&world, "updating-read-only", "changed", Reason::Updating, &["Created"]).await;
    world.finish().await;
}
