//! All that can happen next, by the process, the cloud, the clock and people.

use std::cell::Cell;

use crate::api::{AdoptionPolicy, ManagementPolicy, ObjectStatus};
use crate::cache::Remote;
use crate::model::ModelCheck;
use crate::model::action::ModelAction;
use crate::model::cloud::{ModelResource, second};
use crate::model::cr::{Cr, version};
use crate::model::instants::unresolved;
use crate::model::kinds::Modelled;
use crate::model::scope::EventLimits;
use crate::model::world::{CrKnowledge, ModelWorld, Phase};
use crate::object::Object;
use crate::terms::guard::Guard;

/// Lists all that may happen next. The order counts: the search visits states in it.
pub(crate) fn possible<K: Modelled>(check: &ModelCheck<K>, world: &ModelWorld<K>, actions: &mut Vec<ModelAction>) {
    // While nothing has happened to any CR, they are interchangeable: only the first one acts.
    let [first, second] = check.scope.roles;
    let are_alike = check.scope.one_name
        && first == second
        && world.crs.len() > 1
        && (0..world.crs.len()).all(|it| is_untouched(world, it));
    let movable = if are_alike { 1 } else { world.crs.len() };
    by_the_process(world, movable, actions);
    let requests = world.cloud.requests.iter().enumerate();
    for (index, request) in requests {
        // An awaited request takes effect with its answer, except where another CR could see it in between.
        let is_seen = request.by.is_none() || world.crs.len() > 1;
        if request.done.is_none() && is_seen {
            actions.push(ModelAction::Commit(index));
        }
    }
    for (index, thing) in world.cloud.things.iter().enumerate() {
        to_a_resource(check, world, index, thing, actions);
    }
    at_any_moment(check, world, actions);
    for index in 0..movable {
        to_a_cr(check, world, index, actions);
    }
}

/// What the process does with what it knows, and what the watch and the cloud deliver to it.
fn by_the_process<K: Modelled>(world: &ModelWorld<K>, movable: usize, actions: &mut Vec<ModelAction>) {
    let left = world.left;
    for (index, seat) in world.process.seats.iter().enumerate().take(movable) {
        match (&seat.phase, &seat.heard) {
            (Phase::Idle, CrKnowledge::Nothing) => {}
            (Phase::Idle, _) => actions.push(ModelAction::Pass(index)),
            (Phase::Decided(..), _) => actions.push(ModelAction::Begin(index)),
            (Phase::Recorded(_), _) => {
                actions.push(ModelAction::Permit(index));
                if left.waits > 0 {
                    actions.push(ModelAction::NoPermit(index));
                }
            }
            (Phase::Sent(..), _) => {
                actions.push(ModelAction::Answer(index));
                if left.losses > 0 {
                    actions.push(ModelAction::Lose(index));
                }
                if left.refusals > 0 {
                    actions.push(ModelAction::Refuse(index));
                }
            }
        }
        if is_news(world, index) {
            actions.push(ModelAction::Hear(index));
        }
        if matches!(seat.heard, CrKnowledge::Known(..)) {
            let older = 1..=world.crs[index].older.len();
            actions.extend(older.map(|back| ModelAction::HearAgain(index, back)));
        }
    }
    actions.extend((0..world.process.queries.len()).map(ModelAction::EndQuery));
}

/// What the cloud and third parties do to a resource.
fn to_a_resource<K: Modelled>(
    check: &ModelCheck<K>,
    world: &ModelWorld<K>,
    index: usize,
    thing: &ModelResource<K::Remote>,
    actions: &mut Vec<ModelAction>,
) {
    let left = world.left;
    if thing.hidden {
        actions.push(ModelAction::Show(index));
    }
    if thing.confirmed_at.is_some() && left.disappearances > 0 {
        actions.push(ModelAction::Disappear(index));
    }
    if thing.owner.is_none() {
        return;
    }
    if left.removals > 0 && !thing.hidden {
        actions.push(ModelAction::Remove(index));
    }
    if left.drifts > 0 && !thing.hidden {
        actions.push(ModelAction::Drift(index));
    }
    // Nothing can prevent a change of owner between a read and the step that follows.
    let is_calm = |index: usize| {
        let object = world.crs[index].object.as_ref();
        !is_news(world, index) && object.is_none_or(|object| object.deleting_since().is_none())
    };
    let are_calm = ModelCheck::<K>::is_idle(world) && (0..world.crs.len()).all(is_calm);
    if left.gifts > 0 && are_calm && world.cloud.requests.is_empty() {
        actions.push(ModelAction::Give(index));
    }
    // A list that omits an unrecorded object: this can lead to a second object.
    let are_kept = check.scope.faults.wipes == 0;
    let is_knowable = are_kept || check.scope.indistinguishable || !is_forgotten(world, thing);
    if left.skips > 0 && world.skips.is_none() && is_knowable {
        actions.push(ModelAction::Skip(index));
    }
    // An object that is in no record and no list cannot be known.
    let is_recorded = world.crs.iter().any(|cr| cr.has_record_of(thing.remote.id()));
    if left.lies > 0 && world.skips.is_none() && is_recorded {
        actions.push(ModelAction::Lie(index));
    }
    if left.denials > 0 && world.denied.is_none() && is_recorded && !thing.hidden {
        actions.push(ModelAction::Deny(index));
    }
    if left.lags > 0 && world.lag.is_none() && is_recorded && !thing.hidden {
        actions.push(ModelAction::Lag(index));
    }
}

/// What happens to the clock, to lists, and to the process as a whole.
fn at_any_moment<K: Modelled>(check: &ModelCheck<K>, world: &ModelWorld<K>, actions: &mut Vec<ModelAction>) {
    let left = world.left;
    // An answer comes, or is lost, before anything else is due.
    let is_waited_for = world.cloud.requests.iter().any(|request| request.by.is_some());
    let may_pass = left.waits > 0 || !waits_for_permit(world);
    if !is_waited_for && may_pass && next_moment(check, world).is_some() {
        actions.push(ModelAction::Tick);
    }
    let may_poll = !check.scope.sparse || left == EventLimits::default();
    if may_poll && is_behind(check, world) {
        actions.push(ModelAction::Poll);
    }
    if world.skips.is_some() {
        actions.push(ModelAction::Whole);
    }
    let may_kill = !check.scope.sparse || is_sending(world) || check.scope.faults.policy_changes > left.policy_changes;
    if left.kills > 0 && may_kill {
        let oldest = world.crs.iter().map(|cr| cr.older.len()).max().unwrap_or(0);
        actions.extend((0..=oldest).map(ModelAction::Kill));
    }
}

/// What users and third parties do to a CR, its Secret, or beside its resource.
fn to_a_cr<K: Modelled>(check: &ModelCheck<K>, world: &ModelWorld<K>, index: usize, actions: &mut Vec<ModelAction>) {
    let (left, cr) = (world.left, &world.crs[index]);
    let Some(object) = &cr.object else { return };
    let is_deleted = object.deleting_since().is_some();
    // The operator cannot know what was in a wiped intent.
    let has_intent = K::object(&object.status).intent.is_some();
    let is_quiet = world.cloud.requests.is_empty() && !has_intent;
    let is_listed = world.skips.is_none() || is_deleted || check.scope.indistinguishable;
    if left.wipes > 0 && is_quiet && is_listed {
        actions.push(ModelAction::Wipe(index));
    }
    if is_deleted {
        return;
    }
    if left.edits > 0 {
        actions.push(ModelAction::Edit(index));
    }
    let is_blank = status_of(object).id.is_none() && status_of(object).intent.is_none();
    if left.copies > 0 && index > 0 && is_blank && world.crs[0].is_ready() {
        actions.push(ModelAction::Copy(index));
    }
    if left.policy_changes > 0 && object.lifecycle.management() == ManagementPolicy::Observe {
        actions.push(ModelAction::ChangeToManage(index));
    }
    if left.deletions > 0 {
        actions.push(ModelAction::Delete(index));
    }
    if left.passwords > 0 {
        actions.push(ModelAction::Password(index));
    }
    if left.touches > 0 {
        actions.push(ModelAction::Touch(index));
    }
    // If an existing object forbids a creation, it exists from the beginning.
    let adopts = |cr: &Cr<K>| {
        let object = cr.object.as_ref();
        object.is_some_and(|object| object.lifecycle.adoption() != AdoptionPolicy::Never)
    };
    let is_beginning = (0..world.crs.len()).all(|it| is_untouched(world, it));
    if left.unmanaged > 0 && (is_beginning || !world.crs.iter().any(adopts)) {
        let has_id = K::object(&object.status).id.is_some();
        // An object with our tag is ours while we have no other, even if someone else tagged it.
        let sorts = (0..K::UNMANAGED).filter(|sort| match (K::Remote::TAGGED, sort) {
            (true, sort) => *sort < 2 || has_id,
            (false, sort) => *sort == 0 || check.scope.indistinguishable,
        });
        actions.extend(sorts.map(|sort| ModelAction::CreateUnmanaged(index, sort)));
    }
}

fn status_of<K: Modelled>(object: &Object<K>) -> &ObjectStatus {
    K::object(&object.status)
}

/// Whether a CR is as it was created, and the process has not reconciled it yet.
fn is_untouched<K: Modelled>(world: &ModelWorld<K>, index: usize) -> bool {
    let (cr, seat) = (&world.crs[index], &world.process.seats[index]);
    let is_first = cr.object.as_deref().is_some_and(|object| version(object) == 1);
    is_first && cr.secret.version == 1 && matches!((&seat.heard, &seat.phase), (CrKnowledge::Listed(_), Phase::Idle))
}

/// Whether an object's CR is not being deleted and has recorded neither an id nor an intent.
fn is_forgotten<K: Modelled>(world: &ModelWorld<K>, thing: &ModelResource<K::Remote>) -> bool {
    let mut owners = world.crs.iter().filter(|cr| thing.owner.as_ref() == Some(&cr.uid));
    owners.any(|cr| {
        let object = cr.object.as_ref().filter(|object| object.deleting_since().is_none());
        object.is_some_and(|object| {
            let status = K::object(&object.status);
            status.id.is_none() && status.intent.is_none()
        })
    })
}

fn is_sending<K: Modelled>(world: &ModelWorld<K>) -> bool {
    let mut seats = world.process.seats.iter();
    seats.any(|seat| matches!(seat.phase, Phase::Recorded(_) | Phase::Sent(..)))
}

/// Whether a recorded write waits for its permit.
pub(crate) fn waits_for_permit<K: Modelled>(world: &ModelWorld<K>) -> bool {
    let mut seats = world.process.seats.iter();
    seats.any(|seat| matches!(seat.phase, Phase::Recorded(_)))
}

/// Whether the watch has something to deliver.
pub(crate) fn is_news<K: Modelled>(world: &ModelWorld<K>, index: usize) -> bool {
    let newest = world.crs[index].object.as_deref().map(version);
    let heard = world.believed(index).map(|object| version(&object));
    // The watch also delivers what one of our writes returned, with the changes requested meanwhile.
    let is_new = match &world.process.seats[index].heard {
        CrKnowledge::Known(entry, _) => entry.has_news(),
        CrKnowledge::Listed(_) | CrKnowledge::Nothing => false,
    };
    newest != heard || is_new
}

/// Whether a list would show the process anything new.
fn is_behind<K: Modelled>(check: &ModelCheck<K>, world: &ModelWorld<K>) -> bool {
    if !world.process.queries.is_empty() || world.process.known.listed(None).is_none() {
        return false;
    }
    let list = world.cloud.list(check.scope.manners, world.skips.as_ref());
    let known = Cell::new(0);
    let manners = check.scope.manners;
    let differs = |seen: &K::Remote| {
        known.set(known.get() + 1);
        let there = list.items.iter().find(|there| there.id() == seen.id());
        let mut seen = seen.clone();
        if manners.lists_without_tags {
            seen.set_tags(None);
        }
        if manners.lists_omit_fields {
            K::omit(&mut seen);
        }
        there.is_none_or(|there| *there != seen)
    };
    !world.process.known.find(differs).is_empty() || known.get() != list.items.len()
}

/// The next moment at which a decision could change, or something can no longer happen.
pub(crate) fn next_moment<K: Modelled>(check: &ModelCheck<K>, world: &ModelWorld<K>) -> Option<u16> {
    // A creation is proved to have failed only after its confirmation period.
    let waits_for_confirmation = check.policy.keeps(Guard::ProofAfterConfirmationPeriod);
    let of_intent = |status: &ObjectStatus| {
        unresolved(status).flat_map(move |deadline| {
            let early = (!waits_for_confirmation).then_some(deadline + 1);
            early.into_iter().chain([deadline + super::CONFIRMATION_PERIOD + 1])
        })
    };
    let records = world.crs.iter().filter_map(|cr| cr.object.as_ref());
    let recorded = records.flat_map(|object| {
        let confirmed_at = K::confirmed_at(&object.status).map(|at| second(at.0));
        // While there is an intent, this is the time of its record, and no confirmation period has begun.
        let confirmed_at = confirmed_at.filter(|_| K::object(&object.status).id.is_some());
        let waits = K::waits_until(&object.status).map(|at| second(at) + 1);
        of_intent(K::object(&object.status)).chain(confirmed_at).chain(waits)
    });
    let requests = world.cloud.requests.iter().map(|request| request.until + 1);
    // An object that becomes visible when it settles must be seen; for all others the record has a later moment.
    let shows = world.cloud.things.iter().filter(|thing| thing.hidden);
    let shows = shows.filter_map(|thing| thing.confirmed_at).map(|at| at + 1);
    recorded.chain(requests).chain(shows).filter(|at| *at > world.now).min()
}
