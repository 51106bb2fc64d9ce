//! What users on many servers cost that nobody changes. As in [`crate::population`], one user is made by the operator, and the
//! others are copies with values of their own.

use kube::Api;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use vpn_operator::reconcile::k8s::digest_key::{DigestKey, DigestKeys};
use vpn_operator_testbed::{Operator, eventually, resident, wait_for_condition};

use crate::bed::{Bed, stop};
use crate::probes::{count, reconciles, sum, until_available, until_quiet};
use crate::report::{Goal, Report};
use crate::users::{PASSWORD, add_password, add_server, create_user, server, user_name, users};
use crate::{DEADLINE, Failure};

const TEMPLATE: &str = "user-template";
/// etcd accepts 128 operations in one transaction.
const AT_ONCE: usize = 100;
/// The issue allows 80 requests for 20 servers with 3 pages each.
const CALLS_PER_PAGE: f64 = 80.0 / 60.0;

/// Adds the rows for users on so many servers.
pub(crate) async fn measure(
    bed: &Bed,
    objects: usize,
    servers: usize,
    period: &str,
    report: &mut Report,
) -> Result<(), Failure> {
    let on_each = objects.div_ceil(servers);
    populate(bed, objects, servers, on_each).await?;
    let (calls, writes) = (bed.simulator.last_sequence().await?, bed.status_writes().await?);
    let period = format!("--resync-period={period}");
    let operator = bed.operator(&[&period, "--max-requests-per-second=1000"]).await?;
    until_available(&operator, objects).await?;
    let what = format!("{objects} users on {servers} servers");
    let pages = count(servers * on_each.div_ceil(200));
    let restart = bed.calls_since(calls).await?;
    report.calls(format!("{what}, restart: calls"), restart, Some(pages), Goal::None);
    until_checks(&operator, servers, 1.0).await?;
    let (calls, reconciled, from) = (
        bed.simulator.last_sequence().await?,
        reconciles(&operator).await?,
        checks(&operator, servers).await?,
    );
    until_checks(&operator, servers, 2.0).await?;
    let checked = checks(&operator, servers).await? - from;
    let per_check = bed.calls_since(calls).await? / checked;
    report.calls(
        format!("{what}, drift check: calls"),
        per_check,
        Some(pages),
        Goal::Ratio(CALLS_PER_PAGE),
    );
    let reconciled = reconciles(&operator).await? - reconciled;
    report.count(
        format!("{what}, drift check: reconciles"),
        reconciled,
        None,
        Goal::AtMost(0.0),
    );
    let written = bed.status_writes().await? - writes;
    report.count(
        format!("{what}, restart and drift checks: status writes"),
        written,
        None,
        Goal::AtMost(0.0),
    );
    let most = if objects > 1_000 { 40.0 } else { 18.0 };
    report.memory(
        format!("RSS with {what} at rest"),
        resident(&operator)?,
        None,
        Goal::AtMost(most),
    );
    stop(operator).await
}

/// Complete lists of users, by the number of servers: each check lists each server.
async fn checks(operator: &Operator, servers: usize) -> Result<f64, Failure> {
    let metrics = operator.metrics(DEADLINE).await?;
    let labels = ["outcome=\"ok\"", "collection=\"vpn-users\""];
    Ok(sum(&metrics, "vpn_operator_mirror_lists_total", &labels) / count(servers))
}

async fn until_checks(operator: &Operator, servers: usize, more: f64) -> Result<(), Failure> {
    let from = checks(operator, servers).await?;
    let checked = eventually("drift checks", DEADLINE, async || {
        let now = checks(operator, servers).await.map_err(|error| error.to_string())?;
        if now >= from + more {
            Ok(())
        } else {
            Err(format!("{now} checks"))
        }
    });
    Ok(checked.await?)
}

/// The user that the operator has made.
struct FirstUser {
    stored: String,
    uid: String,
    id: String,
    created_at: String,
    digest: String,
    key_id: String,
    key: std::sync::Arc<DigestKey>,
}

impl FirstUser {
    async fn make(bed: &Bed) -> Result<Self, Failure> {
        let operator = bed
            .operator(&["--resync-period=0", "--creation-confirmation-period=1s"])
            .await?;
        create_user(bed, TEMPLATE, &server(0)).await?;
        let api: Api<DynamicObject> = users(bed);
        let user = wait_for_condition(&api, TEMPLATE, ("Ready", "True"), None, DEADLINE).await?;
        until_quiet(bed, &[&operator]).await?;
        stop(operator).await?;
        let key = DigestKeys::new(bed.client.clone(), bed.namespace.clone(), "vpn-operator".to_owned())
            .get()
            .await?;
        let context = format!("{}/{TEMPLATE}", bed.namespace);
        let stored = bed.plane.stored(&stored_at(bed, TEMPLATE)).await?;
        let stored = String::from_utf8(stored.ok_or("the apiserver stores the first user elsewhere")?)?;
        let digest = key.digest(&context, &PASSWORD.into());
        if !stored.contains(&digest) {
            return Err("status has another digest of the password".into());
        }
        let status = |field: &str| {
            let value = user.data["status"][field].as_str().map(str::to_owned);
            value.ok_or_else(|| format!("a Ready user has no {field}"))
        };
        let (id, created_at) = (status("id")?, status("createdAt")?);
        Ok(Self {
            stored,
            uid: user.metadata.uid.ok_or("an object has a UID")?,
            id,
            created_at,
            digest,
            key_id: key.id(&context),
            key,
        })
    }

    /// The stored form of a copy.
    fn copy(&self, bed: &Bed, number: usize, on: &str) -> String {
        let name = user_name(number);
        let context = format!("{}/{name}", bed.namespace);
        self.stored
            .replace(TEMPLATE, &name)
            .replace(&self.uid, &format!("{number:08x}-0000-4000-8000-000000000003"))
            .replace(&self.id, &copied_id(number))
            .replace(&self.digest, &self.key.digest(&context, &PASSWORD.into()))
            .replace(&self.key_id, &self.key.id(&context))
            .replace(&self.created_at, &self.created_at(number))
            .replace(&server(0), on)
    }

    /// No two users of a server have one time: the cloud may omit one of them at the end of a page. Status has whole seconds.
    fn created_at(&self, number: usize) -> String {
        let first: jiff::Timestamp = self.created_at.parse().unwrap_or_default();
        let earlier = i64::try_from(number).unwrap_or_default() + 1;
        (first - jiff::SignedDuration::from_secs(earlier)).to_string()
    }
}

fn copied_id(number: usize) -> String {
    format!("{number:08x}-0000-4000-8000-000000000004")
}

fn stored_at(bed: &Bed, name: &str) -> String {
    format!("/registry/vpn.huaweicloud.com/vpnusers/{}/{name}", bed.namespace)
}

/// Adds servers with users at rest, of which the operator makes the first.
async fn populate(bed: &Bed, objects: usize, servers: usize, on_each: usize) -> Result<(), Failure> {
    for number in 0..servers {
        add_server(bed, number, on_each).await?;
    }
    add_password(bed).await?;
    let first = FirstUser::make(bed).await?;
    let resource: Value = bed.simulator.get(&format!("vpn-users/{}", first.id)).await?;
    let numbers: Vec<usize> = (1..objects).collect();
    for numbers in numbers.chunks(AT_ONCE) {
        let seed = |number: &usize| {
            json!({
                "server_id": server(number / on_each), "id": copied_id(*number), "name": user_name(*number),
                "password": PASSWORD, "description": resource["description"], "created_at": first.created_at(*number),
            })
        };
        let seeds: Vec<Value> = numbers.iter().map(seed).collect();
        bed.simulator.seed_users::<Value>(&seeds).await?;
        let copies = numbers.iter().map(|number| {
            let copy = first.copy(bed, *number, &server(number / on_each));
            (stored_at(bed, &user_name(*number)), copy.into_bytes())
        });
        bed.plane.store(copies).await?;
    }
    Ok(())
}
