//! The control plane is a real one, and does what tests ask of it.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::Value;
use vpn_operator_testbed::{ControlPlane, Error, Tool, eventually, wait_for_condition};

const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn kubectl_reports_client_and_server_versions() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let text = control_plane
        .kubectl(["version", "--output=json"])
        .await
        .unwrap()
        .success()
        .unwrap();
    let versions: Value = serde_json::from_str(&text).unwrap();
    for side in ["clientVersion", "serverVersion"] {
        assert_eq!(versions[side]["major"], "1", "{side} in {text}");
        assert!(
            versions[side]["gitVersion"].as_str().unwrap().starts_with("v1."),
            "{side} in {text}"
        );
    }
}

#[tokio::test]
async fn the_control_plane_outlives_the_runtime_that_started_it() {
    let name = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            ControlPlane::shared()
                .await
                .unwrap()
                .create_namespace("first")
                .await
                .unwrap()
        })
    })
    .join()
    .unwrap();
    let client = ControlPlane::shared().await.unwrap().client().await.unwrap();
    let namespace = Api::<Namespace>::all(client).get(&name).await.unwrap();
    assert_eq!(namespace.metadata.name, Some(name));
}

#[tokio::test]
async fn applied_crds_are_served() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("crd.yaml"), CRD).unwrap();
    control_plane.apply_crds(folder.path()).await.unwrap();

    let lamp = r#"{"apiVersion":"testbed.example.com/v1","kind":"Lamp","metadata":{"name":"l","namespace":"default"}}"#;
    let output = control_plane
        .kubectl_with_input(["apply", "-f", "-"], lamp)
        .await
        .unwrap()
        .success()
        .unwrap();
    assert_eq!(output, "lamp.testbed.example.com/l created\n");

    let client = control_plane.client().await.unwrap();
    let crds: Api<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition> =
        Api::all(client);
    let name = "lamps.testbed.example.com";
    wait_for_condition(
        &crds,
        name,
        ("Established", "True"),
        Some("InitialNamesAccepted"),
        DEADLINE,
    )
    .await
    .unwrap();
    let error = wait_for_condition(&crds, name, ("Established", "False"), None, Duration::from_millis(300))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Deadline { last, .. } if last.contains("InitialNamesAccepted")),
        "{error}"
    );
}

const CRD: &str = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: lamps.testbed.example.com}
spec:
  group: testbed.example.com
  scope: Namespaced
  names: {plural: lamps, singular: lamp, kind: Lamp}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object}}
";

#[tokio::test]
async fn a_service_account_has_only_its_granted_permissions() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let namespace = control_plane.create_namespace("permissions").await.unwrap();
    let arguments = ["create", "serviceaccount", "nobody", "--namespace", &namespace];
    control_plane.kubectl(arguments).await.unwrap().success().unwrap();
    let kubeconfig = control_plane
        .service_account_kubeconfig(&namespace, "nobody")
        .await
        .unwrap();

    let arguments = [
        "get",
        "secrets",
        "--kubeconfig",
        kubeconfig.to_str().unwrap(),
        "--namespace",
        &namespace,
    ];
    let output = control_plane.kubectl(arguments).await.unwrap();
    assert!(!output.status.success());
    let user = format!("system:serviceaccount:{namespace}:nobody");
    assert!(
        output.stderr.contains("Forbidden") && output.stderr.contains(&user),
        "{}",
        output.stderr
    );
}

#[tokio::test]
async fn the_namespace_controller_deletes_a_namespace_with_its_content() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let name = control_plane.create_namespace("whole").await.unwrap();
    let client = control_plane.client().await.unwrap();
    let config_map: ConfigMap =
        serde_json::from_value(serde_json::json!({ "metadata": { "name": "content" } })).unwrap();
    Api::namespaced(client.clone(), &name)
        .create(&PostParams::default(), &config_map)
        .await
        .unwrap();

    let namespaces = Api::<Namespace>::all(client);
    namespaces.delete(&name, &DeleteParams::default()).await.unwrap();
    assert!(
        namespaces.get_opt(&name).await.unwrap().is_some(),
        "nobody has finalized it yet"
    );

    let _controller = control_plane
        .start_controllers(&["namespace-controller"])
        .await
        .unwrap();
    eventually("the namespace is deleted", DEADLINE, async || {
        match namespaces.get_opt(&name).await {
            Ok(None) => Ok(()),
            Ok(Some(namespace)) => Err(format!("{:?}", namespace.status)),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn stored_objects_survive_an_apiserver_outage() {
    let control_plane = ControlPlane::start().await.unwrap();
    let name = control_plane.create_namespace("kept").await.unwrap();

    control_plane.stop_api_server().unwrap();
    let output = control_plane.kubectl(["get", "namespace", &name]).await.unwrap();
    assert!(!output.status.success(), "{}", output.stdout);

    control_plane.start_api_server().await.unwrap();
    let output = control_plane.kubectl(["get", "namespace", &name]).await.unwrap();
    assert!(output.success().unwrap().contains("Active"));
}

#[tokio::test]
async fn a_tests_own_control_plane_ends_with_its_thread() {
    let test = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let control_plane = ControlPlane::own().await.unwrap();
            control_plane.compact_etcd().await.unwrap();
            control_plane
        })
    });
    let control_plane = test.join().unwrap();
    let output = control_plane.kubectl(["get", "namespaces"]).await.unwrap();
    assert!(!output.status.success(), "{}", output.stdout);
    control_plane.compact_etcd().await.unwrap_err();
}

#[tokio::test]
async fn helm_works_with_the_control_plane() {
    let control_plane = ControlPlane::shared().await.unwrap();
    assert!(control_plane.tool(Tool::Helm).await.unwrap().is_file());
    let releases = control_plane
        .helm(["list", "--all-namespaces", "--output=json"])
        .await
        .unwrap();
    assert_eq!(releases.success().unwrap().trim(), "[]");
}
