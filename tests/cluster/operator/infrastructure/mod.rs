//! The environment of the operator fails and recovers: then everything converges, without duplicates and without
//! losses.

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

use crate::operator::tally::Ledger;
use crate::operator::world::{DEADLINE, World};

/// The counts of the tests in this folder.
static LEDGER: Ledger = Ledger::new("infrastructure failures");

/// Checks and counts that each object has exactly one resource in the cloud after this number of faults.
async fn check_totals(world: &World, faults: u64) {
    let tally = world.exactly_one_each().await;
    LEDGER.add(&[
        ("faults injected", faults),
        ("objects", tally.objects),
        ("duplicates", tally.duplicates),
        ("objects without their resource", tally.lost),
    ]);
}

/// Waits until `/readyz` reports that every watch is up.
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

/// Waits until `/readyz` answers 503.
async fn wait_until_unready(world: &World, awaited: &str) {
    let unready = eventually(awaited, DEADLINE, async || {
        let (status, report) = world
            .running()
            .get("/readyz", DEADLINE)
            .await
            .map_err(|error| error.to_string())?;
        if status == 503 { Ok(()) } else { Err(report) }
    });
    unready.await.unwrap();
}

/// Requests a reconciliation of each object by annotation.
async fn request_all(world: &World) {
    for kind in ["cgw", "vpnu"] {
        let now = format!("vpn.huaweicloud.com/reconcile-requested-at={}", world.mark().await);
        world.kubectl(["annotate", kind, "--all", "--overwrite", &now]).await;
    }
}
