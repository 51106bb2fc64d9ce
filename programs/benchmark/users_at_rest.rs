//! What users on many servers cost that nobody changes. As in [`crate::population`], one user is made by the operator, and the
//! others are copies with values of their own.

use serde_json::{Value, json};
use vpn_operator::reconcile::k8s::digest_key::{DigestKey, DigestKeys};
use vpn_operator_testbed::{resident, wait_for_condition};

use crate::bed::{Bed, stop};
use crate::objects::create_all;
use crate::population::earlier;
use crate::probes::{Lists, count, pages, until_available, until_quiet};
use crate::report::{Goal, Report};
use crate::users::{PASSWORD, add_password, add_server, server, user, user_name, users};
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
    let lists = Lists::of_users(&operator, servers);
    let all_pages = count(servers) * pages(on_each);
    let restart = bed.calls_since(calls).await?;
    report.calls(format!("{what}, restart: calls"), restart, Some(all_pages), Goal::None);
    let costs = lists.costs(bed).await?;
    report.calls(
        format!("{what}, drift check: calls"),
        costs.calls,
        Some(all_pages),
        Goal::Ratio(CALLS_PER_PAGE),
    );
    report.count(
        format!("{what}, drift check: reconciles"),
        costs.reconciles,
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
        let api = users(bed);
        create_all(&api, std::iter::once(user(TEMPLATE, &server(0)))).await?;
        let made = wait_for_condition(&api, TEMPLATE, ("Ready", "True"), None, DEADLINE).await?;
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
            let value = made.data["status"][field].as_str().map(str::to_owned);
            value.ok_or_else(|| format!("a Ready user has no {field}"))
        };
        let (id, created_at) = (status("id")?, status("createdAt")?);
        Ok(Self {
            stored,
            uid: made.metadata.uid.ok_or("an object has a UID")?,
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
            .replace(&self.created_at, &earlier(&self.created_at, number))
            .replace(&server(0), on)
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
                "password": PASSWORD, "description": resource["description"], "created_at": earlier(&first.created_at, *number),
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
