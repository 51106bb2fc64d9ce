//! How long an edit of one object among many takes to reach the cloud, and what it costs.

use std::time::{Duration, Instant};

use futures::TryStreamExt;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;
use vpn_operator_testbed::Operator;

use crate::Failure;
use crate::bed::{Bed, UPDATES};
use crate::population::gateways;
use crate::probes::{count, cpu_time, pages};
use crate::report::{Goal, Report};

/// Edits of one run, one after the other; fewer among few objects.
const EDITS: usize = 100;

/// Adds the rows for `size` objects at rest. `baseline`: the CPU time of an edit with few objects. Returns that of an edit.
pub(crate) async fn measure(
    bed: &Bed,
    operator: &Operator,
    size: usize,
    edited: &str,
    baseline: Option<Duration>,
    report: &mut Report,
) -> Result<Duration, Failure> {
    let (calls, cpu) = (bed.simulator.last_sequence().await?, cpu_time(operator)?);
    let what = format!("one edit among {size} objects at rest");
    let edits = EDITS.min(size / 3);
    let delays = delays(bed, edited, edits).await?;
    for (quantile, delay, most) in [("p50", delays.quantile(50), 5.0), ("p99", delays.quantile(99), 20.0)] {
        report.time(
            format!("{what}, from the watch to the request, {quantile}"),
            "ms",
            delay,
            None,
            Goal::AtMost(most),
        );
    }
    report.calls(
        format!("{what}, calls"),
        bed.calls_since(calls).await? / count(edits),
        None,
        // The drift check may list meanwhile.
        Goal::AtMost(2.0 + pages(size) * 4.0 / count(edits)),
    );
    let per_edit = (cpu_time(operator)?.saturating_sub(cpu)).div_f64(count(edits));
    report.time(
        format!("{what}, CPU time"),
        "ms",
        per_edit.as_secs_f64() * 1000.0,
        baseline.map(|baseline| baseline.as_secs_f64() * 1000.0),
        match baseline {
            Some(_) => Goal::Ratio(1.5),
            None => Goal::None,
        },
    );
    Ok(per_edit)
}

/// Delays in milliseconds, in ascending order.
pub(crate) struct Delays(Vec<f64>);

impl Delays {
    pub(crate) fn quantile(&self, percent: usize) -> f64 {
        let index = self.0.len() * percent / 100;
        self.0.get(index).copied().unwrap_or(f64::INFINITY)
    }
}

/// Edits one object again and again.
pub(crate) async fn delays(bed: &Bed, edited: &str, edits: usize) -> Result<Delays, Failure> {
    let edited = Edited {
        name: edited.to_owned(),
        access_key: None,
    };
    delays_of(bed, &vec![edited; edits]).await
}

/// An object, and the access key of its requests if others may edit at the same time.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Edited {
    pub name: String,
    pub access_key: Option<String>,
}

/// Whether status is about the present spec.
fn is_at_rest(object: &DynamicObject) -> bool {
    object.data["status"]["observedGeneration"].as_i64() == object.metadata.generation
}

/// Edits one object after the other. The delay of an edit is from when a watch of the benchmark's own sees it to when the
/// cloud has received the request.
pub(crate) async fn delays_of(bed: &Bed, edited: &[Edited]) -> Result<Delays, Failure> {
    let api = gateways(bed);
    let mut delays = Vec::new();
    let mut watched = None;
    for (number, object) in edited.iter().enumerate() {
        let Edited { name, access_key } = object;
        let mut seen = match watched.take() {
            Some((same, seen)) if same == object => seen,
            _ => {
                let of_edited = watcher::Config::default().fields(&format!("metadata.name={name}"));
                let mut seen = Box::pin(watcher(api.clone(), of_edited).applied_objects());
                seen.try_next().await?;
                seen
            }
        };
        let since = bed.simulator.last_sequence().await?;
        // Not a name that it had before.
        let wanted = format!("edited-{since}-{number}");
        let patch = Patch::Merge(json!({"spec": {"name": wanted}}));
        let began = Instant::now();
        let ((in_watch, mut shown), in_cloud) = tokio::try_join!(
            async {
                api.patch(name, &PatchParams::default(), &patch).await?;
                let is_edited = |object: &DynamicObject| object.data["spec"]["name"] == wanted.as_str();
                let mut shown = None;
                while !shown.as_ref().is_some_and(is_edited) {
                    shown = seen.try_next().await?;
                }
                Ok::<_, Failure>((began.elapsed(), shown))
            },
            async {
                let of_key = access_key.iter().map(|key| format!("&access_key={key}"));
                let updates = std::iter::once(UPDATES.to_owned()).chain(of_key).collect::<String>();
                bed.until_called(&updates, since, 1).await?;
                Ok(began.elapsed())
            },
        )?;
        delays.push(in_cloud.saturating_sub(in_watch).as_secs_f64() * 1000.0);
        // The next edit is of an object at rest: else it would also wait for the end of this one.
        while !shown.as_ref().is_some_and(is_at_rest) {
            shown = seen.try_next().await?;
        }
        watched = Some((object, seen));
    }
    delays.sort_by(f64::total_cmp);
    Ok(Delays(delays))
}
