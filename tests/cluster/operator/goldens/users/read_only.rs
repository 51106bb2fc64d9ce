//! What `--read-only` would do.

use serde_json::json;
use vpn_core::api::conditions::Reason;

use super::super::still;
use super::{apply, create, login, seed, show};
use crate::operator::world::World;

#[tokio::test]
async fn read_only_mode_matches_golden_files() {
    let mut world = World::with(still([])).await;
    login(&mut world).await;
    create(&world, "edited", "{description: on call}").await;
    create(&world, "deleted", "{}").await;
    world.apply_password("changed", "Golden Change-1").await;
    world
        .apply_user("changed", "{passwordSecretRef: {name: changed}}")
        .await;
    world.users().wait_for_reason("changed", "Available").await;
    let by_hand = seed(&world, json!({"name": "by-hand", "password": "Golden Hand-1"})).await;
    world.stop_operator().await;
    world.set_argument("--read-only=true");
    world.start_operator().await;

    apply(&world, "alice", "{name: alice.a}").await;
    show(&world, "user-creating-read-only", "alice", Reason::Creating, &[]).await;
    apply(&world, "adopted", &format!("{{externalID: {by_hand}}}")).await;
    show(
        &world,
        "user-creating-read-only-adopted",
        "adopted",
        Reason::Creating,
        &[],
    )
    .await;
    world
        .users()
        .patch("edited", json!({"spec": {"description": "on leave"}}))
        .await;
    let events = ["Created"];
    show(&world, "user-updating-read-only", "edited", Reason::Updating, &events).await;
    world.apply_password("changed", "Golden Change-2").await;
    show(
        &world,
        "user-updating-read-only-password",
        "changed",
        Reason::Updating,
        &events,
    )
    .await;
    world.kubectl(["delete", "vpnu", "deleted", "--wait=false"]).await;
    show(&world, "user-deleting-read-only", "deleted", Reason::Deleting, &events).await;
    world.finish().await;
}
