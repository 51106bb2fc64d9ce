//! The world of one test: a namespace, a simulated cloud, and an operator that logs everything and has secrets that
//! must never appear.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use vpn_operator_testbed::{ApiProxy, ControlPlane, Operator, Simulator, eventually};

use crate::operator::audit_log;
use crate::operator::leaks::{Sentinels, revision, search_etcd, search_text};
use crate::operator::objects::Objects;
use crate::operator::permissions::{self, ACCOUNT};

/// The longest wait for anything, on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(180);
pub(crate) const OPERATOR: &str = env!("CARGO_BIN_EXE_vpn-operator");
const SIMULATOR: &str = env!("CARGO_BIN_EXE_vpn-simulator");
pub(crate) const REGION: &str = "eu-west-101";
/// The project that the simulator's first credential reaches.
pub(crate) const PROJECT: &str = "0123456789abcdef0123456789abcdef";

/// The simulator's own VPN server.
pub(crate) const VPN_SERVER: &str = vpn_simulator::tryout::VPN_SERVER_ID;

static WORLDS: AtomicU64 = AtomicU64::new(0);

/// Held by a test with very many objects.
static CROWD: Mutex<()> = Mutex::const_new(());

/// See the module.
pub(crate) struct World {
    pub plane: &'static ControlPlane,
    /// The revision of the plane's store before this world.
    pub began_after: i64,
    pub client: Client,
    pub namespace: String,
    pub simulator: Simulator,
    pub operator: Option<Operator>,
    /// Logs of operators of this world that have ended.
    pub ended: Vec<Operator>,
    pub access_key: String,
    pub secret_key: String,
    /// For the operator's requests to the apiserver: an account with the permissions of the chart, unless the test sets
    /// another.
    pub kubeconfig: PathBuf,
    /// The namespaces with such accounts of this world.
    operator_namespaces: Vec<String>,
    /// Whether an operator of this world may request what the chart does not grant.
    pub is_refused: bool,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub sentinels: Sentinels,
    /// Logs of operators that are not this world's own, but write to its cloud.
    pub other_logs: std::sync::Mutex<Vec<PathBuf>>,
    /// Whether the lines of the audit log and the cloud's requests cannot be compared: an operator was killed, a test sent
    /// requests, or the operators write to the cloud of another world.
    skips_audit: AtomicBool,
    finished: bool,
}

/// How the operator of a world is started, in addition to the common flags.
#[derive(Default)]
pub(crate) struct Options {
    /// More flags; they override the world's own.
    pub arguments: Vec<String>,
    /// The operator has no default credentials.
    pub without_credentials: bool,
    /// The operator's cluster has no name.
    pub without_cluster_name: bool,
    /// The test starts the operator.
    pub stopped: bool,
}

impl Options {
    /// More flags.
    pub(crate) fn with<const N: usize>(arguments: [&str; N]) -> Self {
        Self {
            arguments: arguments.map(str::to_owned).to_vec(),
            ..Self::default()
        }
    }
}

/// The control plane that most tests share, with the CRDs.
pub(crate) async fn shared_plane() -> &'static ControlPlane {
    static CRDS: OnceCell<()> = OnceCell::const_new();
    let plane = ControlPlane::shared().await.unwrap();
    let apply = async || plane.apply_crds(&repository().join("crds")).await.unwrap();
    CRDS.get_or_init(apply).await;
    plane
}

/// Runs tests with very many objects one after the other: in parallel they would wait for the machine, not for the
/// operator.
pub(crate) async fn alone() -> MutexGuard<'static, ()> {
    CROWD.lock().await
}

impl World {
    /// A world whose operator checks for drift only on request.
    pub(crate) async fn start() -> Self {
        Self::with(Options::with(["--resync-period=0"])).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        Self::on(shared_plane().await, options).await
    }

    /// On a control plane of the test's own, whose CRDs the test applies.
    pub(crate) async fn on(plane: &'static ControlPlane, options: Options) -> Self {
        let number = WORLDS.fetch_add(1, Ordering::Relaxed);
        let began_after = revision(plane).await;
        let namespace = plane.create_namespace("world").await.unwrap();
        // Each secret has characters that JSON, URLs and base64 encode in another way.
        let secret_key = format!("SENTINEL+sk/{number}\"{namespace}=end");
        let access_key = format!("SENTINELAK{number:010}");
        let credential = format!("{access_key}={secret_key}");
        let simulator = Simulator::start(
            plane.guardian(),
            Path::new(SIMULATOR),
            ["--credential", &credential, "--region", REGION, "--project-id", PROJECT],
        )
        .await
        .unwrap();
        let mut arguments: Vec<String> = [
            "run",
            "--bind-address=127.0.0.1:0",
            "--log-level=trace",
            "--allow-insecure-endpoints",
            "--cluster-name=test",
            "--creation-confirmation-period=1s",
            "--leader-elect-lease-duration=15s",
            "--request-timeout=2s",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.push(format!("--region={REGION}"));
        arguments.push(format!("--vpn-endpoint={}", simulator.url()));
        arguments.push(format!("--iam-endpoint={}", simulator.url()));
        arguments.push(format!("--watch-namespace={namespace}"));
        arguments.push(format!("--leader-elect-resource-namespace={namespace}"));
        if options.without_cluster_name {
            arguments.retain(|argument| !argument.starts_with("--cluster-name"));
        }
        for argument in options.arguments {
            // clap takes a flag once: the test's own replaces the world's.
            let flag = argument.split('=').next().unwrap_or_default().to_owned();
            arguments.retain(|other| other.split('=').next() != Some(flag.as_str()));
            arguments.push(argument);
        }
        let mut environment = Vec::new();
        if !options.without_credentials {
            environment.push(("HUAWEICLOUD_SDK_AK".to_owned(), access_key.clone()));
            environment.push(("HUAWEICLOUD_SDK_SK".to_owned(), secret_key.clone()));
        }
        let kubeconfig = permissions::grant(plane, &namespace).await;
        let mut world = Self {
            plane,
            began_after,
            client: plane.client().await.unwrap(),
            operator_namespaces: vec![namespace.clone()],
            is_refused: false,
            namespace,
            simulator,
            operator: None,
            ended: Vec::new(),
            access_key,
            sentinels: Sentinels::new([secret_key.clone()]),
            secret_key,
            kubeconfig,
            arguments,
            environment,
            other_logs: std::sync::Mutex::default(),
            skips_audit: AtomicBool::new(false),
            finished: false,
        };
        if !options.stopped {
            world.start_operator().await;
        }
        world
    }

    /// Starts the operator, and waits until it is ready.
    pub(crate) async fn start_operator(&mut self) {
        self.launch_operator();
        self.running().wait_until_ready(DEADLINE).await.unwrap();
    }

    /// Starts the operator, which may never become ready.
    pub(crate) fn launch_operator(&mut self) {
        let binary = Path::new(OPERATOR);
        let operator = Operator::start(
            self.plane.guardian(),
            binary,
            &self.kubeconfig,
            self.arguments.clone(),
            self.environment.clone(),
        )
        .unwrap();
        self.operator = Some(operator);
    }

    /// Starts the operator so that it reaches the apiserver through a proxy, and waits until it is ready.
    pub(crate) async fn start_operator_behind(&mut self, proxy: &ApiProxy) {
        let operator = Operator::start(
            self.plane.guardian(),
            Path::new(OPERATOR),
            proxy.kubeconfig(),
            self.arguments.clone(),
            self.environment.clone(),
        )
        .unwrap();
        operator.wait_until_ready(DEADLINE).await.unwrap();
        self.operator = Some(operator);
    }

    /// Stops the operator with SIGTERM and starts a new one.
    pub(crate) async fn restart_operator(&mut self) {
        self.stop_operator().await;
        self.start_operator().await;
    }

    /// Stops the operator with SIGTERM; it releases the lease.
    pub(crate) async fn stop_operator(&mut self) {
        let operator = self.operator.take().expect("an operator runs");
        let status = operator.terminate(Duration::from_secs(20)).await.unwrap();
        assert!(status.success(), "SIGTERM ends it well: {status}");
        self.ended.push(operator);
    }

    /// Kills the operator with SIGKILL; the lease remains, so the next one waits until it expires.
    pub(crate) fn kill_operator(&mut self) {
        let operator = self.operator.take().expect("an operator runs");
        operator.kill().unwrap();
        self.skip_audit();
        self.ended.push(operator);
    }

    /// Moves the Lease, the digest key and the operator's account to another namespace; takes effect at the next start.
    pub(crate) async fn move_operator(&mut self, operator_namespace: &str) {
        self.kubeconfig = permissions::grant(self.plane, operator_namespace).await;
        self.operator_namespaces.push(operator_namespace.to_owned());
        self.set_argument(&format!("--leader-elect-resource-namespace={operator_namespace}"));
    }

    /// A proxy between the operators that get its kubeconfig and the apiserver.
    pub(crate) fn proxy(&self) -> ApiProxy {
        ApiProxy::start_for(self.plane, &self.kubeconfig).unwrap()
    }

    /// Sets a flag; takes effect at the next start.
    pub(crate) fn set_argument(&mut self, argument: &str) {
        let flag = argument.split('=').next().unwrap_or_default();
        self.arguments.retain(|other| other.split('=').next() != Some(flag));
        self.arguments.push(argument.to_owned());
    }

    /// Removes a variable of the environment; takes effect at the next start.
    pub(crate) fn unset_variable(&mut self, name: &str) {
        self.environment.retain(|(other, _)| other != name);
    }

    /// Sets a variable of the environment; takes effect at the next start.
    pub(crate) fn set_variable(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn running(&self) -> &Operator {
        self.operator.as_ref().expect("an operator runs")
    }

    pub(crate) fn gateways(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &gateway_resource())
    }

    /// Runs kubectl in this world's namespace; it must succeed.
    pub(crate) async fn kubectl<const N: usize>(&self, arguments: [&str; N]) -> String {
        let all = ["--namespace", &self.namespace].into_iter().chain(arguments);
        self.plane.kubectl(all).await.unwrap().success().unwrap()
    }

    /// `kubectl apply` of a manifest without a namespace; it must succeed.
    pub(crate) async fn apply(&self, manifest: &str) {
        self.try_apply(manifest).await.unwrap();
    }

    /// `kubectl apply`; returns its error output if it is refused.
    pub(crate) async fn try_apply(&self, manifest: &str) -> Result<String, String> {
        let arguments = ["--namespace", &self.namespace, "apply", "--filename", "-"];
        let output = self.plane.kubectl_with_input(arguments, manifest).await.unwrap();
        if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(output.stderr)
        }
    }

    /// Applies a gateway with this spec, in YAML's flow style: `{idValue: 203.0.113.7}`.
    pub(crate) async fn apply_gateway(&self, name: &str, spec: &str) {
        self.apply(&gateway(name, spec)).await;
    }

    /// Applies a credentials Secret, whose secret key must never appear.
    pub(crate) async fn apply_credentials(
        &mut self,
        name: &str,
        access_key: &str,
        secret_key: &str,
        more: &[(&str, &str)],
    ) {
        self.sentinels.add(secret_key);
        let mut data = BTreeMap::from([("accessKey", access_key), ("secretKey", secret_key)]);
        data.extend(more.iter().copied());
        self.apply_secret(name, &data).await;
    }

    pub(crate) async fn apply_secret(&self, name: &str, data: &BTreeMap<&str, &str>) {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data,
        });
        // Not through kubectl, whose annotation would hold a copy.
        secrets
            .patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&secret))
            .await
            .unwrap();
    }

    /// The gateways of this world.
    pub(crate) fn gateway_objects(&self) -> Objects<'_> {
        Objects::new(self, gateway_resource())
    }

    /// The users of this world.
    pub(crate) fn users(&self) -> Objects<'_> {
        Objects::new(self, user_resource())
    }

    /// Applies a user with this spec, in YAML's flow style, on the simulator's own server unless it names another.
    pub(crate) async fn apply_user(&self, name: &str, spec: &str) {
        self.apply(&user(name, spec)).await;
    }

    /// Applies a Secret with a password under the key `password`, which must never appear.
    pub(crate) async fn apply_password(&mut self, name: &str, password: &str) {
        self.sentinels.add(password);
        self.apply_secret(name, &BTreeMap::from([("password", password)])).await;
    }

    /// See [`Objects::patch`], for gateways; the same applies to the functions that follow.
    pub(crate) async fn patch(&self, name: &str, patch: Value) {
        self.gateway_objects().patch(name, patch).await;
    }

    pub(crate) async fn try_patch(&self, name: &str, patch: Value) -> Result<(), kube::Error> {
        self.gateway_objects().try_patch(name, patch).await
    }

    pub(crate) async fn get(&self, name: &str) -> Value {
        self.gateway_objects().get(name).await
    }

    pub(crate) async fn list(&self) -> Vec<Value> {
        self.gateway_objects().list().await
    }

    pub(crate) async fn wait_for_reason(&self, name: &str, reason: &str) -> Value {
        self.gateway_objects().wait_for_reason(name, reason).await
    }

    pub(crate) async fn wait_for(&self, name: &str, awaited: &str, fits: impl Fn(&Value) -> bool) -> Value {
        self.gateway_objects().wait_for(name, awaited, fits).await
    }

    pub(crate) async fn wait_until_deleted(&self, name: &str) {
        self.gateway_objects().wait_until_deleted(name).await;
    }

    pub(crate) async fn wait_until_all_ready(&self, count: usize) -> Vec<Value> {
        self.gateway_objects().wait_until_all_ready(count).await
    }

    /// The Events about objects of that name.
    pub(crate) async fn events(&self, name: &str) -> Vec<Value> {
        let events: Api<k8s_openapi::api::events::v1::Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let events = events.list(&ListParams::default()).await.unwrap();
        let of_name = events
            .items
            .into_iter()
            .map(|event| serde_json::to_value(event).unwrap());
        of_name.filter(|event| event["regarding"]["name"] == name).collect()
    }

    pub(crate) async fn wait_for_event(&self, name: &str, reason: &str) -> String {
        self.gateway_objects().wait_for_event(name, reason).await
    }

    /// Every Event of the namespace about a gateway or a user, by name, with its series.
    pub(crate) async fn plane_events(&self) -> BTreeMap<String, Value> {
        let events: Api<k8s_openapi::api::events::v1::Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let events = events.list(&ListParams::default()).await.unwrap().items;
        let regarding_ours = events.into_iter().map(|event| serde_json::to_value(event).unwrap());
        regarding_ours
            .filter(|event| {
                ["CustomerGateway", "VpnUser"]
                    .iter()
                    .any(|kind| event["regarding"]["kind"] == *kind)
            })
            .map(|event| (event["metadata"]["name"].to_string(), event["series"].clone()))
            .collect()
    }

    /// Waits for a line of `/metrics`.
    pub(crate) async fn wait_for_metric(&self, line: &str) {
        let result = eventually(&format!("the metric {line}"), DEADLINE, async || {
            let metrics = self
                .running()
                .metrics(DEADLINE)
                .await
                .map_err(|error| error.to_string())?;
            if metrics.lines().any(|other| other == line) {
                Ok(())
            } else {
                Err(metrics)
            }
        })
        .await;
        result.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Raises the quota of gateways above that of a new project.
    pub(crate) async fn make_room(&self) {
        let roomy = json!({"name": REGION, "gateway_quota": 10_000});
        let project = format!("projects/{PROJECT}");
        self.simulator.put::<Value>(&project, &roomy).await.unwrap();
    }

    /// Returns the number of the last call that the cloud has seen.
    pub(crate) async fn mark(&self) -> u64 {
        self.simulator.last_sequence().await.unwrap()
    }

    pub(crate) async fn calls_since(&self, mark: u64) -> BTreeMap<String, u64> {
        self.simulator.calls_since(mark).await.unwrap()
    }

    /// The users that the cloud has, as the simulator's admin API shows them.
    pub(crate) async fn cloud_users(&self) -> Vec<Value> {
        self.simulator.users().await.unwrap()
    }

    /// The gateways that the cloud has.
    pub(crate) async fn cloud_gateways(&self) -> Vec<Value> {
        self.simulator.gateways().await.unwrap()
    }

    /// The end of the operator's log, without the noise of the Kubernetes client.
    pub(crate) fn log_tail(&self) -> String {
        let log = self
            .operator
            .as_ref()
            .map(|operator| operator.log())
            .unwrap_or_default();
        let lines: Vec<&str> = log.lines().filter(|line| !line.contains("kube_client::")).collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// Ends every test: searches metrics, logs and etcd for secrets. Returns the number of finds, for tests that count
    /// them.
    pub(crate) async fn finish(mut self) -> u64 {
        self.finished = true;
        let mut found = Vec::new();
        if let Some(operator) = &self.operator {
            found.extend(search_text(
                "metrics",
                &operator.metrics(DEADLINE).await.unwrap(),
                &self.sentinels,
            ));
        }
        for operator in self.operator.iter().chain(&self.ended) {
            found.extend(search_text("log", &operator.log(), &self.sentinels));
        }
        found.extend(search_text("simulator's log", &self.simulator.log(), &self.sentinels));
        found.extend(search_etcd(self.plane, self.began_after, &self.sentinels).await);
        assert!(found.is_empty(), "secrets have leaked: {found:#?}");
        self.every_write_is_in_the_audit_log().await;
        if !self.is_refused {
            self.nothing_was_refused();
        }
        found.len() as u64
    }
}

impl World {
    /// Does not compare the audit log with the cloud's requests at the end. See [`Self::skips_audit`].
    pub(crate) fn skip_audit(&self) {
        self.skips_audit.store(true, Ordering::Relaxed);
    }

    /// Asserts that each write to the cloud is in the log of an operator. One that was killed may not have written the
    /// last lines.
    async fn every_write_is_in_the_audit_log(&self) {
        if self.skips_audit.load(Ordering::Relaxed) {
            return;
        }
        let operators = self.operator.iter().chain(&self.ended);
        let mut log: String = operators.map(|operator| operator.log()).collect();
        for other in self.other_logs.lock().unwrap().iter() {
            log.push_str(&String::from_utf8_lossy(&std::fs::read(other).unwrap()));
        }
        let differences = audit_log::differences(self, &log).await;
        assert!(
            differences.is_empty(),
            "the audit log differs from the cloud's: {differences:#?}"
        );
    }

    /// Asserts that the chart grants every request of this world's operators.
    fn nothing_was_refused(&self) {
        for operator_namespace in &self.operator_namespaces {
            let calls = self.plane.calls_of(operator_namespace, ACCOUNT).unwrap();
            let granted: Vec<String> = calls
                .iter()
                .filter(|call| call.allowed)
                .map(ToString::to_string)
                .collect();
            // An apiserver that has just started refuses requests until it has read the roles.
            let refused: Vec<String> = calls
                .iter()
                .filter(|call| !call.allowed)
                .map(ToString::to_string)
                .filter(|call| !granted.contains(call))
                .collect();
            assert!(refused.is_empty(), "the chart does not grant {refused:#?}");
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        assert!(
            self.finished || std::thread::panicking(),
            "a test ends with World::finish, which checks for leaks"
        );
    }
}

/// A manifest of a gateway.
pub(crate) fn gateway(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: vpn.huaweicloud.com/v1alpha1\nkind: CustomerGateway\nmetadata: {{name: {name:?}}}\nspec: {spec}\n"
    )
}

/// A manifest of a user. The server defaults to the simulator's own, the name to that of the object.
pub(crate) fn user(name: &str, spec: &str) -> String {
    let spec = if spec.contains("vpnServerID") {
        spec.to_owned()
    } else {
        spec.replacen('{', &format!("{{vpnServerID: {VPN_SERVER}, "), 1)
    };
    format!("apiVersion: vpn.huaweicloud.com/v1alpha1\nkind: VpnUser\nmetadata: {{name: {name:?}}}\nspec: {spec}\n")
}

/// A condition of an object, or null.
pub(crate) fn condition(object: &Value, type_: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == type_)
        .cloned()
        .unwrap_or_default()
}

/// The root of this project.
pub(crate) fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn user_resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("vpn.huaweicloud.com", "v1alpha1", "VpnUser"),
        "vpnusers",
    )
}

pub(crate) fn gateway_resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("vpn.huaweicloud.com", "v1alpha1", "CustomerGateway"),
        "customergateways",
    )
}
