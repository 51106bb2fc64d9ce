//! Writes on one VPN server go one at a time: its queue in the cloud overflows otherwise (VPN.0030). Nobody parks
//! here: a reconcile that finds the lane taken leaves its name and is woken when its turn has come. The lane is held only
//! while a request is sent: what is recorded before that is recorded under a grant, which others pass if it takes long.

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

use super::budget::Priority;

/// A lane that was granted and not entered is granted to the next one after this.
const GRANT_LASTS: Duration = Duration::from_secs(1);

/// All lanes. `W` names who waits; one waiter is in one lane at a time.
///
/// Whenever a lane is free and somebody queues, exactly one of them has been granted it and was woken after that. It
/// takes the grant by [`Lanes::enter`], or is late and the next one is granted, or its visit ends with [`Lanes::done`]
/// and the next one is granted: so every visit has to end with `done`, however it ends. Who is late enters if the lane is
/// free by then, and else has its place in the queue again.
pub struct Lanes<W> {
    this: Weak<Self>,
    state: Mutex<State<W>>,
    wake: Box<dyn Fn(W) + Send + Sync>,
}

impl<W: Clone + Eq + Hash + Send + Sync + Debug + 'static> Lanes<W> {
    /// `wake` has to bring about a visit of the waiter that begins after the call. It may be called once too often, and
    /// may itself call anything in here.
    pub fn new(wake: impl Fn(W) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            state: Mutex::new(State::default()),
            wake: Box::new(wake),
        })
    }

    /// Grants the lane for this visit if [`Lanes::enter`] would take it now; else queues the waiter in the same way.
    pub fn reserve(&self, lane: &str, waiter: &W, priority: Priority) -> bool {
        self.change(|state| state.reserve(lane, waiter, priority))
    }

    /// Takes the lane if it is free, and not granted to somebody else; else queues the waiter, by priority and arrival.
    /// One that waits already keeps its place, and may come to a better one. Gives up a place in another lane.
    pub fn enter(self: &Arc<Self>, lane: &str, waiter: &W, priority: Priority) -> Option<LaneGuard<W>> {
        self.change(|state| state.enter(lane, waiter, priority))
            .map(|lane| LaneGuard {
                lanes: Arc::clone(self),
                lane,
            })
    }

    /// A visit of this waiter has ended. Unless that visit asked for the lane, its place or its grant goes: the waiter
    /// no longer wants to write.
    pub fn done(&self, waiter: &W) {
        self.change(|state| state.done(waiter));
    }

    /// Gives up any place and any grant.
    pub fn forget(&self, waiter: &W) {
        self.change(|state| state.leave(waiter));
    }

    /// Nobody enters until then. Who is in the lane stays; a grant that was not taken becomes a place again. A pause
    /// only ever gets longer.
    pub fn pause(self: &Arc<Self>, lane: &str, until: Instant) {
        if until <= Instant::now() {
            return;
        }
        self.change(|state| {
            let end = || {
                let (lanes, lane) = (Arc::downgrade(self), Arc::<str>::from(lane));
                AbortOnDropHandle::new(tokio::spawn(async move {
                    sleep_until(until).await;
                    if let Some(lanes) = lanes.upgrade() {
                        lanes.change(|state| state.end_pause(&lane, until));
                    }
                }))
            };
            state.pause(lane, until, end);
        });
    }

    /// How many queue, for metrics.
    pub fn waiting(&self) -> usize {
        self.change(|state| state.lanes.values().map(|lane| lane.queue.len()).sum())
    }

    /// Who was granted the lane is late after a while.
    fn end_grant_in_time(&self, lane: Arc<str>, number: u64) {
        // Without a runtime the process is ending, and nobody writes any more.
        let Ok(runtime) = Handle::try_current() else { return };
        let (this, until) = (self.this.clone(), Instant::now() + GRANT_LASTS);
        runtime.spawn(async move {
            sleep_until(until).await;
            if let Some(lanes) = this.upgrade() {
                lanes.end_grant(&lane, number);
            }
        });
    }

    fn end_grant(&self, lane: &Arc<str>, number: u64) {
        self.change(|state| state.end_grant(lane, number));
    }

    /// Works on the state, and wakes whom that calls for after the lock is gone.
    fn change<R>(&self, work: impl FnOnce(&mut State<W>) -> R) -> R {
        let (result, to_wake, granted) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let result = work(&mut state);
            (result, mem::take(&mut state.to_wake), mem::take(&mut state.new_grants))
        };
        granted
            .into_iter()
            .for_each(|(lane, number)| self.end_grant_in_time(lane, number));
        for waiter in to_wake {
            (self.wake)(waiter);
        }
        result
    }
}

impl<W: Debug> Debug for Lanes<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// The right to write; the lane is free when it is dropped.
#[derive(Debug)]
#[must_use = "the lane is free again when this is dropped"]
pub struct LaneGuard<W: Clone + Eq + Hash + Send + Sync + Debug + 'static> {
    lanes: Arc<Lanes<W>>,
    lane: Arc<str>,
}

impl<W: Clone + Eq + Hash + Send + Sync + Debug + 'static> Drop for LaneGuard<W> {
    fn drop(&mut self) {
        self.lanes.change(|state| state.free(&self.lane));
    }
}

/// Priority, then arrival.
type Rank = (Priority, u64);

/// Where somebody waits: queued, granted, or late.
#[derive(Debug)]
struct Place {
    lane: Arc<str>,
    rank: Rank,
    /// Asked for in the visit that has not ended yet.
    fresh: bool,
}

#[derive(Debug)]
struct Pause {
    until: Instant,
    _end: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Lane<W> {
    held: bool,
    pause: Option<Pause>,
    /// May enter, but has not yet; only while the lane is free.
    granted: Option<W>,
    /// Tells this grant from earlier ones.
    grant: u64,
    queue: BTreeMap<Rank, W>,
}

// Derived, it would ask for `W: Default`.
impl<W> Default for Lane<W> {
    fn default() -> Self {
        Self {
            held: false,
            pause: None,
            granted: None,
            grant: 0,
            queue: BTreeMap::new(),
        }
    }
}

impl<W> Lane<W> {
    fn is_open(&self) -> bool {
        !self.held && self.pause.is_none()
    }
}

#[derive(Debug)]
struct State<W> {
    lanes: HashMap<Arc<str>, Lane<W>>,
    places: HashMap<W, Place>,
    arrivals: u64,
    grants: u64,
    /// To be woken as soon as the lock is gone.
    to_wake: Vec<W>,
    /// Whose end is to be awaited as soon as the lock is gone.
    new_grants: Vec<(Arc<str>, u64)>,
}

impl<W> Default for State<W> {
    fn default() -> Self {
        Self {
            lanes: HashMap::new(),
            places: HashMap::new(),
            arrivals: 0,
            grants: 0,
            to_wake: Vec::new(),
            new_grants: Vec::new(),
        }
    }
}

impl<W: Clone + Eq + Hash> State<W> {
    /// The lane's name if it is the waiter's now.
    fn enter(&mut self, name: &str, waiter: &W, priority: Priority) -> Option<Arc<str>> {
        let name = self.go_to(name, waiter);
        if !self.may_enter(&name, waiter) {
            self.queue(name, waiter, priority);
            return None;
        }
        let lane = self.lanes.entry(Arc::clone(&name)).or_default();
        lane.held = true;
        lane.granted = None;
        self.places.remove(waiter);
        Some(name)
    }

    /// Whether the lane is granted to the waiter now.
    fn reserve(&mut self, name: &str, waiter: &W, priority: Priority) -> bool {
        let name = self.go_to(name, waiter);
        if !self.may_enter(&name, waiter) {
            self.queue(name, waiter, priority);
            return false;
        }
        let place = Place {
            rank: self.rank(waiter, priority),
            lane: Arc::clone(&name),
            // It is this visit's.
            fresh: false,
        };
        self.places.insert(waiter.clone(), place);
        self.grant(&name, waiter);
        true
    }

    /// The lane's name; any place in another lane is given up.
    fn go_to(&mut self, name: &str, waiter: &W) -> Arc<str> {
        if self.places.get(waiter).is_some_and(|place| *place.lane != *name) {
            self.leave(waiter);
        }
        match self.lanes.get_key_value(name) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(name),
        }
    }

    /// An open lane in which somebody queues is granted to one of them.
    fn may_enter(&self, name: &Arc<str>, waiter: &W) -> bool {
        self.lanes
            .get(name)
            .is_none_or(|lane| lane.is_open() && lane.granted.as_ref().is_none_or(|granted| granted == waiter))
    }

    /// One that has a place keeps it, and may come to a better one.
    fn rank(&mut self, waiter: &W, priority: Priority) -> Rank {
        match self.places.get(waiter) {
            Some(place) => (place.rank.0.min(priority), place.rank.1),
            None => {
                self.arrivals += 1;
                (priority, self.arrivals)
            }
        }
    }

    fn queue(&mut self, name: Arc<str>, waiter: &W, priority: Priority) {
        let rank = self.rank(waiter, priority);
        let lane = self.lanes.entry(Arc::clone(&name)).or_default();
        if let Some(place) = self.places.remove(waiter) {
            lane.queue.remove(&place.rank);
        }
        lane.queue.insert(rank, waiter.clone());
        let place = Place {
            lane: name,
            rank,
            fresh: true,
        };
        self.places.insert(waiter.clone(), place);
    }

    fn grant(&mut self, name: &Arc<str>, waiter: &W) {
        self.grants += 1;
        let lane = self.lanes.entry(Arc::clone(name)).or_default();
        lane.granted = Some(waiter.clone());
        lane.grant = self.grants;
        self.new_grants.push((Arc::clone(name), self.grants));
    }

    /// Who has not entered by now is late: it keeps its place, and others pass.
    fn end_grant(&mut self, name: &Arc<str>, number: u64) {
        if let Some(lane) = self.lanes.get_mut(name)
            && lane.grant == number
            && lane.granted.take().is_some()
        {
            self.settle(name);
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
        let (name, rank) = (Arc::clone(&place.lane), place.rank);
        let lane = self.lanes.entry(Arc::clone(&name)).or_default();
        if lane.granted.as_ref() == Some(waiter) {
            // Granted after it had asked, in one visit. The next visit takes it; that there is one must not depend on
            // how a wake during this one was taken.
            self.to_wake.push(waiter.clone());
        } else {
            // It may have been late, in a visit that asked before and ended long after.
            lane.queue.insert(rank, waiter.clone());
            self.settle(&name);
        }
    }

    fn leave(&mut self, waiter: &W) {
        let Some(place) = self.places.remove(waiter) else {
            return;
        };
        if let Some(lane) = self.lanes.get_mut(&place.lane) {
            lane.queue.remove(&place.rank);
            lane.granted.take_if(|granted| *granted == *waiter);
        }
        self.settle(&place.lane);
    }

    fn free(&mut self, name: &Arc<str>) {
        if let Some(lane) = self.lanes.get_mut(name) {
            lane.held = false;
        }
        self.settle(name);
    }

    /// `end` starts what ends the pause.
    fn pause(&mut self, name: &str, until: Instant, end: impl FnOnce() -> AbortOnDropHandle<()>) {
        let lane = match self.lanes.get_mut(name) {
            Some(lane) => lane,
            None => self.lanes.entry(Arc::from(name)).or_default(),
        };
        if lane.pause.as_ref().is_some_and(|pause| pause.until >= until) {
            return;
        }
        lane.pause = Some(Pause { until, _end: end() });
        if let Some(granted) = lane.granted.take()
            && let Some(place) = self.places.get(&granted)
        {
            lane.queue.insert(place.rank, granted);
        }
    }

    /// A task that was superseded while it waited for the lock ends nothing.
    fn end_pause(&mut self, name: &Arc<str>, until: Instant) {
        if let Some(lane) = self.lanes.get_mut(name) {
            lane.pause.take_if(|pause| pause.until <= until);
        }
        self.settle(name);
    }

    /// Grants an open lane to the first in its queue, and removes one that nobody needs. To be called after whatever
    /// opens a lane or takes a grant away.
    fn settle(&mut self, name: &Arc<str>) {
        let Some(lane) = self.lanes.get_mut(name) else {
            return;
        };
        if !lane.is_open() || lane.granted.is_some() {
            return;
        }
        match lane.queue.pop_first() {
            Some((_, first)) => {
                self.grant(name, &first);
                self.to_wake.push(first);
            }
            None => {
                self.lanes.remove(name);
            }
        }
    }
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
