//! A control plane of its own on loopback: etcd, kube-apiserver and, where a test wants them,
//! controllers of kube-controller-manager.

mod certificates;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;
use tokio::sync::OnceCell;

use crate::assets::{Assets, Tool};
use crate::audit::{ApiCall, AuditLog};
use crate::binaries::Binaries;
use crate::error::{Error, Result};
use crate::guardian::Guardian;
use crate::http;
use crate::process::{Launch, Process};
use crate::tool::{self, ToolOutput};
use crate::wait::{PAUSE, eventually};
use certificates::Certificates;

/// A start on a busy machine; an idle one needs 3 s.
const START_DEADLINE: Duration = Duration::from_secs(120);
/// Another process may take a port between its choice and its use.
const PORT_ATTEMPTS: usize = 8;
const PORT_TAKEN: &str = "address already in use";

static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();

thread_local! {
    /// Those of the test that this thread runs.
    static OWN: RefCell<Vec<EndsWithThread>> = const { RefCell::new(Vec::new()) };
}

/// A running control plane. Dropping it ends its processes and removes its data.
#[derive(Debug)]
pub struct ControlPlane {
    assets: Assets,
    api_server: Mutex<Option<Process>>,
    etcd: Mutex<Process>,
    etcd_url: String,
    etcd_data: PathBuf,
    port: u16,
    token: String,
    certificates: Certificates,
    kubeconfig: PathBuf,
    audit: AuditLog,
    guardian: Arc<Guardian>,
}

impl ControlPlane {
    /// The control plane that all tests of one test binary share; each keeps to a namespace of its own. It does not
    /// depend on the async runtime that starts it.
    pub async fn shared() -> Result<&'static Self> {
        SHARED.get_or_try_init(Self::start).await
    }

    /// Starts a control plane for a test that must not share one. Its processes end with the thread that called this,
    /// which is the test's: each takes 300 MB, and some CPU time even when nothing uses it.
    pub async fn own() -> Result<&'static Self> {
        let control_plane: &'static Self = Box::leak(Box::new(Self::start().await?));
        OWN.with_borrow_mut(|own| own.push(EndsWithThread(control_plane)));
        Ok(control_plane)
    }

    /// Starts a control plane, for a caller that keeps it.
    pub async fn start() -> Result<Self> {
        let guardian = Guardian::start()?;
        let assets = Assets::find(&guardian).await?;
        let Etcd { process, url, data } = start_etcd(&assets, &guardian).await?;
        let certificates = Certificates::create(guardian.folder())?;
        let token = uuid::Uuid::new_v4().to_string();
        write(
            &guardian.folder().join("tokens.csv"),
            &format!("{token},admin,admin,system:masters\n"),
        )?;

        let mut control_plane = Self {
            assets,
            api_server: Mutex::new(None),
            etcd: Mutex::new(process),
            etcd_url: url,
            etcd_data: data,
            port: 0,
            kubeconfig: guardian.folder().join("kubeconfig"),
            audit: AuditLog::prepare(guardian.folder())?,
            token,
            certificates,
            guardian,
        };
        let mut attempts = 0;
        loop {
            control_plane.port = free_port()?;
            attempts += 1;
            match control_plane.start_api_server().await {
                Err(Error::Ended { log, .. }) if log.contains(PORT_TAKEN) && attempts < PORT_ATTEMPTS => {}
                outcome => break outcome?,
            }
        }
        control_plane.write_kubeconfig(&control_plane.kubeconfig, &control_plane.token)?;
        control_plane.wait_for_default_namespace().await?;
        Ok(control_plane)
    }

    /// The run that this control plane belongs to; other processes of a test join it.
    pub fn guardian(&self) -> &Arc<Guardian> {
        &self.guardian
    }

    /// The kubeconfig of an administrator.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The address of kube-apiserver.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The address of etcd, to read what is stored.
    pub fn etcd_url(&self) -> &str {
        &self.etcd_url
    }

    /// A client with an administrator's permissions. It belongs to the async runtime that creates it: create one per
    /// test.
    pub async fn client(&self) -> Result<Client> {
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(Kubeconfig::read_from(&self.kubeconfig)?, &options).await?;
        Ok(Client::try_from(config)?)
    }

    /// An HTTP client that trusts the apiserver, and keeps its connections.
    pub(crate) fn http_client(&self) -> Result<reqwest::Client> {
        let trusting = http::with_provider()
            .no_proxy()
            .tls_certs_only([self.certificates.authority()?]);
        // Each long request gets its own connection: a watch that is not read must not block another.
        Ok(trusting.http1_only().build()?)
    }

    /// Creates a namespace that no other test has; `prefix` names its purpose.
    pub async fn create_namespace(&self, prefix: &str) -> Result<String> {
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let name = format!("{prefix}-{}", &unique[..8]);
        let metadata = ObjectMeta {
            name: Some(name.clone()),
            ..ObjectMeta::default()
        };
        let namespace = Namespace {
            metadata,
            ..Namespace::default()
        };
        Api::<Namespace>::all(self.client().await?)
            .create(&PostParams::default(), &namespace)
            .await?;
        Ok(name)
    }

    /// Writes a kubeconfig for a `ServiceAccount`, with a token that kube-apiserver issues. It grants that account's
    /// permissions and no more.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let accounts = Api::<ServiceAccount>::namespaced(self.client().await?, namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec::default(),
            ..TokenRequest::default()
        };
        let issued = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await?;
        let token = issued.status.map(|status| status.token).unwrap_or_default();
        let path = self.guardian.folder().join(format!("kubeconfig-{namespace}-{name}"));
        self.write_kubeconfig(&path, &token)?;
        Ok(path)
    }

    /// The requests of a `ServiceAccount` until now, by the apiserver's audit log. A request that was just answered may
    /// be missing.
    pub fn calls_of(&self, namespace: &str, account: &str) -> Result<BTreeSet<ApiCall>> {
        self.audit
            .calls_of(&format!("system:serviceaccount:{namespace}:{account}"))
    }

    /// Runs the real kubectl as administrator.
    pub async fn kubectl(&self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Result<ToolOutput> {
        self.run_tool(Tool::Kubectl, arguments, None).await
    }

    /// Runs the real kubectl as administrator, with input: `apply -f -`.
    pub async fn kubectl_with_input(
        &self,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
        input: &str,
    ) -> Result<ToolOutput> {
        self.run_tool(Tool::Kubectl, arguments, Some(input)).await
    }

    /// Runs the real Helm as administrator.
    pub async fn helm(&self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Result<ToolOutput> {
        self.run_tool(Tool::Helm, arguments, None).await
    }

    /// Runs lines in a shell in `folder`, as administrator. PATH contains the real kubectl and Helm and the project's
    /// programs. The first line that fails ends it.
    pub async fn shell(&self, folder: &Path, binaries: &Binaries, lines: &str) -> Result<ToolOutput> {
        let programs = [self.tool(Tool::Kubectl).await?, self.tool(Tool::Helm).await?];
        let programs = programs.iter().chain([&binaries.operator, &binaries.simulator]);
        let mut path = OsString::new();
        for folder in programs.filter_map(|program| program.parent()) {
            path.push(folder);
            path.push(":");
        }
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let arguments = ["-euo", "pipefail", "-c", "cd \"$1\"; eval \"$2\"", "bash"].map(OsString::from);
        let arguments = arguments.into_iter().chain([folder.into(), lines.into()]).collect();
        let variables = vec![("KUBECONFIG", self.kubeconfig.clone().into_os_string()), ("PATH", path)];
        tool::run(Path::new("bash"), arguments, variables, self.guardian.folder(), None).await
    }

    /// The path of a tool, for instructions to users.
    pub async fn tool(&self, tool: Tool) -> Result<PathBuf> {
        self.assets.tool(tool, &self.guardian).await
    }

    /// Applies the CRDs of a folder (or file) and waits until they are served.
    pub async fn apply_crds(&self, path: &Path) -> Result<()> {
        let files = [OsString::from("-f"), path.into()];
        let apply = ["apply", "--server-side", "--force-conflicts"].map(OsString::from);
        self.kubectl(apply.into_iter().chain(files.clone())).await?.success()?;
        let wait = ["wait", "--for=condition=Established", "--timeout=60s"].map(OsString::from);
        // kubectl gives up on a CRD whose conditions are still null.
        eventually("the CRDs are served", START_DEADLINE, async || {
            let wait = wait.iter().cloned().chain(files.clone());
            self.kubectl(wait).await?.success()
        })
        .await?;
        Ok(())
    }

    /// Starts controllers, by the names that `kube-controller-manager --controllers` knows:
    /// `namespace-controller`, `garbage-collector-controller`, `serviceaccount-controller`, …
    pub async fn start_controllers(&self, names: &[&str]) -> Result<Process> {
        let program = self.tool(Tool::KubeControllerManager).await?;
        let launch = Launch::new("kube-controller-manager", program).args([
            format!("--kubeconfig={}", self.kubeconfig.display()),
            format!("--controllers={}", names.join(",")),
            format!(
                "--service-account-private-key-file={}",
                self.certificates.service_account_key.display()
            ),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
        ]);
        self.guardian.spawn(launch)
    }

    /// Kills kube-apiserver; etcd keeps what is stored.
    pub fn stop_api_server(&self) -> Result<()> {
        if let Some(process) = self.swap_api_server(None) {
            process.kill()?;
        }
        Ok(())
    }

    /// Starts kube-apiserver again, at the same address, and waits until it is ready.
    pub async fn start_api_server(&self) -> Result<()> {
        let process = self.guardian.spawn(self.api_server_launch())?;
        let client = http::loopback_client()
            .tls_certs_only([self.certificates.authority()?])
            .build()?;
        let url = format!("{}/readyz", self.url());
        until_ready(&process, &client, &url, &self.token).await?;
        self.swap_api_server(Some(process));
        Ok(())
    }

    /// Kills etcd, and starts it again with what it has stored, at the same address.
    pub async fn restart_etcd(&self) -> Result<()> {
        let killed = self.etcd.lock().unwrap_or_else(PoisonError::into_inner).kill();
        killed?;
        let process = self
            .guardian
            .spawn(etcd_launch(&self.assets, &self.etcd_url, &self.etcd_data))?;
        let client = http::loopback_client().build()?;
        until_ready(&process, &client, &format!("{}/health", self.etcd_url), "").await?;
        *self.etcd.lock().unwrap_or_else(PoisonError::into_inner) = process;
        Ok(())
    }

    /// Writes values into etcd as they are, without the apiserver, by their keys: many objects at once.
    pub async fn store(&self, values: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<()> {
        let put =
            |(key, value): (String, Vec<u8>)| json!({"request_put": {"key": base64(key), "value": base64(value)}});
        let puts: Vec<serde_json::Value> = values.into_iter().map(put).collect();
        self.ask_etcd("txn", &json!({"success": puts})).await?;
        Ok(())
    }

    /// The value of a key of etcd.
    pub async fn stored(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let answer = self.ask_etcd("range", &json!({"key": base64(key)})).await?;
        let value = answer["kvs"][0]["value"].clone();
        Ok(serde_json::from_value::<Option<ByteString>>(value)?.map(|value| value.0))
    }

    /// Posts to etcd's JSON API: `range`, `txn`, `compaction`. Keys and values are in base64.
    pub async fn ask_etcd(&self, what: &str, body: &serde_json::Value) -> Result<serde_json::Value> {
        let url = format!("{}/v3/kv/{what}", self.etcd_url);
        let answer = http::loopback_client().build()?.post(&url).json(body).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// Compacts etcd to the latest version of each key: no watch can resume from an earlier one.
    pub async fn compact_etcd(&self) -> Result<()> {
        // Any key will do: each answer contains the present revision.
        let state = self.ask_etcd("range", &json!({"key": base64("/"), "limit": 1})).await?;
        let revision = state["header"]["revision"].clone();
        self.ask_etcd("compaction", &json!({"revision": revision, "physical": true}))
            .await?;
        Ok(())
    }

    fn swap_api_server(&self, process: Option<Process>) -> Option<Process> {
        std::mem::replace(
            &mut *self.api_server.lock().unwrap_or_else(PoisonError::into_inner),
            process,
        )
    }

    fn api_server_launch(&self) -> Launch {
        let folder = self.guardian.folder();
        let launch = Launch::new("kube-apiserver", self.assets.path(Tool::KubeApiserver)).args([
            format!("--etcd-servers={}", self.etcd_url),
            "--bind-address=127.0.0.1".to_owned(),
            // If unset, kube-apiserver needs a default route, which may not exist; it refuses loopback. No client uses
            // this address (its network is for documentation), so none is published.
            "--advertise-address=192.0.2.1".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--secure-port={}", self.port),
            format!("--cert-dir={}", folder.join("apiserver").display()),
            format!("--tls-cert-file={}", self.certificates.server_certificate.display()),
            format!("--tls-private-key-file={}", self.certificates.server_key.display()),
            format!("--token-auth-file={}", folder.join("tokens.csv").display()),
            "--authorization-mode=RBAC".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!(
                "--service-account-signing-key-file={}",
                self.certificates.service_account_key.display()
            ),
            format!(
                "--service-account-key-file={}",
                self.certificates.service_account_public_key.display()
            ),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        ]);
        launch.args(self.audit.flags())
    }

    fn write_kubeconfig(&self, path: &Path, token: &str) -> Result<()> {
        // JSON is YAML too.
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{
                "name": "testbed",
                "cluster": { "server": self.url(), "certificate-authority": self.certificates.authority },
            }],
            "users": [{ "name": "testbed", "user": { "token": token } }],
            "contexts": [{ "name": "testbed", "context": { "cluster": "testbed", "user": "testbed" } }],
            "current-context": "testbed",
        });
        write(path, &format!("{config:#}\n"))
    }

    /// kube-apiserver creates the namespace a moment after it reports ready.
    async fn wait_for_default_namespace(&self) -> Result<()> {
        let namespaces = Api::<Namespace>::all(self.client().await?);
        eventually("the namespace default", START_DEADLINE, async || {
            namespaces.get("default").await
        })
        .await?;
        Ok(())
    }

    async fn run_tool(
        &self,
        tool: Tool,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
        input: Option<&str>,
    ) -> Result<ToolOutput> {
        let program = self.tool(tool).await?;
        let arguments = arguments.into_iter().map(Into::into).collect();
        let variables = vec![("KUBECONFIG", self.kubeconfig.clone().into_os_string())];
        tool::run(&program, arguments, variables, self.guardian.folder(), input).await
    }
}

struct EndsWithThread(&'static ControlPlane);

impl Drop for EndsWithThread {
    fn drop(&mut self) {
        // What this cannot end, the guardian ends with the run.
        let _ = self.0.stop_api_server();
        let _ = self.0.etcd.lock().unwrap_or_else(PoisonError::into_inner).kill();
    }
}

struct Etcd {
    process: Process,
    url: String,
    data: PathBuf,
}

async fn start_etcd(assets: &Assets, guardian: &Arc<Guardian>) -> Result<Etcd> {
    let client = http::loopback_client().build()?;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let url = format!("http://127.0.0.1:{}", free_port()?);
        let data = guardian.folder().join(format!("etcd-{attempts}"));
        let process = guardian.spawn(etcd_launch(assets, &url, &data))?;
        match until_ready(&process, &client, &format!("{url}/health"), "").await {
            Ok(()) => return Ok(Etcd { process, url, data }),
            Err(Error::Ended { log, .. }) if log.contains(PORT_TAKEN) && attempts < PORT_ATTEMPTS => {}
            Err(error) => return Err(error),
        }
    }
}

fn etcd_launch(assets: &Assets, url: &str, data: &Path) -> Launch {
    Launch::new("etcd", assets.path(Tool::Etcd)).args([
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls={url}"),
        format!("--advertise-client-urls={url}"),
        // A single member has no peers, but binds the address.
        "--listen-peer-urls=http://127.0.0.1:0".to_owned(),
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ])
}

/// Waits until the address answers 200, or the process has ended.
async fn until_ready(process: &Process, client: &reqwest::Client, url: &str, token: &str) -> Result<()> {
    let ready = async {
        loop {
            if let Some(status) = process.exit_status()? {
                return Err(process.ended(status, &format!("{url} answers 200")));
            }
            let answer = client
                .get(url)
                .bearer_auth(token)
                .timeout(Duration::from_secs(5))
                .send()
                .await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(START_DEADLINE, ready).await.unwrap_or_else(|_| {
        Err(Error::Deadline {
            awaited: format!("{}: {url} answers 200", process.name()),
            deadline: START_DEADLINE,
            last: process.log_tail(),
        })
    })
}

/// A port that is free at this moment.
pub(crate) fn free_port() -> Result<u16> {
    let address = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    Ok(address.map_err(Error::io("no free port on loopback"))?.port())
}

/// As etcd's JSON has keys and values.
fn base64(bytes: impl Into<Vec<u8>>) -> serde_json::Value {
    json!(ByteString(bytes.into()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(Error::io(format!("cannot write {}", path.display())))
}
