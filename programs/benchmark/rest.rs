//! What objects cost that nobody changes.

use std::time::{Duration, Instant};

use futures::{TryStreamExt, stream};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use vpn_operator_testbed::{Operator, eventually, most_resident, resident};

use crate::bed::{Bed, stop};
use crate::edit;
use crate::population::{Population, gateways, name};
use crate::probes::{count, cpu_time, reconciles, sum, until_available, until_quiet};
use crate::report::{Goal, MIB, Measure, Plot, Point, Report, Row};
use crate::{AT_ONCE, DEADLINE, Failure};

/// Of the drift check, by default.
const DEFAULT_PERIOD: Duration = Duration::from_secs(300);
/// Resources that are changed in the cloud.
const CHANGED: usize = 10;
/// More would only take longer.
const MOST_RELABELED: usize = 10_000;
/// Objects that are reconciled in a second after a restart, at least, if this machine has much else to do.
const RESTARTED_PER_SECOND: u64 = 3_000;
/// Objects per page of a list of the cloud.
const PAGE: usize = 200;

/// Adds the rows for each number of objects.
pub(crate) async fn measure(bed: &Bed, sizes: &[usize], period: u64, report: &mut Report) -> Result<(), Failure> {
    let mut population = Population::begin(bed).await?;
    let operator = bed.operator(&[]).await?;
    until_available(&operator, 1).await?;
    until_quiet(bed, &[&operator]).await?;
    let idle = resident(&operator)?;
    report.memory("RSS with 1 object", idle, None, Goal::AtMost(12.0));
    stop(operator).await?;
    let mut per_edit = None;
    for size in sizes {
        population.grow_to(bed, size - 1).await?;
        at_rest(bed, &population, (*size, period), &mut per_edit, report).await?;
    }
    Ok(())
}

async fn at_rest(
    bed: &Bed,
    population: &Population,
    (size, period): (usize, u64),
    baseline: &mut Option<Duration>,
    report: &mut Report,
) -> Result<(), Failure> {
    let pages = count(size.div_ceil(PAGE));
    let (calls, writes) = (bed.simulator.last_sequence().await?, bed.status_writes().await?);
    let began = Instant::now();
    // The first check after a restart must not begin before all objects are reconciled.
    let seconds = period.max(u64::try_from(size)? / RESTARTED_PER_SECOND);
    let period = format!("--resync-period={seconds}s");
    let operator = bed.operator(&[&period, "--max-requests-per-second=1000"]).await?;
    until_available(&operator, size).await?;
    let took = began.elapsed();
    report.add(Row {
        what: format!("{size} objects, restart: calls"),
        of: Measure::Count,
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
    let calls = bed.calls_since(calls).await? / checks;
    report.add(Row {
        what: format!("{size} objects, drift check: calls"),
        of: Measure::Count,
        unit: "calls",
        figure: calls,
        baseline: Some(pages),
        goal: Goal::AboveBaseline(1.0),
    });
    report.add(Row {
        what: format!("{size} objects, drift check: reconciles"),
        of: Measure::Count,
        unit: "",
        figure: reconciles(&operator).await? - reconciled,
        baseline: None,
        goal: Goal::AtMost(0.0),
    });
    report.add(Row {
        what: format!("{size} objects, restart and drift checks: status writes"),
        of: Measure::Count,
        unit: "",
        figure: bed.status_writes().await? - writes,
        baseline: None,
        goal: Goal::AtMost(0.0),
    });
    let per_check = cpu_time(&operator)?.saturating_sub(cpu).as_secs_f64() / checks;
    report.add(Row {
        what: format!("{size} objects, CPU at rest with a check every 5m"),
        of: Measure::Time,
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
    let rss = resident(&operator)?;
    report.memory(
        format!("RSS with {size} objects at rest"),
        rss,
        None,
        Goal::AtMost(goal),
    );
    plot(size, (calls, pages), took, count(rss) / MIB, report);
    report.memory(
        format!("most RSS until {size} objects were at rest"),
        most,
        None,
        Goal::AtMost(goal * 1.3),
    );
    compression(bed, &operator, size, report).await?;
    changed_out_of_band(bed, &operator, population, size, report).await?;
    relabeled(bed, &operator, size, report).await?;
    let per_edit = edit::measure(bed, &operator, size, &name(0), *baseline, report).await?;
    baseline.get_or_insert(per_edit);
    stop(operator).await
}

/// Adds the points of the plots.
fn plot(size: usize, (calls, pages): (f64, f64), restart: Duration, rss: f64, report: &mut Report) {
    let objects = count(size);
    let mut add = |name, title, unit, limit, figure, at_most| {
        let plot = Plot {
            name,
            title,
            unit,
            limit,
            points: Vec::new(),
        };
        let point = Point {
            objects,
            figure,
            limit: at_most,
        };
        report.point(plot, point);
    };
    add("calls", "Requests of a drift check", "requests", "pages", calls, pages);
    let per_object = objects * 2.5 / 1024.0;
    add(
        "memory",
        "Memory at rest (RSS)",
        "MiB",
        "12 MiB + 2.5 KiB per object",
        rss,
        12.0 + per_object,
    );
    let seconds = restart.as_secs_f64();
    let per_request = objects / 50.0;
    add(
        "time",
        "Restart until all objects are reconciled",
        "s",
        "one request per object at 50/s",
        seconds,
        per_request,
    );
}

/// The bytes of a drift check, with and without compression.
async fn compression(bed: &Bed, operator: &Operator, size: usize, report: &mut Report) -> Result<(), Failure> {
    let mut bytes = Vec::new();
    for encoding in ["identity", "gzip"] {
        bed.simulator
            .set_switches(&json!({"answer-encoding": encoding}))
            .await?;
        until_lists(operator, 1.0).await?;
        let before = bed.cloud.answered();
        until_lists(operator, 1.0).await?;
        bytes.push(count(bed.cloud.answered() - before) / 1024.0);
    }
    report.add(Row {
        what: format!("{size} objects, drift check: bytes from the cloud, compared with no compression"),
        of: Measure::Size,
        unit: "KiB",
        figure: bytes[1],
        baseline: Some(bytes[0]),
        goal: Goal::Ratio(0.2),
    });
    Ok(())
}

/// Resources that are changed in the cloud, not through the operator.
async fn changed_out_of_band(
    bed: &Bed,
    operator: &Operator,
    population: &Population,
    size: usize,
    report: &mut Report,
) -> Result<(), Failure> {
    let changed = CHANGED.min(size - 1);
    until_lists(operator, 1.0).await?;
    let (calls, checks) = (bed.simulator.last_sequence().await?, lists(operator).await?);
    for number in 0..changed {
        population.rename_in_cloud(bed, number).await?;
    }
    let path = format!("counts?since={calls}&operation=UpdateCustomerGateway&count={changed}&timeout_ms=300000");
    bed.simulator.get::<Value>(&path).await?;
    let checks = lists(operator).await? - checks;
    let pages = count(size.div_ceil(PAGE));
    report.add(Row {
        what: format!("{changed} of {size} objects changed out of band: drift checks until the last is corrected"),
        of: Measure::Count,
        unit: "",
        figure: checks,
        baseline: None,
        goal: Goal::AtMost(1.0),
    });
    report.add(Row {
        what: format!("{changed} of {size} objects changed out of band: calls"),
        of: Measure::Count,
        unit: "calls",
        figure: bed.calls_since(calls).await?,
        baseline: Some(pages * checks + count(changed)),
        goal: Goal::AboveBaseline(1.0),
    });
    Ok(())
}

/// A change of every object that means nothing to the operator, as a sync from Git makes it.
async fn relabeled(bed: &Bed, operator: &Operator, size: usize, report: &mut Report) -> Result<(), Failure> {
    let relabeled = size.min(MOST_RELABELED) - 1;
    until_lists(operator, 1.0).await?;
    let (calls, checks) = (bed.simulator.last_sequence().await?, lists(operator).await?);
    let writes = bed.status_writes().await?;
    let api = gateways(bed);
    let label = Patch::Merge(json!({"metadata": {"labels": {"example.com/synced": "again"}}}));
    let relabel = async |number| {
        api.patch(&name(number), &PatchParams::default(), &label)
            .await
            .map(drop)
    };
    stream::iter((0..relabeled).map(Ok))
        .try_for_each_concurrent(AT_ONCE, relabel)
        .await?;
    // The watch delivers changes in their order.
    edit::delays(bed, &name(0), 1).await?;
    let checks = lists(operator).await? - checks;
    report.add(Row {
        what: format!("{relabeled} objects relabeled: calls, besides drift checks and one edit"),
        of: Measure::Count,
        unit: "calls",
        figure: bed.calls_since(calls).await? - 2.0,
        baseline: Some(count(size.div_ceil(PAGE)) * checks),
        goal: Goal::Ratio(1.0),
    });
    report.add(Row {
        what: format!("{relabeled} objects relabeled: status writes, besides those of one edit"),
        of: Measure::Count,
        unit: "",
        figure: (bed.status_writes().await? - writes - 2.0).max(0.0),
        baseline: None,
        goal: Goal::AtMost(0.0),
    });
    Ok(())
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
