//! Each missing IAM action is named, and the object recovers once it is granted.

use serde_json::json;

use super::{add_tenant, ask_again, count, deny, expect_failure, expect_recovered, owned_gateways};
use crate::operator::world::World;

/// A credential without `action`, and an object that needs it.
struct Case {
    name: &'static str,
    action: &'static str,
    /// `None`: a new object needs the action. Otherwise, this edit of a Ready object needs it.
    edit: Option<serde_json::Value>,
}

#[tokio::test]
async fn a_missing_iam_action_is_named_until_it_is_granted() {
    let mut world = World::start().await;
    let case = |name, action, edit| Case { name, action, edit };
    let renamed = || Some(json!({"spec": {"name": "renamed"}}));
    let cases = [
        case("look-up", "iam:projects:listProjects", None),
        case("list", "vpn:customerGateways:list", None),
        case("create", "vpn:customerGateways:create", None),
        case("get", "vpn:customerGateways:get", renamed()),
        case("update", "vpn:customerGateways:update", renamed()),
        case(
            "tag",
            "vpn:resourceInstanceTags:create",
            Some(json!({"spec": {"tags": {"site": "paris"}}})),
        ),
        case(
            "untag",
            "vpn:resourceInstanceTags:delete",
            Some(json!({"spec": {"tags": {"team": null}}})),
        ),
    ];
    for (number, Case { name, action, edit }) in cases.into_iter().enumerate() {
        let access_key = add_tenant(&mut world, name, json!({})).await;
        let spec = format!(
            "{{name: {name}, idValue: 203.0.113.{number}, tags: {{team: net}}, credentialsRef: {{name: {name}}}}}"
        );
        let mark = world.mark().await;
        if edit.is_none() {
            deny(&world, &access_key, &[action]).await;
        }
        world.apply_gateway(name, &spec).await;
        if let Some(edit) = &edit {
            expect_recovered(&world, name).await;
            deny(&world, &access_key, &[action]).await;
            world.patch(name, edit.clone()).await;
        }
        // IAM's own refusals have neither codes nor request ids.
        let words = [action, "grant that"];
        let object = expect_failure(&world, name, "Forbidden", &words).await;
        if action.starts_with("vpn:") {
            let message = object["status"]["conditions"].to_string();
            assert!(message.contains("(VPN.0007, request id "), "{message}");
        }
        deny(&world, &access_key, &[]).await;
        ask_again(&world, name).await;
        let recovered = expect_recovered(&world, name).await;
        let cloud = &owned_gateways(&world, &recovered).await[0];
        let expected = recovered["spec"]["name"].clone();
        assert_eq!(cloud["name"], expected, "{name}");
        let posts = count(&world, mark, &["CreateCustomerGateway"]).await;
        assert_eq!(posts, if name == "create" { 2 } else { 1 }, "{name}");
        if name == "tag" {
            assert_eq!(cloud["tags"]["site"], "paris");
        }
        if name == "untag" {
            assert!(cloud["tags"]["team"].is_null(), "{cloud}");
        }
    }
    world.finish().await;
}

#[tokio::test]
async fn a_deletion_waits_for_the_delete_permission() {
    let mut world = World::start().await;
    let access_key = add_tenant(&mut world, "keys", json!({})).await;
    world
        .apply_gateway("office", "{idValue: 203.0.113.1, credentialsRef: {name: keys}}")
        .await;
    expect_recovered(&world, "office").await;
    deny(&world, &access_key, &["vpn:customerGateways:delete"]).await;
    world
        .kubectl(["delete", "customergateway", "office", "--wait=false"])
        .await;
    let words = ["vpn:customerGateways:delete", "VPN.0007", "request id", "grant that"];
    expect_failure(&world, "office", "Forbidden", &words).await;
    assert_eq!(world.cloud_gateways().await.len(), 1);
    deny(&world, &access_key, &[]).await;
    ask_again(&world, "office").await;
    world.wait_until_deleted("office").await;
    assert_eq!(world.cloud_gateways().await.len(), 0);
    world.finish().await;
}

#[tokio::test]
async fn where_lists_omit_tags_the_permission_to_read_tags_is_required() {
    let mut world = World::start().await;
    let access_key = add_tenant(&mut world, "keys", json!({})).await;
    world
        .simulator
        .set_switches(&json!({"list-tags": "absent"}))
        .await
        .unwrap();
    // It matches the gateway that is about to be created; only its tags show that it is unmanaged.
    let unmanaged = json!({"name": "office", "id_value": "203.0.113.1", "tags": {"by": "hand"}});
    world
        .simulator
        .seed_gateways::<serde_json::Value>(&unmanaged)
        .await
        .unwrap();
    deny(&world, &access_key, &["vpn:resourceInstanceTags:list"]).await;
    let mark = world.mark().await;
    world
        .apply_gateway("office", "{idValue: 203.0.113.1, credentialsRef: {name: keys}}")
        .await;
    let words = ["vpn:resourceInstanceTags:list", "VPN.0007", "request id"];
    expect_failure(&world, "office", "Forbidden", &words).await;
    assert_eq!(count(&world, mark, &super::WRITES).await, 0);
    deny(&world, &access_key, &[]).await;
    ask_again(&world, "office").await;
    expect_recovered(&world, "office").await;
    assert_eq!(count(&world, mark, &super::WRITES).await, 1);
    assert_eq!(world.cloud_gateways().await.len(), 2);
    world.finish().await;
}
