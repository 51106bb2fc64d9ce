//! What a step and its outcome put on record: the part of acting that asks nobody anything. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::time::Instant;

use super::decide::{self, Note, Policy};
use super::key::Key;
use super::kind::{Immutable, Kind, Record, Wanted};
use super::managed::Managed;
use super::record::{self, Stamp};
use crate::api::conditions::{self, Reason, Verdict};
use crate::api::{Intent, ManagementPolicy, Scope};
use crate::cloud::clock::CLOCK_MARGIN;
use crate::mirror::{Known, Remote, Sighting};

/// Everything that the record of a step rests on.
pub struct Setting<'a, K: Kind> {
    pub policy: &'a Policy,
    /// As it was when the step was decided.
    pub object: &'a Managed<K>,
    pub scope: &'a Scope,
    pub home: &'a K::Home,
    /// As far as they could be read.
    pub extras: Option<&'a K::Extras>,
    pub request_timeout: Duration,
    /// The cloud's present time.
    pub cloud_now: Timestamp,
    /// How much later than usual a request may be sent.
    pub waits: Duration,
    pub stamp: Stamp,
}

impl<'a, K: Kind> Setting<'a, K> {
    /// What the record of an outcome needs to know of its circumstances.
    pub fn record(&self) -> Record<'a> {
        Record {
            owner_tag_key: &self.policy.owner_tag_key,
            cloud_now: self.cloud_now,
            settle_time: self.policy.settle_time,
        }
    }

    /// The intent of a creation that is sent now. One that was `announced` keeps its token and its beginning.
    pub fn intent(&self, announced: Option<&Intent>, token: impl FnOnce() -> String) -> Intent {
        let spec = self.object.spec.as_ref();
        let name = spec.map(|spec| K::cloud_name(spec, &self.object.status, self.object.name()));
        let (token, recorded_at) = match announced {
            Some(intent) => (intent.token.clone(), intent.recorded_at.clone()),
            None => (token(), Time(record::whole_seconds(self.cloud_now))),
        };
        Intent {
            token,
            recorded_at,
            deadline: Time(self.deadline()),
            name: name.unwrap_or_default(),
        }
    }

    /// When a request that is sent within the time that it may wait will have ended, one way or the other.
    fn deadline(&self) -> Timestamp {
        let lasts = self
            .waits
            .saturating_add(self.request_timeout)
            .saturating_add(CLOCK_MARGIN);
        record::whole_seconds(after(record::whole_seconds(self.cloud_now), lasts))
    }

    /// A creation is about to be sent.
    pub fn announce_creation(&self, status: &mut K::Status, intent: &Intent, new: &K::New) {
        record::announced::<K>(status, intent, self.scope, self.home, new, self.stamp);
    }

    /// A creation was answered with the object.
    pub fn created(&self, status: &mut K::Status, new: &K::New, remote: &K::Remote) {
        record::created::<K>(status, new, remote, self.scope, &self.record());
        record::marked::<K>(status, self.object.uid());
        if K::settles_at(status).is_some() {
            self.settles(status, remote.id());
        } else if self.is_as_specified(status, remote) {
            let spec = self.object.spec.as_ref().ok();
            record::confirmed::<K>(status, spec, self.extras, remote, Vec::new(), &[], self.stamp);
        }
    }

    /// What the answer of a creation shows is already what the spec asks for.
    fn is_as_specified(&self, status: &K::Status, remote: &K::Remote) -> bool {
        let (Ok(spec), Some(extras)) = (&self.object.spec, self.extras) else {
            return false;
        };
        let wanted = Wanted {
            spec,
            status,
            extras,
            policy: self.policy,
            overwrites_tags: true,
            cloud_now: self.cloud_now,
        };
        let same = K::immutable_difference(spec, remote, true) == Immutable::Same;
        same && K::difference(&wanted, remote).is_none()
    }

    /// A fact that was found out.
    pub fn noted(&self, status: &mut K::Status, note: &Note<K::Remote>) {
        let verdict = self.verdict_of(note);
        record::noted::<K>(status, note, self.scope, Some(self.home), &self.record());
        if matches!(note, Note::Found { .. }) {
            let observes = self.object.lifecycle.management() == ManagementPolicy::Observe;
            record::observed::<K>(status, observes);
        }
        match note {
            Note::Found { remote, .. } if K::settles_at(status).is_some() && self.object.deleting_since().is_none() => {
                self.settles(status, remote.id());
            }
            Note::Found { .. } | Note::Returned | Note::Unbelievable => {}
            Note::Lost | Note::Vanished => record::verdict::<K>(status, &verdict, self.stamp),
            Note::GivenUp => record::underway::<K>(status, &verdict, self.stamp),
        }
    }

    /// What is said of a fact that was found out.
    pub fn verdict_of(&self, note: &Note<K::Remote>) -> Verdict {
        let message = match note {
            Note::Found { remote, .. } => format!("found the {} {}", K::NOUN, remote.id()),
            Note::Lost => format!("the {} is gone from the cloud; making it anew", K::NOUN),
            Note::GivenUp => format!("nothing came of the creation of the {}; trying again", K::NOUN),
            Note::Returned => format!("the {} is there again", K::NOUN),
            Note::Unbelievable => format!("a recorded time of the {} was too late by far; corrected it", K::NOUN),
            Note::Vanished => format!(
                "the cloud accepted the creation of the {} {}, but has it no more after the settle time: it failed there, \
                 and the cloud does not say why; it is created anew",
                K::NOUN,
                K::object(&self.object.status).id.as_deref().unwrap_or_default()
            ),
        };
        let reason = match note {
            Note::Vanished => Reason::CloudError,
            _ => Reason::Creating,
        };
        Verdict::new(reason, message)
    }

    /// What went wrong before is told no longer than until there is something.
    fn settles(&self, status: &mut K::Status, id: &str) {
        let verdict = decide::settling::<K>(id, self.policy.settle_time);
        record::verdict::<K>(status, &verdict, self.stamp);
    }

    /// A change of these fields is about to be sent.
    pub fn announce_change(&self, status: &mut K::Status, call: &K::Change, fields: &str) {
        let before = conditions::ready_reason(&K::object(&self.object.status).conditions);
        K::announce_change(status, call, self.deadline());
        if before != Some(Reason::Updating.as_str()) {
            let verdict = Verdict::new(Reason::Updating, format!("changing in the cloud: {fields}"));
            record::underway::<K>(status, &verdict, self.stamp);
        }
    }
}

/// What was recorded is not sent: status is again as it was `before`. What is shown stays, since retries neither flip a
/// condition to and fro nor report it again.
pub fn withdraw<K: Kind>(status: &mut K::Status, before: &K::Status) {
    let shown = K::object_mut(status);
    let (conditions, observed_generation) = (std::mem::take(&mut shown.conditions), shown.observed_generation);
    *status = before.clone();
    let shown = K::object_mut(status);
    shown.conditions = conditions;
    shown.observed_generation = observed_generation;
}

/// A change was answered, perhaps with the object: what is known of it from now on.
pub fn seen_change<K: Kind>(
    known: &mut Known<K::Remote, Key>,
    id: &str,
    call: &K::Change,
    answer: Option<K::Remote>,
    now: Instant,
) -> Option<K::Remote> {
    let before = known.sighting(id, None);
    let updated = answer.map(|mut remote| {
        if let Sighting::Seen { remote: earlier, .. } = before {
            // The answer may leave out what did not change.
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
