//! The shell around the decisions, without a cluster: what is asked of the apiserver and of the cloud, how often, and what
//! one object's trouble means for the others.

mod apiserver;
mod forbidden;
mod takeover;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use axum::http::Method;
use serde_json::json;

use self::apiserver::{Asked, GROUP};
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
        .until("they are reconciled once the fault is removed", |world| {
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
        let left = is_outcome && failures.fetch_sub(1, Ordering::SeqCst) > 0;
        left.then_some(500)
    });
    world.put_secret("login", &[("password", "Sentinel Second-2")]);
    world
        .until("the new password is recorded", |world| {
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
        .until("all of them report that their Secret is missing", |world| {
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

/// Whether `Ready` of a gateway has this reason.
fn has_reason(world: &World, name: &str, reason: &str) -> bool {
    world.ready(&gateway(name)).0 == reason
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
async fn a_free_place_is_offered_only_to_objects_of_the_same_credentials_and_project() {
    use crate::simulator::tryout::{ACCESS_KEY, PROJECT_ID, REGION, SECRET_KEY};
    const ELSEWHERE: &str = "fedcba9876543210fedcba9876543210";
    let mut world = World::new(&[]).await;
    for (project, name, quota) in [(PROJECT_ID, REGION, 1), (ELSEWHERE, "elsewhere", 0)] {
        let quota = json!({"name": name, "gateway_quota": quota});
        let path = format!("projects/{project}");
        world.simulator(reqwest::Method::PUT, &path, quota).await;
    }
    let keys = [
        ("accessKey", ACCESS_KEY),
        ("secretKey", SECRET_KEY),
        ("projectID", ELSEWHERE),
    ];
    world.put_secret("elsewhere", &keys);
    let mut elsewhere = address(0);
    elsewhere["credentialsRef"] = json!({"name": "elsewhere"});
    world.put_gateway("elsewhere", elsewhere);
    world.put_gateway("first", address(1));
    world.start();
    world
        .until("the place is taken, and there is none elsewhere", |world| {
            has_reason(world, "first", "Available") && has_reason(world, "elsewhere", "QuotaExceeded")
        })
        .await;
    world.put_gateway("second", address(2));
    world
        .until("the second waits", |world| has_reason(world, "second", "QuotaExceeded"))
        .await;
    world.apiserver.delete(&gateway("first"));
    world
        .until("the second has the place", |world| {
            has_reason(world, "second", "Available")
        })
        .await;
    world.stop().await;
}

#[tokio::test]
async fn only_a_deletion_in_the_cloud_makes_a_place_free_for_one_that_waits_for_the_quota() {
    let mut world = World::new(&[]).await;
    let project = format!("projects/{}", crate::simulator::tryout::PROJECT_ID);
    let quota = json!({"name": crate::simulator::tryout::REGION, "gateway_quota": 2});
    world.simulator(reqwest::Method::PUT, &project, quota).await;
    let mut retained = address(0);
    retained["deletionPolicy"] = json!("Retain");
    world.put_gateway("retained", retained);
    world.put_gateway("deleted", address(1));
    world.start();
    world
        .until("both places are taken", |world| {
            ["retained", "deleted"]
                .iter()
                .all(|name| has_reason(world, name, "Available"))
        })
        .await;
    let waiting = ["waits-1", "waits-2", "waits-3"];
    for (number, name) in waiting.iter().enumerate() {
        world.put_gateway(name, address(10 + number));
    }
    world
        .until("the others wait", |world| {
            waiting.iter().all(|name| has_reason(world, name, "QuotaExceeded"))
        })
        .await;
    let before = world.calls("CreateCustomerGateway").await;
    for name in ["waits-3", "retained", "deleted"] {
        world.apiserver.delete(&gateway(name));
        world
            .until("it is deleted", |world| world.apiserver.get(&gateway(name)).is_null())
            .await;
    }
    world
        .until("another has its place", |world| {
            waiting.iter().any(|name| has_reason(world, name, "Available"))
        })
        .await;
    assert_eq!(world.calls("CreateCustomerGateway").await, before + 1);
    world.stop().await;
}

#[tokio::test]
async fn a_delete_that_is_answered_with_404_again_while_lists_show_the_object_is_reported_and_backs_off() {
    let mut world = World::new(&[]).await;
    world.put_gateway("office", address(0));
    world.start();
    let path = gateway("office");
    world.until("it is Ready", |world| world.ready(&path).1).await;
    let fault = json!({"fault": "error", "operation": "DeleteCustomerGateway", "status": 404, "code": "VPN.0004",
        "times": 0});
    world.simulator(reqwest::Method::POST, "faults", fault).await;
    world.apiserver.delete(&path);
    world
        .until("the answer is reported", |world| {
            world.ready(&path) == ("CloudError".to_owned(), false)
        })
        .await;
    world.simulator(reqwest::Method::DELETE, "faults", json!({})).await;
    world
        .until("it is deleted", |world| world.apiserver.get(&path).is_null())
        .await;
    world.stop().await;
}

/// Without the record, what was missing only in stale answers would be deleted once it shows beside its replacement.
#[tokio::test]
async fn nothing_is_recreated_while_the_crd_does_not_keep_the_record_of_a_loss() {
    let mut world = World::new(&[]).await;
    world.crds = crate::api::crds().unwrap();
    for crd in &world.crds {
        let mut older = serde_json::to_value(crd).unwrap();
        let status = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties";
        let fields = older.pointer_mut(status).and_then(serde_json::Value::as_object_mut);
        fields
            .unwrap()
            .retain(|field, _| field != "lostCreatedAt" && field != "vanishedIDs");
        let name = crd.metadata.name.as_deref().unwrap();
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
        world.apiserver.put(&path, older);
    }
    world.put_secret("password", &[("password", "Sentinel-1-secret")]);
    world.put_gateway("office", address(0));
    world.put_user("alice", json!({"passwordSecretRef": {"name": "password"}}));
    world.start();
    let objects = [(gateway("office"), "gateways"), (user("alice"), "vpn-users")];
    world
        .until("both are Ready", |world| {
            objects.iter().all(|(path, _)| world.ready(path).1)
        })
        .await;
    for (path, collection) in &objects {
        let id = world.apiserver.get(path)["status"]["id"].clone();
        let in_cloud = format!("{collection}/{}", id.as_str().unwrap());
        world.simulator(reqwest::Method::DELETE, &in_cloud, json!({})).await;
        world.apiserver.change(path, |object| {
            object["metadata"]["annotations"] = json!({crate::api::RECONCILE_REQUESTED_ANNOTATION: "now"});
        });
    }
    world
        .until("both report the CRD", |world| {
            let is_reported = |path| world.ready(path) == ("DependencyNotReady".to_owned(), false);
            objects.iter().all(|(path, _)| is_reported(path))
        })
        .await;
    for (path, _) in &objects {
        assert!(world.apiserver.get(path)["status"]["id"].is_string());
    }
    for creation in ["CreateCustomerGateway", "CreateVpnUser"] {
        assert_eq!(world.calls(creation).await, 1);
    }
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

/// Whether it is the record of an intent of one of these.
fn announces(asked: &Asked, names: &[&str]) -> bool {
    let is_one = |name: &&str| asked.path.ends_with(&format!("/{name}/status"));
    asked.method == Method::PATCH && asked.body.contains("\"intent\":{") && names.iter().any(is_one)
}

#[tokio::test]
async fn an_apiserver_that_holds_one_users_record_does_not_delay_another_write_on_the_server() {
    // What is held until another user is confirmed is held for longer than a record covers.
    let mut world = World::new(&["--creation-confirmation-period=4s"]).await;
    world.put_secret("login", &[("password", "Sentinel First-1")]);
    let held = world.apiserver.hold(|asked| announces(asked, &["alice"]));
    world.put_user("alice", json!({"passwordSecretRef": {"name": "login"}}));
    world.start();
    world.until("the record is held", |_| held.count() == 1).await;
    world.put_user("bobby", json!({"passwordSecretRef": {"name": "login"}}));
    world
        .until("bobby is Ready", |world| world.ready(&user("bobby")).1)
        .await;
    assert!(held.is_awaited());
    let intent = |world: &World| world.apiserver.get(&user("alice"))["status"]["intent"].clone();
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
async fn an_apiserver_that_holds_five_gateways_records_does_not_delay_another_write_of_the_credentials() {
    const SLOW: [&str; 5] = ["a", "b", "c", "d", "e"];
    let mut world = World::new(&[]).await;
    let held = world.apiserver.hold(|asked| announces(asked, &SLOW));
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
async fn an_event_that_is_held_delays_neither_queue_nor_permits() {
    let mut world = World::new(&[]).await;
    world.put_secret("login", &[("password", "Sentinel First-1")]);
    for name in ["alice", "bobby"] {
        world.put_user(
            name,
            json!({"passwordSecretRef": {"name": "login"}, "description": "first"}),
        );
    }
    world.start();
    let are_ready = |world: &World| ["alice", "bobby"].iter().all(|name| world.ready(&user(name)).1);
    world.until("both are Ready", are_ready).await;
    let is_drift_of_alice = |asked: &Asked| {
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
    let is_edited = |world: &World| {
        let status = &world.apiserver.get(&user("bobby"))["status"];
        status["observedGeneration"] == json!(2) && world.ready(&user("bobby")).1
    };
    world.until("bobby is updated", is_edited).await;
    assert!(held.is_awaited());
    drop(held);
    world.stop().await;
}

#[tokio::test]
async fn what_is_recorded_and_cannot_be_sent_soon_is_withdrawn_and_sent_once_later() {
    // However busy the machine is, the request that is held outlasts the test.
    let mut world = World::new(&["--request-timeout=60s"]).await;
    world.put_secret("login", &[("password", "Sentinel First-1")]);
    let slow = world.apiserver.hold(|asked| announces(asked, &["alice"]));
    let put = |world: &World, name: &str| world.put_user(name, json!({"passwordSecretRef": {"name": "login"}}));
    put(&world, "alice");
    world.hold_cloud("CreateVpnUser", 1).await;
    world.start();
    world.until("alice's record is held", |_| slow.count() == 1).await;
    // Bobby passes, and his creation is not answered: the server's write queue is his.
    put(&world, "bobby");
    let intent = |world: &World, name: &str| world.apiserver.get(&user(name))["status"]["intent"].clone();
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
    let are_ready = |world: &World| ["alice", "bobby"].iter().all(|name| world.ready(&user(name)).1);
    world.until("both are Ready", are_ready).await;
    assert_eq!(world.calls("CreateVpnUser").await, 2);
    world.stop().await;
}

#[tokio::test]
async fn a_failed_read_is_reported_though_the_pass_that_heard_of_it_could_not_be_completed() {
    let mut world = World::new(&[]).await;
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
    let reads = |world: &World| world.apiserver.count(&Method::GET, "/secrets/login");
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
async fn users_that_wait_for_one_group_share_the_reads_of_groups() {
    const USERS: usize = 40;
    const ROUNDS: u64 = 10;
    let mut world = World::new(&[]).await;
    let names: Vec<String> = (0..USERS).map(|number| format!("user-{number}")).collect();
    for name in &names {
        world.put_user(name, json!({"userGroupName": "later"}));
    }
    world.start();
    let all_wait = |world: &World| {
        let mut ready = names.iter().map(|name| world.ready(&user(name)).0);
        ready.all(|reason| reason == "DependencyNotReady")
    };
    world.until("all of them wait for the group", all_wait).await;
    let (before, began) = (world.calls("ListVpnUserGroups").await, Instant::now());
    for _ in 0..ROUNDS {
        let so_far = world.reconciles("VpnUser");
        // Each is enqueued, with nothing that asks for another read.
        let keys = [
            ("accessKey", crate::simulator::tryout::ACCESS_KEY),
            ("secretKey", crate::simulator::tryout::SECRET_KEY),
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

#[tokio::test]
async fn objects_whose_outcome_cannot_be_recorded_do_not_keep_others_from_being_reconciled() {
    let mut world = World::new(&[]).await;
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
    let is_sent = |world: &World, name: &String| !world.apiserver.get(&gateway(name))["status"]["intent"].is_null();
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

#[tokio::test]
async fn answers_of_the_cloud_give_their_permits_back_though_an_apiserver_that_hangs_has_every_slot() {
    const PERMITS: usize = crate::cloud::rate_limiter::MOST_UNDER_WAY;
    let mut world = World::new(&["--resync-period=1s", "--request-timeout=60s"]).await;
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
