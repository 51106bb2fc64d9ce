//! A model check of the operator. It visits every state that can be reached within a scope, and checks the promise in
//! each: "exactly one cloud object, whatever dies".
//!
//! Decisions, observations, memory and records come from the shipped code: `decide`, the `Kind`s with their passwords,
//! `cache::CacheContents`, `observer`, `object_state::ObjectState`, `record` and `outcome`. The model adds a cloud
//! (`cloud`, compared with the simulator by `conformance`) and an apiserver whose writes are pinned to versions. It
//! also adds a process that can be killed (`world`, `cr`, `instants`, `operator`), and what can happen next
//! (`action`, `possible`, `effects`). `scopes` lists the models, how
//! far each goes, and what was found. `guards` removes the checks of the decision one by one and shows the effect.
//!
//! What is abstracted:
//! * Time advances only to the moments that matter: a deadline, the end of its confirmation period, the end of an
//!   unsettled creation. A request that was sent takes effect at any moment up to its deadline (a creation: plus the
//!   confirmation period), or never.
//! * Pace: a reconcile may come at any moment, so backoff, rate limiter and work queue are omitted (they only make
//!   reconciles rarer).
//! * A request and the write that records it before are one step, unless permits may not come (`waits`). So are its
//!   answer and the write that records the answer. A kill in between leaves the same as an unsent or an unanswered
//!   request, and both are in the model.
//! * Texts: messages of conditions are not compared, and there are no Events.
//! * One VPN server, one project, credentials that work; the server has its write queue.

pub(crate) mod action;
pub(crate) mod answers;
pub(crate) mod apiserver;
pub(crate) mod cloud;
pub(crate) mod conformance;
pub(crate) mod cr;
pub(crate) mod effects;
pub(crate) mod guards;
pub(crate) mod instants;
pub(crate) mod kept;
pub(crate) mod kinds;
pub(crate) mod operator;
pub(crate) mod possible;
pub(crate) mod queries;
pub(crate) mod rest;
pub(crate) mod scope;
pub(crate) mod scopes;
pub(crate) mod world;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use stateright::{Model, Property};
use tokio::time::Instant;

use crate::api;
use crate::model::action::ModelAction;
use crate::model::kinds::{Modelled, OWNER_KEY};
use crate::model::scope::ModelScope;
use crate::model::world::{ModelWorld, Phase};
use crate::terms::policy::Policy;

/// The longest duration of a request by its record: its timeout and a margin.
const LASTS: u16 = 15;

/// `--creation-confirmation-period`.
const CONFIRMATION_PERIOD: u16 = 30;

/// A model, and what was found out about it.
pub(crate) struct ModelCheck<K: Modelled> {
    pub scope: ModelScope,
    pub policy: Policy,
    pub place: api::Scope,
    pub parent: K::Parent,
    /// Where the process's instants begin.
    pub base: Instant,
    /// By state: whether it can come to rest, and whether all is well there.
    rests: Mutex<HashMap<u64, Result<(), String>>>,
}

impl<K: Modelled> ModelCheck<K> {
    pub(crate) fn new(scope: ModelScope) -> Self {
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
            parent: K::shared_parent(),
            base: Instant::now(),
            rests: Mutex::default(),
        }
    }

    /// What was found out about rest so far.
    fn rests(&self) -> MutexGuard<'_, HashMap<u64, Result<(), String>>> {
        self.rests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn why_no_rest(&self, world: &ModelWorld<K>) -> Option<String> {
        rest::reach(self, world).err()
    }
}

impl<K: Modelled> Model for ModelCheck<K> {
    type State = ModelWorld<K>;
    type Action = ModelAction;

    fn init_states(&self) -> Vec<ModelWorld<K>> {
        vec![ModelWorld::new(&self.scope, self.base)]
    }

    fn actions(&self, world: &ModelWorld<K>, actions: &mut Vec<ModelAction>) {
        possible::possible(self, world, actions);
    }

    fn next_state(&self, world: &ModelWorld<K>, action: ModelAction) -> Option<ModelWorld<K>> {
        self.after(world, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "no object of another owner is changed or deleted",
                |_, world: &ModelWorld<K>| !world.harm,
            ),
            Property::always("no CR has two objects at once", |_, world: &ModelWorld<K>| {
                world.crs.iter().all(|cr| world.owned(&cr.uid) <= 1)
            }),
            Property::always(
                "no CR is Ready whose creation may still fail",
                |_, world: &ModelWorld<K>| {
                    let mut managing = world.crs.iter().filter(|cr| !cr.observes());
                    managing.all(|cr| !cr.is_ready() || !world.awaits_confirmation(cr))
                },
            ),
            Property::always(
                "a password that is in force, or was refused, is not sent again",
                |_, world: &ModelWorld<K>| !world.resent,
            ),
            Property::always(
                "a finished deletion leaves nothing behind",
                |_, world: &ModelWorld<K>| {
                    let mut deleted = world.crs.iter().filter(|cr| cr.object.is_none());
                    deleted.all(|cr| world.owned(&cr.uid) == 0 && !world.may_still_create(&cr.uid))
                },
            ),
            Property::always(
                "what the watch delivers twice changes nothing",
                |check: &Self, world: &ModelWorld<K>| {
                    let heard = |index: &usize| !possible::is_news(world, *index);
                    let changes = |index: usize| check.after(world, ModelAction::HearAgain(index, 0)).is_some();
                    !check.scope.repeats || !(0..world.crs.len()).filter(heard).any(changes)
                },
            ),
            Property::always(
                "there is a way to rest, with one object for each CR",
                |check: &Self, world: &ModelWorld<K>| check.why_no_rest(world).is_none(),
            ),
        ]
    }

    fn format_action(&self, action: &ModelAction) -> String {
        action.to_string()
    }
}

impl<K: Modelled> ModelCheck<K> {
    /// The world after a deed; `None` if the deed changes nothing.
    pub(crate) fn after(&self, world: &ModelWorld<K>, action: ModelAction) -> Option<ModelWorld<K>> {
        let mut next = effects::done(self, world, action)?;
        next.normalize(self.base);
        (next.fingerprint() != world.fingerprint()).then_some(next)
    }

    /// Whether the process has nothing in progress.
    fn is_idle(world: &ModelWorld<K>) -> bool {
        let mut seats = world.process.seats.iter();
        seats.all(|seat| matches!(seat.phase, Phase::Idle)) && world.process.queries.is_empty()
    }
}
