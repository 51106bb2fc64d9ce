//! The CRDs are deleted with all their objects, and restored.

use serde_json::{Value, json};
use vpn_operator_testbed::eventually;

use super::{LEDGER, check_totals, wait_until_ready, wait_until_unready};
use crate::operator::console::counts;
use crate::operator::upgrade::own_plane;
use crate::operator::world::{DEADLINE, Options, World, condition, gateway, repository, user};

const CRDS: [&str; 2] = ["customergateways.vpn.huaweicloud.com", "vpnusers.vpn.huaweicloud.com"];

/// Returns the manifests in Git.
fn manifests() -> String {
    let mut manifests: Vec<String> = (1..=4)
        .map(|number| {
            gateway(
                &format!("gw-{number}"),
                &format!("{{name: gw-{number}, idValue: 203.0.113.{number}}}"),
            )
        })
        .collect();
    manifests.push(user(
        "alice",
        "{passwordSecretRef: {name: alice}, adoptionPolicy: IfExists}",
    ));
    manifests.join("---\n")
}

fn ids(objects: &[Value]) -> Vec<String> {
    let mut ids: Vec<String> = objects.iter().map(|object| object["id"].to_string()).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn forced_removal_of_the_crds_deletes_nothing_in_the_cloud() {
    let plane = own_plane().await;
    plane.apply_crds(&repository().join("crds")).await.unwrap();
    let mut world = World::on(plane, Options::with(["--resync-period=0"])).await;
    world.apply_password("alice", "Removed Pass-1").await;
    world.apply(&manifests()).await;
    world.wait_until_all_ready(4).await;
    world.users().wait_for_reason("alice", "Available").await;
    let before = (ids(&world.cloud_gateways().await), ids(&world.cloud_users().await));
    let mark = world.mark().await;

    let [gateways, users] = CRDS;
    world.kubectl(["delete", "crd", gateways, users, "--wait=false"]).await;
    for objects in [world.gateway_objects(), world.users()] {
        for object in objects.list().await {
            let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
            let shown = |object: &Value| condition(object, "Ready")["reason"] == "CRDDeleting";
            objects.wait_for(&name, "CRDDeleting", shown).await;
        }
    }
    // A user removes the finalizers by force.
    for objects in [world.gateway_objects(), world.users()] {
        for object in objects.list().await {
            let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
            objects.patch(&name, json!({"metadata": {"finalizers": null}})).await;
        }
    }
    eventually("the CRDs are deleted", DEADLINE, async || {
        let left = world
            .kubectl(["get", "crd", gateways, users, "--ignore-not-found", "-o", "name"])
            .await;
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await
    .unwrap();
    wait_until_unready(&world, "the operator reports that it is not ready").await;
    assert_eq!(
        world.writes_since(mark).await,
        counts([]),
        "nothing is deleted in the cloud"
    );

    plane.apply_crds(&repository().join("crds")).await.unwrap();
    world.apply(&manifests()).await;
    world.wait_until_all_ready(4).await;
    world.users().wait_for_reason("alice", "Available").await;
    wait_until_ready(&world).await;
    assert!(
        world.running().exit_status().unwrap().is_none(),
        "it is still the same process"
    );
    let after = (ids(&world.cloud_gateways().await), ids(&world.cloud_users().await));
    assert_eq!(after, before);
    let calls = world.writes_since(mark).await;
    let count = |verb: &str| {
        calls
            .iter()
            .filter(|(name, _)| name.starts_with(verb))
            .map(|(_, count)| count)
            .sum()
    };
    let (created, deleted): (u64, u64) = (count("Create"), count("Delete"));
    check_totals(&world, 2).await;
    LEDGER.add(&[
        ("creations after CRDs were restored", created),
        ("deletions after CRDs were removed", deleted),
    ]);
    assert_eq!((created, deleted), (0, 0), "{calls:?}");
    world.finish().await;
}
