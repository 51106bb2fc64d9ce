//! What one object costs the apiserver from its creation to its deletion, and how often an edit is reconciled.

use kube::api::{Patch, PatchParams};
use serde_json::json;
use vpn_operator_testbed::eventually;

use crate::bed::{Bed, stop};
use crate::creation::{create, delete};
use crate::objects::delete_all;
use crate::population::{gateways, name};
use crate::probes::{count, reconciles, sum, until_available, until_quiet};
use crate::report::{Goal, Report};
use crate::users::{add_password, add_server, create_users, users};
use crate::{DEADLINE, Failure};

/// Of one object, one after the other.
const EDITS: usize = 20;

/// What the apiserver has served.
struct Writes {
    /// Updates of objects and of their status; the benchmark itself sends none.
    objects: f64,
    /// Of them.
    status: f64,
    events: f64,
}

impl Writes {
    async fn until_now(bed: &Bed, resource: &str) -> Result<Self, Failure> {
        let metrics = bed.apiserver_metrics().await?;
        let of_events = |verb| sum(&metrics, "apiserver_request_total", &["resource=\"events\"", verb]);
        let events = ["verb=\"POST\"", "verb=\"PATCH\"", "verb=\"PUT\""].map(of_events);
        let of_kind = format!("resource=\"{resource}\"");
        Ok(Self {
            objects: bed.updates(&[&of_kind]).await?,
            status: bed.updates(&[&of_kind, "subresource=\"status\""]).await?,
            events: events.iter().sum(),
        })
    }
}

/// Adds the rows for so many objects of each kind.
pub(crate) async fn measure(bed: &Bed, objects: usize, report: &mut Report) -> Result<(), Failure> {
    let operator = bed
        .operator(&[
            "--resync-period=0",
            "--max-requests-per-second=1000",
            "--creation-confirmation-period=1s",
        ])
        .await?;
    let before = Writes::until_now(bed, "customergateways").await?;
    create(bed, 0..objects).await?;
    until_available(&operator, objects).await?;
    until_quiet(bed, &[&operator]).await?;
    delete(bed).await?;
    until_quiet(bed, &[&operator]).await?;
    rows(bed, before, ("customergateways", 3.0), objects, report).await?;

    add_server(bed, 0, objects).await?;
    add_password(bed).await?;
    let before = Writes::until_now(bed, "vpnusers").await?;
    create_users(bed, 0..objects).await?;
    until_available(&operator, objects).await?;
    until_quiet(bed, &[&operator]).await?;
    delete_all(&users(bed)).await?;
    until_quiet(bed, &[&operator]).await?;
    rows(bed, before, ("vpnusers", 4.0), objects, report).await?;

    create(bed, 0..1).await?;
    until_available(&operator, 1).await?;
    until_quiet(bed, &[&operator]).await?;
    let (reconciled, calls) = (reconciles(&operator).await?, bed.simulator.last_sequence().await?);
    for number in 0..EDITS {
        edit(bed, number).await?;
    }
    until_quiet(bed, &[&operator]).await?;
    let reconciled = (reconciles(&operator).await? - reconciled) / count(EDITS);
    report.count("one edit: reconciles", reconciled, None, Goal::AtMost(2.0));
    let sent = bed.calls_since(calls).await? / count(EDITS);
    report.calls("one edit: calls", sent, None, Goal::AtMost(2.0));
    delete(bed).await?;
    stop(operator).await
}

async fn rows(
    bed: &Bed,
    before: Writes,
    (resource, most): (&str, f64),
    objects: usize,
    report: &mut Report,
) -> Result<(), Failure> {
    let after = Writes::until_now(bed, resource).await?;
    let what = format!("one of {objects} {resource}, from creation to deletion");
    let written = (after.objects - before.objects) / count(objects);
    report.count(
        format!("{what}: writes to the apiserver"),
        written,
        Some(most),
        Goal::Ratio(1.0),
    );
    let status = (after.status - before.status) / count(objects);
    report.count(format!("{what}: status writes of them"), status, None, Goal::None);
    let events = (after.events - before.events) / count(objects);
    report.count(format!("{what}: Events"), events, None, Goal::AtMost(2.0));
    Ok(())
}

/// Edits the first gateway, and waits until status reports it.
async fn edit(bed: &Bed, number: usize) -> Result<(), Failure> {
    let api = gateways(bed);
    let patch = Patch::Merge(json!({"spec": {"name": format!("edited-{number}")}}));
    let edited = api.patch(&name(0), &PatchParams::default(), &patch).await?;
    let generation = edited.metadata.generation;
    let observed = eventually("the edit is applied", DEADLINE, async || {
        let object = api.get(&name(0)).await.map_err(|error| error.to_string())?;
        let ready = object.data["status"]["conditions"]
            .as_array()
            .and_then(|conditions| conditions.iter().find(|condition| condition["type"] == "Ready"))
            .cloned()
            .unwrap_or_default();
        if ready["observedGeneration"].as_i64() == generation && ready["status"] == "True" {
            Ok(())
        } else {
            Err(ready.to_string())
        }
    });
    Ok(observed.await?)
}
