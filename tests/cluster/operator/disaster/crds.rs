//! The CRDs of many gateways and users are replaced by older ones, or deleted.

use serde_json::{Value, json};
use vpn_operator_testbed::eventually;

use super::estate::{
    Asked, Before, GATEWAYS, Manifests, Tally, USERS, all_are_ready, found_on, none_are_left, patch_all,
    wait_until_all_have, words,
};
use crate::operator::console::counts;
use crate::operator::upgrade::{own_plane, present_crd};
use crate::operator::world::{DEADLINE, World, alone, gateway, repository, user};

const CRDS: [&str; 2] = ["customergateways.vpn.huaweicloud.com", "vpnusers.vpn.huaweicloud.com"];
/// Status fields that the first operators did not have: everything that must be remembered except the id.
const REMEMBERED: [&str; 16] = [
    "caCertificate",
    "formerPasswords",
    "intent",
    "lostCreatedAt",
    "managedTags",
    "ownerUID",
    "password",
    "passwordRefused",
    "passwordReset",
    "passwordSetAt",
    "pastIntents",
    "scope",
    "sent",
    "settlesAt",
    "vanishedIDs",
    "vpnServerID",
];

/// Applies both CRDs as an older release may have had them.
async fn apply_older_crds(world: &World) {
    let folder = tempfile::tempdir().unwrap();
    for kind in ["CustomerGateway", "VpnUser"] {
        let mut crd = present_crd(kind);
        let status = crd.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/status/properties");
        let fields = status.and_then(Value::as_object_mut).expect("a status");
        let many = fields.len();
        fields.retain(|field, _| !REMEMBERED.contains(&field.as_str()));
        assert!(fields.len() + 5 <= many, "{kind} remembers something");
        std::fs::write(folder.path().join(format!("{kind}.json")), crd.to_string()).unwrap();
    }
    world.plane.apply_crds(folder.path()).await.unwrap();
}

async fn apply_present_crds(world: &World) {
    world.plane.apply_crds(&repository().join("crds")).await.unwrap();
}

#[tokio::test]
async fn older_or_deleted_crds_delete_nothing_in_the_cloud() {
    let _alone = alone().await;
    let mut world = found_on({
        let plane = own_plane().await;
        plane.apply_crds(&repository().join("crds")).await.unwrap();
        plane
    })
    .await;
    let mut tally = Tally::default();

    // Older CRDs: existing resources stay, none is created, and every object with work to do reports the solution.
    let before = Before::of(&world).await;
    world.stop_operator().await;
    apply_older_crds(&world).await;
    world.launch_operator();
    world.apply(&gateway("late", "{idValue: 203.0.113.200}")).await;
    world.apply(&user("late", "{passwordSecretRef: {name: pw-001}}")).await;
    let update = [
        "is older than this operator",
        "vpn-operator crd | kubectl apply --server-side",
    ];
    for (objects, crd) in [(world.gateway_objects(), CRDS[0]), (world.users(), CRDS[1])] {
        let object = objects.wait_for_reason("late", "DependencyNotReady").await;
        let shown = crate::operator::console::message(&object);
        assert!(
            update.iter().all(|words| shown.contains(words)) && shown.contains(crd),
            "{shown}"
        );
    }
    // The record of sent passwords is lost, so no password is sent.
    wait_until_all_have(&world.users(), USERS + 1, "DependencyNotReady", words(update)).await;
    for number in 1..=3 {
        world.request(&format!("gw-{number:03}")).await;
    }
    world.wait_for_cycles(3).await;
    let mut all = world.list().await;
    all.retain(|object| object["metadata"]["name"] != "late");
    assert_eq!(
        all.iter()
            .filter(|object| crate::operator::world::condition(object, "Ready")["status"] == "True")
            .count(),
        GATEWAYS
    );
    before.only(&world, &mut tally, counts([]), Asked::default()).await;
    apply_present_crds(&world).await;
    world.wait_for_reason("late", "Available").await;
    world.users().wait_for_reason("late", "Available").await;
    wait_until_all_have(&world.users(), USERS + 1, "Available", |_| Vec::new()).await;
    let made = [("CreateCustomerGateway", 1), ("CreateVpnUser", 1)];
    let asked = Asked { posts: 2, deletes: 0 };
    let passwords = ("ResetVpnUserPassword", USERS as u64);
    before
        .only(
            &world,
            &mut Tally::default(),
            counts([made[0], made[1], passwords]),
            asked,
        )
        .await;
    world.kubectl(["delete", "cgw,vpnu", "late", "--timeout=60s"]).await;

    // Deleted CRDs, while the operator runs and while it does not.
    let before = Before::of(&world).await;
    world.kubectl(["delete", "crd", CRDS[0], CRDS[1], "--wait=false"]).await;
    let way_out = words([
        "set deletionPolicy: Retain on this object",
        "adopted later with externalID or adoptionPolicy: IfExists",
    ]);
    for _ in 0..2 {
        wait_until_all_have(&world.gateway_objects(), GATEWAYS, "CRDDeleting", &way_out).await;
        wait_until_all_have(&world.users(), USERS, "CRDDeleting", &way_out).await;
        world.restart_operator().await;
    }
    world.wait_for_cycles(2).await;
    before.only(&world, &mut tally, counts([]), Asked::default()).await;
    let retain = json!({"spec": {"deletionPolicy": "Retain"}});
    patch_all(&world.gateway_objects(), &retain).await;
    patch_all(&world.users(), &retain).await;
    for crd in CRDS {
        let arguments = ["get", "crd", crd, "--ignore-not-found", "--output", "name"];
        eventually("the CRD is deleted", DEADLINE, async || {
            let left = world
                .plane
                .kubectl(arguments)
                .await
                .and_then(vpn_operator_testbed::ToolOutput::success);
            match left {
                Ok(left) if left.is_empty() => Ok(()),
                Ok(left) => Err(left),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
        .unwrap();
    }
    apply_present_crds(&world).await;
    none_are_left(&world.gateway_objects()).await;
    none_are_left(&world.users()).await;
    let adopting = Manifests {
        more: "adoptionPolicy: IfExists",
        ..Manifests::PLAIN
    };
    adopting.apply(&world).await;
    all_are_ready(&world).await;
    let many = GATEWAYS as u64;
    let tags = [("RemoveCustomerGatewayTags", many), ("AddCustomerGatewayTags", many)];
    let expected = counts([tags[0], tags[1], passwords]);
    before
        .only(&world, &mut Tally::default(), expected, Asked::default())
        .await;
    tally.report("CRDs older or deleted");
    world.finish().await;
}
