//! The admin API on users and groups.

use reqwest::Method;
use serde_json::{Value, json};
use vpn_simulator::admin::StateDump;
use vpn_simulator::p2c_admin::{VpnGroupList, VpnServerList, VpnUserList};

use crate::{
    client::{Cloud, UNKNOWN_ID},
    p2c::{OTHER_SERVER, PASSWORD, SERVER, cloud_with_two_servers, names, user_named},
};

#[tokio::test]
async fn the_admin_api_creates_users() {
    let cloud = Cloud::start().await;
    let seed = json!({"name": "from the console", "password": "x", "description": "d", "static_ip": "10.0.0.2",
        "created_at": "2024-01-01T00:00:00.5Z"});
    let made = cloud.admin(Method::POST, "vpn-users", seed).await.expect(201)["users"][0].clone();
    let id = made["id"].as_str().unwrap();
    assert_eq!(made["server_id"], SERVER);
    let shown = cloud.shown_user(id).await;
    assert_eq!(
        shown,
        json!({"id": id, "name": "from the console", "description": "d", "static_ip": "10.0.0.2",
            "created_at": "2024-01-01T00:00:00.500Z", "updated_at": "2024-01-01T00:00:00.500Z"})
    );
    assert_eq!(cloud.password(id, "x").await, (true, true));
    let pair = json!([{"id": UNKNOWN_ID, "name": "one"}, {"id": UNKNOWN_ID, "name": "two"}]);
    cloud.admin(Method::POST, "vpn-users", pair).await.expect(400);
    cloud.shown_user(UNKNOWN_ID).await;
    assert_eq!(cloud.password(UNKNOWN_ID, "").await, (false, false), "it has none");
}

#[tokio::test]
async fn the_admin_api_edits_users() {
    let cloud = Cloud::start().await;
    let (id, group) = (cloud.created_user("alice").await, cloud.created_group("ops").await);
    let before = cloud.shown_user(&id).await;
    cloud
        .edit("vpn-users", &id, json!({"created_at": "2025-01-01T00:00:00Z"}))
        .await;
    assert_eq!(cloud.shown_user(&id).await["updated_at"], before["updated_at"]);
    let edit = json!({"name": "renamed", "description": "d", "user_group_id": group, "static_ip": "192.168.10.9",
        "password": "Fresh pass 1"});
    let dump = cloud.edit("vpn-users", &id, edit).await;
    assert_eq!(
        (&dump["user_group_name"], &dump["password_resets"]),
        (&json!("ops"), &json!(0))
    );
    let shown = cloud.shown_user(&id).await;
    assert_eq!(
        (
            &shown["name"],
            &shown["description"],
            &shown["user_group_id"],
            &shown["static_ip"]
        ),
        (&json!("renamed"), &json!("d"), &json!(group), &json!("192.168.10.9"))
    );
    assert_eq!(shown["created_at"], "2025-01-01T00:00:00.000Z");
    assert_ne!(shown["updated_at"], before["updated_at"]);
    assert_eq!(cloud.password(&id, "Fresh pass 1").await, (true, true));
    assert_eq!(cloud.password(&id, PASSWORD).await, (false, true));
    let edit = json!({"user_group_id": "", "static_ip": "disable"});
    cloud.edit("vpn-users", &id, edit).await;
    let shown = cloud.shown_user(&id).await;
    assert_eq!(
        (shown.get("user_group_id"), &shown["static_ip"]),
        (None, &json!("disable"))
    );
    let path = format!("vpn-users/{id}");
    cloud.admin(Method::DELETE, &path, Value::Null).await.expect(204);
    cloud.user(&id).await.assert_error(404, "VPN.0004");
}

#[tokio::test]
async fn the_admin_api_creates_edits_and_deletes_groups() {
    let cloud = cloud_with_two_servers().await;
    let seed = json!([{"name": "by hand", "description": "d"}, {"server_id": OTHER_SERVER, "name": "far"}]);
    let made = cloud.admin(Method::POST, "vpn-groups", seed).await.expect(201);
    assert_eq!(names(&made["groups"]), ["by hand", "far"]);
    let id = made["groups"][0]["id"].as_str().unwrap();
    let user = cloud.created_user("alice").await;
    cloud.members("add-users", id, &[&user]).await.expect(201);
    let edit = json!({"name": "renamed", "created_at": "2025-06-01T00:00:00Z"});
    let dump = cloud.edit("vpn-groups", id, edit).await;
    assert_eq!(dump["members"], json!([user]));
    let shown = cloud.group(id).await.expect(200)["user_group"].clone();
    assert_eq!(
        (&shown["name"], &shown["created_at"]),
        (&json!("renamed"), &json!("2025-06-01T00:00:00.000Z"))
    );
    let path = format!("vpn-groups/{id}");
    cloud.admin(Method::DELETE, &path, Value::Null).await.expect(204);
    cloud.group(id).await.assert_error(404, "VPN.0004");
    assert_eq!(cloud.shown_user(&user).await.get("user_group_id"), None);
}

#[tokio::test]
async fn unknown_or_invalid_admin_requests_are_refused() {
    let cloud = Cloud::start().await;
    let id = cloud.created_user("alice").await;
    let (user, check) = (format!("vpn-users/{id}"), format!("vpn-users/{id}/check-password"));
    let default = cloud.default_group().await;
    for (method, path, body, status) in [
        (Method::GET, "vpn-users/x", Value::Null, 404),
        (Method::PATCH, "vpn-users/x", json!({}), 404),
        (Method::DELETE, "vpn-users/x", Value::Null, 404),
        (
            Method::POST,
            "vpn-users/x/check-password",
            json!({"password": "p"}),
            404,
        ),
        (Method::POST, check.as_str(), json!({}), 400),
        (Method::PATCH, user.as_str(), json!({"color": "red"}), 400),
        (Method::PATCH, user.as_str(), json!({"created_at": "now"}), 400),
        (Method::PATCH, user.as_str(), json!({"user_group_id": "x"}), 404),
        (Method::POST, "vpn-users", json!({}), 400),
        (Method::POST, "vpn-users", json!({"name": "n", "server_id": "x"}), 404),
        (
            Method::POST,
            "vpn-users",
            json!({"name": "n", "user_group_id": "x"}),
            404,
        ),
        (
            Method::POST,
            "vpn-users",
            json!({"name": "n", "created_at": "now"}),
            400,
        ),
        (Method::GET, "vpn-groups/x", Value::Null, 404),
        (Method::PATCH, "vpn-groups/x", json!({}), 404),
        (Method::DELETE, "vpn-groups/x", Value::Null, 404),
        (Method::POST, "vpn-groups", json!({"name": "n", "id": default}), 400),
        (Method::POST, "vpn-groups", json!({"name": "n", "server_id": "x"}), 404),
        (Method::GET, "settle", Value::Null, 404),
    ] {
        let reply = cloud.admin(method.clone(), path, body).await;
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text);
        assert!(!reply.json()["error"].as_str().unwrap().is_empty());
    }
    cloud
        .admin(Method::DELETE, &format!("vpn-servers/{SERVER}"), Value::Null)
        .await
        .expect(204);
    cloud
        .admin(Method::POST, "vpn-users", json!({"name": "n"}))
        .await
        .expect(400);
}

#[tokio::test]
async fn the_state_contains_every_field_of_its_types() {
    let cloud = Cloud::start().await;
    let start = cloud.admin_get("state").await;
    cloud.switch("user-settling", "held").await;
    cloud.switch("unsettled-users", "invisible").await;
    let user = cloud.created_user("alice").await;
    cloud.created_group("ops").await;
    let state: StateDump = serde_json::from_value(cloud.admin_get("state").await).unwrap();
    let found = state.vpn_users.iter().find(|found| found.id == user).unwrap();
    assert_eq!((found.visible, found.settled, found.deleting), (false, false, false));
    assert_eq!((state.vpn_groups.len(), state.vpn_servers[0].users), (2, 1));
    let users: VpnUserList = serde_json::from_value(cloud.admin_get("vpn-users").await).unwrap();
    let groups: VpnGroupList = serde_json::from_value(cloud.admin_get("vpn-groups").await).unwrap();
    let servers: VpnServerList = serde_json::from_value(cloud.admin_get("vpn-servers").await).unwrap();
    assert_eq!(users.users, state.vpn_users);
    assert_eq!(groups.groups, state.vpn_groups);
    assert_eq!(servers.servers, state.vpn_servers);
    cloud.reset().await;
    let mut again = cloud.admin_get("state").await;
    again["now"] = start["now"].clone();
    assert_eq!(again, start);
}

#[tokio::test]
async fn error_codes_can_be_changed() {
    let cloud = Cloud::start().await;
    cloud.created_user("alice").await;
    let body = json!({"VPN.1301": "VPN.1388"});
    let codes = cloud.admin(Method::PUT, "p2c-codes", body).await.expect(200)["codes"].clone();
    let reported = |code: &str| {
        let codes = codes.as_array().unwrap();
        codes.iter().find(|known| known["code"] == code).unwrap()["shown"].clone()
    };
    assert_eq!(
        (reported("VPN.1301"), reported("VPN.1302")),
        (json!("VPN.1388"), json!("VPN.1302"))
    );
    cloud
        .create_user(user_named("alice"))
        .await
        .assert_error(400, "VPN.1388");
    let error = cloud
        .admin(Method::PUT, "p2c-codes", json!({"VPN.1": "x"}))
        .await
        .expect(400)["error"]
        .to_string();
    assert!(error.contains("VPN.1319"), "{error}");
    cloud.admin(Method::PUT, "p2c-codes", json!({})).await.expect(200);
    cloud
        .create_user(user_named("alice"))
        .await
        .assert_error(400, "VPN.1301");
    for code in cloud.admin_get("p2c-codes").await["codes"].as_array().unwrap() {
        let row = format!(
            "| `{}` | {}",
            code["code"].as_str().unwrap(),
            code["meaning"].as_str().unwrap()
        );
        assert!(
            include_str!("../../docs/contributing/simulator.md").contains(&row),
            "docs lack {row}"
        );
    }
}
