//! Runs the health scripts for Argo CD in Argo CD's own Lua, and kstatus as Flux has it, on objects that the operator
//! wrote. Its tests save them (see `tests/cluster/operator/goldens/samples.rs`): every reason of both kinds, paused,
//! deleted, and not seen yet.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use vpn_core::api::GROUP;
use vpn_core::api::conditions;
use vpn_core::api::conditions::{Progress, Reason};
use vpn_operator_testbed::{ControlPlane, GoProgram, Guardian};

const KINDS: [&str; 2] = ["CustomerGateway", "VpnUser"];

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The folder with the same layout as Argo CD's own.
fn customizations() -> PathBuf {
    project().join("deploy/argocd/resource_customizations")
}

fn script(kind: &str) -> String {
    std::fs::read_to_string(customizations().join(GROUP).join(kind).join("health.lua")).unwrap()
}

/// The samples of a kind: names of files, and objects.
fn samples(kind: &str) -> Vec<(String, Value)> {
    let folder = customizations().join(GROUP).join(kind).join("testdata");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let read = |name: String| {
        let text = std::fs::read_to_string(folder.join(&name)).unwrap();
        let object = serde_saphyr::from_str(&text).unwrap();
        (name, object)
    };
    names.into_iter().map(read).collect()
}

fn condition<'a>(object: &'a Value, type_: &str) -> Option<&'a Value> {
    let conditions = object["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions
        .find(|condition| condition["type"] == type_ && (type_ == conditions::READY || condition["status"] == "True"))
}

/// The expected health and message of an object, derived from the progress that the operator's code gives to its
/// reason.
fn expected(object: &Value) -> (&'static str, String) {
    let message = |condition: &Value| condition["message"].as_str().unwrap().to_owned();
    if let Some(paused) = condition(object, conditions::PAUSED) {
        return ("Suspended", message(paused));
    }
    let generation = &object["metadata"]["generation"];
    let Some(ready) = condition(object, conditions::READY).filter(|ready| ready["observedGeneration"] == *generation)
    else {
        return (
            "Progressing",
            format!("the operator has not seen generation {generation} yet"),
        );
    };
    let reason = Reason::ALL
        .into_iter()
        .find(|reason| ready["reason"] == reason.as_str());
    let status = match reason.expect("a reason of ours").progress() {
        Progress::Done => "Healthy",
        Progress::Reconciling => "Progressing",
        Progress::Stalled => "Degraded",
    };
    (status, message(ready))
}

/// Checks a generated file; `UPDATE_ARGOCD=1 cargo test --test argocd` generates it again.
fn is_up_to_date(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_ARGOCD").is_some() {
        std::fs::write(path, text).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == text,
        "{} is out of date: UPDATE_ARGOCD=1 cargo test --test argocd",
        path.display()
    );
}

#[test]
fn health_tests_cover_every_sample() {
    for kind in KINDS {
        let mut text = "tests:\n".to_owned();
        for (name, object) in samples(kind) {
            assert_eq!(object["kind"], kind, "{name}");
            let (status, message) = expected(&object);
            let message = json!(message);
            // Any JSON string is a YAML string.
            writeln!(
                text,
                "- healthStatus:\n    status: {status}\n    message: {message}\n  inputPath: testdata/{name}"
            )
            .unwrap();
        }
        is_up_to_date(&customizations().join(GROUP).join(kind).join("health_test.yaml"), &text);
    }
}

#[test]
fn every_reason_of_both_kinds_has_a_sample() {
    for kind in KINDS {
        let samples = samples(kind);
        let shown: BTreeSet<&str> = samples
            .iter()
            .filter_map(|(_, object)| condition(object, conditions::READY)?["reason"].as_str())
            .collect();
        let mut reasons: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        if kind == "CustomerGateway" {
            // Gateways have no password.
            reasons.remove(Reason::InvalidPassword.as_str());
        }
        assert_eq!(shown, reasons, "{kind}");
        let is_deleting = |object: &Value| object["metadata"]["deletionTimestamp"].is_string();
        for status in ["Healthy", "Progressing", "Degraded", "Suspended"] {
            let of_status = samples.iter().filter(|(_, object)| expected(object).0 == status);
            assert!(of_status.count() > 0, "{kind}: {status}");
        }
        assert!(samples.iter().any(|(_, object)| is_deleting(object)), "{kind}");
    }
}

/// Each kind has its own script, since Argo CD finds scripts by group and kind.
#[test]
fn both_kinds_have_the_same_script() {
    assert_eq!(script(KINDS[0]), script(KINDS[1]));
}

#[tokio::test]
async fn argo_cd_health_script_returns_the_expected_health_of_every_sample() {
    let guardian = Guardian::start().unwrap();
    let judge = GoProgram::build(&project().join("tests/gitops-judge"), &guardian)
        .await
        .unwrap();
    let arguments = [std::ffi::OsString::from("cases"), customizations().into()];
    let answer = judge.run(arguments, None).await.unwrap().success().unwrap();
    let cases: Vec<Value> = serde_json::from_str(&answer).unwrap();
    for case in &cases {
        // Without and with the libraries that a script in argocd-cm does not get.
        assert_eq!(
            case["found"],
            json!([case["expected"], case["expected"]]),
            "{}",
            case["object"]
        );
    }
    let objects: BTreeSet<&str> = cases.iter().filter_map(|case| case["object"].as_str()).collect();
    let kept: Vec<String> = KINDS
        .iter()
        .flat_map(|kind| samples(kind).into_iter().map(move |(name, _)| (kind, name)))
        .map(|(kind, name)| format!("{GROUP}/{kind}/testdata/{name}"))
        .collect();
    assert_eq!(objects, kept.iter().map(String::as_str).collect());
}

/// The kstatus that Flux should find for an object.
fn expected_by_kstatus(object: &Value) -> &'static str {
    match expected(object).0 {
        _ if object["metadata"]["deletionTimestamp"].is_string() => "Terminating",
        // A pause leaves things as they were: the paused samples were Ready.
        "Healthy" | "Suspended" => "Current",
        "Degraded" => "Failed",
        _ => "InProgress",
    }
}

#[tokio::test]
async fn kstatus_of_every_sample_matches_its_reason() {
    let guardian = Guardian::start().unwrap();
    let judge = GoProgram::build(&project().join("tests/gitops-judge"), &guardian)
        .await
        .unwrap();
    let (names, objects): (Vec<String>, Vec<Value>) = KINDS.iter().flat_map(|kind| samples(kind)).unzip();
    let arguments = [std::ffi::OsString::from("objects"), customizations().into()];
    let input = json!(objects).to_string();
    let answer = judge.run(arguments, Some(&input)).await.unwrap().success().unwrap();
    let verdicts: Vec<Value> = serde_json::from_str(&answer).unwrap();
    assert_eq!(verdicts.len(), objects.len());
    for ((name, object), verdict) in names.iter().zip(&objects).zip(&verdicts) {
        let verdicts = (&verdict["kstatus"]["status"], &verdict["argocd"]["status"]);
        let (kstatus, health) = (json!(expected_by_kstatus(object)), json!(expected(object).0));
        assert_eq!(verdicts, (&kstatus, &health), "{name}: {verdict}");
    }
}

/// The `ConfigMap` that carries the scripts, as text: a block of YAML keeps them readable.
fn snippet() -> String {
    let mut text = "\
# kubectl patch configmap argocd-cm -n argocd --type merge --patch-file deploy/argocd/argocd-cm.yaml
# Adds health scripts for customer gateways and VPN users to the configuration of Argo CD.
apiVersion: v1
kind: ConfigMap
metadata:
  name: argocd-cm
data:
"
    .to_owned();
    for kind in KINDS {
        writeln!(text, "  resource.customizations.health.{GROUP}_{kind}: |").unwrap();
        for line in script(kind).lines() {
            let indent = if line.is_empty() { "" } else { "    " };
            writeln!(text, "{indent}{line}").unwrap();
        }
    }
    text
}

#[tokio::test]
async fn the_config_map_patch_adds_the_scripts_and_keeps_other_settings() {
    let path = project().join("deploy/argocd/argocd-cm.yaml");
    is_up_to_date(&path, &snippet());
    let plane = ControlPlane::shared().await.unwrap();
    let namespace = plane.create_namespace("argocd").await.unwrap();
    let kubectl = async |arguments: &[&str]| {
        let all = ["--namespace", &namespace].into_iter().chain(arguments.iter().copied());
        plane.kubectl(all).await.unwrap().success().unwrap()
    };
    kubectl(&[
        "create",
        "configmap",
        "argocd-cm",
        "--from-literal=url=https://argocd.example.com",
    ])
    .await;
    let file = path.display().to_string();
    kubectl(&[
        "patch",
        "configmap",
        "argocd-cm",
        "--type",
        "merge",
        "--patch-file",
        &file,
    ])
    .await;
    let text = kubectl(&["get", "configmap", "argocd-cm", "--output", "json"]).await;
    let patched: Value = serde_json::from_str(&text).unwrap();
    let expected = json!({
        "url": "https://argocd.example.com",
        format!("resource.customizations.health.{GROUP}_{}", KINDS[0]): script(KINDS[0]),
        format!("resource.customizations.health.{GROUP}_{}", KINDS[1]): script(KINDS[1]),
    });
    assert_eq!(patched["data"], expected);
}
