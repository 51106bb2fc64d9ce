//! How the process handles the response to a write, or its loss.

use super::cloud::{Call, Reply};
use super::kinds::Modelled;
use super::operator::{Work, circumstances};
use super::world::{Phase, World};
use crate::api::conditions::ReadyCondition;
use crate::cache::Remote;
use crate::cloud::error::Operation;
use crate::cloud::{CloudError, ErrorKind};
use crate::reconcile::decide::{DeleteOutcome, Guard};
use crate::reconcile::kind::Refused;
use crate::reconcile::outcome;
use crate::reconcile::record;
use crate::reconcile::session::failure_of;

impl<K: Modelled> Work<'_, K> {
    /// Records the response to the request that was sent. `None`: the response is known to be lost.
    pub fn answered(mut self, reply: Option<Reply<K::Remote>>, call: &Call<K>) -> Option<World<K>> {
        let Phase::Sent(object, secret) = self.world.process.seats[self.index].phase.clone() else {
            return None;
        };
        self.world.process.seats[self.index].phase = Phase::Idle;
        let key = self.world.key(self.index);
        let dereferenced = K::dereferenced_of(secret);
        match (call, reply) {
            (
                Call::Create {
                    replay: true, token, ..
                },
                None | Some(Reply::Refused(_)),
            ) => {
                self.with_entry(|entry| entry.replays(token));
            }
            (call, None) => {
                if let Call::Delete { id, duplicate: false } = call {
                    let now = self.now;
                    self.with_entry(|entry| entry.delete_was_sent(id, DeleteOutcome::Lost, now));
                }
                let mut error = CloudError::new(Operation::CreateCustomerGateway, ErrorKind::CloudFault, "lost");
                error.outcome_unknown = true;
                self.troubled(&failure_of(&error), &object, |_| {});
            }
            (Call::Create { new, .. }, Some(Reply::Created(remote))) => {
                self.known.wrote(remote.clone(), self.now);
                self.known.hold(&key, object.uid(), Some(remote.id()));
                let circumstances = circumstances(self.check, &object, Some(&dereferenced), self.world.now);
                let keeps = self.check.policy.keeps(Guard::IntentFirst);
                if self.write_surely(&object, |status| {
                    if !keeps {
                        let parent = K::parent(object.spec.as_ref().ok(), status);
                        if let Some(parent) = parent {
                            let intent = circumstances.intent(None, String::new);
                            K::announced(status, &parent, new, &intent);
                        }
                    }
                    circumstances.created(status, new, &remote);
                }) {
                    self.took_password(K::password_of(new));
                }
            }
            (Call::Create { new, .. }, Some(Reply::Refused(kind))) => {
                let error = CloudError::new(Operation::CreateVpnUser, kind, "no");
                self.troubled(&failure_of(&error), &object, |status| {
                    record::refused::<K>(status, new, &error);
                });
            }
            (Call::Change { id, call }, Some(Reply::Changed(answer))) => {
                let updated = outcome::seen_change::<K>(&mut self.known, id, call, answer, self.now);
                let record = circumstances(self.check, &object, Some(&dereferenced), self.world.now).record();
                let is_written =
                    self.write_surely(&object, |status| K::changed(status, call, updated.as_ref(), &record));
                if let (true, Some(value)) = (is_written, K::password_set_by(call)) {
                    self.took_password(Some(value));
                }
                self.with_entry(|entry| {
                    entry.accepted(call.clone());
                });
            }
            (Call::Change { call, .. }, Some(Reply::Refused(kind))) => {
                let error = CloudError::new(Operation::ResetVpnUserPassword, kind, "no");
                let record = circumstances(self.check, &object, Some(&dereferenced), self.world.now).record();
                let mut told = failure_of(&error);
                match K::refused(&mut object.status.clone(), call, &error, &record) {
                    Refused::InForce => {
                        let is_written = self.write_surely(&object, |status| {
                            K::refused(status, call, &error, &record);
                        });
                        if is_written {
                            self.took_password(K::password_set_by(call));
                        }
                        self.with_entry(|entry| {
                            entry.accepted(call.clone());
                        });
                        return Some(self.done());
                    }
                    Refused::AsTold => {}
                    Refused::Because(reason, message) => told.condition = ReadyCondition::new(reason, message),
                }
                if error.kind == ErrorKind::RecentPassword {
                    self.world.crs[self.index].refused = K::password_set_by(call);
                }
                self.troubled(&told, &object, |status| {
                    K::refused(status, call, &error, &record);
                });
            }
            (Call::Delete { id, duplicate }, Some(Reply::Deleted)) => {
                let now = self.now;
                if *duplicate {
                    self.known.wrote_absence(id, now);
                } else {
                    self.with_entry(|entry| {
                        entry.delete_was_sent(id, DeleteOutcome::Accepted, now);
                        entry.require_fresh(now);
                    });
                }
            }
            (Call::Delete { id, duplicate }, Some(Reply::Refused(ErrorKind::Gone))) => {
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
            (Call::Delete { .. }, Some(Reply::Refused(kind))) => {
                let error = CloudError::new(Operation::DeleteCustomerGateway, kind, "no");
                self.troubled(&failure_of(&error), &object, |_| {});
            }
            (call, Some(reply)) => unreachable!("{call:?} answered with {reply:?}"),
        }
        Some(self.done())
    }

    /// Notes the password that status now records as set.
    fn took_password(&mut self, value: Option<u8>) {
        let cr = &mut self.world.crs[self.index];
        cr.in_force = value;
        cr.refused = None;
    }
}
