//! Objects share the workers: a panic, a crowd or a failing status write of some does not block the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::reconcile::pipeline::slots::MOST_RECONCILES;
use crate::reconcile::pipeline::tripwire::PipelineStep;
use crate::shell_tests::address;
use crate::shell_tests::world::{ShellWorld, gateway};

#[tokio::test]
async fn a_panic_in_a_reconcile_is_reported_and_affects_no_other_object() {
    let steps = [
        PipelineStep::Gather,
        PipelineStep::Decide,
        PipelineStep::Act,
        PipelineStep::Report,
    ];
    let mut world = ShellWorld::new(&[]).await;
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
    // The metrics may follow the status.
    let counted = "vpn_operator_objects{kind=\"CustomerGateway\",reason=\"InternalError\"} 4";
    world
        .until("the metrics count each panic", |world| {
            let metrics = world.metrics();
            metrics.contains("outcome=\"panic\"") && metrics.contains(counted)
        })
        .await;
    world.tripwires.clear();
    world
        .until("they are reconciled once the fault is removed", |world| {
            victims().all(|path| world.ready(&path).1)
        })
        .await;
    assert_eq!(world.calls("CreateCustomerGateway").await, 100);
    world.stop().await;
}

#[tokio::test]
async fn many_objects_are_reconciled_by_a_limited_number_of_workers() {
    const CROWD: usize = 300;
    let mut world = ShellWorld::new(&[]).await;
    for number in 0..CROWD {
        let mut spec = address(number);
        spec["credentialsRef"] = json!({"name": format!("secret-{number}")});
        world.put_gateway(&format!("gw-{number}"), spec);
    }
    world.start();
    world
        .until("all of them report that their Secret is missing", |world| {
            (0..CROWD).all(|number| world.ready(&gateway(&format!("gw-{number}"))).0 == "SecretNotFound")
        })
        .await;
    let most = world.apiserver.most_in_progress();
    // Beside the workers: a list of each watch, and the digest key.
    assert!(most <= MOST_RECONCILES + 4, "{most} requests at once");
    world.stop().await;
}

#[tokio::test]
async fn failed_status_writes_do_not_block_other_reconciles() {
    let mut world = ShellWorld::new(&[]).await;
    let fails = Arc::new(AtomicBool::new(true));
    let is_failing = Arc::clone(&fails);
    world.apiserver.fail(move |asked| {
        let is_outcome = asked.path.contains("/slow-") && asked.body.contains("\"intent\":null");
        (is_outcome && is_failing.load(Ordering::SeqCst)).then_some(500)
    });
    let slow: Vec<String> = (0..MOST_RECONCILES).map(|number| format!("slow-{number}")).collect();
    for (number, name) in slow.iter().enumerate() {
        world.put_gateway(name, address(number));
    }
    world.start();
    let is_sent =
        |world: &ShellWorld, name: &String| !world.apiserver.get(&gateway(name))["status"]["intent"].is_null();
    world
        .until("each is created", |world| slow.iter().all(|name| is_sent(world, name)))
        .await;
    world
        .until_called("CreateCustomerGateway", MOST_RECONCILES as u64)
        .await;
    world.put_gateway("office", address(100));
    world
        .until("the other one is Ready", |world| world.ready(&gateway("office")).1)
        .await;
    fails.store(false, Ordering::SeqCst);
    world
        .until("all are Ready", |world| {
            slow.iter().all(|name| world.ready(&gateway(name)).1)
        })
        .await;
    assert_eq!(world.calls("CreateCustomerGateway").await, MOST_RECONCILES as u64 + 1);
    world.stop().await;
}
