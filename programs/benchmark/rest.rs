//! What objects cost that nobody changes.

use std::time::{Duration, Instant};

use serde_json::json;
use vpn_operator_testbed::{most_resident, resident};

use crate::Failure;
use crate::bed::{Bed, UPDATES, stop};
use crate::edit;
use crate::objects::patch_all;
use crate::population::{Population, gateways, name};
use crate::probes::{Lists, count, pages, until_available, until_quiet};
use crate::report::{Goal, MIB, Plot, Point, Report};

/// Of the drift check, by default.
const DEFAULT_PERIOD: Duration = Duration::from_secs(300);
/// Resources that are changed in the cloud.
const CHANGED: usize = 10;
/// More would only take longer.
const MOST_RELABELED: usize = 10_000;
/// Objects that are reconciled in a second after a restart, at least, if this machine has much else to do.
const RESTARTED_PER_SECOND: u64 = 3_000;

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
    let (calls, writes) = (bed.simulator.last_sequence().await?, bed.status_writes().await?);
    let began = Instant::now();
    // The first check after a restart must not begin before all objects are reconciled.
    let seconds = period.max(u64::try_from(size)? / RESTARTED_PER_SECOND);
    let period = format!("--resync-period={seconds}s");
    let operator = bed.operator(&[&period, "--max-requests-per-second=1000"]).await?;
    until_available(&operator, size).await?;
    let took = began.elapsed();
    report.calls(
        format!("{size} objects, restart: calls"),
        bed.calls_since(calls).await?,
        Some(pages(size)),
        Goal::AboveBaseline(3.0),
    );
    let checks = Lists::of_gateways(&operator);
    let most = most_resident(&operator)?;
    let costs = checks.costs(bed).await?;
    report.calls(
        format!("{size} objects, drift check: calls"),
        costs.calls,
        Some(pages(size)),
        Goal::AboveBaseline(1.0),
    );
    report.count(
        format!("{size} objects, drift check: reconciles"),
        costs.reconciles,
        None,
        Goal::AtMost(0.0),
    );
    report.count(
        format!("{size} objects, restart and drift checks: status writes"),
        bed.status_writes().await? - writes,
        None,
        Goal::AtMost(0.0),
    );
    report.time(
        format!("{size} objects, CPU at rest with a check every 5m"),
        "% of a core",
        costs.cpu.as_secs_f64() / DEFAULT_PERIOD.as_secs_f64() * 100.0,
        None,
        Goal::AtMost(if size > 10_000 { 1.0 } else { 0.1 }),
    );
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
    plot(size, (costs.calls, pages(size)), took, count(rss) / MIB, report);
    report.memory(
        format!("most RSS until {size} objects were at rest"),
        most,
        None,
        Goal::AtMost(goal * 1.3),
    );
    compression(bed, &checks, size, report).await?;
    changed_out_of_band(bed, &checks, population, size, report).await?;
    relabeled(bed, &checks, size, report).await?;
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
async fn compression(bed: &Bed, checks: &Lists<'_>, size: usize, report: &mut Report) -> Result<(), Failure> {
    let mut bytes = Vec::new();
    for encoding in ["identity", "gzip"] {
        bed.simulator
            .set_switches(&json!({"answer-encoding": encoding}))
            .await?;
        checks.until_more(1.0).await?;
        let before = bed.cloud.answered();
        checks.until_more(1.0).await?;
        bytes.push(count(bed.cloud.answered() - before) / 1024.0);
    }
    report.size(
        format!("{size} objects, drift check: bytes from the cloud, compared with no compression"),
        "KiB",
        bytes[1],
        Some(bytes[0]),
        Goal::Ratio(0.2),
    );
    Ok(())
}

/// Resources that are changed in the cloud, not through the operator.
async fn changed_out_of_band(
    bed: &Bed,
    checks: &Lists<'_>,
    population: &Population,
    size: usize,
    report: &mut Report,
) -> Result<(), Failure> {
    let changed = CHANGED.min(size - 1);
    checks.until_more(1.0).await?;
    let (calls, from) = (bed.simulator.last_sequence().await?, checks.done().await?);
    for number in 0..changed {
        population.rename_in_cloud(bed, number).await?;
    }
    bed.until_called(UPDATES, calls, changed).await?;
    let checked = checks.done().await? - from;
    report.count(
        format!("{changed} of {size} objects changed out of band: drift checks until the last is corrected"),
        checked,
        None,
        Goal::AtMost(1.0),
    );
    report.calls(
        format!("{changed} of {size} objects changed out of band: calls"),
        bed.calls_since(calls).await?,
        Some(pages(size) * checked + count(changed)),
        Goal::AboveBaseline(1.0),
    );
    Ok(())
}

/// A change of every object that means nothing to the operator, as a sync from Git makes it.
async fn relabeled(bed: &Bed, checks: &Lists<'_>, size: usize, report: &mut Report) -> Result<(), Failure> {
    let relabeled = size.min(MOST_RELABELED) - 1;
    checks.until_more(1.0).await?;
    let (calls, from) = (bed.simulator.last_sequence().await?, checks.done().await?);
    let writes = bed.status_writes().await?;
    let label = json!({"metadata": {"labels": {"example.com/synced": "again"}}});
    let labels = (0..relabeled).map(|number| (name(number), label.clone()));
    patch_all(&gateways(bed), labels).await?;
    // The watch delivers changes in their order.
    edit::delays(bed, &name(0), 1).await?;
    let checked = checks.done().await? - from;
    report.calls(
        format!("{relabeled} objects relabeled: calls, besides drift checks and one edit"),
        bed.calls_since(calls).await? - 2.0,
        Some(pages(size) * checked),
        Goal::Ratio(1.0),
    );
    report.count(
        format!("{relabeled} objects relabeled: status writes, besides those of one edit"),
        (bed.status_writes().await? - writes - 2.0).max(0.0),
        None,
        Goal::AtMost(0.0),
    );
    Ok(())
}
