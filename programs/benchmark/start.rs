//! How long a start takes, and how large the program is.

use std::time::{Duration, Instant};

use vpn_operator_testbed::eventually_at;

use crate::bed::{Bed, stop};
use crate::creation::{create, delete};
use crate::probes::{count, reconciles, until_available};
use crate::report::{Goal, Report};
use crate::{DEADLINE, Failure};

const STARTS: usize = 5;
const PAUSE: Duration = Duration::from_millis(2);

/// Adds the rows.
pub(crate) async fn measure(bed: &Bed, report: &mut Report) -> Result<(), Failure> {
    let operator = bed.operator(&["--resync-period=0"]).await?;
    create(bed, 0..1).await?;
    until_available(&operator, 1).await?;
    stop(operator).await?;
    let mut delays = Vec::new();
    for _ in 0..STARTS {
        let began = Instant::now();
        let operator = bed.launch(&["--resync-period=0"])?;
        let reconciled = eventually_at(PAUSE, "a reconcile", DEADLINE, async || {
            match reconciles(&operator).await {
                Ok(reconciled) if reconciled > 0.0 => Ok(()),
                Ok(_) => Err("none".to_owned()),
                Err(failure) => Err(failure.to_string()),
            }
        });
        reconciled.await?;
        delays.push(began.elapsed().as_secs_f64() * 1000.0);
        stop(operator).await?;
    }
    delays.sort_by(f64::total_cmp);
    report.time(
        format!("from the start of the process to the first reconcile, median of {STARTS}"),
        "ms",
        delays[STARTS / 2],
        None,
        Goal::AtMost(100.0),
    );
    // A debug build says nothing about the size of a release.
    if !cfg!(debug_assertions) {
        let bytes = std::fs::metadata(&bed.operator)?.len();
        report.size(
            "size of the program".to_owned(),
            "MB",
            count(bytes) / 1e6,
            None,
            Goal::AtMost(12.0),
        );
    }
    let operator = bed.operator(&["--resync-period=0"]).await?;
    delete(bed).await?;
    stop(operator).await
}
