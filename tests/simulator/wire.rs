//! Users and groups in the manner of each client that is known.

use reqwest::Method;
use serde_json::{Value, json};
use vpn_cloud::credentials::signing::escape;

use crate::{
    authentication::{go_sdk, terraform},
    client::{Cloud, Reply, Signer, in_project},
    p2c::{PASSWORD, SERVER, names, on_server},
};

/// The clients, with a body and without one.
fn clients(has_body: bool) -> [Signer; 3] {
    let mut go = go_sdk();
    go.headers.retain(|(name, _)| *name != "content-type");
    [Signer::default(), go, terraform(has_body)]
}

async fn send(cloud: &Cloud, signer: &Signer, method: Method, path: &str, body: Option<&str>) -> Reply {
    let request = cloud.signed(signer, method, &in_project(path), body);
    cloud.send(request).await.unwrap()
}

#[tokio::test]
async fn bodies_may_end_in_a_newline_and_passwords_contain_any_character() {
    let cloud = Cloud::start().await;
    for (n, signer) in clients(true).iter().enumerate() {
        // Go's encoder leaves `<`, `>` and `&` alone, and so must we.
        let password = format!(r#"a<b>&"\ /{n}~'"#);
        let fields = json!({"user": {"name": format!("user{n}"), "password": password, "description": ""}});
        let body = format!("{fields}\n");
        let made = send(&cloud, signer, Method::POST, &on_server("users"), Some(&body)).await;
        let id = made.expect(201)["user"]["id"].as_str().unwrap().to_owned();
        assert_eq!(cloud.password(&id, &password).await, (true, true));
        let path = on_server(&format!("users/{id}/reset-password"));
        let body = format!("{}\n", json!({"new_password": format!("{password}2")}));
        send(&cloud, signer, Method::POST, &path, Some(&body)).await.expect(200);
        let path = on_server(&format!("users/{id}"));
        let body = format!("{}\n", json!({"user": {"description": ""}}));
        send(&cloud, signer, Method::PUT, &path, Some(&body)).await.expect(200);
        send(&cloud, signer, Method::DELETE, &path, None).await.expect(204);
    }
}

#[tokio::test]
async fn the_client_token_header_may_be_unsigned() {
    let cloud = Cloud::start().await;
    for (n, client) in clients(true).into_iter().enumerate() {
        let token = format!("00000000-0000-4000-8000-00000000000{n}");
        let (mut signed, mut unsigned) = (client.clone(), client);
        signed.headers.push(("x-client-token", token.clone()));
        unsigned.unsigned.push(("x-client-token", token));
        let body = json!({"user": {"name": format!("user{n}"), "password": PASSWORD}}).to_string();
        let first = send(&cloud, &signed, Method::POST, &on_server("users"), Some(&body)).await;
        let second = send(&cloud, &unsigned, Method::POST, &on_server("users"), Some(&body)).await;
        assert_eq!(first.expect(201)["user"], second.expect(201)["user"]);
    }
    assert_eq!(cloud.true_users().await, 3);
}

/// Terraform has the marker alone from the second page on, and ends at an empty page or no marker.
#[tokio::test]
async fn lists_can_be_read_with_a_marker_and_no_limit() {
    let cloud = Cloud::start().await;
    let group = cloud.created_group("ops").await;
    let seeds: Value = (0..450)
        .map(|n| json!({"name": format!("user{n:03}"), "user_group_id": group}))
        .collect();
    cloud.admin(Method::POST, "vpn-users", seeds).await.expect(201);
    for path in ["users".to_owned(), format!("groups/{group}/users")] {
        let (mut seen, mut query) = (Vec::new(), String::new());
        loop {
            let path = on_server(&format!("{path}{query}"));
            let page = send(&cloud, &terraform(false), Method::GET, &path, None)
                .await
                .expect(200);
            seen.extend(names(&page["users"]));
            match page["page_info"]["next_marker"].as_str() {
                Some(marker) => query = format!("?marker={}", escape(marker)),
                None => break,
            }
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 450, "{path}");
    }
}

#[tokio::test]
async fn an_empty_marker_without_equals_sign_is_accepted() {
    let cloud = Cloud::start().await;
    let id = cloud.created_user("alice").await;
    for signer in clients(false) {
        for path in [
            on_server("users?limit=2&marker"),
            on_server("groups?limit=2&marker"),
            "vpn-servers?limit=2&marker".to_owned(),
        ] {
            send(&cloud, &signer, Method::GET, &path, None).await.expect(200);
        }
        let path = format!("p2c-vpn-gateways/vpn-servers/{SERVER}/users/{id}");
        send(&cloud, &signer, Method::GET, &path, None).await.expect(200);
    }
}

/// Go's transport may send a POST again whose connection broke.
#[tokio::test]
async fn a_repeated_post_without_a_token_is_a_duplicate() {
    let cloud = Cloud::start().await;
    cloud.fault(json!({"fault": "lost-answer", "commit": true})).await;
    let body = json!({"user": {"name": "alice", "password": PASSWORD}}).to_string();
    let request = || {
        cloud.signed(
            &terraform(true),
            Method::POST,
            &in_project(&on_server("users")),
            Some(&body),
        )
    };
    cloud.send(request()).await.unwrap_err();
    cloud.send(request()).await.unwrap().assert_error(400, "VPN.1301");
    assert_eq!(cloud.true_users().await, 1);
}
