//! Watches of objects and Secrets: what they deliver is not read again, and what happens while they fail.

use axum::http::Method;
use serde_json::json;

use crate::shell_tests::apiserver::GROUP;
use crate::shell_tests::world::{ShellWorld, gateway, user};

#[tokio::test]
async fn a_forbidden_secret_watch_is_not_retried_before_the_next_resync() {
    let mut world = ShellWorld::new(&[]).await;
    world
        .apiserver
        .fail(|asked| (asked.path == "/api/v1/secrets").then_some(403));
    world.put_secret("login", &[("password", "Sentinel First-1")]);
    world.start();
    // Each of them takes a confirmation period of a second.
    for name in ["alice", "bobby", "carol"] {
        world.put_user(name, json!({"passwordSecretRef": {"name": "login"}}));
        world
            .until("the user is Ready", |world| world.ready(&user(name)).1)
            .await;
    }
    assert_eq!(world.apiserver.count(&Method::GET, "/api/v1/secrets"), 1);
    world.stop().await;
}

#[tokio::test]
async fn watched_owners_are_not_read_from_the_apiserver() {
    let mut world = ShellWorld::new(&[]).await;
    for number in 0..40 {
        world.put_gateway(&format!("gw-{number}"), json!({"idValue": "203.0.113.7"}));
    }
    world.start();
    world
        .until("all are Ready", |world| {
            (0..40).all(|number| world.ready(&gateway(&format!("gw-{number}"))).1)
        })
        .await;
    // The objects themselves are read only after a conflict.
    let asked = world
        .apiserver
        .count(&Method::GET, &format!("{GROUP}/namespaces/team/customergateways/"));
    assert!(asked <= 40, "{asked} GETs");
    world.stop().await;
}

#[tokio::test]
async fn objects_delivered_before_a_watch_failure_are_reconciled() {
    let mut world = ShellWorld::new(&[]).await;
    world.put_gateway(
        "office",
        json!({"idValue": "203.0.113.7", "credentialsRef": {"name": "later"}}),
    );
    // Nothing but the first list ever comes.
    world
        .apiserver
        .fail(|asked| (asked.watch && asked.path.ends_with("/customergateways")).then_some(500));
    world.start();
    let office = gateway("office");
    world
        .until("it waits for its Secret", |world| {
            world.ready(&office).0 == "SecretNotFound"
        })
        .await;
    let keys = [
        ("accessKey", vpn_simulator::tryout::ACCESS_KEY),
        ("secretKey", vpn_simulator::tryout::SECRET_KEY),
    ];
    world.put_secret("later", &keys);
    world.until("it is Ready", |world| world.ready(&office).1).await;
    assert!(!world.readiness.is_ready());
    world.stop().await;
}
