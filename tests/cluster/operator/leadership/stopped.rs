//! A leader that is stopped (SIGSTOP) past its lease's end and continued.

use serde_json::{Value, json};
use vpn_operator_testbed::{ApiRequest, Effort, Moment, Verb, effort, eventually};

use super::history::History;
use super::replicas::{Replica, one_leads, trespasses};
use super::{LEDGER, SLOW, apply_gateways, begin_with_gateways, rename, wait_until_renamed, world_of_replicas};
use crate::operator::world::{DEADLINE, World, gateway};

/// Asserts that each takeover came within two lease durations, and reports the longest.
pub(super) async fn takeovers_were_quick(history: &History) {
    history.caught_up().await;
    for takeover in history.takeovers(|_| 0) {
        LEDGER.most("longest takeover in % of a lease", takeover.percent);
        assert!(takeover.percent <= 200, "{takeover:?}");
    }
}

/// Ends a test: asserts and reports that no replica wrote without the lease and that each object has exactly one in the
/// cloud.
pub(super) async fn check_totals(world: &World, history: &History, replicas: &[&Replica], faults: u64) {
    history.caught_up().await;
    let trespasses = trespasses(world, history, replicas).await;
    let tally = world.exactly_one_each().await;
    LEDGER.add(&[
        ("leaders with a fault", faults),
        ("objects", tally.objects),
        ("takeovers", history.takeovers(|_| 0).len() as u64),
        ("writes without the lease", trespasses),
        ("duplicates", tally.duplicates),
        ("objects without their resource", tally.lost),
    ]);
    assert_eq!(trespasses, 0);
}

#[tokio::test]
async fn resumed_former_leaders_write_nothing() {
    let count = if effort() == Effort::Full { 60 } else { 16 };
    let mut world = world_of_replicas([SLOW]).await;
    let history = History::follow(&world).await;
    let first = Replica::start(&mut world, "first").await;
    first.leads().await;
    let second = Replica::start(&mut world, "second").await;
    let third = Replica::start(&mut world, "third").await;

    // Stopped in the middle of its work: the remaining writes wait for permits of its rate limiter.
    begin_with_gateways(&world, count).await;
    first.pause().unwrap();
    let followers = [&second, &third];
    let successor = followers[one_leads(&followers).await];
    let last = followers[1 - one_leads(&followers).await];
    world.wait_until_all_ready(count).await;
    // It does not know of these edits yet when it continues.
    rename(&world, 4, "once").await;
    wait_until_renamed(&world, 4, "once").await;
    let mark = world.mark().await;
    first.resume().unwrap();
    first.ends_without_its_lease("").await;
    assert_eq!(first.writes_since(&world, mark).await, Vec::<Value>::new());

    // Now the third one takes over; this time edits are in progress.
    rename(&world, 6, "twice").await;
    successor.pause().unwrap();
    last.leads().await;
    wait_until_renamed(&world, 6, "twice").await;
    let mark = world.mark().await;
    successor.resume().unwrap();
    successor.ends_without_its_lease("").await;
    assert_eq!(successor.writes_since(&world, mark).await, Vec::<Value>::new());
    takeovers_were_quick(&history).await;
    check_totals(&world, &history, &[&first, &second, &third], 2).await;
    for replica in [first, second, third] {
        replica.retire(&mut world);
    }
    world.finish().await;
}

/// Whether a request writes the status of an object.
fn is_status(request: &ApiRequest) -> bool {
    request.verb == Verb::Patch && request.subresource.as_deref() == Some("status")
}

#[tokio::test]
async fn a_prepared_request_is_not_sent_after_the_lease_expired() {
    let mut world = world_of_replicas([]).await;
    let history = History::follow(&world).await;
    let proxy = world.proxy();
    let first = Replica::start_behind(&mut world, "first", proxy.kubeconfig()).await;
    first.leads().await;
    apply_gateways(&world, 6).await;
    world.wait_until_all_ready(6).await;

    // Creations of both kinds, a change and a deletion are recorded in status. The answers to those writes are held:
    // the request to the cloud comes next. They are five, the most that may be in progress at once.
    let hold = proxy.hold_all(Moment::After, is_status);
    world.apply_password("alice", "Stopped Pass-1").await;
    world.apply_user("alice", "{passwordSecretRef: {name: alice}}").await;
    rename(&world, 1, "new").await;
    world.kubectl(["delete", "cgw/gw-3", "--wait=false"]).await;
    let new: Vec<String> = (7..=8)
        .map(|number| {
            gateway(
                &format!("gw-{number}"),
                &format!("{{name: gw-{number}, idValue: 203.0.113.{number}}}"),
            )
        })
        .collect();
    world.apply(&new.join("---\n")).await;
    let recorded = 1 + 1 + 1 + new.len();
    let result = eventually("everything is about to be recorded", DEADLINE, async || {
        let held: Vec<_> = hold.held().iter().map(|held| held.about().map(str::to_owned)).collect();
        if held.len() == recorded {
            Ok(())
        } else {
            Err(format!("{held:?}"))
        }
    })
    .await;
    result.unwrap_or_else(|error| panic!("{error}\n{}", first.log_tail()));
    first.pause().unwrap();

    let second = Replica::start(&mut world, "second").await;
    second.leads().await;
    world.wait_until_deleted("gw-3").await;
    world.wait_until_all_ready(5 + new.len()).await;
    wait_until_renamed(&world, 1, "new").await;
    world.users().wait_for_reason("alice", "Available").await;
    let mark = world.mark().await;
    // The answers are sent to it before it continues.
    hold.release();
    world.exactly_one_each().await;
    first.resume().unwrap();
    first.ends_without_its_lease("").await;
    assert_eq!(first.writes_since(&world, mark).await, Vec::<Value>::new());
    drop(hold);
    let created = world.calls_since(0).await;
    assert_eq!(created["CreateVpnUser"], 1, "{created:?}");
    assert_eq!(world.users().get("alice").await["status"]["intent"], json!(null));
    takeovers_were_quick(&history).await;
    check_totals(&world, &history, &[&first, &second], 1).await;
    for replica in [first, second] {
        replica.retire(&mut world);
    }
    world.finish().await;
}
