//! Whether each object has exactly one operator when objects move from shard to shard.

use serde_json::json;
use vpn_operator_testbed::Operator;

use crate::Failure;
use crate::bed::{Bed, stop};
use crate::edit::delays;
use crate::objects::patch_all;
use crate::population::{Population, Spread, gateways, name, shard};
use crate::probes::{count, until_available, until_quiet};
use crate::report::{Goal, Report};

const SHARDS: usize = 3;
/// Objects that are edited after the move, of all shards.
const SAMPLES: usize = 30;

/// Adds the rows for so many objects, of which each moves to the next shard.
pub(crate) async fn measure(bed: &Bed, objects: usize, report: &mut Report) -> Result<(), Failure> {
    // Each shard has as many as the others, the first one the template as well.
    let objects = objects / SHARDS * SHARDS;
    let mut population = Population::spread(bed, Spread::Shards(SHARDS)).await?;
    population.grow_to(bed, objects).await?;
    let mut operators = Vec::new();
    for number in 0..SHARDS {
        operators.push(operator(bed, number).await?);
    }
    let of_each = objects / SHARDS;
    for operator in &operators {
        until_available(operator, of_each).await?;
    }
    let all: Vec<&Operator> = operators.iter().collect();
    until_quiet(bed, &all).await?;
    let (calls, writes) = (bed.simulator.last_sequence().await?, bed.status_writes().await?);
    relabel(bed, objects).await?;
    until_quiet(bed, &all).await?;
    for operator in &operators {
        until_available(operator, of_each).await?;
    }
    let what = format!("{objects} objects over {SHARDS} shards, each moved to another");
    let sent = bed.simulator.writes_since(calls).await?.len();
    report.calls(
        format!("{what}: changes of the cloud"),
        count(sent),
        None,
        Goal::AtMost(0.0),
    );
    let written = bed.status_writes().await? - writes;
    report.count(format!("{what}: status writes"), written, None, Goal::AtMost(0.0));
    let calls = bed.simulator.last_sequence().await?;
    let samples = SAMPLES.min(objects);
    for sample in 0..samples {
        delays(bed, &name(sample * (objects / samples)), 1).await?;
    }
    until_quiet(bed, &all).await?;
    let updates = bed.calls_of("UpdateCustomerGateway", calls).await?;
    report.calls(
        format!("{what}: updates for one edit each of {samples} of them"),
        updates,
        Some(count(samples)),
        Goal::Ratio(1.0),
    );
    for operator in operators {
        stop(operator).await?;
    }
    Ok(())
}

async fn operator(bed: &Bed, number: usize) -> Result<Operator, Failure> {
    let shard = shard(number);
    bed.operator(&[
        "--resync-period=0",
        "--max-requests-per-second=1000",
        &format!("--watch-selector=shard={shard}"),
        &format!("--leader-elect-resource-name=vpn-operator-{shard}"),
    ])
    .await
}

/// Moves each object to the next shard.
async fn relabel(bed: &Bed, objects: usize) -> Result<(), Failure> {
    let moved = |number| json!({"metadata": {"labels": {"shard": shard((number + 1) % SHARDS)}}});
    let moves = (0..objects).map(|number| (name(number), moved(number)));
    patch_all(&gateways(bed), moves).await
}
