//! What it costs when a standby takes over many objects from a leader that was killed.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use vpn_operator_testbed::eventually_at;

use crate::bed::{Bed, stop};
use crate::population::{Population, gateways, name};
use crate::probes::{pages, sum, until_available, until_quiet};
use crate::report::{Goal, Report};
use crate::{DEADLINE, Failure};

/// A short Lease, so that a run does not wait long for its end.
const FLAGS: [&str; 4] = [
    "--resync-period=0",
    "--max-requests-per-second=1000",
    "--leader-elect-lease-duration=5s",
    "--request-timeout=2s",
];

/// Between two checks of the Lease, whose time is measured.
const PAUSE: Duration = Duration::from_millis(5);

/// Adds the rows for each number of objects.
pub(crate) async fn measure(bed: &Bed, sizes: &[usize], report: &mut Report) -> Result<(), Failure> {
    let mut population = Population::begin(bed).await?;
    for size in sizes {
        population.grow_to(bed, size - 1).await?;
        of(bed, *size, report).await?;
    }
    Ok(())
}

async fn of(bed: &Bed, size: usize, report: &mut Report) -> Result<(), Failure> {
    let leader = bed.operator(&FLAGS).await?;
    until_available(&leader, size).await?;
    let standby = bed.operator(&FLAGS).await?;
    until_quiet(bed, &[&leader]).await?;
    let (calls, writes) = (bed.simulator.last_sequence().await?, bed.status_writes().await?);
    leader.kill()?;
    let edit = Patch::Merge(json!({"spec": {"name": format!("edited-{calls}")}}));
    gateways(bed).patch(&name(0), &PatchParams::default(), &edit).await?;
    let leading = eventually_at(PAUSE, "the standby leads", DEADLINE, async || {
        let metrics = standby.metrics(DEADLINE).await.map_err(|error| error.to_string())?;
        match sum(&metrics, "vpn_operator_leader", &[]) > 0.0 {
            true => Ok(()),
            false => Err("it does not".to_owned()),
        }
    });
    leading.await?;
    let leads = jiff::Timestamp::now();
    let path = format!("log?since={calls}&operation=UpdateCustomerGateway&count=1&timeout_ms=110000");
    let edits: Value = bed.simulator.get(&path).await?;
    let edited = edits["requests"][0]["at"].as_str().ok_or("the edit was not sent")?;
    let delay = edited.parse::<jiff::Timestamp>()?.duration_since(leads).as_secs_f64();
    until_available(&standby, size).await?;
    until_quiet(bed, &[&standby]).await?;
    let what = format!("{size} objects, takeover by a standby");
    let sent = bed.calls_since(calls).await? - 1.0;
    report.calls(
        format!("{what}: calls, besides one edit"),
        sent,
        Some(pages(size)),
        Goal::AboveBaseline(3.0),
    );
    // An edit writes its intent and its result.
    let written = (bed.status_writes().await? - writes - 2.0).max(0.0);
    report.count(
        format!("{what}: status writes, besides those of one edit"),
        written,
        None,
        Goal::AtMost(0.0),
    );
    report.time(
        format!("{what}: from its Lease to the first edit in the cloud"),
        "s",
        delay.max(0.0),
        None,
        Goal::AtMost(1.0),
    );
    stop(standby).await
}
