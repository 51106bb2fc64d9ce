//! The default credentials change while the operator runs.

use serde_json::{Value, json};
use vpn_operator_testbed::{Kubelet, eventually};

use crate::chart::install::plane;
use crate::chart::release::{DEADLINE, Release, binaries};
use crate::chart::story::ready;

const SECOND: (&str, &str) = ("SECONDACCESSKEY", "second-secret-key");

fn gateway(name: &str, octet: u8) -> String {
    format!(
        "apiVersion: vpn.huaweicloud.com/v1alpha1\nkind: CustomerGateway\nmetadata: {{name: {name}}}\n\
         spec: {{idValue: 203.0.113.{octet}}}\n"
    )
}

#[tokio::test]
async fn default_credentials_rotate_without_a_restart() {
    let mut release = Release::install(plane().await, &[]).await;
    release.start_operator().await;
    release.apply(&gateway("before", 1)).await;
    let namespace = release.namespace.clone();
    ready(&release, &namespace, "customergateway", "before").await.unwrap();

    let key = json!({"secret_key": SECOND.1});
    let path = format!("credentials/{}", SECOND.0);
    release.simulator.put::<Value>(&path, &key).await.unwrap();
    let secret = json!({"stringData": {"accessKey": SECOND.0, "secretKey": SECOND.1}}).to_string();
    let patch = ["patch", "secret", "cloud", "--type=merge", "--patch", &secret];
    release.kubectl(patch).await.unwrap();
    let binaries = binaries();
    let kubelet = Kubelet {
        plane: release.plane,
        namespace: &namespace,
        binaries: &binaries,
    };
    kubelet.refresh(release.operator()).await.unwrap();

    release.apply(&gateway("after", 2)).await;
    ready(&release, &namespace, "customergateway", "after").await.unwrap();
    eventually("the new key is used", DEADLINE, async || {
        let log: Value = release
            .simulator
            .log_since(0)
            .await
            .map_err(|error| error.to_string())?;
        let last = log["requests"].as_array().and_then(|requests| requests.last()).cloned();
        let last = last.unwrap_or_default();
        if last["access_key"] == SECOND.0 {
            Ok(())
        } else {
            Err(last.to_string())
        }
    })
    .await
    .unwrap();
    release.stop_operator().await;
}
