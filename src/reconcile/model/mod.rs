//! A model check of the operator: every state that can be reached within a scope is visited, and in each it is asked
//! whether the promise holds ("exactly one cloud object, whatever dies").
//!
//! What is decided, seen, remembered and put on record is the shipped code's, not a copy of it: `decide`, the `Kind`s with
//! their passwords, `mirror::Known`, `view`, `memory::Entry`, `record` and `outcome`. The model adds what is around it: a
//! cloud (`cloud`, compared with the simulator by `conformance`), an apiserver whose writes are pinned to versions, a process
//! that can be killed (`world`, `operator`), and people (`people`). `scopes` says which models there are, how far each goes,
//! and what was found; `guards` takes the questions of the decision out one by one and shows what comes of it.
//!
//! What is abstracted:
//! * Time stands still but for the moments that matter: a deadline, its settle time, the end of a settling creation.
//!   A request that was sent takes effect at any moment up to its deadline (a creation: and the settle time), or never.
//! * Pace: a pass may come at any moment, so backoff, budget and wakes are left out (they make passes rarer, never other).
//! * A request and the write that announces it are one step, unless permits may not come (`waits`), as are its answer and the
//!   write that records it: a kill in between leaves what an unsent or an unanswered request leaves, and both are in the
//!   model.
//! * Words: messages of conditions are not compared, Events not told.
//! * One VPN server, one project, credentials that work; the lane of the server is kept.

mod answers;
mod apiserver;
mod cloud;
mod conformance;
mod guards;
mod kept;
mod kinds;
mod looks;
mod operator;
mod people;
mod rest;
mod scope;
mod scopes;
mod world;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use stateright::{Model, Property};
use tokio::time::Instant;

use self::kinds::{Modelled, OWNER_KEY};
use self::people::Deed;
use self::scope::Scope;
use self::world::{Phase, World};
use super::decide::Policy;
use crate::api;

/// How long a request lasts at most, by its record: its timeout and a margin.
const LASTS: u16 = 15;
/// `--settle-time`.
const SETTLE: u16 = 30;

/// A model, and what was found out of it.
pub struct Check<K: Modelled> {
    pub scope: Scope,
    pub policy: Policy,
    pub place: api::Scope,
    pub home: K::Home,
    /// Where the process's instants begin.
    pub base: Instant,
    /// Whether there is a way to rest from a state, and all is well there.
    rests: Mutex<HashMap<u64, Result<(), String>>>,
}

impl<K: Modelled> Check<K> {
    pub fn new(scope: Scope) -> Self {
        Self {
            policy: Policy {
                without: scope.without,
                ..Policy::of_tests(OWNER_KEY)
            },
            scope,
            place: api::Scope {
                endpoint: "https://cloud".to_owned(),
                project_id: "p".to_owned(),
            },
            home: K::shared_home(),
            base: Instant::now(),
            rests: Mutex::default(),
        }
    }

    /// What was found out of rest so far.
    fn rests(&self) -> MutexGuard<'_, HashMap<u64, Result<(), String>>> {
        self.rests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn why_no_rest(&self, world: &World<K>) -> Option<String> {
        rest::reach(self, world).err()
    }
}

impl<K: Modelled> Model for Check<K> {
    type State = World<K>;
    type Action = Deed;

    fn init_states(&self) -> Vec<World<K>> {
        vec![World::new(&self.scope, self.base)]
    }

    fn actions(&self, world: &World<K>, actions: &mut Vec<Deed>) {
        people::possible(self, world, actions);
    }

    fn next_state(&self, world: &World<K>, deed: Deed) -> Option<World<K>> {
        self.after(world, deed)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nobody else's object is changed or deleted", |_, world: &World<K>| {
                !world.harm
            }),
            Property::always("no CR has two objects at once", |_, world: &World<K>| {
                world.crs.iter().all(|cr| world.owned(&cr.uid) <= 1)
            }),
            Property::always(
                "no CR is Ready whose creation may come to nothing",
                |_, world: &World<K>| {
                    let mut managing = world.crs.iter().filter(|cr| !cr.observes());
                    managing.all(|cr| !cr.is_ready() || !world.is_settling(cr))
                },
            ),
            Property::always(
                "a password that is in force, or was refused, is not sent again",
                |_, world: &World<K>| !world.resent,
            ),
            Property::always("a finished deletion leaves nothing behind", |_, world: &World<K>| {
                let mut gone = world.crs.iter().filter(|cr| cr.object.is_none());
                gone.all(|cr| world.owned(&cr.uid) == 0 && !world.may_still_create(&cr.uid))
            }),
            Property::always(
                "what the watch delivers twice changes nothing",
                |check: &Self, world: &World<K>| {
                    let heard = |index: &usize| !people::is_news(world, *index);
                    let changes = |index: usize| check.after(world, Deed::HearAgain(index, 0)).is_some();
                    !check.scope.repeats || !(0..world.crs.len()).filter(heard).any(changes)
                },
            ),
            Property::always(
                "there is a way to rest, with one object for each CR",
                |check: &Self, world: &World<K>| check.why_no_rest(world).is_none(),
            ),
        ]
    }

    fn format_action(&self, deed: &Deed) -> String {
        deed.to_string()
    }
}

impl<K: Modelled> Check<K> {
    /// What a deed makes of a world; nothing if it changes nothing.
    pub fn after(&self, world: &World<K>, deed: Deed) -> Option<World<K>> {
        let mut next = people::done(self, world, deed)?;
        next.settle(self.base);
        (next.fingerprint() != world.fingerprint()).then_some(next)
    }

    /// Whether nothing of the process's own is under way.
    fn is_idle(world: &World<K>) -> bool {
        let mut seats = world.process.seats.iter();
        seats.all(|seat| matches!(seat.phase, Phase::Idle)) && world.process.looks.is_empty()
    }
}
