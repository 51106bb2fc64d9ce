//! State of each object that the process keeps in memory between reconciles. Correctness does not depend on it: a
//! restart loses it, and status has the rest.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use vpn_cloud::error::cloud_error::Backoff;
use vpn_core::api::conditions;
use vpn_core::api::conditions::Reason;
use vpn_core::compact_json::Dictionary;
use vpn_core::kind::Kind;
use vpn_core::object::Object;
use vpn_core::object::stored_object::StoredObject;
use vpn_core::object_state::ObjectState;
use vpn_core::spare_capacity;
use vpn_core::terms::key::ObjectKey;
use vpn_core::terms::sent_delete::{DeleteOutcome, SentDelete};

use crate::reconcile::state::registrations::Registrations;

/// See the module.
pub(crate) struct ObjectStates<K: Kind> {
    entries: Mutex<StateEntries<K>>,
}

/// Reasons of objects that wait for what others have. Such an object is enqueued when the other one releases it.
const WAITING: [Reason; 4] = [
    Reason::AlreadyManaged,
    Reason::DependencyNotReady,
    Reason::NameConflict,
    Reason::QuotaExceeded,
];

struct StateEntries<K: Kind> {
    /// For the newest versions of the objects.
    dictionary: Dictionary,
    /// Boxed: a table has room for up to twice its entries.
    by_key: HashMap<ObjectKey, Box<RegisteredState<K>>>,
    /// The keys of the objects whose newest version has a reason of [`WAITING`].
    waiting: [HashSet<ObjectKey>; WAITING.len()],
}

struct RegisteredState<K: Kind> {
    state: ObjectState<K>,
    registrations: Option<Arc<Registrations>>,
}

impl<K: Kind> StateEntries<K> {
    /// Changes the newest known version of an object, keeps the indexes and its memory in order, and returns that version.
    fn change_latest<R>(
        &mut self,
        key: &ObjectKey,
        change: impl FnOnce(&mut ObjectState<K>) -> R,
    ) -> Option<(R, Arc<Object<K>>)> {
        let state = &mut self.by_key.get_mut(key)?.state;
        let result = change(state);
        let latest = state.latest();
        state.compact(&self.dictionary);
        self.index(key, Some(&latest));
        Some((result, latest))
    }

    fn index(&mut self, key: &ObjectKey, latest: Option<&Object<K>>) {
        let reason = latest.and_then(|object| conditions::ready_reason(&K::object(&object.status).conditions));
        for (waiting, keys) in WAITING.iter().zip(&mut self.waiting) {
            if reason == Some(waiting.as_str()) {
                if !keys.contains(key) {
                    keys.insert(key.clone());
                }
            } else if keys.remove(key) {
                spare_capacity::release_set(keys);
            }
        }
    }
}

impl<K: Kind> Default for ObjectStates<K> {
    fn default() -> Self {
        let entries = StateEntries {
            dictionary: Dictionary::default(),
            by_key: HashMap::new(),
            waiting: Default::default(),
        };
        Self {
            entries: Mutex::new(entries),
        }
    }
}

impl<K: Kind> ObjectStates<K> {
    /// Records what the watch delivered, and returns the newest known version of the object.
    pub(crate) fn observe(&self, key: &ObjectKey, object: Arc<Object<K>>, now: Instant) -> Arc<Object<K>> {
        let former = {
            let mut entries = self.lock();
            let is_of = |entry: &RegisteredState<K>| entry.state.uid() == object.uid();
            if entries.by_key.get(key).is_some_and(|entry| is_of(entry)) {
                let observe = |state: &mut ObjectState<K>| state.observe(Arc::clone(&object), now);
                return entries
                    .change_latest(key, observe)
                    .map_or(object, |((), latest)| latest);
            }
            let mut state = ObjectState::new(Arc::clone(&object), now);
            state.compact(&entries.dictionary);
            entries.index(key, Some(&object));
            let registrations = None;
            entries
                .by_key
                .insert(key.clone(), Box::new(RegisteredState { state, registrations }))
        };
        // Dropped after the lock is released: the end of its registrations takes other locks.
        drop(former);
        object
    }

    /// Records what the apiserver has now, read after it refused a write to the newest version known here. It counts
    /// even if its version is lower, as after a restore of the apiserver's data. Returns whether it is lower.
    pub(crate) fn reread(&self, key: &ObjectKey, object: &Arc<Object<K>>, now: Instant) -> bool {
        let reread = |state: &mut ObjectState<K>| state.reread(Arc::clone(object), now);
        let reread = self.lock().change_latest(key, reread);
        reread.is_some_and(|(went_back, _)| went_back)
    }

    /// Records what one of our writes returned.
    pub(crate) fn wrote(&self, key: &ObjectKey, object: &Arc<Object<K>>) {
        self.lock().change_latest(key, |state| state.wrote(Arc::clone(object)));
    }

    /// Whether this state is what one of our writes returned last. If so, keeps this copy, so that memory holds it once.
    pub(crate) fn is_echo(&self, key: &ObjectKey, object: &Arc<Object<K>>, now: Instant) -> bool {
        let mut entries = self.lock();
        let is_echo = entries.by_key.get(key).is_some_and(|entry| entry.state.is_echo(object));
        if is_echo {
            entries.change_latest(key, |state| state.observe(Arc::clone(object), now));
        }
        is_echo
    }

    /// Records that our finalizer is removed.
    pub(crate) fn finalizer_removed(&self, key: &ObjectKey) {
        self.lock().change_latest(key, ObjectState::finalizer_removed);
    }

    /// Records that a reconcile begins: it may miss information that arrives from now on.
    pub(crate) fn begin(&self, key: &ObjectKey) {
        self.with(key, ObjectState::begin);
    }

    /// Returns the rest of the backoff.
    pub(crate) fn backoff_remaining(&self, key: &ObjectKey, now: Instant) -> Option<Duration> {
        let entries = self.lock();
        let wait = entries
            .by_key
            .get(key)?
            .state
            .not_before()?
            .saturating_duration_since(now);
        (!wait.is_zero()).then_some(wait)
    }

    /// Observations from before this time do not count.
    pub(crate) fn triggered_at(&self, key: &ObjectKey) -> Option<Instant> {
        self.lock().by_key.get(key)?.state.triggered_at
    }

    /// Requires a reconcile at once, with a new observation.
    pub(crate) fn mark_dirty(&self, key: &ObjectKey, now: Instant) {
        self.with(key, |state| state.mark_dirty(now));
    }

    /// Requires an observation from `now` or later; the backoff stays.
    pub(crate) fn require_fresh(&self, key: &ObjectKey, now: Instant) {
        self.with(key, |state| state.require_fresh(now));
    }

    /// Resets failures and backoff after a change of the credentials.
    pub(crate) fn begin_afresh(&self, key: &ObjectKey) {
        self.with(key, ObjectState::begin_afresh);
    }

    /// Whether only an earlier reconcile requires a newer observation, and no new information does.
    pub(crate) fn waits(&self, key: &ObjectKey) -> bool {
        self.lock().by_key.get(key).is_some_and(|entry| entry.state.waits())
    }

    /// Whether a change of the spec is not done, and nothing has failed since it.
    pub(crate) fn is_edited(&self, key: &ObjectKey) -> bool {
        let entries = self.lock();
        let state = entries.by_key.get(key).map(|entry| &entry.state);
        state.is_some_and(|state| state.triggered_at.is_some() && !state.waits())
    }

    /// Ends the backoff: the cause of the failure may no longer exist.
    pub(crate) fn reset_backoff(&self, key: &ObjectKey) {
        self.with(key, ObjectState::reset_backoff);
    }

    /// Records a failure and returns the delay until the next reconcile.
    pub(crate) fn back_off(&self, key: &ObjectKey, backoff: Backoff, jitter: f64, now: Instant) -> Duration {
        self.with(key, |state| state.back_off(backoff, jitter, now))
            .unwrap_or(backoff.first)
    }

    /// Delays the next reconcile until then, without a failure.
    pub(crate) fn wait_until(&self, key: &ObjectKey, until: Instant) {
        self.with(key, |state| state.wait_until(until));
    }

    /// Records success. See [`ObjectState::succeeded`].
    pub(crate) fn succeeded(&self, key: &ObjectKey) -> (Vec<String>, bool) {
        self.with(key, ObjectState::succeeded).unwrap_or_default()
    }

    /// Resets the failures after a completed step: they do not count for the next step.
    pub(crate) fn progressed(&self, key: &ObjectKey) {
        self.with(key, ObjectState::progressed);
    }

    /// Records that these fields are being corrected. Returns whether no correction was recorded before.
    pub(crate) fn corrects(&self, key: &ObjectKey, fields: &[String], drifted: bool) -> bool {
        self.with(key, |state| state.corrects(fields, drifted))
            .unwrap_or_default()
    }

    /// Whether drift is being corrected.
    pub(crate) fn corrects_drift(&self, key: &ObjectKey) -> bool {
        let entries = self.lock();
        entries
            .by_key
            .get(key)
            .is_some_and(|entry| entry.state.corrects_drift())
    }

    /// Records that a lost resource is being recreated.
    pub(crate) fn recreates(&self, key: &ObjectKey) {
        self.with(key, ObjectState::recreates);
    }

    /// Returns, once, whether the creation that just succeeded replaces a lost resource.
    pub(crate) fn has_recreated(&self, key: &ObjectKey) -> bool {
        self.with(key, ObjectState::has_recreated).unwrap_or_default()
    }

    /// Returns, once, the change that the cloud accepted but no read shows yet: after that it is retried.
    pub(crate) fn take_accepted(&self, key: &ObjectKey) -> Option<K::Change> {
        self.lock().by_key.get_mut(key)?.state.take_accepted()
    }

    /// Records that the cloud accepted this change. Returns whether it had accepted the same before, without effect.
    pub(crate) fn accepted(&self, key: &ObjectKey, change: K::Change) -> bool {
        self.with(key, |state| state.accepted(change)).unwrap_or_default()
    }

    /// Records that the creation with this token was replayed.
    pub(crate) fn replays(&self, key: &ObjectKey, token: &str) {
        self.with(key, |state| state.replays(token));
    }

    /// Whether the creation with this token was replayed.
    pub(crate) fn has_replayed(&self, key: &ObjectKey, token: &str) -> bool {
        self.lock()
            .by_key
            .get(key)
            .is_some_and(|entry| entry.state.has_replayed(token))
    }

    /// Records the outcome of a DELETE of this id.
    pub(crate) fn delete_was_sent(&self, key: &ObjectKey, id: &str, outcome: DeleteOutcome, now: Instant) {
        self.with(key, |state| state.delete_was_sent(id, outcome, now));
    }

    /// Returns the DELETE of this id that this process sent. While it is pending, the cloud may still show the object.
    /// It is sent again after `period`, and then after twice as long each time.
    pub(crate) fn sent_delete(&self, key: &ObjectKey, id: &str, period: Duration, now: Instant) -> Option<SentDelete> {
        self.lock().by_key.get(key)?.state.sent_delete(id, period, now)
    }

    /// Returns the registrations of the object; `begin` creates them. `None`: the object is no longer watched.
    pub(crate) fn registrations(
        &self,
        key: &ObjectKey,
        begin: impl FnOnce() -> Registrations,
    ) -> Option<Arc<Registrations>> {
        let mut entries = self.lock();
        let registrations = &mut entries.by_key.get_mut(key)?.registrations;
        Some(Arc::clone(registrations.get_or_insert_with(|| Arc::new(begin()))))
    }

    /// Ends the registrations of an object that needs none any more.
    pub(crate) fn unregister(&self, key: &ObjectKey) {
        let mut entries = self.lock();
        let registrations = entries.by_key.get_mut(key).and_then(|entry| entry.registrations.take());
        // Dropped after the lock is released: their end takes other locks.
        drop(entries);
        drop(registrations);
    }

    /// Records that the apiserver refused a write. Returns whether the refusal is new since the last successful write.
    pub(crate) fn is_refused(&self, key: &ObjectKey, how: String) -> bool {
        self.with(key, |state| state.is_refused(how)).unwrap_or(true)
    }

    /// Forgets an object that is no longer watched, and ends its registrations.
    pub(crate) fn forget(&self, key: &ObjectKey) {
        let mut entries = self.lock();
        entries.index(key, None);
        let former = entries.by_key.remove(key);
        // Dropped after the lock is released: the end of its registrations takes other locks.
        drop(entries);
        drop(former);
    }

    /// Returns the newest known version of an object.
    pub(crate) fn latest(&self, key: &ObjectKey) -> Option<Arc<Object<K>>> {
        Some(self.lock().by_key.get(key)?.state.latest())
    }

    /// Returns the objects that wait for one of these reasons, by their newest version, if they can have this text.
    pub(crate) fn waiting(&self, reasons: &[Reason], text: &str) -> Vec<Arc<Object<K>>> {
        let mut found = self.stored_waiting(reasons, |_, _| true);
        found.retain(|(_, stored)| stored.may_contain(text));
        found.into_iter().map(|(_, stored)| stored.get()).collect()
    }

    /// Returns the keys of the objects that wait for this reason.
    pub(crate) fn keys_waiting(&self, reason: Reason) -> Vec<ObjectKey> {
        let found = self.stored_waiting(&[reason], |_, _| true);
        found.into_iter().map(|(key, _)| key).collect()
    }

    /// Returns the matching object that has waited the longest for this reason, by `since`. Skips objects that are requeued
    /// already. `may_fit` decides by the key whether the object is read at all.
    pub(crate) fn longest_waiting<T: Ord>(
        &self,
        now: Instant,
        reason: Reason,
        may_fit: impl Fn(&ObjectKey) -> bool,
        fits: impl Fn(&Object<K>) -> bool,
        since: impl Fn(&Object<K>) -> T,
    ) -> Option<ObjectKey> {
        let waits = |key: &ObjectKey, state: &ObjectState<K>| {
            state.not_before().is_some_and(|until| until > now) && may_fit(key)
        };
        let waiting = self.stored_waiting(&[reason], waits).into_iter();
        let waiting = waiting.map(|(key, stored)| (key, stored.get()));
        let fitting = waiting.filter(|(_, object)| fits(object));
        let first = fitting.min_by_key(|(key, object)| (since(object), key.clone()));
        first.map(|(key, _)| key)
    }

    /// Parses nothing, since it holds the lock.
    fn stored_waiting(
        &self,
        reasons: &[Reason],
        waits: impl Fn(&ObjectKey, &ObjectState<K>) -> bool,
    ) -> Vec<(ObjectKey, StoredObject<K>)> {
        let entries = self.lock();
        let sets = WAITING.iter().zip(&entries.waiting);
        let keys = sets
            .filter(|(reason, _)| reasons.contains(reason))
            .flat_map(|(_, keys)| keys);
        let found = keys.filter_map(|key| Some((key, &entries.by_key.get(key)?.state)));
        let found = found.filter(|(key, state)| waits(key, state));
        found.map(|(key, state)| (key.clone(), state.latest.clone())).collect()
    }

    /// Records that this process has looked up the object's cloud resource, or tried to.
    pub(crate) fn was_read(&self, key: &ObjectKey) {
        self.with(key, ObjectState::was_read);
    }

    /// Whether the object's cloud resource was looked up.
    pub(crate) fn has_been_read(&self, key: &ObjectKey) -> bool {
        self.lock()
            .by_key
            .get(key)
            .is_some_and(|entry| entry.state.has_been_read())
    }

    /// Returns the keys of all entries.
    pub(crate) fn keys(&self) -> Vec<ObjectKey> {
        self.lock().by_key.keys().cloned().collect()
    }

    fn with<R>(&self, key: &ObjectKey, change: impl FnOnce(&mut ObjectState<K>) -> R) -> Option<R> {
        Some(change(&mut self.lock().by_key.get_mut(key)?.state))
    }

    fn lock(&self) -> MutexGuard<'_, StateEntries<K>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vpn_core::api::RECONCILE_REQUESTED_ANNOTATION;
    use vpn_core::kinds::customer_gateway::Gateways;
    use vpn_core::object_state::MOST_DELETES;

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
    fn an_older_watch_event_does_not_replace_the_result_of_a_write() {
        let (states, now) = (ObjectStates::<Gateways>::default(), Instant::now());
        let key = state("1", None).key();
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
    fn a_written_object_is_stored_once_after_its_watch_event() {
        let states = ObjectStates::<Gateways>::default();
        let key = state("1", None).key();
        states.observe(&key, state("1", None), Instant::now());
        states.wrote(&key, &state("2", Some("y")));
        let delivered = state("2", Some("y"));
        states.observe(&key, Arc::clone(&delivered), Instant::now());
        let dictionary = Dictionary::default();
        let is_delivered = || {
            let kept = states.latest(&key).expect("it is known");
            StoredObject::compact(&kept, &dictionary).is_same_as(&StoredObject::compact(&delivered, &dictionary))
        };
        assert!(is_delivered());
        // It still has precedence if another watch delivers the version without the written fields.
        states.observe(&key, state("2", None), Instant::now());
        assert!(is_delivered());
    }

    #[test]
    fn a_read_after_a_conflict_applies_even_with_a_lower_version() {
        let (states, now) = (ObjectStates::<Gateways>::default(), Instant::now());
        let key = state("7", None).key();
        let observe = |version: &str, id| {
            states
                .observe(&key, state(version, id), now)
                .resource_version()
                .to_owned()
        };
        assert_eq!(observe("7", None), "7");
        states.wrote(&key, &state("9", Some("x")));
        assert!(
            !states.reread(&key, &state("10", Some("x")), now),
            "another client wrote"
        );
        assert_eq!(observe("9", Some("x")), "10", "the watch lags behind");

        assert!(states.reread(&key, &state("3", Some("y")), now), "a restore");
        assert_eq!(observe("10", Some("x")), "3", "the watch still has what was lost");
        states.wrote(&key, &state("4", Some("y")));
        assert_eq!(observe("10", Some("x")), "4");
        for version in ["5", "11"] {
            assert_eq!(observe(version, Some("y")), version, "the watch continues");
        }
    }

    #[test]
    fn an_ineffective_delete_is_resent_with_backoff_or_on_request() {
        let (states, now) = (ObjectStates::<Gateways>::default(), Instant::now());
        let object = state("1", Some("x"));
        let key = object.key();
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
    fn an_accepted_delete_stays_accepted_and_a_404_is_not_pending() {
        let (states, now) = (ObjectStates::<Gateways>::default(), Instant::now());
        let object = state("1", Some("x"));
        let key = object.key();
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
    fn a_released_object_is_recognized_in_late_watch_events() {
        let object: Arc<Object<Gateways>> = Arc::new(
            serde_json::from_value(serde_json::json!({
                "metadata": {
                    "name": "a", "namespace": "n", "uid": "u", "resourceVersion": "1",
                    "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [vpn_core::api::FINALIZER],
                },
                "spec": {"idValue": "203.0.113.7"},
            }))
            .expect("readable"),
        );
        let (states, now) = (ObjectStates::<Gateways>::default(), Instant::now());
        let key = object.key();
        assert!(!states.observe(&key, Arc::clone(&object), now).is_released());
        states.finalizer_removed(&key);
        assert!(states.observe(&key, Arc::clone(&object), now).is_released());
        // A new object of the same name is independent.
        states.forget(&key);
        assert!(!states.observe(&key, object, now).is_released());
    }

    #[test]
    fn a_trigger_at_the_end_of_a_reconcile_skips_the_backoff() {
        let object: Object<Gateways> = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "1"},
            "spec": {"idValue": "203.0.113.7"},
        }))
        .expect("readable");
        let (states, now) = (ObjectStates::<Gateways>::default(), Instant::now());
        let key = object.key();
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
            |states: &ObjectStates<Gateways>, key: &ObjectKey| states.mark_dirty(key, Instant::now()),
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
    fn the_longest_waiting_object_not_yet_requeued_is_found() {
        let (states, now) = (ObjectStates::<Gateways>::default(), Instant::now());
        let backoff = Backoff {
            first: Duration::from_secs(60),
            cap: Duration::from_secs(300),
            is_exact: false,
        };
        let keys = ["a", "b", "c", "done"].map(|name| {
            let mut object = Object::clone(&state("1", None));
            object.metadata.name = Some(name.to_owned());
            let full = serde_json::json!([{"type": "Ready", "status": "False", "reason": "QuotaExceeded", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
            object.status.object.conditions = serde_json::from_value(full).expect("readable");
            let key = object.key();
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
        let longest =
            |fits: fn(&ObjectKey) -> bool| states.longest_waiting(now, Reason::QuotaExceeded, fits, |_| true, since);
        assert_eq!(longest(|_| true).as_ref(), Some(&keys[1]));
        assert_eq!(
            longest(|key| key.name != "b").as_ref(),
            Some(&keys[0]),
            "the first by name"
        );
        states.reset_backoff(&keys[1]);
        assert_eq!(longest(|_| true).as_ref(), Some(&keys[0]), "b is reconciled");
        assert_eq!(longest(|key| key.name == "b" || key.name == "done"), None);
    }

    /// A write that was repeated after a conflict is on top of what the user has changed meanwhile.
    #[test]
    fn an_own_write_on_top_of_an_edit_is_no_echo() {
        let (states, now) = (ObjectStates::<Gateways>::default(), Instant::now());
        let first = state("1", None);
        let key = first.key();
        states.observe(&key, first, now);
        let is_echo = |object: &Arc<Object<Gateways>>| states.is_echo(&key, object, now);
        let written = state("2", Some("x"));
        assert!(!is_echo(&written), "not written here");
        states.wrote(&key, &written);
        assert!(is_echo(&written));
        let mut edited = Object::clone(&state("4", Some("x")));
        edited.metadata.generation = Some(2);
        let edited = Arc::new(edited);
        states.wrote(&key, &edited);
        assert!(!is_echo(&edited), "the edit of version 3 is in it");
    }

    #[test]
    fn an_object_is_known_until_it_is_forgotten() {
        let (states, now) = (ObjectStates::<Gateways>::default(), Instant::now());
        let object = state("1", Some("x"));
        let key = object.key();
        for _ in 0..2 {
            states.observe(&key, Arc::clone(&object), now);
        }
        states.was_read(&key);
        let unknown = ObjectKey::new(key.kind, &key.namespace, "unknown");
        states.forget(&unknown);
        assert_eq!(states.keys(), std::slice::from_ref(&key));
        assert!(states.latest(&key).is_some() && states.has_been_read(&key));
        for _ in 0..2 {
            states.forget(&key);
            assert!(states.keys().is_empty());
            // A running reconciliation still reports what it did.
            states.wrote(&key, &object);
            states.was_read(&key);
            states.mark_dirty(&key, now);
            assert!(states.latest(&key).is_none() && !states.has_been_read(&key));
        }
    }

    #[test]
    fn a_new_object_of_the_same_name_starts_with_a_new_state() {
        let (states, now) = (ObjectStates::<Gateways>::default(), Instant::now());
        let object = state("1", Some("x"));
        let key = object.key();
        states.observe(&key, Arc::clone(&object), now);
        states.was_read(&key);
        states.delete_was_sent(&key, "x", DeleteOutcome::Accepted, now);
        let mut recreated = Object::clone(&object);
        recreated.metadata.uid = Some("another".to_owned());
        states.observe(&key, Arc::new(recreated), now);
        assert_eq!(states.keys(), std::slice::from_ref(&key));
        assert!(!states.has_been_read(&key));
        assert_eq!(states.sent_delete(&key, "x", Duration::from_secs(30), now), None);
    }
}
