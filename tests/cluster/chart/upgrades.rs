//! Upgrades of a release by every means that people have.

use serde_json::Value;
use vpn_operator_testbed::eventually;

use crate::chart::install::plane;
use crate::chart::release::{CHART, DEADLINE, Release};

const SECRET: &str = "vpn-operator-digest-key";

async fn digest_key(release: &Release) -> Result<String, String> {
    let key = release
        .kubectl(["get", "secret", SECRET, "--output=jsonpath={.data.key}"])
        .await?;
    if key.is_empty() {
        Err("it has no key".to_owned())
    } else {
        Ok(key)
    }
}

#[tokio::test]
async fn every_kind_of_upgrade_keeps_the_digest_key() {
    let plane = plane().await;
    let namespace = plane.create_namespace("upgraded").await.unwrap();
    let mut release = Release::prepare(plane, namespace.clone()).await;
    let manifests = release.template().await;
    let kubectl = async |arguments: &[&str]| {
        let place = ["--namespace", &namespace];
        let arguments = [arguments, &place, &["--filename", "-"]].concat();
        let output = plane.kubectl_with_input(arguments, &manifests).await.unwrap();
        output.success().unwrap();
    };
    kubectl(&["apply"]).await;
    release.start_operator().await;
    let key = eventually("the digest key is created", DEADLINE, async || {
        digest_key(&release).await
    });
    let key = key.await.unwrap();
    let log = release.operator().log();
    let warnings = log
        .lines()
        .filter(|line| line.contains("WARN") && line.contains("digest key"));
    assert_eq!(warnings.count(), 0, "a first start is no reason for a warning: {log}");
    release.stop_operator().await;

    for means in [
        &["apply"][..],
        &["apply", "--server-side", "--force-conflicts"],
        &["replace"],
    ] {
        kubectl(means).await;
        assert_eq!(digest_key(&release).await.as_ref(), Ok(&key), "{means:?}");
    }
    let helm = async |more: &[&str]| {
        let upgrade = ["upgrade", "vpn-operator", CHART, "--namespace", &release.namespace];
        plane
            .helm([&upgrade[..], more].concat())
            .await
            .unwrap()
            .success()
            .unwrap();
    };
    for means in [
        &["--install", "--take-ownership", "--force-conflicts"][..],
        &["--set=replicaCount=3", "--force-conflicts"],
        &["--force-replace", "--server-side=false"],
    ] {
        helm(means).await;
        assert_eq!(digest_key(&release).await.as_ref(), Ok(&key), "{means:?}");
    }
    let uninstall = ["uninstall", "vpn-operator", "--namespace", &release.namespace];
    plane.helm(uninstall).await.unwrap().success().unwrap();
    assert_eq!(digest_key(&release).await, Ok(key), "a later release finds it");
}

/// The apiserver has put the settings of a rolling update into the Deployment, which another strategy must not have.
#[tokio::test]
async fn an_upgrade_can_turn_leader_election_off_and_on() {
    for server_side in ["--server-side=true", "--server-side=false"] {
        let plane = plane().await;
        let namespace = plane.create_namespace("strategy").await.unwrap();
        let strategy = async |command: &str, values: &[&str]| {
            let arguments = [command, "vpn-operator", CHART, "--namespace", &namespace, server_side];
            let helm = plane.helm([&arguments[..], values].concat()).await.unwrap();
            helm.success().unwrap();
            let get = ["get", "deployment", "vpn-operator", "--output=json", "--namespace"];
            let deployment = plane.kubectl([&get[..], &[&namespace]].concat()).await.unwrap();
            let deployment: Value = serde_json::from_str(&deployment.success().unwrap()).unwrap();
            deployment["spec"]["strategy"]["type"].as_str().unwrap().to_owned()
        };
        assert_eq!(strategy("install", &[]).await, "RollingUpdate");
        let alone = ["--set=leaderElect=false,replicaCount=1"];
        assert_eq!(strategy("upgrade", &alone).await, "Recreate", "{server_side}");
        assert_eq!(
            strategy("upgrade", &["--reset-values"]).await,
            "RollingUpdate",
            "{server_side}"
        );
    }
}
