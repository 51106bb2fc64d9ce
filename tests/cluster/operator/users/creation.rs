//! Exactly one user, whatever happens to its creation.

use std::time::Duration;

use serde_json::{Value, json};
use vpn_operator_testbed::eventually;

use super::steps::{
    add_server, apply_pw, available, cloud_user, cloud_users_on, creation_fault, delete, on, posts, requests,
    the_only_one, unmanaged_user, wait_for_requests,
};
use crate::operator::console::message;
use crate::operator::upgrade::{apply_crd, own_plane, present_crd};
use crate::operator::world::{DEADLINE, Options, World, condition, repository};

/// Tests every way to lose a response, before and after the commit. Each has its own server; all run in parallel.
async fn lose_answers(switches: Value) {
    let arguments = [
        "--resync-period=0",
        "--creation-confirmation-period=2s",
        "--request-timeout=2s",
    ];
    let mut world = World::with(Options::with(arguments)).await;
    world.simulator.set_switches(&switches).await.unwrap();
    world.simulator.set_pace(Duration::from_secs(1)).await.unwrap();
    apply_pw(&mut world).await;
    let mut faults = Vec::new();
    for fault in ["lost-answer", "connection-reset", "timeout", "html-502", "html-504"] {
        for commit in [false, true] {
            faults.push(json!({"fault": fault, "commit": commit}));
        }
    }
    faults.push(json!({"fault": "html-200", "commit": true}));
    faults.push(json!({"fault": "truncated-body"}));
    faults
        .push(json!({"fault": "error", "status": 500, "code": "VPN.0002", "message": "server error", "commit": true}));
    faults.push(json!({"fault": "late-commit", "ms": 1500}));
    let mut manifests = Vec::new();
    let mut scenarios = Vec::new();
    for (number, fault) in faults.into_iter().enumerate() {
        let server = add_server(&world, number).await;
        let name = format!("user-{number}");
        let fault = creation_fault(&server, fault);
        world.simulator.add_fault(&fault).await.unwrap();
        manifests.push(on(&server, &name, "description: ours"));
        scenarios.push((server, name, fault));
    }
    world.apply(&manifests.join("---\n")).await;
    for (server, name, fault) in &scenarios {
        the_only_one(&world, server, name).await;
        let (all, committed) = posts(&world, server).await;
        assert_eq!(committed, 1, "{fault}");
        let is_lost = fault["commit"] == false;
        assert_eq!(all, if is_lost { 2 } else { 1 }, "{fault}");
        let posts = requests(&world, server, "CreateVpnUser").await;
        assert!(
            !is_lost || posts[0]["client_token"] != posts[1]["client_token"],
            "a creation that came to nothing is followed by one with a token of its own: {posts:?}"
        );
        assert_eq!(
            requests(&world, server, "ResetVpnUserPassword").await,
            Vec::<Value>::new()
        );
    }
    world.kubectl(["delete", "vpnu", "--all"]).await;
    assert_eq!(world.cloud_users().await, Vec::<Value>::new());
    world.finish().await;
}

#[tokio::test]
async fn a_lost_create_response_results_in_one_user() {
    lose_answers(json!({})).await;
}

#[tokio::test]
async fn a_lost_create_response_and_late_visibility_result_in_one_user() {
    lose_answers(json!({"user-settling": "slow", "unsettled-users": "invisible"})).await;
}

/// Holds creations before or after the commit, kills the operator, then continues or drops each held request.
async fn kill_while_held(switches: Value) {
    // No held request may time out before all requests are held.
    let arguments = [
        "--resync-period=0",
        "--creation-confirmation-period=2s",
        "--request-timeout=6s",
        "--leader-elect-lease-duration=12s",
    ];
    let mut world = World::with(Options::with(arguments)).await;
    world.simulator.set_switches(&switches).await.unwrap();
    world.simulator.set_pace(Duration::from_secs(1)).await.unwrap();
    apply_pw(&mut world).await;
    let mut scenarios = Vec::new();
    for (number, (commit, drop)) in [(false, false), (false, true), (true, false), (true, true)]
        .into_iter()
        .enumerate()
    {
        let server = add_server(&world, number).await;
        let hold = creation_fault(&server, json!({"fault": "hold", "commit": commit}));
        world.simulator.add_fault(&hold).await.unwrap();
        let name = format!("user-{number}");
        scenarios.push((server, name, commit, drop));
    }
    let manifests: Vec<String> = scenarios
        .iter()
        .map(|(server, name, ..)| on(server, name, "description: ours"))
        .collect();
    world.apply(&manifests.join("---\n")).await;
    let held: Vec<Value> = world.simulator.wait_for_held(4).await.unwrap();
    world.kill_operator();
    for (server, _, _, drop) in &scenarios {
        let of_server = |held: &&Value| held["path"].as_str().is_some_and(|path| path.contains(server.as_str()));
        let id = &held.iter().find(of_server).expect("held")["id"];
        world.simulator.release(&json!({"id": id, "drop": drop})).await.unwrap();
    }
    world.start_operator().await;
    for (server, name, commit, drop) in &scenarios {
        the_only_one(&world, server, name).await;
        let came_to_nothing = !commit && *drop;
        let expected = if came_to_nothing { (2, 1) } else { (1, 1) };
        assert_eq!(posts(&world, server).await, expected, "{name}");
    }
    world.finish().await;
}

#[tokio::test]
async fn a_kill_during_the_creation_results_in_one_user() {
    kill_while_held(json!({})).await;
}

#[tokio::test]
async fn a_kill_during_a_creation_with_late_visibility_results_in_one_user() {
    kill_while_held(json!({"user-settling": "slow", "unsettled-users": "invisible"})).await;
}

#[tokio::test]
async fn a_user_lost_after_its_creation_is_recreated_with_a_new_token() {
    let mut world = World::with(Options::with([
        "--resync-period=0",
        "--creation-confirmation-period=2s",
    ]))
    .await;
    apply_pw(&mut world).await;
    world
        .simulator
        .set_switches(&json!({"user-settling": "slow"}))
        .await
        .unwrap();
    world.simulator.set_pace(Duration::from_millis(500)).await.unwrap();
    let faults = ["vanish-after-create", "vanish-when-settled"];
    let mut manifests = Vec::new();
    for (number, fault) in faults.iter().enumerate() {
        let server = add_server(&world, number).await;
        let fault = creation_fault(&server, json!({"fault": fault, "times": 2}));
        world.simulator.add_fault(&fault).await.unwrap();
        manifests.push(on(&server, &format!("user-{number}"), ""));
    }
    world.apply(&manifests.join("---\n")).await;
    for number in 0..faults.len() {
        let (server, name) = (super::steps::server_id(number), format!("user-{number}"));
        let note = world.users().wait_for_event(&name, "CloudError").await;
        assert!(note.contains("does not exist after the confirmation period"), "{note}");
        // Two creations failed; the third one lasts.
        wait_for_requests(&world, &server, "CreateVpnUser", 3).await;
        let id = the_only_one(&world, &server, &name).await;
        let posts = requests(&world, &server, "CreateVpnUser").await;
        assert_eq!(posts.len(), 3);
        let tokens: std::collections::BTreeSet<_> = posts.iter().map(|post| post["client_token"].to_string()).collect();
        assert_eq!(tokens.len(), 3, "{posts:?}");
        let status = &world.users().get(&name).await["status"];
        assert_eq!(status["id"], id.as_str());
        assert!(status["vanishedIDs"].is_null(), "{status}");
        // Each failed creation has its own Event, with its id. An Event may follow the status.
        let what = format!("two Events CloudError about {name}");
        let result = eventually(&what, DEADLINE, async || {
            let events = world.users().events(&name).await;
            let reported = events.iter().filter(|event| event["reason"] == "CloudError").count();
            if reported >= 2 {
                Ok(reported)
            } else {
                Err(format!("{events:?}"))
            }
        });
        assert_eq!(result.await.unwrap(), 2, "{name}");
    }
    world.finish().await;
}

/// Waits until so many users have an id, and asserts that none of them is confirmed. Returns the latest end of their
/// confirmation periods.
async fn unconfirmed(world: &World, count: usize) -> jiff::Timestamp {
    let what = format!("{count} users have an id");
    let result = eventually(&what, DEADLINE, async || {
        let mut objects = world.users().list().await;
        objects.retain(|object| object["status"]["id"].is_string());
        if objects.len() == count {
            Ok(objects)
        } else {
            Err(format!("{} have", objects.len()))
        }
    });
    let objects = result
        .await
        .unwrap_or_else(|error| panic!("{error}\n{}", world.log_tail()));
    let ends = objects.iter().map(|object| {
        let ready = condition(object, "Ready");
        assert_eq!(
            (&ready["status"], &ready["reason"]),
            (&json!("False"), &json!("Creating"))
        );
        let end = object["status"]["settlesAt"].as_str().expect("a time");
        end.parse::<jiff::Timestamp>().expect("RFC 3339")
    });
    ends.max().expect("there are users")
}

#[tokio::test]
async fn an_unconfirmed_creation_shows_creating_and_delays_no_other_object() {
    // Longer than the test takes; the cloud's clock ends the period.
    let mut world = World::with(Options::with([
        "--resync-period=1s",
        "--creation-confirmation-period=5m",
    ]))
    .await;
    apply_pw(&mut world).await;
    world
        .simulator
        .set_switches(&json!({"user-settling": "held", "unsettled-users": "invisible"}))
        .await
        .unwrap();
    let server = add_server(&world, 0).await;
    world.apply(&on(&server, "first", "")).await;
    let first = world
        .users()
        .wait_for("first", "has an id", |object| object["status"]["id"].is_string())
        .await;
    assert_eq!(condition(&first, "Ready")["reason"], "Creating");
    assert_eq!(condition(&first, "Ready")["status"], "False");
    // More than the mass-deletion guard tolerates, all of them missing in the following lists.
    let more: Vec<String> = (1..=14)
        .map(|number| on(&server, &format!("more-{number}"), ""))
        .collect();
    world.apply(&more.join("---\n")).await;
    wait_for_requests(&world, &server, "CreateVpnUser", 15).await;
    assert_eq!(
        condition(&world.users().get("first").await, "Ready")["reason"],
        "Creating"
    );
    world.wait_for_calls("ListVpnUsers", 2).await;
    unconfirmed(&world, 15).await;
    world.restart_operator().await;
    world.wait_for_calls("ListVpnUsers", 2).await;
    let confirmed_at = unconfirmed(&world, 15).await;
    // A restarted operator waits for the rest of the confirmation period.
    world.simulator.admin_post::<Value>("settle", &json!({})).await.unwrap();
    let rest = confirmed_at.as_second() - jiff::Timestamp::now().as_second();
    let clock = json!({"skew_ms": (rest - 5).max(0) * 1_000});
    world.simulator.put::<Value>("clock", &clock).await.unwrap();
    world.restart_operator().await;
    world.users().wait_until_all_ready(15).await;
    assert_eq!(posts(&world, &server).await, (15, 15));
    assert_eq!(cloud_users_on(&world, &server).await.len(), 15);
    for object in world.users().list().await {
        let name = object["metadata"]["name"].as_str().expect("a name");
        let events = world.users().events(name).await;
        let warnings: Vec<_> = events.iter().filter(|event| event["type"] == "Warning").collect();
        assert!(warnings.is_empty(), "{warnings:?}");
    }
    world.finish().await;
}

#[tokio::test]
async fn a_lost_user_that_reappears_is_used_again() {
    let mut world = World::with(Options::with([
        "--resync-period=0",
        "--creation-confirmation-period=1s",
    ]))
    .await;
    apply_pw(&mut world).await;
    let (late, restored) = (add_server(&world, 0).await, add_server(&world, 1).await);
    // The user settles long after the confirmation period; until then its name is in use.
    world
        .simulator
        .set_switches(&json!({"user-settling": "held", "unsettled-users": "invisible"}))
        .await
        .unwrap();
    world.apply(&on(&late, "late", "")).await;
    // A second creation is refused, since the cloud knows the name.
    wait_for_requests(&world, &late, "CreateVpnUser", 2).await;
    let hidden = cloud_users_on(&world, &late).await;
    let object = world.users().get("late").await;
    assert_eq!(
        object["status"]["vanishedIDs"],
        json!([hidden[0]["id"]]),
        "{}",
        object["status"]
    );
    world.simulator.set_switches(&json!({})).await.unwrap();
    world.simulator.admin_post::<Value>("settle", &json!({})).await.unwrap();
    let id = the_only_one(&world, &late, "late").await;
    assert_eq!(hidden[0]["id"], id.as_str());
    assert_eq!(posts(&world, &late).await.1, 1);

    // The user disappears, and exists again before the next attempt: the id from the cloud suffices to identify it.
    let fault = creation_fault(&restored, json!({"fault": "vanish-after-create"}));
    world.simulator.add_fault(&fault).await.unwrap();
    // Meanwhile the cloud accepts no second creation.
    let busy = creation_fault(&restored, json!({"fault": "queue-full", "times": 0}));
    world.simulator.add_fault(&busy).await.unwrap();
    world.apply(&on(&restored, "back", "")).await;
    let object = world
        .users()
        .wait_for("back", "reports the missing user", |object| {
            object["status"]["vanishedIDs"].is_array()
        })
        .await;
    let id = object["status"]["vanishedIDs"][0].as_str().expect("an id").to_owned();
    let seed = json!({"id": id, "password": super::steps::PASSWORD, "created_at": "2020-01-01T00:00:00Z"});
    unmanaged_user(&world, &restored, "back", seed).await;
    super::steps::request(&world, "back").await;
    assert_eq!(the_only_one(&world, &restored, "back").await, id);
    assert_eq!(posts(&world, &restored).await.1, 1);
    world.finish().await;
}

#[tokio::test]
async fn repeatedly_lost_creations_are_retried_with_increasing_backoff() {
    let mut world = World::with(Options::with([
        "--resync-period=0",
        "--creation-confirmation-period=1s",
    ]))
    .await;
    apply_pw(&mut world).await;
    let server = add_server(&world, 0).await;
    let fault = creation_fault(&server, json!({"fault": "vanish-after-create", "times": 0}));
    world.simulator.add_fault(&fault).await.unwrap();
    world.apply(&on(&server, "doomed", "")).await;
    wait_for_requests(&world, &server, "CreateVpnUser", 4).await;
    let posts = requests(&world, &server, "CreateVpnUser").await;
    let at: Vec<jiff::Timestamp> = posts
        .iter()
        .map(|post| post["at"].as_str().expect("a time").parse().expect("RFC 3339"))
        .collect();
    // The pauses add up: the confirmation period, and 1 s, 2 s, 4 s, less a fifth. A slow machine only prolongs them.
    for (pair, least) in at.windows(2).zip([1_800, 2_600, 4_200]) {
        let pause = pair[1].duration_since(pair[0]);
        assert!(pause >= jiff::SignedDuration::from_millis(least), "{at:?}");
    }
    delete(&world, "doomed").await;
    world.users().wait_until_deleted("doomed").await;
    assert_eq!(world.cloud_users().await, Vec::<Value>::new());
    world.finish().await;
}

#[tokio::test]
async fn no_user_is_created_with_a_crd_that_prunes_required_status() {
    let plane = own_plane().await;
    let without = |field: &str| {
        let mut crd = present_crd("VpnUser");
        let status = crd.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/status/properties");
        let removed = status
            .and_then(Value::as_object_mut)
            .and_then(|fields| fields.remove(field));
        assert!(removed.is_some(), "status has the field {field}");
        crd
    };
    apply_crd(plane, &without("sent")).await;
    let mut world = World::on(plane, Options::with(["--resync-period=0"])).await;
    apply_pw(&mut world).await;
    let server = add_server(&world, 0).await;
    for (number, field) in ["sent", "settlesAt", "intent"].into_iter().enumerate() {
        apply_crd(plane, &without(field)).await;
        eventually("the field is dropped", DEADLINE, async || {
            let probe = json!({"apiVersion": "vpn.huaweicloud.com/v1alpha1", "kind": "VpnUser",
                "metadata": {"name": "probe-me"},
                "spec": {"vpnServerID": server, "passwordSecretRef": {"name": "pw"}}});
            let arguments = [
                "--namespace",
                &world.namespace,
                "create",
                "--dry-run=server",
                "-o",
                "json",
                "-f",
                "-",
            ];
            let output = plane.kubectl_with_input(arguments, &probe.to_string()).await.unwrap();
            let explained = plane
                .kubectl(["explain", &format!("vpnusers.status.{field}")])
                .await
                .unwrap();
            if output.status.success() && !explained.status.success() {
                Ok(())
            } else {
                Err(explained.stdout)
            }
        })
        .await
        .unwrap();
        let name = format!("user-{number}");
        world.apply(&on(&server, &name, "")).await;
        eventually("the operator is not ready", DEADLINE, async || {
            let page = world.running().get("/readyz", DEADLINE).await.unwrap();
            match page {
                (503, page) if page.contains("vpnusers.vpn.huaweicloud.com") => Ok(()),
                (status, page) => Err(format!("{status}: {page}")),
            }
        })
        .await
        .unwrap();
        let object = world
            .users()
            .wait_for(&name, "is reconciled", |object| {
                condition(object, "Ready")["status"].is_string()
            })
            .await;
        assert_eq!(condition(&object, "Ready")["status"], "False");
        assert_eq!(posts(&world, &server).await, (0, 0), "{field}");
    }
    plane.apply_crds(&repository().join("crds")).await.unwrap();
    world.users().wait_until_all_ready(3).await;
    assert_eq!(posts(&world, &server).await, (3, 3));
    world.finish().await;
}

#[tokio::test]
async fn a_refused_creation_is_reported_and_leaves_no_state() {
    let mut world = World::with(Options::with([
        "--resync-period=0",
        "--creation-confirmation-period=1s",
    ]))
    .await;
    apply_pw(&mut world).await;
    let server = add_server(&world, 0).await;
    let refusal = json!({"fault": "error", "status": 400, "code": "VPN.0001", "message": "Invalid request: no."});
    let refusal = creation_fault(&server, refusal);
    world.simulator.add_fault(&refusal).await.unwrap();
    world.apply(&on(&server, "alice", "")).await;
    let object = world.users().wait_for_reason("alice", "Rejected").await;
    assert!(message(&object).contains("VPN.0001"), "{}", message(&object));
    for field in ["intent", "sent", "settlesAt", "id"] {
        assert!(object["status"][field].is_null(), "{field}: {}", object["status"]);
    }
    super::steps::request(&world, "alice").await;
    let id = available(&world, "alice").await;
    assert_eq!(cloud_user(&world, &id).await["name"], "alice");
    assert_eq!(posts(&world, &server).await, (2, 1));
    world.finish().await;
}
