//! Passwords of users: change and reset, the rules, and the history.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    client::Cloud,
    p2c::{PASSWORD, on_server, user_named},
};

#[tokio::test]
async fn a_reset_changes_the_password() {
    let cloud = Cloud::start().await;
    let id = cloud.created_user("alice").await;
    let before = cloud.shown_user(&id).await;
    let reply = cloud.reset_password(&id, "Fresh \"pass\\ 1").await;
    assert_eq!(reply.expect(200), json!({"request_id": reply.header("x-request-id")}));
    assert_eq!(cloud.password(&id, "Fresh \"pass\\ 1").await, (true, true));
    assert_eq!(cloud.password(&id, PASSWORD).await, (false, true));
    assert_eq!(cloud.password(&id, "another one").await, (false, false));
    assert!(cloud.shown_user(&id).await["updated_at"].as_str() > before["updated_at"].as_str());
    let shown = cloud.admin_get(&format!("vpn-users/{id}")).await;
    assert_eq!(
        (&shown["password_resets"], &shown["password_changes"]),
        (&json!(1), &json!(0))
    );
}

#[tokio::test]
async fn a_password_change_requires_the_old_password() {
    let cloud = Cloud::start().await;
    let id = cloud.created_user("alice").await;
    let reply = cloud.change_password(&id, "wrong one 1", "Fresh pass 1").await;
    reply.assert_error(400, "VPN.1312");
    assert!(reply.error().2.contains("correct password"));
    cloud.change_password(&id, PASSWORD, "Fresh pass 1").await.expect(200);
    assert_eq!(cloud.password(&id, "Fresh pass 1").await, (true, true));
    let shown = cloud.admin_get(&format!("vpn-users/{id}")).await;
    assert_eq!(
        (&shown["password_resets"], &shown["password_changes"]),
        (&json!(0), &json!(1))
    );
}

#[tokio::test]
async fn the_latest_five_passwords_are_refused() {
    let cloud = Cloud::start().await;
    let id = cloud.created_user("alice").await;
    for n in 1..=4 {
        cloud.reset_password(&id, &format!("Fresh pass {n}")).await.expect(200);
    }
    for recent in [PASSWORD, "Fresh pass 1", "Fresh pass 4"] {
        cloud.reset_password(&id, recent).await.assert_error(400, "VPN.1308");
    }
    let change = cloud.change_password(&id, "Fresh pass 4", PASSWORD).await;
    change.assert_error(400, "VPN.1308");
    cloud.reset_password(&id, "Fresh pass 5").await.expect(200);
    cloud.reset_password(&id, PASSWORD).await.expect(200);
    let resets = cloud.admin_get(&format!("vpn-users/{id}")).await["password_resets"].clone();
    assert_eq!(resets, 6, "those that were refused do not count");
}

#[tokio::test]
async fn passwords_are_validated_in_every_request() {
    let cloud = Cloud::start().await;
    let id = cloud.created_user("alice.dev1").await;
    for bad in [
        "Short 1",
        "onlyletters",
        &"Aa1".repeat(11),
        "alice.dev1",
        "1ved.ecila",
        "tab\tin it",
        "ümlaut 12",
    ] {
        cloud.reset_password(&id, bad).await.assert_error(400, "VPN.1307");
        cloud
            .change_password(&id, PASSWORD, bad)
            .await
            .assert_error(400, "VPN.1307");
        let fields = json!({"name": "alice.dev1", "password": bad});
        let reply = cloud.create_user(fields).await;
        reply.assert_error(400, "VPN.1307");
        assert!(!reply.text.contains(bad));
    }
    let reset = on_server(&format!("users/{id}/reset-password"));
    cloud.post(&reset, json!({})).await.assert_error(400, "VPN.0001");
    assert_eq!(cloud.password(&id, PASSWORD).await, (true, true));
}

#[tokio::test]
async fn a_reset_with_a_lost_response_takes_effect() {
    let cloud = Cloud::start().await;
    let id = cloud.created_user("alice").await;
    let fault = json!({"fault": "lost-answer", "operation": "ResetVpnUserPassword", "commit": true});
    cloud.fault(fault).await;
    let path = on_server(&format!("users/{id}/reset-password"));
    let body = json!({"new_password": "Fresh pass 1"});
    cloud.try_call(Method::POST, &path, Some(body)).await.unwrap_err();
    assert_eq!(cloud.password(&id, "Fresh pass 1").await, (true, true));
    cloud
        .reset_password(&id, "Fresh pass 1")
        .await
        .assert_error(400, "VPN.1308");
}

#[tokio::test]
async fn no_response_contains_a_password() {
    let cloud = Cloud::start().await;
    let secret = "Sentinel-pass 1";
    let mut fields = user_named("alice");
    fields["password"] = json!(secret);
    let id = cloud.create_user(fields.clone()).await.expect(201)["user"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    cloud.create_user(fields.clone()).await.assert_error(400, "VPN.1301");
    cloud.reset_password(&id, secret).await.assert_error(400, "VPN.1308");
    cloud
        .change_password(&id, "Sentinel-old 1", secret)
        .await
        .assert_error(400, "VPN.1312");
    let batch = json!({"users": [fields]});
    cloud.post(&on_server("users/batch-create"), batch).await.expect(201);
    let reported = [
        cloud.admin(Method::GET, "log", Value::Null).await,
        cloud.admin(Method::GET, "state", Value::Null).await,
        cloud.admin(Method::GET, "vpn-users", Value::Null).await,
        cloud.user(&id).await,
        cloud.get(&on_server("users")).await,
    ];
    for reply in reported {
        assert!(!reply.text.contains("Sentinel"), "{}", reply.text);
    }
}
