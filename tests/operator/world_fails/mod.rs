//! The world around the operator fails, and comes back: everything converges then, nothing is made twice and nothing is
//! lost.

mod apiserver;
mod cloud;
mod conflicts;
mod crds;
mod line;
mod namespaces;
mod reasons;
mod refused;
mod stale;
mod unlisted;

use vpn_operator_testbed::eventually;

use crate::tally::Ledger;
use crate::world::{DEADLINE, World};

/// What the tests of this folder counted.
static LEDGER: Ledger = Ledger::new("world fails");

/// Counts that each object has exactly one in the cloud, after so many faults.
async fn settle_up(world: &World, faults: u64) {
    let tally = world.exactly_one_each().await;
    LEDGER.add(&[
        ("faults injected", faults),
        ("objects", tally.objects),
        ("duplicates", tally.duplicates),
        ("lost", tally.lost),
    ]);
}

/// Waits until `/readyz` says that every watch is up.
async fn wait_until_ready(world: &World) {
    let ready = eventually("the operator is ready again", DEADLINE, async || {
        match world.running().get("/readyz", DEADLINE).await {
            Ok((200, _)) => Ok(()),
            Ok((_, report)) => Err(report),
            Err(error) => Err(error.to_string()),
        }
    });
    ready
        .await
        .unwrap_or_else(|error| panic!("{error}\n{}", world.log_tail()));
}

/// What a person writes at each object to have it looked at.
async fn request_all(world: &World) {
    for kind in ["cgw", "vpnu"] {
        let now = format!("vpn.huaweicloud.com/reconcile-requested-at={}", world.mark().await);
        world.kubectl(["annotate", kind, "--all", "--overwrite", &now]).await;
    }
}
