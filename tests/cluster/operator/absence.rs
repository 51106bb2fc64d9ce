//! What proves that a cloud resource no longer exists: no single answer does.

use serde_json::{Value, json};

use crate::operator::console::counts;
use crate::operator::users::steps::{add_server, apply_pw, available, cloud_user, on, request, unmanaged_user};
use crate::operator::world::{Options, World, condition};

/// Answers the next requests of this operation with this status; they have no effect.
async fn answers(world: &World, operation: &str, status: u16, times: u32) {
    let fault = json!({"fault": "error", "operation": operation, "status": status, "code": "VPN.0004", "times": times});
    world.simulator.add_fault(&fault).await.unwrap();
}

/// Waits until a gateway is Ready with another id than before.
async fn recreated(world: &World, name: &str, before: &str) -> Value {
    let is_another = |object: &Value| {
        let id = &object["status"]["id"];
        !id.is_null() && *id != before && condition(object, "Ready")["status"] == "True"
    };
    world.wait_for(name, "is recreated", is_another).await
}

#[tokio::test]
async fn a_false_404_neither_recreates_nor_orphans_a_gateway() {
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
    world.wait_until_deleted("office").await;
    assert_eq!(world.cloud_gateways().await, Vec::<Value>::new());
    world.finish().await;
}

#[tokio::test]
async fn a_false_404_neither_recreates_nor_orphans_a_user() {
    let mut world = World::with(Options::with([
        "--resync-period=0",
        "--creation-confirmation-period=1s",
    ]))
    .await;
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
    users.wait_until_deleted("alice").await;
    assert!(cloud_user(&world, &id).await.is_null());
    world.finish().await;
}

#[tokio::test]
async fn an_ineffective_delete_is_resent_after_the_confirmation_period() {
    let world = World::with(Options::with([
        "--resync-period=0",
        "--creation-confirmation-period=1s",
    ]))
    .await;
    world.create("office", "{idValue: 203.0.113.7}").await;
    let mark = world.mark().await;
    answers(&world, "DeleteCustomerGateway", 204, 2).await;
    world.delete("office").await;
    world.wait_until_deleted("office").await;
    assert_eq!(world.cloud_gateways().await, Vec::<Value>::new());
    assert_eq!(world.writes_since(mark).await, counts([("DeleteCustomerGateway", 3)]));
    world.finish().await;
}

#[tokio::test]
async fn an_ineffective_delete_is_resent_on_a_reconcile_request() {
    let world = World::with(Options::with([
        "--resync-period=0",
        "--creation-confirmation-period=10m",
    ]))
    .await;
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
            message.contains("waiting until it no longer exists in the cloud")
        })
        .await;
    assert_eq!(world.writes_since(mark).await, counts([("DeleteCustomerGateway", 1)]));
    world.request("office").await;
    world.wait_until_deleted("office").await;
    assert_eq!(world.writes_since(mark).await, counts([("DeleteCustomerGateway", 2)]));
    world.finish().await;
}

#[tokio::test]
async fn equal_creation_times_at_a_page_border_delay_no_create_or_delete() {
    const UNMANAGED: usize = 205;
    let world = World::with(Options::with(["--resync-period=0"])).await;
    world.make_room().await;
    // The newest comes first, and four around the 200th share one creation time, whether ours comes before them or not.
    let created = |number: usize| if (198..202).contains(&number) { 198 } else { number };
    let seeds: Vec<Value> = (0..UNMANAGED)
        .map(|number| {
            let seconds = 3600 - created(number);
            json!({
                "name": "unmanaged", "id_value": format!("198.51.{}.{}", number / 200, number % 200 + 1),
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
    world.wait_until_deleted("office").await;
    assert!(world.cloud_gateway(&id).await.is_null());
    assert_eq!(world.cloud_gateways().await.len(), UNMANAGED);
    // Each list is two walks of at most three pages, one of which is requested twice.
    let calls = world.calls_since(mark).await;
    assert!(calls["ListCustomerGateways"] <= 8 * 7, "{calls:?}");
    assert!(!world.running().log().contains("the cloud's list is incomplete"));
    world.finish().await;
}

#[tokio::test]
async fn permanently_incomplete_lists_block_no_deletion_or_recreation() {
    let world = World::with(Options::with(["--resync-period=0"])).await;
    let foreign = world.seed(json!({"name": "foreign", "id_value": "198.51.100.1"})).await;
    let (stays, goes) = (
        world.create("stays", "{name: stays, idValue: 203.0.113.7}").await,
        world.create("goes", "{name: goes, idValue: 203.0.113.8}").await,
    );
    // An item without a readable id could be any.
    world.edit(&foreign, json!({"answered_instead": {"id": 7}})).await;
    world.delete("goes").await;
    world.wait_until_deleted("goes").await;
    assert!(world.cloud_gateway(&goes).await.is_null());

    // One wrong answer still proves nothing.
    let mark = world.mark().await;
    answers(&world, "GetCustomerGateway", 404, 1).await;
    world.patch("stays", json!({"spec": {"name": "moved"}})).await;
    let object = world.wait_for_reason("stays", "Available").await;
    assert_eq!(object["status"]["id"], stays.as_str());
    assert_eq!(world.writes_since(mark).await, counts([("UpdateCustomerGateway", 1)]));

    let mark = world.mark().await;
    world.simulator.remove_gateway(&stays).await.unwrap();
    world.request("stays").await;
    recreated(&world, "stays", &stays).await;
    assert_eq!(world.writes_since(mark).await, counts([("CreateCustomerGateway", 1)]));
    world.finish().await;
}

#[tokio::test]
async fn missing_external_ids_cost_one_list_and_one_get_per_object() {
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
    // One at the start; objects that were answered by then share the list that confirms the answers.
    assert!(calls["ListCustomerGateways"] <= 5, "{calls:?}");
    assert!(calls["GetCustomerGateway"] <= 12, "{calls:?}");
    world.finish().await;
}

#[tokio::test]
async fn a_false_404_of_the_user_list_marks_no_user_as_deleted() {
    let mut world = World::with(Options::with([
        "--resync-period=0",
        "--creation-confirmation-period=1s",
    ]))
    .await;
    apply_pw(&mut world).await;
    let server = add_server(&world, 7101).await;
    world.apply(&on(&server, "alice", "name: alice")).await;
    let id = available(&world, "alice").await;
    let mark = world.mark().await;
    // Both of the answers that would prove the deletion.
    answers(&world, "GetVpnUser", 404, 1).await;
    answers(&world, "ListVpnUsers", 404, 1).await;
    let users = world.users();
    users.patch("alice", json!({"spec": {"description": "second"}})).await;
    let described = async || cloud_user(&world, &id).await["description"] == "second";
    vpn_operator_testbed::eventually("the edit is made", crate::operator::world::DEADLINE, async || {
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

/// Restores the same gateway, as a replica that lagged behind shows it in the end.
async fn reappears(world: &World, was: &Value) {
    let seed = json!({
        "id": was["id"], "name": was["name"], "id_type": was["id_type"], "id_value": was["id_value"],
        "tags": was["tags"], "created_at": was["created_at"],
    });
    world.simulator.seed_gateways::<Value>(&[seed]).await.unwrap();
}

#[tokio::test]
async fn a_gateway_missing_in_stale_reads_survives_its_replacement() {
    let mut world = World::with(Options::with(["--resync-period=0"])).await;
    let first = world.create("office", "{name: office, idValue: 203.0.113.7}").await;
    let was = world.cloud_gateway(&first).await;
    let mark = world.mark().await;
    // From here on reads lack it, and so does the list that is to confirm that.
    world.simulator.remove_gateway(&first).await.unwrap();
    world.request("office").await;
    let object = recreated(&world, "office", &first).await;
    let second = object["status"]["id"].as_str().unwrap_or_default().to_owned();
    let created = was["created_at"].as_str().unwrap_or_default();
    let lost = object["status"]["lostCreatedAt"].as_str().unwrap_or_default();
    assert_eq!(
        lost.trim_end_matches('Z'),
        created.split('.').next().unwrap_or_default()
    );
    reappears(&world, &was).await;
    // The new process lists it.
    world.restart_operator().await;
    world
        .wait_for("office", "names the other one", |object| {
            let message = condition(object, "Ready")["message"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            message.contains(&first) && message.contains("is left alone")
        })
        .await;
    assert_eq!(world.writes_since(mark).await, counts([("CreateCustomerGateway", 1)]));
    world.delete("office").await;
    world.wait_until_deleted("office").await;
    assert!(world.cloud_gateway(&second).await.is_null());
    assert_eq!(world.cloud_gateway(&first).await["name"], "office");
    world.finish().await;
}

#[tokio::test]
async fn deletion_sends_delete_even_if_reads_return_404() {
    // The held request must not time out before its release.
    let world = World::with(Options::with(["--resync-period=0", "--request-timeout=7s"])).await;
    let lagging = world.create("lagging", "{idValue: 203.0.113.7}").await;
    let deleted = world.create("gone", "{idValue: 203.0.113.8}").await;
    let was = world.cloud_gateway(&lagging).await;
    let mark = world.mark().await;
    let hold = json!({"fault": "hold", "operation": "DeleteCustomerGateway"});
    world.simulator.add_fault(&hold).await.unwrap();
    world.simulator.remove_gateway(&lagging).await.unwrap();
    world.delete("lagging").await;
    world.simulator.wait_for_held::<Value>(1).await.unwrap();
    reappears(&world, &was).await;
    world.simulator.release(&json!({})).await.unwrap();
    world.wait_until_deleted("lagging").await;
    assert!(world.cloud_gateway(&lagging).await.is_null());
    let note = world.wait_for_event("lagging", "Deleted").await;
    assert!(note.contains("deleted the customer gateway"), "{note}");

    world.simulator.remove_gateway(&deleted).await.unwrap();
    world.delete("gone").await;
    world.wait_until_deleted("gone").await;
    let note = world.wait_for_event("gone", "Deleted").await;
    assert_eq!(
        note,
        format!("the customer gateway {deleted} no longer exists in the cloud")
    );
    assert_eq!(world.calls_since(mark).await["DeleteCustomerGateway"], 2);
    world.finish().await;
}

#[tokio::test]
async fn a_late_created_gateway_beside_an_adopted_one_is_deleted() {
    adopts_another_gateway_during_its_creation(json!({})).await;
}

#[tokio::test]
async fn a_late_created_gateway_is_deleted_where_lists_omit_tags() {
    adopts_another_gateway_during_its_creation(json!({"list-tags": "absent"})).await;
}

async fn adopts_another_gateway_during_its_creation(switches: Value) {
    let world = World::with(Options::with([
        "--resync-period=0",
        "--creation-confirmation-period=15s",
    ]))
    .await;
    world.simulator.set_switches(&switches).await.unwrap();
    // The cloud commits it once it is released.
    let late = json!({"fault": "late-commit", "operation": "CreateCustomerGateway"});
    world.simulator.add_fault(&late).await.unwrap();
    world
        .apply_gateway("office", "{name: office, idValue: 203.0.113.7}")
        .await;
    world.simulator.wait_for_held::<Value>(1).await.unwrap();
    let named = world
        .seed(json!({"name": "office", "id_value": "203.0.113.7", "id_type": "ip"}))
        .await;
    world
        .patch("office", json!({"spec": {"externalID": named.as_str()}}))
        .await;
    let object = world.wait_for_reason("office", "Available").await;
    let status = &object["status"];
    assert_eq!(status["id"], named.as_str());
    assert_eq!(
        (&status["intent"], &status["pastIntents"][0]["givenUp"]),
        (&Value::Null, &json!(true)),
        "{status}"
    );
    world.delete("office").await;
    let waits = "whether another customer gateway by an earlier creation was created is not known";
    world
        .wait_for("office", "waits for its creation", |object| {
            let ready = condition(object, "Ready");
            ready["message"].as_str().unwrap_or_default().starts_with(waits)
        })
        .await;
    world.simulator.release(&json!({})).await.unwrap();
    world.wait_until_deleted("office").await;
    assert_eq!(world.cloud_gateways().await, Vec::<Value>::new());
    world.finish().await;
}

#[tokio::test]
async fn a_user_missing_in_stale_reads_is_deleted_with_its_object() {
    // The held request must not time out before its release.
    let mut world = World::with(Options::with([
        "--resync-period=0",
        "--creation-confirmation-period=1s",
        "--request-timeout=7s",
    ]))
    .await;
    apply_pw(&mut world).await;
    let server = add_server(&world, 7102).await;
    world.apply(&on(&server, "alice", "name: alice")).await;
    let id = available(&world, "alice").await;
    // From here on reads lack the user, but its name is still taken.
    world.simulator.remove_user(&id).await.unwrap();
    let taken = json!({
        "fault": "error", "operation": "CreateVpnUser", "status": 400, "code": "VPN.1399", "message": "Duplicate user name.",
        "times": 100,
    });
    world.simulator.add_fault(&taken).await.unwrap();
    let users = world.users();
    request(&world, "alice").await;
    let object = users.wait_for_reason("alice", "NameConflict").await;
    let ready = condition(&object, "Ready");
    let message = ready["message"].as_str().unwrap_or_default();
    assert!(
        message.contains(&format!(
            "it may be this object's own, which the cloud did not return ({id})"
        )),
        "{message}"
    );

    let hold = json!({"fault": "hold", "operation": "DeleteVpnUser"});
    world.simulator.add_fault(&hold).await.unwrap();
    users.delete("alice").await;
    world.simulator.wait_for_held::<Value>(1).await.unwrap();
    unmanaged_user(&world, &server, "alice", json!({"id": id})).await;
    world.simulator.release(&json!({})).await.unwrap();
    users.wait_until_deleted("alice").await;
    assert!(cloud_user(&world, &id).await.is_null());
    world.finish().await;
}
