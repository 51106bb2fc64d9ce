//! Which actions the operator takes for users: managementPolicy, deletionPolicy and pauses, counted in the cloud.

use serde_json::{Value, json};

use crate::operator::console::{counts, message};
use crate::operator::users::life::{create, seed};
use crate::operator::world::{Options, World, condition, user};

async fn watchful() -> World {
    let flags = ["--resync-period=1s", "--creation-confirmation-period=1s"];
    let mut world = World::with(Options::with(flags)).await;
    world.apply_password("login", "Policy Login-1").await;
    world
}

fn drifted(object: &Value) -> String {
    condition(object, "Drifted")["message"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test]
async fn report_drift_creates_and_deletes_but_only_reports_drift() {
    let mut world = watchful().await;
    let spec = "{passwordSecretRef: {name: login}, description: on call, userGroupName: default, staticIP: Disabled, \
                managementPolicy: ReportDrift}";
    let id = create(&world, "alice", spec).await;
    let mark = world.mark().await;
    let edit = json!({"description": "by hand", "user_group_id": "", "static_ip": "192.168.10.5"});
    world.simulator.edit_user(&id, &edit).await.unwrap();
    let all = "description, staticIP, userGroupName";
    let object = world
        .users()
        .wait_for("alice", all, |object| drifted(object).contains(all))
        .await;
    assert_eq!(condition(&object, "Ready")["status"], "True");
    assert!(message(&object).contains(all), "{}", message(&object));
    let note = world.users().wait_for_event("alice", "DriftDetected").await;
    assert!(note.contains(all), "{note}");
    // A changed password is reported as well, and not sent; so is an edit.
    world.apply_password("login", "Policy Login-2").await;
    let is_reported = |object: &Value| drifted(object).contains("passwordSecretRef");
    world
        .users()
        .wait_for("alice", "the password differs", is_reported)
        .await;
    let edit = json!({"spec": {"description": "by hand", "userGroupName": null, "userGroupID": "None"}});
    world.users().patch("alice", edit).await;
    let object = world.users().wait_for_reason("alice", "Available").await;
    assert_eq!(drifted(&object), "differs in the cloud: staticIP, passwordSecretRef");
    world.wait_for_calls("ListVpnUsers", 2).await;
    assert_eq!(world.writes_since(mark).await, counts([]));

    let manage = json!({"spec": {"managementPolicy": "Manage"}});
    world.users().patch("alice", manage.clone()).await;
    let object = world.users().wait_for_reason("alice", "Available").await;
    assert!(condition(&object, "Drifted").is_null());
    let expected = counts([("UpdateVpnUser", 1), ("ResetVpnUserPassword", 1)]);
    assert_eq!(world.writes_since(mark).await, expected);
    assert!(world.cloud_users().await[0]["static_ip"].is_null());
    assert!(world.simulator.is_password(&id, "Policy Login-2").await.unwrap());

    // Deleted in the cloud: reported, and not recreated until the policy allows it.
    let report = json!({"spec": {"managementPolicy": "ReportDrift"}});
    world.users().patch("alice", report.clone()).await;
    world.users().wait_for_reason("alice", "Available").await;
    let mark = world.mark().await;
    world.simulator.remove_user(&id).await.unwrap();
    let object = world.users().wait_for_reason("alice", "NotFound").await;
    assert!(message(&object).contains(&id), "{}", message(&object));
    assert_eq!(condition(&object, "Stalled")["status"], "True");
    world.wait_for_calls("ListVpnUsers", 2).await;
    assert_eq!(world.writes_since(mark).await, counts([]));
    world.users().patch("alice", manage).await;
    let object = world.users().wait_for_reason("alice", "Available").await;
    assert_ne!(object["status"]["id"], id.as_str());
    assert_eq!(world.writes_since(mark).await, counts([("CreateVpnUser", 1)]));
    world.users().patch("alice", report).await;
    world.kubectl(["delete", "vpnu", "alice"]).await;
    assert!(world.cloud_users().await.is_empty());
    world.finish().await;
}

#[tokio::test]
async fn observe_never_writes() {
    let world = watchful().await;
    let id = seed(
        &world,
        json!({"name": "theirs", "password": "Theirs Pass-1", "description": "on call"}),
    )
    .await;
    let mark = world.mark().await;
    let refused = world.try_apply(&user("blind", "{managementPolicy: Observe}")).await;
    assert!(refused.as_ref().unwrap_err().contains("externalID"), "{refused:?}");
    // The Secret does not exist, and is not needed.
    let spec = format!("{{managementPolicy: Observe, externalID: {id}, passwordSecretRef: {{name: nowhere}}}}");
    assert_eq!(create(&world, "seen", &spec).await, id);
    let object = world.users().get("seen").await;
    assert!(object["metadata"]["finalizers"].is_null(), "{object}");
    assert_eq!(object["status"]["name"], "theirs");
    // Several objects may observe the same user. The fields in each spec are compared, the name included.
    let spec = format!(
        "{{managementPolicy: Observe, externalID: {id}, name: ours, description: on call, userGroupName: default}}"
    );
    world.apply_user("named", &spec).await;
    let object = world.users().wait_for_reason("named", "Available").await;
    assert_eq!(drifted(&object), "differs in the cloud: userGroupName, name");
    let edit = json!({"description": "by hand"});
    world.simulator.edit_user(&id, &edit).await.unwrap();
    let is_reported = |object: &Value| drifted(object).contains("description");
    world
        .users()
        .wait_for("named", "the description differs", is_reported)
        .await;
    assert!(condition(&world.users().get("seen").await, "Drifted").is_null());
    // The observing object is deleted at once, and the user stays.
    world.kubectl(["delete", "vpnu", "seen"]).await;
    world.wait_for_calls("ListVpnUsers", 1).await;
    world.simulator.remove_user(&id).await.unwrap();
    world.users().wait_for_reason("named", "NotFound").await;
    let never = "{managementPolicy: Observe, externalID: 00000000-0000-4000-8000-000000000001}";
    world.apply_user("never", never).await;
    world.users().wait_for_reason("never", "NotFound").await;
    assert_eq!(world.writes_since(mark).await, counts([]));
    world.finish().await;
}

#[tokio::test]
async fn retained_and_observed_users_are_kept_when_their_objects_are_deleted() {
    let world = watchful().await;
    let spec = "{passwordSecretRef: {name: login}}";
    let observed = create(&world, "observed", spec).await;
    create(
        &world,
        "retained",
        "{passwordSecretRef: {name: login}, deletionPolicy: Retain}",
    )
    .await;
    create(&world, "deleted", spec).await;
    let mark = world.mark().await;
    let observe = json!({"spec": {"externalID": observed, "managementPolicy": "Observe"}});
    world.users().patch("observed", observe).await;
    world.users().wait_for_reason("observed", "Available").await;
    world
        .kubectl(["delete", "vpnu", "observed", "retained", "deleted"])
        .await;
    assert_eq!(world.writes_since(mark).await, counts([("DeleteVpnUser", 1)]));
    let left = world.cloud_users().await;
    let mut left: Vec<&str> = left.iter().map(|user| user["name"].as_str().unwrap()).collect();
    left.sort_unstable();
    assert_eq!(left, ["observed", "retained"]);
    for (name, verb) in [("observed", "left"), ("retained", "kept"), ("deleted", "deleted")] {
        let note = world.users().wait_for_event(name, "Deleted").await;
        assert!(note.starts_with(verb), "{name}: {note}");
    }
    world.finish().await;
}

#[tokio::test]
async fn pausing_suspends_reconciliation_and_deletion() {
    let mut world = watchful().await;
    let id = create(
        &world,
        "alice",
        "{passwordSecretRef: {name: login}, description: on call}",
    )
    .await;
    let pause = json!({"metadata": {"annotations": {"vpn.huaweicloud.com/paused": "true"}}});
    let resume = json!({"metadata": {"annotations": {"vpn.huaweicloud.com/paused": null}}});
    let is_paused = |object: &Value| condition(object, "Paused")["status"] == "True";
    world.users().patch("alice", pause.clone()).await;
    let before = world.users().wait_for("alice", "Paused", is_paused).await;
    let mark = world.mark().await;
    world
        .users()
        .patch("alice", json!({"spec": {"description": "on leave"}}))
        .await;
    world.apply_password("login", "Policy Login-2").await;
    let edit = json!({"static_ip": "192.168.10.5"});
    world.simulator.edit_user(&id, &edit).await.unwrap();
    // A new user that is paused from the start.
    let held = user("held", "{passwordSecretRef: {name: login}}");
    let held = held.replace(
        "metadata: {",
        "metadata: {annotations: {vpn.huaweicloud.com/paused: \"true\"}, ",
    );
    world.apply(&held).await;
    let object = world.users().wait_for("held", "Paused", is_paused).await;
    assert_eq!(object["status"]["name"], "held");
    world.wait_for_calls("ListVpnUsers", 2).await;
    let after = world.users().get("alice").await;
    assert_eq!(after["metadata"]["generation"], 2);
    assert_eq!(after["status"]["observedGeneration"], 1);
    assert_eq!(condition(&after, "Ready"), condition(&before, "Ready"));
    assert_eq!(world.writes_since(mark).await, counts([]));

    world.users().patch("alice", resume.clone()).await;
    world.users().patch("held", resume.clone()).await;
    let object = world.users().wait_for_reason("alice", "Available").await;
    assert!(condition(&object, "Paused").is_null());
    world.users().wait_for_reason("held", "Available").await;
    let expected = counts([("CreateVpnUser", 1), ("ResetVpnUserPassword", 1), ("UpdateVpnUser", 1)]);
    assert_eq!(world.writes_since(mark).await, expected);

    world.users().patch("alice", pause).await;
    world.users().wait_for("alice", "Paused", is_paused).await;
    let mark = world.mark().await;
    world.kubectl(["delete", "vpnu", "alice", "--wait=false"]).await;
    world.wait_for_calls("ListVpnUsers", 2).await;
    assert_eq!(world.writes_since(mark).await, counts([]));
    assert!(!world.users().get("alice").await["metadata"]["deletionTimestamp"].is_null());
    world.users().patch("alice", resume).await;
    world.users().wait_until_deleted("alice").await;
    assert_eq!(world.writes_since(mark).await, counts([("DeleteVpnUser", 1)]));
    world.finish().await;
}
