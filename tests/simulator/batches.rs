//! Batch creation and batch deletion of users.

use serde_json::{Value, json};

use crate::{
    client::{Cloud, UNKNOWN_ID},
    p2c::{PASSWORD, SERVER, names, on_server, user_named},
};

async fn create(cloud: &Cloud, users: Value) -> Value {
    let reply = cloud
        .post(&on_server("users/batch-create"), json!({"users": users}))
        .await;
    reply.expect(201)["invalid_users"].clone()
}

#[tokio::test]
async fn a_batch_creates_users_and_returns_no_ids() {
    let cloud = Cloud::start().await;
    let users = json!([
        {"name": "alice", "password": PASSWORD, "user_group_name": "default", "static_ip": "192.168.10.5"},
        {"name": "bobby", "password": PASSWORD, "description": "d"},
    ]);
    assert_eq!(create(&cloud, users).await, json!([]));
    let listed = cloud.list_users("").await["users"].clone();
    assert_eq!(names(&listed), ["bobby", "alice"]);
    assert_eq!(
        (
            &listed[1]["user_group_name"],
            &listed[1]["static_ip"],
            &listed[0]["description"]
        ),
        (&json!("default"), &json!("192.168.10.5"), &json!("d"))
    );
}

#[tokio::test]
async fn a_batch_with_an_invalid_user_creates_none_and_returns_201() {
    let cloud = Cloud::start().await;
    cloud.created_user("alice").await;
    let users = json!([
        user_named("carol"),
        user_named("ALICE"),
        {"name": "dave", "password": "short"},
        {"name": "erin", "password": PASSWORD, "user_group_name": "nobodys", "description": "d", "static_ip": "disable"},
        user_named("carol"),
        {"name": "frank", "password": PASSWORD, "static_ip": "192.168.10.1"},
        {"password": PASSWORD},
    ]);
    let invalid = create(&cloud, users).await;
    let causes: Vec<_> = invalid
        .as_array()
        .unwrap()
        .iter()
        .map(|user| (user["name"].as_str(), user["cause"].as_str().unwrap()))
        .collect();
    assert_eq!(
        causes,
        [
            (Some("ALICE"), "Duplicate user name."),
            (Some("dave"), "Password length invalid."),
            (Some("erin"), "User group does not exist."),
            (Some("carol"), "Duplicate user name."),
            (Some("frank"), "static_ip 192.168.10.1 is the address of the VPN server"),
            (None, "invalid request: name is required"),
        ]
    );
    let erin = json!({"name": "erin", "description": "d", "user_group_name": "nobodys", "static_ip": "disable",
        "cause": "User group does not exist."});
    assert_eq!(invalid[2], erin);
    assert_eq!(cloud.true_users().await, 1);
    let log = cloud.admin_get("log?operation=BatchCreateVpnUsers").await;
    assert_eq!(log["requests"][0]["committed"], false);
}

#[tokio::test]
async fn empty_batches_and_batches_above_the_quota_are_refused() {
    let cloud = Cloud::start().await;
    for what in ["batch-create", "batch-delete"] {
        let path = on_server(&format!("users/{what}"));
        for body in [json!({}), json!({"users": []})] {
            let reply = cloud.post(&path, body).await;
            reply.assert_error(400, "VPN.1318");
            assert_eq!(reply.error().2, "User list is empty.");
        }
        let hundred_and_one: Value = (0..101).map(|_| json!({"id": UNKNOWN_ID})).collect();
        let reply = cloud.post(&path, json!({"users": hundred_and_one})).await;
        reply.assert_error(400, "VPN.1319");
    }
    cloud.edit("vpn-servers", SERVER, json!({"user_quota": 1})).await;
    let users = json!({"users": [user_named("alice"), user_named("bobby")]});
    let reply = cloud.post(&on_server("users/batch-create"), users).await;
    reply.assert_error(400, "VPN.1305");
}

#[tokio::test]
async fn a_batch_deletes_users() {
    let cloud = Cloud::start().await;
    let (alice, bobby) = (cloud.created_user("alice").await, cloud.created_user("bobby").await);
    cloud.created_user("carol").await;
    let users = json!({"users": [{"id": alice}, {"id": bobby}, {"id": alice}]});
    let reply = cloud.post(&on_server("users/batch-delete"), users).await;
    assert_eq!(reply.expect(200), json!({"request_id": reply.header("x-request-id")}));
    assert_eq!(names(&cloud.list_users("").await["users"]), ["carol"]);
}

#[tokio::test]
async fn a_repeated_batch_with_the_same_token_creates_users_once() {
    let cloud = Cloud::start().await;
    let body = json!({"users": [user_named("alice")]}).to_string();
    for _ in 0..2 {
        let reply = cloud.post_with_token(UNKNOWN_ID, "users/batch-create", &body).await;
        assert_eq!(reply.expect(201)["invalid_users"], json!([]));
    }
    assert_eq!(cloud.true_users().await, 1);
}
