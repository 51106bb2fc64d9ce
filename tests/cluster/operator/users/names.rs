//! Name conflicts: unmanaged users are never changed, and of two objects with one name only one gets it.

use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use super::steps::{
    add_server, apply_pw, available, cloud_user, cloud_users_on, creation_fault, delete, delete_whole, on, posts,
    request, requests, server_id, the_only_one, unmanaged_user, users_in,
};
use crate::operator::console::message;
use crate::operator::world::{DEADLINE, Options, World, condition};
use vpn_operator_testbed::eventually;

/// Waits for `NameConflict` with the unmanaged user's id and the ways out; that user is unchanged.
async fn conflicts(world: &World, name: &str, theirs: &Value) {
    let id = theirs["id"].as_str().expect("an id");
    let object = world
        .users()
        .wait_for(name, "the message names the unmanaged user", |object| {
            condition(object, "Ready")["reason"] == "NameConflict" && message(object).contains(id)
        })
        .await;
    let shown = message(&object);
    assert!(
        shown.contains("externalID") && shown.contains("adoptionPolicy"),
        "{shown}"
    );
    assert_eq!(condition(&object, "Stalled")["status"], "True", "{name}");
    assert!(object["status"]["id"].is_null(), "{name}: {}", object["status"]);
    assert_eq!(cloud_user(world, id).await, *theirs, "{name}");
}

async fn is_untouched(world: &World, server: &str, theirs: &Value) {
    let id = theirs["id"].as_str().expect("an id");
    assert_eq!(cloud_user(world, id).await, *theirs);
    for operation in [
        "UpdateVpnUser",
        "DeleteVpnUser",
        "ResetVpnUserPassword",
        "AddVpnUsersToGroup",
        "RemoveVpnUsersFromGroup",
    ] {
        assert_eq!(
            requests(world, server, operation).await,
            Vec::<Value>::new(),
            "{operation}"
        );
    }
}

#[tokio::test]
async fn an_unmanaged_user_blocks_its_name_until_it_is_deleted() {
    let mut world = World::with(Options::with([
        "--resync-period=1s",
        "--creation-confirmation-period=1s",
    ]))
    .await;
    apply_pw(&mut world).await;
    let server = add_server(&world, 0).await;
    let theirs = unmanaged_user(&world, &server, "alice", json!({})).await;
    world.apply(&on(&server, "alice", "description: ours")).await;
    conflicts(&world, "alice", &theirs).await;
    // The deletion of the object does not delete the unmanaged user.
    world.apply(&on(&server, "again", "name: alice")).await;
    conflicts(&world, "again", &theirs).await;
    delete_whole(&world, "again").await;
    is_untouched(&world, &server, &theirs).await;
    let events = world.users().events("alice").await;
    let reported = events.iter().filter(|event| event["reason"] == "NameConflict").count();
    assert_eq!(reported, 1, "{events:?}");
    // The unmanaged user is deleted: the next drift check shows it, without a request by the user.
    let id = theirs["id"].as_str().expect("an id");
    world.simulator.remove_user(id).await.unwrap();
    the_only_one(&world, &server, "alice").await;
    assert_eq!(posts(&world, &server).await.1, 1);
    world.finish().await;
}

/// Releases or drops the request that is held for a server.
async fn release(world: &World, held: &[Value], number: usize, drop: bool) {
    let server = server_id(number);
    let is_meant = |held: &&Value| held["path"].as_str().is_some_and(|path| path.contains(&server));
    let id = &held.iter().find(is_meant).expect("held")["id"];
    world.simulator.release(&json!({"id": id, "drop": drop})).await.unwrap();
}

/// An unmanaged user is created while our create request is in progress without effect, whatever its outcome is.
#[tokio::test]
async fn an_unmanaged_user_created_before_our_request_is_unchanged() {
    // No held request may time out before all requests are held.
    let arguments = [
        "--resync-period=0",
        "--creation-confirmation-period=1s",
        "--request-timeout=7s",
        "--leader-elect-lease-duration=15s",
    ];
    let mut world = World::with(Options::with(arguments)).await;
    apply_pw(&mut world).await;
    let mut manifests = Vec::new();
    for number in 0..5 {
        let server = add_server(&world, number).await;
        manifests.push(on(&server, &format!("user-{number}"), "description: ours"));
    }
    // The operator has listed the servers before; otherwise it would see the unmanaged users in time.
    let known: Vec<String> = (0..5)
        .map(|number| {
            on(
                &server_id(number),
                &format!("known-{number}"),
                "managementPolicy: ReportDrift",
            )
        })
        .collect();
    world.apply(&known.join("---\n")).await;
    world.users().wait_until_all_ready(5).await;
    for number in 0..5 {
        let fault = if number < 4 {
            json!({"fault": "hold", "commit": false})
        } else {
            // Refused as a duplicate, and the refusal is lost; the unmanaged user is much older.
            json!({"fault": "lost-answer", "commit": true})
        };
        let fault = creation_fault(&server_id(number), fault);
        world.simulator.add_fault(&fault).await.unwrap();
    }
    let early = json!({"created_at": "2020-01-01T00:00:00Z"});
    let mut unmanaged_users = vec![Value::Null; 5];
    unmanaged_users[4] = unmanaged_user(&world, &server_id(4), "user-4", early).await;
    world.apply(&manifests.join("---\n")).await;
    let held: Vec<Value> = world.simulator.wait_for_held(4).await.unwrap();
    for (number, theirs) in unmanaged_users.iter_mut().enumerate().take(4) {
        *theirs = unmanaged_user(&world, &server_id(number), &format!("user-{number}"), json!({})).await;
    }
    // One request is refused, one is lost; the same without a running operator.
    release(&world, &held, 0, false).await;
    release(&world, &held, 1, true).await;
    world.kill_operator();
    release(&world, &held, 2, false).await;
    release(&world, &held, 3, true).await;
    world.start_operator().await;
    for (number, theirs) in unmanaged_users.iter().enumerate() {
        conflicts(&world, &format!("user-{number}"), theirs).await;
    }
    for (number, theirs) in unmanaged_users.iter().enumerate().take(3) {
        delete_whole(&world, &format!("user-{number}")).await;
        is_untouched(&world, &server_id(number), theirs).await;
    }
    for (number, theirs) in unmanaged_users.iter().enumerate().skip(3) {
        let (server, name) = (server_id(number), format!("user-{number}"));
        let id = theirs["id"].as_str().expect("an id");
        world.simulator.remove_user(id).await.unwrap();
        request(&world, &name).await;
        available(&world, &name).await;
        assert_eq!(posts(&world, &server).await.1, 2, "known-{number} and {name}");
    }
    world.finish().await;
}

#[tokio::test]
async fn every_form_of_a_duplicate_name_error_is_recognized() {
    let mut world = World::with(Options::with([
        "--resync-period=0",
        "--creation-confirmation-period=1s",
    ]))
    .await;
    apply_pw(&mut world).await;
    let mut known = Vec::new();
    for number in 0..7 {
        let server = add_server(&world, number).await;
        known.push(on(&server, &format!("known-{number}"), ""));
    }
    world.apply(&known.join("---\n")).await;
    world.users().wait_until_all_ready(7).await;
    let mut number = 0;
    for status in ["400", "409"] {
        for codes in ["VPN.13xx", "VPN.0001", "VPN.93xx"] {
            let switches = json!({"duplicate-user-name": status, "p2c-codes": codes});
            world.simulator.set_switches(&switches).await.unwrap();
            let (server, name) = (server_id(number), format!("alice-{number}"));
            // The operator has not read this user, so only the refusal shows it. Upper case avoids no conflict.
            let theirs = unmanaged_user(&world, &server, &name.to_uppercase(), json!({})).await;
            world.apply(&on(&server, &name, "")).await;
            conflicts(&world, &name, &theirs).await;
            is_untouched(&world, &server, &theirs).await;
            world
                .simulator
                .remove_user(theirs["id"].as_str().expect("an id"))
                .await
                .unwrap();
            request(&world, &name).await;
            available(&world, &name).await;
            number += 1;
        }
    }
    // If the cloud's names are case-sensitive, there is no conflict.
    let switches = json!({"user-name-case": "sensitive"});
    world.simulator.set_switches(&switches).await.unwrap();
    let server = server_id(6);
    let theirs = unmanaged_user(&world, &server, "ALICE-6", json!({})).await;
    world.apply(&on(&server, "alice-6", "")).await;
    available(&world, "alice-6").await;
    is_untouched(&world, &server, &theirs).await;
    assert_eq!(cloud_users_on(&world, &server).await.len(), 3);
    world.finish().await;
}

#[tokio::test]
async fn the_second_object_of_a_name_gets_it_when_the_first_is_deleted() {
    let mut world = World::with(Options::with([
        "--resync-period=0",
        "--creation-confirmation-period=1s",
    ]))
    .await;
    apply_pw(&mut world).await;
    let (server, other_server) = (add_server(&world, 0).await, add_server(&world, 1).await);
    // Applied at the same time. Names ignore case, and are unique per server.
    let manifests = [
        on(&server, "left", "name: Alice.x"),
        on(&server, "right", "name: alice.X"),
        on(&other_server, "elsewhere", "name: alice.x"),
    ];
    world.apply(&manifests.join("---\n")).await;
    available(&world, "elsewhere").await;
    let result = eventually("one has it, one does not", DEADLINE, async || {
        let reason = async |name: &str| {
            let object = world.users().get(name).await;
            condition(&object, "Ready")["reason"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        match (reason("left").await.as_str(), reason("right").await.as_str()) {
            ("Available", "NameConflict") => Ok(("left", "right")),
            ("NameConflict", "Available") => Ok(("right", "left")),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let (holder, waiting) = result.unwrap_or_else(|error| panic!("{error}\n{}", world.log_tail()));
    the_only_one(&world, &server, holder).await;
    assert_eq!(posts(&world, &server).await, (1, 1));
    let shown = message(&world.users().get(waiting).await);
    assert!(shown.contains(&format!("{}/{holder}", world.namespace)), "{shown}");

    // The holder's deletion takes long.
    world
        .simulator
        .set_switches(&json!({"user-deletion": "held"}))
        .await
        .unwrap();
    delete(&world, holder).await;
    let object = world.users().wait_for_reason(waiting, "DependencyNotReady").await;
    assert!(message(&object).contains(holder), "{}", message(&object));
    assert_eq!(posts(&world, &server).await, (1, 1));
    world
        .simulator
        .admin_post::<Value>("finish-deletions", &json!({}))
        .await
        .unwrap();
    world.users().wait_until_deleted(holder).await;
    the_only_one(&world, &server, waiting).await;
    assert_eq!(posts(&world, &server).await, (2, 2));
    world.finish().await;
}

#[tokio::test]
async fn a_retained_user_counts_as_unmanaged() {
    let mut world = World::with(Options::with([
        "--resync-period=0",
        "--creation-confirmation-period=1s",
    ]))
    .await;
    apply_pw(&mut world).await;
    let server = add_server(&world, 0).await;
    world
        .apply(&on(&server, "first", "name: alice, deletionPolicy: Retain"))
        .await;
    let id = available(&world, "first").await;
    world.apply(&on(&server, "second", "name: alice")).await;
    let object = world.users().wait_for_reason("second", "NameConflict").await;
    assert!(message(&object).contains("/first"), "{}", message(&object));
    delete_whole(&world, "first").await;
    let theirs = cloud_user(&world, &id).await;
    conflicts(&world, "second", &theirs).await;
    let edit = json!({"spec": {"externalID": id}});
    world.users().patch("second", edit).await;
    assert_eq!(available(&world, "second").await, id);
    assert_eq!(posts(&world, &server).await, (1, 1));
    world.finish().await;
}

#[tokio::test]
async fn user_names_are_unique_across_watched_namespaces() {
    let options = Options {
        stopped: true,
        ..Options::with(["--resync-period=0", "--creation-confirmation-period=1s"])
    };
    let mut world = World::with(options).await;
    let other = world.plane.create_namespace("world").await.unwrap();
    world.arguments.push(format!("--watch-namespace={other}"));
    world.start_operator().await;
    apply_pw(&mut world).await;
    let server = add_server(&world, 0).await;
    world.apply(&on(&server, "alice", "")).await;
    let id = the_only_one(&world, &server, "alice").await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pw"},
        "stringData": {"password": super::steps::PASSWORD}});
    let secrets: kube::Api<k8s_openapi::api::core::v1::Secret> = kube::Api::namespaced(world.client.clone(), &other);
    let secret = serde_json::from_value(secret).unwrap();
    secrets.create(&PostParams::default(), &secret).await.unwrap();
    let there = users_in(&world, &other);
    let duplicate = json!({"apiVersion": "vpn.huaweicloud.com/v1alpha1", "kind": "VpnUser", "metadata": {"name": "alice"},
        "spec": {"vpnServerID": server, "passwordSecretRef": {"name": "pw"}, "adoptionPolicy": "IfExists"}});
    let duplicate = serde_json::from_value(duplicate).unwrap();
    there.create(&PostParams::default(), &duplicate).await.unwrap();
    let wait = async |awaited: &str, fits: &dyn Fn(&Value) -> bool| {
        let result = eventually(awaited, DEADLINE, async || {
            let object = there.get("alice").await.map_err(|error| error.to_string())?;
            let object = serde_json::to_value(object).map_err(|error| error.to_string())?;
            if fits(&object) {
                Ok(object)
            } else {
                Err(object["status"].to_string())
            }
        })
        .await;
        result.unwrap_or_else(|error| panic!("{error}\n{}", world.log_tail()))
    };
    let holder = format!("{}/alice", world.namespace);
    wait("NameConflict", &|object| {
        condition(object, "Ready")["reason"] == "NameConflict" && message(object).contains(&holder)
    })
    .await;
    assert_eq!(posts(&world, &server).await, (1, 1));
    delete_whole(&world, "alice").await;
    let object = wait("Available", &|object| {
        condition(object, "Ready")["reason"] == "Available"
    })
    .await;
    assert_ne!(object["status"]["id"], id.as_str());
    assert_eq!(posts(&world, &server).await, (2, 2));
    there.delete("alice", &DeleteParams::default()).await.unwrap();
    let deleted = eventually("it is deleted", DEADLINE, async || match there.get_opt("alice").await {
        Ok(None) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    deleted.unwrap_or_else(|error| panic!("{error}\n{}", world.log_tail()));
    assert_eq!(world.cloud_users().await, Vec::<Value>::new());
    world.finish().await;
}

/// After a restart, the object without a user may be reconciled before the one that has it.
#[tokio::test]
async fn a_restart_does_not_let_another_object_adopt_a_held_user() {
    let mut world = World::with(Options::with([
        "--resync-period=0",
        "--creation-confirmation-period=1s",
    ]))
    .await;
    apply_pw(&mut world).await;
    let mut holders = Vec::new();
    let mut waiting = Vec::new();
    for number in 0..4 {
        let server = add_server(&world, number).await;
        holders.push(on(
            &server,
            &format!("holder-{number}"),
            &format!("name: user-{number}"),
        ));
        let more = format!("name: user-{number}, adoptionPolicy: IfExists");
        waiting.push(on(&server, &format!("a-waiting-{number}"), &more));
    }
    world.apply(&holders.join("---\n")).await;
    world.users().wait_until_all_ready(4).await;
    world.stop_operator().await;
    world.apply(&waiting.join("---\n")).await;
    world.start_operator().await;
    for number in 0..4 {
        let object = world
            .users()
            .wait_for_reason(&format!("a-waiting-{number}"), "NameConflict")
            .await;
        assert!(
            message(&object).contains(&format!("/holder-{number}")),
            "{}",
            message(&object)
        );
        assert_eq!(posts(&world, &server_id(number)).await, (1, 1));
    }
    world.finish().await;
}
