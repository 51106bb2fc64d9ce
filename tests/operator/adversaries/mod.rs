//! People and servers that mean harm. Somebody who may write objects and Secrets in one namespace gains nothing outside of
//! it, and no server can make the operator lie, forge, or eat the machine. `docs/security.md` names these tests.

mod endpoints;
mod hostile;
mod namespaces;
mod sizes;
mod takeover;
mod texts;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::world::World;

/// The access keys of all requests that the cloud has seen.
async fn access_keys_seen(world: &World) -> BTreeSet<String> {
    let page: Value = world.simulator.log_since(0).await.unwrap();
    let entries = page["requests"].as_array().expect("a log has requests");
    entries
        .iter()
        .filter_map(|entry| entry["access_key"].as_str().map(str::to_owned))
        .collect()
}
