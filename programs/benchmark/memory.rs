//! What needs memory besides objects at rest: creations, a new list after a watch that cannot resume, and the Secrets of others.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;
use vpn_operator_testbed::{Operator, Process, most_resident, resident};

use crate::bed::{Bed, stop};
use crate::creation::create;
use crate::edit;
use crate::population::name;
use crate::probes::{sum, until_available, until_quiet};
use crate::report::{Goal, Report};
use crate::{DEADLINE, Failure};

const FLAGS: [&str; 2] = ["--resync-period=0", "--max-requests-per-second=1000"];
/// Changes of Secrets per second.
const CHANGES: usize = 100;
/// Names and values of all have one length, so that a copy is the first with other digits.
const SECRET: &str = "unrelated-00000000";
const VALUE: &str = "value-00000000";
const UID: &str = "00000000-0000-4000-8000-000000000005";

/// Adds the rows for so many objects and Secrets; the Secrets change for that duration.
pub(crate) async fn measure(
    bed: &Bed,
    objects: usize,
    (secrets, changing): (usize, Duration),
    report: &mut Report,
) -> Result<(), Failure> {
    let operator = bed.operator(&FLAGS).await?;
    create(bed, 0..objects).await?;
    until_available(&operator, objects).await?;
    let creating = most_resident(&operator)?;
    stop(operator).await?;

    let operator = bed.operator(&FLAGS).await?;
    until_available(&operator, objects).await?;
    until_quiet(bed, &[&operator]).await?;
    let rest = resident(&operator)?;
    let mut row = |what: &str, bytes, most| {
        let what = format!("{what}, compared with {objects} objects at rest");
        report.memory(what, bytes, Some(rest), Goal::Ratio(most));
    };
    row(&format!("most RSS while {objects} objects are created"), creating, 1.3);

    let unrelated = UnrelatedSecrets::add(bed, secrets).await?;
    reset_most_resident(&operator)?;
    unrelated.change(bed, changing).await?;
    until_served(bed, &operator).await?;
    let what = format!("most RSS while {secrets} unrelated Secrets change {CHANGES}/s");
    row(&what, most_resident(&operator)?, 1.05);

    reset_most_resident(&operator)?;
    bed.plane.stop_api_server()?;
    // A later revision than any that a watch has seen.
    unrelated.write(bed, 0..1, 1).await?;
    bed.plane.compact_etcd().await?;
    bed.plane.start_api_server().await?;
    until_served(bed, &operator).await?;
    let metrics = bed.apiserver_metrics().await?;
    let of_all = ["resource=\"customergateways\"", "scope=\"cluster\"", "verb=\"LIST\""];
    if sum(&metrics, "apiserver_request_total", &of_all) == 0.0 {
        return Err("the watch of the operator could resume, so the row of 410 would measure nothing".into());
    }
    let what = format!("most RSS while {objects} objects are listed again after 410");
    row(&what, most_resident(&operator)?, 1.15);
    stop(operator).await
}

/// Waits until an edit has reached the cloud.
async fn until_served(bed: &Bed, operator: &Operator) -> Result<(), Failure> {
    operator.wait_until_ready(DEADLINE).await?;
    edit::delays(bed, &name(0), 1).await?;
    until_quiet(bed, &[operator]).await
}

/// Resets the maximum that the kernel has measured.
fn reset_most_resident(process: &Process) -> Result<(), Failure> {
    Ok(std::fs::write(format!("/proc/{}/clear_refs", process.pid()), "5")?)
}

/// Secrets that no object refers to: copies of one in etcd.
struct UnrelatedSecrets {
    stored: Vec<u8>,
    uid: String,
    count: usize,
}

impl UnrelatedSecrets {
    async fn add(bed: &Bed, count: usize) -> Result<Self, Failure> {
        let first = json!({"metadata": {"name": SECRET}, "stringData": {"key": VALUE}});
        let first: Secret = serde_json::from_value(first)?;
        let made = Api::<Secret>::namespaced(bed.client.clone(), &bed.namespace)
            .create(&PostParams::default(), &first)
            .await?;
        let stored = bed.plane.stored(&Self::key(bed, SECRET)).await?;
        let secrets = Self {
            stored: stored.ok_or("the apiserver stores Secrets elsewhere")?,
            uid: made.metadata.uid.ok_or("a Secret has a UID")?,
            count,
        };
        for begin in (1..count).step_by(CHANGES) {
            secrets.write(bed, begin..count.min(begin + CHANGES), 0).await?;
        }
        Ok(secrets)
    }

    fn key(bed: &Bed, name: &str) -> String {
        format!("/registry/secrets/{}/{name}", bed.namespace)
    }

    /// Changes so many per second, one after the other.
    async fn change(&self, bed: &Bed, duration: Duration) -> Result<(), Failure> {
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        for round in 0..usize::try_from(duration.as_secs())? {
            seconds.tick().await;
            let begin = round * CHANGES % self.count;
            self.write(bed, begin..self.count.min(begin + CHANGES), round + 1)
                .await?;
        }
        Ok(())
    }

    /// Writes some with another value.
    async fn write(&self, bed: &Bed, numbers: std::ops::Range<usize>, value: usize) -> Result<(), Failure> {
        let copies = numbers.map(|number| {
            let name = format!("unrelated-{number:08}");
            let mut copy = replaced(&self.stored, SECRET, &name);
            copy = replaced(&copy, VALUE, &format!("value-{value:08}"));
            if number > 0 {
                let uid = format!("{number:08}{}", &UID[8..]);
                copy = replaced(&copy, &self.uid, &uid);
            }
            (Self::key(bed, &name), copy)
        });
        Ok(bed.plane.store(copies).await?)
    }
}

/// The bytes with another text of the same length.
fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut begin = 0;
    while let Some(found) = bytes[begin..]
        .windows(from.len())
        .position(|window| window == from.as_bytes())
    {
        begin += found;
        bytes[begin..begin + from.len()].copy_from_slice(to.as_bytes());
        begin += from.len();
    }
    bytes
}
