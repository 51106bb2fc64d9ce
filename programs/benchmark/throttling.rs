//! What a rate limit of the cloud costs, of which the operator's own flag knows nothing.

use std::time::Instant;

use serde_json::{Value, json};

use crate::Failure;
use crate::bed::{Bed, stop};
use crate::creation::{create, delete};
use crate::probes::{count, pages, until_available};
use crate::report::{Goal, Report};

/// The operator's own limit is so many times the cloud's.
const ABOVE: u32 = 8;
/// Of the limit, at least.
const USED: f64 = 0.95;

/// Adds the rows for a cloud that accepts so many requests per second.
pub(crate) async fn measure(bed: &Bed, objects: usize, rate: u32, report: &mut Report) -> Result<(), Failure> {
    let operator = bed
        .operator(&[
            "--resync-period=0",
            &format!("--max-requests-per-second={}", rate * ABOVE),
        ])
        .await?;
    bed.simulator.set_switches(&json!({"retry-after": "present"})).await?;
    let limit = json!({"per_second": rate});
    bed.simulator.put::<Value>("rate-limit", &limit).await?;
    let (calls, began) = (bed.simulator.last_sequence().await?, Instant::now());
    create(bed, 0..objects).await?;
    until_available(&operator, objects).await?;
    let took = began.elapsed().as_secs_f64();
    let what = format!("{objects} gateways under a limit of {rate}/s with Retry-After");
    let limit = Some(count(objects) / f64::from(rate));
    report.time(
        format!("{what}, from creation to Ready"),
        "s",
        took,
        limit,
        Goal::Ratio(1.0 / USED),
    );
    let counts: Value = bed.simulator.counts_since(calls).await?;
    let refused = counts["by_error_code"]["APIGW.0308"].as_f64().unwrap_or_default();
    report.time(format!("{what}, refused requests"), "calls", refused, None, Goal::None);
    let accepted = bed.calls_since(calls).await? - refused;
    report.calls(
        format!("{what}, accepted requests"),
        accepted,
        Some(count(objects)),
        Goal::AboveBaseline(pages(objects)),
    );
    bed.simulator.put::<Value>("rate-limit", &json!({})).await?;
    delete(bed).await?;
    stop(operator).await
}
