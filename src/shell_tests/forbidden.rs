//! What the apiserver forbids to the operator is reported on the objects that need it.

use axum::http::Method;
use serde_json::{Value, json};
use vpn_core::api::FINALIZER;

use crate::shell_tests::world::{ShellWorld, gateway};

/// An object that has a gateway and is Ready, as an operator finds it at its start.
fn put_ready(world: &ShellWorld, name: &str, policy: &str) {
    let ready = json!({"type": "Ready", "status": "True", "reason": "Available", "message": "", "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let object = json!({
        "metadata": {"finalizers": [FINALIZER]},
        "spec": {"idValue": "203.0.113.7", "deletionPolicy": policy, "credentialsRef": {"name": "cloud"}},
        "status": {"id": "00000000-0000-4000-8000-000000000000", "observedGeneration": 1, "conditions": [ready]},
    });
    world.apiserver.put(&gateway(name), object);
}

fn condition(world: &ShellWorld, name: &str, type_: &str) -> Value {
    let conditions = world.apiserver.get(&gateway(name))["status"]["conditions"].clone();
    let mut conditions = conditions.as_array().cloned().unwrap_or_default().into_iter();
    conditions
        .find(|condition| condition["type"] == type_)
        .unwrap_or_default()
}

fn message(world: &ShellWorld, name: &str, type_: &str) -> String {
    condition(world, name, type_)["message"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test]
async fn a_forbidden_credentials_secret_is_reported() {
    let mut world = ShellWorld::new(&["--resync-period=1s"]).await;
    let is_it = |path: &str| path.ends_with("/secrets/cloud");
    world
        .apiserver
        .fail(move |asked| (asked.method == Method::GET && is_it(&asked.path)).then_some(403));
    world.put_gateway("new", json!({"idValue": "203.0.113.8"}));
    world.put_gateway("broken", json!({"idValue": true}));
    put_ready(&world, "at-rest", "Delete");
    put_ready(&world, "retained", "Retain");
    put_ready(&world, "deleted", "Delete");
    world.start();
    world
        .until("the object with work to do reports what is forbidden", |world| {
            world.ready(&gateway("new")).0 == "Forbidden"
        })
        .await;
    let text = message(&world, "new", "Ready");
    for part in [
        "the Secret team/cloud",
        "spec.credentialsRef",
        "grant get on secrets",
        "the namespace team",
    ] {
        assert!(text.contains(part), "{text}");
    }
    world
        .until("the object reports what needs no credentials", |world| {
            world.ready(&gateway("broken")).0 == "InvalidSpec"
        })
        .await;
    world
        .until("an object at rest shows it", |world| {
            condition(world, "at-rest", "CredentialsHealthy")["reason"] == "Forbidden"
        })
        .await;
    assert!(world.ready(&gateway("at-rest")).1);
    let metrics = world.metrics();
    assert!(
        metrics.contains("vpn_operator_credential_healthy{credential=\"team/cloud\"} 0"),
        "{metrics}"
    );
    world.apiserver.delete(&gateway("retained"));
    world.apiserver.delete(&gateway("deleted"));
    world
        .until("only the retained object is deleted", |world| {
            world.apiserver.get(&gateway("retained")).is_null() && world.ready(&gateway("deleted")).0 == "Forbidden"
        })
        .await;
    world.stop().await;
}

#[tokio::test]
async fn a_forbidden_crd_read_delays_cloud_deletions_and_is_reported() {
    let mut world = ShellWorld::new(&[]).await;
    world.apiserver.fail(|asked| {
        let is_it = asked.method == Method::GET && asked.path.contains("/customresourcedefinitions/");
        is_it.then_some(403)
    });
    for (name, policy) in [("deleted", "Delete"), ("retained", "Retain")] {
        put_ready(&world, name, policy);
    }
    world.start();
    for name in ["deleted", "retained"] {
        world.apiserver.delete(&gateway(name));
    }
    world
        .until(
            "the object that must be deleted in the cloud reports why it is not",
            |world| {
                world.ready(&gateway("deleted")).0 == "Forbidden" && world.apiserver.get(&gateway("retained")).is_null()
            },
        )
        .await;
    let text = message(&world, "deleted", "Ready");
    assert!(text.contains("the CRD customergateways.vpn.huaweicloud.com"), "{text}");
    assert_eq!(world.calls("DeleteCustomerGateway").await, 0);
    world.stop().await;
}
