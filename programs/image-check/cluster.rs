//! The cluster: a real control plane with a release of the chart.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};
use vpn_core::api::CustomerGateway;
use vpn_operator_testbed::ControlPlane;

use crate::Failure;

/// The name of the release, and of its Deployment, its `ServiceAccount` and its Lease.
pub(crate) const OPERATOR: &str = "vpn-operator";
/// The Deployment of the simulator.
pub(crate) const SIMULATOR: &str = "vpn-operator-simulator";

/// See the module.
pub(crate) struct Cluster {
    plane: ControlPlane,
    namespace: String,
}

impl Cluster {
    /// Starts the control plane and installs the chart.
    ///
    /// # Errors
    /// If one of them fails.
    pub(crate) async fn start(values: &[String]) -> Result<Self, Failure> {
        let plane = ControlPlane::start().await?;
        let namespace = plane.create_namespace("image").await?;
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/vpn-operator");
        let chart = chart.to_str().ok_or("the project's path is no text")?;
        let mut install = vec!["install", OPERATOR, chart, "--namespace", &namespace];
        install.extend(values.iter().flat_map(|value| ["--set", value]));
        plane.helm(install).await?.success()?;
        Ok(Self { plane, namespace })
    }

    pub(crate) fn plane(&self) -> &ControlPlane {
        &self.plane
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The directory of this run.
    pub(crate) fn folder(&self) -> &Path {
        self.plane.guardian().folder()
    }

    /// An object of the release's namespace.
    pub(crate) async fn get(&self, kind: &str, name: &str) -> Result<Value, Failure> {
        let arguments = ["get", kind, name, "--namespace", &self.namespace, "--output=json"];
        Ok(serde_json::from_str(&self.plane.kubectl(arguments).await?.success()?)?)
    }

    /// The value of a key in a Secret.
    pub(crate) async fn secret_value(&self, name: &str, key: &str) -> Result<Option<String>, Failure> {
        let secrets: Api<Secret> = Api::namespaced(self.plane.client().await?, &self.namespace);
        let data = secrets.get(name).await?.data.unwrap_or_default();
        Ok(data
            .get(key)
            .map(|bytes| String::from_utf8(bytes.0.clone()))
            .transpose()?)
    }

    /// The directory that the kubelet mounts for a `ServiceAccount`, readable by every user of the container.
    pub(crate) async fn account_folder(&self, account: &str) -> Result<PathBuf, Failure> {
        let kubeconfig = self.plane.service_account_kubeconfig(&self.namespace, account).await?;
        let kubeconfig: Value = serde_json::from_slice(&std::fs::read(kubeconfig)?)?;
        let authority = kubeconfig["clusters"][0]["cluster"]["certificate-authority"].as_str();
        let token = kubeconfig["users"][0]["user"]["token"].as_str().ok_or("no token")?;
        let folder = self.folder().join(format!("account-{account}"));
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("token"), token)?;
        std::fs::write(folder.join("namespace"), &self.namespace)?;
        std::fs::copy(authority.ok_or("no authority")?, folder.join("ca.crt"))?;
        Ok(folder)
    }

    /// The variables with the apiserver's address in a pod.
    pub(crate) fn variables(&self) -> Result<[(String, String); 2], Failure> {
        let url = self.plane.url();
        let (host, port) = url
            .strip_prefix("https://")
            .and_then(|address| address.split_once(':'))
            .ok_or("the apiserver's address has no port")?;
        Ok([("HOST", host), ("PORT", port)].map(|(of, value)| (format!("KUBERNETES_SERVICE_{of}"), value.to_owned())))
    }

    /// Creates gateways, numbered from `first`.
    pub(crate) async fn make_gateways(&self, first: usize, count: usize) -> Result<(), Failure> {
        let gateways = self.gateways().await?;
        for number in first..first + count {
            let object = json!({
                "metadata": {"name": format!("gateway-{number:04}")},
                // The benchmarking network, 198.18.0.0/15.
                "spec": {"idValue": format!("198.18.{}.{}", number / 250, number % 250 + 1), "bgpASN": 65010},
            });
            gateways
                .create(&PostParams::default(), &serde_json::from_value(gateway(object))?)
                .await?;
        }
        Ok(())
    }

    /// Waits with kubectl.
    pub(crate) async fn wait_until_all_are_ready(&self) -> Result<(), Failure> {
        let wait = ["wait", "customergateway", "--all", "--for=condition=Ready"];
        let how = ["--namespace", &self.namespace, "--timeout=20m"];
        self.plane.kubectl(wait.into_iter().chain(how)).await?.success()?;
        Ok(())
    }

    /// The IDs of the gateways that are Ready.
    pub(crate) async fn ready_ids(&self) -> Result<Vec<String>, Failure> {
        let objects = self.gateways().await?.list(&ListParams::default()).await?;
        let mut ids = Vec::new();
        for object in objects {
            let status = serde_json::to_value(object.status)?;
            let mut conditions = status["conditions"].as_array().into_iter().flatten();
            let is_ready = conditions.any(|it| it["type"] == "Ready" && it["status"] == "True");
            if let (true, Some(id)) = (is_ready, status["id"].as_str()) {
                ids.push(id.to_owned());
            }
        }
        Ok(ids)
    }

    async fn gateways(&self) -> Result<Api<CustomerGateway>, Failure> {
        Ok(Api::namespaced(self.plane.client().await?, &self.namespace))
    }
}

/// Adds the common fields of the kind.
fn gateway(mut object: Value) -> Value {
    object["apiVersion"] = "vpn.huaweicloud.com/v1alpha1".into();
    object["kind"] = "CustomerGateway".into();
    object
}
