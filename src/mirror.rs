//! What the cloud has, and since when we know: to the cloud what a reflector is to the apiserver.
//!
//! A reader asks for an object or for the whole collection "as of no earlier than T" and is woken when an answer that
//! was *started* after T is in. Readers that wait at the same time share one LIST; a lone reader gets a GET. A LIST
//! proves presence; only a GET proves that a known id is gone. Nobody parks: a reader registers and leaves.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::cloud::{CloudError, Meaning};
use crate::ownership::Owner;

/// GETs under way at once for one collection; what waits beyond them is worth a LIST.
const MAX_GETS: usize = 4;

/// An object of the cloud that a mirror can hold.
pub trait Remote: Clone + Debug + PartialEq + Send + Sync + 'static {
    /// Whether such objects can carry tags, and so tell whose they are.
    const TAGGED: bool;

    fn id(&self) -> &str;
    /// `None` if the answer did not say, or if there can be none.
    fn tags(&self) -> Option<&BTreeMap<String, String>>;
    fn set_tags(&mut self, tags: Option<BTreeMap<String, String>>);
    /// Takes over from an earlier, fuller answer what a list item left out.
    fn complete_from(&mut self, earlier: &Self);
}

/// A finished LIST.
pub struct Listing<R> {
    pub items: Vec<R>,
    /// As many ids as the cloud's total_count: what is not in it was not there.
    pub complete: bool,
}

/// Reads the cloud; each call waits its turn in the request budget.
pub trait Source<R>: Send + Sync + 'static {
    fn list(&self) -> BoxFuture<'_, Result<Listing<R>, CloudError>>;
    fn get<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<R, CloudError>>;
    fn tags<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<BTreeMap<String, String>, CloudError>>;
    /// The cloud's present time, never ahead of it.
    fn cloud_now(&self) -> Timestamp;
    /// Tells that a look at the whole collection ended, for the log and the metrics.
    fn listed(&self, result: Result<usize, &CloudError>);
}

/// Who waits for, or holds, an object.
pub trait Reader: Clone + Debug + Eq + std::hash::Hash + Send + Sync + 'static {}
impl<T: Clone + Debug + Eq + std::hash::Hash + Send + Sync + 'static> Reader for T {}

/// What a reader wants to know.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Look {
    /// One object, by id.
    Object(String),
    /// The same with all of its fields, which a list may leave out: only a GET will do, however many wait.
    Whole(String),
    /// The tags of one object, by id.
    Tags(String),
    /// All of them.
    Collection,
}

/// What is known of one id.
#[derive(Clone, Debug, PartialEq)]
pub enum Sighting<R> {
    /// Nothing.
    Unknown,
    Seen {
        remote: R,
        /// Seen as of the reader's time.
        fresh: bool,
        /// From an answer about this one object, not from a list that may leave fields out.
        full: bool,
    },
    /// The last LIST did not have it, which proves nothing yet.
    Missing,
    /// A GET that was started at the reader's time or later proved it gone.
    Gone,
}

/// The last finished LIST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Started at the reader's time or later.
    pub fresh: bool,
    /// The cloud's time when it was started.
    pub started: Timestamp,
    pub complete: bool,
}

/// Many of a credential's objects went missing at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MassDeletion {
    pub missing: usize,
    pub of: usize,
}

impl MassDeletion {
    /// More than max(10, 20 %) are missing at once.
    pub fn suspected(missing: usize, of: usize) -> Option<Self> {
        (missing > 10.max(of / 5)).then_some(Self { missing, of })
    }
}

struct Entry<R> {
    remote: R,
    as_of: Instant,
    full: bool,
    /// The last LIST spoke of tags.
    tags_listed: bool,
}

struct Want<K> {
    reader: K,
    look: Look,
    since: Instant,
}

struct State<R, K> {
    entries: HashMap<String, Entry<R>>,
    /// Ids by the uid, and by the place, that their tags name.
    by_uid: HashMap<String, BTreeSet<String>>,
    by_place: HashMap<(String, String, String), BTreeSet<String>>,
    untold: HashSet<String>,
    listed: Option<(Instant, Timestamp, bool)>,
    /// Ids that a GET proved gone, and when it was started.
    gone: HashMap<String, Instant>,
    /// Ids that were proved gone while a look was under way, and when: what began before must not bring them back.
    buried: HashMap<String, Instant>,
    /// Held ids that the last complete LIST did not have.
    missing: HashSet<String>,
    /// Held ids whose creation may still come to nothing: that they are missing is no loss.
    unconfirmed: HashSet<String>,
    /// Which reader holds which id, and which uid.
    holders: HashMap<String, K>,
    ids: HashMap<K, String>,
    uids: HashMap<String, K>,
    /// Who wants to hear of an id that is not (yet) his.
    curious: HashMap<String, HashSet<K>>,
    watched: HashMap<K, String>,
    wants: Vec<Want<K>>,
    looking_at: HashSet<Look>,
    failures: HashMap<K, CloudError>,
}

/// See the module. `R` is what is mirrored, `K` names a reader.
pub struct Mirror<R, K> {
    owner_tag_key: String,
    source: Arc<dyn Source<R>>,
    wake: Box<dyn Fn(K) + Send + Sync>,
    state: Mutex<State<R, K>>,
}

impl<R: Remote, K: Reader> Mirror<R, K> {
    /// `wake` is called, at once and without waiting, for readers whose answer is in or whose object differs.
    pub fn new(
        owner_tag_key: String,
        source: Arc<dyn Source<R>>,
        wake: impl Fn(K) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let state = State {
            entries: HashMap::new(),
            by_uid: HashMap::new(),
            by_place: HashMap::new(),
            untold: HashSet::new(),
            listed: None,
            gone: HashMap::new(),
            buried: HashMap::new(),
            missing: HashSet::new(),
            unconfirmed: HashSet::new(),
            holders: HashMap::new(),
            ids: HashMap::new(),
            uids: HashMap::new(),
            curious: HashMap::new(),
            watched: HashMap::new(),
            wants: Vec::new(),
            looking_at: HashSet::new(),
            failures: HashMap::new(),
        };
        Arc::new(Self {
            owner_tag_key,
            source,
            wake: Box::new(wake),
            state: Mutex::new(state),
        })
    }

    /// Asks for an answer that is started at `since` or later; the reader is woken when it is in.
    pub fn want(self: &Arc<Self>, reader: K, look: Look, since: Instant) {
        let mut state = self.lock();
        let is_in = |id: &String| state.entries.get(id).is_some_and(|entry| entry.as_of >= since);
        if matches!(&look, Look::Object(id) if is_in(id)) {
            // It came while the reader was busy elsewhere.
            drop(state);
            (self.wake)(reader);
            return;
        }
        let same = |want: &Want<K>| want.reader == reader && want.look == look;
        match state.wants.iter_mut().find(|want| same(want)) {
            Some(want) => want.since = want.since.max(since),
            None => state.wants.push(Want { reader, look, since }),
        }
        self.start_looks(&mut state);
    }

    /// Looks at the whole collection for nobody in particular: the drift poll.
    pub fn relist(self: &Arc<Self>) {
        let mut state = self.lock();
        self.start(&mut state, Look::Collection);
    }

    /// A look that this reader asked for failed; told once.
    pub fn take_failure(&self, reader: &K) -> Option<CloudError> {
        self.lock().failures.remove(reader)
    }

    /// From now on the reader is woken when its object differs, or when an object with its uid shows up.
    pub fn hold(&self, reader: &K, uid: &str, id: Option<&str>) {
        let mut state = self.lock();
        if state.uids.get(uid) != Some(reader) {
            state.uids.insert(uid.to_owned(), reader.clone());
        }
        if state.ids.get(reader).map(String::as_str) == id {
            return;
        }
        state.release_id(reader);
        if let Some(id) = id {
            state.ids.insert(reader.clone(), id.to_owned());
            state.holders.insert(id.to_owned(), reader.clone());
        }
    }

    /// Says whether a held object's creation is confirmed.
    pub fn confirm(&self, id: &str, confirmed: bool) {
        let mut state = self.lock();
        if confirmed || !state.holders.contains_key(id) {
            state.unconfirmed.remove(id);
        } else {
            state.unconfirmed.insert(id.to_owned());
        }
    }

    /// The reader is woken when this object, which it does not hold, comes, goes or changes.
    pub fn watch(&self, reader: &K, id: Option<&str>) {
        let mut state = self.lock();
        if state.watched.get(reader).map(String::as_str) == id {
            return;
        }
        state.forget_curiosity(reader);
        if let Some(id) = id {
            state.curious.entry(id.to_owned()).or_default().insert(reader.clone());
            state.watched.insert(reader.clone(), id.to_owned());
        }
    }

    /// The reader is no more.
    pub fn forget(&self, reader: &K) {
        let mut state = self.lock();
        state.release_id(reader);
        state.forget_curiosity(reader);
        state.uids.retain(|_, other| other != reader);
        state.wants.retain(|want| want.reader != *reader);
        state.failures.remove(reader);
    }

    /// Takes an id for a reader unless another has it: of two that want one object, one gets it.
    pub fn claim(&self, reader: &K, uid: &str, id: &str) -> bool {
        if self.lock().holders.get(id).is_some_and(|holder| holder != reader) {
            return false;
        }
        self.hold(reader, uid, Some(id));
        true
    }

    /// The last LIST, judged by a reader's time.
    pub fn listed(&self, since: Option<Instant>) -> Option<Listed> {
        self.lock().listed.map(|(at, started, complete)| Listed {
            fresh: is_fresh(at, since),
            started,
            complete,
        })
    }

    /// What is known of an id, judged by a reader's time.
    pub fn sighting(&self, id: &str, since: Option<Instant>) -> Sighting<R> {
        let state = self.lock();
        if let Some(entry) = state.entries.get(id) {
            return Sighting::Seen {
                remote: entry.remote.clone(),
                fresh: is_fresh(entry.as_of, since),
                full: entry.full,
            };
        }
        match state.gone.get(id) {
            Some(at) if is_fresh(*at, since) => Sighting::Gone,
            _ if state.missing.contains(id) => Sighting::Missing,
            _ => Sighting::Unknown,
        }
    }

    /// Objects whose tag names this uid.
    pub fn owned_by(&self, uid: &str) -> Vec<R> {
        let state = self.lock();
        state.pick(state.by_uid.get(uid))
    }

    /// Objects whose tag names this place, under whichever uid.
    pub fn at_place_of(&self, owner: &Owner) -> Vec<R> {
        let state = self.lock();
        state.pick(state.by_place.get(&place(owner)))
    }

    /// Objects whose tags are not known and that could be what `matches` looks for.
    pub fn untold(&self, matches: impl Fn(&R) -> bool) -> Vec<String> {
        let state = self.lock();
        let candidates = state.untold.iter().filter_map(|id| state.entries.get(id));
        candidates
            .filter(|entry| matches(&entry.remote))
            .map(|entry| entry.remote.id().to_owned())
            .collect()
    }

    /// Objects without an owner tag that nobody holds.
    pub fn unowned(&self, matches: impl Fn(&R) -> bool) -> Vec<R> {
        let state = self.lock();
        let free = state.entries.values().filter(|entry| {
            let tags = entry.remote.tags();
            let owned = R::TAGGED && tags.is_none_or(|tags| tags.contains_key(&self.owner_tag_key));
            !owned && !state.holders.contains_key(entry.remote.id())
        });
        free.filter(|entry| matches(&entry.remote))
            .map(|entry| entry.remote.clone())
            .collect()
    }

    /// Objects of any kind of ownership, of the last looks.
    pub fn find(&self, matches: impl Fn(&R) -> bool) -> Vec<R> {
        let state = self.lock();
        let entries = state.entries.values().map(|entry| &entry.remote);
        entries.filter(|remote| matches(remote)).cloned().collect()
    }

    /// Whether another reader holds this object.
    pub fn is_held_by_another(&self, reader: &K, id: &str) -> bool {
        self.lock().holders.get(id).is_some_and(|holder| holder != reader)
    }

    /// How many of the held objects are missing, and of how many.
    pub fn losses(&self) -> (usize, usize) {
        let state = self.lock();
        let is_lost = |id: &&String| {
            (state.missing.contains(*id) || state.gone.contains_key(*id)) && !state.unconfirmed.contains(*id)
        };
        (state.holders.keys().filter(is_lost).count(), state.holders.len())
    }

    /// The answer of one of our own writes: it is newer than any look that began before it.
    pub fn wrote(&self, remote: R) {
        let mut state = self.lock();
        let id = remote.id().to_owned();
        state.gone.remove(&id);
        state.missing.remove(&id);
        self.put(&mut state, remote, Instant::now(), true, true);
    }

    /// One of our own writes, which was answered without the object, changed it so.
    pub fn wrote_change(&self, id: &str, change: impl FnOnce(&mut R)) {
        let mut state = self.lock();
        let Some(entry) = state.entries.get(id) else { return };
        let (mut remote, full) = (entry.remote.clone(), entry.full);
        change(&mut remote);
        self.put(&mut state, remote, Instant::now(), full, true);
    }

    /// A write of ours was answered with "no such object".
    pub fn proved_gone(&self, id: &str) {
        let mut state = self.lock();
        let now = Instant::now();
        state.remove(id, &self.owner_tag_key);
        state.gone.insert(id.to_owned(), now);
        state.bury(id, now);
    }

    fn lock(&self) -> MutexGuard<'_, State<R, K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts as few requests as answer all that is wanted.
    fn start_looks(self: &Arc<Self>, state: &mut State<R, K>) {
        let singles: BTreeSet<(u8, String)> = state
            .wants
            .iter()
            .filter_map(|want| match &want.look {
                Look::Object(id) => Some((0, id.clone())),
                Look::Tags(id) => Some((1, id.clone())),
                Look::Whole(id) => Some((2, id.clone())),
                Look::Collection => None,
            })
            .collect();
        let collection_wanted = state.wants.iter().any(|want| want.look == Look::Collection);
        let waiting_objects = singles.iter().filter(|(kind, _)| *kind == 0).count();
        let pages = state.entries.len() / 200 + 1;
        if state.listed.is_none() || collection_wanted || waiting_objects > MAX_GETS.max(pages) {
            if !state.wants.is_empty() {
                self.start(state, Look::Collection);
            }
            if state.listed.is_none() {
                return;
            }
        }
        let listing = state.looking_at.contains(&Look::Collection);
        for (kind, id) in singles {
            let under_way = state
                .looking_at
                .iter()
                .filter(|look| **look != Look::Collection)
                .count();
            if under_way >= MAX_GETS {
                break;
            }
            let proves_absence = state.missing.contains(&id);
            match kind {
                // A LIST that is under way will tell, unless it is an absence that must be proved.
                0 if listing && !proves_absence && waiting_objects > MAX_GETS => {}
                1 => self.start(state, Look::Tags(id)),
                _ => self.start(state, Look::Object(id)),
            }
        }
    }

    fn start(self: &Arc<Self>, state: &mut State<R, K>, look: Look) {
        if !state.looking_at.insert(look.clone()) {
            return;
        }
        let mirror = Arc::clone(self);
        tokio::spawn(async move {
            let started = Instant::now();
            let cloud_started = mirror.source.cloud_now();
            let woken = match &look {
                Look::Collection => {
                    let result = mirror.source.list().await;
                    mirror.source.listed(result.as_ref().map(|listing| listing.items.len()));
                    mirror.ended_list(result, started, cloud_started)
                }
                Look::Object(id) | Look::Whole(id) => {
                    let result = mirror.source.get(id).await;
                    mirror.ended_get(&look, id, result, started)
                }
                Look::Tags(id) => {
                    let result = mirror.source.tags(id).await;
                    mirror.ended_tags(&look, id, result, started)
                }
            };
            for reader in woken {
                (mirror.wake)(reader);
            }
            mirror.start_looks(&mut mirror.lock());
        });
    }

    fn ended_list(
        &self,
        result: Result<Listing<R>, CloudError>,
        started: Instant,
        cloud_started: Timestamp,
    ) -> HashSet<K> {
        let mut state = self.lock();
        let listing = match result {
            Ok(listing) => listing,
            Err(error) => {
                state.ended(&Look::Collection);
                return state.fail(|want| want.since <= started, &error);
            }
        };
        let mut woken = HashSet::new();
        let present: HashSet<String> = listing.items.iter().map(|item| item.id().to_owned()).collect();
        for item in listing.items {
            self.take_list_item(&mut state, item, started, &mut woken);
        }
        let lost: Vec<String> = state
            .entries
            .iter()
            .filter(|(id, entry)| !present.contains(*id) && entry.as_of < started)
            .map(|(id, _)| id.clone())
            .collect();
        for id in lost {
            match state.holders.get(&id).cloned() {
                // What somebody holds and an incomplete LIST skipped is neither gone nor news.
                Some(_) if !listing.complete => continue,
                Some(reader) => {
                    state.missing.insert(id.clone());
                    woken.insert(reader);
                }
                None => woken.extend(state.curious.get(&id).into_iter().flatten().cloned()),
            }
            state.remove(&id, &self.owner_tag_key);
        }
        if listing.complete {
            let unseen: Vec<(String, K)> = state
                .holders
                .iter()
                .filter(|(id, _)| !state.entries.contains_key(*id) && !state.gone.contains_key(*id))
                .map(|(id, reader)| (id.clone(), reader.clone()))
                .collect();
            for (id, reader) in unseen {
                if state.missing.insert(id) {
                    woken.insert(reader);
                }
            }
        }
        state.listed = Some((started, cloud_started, listing.complete));
        state.ended(&Look::Collection);
        // What nobody holds needs no proof of its absence any more.
        let State {
            gone, holders, curious, ..
        } = &mut *state;
        gone.retain(|id, _| holders.contains_key(id) || curious.contains_key(id));
        let seen: HashMap<String, Instant> = state
            .entries
            .iter()
            .map(|(id, entry)| (id.clone(), entry.as_of))
            .collect();
        let answered = state.answer(|want| {
            want.since <= started
                && match &want.look {
                    Look::Collection => true,
                    Look::Object(id) => seen.get(id).is_some_and(|as_of| *as_of >= want.since),
                    Look::Tags(_) | Look::Whole(_) => false,
                }
        });
        woken.extend(answered);
        woken
    }

    fn take_list_item(&self, state: &mut State<R, K>, mut item: R, started: Instant, woken: &mut HashSet<K>) {
        let id = item.id().to_owned();
        if state.is_buried(&id, started) {
            return;
        }
        let speaks_of_tags = item.tags().is_some();
        let mut full = false;
        let mut news = true;
        if let Some(entry) = state.entries.get(&id) {
            if entry.as_of >= started {
                return;
            }
            let told = item.tags().cloned();
            item.complete_from(&entry.remote);
            // A list that never speaks of tags tells nothing; one that has stopped doing so may.
            item.set_tags(match told {
                None if entry.tags_listed => None,
                None => entry.remote.tags().cloned(),
                told => told,
            });
            news = item != entry.remote;
            // Without tags, a list item has nothing to be completed from but what was the same.
            full = entry.full && (R::TAGGED || !news);
        }
        let back = state.missing.remove(&id) | state.gone.remove(&id).is_some();
        if news || back {
            woken.extend(state.holders.get(&id).cloned());
            woken.extend(state.curious.get(&id).into_iter().flatten().cloned());
            woken.extend(self.uid_of(&item).and_then(|uid| state.uids.get(&uid).cloned()));
        }
        self.put(state, item, started, full, speaks_of_tags);
    }

    fn ended_get(&self, look: &Look, id: &str, result: Result<R, CloudError>, started: Instant) -> HashSet<K> {
        let mut state = self.lock();
        let is_buried = state.is_buried(id, started);
        state.ended(look);
        let is_about_it = |want: &Want<K>| matches!(&want.look, Look::Object(it) | Look::Whole(it) if it == id);
        let asked = |want: &Want<K>| want.since <= started && is_about_it(want);
        match result {
            // Gone since: the next look says so.
            Ok(_) if is_buried => {}
            Ok(remote) => {
                let newer = state.entries.get(id).is_none_or(|entry| entry.as_of < started);
                state.gone.remove(id);
                state.missing.remove(id);
                if newer {
                    let tags_listed = state.entries.get(id).is_some_and(|entry| entry.tags_listed);
                    self.put(&mut state, remote, started, true, tags_listed);
                }
            }
            Err(error) if error.meaning == Meaning::Gone => {
                if state.entries.get(id).is_none_or(|entry| entry.as_of < started) {
                    state.remove(id, &self.owner_tag_key);
                    state.gone.insert(id.to_owned(), started);
                    state.bury(id, started);
                }
            }
            Err(error) => return state.fail(asked, &error),
        }
        state.answer(asked)
    }

    fn ended_tags(
        &self,
        look: &Look,
        id: &str,
        result: Result<BTreeMap<String, String>, CloudError>,
        started: Instant,
    ) -> HashSet<K> {
        let mut state = self.lock();
        state.ended(look);
        let asked = |want: &Want<K>| want.since <= started && want.look == *look;
        match result {
            Ok(tags) => {
                if let Some(entry) = state.entries.get(id) {
                    let (mut remote, as_of, full) = (entry.remote.clone(), entry.as_of, entry.full);
                    remote.set_tags(Some(tags));
                    self.put(&mut state, remote, as_of, full, false);
                }
            }
            // Only a GET of the object itself proves that it is gone.
            Err(error) if error.meaning == Meaning::Gone => {
                state.remove(id, &self.owner_tag_key);
                if state.holders.contains_key(id) {
                    state.missing.insert(id.to_owned());
                }
            }
            Err(error) => return state.fail(asked, &error),
        }
        state.answer(asked)
    }

    fn put(&self, state: &mut State<R, K>, remote: R, as_of: Instant, full: bool, tags_listed: bool) {
        let id = remote.id().to_owned();
        state.remove(&id, &self.owner_tag_key);
        match remote.tags() {
            None => {
                if R::TAGGED {
                    state.untold.insert(id.clone());
                }
            }
            Some(tags) => {
                if let Some(owner) = tags.get(&self.owner_tag_key).and_then(|value| Owner::parse(value)) {
                    state.by_place.entry(place(&owner)).or_default().insert(id.clone());
                    state.by_uid.entry(owner.uid).or_default().insert(id.clone());
                }
            }
        }
        state.entries.insert(
            id,
            Entry {
                remote,
                as_of,
                full,
                tags_listed,
            },
        );
    }

    fn uid_of(&self, remote: &R) -> Option<String> {
        let value = remote.tags()?.get(&self.owner_tag_key)?;
        Owner::parse(value).map(|owner| owner.uid)
    }
}

impl<R: Remote, K: Reader> State<R, K> {
    fn pick(&self, ids: Option<&BTreeSet<String>>) -> Vec<R> {
        let ids = ids.into_iter().flatten();
        ids.filter_map(|id| self.entries.get(id))
            .map(|entry| entry.remote.clone())
            .collect()
    }

    fn remove(&mut self, id: &str, owner_tag_key: &str) {
        self.untold.remove(id);
        let Some(entry) = self.entries.remove(id) else { return };
        let owner = entry
            .remote
            .tags()
            .and_then(|tags| tags.get(owner_tag_key))
            .and_then(|value| Owner::parse(value));
        let Some(owner) = owner else { return };
        remove_from(&mut self.by_place, &place(&owner), id);
        remove_from(&mut self.by_uid, &owner.uid, id);
    }

    fn bury(&mut self, id: &str, at: Instant) {
        if !self.looking_at.is_empty() {
            self.buried.insert(id.to_owned(), at);
        }
    }

    fn is_buried(&self, id: &str, started: Instant) -> bool {
        self.buried.get(id).is_some_and(|at| *at >= started)
    }

    fn ended(&mut self, look: &Look) {
        self.looking_at.remove(look);
        if self.looking_at.is_empty() {
            self.buried.clear();
        }
    }

    fn release_id(&mut self, reader: &K) {
        let Some(id) = self.ids.remove(reader) else { return };
        if self.holders.get(&id) == Some(reader) {
            self.holders.remove(&id);
            self.unconfirmed.remove(&id);
            self.missing.remove(&id);
            self.gone.remove(&id);
        }
    }

    fn forget_curiosity(&mut self, reader: &K) {
        let Some(id) = self.watched.remove(reader) else { return };
        if let Some(readers) = self.curious.get_mut(&id) {
            readers.remove(reader);
            if readers.is_empty() {
                self.curious.remove(&id);
            }
        }
    }

    /// The readers whose wants are answered.
    fn answer(&mut self, asked: impl Fn(&Want<K>) -> bool) -> HashSet<K> {
        let mut readers = HashSet::new();
        self.wants.retain(|want| {
            let is_answered = asked(want);
            if is_answered {
                readers.insert(want.reader.clone());
            }
            !is_answered
        });
        readers
    }

    fn fail(&mut self, asked: impl Fn(&Want<K>) -> bool, error: &CloudError) -> HashSet<K> {
        let readers = self.answer(asked);
        for reader in &readers {
            self.failures.insert(reader.clone(), error.clone());
        }
        readers
    }
}

fn remove_from<Q: std::hash::Hash + Eq>(index: &mut HashMap<Q, BTreeSet<String>>, key: &Q, id: &str) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}

fn place(owner: &Owner) -> (String, String, String) {
    (owner.cluster.clone(), owner.namespace.clone(), owner.name.clone())
}

fn is_fresh(at: Instant, since: Option<Instant>) -> bool {
    since.is_none_or(|since| at >= since)
}

#[cfg(test)]
#[path = "mirror_tests.rs"]
mod tests;
