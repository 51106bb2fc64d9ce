//! The worst case that a lease can fail to prevent: two operators that both believe, all the time, that they lead.
//! Records in status, owner tags and the cloud's own responses must be enough.

use vpn_operator_testbed::{Effort, effort};

use super::replicas::Replica;
use super::{LEDGER, apply_gateways, rename, world_of_replicas};
use crate::operator::console::counts;
use crate::operator::world::user;

#[tokio::test]
async fn two_concurrent_leaders_create_no_duplicates() {
    let count = if effort() == Effort::Full { 120 } else { 30 };
    let mut world = world_of_replicas(["--resync-period=2s"]).await;
    let one = Replica::start(&mut world, "one").await;
    one.leads().await;
    world.set_argument("--leader-elect-resource-name=another");
    // The chart grants access to one Lease only.
    let administrator = world.plane.kubeconfig();
    let other = Replica::start_behind(&mut world, "other", administrator).await;
    other.leads().await;
    world.apply_password("people", "Rivals Pass-1").await;
    let users: Vec<String> = (1..=5)
        .map(|number| user(&format!("user-{number}"), "{passwordSecretRef: {name: people}}"))
        .collect();
    world.apply(&users.join("---\n")).await;
    apply_gateways(&world, count).await;
    world.wait_until_all_ready(count).await;
    world.users().wait_until_all_ready(5).await;
    rename(&world, 5, "edited").await;
    super::wait_until_renamed(&world, 5, "edited").await;
    // Any duplicate that one of them created would be seen by now.
    world.wait_for_cycles(4).await;
    let mark = world.mark().await;
    world.wait_for_cycles(4).await;
    assert_eq!(world.writes_since(mark).await, counts([]), "they send no more writes");
    let tally = world.exactly_one_each().await;
    LEDGER.add(&[
        ("pairs of simultaneous leaders", 1),
        ("objects", tally.objects),
        ("duplicates", tally.duplicates),
        ("objects without their resource", tally.lost),
    ]);
    world.kubectl(["delete", "cgw,vpnu", "--all", "--timeout=120s"]).await;
    assert_eq!(
        (world.cloud_gateways().await.len(), world.cloud_users().await.len()),
        (0, 0)
    );
    for replica in [one, other] {
        replica.retire(&mut world);
    }
    world.finish().await;
}
