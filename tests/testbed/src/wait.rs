//! Waiting for conditions with deadlines: what tests do instead of sleeping.

use std::fmt::{Debug, Display};
use std::time::Duration;

use kube::Api;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Time between two checks that send no request.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

/// The pauses between two checks grow, since most checks are requests, and these are much of the load.
const FIRST_PAUSE: Duration = Duration::from_millis(30);
const LONGEST_PAUSE: Duration = Duration::from_millis(300);

/// Asks `probe` again and again until it says `Ok`; after the deadline the error holds the last `Err`.
pub async fn eventually<T, E: Display>(
    awaited: &str,
    deadline: Duration,
    probe: impl AsyncFnMut() -> std::result::Result<T, E>,
) -> Result<T> {
    let next = |pause: &Duration| Some((*pause * 3 / 2).min(LONGEST_PAUSE));
    ask(std::iter::successors(Some(FIRST_PAUSE), next), awaited, deadline, probe).await
}

/// The same with a constant pause, for what is measured: pauses that grow would be part of the result.
pub async fn eventually_at<T, E: Display>(
    pause: Duration,
    awaited: &str,
    deadline: Duration,
    probe: impl AsyncFnMut() -> std::result::Result<T, E>,
) -> Result<T> {
    ask(std::iter::repeat(pause), awaited, deadline, probe).await
}

/// Endless pauses: the deadline ends this.
async fn ask<T, E: Display>(
    pauses: impl Iterator<Item = Duration>,
    awaited: &str,
    deadline: Duration,
    mut probe: impl AsyncFnMut() -> std::result::Result<T, E>,
) -> Result<T> {
    let mut last = "nothing, the first check took too long".to_owned();
    let found = async {
        for pause in pauses {
            match probe().await {
                Ok(found) => return Some(found),
                Err(state) => last = state.to_string(),
            }
            tokio::time::sleep(pause).await;
        }
        None
    };
    let outcome = tokio::time::timeout(deadline, found).await;
    outcome.ok().flatten().ok_or_else(|| Error::Deadline {
        awaited: awaited.to_owned(),
        deadline,
        last,
    })
}

/// Waits until an object has the condition with this status and, if one is given, this reason.
pub async fn wait_for_condition<K>(
    objects: &Api<K>,
    name: &str,
    (kind, status): (&str, &str),
    reason: Option<&str>,
    deadline: Duration,
) -> Result<K>
where
    K: Clone + Debug + DeserializeOwned + Serialize,
{
    let wanted_reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    eventually(
        &format!("{name}: {kind}={status}{wanted_reason}"),
        deadline,
        async || {
            let object = objects.get(name).await.map_err(|error| error.to_string())?;
            let value = serde_json::to_value(&object).map_err(|error| error.to_string())?;
            let conditions = &value["status"]["conditions"];
            let holds = conditions.as_array().is_some_and(|conditions| {
                conditions.iter().any(|condition| {
                    condition["type"] == kind
                        && condition["status"] == status
                        && reason.is_none_or(|reason| condition["reason"] == reason)
                })
            });
            if holds {
                Ok(object)
            } else {
                Err(format!("conditions {conditions}"))
            }
        },
    )
    .await
}
