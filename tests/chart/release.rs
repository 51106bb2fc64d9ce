//! A Helm release in a namespace of its own, with the cloud's simulator beside it.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
use vpn_operator_testbed::{ControlPlane, Operator, Simulator};

/// How long a busy machine may take for anything that is waited for.
pub const DEADLINE: Duration = Duration::from_secs(60);
pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/vpn-operator");
pub const OPERATOR: &str = env!("CARGO_BIN_EXE_vpn-operator");
const SIMULATOR: &str = env!("CARGO_BIN_EXE_vpn-simulator");
const ACCESS_KEY: &str = "CHARTACCESSKEY";
const SECRET_KEY: &str = "chart-secret-key";

/// See the module.
pub struct Release {
    pub plane: &'static ControlPlane,
    pub namespace: String,
    pub simulator: Simulator,
    operator: Option<Operator>,
}

impl Release {
    /// Installs the chart with these values, beside those that lead to the simulator.
    pub async fn install(plane: &'static ControlPlane, values: &[String]) -> Self {
        let namespace = plane.create_namespace("chart").await.unwrap();
        Self::install_in(plane, namespace, values).await
    }

    /// So in a namespace that is there.
    pub async fn install_in(plane: &'static ControlPlane, namespace: String, values: &[String]) -> Self {
        let release = Self::prepare(plane, namespace).await;
        release.helm("install", values).await;
        release
    }

    /// What a release needs before it can be installed, by Helm or otherwise.
    pub async fn prepare(plane: &'static ControlPlane, namespace: String) -> Self {
        let credential = format!("{ACCESS_KEY}={SECRET_KEY}");
        let arguments = ["--credential", &credential, "--region", "eu-west-101"];
        let simulator = Simulator::start(plane.guardian(), Path::new(SIMULATOR), arguments)
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
    pub async fn template(&self) -> String {
        let mut arguments: Vec<String> = ["template", "vpn", CHART, "--skip-tests", "--namespace", &self.namespace]
            .map(str::to_owned)
            .to_vec();
        for value in self.own_values() {
            arguments.extend(["--set".to_owned(), value]);
        }
        self.plane.helm(arguments).await.unwrap().success().unwrap()
    }

    /// `helm install` or `helm upgrade` of the release.
    pub async fn helm(&self, command: &str, values: &[String]) {
        self.helm_with(CHART, command, values).await;
    }

    /// So with another chart than today's.
    pub async fn helm_with(&self, chart: &str, command: &str, values: &[String]) {
        let mut arguments: Vec<String> = [command, "vpn", chart, "--namespace", &self.namespace]
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
            "settleTime=1s".to_owned(),
            "logLevel=debug".to_owned(),
            format!("port={}", free_port()),
        ]
    }

    /// A Secret with the simulator's credentials.
    pub async fn credentials(&self, name: &str) {
        let (access_key, secret_key) = (format!("accessKey={ACCESS_KEY}"), format!("secretKey={SECRET_KEY}"));
        let from = ["--from-literal", &access_key, "--from-literal", &secret_key];
        let create = ["create", "secret", "generic", name];
        self.kubectl(create.into_iter().chain(from)).await.unwrap();
    }

    /// Starts the binary as the Deployment says, with a token of its ServiceAccount.
    pub async fn start_operator(&mut self) {
        let deployment = self.get("deployment", "vpn-vpn-operator").await;
        let pod = &deployment["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        let account = pod["serviceAccountName"].as_str().unwrap();
        let kubeconfig = self
            .plane
            .service_account_kubeconfig(&self.namespace, account)
            .await
            .unwrap();
        let arguments: Vec<String> = serde_json::from_value(container["args"].clone()).unwrap();
        let mut environment = Vec::new();
        for variable in container["env"].as_array().unwrap() {
            if let Some(value) = self.value(variable).await {
                environment.push((variable["name"].as_str().unwrap().to_owned(), value));
            }
        }
        let guardian = self.plane.guardian();
        let started = Operator::start(guardian, Path::new(OPERATOR), &kubeconfig, arguments, environment);
        self.operator = Some(started.unwrap());
    }

    /// What the kubelet would put into a variable.
    async fn value(&self, variable: &Value) -> Option<String> {
        if let Some(value) = variable["value"].as_str() {
            return Some(value.to_owned());
        }
        let from = &variable["valueFrom"];
        match from["fieldRef"]["fieldPath"].as_str() {
            Some("metadata.namespace") => return Some(self.namespace.clone()),
            Some("metadata.name") => return Some("vpn-vpn-operator-0".to_owned()),
            Some(other) => panic!("a field that this test does not know: {other}"),
            None => {}
        }
        let (name, key) = (&from["secretKeyRef"]["name"], &from["secretKeyRef"]["key"]);
        let secret: Secret = serde_json::from_value(self.get("secret", name.as_str().unwrap()).await).unwrap();
        let data = secret.data.unwrap_or_default();
        let found = data.get(key.as_str().unwrap());
        assert!(
            found.is_some() || from["secretKeyRef"]["optional"] == true,
            "{variable}"
        );
        found.map(|bytes| String::from_utf8(bytes.0.clone()).unwrap())
    }

    pub fn operator(&self) -> &Operator {
        self.operator.as_ref().expect("an operator runs")
    }

    /// SIGTERM.
    pub async fn stop_operator(&mut self) {
        let operator = self.operator.take().expect("an operator runs");
        let status = operator.terminate(Duration::from_secs(20)).await.unwrap();
        assert!(status.success(), "SIGTERM ends it well: {status}");
    }

    /// kubectl in the release's namespace, as administrator.
    pub async fn kubectl<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<String, String> {
        let mut all = vec!["--namespace".to_owned(), self.namespace.clone()];
        all.extend(arguments.into_iter().map(str::to_owned));
        let output = self.plane.kubectl(all).await.unwrap();
        output.success().map_err(|error| error.to_string())
    }

    /// `kubectl apply` in the release's namespace.
    pub async fn apply(&self, manifest: &str) {
        let arguments = ["--namespace", &self.namespace, "apply", "--filename", "-"];
        let output = self.plane.kubectl_with_input(arguments, manifest).await.unwrap();
        output.success().unwrap();
    }

    /// An object of the release's namespace.
    pub async fn get(&self, kind: &str, name: &str) -> Value {
        let text = self.kubectl(["get", kind, name, "--output", "json"]).await.unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// An edit in the cloud behind the operator's back.
    pub async fn rename_in_cloud(&self, id: &str, name: &str) {
        self.simulator.edit_gateway(id, &json!({"name": name})).await.unwrap();
    }
}

/// Somebody else may take it before its use, which a restart of the test would show as "address in use".
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
