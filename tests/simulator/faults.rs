//! Every fault, before and after the request takes effect.

use std::cell::Cell;

use reqwest::Method;
use serde_json::{Value, json};
use vpn_simulator::admin::FaultName;
use vpn_simulator::tryout;

use crate::{
    client::{Cloud, Reply, Signer, in_project, with_name},
    p2c::{on_server, user_named},
};

type Outcome = reqwest::Result<Reply>;

/// The resource that is created while faults are active.
struct Subject {
    operation: &'static str,
    path: String,
    wrapper: &'static str,
    /// Path and key of its list in the admin API.
    dumps: [&'static str; 2],
    body: fn(&str) -> Value,
    /// How many were created, since their names must differ.
    made: Cell<u32>,
}

impl Subject {
    fn gateway() -> Self {
        Self {
            operation: "CreateCustomerGateway",
            path: "customer-gateways".to_owned(),
            wrapper: "customer_gateway",
            dumps: ["gateways", "gateways"],
            body: with_name,
            made: Cell::default(),
        }
    }

    fn user() -> Self {
        Self {
            operation: "CreateVpnUser",
            path: on_server("users"),
            wrapper: "user",
            dumps: ["vpn-users", "users"],
            body: |name| json!({"user": user_named(name)}),
            made: Cell::default(),
        }
    }

    fn group() -> Self {
        Self {
            operation: "CreateVpnUserGroup",
            path: on_server("groups"),
            wrapper: "user_group",
            dumps: ["vpn-groups", "groups"],
            body: |name| json!({"user_group": {"name": name}}),
            made: Cell::default(),
        }
    }

    fn next_body(&self) -> Value {
        self.made.set(self.made.get() + 1);
        (self.body)(&format!("office-{}", self.made.get()))
    }

    async fn create(&self, cloud: &Cloud) -> Outcome {
        cloud.try_call(Method::POST, &self.path, Some(self.next_body())).await
    }

    /// Returns how many exist, whatever the API shows, without a server's default group.
    async fn true_count(&self, cloud: &Cloud) -> usize {
        let [path, key] = self.dumps;
        let dumps = cloud.admin_get(path).await[key].as_array().unwrap().clone();
        dumps.iter().filter(|dump| dump["is_default"] != true).count()
    }

    async fn log(&self, cloud: &Cloud, query: &str) -> Value {
        cloud
            .admin_get(&format!("log?operation={}&{query}", self.operation))
            .await
    }
}

async fn create(cloud: &Cloud) -> Outcome {
    Subject::gateway().create(cloud).await
}

#[tokio::test]
async fn every_fault_works_before_and_after_the_commit() {
    let cloud = Cloud::start().await;
    for subject in [Subject::gateway(), Subject::user(), Subject::group()] {
        for fault in FaultName::ALL {
            for commit in [false, true] {
                println!("{} {} commit={commit}", subject.operation, fault.text());
                cloud.reset().await;
                check(&cloud, &subject, *fault, commit).await;
            }
        }
    }
}

/// Sets the fault for the next creation, with some parameters. Returns false if it takes no `commit`.
async fn set(cloud: &Cloud, subject: &Subject, fault: FaultName, commit: bool, parameters: Value) -> bool {
    let mut body = json!({"fault": fault.text(), "operation": subject.operation, "commit": commit});
    for (name, value) in parameters.as_object().unwrap() {
        body[name] = value.clone();
    }
    let reply = cloud.admin(Method::POST, "faults", body).await;
    if reply.status == 400 && commit {
        assert!(
            reply.json()["error"].as_str().unwrap().contains("takes no commit"),
            "{}",
            reply.text
        );
        return false;
    }
    reply.expect(201);
    true
}

async fn check(cloud: &Cloud, subject: &Subject, fault: FaultName, commit: bool) {
    let parameters = match fault {
        FaultName::Latency => json!({"ms": 1}),
        FaultName::Error => json!({"status": 500, "code": "VPN.0002", "message": "oh", "retry_after": "7"}),
        FaultName::HugeBody => json!({"bytes": 300_000}),
        FaultName::ThrottledByGateway | FaultName::ThrottledByService => json!({"retry_after": "soon"}),
        FaultName::QueueFull => json!({"retry_after": "10"}),
        _ => json!({}),
    };
    if !set(cloud, subject, fault, commit, parameters).await {
        return;
    }
    let committed = usize::from(commit);
    // The fault is for creations only: it does not affect this request.
    cloud.get(&subject.path).await.expect(200);
    match fault {
        FaultName::Latency => {
            subject.create(cloud).await.unwrap().expect(201);
        }
        FaultName::ThrottledByGateway => {
            let reply = subject.create(cloud).await.unwrap();
            reply.assert_error(429, "APIGW.0308");
            assert_eq!(reply.header("retry-after"), Some("soon"));
        }
        FaultName::ThrottledByService => {
            let reply = subject.create(cloud).await.unwrap();
            reply.assert_error(429, "VPN.0429");
            assert_eq!(reply.header("retry-after"), Some("soon"));
        }
        FaultName::QueueFull => {
            let reply = subject.create(cloud).await.unwrap();
            reply.assert_error(400, "VPN.0030");
            assert_eq!(reply.header("retry-after"), Some("10"));
        }
        FaultName::Error => {
            let reply = subject.create(cloud).await.unwrap();
            assert_eq!(reply.error(), (500, "VPN.0002".to_owned(), "oh".to_owned()));
            assert_eq!(reply.header("retry-after"), Some("7"));
            assert_eq!(subject.true_count(cloud).await, committed);
        }
        FaultName::LostAnswer | FaultName::ConnectionReset => {
            let error = subject.create(cloud).await.unwrap_err();
            assert!(!error.is_connect() && !error.is_timeout(), "{error:?}");
            let reset = format!("{error:?}").contains("ConnectionReset");
            assert_eq!(reset, fault == FaultName::ConnectionReset, "{error:?}");
            assert_eq!(subject.true_count(cloud).await, committed);
        }
        FaultName::Timeout => {
            let given_up = tokio::select! {
                reply = subject.create(cloud) => panic!("{reply:?}"),
                // It is logged as finished once only the response is missing.
                page = subject.log(cloud, "finished=true&count=1") => page,
            };
            assert_eq!(given_up["requests"][0]["status"], Value::Null);
            assert_eq!(given_up["requests"][0]["committed"], commit);
            assert_eq!(subject.true_count(cloud).await, committed);
        }
        FaultName::HtmlBadGateway | FaultName::HtmlGatewayTimeout | FaultName::HtmlOk => {
            let reply = subject.create(cloud).await.unwrap();
            let expected = match fault {
                FaultName::HtmlBadGateway => 502,
                FaultName::HtmlGatewayTimeout => 504,
                _ => 200,
            };
            assert_eq!(reply.status, expected);
            assert!(reply.text.starts_with("<html>") && reply.header("content-type").unwrap().starts_with("text/html"));
            assert_eq!(subject.true_count(cloud).await, committed);
        }
        FaultName::TruncatedBody => {
            let request = cloud.signed(
                &Signer::default(),
                Method::POST,
                &in_project(&subject.path),
                Some(&subject.next_body().to_string()),
            );
            let mut answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 201);
            let length: usize = answer.headers()["content-length"].to_str().unwrap().parse().unwrap();
            let half = answer.chunk().await.unwrap().unwrap();
            assert!(half.starts_with(b"{\""));
            assert!(half.len() < length);
            answer.chunk().await.unwrap_err();
            assert_eq!(subject.true_count(cloud).await, 1);
        }
        FaultName::HugeBody => {
            let reply = subject.create(cloud).await.unwrap();
            assert_eq!((reply.status.as_u16(), reply.text.len()), (200, 300_000));
            assert_eq!(subject.true_count(cloud).await, committed);
        }
        FaultName::LateCommit => {
            subject.create(cloud).await.unwrap_err();
            let held = cloud.admin_get("held?count=1").await;
            assert_eq!(
                (held["enough"].as_bool(), held["held"][0]["after_commit"].as_bool()),
                (Some(true), Some(false))
            );
            assert_eq!(subject.true_count(cloud).await, 0);
            cloud.release(json!({})).await;
            let log = subject.log(cloud, "finished=true&count=1").await;
            assert_eq!(log["requests"][0]["committed"], true);
            assert_eq!(subject.true_count(cloud).await, 1);

            set(cloud, subject, fault, false, json!({"ms": 1})).await;
            subject.create(cloud).await.unwrap_err();
            subject.log(cloud, "finished=true&count=2").await;
            assert_eq!(subject.true_count(cloud).await, 2);
        }
        FaultName::Hold => {
            let (reply, ()) = tokio::join!(subject.create(cloud), async {
                let held = cloud.admin_get("held?count=1").await["held"][0].clone();
                assert_eq!(held["operation"], subject.operation);
                assert_eq!(held["access_key"], tryout::ACCESS_KEY);
                assert_eq!(held["after_commit"], commit);
                assert_eq!(subject.true_count(cloud).await, committed);
                cloud.release(json!({"id": held["id"]})).await;
            });
            reply.unwrap().expect(201);
            assert_eq!(subject.true_count(cloud).await, 1);

            set(cloud, subject, fault, commit, json!({})).await;
            let (reply, ()) = tokio::join!(subject.create(cloud), async {
                assert_eq!(cloud.admin_get("held?count=1").await["enough"], true);
                cloud.release(json!({"drop": true})).await;
            });
            reply.unwrap_err();
            assert_eq!(subject.true_count(cloud).await, 1 + committed);
        }
        FaultName::VanishAfterCreate | FaultName::VanishWhenSettled => {
            let answer = subject.create(cloud).await.unwrap().expect(201);
            let id = answer[subject.wrapper]["id"].as_str().unwrap();
            cloud
                .get(&format!("{}/{id}", subject.path))
                .await
                .assert_error(404, "VPN.0004");
        }
    }
    // One fault affects one request.
    assert_eq!(cloud.admin_get("faults").await, json!({"faults": []}));
    subject.create(cloud).await.unwrap().expect(201);
    let faults = subject.log(cloud, "").await["requests"][0]["faults"].clone();
    assert_eq!(faults, json!([fault.text()]));
}

#[tokio::test]
async fn a_client_disconnect_does_not_cancel_its_request() {
    let cloud = Cloud::start().await;
    cloud.fault(json!({"fault": "hold"})).await;
    tokio::select! {
        reply = create(&cloud) => panic!("{reply:?}"),
        held = cloud.admin_get("held?count=1") => assert_eq!(held["enough"], true),
    }
    assert_eq!(cloud.true_count().await, 0);
    cloud.release(json!({})).await;
    let log = cloud.admin_get("log?finished=true&count=1").await;
    assert_eq!(
        (log["enough"].as_bool(), log["requests"][0]["committed"].as_bool()),
        (Some(true), Some(true))
    );
    assert_eq!(cloud.true_count().await, 1);
}

#[tokio::test]
async fn faults_match_by_access_key_and_path() {
    let cloud = Cloud::start().await;
    cloud
        .admin(Method::PUT, "credentials/OTHER", json!({"secret_key": "other"}))
        .await
        .expect(204);
    cloud
        .fault(json!({"fault": "queue-full", "access_key": "OTHER", "path_contains": "limit=7", "times": 0}))
        .await;
    let other = Signer {
        access_key: "OTHER".to_owned(),
        secret_key: "other".to_owned(),
        ..Signer::default()
    };
    for (signer, query, status) in [
        (&Signer::default(), "limit=7", 200),
        (&other, "limit=8", 200),
        (&other, "limit=7", 400),
        (&other, "limit=7", 400),
    ] {
        let path = in_project(&format!("customer-gateways?{query}"));
        let reply = cloud
            .send(cloud.signed(signer, Method::GET, &path, None))
            .await
            .unwrap();
        assert_eq!(reply.status, status, "{query}");
    }
    let faults = cloud.admin_get("faults").await["faults"].clone();
    assert_eq!(faults[0]["hits"], 2);
    cloud
        .admin(Method::DELETE, &format!("faults/{}", faults[0]["id"]), Value::Null)
        .await
        .expect(204);
    assert_eq!(cloud.admin_get("faults").await, json!({"faults": []}));
}

#[tokio::test]
async fn an_error_without_a_code_returns_its_message_as_body() {
    let cloud = Cloud::start().await;
    cloud
        .fault(json!({"fault": "error", "status": 503, "message": "no healthy upstream"}))
        .await;
    let reply = cloud.get("customer-gateways").await;
    assert_eq!(
        (reply.status.as_u16(), reply.text.as_str()),
        (503, "no healthy upstream")
    );
    cloud.fault(json!({"fault": "error", "status": 502})).await;
    let reply = cloud.get("customer-gateways").await;
    assert_eq!((reply.status.as_u16(), reply.text.as_str()), (502, ""));
}

#[tokio::test]
async fn a_reset_drops_held_requests_without_effect() {
    let cloud = Cloud::start().await;
    cloud.fault(json!({"fault": "hold"})).await;
    let (reply, ()) = tokio::join!(create(&cloud), async {
        assert_eq!(cloud.admin_get("held?count=1").await["enough"], true);
        cloud.reset().await;
    });
    reply.unwrap_err();
    assert_eq!(cloud.true_count().await, 0);
    assert_eq!(cloud.admin_get("log").await["requests"], json!([]));
}

#[tokio::test]
async fn an_invalid_fault_is_refused_with_the_allowed_values() {
    let cloud = Cloud::start().await;
    for (fault, words) in [
        (json!({"fault": "earthquake"}), "late-commit"),
        (json!({"fault": "hold", "operation": "Nap"}), "CreateCustomerGateway"),
        (json!({"fault": "hold", "color": 1}), "color"),
        (json!({"fault": "latency"}), "needs ms"),
        (json!({"fault": "hold", "ms": 1}), "takes no ms"),
        (json!({"fault": "error", "status": 99}), "200 to 599"),
        (json!({}), "fault"),
    ] {
        let error = cloud.admin(Method::POST, "faults", fault).await.expect(400)["error"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(error.contains(words), "{error}");
    }
}
