//! A resource that the cloud is still working on: nothing is written to it, nor deleted.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::conditions;
use crate::api::conditions::{ReadyCondition, Reason};
use crate::cache::Remote;
use crate::kind::Kind;

/// What to wait for before anything is written to the resource. `conditions` are those of the status.
pub(crate) fn in_progress<K: Kind>(conditions: &[Condition], remote: &K::Remote) -> Option<ReadyCondition> {
    let is_in_progress = K::health(remote).is_in_progress();
    is_in_progress.then(|| still_working(conditions, K::NOUN, remote.id()))
}

/// The same before the resource is deleted, or released.
pub(crate) fn in_progress_before_deletion<K: Kind>(remote: &K::Remote) -> Option<ReadyCondition> {
    K::health(remote).is_in_progress().then(|| {
        let (noun, id) = (K::NOUN, remote.id());
        let message = format!("the cloud is still working on the {noun} {id}; it is deleted, or released, after that");
        ReadyCondition::new(Reason::Deleting, message)
    })
}

fn still_working(conditions: &[Condition], noun: &str, id: &str) -> ReadyCondition {
    let is_updated = conditions::ready_reason(conditions) == Some(Reason::Updating.as_str());
    let reason = if is_updated || conditions::is_ready(conditions) {
        Reason::Updating
    } else {
        Reason::Creating
    };
    let message = format!("the cloud is still working on the {noun} {id}; it is read again until that is done");
    ReadyCondition::new(reason, message)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    /// Conditions whose Ready has this reason since second 0.
    fn reported(reason: Reason) -> Vec<Condition> {
        let mut reported = Vec::new();
        conditions::apply(
            &mut reported,
            &ReadyCondition::new(reason, "m"),
            Some(1),
            &Time(jiff::Timestamp::UNIX_EPOCH),
        );
        reported
    }

    #[test]
    fn work_of_the_cloud_is_a_creation_until_the_object_was_ready() {
        for (before, shown) in [
            (Vec::new(), Reason::Creating),
            (reported(Reason::Creating), Reason::Creating),
            (reported(Reason::Available), Reason::Updating),
            (reported(Reason::Updating), Reason::Updating),
            (reported(Reason::DependencyNotReady), Reason::Creating),
        ] {
            let condition = still_working(&before, "link", "x");
            assert_eq!(condition.reason, shown, "{before:?}");
            assert!(condition.message.contains("the link x"));
        }
    }
}
