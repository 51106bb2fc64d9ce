//! One of the watched namespaces may not be listed: only what could collide with its objects waits.

use serde_json::json;

use crate::operator::console::message;
use crate::operator::permissions;
use crate::operator::world::{DEADLINE, Options, World};

#[tokio::test]
async fn an_unlisted_namespace_blocks_only_conflicting_objects() {
    let mut world = World::with(Options {
        stopped: true,
        ..Options::with(["--resync-period=0"])
    })
    .await;
    let plane = world.plane;
    let operator_namespace = plane.create_namespace("home").await.unwrap();
    let other = plane.create_namespace("forbidden").await.unwrap();
    world.kubeconfig = permissions::grant_only_in(plane, &operator_namespace, &world.namespace).await;
    world.set_argument(&format!("--leader-elect-resource-namespace={operator_namespace}"));
    world.set_argument(&format!("--watch-namespace={},{other}", world.namespace));
    world
        .apply_gateway("office", "{name: office, idValue: 203.0.113.1}")
        .await;
    world.apply_password("passwords", "Unlisted-Pass-1").await;
    world
        .apply_user("alice", "{passwordSecretRef: {name: passwords}}")
        .await;
    world.start_operator().await;

    let office = world.wait_for_reason("office", "Available").await;
    let alice = world.users().wait_for_reason("alice", "DependencyNotReady").await;
    let refusal =
        format!("cannot list resource \"vpnusers\" in API group \"vpn.huaweicloud.com\" in the namespace \"{other}\"");
    for words in [&format!("VpnUsers of the namespace {other} cannot be listed"), &refusal] {
        assert!(message(&alice).contains(words.as_str()), "{alice}");
    }
    let (status, report) = world.running().get("/readyz", DEADLINE).await.unwrap();
    assert_eq!(status, 200, "{report}");
    let line = format!("[i] watch vpnusers in {other}: ");
    assert!(
        report.lines().any(|of| of.starts_with(&line) && of.contains(&refusal)),
        "{report}"
    );
    let metric = |up| format!("vpn_operator_watch_up{{kind=\"VpnUser\",namespace=\"{other}\"}} {up}");
    world.wait_for_metric(&metric(0)).await;
    let log = world.running().log();
    let warned = |line: &&str| line.contains("WARN") && line.contains("the watch failed") && line.contains(&refusal);
    assert_eq!(log.lines().filter(warned).count(), 1, "it is reported once");

    // What is lost is recreated, and what differs is corrected, after a restart as well.
    world.restart_operator().await;
    let id = office["status"]["id"].as_str().unwrap().to_owned();
    world.simulator.remove_gateway(&id).await.unwrap();
    world.request("office").await;
    let recreated =
        |object: &serde_json::Value| object["status"]["id"] != id.as_str() && !object["status"]["id"].is_null();
    world.wait_for("office", "the gateway is recreated", recreated).await;
    world.patch("office", json!({"spec": {"name": "moved"}})).await;
    world.wait_for_reason("office", "Available").await;

    permissions::extend_to(plane, &operator_namespace, &other).await;
    world.users().wait_for_reason("alice", "Available").await;
    world.wait_for_metric(&metric(1)).await;
    world.finish().await;
}
