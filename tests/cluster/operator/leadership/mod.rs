//! Several replicas on one Lease: whatever happens to the leader, who has lost the lease writes nothing to the cloud any
//! more, another one takes over, and each object has exactly one in the cloud.

mod clocks;
mod competitors;
mod cut_off;
mod frozen;
mod handover;
mod history;
mod replicas;
mod rolling;
mod stolen;
mod stopped;

use vpn_operator_testbed::eventually;

use crate::operator::tally::Ledger;
use crate::operator::world::{DEADLINE, Options, World, gateway};

/// What the tests of this folder counted.
static LEDGER: Ledger = Ledger::new("leadership");

/// The lease is as short as a busy machine allows: the leader gives up after two thirds of it without a renewal.
const LEASE: &str = "--leader-elect-lease-duration=12s";
/// So slow that there is always work waiting to be done.
const SLOW: &str = "--max-requests-per-second=4";

/// A world without an operator, for replicas.
async fn world_of_replicas<const N: usize>(flags: [&str; N]) -> World {
    let mut options = Options::with(["--resync-period=0", "--log-level=info,vpn_operator=debug", LEASE]);
    options.arguments.extend(flags.map(str::to_owned));
    options.stopped = true;
    let world = World::with(options).await;
    world.make_room().await;
    world
}

/// Applies so many gateways at once.
async fn apply_gateways(world: &World, count: usize) {
    let manifests: Vec<String> = (1..=count)
        .map(|number| {
            gateway(
                &format!("gw-{number}"),
                &format!("{{name: gw-{number}, idValue: 203.0.113.{number}}}"),
            )
        })
        .collect();
    world.apply(&manifests.join("---\n")).await;
}

/// Applies so many gateways at once, and waits until three of them are on their way.
async fn begin_with_gateways(world: &World, count: usize) {
    let mark = world.mark().await;
    apply_gateways(world, count).await;
    eventually("the first creations", DEADLINE, async || {
        let calls = world.calls_since(mark).await;
        let created = calls.get("CreateCustomerGateway").copied().unwrap_or_default();
        if created >= 3 { Ok(()) } else { Err(created) }
    })
    .await
    .unwrap();
}

/// Renames some of those gateways in the spec.
async fn rename(world: &World, count: usize, suffix: &str) {
    for number in 1..=count {
        let name = format!("gw-{number}");
        let spec = serde_json::json!({"spec": {"name": format!("{name}-{suffix}")}});
        world.patch(&name, spec).await;
    }
}

/// Waits until the cloud has the new names, and everything is Ready.
async fn wait_until_renamed(world: &World, count: usize, suffix: &str) {
    for number in 1..=count {
        let name = format!("gw-{number}");
        world.wait_for_reason(&name, "Available").await;
    }
    let cloud = world.cloud_gateways().await;
    let renamed = cloud
        .iter()
        .filter(|gateway| gateway["name"].as_str().is_some_and(|name| name.ends_with(suffix)));
    assert_eq!(renamed.count(), count, "{cloud:?}");
}
