//! Where a credentials Secret may send the operator's requests: nowhere but to the endpoints that are allowed.

use vpn_operator_testbed::figures;

use super::access_keys_seen;
use super::hostile::{Hostile, Reply};
use crate::operator::failures::expect_failure;
use crate::operator::world::{Options, World};

/// Ways to write a host, and what stands round it, that must not get past a comparison with what is allowed.
fn aims(port: u16, allowed: &str) -> Vec<(&'static str, String)> {
    let allowed_host = allowed.trim_start_matches("http://");
    let mut aims: Vec<(&'static str, String)> = [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "１２７.0.0.1",
        "127。0。0。1",
        "loc\u{ad}alhost",
        "LOCALHOST",
        "0.0.0.0",
    ]
    .into_iter()
    .map(|host| ("endpoint", format!("http://{host}:{port}")))
    .collect();
    aims.extend([
        ("endpoint", "http://169.254.169.254".to_owned()),
        ("endpoint", "http://[fd00:ec2::254]".to_owned()),
        ("endpoint", "http://kubernetes.default.svc".to_owned()),
        ("endpoint", format!("http://{allowed_host}@127.0.0.1:{port}")),
        ("endpoint", format!("http://user:hunter2@{allowed_host}")),
        ("endpoint", format!("{allowed}/../../latest/meta-data")),
        ("endpoint", format!("{allowed}?x=http://127.0.0.1:{port}")),
        ("endpoint", format!("{allowed}#@127.0.0.1:{port}")),
        ("endpoint", format!("{allowed}\\@127.0.0.1:{port}")),
        ("endpoint", format!("{allowed}.127.0.0.1.nip.io")),
        ("endpoint", format!("file:///etc/passwd#{port}")),
        ("endpoint", format!("gopher://127.0.0.1:{port}")),
        ("endpoint", format!("http://127.0.0.1:{port}\r\nX-Injected: yes")),
        ("iamEndpoint", format!("http://127.0.0.1:{port}")),
        ("iamEndpoint", format!("http://[::ffff:127.0.0.1]:{port}")),
        ("region", format!("x@127.0.0.1:{port}/")),
        ("region", format!("127.0.0.1:{port}#")),
        ("region", "evil.example.com/".to_owned()),
        ("region", "eu-west-101.evil.example.com".to_owned()),
        ("region", "x\r\nHost: evil".to_owned()),
        ("projectID", "../../v3/projects".to_owned()),
        ("projectID", "p\r\nX-Injected: yes".to_owned()),
        ("projectID", "a".repeat(200_000)),
    ]);
    aims
}

#[tokio::test]
async fn a_secret_cannot_direct_requests_to_a_disallowed_host() {
    let target = Hostile::start(Reply::answer("200 OK", "", "{}")).await;
    let mut world = World::start().await;
    let (secret_key, allowed) = (world.secret_key.clone(), world.simulator.url().to_owned());
    let aims = aims(target.port(), &allowed);
    for (number, (key, value)) in aims.iter().enumerate() {
        let name = format!("aim-{number}");
        let access_key = format!("AKAIM{number}");
        world
            .apply_credentials(&name, &access_key, &secret_key, &[(*key, value)])
            .await;
        let spec = format!("{{idValue: 203.0.113.{number}, credentialsRef: {{name: {name}}}}}");
        world.apply_gateway(&name, &spec).await;
    }
    for (number, (key, value)) in aims.iter().enumerate() {
        let object = world
            .wait_for(&format!("aim-{number}"), "it is refused", |object| {
                let ready = crate::operator::world::condition(object, "Ready");
                ready["reason"] == "Forbidden" || ready["reason"] == "InvalidSpec"
            })
            .await;
        let message = crate::operator::console::message(&object);
        assert!(
            message.contains(&format!("/aim-{number}: {key}: ")),
            "{value:?}: {message}"
        );
        assert!(!message.contains("hunter2"), "{message}");
        assert!(message.len() < 1000, "{} bytes", message.len());
    }
    assert_eq!(target.visits(), 0, "a request reached it");
    let seen = access_keys_seen(&world).await;
    let aimed: Vec<_> = seen.iter().filter(|key| key.starts_with("AKAIM")).collect();
    assert!(aimed.is_empty(), "requests with these went to the cloud: {aimed:?}");
    assert!(world.cloud_gateways().await.is_empty());
    let reached = target.visits() + aimed.len() as u64;
    figures::report(
        "adversaries",
        &[("endpoints tried", aims.len() as u64), ("endpoints reached", reached)],
    );
    world.finish().await;
}

#[tokio::test]
async fn a_redirect_is_reported_and_never_followed() {
    let target = Hostile::start(Reply::answer("200 OK", "", r#"{"customer_gateways": []}"#)).await;
    let mut servers = Vec::new();
    for status in [
        "301 Moved Permanently",
        "302 Found",
        "303 See Other",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let location = format!("Location: {}/v5/p/customer-gateways\r\n", target.url());
        servers.push(Hostile::start(Reply::answer(status, &location, "")).await);
    }
    let allowed: Vec<String> = servers.iter().map(Hostile::url).collect();
    let flag = format!("--allowed-endpoint={}", allowed.join(","));
    let mut world = World::with(Options::with(["--resync-period=0", &flag])).await;
    let secret_key = world.secret_key.clone();
    for (number, endpoint) in allowed.iter().enumerate() {
        let name = format!("redirect-{number}");
        let more = [("endpoint", endpoint.as_str()), ("projectID", "p")];
        world.apply_credentials(&name, "AKREDIRECT", &secret_key, &more).await;
        let spec = format!("{{idValue: 203.0.113.{number}, credentialsRef: {{name: {name}}}}}");
        world.apply_gateway(&name, &spec).await;
        expect_failure(&world, &name, "NotAvailable", &["redirects", "not followed"]).await;
    }
    for server in &servers {
        assert!(server.visits() > 0);
    }
    assert_eq!(target.visits(), 0, "a redirect was followed");
    figures::report(
        "adversaries",
        &[
            ("redirects", servers.len() as u64),
            ("redirects followed", target.visits()),
        ],
    );
    world.finish().await;
}
