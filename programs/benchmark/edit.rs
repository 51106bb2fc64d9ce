//! How long an edit of one object among many takes to reach the cloud.

use std::time::{Duration, Instant};

use futures::TryStreamExt;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};

use crate::Failure;
use crate::bed::Bed;
use crate::population::{gateways, name};
use crate::report::{Goal, Report, Row};

/// Edits of one run, one after the other.
const EDITS: usize = 100;

/// Adds the rows for `size` objects at rest. The baseline is when a watch of the benchmark's own sees the edit.
pub(crate) async fn measure(bed: &Bed, size: usize, report: &mut Report) -> Result<(), Failure> {
    let edited = name(0);
    let api = gateways(bed);
    let of_edited = watcher::Config::default().fields(&format!("metadata.name={edited}"));
    let mut seen = Box::pin(watcher(api.clone(), of_edited).applied_objects());
    seen.try_next().await?;
    let mut delays = Vec::new();
    for number in 0..EDITS {
        let wanted = format!("edited-{number}");
        let since = bed.simulator.last_sequence().await?;
        let patch = Patch::Merge(json!({"spec": {"name": wanted}}));
        let began = Instant::now();
        let (in_watch, in_cloud) = tokio::try_join!(
            async {
                api.patch(&edited, &PatchParams::default(), &patch).await?;
                let is_edited = |object: &DynamicObject| object.data["spec"]["name"] == wanted.as_str();
                while !seen.try_next().await?.is_some_and(|object| is_edited(&object)) {}
                Ok::<Duration, Failure>(began.elapsed())
            },
            async {
                let path = format!("counts?since={since}&operation=UpdateCustomerGateway&count=1&timeout_ms=60000");
                bed.simulator.get::<Value>(&path).await?;
                Ok(began.elapsed())
            },
        )?;
        delays.push(in_cloud.saturating_sub(in_watch).as_secs_f64() * 1000.0);
    }
    delays.sort_by(f64::total_cmp);
    for (quantile, index, most) in [("p50", EDITS / 2, 5.0), ("p99", EDITS * 99 / 100, 20.0)] {
        report.add(Row {
            what: format!("one edit among {size} objects at rest, from the watch to the request, {quantile}"),
            unit: "ms",
            figure: delays.get(index).copied().unwrap_or(f64::INFINITY),
            baseline: None,
            goal: Goal::AtMost(most),
        });
    }
    Ok(())
}
