//! The operator's process in the model: passes as the pipeline makes them. What is decided, known, seen, remembered and put
//! on record is the shipped code's; here is only the order in which the shell around it does things, and what the
//! apiserver and the cloud make of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Check;
use super::cloud::{Call, Reply, Request, at};
use super::kept::Kept;
use super::kinds::Modelled;
use super::world::{Cr, Heard, Phase, UnderWay, World, kept_entry, kept_known, version};
use crate::api::conditions::{Reason, Verdict};
use crate::cloud::error::Operation;
use crate::cloud::{CloudError, Meaning};
use crate::mirror::{Known, Look, Remote};
use crate::reconcile::decide::{Access, Extras, Guard, Inputs, Note, Rest, Step, Trouble, Why, decide};
use crate::reconcile::key::Key;
use crate::reconcile::kind::Refused;
use crate::reconcile::managed::Managed;
use crate::reconcile::memory::Entry;
use crate::reconcile::outcome::{self, Setting};
use crate::reconcile::record::{self, Stamp};
use crate::reconcile::tenant::trouble;
use crate::reconcile::view::{self, Fellows, Viewpoint};

/// `--request-timeout`.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What the process believes the CRs to be.
struct Believed<K: Modelled>(Vec<Arc<Managed<K>>>);

impl<K: Modelled> Fellows<K> for Believed<K> {
    fn find(&self, fits: &dyn Fn(&Managed<K>) -> bool) -> Vec<Arc<Managed<K>>> {
        self.0.iter().filter(|object| fits(object)).cloned().collect()
    }
}

/// Somebody else wrote meanwhile.
struct Conflict;

/// A process at work on one CR.
pub struct Work<'a, K: Modelled> {
    check: &'a Check<K>,
    world: World<K>,
    index: usize,
    now: Instant,
    known: Known<K::Remote, Key>,
    /// What is remembered of the CR, and the version of it that is remembered.
    entry: Option<(Entry<K>, Kept<Managed<K>>)>,
}

impl<'a, K: Modelled> Work<'a, K> {
    pub fn on(check: &'a Check<K>, world: &World<K>, index: usize) -> Self {
        let entry = match &world.process.seats[index].heard {
            Heard::Known(entry, latest) => Some((Entry::clone(entry), latest.clone())),
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

    /// What has come of it.
    fn done(self) -> World<K> {
        let mut world = self.world;
        world.process.known = kept_known::<K>(self.known);
        if let Some((entry, latest)) = self.entry {
            world.process.seats[self.index].heard = Heard::Known(kept_entry(entry), latest);
        }
        world
    }

    /// A pass over an idle CR; `None`: the process does not know it.
    pub fn pass(mut self) -> Option<World<K>> {
        let (mut entry, object) = match &self.world.process.seats[self.index].heard {
            Heard::Nothing => return None,
            Heard::Listed(object) => (Entry::new(object.shared(), self.now), object.clone()),
            Heard::Known(..) => self.entry.take()?,
        };
        entry.begin();
        let secret = self.world.crs[self.index].secret;
        let key = self.world.key(self.index);
        let (scope, cloud_now) = (self.check.place.clone(), at(self.world.now));
        // The clock stands still within a second: what settles in this one has settled at its beginning.
        let second = self.check.base + Duration::from_secs(self.world.now.into());
        let since = view::since(&object, entry.triggered_at, second, cloud_now);
        let believed = self.believed();
        let viewpoint = Viewpoint {
            policy: &self.check.policy,
            fellows: &believed,
            key: &key,
            object: &object,
            scope: &scope,
            since,
        };
        viewpoint.hold(&mut self.known);
        let failed_look = self.known.take_failure(&key).map(|error| trouble(&error));
        let view = viewpoint.view(&mut self.known, None);
        let token = K::object(&object.status).intent.as_ref().map(|intent| &intent.token);
        let accepted = entry.take_accepted();
        let delete_sent = entry.delete_sent.clone();
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
            recreate_approved: None,
            spec: &object.spec,
            lifecycle: &object.lifecycle,
            status: &object.status,
            crd_deleting_since: None,
            access: Ok(Access { scope, cloud_now }),
            extras: if object.deleting_since().is_some() {
                Extras::Waiting
            } else {
                Extras::Read(K::extras_of(secret))
            },
            has_home: K::home(object.spec.as_ref().ok(), &object.status).is_some(),
            view,
            failed_look,
            triggered,
            delete_sent: delete_sent.as_deref(),
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
            // Another CR may come in between.
            self.world.process.seats[self.index].phase = Phase::Decided(Kept::by_text(step), object);
            return Some(self.done());
        }
        self.take(step, object, since)
    }

    /// Begins what was decided.
    pub fn begin(mut self) -> Option<World<K>> {
        let Phase::Decided(step, object) = &self.world.process.seats[self.index].phase else {
            return None;
        };
        let (step, object) = (Step::clone(step), object.clone());
        if matches!(
            step,
            Step::Create(_) | Step::Replay(_) | Step::Change { .. } | Step::Delete { .. }
        ) && self.lane_is_taken()
        {
            return None;
        }
        self.world.process.seats[self.index].phase = Phase::Idle;
        self.take(step, object, None)
    }

    /// Writes in a lane go one at a time; each is in it until its answer is on record.
    fn lane_is_taken(&self) -> bool {
        let is_sending = |phase: &Phase<K>| matches!(phase, Phase::Sent(..));
        K::lane(&self.check.home).is_some() && self.world.process.seats.iter().any(|seat| is_sending(&seat.phase))
    }

    fn take(mut self, step: Step<K>, object: Kept<Managed<K>>, since: Option<Instant>) -> Option<World<K>> {
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
            Step::Look { look, anew } => {
                let since = since.filter(|_| !anew);
                let since = since.unwrap_or(if anew { self.now } else { self.world.process.started });
                self.look(look, since);
            }
            Step::Note(note) => self.note(&note, &object),
            Step::Create(new) => self.create(new, &object, false),
            Step::Replay(new) => self.create(new, &object, true),
            Step::Change { id, call, why } => {
                let object = match why {
                    Why::Differs(fields) => {
                        let fields = fields.join(", ");
                        let mut status = object.status.clone();
                        self.setting(&object).announce_change(&mut status, &call, &fields);
                        self.write(&object, status)
                    }
                    Why::Mark | Why::LetGo => Ok(object),
                };
                if let Ok(object) = object {
                    self.watch_passwords(&id, &call);
                    self.send(Call::Change { id, call }, object);
                }
            }
            Step::Delete { id, twin } => {
                let object = if twin {
                    Ok(object)
                } else {
                    let verdict = Verdict::new(Reason::Deleting, String::new());
                    let mut status = object.status.clone();
                    record::underway::<K>(&mut status, &verdict, stamp(&object));
                    self.write(&object, status)
                };
                if let Ok(object) = object {
                    self.send(Call::Delete { id, twin }, object);
                }
            }
        }
        Some(self.done())
    }

    fn rest(&mut self, rest: Rest<K::Remote>, object: &Kept<Managed<K>>) {
        let mut status = object.status.clone();
        match rest {
            Rest::Done | Rest::Paused | Rest::Quiet(_) | Rest::Waiting | Rest::Until(None, _) => {}
            Rest::Confirmed {
                remote,
                drifted,
                strays,
            } => {
                let spec = object.spec.as_ref().ok();
                let extras = K::extras_of(self.world.crs[self.index].secret);
                record::confirmed::<K>(
                    &mut status,
                    spec,
                    Some(&extras),
                    &remote,
                    drifted,
                    &strays,
                    stamp(object),
                );
                if self.write(object, status).is_ok() {
                    self.with_entry(|entry| {
                        entry.settled();
                    });
                }
            }
            Rest::Troubled(trouble) => self.troubled(&trouble, object, |_| {}),
            Rest::Until(Some(verdict), _) => {
                record::underway::<K>(&mut status, &verdict, stamp(object));
                let _ = self.write(object, status);
            }
        }
    }

    /// Says what is wrong; what is decided next rests on a new look.
    fn troubled(&mut self, trouble: &Trouble, object: &Kept<Managed<K>>, also: impl Fn(&mut K::Status)) {
        self.write_surely(object, |status| {
            also(status);
            if let Ok(spec) = &object.spec {
                K::expected(status, spec, object.name());
            }
            record::verdict::<K>(status, &trouble.verdict, stamp(object));
        });
        let now = self.now;
        self.with_entry(|entry| entry.look_anew(now));
    }

    fn note(&mut self, note: &Note<K::Remote>, object: &Kept<Managed<K>>) {
        if let Note::Found { remote, .. } = note {
            let key = self.world.key(self.index);
            if !self.known.claim(&key, object.uid(), remote.id()) {
                return;
            }
        }
        let mut status = object.status.clone();
        self.setting(object).noted(&mut status, note);
        if self.write(object, status).is_ok()
            && let Note::Found { remote, .. } = note
        {
            self.world.taken_by_tag(remote.id(), object.uid());
        }
    }

    fn create(&mut self, new: K::New, object: &Kept<Managed<K>>, replay: bool) {
        let believed = self.believed();
        let keeps = |guard| self.check.policy.keeps(guard);
        if K::UNIQUE_NAMES
            && keeps(Guard::NameOfFellow)
            && keeps(Guard::NameOfFellowInLane)
            && view::name_holder(&believed, object, &self.check.place).is_some()
        {
            return;
        }
        let announced = K::object(&object.status).intent.clone().filter(|_| replay);
        let token = self.world.free_token();
        let setting = self.setting(object);
        let intent = setting.intent(announced.as_ref(), || token);
        let mut status = object.status.clone();
        if keeps(Guard::IntentFirst) {
            setting.announce_creation(&mut status, &intent, &new);
        }
        if let Ok(object) = self.write(object, status) {
            let token = intent.token;
            self.send(Call::Create { new, token, replay }, object);
        }
    }

    fn send(&mut self, call: Call<K>, object: Kept<Managed<K>>) {
        let late = match &call {
            Call::Create { .. } => super::SETTLE,
            Call::Change { .. } | Call::Delete { .. } => 0,
        };
        self.world.cloud.requests.push(Request {
            uid: object.uid().to_owned(),
            call: Kept::by_text(call),
            by: Some(self.index),
            until: self.world.now + super::LASTS + late,
            done: None,
        });
        let secret = self.world.crs[self.index].secret;
        self.world.process.seats[self.index].phase = Phase::Sent(object, secret);
    }

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
                    self.world.crs[self.index].in_force = K::password_of(new);
                }
            }
            (Call::Create { .. }, Some(Reply::Refused(meaning))) => {
                let error = CloudError::new(Operation::CreateVpnUser, meaning, "no");
                self.troubled(&trouble(&error), &object, record::refused::<K>);
            }
            (Call::Change { id, call }, Some(Reply::Changed(answer))) => {
                let updated = outcome::seen_change::<K>(&mut self.known, id, call, answer, self.now);
                let record = setting(self.check, &object, Some(&extras), self.world.now).record();
                let is_written =
                    self.write_surely(&object, |status| K::changed(status, call, updated.as_ref(), &record));
                if let (true, Some(value)) = (is_written, K::password_set_by(call)) {
                    self.world.crs[self.index].in_force = Some(value);
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
                            self.world.crs[self.index].in_force = K::password_set_by(call);
                        }
                        self.with_entry(|entry| {
                            entry.accepted(call.clone());
                        });
                        return Some(self.done());
                    }
                    Refused::AsTold => {}
                    Refused::Because(reason, message) => told.verdict = Verdict::new(reason, message),
                }
                self.troubled(&told, &object, |status| {
                    K::refused(status, call, &error, &record);
                });
            }
            (Call::Delete { id, twin }, Some(Reply::Deleted)) => {
                let now = self.now;
                if *twin {
                    self.known.proved_gone(id, now);
                } else {
                    self.with_entry(|entry| {
                        entry.sent_delete(id);
                        entry.look_anew(now);
                    });
                }
            }
            (Call::Delete { id, .. }, Some(Reply::Refused(Meaning::Gone))) => {
                self.known.proved_gone(id, self.now);
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

    /// The watch delivers what the apiserver has.
    pub fn hear(mut self) -> Option<World<K>> {
        match (
            self.world.crs[self.index].object.clone(),
            &self.world.process.seats[self.index].heard,
        ) {
            (None, Heard::Nothing) => return None,
            (None, Heard::Listed(_) | Heard::Known(..)) => self.forget(),
            (Some(object), Heard::Known(..)) => self.arrive(&object),
            (Some(object), Heard::Nothing | Heard::Listed(_)) => {
                self.world.process.seats[self.index].heard = Heard::Listed(object);
            }
        }
        Some(self.done())
    }

    /// The Secret that the CR names was written.
    pub fn hear_of_secret(mut self) -> World<K> {
        let now = self.now;
        self.with_entry(|entry| entry.trigger(now));
        self.done()
    }

    /// The drift poll lists the collection.
    pub fn poll(mut self) -> World<K> {
        if let Some(look) = self.known.begin(Look::Collection) {
            self.start(look);
        }
        self.done()
    }

    fn look(&mut self, look: Look, since: Instant) {
        let key = self.world.key(self.index);
        if !self.known.want(&key, look, since) {
            self.start_due();
        }
    }

    fn start_due(&mut self) {
        loop {
            let due = self.known.due();
            if due.is_empty() {
                return;
            }
            for look in due {
                self.start(look);
            }
        }
    }

    fn start(&mut self, look: Look) {
        let manners = self.check.scope.manners;
        let cloud = &self.world.cloud;
        let under_way = UnderWay {
            started: self.now,
            second: self.world.now,
            list: (look == Look::Collection).then(|| cloud.list(manners, self.world.skips.as_ref())),
            object: match &look {
                Look::Object(id) | Look::Whole(id) | Look::Tags(id) => cloud.get(id),
                Look::Collection => None,
            },
            look,
        };
        if under_way.list.is_some() && self.check.scope.slow_lists {
            self.world.process.looks.push(Arc::new(under_way));
        } else {
            ended(&mut self.known, &under_way);
        }
    }

    /// The answer of a look that was started earlier comes.
    pub fn end_look(mut self, which: usize) -> World<K> {
        let under_way = self.world.process.looks.remove(which);
        ended(&mut self.known, &under_way);
        self.start_due();
        self.done()
    }

    fn write(&mut self, base: &Kept<Managed<K>>, status: K::Status) -> Result<Kept<Managed<K>>, Conflict> {
        if status == base.status {
            return Ok(base.clone());
        }
        self.write_object(base, |object| object.status = without_words::<K>(status))
    }

    /// Writes to the apiserver, pinned to the version that was read.
    fn write_object(
        &mut self,
        base: &Kept<Managed<K>>,
        change: impl FnOnce(&mut Managed<K>),
    ) -> Result<Kept<Managed<K>>, Conflict> {
        let is_pinned = self.check.policy.keeps(Guard::PinnedWrites);
        let cr = &mut self.world.crs[self.index];
        let Some(newest) = &cr.object else {
            self.forget();
            return Err(Conflict);
        };
        if is_pinned && version(newest) != version(base) {
            let newest = newest.clone();
            self.arrive(&newest);
            return Err(Conflict);
        }
        cr.write(self.check.scope.stale, change);
        let written = cr.object.clone();
        if let Some(written) = &written {
            if let Some((entry, latest)) = &mut self.entry {
                entry.latest = written.shared();
                *latest = written.clone();
            }
        }
        // One that goes with its finalizer is still what was written.
        Ok(written.unwrap_or_else(|| base.clone()))
    }

    /// Puts on record what has happened, whatever became of the CR meanwhile. Whether there is one still.
    fn write_surely(&mut self, base: &Kept<Managed<K>>, change: impl Fn(&mut K::Status)) -> bool {
        let mut base = base.clone();
        for _ in 0..2 {
            let mut status = base.status.clone();
            change(&mut status);
            if self.write(&base, status).is_ok() {
                return true;
            }
            match &self.world.crs[self.index].object {
                Some(newest) => base = newest.clone(),
                None => return false,
            }
        }
        false
    }

    fn believed(&self) -> Believed<K> {
        let all = 0..self.world.crs.len();
        Believed(all.filter_map(|index| self.world.believed(index)).collect())
    }

    fn setting<'b>(&self, object: &'b Managed<K>) -> Setting<'b, K>
    where
        'a: 'b,
    {
        setting(self.check, object, None, self.world.now)
    }

    fn with_entry(&mut self, change: impl FnOnce(&mut Entry<K>)) {
        if let Some((entry, _)) = &mut self.entry {
            change(entry);
        }
    }

    fn arrive(&mut self, object: &Kept<Managed<K>>) {
        let Some((entry, latest)) = &mut self.entry else {
            return;
        };
        let arrived = object.shared();
        entry.arrive(Arc::clone(&arrived), self.now);
        if Arc::ptr_eq(&entry.latest, &arrived) {
            *latest = object.clone();
        }
    }

    fn forget(&mut self) {
        let key = self.world.key(self.index);
        self.known.forget(&key);
        self.entry = None;
        self.world.process.seats[self.index].heard = Heard::Nothing;
    }

    /// A value that the record says is in force must not be sent to the user that has it.
    fn watch_passwords(&mut self, id: &str, call: &K::Change) {
        let Some(value) = K::password_set_by(call) else { return };
        let has = self
            .world
            .cloud
            .find(id)
            .and_then(|thing| thing.passwords.last().copied());
        let cr = &mut self.world.crs[self.index];
        if cr.in_force == Some(value) && has == Some(value) {
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
            Self::Sent(object, secret) => Self::Sent(object.clone(), *secret),
        }
    }
}

fn ended<K: Modelled>(known: &mut Known<K::Remote, Key>, under_way: &UnderWay<K>) {
    let UnderWay {
        look,
        started,
        second,
        list,
        object,
    } = under_way;
    let gone = || CloudError::new(Operation::GetCustomerGateway, Meaning::Gone, "no such object");
    match look {
        Look::Collection => {
            if let Some(list) = list {
                let list = crate::mirror::Listing {
                    items: list.items.clone(),
                    complete: list.complete,
                };
                known.ended_list(Ok(list), *started, at(*second));
            }
        }
        Look::Object(id) | Look::Whole(id) => {
            known.ended_get(look, id, object.clone().ok_or_else(gone), *started);
        }
        Look::Tags(id) => {
            let tags = object.as_ref().map(|object| object.tags().cloned().unwrap_or_default());
            known.ended_tags(look, id, tags.ok_or_else(gone), *started);
        }
    }
}

fn setting<'a, K: Modelled>(
    check: &'a Check<K>,
    object: &'a Managed<K>,
    extras: Option<&'a K::Extras>,
    now: u16,
) -> Setting<'a, K> {
    Setting {
        policy: &check.policy,
        object,
        scope: &check.place,
        home: &check.home,
        extras,
        request_timeout: REQUEST_TIMEOUT,
        cloud_now: at(now),
        stamp: stamp(object),
    }
}

fn stamp<K: Modelled>(object: &Managed<K>) -> Stamp {
    Stamp {
        generation: object.metadata.generation,
        now: at(0),
    }
}

/// What is only told, and not decided on, would make many states of one.
fn without_words<K: Modelled>(mut status: K::Status) -> K::Status {
    for condition in &mut K::object_mut(&mut status).conditions {
        condition.message = String::new();
    }
    status
}
