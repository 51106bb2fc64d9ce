//! The controllers as they are shipped, between the apiserver of these tests and the simulator.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use vpn_cloud::Operation;
use vpn_cloud::http::transport::TransportError;
use vpn_simulator::{RunningSimulator, Settings, tryout};

use crate::kubernetes::client::WatchActivity;
use crate::leader::LeaderHandle;
use crate::metrics::Metrics;
use crate::operator::Dependencies;
use crate::reconcile::pipeline::tripwire::Tripwires;
use crate::settings::{Cli, Command, validate};
use crate::shell_tests::apiserver::{Apiserver, GROUP};
use crate::web::Readiness;
use crate::wiring::WiredKind;
use crate::{metrics, wiring};

/// How long a busy machine may take for anything that is waited for.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// See the module.
pub(crate) struct ShellWorld {
    pub apiserver: Apiserver,
    pub tripwires: Tripwires,
    pub readiness: Readiness,
    pub leader: LeaderHandle,
    pub kinds: Vec<WiredKind>,
    simulator: RunningSimulator,
    registry: Registry,
    shutdown: CancellationToken,
    running: Option<JoinHandle<Result<(), TransportError>>>,
    flags: Vec<String>,
    metrics: Metrics,
    /// The CRDs of the operator.
    pub crds: Vec<CustomResourceDefinition>,
}

impl ShellWorld {
    /// A world whose operator is not running yet.
    pub(crate) async fn new(flags: &[&str]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let simulator = RunningSimulator::start(Settings::default(), "127.0.0.1:0".parse().unwrap());
        let metrics = Metrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let world = Self {
            apiserver: Apiserver::new(),
            tripwires: Tripwires::default(),
            readiness: Readiness::default(),
            leader: LeaderHandle::always(),
            kinds: wiring::KINDS.to_vec(),
            simulator: simulator.await.unwrap(),
            registry,
            shutdown: CancellationToken::new(),
            running: None,
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            metrics,
            crds: Vec::new(),
        };
        world.put_secret(
            "cloud",
            &[("accessKey", tryout::ACCESS_KEY), ("secretKey", tryout::SECRET_KEY)],
        );
        world
    }

    pub(crate) fn start(&mut self) {
        let url = self.simulator.base_url();
        let mut flags: Vec<String> = [
            "vpn-operator",
            "run",
            "--allow-insecure-endpoints",
            "--leader-elect=false",
            "--leader-elect-resource-namespace=team",
            "--resync-period=0",
            "--cluster-name=test",
            "--creation-confirmation-period=1s",
            "--request-timeout=5s",
            "--max-requests-per-second=1000",
        ]
        .map(str::to_owned)
        .to_vec();
        flags.push(format!("--vpn-endpoint={url}"));
        flags.push(format!("--iam-endpoint={url}"));
        flags.push(format!("--region={}", tryout::REGION));
        flags.extend(self.flags.iter().cloned());
        let Command::Run(arguments) = Cli::try_parse_from(flags).unwrap().command else {
            panic!("run was asked for");
        };
        let settings = validate(*arguments, |path| std::fs::read(path)).unwrap();
        let heard = WatchActivity::default();
        let dependencies = Dependencies {
            settings: Arc::new(settings),
            crds: self.crds.clone().into(),
            client: self.apiserver.client(&heard),
            heard,
            metrics: self.metrics.clone(),
            readiness: self.readiness.clone(),
            leader: self.leader.clone(),
            shutdown: self.shutdown.clone(),
            tripwires: self.tripwires.clone(),
        };
        let kinds = self.kinds.clone();
        self.running = Some(tokio::spawn(async move {
            wiring::controllers_of(&kinds, dependencies).await
        }));
    }

    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        self.running.take().unwrap().await.unwrap().unwrap();
    }

    pub(crate) fn put_secret(&self, name: &str, data: &[(&str, &str)]) {
        let data: serde_json::Map<String, Value> = data
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!(base64(value.as_bytes()))))
            .collect();
        let path = format!("/api/v1/namespaces/team/secrets/{name}");
        self.apiserver.put(&path, json!({"metadata": {}, "data": data}));
    }

    pub(crate) fn put_gateway(&self, name: &str, spec: Value) {
        self.put_object(&gateway(name), spec);
    }

    pub(crate) fn put_link(&self, name: &str, spec: Value) {
        self.put_object(&link(name), spec);
    }

    /// With the credentials of the world, unless the spec names others.
    fn put_object(&self, path: &str, mut spec: Value) {
        if spec["credentialsRef"].is_null() {
            spec["credentialsRef"] = json!({"name": "cloud"});
        }
        self.apiserver.put(path, json!({"metadata": {}, "spec": spec}));
    }

    pub(crate) fn put_user(&self, name: &str, mut spec: Value) {
        spec["vpnServerID"] = json!(tryout::VPN_SERVER_ID);
        self.put_object(&user(name), spec);
    }

    /// Sends a request to the simulator's admin API.
    pub(crate) async fn simulator(&self, method: reqwest::Method, path: &str, body: Value) -> Value {
        let url = format!("{}/_simulator/{path}", self.simulator.base_url());
        let request = reqwest::Client::new().request(method, url).body(body.to_string());
        let answer = request.header("content-type", "application/json").send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
        serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default()
    }

    /// How often this operation was called.
    pub(crate) async fn calls(&self, operation: &str) -> u64 {
        let is_known = Operation::ALL.iter().any(|known| known.name() == operation);
        assert!(is_known, "there is no operation {operation}");
        let counts = self.simulator(reqwest::Method::GET, "counts", json!({})).await;
        counts["by_operation"][operation].as_u64().unwrap_or_default()
    }

    /// The writes that were sent to the cloud, by operation.
    pub(crate) async fn writes(&self) -> BTreeMap<String, u64> {
        let counts = self.simulator(reqwest::Method::GET, "counts", json!({})).await;
        let by_operation: BTreeMap<String, u64> = serde_json::from_value(counts["by_operation"].clone()).unwrap();
        let is_read = |name: &str| {
            let operation = Operation::ALL.into_iter().find(|operation| operation.name() == name);
            operation.is_none_or(|operation| !operation.is_write())
        };
        by_operation.into_iter().filter(|(name, _)| !is_read(name)).collect()
    }

    /// Holds the next requests of this operation before they take effect.
    pub(crate) async fn hold_cloud(&self, operation: &str, times: usize) {
        let fault = json!({"fault": "hold", "operation": operation, "times": times});
        self.simulator(reqwest::Method::POST, "faults", fault).await;
    }

    /// Waits until so many requests are held.
    pub(crate) async fn cloud_holds(&self, count: usize) {
        let path = format!("held?count={count}&timeout_ms=60000");
        let held = self.simulator(reqwest::Method::GET, &path, json!({})).await;
        assert_eq!(held["held"].as_array().map(Vec::len), Some(count), "{held}");
    }

    /// Waits until this operation was called so often.
    pub(crate) async fn until_called(&self, operation: &str, times: u64) {
        let is_called = async {
            while self.calls(operation).await < times {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let in_time = tokio::time::timeout(DEADLINE, is_called).await;
        assert!(
            in_time.is_ok(),
            "{operation} was not called {times} times:\n{}",
            self.apiserver.summary()
        );
    }

    /// Continues the held requests, or closes their connections.
    pub(crate) async fn release_cloud(&self, drop: bool) {
        let release = self.simulator(reqwest::Method::POST, "release", json!({"drop": drop}));
        release.await;
    }

    /// Causes drift: changes the description of a user in the cloud.
    pub(crate) async fn drift(&self, name: &str) {
        let id = self.apiserver.get(&user(name))["status"]["id"].clone();
        let path = format!("vpn-users/{}", id.as_str().unwrap());
        let changed = self.simulator(reqwest::Method::PATCH, &path, json!({"description": "drifted"}));
        changed.await;
    }

    /// How many reconciles of a kind have ended well.
    pub(crate) fn reconciles(&self, kind: &str) -> u64 {
        let series = format!("vpn_operator_reconciles_total{{kind=\"{kind}\",outcome=\"ok\"}} ");
        let metrics = self.metrics();
        let value = metrics.lines().find_map(|line| line.strip_prefix(&series));
        value.map_or(0, |value| value.parse().unwrap())
    }

    pub(crate) fn metrics(&self) -> String {
        metrics::encode(&self.registry).unwrap()
    }

    /// Reason and status of the Ready condition of the object at this path.
    pub(crate) fn ready(&self, path: &str) -> (String, bool) {
        let object = self.apiserver.get(path);
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
        let text = |field: &str| ready.map(|ready| ready[field].as_str().unwrap_or_default().to_owned());
        (
            text("reason").unwrap_or_default(),
            text("status").as_deref() == Some("True"),
        )
    }

    /// Waits until this is so.
    pub(crate) async fn until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let waits = async {
            while !is_so(self) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        assert!(
            tokio::time::timeout(DEADLINE, waits).await.is_ok(),
            "waited in vain until {what}:\n{}\n{}",
            self.apiserver.summary(),
            self.readiness.report().1
        );
    }
}

pub(crate) fn gateway(name: &str) -> String {
    format!("{GROUP}/namespaces/team/customergateways/{name}")
}

pub(crate) fn link(name: &str) -> String {
    format!("{GROUP}/namespaces/team/links/{name}")
}

pub(crate) fn user(name: &str) -> String {
    format!("{GROUP}/namespaces/team/vpnusers/{name}")
}

fn base64(bytes: &[u8]) -> String {
    serde_json::to_value(k8s_openapi::ByteString(bytes.to_vec()))
        .unwrap()
        .as_str()
        .unwrap()
        .to_owned()
}
