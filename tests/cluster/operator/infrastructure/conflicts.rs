//! Concurrent writes of others to the same objects: 409 for the operator's writes.

use serde_json::{Value, json};
use vpn_operator_testbed::{Answer, ApiRequest, Moment, Verb, eventually};

use super::check_totals;
use crate::operator::console::counts;
use crate::operator::objects::Objects;
use crate::operator::world::{DEADLINE, Options, World, condition};

/// Matches writes of the status of the object with that name.
fn is_status_of(name: &'static str) -> impl Fn(&ApiRequest) -> bool + Send + Sync + 'static {
    move |request| {
        let is_status = request.verb == Verb::Patch && request.subresource.as_deref() == Some("status");
        is_status && request.about() == Some(name)
    }
}

/// Changes an object as another client does.
async fn interfere(objects: &Objects<'_>, name: &str, note: &str) {
    let annotations = json!({"example.com/note": note});
    objects
        .patch(name, json!({"metadata": {"annotations": annotations}}))
        .await;
}

#[tokio::test]
async fn a_status_conflict_causes_a_new_decision_or_keeps_the_outcome() {
    let mut world = World::with(Options {
        stopped: true,
        // Held requests must not time out meanwhile.
        ..Options::with([
            "--resync-period=0",
            "--request-timeout=60s",
            "--leader-elect-lease-duration=2m",
        ])
    })
    .await;
    let proxy = world.proxy();
    world.start_operator_behind(&proxy).await;
    world.apply_password("alice", "Conflict Pass-1").await;

    // The intent of a creation is written too late: another decision follows, and one creation.
    let hold = proxy.hold(Moment::Before, 0, is_status_of("office"));
    world
        .apply_gateway("office", "{name: office, idValue: 203.0.113.1}")
        .await;
    hold.reached(DEADLINE).await.unwrap();
    interfere(&world.gateway_objects(), "office", "before the intent").await;
    hold.release();
    world.wait_for_reason("office", "Available").await;
    let hold = proxy.hold(Moment::Before, 0, is_status_of("alice"));
    world.apply_user("alice", "{passwordSecretRef: {name: alice}}").await;
    hold.reached(DEADLINE).await.unwrap();
    interfere(&world.users(), "alice", "before the intent").await;
    hold.release();
    world.users().wait_for_reason("alice", "Available").await;

    // The outcome of a creation or a change of a password is recorded despite the conflict.
    for (operation, name) in [("CreateCustomerGateway", "branch"), ("CreateVpnUser", "bobby")] {
        let hold = json!({"fault": "hold", "operation": operation, "commit": true});
        world.simulator.add_fault(&hold).await.unwrap();
        let objects = if name == "branch" {
            world.apply_gateway(name, "{name: branch, idValue: 203.0.113.2}").await;
            world.gateway_objects()
        } else {
            world.apply_user(name, "{passwordSecretRef: {name: alice}}").await;
            world.users()
        };
        world.simulator.wait_for_held::<Value>(1).await.unwrap();
        interfere(&objects, name, "before the outcome").await;
        world.simulator.release(&json!({})).await.unwrap();
        objects.wait_for_reason(name, "Available").await;
    }
    let hold = json!({"fault": "hold", "operation": "ResetVpnUserPassword", "commit": true});
    world.simulator.add_fault(&hold).await.unwrap();
    world.apply_password("alice", "Conflict Pass-2").await;
    world.simulator.wait_for_held::<Value>(1).await.unwrap();
    interfere(&world.users(), "bobby", "before the outcome").await;
    interfere(&world.users(), "alice", "before the outcome").await;
    world.simulator.release(&json!({})).await.unwrap();
    for name in ["alice", "bobby"] {
        let is_over = |object: &Value| {
            object["status"]["passwordReset"].is_null() && condition(object, "Ready")["reason"] == "Available"
        };
        world.users().wait_for_event(name, "PasswordSet").await;
        world.users().wait_for(name, "no reset is in progress", is_over).await;
    }
    let expected = [
        ("CreateCustomerGateway", 2),
        ("CreateVpnUser", 2),
        ("ResetVpnUserPassword", 2),
    ];
    assert_eq!(world.writes_since(0).await, counts(expected));
    check_totals(&world, 6).await;
    world.finish().await;
}

#[tokio::test]
async fn permanent_status_conflicts_are_retried_with_backoff() {
    let mut world = World::with(Options {
        stopped: true,
        ..Options::with(["--resync-period=0", "--log-level=info"])
    })
    .await;
    let proxy = world.proxy();
    world.start_operator_behind(&proxy).await;
    let refusal = Answer::refusal(409, "Conflict", "another write is always faster");
    let conflict = proxy.answer(refusal, None, is_status_of("office"));
    world
        .apply_gateway("office", "{name: office, idValue: 203.0.113.1}")
        .await;
    // It backs off instead of retrying at once, and logs that once.
    world.running().wait_for_log("will try again", DEADLINE).await.unwrap();
    eventually("it has retried", DEADLINE, async || {
        let tries = proxy
            .requests_since(0)
            .iter()
            .filter(|request| is_status_of("office")(request))
            .count();
        if tries > 20 { Ok(()) } else { Err(tries) }
    })
    .await
    .unwrap();
    assert_eq!(world.running().log().matches("will try again").count(), 1);
    assert_eq!(world.calls_since(0).await.get("CreateCustomerGateway"), None);
    drop(conflict);
    world.wait_for_reason("office", "Available").await;
    assert_eq!(world.writes_since(0).await, counts([("CreateCustomerGateway", 1)]));
    check_totals(&world, 1).await;
    world.finish().await;
}

/// The reconcile reads the object just before its deletion; the watch delivers the deletion before the response.
#[tokio::test]
async fn an_object_deleted_during_its_read_blocks_no_other_object() {
    let mut world = World::with(Options {
        stopped: true,
        ..Options::with(["--resync-period=0"])
    })
    .await;
    let proxy = world.proxy();
    world.start_operator_behind(&proxy).await;
    world.apply_gateway("old", "{name: old, idValue: 203.0.113.1}").await;
    let old = world.wait_for_reason("old", "Available").await;

    let refusal = Answer::refusal(409, "Conflict", "another write was faster");
    let conflict = proxy.answer(refusal, Some(1), is_status_of("old"));
    let is_read = |request: &ApiRequest| request.verb == Verb::Get && request.about() == Some("old");
    let hold = proxy.hold(Moment::After, 0, is_read);
    world.patch("old", json!({"spec": {"name": "old-2"}})).await;
    hold.reached(DEADLINE).await.unwrap();
    world.kubectl(["delete", "cgw", "old", "--wait=false"]).await;
    world.patch("old", json!({"metadata": {"finalizers": null}})).await;
    let deleted = "vpn_operator_objects{kind=\"CustomerGateway\",reason=\"Available\"} 0";
    world.wait_for_metric(deleted).await;
    hold.release();
    drop(conflict);

    // Another object may take over its cloud resource.
    let id = old["status"]["id"].as_str().unwrap();
    let spec = format!("{{name: old, idValue: 203.0.113.1, externalID: {id}}}");
    world.apply_gateway("new", &spec).await;
    world.wait_for_reason("new", "Available").await;
    assert_eq!(world.writes_since(0).await["CreateCustomerGateway"], 1);
    world.finish().await;
}
