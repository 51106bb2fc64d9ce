//! The admin API, and its documentation.

use reqwest::Method;
use serde_json::{Value, json};
use vpn_simulator::admin::{Counts, FaultName, LogPage, StateDump};
use vpn_simulator::{SimulatedOperation, Switches, tryout};

use crate::client::{Cloud, Signer, UNKNOWN_ID, in_project};

const DOCUMENTATION: &str = include_str!("../../docs/contributing/simulator.md");

#[tokio::test]
async fn the_log_lists_requests_without_secrets() {
    let cloud = Cloud::start().await;
    let id = cloud.created("a").await;
    cloud.gateway(UNKNOWN_ID).await.assert_error(404, "VPN.0004");
    cloud.get("nowhere").await.assert_error(404, "APIGW.0101");
    cloud.delete(&id).await.expect(204);
    let answer = cloud.admin(Method::GET, "log", Value::Null).await;
    for secret in [tryout::SECRET_KEY, "Signature", "SDK-HMAC"] {
        assert!(!answer.text.contains(secret), "{secret}");
    }
    let page: LogPage = serde_json::from_str(&answer.text).unwrap();
    let reported: Vec<_> = page
        .requests
        .iter()
        .map(|entry| {
            (
                entry.operation.as_deref(),
                entry.status,
                entry.error_code.as_deref(),
                entry.committed,
            )
        })
        .collect();
    assert_eq!(
        reported,
        [
            (Some("CreateCustomerGateway"), Some(201), None, true),
            (Some("GetCustomerGateway"), Some(404), Some("VPN.0004"), false),
            (None, Some(404), Some("APIGW.0101"), false),
            (Some("DeleteCustomerGateway"), Some(204), None, true),
        ]
    );
    assert_eq!(page.requests[0].access_key.as_deref(), Some(tryout::ACCESS_KEY));
    assert_eq!(page.last_sequence, 4);
    assert!(
        page.requests
            .iter()
            .all(|entry| entry.finished && entry.request_id.len() == 36)
    );
    let since = cloud.admin_get("log?since=3").await;
    assert_eq!(since["requests"].as_array().unwrap().len(), 1);
    let gets = cloud
        .admin_get(&format!("log?method=GET&access_key={}", tryout::ACCESS_KEY))
        .await;
    assert_eq!(gets["requests"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn requests_are_counted_by_operation() {
    let cloud = Cloud::start().await;
    cloud.created("a").await;
    let mark = cloud.admin_get("counts").await["last_sequence"].clone();
    cloud.created("b").await;
    cloud.get("customer-gateways").await.expect(200);
    cloud
        .get("customer-gateways?limit=x")
        .await
        .assert_error(400, "VPN.0001");
    let counts: Counts = serde_json::from_value(cloud.admin_get(&format!("counts?since={mark}")).await).unwrap();
    assert_eq!(counts.total, 3);
    assert_eq!(counts.by_operation["CreateCustomerGateway"], 1);
    assert_eq!(counts.by_operation["ListCustomerGateways"], 2);
    assert_eq!(counts.by_method["GET"], 2);
    assert_eq!(counts.by_error_code["VPN.0001"], 1);
}

#[tokio::test]
async fn a_log_request_waits_for_the_requested_number_of_entries() {
    let cloud = Cloud::start().await;
    let (page, _) = tokio::join!(
        cloud.admin_get("log?operation=ListQuotas&count=2&timeout_ms=20000"),
        async {
            cloud.get("vpn/quotas").await;
            cloud.get("vpn/quotas").await
        }
    );
    assert_eq!(
        (page["enough"].as_bool(), page["requests"].as_array().unwrap().len()),
        (Some(true), 2)
    );
    let page = cloud.admin_get("log?operation=ListQuotas&count=3&timeout_ms=1").await;
    assert_eq!(
        (page["enough"].as_bool(), page["requests"].as_array().unwrap().len()),
        (Some(false), 2)
    );
    assert_eq!(
        cloud.admin_get("held?count=1&timeout_ms=1").await,
        json!({"enough": false, "held": []})
    );
}

#[tokio::test]
async fn the_admin_api_creates_edits_and_deletes_gateways() {
    let cloud = Cloud::start().await;
    let seed = json!({"name": "from the console", "id_value": "10.0.0.1", "bgp_asn": 65000, "tags": {"a": "1", "b": "2"},
        "created_at": "2024-01-01T00:00:00.5Z"});
    let made = cloud.admin(Method::POST, "gateways", seed).await.expect(201)["gateways"][0].clone();
    let id = made["id"].as_str().unwrap();
    let seen = cloud.gateway(id).await.expect(200)["customer_gateway"].clone();
    assert_eq!(
        (&seen["name"], &seen["created_at"]),
        (&json!("from the console"), &json!("2024-01-01T00:00:00.500Z"))
    );

    cloud
        .patch(id, json!({"set_tags": {"c": "3"}, "remove_tags": ["a"]}))
        .await;
    let seen = cloud.gateway(id).await.json()["customer_gateway"].clone();
    assert_eq!(
        seen["tags"],
        json!([{"key": "b", "value": "2"}, {"key": "c", "value": "3"}])
    );
    assert_eq!(seen["updated_at"], seen["created_at"]);
    cloud
        .patch(
            id,
            json!({"tags": {}, "name": "renamed", "bgp_asn": 0, "id_value": "10.0.0.2"}),
        )
        .await;
    let seen = cloud.gateway(id).await.json()["customer_gateway"].clone();
    assert_eq!(
        (&seen["name"], &seen["id_value"]),
        (&json!("renamed"), &json!("10.0.0.2"))
    );
    assert_eq!((seen.get("bgp_asn"), &seen["tags"]), (None, &json!([])));
    assert_ne!(seen["updated_at"], seen["created_at"]);

    cloud
        .admin(Method::DELETE, &format!("gateways/{id}"), Value::Null)
        .await
        .expect(204);
    cloud.gateway(id).await.assert_error(404, "VPN.0004");
    for (method, body) in [
        (Method::GET, Value::Null),
        (Method::PATCH, json!({})),
        (Method::DELETE, Value::Null),
    ] {
        cloud.admin(method, &format!("gateways/{id}"), body).await.expect(404);
    }
    let twice = json!([{"id": UNKNOWN_ID, "id_value": "10.0.0.1"}, {"id": UNKNOWN_ID, "id_value": "10.0.0.1"}]);
    cloud.admin(Method::POST, "gateways", twice).await.expect(400);
    assert_eq!(
        cloud.admin_get("counts").await["by_operation"],
        json!({"GetCustomerGateway": 4})
    );
}

#[tokio::test]
async fn the_state_omits_secrets_and_a_reset_restores_the_initial_state() {
    let cloud = Cloud::start().await;
    let start = cloud.admin_get("state").await;
    cloud.created("a").await;
    cloud.switch("list-order", "oldest-first").await;
    cloud
        .fault(json!({"fault": "hold", "times": 0, "path_contains": "no-such"}))
        .await;
    cloud
        .admin(Method::PUT, "projects/p2", json!({"name": "other"}))
        .await
        .expect(200);
    let credential = json!({"secret_key": "sentinel-1", "security_token": "sentinel-2"});
    cloud
        .admin(Method::PUT, "credentials/NEW", credential)
        .await
        .expect(204);
    let user = json!({"domain": "d", "password": "sentinel-3"});
    cloud.admin(Method::PUT, "users/eve", user).await.expect(204);
    cloud
        .admin(Method::PUT, "clock", json!({"skew_ms": -5000}))
        .await
        .expect(200);

    let answer = cloud.admin(Method::GET, "state", Value::Null).await;
    for secret in ["sentinel", tryout::SECRET_KEY, tryout::PASSWORD] {
        assert!(!answer.text.contains(secret), "{secret}");
    }
    let state: StateDump = serde_json::from_str(&answer.text).unwrap();
    assert_eq!((state.gateways.len(), state.faults.len(), state.skew_ms), (1, 1, -5000));
    assert_eq!(state.switches["list-order"], "oldest-first");
    assert!(state.projects.contains_key("p2") && state.users.contains(&"eve".to_owned()));
    assert!(
        state
            .credentials
            .iter()
            .any(|credential| credential.access_key == "NEW" && credential.temporary)
    );

    cloud.reset().await;
    let mut again = cloud.admin_get("state").await;
    again["now"] = start["now"].clone();
    assert_eq!(again, start);
}

#[tokio::test]
async fn put_resets_omitted_switches_to_their_defaults() {
    let cloud = Cloud::start().await;
    cloud.switch("list-order", "oldest-first").await;
    cloud.switch("fqdn", "refused").await;
    let answer = cloud
        .admin(Method::PUT, "switches", json!({"fqdn": "refused"}))
        .await
        .expect(200);
    let value = |name: &str| {
        let switches = answer["switches"].as_array().unwrap();
        switches.iter().find(|switch| switch["name"] == name).unwrap()["value"].clone()
    };
    assert_eq!(
        (value("list-order"), value("fqdn")),
        (json!("newest-first"), json!("refused"))
    );
}

#[tokio::test]
async fn an_unknown_switch_or_value_is_refused_and_changes_nothing() {
    let cloud = Cloud::start().await;
    for (body, words) in [
        (json!({"fqdn": "refused", "weather": "fine"}), "list-order"),
        (
            json!({"fqdn": "refused", "list-order": "random"}),
            "newest-first, oldest-first",
        ),
        (json!({"fqdn": 7}), "string"),
    ] {
        for method in [Method::PUT, Method::PATCH] {
            let error = cloud.admin(method, "switches", body.clone()).await.expect(400)["error"].to_string();
            assert!(error.contains(words), "{error}");
        }
    }
    let state = cloud.admin_get("state").await;
    assert_eq!(state["switches"]["fqdn"], "accepted");
}

#[tokio::test]
async fn the_admin_api_refuses_unknown_requests() {
    let cloud = Cloud::start().await;
    for (method, path, body, status) in [
        (Method::GET, "nonsense", Value::Null, 404),
        (Method::POST, "ready", Value::Null, 404),
        (Method::GET, "log?color=red", Value::Null, 400),
        (Method::GET, "log?operation=Nap", Value::Null, 400),
        (Method::GET, "held?count=x", Value::Null, 400),
        (Method::POST, "release", json!({"id": 7}), 404),
        (Method::POST, "release", json!({"all": true}), 400),
        (
            Method::POST,
            "gateways",
            json!({"id_value": "10.0.0.1", "color": "red"}),
            400,
        ),
        (
            Method::POST,
            "gateways",
            json!({"id_value": "10.0.0.1", "project_id": "x"}),
            404,
        ),
        (
            Method::POST,
            "gateways",
            json!({"id_value": "10.0.0.1", "created_at": "now"}),
            400,
        ),
        (
            Method::PUT,
            "credentials/X",
            json!({"secret_key": "s", "expires_at": "soon"}),
            400,
        ),
        (Method::PUT, "credentials/X/permissions", json!({}), 404),
        (Method::DELETE, "credentials/X", Value::Null, 404),
        (Method::DELETE, "users/X", Value::Null, 404),
        (Method::DELETE, "projects/X", Value::Null, 404),
        (Method::DELETE, "faults/7", Value::Null, 404),
        (Method::PUT, "clock", json!({"skew_ms": i64::MAX}), 400),
    ] {
        let reply = cloud.admin(method.clone(), path, body).await;
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text);
        assert!(!reply.json()["error"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn credentials_can_be_added_and_removed() {
    let cloud = Cloud::start().await;
    let signer = Signer {
        access_key: "NEW".to_owned(),
        secret_key: "new".to_owned(),
        ..Signer::default()
    };
    let list = || async {
        let path = in_project("customer-gateways");
        cloud
            .send(cloud.signed(&signer, Method::GET, &path, None))
            .await
            .unwrap()
            .status
            .as_u16()
    };
    assert_eq!(list().await, 401);
    cloud
        .admin(Method::PUT, "credentials/NEW", json!({"secret_key": "new"}))
        .await
        .expect(204);
    assert_eq!(list().await, 200);
    cloud
        .admin(Method::PUT, "credentials/NEW", json!({"secret_key": "newer"}))
        .await
        .expect(204);
    assert_eq!(list().await, 401);
    cloud
        .admin(Method::DELETE, "credentials/NEW", Value::Null)
        .await
        .expect(204);
    assert_eq!(list().await, 401);
}

#[test]
fn the_documentation_lists_every_switch_fault_and_operation() {
    for switch in Switches::default().list() {
        let row = DOCUMENTATION
            .lines()
            .find(|line| line.starts_with(&format!("| `{}` |", switch.name)));
        let row = row.unwrap_or_else(|| panic!("docs/contributing/simulator.md lacks the switch {}", switch.name));
        for value in switch.allowed {
            assert!(row.contains(&format!("`{value}`")), "{} lacks {value}", switch.name);
        }
        assert!(
            row.contains(&format!("| **`{}`**", switch.default)),
            "{} must name its default first",
            switch.name
        );
    }
    for fault in FaultName::ALL {
        assert!(
            DOCUMENTATION.contains(&format!("| `{}` |", fault.text())),
            "docs lack the fault {}",
            fault.text()
        );
    }
    for operation in SimulatedOperation::ALL {
        let row = DOCUMENTATION
            .lines()
            .find(|line| line.starts_with(&format!("| `{}` |", operation.name())));
        assert!(
            row.is_some_and(|row| row.contains(operation.action())),
            "docs lack {}",
            operation.name()
        );
    }
}
