//! A rolling update under load: a new replica starts, and the old one is terminated.

use std::time::Duration;

use vpn_operator_testbed::{Effort, effort, eventually};

use super::history::History;
use super::replicas::{Replica, trespasses};
use super::{LEDGER, world_of_replicas};
use crate::operator::world::{DEADLINE, gateway, user};

#[tokio::test]
async fn a_rolling_update_under_load_loses_no_work() {
    let (wave, rolls) = if effort() == Effort::Full { (60, 4) } else { (25, 2) };
    let mut world = world_of_replicas(["--max-requests-per-second=8"]).await;
    let history = History::follow(&world).await;
    let mut replicas = vec![Replica::start(&mut world, "release-0").await];
    replicas[0].leads().await;
    let mark = world.mark().await;
    world.apply_password("people", "Rolling Pass-1").await;
    for roll in 1..=rolls {
        let next = Replica::start(&mut world, &format!("release-{roll}")).await;
        let before = world.mark().await;
        let user_manifest = user(&format!("user-{roll}"), "{passwordSecretRef: {name: people}}");
        let gateways = (1..=wave).map(|number| {
            let spec = format!("{{idValue: 203.0.{roll}.{number}}}");
            gateway(&format!("gw-{roll}-{number}"), &spec)
        });
        let manifests: Vec<String> = [user_manifest].into_iter().chain(gateways).collect();
        world.apply(&manifests.join("---\n")).await;
        eventually("the first creations of the wave", DEADLINE, async || {
            let calls = world.calls_since(before).await;
            let created = calls.get("CreateCustomerGateway").copied().unwrap_or_default();
            if created >= 3 { Ok(()) } else { Err(created) }
        })
        .await
        .unwrap();
        let old = replicas.last().expect("one runs");
        let status = old.terminate(Duration::from_secs(20)).await.unwrap();
        assert!(status.success(), "{}", old.log_tail());
        replicas.push(next);
    }
    let count = wave * rolls;
    world.wait_until_all_ready(count).await;
    world.users().wait_until_all_ready(rolls).await;
    // No operation was interrupted: each creation was sent once, and its answer was recorded.
    let created = world.calls_since(mark).await;
    assert_eq!(created["CreateCustomerGateway"], count as u64, "{created:?}");
    assert_eq!(created["CreateVpnUser"], rolls as u64, "{created:?}");
    history.caught_up().await;
    let all: Vec<&Replica> = replicas.iter().collect();
    let trespasses = trespasses(&world, &history, &all).await;
    let tally = world.exactly_one_each().await;
    LEDGER.add(&[
        ("rolling updates", rolls as u64),
        ("objects", tally.objects),
        ("writes without the lease", trespasses),
        ("duplicates", tally.duplicates),
        ("objects without their resource", tally.lost),
    ]);
    assert_eq!(trespasses, 0);
    for replica in replicas {
        replica.retire(&mut world);
    }
    world.finish().await;
}
