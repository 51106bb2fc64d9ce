//! Passwords that the cloud refuses, for good or for a while.

use serde_json::{Value, json};

use super::{
    SECOND_SERVER, THIRD_SERVER, apply, apply_on, id, reset_calls, resets, seed_server, wait_for_cycles,
    wait_for_message, wait_for_password,
};
use crate::world::{Options, World};

#[tokio::test]
async fn a_password_that_the_cloud_does_not_want_waits_for_another_one() {
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
        // The name of an adopted user may not stand in the spec, so that only the cloud can tell.
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
    assert_eq!(world.calls_since(mark).await.get("CreateVpnUser"), Some(&1));
    world.apply_password("fresh", "Sentinel Fresh-2").await;
    world.users().wait_for_reason("fresh", "Available").await;
    wait_for_password(&world, "fresh", "Sentinel Fresh-2").await;
    assert_eq!(world.calls_since(mark).await.get("CreateVpnUser"), Some(&2));
    world.finish().await;
}

#[tokio::test]
async fn a_reset_that_comes_too_soon_is_retried_until_it_is_true() {
    let mut world = World::start().await;
    seed_server(&world, SECOND_SERVER).await;
    seed_server(&world, THIRD_SERVER).await;
    // A full queue holds up its server for ten seconds: the others go on.
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
