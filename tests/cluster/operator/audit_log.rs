//! The audit log has a line for every write that the cloud receives. Every test of an operator checks this when it ends.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::operator::world::{Options, VPN_SERVER, World};

/// Reads that the API sends as POST.
const READS: [&str; 1] = ["FilterCustomerGateways"];

/// A request in the simulator's log, as the lines of the audit log know it.
fn writes_of(log: &Value) -> Vec<&Value> {
    let requests = log["requests"].as_array().expect("a list");
    let is_write = |request: &&Value| {
        let operation = request["operation"].as_str().unwrap_or("none");
        // Operators sign their requests; a test that sends some has a token.
        let is_signed = request["access_key"].is_string();
        is_signed && request["method"] != "GET" && operation != "none" && !READS.contains(&operation)
    };
    requests.iter().filter(is_write).collect()
}

/// Returns the writes without a line, and the lines about writes that the cloud never received. `log`: of all operators of
/// a world.
pub(crate) async fn differences(world: &World, log: &str) -> Vec<String> {
    let received: Value = world.simulator.log_since(0).await.unwrap();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("cloud write")).collect();
    let is_in = |line: &&str, text: &Value| text.as_str().is_some_and(|text| line.contains(text));
    let mut found = Vec::new();
    for write in writes_of(&received) {
        // A response that a fault withheld has not shown its ID to the operator.
        let is_answered = write["status"].is_u64() && write["faults"].as_array().is_none_or(Vec::is_empty);
        let has_line = lines
            .iter()
            .any(|line| is_in(line, &write["operation"]) && is_in(line, &write["request_id"]));
        if is_answered && !has_line {
            found.push(format!("no line: {write}"));
        }
    }
    let known: Vec<&str> = writes_of(&received)
        .iter()
        .filter_map(|write| write["request_id"].as_str())
        .collect();
    for line in lines.iter().filter(|line| line.contains("outcome=\"ok\"")) {
        if !known.iter().any(|id| line.contains(id)) {
            found.push(format!("no request: {line}"));
        }
    }
    found
}

/// The lines of the audit log, as JSON.
fn lines(log: &str) -> Vec<Value> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"] == "cloud write").collect()
}

/// Waits until there is a line with these values.
async fn wait_for_line(world: &World, expected: &Value) -> Value {
    let fits = |line: &Value| {
        let expected = expected.as_object().expect("keys and values");
        expected.iter().all(|(key, value)| &line[key] == value)
    };
    let awaited = format!("a line with {expected}");
    let found = vpn_operator_testbed::eventually(&awaited, crate::operator::world::DEADLINE, async || {
        let lines = lines(&world.running().log());
        let found = lines.iter().find(|line| fits(line)).cloned();
        found.ok_or_else(|| format!("{lines:#?}"))
    });
    found.await.unwrap()
}

#[tokio::test]
async fn each_cause_of_a_write_is_in_the_audit_log() {
    let mut world = World::with(Options::with([
        "--resync-period=1s",
        "--log-level=info",
        "--log-format=json",
    ]))
    .await;
    let gateway = |operation: &str, cause: &str| {
        json!({
            "level": "INFO", "operation": operation, "kind": "CustomerGateway", "namespace": world.namespace,
            "name": "office", "cause": cause, "outcome": "ok",
        })
    };
    let created = gateway("CreateCustomerGateway", "create");
    let edited = gateway("UpdateCustomerGateway", "edit");
    let drifted = gateway("UpdateCustomerGateway", "drift");
    let tag_drifted = gateway("AddCustomerGatewayTags", "drift");
    let id = world.create("office", "{idValue: 203.0.113.7}").await;
    let line = wait_for_line(&world, &created).await;
    assert_eq!(line["id"], id.as_str());
    assert_eq!(line["uid"], world.get("office").await["metadata"]["uid"]);
    assert!(line["duration_ms"].is_u64() && line["request_id"].is_string(), "{line}");

    world.patch("office", json!({"spec": {"name": "moved"}})).await;
    let line = wait_for_line(&world, &edited).await;
    assert_eq!((&line["fields"], &line["id"]), (&json!("name"), &json!(id)));
    world.wait_for_reason("office", "Available").await;
    world
        .simulator
        .edit_gateway(&id, &json!({"name": "by-hand"}))
        .await
        .unwrap();
    let line = wait_for_line(&world, &drifted).await;
    assert_eq!(line["fields"], "name");
    world.wait_for_reason("office", "Available").await;
    world.simulator.edit_gateway(&id, &json!({"tags": {}})).await.unwrap();
    wait_for_line(&world, &tag_drifted).await;

    let theirs = world.seed(json!({"name": "theirs", "id_value": "203.0.113.8"})).await;
    world
        .apply_gateway("adopted", &format!("{{externalID: {theirs}, idValue: 203.0.113.8}}"))
        .await;
    let adoption = json!({"name": "adopted", "cause": "adoption", "id": theirs, "outcome": "ok"});
    wait_for_line(&world, &adoption).await;

    world.apply_password("anna", "First-Word-77").await;
    let spec = format!("{{vpnServerID: {VPN_SERVER}, passwordSecretRef: {{name: anna}}}}");
    world.apply_user("anna", &spec).await;
    wait_for_line(
        &world,
        &json!({"operation": "CreateVpnUser", "cause": "create", "outcome": "ok"}),
    )
    .await;
    world.users().wait_for_reason("anna", "Available").await;
    world.apply_password("anna", "Second-Word-77").await;
    let rotated = json!({"operation": "ResetVpnUserPassword", "cause": "rotation", "fields": "passwordSecretRef"});
    wait_for_line(&world, &rotated).await;

    let refusal =
        json!({"fault": "error", "operation": "UpdateCustomerGateway", "status": 400, "code": "VPN.0001", "times": 1});
    world.simulator.add_fault(&refusal).await.unwrap();
    world.wait_for_reason("office", "Available").await;
    world.patch("office", json!({"spec": {"name": "refused"}})).await;
    let refused = json!({"operation": "UpdateCustomerGateway", "cause": "edit", "outcome": "refused"});
    let line = wait_for_line(&world, &refused).await;
    assert!(
        line["error"].as_str().is_some_and(|error| error.contains("VPN.0001")),
        "{line}"
    );
    let lost = json!({"fault": "lost-answer", "operation": "DeleteCustomerGateway", "commit": true});
    world.simulator.add_fault(&lost).await.unwrap();
    world.delete("office").await;
    wait_for_line(
        &world,
        &json!({"operation": "DeleteCustomerGateway", "outcome": "unknown"}),
    )
    .await;
    world.wait_until_deleted("office").await;
    world.delete("adopted").await;
    let deleted = json!({"name": "adopted", "operation": "DeleteCustomerGateway", "cause": "delete", "outcome": "ok"});
    wait_for_line(&world, &deleted).await;
    world.finish().await;
}

/// Edits of gateways in an order that a seed determines, with responses that are refused or lost.
#[tokio::test]
async fn every_write_of_a_thousand_edits_has_one_line() {
    const OBJECTS: usize = 20;
    const EDITS: usize = 1000;
    let world = World::with(Options::with(["--resync-period=0", "--max-requests-per-second=1000"])).await;
    for number in 0..OBJECTS {
        let spec = format!("{{idValue: 203.0.113.{number}}}");
        world.apply_gateway(&format!("gw-{number}"), &spec).await;
    }
    world.wait_until_all_ready(OBJECTS).await;
    let mut state = 7_u64;
    for edit in 0..EDITS {
        // Numbers of a linear congruential generator.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let object = usize::try_from(state >> 33).expect("fits") % OBJECTS;
        if edit % 100 == 50 {
            let commit = edit % 200 == 50;
            let fault = json!({"fault": "lost-answer", "operation": "UpdateCustomerGateway", "commit": commit});
            world.simulator.add_fault(&fault).await.unwrap();
        }
        let patch = match edit % 3 {
            0 => json!({"spec": {"tags": {"edit": edit.to_string()}}}),
            _ => json!({"spec": {"name": format!("edit-{edit}")}}),
        };
        world.patch(&format!("gw-{object}"), patch).await;
    }
    for number in 0..OBJECTS {
        world.wait_for_reason(&format!("gw-{number}"), "Available").await;
    }
    let received: Value = world.simulator.log_since(0).await.unwrap();
    let mut by_operation: BTreeMap<&str, usize> = BTreeMap::new();
    for write in writes_of(&received) {
        *by_operation
            .entry(write["operation"].as_str().expect("named"))
            .or_default() += 1;
    }
    let log = world.running().log();
    for (operation, writes) in by_operation {
        let has_line =
            |line: &&str| line.contains("cloud write") && line.contains(&format!("operation=\"{operation}\""));
        assert_eq!(log.lines().filter(has_line).count(), writes, "{operation}");
    }
    world.finish().await;
}
