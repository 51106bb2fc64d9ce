//! How the process handles the response to a write, or its loss.

use vpn_cloud::error::cloud_error::Operation;
use vpn_cloud::{CloudError, ErrorKind};

use crate::api::conditions::ReadyCondition;
use crate::cache::Remote;
use crate::kind::Refused;
use crate::ledger::{outcome, record};
use crate::model::cloud::{WriteCall, WriteReply};
use crate::model::kept::Kept;
use crate::model::kinds::Modelled;
use crate::model::operator::{Work, circumstances};
use crate::model::world::{ModelWorld, Phase};
use crate::object::Object;
use crate::terms::failure::failure_of;
use crate::terms::guard::Guard;
use crate::terms::sent_delete::DeleteOutcome;
use crate::write_order::WriteEnd;

/// What was sent, as the process knew it when the response comes.
struct SentContext<K: Modelled> {
    object: Kept<Object<K>>,
    /// What the spec referred to.
    dereferenced: K::Dereferenced,
}

impl<K: Modelled> Work<'_, K> {
    /// Records the response to the request that was sent. `None`: the response is known to be lost.
    pub(crate) fn answered(
        mut self,
        reply: Option<WriteReply<K::Remote>>,
        call: &WriteCall<K>,
    ) -> Option<ModelWorld<K>> {
        let Phase::Sent(object, secret) = self.world.process.seats[self.index].phase.clone() else {
            return None;
        };
        self.world.process.seats[self.index].phase = Phase::Idle;
        let sent = SentContext {
            object,
            dereferenced: K::dereferenced_of(secret),
        };
        // Which operation it was makes no difference to the model.
        let failed = |kind: ErrorKind, text: &str| CloudError::new(Operation::CreateVpnUser, kind, text);
        let response = match reply {
            None => {
                let mut error = failed(ErrorKind::CloudFault, "lost");
                error.outcome_unknown = true;
                Err(error)
            }
            Some(WriteReply::Refused(kind)) => Err(failed(kind, "no")),
            Some(done) => Ok(done),
        };
        match (call, call.request().end(response)) {
            (WriteCall::Create { token, .. }, WriteEnd::ReplayShowedNothing) => {
                self.with_entry(|entry| entry.replays(token));
            }
            (call, WriteEnd::Unknown(error)) => self.lost(call, &error, &sent),
            (WriteCall::Create { new, .. }, WriteEnd::Done(WriteReply::Created(remote))) => {
                self.created(new, &remote, &sent);
            }
            (WriteCall::Create { new, .. }, WriteEnd::Refused(error)) => {
                self.record_failure(&failure_of(&error), &sent.object, |status| {
                    record::refused::<K>(status, new, &error);
                });
            }
            (WriteCall::Change { id, call }, WriteEnd::Done(WriteReply::Changed(answer))) => {
                self.changed(id, call, answer, &sent);
            }
            (WriteCall::Change { call, .. }, WriteEnd::Refused(error)) => {
                self.change_refused(call, &error, &sent);
            }
            (WriteCall::Delete { id, duplicate }, WriteEnd::Done(WriteReply::Deleted)) => self.deleted(id, *duplicate),
            (WriteCall::Delete { id, duplicate }, WriteEnd::AlreadyAbsent(_)) => {
                self.was_deleted_before(id, *duplicate);
            }
            (WriteCall::Delete { .. }, WriteEnd::Refused(error)) => {
                self.record_failure(&failure_of(&error), &sent.object, |_| {});
            }
            (call, end) => unreachable!("{call:?} ended with {end:?}"),
        }
        Some(self.done())
    }

    /// The response is known to be lost.
    fn lost(&mut self, call: &WriteCall<K>, error: &CloudError, sent: &SentContext<K>) {
        if let WriteCall::Delete { id, duplicate: false } = call {
            let now = self.now;
            self.with_entry(|entry| entry.delete_was_sent(id, DeleteOutcome::Lost, now));
        }
        self.record_failure(&failure_of(error), &sent.object, |_| {});
    }

    fn created(&mut self, new: &K::New, remote: &K::Remote, sent: &SentContext<K>) {
        let object = &sent.object;
        let key = ModelWorld::<K>::key(self.index);
        self.known.wrote(remote.clone(), self.now);
        self.known.hold(&key, object.uid(), Some(remote.id()));
        let circumstances = circumstances(self.check, object, Some(&sent.dereferenced), self.world.now);
        let keeps = self.check.policy.keeps(Guard::IntentFirst);
        if self.write_surely(object, |status| {
            if !keeps {
                let parent = K::parent(object.spec.as_ref().ok(), status);
                if let Some(parent) = parent {
                    let intent = circumstances.intent(None, String::new);
                    K::record_creation(status, &parent, new, &intent);
                }
            }
            circumstances.created(status, new, remote);
        }) {
            self.took_password(K::password_of(new));
        }
    }

    fn changed(&mut self, id: &str, call: &K::Change, answer: Option<K::Remote>, sent: &SentContext<K>) {
        let updated = outcome::seen_change::<K>(&mut self.known, id, call, answer, self.now);
        let record = circumstances(self.check, &sent.object, Some(&sent.dereferenced), self.world.now).record();
        let is_written = self.write_surely(&sent.object, |status| {
            K::changed(status, call, updated.as_ref(), &record);
        });
        if let (true, Some(value)) = (is_written, K::password_set_by(call)) {
            self.took_password(Some(value));
        }
        self.with_entry(|entry| {
            entry.accepted(call.clone());
        });
    }

    fn change_refused(&mut self, call: &K::Change, error: &CloudError, sent: &SentContext<K>) {
        let object = &sent.object;
        let record = circumstances(self.check, object, Some(&sent.dereferenced), self.world.now).record();
        let mut reported = failure_of(error);
        match K::refused(&mut object.status.clone(), call, error, &record) {
            Refused::InForce => {
                let is_written = self.write_surely(object, |status| {
                    K::refused(status, call, error, &record);
                });
                if is_written {
                    self.took_password(K::password_set_by(call));
                }
                self.with_entry(|entry| {
                    entry.accepted(call.clone());
                });
                return;
            }
            Refused::AsReported => {}
            Refused::Because(reason, message) => reported.condition = ReadyCondition::new(reason, message),
        }
        if error.kind == ErrorKind::RecentPassword {
            self.world.crs[self.index].refused = K::password_set_by(call);
        }
        self.record_failure(&reported, object, |status| {
            K::refused(status, call, error, &record);
        });
    }

    fn deleted(&mut self, id: &str, duplicate: bool) {
        let now = self.now;
        if duplicate {
            self.known.wrote_absence(id, now);
        } else {
            self.known.wrote_deletion(id, now);
            self.with_entry(|entry| {
                entry.delete_was_sent(id, DeleteOutcome::Accepted, now);
                entry.require_fresh(now);
            });
        }
    }

    /// The cloud has no such object.
    fn was_deleted_before(&mut self, id: &str, duplicate: bool) {
        self.known.wrote_absence(id, self.now);
        let (started, now) = (self.world.process.started, self.now);
        self.with_entry(|entry| {
            if !duplicate {
                entry.delete_was_sent(id, DeleteOutcome::NotFound, now);
            }
            let since = entry.triggered_at.unwrap_or(started);
            entry.require_fresh(since);
        });
    }

    /// Notes the password that status now records as set.
    fn took_password(&mut self, value: Option<u8>) {
        let cr = &mut self.world.crs[self.index];
        cr.in_force = value;
        cr.refused = None;
    }
}
