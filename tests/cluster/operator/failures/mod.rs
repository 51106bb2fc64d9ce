//! Failures outside of the operator: what the object reports, and how it recovers without a restart, a loss or a
//! duplicate.

mod credentials;
mod endpoints;
mod faults;
mod ownership;
mod permissions;
mod quotas;
mod retries;
mod switches;
mod throttling;
mod unreadable;

use serde_json::{Value, json};
use vpn_operator_testbed::eventually;

use crate::operator::world::{DEADLINE, World, condition};

/// Reasons with which an object waits for something that may happen without user action; the others require user
/// action.
const RECOVERS_BY_ITSELF: [&str; 4] = ["SecretNotFound", "DependencyNotReady", "Throttled", "CloudError"];

/// Waits until an object reports a failure: the reason, its conditions, a message with these words, and one Warning.
pub(crate) async fn expect_failure(world: &World, name: &str, reason: &str, words: &[&str]) -> Value {
    let object = world.wait_for_reason(name, reason).await;
    let ready = condition(&object, "Ready");
    assert_eq!(ready["status"], "False", "{name}: {ready}");
    let (there, not_there) = if RECOVERS_BY_ITSELF.contains(&reason) {
        ("Reconciling", "Stalled")
    } else {
        ("Stalled", "Reconciling")
    };
    assert_eq!(condition(&object, there)["status"], "True", "{name}: {object}");
    assert_eq!(condition(&object, there)["reason"], reason, "{name}: {object}");
    assert_eq!(condition(&object, not_there), Value::Null, "{name}: {object}");
    let message = ready["message"].as_str().unwrap_or_default();
    for word in words {
        assert!(message.contains(word), "{name}: {word:?} is not in {message:?}");
    }
    wait_for_warning(world, name, reason, message).await;
    object
}

/// Notes of Events longer than this may be the beginning of a longer message: the operator cuts them at 1,000 bytes.
const CUT_NOTES: usize = 900;

/// Waits until there is exactly one Warning for a message.
async fn wait_for_warning(world: &World, name: &str, reason: &str, message: &str) {
    let awaited = format!("{name}: one Warning {reason}: {message}");
    eventually(&awaited, DEADLINE, async || {
        let warnings = warnings(world, name).await;
        let message = without_request_id(message);
        let of_this = warnings.iter().filter(|(other, note)| {
            let is_cut = note.len() > CUT_NOTES && message.starts_with(note.as_str());
            other == reason && (*note == message || is_cut)
        });
        match of_this.count() {
            1 => Ok(()),
            _ => Err(format!("{warnings:?}")),
        }
    })
    .await
    .unwrap_or_else(|error| panic!("{error}"));
}

/// Reason and note, without its request id, of each Warning about a gateway, once per occurrence.
pub(crate) async fn warnings(world: &World, name: &str) -> Vec<(String, String)> {
    warnings_about(world, "CustomerGateway", name).await
}

/// The same about an object of any kind.
pub(crate) async fn warnings_about(world: &World, kind: &str, name: &str) -> Vec<(String, String)> {
    let mut warnings = Vec::new();
    for event in world.events(name).await {
        if event["type"] == "Warning" && event["regarding"]["kind"] == kind {
            let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
            let times = event["series"]["count"].as_u64().unwrap_or(1);
            for _ in 0..times {
                warnings.push((text("reason"), without_request_id(&text("note"))));
            }
        }
    }
    warnings
}

fn without_request_id(text: &str) -> String {
    match text.split_once("request id ") {
        Some((before, after)) => format!(
            "{before}{}",
            after.trim_start_matches(|c: char| c.is_ascii_hexdigit() || c == '-')
        ),
        None => text.to_owned(),
    }
}

/// Waits until an object is Available, and checks that it owns exactly one gateway in the cloud.
pub(crate) async fn expect_recovered(world: &World, name: &str) -> Value {
    let object = world.wait_for_reason(name, "Available").await;
    for condition_type in ["Reconciling", "Stalled"] {
        assert_eq!(condition(&object, condition_type), Value::Null, "{name}: {object}");
    }
    assert!(object["status"]["intent"].is_null(), "{name}: {object}");
    let owned = owned_gateways(world, &object).await;
    assert_eq!(owned.len(), 1, "{name}: {owned:?}");
    assert_eq!(owned[0]["id"], object["status"]["id"], "{name}");
    object
}

/// The cloud's gateways whose tag names this object.
pub(crate) async fn owned_gateways(world: &World, object: &Value) -> Vec<Value> {
    let uid = object["metadata"]["uid"].as_str().unwrap_or("none").to_owned();
    let is_own = |gateway: &Value| {
        let tag = gateway["tags"]["vpn-operator-owner"].as_str();
        tag.is_some_and(|tag| tag.starts_with(&uid))
    };
    let gateways = world.cloud_gateways().await;
    gateways.into_iter().filter(is_own).collect()
}

/// Requests a reconciliation, as a user does after a correction that the operator cannot notice.
pub(crate) async fn ask_again(world: &World, name: &str) {
    let version = world.get(name).await["metadata"]["resourceVersion"].clone();
    let annotation = json!({"vpn.huaweicloud.com/reconcile-requested-at": version});
    world
        .patch(name, json!({"metadata": {"annotations": annotation}}))
        .await;
}

/// How often these operations were called.
pub(crate) async fn count(world: &World, mark: u64, operations: &[&str]) -> u64 {
    let calls = world.calls_since(mark).await;
    operations.iter().filter_map(|operation| calls.get(*operation)).sum()
}

/// Calls that change something.
pub(crate) const WRITES: [&str; 5] = [
    "CreateCustomerGateway",
    "UpdateCustomerGateway",
    "DeleteCustomerGateway",
    "AddCustomerGatewayTags",
    "RemoveCustomerGatewayTags",
];

/// Refusals since then, by their code.
pub(crate) async fn refusals(world: &World, mark: u64, code: &str) -> u64 {
    let counts: Value = world.simulator.counts_since(mark).await.unwrap();
    counts["by_error_code"][code].as_u64().unwrap_or_default()
}

/// Creates an access key in the cloud, with the fields in `more`.
pub(crate) async fn add_access_key(world: &World, access_key: &str, secret_key: &str, more: Value) {
    let mut credential = json!({"secret_key": secret_key});
    for (field, value) in more.as_object().into_iter().flatten() {
        credential[field] = value.clone();
    }
    world
        .simulator
        .put::<Value>(&format!("credentials/{access_key}"), &credential)
        .await
        .unwrap();
}

/// A secret that JSON, URLs and base64 encode differently, and that no log may contain.
pub(crate) fn secret_of(name: &str) -> String {
    format!("SENTINEL+of/{name}\"x=end")
}

/// Creates a tenant: an access key in the cloud, and a Secret of the same name that contains it.
pub(crate) async fn add_tenant(world: &mut World, name: &str, more: Value) -> String {
    let access_key = format!("AK{}", name.to_uppercase());
    add_access_key(world, &access_key, &secret_of(name), more).await;
    world.apply_credentials(name, &access_key, &secret_of(name), &[]).await;
    access_key
}

pub(crate) async fn deny(world: &World, access_key: &str, actions: &[&str]) {
    world
        .simulator
        .put::<Value>(
            &format!("credentials/{access_key}/permissions"),
            &json!({"denied_actions": actions}),
        )
        .await
        .unwrap();
}
