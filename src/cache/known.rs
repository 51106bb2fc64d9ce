//! What the cache knows of the cloud, and which answers its readers wait for. Plain data: it sends no requests and
//! reads no clock.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::losses::Losses;
use super::{IfMissing, Listed, Listing, LostAt, Observed, Query, Reader, Remote, TagsById};
use crate::cloud::{CloudError, ErrorKind};
use crate::owner_tag::Owner;

/// The most GETs in progress at once for one collection. If more objects wait, a LIST is worth its cost.
pub(super) const MAX_GETS: usize = 4;

#[derive(Clone)]
pub(super) struct Entry<R> {
    pub(super) remote: R,
    pub(super) as_of: Instant,
    pub(super) full: bool,
    /// Whether the last LIST returned its tags.
    pub(super) tags_listed: bool,
    /// When its tags were last read by a request other than a LIST.
    tags_read_at: Option<Instant>,
}

impl<R: Remote> Entry<R> {
    /// Whether a complete answer is known that was requested at `since` or later.
    fn is_known_at(&self, since: Instant) -> bool {
        !self.remote.is_partial() && self.as_of >= since
    }
}

#[derive(Clone)]
pub(super) struct PendingQuery<K> {
    pub(super) reader: K,
    pub(super) look: Query,
    pub(super) since: Instant,
}

/// A "no such object" answer for one id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Absence {
    /// When the request was started.
    pub(super) at: Instant,
    pub(super) list: Confirmation,
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
pub struct Known<R, K> {
    pub(super) owner_tag_key: String,
    pub(super) entries: HashMap<String, Entry<R>>,
    /// Ids by the uid, and by the cluster, namespace and name, in their owner tags.
    pub(super) by_uid: HashMap<String, BTreeSet<String>>,
    pub(super) by_place: HashMap<(String, String, String), BTreeSet<String>>,
    pub(super) tags_unknown: HashSet<String>,
    /// Ids with a holder or watcher that the last LIST returned without all fields.
    pub(super) unread: BTreeSet<String>,
    /// The last LIST omitted the tags of an object with a holder or watcher.
    tags_due: bool,
    pub(super) listed: Option<(Instant, Timestamp, bool)>,
    /// A LIST has ended, successfully or not.
    pub(super) was_listed: bool,
    /// Ids for which a GET, or a write of this process, was answered with "no such object".
    pub(super) absences: HashMap<String, Absence>,
    /// The same while other queries were in progress, and when: an older query must not restore the entry.
    pub(super) tombstones: HashMap<String, Instant>,
    /// Held ids that the last complete LIST lacked, or whose tags were answered with "no such object".
    pub(super) missing: HashSet<String>,
    pub(super) losses: Losses<K>,
    /// Which reader holds which id, and which uid.
    pub(super) holders: HashMap<String, K>,
    pub(super) ids: HashMap<K, String>,
    pub(super) uids: HashMap<String, K>,
    /// Readers that watch an id that they do not hold (yet).
    pub(super) watchers: HashMap<String, HashSet<K>>,
    pub(super) watched: HashMap<K, String>,
    pub(super) pending: Vec<PendingQuery<K>>,
    pub(super) in_progress: HashSet<Query>,
    pub(super) failures: HashMap<K, CloudError>,
}

impl<R: Remote, K: Reader> Known<R, K> {
    /// Nothing is known yet.
    pub fn new(owner_tag_key: String) -> Self {
        Self {
            owner_tag_key,
            entries: HashMap::new(),
            by_uid: HashMap::new(),
            by_place: HashMap::new(),
            tags_unknown: HashSet::new(),
            unread: BTreeSet::new(),
            tags_due: false,
            listed: None,
            was_listed: false,
            absences: HashMap::new(),
            tombstones: HashMap::new(),
            missing: HashSet::new(),
            losses: Losses::new(),
            holders: HashMap::new(),
            ids: HashMap::new(),
            uids: HashMap::new(),
            watchers: HashMap::new(),
            watched: HashMap::new(),
            pending: Vec::new(),
            in_progress: HashSet::new(),
            failures: HashMap::new(),
        }
    }

    /// Requests an answer that is started at `since` or later. Returns whether it is known already: it may have arrived
    /// while the reader was busy.
    pub fn want(&mut self, reader: &K, look: Query, since: Instant) -> bool {
        let is_in = |id: &String| self.entries.get(id).is_some_and(|entry| entry.is_known_at(since));
        if matches!(&look, Query::Object(id) if is_in(id)) {
            return true;
        }
        let same = |want: &PendingQuery<K>| want.reader == *reader && want.look == look;
        match self.pending.iter_mut().find(|want| same(want)) {
            Some(want) => want.since = want.since.max(since),
            None => self.pending.push(PendingQuery {
                reader: reader.clone(),
                look,
                since,
            }),
        }
        false
    }

    /// Returns the fewest queries that answer all pending ones, and marks them as in progress.
    pub fn due(&mut self) -> Vec<Query> {
        let mut due = Vec::new();
        let singles: BTreeSet<(u8, String)> = self
            .pending
            .iter()
            .filter_map(|want| match &want.look {
                Query::Object(id) if self.needs_get(id, want.since) => Some((2, id.clone())),
                Query::Object(id) => Some((0, id.clone())),
                Query::Tags(id) => Some((1, id.clone())),
                Query::Whole(id) => Some((2, id.clone())),
                Query::Collection | Query::AllTags => None,
            })
            .collect();
        let collection_wanted = self.pending.iter().any(|want| want.look == Query::Collection);
        let waiting_objects = singles.iter().filter(|(kind, _)| *kind == 0).count();
        let pages = self.pages();
        if self.listed.is_none() || collection_wanted || waiting_objects > MAX_GETS.max(pages) {
            if !self.pending.is_empty() {
                due.extend(self.begin(Query::Collection));
            }
            if self.listed.is_none() {
                return due;
            }
        }
        let listing = self.in_progress.contains(&Query::Collection);
        if std::mem::take(&mut self.tags_due) {
            due.extend(self.begin(Query::AllTags));
        }
        let reads_all_tags = self.in_progress.contains(&Query::AllTags);
        for (kind, id) in singles {
            if self.reads_under_way() >= MAX_GETS {
                break;
            }
            match kind {
                // The LIST in progress answers these.
                0 if listing && waiting_objects > MAX_GETS => {}
                // The query for all tags may answer these.
                1 if reads_all_tags => {}
                1 => due.extend(self.begin(Query::Tags(id))),
                _ => due.extend(self.begin(Query::Object(id))),
            }
        }
        while self.reads_under_way() < MAX_GETS
            && let Some(id) = self.unread.pop_first()
        {
            due.extend(self.begin(Query::Object(id)));
        }
        due
    }

    /// Whether only a GET can answer a query for this object: LISTs lack the object or return it without all fields.
    fn needs_get(&self, id: &str, since: Instant) -> bool {
        let is_lacked = || self.listed.is_some_and(|(at, ..)| at >= since);
        match self.entries.get(id) {
            Some(entry) => entry.remote.is_partial(),
            None => self.missing.contains(id) || self.absences.contains_key(id) || is_lacked(),
        }
    }

    fn reads_under_way(&self) -> usize {
        let is_of_one = |look: &&Query| !matches!(look, Query::Collection | Query::AllTags);
        self.in_progress.iter().filter(is_of_one).count()
    }

    /// Limits `unread` to the cost of the LIST that just ended. Keeps the ids that were read longest ago.
    fn choose_unread(&mut self) {
        let most = MAX_GETS.max(self.pages());
        let mut unread: Vec<String> = std::mem::take(&mut self.unread).into_iter().collect();
        unread.sort_by_key(|id| self.entries.get(id).map(|entry| entry.as_of));
        unread.truncate(most);
        self.unread.extend(unread);
    }

    /// Returns the number of pages of a LIST.
    fn pages(&self) -> usize {
        self.entries.len() / 200 + 1
    }

    /// Marks a query as in progress. Returns it unless it was in progress already.
    pub fn begin(&mut self, look: Query) -> Option<Query> {
        self.in_progress.insert(look.clone()).then_some(look)
    }

    /// Returns the failure of a query of this reader, once.
    pub fn take_failure(&mut self, reader: &K) -> Option<CloudError> {
        self.failures.remove(reader)
    }

    /// Whether missing objects were counted. If any object is held, this takes a LIST.
    pub fn is_counted(&self) -> bool {
        self.was_listed || self.ids.is_empty()
    }

    /// Registers the reader to be enqueued when its object changes, or when an object with its uid appears.
    pub fn hold(&mut self, reader: &K, uid: &str, id: Option<&str>) {
        if self.uids.get(uid) != Some(reader) {
            self.uids.insert(uid.to_owned(), reader.clone());
        }
        let has_it = |id: &str| self.holders.get(id) == Some(reader);
        if self.ids.get(reader).map(String::as_str) == id && id.is_none_or(has_it) {
            return;
        }
        self.release_id(reader);
        if let Some(id) = id {
            self.ids.insert(reader.clone(), id.to_owned());
            self.holders.insert(id.to_owned(), reader.clone());
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
        self.forget_curiosity(reader);
        if let Some(id) = id {
            self.watchers.entry(id.to_owned()).or_default().insert(reader.clone());
            self.watched.insert(reader.clone(), id.to_owned());
        }
    }

    /// Removes a reader that no longer exists.
    pub fn forget(&mut self, reader: &K) {
        self.release_id(reader);
        self.losses.forget(reader);
        self.forget_curiosity(reader);
        self.uids.retain(|_, other| other != reader);
        self.pending.retain(|want| want.reader != *reader);
        self.failures.remove(reader);
    }

    /// Returns the last LIST. It is fresh if it was started at `since` or later.
    pub fn listed(&self, since: Option<Instant>) -> Option<Listed> {
        self.listed.map(|(at, started, complete)| Listed {
            fresh: is_fresh(at, since),
            started,
            complete,
        })
    }

    /// Returns what is known of an id. It is fresh if it was read at `since` or later.
    pub fn sighting(&self, id: &str, since: Option<Instant>) -> Observed<R> {
        if let Some(entry) = self.entries.get(id) {
            return Observed::Seen {
                remote: entry.remote.clone(),
                fresh: !entry.remote.is_partial() && is_fresh(entry.as_of, since),
                full: entry.full,
            };
        }
        match self.absences.get(id) {
            Some(absence) if is_fresh(absence.at, since) => match absence.list {
                Confirmation::Confirmed => Observed::Gone,
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
        self.pick(self.by_uid.get(uid))
    }

    /// Objects whose tag names this cluster, namespace and name, with any uid.
    pub fn at_place_of(&self, owner: &Owner) -> Vec<R> {
        self.pick(self.by_place.get(&place(owner)))
    }

    /// Ids of the objects whose tags are unknown and that `matches` accepts.
    pub fn tags_unknown(&self, matches: impl Fn(&R) -> bool) -> Vec<String> {
        let candidates = self.tags_unknown.iter().filter_map(|id| self.entries.get(id));
        candidates
            .filter(|entry| matches(&entry.remote))
            .map(|entry| entry.remote.id().to_owned())
            .collect()
    }

    /// Objects without an owner tag. The index of claims shows which of them are claimed.
    pub fn unowned(&self, matches: impl Fn(&R) -> bool) -> Vec<R> {
        let free = self.entries.values().filter(|entry| {
            let tags = entry.remote.tags();
            !R::TAGGED || tags.is_some_and(|tags| !tags.contains_key(&self.owner_tag_key))
        });
        free.filter(|entry| matches(&entry.remote))
            .map(|entry| entry.remote.clone())
            .collect()
    }

    /// Objects with any owner or none, as last read.
    pub fn find(&self, matches: impl Fn(&R) -> bool) -> Vec<R> {
        let entries = self.entries.values().map(|entry| &entry.remote);
        entries.filter(|remote| matches(remote)).cloned().collect()
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

    /// Stores the answer to a write of this process. It is newer than any read that was started before it.
    pub fn wrote(&mut self, remote: R, now: Instant) {
        let id = remote.id().to_owned();
        self.absences.remove(&id);
        self.missing.remove(&id);
        self.put(remote, now, true, true);
    }

    /// Applies the effect of a write of this process whose answer did not include the object.
    pub fn wrote_change(&mut self, id: &str, change: impl FnOnce(&mut R), now: Instant) {
        let Some(entry) = self.entries.get(id) else { return };
        let (mut remote, full) = (entry.remote.clone(), entry.full);
        change(&mut remote);
        self.put(remote, now, full, true);
    }

    /// Records that a write of this process was answered with "no such object", or with the deletion of the object.
    pub fn wrote_absence(&mut self, id: &str, now: Instant) {
        self.remove(id);
        self.absent(id, now);
    }

    /// Records a "no such object" answer, requested at `started`. Returns whether it is the first for the id.
    fn absent(&mut self, id: &str, started: Instant) -> bool {
        self.bury(id, started);
        if self.holders.contains_key(id) {
            self.losses.found_missing(id, started);
        }
        let before = self.absences.get(id).copied();
        if before.is_none_or(|before| before.at < started) {
            // Lists may never be complete. An incomplete one confirms the absence if it is between two such answers.
            let is_lacked = before.is_some_and(|before| before.list == Confirmation::Incomplete)
                && self.listed.is_some_and(|(listed, ..)| started > listed);
            let list = match is_lacked {
                true => Confirmation::Confirmed,
                false => Confirmation::Pending,
            };
            self.absences.insert(id.to_owned(), Absence { at: started, list });
        }
        before.is_none()
    }

    /// Processes the end of a LIST. Returns the readers to enqueue.
    pub fn ended_list(
        &mut self,
        result: Result<Listing<R>, CloudError>,
        started: Instant,
        cloud_started: Timestamp,
    ) -> HashSet<K> {
        self.was_listed = true;
        let listing = match result {
            Ok(listing) => listing,
            Err(error) => {
                self.ended(&Query::Collection);
                return self.fail(|want| want.since <= started, &error);
            }
        };
        let mut enqueued = HashSet::new();
        self.unread.clear();
        let present: HashSet<String> = listing.items.iter().map(|item| item.id().to_owned()).collect();
        if listing.complete {
            self.losses.listed(started);
        }
        for item in listing.items {
            self.take_list_item(item, started, &mut enqueued);
        }
        let lost: Vec<String> = self
            .entries
            .iter()
            .filter(|(id, entry)| !present.contains(*id) && entry.as_of < started)
            .map(|(id, _)| id.clone())
            .collect();
        for id in lost {
            match self.holders.get(&id).cloned() {
                // That an incomplete LIST lacks a held object shows neither a deletion nor a change.
                Some(_) if !listing.complete => continue,
                Some(reader) => {
                    self.missing.insert(id.clone());
                    self.losses.found_missing(&id, started);
                    enqueued.insert(reader);
                }
                None => enqueued.extend(self.watchers.get(&id).into_iter().flatten().cloned()),
            }
            self.remove(&id);
        }
        self.choose_unread();
        if listing.complete {
            let unseen: Vec<(String, K)> = self
                .holders
                .iter()
                .filter(|(id, _)| !self.entries.contains_key(*id) && !self.absences.contains_key(*id))
                .map(|(id, reader)| (id.clone(), reader.clone()))
                .collect();
            for (id, reader) in unseen {
                self.losses.found_missing(&id, started);
                if self.missing.insert(id) {
                    enqueued.insert(reader);
                }
            }
        }
        // The objects in the LIST are no longer among the absences.
        for absence in self.absences.values_mut().filter(|absence| absence.at < started) {
            absence.list = match (listing.complete, absence.list) {
                (true, _) => Confirmation::Confirmed,
                (false, Confirmation::Confirmed) => Confirmation::Confirmed,
                (false, _) => Confirmation::Incomplete,
            };
        }
        self.listed = Some((started, cloud_started, listing.complete));
        self.ended(&Query::Collection);
        // Ids without holder or watcher no longer need a proof of absence.
        let Self {
            absences,
            holders,
            watchers,
            ..
        } = self;
        absences.retain(|id, _| holders.contains_key(id) || watchers.contains_key(id));
        let seen: HashMap<String, Instant> = self
            .entries
            .iter()
            .filter(|(_, entry)| !entry.remote.is_partial())
            .map(|(id, entry)| (id.clone(), entry.as_of))
            .collect();
        let answered = self.answer(|want| {
            want.since <= started
                && match &want.look {
                    Query::Collection => true,
                    Query::Object(id) => seen.get(id).is_some_and(|as_of| *as_of >= want.since),
                    Query::Tags(_) | Query::Whole(_) | Query::AllTags => false,
                }
        });
        enqueued.extend(answered);
        enqueued
    }

    fn take_list_item(&mut self, mut item: R, started: Instant, enqueued: &mut HashSet<K>) {
        let id = item.id().to_owned();
        if self.is_buried(&id, started) {
            return;
        }
        if item.is_partial() {
            self.take_partial_item(item, started, enqueued);
            return;
        }
        let speaks_of_tags = item.tags().is_some();
        self.tags_due |= R::TAGGED && !speaks_of_tags && !self.concerned(&id).is_empty();
        let mut full = false;
        let mut news = true;
        if let Some(entry) = self.entries.get(&id) {
            if entry.as_of >= started {
                return;
            }
            let told = item.tags().cloned();
            item.complete_from(&entry.remote);
            // Tags that LISTs never return stay as known. If the previous LIST returned them, they may have changed.
            item.set_tags(match told {
                None if entry.tags_listed => None,
                None => entry.remote.tags().cloned(),
                told => told,
            });
            news = item != entry.remote;
            // Kinds without tags take too little from the earlier answer: an item is full only if nothing changed.
            full = entry.full && (R::TAGGED || !news);
        }
        let back = self.missing.remove(&id) | self.absences.remove(&id).is_some();
        if news || back {
            enqueued.extend(self.concerned_by(&item));
        }
        self.put(item, started, full, speaks_of_tags);
    }

    /// Stores a list item with unknown fields. It proves that the object exists, but replaces no complete entry.
    fn take_partial_item(&mut self, item: R, started: Instant, enqueued: &mut HashSet<K>) {
        let id = item.id().to_owned();
        let back = self.missing.remove(&id) | self.absences.remove(&id).is_some();
        let entry = self.entries.get(&id);
        if entry.is_some_and(|entry| entry.as_of >= started) {
            return;
        }
        let is_known = entry.is_some_and(|entry| !entry.remote.is_partial());
        let is_concerning = !self.concerned(&id).is_empty();
        if back || !is_known {
            enqueued.extend(self.concerned_by(&item));
        }
        if is_known {
            self.losses.seen(&id);
        } else {
            self.put(item, started, false, false);
        }
        if is_concerning {
            self.unread.insert(id);
        }
    }

    /// Processes the end of a GET. Returns the readers to enqueue.
    pub fn ended_get(&mut self, look: &Query, id: &str, result: Result<R, CloudError>, started: Instant) -> HashSet<K> {
        let is_buried = self.is_buried(id, started);
        self.ended(look);
        let is_about_it =
            |want: &PendingQuery<K>| matches!(&want.look, Query::Object(it) | Query::Whole(it) if it == id);
        let asked = |want: &PendingQuery<K>| want.since <= started && is_about_it(want);
        // Readers that did not request it are enqueued as well: the next LIST no longer shows a change.
        let mut enqueued = HashSet::new();
        match result {
            // Deleted since then: the next read shows it.
            Ok(_) if is_buried => {}
            Ok(remote) => {
                let entry = self.entries.get(id);
                let is_newer = entry.is_none_or(|entry| entry.as_of < started || entry.remote.is_partial());
                let differs = entry.is_none_or(|entry| entry.remote != remote);
                let back = self.missing.remove(id) | self.absences.remove(id).is_some();
                if back || (is_newer && differs) {
                    enqueued.extend(self.concerned_by(&remote));
                }
                if is_newer {
                    let tags_listed = self.entries.get(id).is_some_and(|entry| entry.tags_listed);
                    self.put(remote, started, true, tags_listed);
                    if let Some(entry) = self.entries.get_mut(id) {
                        entry.tags_read_at = Some(started);
                    }
                }
            }
            Err(error) if error.kind == ErrorKind::Gone => {
                if self.entries.get(id).is_none_or(|entry| entry.as_of < started) {
                    self.remove(id);
                    if self.absent(id, started) {
                        enqueued.extend(self.concerned(id));
                    }
                }
            }
            Err(error) => return self.fail(asked, &error),
        }
        enqueued.extend(self.answer(asked));
        enqueued
    }

    /// Processes the end of a query for the tags of one object. Returns the readers to enqueue.
    pub fn ended_tags(
        &mut self,
        look: &Query,
        id: &str,
        result: Result<BTreeMap<String, String>, CloudError>,
        started: Instant,
    ) -> HashSet<K> {
        self.ended(look);
        let asked = |want: &PendingQuery<K>| want.since <= started && want.look == *look;
        let mut enqueued = HashSet::new();
        match result {
            Ok(tags) => self.take_tags(id, tags, started, &mut enqueued),
            // A GET of the object has to confirm this.
            Err(error) if error.kind == ErrorKind::Gone => {
                self.remove(id);
                if self.holders.contains_key(id) {
                    self.losses.found_missing(id, started);
                }
                if self.holders.contains_key(id) && self.missing.insert(id.to_owned()) {
                    enqueued.extend(self.concerned(id));
                }
            }
            Err(error) => return self.fail(asked, &error),
        }
        enqueued.extend(self.answer(asked));
        enqueued
    }

    /// Processes the end of a query for all tags. Returns the readers to enqueue.
    pub fn ended_all_tags(&mut self, result: Result<TagsById, CloudError>, started: Instant) -> HashSet<K> {
        self.ended(&Query::AllTags);
        let mut enqueued = HashSet::new();
        let told = match result {
            Ok(told) => told,
            Err(error) if is_not_offered(&error) => TagsById::new(),
            // Tried again after the next LIST.
            Err(_) => return enqueued,
        };
        let concerning = self.holders.keys().chain(self.watchers.keys());
        let is_left = |id: &&String| self.entries.get(*id).is_some_and(|entry| !entry.tags_listed);
        let left: BTreeSet<String> = concerning
            .filter(|id| !told.contains_key(*id))
            .filter(is_left)
            .cloned()
            .collect();
        for (id, tags) in &told {
            self.take_tags(id, tags.clone(), started, &mut enqueued);
        }
        enqueued.extend(self.answer(|want| {
            let is_told = matches!(&want.look, Query::Tags(id) if told.contains_key(id));
            is_told && want.since <= started
        }));
        // Tags that the answer lacks are read per object, at no more than the cost of the LIST. Those read longest ago
        // come first.
        let mut left: Vec<String> = left.into_iter().collect();
        left.sort_by_key(|id| self.entries.get(id).and_then(|entry| entry.tags_read_at));
        left.truncate(MAX_GETS.max(self.pages()));
        self.unread.extend(left);
        enqueued
    }

    /// Stores tags that were read without their object, unless a newer answer is known.
    fn take_tags(&mut self, id: &str, tags: BTreeMap<String, String>, started: Instant, enqueued: &mut HashSet<K>) {
        let Some(entry) = self.entries.get(id).filter(|entry| entry.as_of <= started) else {
            return;
        };
        let (mut remote, as_of, full) = (entry.remote.clone(), entry.as_of, entry.full);
        let differs = remote.tags() != Some(&tags);
        remote.set_tags(Some(tags));
        if differs {
            enqueued.extend(self.concerned_by(&remote));
        }
        self.put(remote, as_of, full, false);
        if let Some(entry) = self.entries.get_mut(id) {
            entry.tags_read_at = Some(started);
        }
    }

    /// The readers that hold or watch an object.
    fn concerned(&self, id: &str) -> Vec<K> {
        let watchers = self.watchers.get(id).into_iter().flatten();
        self.holders.get(id).into_iter().chain(watchers).cloned().collect()
    }

    /// The same for an object that exists: also the reader that its owner tag names.
    fn concerned_by(&self, remote: &R) -> Vec<K> {
        let named = self.uid_of(remote).and_then(|uid| self.uids.get(&uid).cloned());
        self.concerned(remote.id()).into_iter().chain(named).collect()
    }

    fn put(&mut self, remote: R, as_of: Instant, full: bool, tags_listed: bool) {
        let id = remote.id().to_owned();
        let tags_read_at = self.entries.get(&id).and_then(|entry| entry.tags_read_at);
        self.remove(&id);
        self.losses.seen(&id);
        match remote.tags() {
            None => {
                if R::TAGGED || remote.is_partial() {
                    self.tags_unknown.insert(id.clone());
                }
            }
            Some(tags) => {
                if let Some(owner) = tags.get(&self.owner_tag_key).and_then(|value| Owner::parse(value)) {
                    self.by_place.entry(place(&owner)).or_default().insert(id.clone());
                    self.by_uid.entry(owner.uid).or_default().insert(id.clone());
                }
            }
        }
        self.entries.insert(
            id,
            Entry {
                remote,
                as_of,
                full,
                tags_listed,
                tags_read_at,
            },
        );
    }

    fn uid_of(&self, remote: &R) -> Option<String> {
        let value = remote.tags()?.get(&self.owner_tag_key)?;
        Owner::parse(value).map(|owner| owner.uid)
    }

    fn pick(&self, ids: Option<&BTreeSet<String>>) -> Vec<R> {
        let ids = ids.into_iter().flatten();
        ids.filter_map(|id| self.entries.get(id))
            .map(|entry| entry.remote.clone())
            .collect()
    }

    fn remove(&mut self, id: &str) {
        self.tags_unknown.remove(id);
        let Some(entry) = self.entries.remove(id) else { return };
        let owner = entry
            .remote
            .tags()
            .and_then(|tags| tags.get(&self.owner_tag_key))
            .and_then(|value| Owner::parse(value));
        let Some(owner) = owner else { return };
        remove_from(&mut self.by_place, &place(&owner), id);
        remove_from(&mut self.by_uid, &owner.uid, id);
    }

    fn bury(&mut self, id: &str, at: Instant) {
        if !self.in_progress.is_empty() {
            self.tombstones.insert(id.to_owned(), at);
        }
    }

    fn is_buried(&self, id: &str, started: Instant) -> bool {
        self.tombstones.get(id).is_some_and(|at| *at >= started)
    }

    fn ended(&mut self, look: &Query) {
        self.in_progress.remove(look);
        if self.in_progress.is_empty() {
            self.tombstones.clear();
        }
    }

    fn release_id(&mut self, reader: &K) {
        let Some(id) = self.ids.remove(reader) else { return };
        if self.holders.get(&id) == Some(reader) {
            self.holders.remove(&id);
            self.losses.released(reader, &id);
            self.missing.remove(&id);
            self.absences.remove(&id);
        }
    }

    fn forget_curiosity(&mut self, reader: &K) {
        let Some(id) = self.watched.remove(reader) else { return };
        if let Some(readers) = self.watchers.get_mut(&id) {
            readers.remove(reader);
            if readers.is_empty() {
                self.watchers.remove(&id);
            }
        }
    }

    /// Removes the pending queries that `asked` accepts. Returns their readers.
    fn answer(&mut self, asked: impl Fn(&PendingQuery<K>) -> bool) -> HashSet<K> {
        let mut readers = HashSet::new();
        self.pending.retain(|want| {
            let is_answered = asked(want);
            if is_answered {
                readers.insert(want.reader.clone());
            }
            !is_answered
        });
        readers
    }

    fn fail(&mut self, asked: impl Fn(&PendingQuery<K>) -> bool, error: &CloudError) -> HashSet<K> {
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

/// Whether the cloud refuses a call permanently, not because of an outage.
fn is_not_offered(error: &CloudError) -> bool {
    matches!(
        error.kind,
        ErrorKind::Forbidden | ErrorKind::NotAvailable | ErrorKind::Rejected | ErrorKind::Gone
    )
}

fn place(owner: &Owner) -> (String, String, String) {
    (owner.cluster.clone(), owner.namespace.clone(), owner.name.clone())
}

fn is_fresh(at: Instant, since: Option<Instant>) -> bool {
    since.is_none_or(|since| at >= since)
}

#[cfg(test)]
impl<R: Remote, K: Reader> Known<R, K> {
    /// When the known answers were requested.
    pub fn seen_at(&self) -> Vec<Instant> {
        let seen = self.entries.values().map(|entry| entry.as_of);
        let listed = self.listed.iter().map(|(at, ..)| *at);
        let absent = self.absences.values().map(|absence| absence.at);
        seen.chain(listed).chain(absent).collect()
    }

    /// The earliest start that each pending query accepts.
    pub fn wanted_since(&self) -> Vec<Instant> {
        self.pending.iter().map(|want| want.since).collect()
    }

    /// Returns a copy with each time replaced; `None` if all times stay the same.
    pub fn with_times(
        &self,
        place: impl Fn(Instant) -> Instant,
        listed: impl Fn(Timestamp) -> Timestamp,
    ) -> Option<Self> {
        let mut instants = self.seen_at().into_iter().chain(self.wanted_since());
        let stays = |(_, started, _): (Instant, Timestamp, bool)| listed(started) == started;
        if self.listed.is_none_or(stays) && instants.all(|instant| place(instant) == instant) {
            return None;
        }
        let mut other = self.clone();
        let seen = other.entries.values_mut().map(|entry| &mut entry.as_of);
        let wanted = other.pending.iter_mut().map(|want| &mut want.since);
        let absent = other.absences.values_mut().map(|absence| &mut absence.at);
        for instant in seen.chain(absent).chain(wanted) {
            *instant = place(*instant);
        }
        other.listed = other
            .listed
            .map(|(at, started, complete)| (place(at), listed(started), complete));
        Some(other)
    }
}

#[cfg(test)]
impl<R: Remote + std::hash::Hash, K: Reader + Ord> std::hash::Hash for Known<R, K> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let sorted = |map: &HashMap<String, K>| map.clone().into_iter().collect::<BTreeMap<_, _>>();
        for (id, entry) in self.entries.iter().collect::<BTreeMap<_, _>>() {
            (id, &entry.remote, entry.as_of, entry.full, entry.tags_listed).hash(state);
        }
        self.listed.hash(state);
        self.absences.iter().collect::<BTreeMap<_, _>>().hash(state);
        self.missing.iter().collect::<BTreeSet<_>>().hash(state);
        sorted(&self.holders).hash(state);
        // The other indexes follow from these; the queries in progress follow from the pending ones.
        for want in &self.pending {
            (&want.reader, &want.look, want.since).hash(state);
        }
    }
}
