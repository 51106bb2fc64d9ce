//! What many objects cost: memory under the limit that the chart sets, connections to the apiserver, reads of Secrets.
//!
//! The memory that counts is what the kernel cannot take back. The pages of the program can be read again; an unoptimized
//! program has many of them, and needs no less of the other memory than a release does.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::stream::{self, StreamExt};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use vpn_operator_testbed::{
    ConnectionCounter, Launch, MemoryLimit, Operator, Verb, eventually, figures, unreclaimable,
};

use crate::operator::failures::add_access_key;
use crate::operator::upgrade::{apply_crd, own_plane, present_crd};
use crate::operator::world::{DEADLINE, OPERATOR, Options, REGION, World, alone, condition, repository};

const MIB: u64 = 1024 * 1024;

#[expect(clippy::cast_precision_loss, reason = "sizes of memory are far below 2^52 bytes")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / MIB as f64
}
/// Of the chart's limit, what may be in use at rest: the rest is for pages of the program and for what passes.
const AT_REST_PERCENT: u64 = 75;
/// To the apiserver, at any moment: 22 requests, the watches, the leader election, and some that the HTTP client opens in vain.
const MOST_CONNECTIONS: usize = 32;
/// Gateways that each have a Secret, an access key and a project of their own.
const TENANTS: usize = 1_200;
/// Gateways of one project that nobody changes.
const QUIET: usize = 3_000;
/// Objects that share one Secret.
const SHARING: usize = 300;
/// Reads of a shared Secret after a change of it: one, and one more if the change comes during it.
const MOST_READS: usize = 3;
/// Requests of the test itself to the apiserver at once.
const AT_ONCE: usize = 16;
/// Secret keys of all tenants; searching every log for 1,200 of them would take longer than the rest.
const SECRET_KEY: &str = "SENTINEL+sk/tenant\"x=end";

/// The memory limit that the chart sets.
fn limit_of_the_chart() -> u64 {
    let values = std::fs::read_to_string(repository().join("charts/vpn-operator/values.yaml")).unwrap();
    let values: Value = serde_saphyr::from_str(&values).unwrap();
    let limit = values["resources"]["limits"]["memory"].as_str().unwrap();
    limit.strip_suffix("Mi").unwrap().parse::<u64>().unwrap() * MIB
}

/// An operator under the chart's memory limit, whose connections are counted.
struct Confined {
    limit: MemoryLimit,
    counter: ConnectionCounter,
    peak: Arc<AtomicU64>,
}

impl Confined {
    /// Starts the world's operator in this way.
    async fn start(world: &mut World) -> Self {
        let limit = MemoryLimit::new(limit_of_the_chart());
        let counter = ConnectionCounter::start_for(world.plane, &world.kubeconfig)
            .await
            .unwrap();
        let launch = Launch::new("vpn-operator", Path::new(OPERATOR))
            .args(world.arguments.clone())
            .envs([("KUBECONFIG", counter.kubeconfig())])
            .envs(world.environment.clone());
        let operator = Operator::launch(world.plane.guardian(), limit.around(launch)).unwrap();
        world.operator = Some(operator);
        Self {
            limit,
            counter,
            peak: Arc::default(),
        }
    }

    /// Waits for something while the operator's memory is watched.
    async fn during<T>(&self, world: &World, awaited: impl Future<Output = T>) -> T {
        let mut samples = tokio::time::interval(Duration::from_millis(20));
        let watched = async {
            loop {
                let now = unreclaimable(world.running()).unwrap_or_default();
                self.peak.fetch_max(now, Ordering::Relaxed);
                samples.tick().await;
            }
        };
        tokio::select! {
            result = awaited => result,
            status = world.running().wait(Duration::MAX) => {
                panic!("the operator ended ({status:?}) at {} MiB:\n{}", self.peak() / MIB, world.log_tail())
            }
            () = watched => unreachable!("it has no end"),
        }
    }

    fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Prints what was counted, and holds it to its limits.
    async fn holds(&self, world: &World, objects: usize, when: &str) {
        let most = self.limit.bytes() * AT_REST_PERCENT / 100;
        let at_rest = eventually("memory is at rest", DEADLINE, async || {
            let now = unreclaimable(world.running()).map_err(|error| error.to_string())?;
            if now <= most {
                Ok(now)
            } else {
                Err(format!("{} KiB are in use, {} KiB may be", now / 1024, most / 1024))
            }
        });
        let at_rest = at_rest.await.unwrap_or_else(|error| panic!("{when}: {error}"));
        let (peak, connections) = (self.peak(), self.counter.most());
        println!(
            "{objects} gateways, {when}: {:.1} MiB at rest (limit {}), {:.1} MiB at most (limit {}, {}), {connections} \
             connections to the apiserver at most (limit {MOST_CONNECTIONS})",
            mebibytes(at_rest),
            most / MIB,
            mebibytes(peak),
            self.limit.bytes() / MIB,
            if self.limit.is_enforced() {
                "enforced"
            } else {
                "measured"
            },
        );
        assert!(peak <= self.limit.bytes(), "{when}: {} MiB", peak / MIB);
        assert!(connections <= MOST_CONNECTIONS, "{when}: {connections} connections");
        let figure = |what: &str| format!("{objects} gateways, {when}: {what}");
        figures::report(
            "capacity",
            &[
                (&figure("MiB at rest"), at_rest.div_ceil(MIB)),
                (&figure("MiB at most"), peak.div_ceil(MIB)),
                (&figure("connections to the apiserver at most"), connections as u64),
            ],
        );
    }
}

/// A world on a control plane of its own: what is made here would slow the other tests down.
async fn world(more: &[&str]) -> World {
    let plane = own_plane().await;
    apply_crd(plane, &present_crd("CustomerGateway")).await;
    let mut options = Options::with([
        "--log-level=info",
        "--leader-elect-lease-duration=60s",
        "--request-timeout=10s",
    ]);
    options.stopped = true;
    options.arguments.extend(more.iter().map(|flag| (*flag).to_owned()));
    World::on(plane, options).await
}

fn gateway(number: usize, secret: Option<&str>) -> Value {
    let mut spec = json!({"idValue": format!("198.18.{}.{}", number / 250, number % 250 + 1), "bgpASN": 65010});
    if let Some(secret) = secret {
        spec["credentialsRef"] = json!({"name": secret});
    }
    json!({
        "apiVersion": "vpn.huaweicloud.com/v1alpha1", "kind": "CustomerGateway",
        "metadata": {"name": format!("gateway-{number:04}")}, "spec": spec,
    })
}

async fn put_gateways(world: &World, count: usize, secret: impl Fn(usize) -> Option<String>) {
    let objects = world.gateway_objects();
    let (objects, secret) = (&objects, &secret);
    stream::iter(0..count)
        .for_each_concurrent(AT_ONCE, |number| async move {
            objects.create(gateway(number, secret(number).as_deref())).await;
        })
        .await;
}

async fn put_secret(world: &World, name: &str, access_key: &str, project: &str) {
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    let secret = json!({
        "metadata": {"name": name},
        "stringData": {"accessKey": access_key, "secretKey": SECRET_KEY, "projectID": project},
    });
    let secret = serde_json::from_value(secret).unwrap();
    secrets.create(&PostParams::default(), &secret).await.unwrap();
}

/// A Secret, an access key and a project that nobody else has.
async fn put_tenant(world: &World, number: usize) {
    let (access_key, project) = (format!("AKTENANT{number:04}"), format!("{number:032x}"));
    let of_region = json!({"name": format!("{REGION}_{number}")});
    world
        .simulator
        .put::<Value>(&format!("projects/{project}"), &of_region)
        .await
        .unwrap();
    let only_there = json!({"permissions": {"projects": [project]}});
    add_access_key(world, &access_key, SECRET_KEY, only_there).await;
    put_secret(world, &format!("tenant-{number}"), &access_key, &project).await;
}

/// Waits until the operator counts as many as available.
async fn until_available(world: &World, count: usize) {
    let awaited = format!("{count} gateways are available");
    let line = format!("vpn_operator_objects{{kind=\"CustomerGateway\",reason=\"Available\"}} {count}\n");
    let reached = eventually(&awaited, DEADLINE * 10, async || {
        let metrics = world
            .running()
            .metrics(DEADLINE)
            .await
            .map_err(|error| error.to_string())?;
        if metrics.contains(&line) {
            return Ok(());
        }
        let counts = metrics.lines().filter(|line| line.starts_with("vpn_operator_objects{"));
        Err(counts
            .filter(|line| !line.ends_with(" 0"))
            .collect::<Vec<_>>()
            .join("\n"))
    });
    reached
        .await
        .unwrap_or_else(|error| panic!("{error}\n{}", world.log_tail()));
}

/// Every object is Ready with a cloud object of its own, and the cloud has no other.
async fn each_has_one(world: &World, count: usize) {
    let objects = world.list().await;
    let ids: BTreeSet<&str> = objects
        .iter()
        .filter(|object| condition(object, "Ready")["status"] == "True")
        .filter_map(|object| object["status"]["id"].as_str())
        .collect();
    assert_eq!((objects.len(), ids.len()), (count, count));
    let in_cloud = world.cloud_gateways().await;
    let in_cloud: BTreeSet<&str> = in_cloud.iter().filter_map(|gateway| gateway["id"].as_str()).collect();
    assert_eq!(in_cloud, ids);
}

#[tokio::test]
async fn gateways_of_1200_tenants_fit_into_the_charts_memory_limit() {
    let _alone = alone().await;
    let mut world = world(&["--resync-period=5m"]).await;
    world.sentinels.add(SECRET_KEY);
    {
        let world = &world;
        stream::iter(0..TENANTS)
            .for_each_concurrent(AT_ONCE, |number| put_tenant(world, number))
            .await;
    }
    put_gateways(&world, TENANTS, |number| Some(format!("tenant-{number}"))).await;
    for when in ["first start", "restart"] {
        let confined = Confined::start(&mut world).await;
        confined.during(&world, until_available(&world, TENANTS)).await;
        confined
            .holds(&world, TENANTS, &format!("each with a Secret and a project, {when}"))
            .await;
        each_has_one(&world, TENANTS).await;
        world.stop_operator().await;
    }
    world.finish().await;
}

#[tokio::test]
async fn unchanged_gateways_of_one_project_fit_into_the_charts_memory_limit() {
    let _alone = alone().await;
    let mut world = world(&["--resync-period=5s", "--max-requests-per-second=1000"]).await;
    world.make_room().await;
    put_gateways(&world, QUIET, |_| None).await;
    for when in ["first start", "restart"] {
        let confined = Confined::start(&mut world).await;
        confined.during(&world, until_available(&world, QUIET)).await;
        let listed = world.running().metrics(DEADLINE).await.unwrap();
        let lists = |metrics: &str| -> u64 {
            let line = "vpn_operator_mirror_lists_total{collection=\"customer-gateways\",outcome=\"ok\"} ";
            let counted = metrics.lines().find_map(|it| it.strip_prefix(line));
            counted.map_or(0, |count| count.parse().unwrap())
        };
        let until_checked = eventually("two drift checks", DEADLINE, async || {
            let metrics = world
                .running()
                .metrics(DEADLINE)
                .await
                .map_err(|error| error.to_string())?;
            let since = lists(&metrics) - lists(&listed);
            if since >= 2 {
                Ok(())
            } else {
                Err(format!("{since} lists"))
            }
        });
        confined.during(&world, until_checked).await.unwrap();
        confined.holds(&world, QUIET, &format!("one project, {when}")).await;
        each_has_one(&world, QUIET).await;
        world.stop_operator().await;
    }
    world.finish().await;
}

#[tokio::test]
async fn a_changed_secret_of_300_objects_is_read_a_few_times() {
    let _alone = alone().await;
    let mut world = world(&["--resync-period=0", "--max-requests-per-second=1000"]).await;
    world.make_room().await;
    let (access_key, secret_key) = (world.access_key.clone(), world.secret_key.clone());
    world.apply_credentials("shared", &access_key, &secret_key, &[]).await;
    put_gateways(&world, SHARING, |_| Some("shared".to_owned())).await;
    let proxy = world.proxy();
    world.start_operator_behind(&proxy).await;
    until_available(&world, SHARING).await;
    let before = proxy.last_number();
    let reconciled = reconciles(&world).await;
    world
        .apply_credentials("shared", &access_key, &secret_key, &[("region", REGION)])
        .await;
    let until_reconciled = eventually("every object is reconciled again", DEADLINE, async || {
        let now = reconciles(&world).await;
        if now >= reconciled + SHARING as u64 {
            Ok(())
        } else {
            Err(format!("{} reconciles", now - reconciled))
        }
    });
    until_reconciled.await.unwrap();
    let path = format!("/api/v1/namespaces/{}/secrets/shared", world.namespace);
    let requests = proxy.requests_since(before);
    let reads = requests
        .iter()
        .filter(|request| request.verb == Verb::Get && request.path == path)
        .count();
    println!("a change of a Secret that {SHARING} objects share: {reads} reads of it (limit {MOST_READS})");
    assert!((1..=MOST_READS).contains(&reads), "{reads} reads");
    figures::report(
        "capacity",
        &[(
            "reads of a Secret that 300 objects share, when it changes",
            reads as u64,
        )],
    );
    world.finish().await;
}

/// How many reconciles of gateways there were.
async fn reconciles(world: &World) -> u64 {
    let metrics = world.running().metrics(DEADLINE).await.unwrap();
    let counts = metrics.lines().filter_map(|line| {
        let count = line.strip_prefix("vpn_operator_reconcile_duration_seconds_count{kind=\"CustomerGateway\"} ")?;
        count.parse::<u64>().ok()
    });
    counts.sum()
}
