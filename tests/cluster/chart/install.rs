//! Installed, used, upgraded.

use vpn_operator_testbed::ControlPlane;

use crate::chart::release::{CHART, DEADLINE, Release};
use crate::chart::story::live;

/// The CRDs come with the release, so each test has a control plane of its own.
pub(crate) async fn plane() -> &'static ControlPlane {
    ControlPlane::own().await.unwrap()
}

#[tokio::test]
async fn the_charts_permissions_suffice_for_both_kinds_in_all_namespaces() {
    let mut release = Release::install(plane().await, &[]).await;
    release.start_operator().await;
    release.operator().wait_until_ready(DEADLINE).await.unwrap();
    let elsewhere = release.plane.create_namespace("elsewhere").await.unwrap();
    for (namespace, octet) in [(release.namespace.clone(), 1), (elsewhere, 2)] {
        live(&release, &namespace, "life", octet).await.unwrap();
    }
    release.stop_operator().await;
}

#[tokio::test]
async fn with_watched_namespaces_other_secrets_cannot_be_read() {
    let plane = plane().await;
    let (watched, other) = (
        plane.create_namespace("watched").await.unwrap(),
        plane.create_namespace("other").await.unwrap(),
    );
    let mut release = Release::install(plane, &[format!("watchNamespaces={{{watched}}}")]).await;
    release.start_operator().await;
    release.operator().wait_until_ready(DEADLINE).await.unwrap();
    live(&release, &watched, "life", 1).await.unwrap();
    let account = format!("system:serviceaccount:{}:vpn-operator", release.namespace);
    for (verb, resource, namespace, answer) in [
        ("get", "secrets", &watched, "yes"),
        ("get", "secrets", &other, "no"),
        ("list", "secrets", &other, "no"),
        ("create", "events.events.k8s.io", &other, "no"),
        ("get", "secrets", &release.namespace, "no"),
    ] {
        let arguments = [
            "auth",
            "can-i",
            verb,
            resource,
            "--namespace",
            namespace,
            "--as",
            &account,
        ];
        let printed = plane.kubectl(arguments).await.unwrap().stdout;
        assert_eq!(printed.trim(), answer, "{verb} {resource} in {namespace}");
    }
    release.stop_operator().await;
}

#[tokio::test]
async fn with_named_secrets_others_cannot_be_read_and_rotation_works() {
    let plane = plane().await;
    let values = ["secrets.names={life-password}", "resyncPeriod=2s"].map(str::to_owned);
    let mut release = Release::install(plane, &values).await;
    release.start_operator().await;
    release.operator().wait_until_ready(DEADLINE).await.unwrap();
    live(&release, &release.namespace, "life", 1).await.unwrap();
    let account = format!("system:serviceaccount:{}:vpn-operator", release.namespace);
    for (verb, secret, answer) in [
        ("get", "secret/life-password", "yes"),
        ("get", "secret/cloud", "no"),
        ("list", "secrets", "no"),
        ("watch", "secrets", "no"),
    ] {
        let namespace = &release.namespace;
        let arguments = [
            "auth",
            "can-i",
            verb,
            secret,
            "--namespace",
            namespace,
            "--as",
            &account,
        ];
        let printed = plane.kubectl(arguments).await.unwrap().stdout;
        assert_eq!(printed.trim(), answer, "{verb} {secret}");
    }
    let reported = "Secrets cannot be watched: forbidden; a change is noticed at the next resync";
    let log = release.operator().log();
    // The watcher's own words are shown to who asks for more than info.
    let ours = log.lines().filter(|line| !line.contains("kube_runtime::"));
    let about: Vec<&str> = ours
        .filter(|line| line.contains("ecrets is forbidden") || line.contains(reported))
        .collect();
    assert!(
        about.len() == 1 && about[0].len() < 300,
        "logged once, and shortly: {about:#?}"
    );
    release.stop_operator().await;
}

#[tokio::test]
async fn the_pod_passes_pod_security_restricted() {
    let plane = plane().await;
    let release = Release::install(plane, &[]).await;
    let enforce = "pod-security.kubernetes.io/enforce=restricted";
    release
        .kubectl(["label", "namespace", &release.namespace, enforce])
        .await
        .unwrap();
    // Nobody admits ServiceAccounts' tokens here but the apiserver, which wants the account to be there.
    let deployment = release.get("deployment", "vpn-operator").await;
    let mut pod = deployment["spec"]["template"].clone();
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod["metadata"]["name"] = "tried".into();
    release.apply(&pod.to_string()).await;
    // The same pod with what it must not have is refused, so the namespace does enforce.
    pod["metadata"]["name"] = "refused".into();
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = true.into();
    let arguments = ["--namespace", &release.namespace, "apply", "--filename", "-"];
    let refused = plane.kubectl_with_input(arguments, &pod.to_string()).await.unwrap();
    assert!(
        refused.stderr.contains("violates PodSecurity \"restricted"),
        "{}",
        refused.stderr
    );
}

#[tokio::test]
async fn helm_lint_accepts_the_chart() {
    let plane = ControlPlane::shared().await.unwrap();
    let printed = plane
        .helm(["lint", "--strict", CHART])
        .await
        .unwrap()
        .success()
        .unwrap();
    assert!(printed.contains("0 chart(s) failed"), "{printed}");
}
