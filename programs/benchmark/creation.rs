//! What objects cost from their creation to their deletion, with a cloud that takes its time.

use std::ops::Range;
use std::time::{Duration, Instant};

use futures::{TryStreamExt, stream};
use kube::api::{DeleteParams, ListParams, PostParams};
use vpn_operator_testbed::{Operator, eventually};

use crate::bed::{Bed, stop};
use crate::edit;
use crate::population::{address, gateways, manifest, name};
use crate::probes::{count, until_available};
use crate::report::{Goal, Measure, Report, Row};
use crate::{AT_ONCE, DEADLINE, Failure};

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
        report.add(Row {
            what: format!("{what}, from creation to Ready"),
            of: Measure::Time,
            unit: "s",
            figure: seconds,
            baseline: Some(by_rate.max(by_latency)),
            goal: Goal::Ratio(1.05),
        });
        report.add(Row {
            what: format!("{what}, calls until Ready"),
            of: Measure::Count,
            unit: "calls",
            figure: bed.calls_since(calls).await?,
            baseline: Some(count(objects)),
            goal: Goal::AboveBaseline(count(objects.div_ceil(200))),
        });
        report.add(Row {
            what: format!("{what}, status writes per gateway"),
            of: Measure::Count,
            unit: "",
            figure: (bed.status_writes().await? - writes) / count(objects),
            baseline: None,
            goal: Goal::AtMost(3.0),
        });
        let (calls, began) = (bed.simulator.last_sequence().await?, Instant::now());
        delete(bed).await?;
        report.add(Row {
            what: format!("{what}, from deletion to its end"),
            of: Measure::Time,
            unit: "s",
            figure: began.elapsed().as_secs_f64(),
            baseline: Some(by_rate.max(by_latency)),
            goal: Goal::Ratio(1.05),
        });
        report.add(Row {
            what: format!("{what}, calls for the deletion"),
            of: Measure::Count,
            unit: "calls",
            figure: bed.calls_since(calls).await?,
            baseline: Some(count(objects)),
            goal: Goal::Ratio(1.02),
        });
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
        report.add(Row {
            what: format!("one edit while {objects} gateways are created, from the watch to the request, {quantile}"),
            of: Measure::Time,
            unit: "ms",
            figure: meanwhile.quantile(percent),
            baseline: Some(alone.quantile(percent)),
            // One request of another object.
            goal: Goal::AboveBaseline(count(latency)),
        });
    }
    until_available(&operator, objects).await?;
    delete(bed).await?;
    stop(operator).await?;
    bed.simulator.clear_faults().await?;
    Ok(())
}

/// Creates gateways.
pub(crate) async fn create(bed: &Bed, objects: Range<usize>) -> Result<(), Failure> {
    let api = gateways(bed);
    let create = async |number| {
        let object = serde_json::from_value(manifest(&name(number), &address(number)))?;
        api.create(&PostParams::default(), &object).await?;
        Ok(())
    };
    stream::iter(objects.map(Ok))
        .try_for_each_concurrent(AT_ONCE, create)
        .await
}

/// Deletes all gateways, and waits until none is left.
pub(crate) async fn delete(bed: &Bed) -> Result<(), Failure> {
    let api = gateways(bed);
    api.delete_collection(&DeleteParams::default(), &ListParams::default())
        .await?;
    let deleted = eventually("every gateway is deleted", DEADLINE, async || {
        let left = api
            .list(&ListParams::default().limit(1))
            .await
            .map_err(|error| error.to_string())?;
        let more = left.metadata.remaining_item_count.unwrap_or_default();
        if left.items.is_empty() {
            Ok(())
        } else {
            Err(format!("{} are left", more + 1))
        }
    });
    Ok(deleted.await?)
}
