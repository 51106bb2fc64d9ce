//! A state of the model: the cloud, the apiserver, the operator's process, and how much may still go wrong.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use tokio::time::Instant;

use crate::api::{Lifecycle, ManagementPolicy};
use crate::cache::{CacheContents, Listing, Query, Remote};
use crate::decide::step::Step;
use crate::model::cloud::{ModelCloud, Skip, WriteCall};
use crate::model::cr::{Cr, first, version};
use crate::model::kept::Kept;
use crate::model::kinds::{Modelled, Secret};
use crate::model::scope::{EventLimits, ModelScope};
use crate::object::Object;
use crate::object_state::ObjectState;
use crate::terms::key::ObjectKey;

/// What the process knows of a CR.
pub(crate) enum CrKnowledge<K: Modelled> {
    Nothing,
    /// The watch has listed it; it was not reconciled yet.
    Listed(Kept<Object<K>>),
    /// The remembered state, and the remembered version of the CR.
    Known(Kept<ObjectState<K>>, Kept<Object<K>>),
}

/// What the process does about a CR.
pub(crate) enum Phase<K: Modelled> {
    Idle,
    /// A step is decided and not begun. Only used where another CR can act in between.
    Decided(Kept<Step<K>>, Kept<Object<K>>),
    /// A write is recorded, and not sent.
    Recorded(Arc<RecordedWrite<K>>),
    /// A request was sent. With the CR as it was written for it, and the Secret as it was read.
    Sent(Kept<Object<K>>, Secret),
}

/// A write that waits for its permit.
pub(crate) struct RecordedWrite<K: Modelled> {
    pub call: Kept<WriteCall<K>>,
    /// As it was when the write was decided on.
    pub before: Kept<Object<K>>,
    pub object: Kept<Object<K>>,
    pub secret: Secret,
    /// The second at which it was recorded.
    pub since: u16,
}

/// A read or list that was started.
pub(crate) struct StartedQuery<K: Modelled> {
    pub query: Query,
    pub started: Instant,
    pub second: u16,
    /// What the cloud had then.
    pub list: Option<Listing<K::Remote>>,
    pub object: Option<K::Remote>,
}

/// A place for each CR in the process.
pub(crate) struct Seat<K: Modelled> {
    pub heard: CrKnowledge<K>,
    pub phase: Phase<K>,
}

/// The operator's process: all of it is lost when it is killed.
pub(crate) struct Process<K: Modelled> {
    pub started: Instant,
    pub known: Kept<CacheContents<K::Remote, ObjectKey>>,
    pub queries: Vec<Arc<StartedQuery<K>>>,
    pub seats: Vec<Seat<K>>,
}

/// A replica that lacks an object, and which reads it still answers.
#[derive(Clone, Hash)]
pub(crate) struct Lag {
    pub id: String,
    pub answers_read: bool,
    pub answers_list: bool,
}

/// See the module.
pub(crate) struct ModelWorld<K: Modelled> {
    /// Seconds of the cloud's clock.
    pub now: u16,
    pub cloud: ModelCloud<K>,
    pub crs: Vec<Cr<K>>,
    pub process: Process<K>,
    pub left: EventLimits,
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

impl<K: Modelled> Clone for CrKnowledge<K> {
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

impl<K: Modelled> Clone for ModelWorld<K> {
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

pub(crate) fn kept_known<K: Modelled>(
    known: CacheContents<K::Remote, ObjectKey>,
) -> Kept<CacheContents<K::Remote, ObjectKey>> {
    Kept::new(known, CacheContents::hash)
}

pub(crate) fn kept_entry<K: Modelled>(entry: ObjectState<K>) -> Kept<ObjectState<K>> {
    Kept::new(entry, ObjectState::fingerprint)
}

impl<K: Modelled> ModelWorld<K> {
    /// The initial state: new CRs, and a process that has just started.
    pub(crate) fn new(scope: &ModelScope, base: Instant) -> Self {
        let crs: Vec<Cr<K>> = (0..scope.crs).map(|index| first(scope, index)).collect();
        let seats = crs.iter().map(|cr| Seat {
            heard: CrKnowledge::Listed(cr.object.clone().expect("just made")),
            phase: Phase::Idle,
        });
        let mut world = Self {
            now: 0,
            cloud: ModelCloud::default(),
            process: Process {
                started: base,
                known: kept_known::<K>(CacheContents::new(crate::model::kinds::OWNER_KEY.to_owned())),
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
    pub(crate) fn normalize(&mut self, base: Instant) {
        self.forget_tokens();
        self.reduce_instants(base);
        self.seal();
    }

    /// Computes its fingerprint.
    pub(crate) fn seal(&mut self) {
        let mut hasher = std::collections::hash_map::DefaultHasher::new();
        self.digest(&mut hasher);
        self.print = hasher.finish();
    }

    /// The key of a CR.
    pub(crate) fn key(index: usize) -> ObjectKey {
        ObjectKey::new(K::KIND, "n", &format!("cr{index}"))
    }

    /// Every state of a CR that exists, is held by the process, or may still be delivered.
    pub(crate) fn records(&self) -> impl Iterator<Item = &Object<K>> {
        let written = self.crs.iter().flat_map(|cr| cr.object.iter().chain(&cr.older));
        let seats = self.process.seats.iter();
        let heard = seats.clone().filter_map(|seat| match &seat.heard {
            CrKnowledge::Known(_, object) | CrKnowledge::Listed(object) => Some(object),
            CrKnowledge::Nothing => None,
        });
        let at_work = seats.filter_map(|seat| match &seat.phase {
            Phase::Decided(_, object) | Phase::Sent(object, _) => Some(object),
            Phase::Recorded(recorded) => Some(&recorded.object),
            Phase::Idle => None,
        });
        written.chain(heard).chain(at_work).map(|object| &**object)
    }

    /// What the process believes a CR to be.
    pub(crate) fn believed(&self, index: usize) -> Option<Arc<Object<K>>> {
        match &self.process.seats[index].heard {
            CrKnowledge::Nothing => None,
            CrKnowledge::Listed(object) => Some(object.shared()),
            CrKnowledge::Known(entry, _) => Some(entry.latest()),
        }
    }

    /// Whether a create request of a CR may still take effect.
    pub(crate) fn may_still_create(&self, uid: &str) -> bool {
        let creates = |call: &WriteCall<K>| matches!(call, WriteCall::Create { .. });
        let requests = self.cloud.requests.iter();
        requests
            .filter(|request| request.done.is_none() && request.uid == uid)
            .any(|request| creates(&request.call))
    }

    /// Whether a request about an existing object is answered with 404: once.
    pub(crate) fn takes_denial(&mut self, id: &str) -> bool {
        self.denied.take_if(|denied| denied == id).is_some()
    }

    /// Whether a lagging replica answers a read of an object.
    pub(crate) fn takes_lagging_read(&mut self, id: &str) -> bool {
        let is_taken = |lag: &mut Lag| lag.id == id && std::mem::take(&mut lag.answers_read);
        let is_lagging = self.lag.as_mut().is_some_and(is_taken);
        self.forget_lag();
        is_lagging
    }

    /// What the next list lacks, if a lagging replica answers it.
    pub(crate) fn takes_lagging_list(&mut self) -> Option<Skip> {
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
    pub(crate) fn owned(&self, uid: &str) -> usize {
        let things = self.cloud.things.iter();
        things.filter(|thing| thing.owner.as_deref() == Some(uid)).count()
    }

    /// Removes requests that took effect and that nobody waits for.
    pub(crate) fn forget_done(&mut self) {
        self.cloud
            .requests
            .retain(|request| request.by.is_some() || request.done.is_none());
    }

    /// An unmanaged object becomes a CR's own when the CR adopts it.
    pub(crate) fn adopted(&mut self, id: &str, object: &Object<K>) {
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
    pub(crate) fn recorded_as_lost(&mut self, id: &str) {
        let given_up = self.cloud.things.iter_mut().find(|thing| thing.remote.id() == id);
        if let Some(thing) = given_up.filter(|_| K::Remote::TAGGED) {
            thing.owner = None;
        }
    }

    /// An object with a CR's tag becomes the CR's own when the CR takes it.
    pub(crate) fn taken_by_tag(&mut self, id: &str, uid: &str) {
        for thing in &mut self.cloud.things {
            let tag = thing
                .remote
                .tags()
                .and_then(|tags| tags.get(crate::model::kinds::OWNER_KEY));
            if thing.remote.id() == id && tag.is_some_and(|tag| tag.split(':').next() == Some(uid)) {
                thing.owner = Some(uid.to_owned());
            }
        }
    }

    /// Returns an unused token. It is not random: a random one would differ in every state.
    pub(crate) fn free_token(&self) -> String {
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
            WriteCall::Create { token, .. } => Some(token.as_str()),
            WriteCall::Change { .. } | WriteCall::Delete { .. } => None,
        });
        let replayed = self.process.seats.iter().filter_map(|seat| match &seat.heard {
            CrKnowledge::Known(entry, _) => entry.replayed_token(),
            CrKnowledge::Listed(_) | CrKnowledge::Nothing => None,
        });
        recorded.chain(sent).chain(replayed).collect()
    }

    /// Whether the creation of a CR's object may still fail.
    pub(crate) fn awaits_confirmation(&self, cr: &Cr<K>) -> bool {
        let mut things = self.cloud.things.iter();
        things.any(|thing| Some(thing.remote.id()) == cr.recorded_id() && thing.confirmed_at.is_some())
    }

    pub(crate) fn fingerprint(&self) -> u64 {
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
        for query in &process.queries {
            (&query.query, query.started, query.second, &query.object).hash(state);
            let list = query.list.as_ref().map(|list| (&list.items, list.complete));
            list.hash(state);
        }
        for (seat, cr) in process.seats.iter().zip(&self.crs) {
            let newest = cr.object.as_deref().map(version);
            match &seat.heard {
                CrKnowledge::Nothing => 0.hash(state),
                CrKnowledge::Listed(object) => (1, object, Some(version(object)) == newest).hash(state),
                CrKnowledge::Known(entry, latest) => (2, entry, latest, Some(version(latest)) == newest).hash(state),
            }
            match &seat.phase {
                Phase::Idle => 0.hash(state),
                Phase::Decided(step, object) => (1, step, object, Some(version(object)) == newest).hash(state),
                Phase::Sent(object, secret) => (2, object, secret, Some(version(object)) == newest).hash(state),
                Phase::Recorded(recorded) => {
                    let RecordedWrite {
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

impl<K: Modelled> Hash for ModelWorld<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.print.hash(state);
    }
}

impl<K: Modelled> PartialEq for ModelWorld<K> {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint() == other.fingerprint()
    }
}

impl<K: Modelled> fmt::Debug for ModelWorld<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&crate::model::rest::describe(self))
    }
}
