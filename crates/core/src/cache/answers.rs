//! How the answers to queries and to our own writes change what the cache knows, and which readers they concern.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;
use vpn_cloud::{CloudError, ErrorKind};

use crate::cache::contents::{Absence, CacheContents, Confirmation};
use crate::cache::listed_item::ListedItem;
use crate::cache::query::{Query, ReaderKey, Remote};
use crate::cache::source::{Listing, TagsById};
use crate::cache::stored_remote::StoredRemote;

/// The most LISTs in a row that are repeated since this process created or deleted objects meanwhile.
const MOST_DISTURBED: u32 = 10;

impl<R: Remote, K: ReaderKey> CacheContents<R, K> {
    /// Stores the answer to a write of this process. It is newer than any read that was started before it.
    pub fn wrote(&mut self, remote: R, now: Instant) {
        let id = remote.id().to_owned();
        self.absences.remove(&id);
        self.missing.remove(&id);
        if !self.entries.contains_key(&*id) {
            self.wrote_at = Some(now);
        }
        self.put(remote, now, true, true);
    }

    /// Applies the effect of a write of this process whose answer did not include the object.
    pub(crate) fn wrote_change(&mut self, id: &str, change: impl FnOnce(&mut R), now: Instant) {
        let Some(entry) = self.entries.get(id) else { return };
        let (Some(remote), full) = (entry.remote.get(), entry.full) else {
            return;
        };
        let mut remote = Arc::unwrap_or_clone(remote);
        change(&mut remote);
        self.put(remote, now, full, true);
    }

    /// Records that a write of this process was answered with "no such object". Returns the readers that this concerns.
    pub fn wrote_absence(&mut self, id: &str, now: Instant) -> Vec<K> {
        self.wrote_at = Some(now);
        self.remove(id);
        self.absent(id, now);
        self.concerned(id)
    }

    /// Records that the cloud accepted the deletion of an object. If a LIST has shown the object before, a later one without
    /// it confirms the deletion. Otherwise that LIST may be from before its creation, and a GET is needed. Returns the
    /// readers that this concerns.
    pub fn wrote_deletion(&mut self, id: &str, now: Instant) -> Vec<K> {
        if self.entries.get(id).is_some_and(|entry| entry.was_listed) {
            return self.wrote_absence(id, now);
        }
        self.wrote_at = Some(now);
        Vec::new()
    }

    /// Records a "no such object" answer, requested at `started`. Returns whether it is the first for the id.
    fn absent(&mut self, id: &str, started: Instant) -> bool {
        self.record_tombstone(id, started);
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
    pub(crate) fn ended_list<T: Into<ListedItem<R>>>(
        &mut self,
        result: Result<Listing<T>, CloudError>,
        started: Instant,
        cloud_started: Timestamp,
    ) -> HashSet<K> {
        self.was_listed = true;
        let listing = match result {
            Ok(listing) => listing,
            Err(error) => {
                self.ended(&Query::Collection);
                let mut readers = HashSet::new();
                self.pending.answer_all(started, &mut readers);
                return self.fail(readers, &error);
            }
        };
        let mut enqueued = HashSet::new();
        self.unread.clear();
        let items: Vec<ListedItem<R>> = listing.items.into_iter().map(Into::into).collect();
        let present: HashSet<Arc<str>> = items.iter().map(|item| Arc::clone(&item.id)).collect();
        if listing.complete {
            self.losses.listed(started);
        }
        for item in items {
            let id = Arc::clone(&item.id);
            self.take_list_item(item, started, &mut enqueued);
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.was_listed = true;
            }
        }
        self.remove_unlisted(&present, listing.complete, started, &mut enqueued);
        self.choose_unread();
        if listing.complete {
            self.find_missing(started, &mut enqueued);
        }
        let is_repeated = self.is_repeated(listing.complete, started);
        if !is_repeated {
            self.confirm_absences(listing.complete, started);
        }
        self.listed = Some((started, cloud_started, listing.complete));
        self.ended(&Query::Collection);
        self.forget_unneeded_absences();
        enqueued.extend(self.answer_from_list(started, is_repeated));
        self.reclassify_pending();
        enqueued
    }

    /// Whether a LIST is read again, since it is incomplete and many readers need a complete one. Its pages do not fit
    /// together if this process creates or deletes objects meanwhile, as at a bulk deletion. Without it each of these
    /// readers would take a GET.
    fn is_repeated(&mut self, complete: bool, started: Instant) -> bool {
        let is_disturbed = !complete && self.wrote_at.is_some_and(|wrote| wrote >= started);
        let is_needed = self.pending.readers(&Query::Collection) > self.gets_per_list();
        self.disturbed = match is_disturbed && is_needed {
            true => self.disturbed + 1,
            false => 0,
        };
        (1..=MOST_DISTURBED).contains(&self.disturbed)
    }

    /// Removes the entries that a LIST lacks, unless a newer answer shows them. That an incomplete LIST lacks a held
    /// object shows neither a deletion nor a change.
    fn remove_unlisted(
        &mut self,
        present: &HashSet<Arc<str>>,
        complete: bool,
        started: Instant,
        enqueued: &mut HashSet<K>,
    ) {
        let lost: Vec<Arc<str>> = self
            .entries
            .iter()
            .filter(|(id, entry)| !present.contains(*id) && entry.as_of < started)
            .map(|(id, _)| Arc::clone(id))
            .collect();
        for id in lost {
            match self.holders.get(&id).cloned() {
                Some(_) if !complete => continue,
                Some(reader) => {
                    self.missing.insert(id.to_string());
                    self.losses.found_missing(&id, started);
                    enqueued.insert(reader);
                }
                None => enqueued.extend(self.watchers.get(&*id).into_iter().flatten().cloned()),
            }
            self.remove(&id);
        }
    }

    /// Records the held objects that a complete LIST lacks and that had no entry.
    fn find_missing(&mut self, started: Instant, enqueued: &mut HashSet<K>) {
        let unseen: Vec<(String, K)> = self
            .holders
            .iter()
            .filter(|(id, _)| !self.entries.contains_key(*id) && !self.absences.contains_key(&***id))
            .map(|(id, reader)| (id.to_string(), reader.clone()))
            .collect();
        for (id, reader) in unseen {
            self.losses.found_missing(&id, started);
            if self.missing.insert(id) {
                enqueued.insert(reader);
            }
        }
    }

    /// Records what a LIST shows about earlier "no such object" answers. The objects in it are no longer among them.
    fn confirm_absences(&mut self, complete: bool, started: Instant) {
        for absence in self.absences.values_mut().filter(|absence| absence.at < started) {
            absence.list = match (complete, absence.list) {
                (true, _) | (false, Confirmation::Confirmed) => Confirmation::Confirmed,
                (false, _) => Confirmation::Incomplete,
            };
        }
    }

    /// Ids without holder or watcher no longer need a proof of absence.
    fn forget_unneeded_absences(&mut self) {
        let Self {
            absences,
            holders,
            watchers,
            ..
        } = self;
        absences.retain(|id, _| holders.contains_key(&**id) || watchers.contains_key(id));
    }

    /// Answers the pending queries for the collection, and for the objects that the LIST returned with all fields.
    fn answer_from_list(&mut self, started: Instant, is_repeated: bool) -> HashSet<K> {
        let known = self.pending.objects().filter_map(|id| {
            let entry = self.entries.get(id.as_str()).filter(|entry| !entry.is_partial)?;
            // An incomplete LIST leaves older entries.
            Some((Query::Object(id.clone()), started.min(entry.as_of)))
        });
        let mut answered = known.collect::<Vec<_>>();
        if !is_repeated {
            answered.push((Query::Collection, started));
        }
        let mut readers = HashSet::new();
        for (query, as_of) in answered {
            self.pending.answer(&query, as_of, &mut readers);
        }
        readers
    }

    fn take_list_item(&mut self, listed: ListedItem<R>, started: Instant, enqueued: &mut HashSet<K>) {
        let ListedItem {
            id,
            is_partial,
            has_tags: speaks_of_tags,
            remote: stored,
            ..
        } = listed;
        if self.has_tombstone(&id, started) {
            return;
        }
        self.tags_omitted |= R::TAGGED && !is_partial && !speaks_of_tags && !self.concerned(&id).is_empty();
        if self.confirm_same(&id, &stored, started, speaks_of_tags) {
            return;
        }
        let Some(item) = stored.get() else { return };
        let mut item = Arc::unwrap_or_clone(item);
        if is_partial {
            self.take_partial_item(item, started, enqueued);
            return;
        }
        let mut full = false;
        let mut news = true;
        if let Some(entry) = self.entries.get(&*id) {
            if entry.as_of >= started {
                return;
            }
            let reported = item.tags().cloned();
            let earlier = entry.remote.get();
            let earlier = earlier.as_deref();
            if let Some(earlier) = earlier {
                item.complete_from(earlier);
            }
            // Tags that LISTs never return stay as known. If the previous LIST returned them, they may have changed.
            item.set_tags(match reported {
                None if entry.tags_listed => None,
                None => earlier.and_then(Remote::tags).cloned(),
                reported => reported,
            });
            news = earlier != Some(&item);
            // Kinds without tags take too little from the earlier answer: an item is full only if nothing changed.
            full = entry.full && (R::TAGGED || !news);
        }
        let back = self.missing.remove(&*id) | self.absences.remove(&*id).is_some();
        if news || back {
            enqueued.extend(self.concerned_by(&item));
        }
        if news {
            self.put(item, started, full, speaks_of_tags);
        } else {
            self.confirm(&id, started, full, speaks_of_tags);
        }
    }

    /// Confirms the entry whose memory a list item shares. Returns whether it does, and nobody waits for the object.
    fn confirm_same(&mut self, id: &str, stored: &StoredRemote<R>, started: Instant, has_tags: bool) -> bool {
        let entry = self.entries.get(id);
        let Some(entry) = entry.filter(|entry| !entry.is_partial && entry.remote.is_same_as(stored)) else {
            return false;
        };
        if self.missing.contains(id) || self.absences.contains_key(id) {
            return false;
        }
        if entry.as_of < started {
            self.confirm(id, started, entry.full, has_tags);
        }
        true
    }

    /// Stores a list item with unknown fields. It proves that the object exists, but replaces no complete entry.
    fn take_partial_item(&mut self, item: R, started: Instant, enqueued: &mut HashSet<K>) {
        let id = item.id().to_owned();
        let back = self.missing.remove(&*id) | self.absences.remove(&*id).is_some();
        let entry = self.entries.get(&*id);
        if entry.is_some_and(|entry| entry.as_of >= started) {
            return;
        }
        let is_known = entry.is_some_and(|entry| !entry.is_partial);
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
    pub(crate) fn ended_get(
        &mut self,
        query: &Query,
        id: &str,
        result: Result<R, CloudError>,
        started: Instant,
    ) -> HashSet<K> {
        let has_tombstone = self.has_tombstone(id, started);
        self.ended(query);
        let answered = [Query::Object(id.to_owned()), Query::Whole(id.to_owned())];
        // Readers that did not request it are enqueued as well: the next LIST no longer shows a change.
        let mut enqueued = HashSet::new();
        match result {
            // Deleted since then: the next read shows it.
            Ok(_) if has_tombstone => {}
            Ok(remote) => {
                let entry = self.entries.get(id);
                let is_newer = entry.is_none_or(|entry| entry.as_of < started || entry.is_partial);
                let differs = self.remote(id).as_deref() != Some(&remote);
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
            Err(error) => {
                let readers = self.answer(&answered, started);
                return self.fail(readers, &error);
            }
        }
        enqueued.extend(self.answer(&answered, started));
        enqueued
    }

    /// Processes the end of a query for the tags of one object. Returns the readers to enqueue.
    pub(crate) fn ended_tags(
        &mut self,
        query: &Query,
        id: &str,
        result: Result<BTreeMap<String, String>, CloudError>,
        started: Instant,
    ) -> HashSet<K> {
        self.ended(query);
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
            Err(error) => {
                let readers = self.answer([query], started);
                return self.fail(readers, &error);
            }
        }
        enqueued.extend(self.answer([query], started));
        enqueued
    }

    /// Processes the end of a query for all tags. Returns the readers to enqueue.
    pub(crate) fn ended_all_tags(&mut self, result: Result<TagsById, CloudError>, started: Instant) -> HashSet<K> {
        self.ended(&Query::AllTags);
        let mut enqueued = HashSet::new();
        let reported = match result {
            Ok(reported) => reported,
            Err(error) if is_not_offered(&error) => TagsById::new(),
            // Tried again after the next LIST.
            Err(_) => return enqueued,
        };
        let holders = self.holders.keys().map(|id| &**id);
        let concerning = holders.chain(self.watchers.keys().map(String::as_str));
        let is_left = |id: &&str| self.entries.get(*id).is_some_and(|entry| !entry.tags_listed);
        let left: BTreeSet<String> = concerning
            .filter(|id| !reported.contains_key(*id))
            .filter(is_left)
            .map(str::to_owned)
            .collect();
        for (id, tags) in &reported {
            self.take_tags(id, tags.clone(), started, &mut enqueued);
        }
        let queries: Vec<Query> = reported.keys().map(|id| Query::Tags(id.clone())).collect();
        enqueued.extend(self.answer(&queries, started));
        // Tags that the answer lacks are read per object, at no more than the cost of the LIST. Those read longest ago
        // come first.
        let mut left: Vec<String> = left.into_iter().collect();
        left.sort_by_key(|id| self.entries.get(id.as_str()).and_then(|entry| entry.tags_read_at));
        left.truncate(self.gets_per_list());
        self.unread.extend(left);
        enqueued
    }

    /// Stores tags that were read without their object, unless a newer answer is known.
    fn take_tags(&mut self, id: &str, tags: BTreeMap<String, String>, started: Instant, enqueued: &mut HashSet<K>) {
        let Some(entry) = self.entries.get(id).filter(|entry| entry.as_of <= started) else {
            return;
        };
        let (Some(remote), as_of, full) = (entry.remote.get(), entry.as_of, entry.full) else {
            return;
        };
        let mut remote = Arc::unwrap_or_clone(remote);
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
}

/// Whether the cloud refuses a call permanently, not because of an outage.
fn is_not_offered(error: &CloudError) -> bool {
    matches!(
        error.kind,
        ErrorKind::Forbidden | ErrorKind::NotAvailable | ErrorKind::Rejected | ErrorKind::Gone
    )
}
