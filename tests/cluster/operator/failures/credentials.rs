//! Credentials that are missing, unusable, wrong or not allowed.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use vpn_operator_testbed::eventually;

use super::{
    add_access_key, ask_again, count, expect_failure, expect_recovered, refusals, secret_of, warnings, warnings_about,
};
use crate::operator::world::{DEADLINE, Options, World, condition, gateway};

fn secrets(world: &World) -> Api<Secret> {
    Api::namespaced(world.client.clone(), &world.namespace)
}

#[tokio::test]
async fn a_missing_or_invalid_secret_is_reported_until_it_is_corrected() {
    let mut world = World::start().await;
    let unusable = "SENTINEL-geh\u{e9}im-unusable";
    world.sentinels.add(unusable);
    let access_key = world.access_key.clone();
    let half = BTreeMap::from([("accessKey", access_key.as_str())]);
    world.apply_secret("half", &half).await;
    let empty = BTreeMap::from([("accessKey", ""), ("secretKey", "never-shown-empty")]);
    world.apply_secret("empty", &empty).await;
    let foreign = BTreeMap::from([("accessKey", access_key.as_str()), ("secretKey", unusable)]);
    world.apply_secret("foreign", &foreign).await;
    let binary: Secret = serde_json::from_value(json!({
        "metadata": {"name": "binary"}, "data": {"accessKey": "/////w==", "secretKey": "/v7+/g=="},
    }))
    .unwrap();
    secrets(&world).create(&PostParams::default(), &binary).await.unwrap();

    let cases: [(&str, &str, &[&str]); 5] = [
        (
            "missing",
            "SecretNotFound",
            &["/missing", "does not exist", "create it"],
        ),
        ("half", "SecretNotFound", &["/half", "secretKey", "set it"]),
        ("empty", "SecretNotFound", &["/empty", "accessKey", "empty"]),
        ("foreign", "Unauthorized", &["/foreign", "secret key", "correct it"]),
        ("binary", "Unauthorized", &["/binary", "accessKey", "not text"]),
    ];
    let mark = world.mark().await;
    for (number, (name, ..)) in cases.iter().enumerate() {
        let spec = format!("{{idValue: 203.0.113.{number}, credentialsRef: {{name: {name}}}}}");
        world.apply_gateway(name, &spec).await;
    }
    for (name, reason, words) in cases {
        expect_failure(&world, name, reason, words).await;
    }
    assert_eq!(world.calls_since(mark).await, BTreeMap::new());

    let secret_key = world.secret_key.clone();
    for (name, ..) in cases {
        world.apply_credentials(name, &access_key, &secret_key, &[]).await;
    }
    for (name, ..) in cases {
        expect_recovered(&world, name).await;
    }
    // Equal credentials share one session, whichever Secret they come from.
    assert_eq!(count(&world, mark, &["LookUpProject", "ListCustomerGateways"]).await, 2);
    assert_eq!(count(&world, mark, &["CreateCustomerGateway"]).await, 5);
    world.finish().await;
}

#[tokio::test]
async fn a_deleted_secret_changes_no_object_without_pending_work() {
    let mut world = World::start().await;
    let (access_key, secret_key) = (world.access_key.clone(), world.secret_key.clone());
    world.apply_credentials("keys", &access_key, &secret_key, &[]).await;
    let spec =
        |name: &str, address: &str| format!("{{name: {name}, idValue: {address}, credentialsRef: {{name: keys}}}}");
    let mark = world.mark().await;
    world.apply_gateway("office", &spec("office", "203.0.113.1")).await;
    let ready = expect_recovered(&world, "office").await;

    secrets(&world).delete("keys", &DeleteParams::default()).await.unwrap();
    // The operator notices it once another object needs the Secret.
    world.apply_gateway("later", &spec("later", "203.0.113.2")).await;
    expect_failure(&world, "later", "SecretNotFound", &["/keys", "does not exist"]).await;
    let quiet = world.get("office").await;
    assert_eq!(
        quiet["metadata"]["resourceVersion"],
        ready["metadata"]["resourceVersion"]
    );
    assert_eq!(warnings(&world, "office").await, []);

    world.patch("office", json!({"spec": {"name": "office-2"}})).await;
    expect_failure(&world, "office", "SecretNotFound", &["/keys", "does not exist"]).await;
    world.apply_credentials("keys", &access_key, &secret_key, &[]).await;
    let recovered = expect_recovered(&world, "office").await;
    assert_eq!(recovered["status"]["id"], ready["status"]["id"]);
    expect_recovered(&world, "later").await;
    let names: Vec<Value> = world
        .cloud_gateways()
        .await
        .iter()
        .map(|it| it["name"].clone())
        .collect();
    assert!(names.contains(&json!("office-2")) && names.len() == 2, "{names:?}");
    assert_eq!(count(&world, mark, &["CreateCustomerGateway"]).await, 2);
    world.finish().await;
}

#[tokio::test]
async fn a_wrong_secret_key_costs_one_bad_signature_for_all_objects() {
    let mut world = World::start().await;
    let (access_key, secret_key) = (world.access_key.clone(), world.secret_key.clone());
    // With a project id, the first call is another one.
    let project: &[(&str, &str)] = &[("projectID", crate::operator::world::PROJECT)];
    for (secret, first_call, more) in [
        ("plain", "LookUpProject", &[][..]),
        ("pinned", "ListCustomerGateways", project),
    ] {
        let wrong = secret_of(&format!("wrong-{secret}"));
        world.apply_credentials(secret, &access_key, &wrong, more).await;
        let mark = world.mark().await;
        let name = |number: usize| format!("{secret}-{number}");
        let manifests: Vec<String> = (1..=20)
            .map(|number| {
                let spec = format!("{{idValue: 203.0.113.{number}, credentialsRef: {{name: {secret}}}}}");
                gateway(&name(number), &spec)
            })
            .collect();
        world.apply(&manifests.join("---\n")).await;
        for number in 1..=20 {
            let words = ["APIGW.0301", "request id", "correct the credentials", "6 minutes"];
            expect_failure(&world, &name(number), "Unauthorized", &words).await;
        }
        // Objects with valid credentials are not delayed.
        let other = format!("own-{secret}");
        world.apply_gateway(&other, "{idValue: 198.51.100.1}").await;
        expect_recovered(&world, &other).await;
        // Neither an edit nor a requested reconcile sends another bad signature.
        ask_again(&world, &name(1)).await;
        world.patch(&name(1), json!({"spec": {"name": "edited"}})).await;
        expect_failure(&world, &name(1), "Unauthorized", &["APIGW.0301"]).await;
        assert_eq!(refusals(&world, mark, "APIGW.0301").await, 1);
        let log: Value = world.simulator.log_since(mark).await.unwrap();
        let refused = log["requests"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|call| call["status"] == 401);
        assert_eq!(refused.map(|call| call["operation"].clone()), Some(json!(first_call)));
        // Reported once, on the Secret as well.
        let about_secret: Vec<_> = warnings_about(&world, "Secret", secret).await;
        assert_eq!(about_secret.len(), 1, "{about_secret:?}");
        assert_eq!(about_secret[0].0, "Unauthorized");
        let reported = format!("credential={}/{secret}", world.namespace);
        let lines = world.running().log();
        let lines: Vec<_> = lines
            .lines()
            .filter(|line| line.contains("WARN") && line.contains(&reported))
            .collect();
        assert_eq!(lines.len(), 1, "{lines:?}");

        world.apply_credentials(secret, &access_key, &secret_key, more).await;
        for number in 1..=20 {
            expect_recovered(&world, &name(number)).await;
        }
        assert_eq!(refusals(&world, mark, "APIGW.0301").await, 1);
        assert_eq!(count(&world, mark, &["CreateCustomerGateway"]).await, 21);
    }
    assert_eq!(world.cloud_gateways().await.len(), 42);
    world.finish().await;
}

#[tokio::test]
async fn unknown_and_temporary_keys_are_reported_until_the_secret_changes() {
    let mut world = World::start().await;
    let token = secret_of("token");
    world.sentinels.add(&token);
    let temporary = |expires_at: &str| json!({"security_token": token, "expires_at": expires_at});
    add_access_key(
        &world,
        "AKTOKENLESS",
        &secret_of("tokenless"),
        temporary("2999-01-01T00:00:00Z"),
    )
    .await;
    add_access_key(
        &world,
        "AKEXPIRED",
        &secret_of("expired"),
        temporary("2020-01-01T00:00:00Z"),
    )
    .await;
    let with_token: &[(&str, &str)] = &[("securityToken", &token)];
    world
        .apply_credentials("unknown", "AKUNKNOWN", &secret_of("unknown"), &[])
        .await;
    world
        .apply_credentials("tokenless", "AKTOKENLESS", &secret_of("tokenless"), &[])
        .await;
    world
        .apply_credentials("expired", "AKEXPIRED", &secret_of("expired"), with_token)
        .await;
    let mark = world.mark().await;
    for (name, address) in [
        ("unknown", "203.0.113.1"),
        ("tokenless", "203.0.113.2"),
        ("expired", "203.0.113.3"),
    ] {
        let spec = format!("{{idValue: {address}, credentialsRef: {{name: {name}}}}}");
        world.apply_gateway(name, &spec).await;
        expect_failure(&world, name, "Unauthorized", &["APIGW.0301", "request id"]).await;
    }
    assert_eq!(refusals(&world, mark, "APIGW.0301").await, 3);
    let (access_key, secret_key) = (world.access_key.clone(), world.secret_key.clone());
    world.apply_credentials("unknown", &access_key, &secret_key, &[]).await;
    world
        .apply_credentials("tokenless", "AKTOKENLESS", &secret_of("tokenless"), with_token)
        .await;
    // A new temporary key.
    add_access_key(
        &world,
        "AKRENEWED",
        &secret_of("renewed"),
        temporary("2999-01-01T00:00:00Z"),
    )
    .await;
    world
        .apply_credentials("expired", "AKRENEWED", &secret_of("renewed"), with_token)
        .await;
    for name in ["unknown", "tokenless", "expired"] {
        expect_recovered(&world, name).await;
    }
    assert_eq!(count(&world, mark, &["CreateCustomerGateway"]).await, 3);
    world.finish().await;
}

#[tokio::test]
async fn default_credentials_serve_only_the_allowed_namespaces() {
    let mut world = World::with(Options::with([
        "--resync-period=0",
        "--default-credentials-namespace=elsewhere",
    ]))
    .await;
    recovers_with_a_credentials_secret(&mut world, "Forbidden", "--default-credentials-namespace").await;
    world.finish().await;
}

#[tokio::test]
async fn without_default_credentials_objects_with_a_secret_work() {
    let mut world = World::with(Options {
        without_credentials: true,
        ..Options::with(["--resync-period=0"])
    })
    .await;
    recovers_with_a_credentials_secret(&mut world, "Unauthorized", "HUAWEICLOUD_SDK_AK").await;
    world.finish().await;
}

async fn recovers_with_a_credentials_secret(world: &mut World, reason: &str, word: &str) {
    let (access_key, secret_key) = (world.access_key.clone(), world.secret_key.clone());
    world.apply_credentials("keys", &access_key, &secret_key, &[]).await;
    world.apply_gateway("office", "{idValue: 203.0.113.1}").await;
    expect_failure(world, "office", reason, &[word, "credentialsRef"]).await;
    world
        .apply_gateway("other", "{idValue: 203.0.113.2, credentialsRef: {name: keys}}")
        .await;
    expect_recovered(world, "other").await;
    world
        .patch("office", json!({"spec": {"credentialsRef": {"name": "keys"}}}))
        .await;
    expect_recovered(world, "office").await;
    assert_eq!(world.cloud_gateways().await.len(), 2);
}

#[tokio::test]
async fn a_failed_project_lookup_does_not_block_later_lookups() {
    let mut world = World::start().await;
    let access_key = super::add_tenant(
        &mut world,
        "blind",
        json!({"permissions": {"denied_actions": ["iam:projects:listProjects"]}}),
    )
    .await;
    world
        .apply_gateway("office", "{idValue: 203.0.113.1, credentialsRef: {name: blind}}")
        .await;
    expect_failure(&world, "office", "Forbidden", &["iam:projects:listProjects"]).await;
    super::deny(&world, &access_key, &[]).await;
    ask_again(&world, "office").await;
    eventually("the project is looked up at once", DEADLINE, async || {
        let object = world.get("office").await;
        let ready = crate::operator::world::condition(&object, "Ready");
        if ready["status"] == "True" {
            Ok(())
        } else {
            Err(ready.to_string())
        }
    })
    .await
    .unwrap();
    world.finish().await;
}

#[tokio::test]
async fn a_revoked_key_is_reported_on_its_secret_and_by_pending_objects() {
    let mut world = World::with(Options::with(["--resync-period=1s"])).await;
    super::add_tenant(&mut world, "keys", json!({})).await;
    world
        .apply_gateway(
            "office",
            "{name: office, idValue: 203.0.113.1, credentialsRef: {name: keys}}",
        )
        .await;
    let ready = expect_recovered(&world, "office").await;
    let mark = world.mark().await;
    add_access_key(&world, "AKKEYS", &secret_of("changed"), json!({})).await;
    let reported = eventually("the Secret has a Warning", DEADLINE, async || {
        let reported = warnings_about(&world, "Secret", "keys").await;
        if reported.is_empty() { Err("none") } else { Ok(reported) }
    })
    .await
    .unwrap();
    assert_eq!(reported[0].0, "Unauthorized");
    // The object at rest stays Ready; it shows that its credentials fail only after that has lasted.
    let resting = expect_credentials(&world, "office", "False", "Unauthorized").await;
    assert_eq!(condition(&resting, "Ready"), condition(&ready, "Ready"));
    assert_eq!(warnings(&world, "office").await, [], "the Secret has the Event");
    let credential = format!("{{credential=\"{}/keys\"}}", world.namespace);
    let healthy = format!("vpn_operator_credential_healthy{credential}");
    world.wait_for_metric(&format!("{healthy} 0")).await;
    world.patch("office", json!({"spec": {"name": "office-2"}})).await;
    expect_failure(&world, "office", "Unauthorized", &["APIGW.0301", "request id"]).await;
    // Cycles continue, but none of them reaches the cloud.
    assert_eq!(refusals(&world, mark, "APIGW.0301").await, 1);
    assert_eq!(warnings_about(&world, "Secret", "keys").await.len(), 1);
    world
        .apply_credentials("keys", "AKKEYS", &secret_of("changed"), &[])
        .await;
    let recovered = expect_recovered(&world, "office").await;
    assert_eq!(recovered["status"]["id"], ready["status"]["id"]);
    assert_eq!(world.cloud_gateways().await[0]["name"], "office-2");
    assert_eq!(refusals(&world, mark, "APIGW.0301").await, 1);
    expect_credentials(&world, "office", "True", "Works").await;
    world.wait_for_metric(&format!("{healthy} 1")).await;
    world.finish().await;
}

/// Waits until an object shows this health of its credentials.
pub(super) async fn expect_credentials(world: &World, name: &str, status: &str, reason: &str) -> Value {
    let awaited = format!("CredentialsHealthy is {status}, {reason}");
    let fits = |object: &Value| {
        let shown = condition(object, "CredentialsHealthy");
        shown["status"] == status && shown["reason"] == reason
    };
    world.wait_for(name, &awaited, fits).await
}

#[tokio::test]
async fn idle_objects_report_removed_default_credentials() {
    let mut world = World::with(Options::with(["--resync-period=1s"])).await;
    world.apply_gateway("office", "{idValue: 203.0.113.1}").await;
    let ready = expect_recovered(&world, "office").await;
    let keys = [
        ("HUAWEICLOUD_SDK_AK", world.access_key.clone()),
        ("HUAWEICLOUD_SDK_SK", world.secret_key.clone()),
    ];
    let healthy = "vpn_operator_credential_healthy{credential=\"default\"}";

    world.stop_operator().await;
    for (name, _) in &keys {
        world.unset_variable(name);
    }
    world.start_operator().await;
    let resting = expect_credentials(&world, "office", "False", "Unauthorized").await;
    assert_eq!(condition(&resting, "Ready"), condition(&ready, "Ready"));
    world.wait_for_metric(&format!("{healthy} 0")).await;
    let reported = world.running().log();
    assert_eq!(
        reported
            .lines()
            .filter(|line| line.contains("the credentials fail"))
            .count(),
        1
    );

    // Credentials that a namespace may not use do not count as failing.
    world.stop_operator().await;
    for (name, value) in &keys {
        world.set_variable(name, value);
    }
    world.set_argument("--default-credentials-namespace=elsewhere");
    world.start_operator().await;
    let resting = expect_credentials(&world, "office", "False", "Forbidden").await;
    assert_eq!(condition(&resting, "Ready"), condition(&ready, "Ready"));
    let metrics = world.running().metrics(DEADLINE).await.unwrap();
    assert!(!metrics.contains("vpn_operator_credential_healthy{"), "{metrics}");

    world.stop_operator().await;
    let namespace = world.namespace.clone();
    world.set_argument(&format!("--default-credentials-namespace={namespace}"));
    world.start_operator().await;
    expect_credentials(&world, "office", "True", "Works").await;
    world.wait_for_metric(&format!("{healthy} 1")).await;
    world.finish().await;
}

#[tokio::test]
async fn idle_objects_report_a_deleted_or_incomplete_credentials_secret() {
    let mut world = World::with(Options::with(["--resync-period=1s"])).await;
    for (name, address) in [
        ("gone", "203.0.113.1"),
        ("half", "203.0.113.2"),
        ("astray", "203.0.113.3"),
    ] {
        super::add_tenant(&mut world, name, json!({})).await;
        let spec = format!("{{idValue: {address}, credentialsRef: {{name: {name}}}}}");
        world.apply_gateway(name, &spec).await;
        expect_recovered(&world, name).await;
    }
    // An object with other credentials shows nothing.
    world.apply_gateway("other", "{idValue: 203.0.113.4}").await;
    let other = expect_recovered(&world, "other").await;
    secrets(&world).delete("gone", &DeleteParams::default()).await.unwrap();
    let without = Patch::Merge(json!({"data": {"secretKey": null}}));
    secrets(&world)
        .patch("half", &PatchParams::default(), &without)
        .await
        .unwrap();
    let elsewhere = [("endpoint", "https://vpn.example.com")];
    world
        .apply_credentials("astray", "AKASTRAY", &secret_of("astray"), &elsewhere)
        .await;
    let cases = [
        ("gone", "SecretNotFound", "does not exist"),
        ("half", "SecretNotFound", "no key secretKey"),
        ("astray", "Forbidden", "is not allowed"),
    ];
    for (name, reason, words) in cases {
        let object = expect_credentials(&world, name, "False", reason).await;
        let shown = condition(&object, "CredentialsHealthy");
        assert!(
            shown["message"].as_str().is_some_and(|message| message.contains(words)),
            "{shown}"
        );
        assert_eq!(condition(&object, "Ready")["status"], "True", "{object}");
        let credential = format!("{}/{name}", world.namespace);
        let metric = format!("vpn_operator_credential_healthy{{credential=\"{credential}\"}}");
        world.wait_for_metric(&format!("{metric} 0")).await;
        let log = world.running().log();
        let reported = log
            .lines()
            .filter(|line| line.contains("the credentials fail") && line.contains(&credential));
        assert_eq!(reported.count(), 1, "{name}");
        // An Event about the Secret, or, if there is none, about the object.
        let (kind, silent) = match name {
            "gone" => ("CustomerGateway", "Secret"),
            _ => ("Secret", "CustomerGateway"),
        };
        eventually(&format!("one Event about the {kind} {name}"), DEADLINE, async || {
            let warnings = warnings_about(&world, kind, name).await;
            if warnings.len() == 1 && warnings[0].0 == reason {
                Ok(())
            } else {
                Err(format!("{warnings:?}"))
            }
        })
        .await
        .unwrap();
        assert_eq!(warnings_about(&world, silent, name).await, [], "{name}");
    }
    for name in ["gone", "half", "astray"] {
        let access_key = format!("AK{}", name.to_uppercase());
        secrets(&world).delete(name, &DeleteParams::default()).await.ok();
        world.apply_credentials(name, &access_key, &secret_of(name), &[]).await;
        expect_credentials(&world, name, "True", "Works").await;
        let credential = format!("{{credential=\"{}/{name}\"}}", world.namespace);
        world
            .wait_for_metric(&format!("vpn_operator_credential_healthy{credential} 1"))
            .await;
    }
    let quiet = world.get("other").await;
    assert_eq!(
        quiet["metadata"]["resourceVersion"],
        other["metadata"]["resourceVersion"]
    );
    world.finish().await;
}

#[tokio::test]
async fn a_revoked_access_key_is_reported_on_every_secret_with_it() {
    let mut world = World::with(Options::with(["--resync-period=1s"])).await;
    super::add_tenant(&mut world, "first", json!({})).await;
    world
        .apply_credentials("second", "AKFIRST", &secret_of("first"), &[])
        .await;
    for (name, address) in [("first", "203.0.113.1"), ("second", "203.0.113.2")] {
        let spec = format!("{{idValue: {address}, credentialsRef: {{name: {name}}}}}");
        world.apply_gateway(name, &spec).await;
        expect_recovered(&world, name).await;
    }
    let mark = world.mark().await;
    add_access_key(&world, "AKFIRST", &secret_of("changed"), json!({})).await;
    for name in ["first", "second"] {
        expect_credentials(&world, name, "False", "Unauthorized").await;
        // The Event may follow the status.
        let warnings = eventually(&format!("the Secret {name} has a Warning"), DEADLINE, async || {
            let warnings = warnings_about(&world, "Secret", name).await;
            if warnings.is_empty() { Err("none") } else { Ok(warnings) }
        })
        .await
        .unwrap();
        assert!(
            warnings.len() == 1 && warnings[0].0 == "Unauthorized",
            "{name}: {warnings:?}"
        );
    }
    assert_eq!(refusals(&world, mark, "APIGW.0301").await, 1);
    world.finish().await;
}

#[tokio::test]
async fn idle_objects_do_not_report_a_cloud_outage() {
    let world = World::with(Options::with(["--resync-period=1s"])).await;
    world.apply_gateway("office", "{idValue: 203.0.113.1}").await;
    let ready = expect_recovered(&world, "office").await;
    let fault = json!({"fault": "error", "operation": "ListCustomerGateways", "status": 503,
        "code": "APIGW.0201", "times": 0});
    world.simulator.add_fault(&fault).await.unwrap();
    let mark = world.mark().await;
    eventually("four drift checks fail", DEADLINE, async || {
        match count(&world, mark, &["ListCustomerGateways"]).await {
            0..=3 => Err("not yet"),
            _ => Ok(()),
        }
    })
    .await
    .unwrap();
    let quiet = world.get("office").await;
    assert_eq!(
        quiet["metadata"]["resourceVersion"],
        ready["metadata"]["resourceVersion"]
    );
    world
        .wait_for_metric("vpn_operator_credential_healthy{credential=\"default\"} 1")
        .await;
    world.finish().await;
}

#[tokio::test]
async fn a_deletion_uses_cached_keys_of_a_deleted_secret() {
    let mut world = World::start().await;
    super::add_tenant(&mut world, "keys", json!({})).await;
    for (name, address) in [
        ("at-once", "203.0.113.1"),
        ("later", "203.0.113.2"),
        ("kept", "203.0.113.3"),
    ] {
        let spec = format!("{{idValue: {address}, credentialsRef: {{name: keys}}}}");
        world.apply_gateway(name, &spec).await;
        expect_recovered(&world, name).await;
    }
    let delete = async |world: &World, name: &str| {
        world.kubectl(["delete", "customergateway", name, "--wait=false"]).await;
    };
    secrets(&world).delete("keys", &DeleteParams::default()).await.unwrap();
    delete(&world, "at-once").await;
    world.wait_until_deleted("at-once").await;
    assert_eq!(world.cloud_gateways().await.len(), 2);

    // A new process has never read the Secret.
    world.restart_operator().await;
    for name in ["later", "kept"] {
        delete(&world, name).await;
        let object = expect_failure(&world, name, "SecretNotFound", &["/keys", "create it"]).await;
        assert!(object["metadata"]["finalizers"][0].is_string(), "{object}");
    }
    world.patch("kept", json!({"spec": {"deletionPolicy": "Retain"}})).await;
    world.wait_until_deleted("kept").await;
    world.apply_credentials("keys", "AKKEYS", &secret_of("keys"), &[]).await;
    world.wait_until_deleted("later").await;
    let names: Vec<Value> = world
        .cloud_gateways()
        .await
        .iter()
        .map(|it| it["name"].clone())
        .collect();
    assert_eq!(names, ["kept"]);
    world.finish().await;
}
