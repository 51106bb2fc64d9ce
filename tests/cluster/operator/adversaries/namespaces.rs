//! An object in one namespace cannot refer to anything in another namespace.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DynamicObject, PostParams};
use serde_json::{Value, json};
use vpn_operator_testbed::figures;

use super::access_keys_seen;
use crate::operator::console::message;
use crate::operator::failures::add_access_key;
use crate::operator::world::{VPN_SERVER, World, gateway, user};

const VICTIMS_KEY: &str = "AKVICTIM";
const VICTIMS_PASSWORD: &str = "Sentinel Victims-1";

/// A Secret in another namespace, with every key that a reference could name.
async fn victims_secret(world: &mut World) -> String {
    let namespace = world.plane.create_namespace("victim").await.unwrap();
    let secret_key = format!("SENTINEL+victim/{namespace}\"=end");
    world.sentinels.add(&secret_key);
    world.sentinels.add(VICTIMS_PASSWORD);
    add_access_key(world, VICTIMS_KEY, &secret_key, json!({})).await;
    let data = BTreeMap::from([
        ("accessKey", VICTIMS_KEY),
        ("secretKey", secret_key.as_str()),
        ("password", VICTIMS_PASSWORD),
        ("ca.crt", "-----BEGIN CERTIFICATE-----"),
    ]);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": data});
    let api: Api<Secret> = Api::namespaced(world.client.clone(), &namespace);
    api.create(&PostParams::default(), &serde_json::from_value(secret).unwrap())
        .await
        .unwrap();
    namespace
}

#[tokio::test]
async fn no_reference_reads_a_secret_of_another_namespace() {
    let mut world = World::start().await;
    let victim = victims_secret(&mut world).await;
    let names = [
        format!("{victim}/keys"),
        format!("../{victim}/secrets/keys"),
        format!("..%2f{victim}%2fkeys"),
        format!("{victim}:keys"),
        "keys?fieldManager=x".to_owned(),
        "..".to_owned(),
        "keys\\n".to_owned(),
    ];
    let mut tried = 0;
    // No name leads out of the namespace.
    for name in &names {
        for manifest in [
            gateway(
                "thief",
                &format!("{{idValue: 203.0.113.1, credentialsRef: {{name: {name:?}}}}}"),
            ),
            gateway(
                "thief",
                &format!("{{idValue: 203.0.113.1, caCertificateSecretRef: {{name: {name:?}}}}}"),
            ),
            user("thief", &format!("{{credentialsRef: {{name: {name:?}}}}}")),
            user("thief", &format!("{{passwordSecretRef: {{name: {name:?}}}}}")),
        ] {
            let refusal = world.try_apply(&manifest).await.expect_err(name);
            assert!(refusal.contains("must be the name of a Secret"), "{refusal}");
            tried += 1;
        }
    }
    // There is no field for the namespace: the server drops it, and the Secret is read in the object's namespace.
    let reference = json!({"name": "keys", "namespace": victim});
    let own_password = BTreeMap::from([("password", "Sentinel Thief-1")]);
    world.sentinels.add("Sentinel Thief-1");
    world.apply_secret("own", &own_password).await;
    let objects = [
        (
            "CustomerGateway",
            "credentials",
            json!({"idValue": "203.0.113.1", "credentialsRef": reference}),
        ),
        (
            "CustomerGateway",
            "certificate",
            json!({"idValue": "203.0.113.2", "caCertificateSecretRef": reference}),
        ),
        (
            "VpnUser",
            "user-credentials",
            json!({"vpnServerID": VPN_SERVER, "passwordSecretRef": {"name": "own"}, "credentialsRef": reference}),
        ),
        (
            "VpnUser",
            "password",
            json!({"vpnServerID": VPN_SERVER, "passwordSecretRef": reference}),
        ),
    ];
    for (kind, name, spec) in objects {
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "vpn.huaweicloud.com/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec,
        }))
        .unwrap();
        let objects = if kind == "VpnUser" {
            world.users()
        } else {
            world.gateway_objects()
        };
        objects.api().create(&PostParams::default(), &object).await.unwrap();
        let object = objects.wait_for_reason(name, "SecretNotFound").await;
        let own_secret = format!("{}/keys", world.namespace);
        assert!(message(&object).contains(&own_secret), "{}", message(&object));
        assert!(!object["spec"].to_string().contains(&victim), "{}", object["spec"]);
        tried += 1;
    }
    assert!(!access_keys_seen(&world).await.contains(VICTIMS_KEY));
    assert_eq!(world.cloud_users().await, Vec::<Value>::new());
    assert!(world.cloud_gateways().await.is_empty());
    let log = world.running().log();
    let reads_in = |namespace: &str| log.matches(&format!("/namespaces/{namespace}/secrets/")).count();
    assert!(reads_in(&world.namespace) > 0, "the log shows reads");
    let reads = reads_in(&victim);
    assert_eq!(reads, 0, "the apiserver was asked for Secrets of another namespace");
    figures::report(
        "adversaries",
        &[
            ("references to other namespaces tried", tried),
            ("Secrets of other namespaces read", reads as u64),
        ],
    );
    world.finish().await;
}
