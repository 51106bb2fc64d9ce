//! A Helm release in a namespace of its own, with the cloud's simulator beside it.

use std::time::Duration;

use serde_json::{Value, json};
use vpn_operator_testbed::{Binaries, ControlPlane, Kubelet, Operator, Simulator};

/// How long a busy machine may take for anything that is waited for.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
pub(crate) const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/vpn-operator");
const ACCESS_KEY: &str = "CHARTACCESSKEY";
const SECRET_KEY: &str = "chart-secret-key";

/// See the module.
pub(crate) struct Release {
    pub plane: &'static ControlPlane,
    pub namespace: String,
    pub simulator: Simulator,
    /// None while none runs.
    pub operator: Option<Operator>,
}

impl Release {
    /// Installs the chart with these values, beside those that lead to the simulator.
    pub(crate) async fn install(plane: &'static ControlPlane, values: &[String]) -> Self {
        let namespace = plane.create_namespace("chart").await.unwrap();
        Self::install_in(plane, namespace, values).await
    }

    /// So in a namespace that is there.
    pub(crate) async fn install_in(plane: &'static ControlPlane, namespace: String, values: &[String]) -> Self {
        let release = Self::prepare(plane, namespace).await;
        release.helm("install", values).await;
        release
    }

    /// What a release needs before it can be installed, by Helm or otherwise.
    pub(crate) async fn prepare(plane: &'static ControlPlane, namespace: String) -> Self {
        let credential = format!("{ACCESS_KEY}={SECRET_KEY}");
        let arguments = ["--credential", &credential, "--region", "eu-west-101"];
        let simulator = Simulator::start(plane.guardian(), &binaries().simulator, arguments)
            .await
            .unwrap();
        let release = Self {
            plane,
            namespace,
            simulator,
            operator: None,
        };
        release.credentials("cloud").await;
        release
    }

    /// What `helm template` makes of the chart with the values that lead to the simulator, without what only `helm test`
    /// would make.
    pub(crate) async fn template(&self) -> String {
        let mut arguments: Vec<String> = [
            "template",
            "vpn-operator",
            CHART,
            "--skip-tests",
            "--namespace",
            &self.namespace,
        ]
        .map(str::to_owned)
        .to_vec();
        for value in self.own_values() {
            arguments.extend(["--set".to_owned(), value]);
        }
        self.plane.helm(arguments).await.unwrap().success().unwrap()
    }

    /// `helm install` or `helm upgrade` of the release.
    pub(crate) async fn helm(&self, command: &str, values: &[String]) {
        self.helm_with(CHART, command, values).await;
    }

    /// So with another chart than today's.
    pub(crate) async fn helm_with(&self, chart: &str, command: &str, values: &[String]) {
        let mut arguments: Vec<String> = [command, "vpn-operator", chart, "--namespace", &self.namespace]
            .map(str::to_owned)
            .to_vec();
        for value in self.own_values().iter().chain(values) {
            arguments.extend(["--set".to_owned(), value.clone()]);
        }
        self.plane.helm(arguments).await.unwrap().success().unwrap();
    }

    /// The values that lead to the simulator.
    fn own_values(&self) -> Vec<String> {
        vec![
            "region=eu-west-101".to_owned(),
            format!("vpnEndpoint={}", self.simulator.url()),
            format!("iamEndpoint={}", self.simulator.url()),
            "allowInsecureEndpoints=true".to_owned(),
            "credentials.secretName=cloud".to_owned(),
            "clusterName=test".to_owned(),
            "creationConfirmationPeriod=1s".to_owned(),
            "logLevel=debug".to_owned(),
        ]
    }

    /// A Secret with the simulator's credentials.
    pub(crate) async fn credentials(&self, name: &str) {
        self.credentials_in(name, &self.namespace).await;
    }

    /// The same in another namespace.
    pub(crate) async fn credentials_in(&self, name: &str, namespace: &str) {
        let (access_key, secret_key) = (format!("accessKey={ACCESS_KEY}"), format!("secretKey={SECRET_KEY}"));
        let from = ["--from-literal", &access_key, "--from-literal", &secret_key];
        let create = ["create", "secret", "generic", name, "--namespace", namespace];
        let output = self.plane.kubectl(create.into_iter().chain(from)).await.unwrap();
        output.success().unwrap();
    }

    /// Starts the binary as the Deployment says, with a token of its `ServiceAccount`.
    pub(crate) async fn start_operator(&mut self) {
        let binaries = binaries();
        let kubelet = Kubelet {
            plane: self.plane,
            namespace: &self.namespace,
            binaries: &binaries,
        };
        let started = kubelet.start_operator("vpn-operator", &[]).await;
        self.operator = Some(started.unwrap());
    }

    pub(crate) fn operator(&self) -> &Operator {
        self.operator.as_ref().expect("an operator runs")
    }

    /// SIGTERM.
    pub(crate) async fn stop_operator(&mut self) {
        let operator = self.operator.take().expect("an operator runs");
        let status = operator.terminate(Duration::from_secs(20)).await.unwrap();
        assert!(status.success(), "SIGTERM ends it well: {status}");
    }

    /// kubectl in the release's namespace, as administrator.
    pub(crate) async fn kubectl<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<String, String> {
        let mut all = vec!["--namespace".to_owned(), self.namespace.clone()];
        all.extend(arguments.into_iter().map(str::to_owned));
        let output = self.plane.kubectl(all).await.unwrap();
        output.success().map_err(|error| error.to_string())
    }

    /// `kubectl apply` in the release's namespace.
    pub(crate) async fn apply(&self, manifest: &str) {
        self.apply_in(&self.namespace, manifest).await;
    }

    /// `kubectl apply` in another namespace.
    pub(crate) async fn apply_in(&self, namespace: &str, manifest: &str) {
        let arguments = ["--namespace", namespace, "apply", "--filename", "-"];
        let output = self.plane.kubectl_with_input(arguments, manifest).await.unwrap();
        output.success().unwrap();
    }

    /// An object of the release's namespace.
    pub(crate) async fn get(&self, kind: &str, name: &str) -> Value {
        let text = self.kubectl(["get", kind, name, "--output", "json"]).await.unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// An edit in the cloud behind the operator's back.
    pub(crate) async fn rename_in_cloud(&self, id: &str, name: &str) {
        self.simulator.edit_gateway(id, &json!({"name": name})).await.unwrap();
    }
}

/// The programs under test.
pub(crate) fn binaries() -> Binaries {
    Binaries {
        operator: env!("CARGO_BIN_EXE_vpn-operator").into(),
        simulator: env!("CARGO_BIN_EXE_vpn-simulator").into(),
    }
}
