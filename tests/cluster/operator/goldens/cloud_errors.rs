//! Refusals of the cloud that require user action.

use std::collections::BTreeMap;

use serde_json::json;
use vpn_core::api::conditions::Reason;

use super::{show, still};
use crate::operator::world::{Options, REGION, World};

/// A project whose quota allows no gateway.
const FULL_PROJECT: &str = "ffffffffffffffffffffffffffffffff";

/// The access key of a credential that a test creates.
pub(super) fn access_key(name: &str) -> String {
    format!("GOLDEN{}", name.to_uppercase().replace('-', ""))
}

/// Creates an access key in the cloud, and the Secret of the same name that contains it.
pub(super) async fn credential(world: &mut World, name: &str, permissions: serde_json::Value, more: &[(&str, &str)]) {
    let access_key = access_key(name);
    let secret_key = format!("golden+{name}/secret=");
    let credential = json!({"secret_key": secret_key, "permissions": permissions});
    world
        .simulator
        .put::<serde_json::Value>(&format!("credentials/{access_key}"), &credential)
        .await
        .unwrap();
    world.apply_credentials(name, &access_key, &secret_key, more).await;
}

#[tokio::test]
async fn refused_credentials_match_golden_files() {
    let mut world = World::with(still([])).await;
    credential(&mut world, "wrong", json!({}), &[]).await;
    world
        .apply_credentials("wrong", "GOLDENWRONG", "not+the/one=", &[])
        .await;
    world
        .apply_gateway("refused", "{idValue: 203.0.113.1, credentialsRef: {name: wrong}}")
        .await;
    show(
        &world,
        "unauthorized",
        "refused",
        Reason::Unauthorized,
        &["Unauthorized"],
    )
    .await;

    credential(
        &mut world,
        "reader",
        json!({"denied_actions": ["vpn:customerGateways:create"]}),
        &[],
    )
    .await;
    world
        .apply_gateway("create", "{idValue: 203.0.113.2, credentialsRef: {name: reader}}")
        .await;
    show(&world, "forbidden-create", "create", Reason::Forbidden, &["Forbidden"]).await;

    credential(
        &mut world,
        "blind",
        json!({"denied_actions": ["vpn:customerGateways:list"]}),
        &[],
    )
    .await;
    world
        .apply_gateway("list", "{idValue: 203.0.113.3, credentialsRef: {name: blind}}")
        .await;
    show(&world, "forbidden-list", "list", Reason::Forbidden, &["Forbidden"]).await;
    world.finish().await;
}

#[tokio::test]
async fn missing_credentials_match_golden_files() {
    let world = World::with(Options {
        without_credentials: true,
        ..still([])
    })
    .await;
    world.apply_gateway("office", "{idValue: 203.0.113.1}").await;
    show(
        &world,
        "unauthorized-no-credentials",
        "office",
        Reason::Unauthorized,
        &["Unauthorized"],
    )
    .await;
    world.finish().await;

    let world = World::with(still(["--default-credentials-namespace=network"])).await;
    world.apply_gateway("office", "{idValue: 203.0.113.1}").await;
    show(
        &world,
        "forbidden-own-credentials",
        "office",
        Reason::Forbidden,
        &["Forbidden"],
    )
    .await;
    world.finish().await;
}

#[tokio::test]
async fn refused_creation_matches_golden_files() {
    let mut world = World::with(still([])).await;
    let project = json!({"name": format!("{REGION}_full"), "gateway_quota": 0});
    world
        .simulator
        .put::<serde_json::Value>(&format!("projects/{FULL_PROJECT}"), &project)
        .await
        .unwrap();
    credential(&mut world, "full", json!({}), &[("projectID", FULL_PROJECT)]).await;
    world
        .apply_gateway("quota", "{idValue: 203.0.113.1, credentialsRef: {name: full}}")
        .await;
    show(
        &world,
        "quota-exceeded",
        "quota",
        Reason::QuotaExceeded,
        &["QuotaExceeded"],
    )
    .await;

    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    world
        .apply_secret("broken-ca", &BTreeMap::from([("ca.crt", broken)]))
        .await;
    let spec = "{idValue: 203.0.113.2, caCertificateSecretRef: {name: broken-ca}}";
    world.apply_gateway("certificate", spec).await;
    show(
        &world,
        "rejected-certificate",
        "certificate",
        Reason::Rejected,
        &["Rejected"],
    )
    .await;

    world
        .simulator
        .set_switches(&json!({"fqdn": "refused", "duplicate-name": "VPN.0012"}))
        .await
        .unwrap();
    world
        .apply_gateway("fqdn", "{idType: FQDN, idValue: branch.example.com}")
        .await;
    show(&world, "rejected-fqdn", "fqdn", Reason::Rejected, &["Rejected"]).await;

    let seed = json!({"name": "by-hand", "id_value": "203.0.113.9"});
    world.simulator.seed_gateways::<serde_json::Value>(&seed).await.unwrap();
    world
        .apply_gateway("name", "{name: by-hand, idValue: 203.0.113.3}")
        .await;
    show(&world, "name-conflict", "name", Reason::NameConflict, &["NameConflict"]).await;

    let error = json!({"fault": "error", "status": 404, "code": "APIGW.0101", "times": 0,
        "message": "The API does not exist or has not been published in the environment",
        "operation": "CreateCustomerGateway"});
    world.simulator.add_fault(&error).await.unwrap();
    world.apply_gateway("unpublished", "{idValue: 203.0.113.4}").await;
    show(
        &world,
        "not-available",
        "unpublished",
        Reason::NotAvailable,
        &["NotAvailable"],
    )
    .await;
    world.finish().await;
}
