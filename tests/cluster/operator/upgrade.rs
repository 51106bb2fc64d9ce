//! Upgrades of the CRD: objects that an older one accepted must not be stuck, and one that is too old must do no harm.

use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use vpn_core::api::{VpnUser, crds};
use vpn_operator_testbed::{ControlPlane, eventually};

use crate::operator::world::{DEADLINE, Options, World, condition, gateway, repository};

/// A control plane for one test: CRDs are cluster-scoped.
pub(crate) async fn own_plane() -> &'static ControlPlane {
    ControlPlane::own().await.unwrap()
}

fn present_crds() -> Vec<Value> {
    let crds = crds().expect("the rules fit the schemas");
    let as_json = |crd| serde_json::to_value(crd).expect("a CRD is plain data");
    crds.iter().map(as_json).collect()
}

/// The current CRD of a kind as JSON, for tests to change.
pub(crate) fn present_crd(kind: &str) -> Value {
    let mut crds = present_crds().into_iter();
    crds.find(|crd| crd["spec"]["names"]["kind"] == kind)
        .expect("there is a CRD")
}

/// Applies this CRD instead of the current one, and the current ones of the other kinds: the operator waits for all.
pub(crate) async fn apply_crd(plane: &ControlPlane, crd: &Value) {
    let folder = tempfile::tempdir().unwrap();
    for (number, present) in present_crds().iter().enumerate() {
        let is_replaced = present["metadata"]["name"] == crd["metadata"]["name"];
        let applied = if is_replaced { crd } else { present };
        let file = folder.path().join(format!("{number}.json"));
        std::fs::write(&file, applied.to_string()).unwrap();
    }
    plane.apply_crds(folder.path()).await.unwrap();
}

/// Removes every rule; names and types stay.
pub(crate) fn loosen(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            for rule in [
                "x-kubernetes-validations",
                "pattern",
                "enum",
                "minimum",
                "maximum",
                "minLength",
                "maxLength",
                "maxItems",
                "maxProperties",
            ] {
                fields.remove(rule);
            }
            fields.values_mut().for_each(loosen);
        }
        Value::Array(items) => items.iter_mut().for_each(loosen),
        _ => {}
    }
}

fn many_tags() -> Value {
    (0..25)
        .map(|number| (format!("key-{number}"), json!("value")))
        .collect()
}

/// New rules apply to new objects: existing ones can still get conditions and labels, and be corrected and deleted.
#[tokio::test]
async fn objects_of_an_older_crd_get_status_and_can_be_deleted() {
    let plane = own_plane().await;
    let mut lax = present_crd("CustomerGateway");
    loosen(&mut lax);
    apply_crd(plane, &lax).await;
    let options = Options {
        stopped: true,
        ..Options::with(["--resync-period=0"])
    };
    let mut world = World::on(plane, options).await;
    world.start_operator().await;

    // Created valid, made invalid while no operator runs.
    let long_secret = "s".repeat(300);
    let broken_later: Vec<(&str, Value, &str, &str)> = vec![
        ("made-name", json!({"name": "no good"}), "Rejected", "name must be"),
        (
            "made-id-value",
            json!({"idValue": "gone wrong"}),
            "InvalidSpec",
            "idValue",
        ),
        ("made-id-type", json!({"idType": "PIGEON"}), "InvalidSpec", "idType"),
        ("made-asn", json!({"bgpASN": -5}), "InvalidSpec", "bgpASN"),
        ("made-tags", json!({"tags": many_tags()}), "Rejected", "at most 20 tags"),
        ("made-tag-key", json!({"tags": {"a/b": "c"}}), "Rejected", "a/b"),
        (
            "made-policy",
            json!({"managementPolicy": "Whatever"}),
            "InvalidSpec",
            "managementPolicy",
        ),
        (
            "made-certificate",
            json!({"caCertificateSecretRef": {"name": "../x"}}),
            "InvalidSpec",
            "../x",
        ),
        (
            "made-credentials",
            json!({"credentialsRef": {"name": "No Such/Name"}}),
            "InvalidSpec",
            "No Such/Name",
        ),
    ];
    let count = broken_later.len();
    for (number, (name, ..)) in broken_later.iter().enumerate() {
        world
            .apply_gateway(name, &format!("{{idValue: 203.0.113.{number}, bgpASN: 65000}}"))
            .await;
    }
    world.wait_until_all_ready(count).await;
    assert_eq!(world.cloud_gateways().await.len(), count);
    world.stop_operator().await;
    for (name, edit, ..) in &broken_later {
        world.patch(name, json!({"spec": edit})).await;
    }

    // Invalid from the start.
    let long_name = "n".repeat(80);
    let broken_early: Vec<(&str, Value, &str, &str)> = vec![
        ("new-id-value", json!({"idValue": "gone wrong"}), "Rejected", "VPN.0203"),
        ("new-no-id-value", json!({}), "InvalidSpec", "idValue is required"),
        (
            "new-name",
            json!({"name": "no good", "idValue": "203.0.113.100"}),
            "Rejected",
            "name must be",
        ),
        (
            "new-id-type",
            json!({"idType": "PIGEON", "idValue": "203.0.113.101"}),
            "InvalidSpec",
            "idType",
        ),
        (
            "new-tags",
            json!({"idValue": "203.0.113.102", "tags": many_tags()}),
            "Rejected",
            "at most 20 tags",
        ),
        (
            "new-asn",
            json!({"idValue": "203.0.113.103", "bgpASN": 4_294_967_296_i64}),
            "Rejected",
            "bgp_asn",
        ),
        (
            "new-policies",
            json!({"idValue": "203.0.113.104", "adoptionPolicy": "x", "deletionPolicy": "y"}),
            "InvalidSpec",
            "deletionPolicy",
        ),
        (
            "new-observed",
            json!({"managementPolicy": "Observe", "externalID": "no-id"}),
            "Rejected",
            "36 characters",
        ),
        (
            "new-credentials",
            json!({"idValue": "203.0.113.105", "credentialsRef": {"name": long_secret}}),
            "SecretNotFound",
            "sss",
        ),
        (
            long_name.as_str(),
            json!({"idValue": "203.0.113.106"}),
            "Rejected",
            "name must be",
        ),
    ];
    for (name, spec, ..) in &broken_early {
        world.apply(&gateway(name, &spec.to_string())).await;
    }

    plane.apply_crds(&repository().join("crds")).await.unwrap();
    eventually("the new rules are in force", DEADLINE, async || {
        let probe = gateway("probe", "{idValue: no address}");
        let arguments = [
            "--namespace",
            &world.namespace,
            "create",
            "--dry-run=server",
            "--filename",
            "-",
        ];
        let output = plane.kubectl_with_input(arguments, &probe).await.unwrap();
        if output.stderr.contains("dotted IPv4") {
            Ok(())
        } else {
            Err(output.stderr)
        }
    })
    .await
    .unwrap();
    world.start_operator().await;

    for (name, _, reason, expected) in broken_later.iter().chain(&broken_early) {
        let object = world.wait_for_reason(name, reason).await;
        let ready = condition(&object, "Ready");
        assert_eq!(ready["status"], "False", "{name}");
        let message = ready["message"].as_str().unwrap_or_default();
        assert!(message.contains(expected), "{name}: {message}");
    }
    // Nothing invalid was created, and nothing valid was lost.
    assert_eq!(world.cloud_gateways().await.len(), count);

    world.kubectl(["label", "customergateways", "--all", "team=net"]).await;
    let labeled = world.list().await;
    assert_eq!(labeled.len(), count + broken_early.len());
    assert!(
        labeled
            .iter()
            .all(|object| object["metadata"]["labels"]["team"] == "net")
    );

    // Edits of other fields are accepted, and so are corrections of fields that are mutable.
    for (name, ..) in broken_later.iter().chain(&broken_early) {
        world.patch(name, json!({"spec": {"deletionPolicy": "Delete"}})).await;
    }
    world.patch("made-name", json!({"spec": {"name": "good"}})).await;
    world
        .patch("made-tag-key", json!({"spec": {"tags": {"a/b": null, "ab": "c"}}}))
        .await;
    world
        .patch("made-policy", json!({"spec": {"managementPolicy": null}}))
        .await;
    world
        .patch("made-credentials", json!({"spec": {"credentialsRef": null}}))
        .await;
    world.patch("made-asn", json!({"spec": {"bgpASN": null}})).await;
    for name in [
        "made-name",
        "made-tag-key",
        "made-policy",
        "made-credentials",
        "made-asn",
    ] {
        world.wait_for_reason(name, "Available").await;
    }
    // One is kept in the cloud although its identifier, which is immutable, is wrong.
    world
        .patch("made-id-value", json!({"spec": {"deletionPolicy": "Retain"}}))
        .await;
    world
        .patch("new-credentials", json!({"spec": {"credentialsRef": null}}))
        .await;

    for object in world.list().await {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        world.gateways().delete(name, &DeleteParams::default()).await.unwrap();
    }
    for (name, ..) in broken_later.iter().chain(&broken_early) {
        world.wait_until_deleted(name).await;
    }
    let left = world.cloud_gateways().await;
    let names: Vec<_> = left.iter().map(|gateway| &gateway["name"]).collect();
    assert_eq!(names, ["made-id-value"]);
    world.finish().await;
}

/// The same for users, by what the apiserver itself accepts: no operator is needed.
#[tokio::test]
async fn users_of_an_older_crd_accept_status_labels_edits_and_deletion() {
    let plane = own_plane().await;
    let mut lax = present_crd("VpnUser");
    loosen(&mut lax);
    apply_crd(plane, &lax).await;
    let namespace = plane.create_namespace("upgrade").await.unwrap();
    let client = plane.client().await.unwrap();
    let users: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &ApiResource::erase::<VpnUser>(&()));
    let create = async |name: &str, spec: &Value| {
        let object = json!({
            "apiVersion": "vpn.huaweicloud.com/v1alpha1", "kind": "VpnUser",
            "metadata": {"name": name, "finalizers": ["vpn.huaweicloud.com/cleanup"]}, "spec": spec,
        });
        users
            .create(&PostParams::default(), &serde_json::from_value(object).unwrap())
            .await
    };
    let user = |more: Value| {
        let mut spec = json!({
            "vpnServerID": "5e5e5e5e-0000-4000-8000-000000000001", "passwordSecretRef": {"name": "passwords"},
        });
        let fields = spec.as_object_mut().expect("an object");
        fields.extend(more.as_object().expect("an object").clone());
        spec
    };
    let broken = [
        ("short-name", user(json!({"name": "bob"}))),
        ("reserved-name", user(json!({"name": "link"}))),
        ("bob", user(json!({}))),
        ("cascade", user(json!({}))),
        ("bad-server", user(json!({"vpnServerID": "s"}))),
        ("no-server", json!({"vpnServerID": "", "name": "alice"})),
        ("no-password", user(json!({"passwordSecretRef": null}))),
        (
            "bad-secret",
            user(json!({"passwordSecretRef": {"name": "A/b", "key": ".."}})),
        ),
        (
            "two-groups",
            user(json!({"userGroupID": "None", "userGroupName": "ops"})),
        ),
        ("empty-groups", user(json!({"userGroupID": "", "userGroupName": ""}))),
        ("bad-address", user(json!({"staticIP": "192.168.10.6"}))),
        ("long-description", user(json!({"description": "x".repeat(100)}))),
        ("observed", user(json!({"managementPolicy": "Observe"}))),
        ("bad-policy", user(json!({"deletionPolicy": "Keep"}))),
    ];
    for (name, spec) in &broken {
        create(name, spec).await.unwrap();
    }

    plane.apply_crds(&repository().join("crds")).await.unwrap();
    eventually("the new rules are in force", DEADLINE, async || {
        match create("probe", &user(json!({"staticIP": "192.168.10.6"}))).await {
            Err(kube::Error::Api(status)) if status.message.contains("multiple of four") => Ok(()),
            Err(error) => Err(error.to_string()),
            Ok(_) => {
                users.delete("probe", &DeleteParams::default()).await.unwrap();
                let released = Patch::Merge(json!({"metadata": {"finalizers": null}}));
                users.patch("probe", &PatchParams::default(), &released).await.unwrap();
                Err("a wrong address is accepted".to_owned())
            }
        }
    })
    .await
    .unwrap();

    let params = PatchParams::default();
    for (name, _) in &broken {
        let status = json!({"status": {"id": "11111111-2222-3333-4444-555555555555", "name": "in.the.cloud"}});
        let reported = users.patch_status(name, &params, &Patch::Merge(status)).await;
        reported.unwrap_or_else(|error| panic!("{name}: {error}"));
        for edit in [
            json!({"metadata": {"labels": {"team": "net"}}}),
            json!({"spec": {"deletionPolicy": "Retain", "credentialsRef": {"name": "cloud"}}}),
        ] {
            let edited = users.patch(name, &params, &Patch::Merge(edit)).await;
            edited.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        users.delete(name, &DeleteParams::default()).await.unwrap();
        let released = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        let released = users.patch(name, &params, &released).await;
        released.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    assert_eq!(users.list(&ListParams::default()).await.unwrap().items.len(), 0);
}

/// A CRD that prunes what must be recorded: nothing is created until the CRD is updated.
#[tokio::test]
async fn with_an_outdated_crd_nothing_is_created_until_its_update() {
    let plane = own_plane().await;
    let mut old = present_crd("CustomerGateway");
    let status = old.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/status/properties");
    let removed = status
        .and_then(Value::as_object_mut)
        .and_then(|fields| fields.remove("intent"));
    assert!(removed.is_some(), "the status has an intent");
    apply_crd(plane, &old).await;
    let world = World::on(plane, Options::with(["--resync-period=0"])).await;

    let mark = world.mark().await;
    world.apply_gateway("office", "{idValue: 203.0.113.7}").await;
    let crd = "customergateways.vpn.huaweicloud.com";
    let update = "vpn-operator crd | kubectl apply --server-side -f -";
    let ready_page = async || world.running().get("/readyz", DEADLINE).await.unwrap();
    eventually("the operator is not ready", DEADLINE, async || {
        match ready_page().await {
            (503, page) if page.contains(crd) && page.contains(update) => Ok(()),
            (status, page) => Err(format!("{status}: {page}")),
        }
    })
    .await
    .unwrap();
    let line = world
        .running()
        .wait_for_log("is older than this operator", DEADLINE)
        .await
        .unwrap();
    assert!(line.contains(crd) && line.contains(update), "{line}");
    assert_eq!(world.running().get("/livez", DEADLINE).await.unwrap().0, 200);
    // The endpoint and the log may report the CRD before the object is reconciled.
    let object = world.wait_for_reason("office", "DependencyNotReady").await;
    assert_eq!(condition(&object, "Ready")["status"], "False");
    assert_eq!(world.calls_since(mark).await.get("CreateCustomerGateway"), None);
    assert!(world.cloud_gateways().await.is_empty());

    plane.apply_crds(&repository().join("crds")).await.unwrap();
    let object = world.wait_for_reason("office", "Available").await;
    let cloud = world.cloud_gateways().await;
    assert_eq!(cloud.len(), 1);
    assert_eq!(cloud[0]["id"], object["status"]["id"]);
    assert_eq!(world.calls_since(mark).await.get("CreateCustomerGateway"), Some(&1));
    eventually("the update was seen", DEADLINE, async || match ready_page().await {
        (200, page) if page.contains("[i] age of crd customergateways: up to date") => Ok(()),
        (status, page) => Err(format!("{status}: {page}")),
    })
    .await
    .unwrap();
    world.finish().await;
}
