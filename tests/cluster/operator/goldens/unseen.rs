//! Objects that the operator has not observed: while it does not run, none may count as done.

use serde_json::json;

use super::{Shown, samples, still};
use crate::operator::world::{Options, World};

#[tokio::test]
async fn object_before_its_first_reconciliation_matches_golden_files() {
    let options = Options {
        stopped: true,
        ..still([])
    };
    let mut world = World::with(options).await;
    world.apply_password("login", "Golden Login-1").await;
    world.apply_gateway("office", "{idValue: 203.0.113.1}").await;
    world.apply_user("alice", "{passwordSecretRef: {name: login}}").await;
    for kind in [Shown::Gateways, Shown::Users] {
        let name = name_of(kind);
        let object = kind.objects(&world).get(name).await;
        assert_eq!(object["status"], json!({"observedGeneration": -1}), "{name}");
        samples::check(kind, &world, "not-seen", &object);
    }

    world.start_operator().await;
    for kind in [Shown::Gateways, Shown::Users] {
        kind.objects(&world).wait_for_reason(name_of(kind), "Available").await;
    }
    world.stop_operator().await;
    let edits = [
        (Shown::Gateways, json!({"spec": {"name": "office-2"}})),
        (Shown::Users, json!({"spec": {"description": "on leave"}})),
    ];
    for (kind, edit) in edits {
        let objects = kind.objects(&world);
        objects.patch(name_of(kind), edit).await;
        samples::check(kind, &world, "edit-not-seen", &objects.get(name_of(kind)).await);
        objects.delete(name_of(kind)).await;
        samples::check(kind, &world, "deletion-not-seen", &objects.get(name_of(kind)).await);
    }
    world.start_operator().await;
    for kind in [Shown::Gateways, Shown::Users] {
        kind.objects(&world).wait_until_deleted(name_of(kind)).await;
    }
    world.finish().await;
}

fn name_of(kind: Shown) -> &'static str {
    match kind {
        Shown::Gateways => "office",
        Shown::Users => "alice",
    }
}
