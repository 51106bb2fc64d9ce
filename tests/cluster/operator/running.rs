//! The running process: what it watches, which credentials it uses, how it ends.

use std::time::Duration;

use serde_json::{Value, json};
use vpn_operator_testbed::eventually;

use crate::operator::world::{DEADLINE, Options, World, condition, gateway};

/// Applies a gateway in any namespace.
async fn apply_in(world: &World, namespace: &str, name: &str, labels: &str, address: &str) {
    let manifest = gateway(name, &format!("{{idValue: {address}}}")).replace(
        "metadata: {",
        &format!("metadata: {{labels: {labels}, namespace: {namespace}, "),
    );
    let output = world
        .plane
        .kubectl_with_input(["apply", "--filename", "-"], &manifest)
        .await
        .unwrap();
    output.success().unwrap();
}

#[tokio::test]
async fn the_operator_reconciles_only_its_namespaces_and_selector() {
    let mut world = World::with(Options {
        stopped: true,
        ..Options::with(["--resync-period=0"])
    })
    .await;
    let second = world.plane.create_namespace("second").await.unwrap();
    let foreign = world.plane.create_namespace("foreign").await.unwrap();
    let namespaces = format!("--watch-namespace={},{second}", world.namespace);
    world.set_argument(&namespaces);
    world.set_argument("--watch-selector=shard=one");
    world.start_operator().await;
    let first = world.namespace.clone();
    apply_in(&world, &foreign, "elsewhere", "{shard: one}", "203.0.113.3").await;
    apply_in(&world, &first, "other-shard", "{shard: two}", "203.0.113.4").await;
    apply_in(&world, &first, "ours", "{shard: one}", "203.0.113.1").await;
    apply_in(&world, &second, "ours-too", "{shard: one}", "203.0.113.2").await;
    world.wait_for_reason("ours", "Available").await;
    eventually("the gateway of the second namespace is Ready", DEADLINE, async || {
        let arguments = ["get", "cgw", "ours-too", "--namespace", &second, "--output", "json"];
        let text = world.plane.kubectl(arguments).await.unwrap().success().unwrap();
        let object: Value = serde_json::from_str(&text).unwrap();
        if condition(&object, "Ready")["status"] == "True" {
            Ok(())
        } else {
            Err(object["status"].to_string())
        }
    })
    .await
    .unwrap();
    let names: Vec<_> = world
        .cloud_gateways()
        .await
        .iter()
        .map(|gateway| gateway["name"].clone())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    let untouched = world.get("other-shard").await;
    assert_eq!(untouched["status"], json!({"observedGeneration": -1}));
    let (status, ready) = world.running().get("/readyz", DEADLINE).await.unwrap();
    assert_eq!(status, 200, "{ready}");
    assert!(
        ready.contains(&format!("watch customergateways in {second}: ok")),
        "{ready}"
    );
    world.finish().await;
}

#[tokio::test]
async fn a_changed_credentials_file_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials");
    let mut world = World::with(Options {
        stopped: true,
        without_credentials: true,
        ..Options::with(["--resync-period=0"])
    })
    .await;
    world.set_variable("HUAWEICLOUD_SDK_CREDENTIALS_FILE", file.to_str().unwrap());
    world.start_operator().await;
    world.apply_gateway("office", "{idValue: 203.0.113.7}").await;
    let object = world.wait_for_reason("office", "Unauthorized").await;
    let message = condition(&object, "Ready")["message"].to_string();
    assert!(message.contains("credentials file"), "{message}");
    let text = format!("[basic]\nak = {}\nsk = {}\n", world.access_key, world.secret_key);
    std::fs::write(&file, text).unwrap();
    let now = json!({"metadata": {"annotations": {"vpn.huaweicloud.com/reconcile-requested-at": "now"}}});
    world.patch("office", now).await;
    world.wait_for_reason("office", "Available").await;
    world.finish().await;
}

#[tokio::test]
async fn sigterm_completes_requests_in_progress_and_releases_the_lease() {
    // The held request must not time out before its release.
    let mut world = World::with(Options::with(["--resync-period=0", "--request-timeout=7s"])).await;
    let hold = json!({"fault": "hold", "operation": "CreateCustomerGateway", "commit": true});
    world.simulator.add_fault(&hold).await.unwrap();
    world.apply_gateway("office", "{idValue: 203.0.113.7}").await;
    world.simulator.wait_for_held::<Value>(1).await.unwrap();
    let operator = world.operator.take().unwrap();
    let ending = operator.terminate(Duration::from_secs(20));
    let release = async {
        operator.wait_for_log("SIGTERM", DEADLINE).await.unwrap();
        world.simulator.release(&json!({})).await.unwrap();
    };
    let (status, ()) = tokio::join!(ending, release);
    assert!(status.unwrap().success());
    world.ended.push(operator);
    // The response arrived before the end, and was recorded.
    let object = world.get("office").await;
    assert_eq!(object["status"]["id"], world.cloud_gateways().await[0]["id"]);
    let lease = world
        .kubectl([
            "get",
            "lease",
            "vpn-operator",
            "--output",
            "jsonpath={.spec.holderIdentity}",
        ])
        .await;
    assert_eq!(lease, "");
    let mark = world.mark().await;
    world.start_operator().await;
    world.wait_for_reason("office", "Available").await;
    assert!(!world.calls_since(mark).await.contains_key("CreateCustomerGateway"));
    world.finish().await;
}

#[tokio::test]
async fn the_rate_limit_holds_and_throttled_requests_are_retried() {
    let world = World::with(Options::with(["--resync-period=0", "--max-requests-per-second=20"])).await;
    for fault in ["throttled-by-gateway", "throttled-by-service"] {
        let fault = json!({"fault": fault, "operation": "CreateCustomerGateway", "times": 3});
        world.simulator.add_fault(&fault).await.unwrap();
    }
    let manifests: Vec<String> = (1..=20)
        .map(|number| gateway(&format!("gw-{number}"), &format!("{{idValue: 203.0.113.{number}}}")))
        .collect();
    world.apply(&manifests.join("---\n")).await;
    world.wait_until_all_ready(20).await;
    let posts = world.calls_since(0).await["CreateCustomerGateway"];
    assert_eq!(posts, 26, "each refusal is tried again, and nothing else");
    assert_eq!(world.cloud_gateways().await.len(), 20);
    world.finish().await;
}

#[tokio::test]
async fn the_json_log_has_one_line_per_change() {
    let world = World::with(Options::with([
        "--resync-period=0",
        "--log-format=json",
        "--log-level=info",
    ]))
    .await;
    world.apply_gateway("office", "{idValue: 203.0.113.7}").await;
    world.wait_for_reason("office", "Available").await;
    world
        .apply_gateway("office", "{idValue: 203.0.113.7, name: renamed}")
        .await;
    world.wait_for_event("office", "Updated").await;
    // The log may follow the Event.
    eventually("the log reports both changes", DEADLINE, async || {
        let log = world.running().log();
        let of_office = log
            .lines()
            .filter(|line| line.contains("office") && line.contains("\"reason\""));
        if of_office.count() >= 2 { Ok(()) } else { Err(log) }
    })
    .await
    .unwrap();
    let log = world.running().log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count = |is_one: fn(&Value) -> bool| {
        let of_office = lines.iter().filter(|line| line["name"] == "office");
        of_office.filter(|line| is_one(line)).count()
    };
    let reasons = count(|line| line["reason"].is_string());
    assert_eq!(reasons, 2, "available, and available again after the edit: {log}");
    assert_eq!(count(|line| line["message"] == "cloud write"), 2, "{log}");
    world.finish().await;
}
