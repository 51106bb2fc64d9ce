//! The operator's process in the model: reconciliations as the pipeline runs them. Decisions, cache, observations,
//! object states and records are the shipped code. This file adds only the order of the steps around it, and their
//! effect in the apiserver and the cloud.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::api::ManagementPolicy;
use crate::api::conditions::{ReadyCondition, Reason};
use crate::cache::{CacheContents, Remote};
use crate::decide::decide;
use crate::decide::inputs::Inputs;
use crate::decide::step::{Rest, Step, Why};
use crate::ledger::outcome::Circumstances;
use crate::ledger::record::Stamp;
use crate::ledger::{outcome, record};
use crate::model::ModelCheck;
use crate::model::apiserver::Conflict;
use crate::model::cloud::{SentRequest, WriteCall, at};
use crate::model::cr::Cr;
use crate::model::kept::Kept;
use crate::model::kinds::{Modelled, OWNER_KEY, Secret};
use crate::model::world::{CrKnowledge, ModelWorld, Phase, RecordedWrite, kept_entry, kept_known};
use crate::object::Object;
use crate::object_state::ObjectState;
use crate::observe::claims::{Claim, Claims};
use crate::observe::observer::Observer;
use crate::observe::{claims, observer as observation};
use crate::terms::access::Access;
use crate::terms::dereferenced::Dereferencing;
use crate::terms::failure::{Failure, failure_of};
use crate::terms::guard::Guard;
use crate::terms::key::ObjectKey;
use crate::terms::note::Note;
use crate::write_order::{Abort, ORDER, Stage};

/// `--request-timeout`.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A process at work on one CR.
pub(crate) struct Work<'a, K: Modelled> {
    pub check: &'a ModelCheck<K>,
    pub world: ModelWorld<K>,
    pub index: usize,
    pub now: Instant,
    pub known: CacheContents<K::Remote, ObjectKey>,
    /// The object state of the CR, and the version of the CR that the process knows.
    pub entry: Option<(ObjectState<K>, Kept<Object<K>>)>,
}

impl<'a, K: Modelled> Work<'a, K> {
    pub(crate) fn on(check: &'a ModelCheck<K>, world: &ModelWorld<K>, index: usize) -> Self {
        let entry = match &world.process.seats[index].heard {
            CrKnowledge::Known(entry, latest) => Some((ObjectState::clone(entry), latest.clone())),
            CrKnowledge::Listed(_) | CrKnowledge::Nothing => None,
        };
        Self {
            check,
            now: world.instant(check.base),
            known: CacheContents::clone(&world.process.known),
            world: world.clone(),
            index,
            entry,
        }
    }

    /// Returns the resulting world.
    pub(crate) fn done(self) -> ModelWorld<K> {
        let mut world = self.world;
        world.process.known = kept_known::<K>(self.known);
        if let Some((entry, latest)) = self.entry {
            world.process.seats[self.index].heard = CrKnowledge::Known(kept_entry(entry), latest);
        }
        world
    }

    /// Reconciles an idle CR; `None`: the process does not know it.
    pub(crate) fn pass(mut self) -> Option<ModelWorld<K>> {
        let (mut entry, object) = match &self.world.process.seats[self.index].heard {
            CrKnowledge::Nothing => return None,
            CrKnowledge::Listed(object) => (ObjectState::new(object.shared(), self.now), object.clone()),
            CrKnowledge::Known(..) => self.entry.take()?,
        };
        entry.begin();
        let secret = self.world.crs[self.index].secret;
        let key = ModelWorld::<K>::key(self.index);
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
            has_parent: K::parent(object.spec.as_ref().ok(), &object.status).is_some(),
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
        Some(self.take(step, &object, since))
    }

    /// Begins the decided step.
    pub(crate) fn begin(mut self) -> Option<ModelWorld<K>> {
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
        Some(self.take(step, &object, None))
    }

    /// Whether a write occupies the write queue, which sends one at a time: until its response is recorded.
    pub(crate) fn write_queue_is_taken(&self) -> bool {
        let is_sending = |phase: &Phase<K>| matches!(phase, Phase::Sent(..));
        K::write_queue(&self.check.parent).is_some()
            && self.world.process.seats.iter().any(|seat| is_sending(&seat.phase))
    }

    /// Takes a decided step.
    pub(crate) fn take(mut self, step: Step<K>, object: &Kept<Object<K>>, since: Option<Instant>) -> ModelWorld<K> {
        match step {
            Step::Rest(rest) => self.rest(rest, object),
            Step::AddFinalizer => {
                let _ = self.write_object(object, |newest| Cr::set_finalizer(newest, true));
            }
            Step::Release(_) => {
                let released = self.write_object(object, |newest| Cr::set_finalizer(newest, false));
                if released.is_ok() {
                    self.forget();
                }
            }
            Step::Query { query, fresh } => {
                let since = since.filter(|_| !fresh);
                let since = since.unwrap_or(if fresh { self.now } else { self.world.process.started });
                self.query(query, since);
            }
            Step::Note(note) => self.note(&note, object),
            Step::Create(new) => self.create(new, object, false),
            Step::Replay(new) => self.create(new, object, true),
            Step::Change { id, call, why } => self.write_to_cloud(WriteCall::Change { id, call }, Some(&why), object),
            Step::Delete { id, duplicate } => self.write_to_cloud(WriteCall::Delete { id, duplicate }, None, object),
        }
        self.done()
    }

    pub(crate) fn rest(&mut self, rest: Rest<K::Remote>, object: &Kept<Object<K>>) {
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
                record::resolved::<K>(
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
            Rest::Failed(failure) => self.record_failure(&failure, object, |_| {}),
            Rest::InProgress(condition) => {
                record::condition::<K>(&mut status, &condition, stamp(object));
                if self.write(object, status).is_ok() {
                    let now = self.now;
                    self.with_entry(|entry| entry.require_fresh(now));
                }
            }
            Rest::Until(Some(condition), _) => {
                record::in_progress::<K>(&mut status, &condition, stamp(object));
                let _ = self.write(object, status);
            }
        }
    }

    /// Records the failure; the next decision requires a fresh read.
    pub(crate) fn record_failure(
        &mut self,
        failure: &Failure,
        object: &Kept<Object<K>>,
        also: impl Fn(&mut K::Status),
    ) {
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

    pub(crate) fn note(&mut self, note: &Note<K::Remote>, object: &Kept<Object<K>>) {
        let observes = object.lifecycle.management() == ManagementPolicy::Observe;
        if let Note::Found { remote, .. } = note
            && !observes
        {
            let (key, place) = (ModelWorld::<K>::key(self.index), &self.check.place);
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

    pub(crate) fn create(&mut self, new: K::New, object: &Kept<Object<K>>, replay: bool) {
        let recorded_intent = K::object(&object.status).intent.clone().filter(|_| replay);
        let token = self.world.free_token();
        let token = self
            .circumstances(object)
            .intent(recorded_intent.as_ref(), || token)
            .token;
        self.write_to_cloud(WriteCall::Create { new, token, replay }, None, object);
    }

    /// Takes a write through its stages, up to the permit where permits may come late.
    fn write_to_cloud(&mut self, call: WriteCall<K>, why: Option<&Why>, object: &Kept<Object<K>>) {
        let mut recorded = RecordedWrite {
            secret: self.world.crs[self.index].secret,
            since: self.world.now,
            before: object.clone(),
            object: object.clone(),
            call: Kept::by_text(call),
        };
        for stage in before_permit() {
            let passes = match stage {
                Stage::Claim => self.claims_for(&recorded),
                Stage::Record => match self.record(&recorded, why) {
                    Ok(written) => {
                        recorded.object = written;
                        true
                    }
                    // The decision is taken again.
                    Err(Conflict) => return,
                },
                // The write queue was checked before the step began, and the model's CRD keeps all fields.
                Stage::Reserve | Stage::Kept | Stage::Permit | Stage::Recheck | Stage::Fence | Stage::Send => true,
            };
            if !passes && let Some(abort) = stage.abort() {
                return self.abort(abort, &recorded);
            }
        }
        if self.world.left.waits == 0 {
            self.stages_from_permit(&recorded, true);
        } else {
            self.world.process.seats[self.index].phase = Phase::Recorded(Arc::new(recorded));
        }
    }

    /// Takes a recorded write through the stages from the permit on, which comes, perhaps late, or does not come.
    fn stages_from_permit(&mut self, recorded: &RecordedWrite<K>, is_permitted: bool) {
        for stage in ORDER.into_iter().skip(before_permit().len()) {
            let passes = match stage {
                Stage::Permit => is_permitted,
                Stage::Recheck => self.claims_for(recorded),
                Stage::Fence => {
                    recorded.since == self.world.now || !self.check.policy.keeps(Guard::RecordCoversRequest)
                }
                Stage::Send => {
                    self.send(
                        WriteCall::clone(&recorded.call),
                        recorded.object.clone(),
                        recorded.secret,
                    );
                    true
                }
                Stage::Reserve | Stage::Claim | Stage::Record | Stage::Kept => true,
            };
            if !passes && let Some(abort) = stage.abort() {
                return self.abort(abort, recorded);
            }
        }
    }

    /// Handles the permit of a recorded write.
    pub(crate) fn permitted(mut self, is_permitted: bool) -> Option<ModelWorld<K>> {
        let Phase::Recorded(recorded) = &self.world.process.seats[self.index].phase else {
            return None;
        };
        let recorded = Arc::clone(recorded);
        if is_permitted && self.write_queue_is_taken() {
            return None;
        }
        self.world.process.seats[self.index].phase = Phase::Idle;
        self.stages_from_permit(&recorded, is_permitted);
        Some(self.done())
    }

    /// Ends a write that is not sent. The model's process always leads, as far as it knows.
    fn abort(&mut self, abort: Abort, recorded: &RecordedWrite<K>) {
        match abort {
            Abort::Wait | Abort::Decide | Abort::ReportCrd => {}
            Abort::WithdrawAndWait | Abort::WithdrawAndDecide | Abort::WithdrawIfLeading => {
                self.write_surely(&recorded.object, |status| {
                    if *status == recorded.object.status {
                        outcome::withdraw::<K>(status, &recorded.before.status);
                    }
                });
            }
        }
    }

    /// Records the intent of a write.
    fn record(&mut self, recorded: &RecordedWrite<K>, why: Option<&Why>) -> Result<Kept<Object<K>>, Conflict> {
        let object = &recorded.object;
        let circumstances = self.circumstances(object);
        let mut status = object.status.clone();
        match (&*recorded.call, why) {
            (WriteCall::Create { new, token, replay }, _) if self.check.policy.keeps(Guard::IntentFirst) => {
                let recorded_intent = K::object(&object.status).intent.clone().filter(|_| *replay);
                let intent = circumstances.intent(recorded_intent.as_ref(), || token.clone());
                circumstances.record_creation(&mut status, &intent, new);
            }
            (WriteCall::Change { call, .. }, Some(Why::Differs(fields))) => {
                circumstances.record_change(&mut status, call, &fields.join(", "));
            }
            (WriteCall::Delete { duplicate: false, .. }, _) => {
                let condition = ReadyCondition::new(Reason::Deleting, String::new());
                record::in_progress::<K>(&mut status, &condition, stamp(object));
            }
            (WriteCall::Create { .. } | WriteCall::Change { .. } | WriteCall::Delete { .. }, _) => {
                return Ok(object.clone());
            }
        }
        self.write(object, status)
    }

    /// Whether no other CR has what the write is about to take.
    fn claims_for(&self, recorded: &RecordedWrite<K>) -> bool {
        match &*recorded.call {
            WriteCall::Create { .. } => {
                let keeps = |guard| self.check.policy.keeps(guard);
                let key = ModelWorld::<K>::key(self.index);
                let name = observation::wanted_name(&recorded.object, &self.check.place).filter(|_| K::UNIQUE_NAMES);
                let is_free = name.is_none_or(|name| self.claims().index().intend(&key, &name).is_ok());
                is_free || !keeps(Guard::NameOfAnotherObject) || !keeps(Guard::NameOfAnotherObjectInQueue)
            }
            WriteCall::Change { id, .. } | WriteCall::Delete { id, .. } => {
                !self.is_held_by_another(&recorded.object, id)
            }
        }
    }

    fn send(&mut self, call: WriteCall<K>, object: Kept<Object<K>>, secret: Secret) {
        if let WriteCall::Change { id, call } = &call {
            self.watch_passwords(id, call);
        }
        let late = match &call {
            // A creation that takes effect late and is hidden at first would show later than is assumed.
            WriteCall::Create { .. } if self.check.scope.manners.hides => 0,
            WriteCall::Create { .. } => super::CONFIRMATION_PERIOD,
            // Unlike other changes, a change of a password cannot be seen, and so cannot be corrected.
            WriteCall::Change { call, .. } if K::password_set_by(call).is_some() => super::CONFIRMATION_PERIOD,
            WriteCall::Change { .. } | WriteCall::Delete { .. } => 0,
        };
        self.world.cloud.requests.push(SentRequest {
            uid: object.uid().to_owned(),
            call: Kept::by_text(call),
            by: Some(self.index),
            until: self.world.now + super::LASTS + late,
            done: None,
        });
        self.world.process.seats[self.index].phase = Phase::Sent(object, secret);
    }

    /// The claims of all CRs, as far as the process knows them.
    pub(crate) fn claims(&self) -> Claims {
        let claims = Claims::default();
        let all = 0..self.world.crs.len();
        all.filter_map(|index| self.world.believed(index))
            .for_each(|object| claims.index().observe(&object.key(), Claim::of(&object)));
        claims
    }

    fn is_held_by_another(&self, object: &Object<K>, id: &str) -> bool {
        let (key, policy) = (ModelWorld::<K>::key(self.index), &self.check.policy);
        let competing_claim = observation::competing_claim(&self.claims(), &self.known, policy, &key, object, id);
        policy.keeps(Guard::OneHolderAtWrite) && competing_claim.is_some()
    }

    pub(crate) fn circumstances<'b>(&self, object: &'b Object<K>) -> Circumstances<'b, K>
    where
        'a: 'b,
    {
        circumstances(self.check, object, None, self.world.now)
    }

    /// Detects a forbidden resend: of a value in force, by the record and in the cloud, or of a refused value.
    pub(crate) fn watch_passwords(&mut self, id: &str, call: &K::Change) {
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

pub(crate) fn circumstances<'a, K: Modelled>(
    check: &'a ModelCheck<K>,
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

/// The stages that come before the permit.
fn before_permit() -> Vec<Stage> {
    ORDER.into_iter().take_while(|stage| *stage != Stage::Permit).collect()
}
