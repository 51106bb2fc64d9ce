//! What objects cost that nobody changes.

use std::time::Duration;

use vpn_operator_testbed::{Operator, eventually, most_resident, resident};

use crate::bed::{Bed, stop};
use crate::edit;
use crate::population::Population;
use crate::probes::{count, cpu_time, reconciles, sum, until_available};
use crate::report::{Goal, Report, Row};
use crate::{DEADLINE, Failure};

/// Of the drift check in these rows; short, so that a run sees several.
const CHECKS: [&str; 2] = ["--resync-period=30s", "--max-requests-per-second=1000"];
/// By default.
const DEFAULT_PERIOD: Duration = Duration::from_secs(300);
/// Objects per page of a list of the cloud.
const PAGE: usize = 200;

/// Adds the rows for each number of objects.
pub(crate) async fn measure(bed: &Bed, sizes: &[usize], report: &mut Report) -> Result<(), Failure> {
    let mut population = Population::begin(bed).await?;
    let operator = bed.operator(&[]).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let idle = resident(&operator)?;
    report.add(memory("RSS with 1 object", idle, 12.0));
    stop(operator).await?;
    for size in sizes {
        population.grow_to(bed, size - 1).await?;
        at_rest(bed, *size, report).await?;
    }
    Ok(())
}

/// A row of memory that was measured in bytes.
fn memory(what: &str, bytes: u64, most: f64) -> Row {
    Row {
        what: what.to_owned(),
        unit: "MiB",
        figure: count(bytes) / (1024.0 * 1024.0),
        baseline: None,
        goal: Goal::AtMost(most),
    }
}

async fn at_rest(bed: &Bed, size: usize, report: &mut Report) -> Result<(), Failure> {
    let pages = count(size.div_ceil(PAGE));
    let (calls, writes) = (bed.simulator.last_sequence().await?, bed.status_writes().await?);
    let operator = bed.operator(&CHECKS).await?;
    until_available(&operator, size).await?;
    report.add(Row {
        what: format!("{size} objects, restart: calls"),
        unit: "calls",
        figure: bed.calls_since(calls).await?,
        baseline: Some(pages),
        goal: Goal::AboveBaseline(3.0),
    });
    let most = most_resident(&operator)?;
    until_lists(&operator, 1.0).await?;
    let (calls, reconciled, cpu) = (
        bed.simulator.last_sequence().await?,
        reconciles(&operator).await?,
        cpu_time(&operator)?,
    );
    let from = lists(&operator).await?;
    until_lists(&operator, 2.0).await?;
    let checks = lists(&operator).await? - from;
    report.add(Row {
        what: format!("{size} objects, drift check: calls"),
        unit: "calls",
        figure: bed.calls_since(calls).await? / checks,
        baseline: Some(pages),
        goal: Goal::AboveBaseline(1.0),
    });
    report.add(Row {
        what: format!("{size} objects, drift check: reconciles"),
        unit: "",
        figure: reconciles(&operator).await? - reconciled,
        baseline: None,
        goal: Goal::AtMost(0.0),
    });
    report.add(Row {
        what: format!("{size} objects, restart and drift checks: status writes"),
        unit: "",
        figure: bed.status_writes().await? - writes,
        baseline: None,
        goal: Goal::AtMost(0.0),
    });
    let per_check = cpu_time(&operator)?.saturating_sub(cpu).as_secs_f64() / checks;
    report.add(Row {
        what: format!("{size} objects, CPU at rest with a check every 5m"),
        unit: "% of a core",
        figure: per_check / DEFAULT_PERIOD.as_secs_f64() * 100.0,
        baseline: None,
        goal: Goal::AtMost(if size > 10_000 { 1.0 } else { 0.1 }),
    });
    let goal = match size {
        0..=1_000 => 18.0,
        1_001..=10_000 => 40.0,
        _ => 280.0,
    };
    report.add(memory(
        &format!("RSS with {size} objects at rest"),
        resident(&operator)?,
        goal,
    ));
    report.add(memory(
        &format!("most RSS until {size} objects were at rest"),
        most,
        goal * 1.3,
    ));
    edit::measure(bed, size, report).await?;
    stop(operator).await
}

async fn lists(operator: &Operator) -> Result<f64, Failure> {
    let metrics = operator.metrics(DEADLINE).await?;
    Ok(sum(&metrics, "vpn_operator_mirror_lists_total", &["outcome=\"ok\""]))
}

/// Waits for so many drift checks from now on.
async fn until_lists(operator: &Operator, more: f64) -> Result<(), Failure> {
    let from = lists(operator).await?;
    let checked = eventually("a drift check", DEADLINE, async || {
        let now = lists(operator).await.map_err(|error| error.to_string())?;
        if now >= from + more {
            Ok(())
        } else {
            Err(format!("{now} lists"))
        }
    });
    Ok(checked.await?)
}
