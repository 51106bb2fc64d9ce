//! Follows docs/backup-and-restore.md for a new cluster that is read-only at first: it reports what it would do, does
//! nothing, and takes everything over once read-only is off.

use serde_json::Value;
use vpn_operator_testbed::eventually;

use crate::chart::documented::{OBJECTS, UNTIL_READY, commands, project};
use crate::chart::install::plane;
use crate::chart::release::{DEADLINE, Release, binaries};

const SECTION: &str = "Bring up a new cluster read-only";

/// Runs a command of the page for this release.
async fn follow(release: &Release, command: &str) {
    let command = command.replace("-n vpn-operator", &format!("-n {}", release.namespace));
    let output = release.plane.shell(project(), &binaries(), &command).await.unwrap();
    output.success().unwrap_or_else(|error| panic!("{command}: {error}"));
}

async fn start(release: &mut Release) {
    release.start_operator().await;
    release.operator().wait_until_ready(DEADLINE).await.unwrap();
}

/// Waits until an object's Ready condition has this reason and these words.
async fn wait_for_condition(release: &Release, kind: &str, name: &str, reason: &str, words: &str) {
    let awaited = format!("{name} says {words}");
    let printed = eventually(&awaited, DEADLINE, async || {
        let object = release.get(kind, name).await;
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
        let is_reported = |ready: &&Value| {
            ready["reason"] == reason && ready["message"].as_str().is_some_and(|message| message.contains(words))
        };
        if ready.is_some_and(|ready| is_reported(&ready)) {
            Ok(())
        } else {
            Err(format!("{conditions:?}"))
        }
    });
    printed.await.unwrap();
}

#[tokio::test]
async fn a_new_cluster_reports_in_read_only_mode_and_then_readopts_all() {
    let mut release = Release::install(plane().await, &[]).await;
    start(&mut release).await;
    release.apply(OBJECTS).await;
    release.kubectl(UNTIL_READY).await.unwrap();
    let ids = [
        release.get("cgw", "office").await["status"]["id"].clone(),
        release.get("vpnu", "alice").await["status"]["id"].clone(),
    ];
    // The cluster is lost: objects, status, the digest key and the release.
    release.stop_operator().await;
    for object in ["cgw/office", "vpnu/alice"] {
        let remove_finalizer = [
            "patch",
            object,
            "--type=merge",
            "--patch",
            r#"{"metadata": {"finalizers": null}}"#,
        ];
        release.kubectl(remove_finalizer).await.unwrap();
        release.kubectl(["delete", object]).await.unwrap();
    }
    release
        .kubectl(["delete", "secret", "alice", "vpn-operator-digest-key"])
        .await
        .unwrap();
    let uninstall = ["uninstall", "vpn-operator", "--namespace", &release.namespace];
    release.plane.helm(uninstall).await.unwrap().success().unwrap();
    release.helm("install", &["readOnly=false".to_owned()]).await;

    let commands = commands("backup-and-restore.md", SECTION);
    let find = |words: &str| commands.iter().find(|command| command.contains(words)).unwrap();
    // The page's cluster name stands for the one of the lost cluster.
    let install = find("clusterName=prod").replace("clusterName=prod", "clusterName=test");
    assert!(install.contains("readOnly=true"), "{install}");
    follow(&release, &install).await;
    start(&mut release).await;
    let before = release.simulator.writes_since(0).await.unwrap();
    release.apply(OBJECTS).await;
    let adopts = format!("would adopt the customer gateway {}", ids[0].as_str().unwrap());
    wait_for_condition(&release, "cgw", "office", "Creating", &adopts).await;
    wait_for_condition(&release, "vpnu", "alice", "NameConflict", ids[1].as_str().unwrap()).await;
    follow(&release, find("kubectl get")).await;
    let adopt = r#"{"spec": {"adoptionPolicy": "IfExists"}}"#;
    release
        .kubectl(["patch", "vpnu", "alice", "--type=merge", "--patch", adopt])
        .await
        .unwrap();
    wait_for_condition(&release, "vpnu", "alice", "Creating", "would adopt the VPN user").await;
    assert_eq!(
        release.simulator.writes_since(0).await.unwrap(),
        before,
        "nothing is written"
    );

    release.stop_operator().await;
    follow(&release, find("readOnly=false")).await;
    start(&mut release).await;
    release.kubectl(UNTIL_READY).await.unwrap();
    for (object, id) in [("cgw", "office"), ("vpnu", "alice")].into_iter().zip(&ids) {
        assert_eq!(&release.get(object.0, object.1).await["status"]["id"], id);
    }
    let taken = release.simulator.writes_since(0).await.unwrap()[before.len()..].to_vec();
    let marked = |operation: &String| operation == "AddCustomerGatewayTags";
    assert_eq!(
        taken.iter().filter(|operation| marked(operation)).count(),
        1,
        "{taken:?}"
    );
    assert!(
        taken
            .iter()
            .all(|operation| marked(operation) || operation == "ResetVpnUserPassword"),
        "{taken:?}"
    );
    release.stop_operator().await;
}
