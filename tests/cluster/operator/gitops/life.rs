//! The life of an object: created, changed, refused, corrected, paused, deleted.

use serde_json::json;

use super::Judge;
use crate::operator::objects::Objects;
use crate::operator::seen::{PATIENCE, Seen};
use crate::operator::world::{Options, World, condition};

/// `kubectl wait`, as people and pipelines use it.
async fn wait_for(world: &World, awaited: &str, object: &str) {
    world
        .kubectl(["wait", &format!("--for={awaited}"), "--timeout=60s", object])
        .await;
}

/// All states that were seen of an object that no longer exists.
async fn whole_life(seen: &Seen, name: &str) -> Vec<serde_json::Value> {
    let is_deleted = |object: &serde_json::Value| object.is_null();
    let (times, _) = seen.wait_for(name, 0, "it is deleted", PATIENCE, is_deleted).await;
    let mut states = seen.shown(name);
    states.truncate(times - 1);
    states
}

#[tokio::test]
async fn kstatus_and_argo_cd_show_each_phase_of_a_gateway() {
    let options = Options {
        stopped: true,
        ..Options::with(["--resync-period=0"])
    };
    let mut world = World::with(options).await;
    let judge = Judge::build(&world).await;
    let seen = Seen::start(&world);
    // No operator has seen it yet: only the default of the CRD shows that it is not done.
    world.apply_gateway("office", "{idValue: 203.0.113.1}").await;
    world.start_operator().await;
    wait_for(&world, "condition=Ready", "cgw/office").await;

    world
        .apply_gateway("office", "{name: office-2, idValue: 203.0.113.1}")
        .await;
    wait_for(&world, "condition=Ready", "cgw/office").await;
    assert_eq!(world.cloud_gateways().await[0]["name"], "office-2");

    let refusal = json!({"fault": "error", "operation": "UpdateCustomerGateway", "status": 403, "code": "VPN.0007",
                         "message": "not allowed", "times": 0});
    world.simulator.add_fault(&refusal).await.unwrap();
    world
        .apply_gateway("office", "{name: office-3, idValue: 203.0.113.1}")
        .await;
    wait_for(&world, "condition=Stalled", "cgw/office").await;
    world.simulator.clear_faults().await.unwrap();
    world
        .apply_gateway("office", "{name: office-4, idValue: 203.0.113.1}")
        .await;
    wait_for(&world, "condition=Ready", "cgw/office").await;

    pause(&world.gateway_objects(), "office", json!("true")).await;
    wait_for(&world, "condition=Paused", "cgw/office").await;
    pause(&world.gateway_objects(), "office", json!(null)).await;
    let is_resumed = |object: &serde_json::Value| condition(object, "Paused").is_null();
    world.wait_for("office", "is no longer paused", is_resumed).await;

    // The cloud refuses to delete a gateway in use, and deletes it once it is free.
    let id = world.get("office").await["status"]["id"].as_str().unwrap().to_owned();
    let connect = |connection: &str| json!({"connection": connection});
    world.simulator.edit_gateway(&id, &connect("vpn-1")).await.unwrap();
    world.kubectl(["delete", "cgw/office", "--wait=false"]).await;
    world.wait_for_reason("office", "DependencyNotReady").await;
    world.simulator.edit_gateway(&id, &connect("")).await.unwrap();
    wait_for(&world, "delete", "cgw/office").await;

    let course = judge.judge(&whole_life(&seen, "office").await).await;
    let expected = [
        "InProgress",
        "Current",
        "InProgress",
        "Current",
        "InProgress",
        "Failed",
        "InProgress",
        "Current",
        "Terminating",
    ];
    assert_eq!(course, expected);
    world.finish().await;
}

#[tokio::test]
async fn kstatus_and_argo_cd_show_each_phase_of_a_user() {
    let mut world = World::start().await;
    let judge = Judge::build(&world).await;
    let seen = Seen::start(&world);
    world.apply_user("alice", "{passwordSecretRef: {name: login}}").await;
    world.users().wait_for_reason("alice", "SecretNotFound").await;
    world.apply_password("login", "GitOps Login-1").await;
    wait_for(&world, "condition=Ready", "vpnu/alice").await;

    // A password that breaks a rule of the cloud requires user action: another password, no change of the object.
    world.apply_password("login", "onlylowercaseletters").await;
    wait_for(&world, "condition=Stalled", "vpnu/alice").await;
    world.apply_password("login", "GitOps Login-2").await;
    wait_for(&world, "condition=Ready", "vpnu/alice").await;

    world
        .apply_user("alice", "{passwordSecretRef: {name: login}, description: on leave}")
        .await;
    wait_for(&world, "condition=Ready", "vpnu/alice").await;
    assert_eq!(world.cloud_users().await[0]["description"], "on leave");

    pause(&world.users(), "alice", json!("true")).await;
    wait_for(&world, "condition=Paused", "vpnu/alice").await;
    pause(&world.users(), "alice", json!(null)).await;
    world.kubectl(["delete", "vpnu/alice", "--wait=false"]).await;
    wait_for(&world, "delete", "vpnu/alice").await;

    let course = judge.judge(&whole_life(&seen, "alice").await).await;
    let expected = [
        "InProgress",
        "Current",
        "Failed",
        "InProgress",
        "Current",
        "InProgress",
        "Current",
        "Terminating",
    ];
    assert_eq!(course, expected);
    world.finish().await;
}

async fn pause(objects: &Objects<'_>, name: &str, value: serde_json::Value) {
    let annotations = json!({"vpn.huaweicloud.com/paused": value});
    objects
        .patch(name, json!({"metadata": {"annotations": annotations}}))
        .await;
}
