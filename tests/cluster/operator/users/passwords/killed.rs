//! An operator that dies while a reset is on its way.

use serde_json::{Value, json};

use super::{
    SECOND_SERVER, THIRD_SERVER, apply_on, id, reset_calls, resets, seed_server, wait_for_message, wait_for_password,
};
use crate::operator::world::{Options, VPN_SERVER, World};

#[tokio::test]
async fn a_kill_during_a_password_reset_loses_no_password() {
    // No held request may time out before all requests are held.
    let options = [
        "--resync-period=0",
        "--leader-elect-lease-duration=14s",
        "--request-timeout=7s",
    ];
    let mut world = World::with(Options::with(options)).await;
    seed_server(&world, SECOND_SERVER).await;
    seed_server(&world, THIRD_SERVER).await;
    // Writes on one server wait for each other.
    let cases = [
        ("before", VPN_SERVER, false),
        ("after", SECOND_SERVER, true),
        ("back", THIRD_SERVER, true),
    ];
    for (name, server, _) in cases {
        apply_on(&mut world, server, name, &format!("Sentinel Kill-1{name}")).await;
    }
    world.users().wait_until_all_ready(3).await;
    for (name, _, commit) in cases {
        let id = id(&world, name).await;
        let hold = json!({
            "fault": "hold", "operation": "ResetVpnUserPassword", "path_contains": id, "commit": commit,
        });
        world.simulator.add_fault(&hold).await.unwrap();
        world.apply_password(name, &format!("Sentinel Kill-2{name}")).await;
    }
    world.simulator.wait_for_held::<Value>(3).await.unwrap();
    world.kill_operator();
    world.apply_password("back", "Sentinel Kill-1back").await;
    world.simulator.release(&json!({})).await.unwrap();
    let (back, mark) = (id(&world, "back").await, world.mark().await);
    world.start_operator().await;

    for name in ["before", "after"] {
        wait_for_password(&world, name, &format!("Sentinel Kill-2{name}")).await;
        assert_eq!(resets(&world, name).await, 1, "{name}");
    }
    let message = wait_for_message(&world, "back", "InvalidPassword").await;
    assert!(message.contains("it is unknown which"), "{message}");
    assert_eq!(reset_calls(&world, &back, mark).await, 0);
    world.apply_password("back", "Sentinel Kill-3back").await;
    wait_for_password(&world, "back", "Sentinel Kill-3back").await;
    assert_eq!(reset_calls(&world, &back, mark).await, 1);
    world.finish().await;
}
