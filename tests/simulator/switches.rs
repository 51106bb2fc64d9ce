//! Every switch, in each of its positions.

use reqwest::Method;
use serde_json::{Value, json};
use vpn_simulator::tryout;

use crate::{
    client::{Cloud, Reply, Signer, UNKNOWN_ID, in_project, with_name},
    gateways::good_certificate,
    p2c_switches,
};

#[tokio::test]
async fn every_switch_works_with_each_value() {
    let cloud = Cloud::start().await;
    for switch in cloud.admin_get("switches").await["switches"].as_array().unwrap() {
        let name = switch["name"].as_str().unwrap();
        for value in switch["allowed"].as_array().unwrap() {
            let value = value.as_str().unwrap();
            println!("{name} = {value}");
            cloud.reset().await;
            cloud.switch(name, value).await;
            check(&cloud, name, value).await;
        }
    }
}

#[tokio::test]
async fn switches_have_their_defaults_at_the_start() {
    let cloud = Cloud::start().await;
    for switch in cloud.admin_get("switches").await["switches"].as_array().unwrap() {
        assert_eq!(switch["value"], switch["default"], "{switch}");
        assert!(!switch["meaning"].as_str().unwrap().is_empty());
    }
}

async fn limited_to(cloud: &Cloud, gateway_quota: u64) {
    let project = json!({"name": tryout::REGION, "gateway_quota": gateway_quota});
    cloud
        .admin(Method::PUT, &format!("projects/{}", tryout::PROJECT_ID), project)
        .await
        .expect(200);
}

async fn list(cloud: &Cloud, query: &str) -> Reply {
    cloud.get(&format!("customer-gateways?{query}")).await
}

async fn first_in_list(cloud: &Cloud) -> Value {
    list(cloud, "").await.expect(200)["customer_gateways"][0].clone()
}

fn names(list: &Value) -> Vec<&str> {
    list["customer_gateways"]
        .as_array()
        .unwrap()
        .iter()
        .map(|gateway| gateway["name"].as_str().unwrap())
        .collect()
}

/// The second of two creations, which differ in nothing or in the identifier.
async fn second(cloud: &Cloud, id_value: &str, name: &str) -> Reply {
    cloud.created("office").await;
    cloud.create(json!({"name": name, "id_value": id_value})).await
}

async fn pem_gateway(cloud: &Cloud) -> (String, Value) {
    let answer = cloud
        .create(json!({"id_value": "10.0.0.1", "ca_certificate": {"content": good_certificate()}}))
        .await;
    let gateway = answer.expect(201)["customer_gateway"].clone();
    (gateway["id"].as_str().unwrap().to_owned(), gateway)
}

fn digits(time: &Value) -> usize {
    time.as_str()
        .unwrap()
        .trim_end_matches('Z')
        .split('.')
        .nth(1)
        .unwrap()
        .len()
}

async fn check(cloud: &Cloud, name: &str, value: &str) {
    match (name, value) {
        ("has-connection-status", status) => {
            let id = cloud.created("a").await;
            cloud.patch(&id, json!({"connection": "vpn-1"})).await;
            cloud
                .delete(&id)
                .await
                .assert_error(status.parse().unwrap(), "VPN.0001");
        }
        ("duplicate-name", "allowed") => {
            second(cloud, "10.0.0.1", "office").await.expect(201);
        }
        ("duplicate-name", code) => {
            second(cloud, "10.0.0.1", "office").await.assert_error(400, code);
            let other = cloud.created("other").await;
            cloud
                .update(&other, json!({"name": "office"}))
                .await
                .assert_error(400, code);
            cloud.update(&other, json!({"name": "other"})).await.expect(200);
        }
        ("duplicate-id-value", "allowed") => {
            second(cloud, "203.0.113.7", "b").await.expect(201);
        }
        ("duplicate-id-value", code) => second(cloud, "203.0.113.7", "b").await.assert_error(400, code),
        ("quota-exceeded-status", status) => {
            limited_to(cloud, 0).await;
            let reply = cloud.create(json!({"id_value": "10.0.0.1"})).await;
            let code = if status == "429" { "VPN.0429" } else { "VPN.0001" };
            reply.assert_error(status.parse().unwrap(), code);
            assert!(reply.error().2.contains("quota"));
        }
        ("list-order", order) => {
            cloud.created("old").await;
            cloud.created("new").await;
            let listed = list(cloud, "").await.expect(200);
            let expected = if order == "newest-first" {
                ["new", "old"]
            } else {
                ["old", "new"]
            };
            assert_eq!(names(&listed), expected);
            let listed = list(cloud, "limit=1").await.expect(200);
            let marker = listed["page_info"]["next_marker"].as_str().unwrap().replace(':', "%3A");
            assert_eq!(
                names(&list(cloud, &format!("limit=1&marker={marker}")).await.expect(200)),
                expected[1..]
            );
        }
        ("limit-zero", "refused") => list(cloud, "limit=0").await.assert_error(400, "VPN.0001"),
        ("limit-zero", what) => {
            cloud.created("a").await;
            let listed = list(cloud, "limit=0").await.expect(200);
            assert_eq!(names(&listed).len(), usize::from(what == "default"));
            assert_eq!(listed["total_count"], 1);
        }
        ("limit-too-large", "refused") => list(cloud, "limit=201").await.assert_error(400, "VPN.0001"),
        ("limit-too-large", "clamped") => {
            let seeds: Value = (0..201).map(|_| json!({"id_value": "10.0.0.1"})).collect();
            cloud.admin(Method::POST, "gateways", seeds).await.expect(201);
            assert_eq!(
                list(cloud, "limit=1000").await.expect(200)["page_info"]["current_count"],
                200
            );
        }
        ("last-page-marker", what) => {
            cloud.created("a").await;
            let listed = list(cloud, "limit=1").await.expect(200);
            let marker = listed["page_info"].get("next_marker");
            match what {
                "present" => assert_eq!(marker, Some(&listed["customer_gateways"][0]["created_at"])),
                "null" => assert_eq!(marker, Some(&Value::Null)),
                "empty" => assert_eq!(marker, Some(&json!(""))),
                _ => assert_eq!(marker, None),
            }
            cloud.created("b").await;
            let listed = list(cloud, "limit=1").await.expect(200);
            assert!(
                listed["page_info"]["next_marker"].is_string(),
                "on a page that is not the last: always"
            );
        }
        ("border-ties", what) => {
            for name in ["a", "b", "c"] {
                let id = cloud.created(name).await;
                cloud
                    .patch(&id, json!({"created_at": "2025-01-01T00:00:00.123Z"}))
                    .await;
            }
            let first = list(cloud, "limit=1").await.expect(200);
            let next = list(cloud, "limit=200&marker=2025-01-01T00%3A00%3A00.123Z")
                .await
                .expect(200);
            assert_eq!(first["page_info"]["next_marker"], "2025-01-01T00:00:00.123Z");
            assert_eq!(names(&next).len(), if what == "skipped" { 0 } else { 3 });
        }
        ("create-tag-without-value", what) => {
            let body = json!({"name": "a", "id_value": "10.0.0.1", "tags": [{"key": "c"}]});
            let reply = cloud.create(body).await;
            if what == "accepted" {
                let tags = json!([{"key": "c", "value": ""}]);
                assert_eq!(reply.expect(201)["customer_gateway"]["tags"], tags);
            } else {
                reply.assert_error(400, "VPN.0001");
            }
        }
        ("marker-without-limit", what) => {
            let reply = list(cloud, "marker=2025-01-01T00%3A00%3A00.123Z").await;
            assert_eq!(reply.status, if what == "accepted" { 200 } else { 400 });
        }
        ("tag-add-existing-key", what) => {
            let id = cloud.created("a").await;
            let add = |value: &str| {
                let body = json!({"tags": [{"key": "k", "value": value}]});
                let path = format!("customer-gateway/{id}/tags/create");
                async move { cloud.post(&path, body).await }
            };
            add("1").await.expect(204);
            let again = add("2").await;
            let tags = cloud.get(&format!("customer-gateway/{id}/tags")).await.expect(200);
            if what == "overwritten" {
                again.expect(204);
                assert_eq!(tags["tags"][0]["value"], "2");
            } else {
                again.assert_error(400, "VPN.0001");
                assert_eq!(tags["tags"][0]["value"], "1");
            }
        }
        ("tag-remove-unmatched", what) => {
            let id = cloud.created("a").await;
            cloud.patch(&id, json!({"set_tags": {"k": "1"}})).await;
            for tag in [json!({"key": "other"}), json!({"key": "k", "value": "2"})] {
                let path = format!("customer-gateway/{id}/tags/delete");
                let reply = cloud.post(&path, json!({"tags": [tag]})).await;
                match what {
                    "ignored" => assert_eq!(reply.expect(204), Value::Null),
                    "400" => reply.assert_error(400, "VPN.0001"),
                    _ => reply.assert_error(404, "VPN.0004"),
                }
                let tags = cloud.get(&format!("customer-gateway/{id}/tags")).await.expect(200);
                assert_eq!(tags, json!({"tags": [{"key": "k", "value": "1"}]}));
            }
        }
        ("update-immutable-fields", what) => {
            let id = cloud.created("a").await;
            for field in [
                json!({"id_value": "10.9.9.9"}),
                json!({"id_type": "fqdn"}),
                json!({"bgp_asn": 7}),
                json!({"tags": []}),
                json!({"ip": "10.9.9.9"}),
                json!({"route_mode": "bgp"}),
            ] {
                let reply = cloud.update(&id, field).await;
                if what == "refused" {
                    reply.assert_error(400, "VPN.0013");
                } else {
                    assert_eq!(reply.expect(200)["customer_gateway"]["id_value"], "203.0.113.7");
                }
            }
        }
        ("unknown-id", what) => {
            for reply in [
                cloud.gateway(UNKNOWN_ID).await,
                cloud.delete(UNKNOWN_ID).await,
                cloud.get(&format!("customer-gateway/{UNKNOWN_ID}/tags")).await,
            ] {
                let (status, code, text) = reply.error();
                let expected = if what == "404" {
                    (404, "VPN.0004")
                } else {
                    (400, "VPN.0001")
                };
                assert_eq!((status, code.as_str()), expected);
                assert!(
                    text.contains(if what == "400-not-exist" {
                        "does not exist"
                    } else {
                        "not found"
                    }),
                    "{text}"
                );
            }
        }
        ("malformed-id", status) => {
            for id in [
                "x",
                "00000000-0000-4000-8000-00000000000%20",
                "00000000-0000-4000-8000-0000000000000",
            ] {
                let code = if status == "400" { "VPN.0001" } else { "VPN.0004" };
                cloud.gateway(id).await.assert_error(status.parse().unwrap(), code);
            }
        }
        ("gateway-deletion", what) => {
            let id = cloud.created("a").await;
            cloud.delete(&id).await.expect(204);
            if what != "immediate" {
                cloud.gateway(&id).await.expect(200);
                cloud.delete(&id).await.expect(204);
                let (status, _, text) = cloud.create(json!({"name": "a", "id_value": "10.0.0.1"})).await.error();
                assert!(status == 400 && text.contains("is being deleted"), "{text}");
            }
            match what {
                "slow" => {
                    cloud
                        .admin(Method::PUT, "clock", json!({"skew_ms": 3_001}))
                        .await
                        .expect(200);
                }
                "held" => {
                    cloud
                        .admin(Method::PUT, "clock", json!({"skew_ms": 60_000}))
                        .await
                        .expect(200);
                    cloud.gateway(&id).await.expect(200);
                    let finished = cloud
                        .admin(Method::POST, "finish-deletions", Value::Null)
                        .await
                        .expect(200);
                    assert_eq!(finished, json!({"finished": 1}));
                }
                _ => {}
            }
            cloud.gateway(&id).await.assert_error(404, "VPN.0004");
            cloud.created("a").await;
        }
        ("retry-after", what) => {
            for fault in ["throttled-by-gateway", "throttled-by-service"] {
                cloud.fault(json!({"fault": fault})).await;
                let expected = (what == "present").then_some("1");
                assert_eq!(list(cloud, "").await.header("retry-after"), expected);
            }
            assert_eq!(cloud.gateway(UNKNOWN_ID).await.header("retry-after"), None);
        }
        ("fqdn", what) => {
            let reply = cloud
                .create(json!({"id_type": "fqdn", "id_value": "vpn.example.com"}))
                .await;
            assert_eq!(reply.status, if what == "accepted" { 201 } else { 400 });
        }
        ("ca-certificate", "accepted") => {
            pem_gateway(cloud).await;
        }
        ("ca-certificate", _) => {
            let certificate = json!({"id_value": "10.0.0.1", "ca_certificate": {"content": good_certificate()}});
            cloud.create(certificate).await.assert_error(400, "VPN.0013");
        }
        ("ca-certificate-updatable", what) => {
            let (id, gateway) = pem_gateway(cloud).await;
            assert_eq!(gateway["ca_certificate"]["is_updatable"], what == "yes");
            let reply = cloud
                .update(&id, json!({"ca_certificate": {"content": good_certificate()}}))
                .await;
            assert_eq!(reply.status, if what == "yes" { 200 } else { 400 });
        }
        ("ca-certificate-duplicate", what) => {
            let certificate = json!({"id_value": "10.0.0.1", "ca_certificate": {"content": good_certificate()}});
            cloud.create(certificate.clone()).await.expect(201);
            let again = cloud.create(certificate).await;
            match what {
                "allowed" => assert_eq!(again.status, 201),
                _ => again.assert_error(400, "VPN.0077"),
            }
        }
        ("list-tags", what) => {
            let id = cloud.created("a").await;
            let expected = match what {
                "present" => Some(json!([])),
                "null" => Some(Value::Null),
                _ => None,
            };
            assert_eq!(first_in_list(cloud).await.get("tags"), expected.as_ref());
            assert_eq!(cloud.gateway(&id).await.json()["customer_gateway"]["tags"], json!([]));
        }
        ("answer-encoding", what) => {
            cloud.created("a").await;
            let path = in_project("customer-gateways");
            // The usual client of these tests removes the header, as it decompresses.
            let client = reqwest::Client::builder().no_proxy().no_gzip().build().unwrap();
            for (accepted, expected) in [(Some("gzip"), what == "gzip"), (None, false)] {
                let mut request = cloud.signed(&Signer::default(), Method::GET, &path, None);
                if let Some(accepted) = accepted {
                    request = request.header("accept-encoding", accepted);
                }
                let answer = client.execute(request.build().unwrap()).await.unwrap();
                let encoding = answer.headers().get("content-encoding");
                assert_eq!(encoding.is_some_and(|encoding| encoding == "gzip"), expected);
            }
            list(cloud, "").await.expect(200);
        }
        ("list-id-type", what) => {
            let id = cloud.created("a").await;
            assert_eq!(first_in_list(cloud).await.get("id_type").is_some(), what == "present");
            assert_eq!(cloud.gateway(&id).await.json()["customer_gateway"]["id_type"], "ip");
        }
        ("list-bgp-asn", what) => {
            let answer = cloud
                .create(json!({"id_value": "10.0.0.1", "bgp_asn": 65000}))
                .await
                .expect(201);
            assert_eq!(first_in_list(cloud).await.get("bgp_asn").is_some(), what == "present");
            let id = answer["customer_gateway"]["id"].as_str().unwrap();
            assert_eq!(cloud.gateway(id).await.json()["customer_gateway"]["bgp_asn"], 65000);
        }
        ("create-answer-tags", what) => {
            let fields = json!({"id_value": "10.0.0.1", "tags": [{"key": "k", "value": "v"}]});
            let gateway = cloud.create(fields.clone()).await.expect(201)["customer_gateway"].clone();
            assert_eq!(gateway.get("tags").is_some(), what == "present");
            let id = gateway["id"].as_str().unwrap();
            assert_eq!(
                cloud.gateway(id).await.json()["customer_gateway"]["tags"],
                fields["tags"]
            );
        }
        ("empty-tags", what) => {
            let id = cloud.created("a").await;
            let expected = match what {
                "empty-list" => Some(json!([])),
                "null" => Some(Value::Null),
                _ => None,
            };
            assert_eq!(
                cloud.gateway(&id).await.json()["customer_gateway"].get("tags"),
                expected.as_ref()
            );
        }
        ("unset-fields", what) => {
            let id = cloud.created("a").await;
            let gateway = cloud.gateway(&id).await.json()["customer_gateway"].clone();
            for field in ["bgp_asn", "ca_certificate"] {
                assert_eq!(gateway.get(field), (what == "null").then_some(&Value::Null));
            }
        }
        ("deprecated-fields", what) => {
            let answer = cloud
                .create(json!({"id_value": "10.0.0.1", "bgp_asn": 65000}))
                .await
                .expect(201);
            let gateway = answer["customer_gateway"].clone();
            assert_eq!(gateway.get("ip"), None);
            let id = gateway["id"].as_str().unwrap();
            for shown in [
                cloud.gateway(id).await.json()["customer_gateway"].clone(),
                first_in_list(cloud).await,
            ] {
                let (ip, mode) = (json!("10.0.0.1"), json!("bgp"));
                assert_eq!(shown.get("ip"), (what == "present").then_some(&ip));
                assert_eq!(shown.get("route_mode"), (what == "present").then_some(&mode));
            }
        }
        ("create-answer-times", what) => {
            let gateway = cloud.create(json!({"id_value": "10.0.0.1"})).await.expect(201)["customer_gateway"].clone();
            let expected = match what {
                "nanos" => 9,
                "micros" => 6,
                _ => 3,
            };
            assert_eq!(
                (digits(&gateway["created_at"]), digits(&gateway["updated_at"])),
                (expected, expected)
            );
        }
        ("read-times", what) => {
            let id = cloud.created("a").await;
            cloud
                .patch(&id, json!({"created_at": "2025-07-17T16:49:28.5009Z"}))
                .await;
            let expected = match what {
                "millis" => "2025-07-17T16:49:28.500Z",
                "trimmed" => "2025-07-17T16:49:28.5Z",
                "micros" => "2025-07-17T16:49:28.500900Z",
                _ => "2025-07-18T00:49:28.500+08:00",
            };
            assert_eq!(first_in_list(cloud).await["created_at"], expected);
            assert_eq!(
                cloud.gateway(&id).await.json()["customer_gateway"]["created_at"],
                expected
            );
            cloud.created("b").await;
            let listed = list(cloud, "limit=1").await.expect(200);
            let marker = vpn_cloud::credentials::signing::escape(listed["page_info"]["next_marker"].as_str().unwrap());
            let next = list(cloud, &format!("limit=1&marker={marker}")).await.expect(200);
            assert_eq!(
                (names(&next), &next["page_info"]["next_marker"]),
                (vec!["a"], &json!(expected))
            );
        }
        ("creation-times", what) => {
            let (a, b) = (cloud.created("a").await, cloud.created("b").await);
            let time = |gateway: Reply| gateway.json()["customer_gateway"]["created_at"].clone();
            let (a, b) = (time(cloud.gateway(&a).await), time(cloud.gateway(&b).await));
            assert_eq!(a == b, what == "tied");
        }
        ("tags-move-updated-at", what) => {
            let id = cloud.created("a").await;
            let body = json!({"tags": [{"key": "k", "value": "v"}]});
            cloud
                .post(&format!("customer-gateway/{id}/tags/create"), body)
                .await
                .expect(204);
            let gateway = cloud.gateway(&id).await.json()["customer_gateway"].clone();
            assert_eq!(gateway["created_at"] != gateway["updated_at"], what == "yes");
        }
        ("tag-value-slash", what) => {
            let reply = cloud
                .create(json!({"id_value": "10.0.0.1", "tags": [{"key": "k", "value": "a/b"}]}))
                .await;
            assert_eq!(reply.status, if what == "accepted" { 201 } else { 400 });
        }
        ("filter-name-match", what) => {
            cloud.created("office").await;
            let body = json!({"matches": [{"key": "resource_name", "value": "off"}]});
            let count = cloud
                .post("customer-gateway/resource-instances/count", body)
                .await
                .expect(200);
            assert_eq!(count["total_count"], i32::from(what != "exact"));
        }
        ("error-shape", what) => {
            let reply = cloud.gateway(UNKNOWN_ID).await;
            let body = reply.expect(404);
            let (code, message) = match what {
                "error_code" => ("error_code", "error_msg"),
                "code" => ("code", "message"),
                _ => ("errorCode", "errorMsg"),
            };
            assert_eq!(body[code], "VPN.0004");
            assert!(body[message].as_str().unwrap().contains(UNKNOWN_ID));
            assert_eq!(body.get("request_id").is_some(), what != "code");
            assert!(reply.header("x-request-id").is_some());
            cloud.get("nowhere").await.assert_error(404, "APIGW.0101");
        }
        ("iam-error-shape", what) => {
            let body = json!({"auth": {"identity": {"methods": ["password"], "password": {"user": {
                "name": "nobody", "password": "wrong", "domain": {"name": "d"}}}}}});
            let path = "/v3/auth/tokens";
            let request = cloud.signed(&Signer::default(), Method::POST, path, Some(&body.to_string()));
            let reply = cloud.send(request).await.unwrap();
            let body = reply.expect(401);
            match what {
                "nested" => {
                    assert_eq!(body["error"]["code"], 401);
                    assert_eq!(body["error"]["title"], "Unauthorized");
                }
                _ => assert_eq!(body["error_code"], "IAM.0001"),
            }
            assert!(reply.header("x-iam-trace-id").is_some());
        }
        ("gateway-code-prefix", prefix) => {
            cloud.get("nowhere").await.assert_error(404, &format!("{prefix}.0101"));
            cloud.fault(json!({"fault": "throttled-by-gateway"})).await;
            cloud
                .get("customer-gateways")
                .await
                .assert_error(429, &format!("{prefix}.0308"));
        }
        ("request-id-format", what) => {
            let path = in_project("customer-gateways");
            let body = with_name("a").to_string();
            let reply = cloud
                .send(cloud.signed(&Signer::default(), Method::POST, &path, Some(&body)))
                .await
                .unwrap();
            let id = reply.expect(201)["request_id"].as_str().unwrap().to_owned();
            assert_eq!(id.len(), if what == "dashed" { 36 } else { 32 });
            assert_eq!(id.contains('-'), what == "dashed");
            assert_eq!(reply.header("x-request-id"), Some(id.as_str()));
        }
        (name, value) => p2c_switches::check(cloud, name, value).await,
    }
}
