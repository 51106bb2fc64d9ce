//! What a new access key in the credentials Secret of many objects costs.

use crate::Failure;
use crate::bed::{Bed, stop};
use crate::population::{Population, Spread};
use crate::probes::{count, pages, reconciles, until_available, until_quiet};
use crate::report::{Goal, Report};
use crate::tenant::{self, Tenant};

/// Adds the rows for one Secret of so many objects.
pub(crate) async fn measure(bed: &Bed, objects: usize, report: &mut Report) -> Result<(), Failure> {
    tenant::add(bed, 1).await?;
    let mut population = Population::spread(bed, Spread::Tenants(vec![objects])).await?;
    population.grow_to(bed, objects - 1).await?;
    let operator = bed
        .operator(&["--resync-period=0", "--max-requests-per-second=1000"])
        .await?;
    until_available(&operator, objects).await?;
    until_quiet(bed, &[&operator]).await?;
    let (calls, writes, reconciled) = (
        bed.simulator.last_sequence().await?,
        bed.status_writes().await?,
        reconciles(&operator).await?,
    );
    let rotated = Tenant(0).rotate(bed).await?;
    bed.until_called(&format!("access_key={rotated}"), calls, 1).await?;
    until_quiet(bed, &[&operator]).await?;
    let what = format!("credentials Secret of {objects} objects rotated");
    let sent = bed.calls_since(calls).await?;
    report.calls(
        format!("{what}: calls"),
        sent,
        Some(pages(objects)),
        Goal::AboveBaseline(2.0),
    );
    let written = bed.status_writes().await? - writes;
    report.count(format!("{what}: status writes"), written, None, Goal::AtMost(0.0));
    let reconciled = (reconciles(&operator).await? - reconciled) / count(objects);
    report.count(format!("{what}: reconciles per object"), reconciled, None, Goal::None);
    stop(operator).await
}
