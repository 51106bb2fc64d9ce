//! Annotations that nobody could understand are never silently nothing.

use serde_json::{Value, json};

use crate::operator::failures::warnings;
use crate::operator::world::{World, condition};

#[tokio::test]
async fn an_unknown_or_invalid_annotation_is_reported_once() {
    let world = World::start().await;
    world
        .apply_gateway("office", "{name: office, idValue: 203.0.113.1}")
        .await;
    let ready = world.wait_for_reason("office", "Available").await;
    let annotate = |annotations: Value| json!({"metadata": {"annotations": annotations}});
    let contains = |object: &Value, words: &str| {
        let invalid = condition(object, "InvalidAnnotation");
        let message = invalid["message"].as_str().unwrap_or_default();
        invalid["status"] == "True" && message.contains(words)
    };
    let wrong = annotate(json!({
        "vpn.huaweicloud.com/pause": "true", "vpn.huaweicloud.com/recreate-approved-at": "yes",
    }));
    world.patch("office", wrong).await;
    let object = world
        .wait_for("office", "both are reported", |object| {
            contains(object, "pause\" is unknown") && contains(object, "nothing is approved")
        })
        .await;
    assert_eq!(condition(&object, "Ready"), condition(&ready, "Ready"));
    let note = world.wait_for_event("office", "InvalidAnnotation").await;
    assert!(note.contains("nothing is approved"), "{note}");

    // One that is dated in the future would approve what nobody has seen yet.
    let later = annotate(json!({"vpn.huaweicloud.com/recreate-approved-at": "2999-01-01T00:00:00Z"}));
    world.patch("office", later).await;
    world
        .wait_for("office", "that is reported as well", |object| {
            contains(object, "in the future")
        })
        .await;

    // What cannot be read may have been meant to stop everything.
    let unclear = annotate(json!({
        "vpn.huaweicloud.com/pause": null, "vpn.huaweicloud.com/recreate-approved-at": null,
        "vpn.huaweicloud.com/paused": "maybe",
    }));
    world.patch("office", unclear).await;
    let is_paused = |object: &Value| condition(object, "Paused")["status"] == "True";
    world
        .wait_for("office", "is paused, and why", |object| {
            is_paused(object) && contains(object, "reconciliation is paused")
        })
        .await;
    world.patch("office", json!({"spec": {"name": "moved"}})).await;
    world
        .patch("office", annotate(json!({"vpn.huaweicloud.com/paused": "True"})))
        .await;
    let object = world
        .wait_for("office", "is paused, and nothing is wrong", |object| {
            is_paused(object) && condition(object, "InvalidAnnotation").is_null()
        })
        .await;
    assert_eq!(condition(&object, "Ready"), condition(&ready, "Ready"));
    assert_eq!(world.cloud_gateways().await[0]["name"], "office");
    world
        .patch("office", annotate(json!({"vpn.huaweicloud.com/paused": "no"})))
        .await;
    let object = world.wait_for_reason("office", "Available").await;
    assert_eq!(condition(&object, "Paused"), Value::Null);
    assert_eq!(world.cloud_gateways().await[0]["name"], "moved");
    let warnings = warnings(&world, "office").await;
    assert_eq!(warnings.len(), 3, "each once: {warnings:?}");
    world.finish().await;
}
