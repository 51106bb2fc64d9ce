//! Runs the commands of docs/install.md as printed, in a shell, and then what they install.

use std::path::Path;

use vpn_operator_testbed::{ControlPlane, Kubelet};

use crate::chart::release::{DEADLINE, binaries};

/// Commands that wait for pods, which no node runs here; the second has a test of its own.
const WAITING_FOR_PODS: [&str; 2] = ["kubectl rollout status ", "helm test "];
/// Another test runs the example.
const EXAMPLE: &str = "cargo run --example install";

/// A gateway and a user, for pages that describe the life of objects.
pub(crate) const OBJECTS: &str = "apiVersion: vpn.huaweicloud.com/v1alpha1\nkind: CustomerGateway\nmetadata: {name: office}\n\
                           spec: {name: office, idValue: 203.0.113.1}\n---\n\
                           apiVersion: v1\nkind: Secret\nmetadata: {name: alice}\nstringData: {password: Paged-Pass-1}\n---\n\
                           apiVersion: vpn.huaweicloud.com/v1alpha1\nkind: VpnUser\nmetadata: {name: alice}\n\
                           spec: {vpnServerID: 5e5e5e5e-0000-4000-8000-000000000001, passwordSecretRef: {name: alice}}\n";
/// Waits for both objects.
pub(crate) const UNTIL_READY: [&str; 5] = [
    "wait",
    "--for=condition=Ready",
    "--timeout=60s",
    "cgw/office",
    "vpnu/alice",
];

pub(crate) fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The commands of a page's section; a command of several lines is one.
pub(crate) fn commands(page: &str, section: &str) -> Vec<String> {
    let text = std::fs::read_to_string(project().join("docs").join(page)).unwrap();
    let (_, rest) = text.split_once(&format!("\n## {section}\n")).unwrap();
    let text = rest.split("\n## ").next().unwrap();
    let blocks = text.split("```console\n").skip(1);
    let mut commands = Vec::new();
    for block in blocks.map(|rest| rest.split("```").next().unwrap()) {
        // A block in a list is indented.
        let lines: Vec<&str> = block.lines().map(str::trim_start).collect();
        for command in format!("\n{}", lines.join("\n")).split("\n$ ").skip(1) {
            let mut lines = command.lines();
            let mut whole = lines.next().unwrap().to_owned();
            while whole.ends_with('\\') {
                whole.push('\n');
                whole.push_str(lines.next().unwrap());
            }
            commands.push(whole);
        }
    }
    commands
}

/// Runs the section's commands, each of which must succeed.
async fn follow(plane: &ControlPlane, section: &str) {
    let commands = commands("install.md", section);
    assert!(!commands.is_empty(), "{section}");
    let waits = |command: &&String| WAITING_FOR_PODS.iter().any(|start| command.starts_with(start));
    for command in commands.iter().filter(|command| !waits(command)) {
        let output = plane.shell(project(), &binaries(), command).await.unwrap();
        output
            .success()
            .unwrap_or_else(|error| panic!("{section}: {command}: {error}"));
    }
}

/// Runs the installed operator, with its RBAC.
async fn is_well(plane: &ControlPlane) {
    let binaries = binaries();
    let kubelet = Kubelet {
        plane,
        namespace: "vpn-operator",
        binaries: &binaries,
    };
    let operator = kubelet.start_operator("vpn-operator", &[]).await.unwrap();
    operator.wait_until_ready(DEADLINE).await.unwrap();
    let ended = operator.terminate(DEADLINE).await.unwrap();
    assert!(ended.success(), "{ended}");
    follow(plane, "Check the installation").await;
}

#[tokio::test]
async fn helm_installation_and_upgrade_work_as_documented() {
    let plane = ControlPlane::start().await.unwrap();
    follow(&plane, "Helm").await;
    let replicas = "kubectl get deployment vpn-operator --namespace vpn-operator --output jsonpath={.spec.replicas}";
    let replicas = plane.shell(project(), &binaries(), replicas).await.unwrap();
    assert_eq!(replicas.success().unwrap(), "3", "the values that were set are kept");
    is_well(&plane).await;
}

#[tokio::test]
async fn plain_manifest_installation_and_upgrade_work_as_documented() {
    let plane = ControlPlane::start().await.unwrap();
    follow(&plane, "Plain manifests").await;
    is_well(&plane).await;
    let pipes = commands("install.md", "Plain manifests");
    for pipe in pipes.iter().filter(|command| command.contains(" | ")) {
        let again = plane.shell(project(), &binaries(), pipe).await.unwrap();
        again.success().unwrap_or_else(|error| panic!("{pipe}: {error}"));
    }
    is_well(&plane).await;
}

/// As documented for CRDs with another owner: Helm refuses them, unless they are left alone or taken over.
#[tokio::test]
async fn existing_crds_are_kept_or_adopted_as_documented() {
    let plane = ControlPlane::start().await.unwrap();
    let run = async |line: &str| plane.shell(project(), &binaries(), line).await.unwrap();
    let crds = &commands("install.md", "Plain manifests")[0];
    run(crds).await.success().unwrap();
    let helm = commands("install.md", "Helm");
    let find = |start: &str| helm.iter().find(|command| command.starts_with(start)).unwrap();
    run(find("kubectl create namespace")).await.success().unwrap();
    let install = find("helm install");
    let refused = run(install).await;
    assert!(
        refused.stderr.contains("invalid ownership metadata"),
        "{}",
        refused.stderr
    );
    run(&format!("{install} --set crds.enabled=false"))
        .await
        .success()
        .unwrap();
    let take_over = helm
        .iter()
        .find(|command| command.contains("--take-ownership"))
        .unwrap();
    run(&format!("{take_over} --set crds.enabled=true"))
        .await
        .success()
        .unwrap();
    let owner = "kubectl get crd vpnusers.vpn.huaweicloud.com \
                 --output 'jsonpath={.metadata.annotations.meta\\.helm\\.sh/release-name}'";
    assert_eq!(run(owner).await.success().unwrap(), "vpn-operator");
}

#[test]
fn the_pages_start_with_the_installation_example() {
    for page in ["README.md", "docs/install.md", "docs/getting-started.md"] {
        let text = std::fs::read_to_string(project().join(page)).unwrap();
        assert!(text.contains(&format!("$ {EXAMPLE}\n")), "{page}");
    }
    assert!(project().join("programs/install/main.rs").exists());
}
