//! The answer to a write comes, or is known to be lost: what the process makes of it.

use super::cloud::{Call, Reply};
use super::kinds::Modelled;
use super::operator::{Work, setting};
use super::world::{Phase, World};
use crate::api::conditions::Verdict;
use crate::cloud::error::Operation;
use crate::cloud::{CloudError, Meaning};
use crate::mirror::Remote;
use crate::reconcile::decide::Guard;
use crate::reconcile::kind::Refused;
use crate::reconcile::outcome;
use crate::reconcile::record;
use crate::reconcile::tenant::trouble;

impl<K: Modelled> Work<'_, K> {
    /// The answer to what was sent comes, or is known to be lost; it is put on record.
    pub fn answered(mut self, reply: Option<Reply<K::Remote>>, call: &Call<K>) -> Option<World<K>> {
        let Phase::Sent(object, secret) = self.world.process.seats[self.index].phase.clone() else {
            return None;
        };
        self.world.process.seats[self.index].phase = Phase::Idle;
        let key = self.world.key(self.index);
        let extras = K::extras_of(secret);
        match (call, reply) {
            (
                Call::Create {
                    replay: true, token, ..
                },
                None | Some(Reply::Refused(_)),
            ) => {
                self.with_entry(|entry| entry.replays(token));
            }
            (_, None) => {
                let mut error = CloudError::new(Operation::CreateCustomerGateway, Meaning::CloudFault, "lost");
                error.outcome_unknown = true;
                self.troubled(&trouble(&error), &object, |_| {});
            }
            (Call::Create { new, .. }, Some(Reply::Created(remote))) => {
                self.known.wrote(remote.clone(), self.now);
                self.known.hold(&key, object.uid(), Some(remote.id()));
                let setting = setting(self.check, &object, Some(&extras), self.world.now);
                let keeps = self.check.policy.keeps(Guard::IntentFirst);
                if self.write_surely(&object, |status| {
                    if !keeps {
                        let home = K::home(object.spec.as_ref().ok(), status);
                        if let Some(home) = home {
                            let intent = setting.intent(None, String::new);
                            K::announced(status, &home, new, &intent);
                        }
                    }
                    setting.created(status, new, &remote);
                }) {
                    self.took_password(K::password_of(new));
                }
            }
            (Call::Create { new, .. }, Some(Reply::Refused(meaning))) => {
                let error = CloudError::new(Operation::CreateVpnUser, meaning, "no");
                self.troubled(&trouble(&error), &object, |status| {
                    record::refused::<K>(status, new, &error);
                });
            }
            (Call::Change { id, call }, Some(Reply::Changed(answer))) => {
                let updated = outcome::seen_change::<K>(&mut self.known, id, call, answer, self.now);
                let record = setting(self.check, &object, Some(&extras), self.world.now).record();
                let is_written =
                    self.write_surely(&object, |status| K::changed(status, call, updated.as_ref(), &record));
                if let (true, Some(value)) = (is_written, K::password_set_by(call)) {
                    self.took_password(Some(value));
                }
                self.with_entry(|entry| {
                    entry.accepted(call.clone());
                });
            }
            (Call::Change { call, .. }, Some(Reply::Refused(meaning))) => {
                let error = CloudError::new(Operation::ResetVpnUserPassword, meaning, "no");
                let record = setting(self.check, &object, Some(&extras), self.world.now).record();
                let mut told = trouble(&error);
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
                    Refused::Because(reason, message) => told.verdict = Verdict::new(reason, message),
                }
                if error.meaning == Meaning::RecentPassword {
                    self.world.crs[self.index].refused = K::password_set_by(call);
                }
                self.troubled(&told, &object, |status| {
                    K::refused(status, call, &error, &record);
                });
            }
            (Call::Delete { id, twin }, Some(Reply::Deleted)) => {
                let now = self.now;
                if *twin {
                    self.known.wrote_absence(id, now);
                } else {
                    self.with_entry(|entry| {
                        entry.sent_delete(id, now);
                        entry.look_anew(now);
                    });
                }
            }
            (Call::Delete { id, .. }, Some(Reply::Refused(Meaning::Gone))) => {
                self.known.wrote_absence(id, self.now);
                let started = self.world.process.started;
                self.with_entry(|entry| {
                    let since = entry.triggered_at.unwrap_or(started);
                    entry.look_anew(since);
                });
            }
            (Call::Delete { .. }, Some(Reply::Refused(meaning))) => {
                let error = CloudError::new(Operation::DeleteCustomerGateway, meaning, "no");
                self.troubled(&trouble(&error), &object, |_| {});
            }
            (call, Some(reply)) => unreachable!("{call:?} answered with {reply:?}"),
        }
        Some(self.done())
    }

    /// The record says so from now on.
    fn took_password(&mut self, value: Option<u8>) {
        let cr = &mut self.world.crs[self.index];
        cr.in_force = value;
        cr.refused = None;
    }
}
