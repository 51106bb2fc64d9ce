//! State of each object that the process keeps in memory between reconciles. Correctness does not depend on it: a
//! restart loses it, and status has the rest.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::decide::{DeleteOutcome, SentDelete};
use super::key::Key;
use super::kind::Kind;
use super::object::Object;
use super::registrations::Registrations;
use crate::api::RECONCILE_REQUESTED_ANNOTATION;
use crate::cloud::error::Backoff;

/// The minimum wait before a DELETE without effect is sent again, whatever the confirmation period.
const FIRST_DELETE_RETRY: Duration = Duration::from_secs(1);
/// The maximum of that wait, unless the confirmation period is longer.
const LAST_DELETE_RETRY: Duration = Duration::from_secs(600);
/// The most ids per object whose DELETE is remembered: the recorded id, the few lost ones, and others.
const MOST_DELETES: usize = 16;

/// The state of one object. Pure.
#[derive(Clone)]
pub struct ObjectState<K: Kind> {
    uid: String,
    /// The newest known version, possibly from our last write: the watch lags behind.
    pub latest: Arc<Object<K>>,
    /// `latest` is what one of our writes returned.
    written: bool,
    /// The newest version before the apiserver went back to an older one.
    lost_version: Option<String>,
    asked: Asked,
    pub triggered_at: Option<Instant>,
    failures: u32,
    not_before: Option<Instant>,
    /// Only an earlier reconcile requires a newer observation, no new information.
    waits: bool,
    /// New information arrived since the reconcile began: what it decides to wait for may have happened.
    news: bool,
    /// Our last DELETE of each id.
    deletes: Vec<Deletion>,
    /// A change that the cloud accepted but no read shows yet, and whether [`Self::take_accepted`] has returned it.
    accepted: Option<(K::Change, bool)>,
    /// The client token of a creation that was replayed.
    pub replayed: Option<String>,
    correcting: Vec<String>,
    drifted: bool,
    recreating: bool,
    /// Our finalizer is removed: what the watch still delivers is outdated.
    finalizer_removed: bool,
    /// This process has looked up its cloud resource, or tried to.
    was_read: bool,
    registrations: Option<Arc<Registrations>>,
    /// How the apiserver refused the last write.
    refused: Option<String>,
}

/// A DELETE that the cloud did not refuse.
#[derive(Clone, Debug)]
struct Deletion {
    id: String,
    /// `Accepted` if it was accepted at any time.
    outcome: DeleteOutcome,
    /// When it was accepted last. `None`: it is sent again if the cloud still shows the object.
    pending_since: Option<Instant>,
    /// How often it was accepted since the user last requested a reconcile.
    times: u32,
}

/// What the user requests. A change of it triggers a reconcile with new observations.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Asked {
    generation: Option<i64>,
    requested: Option<String>,
    approved: Option<String>,
    paused: bool,
}

impl Asked {
    fn of<K: Kind>(object: &Object<K>) -> Self {
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
pub struct ObjectStates<K: Kind> {
    entries: Mutex<HashMap<Key, ObjectState<K>>>,
}

impl<K: Kind> Default for ObjectStates<K> {
    fn default() -> Self {
        Self {
            entries: Mutex::default(),
        }
    }
}

impl<K: Kind> ObjectStates<K> {
    /// Records what the watch delivered, and returns the newest known version of the object.
    pub fn observe(&self, key: &Key, object: Arc<Object<K>>, now: Instant) -> Arc<Object<K>> {
        let former = {
            let mut entries = self.lock();
            match entries.get_mut(key) {
                Some(entry) if entry.uid == object.uid() => {
                    entry.observe(object, now);
                    return Arc::clone(&entry.latest);
                }
                _ => entries.insert(key.clone(), ObjectState::new(Arc::clone(&object), now)),
            }
        };
        // Dropped after the lock is released: the end of its registrations takes other locks.
        drop(former);
        object
    }

    /// Records what the apiserver has now, read after it refused a write to the newest version known here. It counts
    /// even if its version is lower, as after a restore of the apiserver's data. Returns whether it is lower.
    pub fn reread(&self, key: &Key, object: &Arc<Object<K>>, now: Instant) -> bool {
        let mut went_back = false;
        self.with(key, |entry| went_back = entry.reread(Arc::clone(object), now));
        went_back
    }

    /// Records what one of our writes returned.
    pub fn wrote(&self, key: &Key, object: &Arc<Object<K>>) {
        self.with(key, |entry| {
            entry.latest = Arc::clone(object);
            entry.refused = None;
            entry.written = true;
        });
    }

    /// Records that our finalizer is removed.
    pub fn finalizer_removed(&self, key: &Key) {
        self.with(key, |entry| {
            // The apiserver's response shows the deleted object as it was before, finalizers included.
            let mut latest = Object::clone(&entry.latest);
            latest.metadata.finalizers = None;
            entry.latest = Arc::new(latest);
            entry.finalizer_removed = true;
        });
    }

    /// Records that a reconcile begins: it may miss information that arrives from now on.
    pub fn begin(&self, key: &Key) {
        self.with(key, ObjectState::begin);
    }

    /// Returns the rest of the backoff.
    pub fn backoff_remaining(&self, key: &Key, now: Instant) -> Option<Duration> {
        let entries = self.lock();
        let wait = entries.get(key)?.not_before?.saturating_duration_since(now);
        (!wait.is_zero()).then_some(wait)
    }

    /// Observations from before this time do not count.
    pub fn triggered_at(&self, key: &Key) -> Option<Instant> {
        self.lock().get(key)?.triggered_at
    }

    /// Requires a reconcile at once, with a new observation.
    pub fn mark_dirty(&self, key: &Key, now: Instant) {
        self.with(key, |entry| entry.mark_dirty(now));
    }

    /// Requires an observation from `now` or later; the backoff stays.
    pub fn require_fresh(&self, key: &Key, now: Instant) {
        self.with(key, |entry| entry.require_fresh(now));
    }

    /// Resets failures and backoff after a change of the credentials.
    pub fn begin_afresh(&self, key: &Key) {
        self.with(key, |entry| {
            (entry.news, entry.failures, entry.not_before) = (true, 0, None);
        });
    }

    /// Whether only an earlier reconcile requires a newer observation, and no new information does.
    pub fn waits(&self, key: &Key) -> bool {
        self.lock().get(key).is_some_and(|entry| entry.waits)
    }

    /// Ends the backoff: the cause of the failure may no longer exist.
    pub fn reset_backoff(&self, key: &Key) {
        self.with(key, |entry| {
            entry.news = true;
            entry.not_before = None;
        });
    }

    /// Records a failure and returns the delay until the next reconcile.
    pub fn back_off(&self, key: &Key, backoff: Backoff, jitter: f64, now: Instant) -> Duration {
        let mut delay = backoff.first;
        self.with(key, |entry| {
            if backoff.is_exact {
                delay = backoff.first;
            } else {
                entry.failures = entry.failures.saturating_add(1);
                delay = backoff.delay(entry.failures).mul_f64(jitter);
            }
            if entry.news {
                delay = Duration::ZERO;
            }
            entry.not_before = Some(now + delay);
        });
        delay
    }

    /// Delays the next reconcile until then, without a failure.
    pub fn wait_until(&self, key: &Key, until: Instant) {
        self.with(key, |entry| entry.not_before = (!entry.news).then_some(until));
    }

    /// Records success. See [`ObjectState::succeeded`].
    pub fn succeeded(&self, key: &Key) -> (Vec<String>, bool) {
        let mut corrected = (Vec::new(), false);
        self.with(key, |entry| corrected = entry.succeeded());
        corrected
    }

    /// Resets the failures after a completed step: they do not count for the next step.
    pub fn progressed(&self, key: &Key) {
        self.with(key, |entry| entry.failures = 0);
    }

    /// Records that these fields are being corrected. Returns whether no correction was recorded before.
    pub fn corrects(&self, key: &Key, fields: &[String], drifted: bool) -> bool {
        let mut is_new = false;
        self.with(key, |entry| {
            is_new = entry.correcting.is_empty();
            if is_new {
                entry.drifted = drifted;
            }
            for field in fields {
                if !entry.correcting.contains(field) {
                    entry.correcting.push(field.clone());
                }
            }
        });
        is_new
    }

    /// Records that a lost resource is being recreated.
    pub fn recreates(&self, key: &Key) {
        self.with(key, |entry| entry.recreating = true);
    }

    /// Returns, once, whether the creation that just succeeded replaces a lost resource.
    pub fn has_recreated(&self, key: &Key) -> bool {
        let mut has = false;
        self.with(key, |entry| has = std::mem::take(&mut entry.recreating));
        has
    }

    /// Returns, once, the change that the cloud accepted but no read shows yet: after that it is retried.
    pub fn take_accepted(&self, key: &Key) -> Option<K::Change> {
        self.lock().get_mut(key)?.take_accepted()
    }

    /// Records that the cloud accepted this change. Returns whether it had accepted the same before, without effect.
    pub fn accepted(&self, key: &Key, change: K::Change) -> bool {
        let mut again = false;
        self.with(key, |entry| again = entry.accepted(change));
        again
    }

    /// Records that the creation with this token was replayed.
    pub fn replays(&self, key: &Key, token: &str) {
        self.with(key, |entry| entry.replays(token));
    }

    /// Whether the creation with this token was replayed.
    pub fn has_replayed(&self, key: &Key, token: &str) -> bool {
        self.lock().get(key).is_some_and(|entry| entry.has_replayed(token))
    }

    /// Records the outcome of a DELETE of this id.
    pub fn delete_was_sent(&self, key: &Key, id: &str, outcome: DeleteOutcome, now: Instant) {
        self.with(key, |entry| entry.delete_was_sent(id, outcome, now));
    }

    /// Returns the DELETE of this id that this process sent. While it is pending, the cloud may still show the object.
    /// It is sent again after `period`, and then after twice as long each time.
    pub fn sent_delete(&self, key: &Key, id: &str, period: Duration, now: Instant) -> Option<SentDelete> {
        self.lock().get(key)?.sent_delete(id, period, now)
    }

    /// Returns the registrations of the object; `begin` creates them. `None`: the object is no longer watched.
    pub fn registrations(&self, key: &Key, begin: impl FnOnce() -> Registrations) -> Option<Arc<Registrations>> {
        let mut entries = self.lock();
        let registrations = &mut entries.get_mut(key)?.registrations;
        Some(Arc::clone(registrations.get_or_insert_with(|| Arc::new(begin()))))
    }

    /// Ends the registrations of an object that needs none any more.
    pub fn unregister(&self, key: &Key) {
        let mut registrations = None;
        self.with(key, |entry| registrations = entry.registrations.take());
        drop(registrations);
    }

    /// Records that the apiserver refused a write. Returns whether the refusal is new since the last successful write.
    pub fn is_refused(&self, key: &Key, how: String) -> bool {
        let mut is_new = true;
        self.with(key, |entry| is_new = entry.refused.replace(how.clone()) != Some(how));
        is_new
    }

    /// Forgets an object that is no longer watched, and ends its registrations.
    pub fn forget(&self, key: &Key) {
        let former = self.lock().remove(key);
        drop(former);
    }

    /// Returns the newest known version of an object.
    pub fn latest(&self, key: &Key) -> Option<Arc<Object<K>>> {
        self.lock().get(key).map(|entry| Arc::clone(&entry.latest))
    }

    /// Returns the objects whose newest version matches.
    pub fn find(&self, fits: impl Fn(&Object<K>) -> bool) -> Vec<Arc<Object<K>>> {
        let entries = self.lock();
        let latest = entries.values().map(|entry| &entry.latest);
        latest.filter(|object| fits(object)).cloned().collect()
    }

    /// Returns the matching object that has waited the longest, by `since`. Skips objects that are requeued already.
    pub fn longest_waiting<T: Ord>(
        &self,
        now: Instant,
        fits: impl Fn(&Key, &Object<K>) -> bool,
        since: impl Fn(&Object<K>) -> T,
    ) -> Option<Key> {
        let entries = self.lock();
        let waiting = entries
            .iter()
            .filter(|(key, entry)| entry.not_before.is_some_and(|until| until > now) && fits(key, &entry.latest));
        let first = waiting.min_by_key(|(key, entry)| (since(&entry.latest), (*key).clone()));
        first.map(|(key, _)| key.clone())
    }

    /// Records that this process has looked up the object's cloud resource, or tried to.
    pub fn was_read(&self, key: &Key) {
        self.with(key, |entry| entry.was_read = true);
    }

    /// Whether the object's cloud resource was looked up.
    pub fn has_been_read(&self, key: &Key) -> bool {
        self.lock().get(key).is_some_and(|entry| entry.was_read)
    }

    /// Whether there is an entry for the object.
    pub fn knows(&self, key: &Key) -> bool {
        self.lock().contains_key(key)
    }

    /// Returns the keys of all entries.
    pub fn keys(&self) -> Vec<Key> {
        self.lock().keys().cloned().collect()
    }

    fn with(&self, key: &Key, change: impl FnOnce(&mut ObjectState<K>)) {
        if let Some(entry) = self.lock().get_mut(key) {
            change(entry);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, ObjectState<K>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Kind> ObjectState<K> {
    /// Creates the state of an object that is new to this process.
    pub fn new(object: Arc<Object<K>>, now: Instant) -> Self {
        let edited = K::object(&object.status).observed_generation != object.metadata.generation;
        Self {
            uid: object.uid().to_owned(),
            asked: Asked::of(&object),
            latest: object,
            written: false,
            lost_version: None,
            // An edit from before this process saw the object requires a new observation.
            triggered_at: edited.then_some(now),
            failures: 0,
            not_before: None,
            waits: false,
            news: false,
            deletes: Vec::new(),
            accepted: None,
            replayed: None,
            correcting: Vec::new(),
            drifted: false,
            recreating: false,
            finalizer_removed: false,
            was_read: false,
            registrations: None,
            refused: None,
        }
    }

    /// Records what the watch delivered. It may be older than what one of our writes returned.
    pub fn observe(&mut self, object: Arc<Object<K>>, now: Instant) {
        let is_lost = self.lost_version.as_deref() == Some(object.resource_version());
        if !self.finalizer_removed && !is_lost && object.is_at_least_as_new_as(&self.latest) {
            let asked = Asked::of(&object);
            if self.asked != asked {
                if self.asked.requested != asked.requested {
                    // A requested reconcile also sends a DELETE without effect again.
                    for delete in &mut self.deletes {
                        (delete.pending_since, delete.times) = (None, 0);
                    }
                }
                self.asked = asked;
                self.mark_dirty(now);
            }
            // A watch that began under an older CRD omits fields that a write under the present CRD stored.
            let is_as_written = self.written && object.resource_version() == self.latest.resource_version();
            if !is_as_written {
                self.latest = object;
                self.written = false;
            } else if object.has_same_content_as(&self.latest) {
                // Keep the watch's copy, so that memory holds it once.
                self.latest = object;
            }
        }
    }

    /// See [`ObjectStates::reread`]. The last version from the watch may belong to the lost history. It is delivered
    /// again until the watch restarts.
    fn reread(&mut self, object: Arc<Object<K>>, now: Instant) -> bool {
        let went_back = object.uid() == self.uid && !object.is_at_least_as_new_as(&self.latest);
        if went_back {
            self.lost_version = Some(self.latest.resource_version().to_owned());
            self.latest = Arc::clone(&object);
            self.written = false;
            self.finalizer_removed = false;
        }
        self.observe(object, now);
        went_back
    }

    /// Records that a reconcile begins: it may miss information that arrives from now on.
    pub fn begin(&mut self) {
        self.news = false;
    }

    /// Requires an observation from `now` or later; the backoff stays.
    pub fn require_fresh(&mut self, now: Instant) {
        self.triggered_at = Some(now);
        self.waits = true;
    }

    /// Records success. Returns the fields that were corrected for it, and whether that was drift.
    pub fn succeeded(&mut self) -> (Vec<String>, bool) {
        self.failures = 0;
        self.not_before = None;
        self.accepted = None;
        if !self.news {
            self.triggered_at = None;
        }
        (std::mem::take(&mut self.correcting), std::mem::take(&mut self.drifted))
    }

    /// Returns, once, the change that the cloud accepted but no read shows yet: after that it is retried.
    pub fn take_accepted(&mut self) -> Option<K::Change> {
        let (change, told) = self.accepted.as_mut()?;
        (!std::mem::replace(told, true)).then(|| change.clone())
    }

    /// Records that the cloud accepted this change. Returns whether it had accepted the same before, without effect.
    pub fn accepted(&mut self, change: K::Change) -> bool {
        let again = self.accepted.as_ref().is_some_and(|(before, _)| *before == change);
        self.accepted = Some((change, false));
        again
    }

    /// Records that the creation with this token was replayed.
    pub fn replays(&mut self, token: &str) {
        self.replayed = Some(token.to_owned());
    }

    /// Whether the creation with this token was replayed.
    pub fn has_replayed(&self, token: &str) -> bool {
        self.replayed.as_deref() == Some(token)
    }

    /// Records the outcome of a DELETE of this id.
    pub fn delete_was_sent(&mut self, id: &str, outcome: DeleteOutcome, now: Instant) {
        let known = self.deletes.iter().position(|delete| delete.id == id);
        let before = known.map(|known| self.deletes.remove(known));
        let (accepted, is_accepted) = (DeleteOutcome::Accepted, outcome == DeleteOutcome::Accepted);
        let was_accepted = before.as_ref().is_some_and(|delete| delete.outcome == accepted);
        let times = before.map_or(0, |delete| delete.times);
        self.deletes.push(Deletion {
            id: id.to_owned(),
            outcome: if was_accepted { accepted } else { outcome },
            pending_since: is_accepted.then_some(now),
            times: times.saturating_add(is_accepted.into()),
        });
        if self.deletes.len() > MOST_DELETES {
            self.deletes.remove(0);
        }
    }

    /// Returns the DELETE of this id that this process sent. It is pending for `period` at first.
    pub fn sent_delete(&self, id: &str, period: Duration, now: Instant) -> Option<SentDelete> {
        let delete = self.deletes.iter().find(|delete| delete.id == id)?;
        let first = period.max(FIRST_DELETE_RETRY);
        let wait = first.saturating_mul(1 << delete.times.saturating_sub(1).min(16));
        let wait = wait.min(LAST_DELETE_RETRY.max(first));
        let is_due = |since| now.saturating_duration_since(since) >= wait;
        Some(SentDelete {
            outcome: delete.outcome,
            is_pending: delete.pending_since.is_some_and(|since| !is_due(since)),
        })
    }

    /// Requires a reconcile at once, with a new observation.
    pub fn mark_dirty(&mut self, now: Instant) {
        self.news = true;
        self.waits = false;
        self.triggered_at = Some(now);
        self.failures = 0;
        self.not_before = None;
    }
}

#[cfg(test)]
impl<K: Kind> ObjectState<K> {
    /// Whether the watch has yet to deliver what one of our writes has returned.
    pub fn has_news(&self) -> bool {
        self.asked != Asked::of(&self.latest)
    }

    /// Hashes what the next reconcile depends on, without the object itself, the backoff and what is only reported.
    pub fn fingerprint(&self, hasher: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        let Self {
            asked,
            triggered_at,
            deletes,
            accepted,
            replayed,
            ..
        } = self;
        let accepted = format!("{accepted:?}");
        let deletes = deletes.iter().map(|delete| {
            let is_lost = delete.outcome == DeleteOutcome::Lost;
            (&delete.id, delete.pending_since.is_some(), is_lost)
        });
        let deletes: Vec<_> = deletes.collect();
        (asked, triggered_at, deletes, accepted, replayed).hash(hasher);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::customer_gateway::Gateways;

    /// A version of one object.
    fn state(version: &str, id: Option<&str>) -> Arc<Object<Gateways>> {
        let state = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": version},
            "spec": {"idValue": "203.0.113.7"},
            "status": {"id": id},
        }));
        Arc::new(state.expect("readable"))
    }

    #[test]
    fn what_a_write_returned_is_not_forgotten_for_the_same_version_from_a_watch() {
        let (states, now) = (ObjectStates::<Gateways>::default(), Instant::now());
        let key = Key::of(&*state("1", None));
        let id = |state: Arc<Object<Gateways>>| states.observe(&key, state, now).status.object.id.clone();
        assert_eq!(id(state("1", None)), None);
        // Fields that a watch omitted because of an older CRD arrive with another watch.
        assert_eq!(id(state("1", Some("x"))).as_deref(), Some("x"));
        states.wrote(&key, &state("2", Some("y")));
        for (version, expected) in [("1", Some("y")), ("2", Some("y")), ("3", None)] {
            assert_eq!(id(state(version, None)).as_deref(), expected, "{version}");
        }
    }

    #[test]
    fn what_a_write_returned_is_kept_once_when_the_watch_has_delivered_it() {
        let states = ObjectStates::<Gateways>::default();
        let key = Key::of(&*state("1", None));
        states.observe(&key, state("1", None), Instant::now());
        states.wrote(&key, &state("2", Some("y")));
        let delivered = state("2", Some("y"));
        let kept = states.observe(&key, Arc::clone(&delivered), Instant::now());
        assert!(Arc::ptr_eq(&kept, &delivered));
        // It still has precedence if another watch delivers the version without the written fields.
        let kept = states.observe(&key, state("2", None), Instant::now());
        assert!(Arc::ptr_eq(&kept, &delivered));
    }

    #[test]
    fn a_read_after_a_conflict_counts_even_if_the_apiserver_went_back() {
        let (states, now) = (ObjectStates::<Gateways>::default(), Instant::now());
        let key = Key::of(&*state("7", None));
        let arrives = |version: &str, id| {
            states
                .observe(&key, state(version, id), now)
                .resource_version()
                .to_owned()
        };
        assert_eq!(arrives("7", None), "7");
        states.wrote(&key, &state("9", Some("x")));
        assert!(
            !states.reread(&key, &state("10", Some("x")), now),
            "another client wrote"
        );
        assert_eq!(arrives("9", Some("x")), "10", "the watch lags behind");

        assert!(states.reread(&key, &state("3", Some("y")), now), "a restore");
        assert_eq!(arrives("10", Some("x")), "3", "the watch still has what was lost");
        states.wrote(&key, &state("4", Some("y")));
        assert_eq!(arrives("10", Some("x")), "4");
        for version in ["5", "11"] {
            assert_eq!(arrives(version, Some("y")), version, "the watch continues");
        }
    }

    #[test]
    fn a_delete_that_came_to_nothing_is_sent_again_after_the_confirmation_period_then_later_each_time_and_on_request() {
        let (states, now) = (ObjectStates::<Gateways>::default(), Instant::now());
        let object = state("1", Some("x"));
        let key = Key::of(&*object);
        states.observe(&key, Arc::clone(&object), now);
        let period = Duration::from_secs(30);
        let after = |seconds| now + Duration::from_secs(seconds);
        let pends = |id: &str, period: Duration, seconds| {
            let sent = states.sent_delete(&key, id, period, after(seconds));
            sent.is_some_and(|sent| sent.is_pending)
        };
        let is_pending = |seconds| pends("x", period, seconds);
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
            states.delete_was_sent(&key, "x", DeleteOutcome::Accepted, after(sent));
            assert!(is_pending(sent) && is_pending(due - 1), "sent at {sent}");
            assert!(!is_pending(due), "due at {due}");
        }
        // A confirmation period of zero does not cause a hot loop, and a long one is respected.
        assert!(pends("x", Duration::ZERO, 1530));
        assert!(pends("x", Duration::from_secs(3600), 5129));
        states.delete_was_sent(&key, "x", DeleteOutcome::Accepted, after(2130));
        let mut requested = Object::clone(&object);
        requested.metadata.resource_version = Some("2".to_owned());
        let annotation = (RECONCILE_REQUESTED_ANNOTATION.to_owned(), "now".to_owned());
        requested.metadata.annotations = Some([annotation].into());
        states.observe(&key, Arc::new(requested), after(2131));
        assert!(!is_pending(2131));
        // The DELETE of another id is independent.
        states.delete_was_sent(&key, "x", DeleteOutcome::Accepted, after(2131));
        states.delete_was_sent(&key, "y", DeleteOutcome::Accepted, after(2140));
        assert!(!is_pending(2161) && pends("y", period, 2161) && !pends("y", period, 2170));
    }

    #[test]
    fn what_was_accepted_stays_accepted_and_what_was_not_found_is_sent_again_where_it_shows() {
        let (states, now) = (ObjectStates::<Gateways>::default(), Instant::now());
        let object = state("1", Some("x"));
        let key = Key::of(&*object);
        states.observe(&key, object, now);
        let period = Duration::from_secs(30);
        let sent = |id: &str| states.sent_delete(&key, id, period, now);
        assert_eq!(sent("x"), None);
        for (came, outcome, is_pending) in [
            (DeleteOutcome::NotFound, DeleteOutcome::NotFound, false),
            (DeleteOutcome::Accepted, DeleteOutcome::Accepted, true),
            (DeleteOutcome::Lost, DeleteOutcome::Accepted, false),
            (DeleteOutcome::NotFound, DeleteOutcome::Accepted, false),
        ] {
            states.delete_was_sent(&key, "x", came, now);
            assert_eq!(sent("x"), Some(SentDelete { outcome, is_pending }), "{came:?}");
        }
        assert_eq!(sent("y"), None);
        for other in 1..MOST_DELETES {
            states.delete_was_sent(&key, &other.to_string(), DeleteOutcome::NotFound, now);
            assert!(sent("x").is_some());
        }
        states.delete_was_sent(&key, "y", DeleteOutcome::NotFound, now);
        assert_eq!(sent("x"), None, "only so many are remembered");
    }

    #[test]
    fn what_was_let_go_is_not_taken_for_what_the_watch_still_delivers() {
        let object: Arc<Object<Gateways>> = Arc::new(
            serde_json::from_value(serde_json::json!({
                "metadata": {
                    "name": "a", "namespace": "n", "uid": "u", "resourceVersion": "1",
                    "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [crate::api::FINALIZER],
                },
                "spec": {"idValue": "203.0.113.7"},
            }))
            .expect("readable"),
        );
        let (states, now) = (ObjectStates::<Gateways>::default(), Instant::now());
        let key = Key::of(&*object);
        assert!(!states.observe(&key, Arc::clone(&object), now).is_let_go());
        states.finalizer_removed(&key);
        assert!(states.observe(&key, Arc::clone(&object), now).is_let_go());
        // A new object of the same name is independent.
        states.forget(&key);
        assert!(!states.observe(&key, object, now).is_let_go());
    }

    #[test]
    fn news_that_comes_while_a_pass_ends_is_not_waited_over() {
        let object: Object<Gateways> = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "1"},
            "spec": {"idValue": "203.0.113.7"},
        }))
        .expect("readable");
        let (states, now) = (ObjectStates::<Gateways>::default(), Instant::now());
        let key = Key::of(&object);
        states.observe(&key, Arc::new(object), now);
        let backoff = Backoff {
            first: Duration::from_secs(1),
            cap: Duration::from_secs(300),
            is_exact: false,
        };
        let fails = || states.back_off(&key, backoff, 1.0, now);
        states.begin(&key);
        assert_eq!(fails(), Duration::from_secs(1));
        assert_eq!(states.backoff_remaining(&key, now), Some(Duration::from_secs(1)));
        for hear in [
            ObjectStates::reset_backoff,
            |states: &ObjectStates<Gateways>, key: &Key| states.mark_dirty(key, Instant::now()),
        ] {
            states.begin(&key);
            hear(&states, &key);
            assert_eq!(fails(), Duration::ZERO);
            assert_eq!(states.backoff_remaining(&key, now), None);
        }
        // A wait that the cloud requires is exact, and does not lengthen the backoff of the next failure.
        states.begin(&key);
        let wait = Duration::from_secs(3600);
        for jitter in [0.8, 1.2] {
            assert_eq!(states.back_off(&key, Backoff::exactly(wait), jitter, now), wait);
        }
        assert_eq!(fails(), Duration::from_secs(2));
        // A required newer observation is no new information: the backoff continues.
        states.begin(&key);
        states.require_fresh(&key, now);
        assert!(fails() > Duration::from_secs(1));
        // With other credentials the backoff restarts, for later failures as well.
        states.begin_afresh(&key);
        assert_eq!((states.backoff_remaining(&key, now), fails()), (None, Duration::ZERO));
        states.begin(&key);
        assert_eq!(fails(), Duration::from_secs(2));
    }

    #[test]
    fn of_those_that_wait_the_longest_waiting_is_found_that_is_not_requeued_already() {
        let (states, now) = (ObjectStates::<Gateways>::default(), Instant::now());
        let backoff = Backoff {
            first: Duration::from_secs(60),
            cap: Duration::from_secs(300),
            is_exact: false,
        };
        let keys = ["a", "b", "c", "done"].map(|name| {
            let mut object = Object::clone(&state("1", None));
            object.metadata.name = Some(name.to_owned());
            let key = Key::of(&object);
            states.observe(&key, Arc::new(object), now);
            states.begin(&key);
            if name != "done" {
                states.back_off(&key, backoff, 1.0, now);
            }
            key
        });
        let since = |object: &Object<Gateways>| match object.name() {
            "done" => 0,
            "b" => 1,
            _ => 2,
        };
        let longest = |fits: fn(&Key, &Object<Gateways>) -> bool| states.longest_waiting(now, fits, since);
        assert_eq!(longest(|_, _| true).as_ref(), Some(&keys[1]));
        assert_eq!(
            longest(|key, _| key.name != "b").as_ref(),
            Some(&keys[0]),
            "the first by name"
        );
        states.reset_backoff(&keys[1]);
        assert_eq!(longest(|_, _| true).as_ref(), Some(&keys[0]), "b is reconciled");
        assert_eq!(longest(|key, _| key.name == "b" || key.name == "done"), None);
    }
}
