//! What a process uses, from /proc, and what the operator counts, from its /metrics.

use std::time::Duration;

use vpn_operator_testbed::{Operator, Process, eventually, eventually_at};

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

/// Waits until so many objects are reconciled and Ready.
pub(crate) async fn until_available(operator: &Operator, size: usize) -> Result<(), Failure> {
    let awaited = format!("{size} objects are reconciled");
    // The time is measured, so the checks are frequent.
    let reached = eventually_at(CHECK_PAUSE, &awaited, DEADLINE * 2, async || {
        let metrics = operator.metrics(DEADLINE).await.map_err(|error| error.to_string())?;
        let available = sum(&metrics, "vpn_operator_objects", &["reason=\"Available\""]);
        if available >= count(size) {
            Ok(())
        } else {
            let counts = metrics.lines().filter(|line| line.starts_with("vpn_operator_objects{"));
            let counts: Vec<&str> = counts.filter(|line| !line.ends_with(" 0")).collect();
            Err(counts.join(", "))
        }
    });
    Ok(reached.await?)
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(crate) fn count(count: impl TryInto<u64>) -> f64 {
    count.try_into().unwrap_or_default() as f64
}

/// The pages of a list of the cloud with so many objects.
pub(crate) fn pages(objects: usize) -> f64 {
    count(objects.div_ceil(200))
}

/// The complete lists of an operator; each drift check has the same number of them.
pub(crate) struct Lists<'a> {
    operator: &'a Operator,
    collection: &'static str,
    of_each_check: f64,
}

/// What drift checks cost an operator.
pub(crate) struct CheckCosts {
    /// Requests to the cloud of one check.
    pub calls: f64,
    /// Reconciles during all checks.
    pub reconciles: f64,
    /// Of one check.
    pub cpu: Duration,
}

impl<'a> Lists<'a> {
    /// One list of gateways for each check.
    pub(crate) fn of_gateways(operator: &'a Operator) -> Self {
        Self {
            operator,
            collection: "collection=\"customer-gateways\"",
            of_each_check: 1.0,
        }
    }

    /// One list of users of each server.
    pub(crate) fn of_users(operator: &'a Operator, servers: usize) -> Self {
        Self {
            operator,
            collection: "collection=\"vpn-users\"",
            of_each_check: count(servers),
        }
    }

    /// The drift checks, or lists for another reason, that have ended.
    pub(crate) async fn done(&self) -> Result<f64, Failure> {
        let metrics = self.operator.metrics(DEADLINE).await?;
        let labels = ["outcome=\"ok\"", self.collection];
        Ok(sum(&metrics, "vpn_operator_mirror_lists_total", &labels) / self.of_each_check)
    }

    /// Measures two drift checks, after the end of the one in progress.
    pub(crate) async fn costs(&self, bed: &Bed) -> Result<CheckCosts, Failure> {
        self.until_more(1.0).await?;
        let calls = bed.simulator.last_sequence().await?;
        let reconciled = reconciles(self.operator).await?;
        let cpu = cpu_time(self.operator)?;
        let from = self.done().await?;
        self.until_more(2.0).await?;
        let checks = self.done().await? - from;
        Ok(CheckCosts {
            calls: bed.calls_since(calls).await? / checks,
            reconciles: reconciles(self.operator).await? - reconciled,
            cpu: cpu_time(self.operator)?.saturating_sub(cpu).div_f64(checks),
        })
    }

    /// Waits for so many more from now on.
    pub(crate) async fn until_more(&self, more: f64) -> Result<(), Failure> {
        let from = self.done().await?;
        let checked = eventually("a drift check", DEADLINE, async || {
            let now = self.done().await.map_err(|error| error.to_string())?;
            if now >= from + more {
                Ok(())
            } else {
                Err(format!("{now} lists"))
            }
        });
        Ok(checked.await?)
    }
}

/// Waits until nothing happens any more: for a second, the cloud receives no request, and the operators reconcile nothing.
pub(crate) async fn until_quiet(bed: &Bed, operators: &[&Operator]) -> Result<(), Failure> {
    let mut before = None;
    let mut same = 0;
    let quiet = eventually_at(QUIET_PAUSE, "nothing happens", DEADLINE * 2, async || {
        let now = activity(bed, operators).await.map_err(|error| error.to_string())?;
        same = if Some(now) == before { same + 1 } else { 0 };
        before = Some(now);
        if same == QUIET_CHECKS {
            Ok(())
        } else {
            Err(format!("request {} of the cloud, {} reconciles", now.0, now.1))
        }
    });
    Ok(quiet.await?)
}

/// The last request of the cloud, and the reconciles of the operators.
async fn activity(bed: &Bed, operators: &[&Operator]) -> Result<(u64, f64), Failure> {
    let mut reconciled = 0.0;
    for operator in operators {
        reconciled += reconciles(operator).await?;
    }
    Ok((bed.simulator.last_sequence().await?, reconciled))
}
