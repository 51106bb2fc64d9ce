//! Whether tenants affect each other: a few whose access keys fail, and one with many objects that all change.

use vpn_operator_testbed::Operator;

use crate::Failure;
use crate::bed::{Bed, stop};
use crate::edit::{Delays, Edited, delays_of};
use crate::options::Arguments;
use crate::outage::edit_all;
use crate::population::{Population, Spread, name};
use crate::probes::{until_available, until_quiet};
use crate::report::{Goal, Report};
use crate::tenant::{self, Tenant};

/// Two whose requests time out, and one whose key is refused.
const SICK: usize = 3;
/// Objects of each tenant beside the large one.
const SMALL: usize = 10;
/// Edits of the other tenants.
const EDITS: usize = 200;

/// The sizes of the two populations.
pub(crate) struct TenantSizes {
    pub tenants: usize,
    /// Objects of each tenant, for the sick ones.
    pub objects: usize,
    /// Objects of the large tenant.
    pub large: usize,
    /// Objects of each tenant beside it.
    pub small: usize,
}

impl From<&Arguments> for TenantSizes {
    fn from(arguments: &Arguments) -> Self {
        Self {
            tenants: arguments.tenants,
            objects: arguments.tenant_objects,
            large: arguments.large_tenant,
            small: SMALL,
        }
    }
}

/// Adds the rows for both.
pub(crate) async fn measure(bed: &Bed, sizes: &TenantSizes, rate: u32, report: &mut Report) -> Result<(), Failure> {
    sick(bed, sizes, rate, report).await?;
    bed.clear().await?;
    large(bed, sizes, rate, report).await
}

async fn sick(bed: &Bed, sizes: &TenantSizes, rate: u32, report: &mut Report) -> Result<(), Failure> {
    let of_each = vec![sizes.objects; sizes.tenants];
    let operator = populate(bed, of_each.clone(), rate).await?;
    let edited = targets(&of_each, SICK);
    let baseline = delays_of(bed, &edited).await?;
    for number in 0..SICK {
        match number {
            0 => Tenant(number).refuse(bed).await?,
            _ => Tenant(number).silence(bed).await?,
        }
    }
    // So that they have something to do that fails.
    edit_all(bed, SICK * sizes.objects).await?;
    let beside = delays_of(bed, &edited).await?;
    let what = format!(
        "{} tenants with {} objects each, {SICK} of them sick",
        sizes.tenants, sizes.objects
    );
    rows(&what, &baseline, &beside, report);
    // Requests that are never answered end with their connections.
    bed.simulator.clear_faults().await?;
    stop(operator).await
}

async fn large(bed: &Bed, sizes: &TenantSizes, rate: u32, report: &mut Report) -> Result<(), Failure> {
    let mut of_each = vec![sizes.small; sizes.tenants];
    of_each[0] = sizes.large;
    let operator = populate(bed, of_each.clone(), rate).await?;
    let edited = targets(&of_each, 1);
    let baseline = delays_of(bed, &edited).await?;
    let (edits, beside) = tokio::join!(edit_all(bed, sizes.large), delays_of(bed, &edited));
    edits?;
    let what = format!(
        "{} tenants with {} objects each beside one whose {} objects change",
        sizes.tenants - 1,
        sizes.small,
        sizes.large
    );
    rows(&what, &baseline, &beside?, report);
    stop(operator).await
}

/// Adds tenants with objects at rest, and starts an operator.
async fn populate(bed: &Bed, of_each: Vec<usize>, rate: u32) -> Result<Operator, Failure> {
    tenant::add(bed, of_each.len()).await?;
    let objects = of_each.iter().sum();
    let mut population = Population::spread(bed, Spread::Tenants(of_each)).await?;
    population.grow_to(bed, objects).await?;
    let limit = format!("--max-requests-per-second={rate}");
    let operator = bed.operator(&["--resync-period=0", &limit]).await?;
    until_available(&operator, objects).await?;
    until_quiet(bed, &[&operator]).await?;
    Ok(operator)
}

/// Objects of tenants that come after the first ones.
fn targets(of_each: &[usize], after: usize) -> Vec<Edited> {
    let first = |tenant: usize| of_each[..tenant].iter().sum();
    let others = (after..of_each.len()).cycle().take(EDITS);
    let object = |tenant: usize| Edited {
        name: name(first(tenant)),
        access_key: Some(Tenant(tenant).access_key()),
    };
    others.map(object).collect()
}

fn rows(what: &str, baseline: &Delays, beside: &Delays, report: &mut Report) {
    for (quantile, percent, goal) in [("p50", 50, Goal::None), ("p99", 99, Goal::Ratio(1.1))] {
        report.time(
            format!("{what}: one edit of another, from the watch to the request, {quantile}"),
            "ms",
            beside.quantile(percent),
            Some(baseline.quantile(percent)),
            goal,
        );
    }
}
