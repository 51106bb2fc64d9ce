//! Passwords that the cloud refuses, for good or for a while.

use serde_json::{Value, json};

use super::super::steps::request;
use super::{
    SECOND_SERVER, THIRD_SERVER, apply, apply_on, id, patch_secret, reset_calls, resets, seed_server, wait_for_cycles,
    wait_for_message, wait_for_password,
};
use crate::operator::world::{Options, World, condition};

/// Kills the operator, starts another, and waits until it counts so many users with a refused password.
async fn restart_after_kill(world: &mut World, users: usize) {
    world.kill_operator();
    world.start_operator().await;
    let refused = format!("vpn_operator_objects{{kind=\"VpnUser\",reason=\"InvalidPassword\"}} {users}");
    world.wait_for_metric(&refused).await;
}

#[tokio::test]
async fn a_password_refused_by_the_cloud_waits_for_a_new_value() {
    let mut world = World::with(Options::with(["--resync-period=1s"])).await;
    for (round, codes) in ["VPN.13xx", "VPN.0001", "VPN.93xx"].into_iter().enumerate() {
        let former = format!("former-{round}");
        apply(&mut world, &former, &format!("Sentinel Ref{round}-1")).await;
        world.users().wait_for_reason(&former, "Available").await;
        world.apply_password(&former, &format!("Sentinel Ref{round}-2")).await;
        wait_for_password(&world, &former, &format!("Sentinel Ref{round}-2")).await;

        world
            .simulator
            .set_switches(&json!({"p2c-codes": codes}))
            .await
            .unwrap();
        let mark = world.mark().await;
        world.apply_password(&former, &format!("Sentinel Ref{round}-1")).await;
        let message = wait_for_message(&world, &former, "InvalidPassword").await;
        assert!(message.contains("latest five"), "{message}");
        // The spec may omit an adopted user's name: then only the cloud detects that the password is its reverse.
        let seed = json!({"name": format!("adopted-{round}"), "password": "Sentinel Seeded-1"});
        world.sentinels.add("Sentinel Seeded-1");
        let seeded: Vec<Value> = world.simulator.seed_users(&seed).await.unwrap();
        let seeded = seeded[0]["id"].as_str().expect("an id").to_owned();
        let (bad, other) = (format!("bad-{round}"), format!("adopted-{round}"));
        world
            .apply_password(&bad, &other.chars().rev().collect::<String>())
            .await;
        let spec = format!("{{externalID: {seeded}, passwordSecretRef: {{name: {bad}}}}}");
        world.apply_user(&bad, &spec).await;
        let message = wait_for_message(&world, &bad, "InvalidPassword").await;
        assert!(message.contains("VPN."), "the cloud's own words: {message}");

        wait_for_cycles(&world).await;
        let former_id = id(&world, &former).await;
        for id in [&seeded, &former_id] {
            assert_eq!(reset_calls(&world, id, mark).await, 1, "{codes}");
        }
        for (name, in_cloud, password) in [
            (&former, &former_id, format!("Sentinel Ref{round}-3")),
            (&bad, &seeded, format!("Sentinel Bad{round}-3")),
        ] {
            world.apply_password(name, &password).await;
            world.users().wait_for_reason(name, "Available").await;
            assert!(
                world.simulator.is_password(in_cloud, &password).await.unwrap(),
                "{name}"
            );
            assert_eq!(reset_calls(&world, in_cloud, mark).await, 2, "{codes}");
        }
    }

    // Refused already at creation.
    let refusal = json!({
        "fault": "error", "operation": "CreateVpnUser", "status": 400, "code": "VPN.1307",
        "message": "Password length invalid.",
    });
    world.simulator.add_fault(&refusal).await.unwrap();
    let mark = world.mark().await;
    apply(&mut world, "fresh", "Sentinel Fresh-1").await;
    let message = wait_for_message(&world, "fresh", "InvalidPassword").await;
    assert!(message.contains("VPN.1307"), "{message}");
    wait_for_cycles(&world).await;
    restart_after_kill(&mut world, 1).await;
    wait_for_cycles(&world).await;
    assert_eq!(world.calls_since(mark).await.get("CreateVpnUser"), Some(&1));
    world.apply_password("fresh", "Sentinel Fresh-2").await;
    world.users().wait_for_reason("fresh", "Available").await;
    wait_for_password(&world, "fresh", "Sentinel Fresh-2").await;
    assert_eq!(world.calls_since(mark).await.get("CreateVpnUser"), Some(&2));
    world.finish().await;
}

#[tokio::test]
async fn a_refused_password_is_resent_only_on_request() {
    let flags = ["--resync-period=1s", "--leader-elect-lease-duration=12s"];
    let mut world = World::with(Options::with(flags)).await;
    apply(&mut world, "alice", "Sentinel Ask-1").await;
    world.users().wait_for_reason("alice", "Available").await;
    world.apply_password("alice", "Sentinel Ask-2").await;
    wait_for_password(&world, "alice", "Sentinel Ask-2").await;
    let (id, mark) = (id(&world, "alice").await, world.mark().await);
    world.apply_password("alice", "Sentinel Ask-1").await;
    let first = wait_for_message(&world, "alice", "InvalidPassword").await;
    assert!(first.contains("latest five"), "{first}");

    // Neither time, nor a restart, nor a label of the Secret is a reason to try again.
    restart_after_kill(&mut world, 1).await;
    patch_secret(&world, "alice", json!({"metadata": {"labels": {"touched": "yes"}}})).await;
    wait_for_cycles(&world).await;
    assert_eq!(wait_for_message(&world, "alice", "InvalidPassword").await, first);
    assert_eq!(reset_calls(&world, &id, mark).await, 1);

    // A request by the user is, once.
    let before = world.users().get("alice").await["status"]["passwordRefused"].clone();
    request(&world, "alice").await;
    let is_refused_again = |object: &Value| {
        let refused = &object["status"]["passwordRefused"];
        *refused != before && refused["requestedAt"].is_string() && object["status"]["passwordReset"].is_null()
    };
    world
        .users()
        .wait_for("alice", "refused once more", is_refused_again)
        .await;
    restart_after_kill(&mut world, 1).await;
    wait_for_cycles(&world).await;
    assert_eq!(reset_calls(&world, &id, mark).await, 2);

    // Back to the password in force, then to the refused one: its refusal is still known.
    world.apply_password("alice", "Sentinel Ask-2").await;
    world.users().wait_for_reason("alice", "Available").await;
    world.apply_password("alice", "Sentinel Ask-1").await;
    let again = wait_for_message(&world, "alice", "InvalidPassword").await;
    assert!(again.contains("latest five"), "{again}");
    assert_eq!(reset_calls(&world, &id, mark).await, 2);
    world.apply_password("alice", "Sentinel Ask-3").await;
    let object = wait_for_password(&world, "alice", "Sentinel Ask-3").await;
    assert_eq!(reset_calls(&world, &id, mark).await, 3);
    assert!(
        object["status"]["passwordRefused"].is_null(),
        "it is settled: {}",
        object["status"]
    );
    world.finish().await;
}

#[tokio::test]
async fn an_unseen_refusal_of_a_former_password_confirms_no_password() {
    let flags = ["--resync-period=1s", "--leader-elect-lease-duration=12s"];
    let mut world = World::with(Options::with(flags)).await;
    apply(&mut world, "alice", "Sentinel Deaf-1").await;
    world.users().wait_for_reason("alice", "Available").await;
    world.apply_password("alice", "Sentinel Deaf-2").await;
    wait_for_password(&world, "alice", "Sentinel Deaf-2").await;
    let (id, mark) = (id(&world, "alice").await, world.mark().await);
    let hold = json!({
        "fault": "hold", "operation": "ResetVpnUserPassword", "path_contains": id, "commit": true,
    });
    world.simulator.add_fault(&hold).await.unwrap();
    world.apply_password("alice", "Sentinel Deaf-1").await;
    world.simulator.wait_for_held::<Value>(1).await.unwrap();
    world.kill_operator();
    world.simulator.release(&json!({"drop": true})).await.unwrap();
    world.start_operator().await;
    let message = wait_for_message(&world, "alice", "InvalidPassword").await;
    assert!(message.contains("it is unknown which"), "{message}");
    assert!(
        world.simulator.is_password(&id, "Sentinel Deaf-2").await.unwrap(),
        "the first one was refused"
    );
    restart_after_kill(&mut world, 1).await;
    wait_for_cycles(&world).await;
    assert_eq!(
        reset_calls(&world, &id, mark).await,
        2,
        "each process sent it once, and no third"
    );

    // The password in force is not sent either, since the operator cannot know that it is in force.
    world.apply_password("alice", "Sentinel Deaf-2").await;
    wait_for_cycles(&world).await;
    let object = world.users().get("alice").await;
    assert_eq!(condition(&object, "Ready")["reason"], "InvalidPassword");
    assert_eq!(reset_calls(&world, &id, mark).await, 2);
    world.apply_password("alice", "Sentinel Deaf-3").await;
    wait_for_password(&world, "alice", "Sentinel Deaf-3").await;
    assert_eq!(reset_calls(&world, &id, mark).await, 3);
    world.finish().await;
}

#[tokio::test]
async fn an_early_reset_is_retried_until_it_succeeds() {
    let mut world = World::start().await;
    seed_server(&world, SECOND_SERVER).await;
    seed_server(&world, THIRD_SERVER).await;
    // A full queue delays its server for ten seconds; the others continue.
    let cases = [
        ("queue", SECOND_SERVER, "queue-full", "VPN.0030"),
        ("service", THIRD_SERVER, "throttled-by-service", "VPN.0429"),
    ];
    for (name, server, ..) in cases {
        apply_on(&mut world, server, name, &format!("Sentinel Soon-1{name}")).await;
    }
    world.users().wait_until_all_ready(2).await;
    let mark = world.mark().await;
    for (name, _, fault, code) in cases {
        let id = id(&world, name).await;
        let fault = json!({"fault": fault, "operation": "ResetVpnUserPassword", "path_contains": id});
        world.simulator.add_fault(&fault).await.unwrap();
        world.apply_password(name, &format!("Sentinel Soon-2{name}")).await;
        if name == "queue" {
            let message = wait_for_message(&world, name, "Throttled").await;
            assert!(message.contains(code), "{message}");
        }
    }
    for (name, ..) in cases {
        wait_for_password(&world, name, &format!("Sentinel Soon-2{name}")).await;
        assert_eq!(resets(&world, name).await, 1, "{name}");
        assert_eq!(reset_calls(&world, &id(&world, name).await, mark).await, 2, "{name}");
    }
    world.finish().await;
}
