//! The shell around the decisions, without a cluster: what is asked of the apiserver and of the cloud, how often, and what
//! one object's trouble means for the others.

mod apiserver;
mod forbidden;
mod takeover;
mod world;

use axum::http::Method;
use serde_json::json;

use self::apiserver::GROUP;
use self::world::{World, gateway, user};
use crate::reconcile::tripwire::Step;
use crate::reconcile::workers::MOST_RECONCILES;

fn address(number: usize) -> serde_json::Value {
    json!({"idValue": format!("203.0.{}.{}", number / 200, number % 200 + 1)})
}

#[tokio::test]
async fn of_100_objects_those_that_panic_at_any_step_are_reported_and_the_others_unaffected() {
    let steps = [Step::Gather, Step::Decide, Step::Act, Step::Report];
    let mut world = World::new(&[]).await;
    for number in 0..100 {
        world.put_gateway(&format!("gw-{number}"), address(number));
    }
    for (number, step) in steps.into_iter().enumerate() {
        world.tripwires.set(&format!("gw-{number}"), step);
    }
    world.start();
    let victims = || (0..4).map(|number| gateway(&format!("gw-{number}")));
    let others = || (4..100).map(|number| gateway(&format!("gw-{number}")));
    world
        .until("the others are Ready", |world| {
            others().all(|path| world.ready(&path).1)
        })
        .await;
    world
        .until("each panic is reported", |world| {
            victims().all(|path| world.ready(&path) == ("InternalError".to_owned(), false))
        })
        .await;
    for path in victims() {
        let status = world.apiserver.get(&path)["status"].to_string();
        assert!(status.contains("Stalled") && !status.contains("SENTINEL"), "{status}");
    }
    let metrics = world.metrics();
    assert!(metrics.contains("outcome=\"panic\""), "{metrics}");
    assert!(
        metrics.contains("vpn_operator_objects{kind=\"CustomerGateway\",reason=\"InternalError\"} 4"),
        "{metrics}"
    );
    world.tripwires.clear();
    world
        .until("they are reconciled once they can be", |world| {
            victims().all(|path| world.ready(&path).1)
        })
        .await;
    assert_eq!(world.calls("CreateCustomerGateway").await, 100);
    world.stop().await;
}

#[tokio::test]
async fn the_outcome_of_a_reset_is_recorded_though_the_apiserver_fails_so_nothing_is_sent_twice() {
    let mut world = World::new(&[]).await;
    world.put_secret("login", &[("password", "Sentinel First-1")]);
    world.put_user("alice", json!({"passwordSecretRef": {"name": "login"}}));
    world.start();
    world
        .until("alice is Ready", |world| world.ready(&user("alice")).1)
        .await;
    let before = world.apiserver.get(&user("alice"))["status"]["password"].clone();
    // The record of the outcome, and not the one before it, takes the reset off the record.
    let failures = std::sync::atomic::AtomicU32::new(3);
    world.apiserver.fail(move |asked| {
        let is_outcome = asked.path.ends_with("/status") && asked.body.contains("\"passwordReset\":null");
        let left = is_outcome && failures.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) > 0;
        left.then_some(500)
    });
    world.put_secret("login", &[("password", "Sentinel Second-2")]);
    world
        .until("the new password is on record", |world| {
            let status = &world.apiserver.get(&user("alice"))["status"];
            status["password"] != before && status["passwordReset"].is_null() && world.ready(&user("alice")).1
        })
        .await;
    assert_eq!(world.calls("ResetVpnUserPassword").await, 1);
    world.stop().await;
}

#[tokio::test]
async fn a_crowd_is_reconciled_by_a_bounded_number_of_workers_over_few_connections() {
    let mut world = World::new(&[]).await;
    const CROWD: usize = 300;
    for number in 0..CROWD {
        let mut spec = address(number);
        spec["credentialsRef"] = json!({"name": format!("secret-{number}")});
        world.put_gateway(&format!("gw-{number}"), spec);
    }
    world.start();
    world
        .until("all of them are told that their Secret is missing", |world| {
            (0..CROWD).all(|number| world.ready(&gateway(&format!("gw-{number}"))).0 == "SecretNotFound")
        })
        .await;
    let most = world.apiserver.most_under_way();
    // Beside the workers: a list of each watch, and the digest key.
    assert!(most <= MOST_RECONCILES + 4, "{most} requests at once");
    world.stop().await;
}

#[tokio::test]
async fn a_watch_of_secrets_that_is_forbidden_is_not_tried_again_before_the_next_resync() {
    let mut world = World::new(&[]).await;
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
async fn objects_of_one_identifier_ask_the_apiserver_for_no_owner_that_is_watched() {
    let mut world = World::new(&[]).await;
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
async fn of_those_that_wait_for_the_quota_as_many_are_requeued_as_places_come_free() {
    let mut world = World::new(&[]).await;
    let project = format!("projects/{}", crate::simulator::tryout::PROJECT_ID);
    let quota = json!({"name": crate::simulator::tryout::REGION, "gateway_quota": 5});
    world.simulator(reqwest::Method::PUT, &project, quota).await;
    for number in 0..30 {
        world.put_gateway(&format!("gw-{number}"), address(number));
    }
    world.start();
    let of_reason = |world: &World, reason: &str| {
        let names = (0..30).map(|number| gateway(&format!("gw-{number}")));
        names.filter(|path| world.ready(path).0 == reason).collect::<Vec<_>>()
    };
    world
        .until("five have a place and the others wait", |world| {
            of_reason(world, "Available").len() == 5 && of_reason(world, "QuotaExceeded").len() == 25
        })
        .await;
    let before = world.calls("CreateCustomerGateway").await;
    for (gone, path) in of_reason(&world, "Available").into_iter().take(2).enumerate() {
        world.apiserver.delete(&path);
        world
            .until("another has its place", |world| {
                world.apiserver.get(&path).is_null()
                    && of_reason(world, "Available").len() == 5
                    && of_reason(world, "QuotaExceeded").len() == 24 - gone
            })
            .await;
    }
    assert_eq!(world.calls("CreateCustomerGateway").await, before + 2);
    world.stop().await;
}

#[tokio::test]
async fn a_watch_that_fails_does_not_keep_what_it_has_delivered_from_being_reconciled() {
    let mut world = World::new(&[]).await;
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
        ("accessKey", crate::simulator::tryout::ACCESS_KEY),
        ("secretKey", crate::simulator::tryout::SECRET_KEY),
    ];
    world.put_secret("later", &keys);
    world.until("it is Ready", |world| world.ready(&office).1).await;
    assert!(!world.readiness.is_ready());
    world.stop().await;
}
