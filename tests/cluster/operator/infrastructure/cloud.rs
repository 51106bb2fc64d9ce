//! A long outage of the cloud, or throttling of all requests.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vpn_operator_testbed::{Effort, effort, eventually};

use super::line::CloudLine;
use super::reasons::{Reasons, lines};
use super::{LEDGER, check_totals, request_all};
use crate::operator::world::{DEADLINE, Options, World, condition, gateway, user};

const GATEWAYS: usize = 20;
const USERS: usize = 6;
/// Failure cycles before memory is first measured: they fill what the operator keeps permanently.
const WARM_UP: usize = 2;

/// A way in which the whole cloud fails.
#[derive(Clone, Copy, Debug)]
enum CloudFailure {
    /// Nothing listens at its address.
    Unreachable,
    /// Every request is throttled, with each of the three error codes.
    Throttled,
    /// Connections break, responses time out, proxies send HTML pages.
    Broken,
}

impl CloudFailure {
    fn faults(self) -> Vec<Value> {
        match self {
            Self::Unreachable => Vec::new(),
            Self::Throttled => vec![
                json!({"fault": "queue-full", "operation": "UpdateVpnUser", "times": 0}),
                json!({"fault": "queue-full", "operation": "CreateVpnUser", "times": 0}),
                json!({"fault": "throttled-by-service", "path_contains": "vpn-users", "times": 0}),
                json!({"fault": "throttled-by-service", "path_contains": "p2c", "times": 0}),
                json!({"fault": "throttled-by-gateway", "times": 0}),
            ],
            Self::Broken => vec![
                json!({"fault": "html-502", "operation": "ListCustomerGateways", "times": 0}),
                json!({"fault": "timeout", "operation": "GetCustomerGateway", "times": 2}),
                json!({"fault": "connection-reset", "times": 0}),
            ],
        }
    }
}

struct Scene {
    world: World,
    line: CloudLine,
    reasons: Reasons,
}

impl Scene {
    async fn set() -> Self {
        let mut world = World::with(Options {
            stopped: true,
            ..Options::with(["--resync-period=1s", "--log-level=info", "--log-format=json"])
        })
        .await;
        let line = CloudLine::to(world.simulator.url()).await;
        world.set_argument(&format!("--vpn-endpoint={}", line.url()));
        world.set_argument(&format!("--iam-endpoint={}", line.url()));
        world.start_operator().await;
        let reasons = Reasons::follow(&world).await;
        world.apply_password("people", "Outage Pass-1").await;
        let gateways = (1..=GATEWAYS).map(|number| {
            gateway(
                &format!("gw-{number}"),
                &format!("{{name: gw-{number}, idValue: 203.0.113.{number}}}"),
            )
        });
        let users = (1..=USERS).map(|number| user(&format!("user-{number}"), "{passwordSecretRef: {name: people}}"));
        let manifests: Vec<String> = gateways.chain(users).collect();
        world.apply(&manifests.join("---\n")).await;
        let scene = Self { world, line, reasons };
        scene.all_are_ready().await;
        scene
    }

    async fn all_are_ready(&self) {
        self.world.wait_until_all_ready(GATEWAYS).await;
        self.world.users().wait_until_all_ready(USERS).await;
    }

    /// The cloud fails while one object of each kind is deleted and all others are edited. Once it works, both are
    /// created again.
    async fn endure(&mut self, failure: CloudFailure, cycle: usize) {
        let Self { world, line, .. } = self;
        match failure {
            CloudFailure::Unreachable => line.cut().await,
            CloudFailure::Throttled | CloudFailure::Broken => {
                for fault in failure.faults() {
                    world.simulator.add_fault(&fault).await.unwrap();
                }
            }
        }
        for number in 2..=GATEWAYS {
            let spec = json!({"spec": {"name": format!("gw-{number}-in-{cycle}")}});
            world.patch(&format!("gw-{number}"), spec).await;
        }
        for number in 2..=USERS {
            let spec = json!({"spec": {"description": format!("cycle {cycle}")}});
            world.users().patch(&format!("user-{number}"), spec).await;
        }
        world
            .kubectl(["delete", "cgw/gw-1", "vpnu/user-1", "--wait=false"])
            .await;
        self.everything_fails(failure).await;
        let Self { world, line, .. } = self;
        match failure {
            CloudFailure::Unreachable => line.correct_drift().await,
            CloudFailure::Throttled | CloudFailure::Broken => world.simulator.clear_faults().await.unwrap(),
        }
        // Objects recover by themselves, after a backoff that grows with the outage; later cycles need not wait for
        // that.
        if cycle > WARM_UP {
            request_all(world).await;
        }
        world.wait_until_deleted("gw-1").await;
        world.users().wait_until_deleted("user-1").await;
        world.apply_gateway("gw-1", "{name: gw-1, idValue: 203.0.113.1}").await;
        world.apply_user("user-1", "{passwordSecretRef: {name: people}}").await;
        self.all_are_ready().await;
        let edited = format!("-in-{cycle}");
        let cloud = self.world.cloud_gateways().await;
        let named = cloud
            .iter()
            .filter(|gateway| gateway["name"].as_str().is_some_and(|name| name.ends_with(&edited)));
        assert_eq!(named.count(), GATEWAYS - 1, "{cloud:#?}");
    }

    async fn everything_fails(&self, failure: CloudFailure) {
        let world = &self.world;
        let expected = match failure {
            CloudFailure::Throttled => "Throttled",
            CloudFailure::Unreachable | CloudFailure::Broken => "CloudError",
        };
        let result = eventually("every object shows the outage", DEADLINE, async || {
            let mut others = BTreeMap::new();
            for object in world.list().await.into_iter().chain(world.users().list().await) {
                let reason = condition(&object, "Ready")["reason"].clone();
                if reason != expected {
                    others.insert(object["metadata"]["name"].to_string(), reason);
                }
            }
            if others.is_empty() {
                Ok(())
            } else {
                Err(format!("{others:?}"))
            }
        })
        .await;
        result.unwrap_or_else(|error| panic!("{failure:?}: {error}\n{}", world.log_tail()));
        // The outage lasts: the drift checks fail as well, one after the other.
        let before = failed_lists(world).await;
        eventually("the outage lasts", DEADLINE, async || {
            let failed = failed_lists(world).await - before;
            if failed >= 6 { Ok(()) } else { Err(failed) }
        })
        .await
        .unwrap();
    }

    /// Returns the resident memory of the operator's process, in KiB.
    fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.world.running().pid())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("Linux reports it");
        line.split_whitespace()
            .nth(1)
            .and_then(|number| number.parse().ok())
            .expect("a number of KiB")
    }

    /// Returns the number of log lines about objects that no change of their reason explains.
    async fn lines_too_many(&self) -> u64 {
        let log = self.world.running().log();
        let mut too_many = 0;
        for ((kind, name), lines) in lines(&log) {
            // The watch of this test may lag behind the log.
            let last = lines
                .iter()
                .rev()
                .find_map(|line| line["reason"].as_str().map(str::to_owned));
            eventually("the watch has seen the reason in the log", DEADLINE, async || {
                let seen = self.reasons.last(&kind, &name);
                if seen == last || last.is_none() {
                    Ok(())
                } else {
                    Err(format!("{name}: {seen:?}, {last:?}"))
                }
            })
            .await
            .unwrap();
            // A deletion has a log line of its own, without a reason.
            let deletions = lines.iter().filter(|line| line["reason"].is_null()).count() as u64;
            let extra = (lines.len() as u64).saturating_sub(self.reasons.of(&kind, &name) + deletions);
            if extra > 0 {
                eprintln!("{name}: {} changes, {lines:#?}", self.reasons.of(&kind, &name));
            }
            too_many += extra;
        }
        too_many
    }
}

/// Returns how many lists of a collection have failed so far, according to the metrics.
async fn failed_lists(world: &World) -> u64 {
    let metrics = world.running().metrics(DEADLINE).await.unwrap();
    let failed = metrics
        .lines()
        .filter(|line| line.starts_with("vpn_operator_mirror_lists_total") && line.contains("outcome=\"error\""));
    failed
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

#[tokio::test]
async fn cloud_outages_cause_neither_memory_growth_nor_log_floods() {
    let rounds = if effort() == Effort::Full { 8 } else { 1 };
    let failures = [CloudFailure::Unreachable, CloudFailure::Throttled, CloudFailure::Broken];
    let mut scene = Scene::set().await;
    let mut cycle = 0;
    for failure in failures.into_iter().cycle().take(WARM_UP) {
        cycle += 1;
        scene.endure(failure, cycle).await;
    }
    let before = scene.resident();
    for _ in 0..rounds {
        for failure in failures {
            cycle += 1;
            scene.endure(failure, cycle).await;
        }
    }
    let percent = scene.resident() * 100 / before;
    let too_many = scene.lines_too_many().await;
    check_totals(&scene.world, cycle as u64).await;
    LEDGER.most("resident memory after outages in % of before", percent);
    LEDGER.add(&[("log lines beyond one per change of reason", too_many)]);
    assert_eq!(too_many, 0);
    assert!(percent <= 110, "{before} KiB before, {percent} % of it after");
    let Scene { world, line, .. } = scene;
    world.finish().await;
    drop(line);
}
