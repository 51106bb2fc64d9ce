//! The processes of a run: a control plane, a simulated cloud and one operator at a time.

use std::path::{Path, PathBuf};

use k8s_openapi::ByteString;
use kube::Client;
use serde_json::{Value, json};
use vpn_operator_testbed::{Binaries, ConnectionCounter, ControlPlane, CountingProxy, Operator, Simulator, eventually};

use crate::probes::{count, sum};
use crate::{DEADLINE, Failure};

/// Valid only for the simulator of the run.
const ACCESS_KEY: &str = "BENCHACCESSKEY000000";
const SECRET_KEY: &str = "BenchSecretKeyOfTheSimulator000000000000";
const REGION: &str = "eu-west-101";
/// The simulator's default.
pub(crate) const PROJECT: &str = "0123456789abcdef0123456789abcdef";

/// Updates of gateways, as the query of the counts of the cloud.
pub(crate) const UPDATES: &str = "operation=UpdateCustomerGateway";

/// See the module.
pub(crate) struct Bed {
    pub plane: ControlPlane,
    pub simulator: Simulator,
    pub client: Client,
    pub namespace: String,
    /// To the apiserver, of all operators of the run.
    pub connections: ConnectionCounter,
    /// Between the operators and the cloud.
    pub cloud: CountingProxy,
    /// The operator's binary.
    pub operator: PathBuf,
    /// Of the operators.
    environment: Vec<(String, String)>,
}

impl Bed {
    /// `operator`: instead of the one that is built.
    pub(crate) async fn start(operator: Option<PathBuf>, environment: &[(String, String)]) -> Result<Self, Failure> {
        let project = Path::new(env!("CARGO_MANIFEST_DIR"));
        let binaries = Binaries::build(project).await?;
        let plane = ControlPlane::start().await?;
        plane.apply_crds(&project.join("crds")).await?;
        let keys = [
            "--access-key",
            ACCESS_KEY,
            "--secret-key",
            SECRET_KEY,
            "--region",
            REGION,
        ];
        let simulator = Simulator::start(plane.guardian(), &binaries.simulator, keys).await?;
        let namespace = plane.create_namespace("benchmark").await?;
        let connections = ConnectionCounter::start_for(&plane, plane.kubeconfig()).await?;
        let address = simulator.url().trim_start_matches("http://").parse()?;
        let cloud = CountingProxy::start_for(address).await?;
        let client = plane.client().await?;
        let bed = Self {
            plane,
            simulator,
            client,
            namespace,
            connections,
            cloud,
            operator: operator.unwrap_or(binaries.operator),
            environment: environment.to_vec(),
        };
        bed.clear().await?;
        Ok(bed)
    }

    /// Removes what a group of rows has left, in etcd and in the cloud, while no operator runs.
    pub(crate) async fn clear(&self) -> Result<(), Failure> {
        let of_namespace = ["secrets", "leases", "events"].map(|kind| format!("/registry/{kind}/{}/", self.namespace));
        for prefix in of_namespace
            .into_iter()
            .chain(["/registry/vpn.huaweicloud.com/".to_owned()])
        {
            // The range of a prefix ends before the prefix with its last byte, a slash, increased.
            let end = format!("{}0", prefix.trim_end_matches('/'));
            let range = json!({"key": ByteString(prefix.into_bytes()), "range_end": ByteString(end.into_bytes())});
            self.plane.ask_etcd("deleterange", &range).await?;
        }
        self.simulator.reset().await?;
        self.add_project(PROJECT, REGION).await
    }

    /// Adds a project of the cloud, with room for any number of gateways.
    pub(crate) async fn add_project(&self, id: &str, name: &str) -> Result<(), Failure> {
        let roomy = json!({"name": name, "gateway_quota": 1_000_000});
        self.simulator.put::<Value>(&format!("projects/{id}"), &roomy).await?;
        Ok(())
    }

    /// Slows the cloud down: each request takes so many milliseconds.
    pub(crate) async fn slow_down(&self, latency: u64) -> Result<(), Failure> {
        self.simulator.clear_faults().await?;
        let slow = json!({"fault": "latency", "ms": latency, "times": 0});
        Ok(self.simulator.add_fault(&slow).await?)
    }

    /// Starts an operator with the defaults of a release and these flags, and waits until it is ready.
    pub(crate) async fn operator(&self, flags: &[&str]) -> Result<Operator, Failure> {
        let operator = self.launch(flags)?;
        operator.wait_until_ready(DEADLINE).await?;
        Ok(operator)
    }

    /// Starts an operator with the defaults of a release and these flags.
    pub(crate) fn launch(&self, flags: &[&str]) -> Result<Operator, Failure> {
        let url = format!("http://127.0.0.1:{}", self.cloud.port());
        let mut arguments = vec![
            "run".to_owned(),
            "--bind-address=127.0.0.1:0".to_owned(),
            "--allow-insecure-endpoints".to_owned(),
            "--cluster-name=benchmark".to_owned(),
            "--log-level=warn,vpn_operator::web=info".to_owned(),
            format!("--region={REGION}"),
            format!("--vpn-endpoint={url}"),
            format!("--iam-endpoint={url}"),
            format!("--leader-elect-resource-namespace={}", self.namespace),
        ];
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let keys = [("HUAWEICLOUD_SDK_AK", ACCESS_KEY), ("HUAWEICLOUD_SDK_SK", SECRET_KEY)];
        let more = self
            .environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let environment = keys.into_iter().chain(image_environment()).chain(more);
        let kubeconfig = self.connections.kubeconfig();
        Ok(Operator::start(
            self.plane.guardian(),
            &self.operator,
            kubeconfig,
            arguments,
            environment,
        )?)
    }

    /// How many requests the cloud has received after that one.
    pub(crate) async fn calls_since(&self, sequence: u64) -> Result<f64, Failure> {
        let calls = self.simulator.calls_since(sequence).await?;
        eprintln!("benchmark: calls: {calls:?}");
        Ok(count(calls.values().sum::<u64>()))
    }

    /// How many of them were calls of this operation.
    pub(crate) async fn calls_of(&self, operation: &str, sequence: u64) -> Result<f64, Failure> {
        let calls = self.simulator.calls_since(sequence).await?;
        Ok(count(calls.get(operation).copied().unwrap_or_default()))
    }

    /// Waits until the cloud has received so many requests after that one. `of`: which ones, as the query of its counts.
    pub(crate) async fn until_called(&self, of: &str, sequence: u64, calls: usize) -> Result<(), Failure> {
        // Shorter than the timeout of one request.
        let path = format!("counts?since={sequence}&{of}&count={calls}&timeout_ms=20000");
        let wanted = u64::try_from(calls)?;
        let awaited = format!("{calls} requests with {of}");
        let called = eventually(&awaited, DEADLINE * 2, async || {
            let counts: Value = self.simulator.get(&path).await.map_err(|error| error.to_string())?;
            match counts["total"].as_u64() {
                Some(total) if total >= wanted => Ok(()),
                _ => Err(counts.to_string()),
            }
        });
        Ok(called.await?)
    }

    /// How many writes of our kinds' status the apiserver has served.
    pub(crate) async fn status_writes(&self) -> Result<f64, Failure> {
        let of_status = ["group=\"vpn.huaweicloud.com\"", "subresource=\"status\""];
        self.updates(&of_status).await
    }

    /// How many updates and patches with these labels in its metrics the apiserver has served.
    pub(crate) async fn updates(&self, labels: &[&str]) -> Result<f64, Failure> {
        let metrics = self.apiserver_metrics().await?;
        let of = |verb| sum(&metrics, "apiserver_request_total", &[labels, &[verb]].concat());
        Ok(["verb=\"PUT\"", "verb=\"PATCH\"", "verb=\"APPLY\""]
            .map(of)
            .iter()
            .sum())
    }

    /// The text of the apiserver's `/metrics`.
    pub(crate) async fn apiserver_metrics(&self) -> Result<String, Failure> {
        let request = axum::http::Request::get("/metrics").body(Vec::new())?;
        Ok(self.client.request_text(request).await?)
    }
}

/// The variables that the image sets: the program is measured as it is released.
fn image_environment<'a>() -> impl Iterator<Item = (&'a str, &'a str)> {
    let instructions = include_str!("../../Dockerfile").lines();
    instructions.filter_map(|line| line.strip_prefix("ENV ")?.split_once('='))
}

/// Stops an operator and waits for its end.
pub(crate) async fn stop(operator: Operator) -> Result<(), Failure> {
    let status = operator.terminate(DEADLINE).await?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("the operator ended with {status}").into())
    }
}
