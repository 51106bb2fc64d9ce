//! Replicas that the cloud's log distinguishes: each has an access key of its own.

use std::ops::Deref;
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};
use vpn_operator_testbed::{Operator, eventually};

use super::history::History;
use crate::operator::failures::{add_access_key, secret_of};
use crate::operator::world::{DEADLINE, World};

/// One of several operators on one Lease. [`Deref`] gives access to its process.
pub(super) struct Replica {
    operator: Operator,
    pub access_key: String,
}

impl Replica {
    /// Starts a replica that talks to the apiserver itself.
    pub(super) async fn start(world: &mut World, name: &str) -> Self {
        let kubeconfig = world.kubeconfig.clone();
        Self::start_behind(world, name, &kubeconfig).await
    }

    /// Starts a replica with this kubeconfig, and waits until it is ready.
    pub(super) async fn start_behind(world: &mut World, name: &str, kubeconfig: &Path) -> Self {
        let (access_key, secret_key) = (format!("REPLICA{}", name.to_uppercase()), secret_of(name));
        add_access_key(world, &access_key, &secret_key, json!({})).await;
        world.sentinels.add(&secret_key);
        let mut environment = world.environment.clone();
        environment.push(("HUAWEICLOUD_SDK_AK".to_owned(), access_key.clone()));
        environment.push(("HUAWEICLOUD_SDK_SK".to_owned(), secret_key));
        let binary = Path::new(env!("CARGO_BIN_EXE_vpn-operator"));
        let guardian = world.plane.guardian();
        let operator = Operator::start(guardian, binary, kubeconfig, world.arguments.clone(), environment).unwrap();
        operator.wait_until_ready(DEADLINE).await.unwrap();
        // A replica that loses its lease ends at once, maybe before the line of its last write.
        world.skip_audit();
        Self { operator, access_key }
    }

    /// The name under which it holds the lease; `None` before it leads.
    pub(super) fn identity(&self) -> Option<String> {
        let log = self.operator.log();
        let (_, rest) = log.split_once("leading identity=\"")?;
        Some(rest.split('"').next()?.to_owned())
    }

    /// Waits until it leads.
    pub(super) async fn leads(&self) {
        self.operator.wait_for_log("leading identity=", DEADLINE).await.unwrap();
    }

    /// Waits until it exits because it has lost the lease. Its last log line must contain `why`.
    pub(super) async fn ends_without_its_lease(&self, why: &str) {
        let status = self.operator.wait(DEADLINE).await.unwrap();
        assert_eq!(status.code(), Some(1), "{}", self.operator.log_tail());
        let log = self.operator.log();
        let last = log.lines().last().unwrap_or_default();
        assert!(
            last.starts_with("error: lost the lease") && last.contains(why),
            "{last}"
        );
    }

    /// When it wrote the last line of its log.
    pub(super) fn last_logged(&self) -> Timestamp {
        let log = std::fs::metadata(self.operator.log_path()).unwrap();
        Timestamp::try_from(log.modified().unwrap()).unwrap()
    }

    /// Returns its requests to change something in the cloud since then.
    pub(super) async fn writes_since(&self, world: &World, mark: u64) -> Vec<Value> {
        let page = format!("log?since={mark}&access_key={}", self.access_key);
        let page: Value = world.simulator.admin_get(&page).await.unwrap();
        let requests = page["requests"].as_array().cloned().unwrap_or_default();
        requests
            .into_iter()
            .filter(|request| request["method"] != "GET")
            .collect()
    }

    /// Keeps its log in the world, which searches it for secrets.
    pub(super) fn retire(self, world: &mut World) {
        world.ended.push(self.operator);
    }
}

impl Deref for Replica {
    type Target = Operator;

    fn deref(&self) -> &Operator {
        &self.operator
    }
}

/// Waits until one of them leads, and returns its index.
pub(super) async fn one_leads(replicas: &[&Replica]) -> usize {
    eventually("one of the replicas leads", DEADLINE, async || {
        let leading = replicas.iter().position(|replica| replica.identity().is_some());
        leading.ok_or("none does")
    })
    .await
    .unwrap()
}

/// Counts the writes to the cloud by a replica while another one held the lease: compares each write with the history
/// of the Lease.
pub(super) async fn trespasses(world: &World, history: &History, replicas: &[&Replica]) -> u64 {
    let mut count = 0;
    for replica in replicas {
        let Some(identity) = replica.identity() else {
            assert_eq!(replica.writes_since(world, 0).await, Vec::<Value>::new());
            continue;
        };
        for write in replica.writes_since(world, 0).await {
            let at = write["at"].as_str().unwrap().parse().unwrap();
            let holder = history.holder_at(at);
            if holder.as_ref() != Some(&identity) {
                eprintln!("{identity} wrote while {holder:?} held the lease: {write}");
                count += 1;
            }
        }
    }
    count
}
