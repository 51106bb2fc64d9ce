//! A state of the model: the cloud, the apiserver, the operator's process, and how much may still go wrong.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use tokio::time::Instant;

use super::cloud::{Call, Cloud, Skip, at, second};
use super::kept::Kept;
use super::kinds::{Modelled, Secret};
use super::scope::{Faults, Scope};
use crate::api::conditions::{self, Reason};
use crate::api::{FINALIZER, Lifecycle, ManagementPolicy, ObjectStatus};
use crate::cache::{Known, Listing, Query, Remote};
use crate::reconcile::decide::Step;
use crate::reconcile::key::Key;
use crate::reconcile::object::Object;
use crate::reconcile::object_states::ObjectState;

/// A CR in the apiserver.
pub struct Cr<K: Modelled> {
    pub uid: String,
    /// Its name in the cloud.
    pub name: String,
    /// `None` once it no longer exists.
    pub object: Option<Kept<Object<K>>>,
    /// Its states before the last writes, which a watch cache may still deliver to a process that starts.
    pub older: Vec<Kept<Object<K>>>,
    pub secret: Secret,
    /// The password that is in force by the record: it must not be sent again.
    pub in_force: Option<u8>,
    /// The password that was refused last by the record: it must not be sent again either.
    pub refused: Option<u8>,
}

/// What the process knows of a CR.
pub enum Heard<K: Modelled> {
    Nothing,
    /// The watch has listed it; it was not reconciled yet.
    Listed(Kept<Object<K>>),
    /// The remembered state, and the remembered version of the CR.
    Known(Kept<ObjectState<K>>, Kept<Object<K>>),
}

/// What the process does about a CR.
pub enum Phase<K: Modelled> {
    Idle,
    /// A step is decided and not begun. Only used where another CR can act in between.
    Decided(Kept<Step<K>>, Kept<Object<K>>),
    /// A write is recorded, and not sent.
    Recorded(Arc<Recorded<K>>),
    /// A request was sent. With the CR as it was written for it, and the Secret as it was read.
    Sent(Kept<Object<K>>, Secret),
}

/// A write that waits for its permit.
pub struct Recorded<K: Modelled> {
    pub call: Kept<Call<K>>,
    /// As it was when the write was decided on.
    pub before: Kept<Object<K>>,
    pub object: Kept<Object<K>>,
    pub secret: Secret,
    /// The second at which it was recorded.
    pub since: u16,
}

/// The deadlines of all recorded creations whose outcome is still open.
pub fn unresolved(status: &ObjectStatus) -> impl Iterator<Item = u16> + use<> {
    let given_up = status.past_intents.iter().filter(|past| past.given_up);
    let open = status.intent.iter().map(|intent| &intent.deadline);
    let deadlines: Vec<_> = given_up.map(|past| &past.deadline).chain(open).collect();
    let deadlines: Vec<u16> = deadlines.into_iter().map(|deadline| second(deadline.0)).collect();
    deadlines.into_iter()
}

/// A read or list that was started.
pub struct UnderWay<K: Modelled> {
    pub look: Query,
    pub started: Instant,
    pub second: u16,
    /// What the cloud had then.
    pub list: Option<Listing<K::Remote>>,
    pub object: Option<K::Remote>,
}

/// A place for each CR in the process.
pub struct Seat<K: Modelled> {
    pub heard: Heard<K>,
    pub phase: Phase<K>,
}

/// The operator's process: all of it is lost when it is killed.
pub struct Process<K: Modelled> {
    pub started: Instant,
    pub known: Kept<Known<K::Remote, Key>>,
    pub queries: Vec<Arc<UnderWay<K>>>,
    pub seats: Vec<Seat<K>>,
}

/// A replica that lacks an object, and which reads it still answers.
#[derive(Clone, Hash)]
pub struct Lag {
    pub id: String,
    pub answers_read: bool,
    pub answers_list: bool,
}

/// See the module.
pub struct World<K: Modelled> {
    /// Seconds of the cloud's clock.
    pub now: u16,
    pub cloud: Cloud<K>,
    pub crs: Vec<Cr<K>>,
    pub process: Process<K>,
    pub left: Faults,
    /// An object that lists omit for now.
    pub skips: Option<Skip>,
    /// An object for which the next request is answered with 404.
    pub denied: Option<String>,
    /// A replica that answers some of the next reads.
    pub lag: Option<Lag>,
    /// An object was changed or deleted for a CR that does not own it.
    pub harm: bool,
    /// A password was sent although it is in force or refused by the record.
    pub resent: bool,
    /// Its fingerprint, computed once when nothing changes in it any more.
    print: u64,
}

impl<K: Modelled> Clone for Cr<K> {
    fn clone(&self) -> Self {
        Self {
            uid: self.uid.clone(),
            name: self.name.clone(),
            object: self.object.clone(),
            older: self.older.clone(),
            secret: self.secret,
            in_force: self.in_force,
            refused: self.refused,
        }
    }
}

impl<K: Modelled> Clone for Heard<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::Listed(object) => Self::Listed(object.clone()),
            Self::Known(entry, latest) => Self::Known(entry.clone(), latest.clone()),
        }
    }
}

impl<K: Modelled> Clone for Seat<K> {
    fn clone(&self) -> Self {
        Self {
            heard: self.heard.clone(),
            phase: match &self.phase {
                Phase::Idle => Phase::Idle,
                Phase::Decided(step, object) => Phase::Decided(step.clone(), object.clone()),
                Phase::Recorded(recorded) => Phase::Recorded(Arc::clone(recorded)),
                Phase::Sent(object, secret) => Phase::Sent(object.clone(), *secret),
            },
        }
    }
}

impl<K: Modelled> Clone for World<K> {
    fn clone(&self) -> Self {
        Self {
            now: self.now,
            cloud: self.cloud.clone(),
            crs: self.crs.clone(),
            process: Process {
                started: self.process.started,
                known: self.process.known.clone(),
                queries: self.process.queries.clone(),
                seats: self.process.seats.clone(),
            },
            left: self.left,
            skips: self.skips.clone(),
            denied: self.denied.clone(),
            lag: self.lag.clone(),
            harm: self.harm,
            resent: self.resent,
            print: self.print,
        }
    }
}

/// The version of a CR. Each write increments it.
pub fn version<K: Modelled>(object: &Object<K>) -> u32 {
    object.resource_version().parse().unwrap_or_default()
}

/// A CR with its hash. The hash omits the version, which counts only in comparisons.
pub fn kept<K: Modelled>(object: Object<K>) -> Kept<Object<K>> {
    Kept::new(object, |object, hasher| {
        (object.uid(), object.metadata.generation, object.has_finalizer()).hash(hasher);
        (object.lifecycle.management() == ManagementPolicy::Observe).hash(hasher);
        object.deleting_since().is_some().hash(hasher);
        serde_json::to_vec(&object.status).expect("plain data").hash(hasher);
    })
}

pub fn kept_known<K: Modelled>(known: Known<K::Remote, Key>) -> Kept<Known<K::Remote, Key>> {
    Kept::new(known, |known, hasher| known.hash(hasher))
}

pub fn kept_entry<K: Modelled>(entry: ObjectState<K>) -> Kept<ObjectState<K>> {
    Kept::new(entry, |entry, hasher| entry.fingerprint(hasher))
}

impl<K: Modelled> World<K> {
    /// The initial state: new CRs, and a process that has just started.
    pub fn new(scope: &Scope, base: Instant) -> Self {
        let crs: Vec<Cr<K>> = (0..scope.crs).map(|index| first(scope, index)).collect();
        let seats = crs.iter().map(|cr| Seat {
            heard: Heard::Listed(cr.object.clone().expect("just made")),
            phase: Phase::Idle,
        });
        let mut world = Self {
            now: 0,
            cloud: Cloud::default(),
            process: Process {
                started: base,
                known: kept_known::<K>(Known::new(super::kinds::OWNER_KEY.to_owned())),
                queries: Vec::new(),
                seats: seats.collect(),
            },
            crs,
            left: scope.faults,
            skips: None,
            denied: None,
            lag: None,
            harm: false,
            resent: false,
            print: 0,
        };
        world.seal();
        world
    }

    /// Completes a state once nothing changes in it any more.
    pub fn settle(&mut self, base: Instant) {
        self.forget_tokens();
        self.confirmation_periods(base);
        self.seal();
    }

    /// Computes its fingerprint.
    pub fn seal(&mut self) {
        let mut hasher = std::collections::hash_map::DefaultHasher::new();
        self.digest(&mut hasher);
        self.print = hasher.finish();
    }

    pub fn key(&self, index: usize) -> Key {
        Key {
            kind: K::KIND,
            namespace: "n".to_owned(),
            name: format!("cr{index}"),
        }
    }

    /// A moment later than all that has happened.
    pub fn instant(&self, base: Instant) -> Instant {
        let all = self.asked_at().into_iter().chain(self.process.known.seen_at());
        let next = all.max().unwrap_or(base) + Duration::from_micros(1);
        next.max(base + Duration::from_secs(self.now.into()))
    }

    /// All instants from which on an observation counts for a reader.
    fn asked_at(&self) -> Vec<Instant> {
        let process = &self.process;
        let mut all = process.known.wanted_since();
        all.push(process.started);
        all.extend(process.queries.iter().map(|look| look.started));
        all.extend(process.seats.iter().filter_map(|seat| match &seat.heard {
            Heard::Known(entry, _) => entry.triggered_at,
            Heard::Listed(_) | Heard::Nothing => None,
        }));
        all
    }

    /// Every state of a CR that exists, is held by the process, or may still be delivered.
    fn records(&self) -> impl Iterator<Item = &Object<K>> {
        let written = self.crs.iter().flat_map(|cr| cr.object.iter().chain(&cr.older));
        let seats = self.process.seats.iter();
        let heard = seats.clone().filter_map(|seat| match &seat.heard {
            Heard::Known(_, object) | Heard::Listed(object) => Some(object),
            Heard::Nothing => None,
        });
        let at_work = seats.filter_map(|seat| match &seat.phase {
            Phase::Decided(_, object) | Phase::Sent(object, _) => Some(object),
            Phase::Recorded(recorded) => Some(&recorded.object),
            Phase::Idle => None,
        });
        written.chain(heard).chain(at_work).map(|object| &**object)
    }

    /// Reduces instants to their order, since they are only compared. Observations are compared with requests, requests
    /// with the ends of confirmation periods, a list with the end of a creation. States that differ in nothing else
    /// become one.
    fn confirmation_periods(&mut self, base: Instant) {
        let asked = self.asked_at();
        let ends = self.records().filter_map(|object| K::confirmed_at(&object.status));
        let mut settled: Vec<Instant> = ends
            .map(|end| second(end.0))
            .filter(|end| *end <= self.now)
            .map(|end| base + Duration::from_secs(end.into()))
            .collect();
        settled.push(base);
        let mut marks: Vec<Instant> = asked.into_iter().chain(settled.iter().copied()).collect();
        marks.sort_unstable();
        marks.dedup();
        let (mut last, mut rank) = (base, 0);
        let places: Vec<Instant> = marks
            .iter()
            .map(|mark| {
                rank += 1;
                if settled.contains(mark) {
                    (last, rank) = (*mark, 0);
                }
                last + Duration::from_micros(rank)
            })
            .collect();
        // An observation between two marks counts as made at the first of them.
        let place = |instant: Instant| match marks.partition_point(|mark| *mark <= instant) {
            0 => base,
            after => places[after - 1],
        };
        let mut proofs: Vec<u16> = self
            .records()
            .flat_map(|object| unresolved(K::object(&object.status)))
            .flat_map(|deadline| [deadline + 1, deadline + super::SETTLE + 1])
            .collect();
        proofs.sort_unstable();
        let proved = |started: Timestamp| {
            let proved = proofs.partition_point(|proof| *proof <= second(started));
            at(proved.checked_sub(1).map_or(0, |proof| proofs[proof]))
        };
        let process = &mut self.process;
        process.started = place(process.started);
        if let Some(known) = process.known.with_times(place, proved) {
            process.known = kept_known::<K>(known);
        }
        let moved = |look: &&mut Arc<UnderWay<K>>| look.started != place(look.started);
        for look in process.queries.iter_mut().filter(moved) {
            *look = Arc::new(UnderWay {
                look: look.look.clone(),
                started: place(look.started),
                second: look.second,
                list: look.list.as_ref().map(|list| Listing {
                    items: list.items.clone(),
                    complete: list.complete,
                }),
                object: look.object.clone(),
            });
        }
        for seat in &mut process.seats {
            if let Heard::Known(entry, latest) = &seat.heard
                && entry.triggered_at != entry.triggered_at.map(place)
            {
                let (mut entry, latest) = (ObjectState::clone(entry), latest.clone());
                entry.triggered_at = entry.triggered_at.map(place);
                seat.heard = Heard::Known(kept_entry(entry), latest);
            }
        }
    }

    /// What the process believes a CR to be.
    pub fn believed(&self, index: usize) -> Option<Arc<Object<K>>> {
        match &self.process.seats[index].heard {
            Heard::Nothing => None,
            Heard::Listed(object) => Some(object.shared()),
            Heard::Known(entry, _) => Some(Arc::clone(&entry.latest)),
        }
    }

    /// Whether a create request of a CR may still take effect.
    pub fn may_still_create(&self, uid: &str) -> bool {
        let creates = |call: &Call<K>| matches!(call, Call::Create { .. });
        let requests = self.cloud.requests.iter();
        requests
            .filter(|request| request.done.is_none() && request.uid == uid)
            .any(|request| creates(&request.call))
    }

    /// Whether a request about an existing object is answered with 404: once.
    pub fn takes_denial(&mut self, id: &str) -> bool {
        self.denied.take_if(|denied| denied == id).is_some()
    }

    /// Whether a lagging replica answers a read of an object.
    pub fn takes_lagging_read(&mut self, id: &str) -> bool {
        let is_taken = |lag: &mut Lag| lag.id == id && std::mem::take(&mut lag.answers_read);
        let is_lagging = self.lag.as_mut().is_some_and(is_taken);
        self.forget_lag();
        is_lagging
    }

    /// What the next list lacks, if a lagging replica answers it.
    pub fn takes_lagging_list(&mut self) -> Option<Skip> {
        let lag = self.lag.as_mut()?;
        let is_lagging = std::mem::take(&mut lag.answers_list);
        let id = lag.id.clone();
        self.forget_lag();
        is_lagging.then_some(Skip { id, lies: true })
    }

    fn forget_lag(&mut self) {
        self.lag = self.lag.take().filter(|lag| lag.answers_read || lag.answers_list);
    }

    /// The number of objects that a CR owns.
    pub fn owned(&self, uid: &str) -> usize {
        let things = self.cloud.things.iter();
        things.filter(|thing| thing.owner.as_deref() == Some(uid)).count()
    }

    /// Removes requests that took effect and that nobody waits for.
    pub fn forget_done(&mut self) {
        self.cloud
            .requests
            .retain(|request| request.by.is_some() || request.done.is_none());
    }

    /// An unmanaged object becomes a CR's own when the CR adopts it.
    pub fn adopted(&mut self, id: &str, object: &Object<K>) {
        let Lifecycle {
            external_id,
            adoption_policy,
            ..
        } = &object.lifecycle;
        let adopts = external_id.is_some() || adoption_policy.is_some();
        let free = self
            .cloud
            .things
            .iter_mut()
            .find(|thing| thing.remote.id() == id && thing.owner.is_none());
        if let Some(thing) = free.filter(|_| adopts && object.lifecycle.management() != ManagementPolicy::Observe) {
            thing.owner = Some(object.uid().to_owned());
        }
    }

    /// A CR recorded an existing object as lost: the object is unmanaged until the CR takes it back by its tag.
    pub fn recorded_as_lost(&mut self, id: &str) {
        let given_up = self.cloud.things.iter_mut().find(|thing| thing.remote.id() == id);
        if let Some(thing) = given_up.filter(|_| K::Remote::TAGGED) {
            thing.owner = None;
        }
    }

    /// An object with a CR's tag becomes the CR's own when the CR takes it.
    pub fn taken_by_tag(&mut self, id: &str, uid: &str) {
        for thing in &mut self.cloud.things {
            let tag = thing.remote.tags().and_then(|tags| tags.get(super::kinds::OWNER_KEY));
            if thing.remote.id() == id && tag.is_some_and(|tag| tag.split(':').next() == Some(uid)) {
                thing.owner = Some(uid.to_owned());
            }
        }
    }

    /// Returns an unused token. It is not random: a random one would differ in every state.
    pub fn free_token(&self) -> String {
        let used = self.tokens_in_use();
        let taken = |token: &String| self.cloud.tokens.iter().any(|(known, ..)| known == token);
        let mut fresh = (0..)
            .map(|number| format!("t{number}"))
            .filter(|token| !used.contains(&token.as_str()) && !taken(token));
        fresh.next().expect("numbers do not end")
    }

    /// A token that no record and no request holds is never sent again: the cloud's entry no longer counts.
    fn forget_tokens(&mut self) {
        if self.cloud.tokens.is_empty() {
            return;
        }
        let used: Vec<String> = self.tokens_in_use().into_iter().map(str::to_owned).collect();
        self.cloud.tokens.retain(|(token, ..)| used.contains(token));
    }

    fn tokens_in_use(&self) -> Vec<&str> {
        let recorded = self.records().filter_map(|object| {
            let intent = K::object(&object.status).intent.as_ref()?;
            Some(intent.token.as_str())
        });
        let sent = self.cloud.requests.iter().filter_map(|request| match &*request.call {
            Call::Create { token, .. } => Some(token.as_str()),
            Call::Change { .. } | Call::Delete { .. } => None,
        });
        let replayed = self.process.seats.iter().filter_map(|seat| match &seat.heard {
            Heard::Known(entry, _) => entry.replayed.as_deref(),
            Heard::Listed(_) | Heard::Nothing => None,
        });
        recorded.chain(sent).chain(replayed).collect()
    }

    /// Whether the creation of a CR's object may still fail.
    pub fn is_settling(&self, cr: &Cr<K>) -> bool {
        let mut things = self.cloud.things.iter();
        things.any(|thing| Some(thing.remote.id()) == cr.recorded_id() && thing.settles.is_some())
    }

    pub fn fingerprint(&self) -> u64 {
        self.print
    }

    fn digest(&self, state: &mut impl Hasher) {
        (self.now, &self.cloud, self.left, &self.skips).hash(state);
        (&self.denied, &self.lag).hash(state);
        (self.harm, self.resent).hash(state);
        for cr in &self.crs {
            (&cr.object, &cr.older, cr.secret, cr.in_force, cr.refused).hash(state);
        }
        let process = &self.process;
        (process.started, &process.known).hash(state);
        for look in &process.queries {
            (&look.look, look.started, look.second, &look.object).hash(state);
            let list = look.list.as_ref().map(|list| (&list.items, list.complete));
            list.hash(state);
        }
        for (seat, cr) in process.seats.iter().zip(&self.crs) {
            let newest = cr.object.as_deref().map(version);
            match &seat.heard {
                Heard::Nothing => 0.hash(state),
                Heard::Listed(object) => (1, object, Some(version(object)) == newest).hash(state),
                Heard::Known(entry, latest) => (2, entry, latest, Some(version(latest)) == newest).hash(state),
            }
            match &seat.phase {
                Phase::Idle => 0.hash(state),
                Phase::Decided(step, object) => (1, step, object, Some(version(object)) == newest).hash(state),
                Phase::Sent(object, secret) => (2, object, secret, Some(version(object)) == newest).hash(state),
                Phase::Recorded(recorded) => {
                    let Recorded {
                        call,
                        before,
                        object,
                        secret,
                        since,
                    } = &**recorded;
                    let is_newest = Some(version(object)) == newest;
                    (3, call, before, object, secret, *since == self.now, is_newest).hash(state);
                }
            }
        }
    }
}

fn first<K: Modelled>(scope: &Scope, index: usize) -> Cr<K> {
    let name = if scope.one_name {
        "shared".to_owned()
    } else {
        format!("own{index}")
    };
    let uid = format!("u{index}");
    let spec = K::wish(false, &name);
    let object = Object {
        metadata: ObjectMeta {
            name: Some(format!("cr{index}")),
            namespace: Some("n".to_owned()),
            uid: Some(uid.clone()),
            resource_version: Some("1".to_owned()),
            finalizers: scope.sparse.then(|| vec![FINALIZER.to_owned()]),
            generation: Some(1),
            ..ObjectMeta::default()
        },
        spec: Ok(spec),
        lifecycle: scope.roles.get(index).copied().unwrap_or_default().lifecycle(),
        status: K::Status::default(),
        broken_status: None,
    };
    Cr {
        uid,
        name,
        object: Some(kept(object)),
        older: Vec::new(),
        secret: Secret { value: 1, version: 1 },
        in_force: None,
        refused: None,
    }
}

impl<K: Modelled> Cr<K> {
    /// Writes the CR; the version before may still be delivered for a while.
    pub fn write(&mut self, remembers: usize, change: impl FnOnce(&mut Object<K>)) {
        let Some(before) = self.object.take() else { return };
        let mut object = Object::clone(&before);
        object.metadata.resource_version = Some((version(&object) + 1).to_string());
        change(&mut object);
        self.older.insert(0, before);
        self.older.truncate(remembers);
        let goes = object.deleting_since().is_some() && object.metadata.finalizers.is_none();
        self.object = (!goes).then(|| kept(object));
        if goes {
            self.older.clear();
        }
    }

    /// Edits the spec: switches between the first spec and an edited one.
    pub fn edit(&mut self, remembers: usize) {
        let name = self.name.clone();
        self.write(remembers, |object| {
            let generation = object.metadata.generation.unwrap_or_default() + 1;
            object.metadata.generation = Some(generation);
            object.spec = Ok(K::wish(generation % 2 == 0, &name));
        });
    }

    /// Changes `managementPolicy` from `Observe` to `Manage`.
    pub fn permit(&mut self, remembers: usize) {
        self.write(remembers, |object| {
            object.metadata.generation = object.metadata.generation.map(|generation| generation + 2);
            object.lifecycle.management_policy = None;
        });
    }

    /// `kubectl delete`.
    pub fn delete(&mut self, remembers: usize) {
        self.write(remembers, |object| {
            object.metadata.generation = object.metadata.generation.map(|generation| generation + 1);
            object.metadata.deletion_timestamp = Some(Time(at(0)));
        });
    }

    /// Whether it only observes, or did so until now.
    pub fn observes(&self) -> bool {
        let object = self.object.as_ref();
        object.is_some_and(|object| {
            let was_observing = K::object(&object.status).observe_only;
            was_observing || object.lifecycle.management() == ManagementPolicy::Observe
        })
    }

    pub fn is_ready(&self) -> bool {
        let object = self.object.as_ref();
        let reason = object.and_then(|object| conditions::ready_reason(&K::object(&object.status).conditions));
        reason == Some(Reason::Available.as_str())
    }

    /// The recorded id.
    pub fn recorded_id(&self) -> Option<&str> {
        self.object
            .as_ref()
            .and_then(|object| K::object(&object.status).id.as_deref())
    }

    /// Whether the record has this id, as its own or as a lost one.
    pub fn has_record_of(&self, id: &str) -> bool {
        let lost = |object: &Kept<Object<K>>| K::lost_ids(&object.status).iter().any(|lost| lost == id);
        self.recorded_id() == Some(id) || self.object.as_ref().is_some_and(lost)
    }

    /// Adds or removes the finalizer.
    pub fn set_finalizer(object: &mut Object<K>, on: bool) {
        object.metadata.finalizers = on.then(|| vec![FINALIZER.to_owned()]);
    }
}

impl<K: Modelled> Hash for World<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.print.hash(state);
    }
}

impl<K: Modelled> PartialEq for World<K> {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint() == other.fingerprint()
    }
}

impl<K: Modelled> fmt::Debug for World<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&super::rest::told(self))
    }
}
