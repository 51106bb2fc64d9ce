//! Actions of users without the operator: in the cloud's console, and with kubectl on an object's lifecycle.

use std::collections::BTreeMap;

use kube::api::DeleteParams;
use serde_json::{Value, json};
use vpn_operator_testbed::{Operator, eventually};

use crate::operator::world::{DEADLINE, World, condition};

/// The key of the owner tag.
pub(crate) const OWNER: &str = "vpn-operator-owner";
/// A uid that no object has.
pub(crate) const DEAD_UID: &str = "00000000-dead-4000-8000-000000000000";

impl World {
    /// Creates a gateway in the cloud. Returns its id.
    pub(crate) async fn seed(&self, seed: Value) -> String {
        let made: Vec<Value> = self.simulator.seed_gateways(&seed).await.unwrap();
        made[0]["id"].as_str().expect("an id").to_owned()
    }

    /// Changes a gateway in the cloud.
    pub(crate) async fn edit(&self, id: &str, edit: Value) {
        self.simulator.edit_gateway(id, &edit).await.unwrap();
    }

    /// A gateway as the cloud has it, or null.
    pub(crate) async fn cloud_gateway(&self, id: &str) -> Value {
        let all = self.cloud_gateways().await;
        all.into_iter().find(|gateway| gateway["id"] == id).unwrap_or_default()
    }

    /// Waits until a gateway in the cloud is as expected.
    pub(crate) async fn wait_for_cloud(&self, id: &str, awaited: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let result = eventually(awaited, DEADLINE, async || {
            let gateway = self.cloud_gateway(id).await;
            if fits(&gateway) {
                Ok(gateway)
            } else {
                Err(gateway.to_string())
            }
        })
        .await;
        result.unwrap_or_else(|error| panic!("{error}\n{}", self.log_tail()))
    }

    /// The value of the owner tag that this object gives its gateway.
    pub(crate) async fn owner_value(&self, name: &str) -> String {
        let uid = self.get(name).await["metadata"]["uid"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        self.owner_of(&uid, name)
    }

    /// The same for any uid.
    pub(crate) fn owner_of(&self, uid: &str, name: &str) -> String {
        format!("{uid}:test:{}:{name}", self.namespace)
    }

    /// Applies a gateway and waits until it is available. Returns its id.
    pub(crate) async fn create(&self, name: &str, spec: &str) -> String {
        self.apply_gateway(name, spec).await;
        let object = self.wait_for_reason(name, "Available").await;
        object["status"]["id"].as_str().expect("an id").to_owned()
    }

    /// `kubectl delete --wait=false`.
    pub(crate) async fn delete(&self, name: &str) {
        self.gateways().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Asks for a reconcile now.
    pub(crate) async fn request(&self, name: &str) {
        let unique = uuid::Uuid::new_v4().to_string();
        let annotations = json!({"vpn.huaweicloud.com/reconcile-requested-at": unique});
        self.patch(name, json!({"metadata": {"annotations": annotations}}))
            .await;
    }

    /// Calls that change something in the cloud.
    pub(crate) async fn writes_since(&self, mark: u64) -> BTreeMap<String, u64> {
        let mut calls = self.calls_since(mark).await;
        calls.retain(|name, _| {
            [
                "Create", "Update", "Delete", "Add", "Remove", "Reset", "Change", "Batch",
            ]
            .iter()
            .any(|verb| name.starts_with(verb))
        });
        calls
    }

    /// Waits until the cloud's gateways were listed this many times more.
    pub(crate) async fn wait_for_cycles(&self, count: u64) {
        self.wait_for_calls("ListCustomerGateways", count).await;
    }

    /// Waits until the cloud received this operation this many times more.
    pub(crate) async fn wait_for_calls(&self, operation: &str, count: u64) {
        let mark = self.mark().await;
        let result = eventually(&format!("{count} {operation}"), DEADLINE, async || {
            let calls = self.calls_since(mark).await;
            if calls.get(operation).copied().unwrap_or_default() >= count {
                Ok(())
            } else {
                Err(format!("{calls:?}"))
            }
        })
        .await;
        result.unwrap_or_else(|error| panic!("{error}\n{}", self.log_tail()));
    }

    /// Starts another operator beside the world's own. These flags replace the world's flags of the same names.
    pub(crate) async fn start_another<const N: usize>(&self, flags: [&str; N]) -> Operator {
        let mut arguments = self.arguments.clone();
        for flag in flags {
            let name = flag.split('=').next();
            arguments.retain(|other| other.split('=').next() != name);
            arguments.push(flag.to_owned());
        }
        let binary = std::path::Path::new(env!("CARGO_BIN_EXE_vpn-operator"));
        let (guardian, kubeconfig) = (self.plane.guardian(), &self.kubeconfig);
        let operator = Operator::start(guardian, binary, kubeconfig, arguments, self.environment.clone()).unwrap();
        operator.wait_until_ready(DEADLINE).await.unwrap();
        self.other_logs.lock().unwrap().push(operator.log_path().to_owned());
        operator
    }

    /// Deletes the object without its finalizer, as if the cluster was lost: the operator cleans up nothing.
    pub(crate) async fn lose(&self, name: &str) {
        self.patch(name, json!({"metadata": {"finalizers": null}})).await;
        self.delete(name).await;
        self.wait_until_deleted(name).await;
    }

    /// Removes the whole status, by `kubectl patch --subresource=status`.
    pub(crate) async fn wipe_status(&self, name: &str) {
        let resource = format!("customergateway/{name}");
        let patch = r#"[{"op": "remove", "path": "/status"}]"#;
        self.kubectl([
            "patch",
            &resource,
            "--subresource=status",
            "--type=json",
            "--patch",
            patch,
        ])
        .await;
    }
}

/// The message of `Ready`.
pub(crate) fn message(object: &Value) -> String {
    condition(object, "Ready")["message"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// The expected number of calls of each operation.
pub(crate) fn counts<const N: usize>(expected: [(&str, u64); N]) -> BTreeMap<String, u64> {
    expected
        .into_iter()
        .map(|(operation, count)| (operation.to_owned(), count))
        .collect()
}
