//! CA certificates: sent only when they change; the cloud never returns one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use serde_json::json;
use vpn_cloud::resources::customer_gateways::{CertificateContent, CustomerGatewayUpdate};
use vpn_cloud::{Client, Credentials, Operation, ProjectScope, RequestObserver, Transport, TransportOptions};

use crate::operator::console::{counts, message};
use crate::operator::world::{Options, PROJECT, World};

/// A CA certificate that names this subject.
fn certificate(subject: &str) -> String {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, subject);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

async fn apply_certificate(world: &World, pem: &str) {
    world.apply_secret("ca", &BTreeMap::from([("ca.crt", pem)])).await;
}

struct Deaf;

impl RequestObserver for Deaf {
    fn finished(&self, _: Operation, _: &'static str, _: Duration) {}
}

/// Replaces the certificate through the API, like another client with the same permissions.
async fn replace_certificate(world: &World, id: &str, pem: String) {
    let options = TransportOptions {
        ca_file: None,
        request_timeout: Duration::from_secs(30),
    };
    let transport = Transport::new(&options, Arc::new(Deaf)).unwrap();
    let credentials = Credentials::new(world.access_key.clone(), world.secret_key.clone().into(), None).unwrap();
    let scope = ProjectScope {
        endpoint: world.simulator.url().to_owned(),
        project_id: PROJECT.to_owned(),
    };
    let client = Client::new(transport, Arc::new(credentials), scope);
    let change = CustomerGatewayUpdate {
        ca_certificate: Some(CertificateContent { content: pem }),
        ..CustomerGatewayUpdate::default()
    };
    client.update_customer_gateway(id, &change).await.unwrap();
    world.skip_audit();
}

const SPEC: &str = "{name: office, idValue: 203.0.113.1, caCertificateSecretRef: {name: ca}}";

#[tokio::test]
async fn a_certificate_is_sent_once_per_change() {
    let mut world = World::with(Options::with(["--resync-period=1s"])).await;
    world.apply_gateway("office", SPEC).await;
    let object = world.wait_for_reason("office", "SecretNotFound").await;
    assert!(message(&object).contains("/ca"), "{}", message(&object));
    world.apply_secret("ca", &BTreeMap::from([("other", "x")])).await;
    let object = world
        .wait_for("office", "the key is missed", |object| {
            message(object).contains("ca.crt")
        })
        .await;
    assert_eq!(
        crate::operator::world::condition(&object, "Ready")["reason"],
        "SecretNotFound"
    );
    apply_certificate(&world, "no certificate").await;
    let object = world.wait_for_reason("office", "InvalidSpec").await;
    assert!(message(&object).contains("PEM"), "{}", message(&object));
    let mark = world.mark().await;
    apply_certificate(&world, &certificate("first")).await;
    let object = world.wait_for_reason("office", "Available").await;
    assert_eq!(world.writes_since(mark).await, counts([("CreateCustomerGateway", 1)]));
    let id = object["status"]["id"].as_str().expect("an id").to_owned();
    let shown = &object["status"]["caCertificate"];
    let cloud = world.cloud_gateway(&id).await;
    assert_eq!(shown["id"], cloud["ca_certificate_id"]);
    for field in ["issuer", "subject"] {
        assert!(shown[field].to_string().contains("first"), "{shown}");
    }
    assert!(shown["expiresAt"].is_string(), "{shown}");

    let mark = world.mark().await;
    apply_certificate(&world, &certificate("second")).await;
    let object = world
        .wait_for("office", "the second certificate shows", |object| {
            object["status"]["caCertificate"]["subject"]
                .to_string()
                .contains("second")
        })
        .await;
    assert_ne!(object["status"]["caCertificate"]["id"], *shown);
    world.wait_for_reason("office", "Available").await;
    assert_eq!(world.writes_since(mark).await, counts([("UpdateCustomerGateway", 1)]));

    // Labels, resyncs and restarts are no change.
    let mark = world.mark().await;
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    let label = json!({"metadata": {"labels": {"seen": "yes"}}});
    secrets
        .patch("ca", &PatchParams::default(), &Patch::Merge(&label))
        .await
        .unwrap();
    world.request("office").await;
    world.wait_for_cycles(2).await;
    world.restart_operator().await;
    world.request("office").await;
    world.wait_for_cycles(2).await;
    assert_eq!(world.writes_since(mark).await, counts([]));

    // Removed by hand: restored after a GET of the gateway itself (lists may omit certificates).
    world.edit(&id, json!({"remove_ca_certificate": true})).await;
    world.request("office").await;
    world
        .wait_for_cloud(&id, "a certificate is there", |cloud| {
            cloud["ca_certificate_id"].is_string()
        })
        .await;
    world.wait_for_reason("office", "Available").await;
    assert_eq!(world.writes_since(mark).await, counts([("UpdateCustomerGateway", 1)]));
    // Replaced by hand through the API: replaced again.
    let mark = world.mark().await;
    replace_certificate(&world, &id, certificate("third")).await;
    vpn_operator_testbed::eventually("both updates", crate::operator::world::DEADLINE, async || {
        let writes = world.writes_since(mark).await;
        if writes == counts([("UpdateCustomerGateway", 2)]) {
            Ok(())
        } else {
            Err(format!("{writes:?}"))
        }
    })
    .await
    .unwrap();
    let object = world
        .wait_for("office", "ours is back", |object| {
            let reason = &crate::operator::world::condition(object, "Ready")["reason"];
            object["status"]["caCertificate"]["subject"]
                .to_string()
                .contains("second")
                && reason == "Available"
        })
        .await;
    let cloud = world.cloud_gateway(&id).await;
    assert_eq!(object["status"]["caCertificate"]["id"], cloud["ca_certificate_id"]);
    let note = world.wait_for_event("office", "DriftCorrected").await;
    assert!(note.contains("caCertificateSecretRef"), "{note}");
    world.finish().await;
}

#[tokio::test]
async fn certificates_are_invalid_on_open_telekom_cloud() {
    let world = World::with(Options::with(["--resync-period=0", "--cloud=otc"])).await;
    apply_certificate(&world, &certificate("first")).await;
    world.apply_gateway("office", SPEC).await;
    let object = world.wait_for_reason("office", "InvalidSpec").await;
    assert!(
        message(&object).contains("caCertificateSecretRef"),
        "{}",
        message(&object)
    );
    assert!(world.cloud_gateways().await.is_empty());
    world
        .patch("office", json!({"spec": {"caCertificateSecretRef": null}}))
        .await;
    world.wait_for_reason("office", "Available").await;
    world.finish().await;
}
