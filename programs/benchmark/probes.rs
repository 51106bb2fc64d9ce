//! What a process uses, from /proc, and what the operator counts, from its /metrics.

use std::time::Duration;

use vpn_operator_testbed::{Operator, Process};

use crate::bed::Bed;
use crate::{DEADLINE, Failure};

/// Checks in a row without a difference.
const QUIET_CHECKS: u32 = 10;
const QUIET_PAUSE: Duration = Duration::from_millis(100);
const CHECK_PAUSE: Duration = Duration::from_millis(50);

/// The CPU time that a process has used.
pub(crate) fn cpu_time(process: &Process) -> Result<Duration, Failure> {
    let mut total = 0;
    for task in std::fs::read_dir(format!("/proc/{}/task", process.pid()))? {
        let file = task?.path().join("schedstat");
        // A thread may end meanwhile.
        let text = std::fs::read_to_string(file).unwrap_or_default();
        total += text.split_whitespace().next().map_or(Ok(0), str::parse::<u64>)?;
    }
    Ok(Duration::from_nanos(total))
}

/// The sum of the series of a metric whose labels contain all of these.
pub(crate) fn sum(metrics: &str, name: &str, labels: &[&str]) -> f64 {
    let series = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let (labeled, value) = rest.rsplit_once(' ')?;
        let is_of_name = labeled.is_empty() || labeled.starts_with('{');
        (is_of_name && labels.iter().all(|label| labeled.contains(label))).then(|| value.parse::<f64>().ok())?
    });
    series.sum()
}

/// How many reconciliations the operator has done.
pub(crate) async fn reconciles(operator: &Operator) -> Result<f64, Failure> {
    let metrics = operator.metrics(DEADLINE).await?;
    Ok(sum(&metrics, "vpn_operator_reconcile_duration_seconds_count", &[]))
}

/// Waits until so many objects are reconciled and Ready. The checks are frequent, since the time is measured.
pub(crate) async fn until_available(operator: &Operator, size: usize) -> Result<(), Failure> {
    let mut counts = String::new();
    let reached = until(CHECK_PAUSE, async || {
        let metrics = operator.metrics(DEADLINE).await?;
        let lines = metrics.lines().filter(|line| line.starts_with("vpn_operator_objects{"));
        let lines: Vec<&str> = lines.filter(|line| !line.ends_with(" 0")).collect();
        counts = lines.join(", ");
        Ok(sum(&metrics, "vpn_operator_objects", &["reason=\"Available\""]) >= count(size))
    });
    let reached = reached.await;
    reached.map_err(|failure| format!("{size} objects are not reconciled: {failure}; {counts}").into())
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(crate) fn count(count: impl TryInto<u64>) -> f64 {
    count.try_into().unwrap_or_default() as f64
}

/// Checks with this pause until it is so.
pub(crate) async fn until(
    pause: Duration,
    mut is_so: impl AsyncFnMut() -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let checked = async {
        while !is_so().await? {
            tokio::time::sleep(pause).await;
        }
        Ok(())
    };
    let in_time = tokio::time::timeout(DEADLINE * 2, checked).await;
    in_time.unwrap_or_else(|_| Err("not in time".into()))
}

/// Waits until nothing happens any more: for a second, the cloud receives no request, and the operators reconcile nothing.
pub(crate) async fn until_quiet(bed: &Bed, operators: &[&Operator]) -> Result<(), Failure> {
    let mut before = None;
    let mut same = 0;
    let quiet = until(QUIET_PAUSE, async || {
        let mut reconciled = 0.0;
        for operator in operators {
            reconciled += reconciles(operator).await?;
        }
        let now = Some((bed.simulator.last_sequence().await?, reconciled));
        same = if now == before { same + 1 } else { 0 };
        before = now;
        Ok(same == QUIET_CHECKS)
    });
    quiet.await
}
