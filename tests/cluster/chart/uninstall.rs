//! Uninstalls the chart, as docs/uninstall.md describes it and in other ways.

use serde_json::Value;
use vpn_operator_testbed::eventually;

use crate::chart::install::plane;
use crate::chart::release::{DEADLINE, Release};
use crate::chart::story::ready;

const GATEWAY: &str = "apiVersion: vpn.huaweicloud.com/v1alpha1\nkind: CustomerGateway\nmetadata: {name: office}\n\
                       spec: {idValue: 203.0.113.1}\n";

const CRDS: [&str; 2] = [
    "crd/customergateways.vpn.huaweicloud.com",
    "crd/vpnusers.vpn.huaweicloud.com",
];

/// A release with a gateway that is Ready.
async fn with_a_gateway(values: &[String]) -> Release {
    let mut release = Release::install(plane().await, values).await;
    release.start_operator().await;
    release.operator().wait_until_ready(DEADLINE).await.unwrap();
    release.apply(GATEWAY).await;
    ready(&release, &release.namespace, "customergateway", "office")
        .await
        .unwrap();
    release
}

impl Release {
    /// Uninstalls the release. The operator gets a SIGTERM, as the Deployment's pods do.
    async fn uninstall(&mut self) {
        self.stop_operator().await;
        let uninstall = ["uninstall", "vpn-operator", "--namespace", &self.namespace];
        self.plane.helm(uninstall).await.unwrap().success().unwrap();
    }

    async fn in_the_cloud(&self) -> usize {
        self.simulator.gateways::<Value>().await.unwrap().len()
    }

    async fn wait_until_deleted(&self, object: &str) {
        let wait = ["wait", "--for=delete", "--timeout=60s", object];
        self.kubectl(wait).await.unwrap();
    }
}

#[tokio::test]
async fn uninstall_keeps_the_crds_and_every_object() {
    let mut release = with_a_gateway(&[]).await;
    let id = release.get("customergateway", "office").await["status"]["id"].clone();
    release.uninstall().await;
    let kept = release.get("customergateway", "office").await;
    assert_eq!(kept["status"]["id"], id);
    assert_eq!(release.in_the_cloud().await, 1, "nothing is deleted in the cloud");
    // A new release takes over: the chart finds its own CRDs and Secret.
    release.helm("install", &[]).await;
    release.start_operator().await;
    release.operator().wait_until_ready(DEADLINE).await.unwrap();
    let delete = ["delete", "--timeout=60s", "customergateway/office"];
    release.kubectl(delete).await.unwrap();
    assert_eq!(release.in_the_cloud().await, 0);
    release.stop_operator().await;
}

#[tokio::test]
async fn deleting_objects_then_release_then_crds_leaves_nothing() {
    for (values, crds_go_with_it) in [(vec![], false), (vec!["crds.keep=false".to_owned()], true)] {
        let mut release = with_a_gateway(&values).await;
        let everything = [
            "customergateways,vpnusers",
            "--all",
            "--all-namespaces",
            "--timeout=60s",
        ];
        let delete = std::iter::once("delete").chain(everything);
        release.plane.kubectl(delete).await.unwrap().success().unwrap();
        assert_eq!(release.in_the_cloud().await, 0);
        release.uninstall().await;
        if !crds_go_with_it {
            let delete = [["delete", "--wait=false"].as_slice(), &CRDS].concat();
            release.kubectl(delete).await.unwrap();
        }
        for crd in CRDS {
            release.wait_until_deleted(crd).await;
        }
    }
}

#[tokio::test]
async fn crds_deleted_with_the_release_delete_nothing_in_the_cloud() {
    let values = ["crds.keep=false".to_owned()];
    let mut release = with_a_gateway(&values).await;
    release.uninstall().await;
    let left = release.get("customergateway", "office").await;
    assert!(
        !left["metadata"]["deletionTimestamp"].is_null(),
        "its CRD is going: {left}"
    );
    // The way out: an operator runs again and removes the finalizer of every object.
    release.helm("install", &values).await;
    release.start_operator().await;
    let reported = eventually("the message shows what to do", DEADLINE, async || {
        let object = release.get("customergateway", "office").await;
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let printed = conditions.iter().find(|condition| condition["reason"] == "CRDDeleting");
        printed
            .map(|condition| condition["message"].to_string())
            .ok_or(object.to_string())
    });
    let message = reported.await.unwrap();
    assert!(message.contains("deletionPolicy: Retain"), "{message}");
    assert_eq!(release.in_the_cloud().await, 1);
    let retain = r#"{"spec": {"deletionPolicy": "Retain"}}"#;
    let patch = ["patch", "customergateway", "office", "--type=merge", "--patch", retain];
    release.kubectl(patch).await.unwrap();
    release.wait_until_deleted(CRDS[0]).await;
    assert_eq!(release.in_the_cloud().await, 1, "nothing is deleted in the cloud");
    // The way back: the released gateway no longer has an owner tag.
    release.helm("upgrade", &values).await;
    release
        .apply(&GATEWAY.replace("spec: {", "spec: {adoptionPolicy: IfExists, "))
        .await;
    ready(&release, &release.namespace, "customergateway", "office")
        .await
        .unwrap();
    assert_eq!(release.in_the_cloud().await, 1, "the retained gateway is adopted");
    release.stop_operator().await;
}
