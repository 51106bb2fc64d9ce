//! What the process remembers of each object between reconciles. Nothing in here is needed for correctness: a restart
//! loses it, and status tells the rest.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::key::Key;
use super::kind::Kind;
use super::managed::Managed;
use super::registrations::Registrations;
use crate::api::RECONCILE_REQUESTED_ANNOTATION;
use crate::cloud::error::Pace;

/// A DELETE that came to nothing is not sent again sooner, whatever the confirmation period.
const FIRST_DELETE_RETRY: Duration = Duration::from_secs(1);
/// Nor, however often it came to nothing, later, unless the confirmation period is longer.
const LAST_DELETE_RETRY: Duration = Duration::from_secs(600);

/// What is remembered of one object. Pure.
#[derive(Clone)]
pub struct Entry<K: Kind> {
    uid: String,
    /// As our last write returned it: the watch lags behind.
    pub latest: Arc<Managed<K>>,
    /// It is what a write of ours returned.
    written: bool,
    /// The version that was the newest before the apiserver went back to an older one.
    lost_version: Option<String>,
    asked: Asked,
    pub triggered_at: Option<Instant>,
    failures: u32,
    not_before: Option<Instant>,
    /// Whether it is only an earlier pass that asks for a new look.
    waits: bool,
    /// Something was heard since the pass began: what it decides to wait for may be here.
    news: bool,
    /// The last DELETE of ours that was accepted.
    delete_sent: Option<SentDelete>,
    /// A change that the cloud accepted and that nothing shows yet, and whether that was told.
    accepted: Option<(K::Change, bool)>,
    /// The token of a creation that was sent again.
    pub replayed: Option<String>,
    mending: Vec<String>,
    drifted: bool,
    recreating: bool,
    /// Our finalizer is off: whatever the watch still delivers is of before.
    let_go: bool,
    /// Its place in the cloud was looked up, or could not be.
    looked_at: bool,
    registrations: Option<Arc<Registrations>>,
    /// How the apiserver refused the last write.
    refused: Option<String>,
}

/// A DELETE that the cloud accepted.
#[derive(Clone, Debug)]
struct SentDelete {
    id: String,
    at: Instant,
    /// How often it was accepted for this id.
    times: u32,
}

/// What a person asks for; a change of it is a trigger.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Asked {
    generation: Option<i64>,
    requested: Option<String>,
    approved: Option<String>,
    paused: bool,
}

impl Asked {
    fn of<K: Kind>(object: &Managed<K>) -> Self {
        Self {
            generation: object.metadata.generation,
            requested: object.annotation(RECONCILE_REQUESTED_ANNOTATION).map(str::to_owned),
            approved: object
                .annotation(crate::api::RECREATE_APPROVED_ANNOTATION)
                .map(str::to_owned),
            paused: object.is_paused(),
        }
    }
}

/// See the module.
pub struct Memory<K: Kind> {
    entries: Mutex<HashMap<Key, Entry<K>>>,
}

impl<K: Kind> Default for Memory<K> {
    fn default() -> Self {
        Self {
            entries: Mutex::default(),
        }
    }
}

impl<K: Kind> Memory<K> {
    /// Notes what the watch delivered, and returns the newest state of the object that is known.
    pub fn arrive(&self, key: &Key, object: Arc<Managed<K>>, now: Instant) -> Arc<Managed<K>> {
        let former = {
            let mut entries = self.lock();
            match entries.get_mut(key) {
                Some(entry) if entry.uid == object.uid() => {
                    entry.arrive(object, now);
                    return Arc::clone(&entry.latest);
                }
                _ => entries.insert(key.clone(), Entry::new(Arc::clone(&object), now)),
            }
        };
        // Its registrations end by other locks than this one.
        drop(former);
        object
    }

    /// Notes what the apiserver has now: read after it refused a write to the newest state that is known here. It counts
    /// even if its version is lower, as it is after a restore of the apiserver's data; whether it is.
    pub fn reread(&self, key: &Key, object: &Arc<Managed<K>>, now: Instant) -> bool {
        let mut went_back = false;
        self.with(key, |entry| went_back = entry.reread(Arc::clone(object), now));
        went_back
    }

    /// One of our writes returned this.
    pub fn wrote(&self, key: &Key, object: &Arc<Managed<K>>) {
        self.with(key, |entry| {
            entry.latest = Arc::clone(object);
            entry.refused = None;
            entry.written = true;
        });
    }

    /// Our finalizer is off the object.
    pub fn let_go(&self, key: &Key) {
        self.with(key, |entry| {
            // The apiserver's answer shows what it removed as it was before, finalizer and all.
            let mut latest = Managed::clone(&entry.latest);
            latest.metadata.finalizers = None;
            entry.latest = Arc::new(latest);
            entry.let_go = true;
        });
    }

    /// A pass begins: what is heard from now on, it may not have seen.
    pub fn begin(&self, key: &Key) {
        self.with(key, Entry::begin);
    }

    /// How long to leave the object alone yet.
    pub fn hold_off(&self, key: &Key, now: Instant) -> Option<Duration> {
        let entries = self.lock();
        let wait = entries.get(key)?.not_before?.saturating_duration_since(now);
        (!wait.is_zero()).then_some(wait)
    }

    /// From when on an observation counts.
    pub fn triggered_at(&self, key: &Key) -> Option<Instant> {
        self.lock().get(key)?.triggered_at
    }

    /// Something new asks for attention: at once, and on a new observation.
    pub fn trigger(&self, key: &Key, now: Instant) {
        self.with(key, |entry| entry.trigger(now));
    }

    /// From now on only an observation that is newer counts; the pace of retries stays.
    pub fn look_anew(&self, key: &Key, now: Instant) {
        self.with(key, |entry| entry.look_anew(now));
    }

    /// Whether the observation that counts is asked for by an earlier pass only, and not by news.
    pub fn waits(&self, key: &Key) -> bool {
        self.lock().get(key).is_some_and(|entry| entry.waits)
    }

    /// Something may have changed for the better: at once.
    pub fn kick(&self, key: &Key) {
        self.with(key, |entry| {
            entry.news = true;
            entry.not_before = None;
        });
    }

    /// It did not work; when to come again.
    pub fn failed(&self, key: &Key, pace: Pace, jitter: f64, now: Instant) -> Duration {
        let mut delay = pace.first;
        self.with(key, |entry| {
            entry.failures = entry.failures.saturating_add(1);
            delay = pace.delay(entry.failures).mul_f64(jitter);
            if entry.news {
                delay = Duration::ZERO;
            }
            entry.not_before = Some(now + delay);
        });
        delay
    }

    /// Come again then, no failure.
    pub fn wait_until(&self, key: &Key, until: Instant) {
        self.with(key, |entry| entry.not_before = (!entry.news).then_some(until));
    }

    /// All is well.
    pub fn settled(&self, key: &Key) -> (Vec<String>, bool) {
        let mut mended = (Vec::new(), false);
        self.with(key, |entry| mended = entry.settled());
        mended
    }

    /// A step was taken: what failed before does not count against the next.
    pub fn progressed(&self, key: &Key) {
        self.with(key, |entry| entry.failures = 0);
    }

    /// These fields are being mended. Whether that is the first that is heard of it.
    pub fn mends(&self, key: &Key, fields: &[String], drifted: bool) -> bool {
        let mut is_new = false;
        self.with(key, |entry| {
            is_new = entry.mending.is_empty();
            if is_new {
                entry.drifted = drifted;
            }
            for field in fields {
                if !entry.mending.contains(field) {
                    entry.mending.push(field.clone());
                }
            }
        });
        is_new
    }

    /// What was lost is being made anew.
    pub fn recreates(&self, key: &Key) {
        self.with(key, |entry| entry.recreating = true);
    }

    /// Whether a creation that has just succeeded makes up for a loss.
    pub fn has_recreated(&self, key: &Key) -> bool {
        let mut has = false;
        self.with(key, |entry| has = std::mem::take(&mut entry.recreating));
        has
    }

    /// The change that the cloud accepted and that nothing shows yet; told once, since it is tried again after that.
    pub fn take_accepted(&self, key: &Key) -> Option<K::Change> {
        self.lock().get_mut(key)?.take_accepted()
    }

    /// The cloud accepted this change. Whether it had accepted the same before, and nothing came of it.
    pub fn accepted(&self, key: &Key, change: K::Change) -> bool {
        let mut again = false;
        self.with(key, |entry| again = entry.accepted(change));
        again
    }

    /// The creation with this token was sent again.
    pub fn replays(&self, key: &Key, token: &str) {
        self.with(key, |entry| entry.replays(token));
    }

    /// Whether it was.
    pub fn has_replayed(&self, key: &Key, token: &str) -> bool {
        self.lock().get(key).is_some_and(|entry| entry.has_replayed(token))
    }

    /// The object that a DELETE of ours was accepted for, while that may still show: after `period` it is sent again, and
    /// then after twice as long each time.
    pub fn pending_delete(&self, key: &Key, period: Duration, now: Instant) -> Option<String> {
        let entries = self.lock();
        entries.get(key)?.pending_delete(period, now).map(str::to_owned)
    }

    pub fn sent_delete(&self, key: &Key, id: &str, now: Instant) {
        self.with(key, |entry| entry.sent_delete(id, now));
    }

    /// What the object has registered, which `begin` begins; `None` if it is not watched any more.
    pub fn registrations(&self, key: &Key, begin: impl FnOnce() -> Registrations) -> Option<Arc<Registrations>> {
        let mut entries = self.lock();
        let registrations = &mut entries.get_mut(key)?.registrations;
        Some(Arc::clone(registrations.get_or_insert_with(|| Arc::new(begin()))))
    }

    /// The object needs nothing any more.
    pub fn unregister(&self, key: &Key) {
        let mut registrations = None;
        self.with(key, |entry| registrations = entry.registrations.take());
        drop(registrations);
    }

    /// The apiserver refused something. Whether that is news since the last write that it took.
    pub fn is_refused(&self, key: &Key, how: String) -> bool {
        let mut is_new = true;
        self.with(key, |entry| is_new = entry.refused.replace(how.clone()) != Some(how));
        is_new
    }

    /// The object is no longer watched: what it has registered ends.
    pub fn forget(&self, key: &Key) {
        let former = self.lock().remove(key);
        drop(former);
    }

    /// The newest state of an object that is known.
    pub fn latest(&self, key: &Key) -> Option<Arc<Managed<K>>> {
        self.lock().get(key).map(|entry| Arc::clone(&entry.latest))
    }

    /// Objects whose newest state fits.
    pub fn find(&self, fits: impl Fn(&Managed<K>) -> bool) -> Vec<Arc<Managed<K>>> {
        let entries = self.lock();
        let latest = entries.values().map(|entry| &entry.latest);
        latest.filter(|object| fits(object)).cloned().collect()
    }

    /// The object that fits and has waited for the longest, by `since`; not one that has been woken already.
    pub fn longest_waiting<T: Ord>(
        &self,
        now: Instant,
        fits: impl Fn(&Key, &Managed<K>) -> bool,
        since: impl Fn(&Managed<K>) -> T,
    ) -> Option<Key> {
        let entries = self.lock();
        let waiting = entries
            .iter()
            .filter(|(key, entry)| entry.not_before.is_some_and(|until| until > now) && fits(key, &entry.latest));
        let first = waiting.min_by_key(|(key, entry)| (since(&entry.latest), (*key).clone()));
        first.map(|(key, _)| key.clone())
    }

    /// Where the object's cloud object is to be was looked up, or could not be.
    pub fn looked_at(&self, key: &Key) {
        self.with(key, |entry| entry.looked_at = true);
    }

    /// Whether it was.
    pub fn was_looked_at(&self, key: &Key) -> bool {
        self.lock().get(key).is_some_and(|entry| entry.looked_at)
    }

    /// Whether anything is remembered of the object.
    pub fn knows(&self, key: &Key) -> bool {
        self.lock().contains_key(key)
    }

    /// Every object that is remembered.
    pub fn keys(&self) -> Vec<Key> {
        self.lock().keys().cloned().collect()
    }

    fn with(&self, key: &Key, change: impl FnOnce(&mut Entry<K>)) {
        if let Some(entry) = self.lock().get_mut(key) {
            change(entry);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Entry<K>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Kind> Entry<K> {
    /// The object is heard of for the first time.
    pub fn new(object: Arc<Managed<K>>, now: Instant) -> Self {
        let edited = K::object(&object.status).observed_generation != object.metadata.generation;
        Self {
            uid: object.uid().to_owned(),
            asked: Asked::of(&object),
            latest: object,
            written: false,
            lost_version: None,
            // An edit that this process has not seen coming needs a look of its own.
            triggered_at: edited.then_some(now),
            failures: 0,
            not_before: None,
            waits: false,
            news: false,
            delete_sent: None,
            accepted: None,
            replayed: None,
            mending: Vec::new(),
            drifted: false,
            recreating: false,
            let_go: false,
            looked_at: false,
            registrations: None,
            refused: None,
        }
    }

    /// The watch delivered this, which may be older than what one of our writes returned.
    pub fn arrive(&mut self, object: Arc<Managed<K>>, now: Instant) {
        let is_lost = self.lost_version.as_deref() == Some(object.resource_version());
        if !self.let_go && !is_lost && object.is_at_least_as_new_as(&self.latest) {
            let asked = Asked::of(&object);
            if self.asked != asked {
                if self.asked.requested != asked.requested {
                    // Whoever asks for a reconcile asks for a DELETE that came to nothing to be sent again.
                    self.delete_sent = None;
                }
                self.asked = asked;
                self.trigger(now);
            }
            // A watch that began under an older CRD drops what a write under the present one has kept.
            let is_as_written = self.written && object.resource_version() == self.latest.resource_version();
            if !is_as_written {
                self.latest = object;
                self.written = false;
            } else if object.has_same_content_as(&self.latest) {
                // The watch's own, so that memory has it once.
                self.latest = object;
            }
        }
    }

    /// See [`Memory::reread`]. What the watch delivered last may be of the lost history, and is delivered again until the
    /// watch begins anew.
    fn reread(&mut self, object: Arc<Managed<K>>, now: Instant) -> bool {
        let went_back = object.uid() == self.uid && !object.is_at_least_as_new_as(&self.latest);
        if went_back {
            self.lost_version = Some(self.latest.resource_version().to_owned());
            self.latest = Arc::clone(&object);
            self.written = false;
            self.let_go = false;
        }
        self.arrive(object, now);
        went_back
    }

    /// A pass begins: what is heard from now on, it may not have seen.
    pub fn begin(&mut self) {
        self.news = false;
    }

    /// From now on only an observation that is newer counts; the pace of retries stays.
    pub fn look_anew(&mut self, now: Instant) {
        self.triggered_at = Some(now);
        self.waits = true;
    }

    /// All is well; which fields were mended for that, and whether it was drift.
    pub fn settled(&mut self) -> (Vec<String>, bool) {
        self.failures = 0;
        self.not_before = None;
        self.accepted = None;
        if !self.news {
            self.triggered_at = None;
        }
        (std::mem::take(&mut self.mending), std::mem::take(&mut self.drifted))
    }

    /// The change that the cloud accepted and that nothing shows yet; told once, since it is tried again after that.
    pub fn take_accepted(&mut self) -> Option<K::Change> {
        let (change, told) = self.accepted.as_mut()?;
        (!std::mem::replace(told, true)).then(|| change.clone())
    }

    /// The cloud accepted this change. Whether it had accepted the same before, and nothing came of it.
    pub fn accepted(&mut self, change: K::Change) -> bool {
        let again = self.accepted.as_ref().is_some_and(|(before, _)| *before == change);
        self.accepted = Some((change, false));
        again
    }

    /// The creation with this token was sent again.
    pub fn replays(&mut self, token: &str) {
        self.replayed = Some(token.to_owned());
    }

    /// Whether it was.
    pub fn has_replayed(&self, token: &str) -> bool {
        self.replayed.as_deref() == Some(token)
    }

    /// A DELETE of this id was accepted.
    pub fn sent_delete(&mut self, id: &str, now: Instant) {
        let before = self.delete_sent.take().filter(|sent| sent.id == id);
        self.delete_sent = Some(SentDelete {
            id: id.to_owned(),
            at: now,
            times: before.map_or(1, |sent| sent.times.saturating_add(1)),
        });
    }

    /// The object that a DELETE of ours was accepted for, while that may still show.
    pub fn pending_delete(&self, period: Duration, now: Instant) -> Option<&str> {
        let SentDelete { id, at, times } = self.delete_sent.as_ref()?;
        let first = period.max(FIRST_DELETE_RETRY);
        let wait = first.saturating_mul(1 << times.saturating_sub(1).min(16));
        let is_due = now.saturating_duration_since(*at) >= wait.min(LAST_DELETE_RETRY.max(first));
        (!is_due).then_some(id)
    }

    /// Something new asks for attention: at once, and on a new observation.
    pub fn trigger(&mut self, now: Instant) {
        self.news = true;
        self.waits = false;
        self.triggered_at = Some(now);
        self.failures = 0;
        self.not_before = None;
    }
}

#[cfg(test)]
impl<K: Kind> Entry<K> {
    /// Whether the watch has yet to deliver what one of our writes has returned.
    pub fn has_news(&self) -> bool {
        self.asked != Asked::of(&self.latest)
    }

    /// What the next pass can tell from it, but for the object itself; paces and what is only told are left out.
    pub fn fingerprint(&self, hasher: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        let Self {
            asked,
            triggered_at,
            delete_sent,
            accepted,
            replayed,
            ..
        } = self;
        let accepted = format!("{accepted:?}");
        let delete_sent = delete_sent.as_ref().map(|sent| &sent.id);
        (asked, triggered_at, delete_sent, accepted, replayed).hash(hasher);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::customer_gateway::Gateways;

    /// A state of one object.
    fn state(version: &str, id: Option<&str>) -> Arc<Managed<Gateways>> {
        let state = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": version},
            "spec": {"idValue": "203.0.113.7"},
            "status": {"id": id},
        }));
        Arc::new(state.expect("readable"))
    }

    #[test]
    fn what_a_write_returned_is_not_forgotten_for_the_same_version_from_a_watch() {
        let (memory, now) = (Memory::<Gateways>::default(), Instant::now());
        let key = Key::of(&*state("1", None));
        let id = |state: Arc<Managed<Gateways>>| memory.arrive(&key, state, now).status.object.id.clone();
        assert_eq!(id(state("1", None)), None);
        // What a watch dropped for its CRD's sake comes with another watch.
        assert_eq!(id(state("1", Some("x"))).as_deref(), Some("x"));
        memory.wrote(&key, &state("2", Some("y")));
        for (version, expected) in [("1", Some("y")), ("2", Some("y")), ("3", None)] {
            assert_eq!(id(state(version, None)).as_deref(), expected, "{version}");
        }
    }

    #[test]
    fn what_a_write_returned_is_kept_once_when_the_watch_has_delivered_it() {
        let memory = Memory::<Gateways>::default();
        let key = Key::of(&*state("1", None));
        memory.arrive(&key, state("1", None), Instant::now());
        memory.wrote(&key, &state("2", Some("y")));
        let delivered = state("2", Some("y"));
        let kept = memory.arrive(&key, Arc::clone(&delivered), Instant::now());
        assert!(Arc::ptr_eq(&kept, &delivered));
        // It still counts against what another watch delivers without what was written.
        let kept = memory.arrive(&key, state("2", None), Instant::now());
        assert!(Arc::ptr_eq(&kept, &delivered));
    }

    #[test]
    fn a_read_after_a_conflict_counts_even_if_the_apiserver_went_back() {
        let (memory, now) = (Memory::<Gateways>::default(), Instant::now());
        let key = Key::of(&*state("7", None));
        let arrives = |version: &str, id| {
            memory
                .arrive(&key, state(version, id), now)
                .resource_version()
                .to_owned()
        };
        assert_eq!(arrives("7", None), "7");
        memory.wrote(&key, &state("9", Some("x")));
        assert!(
            !memory.reread(&key, &state("10", Some("x")), now),
            "somebody else wrote"
        );
        assert_eq!(arrives("9", Some("x")), "10", "the watch lags behind");

        assert!(memory.reread(&key, &state("3", Some("y")), now), "a restore");
        assert_eq!(arrives("10", Some("x")), "3", "the watch still has what was lost");
        memory.wrote(&key, &state("4", Some("y")));
        assert_eq!(arrives("10", Some("x")), "4");
        for version in ["5", "11"] {
            assert_eq!(arrives(version, Some("y")), version, "the watch goes on");
        }
    }

    #[test]
    fn a_delete_that_came_to_nothing_is_sent_again_after_the_confirmation_period_then_later_each_time_and_on_request() {
        let (memory, now) = (Memory::<Gateways>::default(), Instant::now());
        let object = state("1", Some("x"));
        let key = Key::of(&*object);
        memory.arrive(&key, Arc::clone(&object), now);
        let period = Duration::from_secs(30);
        let after = |seconds| now + Duration::from_secs(seconds);
        let is_pending = |seconds| memory.pending_delete(&key, period, after(seconds)).is_some();
        assert!(!is_pending(0));
        for (sent, due) in [
            (0, 30),
            (30, 90),
            (90, 210),
            (210, 450),
            (450, 930),
            (930, 1530),
            (1530, 2130),
        ] {
            memory.sent_delete(&key, "x", after(sent));
            assert!(is_pending(sent) && is_pending(due - 1), "sent at {sent}");
            assert!(!is_pending(due), "due at {due}");
        }
        // A confirmation period of nothing does not make it a hot loop, and a long one is kept.
        assert!(memory.pending_delete(&key, Duration::ZERO, after(1530)).is_some());
        assert!(
            memory
                .pending_delete(&key, Duration::from_secs(3600), after(5129))
                .is_some()
        );
        memory.sent_delete(&key, "x", after(2130));
        let mut requested = Managed::clone(&object);
        requested.metadata.resource_version = Some("2".to_owned());
        let annotation = (RECONCILE_REQUESTED_ANNOTATION.to_owned(), "now".to_owned());
        requested.metadata.annotations = Some([annotation].into());
        memory.arrive(&key, Arc::new(requested), after(2131));
        assert!(!is_pending(2131));
        // Another object's is another matter.
        memory.sent_delete(&key, "x", after(2131));
        memory.sent_delete(&key, "y", after(2131));
        assert!(!is_pending(2161));
    }

    #[test]
    fn what_was_let_go_is_not_taken_for_what_the_watch_still_delivers() {
        let object: Arc<Managed<Gateways>> = Arc::new(
            serde_json::from_value(serde_json::json!({
                "metadata": {
                    "name": "a", "namespace": "n", "uid": "u", "resourceVersion": "1",
                    "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [crate::api::FINALIZER],
                },
                "spec": {"idValue": "203.0.113.7"},
            }))
            .expect("readable"),
        );
        let (memory, now) = (Memory::<Gateways>::default(), Instant::now());
        let key = Key::of(&*object);
        assert!(!memory.arrive(&key, Arc::clone(&object), now).is_let_go());
        memory.let_go(&key);
        assert!(memory.arrive(&key, Arc::clone(&object), now).is_let_go());
        // Another one of that name is another matter.
        memory.forget(&key);
        assert!(!memory.arrive(&key, object, now).is_let_go());
    }

    #[test]
    fn news_that_comes_while_a_pass_ends_is_not_waited_over() {
        let object: Managed<Gateways> = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "1"},
            "spec": {"idValue": "203.0.113.7"},
        }))
        .expect("readable");
        let (memory, now) = (Memory::<Gateways>::default(), Instant::now());
        let key = Key::of(&object);
        memory.arrive(&key, Arc::new(object), now);
        let pace = Pace {
            first: Duration::from_secs(1),
            cap: Duration::from_secs(300),
        };
        let fails = || memory.failed(&key, pace, 1.0, now);
        memory.begin(&key);
        assert_eq!(fails(), Duration::from_secs(1));
        assert_eq!(memory.hold_off(&key, now), Some(Duration::from_secs(1)));
        for hear in [Memory::kick, |memory: &Memory<Gateways>, key: &Key| {
            memory.trigger(key, Instant::now())
        }] {
            memory.begin(&key);
            hear(&memory, &key);
            assert_eq!(fails(), Duration::ZERO);
            assert_eq!(memory.hold_off(&key, now), None);
        }
        // A look that must be newer is no news: the pace of retries goes on.
        memory.begin(&key);
        memory.look_anew(&key, now);
        assert!(fails() > Duration::from_secs(1));
    }
}
