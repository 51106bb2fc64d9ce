//! What an outcome changes in status, besides the fields of its kind. Pure: `outcome` decides when, `report` writes it.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use vpn_cloud::limits::clock::{later, longest_wait, whole_seconds};
use vpn_cloud::{CloudError, Operation};

use crate::api::conditions::{CredentialsHealth, ReadyCondition, Reason};
use crate::api::{Intent, ObjectStatus, PastIntent, Scope, conditions};
use crate::cache::Remote;
use crate::kind::{Kind, RecordContext};
use crate::terms::health::Health;
use crate::terms::note::Note;

/// The number of creation windows that are remembered.
const MAX_PAST_INTENTS: usize = 4;

/// When a status is written, and for which generation.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// The generation of the spec that the conditions describe.
    pub generation: Option<i64>,
    /// The present time of the operator's clock.
    pub now: Timestamp,
}

/// Sets the Ready condition.
pub fn condition<K: Kind>(status: &mut K::Status, condition: &ReadyCondition, stamp: Stamp) {
    let object = K::object_mut(status);
    object.observed_generation = stamp.generation;
    if condition.reason == Reason::MassDeletionSuspected && object.mass_deletion_suspected_at.is_none() {
        object.mass_deletion_suspected_at = Some(Time(whole_seconds(stamp.now)));
    }
    conditions::apply(
        &mut object.conditions,
        condition,
        stamp.generation,
        &Time(whole_seconds(stamp.now)),
    );
}

/// Sets the condition for work in progress. The cloud's answer to the last attempt stays until the answer changes:
/// retries neither flip the condition nor report an old failure again.
pub fn in_progress<K: Kind>(status: &mut K::Status, condition: &ReadyCondition, stamp: Stamp) {
    if !shows_clouds_answer(K::object(status), stamp.generation) {
        self::condition::<K>(status, condition, stamp);
    }
}

fn shows_clouds_answer(object: &ObjectStatus, generation: Option<i64>) -> bool {
    let ready = conditions::find(&object.conditions, conditions::READY);
    let is_answer = |text: &str| {
        Reason::ALL
            .iter()
            .any(|reason| reason.is_clouds_answer() && reason.as_str() == text)
    };
    // Work in progress proves that reads work again.
    let is_read = |text: &str| {
        let mut reads = Operation::ALL.into_iter().filter(|operation| !operation.is_write());
        reads.any(|read| {
            text.strip_prefix(read.what())
                .is_some_and(|rest| rest.starts_with(" failed"))
        })
    };
    let shows = |ready: &Condition| is_answer(&ready.reason) && !is_read(&ready.message);
    object.observed_generation == generation && ready.is_some_and(shows)
}

/// Sets the Paused condition. Everything else stays as it was.
pub fn paused<K: Kind>(status: &mut K::Status, stamp: Stamp) {
    let conditions = &mut K::object_mut(status).conditions;
    conditions::pause(conditions, stamp.generation, &Time(whole_seconds(stamp.now)));
}

/// Sets the condition about the credentials. Everything else stays as it was.
pub fn credentials<K: Kind>(status: &mut K::Status, health: &CredentialsHealth, stamp: Stamp) {
    let conditions = &mut K::object_mut(status).conditions;
    conditions::credentials(conditions, health, stamp.generation, &Time(whole_seconds(stamp.now)));
}

/// Sets or removes the condition about invalid annotations. Everything else stays as it was.
pub fn annotations<K: Kind>(status: &mut K::Status, problem: Option<&str>, stamp: Stamp) {
    let conditions = &mut K::object_mut(status).conditions;
    conditions::annotations(conditions, problem, stamp.generation, &Time(whole_seconds(stamp.now)));
}

/// Records a creation that is about to be sent.
pub fn record_creation<K: Kind>(
    status: &mut K::Status,
    intent: &Intent,
    scope: &Scope,
    parent: &K::Parent,
    new: &K::New,
    stamp: Stamp,
) {
    K::record_creation(status, parent, new, intent);
    let object = K::object_mut(status);
    object.intent = Some(intent.clone());
    object.scope = Some(scope.clone());
    let message = format!("creating the {} {}", K::NOUN, intent.name);
    in_progress::<K>(status, &ReadyCondition::new(Reason::Creating, message), stamp);
}

/// Records a creation that was answered with the object.
pub fn created<K: Kind>(
    status: &mut K::Status,
    new: &K::New,
    remote: &K::Remote,
    scope: &Scope,
    record: &RecordContext<'_>,
) {
    close_intent::<K>(status, false);
    owned::<K>(status, remote, scope);
    K::created(status, new, remote, record);
}

/// Records a creation that was definitely refused.
pub fn refused<K: Kind>(status: &mut K::Status, new: &K::New, error: &CloudError) {
    K::object_mut(status).intent = None;
    K::creation_refused(status, new, error);
}

/// Records a fact that was found out.
pub fn noted<K: Kind>(
    status: &mut K::Status,
    note: &Note<K::Remote>,
    scope: &Scope,
    parent: Option<&K::Parent>,
    record: &RecordContext<'_>,
) {
    match note {
        Note::Found { remote, .. } => {
            let intent = K::object(status).intent.clone();
            let resolves_intent = intent
                .as_ref()
                .is_none_or(|intent| K::resolves_intent(intent, remote, record));
            close_intent::<K>(status, !resolves_intent);
            owned::<K>(status, remote, scope);
            K::found(status, parent, remote, intent.as_ref(), record);
        }
        Note::Lost => {
            // Without a tag, only its id shows that it is ours if it reappears.
            match K::object(status).id.clone() {
                Some(id) if !K::Remote::TAGGED => K::disappeared(status, &id),
                _ => K::lost(status),
            }
            record_loss::<K>(status, record.cloud_now);
            lost::<K>(status);
        }
        Note::Returned => K::object_mut(status).mass_deletion_suspected_at = None,
        Note::Unbelievable => {
            if let Some(intent) = &mut K::object_mut(status).intent {
                intent.recorded_at.0 = intent.recorded_at.0.min(whole_seconds(record.cloud_now));
            }
            let latest = whole_seconds(longest_wait(record.cloud_now, record.policy.confirmation_period));
            for past in &mut K::object_mut(status).past_intents {
                past.deadline.0 = past.deadline.0.min(latest);
            }
            for at in K::awaited(status) {
                at.0 = at.0.min(latest);
            }
        }
        Note::GivenUp => close_intent::<K>(status, true),
        Note::Disappeared => {
            if let Some(id) = K::object(status).id.clone() {
                K::disappeared(status, &id);
            }
            lost::<K>(status);
            // It may still appear.
            if let Some(last) = K::object_mut(status).past_intents.last_mut() {
                last.given_up = true;
            }
        }
    }
}

/// A cloud object that is missing only in stale answers may reappear beside its replacement: it is no leftover of a
/// creation.
fn record_loss<K: Kind>(status: &mut K::Status, cloud_now: Timestamp) {
    if K::Remote::TAGGED {
        let object = K::object_mut(status);
        let created = object.created_at.clone().unwrap_or(Time(whole_seconds(cloud_now)));
        object.lost_created_at = object.lost_created_at.take().max(Some(created));
    }
}

fn lost<K: Kind>(status: &mut K::Status) {
    let object = K::object_mut(status);
    object.id = None;
    object.owner_uid = None;
    object.observe_only = false;
    object.created_at = None;
    object.updated_at = None;
    object.mass_deletion_suspected_at = None;
}

/// The existing cloud object keeps every earlier creation from taking effect: forgets them once their requests are
/// over.
pub fn resolved<K: Kind>(
    status: &mut K::Status,
    remote: &K::Remote,
    cloud_now: Timestamp,
    confirmation_period: Duration,
) {
    let past = &K::object(status).past_intents;
    let is_over = |past: &PastIntent| !past.given_up || later(past.deadline.0, confirmation_period) < cloud_now;
    if past.iter().all(is_over) && K::resolves_all_intents(status, remote) {
        K::object_mut(status).past_intents.clear();
        K::forget_earlier(status);
    }
}

/// The cloud object exists as specified, except for drift that is only reported, or the cloud has given it up.
pub fn confirmed<K: Kind>(
    status: &mut K::Status,
    spec: Option<&K::Spec>,
    dereferenced: Option<&K::Dereferenced>,
    remote: &K::Remote,
    drifted: Vec<String>,
    unexplained_duplicates: &[String],
    stamp: Stamp,
) {
    seen::<K>(status, remote);
    K::confirm(status, spec, dereferenced, remote);
    let mut message = if drifted.is_empty() {
        format!("the {} is in the cloud as specified", K::NOUN)
    } else {
        format!(
            "the {} is in the cloud; it differs in {}, which is only reported",
            K::NOUN,
            drifted.join(", ")
        )
    };
    if let Health::Degraded(why) = K::health(remote) {
        message = format!("{message}; the cloud reports it as degraded: {why}");
    }
    if !unexplained_duplicates.is_empty() {
        let unexplained_duplicates = unexplained_duplicates.join(", ");
        let what = if K::Remote::TAGGED {
            "also has this object's owner tag and is left alone: remove it, or its tag, in the cloud"
        } else {
            "was created by this object earlier: delete it there if it is not needed"
        };
        message = format!("{message}; {unexplained_duplicates} in the cloud {what}");
    }
    let shown = failed::<K>(remote).unwrap_or_else(|| ReadyCondition::new(Reason::Available, message));
    condition::<K>(status, &ReadyCondition { drifted, ..shown }, stamp);
}

/// What to report of a resource that the cloud has given up. A drift check shows when that changes.
pub fn failed<K: Kind>(remote: &K::Remote) -> Option<ReadyCondition> {
    let Health::Failed(why) = K::health(remote) else {
        return None;
    };
    let (noun, id) = (K::NOUN, remote.id());
    let message = format!("the cloud reports that the {noun} {id} has failed: {why}");
    Some(ReadyCondition::new(Reason::CloudError, message))
}

/// Records whether the object is only observed, or is managed from now on.
pub fn observed<K: Kind>(status: &mut K::Status, observes: bool) {
    let object = K::object_mut(status);
    object.observe_only = observes && object.id.is_some();
}

/// Records that the cloud object's tag names the CR with this uid.
pub fn marked<K: Kind>(status: &mut K::Status, uid: &str) {
    if K::Remote::TAGGED {
        K::object_mut(status).owner_uid = Some(uid.to_owned());
    }
}

/// Copies the cloud's timestamps, truncated to whole seconds: the fractions differ from answer to answer.
pub fn seen<K: Kind>(status: &mut K::Status, remote: &K::Remote) {
    let (created, updated) = K::times(remote);
    let object = K::object_mut(status);
    if let Some(created) = created {
        object.created_at = Some(Time(whole_seconds(created)));
    }
    if let Some(updated) = updated {
        object.updated_at = Some(Time(whole_seconds(updated)));
    }
}

fn owned<K: Kind>(status: &mut K::Status, remote: &K::Remote, scope: &Scope) {
    let object = K::object_mut(status);
    object.owner_uid = None;
    object.observe_only = false;
    object.id = Some(remote.id().to_owned());
    object.scope = Some(scope.clone());
    seen::<K>(status, remote);
}

fn close_intent<K: Kind>(status: &mut K::Status, given_up: bool) {
    let object = K::object_mut(status);
    let Some(intent) = object.intent.take() else { return };
    object.past_intents.push(PastIntent {
        recorded_at: intent.recorded_at,
        deadline: intent.deadline,
        given_up,
    });
    while object.past_intents.len() > MAX_PAST_INTENTS {
        // A creation that was given up may still take effect, the earliest most likely; one that succeeded will not
        // again.
        let oldest = object.past_intents.iter().position(|past| !past.given_up).unwrap_or(1);
        object.past_intents.remove(oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::CustomerGatewayStatus;
    use crate::kinds::customer_gateway::Gateways;
    use proptest::prelude::*;

    fn intent(second: i64) -> Intent {
        let at = |second| Time(Timestamp::from_second(second).expect("a small number"));
        Intent {
            token: second.to_string(),
            recorded_at: at(second),
            deadline: at(second + 12),
            name: "n".to_owned(),
        }
    }

    #[test]
    fn abandoned_intents_are_kept_longer_than_resolved_ones() {
        let mut status = CustomerGatewayStatus::default();
        for (second, given_up) in [(1, true), (2, false), (3, false), (4, false), (5, false), (6, true)] {
            status.object.intent = Some(intent(second));
            close_intent::<Gateways>(&mut status, given_up);
        }
        let kept: Vec<_> = status
            .object
            .past_intents
            .iter()
            .map(|past| (past.recorded_at.0.as_second(), past.given_up))
            .collect();
        assert_eq!(kept, [(1, true), (4, false), (5, false), (6, true)]);
        assert_eq!(status.object.intent, None);
    }

    #[test]
    fn the_earliest_abandoned_intent_is_always_kept() {
        let mut status = CustomerGatewayStatus::default();
        for second in 1..=7 {
            status.object.intent = Some(intent(second));
            close_intent::<Gateways>(&mut status, true);
        }
        let kept = status.object.past_intents.iter();
        let kept: Vec<_> = kept.map(|past| past.recorded_at.0.as_second()).collect();
        assert_eq!(kept, [1, 5, 6, 7]);
    }

    proptest! {
        #[test]
        fn times_are_truncated_to_whole_seconds(second in -10_000_000_000_i64..10_000_000_000, nanos in 0..1_000_000_000_i32) {
            let time = Timestamp::new(second, nanos).expect("in range");
            prop_assert_eq!(whole_seconds(time), Timestamp::from_second(second).expect("in range"));
        }
    }
}
