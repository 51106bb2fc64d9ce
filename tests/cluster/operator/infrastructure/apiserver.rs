//! The apiserver and etcd stop and return, and the version from which a watch could continue is compacted.

use serde_json::{Value, json};
use vpn_operator_testbed::{ControlPlane, Line};

use super::{LEDGER, check_totals, wait_until_ready, wait_until_unready};
use crate::operator::upgrade::own_plane;
use crate::operator::users::life;
use crate::operator::world::{DEADLINE, Options, World, repository};

/// On a control plane of its own, with a lease that outlasts every outage.
async fn world_on(plane: &'static ControlPlane) -> World {
    plane.apply_crds(&repository().join("crds")).await.unwrap();
    let flags = [
        "--resync-period=0",
        "--leader-elect-lease-duration=20m",
        "--request-timeout=5m",
    ];
    World::on(plane, Options::with(flags)).await
}

/// Creates a gateway in the cloud and holds the answer on its way back.
async fn create_and_hold(world: &World, name: &str, address: &str) {
    let hold = json!({"fault": "hold", "operation": "CreateCustomerGateway", "commit": true});
    world.simulator.add_fault(&hold).await.unwrap();
    world.apply_gateway(name, &format!("{{idValue: {address}}}")).await;
    world.simulator.wait_for_held::<Value>(1).await.unwrap();
}

#[tokio::test]
async fn the_operator_survives_restarts_of_apiserver_and_etcd() {
    let plane = own_plane().await;
    let mut world = world_on(plane).await;
    world.apply_password("alice", "Restarts Pass-1").await;
    life::create(&world, "alice", "{passwordSecretRef: {name: alice}}").await;
    for (name, address) in [
        ("first", "203.0.113.1"),
        ("second", "203.0.113.2"),
        ("third", "203.0.113.3"),
    ] {
        world
            .create(name, &format!("{{name: {name}, idValue: {address}}}"))
            .await;
    }
    let mark = world.mark().await;

    // The answer of a creation comes while there is no apiserver to record it.
    create_and_hold(&world, "fourth", "203.0.113.4").await;
    plane.stop_api_server().unwrap();
    world.simulator.release(&json!({})).await.unwrap();
    world.running().wait_for_log("will try again", DEADLINE).await.unwrap();
    plane.start_api_server().await.unwrap();
    world.wait_for_reason("fourth", "Available").await;
    wait_until_ready(&world).await;

    // The same with etcd, behind an apiserver that keeps running.
    create_and_hold(&world, "fifth", "203.0.113.5").await;
    plane.restart_etcd().await.unwrap();
    world.simulator.release(&json!({})).await.unwrap();
    world.wait_for_reason("fifth", "Available").await;
    wait_until_ready(&world).await;

    // A watch cannot deliver afterwards what happens while the operator is paused.
    world
        .apply_gateway(
            "seen",
            "{managementPolicy: Observe, externalID: 11111111-2222-3333-4444-555555555555}",
        )
        .await;
    world.wait_for_reason("seen", "NotFound").await;
    world.running().pause().unwrap();
    world.patch("first", json!({"spec": {"name": "renamed"}})).await;
    world
        .kubectl(["delete", "cgw/second", "cgw/seen", "--wait=false"])
        .await;
    world.apply_gateway("sixth", "{idValue: 203.0.113.6}").await;
    world.apply_user("bobby", "{passwordSecretRef: {name: alice}}").await;
    plane.stop_api_server().unwrap();
    plane.compact_etcd().await.unwrap();
    plane.start_api_server().await.unwrap();
    world.running().resume().unwrap();
    let expired = "too old resource version";
    world.running().wait_for_log(expired, DEADLINE).await.unwrap();
    world.wait_until_deleted("second").await;
    world.wait_for_reason("sixth", "Available").await;
    world.users().wait_for_reason("bobby", "Available").await;
    let renamed = world.wait_for_reason("first", "Available").await;
    let id = renamed["status"]["id"].as_str().unwrap_or_default();
    assert_eq!(world.cloud_gateway(id).await["name"], "renamed");
    wait_until_ready(&world).await;
    let forgotten = "vpn_operator_objects{kind=\"CustomerGateway\",reason=\"NotFound\"} 0";
    world.wait_for_metric(forgotten).await;

    assert!(
        world.running().exit_status().unwrap().is_none(),
        "it is still the same process"
    );
    let writes = world.writes_since(mark).await;
    let expected = [
        ("CreateCustomerGateway", 3),
        ("CreateVpnUser", 1),
        ("DeleteCustomerGateway", 1),
        ("UpdateCustomerGateway", 1),
    ];
    assert_eq!(writes, crate::operator::console::counts(expected));
    check_totals(&world, 3).await;
    LEDGER.add(&[("creations beyond the first", writes["CreateCustomerGateway"] - 3)]);
    world.finish().await;
}

#[tokio::test]
async fn the_operator_recovers_from_a_lost_apiserver_connection() {
    let mut world = World::with(Options {
        stopped: true,
        ..Options::with(["--resync-period=0", "--leader-elect-lease-duration=20m"])
    })
    .await;
    let proxy = world.proxy();
    world.start_operator_behind(&proxy).await;
    world.create("first", "{name: first, idValue: 203.0.113.1}").await;
    let mark = world.mark().await;
    proxy.set_line(Line::Closed);
    wait_until_unready(&world, "the operator reports that its watches are down").await;
    world.patch("first", json!({"spec": {"name": "renamed"}})).await;
    world.apply_gateway("second", "{idValue: 203.0.113.2}").await;
    proxy.set_line(Line::Open);
    wait_until_ready(&world).await;
    world.wait_for_reason("second", "Available").await;
    world.wait_for_reason("first", "Available").await;
    let expected = [("CreateCustomerGateway", 1), ("UpdateCustomerGateway", 1)];
    assert_eq!(
        world.writes_since(mark).await,
        crate::operator::console::counts(expected)
    );
    check_totals(&world, 1).await;
    world.finish().await;
}
