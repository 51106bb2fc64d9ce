//! Reads of the cloud: objects share them, and their failures are reported.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use axum::http::Method;
use serde_json::json;

use crate::shell_tests::world::{ShellWorld, user};

#[tokio::test]
async fn a_failed_read_is_reported_after_an_incomplete_reconcile() {
    // The held read must fail only when the test releases it.
    let mut world = ShellWorld::new(&["--request-timeout=60s"]).await;
    world.put_secret("login", &[("password", "Sentinel First-1")]);
    world.hold_cloud("ListVpnUsers", 1).await;
    world.put_user("alice", json!({"passwordSecretRef": {"name": "login"}}));
    world.start();
    world.cloud_holds(1).await;
    // From now on no pass can be completed.
    let fails = Arc::new(AtomicBool::new(true));
    let is_failing = Arc::clone(&fails);
    world.apiserver.fail(move |asked| {
        let is_read = asked.method == Method::GET && asked.path.ends_with("/secrets/login");
        (is_read && is_failing.load(Ordering::SeqCst)).then_some(500)
    });
    let reads = |world: &ShellWorld| world.apiserver.count(&Method::GET, "/secrets/login");
    let before = reads(&world);
    world.put_secret("login", &[("password", "Sentinel Second-2")]);
    world.until("a reconcile fails", |world| reads(world) > before).await;
    let before = reads(&world);
    world.release_cloud(true).await;
    world
        .until("reconciles fail after the read of the cloud has", |world| {
            reads(world) > before + 1
        })
        .await;
    let reported = world
        .apiserver
        .hold(|asked| asked.path.ends_with("/alice/status") && asked.body.contains("\"CloudError\""));
    fails.store(false, Ordering::SeqCst);
    world
        .until("the failed read is reported", |_| reported.count() == 1)
        .await;
    drop(reported);
    world
        .until("alice is Ready", |world| world.ready(&user("alice")).1)
        .await;
    world.stop().await;
}

#[tokio::test]
async fn users_waiting_for_one_group_share_group_reads() {
    const USERS: usize = 40;
    const ROUNDS: u64 = 10;
    let mut world = ShellWorld::new(&[]).await;
    let names: Vec<String> = (0..USERS).map(|number| format!("user-{number}")).collect();
    for name in &names {
        world.put_user(name, json!({"userGroupName": "later"}));
    }
    world.start();
    let all_wait = |world: &ShellWorld| {
        let mut ready = names.iter().map(|name| world.ready(&user(name)).0);
        ready.all(|reason| reason == "DependencyNotReady")
    };
    world.until("all of them wait for the group", all_wait).await;
    let (before, began) = (world.calls("ListVpnUserGroups").await, Instant::now());
    for _ in 0..ROUNDS {
        let so_far = world.reconciles("VpnUser");
        // Each is enqueued, with nothing that asks for another read.
        let keys = [
            ("accessKey", vpn_simulator::tryout::ACCESS_KEY),
            ("secretKey", vpn_simulator::tryout::SECRET_KEY),
        ];
        world.put_secret("cloud", &keys);
        world
            .until("all were reconciled", |world| {
                world.reconciles("VpnUser") >= so_far + USERS as u64
            })
            .await;
    }
    let reads = world.calls("ListVpnUserGroups").await - before;
    // One lasts for five seconds.
    let most = 1 + began.elapsed().as_secs() / 4;
    assert!(reads <= most, "{reads} reads, at most {most} expected");
    world.stop().await;
}
