//! Resets of which no answer came.

use serde_json::{Value, json};

use super::{apply, id, reset_calls, resets, wait_for_message, wait_for_password};
use crate::operator::world::{Options, World};

#[tokio::test]
async fn a_reset_with_an_unknown_outcome_is_retried() {
    let mut world = World::with(Options::with(["--resync-period=0", "--request-timeout=2s"])).await;
    let faults = ["lost-answer", "timeout", "html-502", "connection-reset"];
    let cases: Vec<(String, &str, bool)> = faults
        .into_iter()
        .flat_map(|fault| [true, false].map(|commit| (format!("{fault}-{commit}"), fault, commit)))
        .collect();
    for (name, ..) in &cases {
        apply(&mut world, name, &format!("Sntl {name}-1")).await;
    }
    world.users().wait_until_all_ready(cases.len()).await;
    let mark = world.mark().await;
    for (name, fault, commit) in &cases {
        let id = id(&world, name).await;
        let fault = json!({"fault": fault, "operation": "ResetVpnUserPassword", "path_contains": id, "commit": commit});
        world.simulator.add_fault(&fault).await.unwrap();
        world.apply_password(name, &format!("Sntl {name}-2")).await;
    }
    for (name, ..) in &cases {
        wait_for_password(&world, name, &format!("Sntl {name}-2")).await;
        world.users().wait_for_event(name, "PasswordSet").await;
        assert_eq!(resets(&world, name).await, 1, "{name}");
        assert_eq!(reset_calls(&world, &id(&world, name).await, mark).await, 2, "{name}");
    }

    // However the cloud refuses the second, or takes it.
    let positions = [
        json!({"recent-password": "accepted"}),
        json!({"p2c-codes": "VPN.0001"}),
        json!({"p2c-codes": "VPN.93xx"}),
        json!({"error-shape": "code"}),
    ];
    for (round, switches) in positions.iter().enumerate() {
        world.simulator.set_switches(switches).await.unwrap();
        for (name, fault, commit) in &cases[..2] {
            let id = id(&world, name).await;
            let fault =
                json!({"fault": fault, "operation": "ResetVpnUserPassword", "path_contains": id, "commit": commit});
            world.simulator.add_fault(&fault).await.unwrap();
            world.apply_password(name, &format!("Sntl {name}-r{round}")).await;
        }
        for (name, ..) in &cases[..2] {
            wait_for_password(&world, name, &format!("Sntl {name}-r{round}")).await;
        }
    }
    world.finish().await;
}

#[tokio::test]
async fn a_password_reverted_during_an_unknown_outcome_needs_a_new_value() {
    // A held request must not time out before its release.
    let mut world = World::with(Options::with(["--resync-period=0", "--request-timeout=7s"])).await;
    apply(&mut world, "alice", "Sentinel Back-1").await;
    apply(&mut world, "bert", "Sentinel Back-1b").await;
    world.users().wait_until_all_ready(2).await;
    for (name, commit, letter) in [("alice", true, ""), ("bert", false, "b")] {
        let (id, mark) = (id(&world, name).await, world.mark().await);
        let hold = json!({
            "fault": "hold", "operation": "ResetVpnUserPassword", "path_contains": id, "commit": commit, "times": 0,
        });
        world.simulator.add_fault(&hold).await.unwrap();
        world.apply_password(name, &format!("Sentinel Back-2{letter}")).await;
        world.simulator.wait_for_held::<Value>(1).await.unwrap();
        world.apply_password(name, &format!("Sentinel Back-1{letter}")).await;
        world.simulator.release(&json!({"drop": true})).await.unwrap();
        let message = wait_for_message(&world, name, "InvalidPassword").await;
        for part in ["it is unknown which", "new password"] {
            assert!(message.contains(part), "{message}");
        }
        world.simulator.clear_faults().await.unwrap();
        assert_eq!(
            reset_calls(&world, &id, mark).await,
            1,
            "{name}: the first value is not sent"
        );

        world.apply_password(name, &format!("Sentinel Back-3{letter}")).await;
        wait_for_password(&world, name, &format!("Sentinel Back-3{letter}")).await;
        assert_eq!(reset_calls(&world, &id, mark).await, 2, "{name}");
    }
    world.finish().await;
}
