//! What objects cost from their creation to their deletion, with a cloud that takes its time.

use std::ops::Range;
use std::time::{Duration, Instant};

use vpn_operator_testbed::Operator;

use crate::Failure;
use crate::bed::{Bed, stop};
use crate::edit;
use crate::objects::{create_all, delete_all};
use crate::population::{address, gateways, manifest, name};
use crate::probes::{count, pages, until_available};
use crate::report::{Goal, Report};

/// Edits while others are created: few enough to end before the creations.
const EDITS_MEANWHILE: usize = 20;
/// The most requests of one access key that can be in progress at once, by the goal of the operator.
const MOST_IN_PROGRESS: f64 = 32.0;

/// Adds the rows for each latency of the cloud.
pub(crate) async fn measure(
    bed: &Bed,
    objects: usize,
    rate: u32,
    latencies: &[u64],
    report: &mut Report,
) -> Result<(), Failure> {
    for latency in latencies {
        let operator = operator_of_a_slow_cloud(bed, rate, *latency).await?;
        let what = format!("{objects} gateways at {rate}/s and {latency} ms");
        let (calls, writes, began) = (
            bed.simulator.last_sequence().await?,
            bed.status_writes().await?,
            Instant::now(),
        );
        create(bed, 0..objects).await?;
        until_available(&operator, objects).await?;
        let seconds = began.elapsed().as_secs_f64();
        let by_rate = count(objects) / f64::from(rate);
        let by_latency = count(objects) * Duration::from_millis(*latency).as_secs_f64() / MOST_IN_PROGRESS;
        report.time(
            format!("{what}, from creation to Ready"),
            "s",
            seconds,
            Some(by_rate.max(by_latency)),
            Goal::Ratio(1.05),
        );
        report.calls(
            format!("{what}, calls until Ready"),
            bed.calls_since(calls).await?,
            Some(count(objects)),
            Goal::AboveBaseline(pages(objects)),
        );
        report.count(
            format!("{what}, status writes per gateway"),
            (bed.status_writes().await? - writes) / count(objects),
            None,
            Goal::AtMost(3.0),
        );
        let (calls, began) = (bed.simulator.last_sequence().await?, Instant::now());
        delete(bed).await?;
        report.time(
            format!("{what}, from deletion to its end"),
            "s",
            began.elapsed().as_secs_f64(),
            Some(by_rate.max(by_latency)),
            Goal::Ratio(1.05),
        );
        report.calls(
            format!("{what}, calls for the deletion"),
            bed.calls_since(calls).await?,
            Some(count(objects)),
            Goal::Ratio(1.02),
        );
        stop(operator).await?;
    }
    Ok(())
}

/// Starts an operator that may send so many requests per second, with a cloud that takes so many milliseconds for each.
async fn operator_of_a_slow_cloud(bed: &Bed, rate: u32, latency: u64) -> Result<Operator, Failure> {
    bed.slow_down(latency).await?;
    bed.operator(&["--resync-period=0", &format!("--max-requests-per-second={rate}")])
        .await
}

/// How long an edit takes while many objects are created.
pub(crate) async fn edit_meanwhile(
    bed: &Bed,
    objects: usize,
    rate: u32,
    latency: u64,
    report: &mut Report,
) -> Result<(), Failure> {
    let operator = operator_of_a_slow_cloud(bed, rate, latency).await?;
    create(bed, 0..1).await?;
    until_available(&operator, 1).await?;
    let edited = name(0);
    let alone = edit::delays(bed, &edited, EDITS_MEANWHILE).await?;
    let (created, meanwhile) = tokio::join!(create(bed, 1..objects), edit::delays(bed, &edited, EDITS_MEANWHILE));
    created?;
    let meanwhile = meanwhile?;
    for (quantile, percent) in [("p50", 50), ("p99", 99)] {
        report.time(
            format!("one edit while {objects} gateways are created, from the watch to the request, {quantile}"),
            "ms",
            meanwhile.quantile(percent),
            Some(alone.quantile(percent)),
            // One request of another object.
            Goal::AboveBaseline(count(latency)),
        );
    }
    until_available(&operator, objects).await?;
    delete(bed).await?;
    stop(operator).await?;
    bed.simulator.clear_faults().await?;
    Ok(())
}

/// Creates gateways.
pub(crate) async fn create(bed: &Bed, objects: Range<usize>) -> Result<(), Failure> {
    let manifests = objects.map(|number| manifest(&name(number), &address(number)));
    create_all(&gateways(bed), manifests).await
}

/// Deletes all gateways, and waits until none is left.
pub(crate) async fn delete(bed: &Bed) -> Result<(), Failure> {
    delete_all(&gateways(bed)).await
}
