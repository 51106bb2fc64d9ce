//! Signatures, tokens, locks, and permissions of credentials.

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use vpn_simulator::{SimulatedOperation, tryout};

use crate::{
    client::{Cloud, Reply, Signer, UNKNOWN_ID, in_project, with_name},
    p2c,
};

async fn list_as(cloud: &Cloud, signer: &Signer) -> Reply {
    let path = in_project("customer-gateways?limit=2");
    cloud
        .send(cloud.signed(signer, Method::GET, &path, None))
        .await
        .unwrap()
}

fn impostor() -> Signer {
    Signer {
        secret_key: "wrong".to_owned(),
        ..Signer::default()
    }
}

/// As the official Go SDK signs: neither host nor content type.
pub(crate) fn go_sdk() -> Signer {
    Signer {
        headers: vec![
            ("user-agent", "huaweicloud-usdk-go/3.0".into()),
            ("x-project-id", tryout::PROJECT_ID.into()),
        ],
        unsigned: vec![
            ("content-type", "application/json".into()),
            ("accept-encoding", "gzip".into()),
        ],
        signs_host: false,
        ..Signer::default()
    }
}

/// As the Terraform provider signs: project id after signing.
pub(crate) fn terraform(has_body: bool) -> Signer {
    let mut signer = Signer {
        headers: vec![
            ("accept", "application/json".into()),
            ("user-agent", "terraform-provider-iac".into()),
        ],
        unsigned: vec![("x-project-id", tryout::PROJECT_ID.into())],
        signs_host: false,
        ..Signer::default()
    };
    if has_body {
        signer.headers.push(("content-type", "application/json".into()));
    }
    signer
}

#[tokio::test]
async fn signatures_of_every_known_client_are_accepted() {
    let cloud = Cloud::start().await;
    // Go's encoder ends the body with a line break.
    let body = format!("{}\n", with_name("a<b"));
    let body = body.replace("a<b", "office");
    for signer in [Signer::default(), go_sdk(), terraform(true)] {
        let path = in_project("customer-gateways");
        let request = cloud.signed(&signer, Method::POST, &path, Some(&body));
        cloud.send(request).await.unwrap().expect(201);
    }
    for path in [
        // An empty value without its `=`, as Go sends it.
        "customer-gateways?limit=2&marker",
        "customer-gateways?marker=2025-08-13T02%3A34%3A56.784574762Z&limit=2",
        "customer-gateways?limit=2&marker=2025-08-13T02:34:56+08:00",
        "customer-gateways?marker=2025-08-13T02:34:56.1Z",
    ] {
        for signer in [Signer::default(), go_sdk(), terraform(false)] {
            let request = cloud.signed(&signer, Method::GET, &in_project(path), None);
            cloud.send(request).await.unwrap().expect(200);
        }
    }
    // Unescaped in the path, escaped in what was signed.
    let request = cloud.signed(&go_sdk(), Method::GET, &in_project("customer-gateways/a:b+c~d=e"), None);
    cloud.send(request).await.unwrap().assert_error(400, "VPN.0001");
    // The look-up of the project signs the date alone.
    let signer = Signer {
        headers: Vec::new(),
        signs_host: false,
        ..Signer::default()
    };
    let path = format!("/v3/projects?name={}", tryout::REGION);
    let answer = cloud
        .send(cloud.signed(&signer, Method::GET, &path, None))
        .await
        .unwrap();
    assert_eq!(answer.expect(200)["projects"][0]["id"], tryout::PROJECT_ID);
}

#[tokio::test]
async fn a_modified_request_is_refused() {
    let cloud = Cloud::start().await;
    let signer = Signer::default();
    let path = in_project("customer-gateways");
    let good = || cloud.signed(&signer, Method::POST, &path, Some("{}"));
    cloud.send(good()).await.unwrap().assert_error(400, "VPN.0001");
    cloud
        .send(good().body("[]"))
        .await
        .unwrap()
        .assert_error(401, "APIGW.0301");
    let (client, request) = good().build_split();
    let mut request = request.unwrap();
    request.url_mut().set_query(Some("a=b"));
    assert_eq!(client.execute(request).await.unwrap().status(), 401);
    let signed_but_not_sent = Signer {
        headers: vec![("x-language", "en-us".into())],
        ..Signer::default()
    };
    let request = cloud.signed(&signed_but_not_sent, Method::GET, &path, None);
    let (client, request) = request.build_split();
    let mut request = request.unwrap();
    request.headers_mut().remove("x-language");
    assert_eq!(client.execute(request).await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_request_without_a_valid_signature_is_refused() {
    let cloud = Cloud::start().await;
    let (status, code, text) = list_as(&cloud, &impostor()).await.error();
    assert_eq!((status, code.as_str()), (401, "APIGW.0301"));
    assert!(text.contains("verify aksk signature fail"), "{text}");
    let unknown_signer = Signer {
        access_key: "NOBODY".to_owned(),
        ..Signer::default()
    };
    assert!(
        list_as(&cloud, &unknown_signer)
            .await
            .error()
            .2
            .contains("ak NOBODY not exist")
    );
    let unsigned = cloud.unsigned(Method::GET, &in_project("vpn/quotas"));
    for request in [
        unsigned.try_clone().unwrap(),
        unsigned.try_clone().unwrap().header("authorization", "Bearer x"),
        unsigned.header("x-auth-token", "x"),
    ] {
        cloud.send(request).await.unwrap().assert_error(401, "APIGW.0301");
    }
}

#[tokio::test]
async fn fifteen_minutes_of_clock_skew_are_accepted() {
    let cloud = Cloud::start().await;
    for (minutes, status) in [(14, 200), (-14, 200), (16, 401), (-16, 401)] {
        let at = Timestamp::now() + SignedDuration::from_mins(minutes);
        assert_eq!(
            list_as(
                &cloud,
                &Signer {
                    at,
                    ..Signer::default()
                }
            )
            .await
            .status,
            status,
            "{minutes}"
        );
    }
    // The cloud's clock counts, and its Date header shows it.
    cloud
        .admin(Method::PUT, "clock", json!({"skew_ms": 3_600_000}))
        .await
        .expect(200);
    let refused = list_as(&cloud, &Signer::default()).await;
    refused.assert_error(401, "APIGW.0303");
    let reported = Timestamp::strptime(
        "%a, %d %b %Y %H:%M:%S %z",
        refused.header("date").unwrap().replace("GMT", "+0000"),
    );
    let ahead = reported.unwrap().duration_since(Timestamp::now());
    assert!(ahead > SignedDuration::from_mins(50), "{ahead}");
    let at = Timestamp::now() + SignedDuration::from_hours(1);
    list_as(
        &cloud,
        &Signer {
            at,
            ..Signer::default()
        },
    )
    .await
    .expect(200);
}

#[tokio::test]
async fn more_than_five_consecutive_bad_signatures_lock_the_key() {
    let cloud = Cloud::start().await;
    for _ in 0..5 {
        list_as(&cloud, &impostor()).await.assert_error(401, "APIGW.0301");
    }
    // A success in between resets the count.
    list_as(&cloud, &Signer::default()).await.expect(200);
    for _ in 0..6 {
        assert!(
            list_as(&cloud, &impostor())
                .await
                .error()
                .2
                .contains("verify aksk signature fail")
        );
    }
    let locked = list_as(&cloud, &Signer::default()).await;
    locked.assert_error(401, "APIGW.0301");
    assert!(
        locked
            .error()
            .2
            .contains("AK access failed to reach the limit,forbidden")
    );
    let credential = cloud.admin_get("credentials").await["credentials"][0].clone();
    assert!(credential["locked_until"].is_string(), "{credential}");
    // Five minutes later the key is unlocked.
    cloud
        .admin(Method::PUT, "clock", json!({"skew_ms": 300_001}))
        .await
        .expect(200);
    list_as(&cloud, &Signer::default()).await.expect(200);
}

#[tokio::test]
async fn a_lock_can_be_set_and_removed() {
    let cloud = Cloud::start().await;
    let lock = format!("credentials/{}/lock", tryout::ACCESS_KEY);
    cloud
        .admin(Method::PUT, &lock, json!({"locked": true}))
        .await
        .expect(204);
    list_as(&cloud, &Signer::default())
        .await
        .assert_error(401, "APIGW.0301");
    cloud
        .admin(Method::PUT, &lock, json!({"locked": false}))
        .await
        .expect(204);
    list_as(&cloud, &Signer::default()).await.expect(200);
    cloud
        .admin(Method::PUT, "credentials/NOBODY/lock", json!({"locked": true}))
        .await
        .expect(404);
}

#[tokio::test]
async fn temporary_keys_need_their_security_token() {
    let cloud = Cloud::start().await;
    let until = (Timestamp::now() + SignedDuration::from_hours(1)).to_string();
    let credential = json!({"secret_key": "secret", "security_token": "token+/==", "expires_at": until});
    cloud
        .admin(Method::PUT, "credentials/TEMPORARY", credential)
        .await
        .expect(204);
    let bare = Signer {
        access_key: "TEMPORARY".to_owned(),
        secret_key: "secret".to_owned(),
        ..Signer::default()
    };
    let signed = |token: &str| {
        let mut signer = bare.clone();
        signer.headers.push(("x-security-token", token.to_owned()));
        signer
    };
    let unsigned = Signer {
        unsigned: vec![("x-security-token", "token+/==".to_owned())],
        ..bare.clone()
    };
    list_as(&cloud, &signed("token+/==")).await.expect(200);
    list_as(&cloud, &unsigned).await.expect(200);
    for wrong in [&bare, &signed("other")] {
        assert!(list_as(&cloud, wrong).await.error().2.contains("decrypt token fail"));
    }
    let mut permanent = Signer::default();
    permanent.headers.push(("x-security-token", "token".to_owned()));
    list_as(&cloud, &permanent).await.assert_error(401, "APIGW.0301");
    cloud
        .admin(Method::PUT, "clock", json!({"skew_ms": 3_600_001}))
        .await
        .expect(200);
    let late = Signer {
        at: Timestamp::now() + SignedDuration::from_hours(1),
        ..signed("token+/==")
    };
    list_as(&cloud, &late).await.assert_error(401, "APIGW.0301");
}

#[tokio::test]
async fn an_inaccessible_or_disabled_project_is_forbidden() {
    let cloud = Cloud::start().await;
    let other = "f".repeat(32);
    let path = format!("/v5/{other}/customer-gateways");
    let list = || async {
        cloud
            .send(cloud.signed(&Signer::default(), Method::GET, &path, None))
            .await
            .unwrap()
    };
    list().await.assert_error(403, "APIGW.0302");
    let project = format!("projects/{other}");
    cloud
        .admin(Method::PUT, &project, json!({"name": "eu-west-101_b"}))
        .await
        .expect(200);
    list().await.expect(200);
    let permissions = format!("credentials/{}/permissions", tryout::ACCESS_KEY);
    cloud
        .admin(Method::PUT, &permissions, json!({"projects": [tryout::PROJECT_ID]}))
        .await
        .expect(204);
    list().await.assert_error(403, "APIGW.0302");
    cloud.get("customer-gateways").await.expect(200);
    cloud.admin(Method::PUT, &permissions, json!({})).await.expect(204);
    cloud
        .admin(
            Method::PUT,
            &project,
            json!({"name": "eu-west-101_b", "enabled": false}),
        )
        .await
        .expect(200);
    list().await.assert_error(403, "APIGW.0310");
}

#[tokio::test]
async fn accessible_projects_are_found_by_name() {
    let cloud = Cloud::start().await;
    cloud
        .admin(Method::PUT, "projects/p2", json!({"name": "eu-west-101_b"}))
        .await
        .expect(200);
    cloud
        .admin(Method::PUT, "projects/p3", json!({"name": "eu-west-101_b"}))
        .await
        .expect(200);
    let look_up = |name: &str| {
        let path = format!("/v3/projects?name={name}");
        let request = cloud.signed(&Signer::default(), Method::GET, &path, None);
        async {
            let body = cloud.send(request).await.unwrap().expect(200);
            assert!(body["links"].is_object());
            body["projects"]
                .as_array()
                .unwrap()
                .iter()
                .map(|project| project["id"].clone())
                .collect::<Vec<_>>()
        }
    };
    assert_eq!(look_up("eu-west-101").await, [tryout::PROJECT_ID]);
    assert_eq!(look_up("eu-west-101_b").await, ["p2", "p3"]);
    assert!(look_up("elsewhere").await.is_empty());
    let permissions = format!("credentials/{}/permissions", tryout::ACCESS_KEY);
    cloud
        .admin(Method::PUT, &permissions, json!({"projects": ["p3"]}))
        .await
        .expect(204);
    assert_eq!(look_up("eu-west-101_b").await, ["p3"]);
}

/// A signed GET of IAM.
async fn iam(cloud: &Cloud, path: &str) -> Reply {
    let path = format!("/v3/{path}");
    let request = cloud.signed(&Signer::default(), Method::GET, &path, None);
    cloud.send(request).await.unwrap()
}

#[tokio::test]
async fn iam_returns_domains_and_users() {
    let cloud = Cloud::start().await;
    let other = json!({"domain": "other-domain", "password": "Other-Password-1"});
    cloud.admin(Method::PUT, "users/eve", other).await.expect(204);

    let body = iam(&cloud, "auth/domains").await.expect(200);
    let domain = body["domains"][0].clone();
    assert_eq!(body["domains"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&domain["name"], &domain["enabled"]),
        (&json!(tryout::DOMAIN), &json!(true))
    );
    let id = domain["id"].as_str().unwrap();
    let projects = iam(&cloud, "projects").await.expect(200);
    assert_eq!(projects["projects"][0]["domain_id"], domain["id"]);

    for (query, expected) in [
        (String::new(), &[tryout::USER][..]),
        (
            format!("?name={}&domain_id={id}&enabled=true", tryout::USER),
            &[tryout::USER],
        ),
        ("?name=nobody".to_owned(), &[]),
        ("?enabled=false".to_owned(), &[]),
    ] {
        let users = iam(&cloud, &format!("users{query}")).await.expect(200)["users"].clone();
        let names: Vec<_> = users.as_array().unwrap().iter().map(|user| &user["name"]).collect();
        assert_eq!(names, expected, "{query}");
        assert!(users.as_array().unwrap().iter().all(|user| user["domain_id"] == id));
    }
    let elsewhere = iam(&cloud, "users?domain_id=another").await.expect(403);
    assert_eq!(elsewhere["error"]["code"], 403);
}

/// A request of each operation that succeeds.
async fn request_of(cloud: &Cloud, operation: SimulatedOperation, id: &str) -> Reply {
    let tags = json!({"tags": [{"key": "k", "value": "v"}]});
    let gateway = format!("customer-gateways/{id}");
    match operation {
        SimulatedOperation::CreateCustomerGateway => cloud.post("customer-gateways", with_name("b")).await,
        SimulatedOperation::GetCustomerGateway => cloud.get(&gateway).await,
        SimulatedOperation::ListCustomerGateways => cloud.get("customer-gateways").await,
        SimulatedOperation::UpdateCustomerGateway => cloud.update(id, json!({"name": "c"})).await,
        SimulatedOperation::DeleteCustomerGateway => cloud.delete(id).await,
        SimulatedOperation::AddCustomerGatewayTags => {
            cloud.post(&format!("customer-gateway/{id}/tags/create"), tags).await
        }
        SimulatedOperation::RemoveCustomerGatewayTags => {
            cloud.post(&format!("customer-gateway/{id}/tags/delete"), tags).await
        }
        SimulatedOperation::ListCustomerGatewayTags => cloud.get(&format!("customer-gateway/{id}/tags")).await,
        SimulatedOperation::ListProjectTags => cloud.get("customer-gateway/tags").await,
        SimulatedOperation::FilterCustomerGateways => {
            cloud
                .post("customer-gateway/resource-instances/filter", json!({}))
                .await
        }
        SimulatedOperation::CountCustomerGateways => {
            cloud.post("customer-gateway/resource-instances/count", json!({})).await
        }
        SimulatedOperation::ListQuotas => cloud.get("vpn/quotas").await,
        SimulatedOperation::LookUpProject => {
            let request = cloud.signed(&Signer::default(), Method::GET, "/v3/projects", None);
            cloud.send(request).await.unwrap()
        }
        SimulatedOperation::ListAuthDomains => iam(cloud, "auth/domains").await,
        SimulatedOperation::ListIamUsers => iam(cloud, "users").await,
        SimulatedOperation::CreateToken => token(cloud, json!({"project": {"id": tryout::PROJECT_ID}})).await,
        operation => p2c::request_of(cloud, operation).await,
    }
}

#[tokio::test]
async fn each_operation_requires_exactly_its_iam_action() {
    let cloud = Cloud::start().await;
    let permissions = format!("credentials/{}/permissions", tryout::ACCESS_KEY);
    for operation in SimulatedOperation::ALL
        .iter()
        .filter(|operation| !operation.action().is_empty())
    {
        let action = operation.action();
        println!("{} {action}", operation.name());
        cloud.reset().await;
        let id = cloud.created("a").await;
        cloud
            .admin(Method::PUT, &permissions, json!({"denied_actions": [action]}))
            .await
            .expect(204);
        let denied = request_of(&cloud, *operation, &id).await;
        assert!(denied.text.contains(action), "{}", denied.text);
        if operation.is_iam() {
            assert_eq!(denied.expect(403)["error"]["code"], 403);
        } else {
            denied.assert_error(403, "VPN.0007");
        }
        cloud
            .admin(Method::PUT, &permissions, json!({"allowed_actions": [action]}))
            .await
            .expect(204);
        let allowed = request_of(&cloud, *operation, &id).await;
        assert!(allowed.status.is_success(), "{}", allowed.text);
        let log = cloud.admin_get(&format!("log?operation={action}")).await;
        assert_eq!(
            log["requests"].as_array().unwrap().last().unwrap()["operation"],
            operation.name()
        );
    }
    cloud.reset().await;
    cloud
        .admin(
            Method::PUT,
            &permissions,
            json!({"allowed_actions": ["vpn:customerGateways:*"]}),
        )
        .await
        .expect(204);
    cloud.gateway(UNKNOWN_ID).await.assert_error(404, "VPN.0004");
    cloud.get("vpn/quotas").await.assert_error(403, "VPN.0007");
}

async fn token(cloud: &Cloud, scope: Value) -> Reply {
    let user = json!({"name": tryout::USER, "password": tryout::PASSWORD, "domain": {"name": tryout::DOMAIN}});
    let body = json!({"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}});
    cloud
        .send(cloud.unsigned(Method::POST, "/v3/auth/tokens").body(body.to_string()))
        .await
        .unwrap()
}

async fn list_with(cloud: &Cloud, token: &str) -> Reply {
    let request = cloud.unsigned(Method::GET, &in_project("customer-gateways"));
    cloud.send(request.header("x-auth-token", token)).await.unwrap()
}

#[tokio::test]
async fn a_token_is_valid_for_its_project() {
    let cloud = Cloud::start().await;
    for scope in [
        json!({"project": {"name": tryout::REGION}}),
        json!({"project": {"id": tryout::PROJECT_ID}}),
    ] {
        let answer = token(&cloud, scope).await;
        let body = answer.expect(201);
        assert_eq!(body["token"]["project"]["id"], tryout::PROJECT_ID);
        let expires = body["token"]["expires_at"].as_str().unwrap();
        assert_eq!(expires.len(), "2018-03-13T03:00:01.168000Z".len(), "{expires}");
        list_with(&cloud, answer.header("x-subject-token").unwrap())
            .await
            .expect(200);
    }
    let unscoped = token(&cloud, json!({})).await;
    let unscoped = unscoped.header("x-subject-token").unwrap();
    list_with(&cloud, unscoped).await.assert_error(403, "APIGW.0302");
    token(&cloud, json!({"project": {"name": "elsewhere"}}))
        .await
        .expect(401);
    let log = cloud.admin_get("log?operation=ListCustomerGateways").await;
    assert_eq!(log["requests"][0]["user"], tryout::USER);
}

#[tokio::test]
async fn an_expired_token_is_refused() {
    let cloud = Cloud::start().await;
    let scope = json!({"project": {"name": tryout::REGION}});
    let first = token(&cloud, scope.clone())
        .await
        .header("x-subject-token")
        .unwrap()
        .to_owned();
    cloud
        .admin(Method::POST, "tokens/expire", Value::Null)
        .await
        .expect(204);
    list_with(&cloud, &first).await.assert_error(401, "APIGW.0307");
    let second = token(&cloud, scope).await.header("x-subject-token").unwrap().to_owned();
    list_with(&cloud, &second).await.expect(200);
    cloud
        .admin(Method::PUT, "clock", json!({"skew_ms": 24 * 3_600_000}))
        .await
        .expect(200);
    list_with(&cloud, &second).await.assert_error(401, "APIGW.0307");
}

#[tokio::test]
async fn the_admin_api_adds_and_removes_iam_users() {
    let cloud = Cloud::start().await;
    let user = json!({"domain": "d", "password": "p", "permissions": {"allowed_actions": ["vpn:quota:list"]}});
    cloud.admin(Method::PUT, "users/eve", user).await.expect(204);
    let login = |password: &str| {
        let user = json!({"name": "eve", "password": password, "domain": {"name": "d"}});
        let scope = json!({"project": {"name": tryout::REGION}});
        let body = json!({"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}});
        let request = cloud
            .unsigned(Method::POST, "/v3/auth/tokens?nocatalog=true")
            .body(body.to_string());
        async { cloud.send(request).await.unwrap() }
    };
    login("wrong").await.expect(401);
    let answer = login("p").await;
    assert_eq!(answer.expect(201)["token"].get("catalog"), None);
    list_with(&cloud, answer.header("x-subject-token").unwrap())
        .await
        .assert_error(403, "VPN.0007");
    cloud.admin(Method::DELETE, "users/eve", Value::Null).await.expect(204);
    login("p").await.expect(401);
}
