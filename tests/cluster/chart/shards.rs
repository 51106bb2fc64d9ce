//! Follows docs/scaling.md on shards: two releases in one cluster, and objects that move between them.

use serde_json::Value;
use vpn_operator_testbed::{ControlPlane, Kubelet, Operator, Simulator};

use crate::chart::documented::{OBJECTS, commands, project};
use crate::chart::install::plane;
use crate::chart::release::{DEADLINE, binaries};

const NAMESPACE: &str = "vpn-operator";

struct Shards {
    plane: &'static ControlPlane,
    simulator: Simulator,
    operators: Vec<Operator>,
}

impl Shards {
    /// Installs both releases of the page, with a simulator as the cloud.
    async fn install(commands: &[String]) -> Self {
        let plane = plane().await;
        let credential = ["--credential", "SHARDACCESSKEY=shard-secret-key"];
        let binaries = binaries();
        let simulator = Simulator::start(plane.guardian(), &binaries.simulator, credential);
        let simulator = simulator.await.unwrap();
        let mut shards = Self {
            plane,
            simulator,
            operators: Vec::new(),
        };
        let url = shards.simulator.url().to_owned();
        let more = format!(
            " --set vpnEndpoint={url} --set iamEndpoint={url} --set allowInsecureEndpoints=true --set creationConfirmationPeriod=1s"
        );
        let installs = commands.iter().filter(|command| command.starts_with("helm install"));
        for install in installs {
            shards.run(&(install.clone() + &more)).await;
        }
        let secret = "kubectl create secret generic cloud --namespace vpn-operator \
                      --from-literal=accessKey=SHARDACCESSKEY --from-literal=secretKey=shard-secret-key";
        shards.run(secret).await;
        let kubelet = Kubelet {
            plane,
            namespace: NAMESPACE,
            binaries: &binaries,
        };
        for deployment in ["vpn-operator-a", "vpn-operator-b"] {
            let operator = kubelet.start_operator(deployment, &[]).await.unwrap();
            operator.wait_until_ready(DEADLINE).await.unwrap();
            shards.operators.push(operator);
        }
        shards
    }

    async fn run(&self, line: &str) -> String {
        let output = self.plane.shell(project(), &binaries(), line).await.unwrap();
        output.success().unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    async fn object(&self, object: &str) -> Value {
        let text = self.run(&format!("kubectl get {object} --output json")).await;
        serde_json::from_str(&text).unwrap()
    }
}

#[tokio::test]
async fn objects_move_between_shards_without_duplicate_creation() {
    let commands = commands("scaling.md", "Several operators");
    let shards = Shards::install(&commands).await;
    let apply = ["apply", "--filename", "-"];
    let applied = shards.plane.kubectl_with_input(apply, OBJECTS).await.unwrap();
    applied.success().unwrap();
    for object in ["cgw/office", "vpnu/alice"] {
        let status = &shards.object(object).await["status"];
        assert_eq!(status["observedGeneration"], -1, "{status}");
    }
    shards.run("kubectl label cgw/office vpnu/alice shard=a").await;
    let [wait, relabel] = ["kubectl wait", "kubectl label"].map(|start| {
        let found = commands.iter().find(|command| command.starts_with(start));
        found.unwrap().clone()
    });
    shards.run(&format!("{wait} --timeout=60s")).await;
    let before = shards.simulator.writes_since(0).await.unwrap();
    assert!(before.contains(&"CreateCustomerGateway".into()), "{before:?}");
    let ids =
        [shards.object("cgw/office").await, shards.object("vpnu/alice").await].map(|it| it["status"]["id"].clone());

    shards.run(&relabel).await;
    // Only the second operator can do this.
    let edit = r#"kubectl patch cgw office --type merge --patch '{"spec": {"tags": {"site": "oslo"}}}'"#;
    shards.run(edit).await;
    shards.run(&format!("{wait} --timeout=60s")).await;
    let edit = r#"kubectl patch vpnu alice --type merge --patch '{"spec": {"description": "moved"}}'"#;
    shards.run(edit).await;
    shards.run(&format!("{wait} --timeout=60s")).await;
    let after = shards.simulator.writes_since(0).await.unwrap();
    assert_eq!(after[before.len()..], ["AddCustomerGatewayTags", "UpdateVpnUser"]);
    for (object, id) in ["cgw/office", "vpnu/alice"].into_iter().zip(&ids) {
        assert_eq!(&shards.object(object).await["status"]["id"], id);
    }

    // Unmanaged: a deletion waits for an operator that manages the objects.
    shards.run("kubectl label cgw/office vpnu/alice shard-").await;
    let delete = "kubectl delete cgw/office vpnu/alice --wait=false";
    shards.run(delete).await;
    for object in ["cgw/office", "vpnu/alice"] {
        assert!(!shards.object(object).await["metadata"]["deletionTimestamp"].is_null());
    }
    assert_eq!(shards.simulator.writes_since(0).await.unwrap().len(), after.len());
    shards.run(&relabel.replace("shard=b", "shard=a")).await;
    shards
        .run("kubectl wait --for=delete cgw/office vpnu/alice --timeout=60s")
        .await;
    let deleted = shards.simulator.writes_since(0).await.unwrap()[after.len()..].to_vec();
    assert_eq!(deleted.len(), 2, "{deleted:?}");
    for deletion in ["DeleteCustomerGateway", "DeleteVpnUser"] {
        assert!(deleted.contains(&deletion.into()), "{deleted:?}");
    }
    for operator in &shards.operators {
        assert!(operator.terminate(DEADLINE).await.unwrap().success());
    }
}
