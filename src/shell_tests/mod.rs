//! The shell around the decisions, without a cluster: what is asked of the apiserver and of the cloud, how often, and what
//! one object's failure means for the others.

pub(crate) mod apiserver;
mod echoes;
mod forbidden;
mod link;
mod outcomes;
mod quota;
mod reads;
mod references;
mod slow_writes;
mod takeover;
mod watches;
mod workers;
pub(crate) mod world;

use serde_json::json;

/// An address of a gateway, different for each number.
fn address(number: usize) -> serde_json::Value {
    json!({"idValue": format!("203.0.{}.{}", number / 200, number % 200 + 1)})
}
