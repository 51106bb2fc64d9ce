//! Writes to the apiserver that take long: they hold no permit of the rate limiter and no write queue.

use axum::http::Method;
use serde_json::json;

use crate::reconcile::pipeline::slots::MOST_RECONCILES;
use crate::shell_tests::address;
use crate::shell_tests::apiserver::ApiRequest;
use crate::shell_tests::world::{ShellWorld, gateway, user};

/// Whether it is the record of an intent of one of these.
fn records_intent(asked: &ApiRequest, names: &[&str]) -> bool {
    let is_one = |name: &&str| asked.path.ends_with(&format!("/{name}/status"));
    asked.method == Method::PATCH && asked.body.contains("\"intent\":{") && names.iter().any(is_one)
}

#[tokio::test]
async fn a_slow_status_write_of_a_user_delays_no_other_write_on_its_server() {
    // What is held until another user is confirmed is held for longer than a record covers.
    let mut world = ShellWorld::new(&["--creation-confirmation-period=4s"]).await;
    world.put_secret("login", &[("password", "Sentinel First-1")]);
    let held = world.apiserver.hold(|asked| records_intent(asked, &["alice"]));
    world.put_user("alice", json!({"passwordSecretRef": {"name": "login"}}));
    world.start();
    world.until("the record is held", |_| held.count() == 1).await;
    world.put_user("bobby", json!({"passwordSecretRef": {"name": "login"}}));
    world
        .until("bobby is Ready", |world| world.ready(&user("bobby")).1)
        .await;
    assert!(held.is_awaited());
    let intent = |world: &ShellWorld| world.apiserver.get(&user("alice"))["status"]["intent"].clone();
    assert!(intent(&world).is_null());
    // It is made once more before the creation is sent, for longer.
    drop(held);
    let created = world
        .apiserver
        .hold(|asked| asked.path.ends_with("/alice/status") && asked.body.contains("\"intent\":null"));
    world.until("alice is created", |_| created.count() == 1).await;
    let second = |field: &str| {
        let time = intent(&world)[field].as_str().unwrap_or_default().to_owned();
        time.parse::<jiff::Timestamp>().unwrap().as_second()
    };
    let lasts = second("deadline") - second("recordedAt");
    assert!(lasts >= 5 + 30, "a record may take 30 s and the request 5 s: {lasts}");
    drop(created);
    world
        .until("alice is Ready", |world| world.ready(&user("alice")).1)
        .await;
    assert_eq!(world.calls("CreateVpnUser").await, 2);
    world.stop().await;
}

#[tokio::test]
async fn slow_status_writes_of_gateways_delay_no_other_cloud_write() {
    const SLOW: [&str; 5] = ["a", "b", "c", "d", "e"];
    let mut world = ShellWorld::new(&[]).await;
    let held = world.apiserver.hold(|asked| records_intent(asked, &SLOW));
    for (number, name) in SLOW.iter().enumerate() {
        world.put_gateway(name, address(number));
    }
    world.start();
    world.until("their records are held", |_| held.count() == 5).await;
    world.put_gateway("office", address(9));
    world
        .until("the other gateway is Ready", |world| world.ready(&gateway("office")).1)
        .await;
    assert!(held.is_awaited());
    drop(held);
    world
        .until("all are Ready", |world| {
            SLOW.iter().all(|name| world.ready(&gateway(name)).1)
        })
        .await;
    assert_eq!(world.calls("CreateCustomerGateway").await, 6);
    world.stop().await;
}

#[tokio::test]
async fn a_slow_event_delays_no_queue_and_no_permits() {
    let mut world = ShellWorld::new(&[]).await;
    world.put_secret("login", &[("password", "Sentinel First-1")]);
    for name in ["alice", "bobby"] {
        world.put_user(
            name,
            json!({"passwordSecretRef": {"name": "login"}, "description": "first"}),
        );
    }
    world.start();
    let are_ready = |world: &ShellWorld| ["alice", "bobby"].iter().all(|name| world.ready(&user(name)).1);
    world.until("both are Ready", are_ready).await;
    let is_drift_of_alice = |asked: &ApiRequest| {
        asked.method == Method::POST && asked.body.contains("DriftDetected") && asked.body.contains("\"alice\"")
    };
    let held = world.apiserver.hold(is_drift_of_alice);
    world.drift("alice").await;
    let asked = |asked: &mut serde_json::Value| {
        asked["metadata"]["annotations"] = json!({"vpn.huaweicloud.com/reconcile-requested-at": "now"});
    };
    world.apiserver.change(&user("alice"), asked);
    world.until("the Event is held", |_| held.count() == 1).await;
    let edit = |object: &mut serde_json::Value| {
        object["spec"]["description"] = json!("second");
        object["metadata"]["generation"] = json!(2);
    };
    world.apiserver.change(&user("bobby"), edit);
    let is_edited = |world: &ShellWorld| {
        let status = &world.apiserver.get(&user("bobby"))["status"];
        status["observedGeneration"] == json!(2) && world.ready(&user("bobby")).1
    };
    world.until("bobby is updated", is_edited).await;
    assert!(held.is_awaited());
    drop(held);
    world.stop().await;
}

#[tokio::test]
async fn a_recorded_write_without_a_permit_is_withdrawn_and_sent_once_later() {
    // However busy the machine is, the request that is held outlasts the test.
    let mut world = ShellWorld::new(&["--request-timeout=60s"]).await;
    world.put_secret("login", &[("password", "Sentinel First-1")]);
    let slow = world.apiserver.hold(|asked| records_intent(asked, &["alice"]));
    let put = |world: &ShellWorld, name: &str| world.put_user(name, json!({"passwordSecretRef": {"name": "login"}}));
    put(&world, "alice");
    world.hold_cloud("CreateVpnUser", 1).await;
    world.start();
    world.until("alice's record is held", |_| slow.count() == 1).await;
    // Bobby passes, and his creation is not answered: the server's write queue is his.
    put(&world, "bobby");
    let intent = |world: &ShellWorld, name: &str| world.apiserver.get(&user(name))["status"]["intent"].clone();
    world.cloud_holds(1).await;
    assert!(!intent(&world, "bobby").is_null() && intent(&world, "alice").is_null());
    let withdrawn = world
        .apiserver
        .hold(|asked| asked.path.ends_with("/alice/status") && asked.body.contains("\"intent\":null"));
    drop(slow);
    world
        .until("alice's record is withdrawn", |_| withdrawn.count() == 1)
        .await;
    assert!(!intent(&world, "alice").is_null());
    drop(withdrawn);
    world.until("it is", |world| intent(world, "alice").is_null()).await;
    assert!(!intent(&world, "bobby").is_null(), "his is sent and not answered");
    world.release_cloud(false).await;
    let are_ready = |world: &ShellWorld| ["alice", "bobby"].iter().all(|name| world.ready(&user(name)).1);
    world.until("both are Ready", are_ready).await;
    assert_eq!(world.calls("CreateVpnUser").await, 2);
    world.stop().await;
}

#[tokio::test]
async fn cloud_responses_release_permits_while_the_apiserver_hangs() {
    const PERMITS: usize = vpn_cloud::limits::rate_limiter::USUALLY_IN_PROGRESS;
    let mut world = ShellWorld::new(&["--resync-period=1s", "--request-timeout=60s"]).await;
    let names = |prefix: &str, count: usize| {
        (0..count)
            .map(|number| format!("{prefix}-{number}"))
            .collect::<Vec<_>>()
    };
    world.hold_cloud("CreateCustomerGateway", PERMITS).await;
    for (number, name) in names("sent", PERMITS).iter().enumerate() {
        world.put_gateway(name, address(number));
    }
    world.start();
    world.cloud_holds(PERMITS).await;
    // With all permits in use, these only report that they wait.
    let held = world
        .apiserver
        .hold(|asked| asked.method == Method::PATCH && asked.path.contains("/waits-"));
    for (number, name) in names("waits", MOST_RECONCILES).iter().enumerate() {
        world.put_gateway(name, address(100 + number));
    }
    world
        .until("they have every slot", |_| held.count() == MOST_RECONCILES)
        .await;
    let before = world.calls("ListCustomerGateways").await;
    world.release_cloud(false).await;
    world.until_called("ListCustomerGateways", before + 2).await;
    assert!(held.is_awaited());
    drop(held);
    world.stop().await;
}
