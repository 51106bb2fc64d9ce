//! The spec conflicts with what exists, and user action is required.

use serde_json::{Value, json};
use vpn_core::api::conditions::Reason;

use super::super::still;
use super::{apply, create, login, seed, show};
use crate::operator::upgrade::{apply_crd, loosen, own_plane, present_crd};
use crate::operator::world::{PROJECT, REGION, World, user};

const OTHER_PROJECT: &str = "fedcba9876543210fedcba9876543210";

#[tokio::test]
async fn invalid_spec_and_crd_in_deletion_match_golden_files() {
    let plane = own_plane().await;
    let mut lax = present_crd("VpnUser");
    loosen(&mut lax);
    apply_crd(plane, &lax).await;
    let mut world = World::on(plane, still([])).await;
    login(&mut world).await;
    let events = ["InvalidSpec"];
    let reason = Reason::InvalidSpec;
    world.apply_user("alice", "{}").await;
    show(&world, "user-invalid-spec-no-password", "alice", reason, &events).await;
    apply(&world, "bobby", "{vpnServerID: the one in Berlin}").await;
    show(&world, "user-invalid-spec-server", "bobby", reason, &events).await;
    apply(&world, "carol", "{managementPolicy: Whatever}").await;
    show(&world, "user-invalid-spec-unreadable", "carol", reason, &events).await;
    apply(&world, "david", "{userGroupID: None, userGroupName: default}").await;
    show(&world, "user-invalid-spec-both-groups", "david", reason, &events).await;

    create(&world, "erika", "{}").await;
    world
        .kubectl(["delete", "crd", "vpnusers.vpn.huaweicloud.com", "--wait=false"])
        .await;
    let events = ["Created", "CRDDeleting"];
    show(&world, "user-crd-deleting", "erika", Reason::CrdDeleting, &events).await;
    assert_eq!(world.cloud_users().await.len(), 1);
    world.finish().await;
}

#[tokio::test]
async fn name_conflict_matches_golden_files() {
    let mut world = World::with(still([])).await;
    login(&mut world).await;
    seed(&world, json!({"name": "alice", "password": "Golden Hand-1"})).await;
    seed(&world, json!({"name": "Bobby", "password": "Golden Hand-1"})).await;
    let reason = Reason::NameConflict;
    apply(&world, "alice", "{}").await;
    show(
        &world,
        "user-name-conflict-unmanaged",
        "alice",
        reason,
        &["NameConflict"],
    )
    .await;

    // Only the cloud knows that its names ignore case: it refuses the creation, and then its users are read.
    apply(&world, "bobby", "{}").await;
    let names_it = |object: &Value| {
        object["status"]["conditions"][0]["message"]
            .to_string()
            .contains("Bobby")
    };
    world.users().wait_for("bobby", "names the other user", names_it).await;
    let events = ["NameConflict", "NameConflict"];
    show(&world, "user-name-conflict-case", "bobby", reason, &events).await;

    create(&world, "carol", "{}").await;
    apply(&world, "carol-too", "{name: Carol}").await;
    show(
        &world,
        "user-name-conflict-other-object",
        "carol-too",
        reason,
        &["NameConflict"],
    )
    .await;
    world.finish().await;
}

#[tokio::test]
async fn credentials_of_another_project_match_golden_files() {
    let mut world = World::with(still([])).await;
    login(&mut world).await;
    let project = json!({"name": format!("{REGION}_other")});
    let _: Value = world
        .simulator
        .put(&format!("projects/{OTHER_PROJECT}"), &project)
        .await
        .unwrap();
    let (access_key, secret_key) = (world.access_key.clone(), world.secret_key.clone());
    world
        .apply_credentials("cloud", &access_key, &secret_key, &[("projectID", PROJECT)])
        .await;
    create(&world, "alice", "{credentialsRef: {name: cloud}}").await;
    world
        .apply_credentials("cloud", &access_key, &secret_key, &[("projectID", OTHER_PROJECT)])
        .await;
    let events = ["Created", "ScopeChanged"];
    show(&world, "user-scope-changed", "alice", Reason::ScopeChanged, &events).await;
    assert_eq!(world.cloud_users().await.len(), 1);
    world.finish().await;
}

#[tokio::test]
async fn mass_deletion_matches_golden_files() {
    let mut world = World::with(still(["--resync-period=1s"])).await;
    login(&mut world).await;
    let spec = "{passwordSecretRef: {name: login}}";
    let manifests: Vec<String> = (1..=13).map(|number| user(&format!("user-{number}"), spec)).collect();
    world.apply(&manifests.join("---\n")).await;
    world.users().wait_until_all_ready(13).await;
    // A drift check could run between two deletions, so lists are held until all users are deleted.
    let hold = json!({"fault": "hold", "operation": "ListVpnUsers"});
    world.simulator.add_fault(&hold).await.unwrap();
    world.simulator.wait_for_held::<Value>(1).await.unwrap();
    for user in world.cloud_users().await {
        world.simulator.remove_user(user["id"].as_str().unwrap()).await.unwrap();
    }
    world.simulator.release(&json!({})).await.unwrap();
    let events = ["Created", "MassDeletionSuspected"];
    let reason = Reason::MassDeletionSuspected;
    show(&world, "user-mass-deletion-suspected", "user-1", reason, &events).await;
    assert!(world.cloud_users().await.is_empty());
    world.finish().await;
}
