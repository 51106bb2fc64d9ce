//! Everything that the chart renders fits the schemas of every supported Kubernetes. Chart and documentation name
//! the same oldest one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use vpn_operator_testbed::{ControlPlane, Python};

use crate::chart::release::CHART;
use crate::chart::rendering::{render, render_release};

const PACKAGE: &str = "kubernetes-validate";
const VERSION: &str = "1.37.0";
/// The newest Kubernetes with schemas; the test bed's own is as new.
const NEWEST: u32 = 37;

/// Kinds of other operators: Kubernetes has no schemas for them.
const NOT_VALIDATED: [&str; 3] = ["PodMonitor", "PrometheusRule", "ServiceMonitor"];

/// Sets of values that together make the chart render everything it can.
const EVERYTHING: [&[&str]; 3] = [
    &[
        "metrics.serviceMonitor.enabled=true",
        "metrics.prometheusRule.enabled=true",
        "metrics.dashboard.enabled=true",
        "networkPolicy.enabled=true",
        "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.name=monitoring",
        "credentials.secretName=cloud",
        "ca.configMapName=roots",
        "imagePullSecrets[0].name=registry",
        "priorityClassName=system-cluster-critical",
        "tolerations[0].operator=Exists",
        "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key=a",
        "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].operator=Exists",
        "extraEnv[0].name=HTTPS_PROXY",
        "extraEnv[0].value=http://proxy.example.com:3128",
        "extraEnvFrom[0].configMapRef.name=more",
        "extraVolumes[0].name=scratch",
        "extraVolumes[0].emptyDir.medium=Memory",
        "extraVolumeMounts[0].name=scratch",
        "extraVolumeMounts[0].mountPath=/scratch",
        "serviceAccount.annotations.a=b",
        "service.annotations.a=b",
        "deploymentAnnotations.a=b",
        "podAnnotations.a=b",
        "podLabels.a=b",
        "commonLabels.c=d",
        "networkPolicy.extraIngress[0].from[0].podSelector.matchLabels.a=b",
        "networkPolicy.extraEgress[0].to[0].ipBlock.cidr=192.0.2.0/24",
        "networkPolicy.dnsPorts={53,5353}",
        "strategy.type=RollingUpdate",
        "strategy.rollingUpdate.maxSurge=1",
        "hostAliases[0].ip=192.0.2.1",
        "hostAliases[0].hostnames[0]=vpn.example.com",
        "dnsPolicy=None",
        "dnsConfig.nameservers[0]=192.0.2.53",
        "runtimeClassName=gvisor",
        "initContainers[0].name=wait",
        "initContainers[0].image=busybox",
        "extraContainers[0].name=proxy",
        "extraContainers[0].image=proxy",
        "extraObjects[0].apiVersion=v1",
        "extraObjects[0].kind=ConfigMap",
        "extraObjects[0].metadata.name=more",
        "serviceAccount.labels.a=b",
        "podDisruptionBudget.minAvailable=1",
        "rbac.extraRules[0].apiGroups[0]=apps",
        "rbac.extraRules[0].resources[0]=deployments",
        "rbac.extraRules[0].verbs[0]=get",
        "global.imagePullSecrets={shared}",
    ],
    &[
        "watchNamespaces={one,two}",
        "secrets.names={a,b}",
        "metrics.podMonitor.enabled=true",
        "leaderElect=false",
        "replicaCount=1",
        "openshift.enabled=true",
    ],
    &[
        "simulator.enabled=true",
        "networkPolicy.enabled=true",
        "crds.keep=false",
    ],
];

/// The minor version in the chart's `kubeVersion`.
fn oldest() -> u32 {
    let chart = std::fs::read_to_string(Path::new(CHART).join("Chart.yaml")).unwrap();
    let chart: Value = serde_saphyr::from_str(&chart).unwrap();
    let range = chart["kubeVersion"].as_str().unwrap();
    let oldest = range.strip_prefix(">=1.").and_then(|rest| rest.strip_suffix(".0-0"));
    oldest.unwrap_or_else(|| panic!("{range}")).parse().unwrap()
}

fn versions() -> Vec<String> {
    (oldest()..=NEWEST).map(|minor| format!("1.{minor}")).collect()
}

/// For each version, the error of each object.
async fn verdicts(objects: &[Value]) -> Vec<Vec<Option<String>>> {
    let plane = ControlPlane::shared().await.unwrap();
    let python = Python::with(PACKAGE, VERSION, "kubernetes_validate", plane.guardian())
        .await
        .unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemas/validate.py");
    let question = json!({"versions": versions(), "objects": objects}).to_string();
    let answer = python.run(&script, Vec::new(), Some(&question)).await.unwrap();
    serde_json::from_str(&answer.success().unwrap()).unwrap()
}

async fn everything() -> Vec<Value> {
    let mut objects = Vec::new();
    for values in EVERYTHING {
        objects.extend(render(values).await.unwrap());
    }
    objects.retain(|object| !object.is_null());
    objects
}

#[tokio::test]
async fn rendered_objects_are_valid_in_every_supported_kubernetes_version() {
    let objects = everything().await;
    let versions = versions();
    assert!(versions.contains(&"1.33".to_owned()) && versions.contains(&"1.37".to_owned()));
    let mut unknown = BTreeSet::new();
    for (version, verdicts) in versions.iter().zip(verdicts(&objects).await) {
        assert_eq!(verdicts.len(), objects.len());
        for (object, verdict) in objects.iter().zip(verdicts) {
            let kind = object["kind"].as_str().unwrap();
            match verdict.as_deref() {
                None => {}
                Some("no schema") => drop(unknown.insert(kind)),
                Some(wrong) => panic!("{version}: {kind} {}: {wrong}", object["metadata"]["name"]),
            }
        }
    }
    assert_eq!(unknown.into_iter().collect::<Vec<_>>(), NOT_VALIDATED);
}

/// Unquoted, they would be read as numbers and booleans, which the schemas refuse.
#[tokio::test]
async fn strings_that_look_like_numbers_or_booleans_stay_strings() {
    let texts = [
        "nameOverride=1e3",
        "fullnameOverride=0x10",
        "image.repository=1.5",
        "image.tag=2026",
        "region=1e3",
        "clusterName=1e3",
        "watchNamespaces={1,2}",
        "defaultCredentialsNamespaces={3}",
        "watchSelector=!a",
        "credentials.secretName=4",
        "credentials.accessKeyKey=5",
        "credentials.secretKeyKey=6",
        "credentials.securityTokenKey=true",
        "ca.configMapName=7",
        "ca.key=8",
        "secrets.names={9}",
        "serviceAccount.name=10",
        "serviceAccount.annotations.a=11",
        "commonLabels.a=true",
        "deploymentAnnotations.a=no",
        "podLabels.a=1",
        "podAnnotations.a=1",
        "priorityClassName=12",
        "imagePullSecrets[0].name=13",
        "nodeSelector.a=1",
        "service.annotations.a=1",
        "extraArgs={--read-only}",
        "metrics.dashboard.labels.a=1",
    ];
    let mut arguments: Vec<&str> = texts.iter().flat_map(|text| ["--set-string", text]).collect();
    arguments.extend([
        "--set",
        "networkPolicy.enabled=true",
        "--set",
        "metrics.dashboard.enabled=true",
    ]);
    let mut objects = render_release("789", "456", &arguments).await.unwrap();
    objects.extend(
        render_release("789", "456", &["--set", "simulator.enabled=true"])
            .await
            .unwrap(),
    );
    objects.retain(|object| !object.is_null());
    for (version, verdicts) in versions().iter().zip(verdicts(&objects).await) {
        for (object, verdict) in objects.iter().zip(verdicts) {
            assert_eq!(verdict, None, "{version}: {object}");
        }
    }
}

/// Otherwise a template that is missing above would never be validated.
#[tokio::test]
async fn every_template_is_validated() {
    let plane = ControlPlane::shared().await.unwrap();
    let mut rendered = String::new();
    for values in EVERYTHING {
        let mut arguments = vec!["template", "vpn-operator", CHART];
        arguments.extend(values.iter().flat_map(|value| ["--set", value]));
        rendered += &plane.helm(arguments).await.unwrap().success().unwrap();
    }
    let templates = Path::new(CHART).join("templates");
    let mut files = Vec::new();
    for folder in [templates.clone(), templates.join("tests")] {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")));
    }
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        let name = file.strip_prefix(&templates).unwrap().display().to_string();
        assert!(
            rendered.contains(&format!("# Source: vpn-operator/templates/{name}\n")),
            "{name}"
        );
    }
}

#[tokio::test]
async fn every_version_refuses_an_invalid_object() {
    let objects = everything().await;
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
    let mut misspelt = deployment.clone();
    misspelt["spec"]["template"]["spec"]["containers"][0]["imagePullPolice"] = "Always".into();
    let mut mistyped = deployment.clone();
    mistyped["spec"]["replicas"] = "two".into();
    let verdicts = verdicts(&[misspelt, mistyped, deployment.clone()]).await;
    assert_eq!(verdicts.len(), versions().len());
    for verdict in verdicts {
        assert!(
            verdict[0]
                .as_ref()
                .unwrap()
                .contains("'imagePullPolice' was unexpected"),
            "{verdict:?}"
        );
        assert!(verdict[1].as_ref().unwrap().contains("spec.replicas"), "{verdict:?}");
        assert_eq!(verdict[2], None);
    }
}

#[test]
fn chart_and_documentation_state_the_same_minimum_version() {
    let project = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let named = format!("Kubernetes 1.{} or newer", oldest());
    let pages = [
        "README.md",
        "docs/install.md",
        "docs/getting-started.md",
        "charts/vpn-operator/README.md",
    ];
    for page in pages {
        let text = std::fs::read_to_string(project.join(page)).unwrap();
        // Line breaks do not matter.
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(&named), "{page} does not say: {named}");
        for (place, _) in text.match_indices("Kubernetes 1.") {
            assert!(text[place..].starts_with(&named), "{page} names another as well");
        }
    }
}
