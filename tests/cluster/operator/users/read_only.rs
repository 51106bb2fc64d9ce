//! `--read-only`: nothing is written to the cloud for users either, and each says what would be.

use serde_json::json;

use crate::operator::console::{counts, message};
use crate::operator::users::life::{create, seed};
use crate::operator::world::{World, condition};

#[tokio::test]
async fn read_only_mode_reports_planned_writes_and_sends_none() {
    let mut world = World::start().await;
    for name in ["login", "changed"] {
        world.apply_password(name, &format!("Read Only-{name}")).await;
    }
    let plain = "{passwordSecretRef: {name: login}}";
    let grouped = "{passwordSecretRef: {name: login}, description: on call, userGroupName: default}";
    let edited = create(&world, "edited", grouped).await;
    let changed = create(&world, "changed", "{passwordSecretRef: {name: changed}}").await;
    create(&world, "deleted", plain).await;
    let kept = create(
        &world,
        "kept",
        "{passwordSecretRef: {name: login}, deletionPolicy: Retain}",
    )
    .await;
    let missing = create(&world, "gone", plain).await;
    world.stop_operator().await;
    world.set_argument("--read-only=true");
    let foreign = seed(&world, json!({"name": "foreign", "password": "Theirs Pass-1"})).await;
    world.simulator.remove_user(&missing).await.unwrap();
    world.start_operator().await;
    let mark = world.mark().await;

    world.apply_user("brand-new", plain).await;
    let edit = json!({"spec": {"description": "on leave", "userGroupName": null, "userGroupID": "None"}});
    world.users().patch("edited", edit).await;
    world.apply_password("changed", "Read Only-changed-2").await;
    let adopt = format!("{{externalID: {foreign}, passwordSecretRef: {{name: login}}}}");
    world.apply_user("adopted", &adopt).await;
    world.kubectl(["delete", "vpnu", "deleted", "--wait=false"]).await;
    world.kubectl(["delete", "vpnu", "kept"]).await;
    let annotations = json!({"vpn.huaweicloud.com/reconcile-requested-at": "now"});
    world
        .users()
        .patch("gone", json!({"metadata": {"annotations": annotations}}))
        .await;
    for (name, reason, shown) in [
        ("brand-new", "Creating", "would create the VPN user brand-new"),
        ("edited", "Updating", "would change description, userGroupID"),
        ("changed", "Updating", "would change passwordSecretRef"),
        ("adopted", "Creating", "would adopt the VPN user"),
        ("deleted", "Deleting", "would delete the VPN user"),
        ("gone", "Creating", "would recreate the VPN user"),
    ] {
        let is_reported = |object: &serde_json::Value| message(object).contains(shown);
        let object = world.users().wait_for(name, shown, is_reported).await;
        assert!(message(&object).contains("--read-only"), "{}", message(&object));
        assert_eq!(condition(&object, "Ready")["reason"], reason, "{name}");
    }
    let object = world.users().get("brand-new").await;
    assert!(object["status"]["intent"].is_null(), "{object}");
    // Nothing of it in the cloud: nothing keeps the object.
    world.kubectl(["delete", "vpnu", "brand-new"]).await;
    assert_eq!(world.writes_since(mark).await, counts([]));
    for name in ["adopted", "changed"] {
        let events = world.users().events(name).await;
        let lies = |event: &&serde_json::Value| event["reason"] == "Adopted" || event["reason"] == "PasswordSet";
        assert_eq!(events.iter().filter(lies).count(), 0, "{events:?}");
    }

    world.set_argument("--read-only=false");
    world.restart_operator().await;
    world.users().wait_until_deleted("deleted").await;
    for name in ["edited", "changed", "adopted", "gone"] {
        world.users().wait_for_reason(name, "Available").await;
    }
    let expected = counts([
        ("CreateVpnUser", 1),
        ("DeleteVpnUser", 1),
        ("RemoveVpnUsersFromGroup", 1),
        ("ResetVpnUserPassword", 2),
        ("UpdateVpnUser", 1),
    ]);
    assert_eq!(world.writes_since(mark).await, expected);
    assert!(
        world
            .simulator
            .is_password(&changed, "Read Only-changed-2")
            .await
            .unwrap()
    );
    assert!(world.simulator.is_password(&foreign, "Read Only-login").await.unwrap());
    let users = world.cloud_users().await;
    let by_id = |id: &str| users.iter().find(|user| user["id"] == id).unwrap();
    assert_eq!(by_id(&edited)["description"], "on leave");
    assert_eq!(by_id(&kept)["name"], "kept");
    assert_eq!(users.len(), 5);
    world.finish().await;
}
