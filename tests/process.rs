//! The program as a process: its command line, its start, its HTTP endpoints, its end.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use vpn_operator_testbed::{ControlPlane, Operator, eventually};

const BINARY: &str = env!("CARGO_BIN_EXE_vpn-operator");
const DEADLINE: Duration = Duration::from_secs(60);

type Environment<'a> = &'a [(&'a str, &'a str)];

/// Runs the program to its end, without this machine's environment.
fn program(arguments: &[&str], environment: Environment<'_>) -> Output {
    let mut command = Command::new(BINARY);
    command
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn the_version_flag_prints_the_version() {
    let output = program(&["--version"], &[]);
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("vpn-operator {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn help_is_printed_to_stdout_with_status_0() {
    for arguments in [
        ["--help"].as_slice(),
        &["run", "--help"],
        &["crd", "--help"],
        &["probe", "--help"],
    ] {
        let output = program(arguments, &[]);
        assert!(output.status.success() && !output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn an_invalid_flag_is_named_and_the_process_exits_with_status_2() {
    let cases: [(&[&str], Environment<'_>, &str); 5] = [
        (&["run", "--resync-period=often"], &[], "--resync-period"),
        (
            &["run", "--leader-elect-lease-duration=1s"],
            &[("POD_NAMESPACE", "a")],
            "--leader-elect-lease-duration",
        ),
        (&["run"], &[], "--leader-elect-resource-namespace"),
        (
            &["run"],
            &[("VPN_OPERATOR_CA_FILE", "/nowhere"), ("POD_NAMESPACE", "a")],
            "--ca-file",
        ),
        (&["run", "--unheard-of"], &[], "--unheard-of"),
    ];
    for (arguments, environment, flag) in cases {
        let output = program(arguments, environment);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let text = stderr(&output);
        assert!(
            text.starts_with("error: ") && text.contains(flag),
            "{arguments:?}: {text}"
        );
    }
}

#[test]
fn a_probe_without_an_operator_fails_with_status_1() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let url = format!("http://{address}/readyz");
    let output = program(&["probe", &url, "--timeout=0"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), format!("error: no operator is ready at {url}\n"));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains(&format!("{address} does not answer")), "{printed}");
    for url in ["https://a/readyz", "a:8080", "unix:/a", "/readyz"] {
        let output = program(&["probe", url], &[]);
        assert_eq!(output.status.code(), Some(2), "{url}");
        assert!(stderr(&output).contains("URL"), "{url}: {}", stderr(&output));
    }
}

#[test]
fn missing_access_to_kubernetes_is_reported_in_one_line() {
    for environment in [
        [("POD_NAMESPACE", "a")].as_slice(),
        &[("POD_NAMESPACE", "a"), ("KUBECONFIG", "/nowhere")],
    ] {
        let output = program(&["run", "--bind-address=127.0.0.1:0"], environment);
        assert_eq!(output.status.code(), Some(1));
        let text = stderr(&output);
        let errors: Vec<_> = text.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "{text}");
        assert!(errors[0].contains("Kubernetes"), "{text}");
        assert!(
            text.ends_with(&format!("{}\n", errors[0])),
            "the last line is the error: {text}"
        );
        assert!(!text.contains("panicked") && !text.contains("backtrace"), "{text}");
    }
}

#[test]
fn an_address_in_use_is_reported_in_one_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("--bind-address={}", taken.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "a",
        "clusters": [{ "name": "a", "cluster": { "server": "http://127.0.0.1:9" } }],
        "contexts": [{ "name": "a", "context": { "cluster": "a", "user": "" } }],
    });
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    let output = program(
        &["run", &listen, "--leader-elect=false"],
        &[("KUBECONFIG", kubeconfig.to_str().unwrap())],
    );
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(
        text.lines()
            .last()
            .unwrap()
            .starts_with("error: cannot listen on 127.0.0.1:"),
        "{text}"
    );
}

/// A namespace, and operators that compete for a lease in it.
struct Fixture {
    plane: &'static ControlPlane,
    namespace: String,
    client: Client,
}

impl Fixture {
    async fn new() -> Self {
        let plane = ControlPlane::shared().await.unwrap();
        let crds = String::from_utf8(program(&["crd"], &[]).stdout).unwrap();
        let apply = ["apply", "--server-side", "-f", "-"];
        plane.kubectl_with_input(apply, &crds).await.unwrap().success().unwrap();
        let namespace = plane.create_namespace("process").await.unwrap();
        Self {
            plane,
            namespace,
            client: plane.client().await.unwrap(),
        }
    }

    fn start(&self, more: &[&str]) -> Operator {
        self.start_with(self.plane.kubeconfig(), more)
    }

    fn start_with(&self, kubeconfig: &Path, more: &[&str]) -> Operator {
        let fixed = [
            "run",
            "--bind-address=127.0.0.1:0",
            "--leader-elect-lease-duration=12s",
            "--request-timeout=2s",
            "--region=eu-de",
        ];
        let namespaces = [
            format!("--leader-elect-resource-namespace={0}", self.namespace),
            format!("--watch-namespace={0}", self.namespace),
        ];
        let arguments: Vec<String> = fixed
            .iter()
            .chain(more)
            .map(|text| (*text).to_owned())
            .chain(namespaces)
            .collect();
        let none: [(&str, &str); 0] = [];
        Operator::start(
            self.plane.guardian(),
            &PathBuf::from(BINARY),
            kubeconfig,
            arguments,
            none,
        )
        .unwrap()
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Waits until the lease's holder satisfies `wanted`.
    async fn holder(&self, awaited: &str, wanted: impl Fn(&str) -> bool) -> String {
        eventually(awaited, DEADLINE, async || {
            let lease = self
                .leases()
                .get("vpn-operator")
                .await
                .map_err(|error| error.to_string())?;
            let holder = lease.spec.unwrap_or_default().holder_identity.unwrap_or_default();
            if wanted(&holder) {
                Ok(holder)
            } else {
                Err(format!("the holder is {holder:?}"))
            }
        })
        .await
        .unwrap()
    }
}

async fn leads(operator: &Operator) {
    operator.wait_for_log("leading", DEADLINE).await.unwrap();
}

#[tokio::test]
async fn sigterm_releases_the_lease_and_exits_with_status_0() {
    let fixture = Fixture::new().await;
    let operator = fixture.start(&[]);
    leads(&operator).await;
    fixture.holder("a holder", |holder| !holder.is_empty()).await;
    let status = operator.terminate(Duration::from_secs(20)).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", operator.log());
    fixture.holder("no holder", str::is_empty).await;
}

#[tokio::test]
async fn a_follower_takes_over_from_a_stopped_or_killed_leader() {
    let fixture = Fixture::new().await;
    let first = fixture.start(&[]);
    leads(&first).await;
    let second = fixture.start(&[]);
    second.wait_for_log("standing by", DEADLINE).await.unwrap();
    let first_holder = fixture.holder("the first", |holder| !holder.is_empty()).await;
    assert_eq!(first.terminate(Duration::from_secs(20)).await.unwrap().code(), Some(0));
    leads(&second).await;
    let second_holder = fixture.holder("the second", |holder| !holder.is_empty()).await;
    assert_ne!(first_holder, second_holder, "each process has an identity of its own");
    let third = fixture.start(&[]);
    second.kill().unwrap();
    leads(&third).await;
}

#[tokio::test]
async fn a_stopped_follower_keeps_the_lease_unchanged_and_exits_with_status_0() {
    let fixture = Fixture::new().await;
    let first = fixture.start(&[]);
    leads(&first).await;
    let second = fixture.start(&[]);
    second.wait_for_log("standing by", DEADLINE).await.unwrap();
    let holder = fixture.holder("a holder", |holder| !holder.is_empty()).await;
    assert_eq!(second.terminate(Duration::from_secs(20)).await.unwrap().code(), Some(0));
    assert_eq!(fixture.holder("a holder", |_| true).await, holder);
}

#[tokio::test]
async fn a_lost_lease_ends_the_process_with_an_error_line() {
    let fixture = Fixture::new().await;
    let operator = fixture.start(&[]);
    leads(&operator).await;
    let theft = json!({ "spec": { "holderIdentity": "thief" } });
    fixture
        .leases()
        .patch("vpn-operator", &PatchParams::default(), &Patch::Merge(theft))
        .await
        .unwrap();
    let status = operator.wait(DEADLINE).await.unwrap();
    assert_eq!(status.code(), Some(1), "{}", operator.log());
    let log = operator.log();
    assert!(
        log.lines().last().unwrap().starts_with("error: lost the lease"),
        "{log}"
    );
    assert!(log.contains("thief"), "{log}");
}

#[tokio::test]
async fn a_resumed_leader_exits_when_another_replica_leads() {
    let fixture = Fixture::new().await;
    let first = fixture.start(&[]);
    leads(&first).await;
    let second = fixture.start(&[]);
    second.wait_for_log("standing by", DEADLINE).await.unwrap();
    first.pause().unwrap();
    leads(&second).await;
    first.resume().unwrap();
    assert_eq!(first.wait(DEADLINE).await.unwrap().code(), Some(1), "{}", first.log());
    assert!(second.exit_status().unwrap().is_none());
}

#[tokio::test]
async fn without_leader_election_no_lease_is_created() {
    let fixture = Fixture::new().await;
    let operator = fixture.start(&["--leader-elect=false"]);
    operator.wait_for_log("listening on", DEADLINE).await.unwrap();
    let metrics = eventually("the leader metric", DEADLINE, async || {
        let page = operator.metrics(DEADLINE).await.map_err(|error| error.to_string())?;
        if page.contains("vpn_operator_leader 1") {
            Ok(page)
        } else {
            Err(page)
        }
    });
    assert!(metrics.await.unwrap().contains("vpn_operator_build_info"));
    assert_eq!(
        operator.terminate(Duration::from_secs(20)).await.unwrap().code(),
        Some(0)
    );
    assert!(
        fixture
            .leases()
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

#[tokio::test]
async fn missing_lease_permissions_are_reported_once_and_need_no_restart() {
    let fixture = Fixture::new().await;
    let ns = &fixture.namespace;
    let create =
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "operator", "namespace": ns } });
    fixture
        .plane
        .kubectl_with_input(["apply", "-f", "-"], &create.to_string())
        .await
        .unwrap()
        .success()
        .unwrap();
    let kubeconfig = fixture.plane.service_account_kubeconfig(ns, "operator").await.unwrap();
    let operator = fixture.start_with(&kubeconfig, &["--log-format=json"]);
    let line = operator
        .wait_for_log("cannot take part in the leader election", DEADLINE)
        .await
        .unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["level"], "WARN");
    assert!(line["message"].as_str().unwrap().contains("leases"), "{line}");
    assert_eq!(operator.get("/livez", DEADLINE).await.unwrap().0, 200);

    let permissions = [
        "create",
        "role",
        "leader",
        "--verb=get,create,update",
        "--resource=leases",
        "--namespace",
        ns,
    ];
    fixture.plane.kubectl(permissions).await.unwrap().success().unwrap();
    let account = format!("--serviceaccount={ns}:operator");
    let binding = [
        "create",
        "rolebinding",
        "leader",
        "--role=leader",
        &account,
        "--namespace",
        ns,
    ];
    fixture.plane.kubectl(binding).await.unwrap().success().unwrap();
    leads(&operator).await;
    let reported = operator
        .log()
        .matches("cannot take part in the leader election")
        .count();
    assert_eq!(reported, 1, "{}", operator.log());
}

mod crds {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    use kube::api::{DeleteParams, PostParams};
    use vpn_operator::kubernetes::crd_wait::AwaitedCrds;
    use vpn_operator::web::Readiness;

    use super::*;

    fn crd(plural: &str) -> CustomResourceDefinition {
        serde_json::from_value(json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": format!("{plural}.wait.example.com") },
            "spec": {
                "group": "wait.example.com", "scope": "Namespaced",
                "names": { "plural": plural, "singular": plural, "kind": plural, "listKind": format!("{plural}list") },
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": { "openAPIV3Schema": { "type": "object" } },
                }],
            },
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn the_operator_waits_for_its_crds_and_reports_missing_ones() {
        let fixture = Fixture::new().await;
        let installed: Api<CustomResourceDefinition> = Api::all(fixture.client.clone());
        let both = [crd("ones"), crd("twos")];
        let readiness = Readiness::default();
        let awaited = AwaitedCrds::new(&both, &readiness);
        let client = fixture.client.clone();
        let waiting = tokio::spawn(async move { awaited.served(&client).await });

        installed.create(&PostParams::default(), &both[0]).await.unwrap();
        let report = |part: &'static str| {
            let readiness = readiness.clone();
            async move {
                eventually(part, DEADLINE, async || {
                    let (_, text) = readiness.report();
                    if text.contains(part) { Ok(()) } else { Err(text) }
                })
                .await
                .unwrap();
            }
        };
        report("[+] crd ones: ok").await;
        report("[-] crd twos: pending: twos.wait.example.com is not installed").await;
        assert!(!waiting.is_finished() && !readiness.is_ready());

        installed.create(&PostParams::default(), &both[1]).await.unwrap();
        tokio::time::timeout(DEADLINE, waiting).await.unwrap().unwrap();
        assert!(readiness.is_ready());
        for crd in both {
            installed
                .delete(&crd.metadata.name.unwrap(), &DeleteParams::default())
                .await
                .unwrap();
        }
    }

    #[tokio::test]
    async fn the_operator_waits_for_an_unreachable_apiserver() {
        let config = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
        let client = Client::try_from(config).unwrap();
        let readiness = Readiness::default();
        let awaited = AwaitedCrds::new(&[crd("ones")], &readiness);
        let waiting = tokio::spawn(async move { awaited.served(&client).await });
        eventually("the report", DEADLINE, async || {
            let (_, text) = readiness.report();
            if text.contains("waiting for the apiserver") {
                Ok(())
            } else {
                Err(text)
            }
        })
        .await
        .unwrap();
        assert!(!waiting.is_finished());
        waiting.abort();
    }
}

#[tokio::test]
async fn sigterm_ends_the_process_while_the_exec_plugin_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let (kubeconfig, begun) = (folder.path().join("kubeconfig"), folder.path().join("begun"));
    let script = format!("touch {}; exec sleep 300", begun.display());
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:9"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {"exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script],
            "interactiveMode": "Never",
        }}}],
    });
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    let mut operator = tokio::process::Command::new(BINARY)
        .args(["run", "--bind-address=127.0.0.1:0", "--leader-elect=false"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("KUBECONFIG", &kubeconfig)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    eventually("the plugin runs", DEADLINE, async || {
        begun.exists().then_some(()).ok_or_else(|| "not yet".to_owned())
    })
    .await
    .unwrap();
    let pid = operator.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let ended = tokio::time::timeout(DEADLINE, operator.wait()).await;
    assert!(ended.expect("it ends").unwrap().success());
}

/// The first line that a client sends here.
fn first_line(listener: std::net::TcpListener) -> std::sync::mpsc::Receiver<String> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let Ok((stream, _)) = listener.accept() else { return };
        let mut line = String::new();
        let read = std::io::BufRead::read_line(&mut std::io::BufReader::new(stream), &mut line);
        // The receiver is dropped once the test has failed.
        let _ = read.map(|_| sender.send(line.trim_end().to_owned()));
    });
    receiver
}

#[test]
fn the_apiserver_is_reached_through_the_configured_proxy() {
    const AWAY: &str = "http://apiserver.invalid:6443";
    let folder = tempfile::tempdir().unwrap();
    for (own, variable, no_proxy, is_proxied) in [
        (true, false, "apiserver.invalid", true),
        (true, false, ",,127.0.0.2,", true),
        (false, true, "127.0.0.2", true),
        (false, true, "127.0.0.2,,", true),
        (false, true, ",127.0.0.0/24,", false),
    ] {
        let [proxy, apiserver] = ["127.0.0.2:0", "127.0.0.1:0"].map(|at| std::net::TcpListener::bind(at).unwrap());
        let url = |listener: &std::net::TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let server = if is_proxied { AWAY.to_owned() } else { url(&apiserver) };
        let mut cluster = json!({"server": server});
        if own {
            cluster["proxy-url"] = json!(url(&proxy));
        }
        let kubeconfig = folder.path().join("kubeconfig");
        let document = json!({
            "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": cluster}], "users": [{"name": "u", "user": {}}],
        });
        std::fs::write(&kubeconfig, document.to_string()).unwrap();
        let mut command = Command::new(BINARY);
        command
            .args(["run", "--bind-address=127.0.0.1:0", "--leader-elect=false"])
            .env_clear()
            .env("POD_NAMESPACE", "a")
            .env("KUBECONFIG", &kubeconfig)
            .env("NO_PROXY", no_proxy)
            .stderr(std::process::Stdio::null());
        if variable {
            command.env("HTTP_PROXY", url(&proxy));
        }
        let (expected, heard) = match is_proxied {
            true => ("CONNECT apiserver.invalid:6443 ", first_line(proxy)),
            false => ("GET /api", first_line(apiserver)),
        };
        let mut operator = command.spawn().unwrap();
        let line = heard.recv_timeout(DEADLINE);
        operator.kill().unwrap();
        operator.wait().unwrap();
        let line = line.unwrap();
        assert!(line.starts_with(expected), "{own} {variable} {no_proxy:?}: {line}");
    }
}
