//! The watch delivers what this process itself has written: that is no reason for a reconcile.

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
