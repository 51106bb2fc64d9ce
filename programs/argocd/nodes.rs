//! Acts as the nodes: runs each pod of the operator's Deployment as a process, and reports its state to the apiserver.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;
use vpn_operator_testbed::{Error, Kubelet, Operator};

use crate::Failure;

const PAUSE: Duration = Duration::from_millis(250);
const READY_DEADLINE: Duration = Duration::from_secs(60);
const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// Acts as all nodes of a cluster for one namespace, until it is dropped.
pub(crate) async fn play(kubelet: Kubelet<'_>, cloud: &str) -> Result<(), Failure> {
    let pods = Api::<Pod>::namespaced(kubelet.plane.client().await?, kubelet.namespace);
    let ours = ListParams::default().labels("app.kubernetes.io/component=operator");
    let mut running = BTreeMap::<String, Operator>::new();
    loop {
        let present = pods.list(&ours).await?.items;
        let mut is_there = BTreeMap::new();
        for pod in present.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
            let name = pod.metadata.name.clone().unwrap_or_default();
            is_there.insert(name, pod);
        }
        let deleted: Vec<String> = running
            .keys()
            .filter(|name| !is_there.contains_key(*name))
            .cloned()
            .collect();
        for name in deleted {
            if let Some(operator) = running.remove(&name) {
                operator.terminate(STOP_DEADLINE).await?;
            }
        }
        for (name, pod) in is_there {
            if !running.contains_key(&name)
                && let Some(operator) = start(kubelet, pod, cloud).await?
            {
                operator.wait_until_ready(READY_DEADLINE).await?;
                pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(ready()))
                    .await?;
                running.insert(name, operator);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// None while a Secret is missing; a kubelet waits for it too.
async fn start(kubelet: Kubelet<'_>, pod: &Pod, cloud: &str) -> Result<Option<Operator>, Failure> {
    // The documentation uses the real cloud; this cluster uses the simulator.
    let mut pod = pod.clone();
    let containers = pod.spec.iter_mut().flat_map(|spec| &mut spec.containers);
    for container in containers {
        let arguments = container.args.get_or_insert_default();
        for endpoint in ["vpn", "iam"] {
            arguments.push(format!("--{endpoint}-endpoint={cloud}"));
        }
        arguments.push("--allow-insecure-endpoints".to_owned());
    }
    match kubelet.start_pod(&pod, &[]).await {
        Ok(operator) => Ok(Some(operator)),
        Err(Error::NoSecret { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn ready() -> serde_json::Value {
    let condition = |kind: &str| json!({"type": kind, "status": "True"});
    json!({"status": {"phase": "Running", "conditions": [condition("ContainersReady"), condition("Ready")]}})
}
