//! The operator's process in the model: reconciliations as the pipeline runs them. Decisions, cache, observations,
//! object states and records are the shipped code. This file adds only the order of the steps around it, and their
//! effect in the apiserver and the cloud.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Check;
use super::cloud::{Call, Request, at};
use super::kept::Kept;
use super::kinds::{Modelled, OWNER_KEY, Secret};
use super::world::{Cr, Heard, Phase, Recorded, World, kept_entry, kept_known};
use crate::api::ManagementPolicy;
use crate::api::conditions::{ReadyCondition, Reason};
use crate::cache::{Known, Remote};
use crate::reconcile::claims::{self, Claim, Claims};
use crate::reconcile::decide::{Access, Dereferencing, Failure, Guard, Inputs, Note, Rest, Step, Why, decide};
use crate::reconcile::key::Key;
use crate::reconcile::object::Object;
use crate::reconcile::object_states::ObjectState;
use crate::reconcile::observation::{self, Observer};
use crate::reconcile::outcome::{self, Circumstances};
use crate::reconcile::record::{self, Stamp};
use crate::reconcile::session::failure_of;

/// `--request-timeout`.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A process at work on one CR.
pub struct Work<'a, K: Modelled> {
    pub(super) check: &'a Check<K>,
    pub(super) world: World<K>,
    pub(super) index: usize,
    pub(super) now: Instant,
    pub(super) known: Known<K::Remote, Key>,
    /// The object state of the CR, and the version of the CR that the process knows.
    pub(super) entry: Option<(ObjectState<K>, Kept<Object<K>>)>,
}

impl<'a, K: Modelled> Work<'a, K> {
    pub fn on(check: &'a Check<K>, world: &World<K>, index: usize) -> Self {
        let entry = match &world.process.seats[index].heard {
            Heard::Known(entry, latest) => Some((ObjectState::clone(entry), latest.clone())),
            Heard::Listed(_) | Heard::Nothing => None,
        };
        Self {
            check,
            now: world.instant(check.base),
            known: Known::clone(&world.process.known),
            world: world.clone(),
            index,
            entry,
        }
    }

    /// Returns the resulting world.
    pub(super) fn done(self) -> World<K> {
        let mut world = self.world;
        world.process.known = kept_known::<K>(self.known);
        if let Some((entry, latest)) = self.entry {
            world.process.seats[self.index].heard = Heard::Known(kept_entry(entry), latest);
        }
        world
    }

    /// Reconciles an idle CR; `None`: the process does not know it.
    pub fn pass(mut self) -> Option<World<K>> {
        let (mut entry, object) = match &self.world.process.seats[self.index].heard {
            Heard::Nothing => return None,
            Heard::Listed(object) => (ObjectState::new(object.shared(), self.now), object.clone()),
            Heard::Known(..) => self.entry.take()?,
        };
        entry.begin();
        let secret = self.world.crs[self.index].secret;
        let key = self.world.key(self.index);
        let (scope, cloud_now) = (self.check.place.clone(), at(self.world.now));
        // The clock stands still within a second: a creation confirmed in this second is confirmed at its start.
        let second = self.check.base + Duration::from_secs(self.world.now.into());
        let since = observation::since(&object, entry.triggered_at, second, Some(cloud_now));
        let claims = self.claims();
        let observer = Observer {
            policy: &self.check.policy,
            claims: &claims,
            key: &key,
            object: &object,
            scope: &scope,
            since,
        };
        observer.hold(&mut self.known);
        let failed_query = self.known.take_failure(&key).map(|error| failure_of(&error));
        let observation = observer.observation(&mut self.known, None);
        let token = K::object(&object.status).intent.as_ref().map(|intent| &intent.token);
        let accepted = entry.take_accepted();
        // A DELETE that the model's cloud accepts takes effect, so it need not be sent again.
        let id = K::object(&object.status).id.as_deref();
        let sent_delete = id.and_then(|id| entry.sent_delete(id, Duration::MAX, self.now));
        let undeleted = observer.undeleted(&self.known, |id| entry.sent_delete(id, Duration::MAX, self.now));
        let replayed = token.is_some_and(|token| entry.has_replayed(token));
        let triggered = entry.triggered_at.is_some();
        self.entry = Some((entry, object.clone()));
        let step = decide(&Inputs {
            policy: &self.check.policy,
            uid: object.uid(),
            namespace: object.namespace(),
            name: object.name(),
            generation: object.metadata.generation,
            deleting_since: object.deleting_since(),
            has_finalizer: object.has_finalizer(),
            paused: false,
            recreation_approved_at: None,
            spec: &object.spec,
            lifecycle: &object.lifecycle,
            status: &object.status,
            crd_deleting_since: None,
            access: Ok(Access {
                scope,
                cloud_now: Some(cloud_now),
            }),
            dereferenced: if object.deleting_since().is_some() {
                Dereferencing::Waiting
            } else {
                Dereferencing::Read(K::dereferenced_of(secret))
            },
            has_home: K::parent(object.spec.as_ref().ok(), &object.status).is_some(),
            observation,
            failed_query,
            triggered,
            sent_delete,
            undeleted,
            accepted,
            replayed,
            overwrites_tags: true,
        });
        let touches = matches!(
            step,
            Step::Create(_)
                | Step::Replay(_)
                | Step::Change { .. }
                | Step::Delete { .. }
                | Step::Note(Note::Found { .. })
        );
        if touches && self.world.crs.len() > 1 {
            // Another CR may be reconciled in between.
            self.world.process.seats[self.index].phase = Phase::Decided(Kept::by_text(step), object);
            return Some(self.done());
        }
        self.take(step, object, since)
    }

    /// Begins the decided step.
    pub fn begin(mut self) -> Option<World<K>> {
        let Phase::Decided(step, object) = &self.world.process.seats[self.index].phase else {
            return None;
        };
        let (step, object) = (Step::clone(step), object.clone());
        if matches!(
            step,
            Step::Create(_) | Step::Replay(_) | Step::Change { .. } | Step::Delete { .. }
        ) && self.write_queue_is_taken()
        {
            return None;
        }
        self.world.process.seats[self.index].phase = Phase::Idle;
        self.take(step, object, None)
    }

    /// Whether a write occupies the write queue, which sends one at a time: until its response is recorded.
    pub(super) fn write_queue_is_taken(&self) -> bool {
        let is_sending = |phase: &Phase<K>| matches!(phase, Phase::Sent(..));
        K::write_queue(&self.check.parent).is_some()
            && self.world.process.seats.iter().any(|seat| is_sending(&seat.phase))
    }

    pub(super) fn take(mut self, step: Step<K>, object: Kept<Object<K>>, since: Option<Instant>) -> Option<World<K>> {
        match step {
            Step::Rest(rest) => self.rest(rest, &object),
            Step::AddFinalizer => {
                let _ = self.write_object(&object, |object| Cr::set_finalizer(object, true));
            }
            Step::Release(_) => {
                let released = self.write_object(&object, |object| Cr::set_finalizer(object, false));
                if released.is_ok() {
                    self.forget();
                }
            }
            Step::Query { look, anew } => {
                let since = since.filter(|_| !anew);
                let since = since.unwrap_or(if anew { self.now } else { self.world.process.started });
                self.look(look, since);
            }
            Step::Note(note) => self.note(&note, &object),
            Step::Create(new) => self.create(new, &object, false),
            Step::Replay(new) => self.create(new, &object, true),
            Step::Change { id, .. } | Step::Delete { id, .. } if self.is_held_by_another(&object, &id) => {}
            Step::Change { id, call, why } => {
                let before = object.clone();
                let object = match why {
                    Why::Differs(fields) => {
                        let fields = fields.join(", ");
                        let mut status = object.status.clone();
                        self.circumstances(&object).announce_change(&mut status, &call, &fields);
                        self.write(&object, status)
                    }
                    Why::Mark | Why::LetGo => Ok(object),
                };
                if let Ok(object) = object {
                    self.admit(Call::Change { id, call }, before, object);
                }
            }
            Step::Delete { id, duplicate } => {
                let before = object.clone();
                let object = if duplicate {
                    Ok(object)
                } else {
                    let condition = ReadyCondition::new(Reason::Deleting, String::new());
                    let mut status = object.status.clone();
                    record::underway::<K>(&mut status, &condition, stamp(&object));
                    self.write(&object, status)
                };
                if let Ok(object) = object {
                    self.admit(Call::Delete { id, duplicate }, before, object);
                }
            }
        }
        Some(self.done())
    }

    pub(super) fn rest(&mut self, rest: Rest<K::Remote>, object: &Kept<Object<K>>) {
        let mut status = object.status.clone();
        match rest {
            Rest::Done | Rest::Paused | Rest::Quiet(_) | Rest::Waiting | Rest::Until(None, _) => {}
            Rest::Confirmed {
                remote,
                drifted,
                unexplained_duplicates,
            } => {
                let observes = object.lifecycle.management() == ManagementPolicy::Observe;
                let spec = object.spec.as_ref().ok();
                let dereferenced = K::dereferenced_of(self.world.crs[self.index].secret);
                record::settled::<K>(
                    &mut status,
                    &remote,
                    at(self.world.now),
                    self.check.policy.confirmation_period,
                );
                record::confirmed::<K>(
                    &mut status,
                    spec,
                    Some(&dereferenced),
                    &remote,
                    drifted,
                    &unexplained_duplicates,
                    stamp(object),
                );
                record::observed::<K>(&mut status, observes);
                if self.write(object, status).is_ok() {
                    self.with_entry(|entry| {
                        entry.succeeded();
                    });
                }
            }
            Rest::Troubled(failure) => self.troubled(&failure, object, |_| {}),
            Rest::Until(Some(condition), _) => {
                record::underway::<K>(&mut status, &condition, stamp(object));
                let _ = self.write(object, status);
            }
        }
    }

    /// Records the failure; the next decision requires a fresh read.
    pub(super) fn troubled(&mut self, failure: &Failure, object: &Kept<Object<K>>, also: impl Fn(&mut K::Status)) {
        self.write_surely(object, |status| {
            also(status);
            if let Ok(spec) = &object.spec {
                K::expected(status, spec, object.name());
            }
            record::condition::<K>(status, &failure.condition, stamp(object));
        });
        let now = self.now;
        self.with_entry(|entry| entry.require_fresh(now));
    }

    pub(super) fn note(&mut self, note: &Note<K::Remote>, object: &Kept<Object<K>>) {
        let observes = object.lifecycle.management() == ManagementPolicy::Observe;
        if let Note::Found { remote, .. } = note
            && !observes
        {
            let (key, place) = (self.world.key(self.index), &self.check.place);
            let name = claims::name_to_take::<K>(place, &self.check.parent, OWNER_KEY, remote)
                .filter(|_| self.check.policy.keeps(Guard::NameBeforeAdoption));
            let is_taken = observation::is_named(&self.check.policy, object, remote)
                || self.claims().index().take(&key, remote.id(), name.as_ref()).is_ok();
            if !is_taken && self.check.policy.keeps(Guard::OneHolderAtWrite) {
                return;
            }
            self.known.hold(&key, object.uid(), Some(remote.id()));
        }
        let mut status = object.status.clone();
        self.circumstances(object).noted(&mut status, note);
        if self.write(object, status).is_err() {
            return;
        }
        match (note, &K::object(&object.status).id) {
            (Note::Found { remote, .. }, _) => {
                self.world.taken_by_tag(remote.id(), object.uid());
                self.world.adopted(remote.id(), object);
            }
            // Two responses of a lagging replica count as proof; anything less does not.
            (Note::Lost, Some(id)) if self.check.scope.faults.lags > 0 => {
                self.world.recorded_as_lost(id);
                // The record no longer says which password is in force.
                self.world.crs[self.index].in_force = None;
            }
            _ => {}
        }
    }

    pub(super) fn create(&mut self, new: K::New, object: &Kept<Object<K>>, replay: bool) {
        let keeps = |guard| self.check.policy.keeps(guard);
        let key = self.world.key(self.index);
        let name = observation::wanted_name(object, &self.check.place).filter(|_| K::UNIQUE_NAMES);
        let is_taken = name.is_some_and(|name| self.claims().index().intend(&key, &name).is_err());
        if is_taken && keeps(Guard::NameOfFellow) && keeps(Guard::NameOfFellowInLane) {
            return;
        }
        let announced = K::object(&object.status).intent.clone().filter(|_| replay);
        let token = self.world.free_token();
        let circumstances = self.circumstances(object);
        let intent = circumstances.intent(announced.as_ref(), || token);
        let mut status = object.status.clone();
        if keeps(Guard::IntentFirst) {
            circumstances.announce_creation(&mut status, &intent, &new);
        }
        if let Ok(written) = self.write(object, status) {
            let token = intent.token;
            self.admit(Call::Create { new, token, replay }, object.clone(), written);
        }
    }

    /// Sends a recorded write at once or, where permits may not come, makes it wait for its own.
    fn admit(&mut self, call: Call<K>, before: Kept<Object<K>>, object: Kept<Object<K>>) {
        let secret = self.world.crs[self.index].secret;
        if self.world.left.waits == 0 {
            return self.send(call, object, secret);
        }
        let recorded = Recorded {
            call: Kept::by_text(call),
            before,
            object,
            secret,
            since: self.world.now,
        };
        self.world.process.seats[self.index].phase = Phase::Recorded(Arc::new(recorded));
    }

    /// Handles the permit of a write, which comes, perhaps late, or does not come.
    pub fn permitted(mut self, comes: bool) -> Option<World<K>> {
        let Phase::Recorded(recorded) = &self.world.process.seats[self.index].phase else {
            return None;
        };
        let recorded = Arc::clone(recorded);
        if comes && self.write_queue_is_taken() {
            return None;
        }
        self.world.process.seats[self.index].phase = Phase::Idle;
        let keeps = |guard| self.check.policy.keeps(guard);
        let is_covered = recorded.since == self.world.now || !keeps(Guard::RecordCoversRequest);
        let is_right = match &*recorded.call {
            Call::Create { .. } => {
                let key = self.world.key(self.index);
                let name = observation::wanted_name(&recorded.object, &self.check.place).filter(|_| K::UNIQUE_NAMES);
                let is_free = name.is_none_or(|name| self.claims().index().intend(&key, &name).is_ok());
                is_free || !keeps(Guard::NameOfFellow) || !keeps(Guard::NameOfFellowInLane)
            }
            Call::Change { id, .. } | Call::Delete { id, .. } => !self.is_held_by_another(&recorded.object, id),
        };
        if comes && is_covered && is_right {
            self.send(Call::clone(&recorded.call), recorded.object.clone(), recorded.secret);
        } else {
            self.write_surely(&recorded.object, |status| {
                if *status == recorded.object.status {
                    outcome::withdraw::<K>(status, &recorded.before.status);
                }
            });
        }
        Some(self.done())
    }

    fn send(&mut self, call: Call<K>, object: Kept<Object<K>>, secret: Secret) {
        if let Call::Change { id, call } = &call {
            self.watch_passwords(id, call);
        }
        let late = match &call {
            // A creation that takes effect late and is hidden at first would show later than is assumed.
            Call::Create { .. } if self.check.scope.manners.hides => 0,
            Call::Create { .. } => super::SETTLE,
            // Unlike other changes, a change of a password cannot be seen, and so cannot be corrected.
            Call::Change { call, .. } if K::password_set_by(call).is_some() => super::SETTLE,
            Call::Change { .. } | Call::Delete { .. } => 0,
        };
        self.world.cloud.requests.push(Request {
            uid: object.uid().to_owned(),
            call: Kept::by_text(call),
            by: Some(self.index),
            until: self.world.now + super::LASTS + late,
            done: None,
        });
        self.world.process.seats[self.index].phase = Phase::Sent(object, secret);
    }

    /// The claims of all CRs, as far as the process knows them.
    pub(super) fn claims(&self) -> Claims {
        let claims = Claims::default();
        let all = 0..self.world.crs.len();
        all.filter_map(|index| self.world.believed(index))
            .for_each(|object| claims.index().observe(&Key::of(&*object), Claim::of(&object)));
        claims
    }

    fn is_held_by_another(&self, object: &Object<K>, id: &str) -> bool {
        let (key, policy) = (self.world.key(self.index), &self.check.policy);
        let competing_claim = observation::competing_claim(&self.claims(), &self.known, policy, &key, object, id);
        policy.keeps(Guard::OneHolderAtWrite) && competing_claim.is_some()
    }

    pub(super) fn circumstances<'b>(&self, object: &'b Object<K>) -> Circumstances<'b, K>
    where
        'a: 'b,
    {
        circumstances(self.check, object, None, self.world.now)
    }

    /// Detects a forbidden resend: of a value in force, by the record and in the cloud, or of a refused value.
    pub(super) fn watch_passwords(&mut self, id: &str, call: &K::Change) {
        let Some(value) = K::password_set_by(call) else { return };
        let has = self
            .world
            .cloud
            .find(id)
            .and_then(|thing| thing.passwords.last().copied());
        let cr = &mut self.world.crs[self.index];
        if (cr.in_force == Some(value) && has == Some(value)) || cr.refused == Some(value) {
            self.world.resent = true;
        }
        cr.in_force = cr.in_force.filter(|in_force| *in_force == value);
    }
}

impl<K: Modelled> Clone for Phase<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Idle => Self::Idle,
            Self::Decided(step, object) => Self::Decided(step.clone(), object.clone()),
            Self::Recorded(recorded) => Self::Recorded(Arc::clone(recorded)),
            Self::Sent(object, secret) => Self::Sent(object.clone(), *secret),
        }
    }
}

pub(super) fn circumstances<'a, K: Modelled>(
    check: &'a Check<K>,
    object: &'a Object<K>,
    dereferenced: Option<&'a K::Dereferenced>,
    now: u16,
) -> Circumstances<'a, K> {
    Circumstances {
        policy: &check.policy,
        object,
        scope: &check.place,
        parent: &check.parent,
        dereferenced,
        request_timeout: REQUEST_TIMEOUT,
        cloud_now: at(now),
        waits: Duration::ZERO,
        stamp: stamp(object),
    }
}

fn stamp<K: Modelled>(object: &Object<K>) -> Stamp {
    Stamp {
        generation: object.metadata.generation,
        now: at(0),
    }
}
