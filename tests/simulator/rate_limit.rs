//! The limit of requests per access key. Its rates are so low that no bucket refills during a test.

use reqwest::Method;
use serde_json::{Value, json};
use vpn_simulator::admin::{Counts, RateLimitSpec};
use vpn_simulator::{Settings, tryout};

use crate::client::{Cloud, Signer, in_project};

async fn set_limit(cloud: &Cloud, limit: Value) {
    cloud.admin(Method::PUT, "rate-limit", limit).await.expect(200);
}

async fn counts(cloud: &Cloud) -> Counts {
    serde_json::from_value(cloud.admin_get("counts").await).unwrap()
}

/// The statuses of so many lists.
async fn statuses(cloud: &Cloud, requests: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..requests {
        statuses.push(cloud.get("customer-gateways").await.status.as_u16());
    }
    statuses
}

#[tokio::test]
async fn requests_beyond_the_limit_are_refused_and_logged() {
    let cloud = Cloud::start().await;
    set_limit(&cloud, json!({"per_second": 0.001, "burst": 2})).await;
    assert_eq!(statuses(&cloud, 2).await, [200, 200]);
    let created = cloud.create(json!({"name": "office", "id_value": "203.0.113.7"})).await;
    created.assert_error(429, "APIGW.0308");
    assert_eq!(created.header("retry-after"), None);
    assert_eq!(cloud.true_count().await, 0);
    cloud.switch("retry-after", "present").await;
    cloud.switch("gateway-code-prefix", "APIG").await;
    let refused = cloud.get("customer-gateways").await;
    refused.assert_error(429, "APIG.0308");
    assert_eq!(refused.header("retry-after"), Some("1"));
    let counts = counts(&cloud).await;
    assert_eq!(counts.total, 4);
    assert_eq!(counts.by_error_code["APIGW.0308"], 1);
    assert_eq!(counts.by_error_code["APIG.0308"], 1);
    let log = cloud.admin_get("log").await;
    assert_eq!(log["requests"][2]["status"], 429);
    assert_eq!(log["requests"][2]["committed"], false);
    assert_eq!(log["requests"][2]["faults"], json!([]));
    set_limit(&cloud, json!({})).await;
    assert_eq!(statuses(&cloud, 3).await, [200, 200, 200]);
}

#[tokio::test]
async fn the_limit_refills_by_the_clock_of_the_cloud() {
    let cloud = Cloud::start().await;
    set_limit(&cloud, json!({"per_second": 0.01, "burst": 3})).await;
    assert_eq!(statuses(&cloud, 4).await, [200, 200, 200, 429]);
    // Two tokens in 200 seconds.
    let ahead = json!({"skew_ms": 201_000});
    cloud.admin(Method::PUT, "clock", ahead).await.expect(200);
    assert_eq!(statuses(&cloud, 3).await, [200, 200, 429]);
}

#[tokio::test]
async fn access_keys_do_not_share_a_limit_and_iam_has_none() {
    let cloud = Cloud::start().await;
    let path = "credentials/OTHER";
    cloud
        .admin(Method::PUT, path, json!({"secret_key": "other"}))
        .await
        .expect(204);
    set_limit(&cloud, json!({"per_second": 0.001})).await;
    assert_eq!(statuses(&cloud, 2).await, [200, 429]);
    let other = Signer {
        access_key: "OTHER".to_owned(),
        secret_key: "other".to_owned(),
        ..Signer::default()
    };
    let list = cloud.signed(&other, Method::GET, &in_project("customer-gateways"), None);
    cloud.send(list).await.unwrap().expect(200);
    let project = format!("/v3/projects?name={}", tryout::REGION);
    for _ in 0..3 {
        let look_up = cloud.signed(&Signer::default(), Method::GET, &project, None);
        cloud.send(look_up).await.unwrap().expect(200);
    }
}

#[tokio::test]
async fn a_request_with_a_fault_uses_nothing_of_the_limit() {
    let cloud = Cloud::start().await;
    set_limit(&cloud, json!({"per_second": 0.001})).await;
    cloud
        .fault(json!({"fault": "error", "status": 503, "code": "VPN.0002", "message": "busy"}))
        .await;
    cloud.fault(json!({"fault": "latency", "ms": 0, "times": 0})).await;
    assert_eq!(statuses(&cloud, 3).await, [503, 200, 429]);
}

#[tokio::test]
async fn a_refused_write_does_not_occupy_the_queue_of_its_server() {
    let cloud = Cloud::start().await;
    set_limit(&cloud, json!({"per_second": 0.001})).await;
    assert_eq!(statuses(&cloud, 1).await, [200]);
    let user = json!({"user": {"name": "alice", "password": "Some-Pass-1"}});
    let path = crate::p2c::on_server("users");
    cloud.post(&path, user).await.assert_error(429, "APIGW.0308");
    let servers = cloud.admin_get("vpn-servers").await;
    assert_eq!(servers["servers"][0]["writes_at_once"], 0, "{servers}");
    assert_eq!(servers["servers"][0]["writes"], 0, "{servers}");
}

#[tokio::test]
async fn a_reset_restores_the_limit_of_the_start() {
    let rate_limit = RateLimitSpec {
        per_second: Some(0.001),
        burst: Some(1),
    };
    let cloud = Cloud::start_with(Settings {
        rate_limit,
        ..Settings::default()
    })
    .await;
    assert_eq!(cloud.admin_get("state").await["rate_limit"], json!(rate_limit));
    assert_eq!(statuses(&cloud, 2).await, [200, 429]);
    set_limit(&cloud, json!({})).await;
    assert_eq!(statuses(&cloud, 2).await, [200, 200]);
    cloud.reset().await;
    assert_eq!(cloud.admin_get("rate-limit").await, json!(rate_limit));
    assert_eq!(statuses(&cloud, 2).await, [200, 429]);
}

#[tokio::test]
async fn an_invalid_limit_is_refused_and_changes_nothing() {
    let cloud = Cloud::start().await;
    for limit in [
        json!({"per_second": 0}),
        json!({"per_second": -1}),
        json!({"burst": 1}),
        json!({"per_second": 1, "burst": 0}),
        json!({"rate": 1}),
    ] {
        cloud.admin(Method::PUT, "rate-limit", limit).await.expect(400);
    }
    assert_eq!(cloud.admin_get("rate-limit").await, json!({}));
}
