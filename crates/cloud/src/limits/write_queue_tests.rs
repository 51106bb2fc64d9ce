//! Guarantees of a write queue: one writer at a time, in order of priority and arrival, and no waiter is forgotten.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;
use tokio::{
    task::yield_now,
    time::{advance, sleep},
};

use super::*;

const SERVER: &str = "server-1";

const OTHER: &str = "server-2";

/// Write queues, and the waiters enqueued since the last check.
struct Fixture {
    write_queues: Arc<WriteQueues<u32>>,
    enqueued: Arc<Mutex<Vec<u32>>>,
}

impl Fixture {
    fn new() -> Self {
        let enqueued = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&enqueued);
        Self {
            write_queues: WriteQueues::new(move |waiter| log.lock().expect("sound").push(waiter)),
            enqueued,
        }
    }

    fn enter(&self, waiter: u32, priority: Priority) -> Option<WriteQueueGuard<u32>> {
        self.write_queues.enter(SERVER, &waiter, priority)
    }

    fn reserve(&self, waiter: u32, priority: Priority) -> bool {
        self.write_queues.reserve(SERVER, &waiter, priority)
    }

    /// One visit that wants to write.
    fn visit(&self, waiter: u32, priority: Priority) -> Option<WriteQueueGuard<u32>> {
        let guard = self.enter(waiter, priority);
        self.write_queues.done(&waiter);
        guard
    }

    fn enqueued(&self) -> Vec<u32> {
        mem::take(&mut *self.enqueued.lock().expect("sound"))
    }

    fn kept_write_queues(&self) -> usize {
        self.write_queues.change(|state| state.write_queues.len())
    }

    /// The order in which the waiters get the write queue from now on, if each leaves at once.
    fn order(&self) -> Vec<u32> {
        let mut order = Vec::new();
        loop {
            let enqueued = self.enqueued();
            let Some(waiter) = enqueued.last().copied() else {
                return order;
            };
            assert_eq!(enqueued, [waiter], "one at a time");
            drop(self.visit(waiter, Priority::Drift).expect("it was granted"));
            order.push(waiter);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_free_write_queue_is_entered_and_an_occupied_one_queues() {
    let fixture = Fixture::new();
    let guard = fixture.visit(1, Priority::Write).expect("it is free");
    assert!(fixture.visit(2, Priority::Edit).is_none());
    assert!(
        fixture.write_queues.enter(OTHER, &3, Priority::Drift).is_some(),
        "write queues are independent"
    );
    assert_eq!((fixture.write_queues.waiting(), fixture.enqueued()), (1, vec![]));
    drop(guard);
    assert_eq!((fixture.write_queues.waiting(), fixture.enqueued()), (0, vec![2]));
    assert!(fixture.visit(2, Priority::Edit).is_some());
}

#[tokio::test(start_paused = true)]
async fn the_write_queue_orders_by_priority_then_arrival() {
    let fixture = Fixture::new();
    let guard = fixture.visit(0, Priority::Write);
    for (waiter, priority) in [
        (1, Priority::Drift),
        (2, Priority::Write),
        (3, Priority::Read),
        (4, Priority::Write),
        (5, Priority::Edit),
    ] {
        assert!(fixture.visit(waiter, priority).is_none());
    }
    drop(guard);
    assert_eq!(fixture.order(), [5, 2, 4, 3, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_request_keeps_or_improves_its_place() {
    let fixture = Fixture::new();
    let guard = fixture.visit(0, Priority::Write);
    for (waiter, priority) in [
        (1, Priority::Drift),
        (2, Priority::Write),
        (1, Priority::Drift),
        (3, Priority::Write),
        (1, Priority::Write),
        (2, Priority::Drift),
    ] {
        assert!(fixture.visit(waiter, priority).is_none());
    }
    assert_eq!(fixture.write_queues.waiting(), 3);
    drop(guard);
    assert_eq!(fixture.order(), [1, 2, 3], "1 came first; 2 is not set back");
}

#[tokio::test(start_paused = true)]
async fn no_waiter_passes_the_one_with_the_permit() {
    let fixture = Fixture::new();
    let guard = fixture.visit(0, Priority::Write);
    assert!(fixture.visit(1, Priority::Drift).is_none());
    drop(guard);
    assert!(fixture.visit(2, Priority::Edit).is_none());
    assert_eq!(fixture.order(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_permit_unused_in_a_visit_goes_to_the_next_waiter() {
    let fixture = Fixture::new();
    let guard = fixture.visit(0, Priority::Write);
    for waiter in [1, 2] {
        assert!(fixture.visit(waiter, Priority::Write).is_none());
    }
    drop(guard);
    assert_eq!(fixture.enqueued(), [1]);
    fixture.write_queues.done(&1);
    assert_eq!(fixture.order(), [2]);
    assert_eq!(fixture.kept_write_queues(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_late_waiter_is_passed_and_keeps_its_place() {
    let fixture = Fixture::new();
    let late = Duration::from_millis(1_010);
    assert!(fixture.reserve(1, Priority::Write), "it is free");
    assert!(!fixture.reserve(2, Priority::Edit), "1 has the permit");
    sleep(late).await;
    assert_eq!(fixture.enqueued(), [2]);
    let guard = fixture.enter(2, Priority::Edit).expect("it was granted");
    assert!(fixture.enter(1, Priority::Write).is_none());
    assert!(fixture.visit(3, Priority::Write).is_none());
    fixture.write_queues.done(&1);
    drop(guard);
    assert_eq!(fixture.enqueued(), [1], "it came before 3");
    sleep(late).await;
    assert_eq!(fixture.enqueued(), [3]);
    assert!(!fixture.reserve(4, Priority::Edit), "3 has the permit");
    drop(fixture.enter(3, Priority::Write).expect("it was granted"));
    assert_eq!(fixture.enqueued(), [4]);
    sleep(late).await;
    // Waiter 1 is late, but the write queue is free.
    assert!(fixture.enter(1, Priority::Write).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_late_visit_is_requeued_only_if_it_requested_the_queue() {
    let fixture = Fixture::new();
    let guard = fixture.visit(0, Priority::Write);
    assert!(fixture.enter(1, Priority::Write).is_none());
    drop(guard);
    sleep(Duration::from_millis(1_010)).await;
    assert_eq!(fixture.enqueued(), [1]);
    fixture.write_queues.done(&1);
    assert_eq!(fixture.enqueued(), [1], "requested, and late before its visit ended");
    sleep(Duration::from_millis(1_010)).await;
    fixture.write_queues.done(&1);
    assert_eq!((fixture.enqueued(), fixture.kept_write_queues()), (vec![], 0));
    // A reservation belongs to the visit that made it.
    assert!(fixture.reserve(2, Priority::Write));
    fixture.write_queues.done(&2);
    assert_eq!((fixture.enqueued(), fixture.kept_write_queues()), (vec![], 0));
}

#[tokio::test(start_paused = true)]
async fn a_queue_entry_not_renewed_in_a_visit_is_removed() {
    let fixture = Fixture::new();
    let guard = fixture.visit(0, Priority::Write);
    for waiter in [1, 2] {
        assert!(fixture.visit(waiter, Priority::Write).is_none());
    }
    fixture.write_queues.done(&1);
    assert_eq!(fixture.write_queues.waiting(), 1);
    drop(guard);
    assert_eq!(fixture.order(), [2]);
}

#[tokio::test(start_paused = true)]
async fn a_permit_during_a_visit_is_kept_for_the_next_visit() {
    let fixture = Fixture::new();
    let guard = fixture.visit(0, Priority::Write);
    assert!(fixture.enter(1, Priority::Write).is_none());
    drop(guard);
    assert_eq!(fixture.enqueued(), [1]);
    fixture.write_queues.done(&1);
    assert!(fixture.visit(2, Priority::Edit).is_none(), "it is still 1's");
    assert_eq!(fixture.enqueued(), [1], "regardless of the enqueue during the visit");
    fixture.write_queues.done(&1);
    assert_eq!(fixture.enqueued(), [2], "that visit did not take it");
}

#[tokio::test(start_paused = true)]
async fn a_permit_expires_after_two_visits() {
    let fixture = Fixture::new();
    let guard = fixture.visit(0, Priority::Write);
    assert!(fixture.enter(1, Priority::Write).is_none());
    // This visit is cut off: `done` is not called.
    assert!(fixture.visit(2, Priority::Write).is_none());
    drop(guard);
    for expected in [1, 1, 2] {
        assert_eq!(fixture.enqueued(), [expected]);
        fixture.write_queues.done(&1);
    }
    assert!(fixture.visit(2, Priority::Write).is_some());
}

#[tokio::test(start_paused = true)]
async fn entering_another_write_queue_leaves_the_first() {
    let fixture = Fixture::new();
    let first = fixture.visit(0, Priority::Write);
    let second = fixture.write_queues.enter(OTHER, &9, Priority::Write);
    for waiter in [1, 2] {
        assert!(fixture.visit(waiter, Priority::Write).is_none());
    }
    assert!(fixture.write_queues.enter(OTHER, &1, Priority::Write).is_none());
    assert_eq!(fixture.write_queues.waiting(), 2);
    drop(first);
    assert_eq!(fixture.enqueued(), [2]);
    // A permit is given up like a place.
    assert!(fixture.write_queues.enter(OTHER, &2, Priority::Edit).is_none());
    assert_eq!(fixture.kept_write_queues(), 1);
    drop(second);
    assert_eq!(fixture.enqueued(), [2]);
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_waiter_loses_queue_entry_and_permit_but_no_guard() {
    let fixture = Fixture::new();
    let guard = fixture.visit(0, Priority::Write);
    for waiter in [1, 2, 3] {
        assert!(fixture.visit(waiter, Priority::Write).is_none());
    }
    fixture.write_queues.forget(&0);
    fixture.write_queues.forget(&2);
    assert_eq!((fixture.enqueued(), fixture.write_queues.waiting()), (vec![], 2));
    drop(guard);
    assert_eq!(fixture.enqueued(), [1]);
    fixture.write_queues.forget(&1);
    assert_eq!(fixture.enqueued(), [3]);
    fixture.write_queues.forget(&3);
    assert_eq!((fixture.enqueued(), fixture.kept_write_queues()), (vec![], 0));
}

#[tokio::test(start_paused = true)]
async fn a_requeued_waiter_may_enter_at_once() {
    let entered = Arc::new(Mutex::new(Vec::new()));
    let write_queues = Arc::new_cyclic(|this: &std::sync::Weak<WriteQueues<u32>>| {
        let own = this.clone();
        let (this, entered) = (this.clone(), Arc::clone(&entered));
        WriteQueues {
            this: own,
            state: Mutex::default(),
            enqueue: Box::new(move |waiter| {
                let write_queues = this.upgrade().expect("it lives");
                let guard = write_queues.enter(SERVER, &waiter, Priority::Write);
                entered.lock().expect("sound").push((waiter, guard.is_some()));
            }),
        }
    });
    let guard = write_queues.enter(SERVER, &0, Priority::Write);
    for waiter in [1, 2] {
        assert!(write_queues.enter(SERVER, &waiter, Priority::Write).is_none());
    }
    drop(guard);
    assert_eq!(*entered.lock().expect("sound"), [(1, true), (2, true)]);
}

#[tokio::test(start_paused = true)]
async fn a_paused_write_queue_admits_no_waiter_until_its_end() {
    let fixture = Fixture::new();
    let start = Instant::now();
    fixture.write_queues.pause(SERVER, start + Duration::from_secs(10));
    assert!(fixture.visit(1, Priority::Write).is_none());
    assert!(fixture.visit(2, Priority::Edit).is_none());
    assert!(
        fixture.write_queues.enter(OTHER, &3, Priority::Drift).is_some(),
        "the pause affects one write queue"
    );
    sleep(Duration::from_millis(9_990)).await;
    assert!(fixture.enqueued().is_empty());
    sleep(Duration::from_millis(20)).await;
    assert_eq!(fixture.order(), [2, 1]);
    assert_eq!(fixture.kept_write_queues(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_never_shortened_and_a_past_one_is_ignored() {
    let fixture = Fixture::new();
    let start = Instant::now();
    fixture.write_queues.pause(SERVER, start);
    assert_eq!(fixture.kept_write_queues(), 0);
    for seconds in [10, 30, 20] {
        fixture.write_queues.pause(SERVER, start + Duration::from_secs(seconds));
    }
    assert!(fixture.visit(1, Priority::Write).is_none());
    sleep(Duration::from_millis(29_990)).await;
    assert!(fixture.enqueued().is_empty());
    sleep(Duration::from_millis(20)).await;
    assert_eq!(fixture.enqueued(), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_pause_keeps_the_holder_and_requeues_a_permit() {
    let fixture = Fixture::new();
    let guard = fixture.visit(0, Priority::Write);
    for waiter in [1, 2] {
        assert!(fixture.visit(waiter, Priority::Write).is_none());
    }
    drop(guard);
    assert_eq!(fixture.enqueued(), [1]);
    fixture
        .write_queues
        .pause(SERVER, Instant::now() + Duration::from_secs(10));
    assert!(fixture.visit(1, Priority::Write).is_none());
    assert_eq!(fixture.write_queues.waiting(), 2);
    sleep(Duration::from_millis(10_010)).await;
    assert_eq!(fixture.enqueued(), [1], "it has kept its place");
    let guard = fixture.visit(1, Priority::Write).expect("it was granted");
    fixture
        .write_queues
        .pause(SERVER, Instant::now() + Duration::from_secs(10));
    sleep(Duration::from_secs(11)).await;
    assert!(fixture.enqueued().is_empty(), "the write queue is still held");
    drop(guard);
    assert_eq!(fixture.order(), [2]);
}

#[tokio::test(start_paused = true)]
async fn an_unused_write_queue_is_removed_when_its_pause_ends() {
    let fixture = Fixture::new();
    fixture
        .write_queues
        .pause(SERVER, Instant::now() + Duration::from_secs(10));
    assert_eq!(fixture.kept_write_queues(), 1);
    sleep(Duration::from_secs(11)).await;
    assert_eq!(fixture.kept_write_queues(), 0);
}

#[tokio::test(start_paused = true)]
async fn dropped_write_queues_leave_no_task() {
    let fixture = Fixture::new();
    let tasks = tokio::runtime::Handle::current().metrics();
    fixture
        .write_queues
        .pause(SERVER, Instant::now() + Duration::from_secs(1_000));
    fixture
        .write_queues
        .pause(SERVER, Instant::now() + Duration::from_secs(2_000));
    yield_now().await;
    assert_eq!(tasks.num_alive_tasks(), 1, "the task of the shorter pause has ended");
    drop(fixture);
    yield_now().await;
    assert_eq!(tasks.num_alive_tasks(), 0);
}

fn priority(number: u8) -> Priority {
    [Priority::Edit, Priority::Write, Priority::Read, Priority::Drift][usize::from(number)]
}

fn write_queue_name(number: u8) -> &'static str {
    [SERVER, OTHER][usize::from(number)]
}

#[derive(Clone, Debug)]
enum QueueStep {
    Enter(u8, u32, u8),
    Reserve(u8, u32, u8),
    Leave(prop::sample::Index),
    Done(u32),
    Forget(u32),
    Pause(u8, u64),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<QueueStep>> {
    let step = prop_oneof![
        8 => (0_u8..2, 0_u32..8, 0_u8..4).prop_map(|(write_queue, waiter, priority)| QueueStep::Enter(write_queue, waiter, priority)),
        4 => (0_u8..2, 0_u32..8, 0_u8..4).prop_map(|(write_queue, waiter, priority)| QueueStep::Reserve(write_queue, waiter, priority)),
        4 => any::<prop::sample::Index>().prop_map(QueueStep::Leave),
        4 => (0_u32..8).prop_map(QueueStep::Done),
        1 => (0_u32..8).prop_map(QueueStep::Forget),
        1 => (0_u8..2, 0_u64..3_000).prop_map(|(write_queue, length)| QueueStep::Pause(write_queue, length)),
        2 => (0_u64..2_000).prop_map(QueueStep::Pass),
    ];
    prop::collection::vec(step, 1..120)
}

/// The same rules in their simplest form: every lookup searches one list.
#[derive(Default)]
struct Model {
    held: BTreeSet<&'static str>,
    paused: BTreeMap<&'static str, u64>,
    places: Vec<ModelPlace>,
    arrivals: u64,
    enqueued: Vec<u32>,
    now: u64,
}

#[derive(Clone)]
struct ModelPlace {
    waiter: u32,
    write_queue: &'static str,
    rank: (Priority, u64),
    permitted: bool,
    permitted_at: u64,
    late: bool,
    fresh: bool,
}

impl Model {
    fn place(&self, waiter: u32) -> Option<usize> {
        self.places.iter().position(|place| place.waiter == waiter)
    }

    fn permitted(&self, write_queue: &str) -> Option<u32> {
        let mut permitted = self
            .places
            .iter()
            .filter(|place| place.write_queue == write_queue && place.permitted);
        permitted.next().map(|place| place.waiter)
    }

    fn is_open(&self, write_queue: &str) -> bool {
        !self.held.contains(write_queue) && !self.paused.contains_key(write_queue)
    }

    fn enter(&mut self, write_queue: &'static str, waiter: u32, priority: Priority) -> bool {
        let old = self.place(waiter).map(|at| self.places.remove(at));
        let old = old.filter(|place| place.write_queue == write_queue);
        let is_mine = self.permitted(write_queue).is_none();
        if self.is_open(write_queue) && is_mine {
            self.held.insert(write_queue);
            return true;
        }
        self.arrivals += 1;
        let rank = old.map_or((priority, self.arrivals), |old| (old.rank.0.min(priority), old.rank.1));
        self.places.push(ModelPlace {
            waiter,
            write_queue,
            rank,
            permitted: false,
            permitted_at: 0,
            late: false,
            fresh: true,
        });
        false
    }

    fn reserve(&mut self, write_queue: &'static str, waiter: u32, priority: Priority) -> bool {
        let old = self.place(waiter).map(|at| self.places[at].clone());
        let old = old.filter(|place| place.write_queue == write_queue);
        if !self.enter(write_queue, waiter, priority) {
            return false;
        }
        // It would have entered: it gets the permit instead.
        self.held.remove(write_queue);
        self.arrivals += 1;
        self.places.push(ModelPlace {
            waiter,
            write_queue,
            rank: old.map_or((priority, self.arrivals), |old| (old.rank.0.min(priority), old.rank.1)),
            permitted: true,
            permitted_at: self.now,
            late: false,
            fresh: false,
        });
        true
    }

    fn done(&mut self, waiter: u32) {
        let Some(at) = self.place(waiter) else { return };
        let place = &mut self.places[at];
        if !place.fresh {
            self.places.remove(at);
        } else if place.permitted {
            self.enqueued.push(waiter);
        } else {
            place.late = false;
        }
        if let Some(at) = self.place(waiter) {
            self.places[at].fresh = false;
        }
    }

    fn pause(&mut self, write_queue: &'static str, length: u64) {
        if length > 0 {
            let until = self.paused.entry(write_queue).or_default();
            *until = (*until).max(self.now + length);
            for place in self.places.iter_mut().filter(|place| place.write_queue == write_queue) {
                place.permitted = false;
            }
        }
    }

    fn pass(&mut self, length: u64) {
        self.now += length;
        let now = self.now;
        for place in self.places.iter_mut().filter(|place| place.permitted) {
            if place.permitted_at + 1_000 <= now {
                (place.permitted, place.late) = (false, true);
            }
        }
        self.paused.retain(|_, until| *until > now);
    }

    /// After any step: the first waiter of an open write queue gets the permit.
    fn admit_next(&mut self) {
        for write_queue in [SERVER, OTHER] {
            if self.is_open(write_queue) && self.permitted(write_queue).is_none() {
                let queue = self
                    .places
                    .iter_mut()
                    .filter(|place| place.write_queue == write_queue && !place.late);
                if let Some(first) = queue.min_by_key(|place| place.rank) {
                    first.permitted = true;
                    first.permitted_at = self.now;
                    self.enqueued.push(first.waiter);
                }
            }
        }
    }

    fn kept_write_queues(&self) -> usize {
        let queued = self
            .places
            .iter()
            .filter(|place| !place.late)
            .map(|place| place.write_queue);
        let names: BTreeSet<_> = self
            .held
            .iter()
            .chain(self.paused.keys())
            .copied()
            .chain(queued)
            .collect();
        names.len()
    }
}

fn on_paused_time<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(future)
}

async fn follows_the_model(steps: Vec<QueueStep>) -> Result<(), TestCaseError> {
    let (fixture, mut model) = (Fixture::new(), Model::default());
    let mut guards: Vec<WriteQueueGuard<u32>> = Vec::new();
    for step in steps {
        match step {
            QueueStep::Enter(write_queue, waiter, number) => {
                let (write_queue, priority) = (write_queue_name(write_queue), priority(number));
                let guard = fixture.write_queues.enter(write_queue, &waiter, priority);
                prop_assert_eq!(guard.is_some(), model.enter(write_queue, waiter, priority));
                guards.extend(guard);
            }
            QueueStep::Reserve(write_queue, waiter, number) => {
                let (write_queue, priority) = (write_queue_name(write_queue), priority(number));
                let is_permitted = fixture.write_queues.reserve(write_queue, &waiter, priority);
                prop_assert_eq!(is_permitted, model.reserve(write_queue, waiter, priority));
            }
            QueueStep::Leave(index) => {
                if !guards.is_empty() {
                    let guard = guards.swap_remove(index.index(guards.len()));
                    model.held.remove(&*guard.write_queue);
                }
            }
            QueueStep::Done(waiter) => {
                fixture.write_queues.done(&waiter);
                model.done(waiter);
            }
            QueueStep::Forget(waiter) => {
                fixture.write_queues.forget(&waiter);
                model.places.retain(|place| place.waiter != waiter);
            }
            QueueStep::Pause(write_queue, length) => {
                fixture.write_queues.pause(
                    write_queue_name(write_queue),
                    Instant::now() + Duration::from_millis(length),
                );
                model.pause(write_queue_name(write_queue), length);
                // The task must be asleep before the time advances.
                yield_now().await;
            }
            QueueStep::Pass(length) => {
                advance(Duration::from_millis(length)).await;
                for _ in 0..4 {
                    yield_now().await;
                }
                model.pass(length);
            }
        }
        model.admit_next();
        // The tasks that end permits must be asleep before the time advances.
        yield_now().await;
        let (mut enqueued, mut expected) = (fixture.enqueued(), mem::take(&mut model.enqueued));
        enqueued.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(enqueued, expected);
        let held: BTreeSet<&str> = guards.iter().map(|guard| &*guard.write_queue).collect();
        prop_assert_eq!(held.len(), guards.len(), "two guards of one write queue");
        prop_assert_eq!(
            fixture.write_queues.waiting(),
            model
                .places
                .iter()
                .filter(|place| !place.permitted && !place.late)
                .count()
        );
        prop_assert_eq!(fixture.kept_write_queues(), model.kept_write_queues());
        fixture.write_queues.change(|state| {
            for (name, write_queue) in &state.write_queues {
                prop_assert_eq!(write_queue.permitted, model.permitted(name));
                prop_assert!(
                    !write_queue.is_open() || write_queue.permitted.is_some() || write_queue.queue.is_empty(),
                    "a free write queue that no waiter may enter"
                );
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// One waiter, as a controller runs it: one visit at a time. An enqueue during a visit causes another one.
#[derive(Default)]
struct Worker {
    writes_left: u32,
    is_due: bool,
    visiting: bool,
    guard: Option<WriteQueueGuard<u32>>,
}

/// Runs every visit in three steps, interleaved with those of others: it begins, requests the write queue, and ends. A
/// visit keeps the write queue until its end. Some visits are cut off: `done` is not called.
fn works_off(writes: &[u32], choices: &[(prop::sample::Index, u8)]) -> Result<(), TestCaseError> {
    let fixture = Fixture::new();
    let mut workers: Vec<Worker> = writes
        .iter()
        .map(|writes_left| Worker {
            writes_left: *writes_left,
            is_due: true,
            ..Worker::default()
        })
        .collect();
    let mut asked: Vec<bool> = vec![false; workers.len()];
    let mut rounds = 0;
    loop {
        for waiter in fixture.enqueued() {
            workers[waiter as usize].is_due = true;
        }
        let runnable: Vec<usize> = (0..workers.len())
            .filter(|at| workers[*at].visiting || workers[*at].is_due)
            .collect();
        if runnable.is_empty() {
            break;
        }
        // Round robin after the last choice.
        let (at, chance) = match choices.get(rounds) {
            Some((index, chance)) => (runnable[index.index(runnable.len())], *chance),
            None => (runnable[rounds % runnable.len()], u8::MAX),
        };
        rounds += 1;
        prop_assert!(rounds < 10_000, "this never ends");
        let (worker, waiter) = (&mut workers[at], u32::try_from(at).expect("few workers"));
        if !worker.visiting {
            (worker.visiting, worker.is_due) = (true, false);
            if chance < 8 {
                worker.writes_left = 0;
            }
        } else if !asked[at] && worker.writes_left > 0 {
            asked[at] = true;
            worker.guard = fixture.enter(waiter, priority(chance % 4));
        } else {
            (worker.visiting, asked[at]) = (false, false);
            if worker.guard.take().is_some() {
                worker.writes_left -= 1;
                worker.is_due = worker.writes_left > 0;
            }
            if (8..16).contains(&chance) {
                worker.is_due = true;
            } else {
                fixture.write_queues.done(&waiter);
            }
        }
        prop_assert!(workers.iter().filter(|worker| worker.guard.is_some()).count() <= 1);
    }
    prop_assert!(
        workers.iter().all(|worker| worker.writes_left == 0),
        "a worker waits forever"
    );
    prop_assert_eq!((fixture.write_queues.waiting(), fixture.kept_write_queues()), (0, 0));
    Ok(())
}

proptest! {
    #[test]
    fn any_sequence_of_steps_matches_the_model(steps in steps()) {
        on_paused_time(follows_the_model(steps))?;
    }

    #[test]
    fn every_waiter_writes_in_any_order_of_visits(
        writes in prop::collection::vec(0_u32..4, 1..8),
        choices in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..200),
    ) {
        on_paused_time(async { works_off(&writes, &choices) })?;
    }
}
