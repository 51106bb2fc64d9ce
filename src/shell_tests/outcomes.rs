//! Outcomes of writes to the cloud, and their record in status: each write is recorded, and none is sent twice.

use std::sync::atomic::Ordering;

use serde_json::json;

use crate::shell_tests::address;
use crate::shell_tests::world::{ShellWorld, gateway, user};

#[tokio::test]
async fn a_reset_is_recorded_after_apiserver_failures_and_not_resent() {
    let mut world = ShellWorld::new(&[]).await;
    world.put_secret("login", &[("password", "Sentinel First-1")]);
    world.put_user("alice", json!({"passwordSecretRef": {"name": "login"}}));
    world.start();
    world
        .until("alice is Ready", |world| world.ready(&user("alice")).1)
        .await;
    let before = world.apiserver.get(&user("alice"))["status"]["password"].clone();
    // The record of the outcome, and not the one before it, takes the reset off the record.
    let failures = std::sync::atomic::AtomicU32::new(3);
    world.apiserver.fail(move |asked| {
        let is_outcome = asked.path.ends_with("/status") && asked.body.contains("\"passwordReset\":null");
        let left = is_outcome && failures.fetch_sub(1, Ordering::SeqCst) > 0;
        left.then_some(500)
    });
    world.put_secret("login", &[("password", "Sentinel Second-2")]);
    world
        .until("the new password is recorded", |world| {
            let status = &world.apiserver.get(&user("alice"))["status"];
            status["password"] != before && status["passwordReset"].is_null() && world.ready(&user("alice")).1
        })
        .await;
    assert_eq!(world.calls("ResetVpnUserPassword").await, 1);
    world.stop().await;
}

#[tokio::test]
async fn repeated_404s_to_a_delete_of_a_listed_object_back_off() {
    let mut world = ShellWorld::new(&[]).await;
    world.put_gateway("office", address(0));
    world.start();
    let path = gateway("office");
    world.until("it is Ready", |world| world.ready(&path).1).await;
    let fault = json!({"fault": "error", "operation": "DeleteCustomerGateway", "status": 404, "code": "VPN.0004",
        "times": 0});
    world.simulator(reqwest::Method::POST, "faults", fault).await;
    world.apiserver.delete(&path);
    world
        .until("the answer is reported", |world| {
            world.ready(&path) == ("CloudError".to_owned(), false)
        })
        .await;
    world.simulator(reqwest::Method::DELETE, "faults", json!({})).await;
    world
        .until("it is deleted", |world| world.apiserver.get(&path).is_null())
        .await;
    world.stop().await;
}

/// Without the record, what was missing only in stale answers would be deleted once it shows beside its replacement.
#[tokio::test]
async fn nothing_is_recreated_while_the_crd_prunes_the_record_of_a_loss() {
    let mut world = ShellWorld::new(&[]).await;
    world.crds = vpn_core::api::crds().unwrap();
    for crd in &world.crds {
        let mut older = serde_json::to_value(crd).unwrap();
        let status = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties";
        let fields = older.pointer_mut(status).and_then(serde_json::Value::as_object_mut);
        fields
            .unwrap()
            .retain(|field, _| field != "lostCreatedAt" && field != "vanishedIDs");
        let name = crd.metadata.name.as_deref().unwrap();
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
        world.apiserver.put(&path, older);
    }
    world.put_secret("password", &[("password", "Sentinel-1-secret")]);
    world.put_gateway("office", address(0));
    world.put_user("alice", json!({"passwordSecretRef": {"name": "password"}}));
    world.start();
    let objects = [(gateway("office"), "gateways"), (user("alice"), "vpn-users")];
    world
        .until("both are Ready", |world| {
            objects.iter().all(|(path, _)| world.ready(path).1)
        })
        .await;
    for (path, collection) in &objects {
        let id = world.apiserver.get(path)["status"]["id"].clone();
        let in_cloud = format!("{collection}/{}", id.as_str().unwrap());
        world.simulator(reqwest::Method::DELETE, &in_cloud, json!({})).await;
        world.apiserver.change(path, |object| {
            object["metadata"]["annotations"] = json!({vpn_core::api::RECONCILE_REQUESTED_ANNOTATION: "now"});
        });
    }
    world
        .until("both report the CRD", |world| {
            let is_reported = |path| world.ready(path) == ("DependencyNotReady".to_owned(), false);
            objects.iter().all(|(path, _)| is_reported(path))
        })
        .await;
    for (path, _) in &objects {
        assert!(world.apiserver.get(path)["status"]["id"].is_string());
    }
    for creation in ["CreateCustomerGateway", "CreateVpnUser"] {
        assert_eq!(world.calls(creation).await, 1);
    }
    world.stop().await;
}
