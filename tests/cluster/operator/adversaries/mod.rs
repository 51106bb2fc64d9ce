//! Malicious users and servers. A user who may write objects and Secrets in one namespace gains nothing outside of it.
//! No server can make the operator report falsely, forge log lines or exhaust memory. `docs/security.md` names these
//! tests.

mod endpoints;
mod hostile;
mod namespaces;
mod sizes;
mod takeover;
mod texts;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::operator::world::World;

/// Returns the access keys of all requests that the cloud has received.
async fn access_keys_seen(world: &World) -> BTreeSet<String> {
    let page: Value = world.simulator.log_since(0).await.unwrap();
    let entries = page["requests"].as_array().expect("a log has requests");
    entries
        .iter()
        .filter_map(|entry| entry["access_key"].as_str().map(str::to_owned))
        .collect()
}
