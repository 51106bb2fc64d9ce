//! Rest: the final state that a state leads to if nothing else fails. Every state must lead to one. There, each CR must
//! have exactly one cloud object, as specified, or report the reason in its condition.

use crate::api::conditions::Reason;
use crate::api::{AdoptionPolicy, ManagementPolicy, conditions};
use crate::cache::Remote;
use crate::kind::DesiredState;
use crate::model::ModelCheck;
use crate::model::action::ModelAction;
use crate::model::cloud::{ModelResource, Replay};
use crate::model::cr::Cr;
use crate::model::kinds::{Modelled, OWNER_KEY};
use crate::model::possible::possible;
use crate::model::scope::EventLimits;
use crate::model::world::ModelWorld;

/// More steps than any way to rest needs.
const FAR: usize = 400;

/// A CR is at rest after this many reconciles without an effect: a query, its result, and the same again.
const IDLE_PASSES: usize = 6;

/// Follows the shortest way to rest, and returns what is wrong there. The result is stored for all states on the way.
pub(crate) fn reach<K: Modelled>(check: &ModelCheck<K>, world: &ModelWorld<K>) -> Result<(), String> {
    let mut world = world.clone();
    let mut way = Vec::new();
    // A later failure is a separate state.
    world.left = EventLimits::default();
    world.skips = None;
    world.denied = None;
    world.lag = None;
    world.seal();
    let result = loop {
        let print = world.fingerprint();
        if let Some(result) = check.rests().get(&print) {
            break result.clone();
        }
        way.push(print);
        if way.len() > FAR {
            break Err(format!("it does not come to rest: {}", describe(&world)));
        }
        match next(check, &world) {
            Some(next) => world = next,
            None => break is_well(check, &world).map_err(|wrong| format!("{wrong}: {}", describe(&world))),
        }
    };
    check
        .rests()
        .extend(way.into_iter().map(|print| (print, result.clone())));
    result
}

/// Returns the next state on the way; `None` if this one is at rest.
fn next<K: Modelled>(check: &ModelCheck<K>, world: &ModelWorld<K>) -> Option<ModelWorld<K>> {
    let mut actions = Vec::new();
    possible(check, world, &mut actions);
    let rank = |action: &ModelAction| match action {
        ModelAction::Answer(_) | ModelAction::Begin(_) | ModelAction::Permit(_) => 0,
        ModelAction::EndQuery(_) | ModelAction::Show(_) => 1,
        ModelAction::Hear(_) => 2,
        ModelAction::Pass(_) => 3,
        ModelAction::Poll => 4,
        ModelAction::Tick => 5,
        // A request that no process waits for may have no effect. That it takes effect is a separate state.
        _ => usize::MAX,
    };
    actions.retain(|action| rank(action) < usize::MAX);
    actions.sort_by_key(rank);
    actions.into_iter().find_map(|action| match action {
        ModelAction::Pass(_) => works(check, world, action),
        _ => check.after(world, action),
    })
}

/// Returns the state after a reconcile, if that or a following one has an effect other than another query.
fn works<K: Modelled>(check: &ModelCheck<K>, world: &ModelWorld<K>, pass: ModelAction) -> Option<ModelWorld<K>> {
    let mut later = check.after(world, pass)?;
    let first = later.clone();
    let before = shown(world);
    let mut seen = vec![world.fingerprint()];
    // A state that was seen before is a cycle.
    while seen.len() <= IDLE_PASSES && !seen.contains(&later.fingerprint()) {
        if shown(&later) != before || !ModelCheck::<K>::is_idle(&later) {
            return Some(first);
        }
        seen.push(later.fingerprint());
        later = check.after(&later, pass)?;
    }
    None
}

/// Hashes the state that is visible outside the process.
fn shown<K: Modelled>(world: &ModelWorld<K>) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    world.cloud.hash(&mut hasher);
    for cr in &world.crs {
        cr.object.hash(&mut hasher);
    }
    hasher.finish()
}

/// Checks whether every CR has the cloud object that it should have.
fn is_well<K: Modelled>(check: &ModelCheck<K>, world: &ModelWorld<K>) -> Result<(), String> {
    for (index, cr) in world.crs.iter().enumerate() {
        let owned = world.owned(&cr.uid);
        // The creation is replayed once, and that response may be lost as well.
        let EventLimits { kills, losses, .. } = check.scope.faults;
        let is_resolved_by_token = check.scope.manners.replay == Replay::SameId && kills + losses < 2;
        if owned > 1 {
            return Err(format!("cr{index} has {owned} objects"));
        }
        let Some(object) = &cr.object else { continue };
        let status = K::object(&object.status);
        if object.deleting_since().is_some() {
            return Err(format!("cr{index} is not deleted"));
        }
        let reason = conditions::ready_reason(&status.conditions).unwrap_or_default();
        let recorded = status.id.as_deref().and_then(|id| world.cloud.find(id));
        let has_own = recorded.is_some_and(|thing| thing.owner.as_deref() == Some(cr.uid.as_str()));
        let lifecycle = &object.lifecycle;
        if reason == Reason::Available.as_str() && lifecycle.management() == ManagementPolicy::Observe {
            if recorded.is_none() {
                return Err(format!("cr{index} observes what is not there"));
            }
            continue;
        }
        if reason == Reason::Available.as_str() {
            let Some(thing) = recorded.filter(|_| has_own) else {
                return Err(format!("cr{index} is Ready without an object of its own"));
            };
            let (Ok(spec), dereferenced) = (&object.spec, K::dereferenced_of(cr.secret)) else {
                return Err(format!("cr{index} has a spec that cannot be read"));
            };
            let wanted = DesiredState {
                spec,
                status: &object.status,
                dereferenced: &dereferenced,
                policy: &check.policy,
                overwrites_tags: true,
                cloud_now: crate::model::cloud::at(world.now),
            };
            if K::difference(&wanted, &thing.remote).is_some() || !K::is_as_recorded(&object.status, thing, cr.secret) {
                return Err(format!("cr{index} is Ready, but its object is not as specified"));
            }
            if lifecycle.adoption() == AdoptionPolicy::IfExists && named(world, cr).any(is_unmanaged) {
                return Err(format!(
                    "cr{index} has created an object beside one that it could adopt"
                ));
            }
            continue;
        }
        // If the object is missing or not as specified, another object must be the cause.
        let wanted = lifecycle.external_id.as_deref().and_then(|id| world.cloud.find(id));
        let is_anothers = |thing: &ModelResource<K::Remote>| thing.owner.as_deref() != Some(cr.uid.as_str());
        let is_excused = match reason {
            "NameConflict" if K::UNIQUE_NAMES => named(world, cr).any(|thing| {
                // An own object that was changed before it was recognized can be identified by its client token only.
                let is_unknowable = K::is_drifted(&thing.remote) && !is_resolved_by_token;
                is_anothers(thing) || is_unknowable
            }),
            // Several candidates: none can be selected.
            "NameConflict" => named(world, cr).filter(|thing| is_unmanaged(thing)).count() > 1,
            "NotFound" if lifecycle.external_id.is_some() => wanted.is_none(),
            "NotFound" => lifecycle.adoption() == AdoptionPolicy::Required && !named(world, cr).any(is_unmanaged),
            "AlreadyManaged" => recorded.or(wanted).is_some_and(is_anothers),
            // The cloud may refuse a password that was in force before, never a new one.
            "InvalidPassword" => has_own && recorded.is_some_and(|thing| thing.passwords.contains(&cr.secret.value)),
            _ => false,
        };
        if !is_excused {
            return Err(format!("cr{index} rests with {reason:?}"));
        }
    }
    Ok(())
}

/// Whether an object is unmanaged, so that it can be adopted.
fn is_unmanaged<R: Remote>(thing: &ModelResource<R>) -> bool {
    thing.owner.is_none() && thing.remote.tags().is_none_or(|tags| !tags.contains_key(OWNER_KEY))
}

/// The cloud objects that have the name which a CR specifies.
fn named<'a, K: Modelled>(
    world: &'a ModelWorld<K>,
    cr: &'a Cr<K>,
) -> impl Iterator<Item = &'a ModelResource<K::Remote>> {
    let things = world.cloud.things.iter();
    things.filter(|thing| K::remote_name(&thing.remote) == Some(cr.name.as_str()))
}

/// Describes a world in one line.
pub(crate) fn describe<K: Modelled>(world: &ModelWorld<K>) -> String {
    let crs = world.crs.iter().enumerate().map(|(index, cr)| match &cr.object {
        None => format!("cr{index} deleted"),
        Some(object) => {
            let status = K::object(&object.status);
            let reason = conditions::ready_reason(&status.conditions).unwrap_or("no condition");
            let id = status.id.as_deref().unwrap_or("no id");
            let intent = status.intent.as_ref().map_or("", |_| ", intent");
            let goes = object.deleting_since().map_or("", |_| ", deleting");
            format!("cr{index} {reason}, {id}{intent}{goes}")
        }
    });
    let things = world.cloud.things.iter().map(|thing| {
        let owner = thing.owner.as_deref().unwrap_or("another owner");
        let hidden = if thing.hidden { ", hidden" } else { "" };
        format!("{} of {owner}{hidden}", thing.remote.id())
    });
    let requests = world.cloud.requests.iter().map(|request| {
        let waits = if request.by.is_some() { "" } else { ", no waiter" };
        format!("{} in progress{waits}", request.call.describe())
    });
    let all: Vec<_> = crs.chain(things).chain(requests).collect();
    format!("at {}s: {}", world.now, all.join("; "))
}
