//! VPN servers: the lists, and what happens to users with a server.

use std::net::Ipv4Addr;

use reqwest::Method;
use serde_json::{Value, json};
use vpn_simulator::p2c_admin::VpnServerSpec;
use vpn_simulator::{RunningSimulator, Settings, tryout};

use crate::{
    client::{Cloud, UNKNOWN_ID},
    p2c::{OTHER_SERVER, SERVER, cloud_with_two_servers, on_server, user_named},
};

async fn ids(cloud: &Cloud, path: &str) -> Vec<String> {
    let listed = cloud.get(path).await.expect(200);
    let servers = listed["vpn_servers"].as_array().unwrap().iter();
    servers
        .map(|server| server["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn the_default_project_has_one_active_server() {
    let cloud = Cloud::start().await;
    let listed = cloud.get("vpn-servers").await.expect(200);
    assert_eq!(listed["total_count"], 1);
    assert_eq!(listed["page_info"], json!({"next_marker": null, "current_count": 1}));
    let server = &listed["vpn_servers"][0];
    for (field, value) in [
        ("id", SERVER),
        ("p2c_vgw_id", tryout::P2C_GATEWAY_ID),
        ("client_cidr", "192.168.10.0/24"),
        ("client_auth_type", "LOCAL_PASSWORD"),
        ("tunnel_protocol", "SSL"),
        ("status", "ACTIVE"),
    ] {
        assert_eq!(server[field], value, "{field}");
    }
    let by_gateway = format!("p2c-vpn-gateways/{}/vpn-servers", tryout::P2C_GATEWAY_ID);
    let of_gateway = cloud.get(&by_gateway).await.expect(200);
    assert_eq!(&of_gateway["vpn_servers"][0], server);
    assert_eq!(of_gateway.get("page_info"), None);
    assert!(
        ids(&cloud, &format!("p2c-vpn-gateways/{UNKNOWN_ID}/vpn-servers"))
            .await
            .is_empty()
    );
    // There is no GET of one server.
    let path = format!("vpn-servers/{SERVER}");
    cloud.get(&path).await.assert_error(404, "APIGW.0101");
}

#[tokio::test]
async fn the_admin_api_creates_edits_and_deletes_servers() {
    let cloud = Cloud::start().await;
    let spec = json!({"id": OTHER_SERVER, "client_cidr": "10.8.0.0/16", "status": "PENDING_CREATE"});
    let made = cloud.admin(Method::POST, "vpn-servers", spec.clone()).await.expect(201);
    assert_eq!(made["servers"][0]["client_auth_type"], "LOCAL_PASSWORD");
    assert_eq!(ids(&cloud, "vpn-servers").await, [OTHER_SERVER, SERVER]);
    assert_eq!(ids(&cloud, "vpn-servers?limit=1").await, [OTHER_SERVER]);
    let edit = json!({"status": "FROZEN", "client_auth_type": "FEDERATED", "client_cidr": "10.9.0.0/16"});
    cloud.edit("vpn-servers", OTHER_SERVER, edit).await;
    let shown = cloud.get("vpn-servers").await.expect(200)["vpn_servers"][0].clone();
    assert_eq!(
        (&shown["status"], &shown["client_auth_type"], &shown["client_cidr"]),
        (&json!("FROZEN"), &json!("FEDERATED"), &json!("10.9.0.0/16"))
    );
    for (method, path, body, status) in [
        (Method::POST, "vpn-servers", spec, 400),
        (Method::POST, "vpn-servers", json!({"project_id": "nobodys"}), 404),
        (Method::POST, "vpn-servers", json!({"client_cidr": "10.8.0.0"}), 400),
        (Method::PATCH, "vpn-servers/x", json!({}), 404),
        (Method::DELETE, "vpn-servers/x", Value::Null, 404),
        (Method::GET, "vpn-servers/x", Value::Null, 404),
    ] {
        cloud.admin(method, path, body).await.expect(status);
    }
    for wrong in [
        json!({"status": "FINE"}),
        json!({"client_auth_type": "NONE"}),
        json!({"client_cidr": "x"}),
        json!({"color": "red"}),
    ] {
        let path = format!("vpn-servers/{SERVER}");
        cloud.admin(Method::PATCH, &path, wrong).await.expect(400);
    }
    let path = format!("vpn-servers/{OTHER_SERVER}");
    cloud.admin(Method::DELETE, &path, Value::Null).await.expect(204);
    assert_eq!(ids(&cloud, "vpn-servers").await, [SERVER]);
}

#[tokio::test]
async fn deleting_a_server_deletes_its_users_and_groups() {
    let cloud = cloud_with_two_servers().await;
    let (user, group) = (cloud.created_user("alice").await, cloud.created_group("ops").await);
    let path = format!("vpn-servers/{SERVER}");
    cloud.admin(Method::DELETE, &path, Value::Null).await.expect(204);
    cloud.user(&user).await.assert_error(404, "VPN.0004");
    cloud.group(&group).await.assert_error(404, "VPN.0004");
    cloud.get(&on_server("users")).await.assert_error(404, "VPN.0004");
    cloud
        .create_user(user_named("alice"))
        .await
        .assert_error(404, "VPN.0004");
    assert_eq!(cloud.true_users().await, 0);
    let groups = cloud.admin_get("vpn-groups").await["groups"].clone();
    assert_eq!(groups.as_array().unwrap().len(), 1, "that of the other server");
}

#[tokio::test]
async fn a_server_belongs_to_one_project() {
    let cloud = Cloud::start().await;
    let project = "f".repeat(32);
    cloud
        .admin(
            Method::PUT,
            &format!("projects/{project}"),
            json!({"name": "eu-west-101_b"}),
        )
        .await
        .expect(200);
    let spec = json!({"id": OTHER_SERVER, "project_id": project});
    cloud.admin(Method::POST, "vpn-servers", spec).await.expect(201);
    assert_eq!(ids(&cloud, "vpn-servers").await, [SERVER]);
    let path = format!("p2c-vpn-gateways/vpn-servers/{OTHER_SERVER}/users");
    cloud.get(&path).await.assert_error(404, "VPN.0004");
}

#[tokio::test]
async fn a_static_ip_is_checked_against_the_addresses_of_the_server() {
    let cloud = Cloud::start().await;
    let id = cloud.created_user("alice").await;
    let fixed = json!({"static_ip": "10.9.0.5"});
    cloud
        .update_user(&id, fixed.clone())
        .await
        .assert_error(400, "VPN.1309");
    cloud
        .edit("vpn-servers", SERVER, json!({"client_cidr": "10.9.0.0/16"}))
        .await;
    cloud.update_user(&id, fixed).await.expect(200);
}

#[tokio::test]
async fn concurrent_writes_are_counted_per_server() {
    let cloud = cloud_with_two_servers().await;
    let server = || async { cloud.admin_get(&format!("vpn-servers/{SERVER}")).await };
    cloud.created_user("alice").await;
    cloud.created_user("bobby").await;
    cloud.list_users("").await;
    assert_eq!(server().await["most_writes_at_once"], 1);
    cloud.fault(json!({"fault": "hold", "commit": true})).await;
    let other = format!("p2c-vpn-gateways/vpn-servers/{OTHER_SERVER}/users");
    let (held, ()) = tokio::join!(cloud.create_user(user_named("carol")), async {
        cloud.admin_get("held?count=1").await;
        assert_eq!(server().await["writes_at_once"], 1, "it is done, but not answered");
        cloud
            .post(&other, json!({"user": user_named("carol")}))
            .await
            .expect(201);
        assert_eq!(server().await["most_writes_at_once"], 1, "the other one was elsewhere");
        cloud.created_group("ops").await;
        cloud.release(json!({})).await;
    });
    held.expect(201);
    let seen = server().await;
    assert_eq!(
        (&seen["writes"], &seen["writes_at_once"], &seen["most_writes_at_once"]),
        (&json!(4), &json!(0), &json!(2))
    );
    cloud.reset().await;
    assert_eq!(server().await["most_writes_at_once"], 0);
}

#[tokio::test]
async fn invalid_servers_prevent_the_start_of_the_simulator() {
    let spec = |id: &str, client_cidr: &str| VpnServerSpec {
        id: Some(id.to_owned()),
        client_cidr: client_cidr.to_owned(),
        ..VpnServerSpec::default()
    };
    for (servers, words) in [
        (vec![spec(SERVER, "10.0.0.0/8"), spec(SERVER, "10.0.0.0/8")], SERVER),
        (vec![spec(SERVER, "10.0.0.0")], "192.168.10.0/24"),
    ] {
        let settings = Settings {
            vpn_servers: servers,
            ..Settings::default()
        };
        let error = RunningSimulator::start(settings, (Ipv4Addr::LOCALHOST, 0).into())
            .await
            .unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}
