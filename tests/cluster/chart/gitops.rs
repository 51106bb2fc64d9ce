//! The chart and objects, applied like Argo CD: the output of `helm template` and Git, by client-side and server-side
//! apply. Nothing differs afterwards, whatever the operator has done.

use std::path::Path;

use serde_json::{Map, Value, json};
use vpn_operator_testbed::ControlPlane;

use crate::chart::release::{CHART, DEADLINE, Release};

/// The field manager of Argo CD.
const MANAGER: &str = "argocd-controller";
/// The CRDs must fit into the annotation of client-side apply, together with all other annotations.
const MOST_BYTES: usize = 256 * 1024;

/// How manifests are applied.
#[derive(Clone, Copy)]
enum Apply {
    ClientSide,
    ServerSide,
}

impl Apply {
    fn flags(self) -> Vec<String> {
        let manager = format!("--field-manager={MANAGER}");
        match self {
            Self::ClientSide => vec![manager],
            Self::ServerSide => vec![manager, "--server-side".to_owned()],
        }
    }
}

#[tokio::test]
async fn a_client_side_apply_leaves_no_diff() {
    sync_leaves_no_diff(Apply::ClientSide).await;
}

#[tokio::test]
async fn a_server_side_apply_leaves_no_diff() {
    sync_leaves_no_diff(Apply::ServerSide).await;
}

async fn sync_leaves_no_diff(apply: Apply) {
    // The CRDs come with the chart, so the control plane is the test's own.
    let plane = ControlPlane::own().await.unwrap();
    let namespace = plane.create_namespace("synced").await.unwrap();
    let mut release = Release::prepare(plane, namespace).await;
    let chart = release.template().await;
    sync(&release, apply, &chart).await;
    let crds =
        ["customergateways", "vpnusers"].map(|kind| format!("customresourcedefinition/{kind}.vpn.huaweicloud.com"));
    let [gateways, users] = crds.each_ref().map(String::as_str);
    let established = ["wait", "--for=condition=Established", "--timeout=60s", gateways, users];
    release.kubectl(established).await.unwrap();
    release.start_operator().await;
    release.operator().wait_until_ready(DEADLINE).await.unwrap();

    let mut objects = samples();
    sync(&release, apply, &objects).await;
    are_ready(&release).await;
    for manifests in [&chart, &objects] {
        nothing_differs(&release, apply, manifests).await;
    }
    // What Git changes or removes.
    for (before, after) in [
        ("environment: production", "environment: staging"),
        ("    cost-center: network\n", ""),
        ("Build agent of the platform team", "Build agent"),
    ] {
        assert!(objects.contains(before), "{objects}");
        objects = objects.replace(before, after);
    }
    sync(&release, apply, &objects).await;
    are_ready(&release).await;
    nothing_differs(&release, apply, &objects).await;
    let whole = ["get", "cgw,vpnu", "--output", "json", "--show-managed-fields"];
    let whole: Value = serde_json::from_str(&release.kubectl(whole).await.unwrap()).unwrap();
    let whole = whole["items"].as_array().unwrap();
    assert_eq!(whole.len(), 6);
    whole.iter().for_each(operator_owns_only_status_and_finalizers);
    release
        .kubectl(["delete", "cgw,vpnu", "--all", "--timeout=60s"])
        .await
        .unwrap();
    release.stop_operator().await;
}

/// The samples of the documentation.
fn samples() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    let texts: Vec<String> = files
        .iter()
        .map(|file| std::fs::read_to_string(file).unwrap())
        .collect();
    texts.join("---\n")
}

fn parse(manifests: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(manifests).unwrap();
    all.into_iter().filter(|manifest| !manifest.is_null()).collect()
}

async fn run(release: &Release, command: &str, apply: Apply, manifests: &str) -> Result<String, String> {
    let mut arguments = vec![command.to_owned(), "--namespace".to_owned(), release.namespace.clone()];
    arguments.extend(apply.flags());
    arguments.extend(["--filename".to_owned(), "-".to_owned()]);
    let output = release.plane.kubectl_with_input(arguments, manifests).await.unwrap();
    let printed = output.stdout.clone();
    output.success().map_err(|error| format!("{error}\n{printed}"))
}

async fn sync(release: &Release, apply: Apply, manifests: &str) {
    run(release, "apply", apply, manifests).await.unwrap();
}

async fn are_ready(release: &Release) {
    let wait = ["wait", "--for=condition=Ready", "--timeout=60s", "cgw,vpnu", "--all"];
    release.kubectl(wait).await.unwrap();
}

/// Compares by `kubectl diff`, which asks the apiserver what a sync would change, and by all values of the manifests.
async fn nothing_differs(release: &Release, apply: Apply, manifests: &str) {
    let difference = run(release, "diff", apply, manifests).await;
    assert_eq!(difference, Ok(String::new()));
    // The apiserver stores `stringData` as `data`.
    let is_comparable = |manifest: &Value| manifest["stringData"].is_null();
    let manifests: Vec<Value> = parse(manifests).into_iter().filter(is_comparable).collect();
    assert!(manifests.len() > 3, "{}", manifests.len());
    let list = json!({"apiVersion": "v1", "kind": "List", "items": manifests});
    let arguments = [
        "get",
        "--namespace",
        &release.namespace,
        "--output",
        "json",
        "--filename",
        "-",
    ];
    let output = release
        .plane
        .kubectl_with_input(arguments, &list.to_string())
        .await
        .unwrap();
    let live: Value = serde_json::from_str(&output.success().unwrap()).unwrap();
    let live = live["items"].as_array().unwrap();
    assert_eq!(live.len(), manifests.len());
    for (manifest, live) in manifests.iter().zip(live) {
        let path = format!("{} {}", manifest["kind"], manifest["metadata"]["name"]);
        compare(manifest, live, &path);
    }
}

/// Asserts that `live` contains every value of `wanted`.
fn compare(wanted: &Value, live: &Value, path: &str) {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            for (key, value) in wanted {
                let there = live.get(key).unwrap_or(&Value::Null);
                compare(value, there, &format!("{path}.{key}"));
            }
        }
        (Value::Array(wanted), Value::Array(live)) => {
            assert_eq!(wanted.len(), live.len(), "{path}");
            for (number, (value, there)) in wanted.iter().zip(live).enumerate() {
                compare(value, there, &format!("{path}[{number}]"));
            }
        }
        // 1.0 and 1 are the same number.
        (Value::Number(wanted), Value::Number(live)) => assert_eq!(wanted.as_f64(), live.as_f64(), "{path}"),
        _ => assert_eq!(wanted, live, "{path}"),
    }
}

fn operator_owns_only_status_and_finalizers(object: &Value) {
    let name = &object["metadata"]["name"];
    let mut of_operator = 0;
    for entry in object["metadata"]["managedFields"].as_array().into_iter().flatten() {
        if entry["manager"] == MANAGER {
            continue;
        }
        of_operator += 1;
        let fields = entry["fieldsV1"].as_object().unwrap();
        let keys = |fields: &Map<String, Value>| fields.keys().cloned().collect::<Vec<_>>();
        if entry["subresource"] == "status" {
            assert_eq!(keys(fields), ["f:status"], "{name}: {entry}");
        } else {
            assert_eq!(keys(fields), ["f:metadata"], "{name}: {entry}");
            let metadata = fields["f:metadata"].as_object().unwrap();
            assert_eq!(keys(metadata), ["f:finalizers"], "{name}: {entry}");
        }
    }
    assert_eq!(of_operator, 2, "{name}: {object:#}");
}

/// Fields that the apiserver drops would differ forever. Client-side apply fails for a CRD that is too large.
#[tokio::test]
async fn the_crds_have_no_dropped_fields_and_fit_client_side_apply() {
    let plane = ControlPlane::shared().await.unwrap();
    let namespace = plane.create_namespace("crds").await.unwrap();
    let release = Release::prepare(plane, namespace).await;
    let rendered = parse(&release.template().await);
    let crds: Vec<&Value> = rendered
        .iter()
        .filter(|object| object["kind"] == "CustomResourceDefinition")
        .collect();
    assert_eq!(crds.len(), 2);
    for crd in crds {
        let text = crd.to_string();
        assert!(text.len() < MOST_BYTES, "{} bytes", text.len());
        for dropped in ["preserveUnknownFields", "deprecated"] {
            assert!(!text.contains(&format!("\"{dropped}\":")), "{dropped}");
        }
        assert_eq!(
            crd["metadata"]["annotations"]["argocd.argoproj.io/sync-options"],
            "Prune=false"
        );
    }
}

/// The chart would refuse an unknown value.
#[tokio::test]
async fn the_chart_accepts_the_documented_argo_cd_and_flux_values() {
    let plane = ControlPlane::shared().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (page, kind, path) in [
        ("argocd.md", "Application", "/spec/sources/0/helm/valuesObject"),
        ("flux.md", "HelmRelease", "/spec/values"),
    ] {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page)).unwrap();
        let blocks = text
            .split("```yaml\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next());
        let manifests: Vec<Value> = blocks.flat_map(parse).collect();
        let manifest = manifests.iter().find(|manifest| manifest["kind"] == kind).unwrap();
        let values = manifest.pointer(path).unwrap();
        assert_eq!(values["clusterName"], "prod", "{values}");
        let file = folder.path().join(page);
        std::fs::write(&file, values.to_string()).unwrap();
        let arguments = ["template", "vpn-operator", CHART, "--values"].map(std::ffi::OsString::from);
        let rendered = plane.helm(arguments.into_iter().chain([file.into()])).await.unwrap();
        assert!(rendered.success().unwrap().contains("--cluster-name=prod"), "{page}");
    }
}
