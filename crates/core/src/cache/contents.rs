//! What the cache knows of the cloud: entries, indexes of owners, and which reader holds or watches what. Plain data: it
//! sends no requests and reads no clock. See `queries` for what is read next, `answers` for how answers change it.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use vpn_cloud::CloudError;

use crate::cache::listed_item::ListedItem;
use crate::cache::losses::{IfMissing, Losses, LostAt};
use crate::cache::pending::PendingQueries;
use crate::cache::query::{LastList, Observed, Query, ReaderKey, Remote, Urgency};
use crate::cache::stored_remote::StoredRemote;
use crate::compact_json::Dictionary;
use crate::compact_set::CompactSet;
use crate::owner_tag::Owner;

/// An object of the cloud, as last read.
#[derive(Clone)]
pub(super) struct CacheEntry<R> {
    pub remote: StoredRemote<R>,
    /// Some of its fields are unknown.
    pub is_partial: bool,
    /// When the read of it was started.
    pub as_of: Instant,
    /// Whether it is from an answer about this one object, not from a list that may omit fields.
    pub full: bool,
    /// Whether any LIST has shown it.
    pub was_listed: bool,
    /// Whether the last LIST returned its tags.
    pub tags_listed: bool,
    /// When its tags were last read by a request other than a LIST.
    pub tags_read_at: Option<Instant>,
}

impl<R: Remote> CacheEntry<R> {
    /// Whether a complete answer is known that was requested at `since` or later.
    pub(super) fn is_known_at(&self, since: Instant) -> bool {
        !self.is_partial && self.as_of >= since
    }
}

/// A "no such object" answer for one id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Absence {
    /// When the request was started.
    pub at: Instant,
    /// Whether a LIST confirms it.
    pub list: Confirmation,
}

/// What the last LIST that was started after such an answer shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Confirmation {
    /// There was no such LIST.
    Pending,
    /// It lacked the object, but was incomplete.
    Incomplete,
    /// It was complete and lacked the object; or it was incomplete, and another such answer came after it.
    Confirmed,
}

/// See the module.
#[derive(Clone)]
pub struct CacheContents<R, K> {
    /// Key of the owner tag.
    pub(super) owner_tag_key: String,
    /// For the entries. `None`: they are kept parsed.
    pub(super) dictionary: Option<Arc<Dictionary>>,
    /// By id: the objects, as last read.
    pub(super) entries: HashMap<Arc<str>, CacheEntry<R>>,
    /// Ids by the hash of the uid in their owner tags.
    pub(super) by_uid: HashMap<u64, CompactSet<Arc<str>>>,
    /// Ids by the hash of cluster, namespace and name in their owner tags.
    pub(super) by_place: HashMap<u64, CompactSet<Arc<str>>>,
    /// Ids by the hash of their identifiers; only kinds that have one.
    pub(super) by_identifier: HashMap<u64, CompactSet<Arc<str>>>,
    /// Ids of the entries of such kinds whose identifier is unknown.
    pub(super) identifier_unknown: HashSet<Arc<str>>,
    pub(super) hasher: RandomState,
    /// Ids of the entries whose tags, or fields that a list cannot show, are unknown.
    pub(super) tags_unknown: HashSet<Arc<str>>,
    /// Ids with a holder or watcher that the last LIST returned without all fields.
    pub(super) unread: BTreeSet<String>,
    /// The last LIST omitted the tags of an object with a holder or watcher.
    pub(super) tags_omitted: bool,
    /// The last successful LIST: its start by our clock and by the cloud's, and whether it was complete.
    pub(super) listed: Option<(Instant, Timestamp, bool)>,
    /// When this process last created or deleted an object.
    pub(super) wrote_at: Option<Instant>,
    /// How many LISTs in a row were incomplete since objects were created or deleted meanwhile.
    pub(super) disturbed: u32,
    /// A LIST has ended, successfully or not.
    pub(super) was_listed: bool,
    /// Ids for which a GET, or a write of this process, was answered with "no such object".
    pub(super) absences: HashMap<String, Absence>,
    /// The same while other queries were in progress, and when: an older query must not restore the entry.
    pub(super) tombstones: HashMap<String, Instant>,
    /// Held ids that the last complete LIST lacked, or whose tags were answered with "no such object".
    pub(super) missing: HashSet<String>,
    /// Which held objects are missing, and since when.
    pub(super) losses: Losses<K>,
    /// By id: the reader that holds it.
    pub(super) holders: HashMap<Arc<str>, K>,
    /// By reader: the id that it holds.
    pub(super) ids: HashMap<K, Arc<str>>,
    /// By uid of a custom resource: its reader.
    pub(super) uids: HashMap<Arc<str>, K>,
    /// By reader: the uids under which it is found.
    pub(super) uids_of: HashMap<K, CompactSet<Arc<str>>>,
    /// Readers that watch an id that they do not hold (yet).
    pub(super) watchers: HashMap<String, HashSet<K>>,
    /// By reader: the id that it watches.
    pub(super) watched: HashMap<K, String>,
    /// Queries that wait for an answer.
    pub(super) pending: PendingQueries<K>,
    /// Queries that are due and have not ended.
    pub(super) in_progress: HashMap<Query, Urgency>,
    /// By reader: the failure of its last query, until the reader takes it.
    pub(super) failures: HashMap<K, CloudError>,
}

impl<R: Remote, K: ReaderKey> CacheContents<R, K> {
    /// Nothing is known yet.
    pub fn new(owner_tag_key: String) -> Self {
        Self {
            owner_tag_key,
            dictionary: None,
            entries: HashMap::new(),
            by_uid: HashMap::new(),
            by_place: HashMap::new(),
            by_identifier: HashMap::new(),
            identifier_unknown: HashSet::new(),
            hasher: RandomState::new(),
            tags_unknown: HashSet::new(),
            unread: BTreeSet::new(),
            tags_omitted: false,
            listed: None,
            wrote_at: None,
            disturbed: 0,
            was_listed: false,
            absences: HashMap::new(),
            tombstones: HashMap::new(),
            missing: HashSet::new(),
            losses: Losses::new(),
            holders: HashMap::new(),
            ids: HashMap::new(),
            uids: HashMap::new(),
            uids_of: HashMap::new(),
            watchers: HashMap::new(),
            watched: HashMap::new(),
            pending: PendingQueries::default(),
            in_progress: HashMap::new(),
            failures: HashMap::new(),
        }
    }

    /// Keeps the objects compressed. Costs some time with each read and each answer.
    #[must_use]
    pub fn in_little_memory(self) -> Self {
        Self {
            dictionary: Some(Arc::default()),
            ..self
        }
    }

    /// An object, as last read.
    pub(super) fn remote(&self, id: &str) -> Option<Arc<R>> {
        self.entries.get(id)?.remote.get()
    }

    /// Puts an item of a LIST into the form in which it waits for the end of the LIST.
    pub(crate) fn keep(&self, item: R) -> ListedItem<R> {
        let known = self.entries.get_key_value(item.id());
        let known = known.map(|(id, entry)| (Arc::clone(id), entry.remote.clone()));
        ListedItem::new(item, known, self.dictionary.as_deref())
    }

    /// All objects, as last read, one after the other.
    fn remotes(&self) -> impl Iterator<Item = Arc<R>> {
        self.entries.values().filter_map(|entry| entry.remote.get())
    }

    /// Whether missing objects were counted. If any object is held, this takes a LIST.
    pub fn is_counted(&self) -> bool {
        self.was_listed || self.ids.is_empty()
    }

    /// Registers the reader to be enqueued when its object changes, or when an object with its uid appears.
    pub fn hold(&mut self, reader: &K, uid: &str, id: Option<&str>) {
        if self.uids.get(uid) != Some(reader) {
            let uid: Arc<str> = uid.into();
            CompactSet::insert_into(&mut self.uids_of, reader.clone(), &uid);
            self.uids.insert(uid, reader.clone());
        }
        let has_it = |id: &str| self.holders.get(id) == Some(reader);
        if self.ids.get(reader).map(|held| &**held) == id && id.is_none_or(has_it) {
            return;
        }
        self.release_id(reader);
        if let Some(id) = id {
            let known = self.entries.get_key_value(id).map(|(id, _)| Arc::clone(id));
            let shared = known.unwrap_or_else(|| id.into());
            self.ids.insert(reader.clone(), Arc::clone(&shared));
            self.holders.insert(shared, reader.clone());
            self.losses.held(id);
            let lacked = self.listed.filter(|(_, _, complete)| *complete);
            // A LIST that ends from now on would find the same.
            if let Some((listed, ..)) = lacked.filter(|_| !self.entries.contains_key(id)) {
                self.losses.held_missing(id, listed);
                if !self.absences.contains_key(id) {
                    self.missing.insert(id.to_owned());
                }
            }
        }
    }

    /// Sets what it means if a held object is missing.
    pub fn if_missing(&mut self, id: &str, kind: IfMissing) {
        let is_there = self.entries.contains_key(id);
        if !self.holders.contains_key(id) || (is_there && kind == IfMissing::Reported) {
            // It has returned, so its status is out of date.
            self.losses.if_missing(id, IfMissing::Lost);
        } else {
            self.losses.if_missing(id, kind);
        }
    }

    /// Registers the reader to be enqueued when this object, which it does not hold, appears, changes or is deleted.
    pub fn watch(&mut self, reader: &K, id: Option<&str>) {
        if self.watched.get(reader).map(String::as_str) == id {
            return;
        }
        self.forget_watcher(reader);
        if let Some(id) = id {
            self.watchers.entry(id.to_owned()).or_default().insert(reader.clone());
            self.watched.insert(reader.clone(), id.to_owned());
        }
    }

    /// Removes a reader that no longer exists.
    pub fn forget(&mut self, reader: &K) {
        self.release_id(reader);
        self.losses.forget(reader);
        self.forget_watcher(reader);
        let uids = self.uids_of.remove(reader);
        for uid in uids.iter().flat_map(CompactSet::iter) {
            // Another reader may have that uid by now.
            if self.uids.get(uid) == Some(reader) {
                self.uids.remove(uid);
            }
        }
        self.pending.forget(reader);
        self.failures.remove(reader);
    }

    /// Returns the last LIST. It is fresh if it was started at `since` or later.
    pub fn listed(&self, since: Option<Instant>) -> Option<LastList> {
        self.listed.map(|(at, started, complete)| LastList {
            fresh: is_fresh(at, since),
            started,
            complete,
        })
    }

    /// Returns what is known of an id. It is fresh if it was read at `since` or later.
    pub(crate) fn sighting(&self, id: &str, since: Option<Instant>) -> Observed<R> {
        let entry = self.entries.get(id);
        if let Some((entry, remote)) = entry.and_then(|entry| Some((entry, entry.remote.get()?))) {
            return Observed::Seen {
                remote: Arc::unwrap_or_clone(remote),
                fresh: !entry.is_partial && is_fresh(entry.as_of, since),
                full: entry.full,
            };
        }
        match self.absences.get(id) {
            Some(absence) if is_fresh(absence.at, since) => match absence.list {
                Confirmation::Confirmed => Observed::Absent,
                list => Observed::Unconfirmed {
                    list_incomplete: list == Confirmation::Incomplete,
                },
            },
            _ if self.missing.contains(id) => Observed::Missing,
            _ => Observed::Unknown,
        }
    }

    /// Objects whose tag names this uid.
    pub fn owned_by(&self, uid: &str) -> Vec<R> {
        let ids = self.by_uid.get(&self.hasher.hash_one(uid));
        self.pick(ids, |found| found.uid == uid)
    }

    /// Objects whose tag names this cluster, namespace and name, with any uid.
    pub(crate) fn at_place_of(&self, owner: &Owner) -> Vec<R> {
        let ids = self.by_place.get(&self.hasher.hash_one(place(owner)));
        self.pick(ids, |found| place(found) == place(owner))
    }

    /// Ids of the objects whose tags are unknown and that `matches` accepts.
    pub(crate) fn tags_unknown(&self, matches: impl Fn(&R) -> bool) -> Vec<String> {
        let candidates = self.tags_unknown.iter().filter_map(|id| self.remote(id));
        candidates
            .filter(|remote| matches(remote))
            .map(|remote| remote.id().to_owned())
            .collect()
    }

    /// Objects without an owner tag. The index of claims shows which of them are claimed.
    pub(crate) fn unowned(&self, matches: impl Fn(&R) -> bool) -> Vec<R> {
        let is_free = |remote: &R| {
            let tags = remote.tags();
            !R::TAGGED || tags.is_some_and(|tags| !tags.contains_key(&self.owner_tag_key))
        };
        self.find(|remote| is_free(remote) && matches(remote))
    }

    /// Objects with any owner or none, as last read.
    pub fn find(&self, matches: impl Fn(&R) -> bool) -> Vec<R> {
        let found = self.remotes().filter(|remote| matches(remote));
        found.map(Arc::unwrap_or_clone).collect()
    }

    /// The same among the objects that can have this identifier.
    pub fn find_identified(&self, identifier: &str, matches: impl Fn(&R) -> bool) -> Vec<R> {
        let hash = self.hasher.hash_one(identifier);
        let ids = self.by_identifier.get(&hash).into_iter().flat_map(CompactSet::iter);
        let found = ids.chain(&self.identifier_unknown).filter_map(|id| self.remote(id));
        found
            .filter(|remote| matches(remote))
            .map(Arc::unwrap_or_clone)
            .collect()
    }

    /// When a held object was lost; `None` if it exists, or if its absence does not count as a loss.
    pub fn lost_at(&self, id: &str) -> Option<LostAt> {
        self.losses.lost_at(id)
    }

    /// Counts the readers that lost their object at the same time as one lost at `at`, and those that could have.
    pub fn losses(&self, at: LostAt, window: Duration) -> (usize, usize) {
        let held = self.holders.len().saturating_sub(self.losses.reported());
        let could_be = held + self.losses.without_object(at, window, &self.ids);
        (self.losses.with(at, window, &self.ids), could_be)
    }

    /// The readers that hold or watch an object.
    pub(super) fn concerned(&self, id: &str) -> Vec<K> {
        let watchers = self.watchers.get(id).into_iter().flatten();
        self.holders.get(id).into_iter().chain(watchers).cloned().collect()
    }

    /// The same for an object that exists: also the reader that its owner tag names.
    pub(super) fn concerned_by(&self, remote: &R) -> Vec<K> {
        let named = self.uid_of(remote).and_then(|uid| self.uids.get(&*uid).cloned());
        self.concerned(remote.id()).into_iter().chain(named).collect()
    }

    pub(super) fn put(&mut self, remote: R, as_of: Instant, full: bool, tags_listed: bool) {
        let before = self.entries.get_key_value(remote.id());
        let before = before.map(|(id, entry)| (Arc::clone(id), (entry.tags_read_at, entry.was_listed)));
        let held = self
            .holders
            .get_key_value(remote.id())
            .map(|(id, _)| (Arc::clone(id), (None, false)));
        let (id, (tags_read_at, was_listed)) = before.or(held).unwrap_or_else(|| (remote.id().into(), (None, false)));
        self.remove(&id);
        self.losses.seen(&id);
        if R::IDENTIFIED {
            match remote.identifier() {
                Some(identifier) => {
                    let hash = self.hasher.hash_one(&*identifier);
                    CompactSet::insert_into(&mut self.by_identifier, hash, &id);
                }
                None => {
                    self.identifier_unknown.insert(Arc::clone(&id));
                }
            }
        }
        match remote.tags() {
            None => {
                if R::TAGGED || remote.is_partial() {
                    self.tags_unknown.insert(Arc::clone(&id));
                }
            }
            Some(tags) => {
                if let Some(owner) = tags.get(&self.owner_tag_key).and_then(|value| Owner::parse(value)) {
                    let (place, uid) = (self.hasher.hash_one(place(&owner)), self.hasher.hash_one(&*owner.uid));
                    CompactSet::insert_into(&mut self.by_place, place, &id);
                    CompactSet::insert_into(&mut self.by_uid, uid, &id);
                }
            }
        }
        self.entries.insert(
            id,
            CacheEntry {
                is_partial: remote.is_partial(),
                remote: StoredRemote::new(remote, self.dictionary.as_deref()),
                as_of,
                full,
                was_listed,
                tags_listed,
                tags_read_at,
            },
        );
    }

    /// Records that a later read showed the same object as its entry.
    pub(super) fn confirm(&mut self, id: &str, as_of: Instant, full: bool, tags_listed: bool) {
        self.losses.seen(id);
        if let Some(entry) = self.entries.get_mut(id) {
            (entry.as_of, entry.full, entry.tags_listed) = (as_of, full, tags_listed);
        }
    }

    fn uid_of(&self, remote: &R) -> Option<String> {
        let value = remote.tags()?.get(&self.owner_tag_key)?;
        Owner::parse(value).map(|owner| owner.uid)
    }

    /// Objects whose owner `is_it`. Two owners can have one hash.
    fn pick(&self, ids: Option<&CompactSet<Arc<str>>>, is_it: impl Fn(&Owner) -> bool) -> Vec<R> {
        let found = ids
            .into_iter()
            .flat_map(CompactSet::iter)
            .filter_map(|id| self.remote(id));
        let owner = |remote: &R| Owner::parse(remote.tags()?.get(&self.owner_tag_key)?);
        found
            .filter(|remote| owner(remote).is_some_and(|owner| is_it(&owner)))
            .map(Arc::unwrap_or_clone)
            .collect()
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.tags_unknown.remove(id);
        let Some(remote) = self.entries.remove(id).and_then(|entry| entry.remote.get()) else {
            return;
        };
        if R::IDENTIFIED && !self.identifier_unknown.remove(id) {
            let hash = remote.identifier().map(|identifier| self.hasher.hash_one(&*identifier));
            if let Some(hash) = hash {
                CompactSet::remove_from(&mut self.by_identifier, &hash, id);
            }
        }
        let value = remote.tags().and_then(|tags| tags.get(&self.owner_tag_key));
        let owner = value.and_then(|value| Owner::parse(value));
        let Some(owner) = owner else { return };
        let (place, uid) = (self.hasher.hash_one(place(&owner)), self.hasher.hash_one(&*owner.uid));
        CompactSet::remove_from(&mut self.by_place, &place, id);
        CompactSet::remove_from(&mut self.by_uid, &uid, id);
    }

    pub(super) fn record_tombstone(&mut self, id: &str, at: Instant) {
        if !self.in_progress.is_empty() {
            self.tombstones.insert(id.to_owned(), at);
        }
    }

    pub(super) fn has_tombstone(&self, id: &str, started: Instant) -> bool {
        self.tombstones.get(id).is_some_and(|at| *at >= started)
    }

    fn release_id(&mut self, reader: &K) {
        let Some(id) = self.ids.remove(reader) else { return };
        if self.holders.get(&id) == Some(reader) {
            self.holders.remove(&id);
            self.losses.released(reader, &id);
            self.missing.remove(&*id);
            self.absences.remove(&*id);
        }
    }

    fn forget_watcher(&mut self, reader: &K) {
        let Some(id) = self.watched.remove(reader) else { return };
        if let Some(readers) = self.watchers.get_mut(&id) {
            readers.remove(reader);
            if readers.is_empty() {
                self.watchers.remove(&id);
            }
        }
    }
}

fn place(owner: &Owner) -> (&str, &str, &str) {
    (&owner.cluster, &owner.namespace, &owner.name)
}

fn is_fresh(at: Instant, since: Option<Instant>) -> bool {
    since.is_none_or(|since| at >= since)
}
