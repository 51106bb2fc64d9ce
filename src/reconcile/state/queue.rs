//! The work queue: which objects are to be reconciled, and when. A key is in the queue once, however often it is
//! enqueued. So nothing is lost, and memory grows only with the number of waiting keys. A key that is enqueued while it
//! is reconciled is reconciled once more after that.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use vpn_core::spare_capacity;
use vpn_core::terms::key::ObjectKey;

/// When an object is reconciled again, unless it is enqueued before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Action {
    requeue_after: Option<Duration>,
}

impl Action {
    pub(crate) fn requeue(after: Duration) -> Self {
        Self {
            requeue_after: Some(after),
        }
    }

    pub(crate) fn await_change() -> Self {
        Self { requeue_after: None }
    }

    /// Returns the time at which the object is due.
    pub(crate) fn due(self, now: Instant) -> Option<Instant> {
        self.requeue_after.map(|after| after_all(now, after))
    }
}

/// Limits the wait to a year, so that the sum cannot overflow.
fn after_all(now: Instant, after: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
    now + after.min(FAR)
}

/// A key that was taken from the queue.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DueKey {
    pub key: ObjectKey,
    /// There is new information for the object, so it need not wait for the end of its backoff.
    pub enqueued: bool,
}

/// Keys with a permit come first, then edited ones, then by due time, then by arrival.
type QueuePosition = (QueueClass, Instant, u64);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum QueueClass {
    /// A permit or a write queue is reserved for it, which no other object can use meanwhile.
    Permitted,
    /// A user has changed an object that was at rest.
    Edited,
    /// New information has no class of its own: many objects may have some at once, and an edit must not wait for all.
    #[default]
    Other,
}

#[derive(Default)]
struct QueuedKey {
    place: Option<QueuePosition>,
    class: QueueClass,
    enqueued: bool,
    running: bool,
    /// Due again once it no longer runs.
    again: Option<Instant>,
    /// Delivered by the watch while it runs.
    delivered: Option<Instant>,
}

#[derive(Default)]
struct QueueState {
    waiting: BTreeMap<QueuePosition, ObjectKey>,
    entries: HashMap<ObjectKey, QueuedKey>,
    /// The keys of edited objects whose edit is not done.
    edited: HashSet<ObjectKey>,
    arrivals: u64,
}

/// See the module.
#[derive(Default)]
pub(crate) struct WorkQueue {
    state: Mutex<QueueState>,
    /// The first in the queue may have changed.
    changed: Notify,
}

impl WorkQueue {
    /// Enqueues a key that is due at once.
    pub(crate) fn enqueue_without_news(&self, key: ObjectKey) {
        self.insert(key, QueueClass::Other, false);
    }

    /// Enqueues a key whose object the watch has delivered. If the key is being reconciled, [`Self::done`] decides whether
    /// that was more than the echo of an own write.
    pub(crate) fn delivered(&self, key: ObjectKey) {
        self.lock().deliver(key, Instant::now());
        self.changed.notify_one();
    }

    /// The same for an object that a user has edited: until the edit is done, it goes before others.
    pub(crate) fn edited(&self, key: ObjectKey) {
        let mut state = self.lock();
        state.edited.insert(key.clone());
        state.deliver(key, Instant::now());
        drop(state);
        self.changed.notify_one();
    }

    /// Enqueues a key that is due at once, with new information.
    pub(crate) fn enqueue(&self, key: ObjectKey) {
        self.insert(key, QueueClass::Other, true);
    }

    /// Enqueues a key that is due at once and before all others: a permit or a write queue is reserved for it. This is
    /// no new information: an earlier reconcile may have used the permit and failed, and then the object's backoff
    /// counts.
    pub(crate) fn permit(&self, key: ObjectKey) {
        self.insert(key, QueueClass::Permitted, false);
    }

    fn insert(&self, key: ObjectKey, class: QueueClass, enqueued: bool) {
        self.lock().insert(key, Instant::now(), class, enqueued);
        self.changed.notify_one();
    }

    /// Completes when a key is due. It is cancel-safe; for one caller at a time.
    pub(crate) async fn is_due(&self) {
        loop {
            let first = self.lock().waiting.keys().next().map(|(_, due, _)| *due);
            match first {
                Some(due) if due <= Instant::now() => return,
                Some(due) => tokio::select! {
                    () = sleep_until(due) => {}
                    () = self.changed.notified() => {}
                },
                None => self.changed.notified().await,
            }
        }
    }

    /// Takes the first key that is due. Until [`Self::done`] it is not taken again.
    pub(crate) fn take(&self) -> Option<DueKey> {
        self.lock().take(Instant::now())
    }

    /// Records the end of the reconcile. The key is due again at `due`, if set. `is_echo`: whether what the watch has
    /// delivered last is what this process wrote last; asked under the lock, so that no later delivery is missed.
    /// `is_edited`: whether an edit of the object is not done yet.
    pub(crate) fn done(
        &self,
        key: &ObjectKey,
        due: Option<Instant>,
        is_echo: impl FnOnce() -> bool,
        is_edited: impl FnOnce() -> bool,
    ) {
        self.lock().done(key, due, is_echo, is_edited);
        self.changed.notify_one();
    }

    /// Removes the key of an object that no longer exists.
    pub(crate) fn forget(&self, key: &ObjectKey) {
        self.lock().forget(key);
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueState {
    fn insert(&mut self, key: ObjectKey, due: Instant, class: QueueClass, enqueued: bool) {
        // A key that is not due yet must not be the first: those behind it would wait for it.
        let goes_first = due <= Instant::now() && self.edited.contains(&key);
        let class = match goes_first {
            true => class.min(QueueClass::Edited),
            false => class,
        };
        let entry = self.entries.entry(key.clone()).or_default();
        entry.enqueued |= enqueued;
        entry.class = entry.class.min(class);
        if entry.running {
            entry.again = Some(entry.again.map_or(due, |again| again.min(due)));
            return;
        }
        let class = entry.class;
        let mut due = due;
        if let Some(place) = entry.place {
            if (place.0, place.1) <= (class, due) {
                return;
            }
            due = due.min(place.1);
            self.waiting.remove(&place);
        }
        self.arrivals += 1;
        let place = (class, due, self.arrivals);
        entry.place = Some(place);
        self.waiting.insert(place, key);
    }

    fn take(&mut self, now: Instant) -> Option<DueKey> {
        let first = self.waiting.first_entry()?;
        if first.key().1 > now {
            return None;
        }
        let key = first.remove();
        let entry = self.entries.entry(key.clone()).or_default();
        entry.place = None;
        entry.running = true;
        entry.class = QueueClass::Other;
        let enqueued = std::mem::take(&mut entry.enqueued);
        Some(DueKey { key, enqueued })
    }

    fn deliver(&mut self, key: ObjectKey, now: Instant) {
        match self.entries.get_mut(&key) {
            Some(entry) if entry.running => entry.delivered = Some(now),
            _ => self.insert(key, now, QueueClass::Other, false),
        }
    }

    fn done(
        &mut self,
        key: &ObjectKey,
        due: Option<Instant>,
        is_echo: impl FnOnce() -> bool,
        is_edited: impl FnOnce() -> bool,
    ) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.running = false;
        let delivered = entry.delivered.take().filter(|_| !is_echo());
        // The reconcile that ends does not know an edit that was delivered meanwhile.
        if delivered.is_none() && self.edited.contains(key) && !is_edited() {
            self.edited.remove(key);
        }
        let (again, class, enqueued) = (entry.again.take(), entry.class, entry.enqueued);
        if let Some(due) = again.into_iter().chain(delivered).chain(due).min() {
            self.insert(key.clone(), due, class, enqueued);
        } else {
            self.drop_entry(key);
        }
    }

    fn forget(&mut self, key: &ObjectKey) {
        self.edited.remove(key);
        let Some(entry) = self.entries.get_mut(key) else { return };
        if let Some(place) = entry.place.take() {
            self.waiting.remove(&place);
        }
        entry.again = None;
        entry.delivered = None;
        entry.class = QueueClass::Other;
        entry.enqueued = false;
        if !entry.running {
            self.drop_entry(key);
        }
    }

    fn drop_entry(&mut self, key: &ObjectKey) {
        self.entries.remove(key);
        spare_capacity::release(&mut self.entries);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("CustomerGateway", "n", name)
    }

    fn names(queue: &WorkQueue) -> Vec<String> {
        std::iter::from_fn(|| queue.take())
            .map(|taken| taken.key.name.clone())
            .collect()
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_queued_once_and_in_order_of_arrival() {
        let queue = WorkQueue::default();
        for name in ["b", "a", "b", "a", "c", "b"] {
            queue.enqueue_without_news(key(name));
        }
        assert_eq!(queue.lock().entries.len(), 3);
        assert_eq!(names(&queue), ["b", "a", "c"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_edited_object_goes_before_others_until_its_edit_is_done() {
        let queue = WorkQueue::default();
        let first = |queue: &WorkQueue| queue.take().expect("a key is due").key.name.clone();
        let end = |name, is_edited| queue.done(&key(name), None, || true, || is_edited);
        for name in ["a", "b", "c"] {
            queue.enqueue_without_news(key(name));
        }
        queue.edited(key("c"));
        assert_eq!(first(&queue), "c");
        end("c", true);
        // The answer of the cloud is there.
        queue.enqueue(key("c"));
        assert_eq!(first(&queue), "c");
        end("c", false);
        queue.enqueue(key("c"));
        queue.permit(key("b"));
        assert_eq!(names(&queue), ["b", "a", "c"]);
        assert!(queue.lock().edited.is_empty());
        queue.edited(key("d"));
        queue.take().expect("a key is due");
        let later = Some(Instant::now() + seconds(60));
        queue.done(&key("d"), later, || true, || true);
        queue.enqueue(key("e"));
        assert_eq!(names(&queue), ["e"], "an edit that waits delays no other object");
        queue.forget(&key("d"));
        assert!(queue.lock().edited.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_edit_during_a_reconcile_of_its_object_goes_before_others() {
        let queue = WorkQueue::default();
        queue.edited(key("a"));
        assert_eq!(names(&queue), ["a"]);
        queue.enqueue_without_news(key("b"));
        queue.edited(key("a"));
        queue.done(&key("a"), None, || false, || false);
        assert_eq!(names(&queue), ["a", "b"]);
        // What was delivered was the own write: the edit is done.
        queue.edited(key("a"));
        queue.done(&key("a"), None, || true, || false);
        assert!(queue.lock().edited.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_with_a_permit_goes_first() {
        let queue = WorkQueue::default();
        for name in ["a", "b", "c"] {
            queue.enqueue_without_news(key(name));
        }
        queue.permit(key("d"));
        queue.permit(key("b"));
        let first = queue.take();
        assert_eq!(
            first.map(|taken| (taken.key.name.clone(), taken.enqueued)),
            Some(("d".to_owned(), false))
        );
        assert_eq!(names(&queue), ["b", "a", "c"]);
        for name in ["a", "b"] {
            queue.done(&key(name), None, || false, || false);
        }
        queue.enqueue_without_news(key("a"));
        queue.enqueue_without_news(key("b"));
        assert_eq!(names(&queue), ["a", "b"], "a permit counts for one reconcile");
    }

    #[tokio::test(start_paused = true)]
    async fn an_edit_is_queued_in_order_of_arrival() {
        let queue = WorkQueue::default();
        for index in 0..1_000 {
            queue.enqueue(key(&format!("earlier-{index}")));
        }
        tokio::time::advance(seconds(1)).await;
        queue.enqueue_without_news(key("edit"));
        for index in 0..1_000 {
            queue.enqueue(key(&format!("later-{index}")));
        }
        queue.permit(key("permit"));
        let taken = names(&queue);
        let place = |name: &str| taken.iter().position(|taken| taken == name);
        assert_eq!((place("permit"), place("edit")), (Some(0), Some(1_001)));
    }

    #[tokio::test(start_paused = true)]
    async fn repeated_enqueues_of_one_key_take_one_entry() {
        let queue = WorkQueue::default();
        for _ in 0..1_000_000 {
            queue.enqueue(key("a"));
        }
        assert_eq!(queue.lock().waiting.len(), 1);
        assert_eq!(queue.take().map(|taken| taken.enqueued), Some(true));
        assert_eq!(queue.take(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_enqueued_while_it_runs_runs_once_more_afterwards() {
        let queue = WorkQueue::default();
        queue.enqueue_without_news(key("a"));
        assert_eq!(queue.take().map(|taken| taken.enqueued), Some(false));
        queue.enqueue(key("a"));
        queue.enqueue_without_news(key("a"));
        assert_eq!(queue.take(), None, "it runs");
        queue.done(&key("a"), Some(Instant::now() + seconds(600)), || false, || false);
        assert_eq!(
            queue.take().map(|taken| taken.enqueued),
            Some(true),
            "at once, not in ten minutes"
        );
        queue.done(&key("a"), None, || false, || false);
        assert_eq!(queue.take(), None);
        assert!(queue.lock().entries.is_empty(), "nothing is kept of what does not wait");
    }

    #[tokio::test(start_paused = true)]
    async fn a_requeued_key_is_due_at_its_time_or_when_it_is_enqueued() {
        let queue = WorkQueue::default();
        for name in ["late", "soon", "enqueued"] {
            queue.enqueue_without_news(key(name));
        }
        assert_eq!(names(&queue).len(), 3);
        let now = Instant::now();
        queue.done(&key("late"), Action::requeue(seconds(60)).due(now), || false, || false);
        queue.done(&key("soon"), Action::requeue(seconds(5)).due(now), || false, || false);
        queue.done(
            &key("enqueued"),
            Action::requeue(seconds(60)).due(now),
            || false,
            || false,
        );
        queue.enqueue(key("enqueued"));
        queue.is_due().await;
        assert_eq!(
            (names(&queue), now.elapsed()),
            (vec!["enqueued".to_owned()], seconds(0))
        );
        queue.is_due().await;
        assert_eq!((names(&queue), now.elapsed()), (vec!["soon".to_owned()], seconds(5)));
        queue.done(&key("soon"), None, || false, || false);
        queue.done(&key("enqueued"), None, || false, || false);
        queue.is_due().await;
        assert_eq!((names(&queue), now.elapsed()), (vec!["late".to_owned()], seconds(60)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_for_a_late_key_is_notified_of_an_earlier_one() {
        let queue = std::sync::Arc::new(WorkQueue::default());
        queue.enqueue_without_news(key("late"));
        assert!(queue.take().is_some());
        let due = Action::requeue(Duration::MAX).due(Instant::now());
        queue.done(&key("late"), due, || false, || false);
        let enqueued = std::sync::Arc::clone(&queue);
        tokio::spawn(async move {
            tokio::time::sleep(seconds(1)).await;
            enqueued.enqueue_without_news(key("early"));
        });
        let started = Instant::now();
        queue.is_due().await;
        assert_eq!(
            (names(&queue), started.elapsed()),
            (vec!["early".to_owned()], seconds(1))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_forgotten_key_is_not_taken() {
        let queue = WorkQueue::default();
        queue.enqueue_without_news(key("gone"));
        queue.forget(&key("gone"));
        assert_eq!(queue.take(), None);
        queue.enqueue_without_news(key("running"));
        assert!(queue.take().is_some());
        queue.enqueue_without_news(key("running"));
        queue.forget(&key("running"));
        queue.done(&key("running"), None, || false, || false);
        assert_eq!(queue.take(), None);
        assert!(queue.lock().entries.is_empty());
    }

    #[test]
    fn the_echo_of_an_own_write_is_dropped_at_the_end_of_the_reconcile() {
        let queue = WorkQueue::default();
        for (is_echo, enqueued, left) in [(true, false, 0), (false, false, 1), (true, true, 1)] {
            queue.delivered(key("a"));
            assert_eq!(names(&queue), ["a"]);
            queue.delivered(key("a"));
            if enqueued {
                queue.enqueue(key("a"));
            }
            queue.done(&key("a"), None, || is_echo, || false);
            assert_eq!(names(&queue).len(), left, "{is_echo} {enqueued}");
            queue.done(&key("a"), None, || false, || false);
        }
        queue.delivered(key("b"));
        assert_eq!(names(&queue), ["b"]);
        queue.done(&key("b"), None, || panic!("nothing was delivered"), || false);
    }

    #[test]
    fn an_unknown_key_is_forgotten_without_effect() {
        let queue = WorkQueue::default();
        queue.enqueue_without_news(key("a"));
        queue.forget(&key("unknown"));
        queue.done(&key("unknown"), Some(Instant::now()), || false, || false);
        assert_eq!(names(&queue), ["a"]);
        assert_eq!(queue.lock().entries.len(), 1, "the one that runs");
    }
}
