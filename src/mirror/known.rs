//! What is known of the cloud, and who wants to know more: plain data, changed by what is told to it. It neither asks the
//! cloud nor the time.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::losses::Losses;
use super::{IfMissing, Listed, Listing, Look, LostAt, Reader, Remote, Sighting, TagsById};
use crate::cloud::{CloudError, Meaning};
use crate::ownership::Owner;

/// GETs under way at once for one collection; what waits beyond them is worth a LIST.
pub(super) const MAX_GETS: usize = 4;

#[derive(Clone)]
pub(super) struct Entry<R> {
    pub(super) remote: R,
    pub(super) as_of: Instant,
    pub(super) full: bool,
    /// The last LIST spoke of tags.
    pub(super) tags_listed: bool,
    /// When its tags were last read otherwise.
    tags_read_at: Option<Instant>,
}

impl<R: Remote> Entry<R> {
    /// Whether an answer of then or later is in.
    fn is_known_at(&self, since: Instant) -> bool {
        !self.remote.is_partial() && self.as_of >= since
    }
}

#[derive(Clone)]
pub(super) struct Want<K> {
    pub(super) reader: K,
    pub(super) look: Look,
    pub(super) since: Instant,
}

/// An answer about one id that there is no such object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Absence {
    /// When the request was started.
    pub(super) at: Instant,
    pub(super) list: Confirmation,
}

/// What the last LIST that was started after such an answer says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Confirmation {
    /// There was none.
    Pending,
    /// It did not have the object, but was incomplete.
    Incomplete,
    /// It was complete and did not have the object; or it was incomplete, and another such answer came after it.
    Confirmed,
}

/// See the module.
#[derive(Clone)]
pub struct Known<R, K> {
    pub(super) owner_tag_key: String,
    pub(super) entries: HashMap<String, Entry<R>>,
    /// Ids by the uid, and by the place, that their tags name.
    pub(super) by_uid: HashMap<String, BTreeSet<String>>,
    pub(super) by_place: HashMap<(String, String, String), BTreeSet<String>>,
    pub(super) untold: HashSet<String>,
    /// Ids of which somebody wants to hear, and that the last LIST has not told in full.
    pub(super) unread: BTreeSet<String>,
    /// The last LIST has omitted tags of such an object.
    tags_due: bool,
    pub(super) listed: Option<(Instant, Timestamp, bool)>,
    /// A LIST has ended, well or not.
    pub(super) was_listed: bool,
    /// Ids of which a GET, or a write of ours, said that there is no such object.
    pub(super) absences: HashMap<String, Absence>,
    /// Ids of which that was said while a look was under way, and when: what began before must not bring them back.
    pub(super) buried: HashMap<String, Instant>,
    /// Held ids that the last complete LIST did not have.
    pub(super) missing: HashSet<String>,
    pub(super) losses: Losses,
    /// Which reader holds which id, and which uid.
    pub(super) holders: HashMap<String, K>,
    pub(super) ids: HashMap<K, String>,
    pub(super) uids: HashMap<String, K>,
    /// Who wants to hear of an id that is not (yet) his.
    pub(super) curious: HashMap<String, HashSet<K>>,
    pub(super) watched: HashMap<K, String>,
    pub(super) wants: Vec<Want<K>>,
    pub(super) looking_at: HashSet<Look>,
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
            untold: HashSet::new(),
            unread: BTreeSet::new(),
            tags_due: false,
            listed: None,
            was_listed: false,
            absences: HashMap::new(),
            buried: HashMap::new(),
            missing: HashSet::new(),
            losses: Losses::default(),
            holders: HashMap::new(),
            ids: HashMap::new(),
            uids: HashMap::new(),
            curious: HashMap::new(),
            watched: HashMap::new(),
            wants: Vec::new(),
            looking_at: HashSet::new(),
            failures: HashMap::new(),
        }
    }

    /// Asks for an answer that is started at `since` or later. Whether it is in already: it came while the reader was
    /// busy elsewhere.
    pub fn want(&mut self, reader: &K, look: Look, since: Instant) -> bool {
        let is_in = |id: &String| self.entries.get(id).is_some_and(|entry| entry.is_known_at(since));
        if matches!(&look, Look::Object(id) if is_in(id)) {
            return true;
        }
        let same = |want: &Want<K>| want.reader == *reader && want.look == look;
        match self.wants.iter_mut().find(|want| same(want)) {
            Some(want) => want.since = want.since.max(since),
            None => self.wants.push(Want {
                reader: reader.clone(),
                look,
                since,
            }),
        }
        false
    }

    /// As few looks as answer all that is wanted; from now on they are under way.
    pub fn due(&mut self) -> Vec<Look> {
        let mut due = Vec::new();
        let singles: BTreeSet<(u8, String)> = self
            .wants
            .iter()
            .filter_map(|want| match &want.look {
                Look::Object(id) if self.needs_get(id, want.since) => Some((2, id.clone())),
                Look::Object(id) => Some((0, id.clone())),
                Look::Tags(id) => Some((1, id.clone())),
                Look::Whole(id) => Some((2, id.clone())),
                Look::Collection | Look::AllTags => None,
            })
            .collect();
        let collection_wanted = self.wants.iter().any(|want| want.look == Look::Collection);
        let waiting_objects = singles.iter().filter(|(kind, _)| *kind == 0).count();
        let pages = self.pages();
        if self.listed.is_none() || collection_wanted || waiting_objects > MAX_GETS.max(pages) {
            if !self.wants.is_empty() {
                due.extend(self.begin(Look::Collection));
            }
            if self.listed.is_none() {
                return due;
            }
        }
        let listing = self.looking_at.contains(&Look::Collection);
        if std::mem::take(&mut self.tags_due) {
            due.extend(self.begin(Look::AllTags));
        }
        let reads_all_tags = self.looking_at.contains(&Look::AllTags);
        for (kind, id) in singles {
            if self.reads_under_way() >= MAX_GETS {
                break;
            }
            match kind {
                // A LIST that is under way will tell.
                0 if listing && waiting_objects > MAX_GETS => {}
                // These may be among all that are being read.
                1 if reads_all_tags => {}
                1 => due.extend(self.begin(Look::Tags(id))),
                _ => due.extend(self.begin(Look::Object(id))),
            }
        }
        while self.reads_under_way() < MAX_GETS
            && let Some(id) = self.unread.pop_first()
        {
            due.extend(self.begin(Look::Object(id)));
        }
        due
    }

    /// Whether no LIST answers who asks for an object as of then: what a LIST lacks, or cannot tell, only a GET tells.
    fn needs_get(&self, id: &str, since: Instant) -> bool {
        let is_lacked = || self.listed.is_some_and(|(at, ..)| at >= since);
        match self.entries.get(id) {
            Some(entry) => entry.remote.is_partial(),
            None => self.missing.contains(id) || self.absences.contains_key(id) || is_lacked(),
        }
    }

    fn reads_under_way(&self) -> usize {
        let is_of_one = |look: &&Look| !matches!(look, Look::Collection | Look::AllTags);
        self.looking_at.iter().filter(is_of_one).count()
    }

    /// As many as cost no more than the LIST did, of those first that were read the longest ago.
    fn choose_unread(&mut self) {
        let most = MAX_GETS.max(self.pages());
        let mut unread: Vec<String> = std::mem::take(&mut self.unread).into_iter().collect();
        unread.sort_by_key(|id| self.entries.get(id).map(|entry| entry.as_of));
        unread.truncate(most);
        self.unread.extend(unread);
    }

    /// Of a LIST.
    fn pages(&self) -> usize {
        self.entries.len() / 200 + 1
    }

    /// The look, if it is not under way already; from now on it is.
    pub fn begin(&mut self, look: Look) -> Option<Look> {
        self.looking_at.insert(look.clone()).then_some(look)
    }

    /// A look that this reader asked for failed; told once.
    pub fn take_failure(&mut self, reader: &K) -> Option<CloudError> {
        self.failures.remove(reader)
    }

    /// Whether what is missing has been counted: by a LIST, if any object is held.
    pub fn is_counted(&self) -> bool {
        self.was_listed || self.ids.is_empty()
    }

    /// From now on the reader is woken when its object differs, or when an object with its uid shows up.
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
            let lacked = self.listed.is_some_and(|(_, _, complete)| complete);
            // As a LIST that ends from now on would find.
            if lacked && !self.entries.contains_key(id) {
                self.losses.held_missing(id);
                if !self.absences.contains_key(id) {
                    self.missing.insert(id.to_owned());
                }
            }
        }
    }

    /// Says what it means if a held object is missing.
    pub fn if_missing(&mut self, id: &str, meaning: IfMissing) {
        let is_there = self.entries.contains_key(id);
        if !self.holders.contains_key(id) || (is_there && meaning == IfMissing::Reported) {
            // It has returned, so its status is out of date.
            self.losses.if_missing(id, IfMissing::Lost);
        } else {
            self.losses.if_missing(id, meaning);
        }
    }

    /// The reader is woken when this object, which it does not hold, comes, goes or changes.
    pub fn watch(&mut self, reader: &K, id: Option<&str>) {
        if self.watched.get(reader).map(String::as_str) == id {
            return;
        }
        self.forget_curiosity(reader);
        if let Some(id) = id {
            self.curious.entry(id.to_owned()).or_default().insert(reader.clone());
            self.watched.insert(reader.clone(), id.to_owned());
        }
    }

    /// The reader is no more.
    pub fn forget(&mut self, reader: &K) {
        self.release_id(reader);
        self.forget_curiosity(reader);
        self.uids.retain(|_, other| other != reader);
        self.wants.retain(|want| want.reader != *reader);
        self.failures.remove(reader);
    }

    /// The last LIST, judged by a reader's time.
    pub fn listed(&self, since: Option<Instant>) -> Option<Listed> {
        self.listed.map(|(at, started, complete)| Listed {
            fresh: is_fresh(at, since),
            started,
            complete,
        })
    }

    /// What is known of an id, judged by a reader's time.
    pub fn sighting(&self, id: &str, since: Option<Instant>) -> Sighting<R> {
        if let Some(entry) = self.entries.get(id) {
            return Sighting::Seen {
                remote: entry.remote.clone(),
                fresh: !entry.remote.is_partial() && is_fresh(entry.as_of, since),
                full: entry.full,
            };
        }
        match self.absences.get(id) {
            Some(absence) if is_fresh(absence.at, since) => match absence.list {
                Confirmation::Confirmed => Sighting::Gone,
                list => Sighting::Unconfirmed {
                    list_incomplete: list == Confirmation::Incomplete,
                },
            },
            _ if self.missing.contains(id) => Sighting::Missing,
            _ => Sighting::Unknown,
        }
    }

    /// Objects whose tag names this uid.
    pub fn owned_by(&self, uid: &str) -> Vec<R> {
        self.pick(self.by_uid.get(uid))
    }

    /// Objects whose tag names this place, under whichever uid.
    pub fn at_place_of(&self, owner: &Owner) -> Vec<R> {
        self.pick(self.by_place.get(&place(owner)))
    }

    /// Objects whose tags are not known and that could be what `matches` looks for.
    pub fn untold(&self, matches: impl Fn(&R) -> bool) -> Vec<String> {
        let candidates = self.untold.iter().filter_map(|id| self.entries.get(id));
        candidates
            .filter(|entry| matches(&entry.remote))
            .map(|entry| entry.remote.id().to_owned())
            .collect()
    }

    /// Objects without an owner tag that nobody holds.
    pub fn unowned(&self, matches: impl Fn(&R) -> bool) -> Vec<R> {
        let free = self.entries.values().filter(|entry| {
            let tags = entry.remote.tags();
            let owned = R::TAGGED && tags.is_none_or(|tags| tags.contains_key(&self.owner_tag_key));
            !owned && !self.holders.contains_key(entry.remote.id())
        });
        free.filter(|entry| matches(&entry.remote))
            .map(|entry| entry.remote.clone())
            .collect()
    }

    /// Objects of any kind of ownership, of the last looks.
    pub fn find(&self, matches: impl Fn(&R) -> bool) -> Vec<R> {
        let entries = self.entries.values().map(|entry| &entry.remote);
        entries.filter(|remote| matches(remote)).cloned().collect()
    }

    /// When a held object was lost; `None` if it is there, or if that it is missing is no loss.
    pub fn lost_at(&self, id: &str) -> Option<LostAt> {
        self.losses.lost_at(id)
    }

    /// How many of the held objects were lost at once with one that was lost then, and of how many that could be.
    pub fn losses(&self, at: LostAt, window: Duration) -> (usize, usize) {
        let could_be = self.holders.len().saturating_sub(self.losses.reported());
        (self.losses.with(at, window), could_be)
    }

    /// The answer of one of our own writes: it is newer than any look that began before it.
    pub fn wrote(&mut self, remote: R, now: Instant) {
        let id = remote.id().to_owned();
        self.absences.remove(&id);
        self.missing.remove(&id);
        self.put(remote, now, true, true);
    }

    /// One of our own writes, which was answered without the object, changed it so.
    pub fn wrote_change(&mut self, id: &str, change: impl FnOnce(&mut R), now: Instant) {
        let Some(entry) = self.entries.get(id) else { return };
        let (mut remote, full) = (entry.remote.clone(), entry.full);
        change(&mut remote);
        self.put(remote, now, full, true);
    }

    /// A write of ours was answered with "no such object", or with its deletion.
    pub fn wrote_absence(&mut self, id: &str, now: Instant) {
        self.remove(id);
        self.absent(id, now);
    }

    /// An answer to what was started then said that there is no such object. Whether that is news.
    fn absent(&mut self, id: &str, started: Instant) -> bool {
        self.bury(id, started);
        if self.holders.contains_key(id) {
            self.losses.found_missing(id, started);
        }
        let before = self.absences.get(id).copied();
        if before.is_none_or(|before| before.at < started) {
            // Where lists are never complete, one that lacks the object counts if it stands between two such answers.
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

    /// A LIST has ended, which was started then; who is to be woken.
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
                self.ended(&Look::Collection);
                return self.fail(|want| want.since <= started, &error);
            }
        };
        let mut woken = HashSet::new();
        self.unread.clear();
        let present: HashSet<String> = listing.items.iter().map(|item| item.id().to_owned()).collect();
        if listing.complete {
            self.losses.listed(started);
        }
        for item in listing.items {
            self.take_list_item(item, started, &mut woken);
        }
        let lost: Vec<String> = self
            .entries
            .iter()
            .filter(|(id, entry)| !present.contains(*id) && entry.as_of < started)
            .map(|(id, _)| id.clone())
            .collect();
        for id in lost {
            match self.holders.get(&id).cloned() {
                // What somebody holds and an incomplete LIST skipped is neither gone nor news.
                Some(_) if !listing.complete => continue,
                Some(reader) => {
                    self.missing.insert(id.clone());
                    self.losses.found_missing(&id, started);
                    woken.insert(reader);
                }
                None => woken.extend(self.curious.get(&id).into_iter().flatten().cloned()),
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
                    woken.insert(reader);
                }
            }
        }
        // What the LIST has is not among these any more.
        for absence in self.absences.values_mut().filter(|absence| absence.at < started) {
            absence.list = match (listing.complete, absence.list) {
                (true, _) => Confirmation::Confirmed,
                (false, Confirmation::Confirmed) => Confirmation::Confirmed,
                (false, _) => Confirmation::Incomplete,
            };
        }
        self.listed = Some((started, cloud_started, listing.complete));
        self.ended(&Look::Collection);
        // What nobody holds needs no proof of its absence any more.
        let Self {
            absences,
            holders,
            curious,
            ..
        } = self;
        absences.retain(|id, _| holders.contains_key(id) || curious.contains_key(id));
        let seen: HashMap<String, Instant> = self
            .entries
            .iter()
            .filter(|(_, entry)| !entry.remote.is_partial())
            .map(|(id, entry)| (id.clone(), entry.as_of))
            .collect();
        let answered = self.answer(|want| {
            want.since <= started
                && match &want.look {
                    Look::Collection => true,
                    Look::Object(id) => seen.get(id).is_some_and(|as_of| *as_of >= want.since),
                    Look::Tags(_) | Look::Whole(_) | Look::AllTags => false,
                }
        });
        woken.extend(answered);
        woken
    }

    fn take_list_item(&mut self, mut item: R, started: Instant, woken: &mut HashSet<K>) {
        let id = item.id().to_owned();
        if self.is_buried(&id, started) {
            return;
        }
        if item.is_partial() {
            self.take_partial_item(item, started, woken);
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
        let back = self.missing.remove(&id) | self.absences.remove(&id).is_some();
        if news || back {
            woken.extend(self.concerned_by(&item));
        }
        self.put(item, started, full, speaks_of_tags);
    }

    /// It is there. What it lacks is not known, so that it takes the place of nothing that is.
    fn take_partial_item(&mut self, item: R, started: Instant, woken: &mut HashSet<K>) {
        let id = item.id().to_owned();
        let back = self.missing.remove(&id) | self.absences.remove(&id).is_some();
        let entry = self.entries.get(&id);
        if entry.is_some_and(|entry| entry.as_of >= started) {
            return;
        }
        let is_known = entry.is_some_and(|entry| !entry.remote.is_partial());
        let is_concerning = !self.concerned(&id).is_empty();
        if back || !is_known {
            woken.extend(self.concerned_by(&item));
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

    /// A GET has ended, which was started then; who is to be woken.
    pub fn ended_get(&mut self, look: &Look, id: &str, result: Result<R, CloudError>, started: Instant) -> HashSet<K> {
        let is_buried = self.is_buried(id, started);
        self.ended(look);
        let is_about_it = |want: &Want<K>| matches!(&want.look, Look::Object(it) | Look::Whole(it) if it == id);
        let asked = |want: &Want<K>| want.since <= started && is_about_it(want);
        // Who did not ask must hear of it as well: by the next LIST it is no news any more.
        let mut woken = HashSet::new();
        match result {
            // Gone since: the next look says so.
            Ok(_) if is_buried => {}
            Ok(remote) => {
                let entry = self.entries.get(id);
                let is_newer = entry.is_none_or(|entry| entry.as_of < started || entry.remote.is_partial());
                let differs = entry.is_none_or(|entry| entry.remote != remote);
                let back = self.missing.remove(id) | self.absences.remove(id).is_some();
                if back || (is_newer && differs) {
                    woken.extend(self.concerned_by(&remote));
                }
                if is_newer {
                    let tags_listed = self.entries.get(id).is_some_and(|entry| entry.tags_listed);
                    self.put(remote, started, true, tags_listed);
                    if let Some(entry) = self.entries.get_mut(id) {
                        entry.tags_read_at = Some(started);
                    }
                }
            }
            Err(error) if error.meaning == Meaning::Gone => {
                if self.entries.get(id).is_none_or(|entry| entry.as_of < started) {
                    self.remove(id);
                    if self.absent(id, started) {
                        woken.extend(self.concerned(id));
                    }
                }
            }
            Err(error) => return self.fail(asked, &error),
        }
        woken.extend(self.answer(asked));
        woken
    }

    /// A look at an object's tags has ended, which was started then; who is to be woken.
    pub fn ended_tags(
        &mut self,
        look: &Look,
        id: &str,
        result: Result<BTreeMap<String, String>, CloudError>,
        started: Instant,
    ) -> HashSet<K> {
        self.ended(look);
        let asked = |want: &Want<K>| want.since <= started && want.look == *look;
        let mut woken = HashSet::new();
        match result {
            Ok(tags) => self.take_tags(id, tags, started, &mut woken),
            // The object itself is asked for before that is believed.
            Err(error) if error.meaning == Meaning::Gone => {
                self.remove(id);
                if self.holders.contains_key(id) {
                    self.losses.found_missing(id, started);
                }
                if self.holders.contains_key(id) && self.missing.insert(id.to_owned()) {
                    woken.extend(self.concerned(id));
                }
            }
            Err(error) => return self.fail(asked, &error),
        }
        woken.extend(self.answer(asked));
        woken
    }

    /// A look at all tags has ended, which was started then; who is to be woken.
    pub fn ended_all_tags(&mut self, result: Result<TagsById, CloudError>, started: Instant) -> HashSet<K> {
        self.ended(&Look::AllTags);
        let mut woken = HashSet::new();
        let told = match result {
            Ok(told) => told,
            Err(error) if is_not_offered(&error) => TagsById::new(),
            // After the next LIST.
            Err(_) => return woken,
        };
        let concerning = self.holders.keys().chain(self.curious.keys());
        let is_left = |id: &&String| self.entries.get(*id).is_some_and(|entry| !entry.tags_listed);
        let left: BTreeSet<String> = concerning
            .filter(|id| !told.contains_key(*id))
            .filter(is_left)
            .cloned()
            .collect();
        for (id, tags) in &told {
            self.take_tags(id, tags.clone(), started, &mut woken);
        }
        woken.extend(self.answer(|want| {
            let is_told = matches!(&want.look, Look::Tags(id) if told.contains_key(id));
            is_told && want.since <= started
        }));
        // What is not among them is read by itself, as much of it as costs no more than the LIST did; what was read the
        // longest ago comes first.
        let mut left: Vec<String> = left.into_iter().collect();
        left.sort_by_key(|id| self.entries.get(id).and_then(|entry| entry.tags_read_at));
        left.truncate(MAX_GETS.max(self.pages()));
        self.unread.extend(left);
        woken
    }

    /// Tags that were read by themselves, unless something newer is known.
    fn take_tags(&mut self, id: &str, tags: BTreeMap<String, String>, started: Instant, woken: &mut HashSet<K>) {
        let Some(entry) = self.entries.get(id).filter(|entry| entry.as_of <= started) else {
            return;
        };
        let (mut remote, as_of, full) = (entry.remote.clone(), entry.as_of, entry.full);
        let differs = remote.tags() != Some(&tags);
        remote.set_tags(Some(tags));
        if differs {
            woken.extend(self.concerned_by(&remote));
        }
        self.put(remote, as_of, full, false);
        if let Some(entry) = self.entries.get_mut(id) {
            entry.tags_read_at = Some(started);
        }
    }

    /// Who holds an object, or wants to hear of it.
    fn concerned(&self, id: &str) -> Vec<K> {
        let curious = self.curious.get(id).into_iter().flatten();
        self.holders.get(id).into_iter().chain(curious).cloned().collect()
    }

    /// So of one that is there: also whom its tags name.
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
                    self.untold.insert(id.clone());
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
        self.untold.remove(id);
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
            self.losses.released(&id);
            self.missing.remove(&id);
            self.absences.remove(&id);
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

/// Whether a call was refused for good, and not by a cloud that is away.
fn is_not_offered(error: &CloudError) -> bool {
    matches!(
        error.meaning,
        Meaning::Forbidden | Meaning::NotAvailable | Meaning::Rejected | Meaning::Gone
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
    /// When what is known was seen.
    pub fn seen_at(&self) -> Vec<Instant> {
        let seen = self.entries.values().map(|entry| entry.as_of);
        let listed = self.listed.iter().map(|(at, ..)| *at);
        let absent = self.absences.values().map(|absence| absence.at);
        seen.chain(listed).chain(absent).collect()
    }

    /// From when on an answer is wanted.
    pub fn wanted_since(&self) -> Vec<Instant> {
        self.wants.iter().map(|want| want.since).collect()
    }

    /// The same with other times in the place of each; nothing if they are what it has.
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
        let wanted = other.wants.iter_mut().map(|want| &mut want.since);
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
        // Which other ids are kept, and by whom, follows from these; what is looked at from what is wanted.
        for want in &self.wants {
            (&want.reader, &want.look, want.since).hash(state);
        }
    }
}
