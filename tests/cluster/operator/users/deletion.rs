//! The end of a user's life: what goes with its object, what stays, and what is waited for.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use vpn_operator_testbed::eventually;

use super::steps::{
    add_server, apply_pw, available, cloud_user, cloud_users_on, creation_fault, delete, delete_whole, on, posts,
    request, requests, server_id, wait_for_requests,
};
use crate::operator::console::message;
use crate::operator::upgrade::{apply_crd, loosen, own_plane, present_crd};
use crate::operator::world::{DEADLINE, Options, PROJECT, REGION, World, condition, repository};

async fn world<const N: usize>(more: [&str; N]) -> World {
    // Held requests must not time out before their release.
    let usual = [
        "--resync-period=0",
        "--creation-confirmation-period=2s",
        "--request-timeout=5s",
    ];
    let options = Options {
        arguments: usual.iter().chain(&more).map(|&flag| flag.to_owned()).collect(),
        ..Options::default()
    };
    let mut world = World::with(options).await;
    apply_pw(&mut world).await;
    world
}

async fn wait_for_ready_reason(world: &World, name: &str, reason: &str) -> Value {
    world
        .users()
        .wait_for(name, reason, |object| condition(object, "Ready")["reason"] == reason)
        .await
}

#[tokio::test]
async fn a_deletion_sends_one_call_and_retain_sends_none() {
    let world = world([]).await;
    let server = add_server(&world, 0).await;
    let specs = [
        ("gone-one", ""),
        ("kept-one", "deletionPolicy: Retain"),
        ("away-one", ""),
        ("between", ""),
    ];
    let manifests = specs.map(|(name, more)| on(&server, name, more));
    world.apply(&manifests.join("---\n")).await;
    world.users().wait_until_all_ready(4).await;
    let kept = available(&world, "kept-one").await;
    let before = cloud_user(&world, &kept).await;
    for name in ["gone-one", "kept-one"] {
        delete_whole(&world, name).await;
    }
    let note = world.users().wait_for_event("gone-one", "Deleted").await;
    assert!(note.contains("deleted the VPN user"), "{note}");
    let note = world.users().wait_for_event("kept-one", "Deleted").await;
    assert!(note.contains("kept the VPN user") && note.contains(&kept), "{note}");
    assert_eq!(cloud_user(&world, &kept).await, before);
    assert_eq!(requests(&world, &server, "DeleteVpnUser").await.len(), 1);
    // Gone already: before the look, and between the look and the request.
    let id = available(&world, "away-one").await;
    world.simulator.remove_user(&id).await.unwrap();
    delete_whole(&world, "away-one").await;
    // Reads that lack it may be stale.
    assert_eq!(requests(&world, &server, "DeleteVpnUser").await.len(), 2);
    let hold = json!({"fault": "hold", "operation": "DeleteVpnUser"});
    world.simulator.add_fault(&hold).await.unwrap();
    let id = available(&world, "between").await;
    delete(&world, "between").await;
    world.simulator.wait_for_held::<Value>(1).await.unwrap();
    world.simulator.remove_user(&id).await.unwrap();
    world.simulator.release(&json!({})).await.unwrap();
    world.users().wait_until_deleted("between").await;
    assert_eq!(requests(&world, &server, "DeleteVpnUser").await.len(), 3);
    world.finish().await;
}

#[tokio::test]
async fn a_slow_deletion_sends_one_delete_and_waits() {
    let world = world([]).await;
    let (held, slow) = (add_server(&world, 0).await, add_server(&world, 1).await);
    world
        .apply(&[on(&held, "held", ""), on(&slow, "slow", "")].join("---\n"))
        .await;
    world.users().wait_until_all_ready(2).await;
    world.simulator.set_pace(Duration::from_millis(1500)).await.unwrap();
    world
        .simulator
        .set_switches(&json!({"user-deletion": "slow"}))
        .await
        .unwrap();
    delete_whole(&world, "slow").await;
    assert_eq!(requests(&world, &slow, "DeleteVpnUser").await.len(), 1);
    world
        .simulator
        .set_switches(&json!({"user-deletion": "held"}))
        .await
        .unwrap();
    delete(&world, "held").await;
    wait_for_requests(&world, &held, "GetVpnUser", 3).await;
    wait_for_ready_reason(&world, "held", "Deleting").await;
    assert_eq!(requests(&world, &held, "DeleteVpnUser").await.len(), 1);
    world
        .simulator
        .admin_post::<Value>("finish-deletions", &json!({}))
        .await
        .unwrap();
    world.users().wait_until_deleted("held").await;
    assert_eq!(requests(&world, &held, "DeleteVpnUser").await.len(), 1);
    assert_eq!(world.cloud_users().await, Vec::<Value>::new());
    world.finish().await;
}

#[tokio::test]
async fn a_deletion_during_the_creation_leaves_no_user() {
    let world = world([]).await;
    world.simulator.set_pace(Duration::from_millis(1500)).await.unwrap();
    for switches in [
        json!({}),
        json!({"user-settling": "slow", "unsettled-users": "invisible"}),
        json!({"user-settling": "slow", "unsettled-users": "visible"}),
    ] {
        world.simulator.set_switches(&switches).await.unwrap();
        let first = world.simulator.admin_get::<Value>("vpn-servers").await.unwrap();
        let first = first["servers"].as_array().expect("servers").len();
        let faults = [
            json!({"fault": "hold", "commit": false}),
            json!({"fault": "hold", "commit": true}),
            json!({"fault": "lost-answer", "commit": true}),
            json!({"fault": "lost-answer", "commit": false}),
            json!({"fault": "late-commit", "ms": 1500}),
            json!({"fault": "latency", "ms": 1}),
        ];
        let mut manifests = Vec::new();
        for (number, fault) in faults.into_iter().enumerate() {
            let server = add_server(&world, first + number).await;
            world
                .simulator
                .add_fault(&creation_fault(&server, fault))
                .await
                .unwrap();
            manifests.push(on(&server, &format!("user-{}", first + number), ""));
        }
        world.apply(&manifests.join("---\n")).await;
        world.simulator.wait_for_held::<Value>(2).await.unwrap();
        // Deleted first, while its creation has not taken effect.
        let late = first + 4;
        wait_for_requests(&world, &server_id(late), "CreateVpnUser", 1).await;
        delete(&world, &format!("user-{late}")).await;
        // The held creations are released within their creation window.
        for number in first..first + 2 {
            delete(&world, &format!("user-{number}")).await;
        }
        world.simulator.release(&json!({})).await.unwrap();
        for number in [first + 2, first + 3, first + 5] {
            wait_for_requests(&world, &server_id(number), "CreateVpnUser", 1).await;
            delete(&world, &format!("user-{number}")).await;
        }
        for number in first..first + 6 {
            world.users().wait_until_deleted(&format!("user-{number}")).await;
            assert_eq!(posts(&world, &server_id(number)).await.0, 1, "{number}: {switches}");
        }
        assert_eq!(world.cloud_users().await, Vec::<Value>::new(), "{switches}");
    }
    world.finish().await;
}

#[tokio::test]
async fn a_deletion_after_a_kill_during_the_creation_leaves_no_user() {
    let mut world = world(["--leader-elect-lease-duration=12s"]).await;
    let switches = json!({"user-settling": "slow", "unsettled-users": "invisible"});
    world.simulator.set_switches(&switches).await.unwrap();
    world.simulator.set_pace(Duration::from_millis(1500)).await.unwrap();
    let mut manifests = Vec::new();
    for (number, commit) in [false, true].into_iter().enumerate() {
        let server = add_server(&world, number).await;
        let hold = creation_fault(&server, json!({"fault": "hold", "commit": commit}));
        world.simulator.add_fault(&hold).await.unwrap();
        manifests.push(on(&server, &format!("user-{number}"), ""));
    }
    world.apply(&manifests.join("---\n")).await;
    world.simulator.wait_for_held::<Value>(2).await.unwrap();
    world.kill_operator();
    for number in 0..2 {
        delete(&world, &format!("user-{number}")).await;
    }
    world.simulator.release(&json!({})).await.unwrap();
    world.start_operator().await;
    for number in 0..2 {
        world.users().wait_until_deleted(&format!("user-{number}")).await;
        assert_eq!(posts(&world, &server_id(number)).await, (1, 1));
    }
    assert_eq!(world.cloud_users().await, Vec::<Value>::new());
    world.finish().await;
}

#[tokio::test]
async fn a_user_with_an_invalid_spec_can_be_deleted() {
    let plane = own_plane().await;
    let mut lax = present_crd("VpnUser");
    loosen(&mut lax);
    apply_crd(plane, &lax).await;
    let mut world = World::on(
        plane,
        Options::with(["--resync-period=0", "--creation-confirmation-period=1s"]),
    )
    .await;
    apply_pw(&mut world).await;
    let server = add_server(&world, 0).await;
    let breaks = [
        json!({"vpnServerID": "gone wrong"}),
        json!({"vpnServerID": 7}),
        json!({"name": "x"}),
        json!({"staticIP": "nowhere"}),
        json!({"managementPolicy": "Whatever"}),
        json!({"passwordSecretRef": null}),
        json!({"passwordSecretRef": {"name": "../x"}}),
        json!({"userGroupID": "None", "userGroupName": "ops"}),
    ];
    let manifests: Vec<String> = (0..breaks.len())
        .map(|number| on(&server, &format!("user-{number}"), ""))
        .collect();
    world.apply(&manifests.join("---\n")).await;
    world.users().wait_until_all_ready(breaks.len()).await;
    for (number, edit) in breaks.iter().enumerate() {
        // What the schema's types still refuse need not be dealt with.
        let _ = world
            .users()
            .try_patch(&format!("user-{number}"), json!({"spec": edit}))
            .await;
    }
    for number in 0..breaks.len() {
        delete(&world, &format!("user-{number}")).await;
    }
    for (number, edit) in breaks.iter().enumerate() {
        world.users().wait_until_deleted(&format!("user-{number}")).await;
        let left = cloud_users_on(&world, &server).await;
        let name = format!("user-{number}");
        assert!(
            !left.iter().any(|user| user["name"] == name.as_str()),
            "{edit}: {left:?}"
        );
    }
    world.finish().await;
}

#[tokio::test]
async fn a_deleted_server_is_reported_and_does_not_block_deletion() {
    let world = world([]).await;
    for (number, position) in ["404", "400-not-found", "400-not-exist"].into_iter().enumerate() {
        world
            .simulator
            .set_switches(&json!({"unknown-server": position}))
            .await
            .unwrap();
        let server = add_server(&world, number).await;
        let (stays, goes) = (format!("stays-{number}"), format!("goes-{number}"));
        world
            .apply(&[on(&server, &stays, ""), on(&server, &goes, "")].join("---\n"))
            .await;
        for name in [&stays, &goes] {
            available(&world, name).await;
        }
        world
            .simulator
            .admin_delete::<Value>(&format!("vpn-servers/{server}"))
            .await
            .unwrap();
        delete_whole(&world, &goes).await;
        request(&world, &stays).await;
        let object = wait_for_ready_reason(&world, &stays, "DependencyNotReady").await;
        assert!(
            message(&object).contains("VPN server"),
            "{position}: {}",
            message(&object)
        );
        delete_whole(&world, &stays).await;
        // One that never had a user can go as well.
        let never = format!("never-{number}");
        world.apply(&on(&server, &never, "")).await;
        wait_for_ready_reason(&world, &never, "DependencyNotReady").await;
        delete_whole(&world, &never).await;
    }
    world.finish().await;
}

#[tokio::test]
async fn a_namespace_deletion_with_users_completes_without_secrets() {
    let mut world = World::with(Options {
        without_credentials: true,
        stopped: true,
        ..Options::with(["--resync-period=0", "--creation-confirmation-period=1s"])
    })
    .await;
    let operator_namespace = world.plane.create_namespace("home").await.unwrap();
    world.move_operator(&operator_namespace).await;
    world.start_operator().await;
    let (access_key, secret_key) = (world.access_key.clone(), world.secret_key.clone());
    world.apply_credentials("keys", &access_key, &secret_key, &[]).await;
    apply_pw(&mut world).await;
    let server = add_server(&world, 0).await;
    let manifests = ["one-user", "two-user"].map(|name| on(&server, name, "credentialsRef: {name: keys}"));
    world.apply(&manifests.join("---\n")).await;
    world.users().wait_until_all_ready(2).await;
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    for name in ["keys", "pw"] {
        secrets.delete(name, &DeleteParams::default()).await.unwrap();
    }
    let controllers = world.plane.start_controllers(&["namespace-controller"]).await.unwrap();
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    namespaces
        .delete(&world.namespace, &DeleteParams::default())
        .await
        .unwrap();
    let result = eventually("the namespace is deleted", DEADLINE, async || {
        match namespaces.get_opt(&world.namespace).await {
            Ok(None) => Ok(()),
            Ok(Some(namespace)) => Err(format!("{:?}", namespace.status)),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    result.unwrap_or_else(|error| panic!("{error}\n{}", world.log_tail()));
    assert_eq!(world.cloud_users().await, Vec::<Value>::new());
    controllers.kill().unwrap();
    world.finish().await;
}

#[tokio::test]
async fn no_user_is_deleted_while_the_crd_is_deleted() {
    let plane = own_plane().await;
    plane.apply_crds(&repository().join("crds")).await.unwrap();
    let mut world = World::on(
        plane,
        Options::with(["--resync-period=0", "--creation-confirmation-period=1s"]),
    )
    .await;
    apply_pw(&mut world).await;
    let server = add_server(&world, 0).await;
    let manifests = ["first", "second"].map(|name| on(&server, name, ""));
    world.apply(&manifests.join("---\n")).await;
    world.users().wait_until_all_ready(2).await;
    let crds: Api<CustomResourceDefinition> = Api::all(world.client.clone());
    crds.delete("vpnusers.vpn.huaweicloud.com", &DeleteParams::default())
        .await
        .unwrap();
    for name in ["first", "second"] {
        let object = wait_for_ready_reason(&world, name, "CRDDeleting").await;
        assert!(object["metadata"]["deletionTimestamp"].is_string());
    }
    world
        .users()
        .patch("first", json!({"spec": {"deletionPolicy": "Retain"}}))
        .await;
    world.users().wait_until_deleted("first").await;
    assert_eq!(cloud_users_on(&world, &server).await.len(), 2);
    assert_eq!(requests(&world, &server, "DeleteVpnUser").await, Vec::<Value>::new());
    world.finish().await;
}

#[tokio::test]
async fn a_deletion_with_credentials_of_another_project_waits() {
    let mut world = World::with(Options {
        without_credentials: true,
        ..Options::with(["--resync-period=0", "--creation-confirmation-period=1s"])
    })
    .await;
    apply_pw(&mut world).await;
    let (access_key, secret_key) = (world.access_key.clone(), world.secret_key.clone());
    let keys = async |world: &mut World, project: &str| {
        world
            .apply_credentials("keys", &access_key, &secret_key, &[("projectID", project)])
            .await;
    };
    keys(&mut world, PROJECT).await;
    let server = add_server(&world, 0).await;
    world.apply(&on(&server, "alice", "credentialsRef: {name: keys}")).await;
    let id = available(&world, "alice").await;
    let elsewhere = "f".repeat(32);
    let project = json!({"name": format!("{REGION}_b")});
    world
        .simulator
        .put::<Value>(&format!("projects/{elsewhere}"), &project)
        .await
        .unwrap();
    keys(&mut world, &elsewhere).await;
    wait_for_ready_reason(&world, "alice", "ScopeChanged").await;
    delete(&world, "alice").await;
    let object = world
        .users()
        .wait_for("alice", "still there", |object| {
            object["metadata"]["deletionTimestamp"].is_string()
                && condition(object, "Ready")["reason"] == "ScopeChanged"
                && condition(object, "Ready")["observedGeneration"] == object["metadata"]["generation"]
        })
        .await;
    assert!(object["metadata"]["finalizers"].is_array());
    assert_eq!(cloud_user(&world, &id).await["name"], "alice");
    keys(&mut world, PROJECT).await;
    world.users().wait_until_deleted("alice").await;
    assert_eq!(world.cloud_users().await, Vec::<Value>::new());
    world.finish().await;
}

#[tokio::test]
async fn missing_users_of_several_servers_count_as_one_mass_deletion() {
    // The held lists must not time out before their release.
    let mut world = World::with(Options::with([
        "--resync-period=1s",
        "--creation-confirmation-period=1s",
        "--request-timeout=7s",
    ]))
    .await;
    apply_pw(&mut world).await;
    let mut manifests = Vec::new();
    for number in 0..2 {
        let server = add_server(&world, number).await;
        for user in 0..7 {
            manifests.push(on(&server, &format!("user-{number}-{user}"), ""));
        }
    }
    world.apply(&manifests.join("---\n")).await;
    world.users().wait_until_all_ready(14).await;
    let all = world.cloud_users().await;
    // Neither server alone lacks enough, and all go between two looks.
    for number in 0..2 {
        let hold = json!({"fault": "hold", "operation": "ListVpnUsers", "path_contains": server_id(number)});
        world.simulator.add_fault(&hold).await.unwrap();
    }
    world.simulator.wait_for_held::<Value>(2).await.unwrap();
    let missing: Vec<Value> = all.iter().filter(|user| user["name"] != "user-0-0").cloned().collect();
    for user in &missing {
        world
            .simulator
            .remove_user(user["id"].as_str().expect("an id"))
            .await
            .unwrap();
    }
    world.simulator.release(&json!({})).await.unwrap();
    let suspected = async |count: usize| {
        let result = eventually(&format!("{count} are suspected"), DEADLINE, async || {
            let objects = world.users().list().await;
            let suspected = objects
                .iter()
                .filter(|object| condition(object, "Ready")["reason"] == "MassDeletionSuspected")
                .count();
            if suspected == count {
                Ok(())
            } else {
                Err(format!("{suspected} are"))
            }
        })
        .await;
        result.unwrap_or_else(|error| panic!("{error}\n{}", world.log_tail()));
    };
    suspected(13).await;
    let shown = message(&world.users().get("user-1-0").await);
    assert!(
        shown.contains("13 of 14") && shown.contains("recreate-approved-at"),
        "{shown}"
    );
    let made = async || posts(&world, &server_id(0)).await.1 + posts(&world, &server_id(1)).await.1;
    assert_eq!(made().await, 14);
    let approved = jiff::Timestamp::now().to_string();
    let annotations = json!({"vpn.huaweicloud.com/recreate-approved-at": approved});
    world
        .users()
        .patch("user-1-0", json!({"metadata": {"annotations": annotations}}))
        .await;
    available(&world, "user-1-0").await;
    suspected(12).await;
    assert_eq!(made().await, 15);
    // The rest comes back, ids and all.
    let seeds: Vec<Value> = missing
        .iter()
        .filter(|user| user["name"] != "user-1-0")
        .map(|user| {
            json!({"server_id": user["server_id"], "id": user["id"], "name": user["name"],
                "created_at": user["created_at"]})
        })
        .collect();
    world.simulator.seed_users::<Value>(&seeds).await.unwrap();
    world.users().wait_until_all_ready(14).await;
    assert_eq!(made().await, 15);
    world.finish().await;
}
