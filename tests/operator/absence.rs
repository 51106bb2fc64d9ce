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

#[tokio::test]
async fn a_tie_at_a_page_border_keeps_neither_a_creation_nor_a_deletion_waiting() {
    const STRANGERS: usize = 205;
    let world = World::with(Options::with(["--resync-period=0"])).await;
    world.make_room().await;
    // The newest comes first, and four around the 200th are of one time; with ours before them as well as without.
    let created = |number: usize| if (198..202).contains(&number) { 198 } else { number };
    let seeds: Vec<Value> = (0..STRANGERS)
        .map(|number| {
            let seconds = 3600 - created(number);
            json!({
                "name": "stranger", "id_value": format!("198.51.{}.{}", number / 200, number % 200 + 1),
                "created_at": format!("2025-01-01T{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60),
            })
        })
        .collect();
    world.simulator.seed_gateways::<Value>(&seeds).await.unwrap();
    let mark = world.mark().await;
    let lost = json!({"fault": "lost-answer", "operation": "CreateCustomerGateway", "commit": false});
    world.simulator.add_fault(&lost).await.unwrap();
    let id = world.create("office", "{name: office, idValue: 203.0.113.7}").await;
    assert_eq!(world.writes_since(mark).await, counts([("CreateCustomerGateway", 2)]));
    world.delete("office").await;
    world.wait_until_gone("office").await;
    assert!(world.cloud_gateway(&id).await.is_null());
    assert_eq!(world.cloud_gateways().await.len(), STRANGERS);
    // Each list is two walks of at most three pages, one of which is asked for twice.
    let calls = world.calls_since(mark).await;
    assert!(calls["ListCustomerGateways"] <= 8 * 7, "{calls:?}");
    assert!(!world.running().log().contains("the cloud's list is incomplete"));
    world.finish().await;
}

#[tokio::test]
async fn a_list_that_is_never_complete_keeps_nothing_from_being_deleted_or_recreated() {
    let world = World::with(Options::with(["--resync-period=0"])).await;
    let foreign = world.seed(json!({"name": "foreign", "id_value": "198.51.100.1"})).await;
    let (stays, goes) = (
        world.create("stays", "{name: stays, idValue: 203.0.113.7}").await,
        world.create("goes", "{name: goes, idValue: 203.0.113.8}").await,
    );
    // It could be any.
    world.edit(&foreign, json!({"answered_instead": {"id": 7}})).await;
    world.delete("goes").await;
    world.wait_until_gone("goes").await;
    assert!(world.cloud_gateway(&goes).await.is_null());

    // One wrong answer is still not believed.
    let mark = world.mark().await;
    answers(&world, "GetCustomerGateway", 404, 1).await;
    world.patch("stays", json!({"spec": {"name": "moved"}})).await;
    let object = world.wait_for_reason("stays", "Available").await;
    assert_eq!(object["status"]["id"], stays.as_str());
    assert_eq!(world.writes_since(mark).await, counts([("UpdateCustomerGateway", 1)]));

    let mark = world.mark().await;
    world.simulator.remove_gateway(&stays).await.unwrap();
    world.request("stays").await;
    world
        .wait_for("stays", "is recreated", |object| {
            let id = &object["status"]["id"];
            !id.is_null() && *id != stays.as_str() && condition(object, "Ready")["status"] == "True"
        })
        .await;
    assert_eq!(world.writes_since(mark).await, counts([("CreateCustomerGateway", 1)]));
    world.finish().await;
}

#[tokio::test]
async fn objects_that_name_what_is_not_there_learn_it_from_one_list_and_a_get_each() {
    let mut world = World::with(Options::with(["--resync-period=0"])).await;
    world.stop_operator().await;
    for number in 0..6 {
        let spec = format!("{{managementPolicy: Observe, externalID: {}}}", uuid::Uuid::new_v4());
        world.apply_gateway(&format!("gw-{number}"), &spec).await;
    }
    let mark = world.mark().await;
    world.start_operator().await;
    for number in 0..6 {
        world.wait_for_reason(&format!("gw-{number}"), "NotFound").await;
    }
    let calls = world.calls_since(mark).await;
    // One to begin with; what confirms the answers is shared by those that were there by then.
    assert!(calls["ListCustomerGateways"] <= 5, "{calls:?}");
    assert!(calls["GetCustomerGateway"] <= 12, "{calls:?}");
    world.finish().await;
}

#[tokio::test]
async fn one_wrong_404_to_the_list_of_users_has_no_user_gone() {
    let mut world = World::with(Options::with(["--resync-period=0", "--settle-time=1s"])).await;
    apply_pw(&mut world).await;
    let server = add_server(&world, 7101).await;
    world.apply(&on(&server, "alice", "name: alice")).await;
    let id = available(&world, "alice").await;
    let mark = world.mark().await;
    // Both of the answers that would prove it.
    answers(&world, "GetVpnUser", 404, 1).await;
    answers(&world, "ListVpnUsers", 404, 1).await;
    let users = world.users();
    users.patch("alice", json!({"spec": {"description": "second"}})).await;
    let described = async || cloud_user(&world, &id).await["description"] == "second";
    vpn_operator_testbed::eventually("the edit is made", crate::world::DEADLINE, async || {
        if described().await { Ok(()) } else { Err("not yet") }
    })
    .await
    .unwrap();
    users.wait_for_reason("alice", "Available").await;
    assert_eq!(world.writes_since(mark).await, counts([("UpdateVpnUser", 1)]));
    let calls = world.calls_since(mark).await;
    assert_eq!(calls.get("ListVpnServers"), Some(&1), "{calls:?}");
    world.finish().await;
}
