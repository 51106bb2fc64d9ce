//! No Event is lost: neither for its object's name, nor because an earlier one was deleted.

use serde_json::json;

use crate::operator::world::World;

#[tokio::test]
async fn events_work_for_the_longest_name_and_are_recreated_when_deleted() {
    let world = World::start().await;
    let name = "n".repeat(253);
    world.apply_gateway(&name, "{name: office, idValue: 203.0.113.1}").await;
    let object = world.wait_for_reason(&name, "Available").await;
    world.wait_for_event(&name, "Created").await;
    let id = object["status"]["id"].as_str().unwrap();
    // The same happens twice: the second is not written to the Event that was deleted.
    for request in ["first", "second"] {
        world
            .simulator
            .edit_gateway(id, &json!({"name": "moved"}))
            .await
            .unwrap();
        let annotations = json!({"vpn.huaweicloud.com/reconcile-requested-at": request});
        world
            .patch(&name, json!({"metadata": {"annotations": annotations}}))
            .await;
        world.wait_for_event(&name, "DriftCorrected").await;
        world.kubectl(["delete", "events", "--all"]).await;
    }
    world.finish().await;
}
