//! Users that exist already: `externalID`, `adoptionPolicy`, and objects that only observe.

use serde_json::{Value, json};
use vpn_operator_testbed::eventually;

use super::steps::{
    PASSWORD, add_server, apply_pw, available, cloud_user, cloud_users_on, delete, delete_whole, on, posts, request,
    requests, the_only_one, unmanaged_user,
};
use crate::operator::console::message;
use crate::operator::world::{DEADLINE, Options, World, condition, user};

async fn world() -> World {
    // A creation with an unknown outcome must not be repeated before the test has reacted to it.
    let mut world = World::with(Options::with([
        "--resync-period=0",
        "--creation-confirmation-period=1s",
        "--request-timeout=7s",
    ]))
    .await;
    apply_pw(&mut world).await;
    world
}

fn id_of(user: &Value) -> String {
    user["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn external_id_adopts_and_manages_a_user() {
    let world = world().await;
    let server = add_server(&world, 0).await;
    let id = id_of(&unmanaged_user(&world, &server, "by.hand", json!({})).await);
    // Without spec.name it keeps its name.
    let more = format!("externalID: {id}, description: ours, staticIP: 192.168.10.5");
    world.apply(&on(&server, "adopted", &more)).await;
    assert_eq!(the_only_one(&world, &server, "adopted").await, id);
    let note = world.users().wait_for_event("adopted", "Adopted").await;
    assert!(note.contains(&id), "{note}");
    let cloud = cloud_user(&world, &id).await;
    for (field, value) in [
        ("name", "by.hand"),
        ("description", "ours"),
        ("static_ip", "192.168.10.5"),
    ] {
        assert_eq!(cloud[field], value);
    }
    assert_eq!(cloud["password_resets"], 1);
    assert_eq!(world.users().get("adopted").await["status"]["name"], "by.hand");
    assert_eq!(posts(&world, &server).await, (0, 0));
    // Another reconcile changes nothing.
    request(&world, "adopted").await;
    available(&world, "adopted").await;
    assert_eq!(requests(&world, &server, "ResetVpnUserPassword").await.len(), 1);
    assert_eq!(requests(&world, &server, "UpdateVpnUser").await.len(), 1);
    delete_whole(&world, "adopted").await;
    assert_eq!(cloud_users_on(&world, &server).await, Vec::<Value>::new());

    let kept = id_of(&unmanaged_user(&world, &server, "kept.one", json!({})).await);
    let more = format!("externalID: {kept}, deletionPolicy: Retain");
    world.apply(&on(&server, "kept", &more)).await;
    available(&world, "kept").await;
    delete_whole(&world, "kept").await;
    let note = world.users().wait_for_event("kept", "Deleted").await;
    assert!(note.contains("kept the VPN user"), "{note}");
    assert_eq!(cloud_user(&world, &kept).await["name"], "kept.one");
    world.finish().await;
}

#[tokio::test]
async fn a_deleted_adopted_user_is_not_recreated() {
    let world = world().await;
    let server = add_server(&world, 0).await;
    let id = id_of(&unmanaged_user(&world, &server, "by.hand", json!({})).await);
    world.apply(&on(&server, "adopted", &format!("externalID: {id}"))).await;
    available(&world, "adopted").await;
    world.simulator.remove_user(&id).await.unwrap();
    request(&world, "adopted").await;
    let object = world.users().wait_for_reason("adopted", "NotFound").await;
    assert!(message(&object).contains(&id), "{}", message(&object));
    // A user that never existed is reported as missing as well.
    let unknown = "00000000-0000-4000-8000-000000000001";
    world
        .apply(&on(&server, "missing", &format!("externalID: {unknown}")))
        .await;
    let object = world.users().wait_for_reason("missing", "NotFound").await;
    assert!(message(&object).contains(unknown), "{}", message(&object));
    assert_eq!(posts(&world, &server).await, (0, 0));
    for name in ["adopted", "missing"] {
        delete_whole(&world, name).await;
    }
    world.finish().await;
}

#[tokio::test]
async fn a_change_to_observe_lets_another_object_adopt_the_user() {
    let world = world().await;
    let server = add_server(&world, 0).await;
    let id = id_of(&unmanaged_user(&world, &server, "by.hand", json!({})).await);
    let more = format!("externalID: {id}, deletionPolicy: Retain");
    for name in ["first", "second"] {
        world.apply(&on(&server, name, &more)).await;
        let reason = if name == "first" { "Available" } else { "AlreadyManaged" };
        world.users().wait_for_reason(name, reason).await;
    }
    let policy = |policy: &str| json!({"spec": {"managementPolicy": policy}});
    world.users().patch("first", policy("Observe")).await;
    assert_eq!(available(&world, "second").await, id);
    // It does not get the user back by the return to Manage.
    world.users().patch("first", policy("Manage")).await;
    let object = world.users().wait_for_reason("first", "AlreadyManaged").await;
    assert!(message(&object).contains("/second"), "{}", message(&object));
    world.finish().await;
}

#[tokio::test]
async fn the_older_of_two_objects_with_one_external_id_gets_the_user() {
    let world = world().await;
    let server = add_server(&world, 0).await;
    let id = id_of(&unmanaged_user(&world, &server, "by.hand", json!({})).await);
    let more = format!("externalID: {id}, deletionPolicy: Retain");
    world.apply(&on(&server, "first", &more)).await;
    available(&world, "first").await;
    world.apply(&on(&server, "second", &more)).await;
    let object = world.users().wait_for_reason("second", "AlreadyManaged").await;
    assert!(message(&object).contains("/first"), "{}", message(&object));
    assert!(object["status"]["id"].is_null());
    // Deleting an object that does not hold the user does not change the user.
    world.apply(&on(&server, "third", &format!("externalID: {id}"))).await;
    world.users().wait_for_reason("third", "AlreadyManaged").await;
    delete_whole(&world, "third").await;
    assert_eq!(cloud_user(&world, &id).await["name"], "by.hand");
    // It is kept when the first object is deleted; then the second adopts it.
    delete_whole(&world, "first").await;
    assert_eq!(available(&world, "second").await, id);
    world.users().wait_for_event("second", "Adopted").await;

    // At the same instant: exactly one adopts it, and the other names the owner.
    let id = id_of(&unmanaged_user(&world, &server, "by.hand-2", json!({})).await);
    let both = ["left", "right"].map(|name| on(&server, name, &format!("externalID: {id}")));
    world.apply(&both.join("---\n")).await;
    let reason = async |name: &str| {
        let object = world.users().get(name).await;
        condition(&object, "Ready")["reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let result = eventually("one has it, the other does not", DEADLINE, async || {
        match (reason("left").await.as_str(), reason("right").await.as_str()) {
            ("Available", "AlreadyManaged") | ("AlreadyManaged", "Available") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    result.unwrap_or_else(|error| panic!("{error}\n{}", world.log_tail()));
    assert_eq!(cloud_user(&world, &id).await["password_resets"], 1);
    world.finish().await;
}

#[tokio::test]
async fn external_id_resolves_a_name_conflict() {
    let world = world().await;
    let server = add_server(&world, 0).await;
    let theirs = unmanaged_user(&world, &server, "alice", json!({"description": ""})).await;
    world.apply(&on(&server, "alice", "")).await;
    world.users().wait_for_reason("alice", "NameConflict").await;
    let id = id_of(&theirs);
    world.users().patch("alice", json!({"spec": {"externalID": id}})).await;
    // Its password becomes ours: the user was unmanaged until now.
    assert_eq!(the_only_one(&world, &server, "alice").await, id);
    assert_eq!(cloud_user(&world, &id).await["password_resets"], 1);
    world.users().wait_for_event("alice", "Adopted").await;
    assert_eq!(posts(&world, &server).await, (0, 0));
    world.finish().await;
}

/// An unmanaged user is adopted after a creation of ours was lost: its password is not the one that we sent.
#[tokio::test]
async fn a_user_adopted_after_a_lost_creation_gets_the_password() {
    let world = world().await;
    let server = add_server(&world, 0).await;
    world.apply(&on(&server, "known", "name: known.one")).await;
    available(&world, "known").await;
    let lost = super::steps::creation_fault(&server, json!({"fault": "lost-answer", "commit": false}));
    world.simulator.add_fault(&lost).await.unwrap();
    world.apply(&on(&server, "alice", "")).await;
    world
        .users()
        .wait_for("alice", "the outcome is unknown", |object| {
            condition(object, "Ready")["reason"] == "CloudError" && object["status"]["intent"].is_object()
        })
        .await;
    let early = json!({"created_at": "2020-01-01T00:00:00Z", "description": ""});
    let id = id_of(&unmanaged_user(&world, &server, "alice", early).await);
    world.users().wait_for_reason("alice", "NameConflict").await;
    world.users().patch("alice", json!({"spec": {"externalID": id}})).await;
    assert_eq!(available(&world, "alice").await, id);
    assert!(world.simulator.is_password(&id, PASSWORD).await.unwrap());
    assert_eq!(cloud_user(&world, &id).await["password_resets"], 1);
    world.finish().await;
}

#[tokio::test]
async fn if_exists_adopts_an_unmanaged_user() {
    let world = world().await;
    let server = add_server(&world, 0).await;
    let id = id_of(&unmanaged_user(&world, &server, "alice", json!({})).await);
    world
        .apply(&on(&server, "alice", "adoptionPolicy: IfExists, description: ours"))
        .await;
    assert_eq!(the_only_one(&world, &server, "alice").await, id);
    world.users().wait_for_event("alice", "Adopted").await;
    assert_eq!(cloud_user(&world, &id).await["description"], "ours");
    assert_eq!(posts(&world, &server).await, (0, 0));
    // A user that another object holds is not adopted.
    world
        .apply(&on(&server, "twin", "name: alice, adoptionPolicy: IfExists"))
        .await;
    let object = world.users().wait_for_reason("twin", "NameConflict").await;
    assert!(message(&object).contains("/alice"), "{}", message(&object));
    // A missing user is created; a user that was adopted this way is recreated after its deletion.
    world.apply(&on(&server, "carol", "adoptionPolicy: IfExists")).await;
    available(&world, "carol").await;
    world.simulator.remove_user(&id).await.unwrap();
    request(&world, "alice").await;
    world
        .users()
        .wait_for("alice", "is another user", |object| {
            condition(object, "Ready")["reason"] == "Available" && object["status"]["id"] != id.as_str()
        })
        .await;
    assert_eq!(posts(&world, &server).await, (2, 2));
    world.finish().await;
}

#[tokio::test]
async fn a_user_of_another_name_is_not_adopted() {
    let world = world().await;
    let server = add_server(&world, 0).await;
    let theirs = unmanaged_user(&world, &server, "by.hand", json!({})).await;
    let id = id_of(&theirs);
    world
        .apply(&on(
            &server,
            "adopted",
            &format!("externalID: {id}, name: another, description: ours"),
        ))
        .await;
    let object = world.users().wait_for_reason("adopted", "InvalidSpec").await;
    let shown = message(&object);
    assert!(shown.contains("by.hand") && shown.contains("another"), "{shown}");
    assert_eq!(cloud_user(&world, &id).await, theirs);
    delete_whole(&world, "adopted").await;
    assert_eq!(cloud_user(&world, &id).await, theirs);
    world.finish().await;
}

#[tokio::test]
async fn observe_and_report_drift_write_nothing() {
    let mut world = World::with(Options::with([
        "--resync-period=1s",
        "--creation-confirmation-period=1s",
    ]))
    .await;
    apply_pw(&mut world).await;
    let server = add_server(&world, 0).await;
    let theirs = unmanaged_user(&world, &server, "by.hand", json!({})).await;
    let id = id_of(&theirs);
    let observing = format!(
        "{{vpnServerID: {server}, externalID: {id}, managementPolicy: Observe, description: wanted, name: by.hand}}"
    );
    world.apply(&user("observer", &observing)).await;
    let object = world.users().wait_for_reason("observer", "Available").await;
    let drifted = condition(&object, "Drifted");
    assert!(
        drifted["message"]
            .as_str()
            .is_some_and(|text| text.contains("description")),
        "{drifted}"
    );
    assert!(object["metadata"]["finalizers"].is_null());
    world
        .apply(&on(
            &server,
            "reporter",
            "managementPolicy: ReportDrift, description: wanted",
        ))
        .await;
    let reported = available(&world, "reporter").await;
    let is_drifted = |object: &Value| condition(object, "Drifted")["status"] == "True";
    world
        .simulator
        .edit_user(&reported, &json!({"description": "changed by hand"}))
        .await
        .unwrap();
    let object = world
        .users()
        .wait_for("reporter", "drift is reported", is_drifted)
        .await;
    assert_eq!(condition(&object, "Ready")["status"], "True");
    world.users().wait_for_event("reporter", "DriftDetected").await;
    assert_eq!(cloud_user(&world, &reported).await["description"], "changed by hand");
    assert_eq!(cloud_user(&world, &id).await, theirs);
    // A deleted user is reported, but not recreated.
    for (name, id) in [("reporter", &reported), ("observer", &id)] {
        world.simulator.remove_user(id).await.unwrap();
        let object = world.users().wait_for_reason(name, "NotFound").await;
        assert!(message(&object).contains(id.as_str()), "{}", message(&object));
    }
    assert_eq!(posts(&world, &server).await, (1, 1));
    for operation in ["UpdateVpnUser", "ResetVpnUserPassword", "DeleteVpnUser"] {
        assert_eq!(requests(&world, &server, operation).await, Vec::<Value>::new());
    }
    for name in ["observer", "reporter"] {
        delete(&world, name).await;
        world.users().wait_until_deleted(name).await;
    }
    world.finish().await;
}
