//! The watch delivers what this process itself has written: that is no reason for a reconcile.

use serde_json::json;

use super::address;
use super::world::{ShellWorld, gateway};

/// The reconciles so far.
fn reconciles(world: &ShellWorld) -> usize {
    let metrics = world.metrics();
    let counts = metrics.lines().filter_map(|line| {
        let (name, count) = line.rsplit_once(' ')?;
        name.starts_with("vpn_operator_reconciles_total")
            .then(|| count.parse::<usize>().ok())?
    });
    counts.sum()
}

#[tokio::test]
async fn own_writes_cause_no_reconcile() {
    const OBJECTS: usize = 20;
    let mut world = ShellWorld::new(&[]).await;
    world.start();
    for number in 0..OBJECTS {
        world.put_gateway(&format!("gw-{number}"), address(number));
        // One after the other: each echo of an earlier object is delivered by then.
        world
            .until("it is Ready", |world| world.ready(&gateway(&format!("gw-{number}"))).1)
            .await;
    }
    // One each, and some that wait for the cloud's list or a permit. With each echo there would be twice as many.
    let reconciles = reconciles(&world);
    assert!(reconciles <= OBJECTS * 3 / 2, "{reconciles}");
    world.stop().await;
}

#[tokio::test]
async fn an_edit_takes_two_reconciles() {
    const EDITS: i64 = 10;
    let mut world = ShellWorld::new(&[]).await;
    world.start();
    let office = gateway("office");
    world.put_gateway("office", address(1));
    world.until("it is Ready", |world| world.ready(&office).1).await;
    let before = reconciles(&world);
    for generation in 2..2 + EDITS {
        world.apiserver.change(&office, |object| {
            object["metadata"]["generation"] = json!(generation);
            object["spec"]["name"] = json!(format!("name-{generation}"));
        });
        let is_done = |world: &ShellWorld| {
            let observed = world.apiserver.get(&office)["status"]["observedGeneration"].as_i64();
            observed == Some(generation) && world.ready(&office).1
        };
        world.until("the edit is done", is_done).await;
    }
    // The first requests a read of the cloud, the second sends the change.
    let expected = usize::try_from(EDITS * 2).unwrap();
    // The last one is counted once it has ended.
    let has_ended = |world: &ShellWorld| reconciles(world) >= before + expected;
    world.until("it has ended", has_ended).await;
    let for_edits = reconciles(&world) - before;
    // The reconcile that created it may be counted after it is Ready. Echoes would be at least one for each edit.
    assert!((expected..=expected + 1).contains(&for_edits), "{for_edits}");
    world.stop().await;
}
