//! The operator checks the cloud's password rules before any request, and reports violations without the value.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::{patch_secret, wait_for_message, wait_for_password};
use crate::operator::world::World;

/// Passwords that break a rule, and words of the message. `NAME` and `EMAN` stand for the user's name and its reverse.
const BROKEN: [(&str, &[u8], &str); 12] = [
    ("empty", b"", "empty"),
    ("newline", b"\n", "empty"),
    ("short", b"Zq7~Xw!", "at least 8"),
    ("long", b"Sentinel-of-thirty-three-letters1", "at most 32"),
    ("lower", b"sentinelofonekind", "at least two"),
    ("digits", b"90210731846529", "at least two"),
    ("name", b"NAME", "name of the user"),
    ("reverse", b"EMAN", "backwards"),
    ("umlaut", "Sentinel-Schlüssel-1".as_bytes(), "not ASCII"),
    ("bytes", b"Sentinel\xff\xfe1234", "not ASCII"),
    ("tab", b"Sentinel\tTab-1", "control character"),
    ("newlines", b"Sentinel Lines-1\n\n", "control character"),
];

fn value(template: &[u8], user: &str) -> Vec<u8> {
    match template {
        b"NAME" => user.as_bytes().to_vec(),
        b"EMAN" => user.bytes().rev().collect(),
        other => other.to_vec(),
    }
}

/// Puts bytes into a Secret, whatever they are.
async fn put(world: &World, name: &str, bytes: &[u8]) {
    world
        .apply_secret(name, &BTreeMap::from([("note", "made by a test")]))
        .await;
    let value = serde_json::to_value(ByteString(bytes.to_vec())).unwrap();
    patch_secret(world, name, json!({"data": {"password": value}})).await;
}

/// Asserts that status, Events and log do not contain the value. This also covers values that are too short for a
/// search in base64, where they match other text.
async fn assert_not_disclosed(world: &World, name: &str, value: &[u8]) {
    let Ok(value) = str::from_utf8(value) else { return };
    let value = value.trim();
    let is_name = value == name || value.chars().rev().eq(name.chars());
    if value.is_empty() || is_name {
        return;
    }
    let object = world.users().get(name).await;
    let shown = format!("{}{:?}", object["status"], world.users().events(name).await);
    assert!(!shown.contains(value), "{name}: {shown}");
    assert!(!world.running().log().contains(value), "{name}: it is in the log");
}

#[tokio::test]
async fn an_invalid_password_is_neither_sent_nor_shown() {
    let mut world = World::start().await;
    for text in BROKEN.iter().filter_map(|(_, value, _)| str::from_utf8(value).ok()) {
        if text.trim().len() > 8 {
            world.sentinels.add(text.trim());
        }
    }
    let mark = world.mark().await;
    let mut names = Vec::new();
    for (rule, template, word) in BROKEN {
        let user = format!("rule-{rule}");
        put(&world, &user, &value(template, &user)).await;
        let spec = format!("{{passwordSecretRef: {{name: {user}}}}}");
        world.apply_user(&user, &spec).await;
        names.push((user, template, word));
    }
    for (user, template, word) in &names {
        let message = wait_for_message(&world, user, "InvalidPassword").await;
        assert!(message.contains(word), "{user}: {message}");
        let event = world.users().wait_for_event(user, "InvalidPassword").await;
        assert!(event.contains(word), "{user}: {event}");
        assert_not_disclosed(&world, user, &value(template, user)).await;
    }
    let calls = world.calls_since(mark).await;
    assert!(!calls.contains_key("CreateVpnUser"), "{calls:?}");
    assert!(world.cloud_users().await.is_empty());

    // The same for an existing user; a line break at the end is not part of the value.
    for (name, end) in [("rule-empty", "\n"), ("rule-short", "\r\n"), ("rule-long", "")] {
        let password = format!("Sentinel {name}");
        world.sentinels.add(&password);
        put(&world, name, format!("{password}{end}").as_bytes()).await;
        world.users().wait_for_reason(name, "Available").await;
        wait_for_password(&world, name, &password).await;
    }
    let mark = world.mark().await;
    for (_, template, word) in BROKEN {
        put(&world, "rule-empty", &value(template, "rule-empty")).await;
        let reports_rule = |object: &Value| {
            let ready = crate::operator::world::condition(object, "Ready");
            let message = ready["message"].as_str().unwrap_or_default();
            ready["reason"] == "InvalidPassword" && message.contains(word)
        };
        world.users().wait_for("rule-empty", word, reports_rule).await;
        assert_not_disclosed(&world, "rule-empty", &value(template, "rule-empty")).await;
    }
    put(&world, "rule-empty", b"Sentinel rule-empty\r\n").await;
    wait_for_password(&world, "rule-empty", "Sentinel rule-empty").await;
    let calls = world.calls_since(mark).await;
    assert!(!calls.contains_key("ResetVpnUserPassword"), "{calls:?}");
    world.finish().await;
}
