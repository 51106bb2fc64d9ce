//! A password that cannot be set.

use serde_json::json;
use vpn_core::api::conditions::Reason;

use super::super::still;
use super::{inject_fault, show};
use crate::operator::world::World;

#[tokio::test]
async fn invalid_password_matches_golden_files() {
    let mut world = World::with(still([])).await;
    let reason = Reason::InvalidPassword;
    world.apply_password("alice", "2-Short").await;
    world.apply_user("alice", "{passwordSecretRef: {name: alice}}").await;
    show(
        &world,
        "user-invalid-password-rule",
        "alice",
        reason,
        &["InvalidPassword"],
    )
    .await;

    for name in ["bobby", "carol"] {
        world.apply_password(name, &format!("Golden {name}-1")).await;
        world
            .apply_user(name, &format!("{{passwordSecretRef: {{name: {name}}}}}"))
            .await;
    }
    world.users().wait_for_reason("bobby", "Available").await;
    world.apply_password("bobby", "Golden bobby-2").await;
    world.users().wait_for_event("bobby", "PasswordSet").await;
    world.users().wait_for_reason("bobby", "Available").await;
    world.apply_password("bobby", "Golden bobby-1").await;
    let events = ["Created", "PasswordSet", "InvalidPassword"];
    show(&world, "user-invalid-password-recent", "bobby", reason, &events).await;

    world.users().wait_for_reason("carol", "Available").await;
    inject_fault(&world, "ResetVpnUserPassword", json!({"fault": "lost-answer"})).await;
    world.apply_password("carol", "Golden carol-2").await;
    world.users().wait_for_reason("carol", "CloudError").await;
    world.apply_password("carol", "Golden carol-1").await;
    let events = ["Created", "CloudError", "InvalidPassword"];
    show(&world, "user-invalid-password-ambiguous", "carol", reason, &events).await;
    world.finish().await;
}
