//! Rate limiter of one access key: a token bucket, a limit on concurrent requests, and a queue by priority and arrival.
//! The rate drops when the cloud answers "too many" and recovers afterwards. Reconciles do not block here: they queue
//! their key, and [`RateLimiter::next_permits`] returns it when a permit is free. A reserved permit that is not taken
//! immediately, for example during a status write, delays others only briefly.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt::Debug,
    hash::Hash,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// A reserved permit that is not taken within this time goes to the next waiter.
const PERMIT_KEPT: Duration = Duration::from_secs(10);

/// Refusals within this time count once: their requests were sent together.
const ONE_SLOWDOWN_PER: Duration = Duration::from_secs(1);

/// At full use, the seconds in which the full rate recovers.
const RECOVERY: f64 = 60.0;

/// Concurrent requests while that many reach the rate, besides those whose status writes were slow. When a key becomes
/// invalid, each of them fails with a bad signature, and more than five such failures in a row lock the key for all its users.
pub const USUALLY_IN_PROGRESS: usize = 5;

/// Maximum concurrent requests, however slow the responses are. All of them can fail when a key becomes invalid: it is
/// locked then, which ends before the circuit breaker admits the next request.
pub const MOST_IN_PROGRESS: usize = 32;

/// Concurrent requests are rate × latency on average. This much more lets the rate be reached in spite of fluctuation.
const FLUCTUATION: f64 = 1.5;

/// Of the requests that the cloud accepted in the second before it refused one: the rate after that.
const BELOW_LIMIT: f64 = 0.95;

/// One refusal reduces the rate to no less than this part.
const LARGEST_STEP: f64 = 16.0;

/// The rate recovers slowly for this time after a refusal, if the limit of the cloud is known: each attempt to exceed it
/// costs the wait that the cloud imposes.
const STAYS_BELOW: f64 = 40.0;

/// The share of the newest request in the average latency.
const NEWEST_SHARE: f64 = 0.05;

/// A request that takes longer counts as this long: one that hangs does not show what the others need.
const LONGEST_LATENCY: Duration = Duration::from_secs(2);

/// A reserved permit counts as a concurrent request for this time. After that it is still valid if there is room.
const PERMIT_HAS_ROOM: Duration = Duration::from_millis(250);

/// Refusals do not reduce the rate below this number of requests per second.
const SLOWEST: f64 = 1.0;

/// A longer wait that the cloud imposes is not waited out, but reported to the caller.
pub const LONG_WAIT: Duration = Duration::from_secs(10);

/// Tolerance for rounding errors in sums of fractions.
const NEARLY: f64 = 1e-6;

/// The order in which requests are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// A change that a user just made.
    Edit,
    /// Other writes, retries among them.
    Write,
    /// Reads that a caller waits for.
    Read,
    /// Drift checks.
    Drift,
}

/// Permission to send one request. The request counts as in progress until this is dropped.
#[derive(Debug)]
#[must_use = "the request is over when this is dropped"]
pub struct Permit<'a, W: Clone + Eq + Hash + Send + Debug> {
    rate_limiter: &'a RateLimiter<W>,
}

impl<W: Clone + Eq + Hash + Send + Debug> Drop for Permit<'_, W> {
    fn drop(&mut self) {
        self.rate_limiter.core().ended();
        self.rate_limiter.changed.notify_waiters();
    }
}

/// The cloud imposes a wait that is longer than [`LONG_WAIT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldBack;

/// The rate limiter of one access key. `W` is the key of a waiter.
#[derive(Debug)]
pub struct RateLimiter<W> {
    core: Mutex<Core<W>>,
    /// Notified when a waiter may be able to proceed.
    changed: Notify,
}

impl<W: Clone + Eq + Hash + Send + Debug> RateLimiter<W> {
    /// Starts with all tokens. A rate that is not a positive number counts as `SLOWEST`.
    pub fn new(max_per_second: f64) -> Self {
        Self {
            core: Mutex::new(Core::new(max_per_second)),
            changed: Notify::new(),
        }
    }

    /// Takes the waiter's reserved permit, or a free one. Otherwise (`None`) queues the waiter, which
    /// [`RateLimiter::next_permits`] returns later. A waiter that is queued already keeps its place or gets a better one.
    pub fn take(&self, waiter: W, priority: Priority, now: Instant) -> Option<Permit<'_, W>> {
        let taken = self.core().take(&WaiterKey::Waiter(waiter), priority, now);
        self.changed.notify_waiters();
        (taken == TakeResult::Now).then(|| Permit { rate_limiter: self })
    }

    /// Reserves a permit for the waiter if one is free; the waiter must [`RateLimiter::take`] it soon. This allows a
    /// status write before the request counts as in progress. Otherwise queues the waiter in the same way.
    pub fn reserve(&self, waiter: W, priority: Priority, now: Instant) -> bool {
        let taken = self.core().reserve(WaiterKey::Waiter(waiter), priority, now);
        self.changed.notify_waiters();
        taken == TakeResult::Now
    }

    /// Gives up a place in the queue, or a reserved permit.
    pub fn forget(&self, waiter: &W) {
        self.core().forget(&WaiterKey::Waiter(waiter.clone()));
        self.changed.notify_waiters();
    }

    /// Waits for free permits and returns their waiters; each must [`RateLimiter::take`] its permit within 10 s. Also
    /// returns waiters that lost their place because the cloud imposed a long wait, so that they do not wait unnoticed.
    /// One task calls this in a loop. Nothing is lost when the future is dropped.
    pub async fn next_permits(&self) -> Vec<W> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // No change from here on is missed.
            changed.as_mut().enable();
            let (permitted, dismissed, enqueue) = {
                let (mut core, now) = (self.core(), Instant::now());
                (
                    core.permit_waiting(now),
                    mem::take(&mut core.dismissed),
                    core.next_at(now),
                )
            };
            let waiters: Vec<W> = permitted
                .iter()
                .chain(&dismissed)
                .filter_map(|key| match key {
                    WaiterKey::Waiter(waiter) => Some(waiter.clone()),
                    WaiterKey::Task(_) => None,
                })
                .collect();
            if !permitted.is_empty() {
                // For the parked tasks: one of them may have a permit now, or be the first in the queue.
                self.changed.notify_waiters();
            }
            if !waiters.is_empty() {
                return waiters;
            }
            park(changed, enqueue).await;
        }
    }

    /// Waits for a permit and takes it, for a task that can block. Fails if the cloud imposes a long wait. Needs no
    /// [`RateLimiter::next_permits`]. A dropped future leaves no place behind. The priority may rise while it waits.
    pub async fn permit(&self, priority: impl Fn() -> Priority) -> Result<Permit<'_, W>, HeldBack> {
        let key = {
            let mut core = self.core();
            core.tasks += 1;
            WaiterKey::Task(core.tasks)
        };
        let place = TaskPlace {
            rate_limiter: self,
            key,
        };
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let enqueue = {
                let (mut core, now) = (self.core(), Instant::now());
                if core.is_held_back(now) {
                    return Err(HeldBack);
                }
                match core.take(&place.key, priority(), now) {
                    TakeResult::Now => return Ok(Permit { rate_limiter: self }),
                    // Behind a waiter, there is nothing to do until that waiter gets its permit.
                    TakeResult::Queued if core.first_is_a_task() => core.next_at(now),
                    TakeResult::Queued => None,
                }
            };
            park(changed, enqueue).await;
        }
    }

    /// Records the answer "too many": reduces the rate to what the cloud has accepted in the last second, or halves it, and
    /// sends nothing until the cloud's own wait is over.
    pub fn throttled(&self, retry_after: Option<Duration>, now: Instant) {
        self.core().throttled(retry_after, now);
        self.changed.notify_waiters();
    }

    /// Records how long the cloud took for a response: slow responses allow more concurrent requests.
    pub fn responded(&self, took: Duration) {
        self.core().responded(took);
        self.changed.notify_waiters();
    }

    /// Records a successful answer: the rate recovers a little.
    pub fn succeeded(&self, now: Instant) {
        self.core().succeeded(now);
    }

    /// Requests per second at present.
    pub fn rate(&self) -> f64 {
        self.core().rate
    }

    /// Requests in progress.
    pub fn in_progress(&self) -> usize {
        self.core().in_progress
    }

    /// Number of waiters, for metrics.
    pub fn waiting(&self) -> usize {
        self.core().queue.len()
    }

    fn core(&self) -> MutexGuard<'_, Core<W>> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn park(changed: impl Future<Output = ()>, enqueue: Option<Instant>) {
    match enqueue {
        Some(enqueue) => {
            tokio::select! {
                () = changed => {}
                () = sleep_until(enqueue) => {}
            }
        }
        None => changed.await,
    }
}

/// The place of a parked task, given up when the task is dropped.
struct TaskPlace<'a, W: Clone + Eq + Hash + Send + Debug> {
    rate_limiter: &'a RateLimiter<W>,
    key: WaiterKey<W>,
}

impl<W: Clone + Eq + Hash + Send + Debug> Drop for TaskPlace<'_, W> {
    fn drop(&mut self) {
        self.rate_limiter.core().forget(&self.key);
        self.rate_limiter.changed.notify_waiters();
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum WaiterKey<W> {
    Waiter(W),
    Task(u64),
}

/// Order in a queue: priority, then arrival.
pub(crate) type Rank = (Priority, u64);

/// Whether a request may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TakeResult {
    Now,
    Queued,
}

/// A permit that is reserved and not taken yet.
#[derive(Clone, Copy, Debug)]
struct ReservedPermit {
    /// The place in the queue that it came from.
    rank: Rank,
    /// When it was given first: the reconcile that it enqueued renews it.
    first_given: Instant,
    given: Instant,
    expires: Instant,
}

#[derive(Debug)]
struct Core<W> {
    max: f64,
    rate: f64,
    tokens: f64,
    counted_at: Option<Instant>,
    blocked_until: Option<Instant>,
    slowed_at: Option<Instant>,
    /// When requests were accepted in the last second, the oldest first.
    accepted: VecDeque<Instant>,
    /// How many the cloud had accepted in the second before it refused one, while more were waiting.
    limit: Option<f64>,
    queue: BTreeMap<Rank, WaiterKey<W>>,
    ranks: HashMap<WaiterKey<W>, Rank>,
    arrivals: u64,
    reserved: HashMap<WaiterKey<W>, ReservedPermit>,
    /// The same in the order of expiry; those that were taken are skipped.
    expiring: VecDeque<(Instant, WaiterKey<W>)>,
    tasks: u64,
    in_progress: usize,
    /// Average time of the last requests.
    latency: AverageTime,
    /// Average time from a reserved permit to its request, as for a status write.
    preparation: AverageTime,
    /// Were queued or had a reserved permit when the cloud imposed a long wait; to be returned by `next_permits`.
    dismissed: Vec<WaiterKey<W>>,
}

impl<W: Clone + Eq + Hash> Core<W> {
    fn new(max_per_second: f64) -> Self {
        let max = if max_per_second.is_finite() && max_per_second > 0.0 {
            max_per_second
        } else {
            SLOWEST
        };
        Self {
            max,
            rate: max,
            tokens: burst(max),
            counted_at: None,
            blocked_until: None,
            slowed_at: None,
            accepted: VecDeque::new(),
            limit: None,
            queue: BTreeMap::new(),
            ranks: HashMap::new(),
            arrivals: 0,
            reserved: HashMap::new(),
            expiring: VecDeque::new(),
            tasks: 0,
            in_progress: 0,
            latency: AverageTime::default(),
            preparation: AverageTime::default(),
            dismissed: Vec::new(),
        }
    }

    fn take(&mut self, key: &WaiterKey<W>, priority: Priority, now: Instant) -> TakeResult {
        self.count(now);
        let first_given = self.first_given(key);
        if self.admit(key, priority, now).is_none() {
            return TakeResult::Queued;
        }
        if let Some(first_given) = first_given {
            let prepared = now.saturating_duration_since(first_given);
            self.preparation.add(prepared.min(LONGEST_LATENCY));
        }
        self.in_progress += 1;
        TakeResult::Now
    }

    fn reserve(&mut self, key: WaiterKey<W>, priority: Priority, now: Instant) -> TakeResult {
        self.count(now);
        let first_given = self.first_given(&key).unwrap_or(now);
        let Some(rank) = self.admit(&key, priority, now) else {
            return TakeResult::Queued;
        };
        self.keep(key, rank, first_given, now);
        TakeResult::Now
    }

    /// Returns its place if it may proceed now; otherwise queues it. The tokens are up to date.
    fn admit(&mut self, key: &WaiterKey<W>, priority: Priority, now: Instant) -> Option<Rank> {
        if let Some(permit) = self.reserved.remove(key) {
            let rank = (permit.rank.0.min(priority), permit.rank.1);
            if self.in_progress < self.room_with_prepared() && self.is_open(now) {
                return Some(rank);
            }
            // It is too late: others use the room now, or the cloud imposes a wait. It goes back to its place.
            self.refund();
            self.queue.insert(rank, key.clone());
            self.ranks.insert(key.clone(), rank);
            return None;
        }
        let old = self.ranks.get(key).copied();
        let rank = if let Some((before, arrival)) = old {
            (before.min(priority), arrival)
        } else {
            self.arrivals += 1;
            (priority, self.arrivals)
        };
        let is_first = self
            .queue
            .first_key_value()
            .is_none_or(|(first, _)| *first >= rank || Some(*first) == old);
        if is_first && self.has_room(now) && self.pay(now) {
            self.leave(key);
            return Some(rank);
        }
        if old != Some(rank) {
            self.leave(key);
            self.queue.insert(rank, key.clone());
            self.ranks.insert(key.clone(), rank);
        }
        None
    }

    /// Reserves a permit that is paid for.
    fn keep(&mut self, key: WaiterKey<W>, rank: Rank, first_given: Instant, now: Instant) {
        let expires = now + PERMIT_KEPT;
        let permit = ReservedPermit {
            rank,
            first_given,
            given: now,
            expires,
        };
        self.reserved.insert(key.clone(), permit);
        self.expiring.push_back((expires, key));
    }

    fn first_given(&self, key: &WaiterKey<W>) -> Option<Instant> {
        self.reserved.get(key).map(|permit| permit.first_given)
    }

    /// Records the end of a request.
    fn ended(&mut self) {
        self.in_progress = self.in_progress.saturating_sub(1);
    }

    /// Records how long a response took.
    fn responded(&mut self, took: Duration) {
        self.latency.add(took.min(LONGEST_LATENCY));
    }

    /// How many requests may be in progress, at least the usual number.
    fn room(&self) -> usize {
        self.needed(self.latency).max(USUALLY_IN_PROGRESS)
    }

    /// How many take place at a time if the rate is reached and each takes this time, by Little's law.
    fn needed(&self, time: AverageTime) -> usize {
        let needed = self.rate * time.seconds() * FLUCTUATION;
        let reaches = |room: &usize| as_number(*room) >= needed;
        (0..MOST_IN_PROGRESS).find(reaches).unwrap_or(MOST_IN_PROGRESS)
    }

    /// Whether one more permit may be given. Fresh reservations will soon be requests in progress.
    fn has_room(&self, now: Instant) -> bool {
        let coming = self.reserved.values().filter(|permit| has_room_until(permit) > now);
        self.in_progress < self.room() && self.in_progress + coming.count() < self.room_with_prepared()
    }

    /// How many requests may be in progress or about to be sent. All are in progress if the apiserver pauses in between.
    fn room_with_prepared(&self) -> usize {
        MOST_IN_PROGRESS.min(self.room() + self.needed(self.preparation))
    }

    fn forget(&mut self, key: &WaiterKey<W>) {
        self.leave(key);
        if self.reserved.remove(key).is_some() {
            self.refund();
        }
    }

    fn leave(&mut self, key: &WaiterKey<W>) {
        if let Some(rank) = self.ranks.remove(key) {
            self.queue.remove(&rank);
        }
    }

    /// Reserves permits for the first in the queue, as many as are free.
    fn permit_waiting(&mut self, now: Instant) -> Vec<WaiterKey<W>> {
        self.count(now);
        let mut permitted = Vec::new();
        while !self.queue.is_empty() && self.has_room(now) && self.pay(now) {
            let Some((rank, key)) = self.queue.pop_first() else {
                break;
            };
            self.ranks.remove(&key);
            self.keep(key.clone(), rank, now, now);
            permitted.push(key);
        }
        permitted
    }

    /// Returns when the first in the queue can proceed; `None` if the queue is empty, or if a request must end first.
    fn next_at(&self, now: Instant) -> Option<Instant> {
        if self.queue.is_empty() || self.in_progress >= self.room() {
            return None;
        }
        let room = (!self.has_room(now))
            .then(|| {
                self.reserved
                    .values()
                    .map(has_room_until)
                    .filter(|until| *until > now)
                    .min()
            })
            .flatten()
            .unwrap_or(now);
        let short = (1.0 - self.tokens).max(0.0);
        let paid = now + Duration::from_secs_f64(short / self.rate);
        // A reserved permit may expire earlier.
        let sooner = self
            .expiring
            .front()
            .map_or(paid, |(expires, _)| paid.min((*expires).max(now)))
            .max(room);
        Some(self.blocked_until.map_or(sooner, |blocked| sooner.max(blocked)))
    }

    fn first_is_a_task(&self) -> bool {
        matches!(self.queue.first_key_value(), Some((_, WaiterKey::Task(_))))
    }

    fn throttled(&mut self, retry_after: Option<Duration>, now: Instant) {
        self.count(now);
        if self
            .slowed_at
            .is_none_or(|at| now.saturating_duration_since(at) >= ONE_SLOWDOWN_PER)
        {
            self.slowed_at = Some(now);
            self.forget_accepted(now);
            let accepted = as_number(self.accepted.len());
            // Otherwise, fewer were accepted because fewer were sent.
            self.limit = Some(accepted).filter(|accepted| *accepted > 0.0 && !self.queue.is_empty());
            let reduced = self.limit.map_or(self.rate / 2.0, |limit| {
                (BELOW_LIMIT * limit).clamp(self.rate / LARGEST_STEP, BELOW_LIMIT * self.rate)
            });
            self.rate = reduced.max(SLOWEST.min(self.max));
            self.tokens = self.tokens.min(0.0);
        }
        if let Some(wait) = retry_after {
            let until = now + wait;
            self.blocked_until = Some(self.blocked_until.map_or(until, |blocked| blocked.max(until)));
        }
        if self.is_held_back(now) {
            self.dismiss();
        }
    }

    /// Clears the queue and all reservations: callers report the end of the wait instead of waiting for it.
    fn dismiss(&mut self) {
        let permitted: Vec<WaiterKey<W>> = self.reserved.keys().cloned().collect();
        let queued = mem::take(&mut self.queue);
        self.ranks.clear();
        for key in &permitted {
            self.forget(key);
        }
        self.dismissed.extend(queued.into_values().chain(permitted));
    }

    fn succeeded(&mut self, now: Instant) {
        self.count(now);
        self.accepted.push_back(now);
        self.forget_accepted(now);
        self.rate = (self.rate + self.faster_in_a_second(now) / self.rate).min(self.max);
    }

    /// How much the rate recovers in a second of full use. At first only a little: the rate is about the limit of the cloud,
    /// if that is known.
    fn faster_in_a_second(&self, now: Instant) -> f64 {
        match self.near_limit(now) {
            Some((limit, since)) => limit / RECOVERY * since * since,
            None => self.max / RECOVERY,
        }
    }

    /// The limit of the cloud, and the part of [`STAYS_BELOW`] that has passed.
    fn near_limit(&self, now: Instant) -> Option<(f64, f64)> {
        let since = now.saturating_duration_since(self.slowed_at?).as_secs_f64() / STAYS_BELOW;
        self.limit.map(|limit| (limit, since)).filter(|_| since < 1.0)
    }

    /// The most tokens. A burst above a known limit would be refused.
    fn most_tokens(&self, now: Instant) -> f64 {
        match self.near_limit(now) {
            Some((limit, _)) => (limit - self.rate).clamp(1.0, burst(self.rate)),
            None => burst(self.rate),
        }
    }

    /// Forgets the requests that were accepted more than a second ago.
    fn forget_accepted(&mut self, now: Instant) {
        let is_older = |at: &Instant| now.saturating_duration_since(*at) > Duration::from_secs(1);
        while self.accepted.front().is_some_and(is_older) {
            self.accepted.pop_front();
        }
    }

    /// Brings the tokens up to date.
    fn count(&mut self, now: Instant) {
        let elapsed = self
            .counted_at
            .map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        // A clock that stands still, or a caller with an older time, changes nothing.
        self.counted_at = Some(self.counted_at.map_or(now, |at| at.max(now)));
        self.tokens = (self.tokens + elapsed.as_secs_f64() * self.rate).min(self.most_tokens(now));
        while let Some((expires, _)) = self.expiring.front() {
            let expires = *expires;
            let is_it = |key: &WaiterKey<W>| self.reserved.get(key).is_some_and(|permit| permit.expires == expires);
            if expires > now && self.expiring.front().is_some_and(|(_, key)| is_it(key)) {
                break;
            }
            if let Some((_, key)) = self.expiring.pop_front()
                && self.reserved.get(&key).is_some_and(|permit| permit.expires == expires)
            {
                self.reserved.remove(&key);
                self.refund();
            }
        }
    }

    fn pay(&mut self, now: Instant) -> bool {
        let paid = self.is_open(now) && self.tokens >= 1.0 - NEARLY;
        if paid {
            self.tokens -= 1.0;
        }
        paid
    }

    fn is_open(&self, now: Instant) -> bool {
        self.blocked_until.is_none_or(|until| until <= now)
    }

    fn is_held_back(&self, now: Instant) -> bool {
        self.blocked_until.is_some_and(|until| until > now + LONG_WAIT)
    }

    fn refund(&mut self) {
        self.tokens = (self.tokens + 1.0).min(burst(self.rate));
    }
}

/// An average in which the newest times count most.
#[derive(Clone, Copy, Debug, Default)]
struct AverageTime(Option<f64>);

impl AverageTime {
    fn add(&mut self, time: Duration) {
        let time = time.as_secs_f64();
        let average = self.0.unwrap_or(time);
        self.0 = Some(average + (time - average) * NEWEST_SHARE);
    }

    /// 0 before the first time.
    fn seconds(self) -> f64 {
        self.0.unwrap_or(0.0)
    }
}

fn as_number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Until when a reserved permit counts as a request in progress.
fn has_room_until(permit: &ReservedPermit) -> Instant {
    permit.given + PERMIT_HAS_ROOM
}

/// Requests that may be sent in one burst: those of a fifth of a second, at least one.
fn burst(rate: f64) -> f64 {
    (rate / 5.0).round().max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;
    use tokio::time::{advance, timeout};

    const SECOND: Duration = Duration::from_secs(1);

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Takes all free permits.
    #[expect(clippy::float_cmp, reason = "a burst is a whole number")]
    fn drained(rate: f64, now: Instant) -> RateLimiter<u32> {
        let rate_limiter = RateLimiter::new(rate);
        let mut taken = 0;
        while rate_limiter.take(1_000_000 + taken, Priority::Edit, now).is_some() {
            taken += 1;
        }
        rate_limiter.forget(&(1_000_000 + taken));
        assert_eq!(f64::from(taken), burst(rate));
        rate_limiter
    }

    #[test]
    fn slow_status_writes_allow_more_reserved_permits_and_no_more_requests_from_others() {
        let (mut core, start) = (Core::<u32>::new(50.0), Instant::now());
        let waiter = WaiterKey::Waiter;
        let mut now = start;
        for _ in 0..100 {
            assert_eq!(core.reserve(waiter(0), Priority::Write, now), TakeResult::Now);
            now += millis(200);
            assert_eq!(core.take(&waiter(0), Priority::Write, now), TakeResult::Now);
            core.ended();
        }
        let mut reserved = |number| core.reserve(waiter(number), Priority::Write, now + SECOND * 5) == TakeResult::Now;
        let count = (1..=20).filter(|number| reserved(*number)).count();
        assert_eq!(
            count, 10,
            "the burst: there is room for 50/s × 0.2 s × 1.5 besides the usual requests"
        );
        assert_eq!(core.room(), USUALLY_IN_PROGRESS);
        assert_eq!(core.room_with_prepared(), USUALLY_IN_PROGRESS + 15);
    }

    #[test]
    fn slow_responses_allow_as_many_requests_as_the_rate_needs() {
        let mut core = Core::<u32>::new(50.0);
        let room_at = |core: &mut Core<u32>, milliseconds| {
            (0..1000).for_each(|_| core.responded(millis(milliseconds)));
            core.room()
        };
        assert_eq!(core.room(), USUALLY_IN_PROGRESS, "before the first response");
        assert_eq!(room_at(&mut core, 20), USUALLY_IN_PROGRESS);
        assert_eq!(
            room_at(&mut core, 400),
            30,
            "50/s × 0.4 s, and half of that for fluctuation"
        );
        assert_eq!(room_at(&mut core, 5_000), MOST_IN_PROGRESS);
        let one_hangs = |core: &mut Core<u32>| {
            core.responded(SECOND * 120);
            core.room()
        };
        assert_eq!(room_at(&mut core, 20), USUALLY_IN_PROGRESS);
        assert!(one_hangs(&mut core) < 10, "one says nothing about the others");
        core.throttled(None, Instant::now());
        assert_eq!(room_at(&mut core, 400), 15, "the rate is halved");
        assert_eq!(room_at(&mut core, 20), USUALLY_IN_PROGRESS);
    }

    #[test]
    fn a_burst_is_granted_at_once_and_the_rest_waits() {
        for (rate, at_once) in [
            (50.0, 10),
            (10.0, 2),
            (5.0, 1),
            (0.1, 1),
            (f64::NAN, 1),
            (-3.0, 1),
            (0.0, 1),
        ] {
            let (rate_limiter, now) = (RateLimiter::new(rate), Instant::now());
            let permits: Vec<_> = (0..=at_once)
                .map(|waiter| rate_limiter.take(waiter, Priority::Read, now).is_some())
                .collect();
            assert!(permits[..at_once].iter().all(|permit| *permit), "{rate}");
            assert!(!permits[at_once], "{rate}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn permits_are_granted_by_priority_then_arrival() {
        let rate_limiter = drained(10.0, Instant::now());
        for (waiter, priority) in [
            (1, Priority::Drift),
            (2, Priority::Write),
            (3, Priority::Read),
            (4, Priority::Write),
            (5, Priority::Edit),
        ] {
            assert!(rate_limiter.take(waiter, priority, Instant::now()).is_none());
        }
        let mut order = Vec::new();
        while order.len() < 5 {
            for waiter in rate_limiter.next_permits().await {
                assert!(rate_limiter.take(waiter, Priority::Drift, Instant::now()).is_some());
                order.push(waiter);
            }
        }
        assert_eq!(order, [5, 2, 4, 3, 1]);
        assert_eq!(rate_limiter.waiting(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_repeated_request_keeps_or_improves_its_place() {
        let now = Instant::now();
        let rate_limiter = drained(10.0, now);
        for (waiter, priority) in [
            (1, Priority::Drift),
            (2, Priority::Write),
            (1, Priority::Drift),
            (3, Priority::Write),
        ] {
            rate_limiter.take(waiter, priority, now);
        }
        rate_limiter.take(1, Priority::Write, now);
        rate_limiter.take(2, Priority::Drift, now);
        assert_eq!(rate_limiter.waiting(), 3);
        let mut order = Vec::new();
        while order.len() < 3 {
            order.extend(rate_limiter.next_permits().await);
        }
        assert_eq!(order, [1, 2, 3], "1 came first; 2 is not set back");
    }

    #[test]
    fn a_new_waiter_passes_only_waiters_of_lower_priority() {
        let now = Instant::now();
        let rate_limiter = drained(10.0, now);
        rate_limiter.take(1, Priority::Read, now);
        let later = now + millis(100);
        assert!(rate_limiter.take(2, Priority::Read, later).is_none());
        assert!(rate_limiter.take(3, Priority::Drift, later).is_none());
        assert!(rate_limiter.take(4, Priority::Write, later).is_some());
        assert!(
            rate_limiter.take(1, Priority::Read, later).is_none(),
            "the token is used up"
        );
        assert!(rate_limiter.take(1, Priority::Read, later + millis(100)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_unused_permit_goes_to_the_next_waiter() {
        let rate_limiter = drained(1.0, Instant::now());
        for waiter in [1, 2, 3] {
            rate_limiter.take(waiter, Priority::Read, Instant::now());
        }
        assert_eq!(rate_limiter.next_permits().await, [1]);
        rate_limiter.forget(&1);
        assert_eq!(
            timeout(millis(1), rate_limiter.next_permits()).await,
            Ok(vec![2]),
            "at once, from the permit given up"
        );
        rate_limiter.forget(&3);
        assert_eq!(rate_limiter.waiting(), 0);
        advance(PERMIT_KEPT).await;
        rate_limiter.take(4, Priority::Read, Instant::now());
        assert!(
            rate_limiter.take(2, Priority::Read, Instant::now()).is_none(),
            "2 did not come in time"
        );
    }

    #[test]
    fn a_reservation_costs_one_token_and_expires_if_late() {
        let (rate_limiter, now) = (RateLimiter::new(50.0), Instant::now());
        for waiter in 0..5 {
            assert!(rate_limiter.reserve(waiter, Priority::Write, now));
        }
        assert_eq!(rate_limiter.in_progress(), 0);
        assert!(
            rate_limiter.take(9, Priority::Edit, now).is_none(),
            "there is room for five"
        );
        let permit = rate_limiter.take(0, Priority::Write, now).expect("it was reserved");
        assert_eq!(rate_limiter.in_progress(), 1);
        drop(permit);
        assert!(
            rate_limiter.take(9, Priority::Edit, now).is_some(),
            "0 has sent its request"
        );
        // The others are late: their reservations no longer count as requests in progress.
        let later = now + PERMIT_HAS_ROOM;
        let permits: Vec<_> = (10..15)
            .map(|waiter| rate_limiter.take(waiter, Priority::Write, later))
            .collect();
        assert!(permits.iter().all(Option::is_some));
        assert!(
            rate_limiter.take(1, Priority::Write, later).is_none(),
            "there is no room left"
        );
        drop(permits);
        assert!(
            rate_limiter.take(1, Priority::Write, later).is_some(),
            "it has its place again"
        );
        for given_up in [2, 3, 4] {
            rate_limiter.forget(&given_up);
        }
        assert_eq!(rate_limiter.waiting(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_driver_is_notified_of_a_new_waiter() {
        let rate_limiter = Arc::new(drained(2.0, Instant::now()));
        let driver = tokio::spawn({
            let rate_limiter = rate_limiter.clone();
            async move { rate_limiter.next_permits().await }
        });
        tokio::task::yield_now().await;
        let start = Instant::now();
        rate_limiter.take(7, Priority::Read, start);
        assert_eq!(driver.await.expect("it lives"), [7]);
        assert!(
            (millis(500)..millis(510)).contains(&start.elapsed()),
            "{:?}",
            start.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_driver_loses_no_permit() {
        let rate_limiter = drained(1.0, Instant::now());
        rate_limiter.take(1, Priority::Read, Instant::now());
        assert!(timeout(millis(500), rate_limiter.next_permits()).await.is_err());
        assert_eq!(rate_limiter.next_permits().await, [1]);
        assert!(rate_limiter.take(1, Priority::Read, Instant::now()).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_tasks_need_no_driver_and_leave_no_queue_entry() {
        let rate_limiter = drained(1.0, Instant::now());
        let start = Instant::now();
        assert!(
            timeout(millis(10), rate_limiter.permit(|| Priority::Edit))
                .await
                .is_err()
        );
        assert_eq!(rate_limiter.waiting(), 0);
        drop(tokio::join!(
            rate_limiter.permit(|| Priority::Read),
            rate_limiter.permit(|| Priority::Read),
            rate_limiter.permit(|| Priority::Read)
        ));
        assert!(
            (SECOND * 3..millis(3010)).contains(&start.elapsed()),
            "{:?}",
            start.elapsed()
        );
        assert_eq!(rate_limiter.waiting(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_tasks_and_notified_waiters_share_one_queue() {
        let rate_limiter = drained(1.0, Instant::now());
        rate_limiter.take(1, Priority::Read, Instant::now());
        let order = Mutex::new(Vec::new());
        let task = async {
            drop(rate_limiter.permit(|| Priority::Read).await.expect("a permit"));
            order.lock().expect("sound").push(0);
        };
        let driver = async {
            rate_limiter.take(2, Priority::Read, Instant::now());
            for _ in 0..2 {
                for waiter in rate_limiter.next_permits().await {
                    assert!(rate_limiter.take(waiter, Priority::Read, Instant::now()).is_some());
                    order.lock().expect("sound").push(waiter);
                }
            }
        };
        tokio::join!(task, driver);
        assert_eq!(order.into_inner().expect("sound"), [1, 0, 2]);
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "halves and the bounds are exact")]
    fn a_429_halves_the_rate_once_per_batch() {
        let (rate_limiter, now) = (RateLimiter::<u32>::new(50.0), Instant::now());
        for _ in 0..10 {
            rate_limiter.throttled(None, now);
        }
        assert_eq!(rate_limiter.rate(), 25.0);
        assert!(
            rate_limiter.take(1, Priority::Edit, now).is_none(),
            "the saved tokens are discarded"
        );
        assert!(rate_limiter.take(1, Priority::Edit, now + millis(40)).is_some());
        rate_limiter.throttled(None, now + SECOND);
        assert_eq!(rate_limiter.rate(), 12.5);
        for second in 2..20 {
            rate_limiter.throttled(None, now + SECOND * second);
        }
        assert_eq!(rate_limiter.rate(), 1.0, "no slower than one a second");
        let slow = RateLimiter::<u32>::new(0.2);
        slow.throttled(None, now);
        assert_eq!(slow.rate(), 0.2, "unless a lower rate was requested");
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "the bound is exact")]
    fn the_rate_recovers_within_a_minute_of_full_use() {
        let (rate_limiter, mut now) = (RateLimiter::<u32>::new(50.0), Instant::now());
        for _ in 0..10 {
            now += SECOND;
            rate_limiter.throttled(None, now);
        }
        assert_eq!(rate_limiter.rate(), 1.0);
        let start = now;
        let mut before = rate_limiter.rate();
        while rate_limiter.rate() < 50.0 {
            now += Duration::from_secs_f64(1.0 / rate_limiter.rate());
            rate_limiter.succeeded(now);
            assert!(rate_limiter.rate() > before && rate_limiter.rate() <= 50.0);
            before = rate_limiter.rate();
        }
        assert!((SECOND * 50..SECOND * 70).contains(&(now - start)), "{:?}", now - start);
    }

    /// A cloud that accepts so many requests in each second, and the requests it accepts and refuses within a minute.
    fn a_minute_under_a_limit(max: f64, limit: usize) -> (usize, usize) {
        let (rate_limiter, start) = (RateLimiter::<u32>::new(max), Instant::now());
        let (mut accepted, mut refused) = (Vec::<Duration>::new(), 0);
        let mut passed = Duration::ZERO;
        while passed < SECOND * 60 {
            passed += millis(1);
            let now = start + passed;
            // One of them waits in the queue.
            while let Some(permit) = (0..2).find_map(|waiter| rate_limiter.take(waiter, Priority::Write, now)) {
                let in_second = accepted.iter().rev().take_while(|at| **at + SECOND > passed).count();
                if in_second < limit {
                    accepted.push(passed);
                    rate_limiter.succeeded(now);
                } else {
                    refused += 1;
                    rate_limiter.throttled(Some(SECOND), now);
                }
                drop(permit);
            }
        }
        (accepted.len(), refused)
    }

    #[test]
    fn a_limit_of_the_cloud_is_found_and_nearly_used() {
        for (max, limit) in [(400.0, 50), (100.0, 50), (50.0, 40), (1000.0, 200)] {
            let (accepted, refused) = a_minute_under_a_limit(max, limit);
            let used = as_number(accepted) / (as_number(limit) * 60.0);
            assert!((0.92..=1.02).contains(&used), "{max} {limit}: {used}");
            assert!(refused <= 12, "{max} {limit}: {refused} refusals");
        }
    }

    #[test]
    fn a_limit_that_no_longer_applies_is_forgotten() {
        let (rate_limiter, mut now) = (RateLimiter::<u32>::new(50.0), Instant::now());
        for _ in 0..10 {
            now += millis(100);
            rate_limiter.succeeded(now);
        }
        while rate_limiter.take(1, Priority::Write, now).is_some() {}
        rate_limiter.throttled(None, now);
        let start = now;
        while rate_limiter.rate() < 50.0 {
            now += Duration::from_secs_f64(1.0 / rate_limiter.rate());
            rate_limiter.succeeded(now);
        }
        assert!(now - start < SECOND * 110, "{:?}", now - start);
    }

    #[test]
    fn no_permit_is_granted_before_retry_after_has_passed() {
        let (rate_limiter, now) = (RateLimiter::<u32>::new(50.0), Instant::now());
        rate_limiter.throttled(Some(SECOND * 30), now);
        rate_limiter.throttled(Some(SECOND * 5), now + SECOND);
        assert!(rate_limiter.take(1, Priority::Edit, now + millis(29_999)).is_none());
        assert!(rate_limiter.take(1, Priority::Edit, now + SECOND * 30).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_driver_sleeps_until_retry_after_has_passed() {
        let rate_limiter = RateLimiter::<u32>::new(50.0);
        let start = Instant::now();
        rate_limiter.throttled(Some(SECOND * 30), start);
        rate_limiter.take(1, Priority::Edit, start);
        assert_eq!(rate_limiter.next_permits().await, [1]);
        assert!(
            (SECOND * 30..millis(30_010)).contains(&start.elapsed()),
            "{:?}",
            start.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn waiters_are_released_during_a_long_retry_after() {
        let rate_limiter = drained(1.0, Instant::now());
        let given = {
            rate_limiter.take(1, Priority::Write, Instant::now());
            rate_limiter.next_permits().await
        };
        assert_eq!(given, [1]);
        rate_limiter.take(2, Priority::Read, Instant::now());
        let parked = rate_limiter.permit(|| Priority::Read);
        let refused = async {
            tokio::task::yield_now().await;
            rate_limiter.throttled(Some(SECOND * 3600), Instant::now());
        };
        let start = Instant::now();
        let (parked, ()) = tokio::join!(parked, refused);
        assert_eq!(parked.err(), Some(HeldBack));
        // Both are returned, also the one with a reserved permit, and neither keeps a place.
        let mut notified = rate_limiter.next_permits().await;
        notified.sort_unstable();
        assert_eq!((notified, rate_limiter.waiting()), (vec![1, 2], 0));
        assert!(rate_limiter.permit(|| Priority::Edit).await.is_err());
        assert_eq!(start.elapsed(), Duration::ZERO);
        // Callers wait for its end once that is near.
        advance(SECOND * 3590).await;
        assert!(rate_limiter.permit(|| Priority::Edit).await.is_ok());
        assert!(start.elapsed() >= SECOND * 3600);
    }

    #[test]
    fn a_permit_reserved_before_retry_after_cannot_be_taken_during_it() {
        let (rate_limiter, now) = (RateLimiter::<u32>::new(50.0), Instant::now());
        assert!(rate_limiter.reserve(1, Priority::Edit, now));
        rate_limiter.throttled(Some(SECOND * 5), now);
        assert!(rate_limiter.take(1, Priority::Edit, now + SECOND).is_none());
        assert!(rate_limiter.take(1, Priority::Edit, now + SECOND * 5).is_some());
    }

    /// As many requests as may be sent, none of which ends.
    fn all_that_go(rate_limiter: &RateLimiter<u32>, from: u32, now: Instant) -> Vec<Permit<'_, u32>> {
        (from..from + 20)
            .map_while(|waiter| rate_limiter.take(waiter, Priority::Read, now))
            .collect()
    }

    #[test]
    fn concurrent_requests_of_a_fast_cloud_stay_below_the_lock_limit_of_a_key() {
        let (rate_limiter, now) = (RateLimiter::<u32>::new(50.0), Instant::now());
        let mut permits = all_that_go(&rate_limiter, 0, now);
        assert_eq!((permits.len(), rate_limiter.in_progress()), (5, 5));
        assert!(
            rate_limiter.take(100, Priority::Edit, now + SECOND).is_none(),
            "whichever waiter it is, and however long it waits"
        );
        permits.pop();
        assert!(rate_limiter.take(100, Priority::Edit, now + SECOND).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_finished_request_admits_the_next_one_without_delay() {
        let rate_limiter = RateLimiter::<u32>::new(50.0);
        let mut permits = all_that_go(&rate_limiter, 0, Instant::now());
        assert_eq!(permits.len(), 5);
        // The sixth was queued above.
        assert!(timeout(SECOND, rate_limiter.next_permits()).await.is_err());
        let start = Instant::now();
        permits.pop();
        assert_eq!(rate_limiter.next_permits().await, [5]);
        let taken = rate_limiter.take(5, Priority::Read, Instant::now());
        assert!(taken.is_some());
        assert!(timeout(SECOND, rate_limiter.permit(|| Priority::Edit)).await.is_err());
        drop(taken);
        let permit = rate_limiter.permit(|| Priority::Edit).await.expect("a permit");
        assert_eq!(rate_limiter.in_progress(), 5);
        drop((permit, permits));
        assert_eq!(rate_limiter.in_progress(), 0);
        assert!(start.elapsed() < SECOND * 3601, "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_taken_too_late_becomes_a_front_queue_entry() {
        let rate_limiter = RateLimiter::<u32>::new(50.0);
        let now = Instant::now();
        let mut permits = all_that_go(&rate_limiter, 0, now);
        assert!(rate_limiter.take(9, Priority::Read, now).is_none());
        permits.pop();
        assert_eq!(rate_limiter.next_permits().await, [5]);
        assert!(
            rate_limiter.take(10, Priority::Edit, now).is_none(),
            "the permit is reserved for the waiter that was granted it"
        );
        advance(PERMIT_HAS_ROOM).await;
        let late = rate_limiter.take(11, Priority::Edit, Instant::now());
        assert!(late.is_none(), "10 came before");
        assert_eq!(rate_limiter.next_permits().await, [10]);
        let edit = rate_limiter.take(10, Priority::Edit, Instant::now());
        assert!(edit.is_some());
        assert!(
            rate_limiter.take(5, Priority::Read, Instant::now()).is_none(),
            "5 has come too late"
        );
        drop(edit);
        assert_eq!(rate_limiter.next_permits().await, [11]);
        drop(permits);
        assert_eq!(rate_limiter.next_permits().await, [5, 9]);
    }

    #[tokio::test(start_paused = true)]
    async fn unused_permits_do_not_block_a_waiting_task() {
        let rate_limiter = RateLimiter::<u32>::new(50.0);
        let permits = all_that_go(&rate_limiter, 0, Instant::now());
        for waiter in 10..14 {
            assert!(rate_limiter.take(waiter, Priority::Write, Instant::now()).is_none());
        }
        drop(permits);
        advance(SECOND).await;
        assert_eq!(rate_limiter.next_permits().await.len(), 5);
        let start = Instant::now();
        let _permit = rate_limiter.permit(|| Priority::Drift).await.expect("a permit");
        assert!(start.elapsed() <= PERMIT_HAS_ROOM + millis(10), "{:?}", start.elapsed());
    }

    #[derive(Clone, Debug)]
    enum LimiterStep {
        Take(u32, u8),
        Forget(u32),
        PermitWaiting,
        Throttled(bool),
        Succeeded,
        Pass(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<LimiterStep>> {
        let step = prop_oneof![
            6 => (0_u32..40, 0_u8..4).prop_map(|(waiter, priority)| LimiterStep::Take(waiter, priority)),
            1 => (0_u32..40).prop_map(LimiterStep::Forget),
            3 => Just(LimiterStep::PermitWaiting),
            1 => any::<bool>().prop_map(LimiterStep::Throttled),
            2 => Just(LimiterStep::Succeeded),
            4 => (0_u64..3_000).prop_map(LimiterStep::Pass),
        ];
        prop::collection::vec(step, 1..150)
    }

    fn priority(number: u8) -> Priority {
        [Priority::Edit, Priority::Write, Priority::Read, Priority::Drift][usize::from(number)]
    }

    proptest! {
        #[test]
        fn any_window_permits_at_most_a_burst_plus_the_rate(rate in 0.5_f64..60.0, steps in steps()) {
            let mut core = Core::<u32>::new(rate);
            let mut now = Instant::now();
            // Permits paid for and refunded, in the order of time.
            let mut paid: Vec<(Instant, f64)> = Vec::new();
            for step in steps {
                let given = core.reserved.len();
                match step {
                    LimiterStep::Pass(passed) => {
                        now += millis(passed);
                        core.count(now);
                    }
                    LimiterStep::Take(waiter, number) => {
                        core.count(now);
                        let held = core.reserved.contains_key(&WaiterKey::Waiter(waiter));
                        if core.take(&WaiterKey::Waiter(waiter), priority(number), now) == TakeResult::Now {
                            if !held {
                                paid.push((now, 1.0));
                            }
                            core.ended();
                        }
                        continue;
                    }
                    LimiterStep::Forget(waiter) => core.forget(&WaiterKey::Waiter(waiter)),
                    LimiterStep::PermitWaiting => drop(core.permit_waiting(now)),
                    LimiterStep::Throttled(wait) => core.throttled(wait.then_some(SECOND), now),
                    LimiterStep::Succeeded => core.succeeded(now),
                }
                paid.push((now, as_number(core.reserved.len()) - as_number(given)));
            }
            for (from, (start, _)) in paid.iter().enumerate() {
                let mut sum = 0.0;
                for (at, permits) in &paid[from..] {
                    sum += permits;
                    let most = burst(rate) + rate * (*at - *start).as_secs_f64();
                    prop_assert!(sum <= most + 0.01, "{} in {:?}, {} allowed", sum, *at - *start, most);
                }
            }
        }

        #[test]
        fn a_priority_is_served_in_order_without_starvation(
            rate in 0.5_f64..60.0,
            arrivals in prop::collection::vec((0_u8..4, 0_u64..200), 1..80),
        ) {
            let mut core = Core::<u32>::new(rate);
            let mut now = Instant::now();
            let mut served: Vec<u32> = Vec::new();
            for (waiter, (number, passed)) in (0_u32..).zip(&arrivals) {
                now += millis(*passed);
                if core.take(&WaiterKey::Waiter(waiter), priority(*number), now) == TakeResult::Now {
                    core.ended();
                    served.push(waiter);
                }
            }
            while let Some(next) = core.next_at(now) {
                now = next + millis(1);
                let permitted = core.permit_waiting(now);
                prop_assert!(!permitted.is_empty(), "at its own time, the first one goes");
                for key in permitted {
                    prop_assert_eq!(core.take(&key.clone(), Priority::Drift, now), TakeResult::Now);
                    core.ended();
                    let WaiterKey::Waiter(waiter) = key else { panic!("no tasks here") };
                    served.push(waiter);
                }
            }
            prop_assert_eq!(served.len(), arrivals.len());
            for number in 0..4 {
                let same: Vec<_> = served.iter().filter(|waiter| arrivals[**waiter as usize].0 == number).collect();
                prop_assert!(same.is_sorted(), "{:?}", same);
            }
        }

        #[test]
        fn the_queue_and_its_index_stay_consistent(steps in steps()) {
            let mut core = Core::<u32>::new(30.0);
            let mut now = Instant::now();
            let mut in_progress: Vec<Instant> = Vec::new();
            for step in steps {
                let before = in_progress.len();
                in_progress.retain(|ends| *ends > now);
                (in_progress.len()..before).for_each(|_| core.ended());
                match step {
                    LimiterStep::Take(waiter, number) => {
                        if core.take(&WaiterKey::Waiter(waiter), priority(number), now) == TakeResult::Now {
                            in_progress.push(now + millis(500));
                        }
                    }
                    LimiterStep::Forget(waiter) => core.forget(&WaiterKey::Waiter(waiter)),
                    LimiterStep::PermitWaiting => drop(core.permit_waiting(now)),
                    LimiterStep::Throttled(_) => core.throttled(None, now),
                    LimiterStep::Succeeded => core.succeeded(now),
                    LimiterStep::Pass(passed) => now += millis(passed),
                }
                prop_assert_eq!(core.queue.len(), core.ranks.len());
                for (rank, key) in &core.queue {
                    prop_assert_eq!(core.ranks.get(key), Some(rank));
                    prop_assert!(!core.reserved.contains_key(key), "no waiter in the queue has a permit");
                }
                prop_assert!(core.tokens <= burst(core.max) && core.rate >= 1.0 && core.rate <= 30.0);
                prop_assert!(core.in_progress == in_progress.len() && core.in_progress <= MOST_IN_PROGRESS);
            }
        }
    }
}
