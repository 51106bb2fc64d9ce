//! How fast many objects are reconciled after an outage of the cloud, and whether they come in a burst.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Failure;
use crate::bed::{Bed, UPDATES, stop};
use crate::objects::patch_all;
use crate::population::{Population, gateways, name};
use crate::probes::{count, until_available};
use crate::report::{Goal, Report};

const SECOND: jiff::SignedDuration = jiff::SignedDuration::from_secs(1);

/// Adds the rows for so many objects that are edited during an outage of at least that duration.
pub(crate) async fn measure(
    bed: &Bed,
    objects: usize,
    rate: u32,
    (outage, period): (Duration, &str),
    report: &mut Report,
) -> Result<(), Failure> {
    let mut population = Population::begin(bed).await?;
    population.grow_to(bed, objects - 1).await?;
    let period = format!("--resync-period={period}");
    let limit = format!("--max-requests-per-second={rate}");
    let operator = bed.operator(&[&period, &limit]).await?;
    until_available(&operator, objects).await?;
    let failing = json!({
        "fault": "error", "status": 503, "code": "VPN.0002", "message": "The service is unavailable.", "times": 0,
    });
    bed.simulator.add_fault(&failing).await?;
    let began = Instant::now();
    edit_all(bed, objects - 1).await?;
    // What an outage lasts is its definition: there is no condition to wait for.
    tokio::time::sleep(outage.saturating_sub(began.elapsed())).await;
    let last_failed = bed.simulator.last_sequence().await?;
    bed.simulator.clear_faults().await?;
    let began = Instant::now();
    bed.until_called(UPDATES, last_failed, objects - 1).await?;
    until_available(&operator, objects).await?;
    let took = began.elapsed().as_secs_f64();
    let what = format!("{objects} objects, edited in an outage of the cloud");
    let limit = count(objects - 1) / f64::from(rate);
    report.time(
        format!("{what}: from its end until all are reconciled"),
        "s",
        took,
        Some(limit),
        Goal::Ratio(1.1),
    );
    let log: Value = bed.simulator.log_since(last_failed).await?;
    let most = most_in_a_second(&log)?;
    report.time(
        format!("{what}: requests in a second at most"),
        "calls",
        count(most),
        Some(f64::from(rate)),
        Goal::Ratio(1.0),
    );
    report.calls(
        format!("{what}: updates after its end"),
        bed.calls_of("UpdateCustomerGateway", last_failed).await?,
        Some(count(objects - 1)),
        Goal::Ratio(1.0),
    );
    stop(operator).await
}

/// Edits the first objects.
pub(crate) async fn edit_all(bed: &Bed, objects: usize) -> Result<(), Failure> {
    let edit = |number| json!({"spec": {"name": format!("edited-{number}")}});
    let edits = (0..objects).map(|number| (name(number), edit(number)));
    patch_all(&gateways(bed), edits).await
}

/// The most requests between one and a second later.
fn most_in_a_second(log: &Value) -> Result<usize, Failure> {
    let requests = log["requests"].as_array().ok_or("the log has requests")?;
    let times = requests
        .iter()
        .map(|request| request["at"].as_str().unwrap_or_default().parse::<jiff::Timestamp>())
        .collect::<Result<Vec<_>, _>>()?;
    let mut first = 0;
    let mut most = 0;
    for (last, time) in times.iter().enumerate() {
        while time.duration_since(times[first]) >= SECOND {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    Ok(most)
}
