//! Faults of users and groups, and creations whose outcome is decided later.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    client::{Cloud, Reply, UNKNOWN_ID},
    p2c::{names, on_server, user_named},
};

async fn create(cloud: &Cloud) -> reqwest::Result<Reply> {
    let body = json!({"user": user_named("alice")});
    cloud.try_call(Method::POST, &on_server("users"), Some(body)).await
}

#[tokio::test]
async fn the_vanish_fault_removes_a_user_when_it_settles() {
    let cloud = Cloud::start().await;
    cloud.switch("user-settling", "held").await;
    let fault = json!({"fault": "vanish-when-settled", "operation": "CreateVpnUser"});
    cloud.fault(fault).await;
    let doomed = create(&cloud).await.unwrap().expect(201);
    let doomed = doomed["user"]["id"].as_str().unwrap();
    // Until then it is a user like any other.
    cloud.shown_user(doomed).await;
    cloud.reset_password(doomed, "Fresh pass 1").await.expect(200);
    create(&cloud).await.unwrap().assert_error(400, "VPN.1301");
    assert_eq!(cloud.settle().await, json!({"settled": 1}));
    cloud.user(doomed).await.assert_error(404, "VPN.0004");
    create(&cloud).await.unwrap().expect(201);
    cloud.settle().await;
    assert_eq!(names(&cloud.list_users("").await["users"]), ["alice"]);
}

#[tokio::test]
async fn the_vanish_fault_removes_a_user_before_it_is_visible() {
    let cloud = Cloud::start().await;
    cloud.switch("user-settling", "slow").await;
    cloud.switch("unsettled-users", "invisible").await;
    cloud.fault(json!({"fault": "vanish-when-settled"})).await;
    create(&cloud).await.unwrap().expect(201);
    assert_eq!(cloud.list_users("").await["total_count"], 0);
    cloud
        .admin(Method::PUT, "clock", json!({"skew_ms": 3_001}))
        .await
        .expect(200);
    assert_eq!(cloud.list_users("").await["total_count"], 0);
    assert_eq!(cloud.true_users().await, 0);
}

#[tokio::test]
async fn the_vanish_fault_applies_to_users_batches_and_groups() {
    let cloud = Cloud::start().await;
    cloud.switch("user-settling", "held").await;
    for (path, body) in [
        ("users", json!({"user": user_named("alice")})),
        (
            "users/batch-create",
            json!({"users": [user_named("alice"), user_named("bobby")]}),
        ),
        ("groups", json!({"user_group": {"name": "ops"}})),
    ] {
        for fault in ["vanish-after-create", "vanish-when-settled"] {
            cloud.fault(json!({"fault": fault})).await;
            cloud.post(&on_server(path), body.clone()).await.expect(201);
            cloud.settle().await;
            assert_eq!(cloud.true_users().await, 0, "{path} {fault}");
            let groups = cloud.get(&on_server("groups")).await.expect(200);
            assert_eq!(names(&groups["user_groups"]), ["default"], "{path} {fault}");
        }
    }
}

#[tokio::test]
async fn a_replayed_token_does_not_recreate_a_removed_user() {
    let cloud = Cloud::start().await;
    let body = json!({"user": user_named("alice")}).to_string();
    cloud.fault(json!({"fault": "vanish-after-create"})).await;
    let made = cloud.post_with_token(UNKNOWN_ID, "users", &body).await.expect(201);
    let again = cloud.post_with_token(UNKNOWN_ID, "users", &body).await.expect(201);
    assert_eq!(again["user"], made["user"]);
    assert_eq!(cloud.true_users().await, 0);
    let other = "00000000-0000-4000-8000-000000000001";
    let second = cloud.post_with_token(other, "users", &body).await.expect(201);
    assert_ne!(second["user"], made["user"]);
    // A repeated response is no creation, so the fault does not apply to it.
    cloud.fault(json!({"fault": "vanish-after-create"})).await;
    cloud.post_with_token(other, "users", &body).await.expect(201);
    assert_eq!(cloud.true_users().await, 1);
}

#[tokio::test]
async fn a_replayed_token_returns_the_lost_response() {
    let cloud = Cloud::start().await;
    let body = json!({"user": user_named("alice")}).to_string();
    cloud.fault(json!({"fault": "html-502", "commit": true})).await;
    let lost = cloud.post_with_token(UNKNOWN_ID, "users", &body).await;
    assert_eq!(lost.status, 502);
    let reported = cloud.post_with_token(UNKNOWN_ID, "users", &body).await.expect(201);
    cloud.shown_user(reported["user"]["id"].as_str().unwrap()).await;
    assert_eq!(cloud.true_users().await, 1);
    let log = cloud.admin_get("log?operation=CreateVpnUser").await["requests"].clone();
    let seen = |n: usize| (&log[n]["committed"], &log[n]["client_token"]);
    let token = json!(UNKNOWN_ID);
    assert_eq!((seen(0), seen(1)), ((&json!(true), &token), (&json!(false), &token)));
}

#[tokio::test]
async fn a_client_token_is_valid_for_one_operation_on_one_server() {
    let cloud = crate::p2c::cloud_with_two_servers().await;
    let user = json!({"user": user_named("alice")}).to_string();
    cloud.post_with_token(UNKNOWN_ID, "users", &user).await.expect(201);
    let group = json!({"user_group": {"name": "ops"}}).to_string();
    for _ in 0..2 {
        cloud.post_with_token(UNKNOWN_ID, "groups", &group).await.expect(201);
    }
    let malformed = cloud.post_with_token("short", "users", &user).await;
    malformed.assert_error(400, "VPN.0001");
    // The token of a refused request is not stored.
    let token = "00000000-0000-4000-8000-000000000001";
    cloud.fault(json!({"fault": "queue-full"})).await;
    let bobby = json!({"user": user_named("bobby")}).to_string();
    cloud
        .post_with_token(token, "users", &bobby)
        .await
        .assert_error(400, "VPN.0030");
    cloud.post_with_token(token, "users", &bobby).await.expect(201);
}

#[tokio::test]
async fn the_queue_full_fault_ends_after_its_count() {
    let cloud = Cloud::start().await;
    let burst = json!({"fault": "queue-full", "path_contains": "/users", "times": 3});
    cloud.fault(burst).await;
    for _ in 0..3 {
        create(&cloud).await.unwrap().assert_error(400, "VPN.0030");
    }
    cloud.created_group("ops").await;
    create(&cloud).await.unwrap().expect(201);
}

#[tokio::test]
async fn faults_match_user_requests_by_operation_and_action() {
    let cloud = Cloud::start().await;
    let id = cloud.created_user("alice").await;
    for operation in ["ResetVpnUserPassword", "vpn:p2cVpnUser:resetPassword"] {
        let fault =
            json!({"fault": "error", "status": 500, "code": "VPN.0002", "message": "oh", "operation": operation});
        cloud.fault(fault).await;
        cloud.shown_user(&id).await;
        cloud.update_user(&id, json!({})).await.expect(200);
        cloud
            .reset_password(&id, "Fresh pass 1")
            .await
            .assert_error(500, "VPN.0002");
    }
    assert_eq!(cloud.admin_get(&format!("vpn-users/{id}")).await["password_resets"], 0);
}

#[tokio::test]
async fn a_deletion_with_a_lost_response_takes_effect() {
    let cloud = Cloud::start().await;
    let id = cloud.created_user("alice").await;
    let path = on_server(&format!("users/{id}"));
    cloud.fault(json!({"fault": "connection-reset", "commit": true})).await;
    cloud.try_call(Method::DELETE, &path, None).await.unwrap_err();
    cloud.user(&id).await.assert_error(404, "VPN.0004");
}

#[tokio::test]
async fn a_late_commit_creates_the_user_on_release() {
    let cloud = Cloud::start().await;
    cloud
        .fault(json!({"fault": "late-commit", "operation": "CreateVpnUser"}))
        .await;
    create(&cloud).await.unwrap_err();
    cloud.admin_get("held?count=1").await;
    assert_eq!(cloud.list_users("").await["total_count"], 0);
    cloud.release(json!({})).await;
    cloud
        .admin_get("log?operation=CreateVpnUser&finished=true&count=1")
        .await;
    assert_eq!(cloud.list_users("").await["total_count"], 1);
}

#[tokio::test]
async fn delayed_requests_count_as_concurrent_writes() {
    let cloud = Cloud::start().await;
    let latency = json!({"fault": "latency", "ms": 60_000, "times": 0, "operation": "CreateVpnUser"});
    cloud.fault(latency).await;
    tokio::select! {
        replies = async { tokio::join!(create(&cloud), create(&cloud), create(&cloud)) } => panic!("{replies:?}"),
        log = cloud.admin_get("log?operation=CreateVpnUser&count=3") => assert_eq!(log["enough"], true),
    }
    let servers = cloud.admin_get("vpn-servers").await["servers"].clone();
    assert_eq!(servers[0]["most_writes_at_once"], 3);
}

#[tokio::test]
async fn slow_operations_complete_without_user_action() {
    let cloud = Cloud::start().await;
    cloud.switch("user-deletion", "slow").await;
    let pace = json!({"slow_ms": 1});
    assert_eq!(cloud.admin(Method::PUT, "pace", pace.clone()).await.expect(200), pace);
    let id = cloud.created_user("alice").await;
    cloud.delete_user(&id).await.expect(204);
    let deleted = async {
        while cloud.user(&id).await.status == 200 {
            tokio::task::yield_now().await;
        }
    };
    let deadline = Duration::from_secs(30);
    tokio::time::timeout(deadline, deleted).await.expect("it is never gone");
    assert_eq!(cloud.admin_get("vpn-users").await["users"], Value::Array(Vec::new()));
    // The clock does not change the pace.
    cloud
        .admin(Method::PUT, "clock", json!({"skew_ms": 1}))
        .await
        .expect(200);
    assert_eq!(cloud.admin_get("pace").await, pace);
    cloud.reset().await;
    assert_eq!(cloud.admin_get("pace").await, json!({"slow_ms": 3_000}));
}
