//! A second cluster, with the same objects in the same namespace, on the first one's project.

use serde_json::{Value, json};

use super::estate::{
    Asked, Before, GATEWAYS, Manifests, Tally, USERS, all_are_ready, apply_passwords, found, lose, options,
    wait_until_all_have, words,
};
use crate::operator::console::{OWNER, counts, message};
use crate::operator::upgrade::own_plane;
use crate::operator::world::{Options, World, alone, condition, repository};

/// A cluster beside that world's, whose operator works on the same cloud; it is not started yet.
async fn beside(first: &World) -> World {
    let plane = own_plane().await;
    plane.apply_crds(&repository().join("crds")).await.unwrap();
    let stopped = Options {
        stopped: true,
        ..options()
    };
    let mut second = World::on(plane, stopped).await;
    second.namespace = first.namespace.clone();
    plane
        .kubectl(["create", "namespace", second.namespace.as_str()])
        .await
        .unwrap()
        .success()
        .unwrap();
    second.arguments = first.arguments.clone();
    second.move_operator(&first.namespace).await;
    second.environment = first.environment.clone();
    second.sentinels.add(&first.secret_key);
    apply_passwords(&mut second).await;
    second
}

#[tokio::test]
async fn two_clusters_in_one_project_create_no_duplicates_and_do_not_fight() {
    let _alone = alone().await;
    let first = found().await;
    let mut second = beside(&first).await;
    let mut tally = Tally::default();
    let tags = ("AddCustomerGatewayTags", GATEWAYS as u64);

    // By the same --cluster-name: the second takes the gateways, once, and the first lets them be.
    let before = Before::of(&first).await;
    Manifests::PLAIN.apply(&second).await;
    second.start_operator().await;
    wait_until_all_have(&second.gateway_objects(), GATEWAYS, "Available", |_| Vec::new()).await;
    let adoption_hints = words(["set spec.externalID to ", "spec.adoptionPolicy to IfExists"]);
    wait_until_all_have(&second.users(), USERS, "NameConflict", &adoption_hints).await;
    let taken = words([
        "give each cluster a name of its own",
        "--cluster-name",
        "remove that tag in the cloud",
    ]);
    wait_until_all_have(&first.gateway_objects(), GATEWAYS, "AlreadyManaged", taken).await;
    first.wait_for_cycles(6).await;
    for (world, reason) in [(&first, "AlreadyManaged"), (&second, "Available")] {
        let all = world.list().await;
        let shown = all
            .iter()
            .filter(|object| condition(object, "Ready")["reason"] == reason);
        assert_eq!(shown.count(), GATEWAYS, "{reason}");
    }
    wait_until_all_have(&first.users(), USERS, "Available", |_| Vec::new()).await;
    // Who lost it leaves it alone on the way out, too.
    first.kubectl(["delete", "cgw", "gw-001", "--timeout=60s"]).await;
    let note = first.wait_for_event("gw-001", "Deleted").await;
    assert!(note.contains("left") && note.contains("alone"), "{note}");
    before.only(&first, &mut tally, counts([tags]), Asked::default()).await;

    // The second is put down, and the tags are taken off as the message says.
    second.stop_operator().await;
    lose(&second.gateway_objects()).await;
    lose(&second.users()).await;
    let reported = first.get("gw-002").await;
    assert!(message(&reported).contains(OWNER), "{}", message(&reported));
    for gateway in first.cloud_gateways().await {
        if gateway["name"] != "gw-001" && gateway["name"] != "gw-004" {
            let id = gateway["id"].as_str().expect("an id").to_owned();
            first.edit(&id, json!({"remove_tags": [OWNER]})).await;
        }
    }
    // The same manifest takes back what its former self had.
    first.apply(&Manifests::PLAIN.gateway(1)).await;
    let id = first.get("gw-004").await["status"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    first.edit(&id, json!({"remove_tags": [OWNER]})).await;
    all_are_ready(&first).await;
    let twice = ("AddCustomerGatewayTags", 2 * GATEWAYS as u64);
    before
        .only(&first, &mut Tally::default(), counts([twice]), Asked::default())
        .await;

    // By another --cluster-name: gateways of its own, one for each object, and no user of the first's.
    let before = Before::of(&first).await;
    second.set_argument("--cluster-name=other");
    Manifests::PLAIN.apply(&second).await;
    second.start_operator().await;
    wait_until_all_have(&second.gateway_objects(), GATEWAYS, "Available", |_| Vec::new()).await;
    wait_until_all_have(&second.users(), USERS, "NameConflict", &adoption_hints).await;
    first.wait_for_cycles(3).await;
    all_are_ready(&first).await;
    let posts = GATEWAYS as u64;
    let made = counts([("CreateCustomerGateway", posts)]);
    before.only(&first, &mut tally, made, Asked { posts, deletes: 0 }).await;
    // What goes there is nothing of the first's.
    second.kubectl(["delete", "cgw,vpnu", "--all", "--timeout=120s"]).await;
    first.wait_for_cycles(2).await;
    all_are_ready(&first).await;
    let made_and_deleted = counts([("CreateCustomerGateway", posts), ("DeleteCustomerGateway", posts)]);
    let asked = Asked { posts, deletes: posts };
    before
        .only(&first, &mut Tally::default(), made_and_deleted, asked)
        .await;
    let left: Vec<Value> = first.cloud_gateways().await;
    assert_eq!(left.len(), GATEWAYS);
    tally.report("a second cluster");
    // Both have written to the cloud of the first.
    let of_second = second.operator.iter().chain(&second.ended);
    let logs = of_second.map(|operator| operator.log_path().to_owned());
    first.other_logs.lock().unwrap().extend(logs);
    second.skip_audit();
    first.finish().await;
    second.finish().await;
}
