//! `helm test`, by the real Helm. Nobody runs pods here, so the test plays the kubelet: it runs what the hook's container
//! would, against the operator that really runs, and writes down how it ended.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;
use vpn_operator_testbed::{ToolOutput, eventually};

use crate::install::plane;
use crate::release::{DEADLINE, Release, binaries};

const POD: &str = "vpn-vpn-operator-test";

#[tokio::test]
async fn helm_test_passes_with_a_ready_operator_and_says_what_is_missing_otherwise() {
    let mut release = Release::install(plane().await, &["crds.enabled=false".to_owned()]).await;
    // Every cluster makes one in each namespace.
    release.kubectl(["create", "serviceaccount", "default"]).await.unwrap();
    let enforce = "pod-security.kubernetes.io/enforce=restricted";
    release
        .kubectl(["label", "namespace", &release.namespace, enforce])
        .await
        .unwrap();

    let (helm, said) = helm_test(&release).await;
    assert!(!helm.status.success() && helm.stderr.contains(POD), "{helm:?}");
    assert!(said.contains("does not answer: no connection"), "{said}");
    assert!(said.contains("error: no operator is ready at http://"), "{said}");

    release.start_operator().await;
    release.operator().address(DEADLINE).await.unwrap();
    let (helm, said) = helm_test(&release).await;
    assert!(!helm.status.success() && helm.stderr.contains(POD), "{helm:?}");
    for said_of in [
        "answers 503",
        "[-] crd customergateways: pending",
        "[-] crd vpnusers: pending",
    ] {
        assert!(said.contains(said_of), "{said}");
    }
    // One that failed stays to be read, until the next one comes.
    let pod = release.get("pod", POD).await;
    assert_eq!(pod["status"]["phase"], "Failed");

    let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    release.plane.apply_crds(&crds).await.unwrap();
    release.operator().wait_until_ready(DEADLINE).await.unwrap();
    let (helm, said) = helm_test(&release).await;
    let told = helm.success().unwrap();
    assert!(told.contains("Succeeded"), "{told}");
    assert!(said.contains("[+] watch customergateways: ok"), "{said}");
    // One that succeeded is gone.
    release.kubectl(["get", "pod", POD]).await.unwrap_err();
    release.stop_operator().await;
}

/// What Helm said, and what the hook's container did.
async fn helm_test(release: &Release) -> (ToolOutput, String) {
    let before = uid(release).await;
    let arguments = ["test", "vpn", "--namespace", &release.namespace, "--timeout=120s"];
    let (helm, said) = tokio::join!(release.plane.helm(arguments), run_pod(release, &before));
    (helm.unwrap(), said)
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

/// Waits for another pod than that one, runs it and says how it ended.
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
    let deployment = release.get("deployment", "vpn-vpn-operator").await;
    let operator = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], operator["image"], "no foreign image");
    let mut arguments: Vec<String> = serde_json::from_value(container["args"].clone()).unwrap();
    for argument in &mut arguments {
        if argument.starts_with("http://") {
            *argument = resolved(release, argument, &deployment).await;
        } else if argument.starts_with("--timeout=") {
            // Whoever is to be ready is ready already.
            *argument = "--timeout=1s".to_owned();
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
    let said = String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap();
    let (phase, reason) = if ended.status.success() {
        ("Succeeded", "Completed")
    } else {
        ("Failed", "Error")
    };
    let terminated = json!({"exitCode": ended.status.code().unwrap(), "reason": reason, "message": said});
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
    said
}

/// The URL as cluster DNS and the Service lead it to the operator, which listens on this machine.
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
    // Without an address of the cluster there is nobody who would lead one port to another.
    assert_eq!(port["containerPort"], url.port().unwrap());
    url.set_host(Some("127.0.0.1")).unwrap();
    // Where the operator was put on this machine; nobody listens there without one.
    let listens = match &release.operator {
        Some(operator) => operator.address(DEADLINE).await.unwrap().port(),
        None => 1,
    };
    url.set_port(Some(listens)).unwrap();
    url.into()
}
