//! VPN users: create, get, list, update, delete.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    client::{Cloud, Signer, UNKNOWN_ID, in_project},
    p2c::{OTHER_SERVER, PASSWORD, SERVER, cloud_with_two_servers, names, on_server, user_named},
};

#[tokio::test]
async fn a_user_is_created_read_updated_and_deleted() {
    let cloud = Cloud::start().await;
    let group = cloud.created_group("ops").await;
    let fields = json!({"name": "alice.dev", "password": PASSWORD, "description": "the ops' on-call",
        "user_group_id": group, "static_ip": "192.168.10.5"});
    let created = cloud.create_user(fields).await;
    let body = created.expect(201);
    let id = body["user"]["id"].as_str().unwrap();
    let request_id = created.header("x-request-id").unwrap();
    assert_eq!(
        body,
        json!({"user": {"id": id}, "request_id": request_id}),
        "only the id"
    );
    assert_eq!((id.len(), request_id.len()), (36, 32));
    assert!(!request_id.contains('-'));

    let got = cloud.user(id).await.expect(200);
    let user = got["user"].clone();
    assert_eq!(
        user,
        json!({"id": id, "name": "alice.dev", "description": "the ops' on-call", "user_group_id": group,
            "user_group_name": "ops", "static_ip": "192.168.10.5", "created_at": user["created_at"],
            "updated_at": user["created_at"]})
    );
    let listed = cloud.list_users("").await;
    assert_eq!(
        (&listed["users"][0], &listed["total_count"]),
        (&user, &json!(1)),
        "{listed}"
    );
    assert_eq!(listed["page_info"], json!({"next_marker": null, "current_count": 1}));

    let updated = cloud
        .update_user(id, json!({"description": "", "static_ip": "disable"}))
        .await
        .expect(200)["user"]
        .clone();
    assert_eq!(
        (&updated["description"], &updated["static_ip"]),
        (&json!(""), &json!("disable"))
    );
    assert_eq!(updated["user_group_id"], user["user_group_id"]);
    assert_eq!(updated["created_at"], user["created_at"]);
    assert!(updated["updated_at"].as_str() > user["updated_at"].as_str());
    assert_eq!(cloud.shown_user(id).await, updated);

    assert_eq!(cloud.delete_user(id).await.expect(204), Value::Null);
    cloud.user(id).await.assert_error(404, "VPN.0004");
    cloud.delete_user(id).await.assert_error(404, "VPN.0004");
    assert_eq!(cloud.list_users("").await["users"], json!([]));
}

#[tokio::test]
async fn an_incomplete_or_invalid_creation_is_refused() {
    let cloud = Cloud::start().await;
    let with = |field: &str, value: Value| {
        let mut fields = user_named("alice");
        fields[field] = value;
        fields
    };
    for (fields, code) in [
        (json!({"name": "alice"}), "VPN.0001"),
        (json!({"password": PASSWORD}), "VPN.0001"),
        (with("name", json!(7)), "VPN.0001"),
        (with("name", json!("abc")), "VPN.1306"),
        (with("name", json!("LocalBridge")), "VPN.1306"),
        (with("name", json!("l3sw_alice")), "VPN.1306"),
        (with("password", json!("short1")), "VPN.1307"),
        (with("password", json!("onlyletters")), "VPN.1307"),
        (with("description", json!("x".repeat(65))), "VPN.0001"),
        (with("user_group_id", json!(UNKNOWN_ID)), "VPN.1303"),
        (with("static_ip", json!("192.168.10.6")), "VPN.1309"),
        (with("static_ip", json!("192.168.10.1")), "VPN.1309"),
        (with("static_ip", json!("10.0.0.1")), "VPN.1309"),
    ] {
        let reply = cloud.create_user(fields).await;
        reply.assert_error(400, code);
        assert!(!reply.text.contains("short1"), "{}", reply.text);
    }
    for body in ["", "[]", "{", "{}"] {
        let path = in_project(&on_server("users"));
        let request = cloud.signed(&Signer::default(), Method::POST, &path, Some(body));
        cloud.send(request).await.unwrap().assert_error(400, "VPN.0001");
    }
    assert_eq!(cloud.true_users().await, 0);
    cloud
        .create_user(with("description", json!("x".repeat(64))))
        .await
        .expect(201);
}

#[tokio::test]
async fn names_and_static_ips_are_unique_on_one_server() {
    let cloud = cloud_with_two_servers().await;
    let mut alice = user_named("alice");
    alice["static_ip"] = json!("192.168.10.5");
    cloud.create_user(alice.clone()).await.expect(201);
    let reply = cloud.create_user(user_named("Alice")).await;
    reply.assert_error(400, "VPN.1301");
    assert_eq!(reply.error().2, "Duplicate user name.");
    let mut bob = user_named("bobby");
    bob["static_ip"] = json!("192.168.10.5");
    cloud.create_user(bob).await.assert_error(400, "VPN.1310");
    let id = cloud.created_user("bobby").await;
    let own = json!({"static_ip": "192.168.10.9"});
    cloud.update_user(&id, own.clone()).await.expect(200);
    cloud.update_user(&id, own).await.expect(200);
    let taken = json!({"static_ip": "192.168.10.5"});
    cloud.update_user(&id, taken).await.assert_error(400, "VPN.1310");

    let elsewhere = format!("p2c-vpn-gateways/vpn-servers/{OTHER_SERVER}/users");
    let answer = cloud.post(&elsewhere, json!({"user": alice})).await.expect(201);
    let duplicate = answer["user"]["id"].as_str().unwrap();
    cloud.user(duplicate).await.assert_error(404, "VPN.0004");
    cloud.get(&format!("{elsewhere}/{duplicate}")).await.expect(200);
}

#[tokio::test]
async fn an_update_cannot_change_name_and_password() {
    let cloud = Cloud::start().await;
    let id = cloud.created_user("alice").await;
    for fields in [json!({"name": "bobby"}), json!({"password": "An0ther one"})] {
        cloud.update_user(&id, fields).await.assert_error(400, "VPN.0013");
    }
    assert_eq!(cloud.shown_user(&id).await["name"], "alice");
    assert_eq!(cloud.password(&id, PASSWORD).await, (true, true));
}

#[tokio::test]
async fn users_are_listed_in_pages() {
    let cloud = Cloud::start().await;
    let seeds: Value = (0..250).map(|n| json!({"name": format!("user{n:03}")})).collect();
    cloud.admin(Method::POST, "vpn-users", seeds).await.expect(201);
    let first = cloud.list_users("").await;
    assert_eq!(
        (names(&first["users"]).len(), &first["total_count"]),
        (200, &json!(250))
    );
    assert_eq!(names(&first["users"])[0], "user249", "newest first");
    let marker = vpn_cloud::credentials::signing::escape(first["page_info"]["next_marker"].as_str().unwrap());
    // Terraform sends the marker alone.
    for query in [format!("marker={marker}"), format!("limit=200&marker={marker}")] {
        let second = cloud.list_users(&query).await;
        assert_eq!(names(&second["users"]).len(), 50);
        assert_eq!(second["page_info"]["next_marker"], Value::Null);
        assert!(!names(&second["users"]).contains(&"user050".to_owned()));
    }
}

#[tokio::test]
async fn equal_creation_times_at_a_page_border_lose_a_user() {
    let cloud = Cloud::start().await;
    cloud.switch("creation-times", "tied").await;
    for name in ["alice", "bobby", "carol"] {
        cloud.created_user(name).await;
    }
    let first = cloud.list_users("limit=2").await;
    assert_eq!((names(&first["users"]).len(), &first["total_count"]), (2, &json!(3)));
    let marker = vpn_cloud::credentials::signing::escape(first["page_info"]["next_marker"].as_str().unwrap());
    let second = cloud.list_users(&format!("limit=2&marker={marker}")).await;
    assert_eq!(second["users"], json!([]), "the third one is on no page");
}

#[tokio::test]
async fn the_user_quota_of_a_server_is_enforced() {
    let cloud = Cloud::start().await;
    cloud.edit("vpn-servers", SERVER, json!({"user_quota": 1})).await;
    cloud.created_user("alice").await;
    let reply = cloud.create_user(user_named("bobby")).await;
    reply.assert_error(400, "VPN.1305");
    assert!(reply.error().2.contains("quota"));
}

#[tokio::test]
async fn unknown_or_invalid_ids_are_refused() {
    let cloud = Cloud::start().await;
    for (id, status, code) in [(UNKNOWN_ID, 404, "VPN.0004"), ("short", 400, "VPN.0001")] {
        cloud.user(id).await.assert_error(status, code);
        cloud.update_user(id, json!({})).await.assert_error(status, code);
        cloud.delete_user(id).await.assert_error(status, code);
        cloud
            .reset_password(id, "Fresh pass 1")
            .await
            .assert_error(status, code);
        cloud.group(id).await.assert_error(status, code);
        cloud.delete_group(id).await.assert_error(status, code);
        let users = format!("p2c-vpn-gateways/vpn-servers/{id}/users");
        cloud.get(&users).await.assert_error(status, code);
        cloud
            .post(&users, json!({"user": user_named("alice")}))
            .await
            .assert_error(status, code);
    }
}

#[tokio::test]
async fn every_list_refuses_invalid_parameters() {
    let cloud = Cloud::start().await;
    let group = cloud.created_group("ops").await;
    let members = on_server(&format!("groups/{group}/users"));
    for path in [
        on_server("users"),
        on_server("groups"),
        members,
        "vpn-servers".to_owned(),
    ] {
        for query in ["limit=201", "limit=-1", "limit=x", "limit=2&marker=yesterday"] {
            cloud
                .get(&format!("{path}?{query}"))
                .await
                .assert_error(400, "VPN.0001");
        }
        cloud.get(&format!("{path}?limit=200&marker=")).await.expect(200);
    }
}
