//! Answers and Secrets that are endless, huge, slow or deep: they cost a bounded amount of memory and do not delay
//! other objects.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::DeleteParams;
use vpn_operator_testbed::{Effort, effort, eventually, figures};

use super::hostile::{Hostile, Reply};
use crate::operator::console::message;
use crate::operator::world::{DEADLINE, Options, World, condition};

const MIB: u64 = 1024 * 1024;
/// The most memory that the operator may need while all hostile servers answer at once. Each answer is at most 4 MiB,
/// and a few times that when parsed.
const MOST_GROWTH: u64 = 96 * MIB;
/// The most memory that may stay in use after 40 Secrets of nearly a MiB each.
const MOST_KEPT: u64 = 20 * MIB;

/// A value from `/proc/PID/status` of the operator, in bytes.
fn memory(world: &World, line: &str) -> u64 {
    let pid = world.running().pid();
    let account = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = account
        .lines()
        .find_map(|it| it.strip_prefix(line))
        .expect("the kernel reports it");
    let kib: u64 = value
        .trim_start_matches(':')
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kib * 1024
}

/// Answers that no API gives, by name.
fn monsters() -> Vec<(&'static str, Reply)> {
    let size = match effort() {
        Effort::Quick => 100_000_000,
        Effort::Full => 1_000_000_000,
    };
    let gateways = |items: &str| format!(r#"{{"customer_gateways": [{items}]}}"#);
    let json = "Content-Type: application/json\r\n";
    // 4 MB of zeros, sent as 4 KB.
    let bomb: Vec<u8> = include_bytes!("bomb.gz").to_vec();
    vec![
        ("endless", Reply::huge("200 OK", &" ".repeat(65_536), size)),
        (
            "endless-refusal",
            Reply::huge("400 Bad Request", &"{\"a\":".repeat(10_000), size),
        ),
        (
            "slow",
            Reply::Drip {
                head: "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n".to_owned(),
                pause: Duration::from_millis(50),
            },
        ),
        (
            "slow-refusal",
            Reply::Drip {
                head: "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 1000000\r\n\r\n".to_owned(),
                pause: Duration::from_millis(50),
            },
        ),
        (
            "slow-head",
            Reply::Drip {
                head: "HTTP/1.1 200 OK\r\nX-Slow: ".to_owned(),
                pause: Duration::from_millis(50),
            },
        ),
        ("deep", Reply::answer("200 OK", json, "[".repeat(2_000_000))),
        (
            "deep-item",
            Reply::answer("200 OK", json, gateways(&"{\"x\":".repeat(500_000))),
        ),
        (
            "deep-refusal",
            Reply::answer("400 Bad Request", json, "{\"a\":".repeat(10_000)),
        ),
        (
            "many-items",
            Reply::answer("200 OK", json, gateways(&vec![r#"{"id":"a"}"#; 300_000].join(","))),
        ),
        ("many-tags", {
            let tags = vec![r#"{"key":"a"}"#; 300_000].join(",");
            Reply::answer("200 OK", json, gateways(&format!(r#"{{"id":"a","tags":[{tags}]}}"#)))
        }),
        (
            "long-text",
            Reply::answer(
                "200 OK",
                json,
                gateways(&format!(r#"{{"id":"a","name":"{}"}}"#, "n".repeat(2_000_000))),
            ),
        ),
        (
            "long-id",
            Reply::answer(
                "200 OK",
                json,
                gateways(&format!(r#"{{"id":"{}"}}"#, "i".repeat(2_000_000))),
            ),
        ),
        (
            "big-number",
            Reply::answer(
                "200 OK",
                json,
                format!(
                    r#"{{"customer_gateways": [], "total_count": {}}}"#,
                    "9".repeat(1_000_000)
                ),
            ),
        ),
        (
            "bomb",
            Reply::answer(
                "200 OK",
                "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
                bomb,
            ),
        ),
        (
            "many-headers",
            Reply::answer("200 OK", &"X-Flood: a\r\n".repeat(50_000), "{}"),
        ),
        (
            "long-header",
            Reply::answer("200 OK", &format!("X-Request-Id: {}\r\n", "h".repeat(2_000_000)), "{}"),
        ),
    ]
}

#[tokio::test]
async fn hostile_responses_use_bounded_memory_and_delay_no_other_tenant() {
    let mut servers = Vec::new();
    for (name, reply) in monsters() {
        servers.push((name, Hostile::start(reply).await));
    }
    let allowed: Vec<String> = servers.iter().map(|(_, server)| server.url()).collect();
    let flag = format!("--allowed-endpoint={}", allowed.join(","));
    let mut world = World::with(Options::with(["--resync-period=0", &flag])).await;
    let secret_key = world.secret_key.clone();
    // Objects whose cloud works correctly are served all the time.
    world.create("before", "{idValue: 203.0.113.1}").await;
    let before = memory(&world, "VmHWM");
    let mut objects = Vec::new();
    for (name, server) in &servers {
        for service in ["vpn", "iam"] {
            let object = format!("{name}-{service}");
            let url = server.url();
            let more: &[(&str, &str)] = match service {
                "vpn" => &[("endpoint", &url), ("projectID", "p")],
                _ => &[("iamEndpoint", &url)],
            };
            world
                .apply_credentials(&object, &format!("AK{object}"), &secret_key, more)
                .await;
            let spec = format!("{{idValue: 203.0.113.2, credentialsRef: {{name: {object}}}}}");
            world.apply_gateway(&object, &spec).await;
            objects.push(object);
        }
    }
    for object in &objects {
        let seen = world
            .wait_for(object, "the message shows the cause", |object| {
                condition(object, "Ready")["status"] == "False" && !message(object).is_empty()
            })
            .await;
        let shown = message(&seen);
        assert!(
            shown.chars().count() < 700,
            "{object}: {} characters",
            shown.chars().count()
        );
        assert_ne!(condition(&seen, "Ready")["reason"], "NotFound", "{object}: {shown}");
    }
    world.create("after", "{idValue: 203.0.113.3}").await;
    let grown = memory(&world, "VmHWM").saturating_sub(before);
    assert!(
        grown < MOST_GROWTH,
        "the most that was needed grew by {} MiB",
        grown / MIB
    );
    assert!(servers.iter().all(|(_, server)| server.visits() > 0));
    assert_eq!(world.cloud_gateways().await.len(), 2);
    figures::report(
        "adversaries",
        &[
            ("oversized or malformed responses", objects.len() as u64),
            (
                "most memory needed for oversized or malformed responses, MiB",
                grown / MIB,
            ),
        ],
    );
    world.finish().await;
}

#[tokio::test]
async fn only_the_used_keys_of_huge_secrets_stay_in_memory() {
    let mut world = World::start().await;
    world.create("before", "{idValue: 203.0.113.1}").await;
    let before = memory(&world, "VmRSS");
    let size = 900 * 1024;
    let mut names = Vec::new();
    for number in 0..40 {
        let name = format!("huge-{number}");
        // In the key that is used, or in another one.
        let (key, other) = if number % 2 == 0 {
            ("password", "x")
        } else {
            ("other", "password")
        };
        let value = "Aa1-".repeat(size / 4);
        let mut data = BTreeMap::from([(key, value.as_str())]);
        data.entry(other).or_insert("short");
        world.apply_secret(&name, &data).await;
        let spec = format!("{{name: user-{number}, passwordSecretRef: {{name: {name}}}}}");
        world.apply_user(&name, &spec).await;
        names.push(name);
    }
    for name in &names {
        let object = world.users().wait_for_reason(name, "InvalidPassword").await;
        assert!(!message(&object).contains("Aa1-"), "{}", message(&object));
    }
    let kept = eventually("memory of the Secrets is released", DEADLINE, async || {
        let kept = memory(&world, "VmRSS").saturating_sub(before);
        if kept < MOST_KEPT {
            Ok(kept)
        } else {
            Err(format!("{} MiB", kept / MIB))
        }
    })
    .await
    .unwrap_or_else(|error| panic!("{error}"));
    // The same for other Secrets: access keys, a certificate, and a certificate Secret with a private key.
    let long = "k".repeat(size);
    // No sentinel: a search for a secret of that length takes too long. Every other test searches for its secrets.
    for (name, access_key, secret_key) in [("long-key", "AK", long.as_str()), ("long-access", &long, "short")] {
        let data = BTreeMap::from([("accessKey", access_key), ("secretKey", secret_key)]);
        world.apply_secret(name, &data).await;
    }
    world
        .apply_secret("long-ca", &BTreeMap::from([("ca.crt", long.as_str())]))
        .await;
    let private = "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nSENTINELprivate\n";
    world.sentinels.add("SENTINELprivate");
    world
        .apply_secret("private-ca", &BTreeMap::from([("ca.crt", private)]))
        .await;
    let mark = world.mark().await;
    for (name, field, reason, word) in [
        ("long-key", "credentialsRef", "Unauthorized", "too long"),
        ("long-access", "credentialsRef", "Unauthorized", "too long"),
        ("long-ca", "caCertificateSecretRef", "InvalidSpec", "64 KiB"),
        ("private-ca", "caCertificateSecretRef", "InvalidSpec", "private key"),
    ] {
        let spec = format!("{{idValue: 203.0.113.4, {field}: {{name: {name}}}}}");
        world.apply_gateway(name, &spec).await;
        let object = world.wait_for_reason(name, reason).await;
        assert!(message(&object).contains(word), "{}", message(&object));
    }
    assert_eq!(world.writes_since(mark).await.len(), 0);
    // Other tests read everything that remains.
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    for name in names
        .iter()
        .map(String::as_str)
        .chain(["long-key", "long-access", "long-ca"])
    {
        secrets.delete(name, &DeleteParams::default()).await.unwrap();
    }
    figures::report(
        "adversaries",
        &[
            ("huge Secrets", 43),
            ("memory kept for 36 MB of Secrets, MiB", kept / MIB),
        ],
    );
    world.finish().await;
}
