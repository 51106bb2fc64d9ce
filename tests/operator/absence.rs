//! What proves that something is gone: no single answer does.

use serde_json::{Value, json};

use crate::console::counts;
use crate::users::steps::{add_server, apply_pw, available, cloud_user, on};
use crate::world::{Options, World, condition};

/// So many requests of this operation are answered so, and do nothing.
async fn answers(world: &World, operation: &str, status: u16, times: u32) {
    let fault = json!({"fault": "error", "operation": operation, "status": status, "code": "VPN.0004", "times": times});
    world.simulator.add_fault(&fault).await.unwrap();
}

#[tokio::test]
async fn one_wrong_404_leads_neither_to_a_second_gateway_nor_to_one_that_is_left_behind() {
    let world = World::with(Options::with(["--resync-period=0"])).await;
    let id = world.create("office", "{name: office, idValue: 203.0.113.7}").await;
    let mark = world.mark().await;
    answers(&world, "GetCustomerGateway", 404, 1).await;
    world.patch("office", json!({"spec": {"name": "moved"}})).await;
    let object = world.wait_for_reason("office", "Available").await;
    assert_eq!(object["status"]["id"], id.as_str());
    assert_eq!(world.cloud_gateway(&id).await["name"], "moved");
    assert_eq!(world.writes_since(mark).await, counts([("UpdateCustomerGateway", 1)]));

    answers(&world, "DeleteCustomerGateway", 404, 1).await;
    world.delete("office").await;
    world.wait_until_gone("office").await;
    assert_eq!(world.cloud_gateways().await, Vec::<Value>::new());
    world.finish().await;
}

#[tokio::test]
async fn one_wrong_404_disowns_no_user() {
    let mut world = World::with(Options::with(["--resync-period=0", "--settle-time=1s"])).await;
    apply_pw(&mut world).await;
    let server = add_server(&world, 7100).await;
    world
        .apply(&on(&server, "alice", "name: alice, description: first"))
        .await;
    let id = available(&world, "alice").await;
    let mark = world.mark().await;
    answers(&world, "GetVpnUser", 404, 1).await;
    let users = world.users();
    users.patch("alice", json!({"spec": {"description": "second"}})).await;
    let object = users.wait_for_reason("alice", "Available").await;
    assert_eq!(object["status"]["id"], id.as_str());
    assert_eq!(cloud_user(&world, &id).await["description"], "second");
    assert_eq!(world.writes_since(mark).await, counts([("UpdateVpnUser", 1)]));

    answers(&world, "DeleteVpnUser", 404, 1).await;
    users.delete("alice").await;
    users.wait_until_gone("alice").await;
    assert!(cloud_user(&world, &id).await.is_null());
    world.finish().await;
}

#[tokio::test]
async fn a_delete_that_comes_to_nothing_is_sent_again_after_the_confirmation_period() {
    let world = World::with(Options::with(["--resync-period=0", "--settle-time=1s"])).await;
    world.create("office", "{idValue: 203.0.113.7}").await;
    let mark = world.mark().await;
    answers(&world, "DeleteCustomerGateway", 204, 2).await;
    world.delete("office").await;
    world.wait_until_gone("office").await;
    assert_eq!(world.cloud_gateways().await, Vec::<Value>::new());
    assert_eq!(world.writes_since(mark).await, counts([("DeleteCustomerGateway", 3)]));
    world.finish().await;
}

#[tokio::test]
async fn a_delete_that_comes_to_nothing_is_sent_again_on_request() {
    let world = World::with(Options::with(["--resync-period=0", "--settle-time=10m"])).await;
    world.create("office", "{idValue: 203.0.113.7}").await;
    let mark = world.mark().await;
    answers(&world, "DeleteCustomerGateway", 204, 1).await;
    world.delete("office").await;
    world
        .wait_for("office", "waits for the cloud", |object| {
            let message = condition(object, "Ready")["message"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            message.contains("waiting until the cloud has it no more")
        })
        .await;
    assert_eq!(world.writes_since(mark).await, counts([("DeleteCustomerGateway", 1)]));
    world.request("office").await;
    world.wait_until_gone("office").await;
    assert_eq!(world.writes_since(mark).await, counts([("DeleteCustomerGateway", 2)]));
    world.finish().await;
}
