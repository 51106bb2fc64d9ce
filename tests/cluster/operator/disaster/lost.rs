//! Many gateways and users lose their cluster, status or place, and are restored in every way.

use kube::api::DeleteParams;
use serde_json::json;

use super::estate::{
    Asked, Before, GATEWAYS, Manifests, Tally, USERS, all_are_ready, apply_passwords, each, found, lose, none_are_left,
    patch_all, restore_status, set_external_id_from_message, text, wait_until_all_have, wipe_status, words,
};
use crate::operator::console::{counts, message};
use crate::operator::world::{World, alone};

/// The calls for gateways that are readopted: their tags, and nothing else.
const TAGS: (&str, u64) = ("AddCustomerGatewayTags", GATEWAYS as u64);
/// The calls for adopted users: their password, which the cloud refuses as the one in force.
const PASSWORDS: (&str, u64) = ("ResetVpnUserPassword", USERS as u64);

/// Checks that every user in the cloud counts as unmanaged, since nothing proves its owner, and that the message says
/// what to do.
async fn users_count_as_unmanaged(world: &World) {
    let reported = wait_until_all_have(&world.users(), USERS, "NameConflict", |_| Vec::new()).await;
    let cloud = world.cloud_users().await;
    for object in reported {
        let shown = message(&object);
        let name = object["spec"]["name"].as_str().or(object["metadata"]["name"].as_str());
        let its_own = cloud
            .iter()
            .find(|user| user["name"].as_str() == name)
            .expect("its user");
        let id = text(&its_own["id"]);
        for words in [
            format!("set spec.externalID to {id}"),
            "spec.adoptionPolicy to IfExists".to_owned(),
        ] {
            assert!(shown.contains(&words), "{words:?} is not in {shown:?}");
        }
    }
}

async fn gateways_are_ready(world: &World) {
    wait_until_all_have(&world.gateway_objects(), GATEWAYS, "Available", |_| Vec::new()).await;
}

#[tokio::test]
async fn a_lost_cluster_loses_nothing_in_the_cloud() {
    let _alone = alone().await;
    let mut world = found().await;
    let mut tally = Tally::default();
    let adopt = json!({"spec": {"adoptionPolicy": "IfExists"}});

    // The cluster is lost, and Git applies the same objects to a new one.
    let before = Before::of(&world).await;
    world.stop_operator().await;
    lose(&world.gateway_objects()).await;
    lose(&world.users()).await;
    Manifests::PLAIN.apply(&world).await;
    world.start_operator().await;
    gateways_are_ready(&world).await;
    let note = world.gateway_objects().wait_for_event("gw-001", "Readopted").await;
    assert!(note.contains("as it was before it was recreated"), "{note}");
    users_count_as_unmanaged(&world).await;
    before.only(&world, &mut tally, counts([TAGS]), Asked::default()).await;
    // The remedy that the message names.
    patch_all(&world.users(), &adopt).await;
    all_are_ready(&world).await;
    before
        .only(
            &world,
            &mut Tally::default(),
            counts([TAGS, PASSWORDS]),
            Asked::default(),
        )
        .await;

    // A backup without status, but with finalizers.
    let before = Before::of(&world).await;
    world.stop_operator().await;
    lose(&world.gateway_objects()).await;
    lose(&world.users()).await;
    let restored = Manifests {
        finalizers: true,
        ..Manifests::PLAIN
    };
    restored.apply(&world).await;
    world.start_operator().await;
    gateways_are_ready(&world).await;
    users_count_as_unmanaged(&world).await;
    // Deleting the objects now leaves the users in the cloud unchanged.
    world
        .kubectl(["delete", "vpnu", "user-001", "user-002", "--timeout=60s"])
        .await;
    world.apply(&[restored.user(1), restored.user(2)].join("---\n")).await;
    users_count_as_unmanaged(&world).await;
    before.only(&world, &mut tally, counts([TAGS]), Asked::default()).await;
    set_external_id_from_message(&world.users()).await;
    all_are_ready(&world).await;
    patch_all(&world.users(), &json!({"spec": {"externalID": null}})).await;
    all_are_ready(&world).await;
    before
        .only(
            &world,
            &mut Tally::default(),
            counts([TAGS, PASSWORDS]),
            Asked::default(),
        )
        .await;

    // Every status is wiped while the operator runs.
    let before = Before::of(&world).await;
    wipe_status(&world.gateway_objects()).await;
    wipe_status(&world.users()).await;
    gateways_are_ready(&world).await;
    users_count_as_unmanaged(&world).await;
    before.only(&world, &mut tally, counts([]), Asked::default()).await;
    patch_all(&world.users(), &adopt).await;
    all_are_ready(&world).await;
    before
        .only(&world, &mut Tally::default(), counts([PASSWORDS]), Asked::default())
        .await;

    // A backup with status: the operator only has to tag the gateways for the new uids.
    let before = Before::of(&world).await;
    world.stop_operator().await;
    let backup = (world.list().await, world.users().list().await);
    lose(&world.gateway_objects()).await;
    lose(&world.users()).await;
    Manifests::PLAIN.apply(&world).await;
    restore_status(&world.gateway_objects(), &backup.0, "").await;
    restore_status(&world.users(), &backup.1, "").await;
    world.start_operator().await;
    for number in [1, GATEWAYS] {
        let name = format!("gw-{number:03}");
        let (owner, id) = (
            world.owner_value(&name).await,
            text(&world.get(&name).await["status"]["id"]),
        );
        world
            .wait_for_cloud(&id, "its tag names the new uid", |cloud| {
                cloud["tags"][crate::operator::console::OWNER] == owner.as_str()
            })
            .await;
    }
    world.wait_for_calls("ListVpnUsers", 2).await;
    all_are_ready(&world).await;
    before.only(&world, &mut tally, counts([TAGS]), Asked::default()).await;
    tally.report("cluster or status lost");
    world.finish().await;
}

/// Checks that nothing is created beside the orphans. Each new object names its orphan, and adopts it by its id.
async fn orphans_are_adopted_by_external_id(world: &World, before: &Before, tally: &mut Tally) {
    let orphaned = words([
        "names a CustomerGateway that no longer exists",
        "set spec.externalID to ",
    ]);
    wait_until_all_have(&world.gateway_objects(), GATEWAYS, "AlreadyManaged", orphaned).await;
    users_count_as_unmanaged(world).await;
    before.only(world, tally, counts([]), Asked::default()).await;
    set_external_id_from_message(&world.gateway_objects()).await;
    set_external_id_from_message(&world.users()).await;
    all_are_ready(world).await;
    let taken = counts([TAGS, PASSWORDS]);
    before.only(world, &mut Tally::default(), taken, Asked::default()).await;
}

#[tokio::test]
async fn renamed_or_moved_objects_keep_their_resources() {
    let _alone = alone().await;
    let mut world = found().await;
    let mut tally = Tally::default();

    // Renamed by hand: the new objects come first, with the ids of the old ones.
    let before = Before::of(&world).await;
    let ids = |objects: &[serde_json::Value]| -> Vec<(String, String)> {
        let of = |object: &serde_json::Value| (text(&object["metadata"]["name"]), text(&object["status"]["id"]));
        objects.iter().map(of).collect()
    };
    let had = [ids(&world.list().await), ids(&world.users().list().await)].concat();
    let renamed = Manifests {
        prefix: "new-",
        ..Manifests::PLAIN
    };
    let with_id = |manifest: String| {
        let (_, id) = had
            .iter()
            .find(|(name, _)| manifest.contains(&format!("\"new-{name}\"")))
            .expect("it had an id");
        manifest.replacen("spec: {", &format!("spec: {{externalID: {id}, "), 1)
    };
    let gateways = (1..=GATEWAYS).map(|number| with_id(renamed.gateway(number)));
    let users = (1..=USERS).map(|number| with_id(renamed.user(number)));
    world
        .apply(&gateways.chain(users).collect::<Vec<_>>().join("---\n"))
        .await;
    let way_out = "delete that one first (with deletionPolicy: Retain to keep the cloud's)";
    let last_gateway = format!("new-gw-{GATEWAYS:03}");
    let last_user = format!("new-user-{USERS:03}");
    for (name, kind) in [(&last_gateway, world.gateway_objects()), (&last_user, world.users())] {
        let object = kind.wait_for_reason(name, "AlreadyManaged").await;
        assert!(message(&object).contains(way_out), "{}", message(&object));
    }
    for objects in [world.gateway_objects(), world.users()] {
        let mut old = objects.list().await;
        old.retain(|object| !text(&object["metadata"]["name"]).starts_with("new-"));
        let objects = &objects;
        each(&old, |name, _| async move {
            objects
                .patch(&name, json!({"spec": {"deletionPolicy": "Retain"}}))
                .await;
            objects.api().delete(&name, &DeleteParams::default()).await.unwrap();
        })
        .await;
    }
    all_are_ready(&world).await;
    let untagged = ("RemoveCustomerGatewayTags", GATEWAYS as u64);
    before
        .only(
            &world,
            &mut tally,
            counts([TAGS, untagged, PASSWORDS]),
            Asked::default(),
        )
        .await;
    patch_all(&world.gateway_objects(), &json!({"spec": {"externalID": null}})).await;
    patch_all(&world.users(), &json!({"spec": {"externalID": null}})).await;
    all_are_ready(&world).await;

    // Renamed in Git, while the old ones are lost.
    let before = Before::of(&world).await;
    world.stop_operator().await;
    lose(&world.gateway_objects()).await;
    lose(&world.users()).await;
    Manifests {
        prefix: "again-",
        ..Manifests::PLAIN
    }
    .apply(&world)
    .await;
    world.start_operator().await;
    orphans_are_adopted_by_external_id(&world, &before, &mut tally).await;

    // Moved to another namespace by a backup without status, whatever the names.
    let before = Before::of(&world).await;
    world.stop_operator().await;
    lose(&world.gateway_objects()).await;
    lose(&world.users()).await;
    move_to_another_namespace(&mut world).await;
    Manifests::PLAIN.apply(&world).await;
    world.start_operator().await;
    orphans_are_adopted_by_external_id(&world, &before, &mut tally).await;

    // The same with status: the gateways' tags name another place, the users' passwords count as set.
    let before = Before::of(&world).await;
    world.stop_operator().await;
    let backup = (world.list().await, world.users().list().await);
    lose(&world.gateway_objects()).await;
    lose(&world.users()).await;
    move_to_another_namespace(&mut world).await;
    Manifests::PLAIN.apply(&world).await;
    restore_status(&world.gateway_objects(), &backup.0, "").await;
    restore_status(&world.users(), &backup.1, "").await;
    world.start_operator().await;
    let elsewhere = words(["has another owner", "set spec.externalID to "]);
    wait_until_all_have(&world.gateway_objects(), GATEWAYS, "AlreadyManaged", elsewhere).await;
    world.wait_for_calls("ListVpnUsers", 2).await;
    wait_until_all_have(&world.users(), USERS, "Available", |_| Vec::new()).await;
    before
        .only(&world, &mut tally, counts([PASSWORDS]), Asked::default())
        .await;
    set_external_id_from_message(&world.gateway_objects()).await;
    all_are_ready(&world).await;
    before
        .only(
            &world,
            &mut Tally::default(),
            counts([TAGS, PASSWORDS]),
            Asked::default(),
        )
        .await;
    none_are_lost(&world).await;
    tally.report("renamed or moved");
    world.finish().await;
}

/// Moves the world to a namespace of another name, with the same Secrets.
async fn move_to_another_namespace(world: &mut World) {
    world.namespace = world.plane.create_namespace("moved").await.unwrap();
    let namespace = world.namespace.clone();
    world.arguments.push(format!("--watch-namespace={namespace}"));
    apply_passwords(world).await;
}

/// Deletes every object at the end, as usual.
async fn none_are_lost(world: &World) {
    world.kubectl(["delete", "cgw,vpnu", "--all", "--wait=false"]).await;
    none_are_left(&world.gateway_objects()).await;
    none_are_left(&world.users()).await;
    assert!(world.cloud_gateways().await.is_empty());
    assert!(world.cloud_users().await.is_empty());
}
