//! What an outcome changes in status, beside what its kind remembers. Pure: `outcome` says when, `report` writes it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::decide::Note;
use super::kind::{Kind, Record};
use crate::api::conditions::{self, CredentialsHealth, Reason, Verdict};
use crate::api::{Intent, ObjectStatus, PastIntent, Scope};
use crate::cloud::clock::longest_wait;
use crate::cloud::{CloudError, Operation};
use crate::mirror::Remote;

/// Windows of creations that are remembered.
const MAX_PAST_INTENTS: usize = 4;

/// When a status is written, and of which generation it speaks.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    pub generation: Option<i64>,
    pub now: Timestamp,
}

/// Says how things stand.
pub fn verdict<K: Kind>(status: &mut K::Status, verdict: &Verdict, stamp: Stamp) {
    let object = K::object_mut(status);
    object.observed_generation = stamp.generation;
    if verdict.reason == Reason::MassDeletionSuspected && object.mass_deletion_suspected_at.is_none() {
        object.mass_deletion_suspected_at = Some(Time(whole_seconds(stamp.now)));
    }
    conditions::apply(
        &mut object.conditions,
        verdict,
        stamp.generation,
        Time(whole_seconds(stamp.now)),
    );
}

/// Says what is about to be done. What the cloud answered to the last try stays until it answers another way: retries
/// neither flip the condition to and fro nor tell an old failure anew.
pub fn underway<K: Kind>(status: &mut K::Status, verdict: &Verdict, stamp: Stamp) {
    if !shows_clouds_answer(K::object(status), stamp.generation) {
        self::verdict::<K>(status, verdict, stamp);
    }
}

fn shows_clouds_answer(object: &ObjectStatus, generation: Option<i64>) -> bool {
    let ready = conditions::find(&object.conditions, conditions::READY);
    let is_answer = |text: &str| {
        Reason::ALL
            .iter()
            .any(|reason| reason.is_clouds_answer() && reason.as_str() == text)
    };
    // What is under way rests on reads that work again.
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

/// Paused: everything else stays as it was.
pub fn paused<K: Kind>(status: &mut K::Status, stamp: Stamp) {
    let conditions = &mut K::object_mut(status).conditions;
    conditions::pause(conditions, stamp.generation, Time(whole_seconds(stamp.now)));
}

/// Says how the credentials are: everything else stays as it was.
pub fn credentials<K: Kind>(status: &mut K::Status, health: &CredentialsHealth, stamp: Stamp) {
    let conditions = &mut K::object_mut(status).conditions;
    conditions::credentials(conditions, health, stamp.generation, Time(whole_seconds(stamp.now)));
}

/// Says what is wrong with the annotations, if anything: everything else stays as it was.
pub fn annotations<K: Kind>(status: &mut K::Status, problem: Option<&str>, stamp: Stamp) {
    let conditions = &mut K::object_mut(status).conditions;
    conditions::annotations(conditions, problem, stamp.generation, Time(whole_seconds(stamp.now)));
}

/// A creation is about to be sent.
pub fn announced<K: Kind>(
    status: &mut K::Status,
    intent: &Intent,
    scope: &Scope,
    home: &K::Home,
    new: &K::New,
    stamp: Stamp,
) {
    K::announced(status, home, new, intent);
    let object = K::object_mut(status);
    object.intent = Some(intent.clone());
    object.scope = Some(scope.clone());
    let message = format!("creating the {} {}", K::NOUN, intent.name);
    underway::<K>(status, &Verdict::new(Reason::Creating, message), stamp);
}

/// A creation was answered with the object.
pub fn created<K: Kind>(status: &mut K::Status, new: &K::New, remote: &K::Remote, scope: &Scope, record: &Record<'_>) {
    owned::<K>(status, remote, scope);
    K::created(status, new, remote, record);
}

/// A creation was definitely refused.
pub fn refused<K: Kind>(status: &mut K::Status, new: &K::New, error: &CloudError) {
    K::object_mut(status).intent = None;
    K::creation_refused(status, new, error);
}

/// A fact that was found out.
pub fn noted<K: Kind>(
    status: &mut K::Status,
    note: &Note<K::Remote>,
    scope: &Scope,
    home: Option<&K::Home>,
    record: &Record<'_>,
) {
    match note {
        Note::Found { remote, .. } => {
            let intent = K::object_mut(status).intent.clone();
            owned::<K>(status, remote, scope);
            K::found(status, home, remote, intent.as_ref(), record);
        }
        Note::Lost => {
            // Where it cannot carry a tag, only its id tells that it is ours if it is there after all.
            match K::object(status).id.clone() {
                Some(id) if !K::Remote::TAGGED => K::vanished(status, &id),
                _ => K::lost(status),
            }
            lost::<K>(status);
        }
        Note::Returned => K::object_mut(status).mass_deletion_suspected_at = None,
        Note::Unbelievable => {
            if let Some(intent) = &mut K::object_mut(status).intent {
                intent.recorded_at.0 = intent.recorded_at.0.min(whole_seconds(record.cloud_now));
            }
            let latest = whole_seconds(longest_wait(record.cloud_now, record.settle_time));
            for at in K::awaited(status) {
                at.0 = at.0.min(latest);
            }
        }
        Note::GivenUp => close_intent::<K>(status, true),
        Note::Vanished => {
            if let Some(id) = K::object(status).id.clone() {
                K::vanished(status, &id);
            }
            lost::<K>(status);
            // It may still show up.
            if let Some(last) = K::object_mut(status).past_intents.last_mut() {
                last.given_up = true;
            }
        }
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

/// The object is there and as it should be, but for what is only reported.
pub fn confirmed<K: Kind>(
    status: &mut K::Status,
    spec: Option<&K::Spec>,
    extras: Option<&K::Extras>,
    remote: &K::Remote,
    drifted: Vec<String>,
    strays: &[String],
    stamp: Stamp,
) {
    seen::<K>(status, remote);
    K::confirm(status, spec, extras, remote);
    if !K::Remote::TAGGED {
        // What is confirmed has the name, so that no earlier creation can show up any more.
        K::object_mut(status).past_intents.clear();
    }
    let mut message = if drifted.is_empty() {
        format!("the {} is in the cloud as specified", K::NOUN)
    } else {
        format!(
            "the {} is in the cloud; it differs in {}, which is only reported",
            K::NOUN,
            drifted.join(", ")
        )
    };
    if !strays.is_empty() {
        message.push_str(&format!(
            "; {} in the cloud carries this object's ownership tag as well, though no creation of its own made it, and is \
             left alone: take the tag off there",
            strays.join(", ")
        ));
    }
    verdict::<K>(
        status,
        &Verdict {
            drifted,
            ..Verdict::new(Reason::Available, message)
        },
        stamp,
    );
}

/// The object was only looked at, or is managed from now on.
pub fn observed<K: Kind>(status: &mut K::Status, observes: bool) {
    let object = K::object_mut(status);
    object.observe_only = observes && object.id.is_some();
}

/// The cloud object's tag names the CR with this uid.
pub fn marked<K: Kind>(status: &mut K::Status, uid: &str) {
    if K::Remote::TAGGED {
        K::object_mut(status).owner_uid = Some(uid.to_owned());
    }
}

/// Copies the cloud's instants, cut to whole seconds: the fractions differ from answer to answer.
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
    close_intent::<K>(status, false);
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
        // What was given up may still show up, the earliest most likely of all; what succeeded will not.
        let oldest = object.past_intents.iter().position(|past| !past.given_up).unwrap_or(1);
        object.past_intents.remove(oldest);
    }
}

/// Cut, not rounded: a time in the future would be no truth.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second() - i64::from(time.subsec_nanosecond() < 0)).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::CustomerGatewayStatus;
    use crate::reconcile::customer_gateway::Gateways;
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
    fn what_was_given_up_is_remembered_longer_than_what_succeeded() {
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
    fn the_earliest_of_those_that_were_given_up_is_never_forgotten() {
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
        fn whole_seconds_are_cut_and_never_rounded_up(second in -10_000_000_000_i64..10_000_000_000, nanos in 0..1_000_000_000_i32) {
            let time = Timestamp::new(second, nanos).expect("in range");
            prop_assert_eq!(whole_seconds(time), Timestamp::from_second(second).expect("in range"));
        }
    }
}
