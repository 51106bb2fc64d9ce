//! Where an operator can be killed: before and after each of its requests to the cloud, and each of its writes to the
//! apiserver.

use std::collections::BTreeMap;

use serde_json::Value;
use vpn_operator_testbed::{ApiRequest, Moment};
use vpn_simulator::admin::LogEntry;

/// Whom a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum To {
    Cloud,
    Cluster,
}

/// One side of one request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Boundary {
    pub to: To,
    /// The operation, or the verb and the resource.
    pub what: String,
    /// Of its kind, in its story, from 0.
    pub nth: usize,
    pub moment: Moment,
}

impl Boundary {
    /// Both sides of every request of a recorded run.
    pub(super) fn all<'a>(
        calls: impl Iterator<Item = &'a LogEntry>,
        writes: impl Iterator<Item = &'a ApiRequest>,
    ) -> Vec<Self> {
        let calls = calls.map(|call| (To::Cloud, operation(call)));
        let writes = writes.map(|write| (To::Cluster, sort(write)));
        let mut seen: BTreeMap<(To, String), usize> = BTreeMap::new();
        let mut boundaries = Vec::new();
        for (to, what) in calls.chain(writes) {
            let count = seen.entry((to, what.clone())).or_default();
            let nth = *count;
            *count += 1;
            boundaries.extend([Moment::Before, Moment::After].map(|moment| Self {
                to,
                what: what.clone(),
                nth,
                moment,
            }));
        }
        boundaries
    }
}

/// The operation of a call.
pub(super) fn operation(call: &LogEntry) -> String {
    call.operation.clone().unwrap_or_else(|| "Unknown".to_owned())
}

/// What a write is; Events by their reason, since two of them may come in either order.
pub(super) fn sort(write: &ApiRequest) -> String {
    let reason = write.body.get("reason").and_then(Value::as_str);
    match reason.filter(|_| write.resource == "events") {
        Some(reason) => format!("{} {reason}", write.kind()),
        None => write.kind(),
    }
}
