//! `helm test` with the real Helm. No kubelet runs here, so the test acts as one: it runs the command of the hook's
//! container against the real operator, and writes the result to the pod's status.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;
use vpn_operator_testbed::{ToolOutput, eventually};

use crate::chart::install::plane;
use crate::chart::release::{DEADLINE, Release, binaries};
use crate::chart::rendering::{of_kind, render};

const POD: &str = "vpn-operator-test";

#[tokio::test]
async fn helm_test_passes_if_ready_and_reports_failed_checks_otherwise() {
    let mut release = Release::install(plane().await, &["crds.enabled=false".to_owned()]).await;
    // Every cluster creates one in each namespace.
    release.kubectl(["create", "serviceaccount", "default"]).await.unwrap();
    let enforce = "pod-security.kubernetes.io/enforce=restricted";
    release
        .kubectl(["label", "namespace", &release.namespace, enforce])
        .await
        .unwrap();

    let (helm, printed) = helm_test(&release).await;
    assert!(!helm.status.success() && helm.stderr.contains(POD), "{helm:?}");
    assert!(printed.contains("does not answer: no connection"), "{printed}");
    assert!(printed.contains("error: no operator is ready at http://"), "{printed}");

    release.start_operator().await;
    release.operator().address(DEADLINE).await.unwrap();
    let (helm, printed) = helm_test(&release).await;
    assert!(!helm.status.success() && helm.stderr.contains(POD), "{helm:?}");
    for reported in [
        "answers 503",
        "[-] crd customergateways: pending",
        "[-] crd vpnusers: pending",
    ] {
        assert!(printed.contains(reported), "{printed}");
    }
    // A failed pod is kept for inspection until the next one is created.
    let pod = release.get("pod", POD).await;
    assert_eq!(pod["status"]["phase"], "Failed");

    let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    release.plane.apply_crds(&crds).await.unwrap();
    release.operator().wait_until_ready(DEADLINE).await.unwrap();
    let (helm, printed) = helm_test(&release).await;
    let output = helm.success().unwrap();
    assert!(output.contains("Succeeded"), "{output}");
    assert!(printed.contains("[+] watch customergateways: ok"), "{printed}");
    // A succeeded pod is deleted.
    release.kubectl(["get", "pod", POD]).await.unwrap_err();
    release.stop_operator().await;
}

/// Where everything that no policy allows is forbidden, the request of the hook and its answer are allowed.
#[tokio::test]
async fn network_policies_allow_the_test_hook_to_reach_the_operator() {
    let objects = render(&[
        "networkPolicy.enabled=true",
        "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.name=monitoring",
    ])
    .await
    .unwrap();
    let labels = &of_kind(&objects, "Pod")[0]["metadata"]["labels"];
    let operator = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["metadata"]["labels"];
    let policies = of_kind(&objects, "NetworkPolicy");
    let policy = |labels: &Value| {
        let chosen: Vec<_> = policies
            .iter()
            .filter(|policy| chooses(&policy["spec"]["podSelector"]["matchLabels"], labels))
            .collect();
        assert_eq!(chosen.len(), 1, "{labels}");
        chosen[0]["spec"].clone()
    };
    let (way_out, way_in) = (policy(labels), policy(operator));
    let out = way_out["egress"].as_array().unwrap();
    let out = out.iter().find(|rule| {
        rule["to"][0]["podSelector"]["matchLabels"].is_object()
            && chooses(&rule["to"][0]["podSelector"]["matchLabels"], operator)
    });
    let entry = way_in["ingress"][0]["from"].as_array().unwrap();
    assert_eq!(entry.len(), 2, "{entry:?}");
    assert!(chooses(&entry[1]["podSelector"]["matchLabels"], labels), "{entry:?}");
    assert_eq!(out.unwrap()["ports"], way_in["ingress"][0]["ports"]);
    let others =
        ["Deployment", "PodDisruptionBudget"].map(|kind| of_kind(&objects, kind)[0]["spec"]["selector"].clone());
    for selector in others {
        assert!(!chooses(&selector["matchLabels"], labels), "{selector}");
    }
    assert!(!chooses(&of_kind(&objects, "Service")[0]["spec"]["selector"], labels));
}

fn chooses(selector: &Value, labels: &Value) -> bool {
    let mut selector = selector.as_object().unwrap().iter();
    selector.all(|(key, value)| labels[key] == *value)
}

/// Returns the output of Helm and of the hook's container.
async fn helm_test(release: &Release) -> (ToolOutput, String) {
    let before = uid(release).await;
    let arguments = [
        "test",
        "vpn-operator",
        "--namespace",
        &release.namespace,
        "--timeout=120s",
    ];
    let (helm, printed) = tokio::join!(release.plane.helm(arguments), run_pod(release, &before));
    (helm.unwrap(), printed)
}

async fn uid(release: &Release) -> String {
    let uid = [
        "get",
        "pod",
        POD,
        "--ignore-not-found",
        "--output",
        "jsonpath={.metadata.uid}",
    ];
    release.kubectl(uid).await.unwrap()
}

/// Waits for a pod with another uid, runs it, writes the result to its status, and returns its output.
async fn run_pod(release: &Release, before: &str) -> String {
    eventually("the hook's pod", DEADLINE, async || match uid(release).await {
        uid if uid.is_empty() || uid == before => Err(uid),
        _ => Ok(()),
    })
    .await
    .unwrap();
    let pod = release.get("pod", POD).await;
    let spec = &pod["spec"];
    assert!(spec["volumes"].is_null(), "no token is mounted: {spec}");
    assert_eq!(spec["containers"].as_array().map(Vec::len), Some(1));
    let container = &spec["containers"][0];
    let deployment = release.get("deployment", "vpn-operator").await;
    let operator = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], operator["image"], "no foreign image");
    let mut arguments: Vec<String> = serde_json::from_value(container["args"].clone()).unwrap();
    for argument in &mut arguments {
        if argument.starts_with("http://") {
            *argument = resolved(release, argument, &deployment).await;
        } else if argument.starts_with("--timeout=") {
            // An operator that can become ready is ready already.
            "--timeout=5s".clone_into(argument);
        }
    }
    let ended = Command::new(binaries().operator)
        .args(&arguments)
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let printed = String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap();
    let (phase, reason) = if ended.status.success() {
        ("Succeeded", "Completed")
    } else {
        ("Failed", "Error")
    };
    let terminated = json!({"exitCode": ended.status.code().unwrap(), "reason": reason, "message": printed});
    let status = json!({"phase": phase, "containerStatuses": [{
        "name": container["name"], "image": container["image"], "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": terminated},
    }]});
    let patch = json!({"status": status}).to_string();
    let arguments = [
        "patch",
        "pod",
        POD,
        "--subresource=status",
        "--type=merge",
        "--patch",
        &patch,
    ];
    release.kubectl(arguments).await.unwrap();
    printed
}

/// Resolves the URL as cluster DNS and the Service do, to the operator that listens on this machine.
async fn resolved(release: &Release, url: &str, deployment: &Value) -> String {
    let mut url: url::Url = url.parse().unwrap();
    let host = url.host_str().unwrap().to_owned();
    let name = host.strip_suffix(&format!(".{}.svc", release.namespace)).unwrap();
    let service = release.get("service", name).await;
    assert_eq!(
        service["spec"]["clusterIP"], "None",
        "the name stands for the pods themselves"
    );
    assert_eq!(
        service["spec"]["publishNotReadyAddresses"], true,
        "also for those that are not ready"
    );
    let template = &deployment["spec"]["template"];
    for (key, value) in service["spec"]["selector"].as_object().unwrap() {
        assert_eq!(template["metadata"]["labels"][key], *value, "{key}");
    }
    let ports = template["spec"]["containers"][0]["ports"].as_array().unwrap();
    let target = &service["spec"]["ports"][0]["targetPort"];
    let port = ports.iter().find(|port| port["name"] == *target).unwrap();
    // A headless Service cannot map one port to another.
    assert_eq!(port["containerPort"], url.port().unwrap());
    url.set_host(Some("127.0.0.1")).unwrap();
    // The port of the operator on this machine; without an operator, one on which nothing listens.
    let listens = match &release.operator {
        Some(operator) => operator.address(DEADLINE).await.unwrap().port(),
        None => 1,
    };
    url.set_port(Some(listens)).unwrap();
    url.into()
}
