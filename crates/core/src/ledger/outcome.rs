//! Computes what a step and its outcome record in status: the part of acting that sends no requests. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::time::Instant;
use vpn_cloud::limits::clock::{CLOCK_MARGIN, whole_seconds};

use crate::api::conditions::{ReadyCondition, Reason};
use crate::api::{Intent, ManagementPolicy, Scope, conditions};
use crate::cache::{CacheContents, Observed, Remote};
use crate::decide;
use crate::kind::{DesiredState, Immutable, Kind, RecordContext};
use crate::ledger::record;
use crate::ledger::record::Stamp;
use crate::object::Object;
use crate::terms::health::Health;
use crate::terms::key::ObjectKey;
use crate::terms::note::Note;
use crate::terms::owner::owner_of;
use crate::terms::policy::Policy;

/// Everything that the record of a step depends on.
pub struct Circumstances<'a, K: Kind> {
    /// The operator's settings.
    pub policy: &'a Policy,
    /// The object when the step was decided.
    pub object: &'a Object<K>,
    /// The endpoint and project of the credentials.
    pub scope: &'a Scope,
    /// The collection that the object belongs to.
    pub parent: &'a K::Parent,
    /// `None` if they were not read.
    pub dereferenced: Option<&'a K::Dereferenced>,
    /// `--request-timeout`.
    pub request_timeout: Duration,
    /// The cloud's present time.
    pub cloud_now: Timestamp,
    /// How much later than usual a request may be sent.
    pub waits: Duration,
    /// When status is written, and for which generation.
    pub stamp: Stamp,
}

impl<'a, K: Kind> Circumstances<'a, K> {
    /// Returns the circumstances that the record of an outcome needs.
    pub fn record(&self) -> RecordContext<'a> {
        RecordContext {
            policy: self.policy,
            uid: self.object.uid(),
            cloud_now: self.cloud_now,
        }
    }

    /// Returns the intent of a creation that is sent now. A `recorded_intent` keeps its token and its start time.
    pub fn intent(&self, recorded_intent: Option<&Intent>, token: impl FnOnce() -> String) -> Intent {
        let spec = self.object.spec.as_ref();
        let name = spec.map(|spec| K::cloud_name(spec, &self.object.status, self.object.name()));
        let (token, recorded_at) = match recorded_intent {
            Some(intent) => (intent.token.clone(), intent.recorded_at.clone()),
            None => (token(), Time(whole_seconds(self.cloud_now))),
        };
        Intent {
            token,
            recorded_at,
            deadline: Time(self.deadline()),
            name: name.unwrap_or_default(),
        }
    }

    /// Returns when a request has ended at the latest, if it is sent within the time that it may wait.
    fn deadline(&self) -> Timestamp {
        let lasts = self
            .waits
            .saturating_add(self.request_timeout)
            .saturating_add(CLOCK_MARGIN);
        whole_seconds(after(whole_seconds(self.cloud_now), lasts))
    }

    /// Records a creation that is about to be sent.
    pub fn record_creation(&self, status: &mut K::Status, intent: &Intent, new: &K::New) {
        record::record_creation::<K>(status, intent, self.scope, self.parent, new, self.stamp);
    }

    /// Records the resource in the response to a creation.
    pub fn created(&self, status: &mut K::Status, new: &K::New, remote: &K::Remote) {
        record::created::<K>(status, new, remote, self.scope, &self.record());
        record::marked::<K>(status, self.object.uid());
        if K::confirmed_at(status).is_some() {
            self.await_confirmation(status, remote.id());
        } else if self.is_as_specified(status, remote) {
            let spec = self.object.spec.as_ref().ok();
            record::resolved::<K>(status, remote, self.cloud_now, self.policy.confirmation_period);
            record::confirmed::<K>(status, spec, self.dereferenced, remote, Vec::new(), &[], self.stamp);
        }
    }

    /// Whether the response to a creation already shows a complete resource that matches the spec.
    fn is_as_specified(&self, status: &K::Status, remote: &K::Remote) -> bool {
        let (Ok(spec), Some(dereferenced)) = (&self.object.spec, self.dereferenced) else {
            return false;
        };
        let wanted = DesiredState {
            spec,
            status,
            dereferenced,
            policy: self.policy,
            overwrites_tags: true,
            cloud_now: self.cloud_now,
        };
        // Many responses do not show the state; then a read must.
        if !matches!(K::health(remote), Health::Ready | Health::Degraded(_)) {
            return false;
        }
        let same = K::immutable_difference(spec, remote, true) == Immutable::Same;
        same && K::difference(&wanted, remote).is_none()
    }

    /// Records a discovered fact.
    pub fn noted(&self, status: &mut K::Status, note: &Note<K::Remote>) {
        let condition = self.condition_of(note);
        record::noted::<K>(status, note, self.scope, Some(self.parent), &self.record());
        if let Note::Found { remote, .. } = note {
            let observes = self.object.lifecycle.management() == ManagementPolicy::Observe;
            record::observed::<K>(status, observes);
            let owner = owner_of(remote, &self.policy.owner_tag_key);
            if owner.is_some_and(|owner| owner.uid == self.object.uid()) {
                record::marked::<K>(status, self.object.uid());
            }
        }
        match note {
            Note::Found { remote, .. }
                if K::confirmed_at(status).is_some() && self.object.deleting_since().is_none() =>
            {
                self.await_confirmation(status, remote.id());
            }
            Note::Found { .. } | Note::Returned | Note::Unbelievable => {}
            Note::Lost | Note::Disappeared => record::condition::<K>(status, &condition, self.stamp),
            Note::GivenUp => record::in_progress::<K>(status, &condition, self.stamp),
        }
    }

    /// Returns the condition for a discovered fact.
    pub fn condition_of(&self, note: &Note<K::Remote>) -> ReadyCondition {
        let message = match note {
            Note::Found { remote, .. } => format!("found the {} {}", K::NOUN, remote.id()),
            Note::Lost => format!("the {} no longer exists in the cloud; recreating it", K::NOUN),
            Note::GivenUp => format!("the creation of the {} had no effect; retrying", K::NOUN),
            Note::Returned => format!("the {} exists again", K::NOUN),
            Note::Unbelievable => format!("a recorded time of the {} was far too late; corrected it", K::NOUN),
            Note::Disappeared => format!(
                "the cloud accepted the creation of the {} {}, but it does not exist after the confirmation period: \
                 the creation failed there, and the cloud does not report why; it is created again",
                K::NOUN,
                K::object(&self.object.status).id.as_deref().unwrap_or_default()
            ),
        };
        let reason = match note {
            Note::Disappeared => Reason::CloudError,
            _ => Reason::Creating,
        };
        ReadyCondition::new(reason, message)
    }

    /// Sets the condition of the confirmation period. It replaces an earlier failure as soon as the resource exists.
    fn await_confirmation(&self, status: &mut K::Status, id: &str) {
        let condition = decide::awaiting_confirmation::<K>(id, self.policy.confirmation_period);
        record::condition::<K>(status, &condition, self.stamp);
    }

    /// Records a change of these fields that is about to be sent.
    pub fn record_change(&self, status: &mut K::Status, call: &K::Change, fields: &str) {
        let before = conditions::ready_reason(&K::object(&self.object.status).conditions);
        K::record_change(status, call, self.deadline());
        if before != Some(Reason::Updating.as_str()) {
            let condition = ReadyCondition::new(Reason::Updating, format!("changing in the cloud: {fields}"));
            record::in_progress::<K>(status, &condition, self.stamp);
        }
    }
}

/// Restores status as it was `before` a record that is not sent. Conditions stay: retries must neither flip a condition
/// back and forth nor report it again.
pub fn withdraw<K: Kind>(status: &mut K::Status, before: &K::Status) {
    let shown = K::object_mut(status);
    let (conditions, observed_generation) = (std::mem::take(&mut shown.conditions), shown.observed_generation);
    *status = before.clone();
    let shown = K::object_mut(status);
    shown.conditions = conditions;
    shown.observed_generation = observed_generation;
}

/// Updates the cache after the response to a change, which may hold the resource. Returns that resource, completed.
pub fn seen_change<K: Kind>(
    known: &mut CacheContents<K::Remote, ObjectKey>,
    id: &str,
    call: &K::Change,
    answer: Option<K::Remote>,
    now: Instant,
) -> Option<K::Remote> {
    let before = known.sighting(id, None);
    let updated = answer.map(|mut remote| {
        if let Observed::Seen { remote: earlier, .. } = before {
            // The response may omit unchanged fields.
            let tags = remote.tags().or(earlier.tags()).cloned();
            remote.complete_from(&earlier);
            remote.set_tags(tags);
        }
        known.wrote(remote.clone(), now);
        remote
    });
    known.wrote_change(id, |remote| K::apply_change(call, remote), now);
    updated
}

fn after(time: Timestamp, wait: Duration) -> Timestamp {
    SignedDuration::try_from(wait)
        .ok()
        .and_then(|wait| time.checked_add(wait).ok())
        .unwrap_or(time)
}
