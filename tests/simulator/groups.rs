//! Groups of users and their members.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    client::{Cloud, UNKNOWN_ID},
    p2c::{OTHER_SERVER, PASSWORD, cloud_with_two_servers, names, on_server},
};

#[tokio::test]
async fn a_group_is_created_read_updated_and_deleted() {
    let cloud = Cloud::start().await;
    let created = cloud
        .create_group(json!({"name": "ops", "description": "it's on-call"}))
        .await;
    let body = created.expect(201);
    let id = body["user_group"]["id"].as_str().unwrap();
    assert_eq!(id.len(), 36);
    assert_eq!(
        body,
        json!({"user_group": {"id": id}, "request_id": created.header("x-request-id")})
    );
    let group = cloud.group(id).await.expect(200)["user_group"].clone();
    assert_eq!(
        group,
        json!({"id": id, "name": "ops", "description": "it's on-call", "type": "Custom", "user_number": 0,
            "created_at": group["created_at"], "updated_at": group["created_at"]})
    );
    let path = on_server(&format!("groups/{id}"));
    let renamed = json!({"user_group": {"name": "ops team!"}});
    let updated = cloud.call(Method::PUT, &path, Some(renamed)).await.expect(200)["user_group"].clone();
    assert_eq!(
        (&updated["name"], &updated["description"]),
        (&json!("ops team!"), &json!("it's on-call"))
    );
    assert_eq!(cloud.group(id).await.expect(200)["user_group"], updated);

    let listed = cloud.get(&on_server("groups")).await.expect(200);
    assert_eq!(names(&listed["user_groups"]), ["ops team!", "default"], "newest first");
    assert_eq!(listed["total_count"], 2);
    assert_eq!(listed["page_info"], json!({"next_marker": null, "current_count": 2}));

    assert_eq!(cloud.delete_group(id).await.expect(204), Value::Null);
    cloud.group(id).await.assert_error(404, "VPN.0004");
    cloud.delete_group(id).await.assert_error(404, "VPN.0004");
}

#[tokio::test]
async fn every_server_has_an_immutable_default_group() {
    let cloud = cloud_with_two_servers().await;
    let id = cloud.default_group().await;
    let group = cloud.group(&id).await.expect(200)["user_group"].clone();
    assert_eq!((&group["name"], &group["type"]), (&json!("default"), &json!("Default")));
    let path = on_server(&format!("groups/{id}"));
    let renamed = json!({"user_group": {"name": "mine"}});
    let update = cloud.call(Method::PUT, &path, Some(renamed)).await;
    update.assert_error(400, "VPN.1314");
    cloud.delete_group(&id).await.assert_error(400, "VPN.1314");

    let elsewhere = format!("p2c-vpn-gateways/vpn-servers/{OTHER_SERVER}/groups");
    let groups = cloud.get(&elsewhere).await.expect(200)["user_groups"].clone();
    assert_eq!(names(&groups), ["default"]);
    assert_ne!(groups[0]["id"], json!(id));
    cloud.reset().await;
    assert_eq!(cloud.default_group().await, id, "the same after a reset");
}

#[tokio::test]
async fn group_names_are_unique_and_validated() {
    let cloud = Cloud::start().await;
    let group = cloud.created_group("ops").await;
    for (fields, code) in [
        (json!({"name": "ops"}), "VPN.1304"),
        (json!({"name": "default"}), "VPN.1304"),
        (json!({}), "VPN.0001"),
        (json!({"name": ""}), "VPN.0001"),
        (json!({"name": "a.b"}), "VPN.0001"),
        (json!({"name": "x".repeat(65)}), "VPN.0001"),
        (json!({"name": "other", "description": "x".repeat(65)}), "VPN.0001"),
    ] {
        cloud.create_group(fields).await.assert_error(400, code);
    }
    let path = on_server(&format!("groups/{group}"));
    for (fields, code) in [
        (json!({"name": "default"}), "VPN.1304"),
        (json!({"name": ""}), "VPN.0001"),
    ] {
        let body = json!({"user_group": fields});
        let update = cloud.call(Method::PUT, &path, Some(body)).await;
        update.assert_error(400, code);
    }
    cloud.create_group(json!({"name": "x".repeat(64)})).await.expect(201);
}

#[tokio::test]
async fn users_join_and_leave_groups() {
    let cloud = Cloud::start().await;
    let (alice, bobby) = (cloud.created_user("alice").await, cloud.created_user("bobby").await);
    let group = cloud.created_group("ops").await;
    let added = cloud.members("add-users", &group, &[&alice, &bobby]).await;
    assert_eq!(added.expect(201), json!({"request_id": added.header("x-request-id")}));
    assert_eq!(cloud.group(&group).await.expect(200)["user_group"]["user_number"], 2);
    let path = on_server(&format!("groups/{group}/users"));
    let members = cloud.get(&path).await.expect(200);
    assert_eq!(
        members["users"][1],
        json!({"id": alice, "name": "alice", "description": ""})
    );
    assert_eq!(members["page_info"], json!({"next_marker": null, "current_count": 2}));
    let first = cloud.get(&format!("{path}?limit=1")).await.expect(200);
    assert_eq!(
        (names(&first["users"]), &first["total_count"]),
        (vec!["bobby".to_owned()], &json!(2))
    );
    let marker = vpn_cloud::credentials::signing::escape(first["page_info"]["next_marker"].as_str().unwrap());
    let second = cloud.get(&format!("{path}?limit=1&marker={marker}")).await.expect(200);
    assert_eq!(names(&second["users"]), ["alice"]);

    let user = cloud.shown_user(&alice).await;
    assert_eq!(
        (&user["user_group_id"], &user["user_group_name"]),
        (&json!(group), &json!("ops"))
    );
    let removed = cloud.members("remove-users", &group, &[&alice]).await;
    assert_eq!(
        removed.expect(201),
        json!({"request_id": removed.header("x-request-id")})
    );
    assert_eq!(cloud.shown_user(&alice).await.get("user_group_id"), None);
    assert_eq!(cloud.member_names(&group).await, ["bobby"]);
    // By the other door.
    cloud
        .update_user(&alice, json!({"user_group_id": group}))
        .await
        .expect(200);
    cloud.delete_user(&bobby).await.expect(204);
    assert_eq!(cloud.member_names(&group).await, ["alice"]);
}

#[tokio::test]
async fn group_membership_changes_are_atomic() {
    let cloud = Cloud::start().await;
    let (alice, group) = (cloud.created_user("alice").await, cloud.created_group("ops").await);
    for what in ["add-users", "remove-users"] {
        cloud.members(what, &group, &[]).await.assert_error(400, "VPN.1318");
        let unknown = cloud.members(what, &group, &[&alice, UNKNOWN_ID]).await;
        unknown.assert_error(400, "VPN.1302");
        let elsewhere = cloud.members(what, UNKNOWN_ID, &[&alice]).await;
        elsewhere.assert_error(404, "VPN.0004");
        let path = on_server(&format!("groups/{group}/{what}"));
        let nameless = cloud.post(&path, json!({"users": [{}]})).await;
        nameless.assert_error(400, "VPN.0001");
    }
    assert!(cloud.member_names(&group).await.is_empty());
}

#[tokio::test]
async fn a_group_with_an_access_policy_cannot_be_deleted() {
    let cloud = Cloud::start().await;
    let group = cloud.created_group("ops").await;
    cloud.edit("vpn-groups", &group, json!({"access_policy": true})).await;
    let reply = cloud.delete_group(&group).await;
    reply.assert_error(400, "VPN.1313");
    assert!(reply.error().2.contains("access policy"));
    cloud.edit("vpn-groups", &group, json!({"access_policy": false})).await;
    cloud.delete_group(&group).await.expect(204);
}

#[tokio::test]
async fn a_group_of_another_server_is_unknown() {
    let cloud = cloud_with_two_servers().await;
    let group = cloud.created_group("ops").await;
    let elsewhere = format!("p2c-vpn-gateways/vpn-servers/{OTHER_SERVER}");
    let fields = json!({"user": {"name": "alice", "password": PASSWORD, "user_group_id": group}});
    cloud
        .post(&format!("{elsewhere}/users"), fields)
        .await
        .assert_error(400, "VPN.1303");
    cloud
        .get(&format!("{elsewhere}/groups/{group}"))
        .await
        .assert_error(404, "VPN.0004");
}

/// As the Terraform provider does it: the users have settled, the group has just been created.
#[tokio::test]
async fn members_can_be_added_right_after_the_creation_of_a_group() {
    let cloud = Cloud::start().await;
    cloud.switch("unsettled-users", "invisible").await;
    let user = cloud.created_user("alice").await;
    for settling in ["slow", "held"] {
        cloud.switch("user-settling", settling).await;
        let group = cloud.created_group(settling).await;
        cloud.group(&group).await.assert_error(404, "VPN.0004");
        cloud.members("add-users", &group, &[&user]).await.expect(201);
        cloud.members("remove-users", &group, &[&user]).await.expect(201);
        cloud.members("add-users", &group, &[&user]).await.expect(201);
        let dump = cloud.admin_get(&format!("vpn-users/{user}")).await;
        assert_eq!(dump["user_group_id"], json!(group), "{dump}");
    }
    let unknown = cloud.members("add-users", UNKNOWN_ID, &[&user]).await;
    unknown.assert_error(404, "VPN.0004");
}
