//! The deletion of an object: what is deleted with it, what stays, and what it waits for.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use vpn_operator_testbed::{ControlPlane, eventually};

use crate::operator::console::{OWNER, counts, message};
use crate::operator::world::{DEADLINE, Options, World, condition, repository};

impl World {
    async fn delete_secret(&self, name: &str) {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        secrets.delete(name, &DeleteParams::default()).await.unwrap();
    }

    async fn apply_credentials_with_own_keys(&mut self, name: &str) {
        let (access_key, secret_key) = (self.access_key.clone(), self.secret_key.clone());
        self.apply_credentials(name, &access_key, &secret_key, &[]).await;
    }
}

#[tokio::test]
async fn retain_removes_only_the_owner_tag() {
    let world = World::with(Options::with(["--resync-period=0", "--default-deletion-policy=Retain"])).await;
    let kept = world
        .create("kept", "{name: kept, idValue: 203.0.113.1, tags: {team: net}}")
        .await;
    let deleted = world
        .create("gone", "{idValue: 203.0.113.2, deletionPolicy: Delete}")
        .await;
    let mark = world.mark().await;
    for name in ["kept", "gone"] {
        world.delete(name).await;
        world.wait_until_deleted(name).await;
    }
    assert_eq!(
        world.writes_since(mark).await,
        counts([("RemoveCustomerGatewayTags", 1), ("DeleteCustomerGateway", 1)])
    );
    let cloud = world.cloud_gateway(&kept).await;
    assert_eq!(
        (&cloud["name"], &cloud["tags"]),
        (&json!("kept"), &json!({"team": "net"}))
    );
    assert!(world.cloud_gateway(&deleted).await.is_null());
    let note = world.wait_for_event("kept", "Deleted").await;
    assert!(
        note.contains("kept the customer gateway") && note.contains(&kept),
        "{note}"
    );
    let note = world.wait_for_event("gone", "Deleted").await;
    assert!(
        note.contains("deleted the customer gateway") && note.contains(&deleted),
        "{note}"
    );
    world.finish().await;
}

#[tokio::test]
async fn a_deletion_without_credentials_waits_and_reports_it() {
    let mut world = World::with(Options {
        without_credentials: true,
        ..Options::with(["--resync-period=0"])
    })
    .await;
    world.apply_credentials_with_own_keys("keys").await;
    let back = world
        .create("back", "{idValue: 203.0.113.1, credentialsRef: {name: keys}}")
        .await;
    let retained = world
        .create("retained", "{idValue: 203.0.113.2, credentialsRef: {name: keys}}")
        .await;
    let released = world
        .create(
            "released",
            "{idValue: 203.0.113.3, credentialsRef: {name: keys}, deletionPolicy: Retain}",
        )
        .await;
    // Lost for good: the new process has never read the credentials.
    world.stop_operator().await;
    world.delete_secret("keys").await;
    world.start_operator().await;
    let mark = world.mark().await;
    for name in ["back", "retained", "released"] {
        world.delete(name).await;
    }
    world.wait_until_deleted("released").await;
    let note = world.wait_for_event("released", "Deleted").await;
    assert!(note.contains("its owner tag stays"), "{note}");
    for name in ["back", "retained"] {
        let object = world
            .wait_for(name, "SecretNotFound", |object| {
                condition(object, "Ready")["reason"] == "SecretNotFound"
            })
            .await;
        assert!(message(&object).contains("keys"), "{}", message(&object));
        assert!(object["metadata"]["deletionTimestamp"].is_string());
    }
    world
        .patch("retained", json!({"spec": {"deletionPolicy": "Retain"}}))
        .await;
    world.wait_until_deleted("retained").await;
    let note = world.wait_for_event("retained", "Deleted").await;
    assert!(note.contains("its owner tag stays"), "{note}");
    assert_eq!(world.calls_since(mark).await, counts([]));
    world.apply_credentials_with_own_keys("keys").await;
    world.wait_until_deleted("back").await;
    assert!(world.cloud_gateway(&back).await.is_null());
    for id in [retained, released] {
        assert!(world.cloud_gateway(&id).await["tags"][OWNER].is_string());
    }
    // An object that never had credentials has nothing in the cloud.
    world
        .apply_gateway("never", "{idValue: 203.0.113.4, credentialsRef: {name: missing}}")
        .await;
    world.wait_for_reason("never", "SecretNotFound").await;
    world.delete("never").await;
    world.wait_until_deleted("never").await;
    world.finish().await;
}

#[tokio::test]
async fn retain_waits_for_the_end_of_a_cloud_outage() {
    let mut world = World::start().await;
    let id = world
        .create("kept", "{idValue: 203.0.113.1, deletionPolicy: Retain}")
        .await;
    world.stop_operator().await;
    let outage = json!({"fault": "error", "operation": "LookUpProject", "status": 503, "times": 2});
    world.simulator.add_fault(&outage).await.unwrap();
    world.delete("kept").await;
    world.start_operator().await;
    world.wait_until_deleted("kept").await;
    assert!(world.cloud_gateway(&id).await["tags"][OWNER].is_null());
    world.finish().await;
}

#[tokio::test]
async fn a_namespace_deletion_completes_after_its_secrets_are_deleted() {
    let mut world = World::with(Options {
        without_credentials: true,
        stopped: true,
        ..Options::with(["--resync-period=0"])
    })
    .await;
    // The Lease is in another namespace, as in an installation.
    let operator_namespace = world.plane.create_namespace("home").await.unwrap();
    world.move_operator(&operator_namespace).await;
    world.start_operator().await;
    world.apply_credentials_with_own_keys("keys").await;
    for (name, address) in [("one", "203.0.113.1"), ("two", "203.0.113.2")] {
        world
            .create(name, &format!("{{idValue: {address}, credentialsRef: {{name: keys}}}}"))
            .await;
    }
    // The worst order: the Secret is deleted before the first object.
    world.delete_secret("keys").await;
    let controllers = world.plane.start_controllers(&["namespace-controller"]).await.unwrap();
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    namespaces
        .delete(&world.namespace, &DeleteParams::default())
        .await
        .unwrap();
    let result = eventually("the namespace is deleted", DEADLINE, async || {
        match namespaces.get_opt(&world.namespace).await {
            Ok(None) => Ok(()),
            Ok(Some(namespace)) => Err(format!("{:?}", namespace.status)),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    result.unwrap_or_else(|error| panic!("{error}\n{}", world.log_tail()));
    assert!(world.cloud_gateways().await.is_empty());
    controllers.kill().unwrap();
    world.finish().await;
}

#[tokio::test]
async fn a_deletion_during_a_creation_leaves_no_gateway() {
    let world = World::start().await;
    for (name, commit, drop) in [
        ("answered", false, false),
        ("committed", true, false),
        ("lost", true, true),
        ("never", false, true),
    ] {
        let hold = json!({"fault": "hold", "operation": "CreateCustomerGateway", "commit": commit});
        world.simulator.add_fault(&hold).await.unwrap();
        let mark = world.mark().await;
        world.apply_gateway(name, "{idValue: 203.0.113.7}").await;
        world.simulator.wait_for_held::<Value>(1).await.unwrap();
        world.delete(name).await;
        world.simulator.release(&json!({"drop": drop})).await.unwrap();
        world.wait_until_deleted(name).await;
        assert_eq!(world.cloud_gateways().await, Vec::<Value>::new(), "{name}");
        assert_eq!(world.calls_since(mark).await["CreateCustomerGateway"], 1, "{name}");
    }
    world.finish().await;
}

#[tokio::test]
async fn a_deletion_waits_for_a_late_creation() {
    // The creation takes effect within its creation window, when the test releases it.
    let world = World::with(Options::with(["--resync-period=0", "--request-timeout=7s"])).await;
    let late = json!({"fault": "late-commit", "operation": "CreateCustomerGateway"});
    world.simulator.add_fault(&late).await.unwrap();
    world.apply_gateway("late", "{idValue: 203.0.113.7}").await;
    world
        .wait_for("late", "the outcome is unknown", |object| {
            condition(object, "Ready")["reason"] == "CloudError" && object["status"]["intent"].is_object()
        })
        .await;
    world.delete("late").await;
    // The deletion is reconciled while the gateway does not exist yet.
    world
        .wait_for("late", "the deletion waits", |object| {
            condition(object, "Ready")["reason"] == "Deleting"
        })
        .await;
    assert!(world.cloud_gateways().await.is_empty());
    world.simulator.release(&json!({})).await.unwrap();
    world.wait_until_deleted("late").await;
    assert!(world.cloud_gateways().await.is_empty());
    world.finish().await;
}

#[tokio::test]
async fn a_gateway_without_a_recorded_id_is_found_and_deleted() {
    let mut world = World::start().await;
    world.create("office", "{idValue: 203.0.113.7}").await;
    world.stop_operator().await;
    world.wipe_status("office").await;
    world.delete("office").await;
    world.start_operator().await;
    world.wait_until_deleted("office").await;
    assert!(world.cloud_gateways().await.is_empty());
    world.finish().await;
}

#[tokio::test]
async fn an_invalid_spec_does_not_block_deletion() {
    let world = World::start().await;
    world.create("office", "{idValue: 203.0.113.7}").await;
    world.patch("office", json!({"spec": {"bgpASN": 65001}})).await;
    world.wait_for_reason("office", "InvalidSpec").await;
    world.delete("office").await;
    world.wait_until_deleted("office").await;
    assert!(world.cloud_gateways().await.is_empty());
    world.finish().await;
}

#[tokio::test]
async fn a_slow_deletion_sends_one_delete_and_waits() {
    // No DELETE is sent again within the confirmation period.
    let world = World::with(Options::with([
        "--resync-period=0",
        "--creation-confirmation-period=10m",
    ]))
    .await;
    world
        .simulator
        .set_switches(&json!({"gateway-deletion": "held"}))
        .await
        .unwrap();
    let id = world.create("office", "{idValue: 203.0.113.7}").await;
    let mark = world.mark().await;
    world.delete("office").await;
    // It is read repeatedly, and deleted once.
    eventually("three looks", DEADLINE, async || {
        let calls = world.calls_since(mark).await;
        if calls.get("GetCustomerGateway") >= Some(&3) {
            Ok(())
        } else {
            Err(format!("{calls:?}"))
        }
    })
    .await
    .unwrap();
    let object = world
        .wait_for("office", "Deleting", |object| {
            condition(object, "Ready")["reason"] == "Deleting"
        })
        .await;
    assert!(message(&object).contains(&id), "{}", message(&object));
    assert_eq!(world.writes_since(mark).await, counts([("DeleteCustomerGateway", 1)]));
    world
        .simulator
        .post::<Value>("finish-deletions", &json!({}))
        .await
        .unwrap();
    world.wait_until_deleted("office").await;
    assert_eq!(world.writes_since(mark).await, counts([("DeleteCustomerGateway", 1)]));
    world.finish().await;
}

#[tokio::test]
async fn deletion_succeeds_when_the_gateway_no_longer_exists() {
    // The held request must not time out before its release.
    let world = World::with(Options::with(["--resync-period=0", "--request-timeout=7s"])).await;
    // Deleted in the cloud before the deletion, and between the read and the DELETE.
    let id = world.create("before", "{idValue: 203.0.113.7}").await;
    world.simulator.remove_gateway(&id).await.unwrap();
    let mark = world.mark().await;
    world.delete("before").await;
    world.wait_until_deleted("before").await;
    // Reads that do not return it may be stale.
    assert_eq!(world.writes_since(mark).await, counts([("DeleteCustomerGateway", 1)]));
    let id = world.create("between", "{idValue: 203.0.113.8}").await;
    let hold = json!({"fault": "hold", "operation": "DeleteCustomerGateway"});
    world.simulator.add_fault(&hold).await.unwrap();
    let mark = world.mark().await;
    world.delete("between").await;
    world.simulator.wait_for_held::<Value>(1).await.unwrap();
    world.simulator.remove_gateway(&id).await.unwrap();
    world.simulator.release(&json!({})).await.unwrap();
    world.wait_until_deleted("between").await;
    assert_eq!(world.writes_since(mark).await, counts([("DeleteCustomerGateway", 1)]));
    world.finish().await;
}

#[tokio::test]
async fn a_gateway_with_another_owner_tag_is_not_deleted() {
    let world = World::start().await;
    let id = world.create("office", "{name: office, idValue: 203.0.113.7}").await;
    let other = "11111111-0000-4000-8000-000000000000:elsewhere:ns:other";
    world.edit(&id, json!({"set_tags": {OWNER: other}})).await;
    let mark = world.mark().await;
    world.patch("office", json!({"spec": {"name": "office-2"}})).await;
    let object = world.wait_for_reason("office", "AlreadyManaged").await;
    assert!(message(&object).contains(other), "{}", message(&object));
    world.delete("office").await;
    world.wait_until_deleted("office").await;
    let note = world.wait_for_event("office", "Deleted").await;
    assert!(
        note.contains("left the customer gateway") && note.contains(other),
        "{note}"
    );
    assert_eq!(world.writes_since(mark).await, counts([]));
    assert_eq!(world.cloud_gateway(&id).await["name"], "office");
    world.finish().await;
}

/// A control plane for one test, which may delete its CRDs.
async fn own_plane() -> &'static ControlPlane {
    let plane = ControlPlane::own().await.unwrap();
    plane.apply_crds(&repository().join("crds")).await.unwrap();
    plane
}

#[tokio::test]
async fn deleting_the_crd_deletes_nothing_in_the_cloud() {
    let plane = own_plane().await;
    let world = World::on(plane, Options::with(["--resync-period=0"])).await;
    let before = world.create("before", "{idValue: 203.0.113.1}").await;
    let kept = world.create("kept", "{idValue: 203.0.113.2}").await;
    let retained = world
        .create("retained", "{idValue: 203.0.113.3, deletionPolicy: Retain}")
        .await;
    // Requested before the deletion of the CRD, and still in progress during it.
    world.edit(&before, json!({"connection": "vpn-1"})).await;
    world.delete("before").await;
    let waiting = world
        .wait_for("before", "has a connection", |object| {
            condition(object, "Ready")["reason"] == "DependencyNotReady"
        })
        .await;
    let asked_at = waiting["metadata"]["deletionTimestamp"].clone();
    // Deletion timestamps are in whole seconds, and their order must be clear.
    eventually("the next second", DEADLINE, async || {
        let now = jiff::Timestamp::now().to_string();
        if asked_at.as_str().is_some_and(|asked| now[..19] > asked[..19]) {
            Ok(())
        } else {
            Err(now)
        }
    })
    .await
    .unwrap();
    let mark = world.mark().await;
    let crd = "customergateways.vpn.huaweicloud.com";
    world.kubectl(["delete", "crd", crd, "--wait=false"]).await;
    world.wait_until_deleted("retained").await;
    let object = world
        .wait_for("kept", "CRDDeleting", |object| {
            condition(object, "Ready")["reason"] == "CRDDeleting"
        })
        .await;
    assert!(message(&object).contains("Retain"), "{}", message(&object));
    assert_eq!(
        world.writes_since(mark).await,
        counts([("RemoveCustomerGatewayTags", 1)])
    );
    world.edit(&before, json!({"connection": ""})).await;
    world.request("before").await;
    world.wait_until_deleted("before").await;
    assert!(world.cloud_gateway(&before).await.is_null());
    world.patch("kept", json!({"spec": {"deletionPolicy": "Retain"}})).await;
    eventually("the CRD is deleted", DEADLINE, async || {
        let output = plane
            .kubectl(["get", "crd", crd, "--ignore-not-found", "-o", "name"])
            .await;
        let left = output.and_then(vpn_operator_testbed::ToolOutput::success);
        match left {
            Ok(left) if left.is_empty() => Ok(()),
            Ok(left) => Err(left),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
    .unwrap();
    for id in [kept, retained] {
        assert_eq!(world.cloud_gateway(&id).await["tags"], json!({}));
    }
    // After the CRD is restored, everything works without a restart.
    plane.apply_crds(&repository().join("crds")).await.unwrap();
    world.create("after", "{idValue: 203.0.113.4}").await;
    world.finish().await;
}

#[tokio::test]
async fn an_unreadable_spec_does_not_block_deletion() {
    let plane = own_plane().await;
    let world = World::on(plane, Options::with(["--resync-period=0"])).await;
    let id = world.create("office", "{idValue: 203.0.113.7}").await;
    // A CRD of another version may admit such a spec.
    let crd = "customergateways.vpn.huaweicloud.com";
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let lax =
        json!([{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema", "value": schema}]).to_string();
    world
        .kubectl(["patch", "crd", crd, "--type=json", "--patch", &lax])
        .await;
    eventually("the lax schema is in force", DEADLINE, async || {
        world.try_patch("office", json!({"spec": {"idType": "PIGEON"}})).await
    })
    .await
    .unwrap();
    let object = world.wait_for_reason("office", "InvalidSpec").await;
    assert!(message(&object).contains("PIGEON"), "{}", message(&object));
    world.delete("office").await;
    world.wait_until_deleted("office").await;
    assert!(world.cloud_gateway(&id).await.is_null());
    world.finish().await;
}

#[tokio::test]
async fn a_secret_without_keys_does_not_block_deletion() {
    let world = World::start().await;
    world
        .apply_secret("empty", &BTreeMap::from([("note", "no keys here")]))
        .await;
    world
        .apply_gateway("office", "{idValue: 203.0.113.4, credentialsRef: {name: empty}}")
        .await;
    let object = world
        .wait_for("office", "not Ready", |object| {
            condition(object, "Ready")["status"] == "False"
        })
        .await;
    assert!(message(&object).contains("accessKey"), "{}", message(&object));
    world.delete("office").await;
    world.wait_until_deleted("office").await;
    world.finish().await;
}

/// This happens if a finalizer is added while the apiserver completes a deletion.
#[tokio::test]
async fn a_gateway_created_for_a_deleted_object_is_deleted_unless_retained() {
    let world = World::with(Options::with([
        "--resync-period=0",
        "--request-timeout=30s",
        "--leader-elect-lease-duration=60s",
    ]))
    .await;
    let hold = json!({"fault": "hold", "operation": "CreateCustomerGateway", "commit": true, "times": 2});
    world.simulator.add_fault(&hold).await.unwrap();
    world
        .apply_gateway("short", "{name: short, idValue: 203.0.113.1}")
        .await;
    world
        .apply_gateway("kept", "{name: kept, idValue: 203.0.113.2, deletionPolicy: Retain}")
        .await;
    world.simulator.wait_for_held::<Value>(2).await.unwrap();
    for name in ["short", "kept"] {
        world.kubectl(["delete", "cgw", name, "--wait=false"]).await;
        world.patch(name, json!({"metadata": {"finalizers": null}})).await;
        world.wait_until_deleted(name).await;
    }
    world.simulator.release(&json!({})).await.unwrap();
    let logged = eventually("both are logged", DEADLINE, async || {
        let log = world.running().log();
        let shown = |words: &str| log.contains(words);
        let words = [
            "was created; it is deleted again",
            "was created; deletionPolicy keeps it",
        ];
        if words.into_iter().all(shown) {
            Ok(())
        } else {
            Err("not yet")
        }
    });
    logged.await.unwrap();
    let left: Vec<Value> = world.cloud_gateways().await;
    let names: Vec<&Value> = left.iter().map(|gateway| &gateway["name"]).collect();
    assert_eq!(names, ["kept"]);
    world.finish().await;
}
