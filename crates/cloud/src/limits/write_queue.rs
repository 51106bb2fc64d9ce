//! Sends writes to a VPN server one at a time: its queue in the cloud overflows otherwise (VPN.0030). A reconcile never
//! blocks here: it gets a place in the write queue, and is requeued once it has the permit. It records its intent under
//! the permit, which expires if that takes long. It holds the write queue only while it sends a request.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::{self, Debug},
    hash::Hash,
    mem,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use crate::limits::rate_limiter::{Priority, Rank};

/// A permit that is not used within this time passes to the next waiter.
const PERMIT_LASTS: Duration = Duration::from_secs(1);

/// All write queues. `W` names a waiter, which is in one write queue at a time.
///
/// Whenever a write queue is free and has waiters, exactly one of them has the permit and was requeued after it got it.
/// It uses the permit in [`WriteQueues::enter`]. The permit passes to the next waiter if it expires, or if the reconcile
/// ends with [`WriteQueues::done`]; so every reconcile must call `done`, however it ends. A late waiter enters if the
/// write queue is free by then; otherwise it has its place in the queue again.
pub struct WriteQueues<W> {
    this: Weak<Self>,
    state: Mutex<WriteQueuesState<W>>,
    enqueue: Box<dyn Fn(W) + Send + Sync>,
}

impl<W: Clone + Eq + Hash + Send + Sync + Debug + 'static> WriteQueues<W> {
    /// `enqueue` must cause a reconcile of the waiter that begins after the call. It may be called once too often, and
    /// may call any method of this type.
    pub fn new(enqueue: impl Fn(W) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            state: Mutex::new(WriteQueuesState::default()),
            enqueue: Box::new(enqueue),
        })
    }

    /// Grants the write queue for this reconcile if [`WriteQueues::enter`] would take it now; else queues the waiter
    /// likewise.
    pub fn reserve(&self, write_queue: &str, waiter: &W, priority: Priority) -> bool {
        self.change(|state| state.reserve(write_queue, waiter, priority))
    }

    /// Takes the write queue if it is free and not granted to another waiter; else queues the waiter, by priority and
    /// arrival. A queued waiter keeps its place or moves to a better one. Gives up a place in another write queue.
    pub fn enter(self: &Arc<Self>, write_queue: &str, waiter: &W, priority: Priority) -> Option<WriteQueueGuard<W>> {
        self.change(|state| state.enter(write_queue, waiter, priority))
            .map(|write_queue| WriteQueueGuard {
                write_queues: Arc::clone(self),
                write_queue,
            })
    }

    /// Ends a reconcile of this waiter. Unless that reconcile requested the write queue, removes its place or permit:
    /// the waiter no longer wants to write.
    pub fn done(&self, waiter: &W) {
        self.change(|state| state.done(waiter));
    }

    /// Gives up any place and any permit.
    pub fn forget(&self, waiter: &W) {
        self.change(|state| state.leave(waiter));
    }

    /// Blocks entry until then. The present holder stays; an unused permit becomes a place again. A pause only ever gets
    /// longer.
    pub fn pause(self: &Arc<Self>, write_queue: &str, until: Instant) {
        if until <= Instant::now() {
            return;
        }
        self.change(|state| {
            let end = || {
                let (write_queues, write_queue) = (Arc::downgrade(self), Arc::<str>::from(write_queue));
                AbortOnDropHandle::new(tokio::spawn(async move {
                    sleep_until(until).await;
                    if let Some(write_queues) = write_queues.upgrade() {
                        write_queues.change(|state| state.end_pause(&write_queue, until));
                    }
                }))
            };
            state.pause(write_queue, until, end);
        });
    }

    /// Returns the number of queued waiters, for metrics.
    pub fn waiting(&self) -> usize {
        self.change(|state| {
            state
                .write_queues
                .values()
                .map(|write_queue| write_queue.queue.len())
                .sum()
        })
    }

    /// Expires the permit after [`PERMIT_LASTS`].
    fn end_permit_in_time(&self, write_queue: Arc<str>, number: u64) {
        // Without a runtime the process is ending and sends no more writes.
        let Ok(runtime) = Handle::try_current() else { return };
        let (this, until) = (self.this.clone(), Instant::now() + PERMIT_LASTS);
        runtime.spawn(async move {
            sleep_until(until).await;
            if let Some(write_queues) = this.upgrade() {
                write_queues.end_permit(&write_queue, number);
            }
        });
    }

    fn end_permit(&self, write_queue: &Arc<str>, number: u64) {
        self.change(|state| state.end_permit(write_queue, number));
    }

    /// Changes the state, and enqueues waiters after the lock is released.
    fn change<R>(&self, work: impl FnOnce(&mut WriteQueuesState<W>) -> R) -> R {
        let (result, to_enqueue, permitted) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let result = work(&mut state);
            (
                result,
                mem::take(&mut state.to_enqueue),
                mem::take(&mut state.new_permits),
            )
        };
        for (write_queue, number) in permitted {
            self.end_permit_in_time(write_queue, number);
        }
        for waiter in to_enqueue {
            (self.enqueue)(waiter);
        }
        result
    }
}

impl<W: Debug> Debug for WriteQueues<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteQueues")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// The permission to write. Dropping it frees the write queue.
#[derive(Debug)]
#[must_use = "the write queue is free again when this is dropped"]
pub struct WriteQueueGuard<W: Clone + Eq + Hash + Send + Sync + Debug + 'static> {
    write_queues: Arc<WriteQueues<W>>,
    write_queue: Arc<str>,
}

impl<W: Clone + Eq + Hash + Send + Sync + Debug + 'static> Drop for WriteQueueGuard<W> {
    fn drop(&mut self) {
        self.write_queues.change(|state| state.free(&self.write_queue));
    }
}

/// The place of a waiter: queued, granted, or late.
#[derive(Debug)]
struct QueuePlace {
    write_queue: Arc<str>,
    rank: Rank,
    /// Requested in the reconcile that has not ended yet.
    fresh: bool,
}

#[derive(Debug)]
struct Pause {
    until: Instant,
    _end: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct WriteQueue<W> {
    held: bool,
    pause: Option<Pause>,
    /// The waiter that may enter but has not yet; only while the write queue is free.
    permitted: Option<W>,
    /// Distinguishes this permit from earlier ones.
    permit: u64,
    queue: BTreeMap<Rank, W>,
}

// A derived one would require `W: Default`.
impl<W> Default for WriteQueue<W> {
    fn default() -> Self {
        Self {
            held: false,
            pause: None,
            permitted: None,
            permit: 0,
            queue: BTreeMap::new(),
        }
    }
}

impl<W> WriteQueue<W> {
    fn is_open(&self) -> bool {
        !self.held && self.pause.is_none()
    }
}

#[derive(Debug)]
struct WriteQueuesState<W> {
    write_queues: HashMap<Arc<str>, WriteQueue<W>>,
    places: HashMap<W, QueuePlace>,
    arrivals: u64,
    permits: u64,
    /// Waiters to enqueue as soon as the lock is released.
    to_enqueue: Vec<W>,
    /// Permits whose expiry timers start as soon as the lock is released.
    new_permits: Vec<(Arc<str>, u64)>,
}

impl<W> Default for WriteQueuesState<W> {
    fn default() -> Self {
        Self {
            write_queues: HashMap::new(),
            places: HashMap::new(),
            arrivals: 0,
            permits: 0,
            to_enqueue: Vec::new(),
            new_permits: Vec::new(),
        }
    }
}

impl<W: Clone + Eq + Hash> WriteQueuesState<W> {
    /// Returns the name of the write queue if the waiter now holds it.
    fn enter(&mut self, name: &str, waiter: &W, priority: Priority) -> Option<Arc<str>> {
        let name = self.go_to(name, waiter);
        if !self.may_enter(&name, waiter) {
            self.queue(name, waiter, priority);
            return None;
        }
        let write_queue = self.write_queues.entry(Arc::clone(&name)).or_default();
        write_queue.held = true;
        write_queue.permitted = None;
        self.places.remove(waiter);
        Some(name)
    }

    /// Whether the write queue is now granted to the waiter.
    fn reserve(&mut self, name: &str, waiter: &W, priority: Priority) -> bool {
        let name = self.go_to(name, waiter);
        if !self.may_enter(&name, waiter) {
            self.queue(name, waiter, priority);
            return false;
        }
        let place = QueuePlace {
            rank: self.rank(waiter, priority),
            write_queue: Arc::clone(&name),
            // The permit is for this reconcile only: `done` removes it.
            fresh: false,
        };
        self.places.insert(waiter.clone(), place);
        self.permit(&name, waiter);
        true
    }

    /// Returns the name of the write queue, and gives up any place in another one.
    fn go_to(&mut self, name: &str, waiter: &W) -> Arc<str> {
        if self.places.get(waiter).is_some_and(|place| *place.write_queue != *name) {
            self.leave(waiter);
        }
        match self.write_queues.get_key_value(name) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(name),
        }
    }

    /// Whether the waiter may enter. An open write queue with waiters is always granted to one of them.
    fn may_enter(&self, name: &Arc<str>, waiter: &W) -> bool {
        self.write_queues.get(name).is_none_or(|write_queue| {
            write_queue.is_open()
                && write_queue
                    .permitted
                    .as_ref()
                    .is_none_or(|permitted| permitted == waiter)
        })
    }

    /// Returns the rank. A waiter that has a place keeps it or moves to a better one.
    fn rank(&mut self, waiter: &W, priority: Priority) -> Rank {
        if let Some(place) = self.places.get(waiter) {
            (place.rank.0.min(priority), place.rank.1)
        } else {
            self.arrivals += 1;
            (priority, self.arrivals)
        }
    }

    fn queue(&mut self, name: Arc<str>, waiter: &W, priority: Priority) {
        let rank = self.rank(waiter, priority);
        let write_queue = self.write_queues.entry(Arc::clone(&name)).or_default();
        if let Some(place) = self.places.remove(waiter) {
            write_queue.queue.remove(&place.rank);
        }
        write_queue.queue.insert(rank, waiter.clone());
        let place = QueuePlace {
            write_queue: name,
            rank,
            fresh: true,
        };
        self.places.insert(waiter.clone(), place);
    }

    fn permit(&mut self, name: &Arc<str>, waiter: &W) {
        self.permits += 1;
        let write_queue = self.write_queues.entry(Arc::clone(name)).or_default();
        write_queue.permitted = Some(waiter.clone());
        write_queue.permit = self.permits;
        self.new_permits.push((Arc::clone(name), self.permits));
    }

    /// Expires an unused permit: the waiter keeps its place, and others overtake it.
    fn end_permit(&mut self, name: &Arc<str>, number: u64) {
        if let Some(write_queue) = self.write_queues.get_mut(name)
            && write_queue.permit == number
            && write_queue.permitted.take().is_some()
        {
            self.admit_next(name);
        }
    }

    fn done(&mut self, waiter: &W) {
        let Some(place) = self.places.get_mut(waiter) else {
            return;
        };
        if !mem::take(&mut place.fresh) {
            self.leave(waiter);
            return;
        }
        let (name, rank) = (Arc::clone(&place.write_queue), place.rank);
        let write_queue = self.write_queues.entry(Arc::clone(&name)).or_default();
        if write_queue.permitted.as_ref() == Some(waiter) {
            // Requested and granted in one reconcile; the next one uses the permit. Enqueue here, so that the next one
            // does not depend on how an enqueue during this one was handled.
            self.to_enqueue.push(waiter.clone());
        } else {
            // The permit may have expired, if the reconcile ended long after its request.
            write_queue.queue.insert(rank, waiter.clone());
            self.admit_next(&name);
        }
    }

    fn leave(&mut self, waiter: &W) {
        let Some(place) = self.places.remove(waiter) else {
            return;
        };
        if let Some(write_queue) = self.write_queues.get_mut(&place.write_queue) {
            write_queue.queue.remove(&place.rank);
            write_queue.permitted.take_if(|permitted| *permitted == *waiter);
        }
        self.admit_next(&place.write_queue);
    }

    fn free(&mut self, name: &Arc<str>) {
        if let Some(write_queue) = self.write_queues.get_mut(name) {
            write_queue.held = false;
        }
        self.admit_next(name);
    }

    /// `end` starts the task that ends the pause.
    fn pause(&mut self, name: &str, until: Instant, end: impl FnOnce() -> AbortOnDropHandle<()>) {
        let write_queue = match self.write_queues.get_mut(name) {
            Some(write_queue) => write_queue,
            None => self.write_queues.entry(Arc::from(name)).or_default(),
        };
        if write_queue.pause.as_ref().is_some_and(|pause| pause.until >= until) {
            return;
        }
        write_queue.pause = Some(Pause { until, _end: end() });
        if let Some(permitted) = write_queue.permitted.take()
            && let Some(place) = self.places.get(&permitted)
        {
            write_queue.queue.insert(place.rank, permitted);
        }
    }

    /// A task that was superseded while it waited for the lock has no effect.
    fn end_pause(&mut self, name: &Arc<str>, until: Instant) {
        if let Some(write_queue) = self.write_queues.get_mut(name) {
            write_queue.pause.take_if(|pause| pause.until <= until);
        }
        self.admit_next(name);
    }

    /// Grants an open write queue to its first waiter, or removes it if it has none. Call it after every change that
    /// opens a write queue or removes a permit.
    fn admit_next(&mut self, name: &Arc<str>) {
        let Some(write_queue) = self.write_queues.get_mut(name) else {
            return;
        };
        if !write_queue.is_open() || write_queue.permitted.is_some() {
            return;
        }
        match write_queue.queue.pop_first() {
            Some((_, first)) => {
                self.permit(name, &first);
                self.to_enqueue.push(first);
            }
            None => {
                self.write_queues.remove(name);
            }
        }
    }
}

#[cfg(test)]
#[path = "write_queue_tests.rs"]
mod tests;
