//! Limits of the operator's actions: managementPolicy, the annotations to pause and to request, and the owner of each
//! tag.

use serde_json::json;

use crate::operator::console::{OWNER, counts, message};
use crate::operator::world::{Options, World, condition};

async fn watchful() -> World {
    World::with(Options::with(["--resync-period=1s"])).await
}

#[tokio::test]
async fn report_drift_creates_and_deletes_but_only_reports_drift() {
    let world = watchful().await;
    let id = world
        .create(
            "office",
            "{name: office, idValue: 203.0.113.7, tags: {team: net}, managementPolicy: ReportDrift}",
        )
        .await;
    let mark = world.mark().await;
    world
        .edit(&id, json!({"name": "by-hand", "set_tags": {"team": "other"}}))
        .await;
    let object = world
        .wait_for("office", "Drifted", |object| {
            condition(object, "Drifted")["status"] == "True"
        })
        .await;
    assert_eq!(condition(&object, "Ready")["status"], "True");
    let drifted = condition(&object, "Drifted")["message"].to_string();
    assert!(drifted.contains("name") && drifted.contains("tags"), "{drifted}");
    world
        .wait_for_metric("vpn_operator_drifted_objects{kind=\"CustomerGateway\"} 1")
        .await;
    let note = world.wait_for_event("office", "DriftDetected").await;
    assert!(note.contains("name, tags"), "{note}");
    // A difference in an immutable field is reported like any other.
    world.patch("office", json!({"spec": {"bgpASN": 65001}})).await;
    let object = world.wait_for_reason("office", "Available").await;
    let drifted = condition(&object, "Drifted")["message"].to_string();
    assert!(drifted.contains("bgpASN"), "{drifted}");
    world.patch("office", json!({"spec": {"bgpASN": null}})).await;
    // An edit is reported as well, and not sent.
    world.patch("office", json!({"spec": {"name": "by-hand"}})).await;
    let object = world.wait_for_reason("office", "Available").await;
    let drifted = condition(&object, "Drifted")["message"].to_string();
    assert!(drifted.contains("tags") && !drifted.contains("name"), "{drifted}");
    assert_eq!(world.writes_since(mark).await, counts([]));

    world
        .patch(
            "office",
            json!({"spec": {"managementPolicy": "Manage", "name": "office"}}),
        )
        .await;
    let object = world.wait_for_reason("office", "Available").await;
    assert!(condition(&object, "Drifted").is_null());
    world
        .wait_for_metric("vpn_operator_drifted_objects{kind=\"CustomerGateway\"} 0")
        .await;
    let cloud = world.cloud_gateway(&id).await;
    assert_eq!(
        (cloud["name"].as_str(), cloud["tags"]["team"].as_str()),
        (Some("office"), Some("net"))
    );

    // Deleted in the cloud: reported, and not recreated until the policy permits it.
    world
        .patch("office", json!({"spec": {"managementPolicy": "ReportDrift"}}))
        .await;
    world.wait_for_reason("office", "Available").await;
    let mark = world.mark().await;
    world.simulator.remove_gateway(&id).await.unwrap();
    let object = world.wait_for_reason("office", "NotFound").await;
    assert!(message(&object).contains(&id), "{}", message(&object));
    assert_eq!(condition(&object, "Stalled")["status"], "True");
    world.wait_for_cycles(2).await;
    assert_eq!(world.writes_since(mark).await, counts([]));
    world
        .patch("office", json!({"spec": {"managementPolicy": "Manage"}}))
        .await;
    let object = world.wait_for_reason("office", "Available").await;
    assert_ne!(object["status"]["id"], id.as_str());
    world
        .patch("office", json!({"spec": {"managementPolicy": "ReportDrift"}}))
        .await;
    world.delete("office").await;
    world.wait_until_deleted("office").await;
    assert!(world.cloud_gateways().await.is_empty());
    world.finish().await;
}

#[tokio::test]
async fn observe_never_writes() {
    let world = watchful().await;
    let id = world
        .seed(json!({"name": "theirs", "id_value": "203.0.113.7", "tags": {"team": "net"}}))
        .await;
    let mark = world.mark().await;
    let refused = world
        .try_apply(&crate::operator::world::gateway("blind", "{managementPolicy: Observe}"))
        .await
        .unwrap_err();
    assert!(refused.contains("externalID"), "{refused}");
    let spec = format!("{{managementPolicy: Observe, externalID: {id}}}");
    let seen = world.create("seen", &spec).await;
    assert_eq!(seen, id);
    let object = world.get("seen").await;
    assert!(object["metadata"]["finalizers"].is_null(), "{object}");
    let cloud = world.cloud_gateway(&id).await;
    let second = |text: &serde_json::Value| text.as_str().map(|text| text[..19].to_owned());
    assert_eq!(second(&object["status"]["createdAt"]), second(&cloud["created_at"]));
    assert_eq!(second(&object["status"]["updatedAt"]), second(&cloud["updated_at"]));
    // Any number of objects may observe the same resource; the fields in the spec are compared.
    let spec = format!(
        "{{managementPolicy: Observe, externalID: {id}, name: theirs, idValue: 203.0.113.8, tags: {{team: net}}}}"
    );
    world.apply_gateway("named", &spec).await;
    let object = world.wait_for_reason("named", "Available").await;
    let drifted = condition(&object, "Drifted")["message"].to_string();
    assert!(drifted.contains("idValue") && !drifted.contains("name"), "{drifted}");
    world.edit(&id, json!({"name": "renamed"})).await;
    world
        .wait_for("named", "the name differs", |object| {
            let drifted = condition(object, "Drifted")["message"].to_string();
            drifted.contains("name") && condition(object, "Ready")["status"] == "True"
        })
        .await;
    assert!(condition(&world.get("seen").await, "Drifted").is_null());
    // The observing object is deleted at once, and the resource stays.
    world.delete("seen").await;
    world.wait_until_deleted("seen").await;
    world.wait_for_cycles(1).await;
    // Deleted in the cloud: reported.
    world.simulator.remove_gateway(&id).await.unwrap();
    world.wait_for_reason("named", "NotFound").await;
    let spec = "{managementPolicy: Observe, externalID: 00000000-0000-4000-8000-000000000001}";
    world.apply_gateway("never", spec).await;
    world.wait_for_reason("never", "NotFound").await;
    assert_eq!(world.writes_since(mark).await, counts([]));
    world.finish().await;
}

#[tokio::test]
async fn a_change_to_observe_keeps_the_gateway_on_deletion() {
    let world = World::start().await;
    let id = world.create("office", "{idValue: 203.0.113.7}").await;
    let mark = world.mark().await;
    world
        .patch(
            "office",
            json!({"spec": {"externalID": id, "managementPolicy": "Observe"}}),
        )
        .await;
    world.wait_for_reason("office", "Available").await;
    world.delete("office").await;
    world.wait_until_deleted("office").await;
    assert_eq!(world.writes_since(mark).await, counts([]));
    assert_eq!(world.cloud_gateways().await.len(), 1);
    let events = world.events("office").await;
    let lies = events.iter().filter(|event| {
        let note = event["note"].as_str().unwrap_or_default();
        event["reason"] == "Deleted" && note.starts_with("deleted")
    });
    assert_eq!(lies.count(), 0, "{events:?}");
    world.finish().await;
}

#[tokio::test]
async fn pausing_suspends_reconciliation_and_deletion() {
    let world = watchful().await;
    let id = world.create("office", "{name: office, idValue: 203.0.113.7}").await;
    let pause = json!({"metadata": {"annotations": {"vpn.huaweicloud.com/paused": "true"}}});
    world.patch("office", pause.clone()).await;
    let before = world
        .wait_for("office", "Paused", |object| {
            condition(object, "Paused")["status"] == "True"
        })
        .await;
    let mark = world.mark().await;
    world.patch("office", json!({"spec": {"name": "office-2"}})).await;
    world.edit(&id, json!({"name": "by-hand"})).await;
    // A new object that is paused from the start.
    world
        .apply(
            "apiVersion: vpn.huaweicloud.com/v1alpha1\nkind: CustomerGateway\nmetadata: {name: held, annotations: \
             {vpn.huaweicloud.com/paused: \"true\"}}\nspec: {idValue: 203.0.113.8}\n",
        )
        .await;
    world
        .wait_for("held", "Paused", |object| {
            condition(object, "Paused")["status"] == "True"
        })
        .await;
    world.wait_for_cycles(2).await;
    let after = world.get("office").await;
    assert_eq!(after["metadata"]["generation"], 2);
    assert_eq!(after["status"]["observedGeneration"], 1);
    assert_eq!(condition(&after, "Ready"), condition(&before, "Ready"));
    assert_eq!(condition(&after, "Ready")["status"], "True");
    assert_eq!(world.writes_since(mark).await, counts([]));

    let resume = json!({"metadata": {"annotations": {"vpn.huaweicloud.com/paused": null}}});
    world.patch("office", resume.clone()).await;
    world.patch("held", resume.clone()).await;
    let object = world.wait_for_reason("office", "Available").await;
    assert!(condition(&object, "Paused").is_null());
    assert_eq!(world.cloud_gateway(&id).await["name"], "office-2");
    world.wait_for_reason("held", "Available").await;

    world.patch("office", pause).await;
    world
        .wait_for("office", "Paused", |object| {
            condition(object, "Paused")["status"] == "True"
        })
        .await;
    world.delete("office").await;
    world.wait_for_cycles(2).await;
    assert!(world.get("office").await["metadata"]["deletionTimestamp"].is_string());
    assert!(!world.cloud_gateway(&id).await.is_null());
    world.patch("office", resume).await;
    world.wait_until_deleted("office").await;
    assert!(world.cloud_gateway(&id).await.is_null());
    world.finish().await;
}

#[tokio::test]
async fn a_requested_reconcile_reads_once_and_corrects_drift() {
    let world = World::start().await;
    let id = world.create("office", "{name: office, idValue: 203.0.113.7}").await;
    let before = world.get("office").await;
    let mark = world.mark().await;
    world.request("office").await;
    vpn_operator_testbed::eventually("the look", crate::operator::world::DEADLINE, async || {
        let calls = world.calls_since(mark).await;
        if calls == counts([("GetCustomerGateway", 1)]) {
            Ok(())
        } else {
            Err(format!("{calls:?}"))
        }
    })
    .await
    .unwrap();
    world.edit(&id, json!({"name": "by-hand"})).await;
    let unchanged = world.get("office").await;
    assert_eq!(unchanged["status"], before["status"]);
    let mark = world.mark().await;
    world.request("office").await;
    let note = world.wait_for_event("office", "DriftCorrected").await;
    assert!(note.contains("name"), "{note}");
    assert_eq!(
        world.calls_since(mark).await,
        counts([("GetCustomerGateway", 1), ("UpdateCustomerGateway", 1)])
    );
    assert_eq!(world.cloud_gateway(&id).await["name"], "office");
    world.finish().await;
}

#[tokio::test]
async fn foreign_tags_are_kept_and_the_owner_tag_is_restored() {
    let world = watchful().await;
    let id = world
        .create(
            "office",
            "{name: office, idValue: 203.0.113.7, tags: {team: net, site: paris}}",
        )
        .await;
    let owner = world.owner_value("office").await;
    world
        .edit(&id, json!({"set_tags": {"theirs": "1"}, "remove_tags": [OWNER]}))
        .await;
    let cloud = world
        .wait_for_cloud(&id, "the owner tag is restored", |cloud| {
            cloud["tags"][OWNER] == owner.as_str()
        })
        .await;
    assert_eq!(cloud["tags"]["theirs"], "1");
    // A tag that is removed from the spec is removed; tags of other clients stay.
    world.patch("office", json!({"spec": {"tags": {"site": null}}})).await;
    world.wait_for_reason("office", "Available").await;
    let cloud = world.cloud_gateway(&id).await;
    assert_eq!(cloud["tags"], json!({OWNER: owner, "team": "net", "theirs": "1"}));
    world.patch("office", json!({"spec": {"tags": null}})).await;
    world.wait_for_reason("office", "Available").await;
    let cloud = world.cloud_gateway(&id).await;
    assert_eq!(cloud["tags"], json!({OWNER: owner, "theirs": "1"}));
    world.finish().await;
}

#[tokio::test]
async fn the_owner_tag_uses_the_key_of_the_flag() {
    let world = World::with(Options::with(["--resync-period=0", "--owner-tag-key=belongs.to"])).await;
    let id = world.create("office", "{idValue: 203.0.113.7}").await;
    let owner = world.owner_value("office").await;
    assert_eq!(world.cloud_gateway(&id).await["tags"], json!({"belongs.to": owner}));
    world
        .apply_gateway("greedy", "{idValue: 203.0.113.8, tags: {belongs.to: me}}")
        .await;
    let object = world.wait_for_reason("greedy", "InvalidSpec").await;
    assert!(message(&object).contains("belongs.to"), "{}", message(&object));
    world.wipe_status("office").await;
    let object = world.wait_for_reason("office", "Available").await;
    assert_eq!(object["status"]["id"], id.as_str());
    world.finish().await;
}
