//! What a deed changes in the world.

use vpn_cloud::ErrorKind;

use crate::cache::{CacheContents, Remote};
use crate::model::ModelCheck;
use crate::model::action::ModelAction;
use crate::model::cloud::{ModelResource, Skip, WriteCall, WriteReply};
use crate::model::kept::Kept;
use crate::model::kinds::{Modelled, OWNER_KEY};
use crate::model::operator::Work;
use crate::model::possible::{next_moment, waits_for_permit};
use crate::model::world::{CrKnowledge, Lag, ModelWorld, Phase, Seat, kept_known};

/// The world after a deed; `None` if it is not possible.
pub(crate) fn done<K: Modelled>(
    check: &ModelCheck<K>,
    world: &ModelWorld<K>,
    action: ModelAction,
) -> Option<ModelWorld<K>> {
    match action {
        ModelAction::Tick => time_passes(check, world),
        ModelAction::Kill(back) => Some(killed(check, world, back)),
        ModelAction::Pass(_)
        | ModelAction::Begin(_)
        | ModelAction::Permit(_)
        | ModelAction::NoPermit(_)
        | ModelAction::Hear(_)
        | ModelAction::HearAgain(..)
        | ModelAction::EndQuery(_)
        | ModelAction::Poll
        | ModelAction::Answer(_)
        | ModelAction::Lose(_)
        | ModelAction::Refuse(_) => by_the_process(check, world, action),
        ModelAction::Commit(_)
        | ModelAction::Disappear(_)
        | ModelAction::Show(_)
        | ModelAction::CreateUnmanaged(..)
        | ModelAction::Remove(_)
        | ModelAction::Drift(_)
        | ModelAction::Give(_) => in_the_cloud(check, world, action),
        ModelAction::Skip(_)
        | ModelAction::Lie(_)
        | ModelAction::Deny(_)
        | ModelAction::Lag(_)
        | ModelAction::Whole => Some(to_answers(world, action)),
        ModelAction::Edit(_)
        | ModelAction::Delete(_)
        | ModelAction::Password(_)
        | ModelAction::Touch(_)
        | ModelAction::Copy(_)
        | ModelAction::ChangeToManage(_)
        | ModelAction::Wipe(_) => to_a_cr(check, world, action),
    }
}

/// The process reconciles, or gets an event, a permit or a response.
fn by_the_process<K: Modelled>(
    check: &ModelCheck<K>,
    world: &ModelWorld<K>,
    action: ModelAction,
) -> Option<ModelWorld<K>> {
    let mut next = world.clone();
    match action {
        ModelAction::Pass(index) => Work::on(check, world, index).pass(),
        ModelAction::Begin(index) => Work::on(check, world, index).begin(),
        ModelAction::Permit(index) => Work::on(check, world, index).permitted(true),
        ModelAction::NoPermit(index) => {
            next.left.waits -= 1;
            Work::on(check, &next, index).permitted(false)
        }
        ModelAction::Hear(index) => Work::on(check, world, index).hear(),
        ModelAction::HearAgain(index, back) => Work::on(check, world, index).hear_again(back),
        ModelAction::EndQuery(which) => Some(Work::on(check, world, 0).end_query(which)),
        ModelAction::Poll => Some(Work::on(check, world, 0).poll()),
        ModelAction::Answer(index) => {
            let which = waited_for(world, index)?;
            commit(check, &mut next, which);
            let request = next.cloud.requests.remove(which);
            Work::on(check, &next, index).answered(request.done.as_deref().cloned(), &request.call)
        }
        ModelAction::Lose(index) => {
            next.left.losses -= 1;
            let which = waited_for(world, index)?;
            next.cloud.requests[which].by = None;
            let call = next.cloud.requests[which].call.clone();
            next.forget_done();
            Work::on(check, &next, index).answered(None, &call)
        }
        ModelAction::Refuse(index) => {
            next.left.refusals -= 1;
            let which = waited_for(world, index)?;
            if next.cloud.requests[which].done.is_some() {
                return None;
            }
            let request = next.cloud.requests.remove(which);
            let refusal = WriteReply::Refused(ErrorKind::QueueFull);
            Work::on(check, &next, index).answered(Some(refusal), &request.call)
        }
        action => unreachable!("{action} is handled elsewhere"),
    }
}

/// A request takes effect, or the cloud or a third party changes a resource.
fn in_the_cloud<K: Modelled>(
    check: &ModelCheck<K>,
    world: &ModelWorld<K>,
    action: ModelAction,
) -> Option<ModelWorld<K>> {
    let mut next = world.clone();
    match action {
        ModelAction::Commit(which) => {
            commit(check, &mut next, which);
            next.forget_done();
        }
        ModelAction::Disappear(which) => {
            next.left.disappearances -= 1;
            next.cloud.things.remove(which);
        }
        ModelAction::Show(which) => next.cloud.things[which].hidden = false,
        ModelAction::CreateUnmanaged(index, sort) => {
            next.left.unmanaged -= 1;
            let cr = &world.crs[index];
            let takes = |thing: &ModelResource<K::Remote>| K::remote_name(&thing.remote) == Some(cr.name.as_str());
            if K::UNIQUE_NAMES && next.cloud.things.iter().any(takes) {
                return None;
            }
            next.cloud.add(|id| ModelResource {
                remote: K::unmanaged(&cr.name, &cr.uid, id, world.now).remove(sort),
                owner: None,
                confirmed_at: None,
                hidden: false,
                passwords: Vec::new(),
            });
        }
        ModelAction::Remove(which) => {
            next.left.removals -= 1;
            next.cloud.things.remove(which);
        }
        ModelAction::Drift(which) => {
            next.left.drifts -= 1;
            K::drift(&mut next.cloud.things[which].remote);
        }
        ModelAction::Give(which) => {
            next.left.gifts -= 1;
            let thing = &mut next.cloud.things[which];
            let mut tags = thing.remote.tags()?.clone();
            tags.insert(OWNER_KEY.to_owned(), "another:cluster:n:a".to_owned());
            thing.remote.set_tags(Some(tags));
            thing.owner = None;
        }
        action => unreachable!("{action} is handled elsewhere"),
    }
    Some(next)
}

/// From now on, the cloud answers some reads wrongly, or rightly again.
fn to_answers<K: Modelled>(world: &ModelWorld<K>, action: ModelAction) -> ModelWorld<K> {
    let mut next = world.clone();
    match action {
        ModelAction::Skip(which) => {
            next.left.skips -= 1;
            let id = world.cloud.things[which].remote.id().to_owned();
            next.skips = Some(Skip { id, lies: false });
        }
        ModelAction::Lie(which) => {
            next.left.lies -= 1;
            let id = world.cloud.things[which].remote.id().to_owned();
            next.skips = Some(Skip { id, lies: true });
        }
        ModelAction::Deny(which) => {
            next.left.denials -= 1;
            next.denied = Some(world.cloud.things[which].remote.id().to_owned());
        }
        ModelAction::Lag(which) => {
            next.left.lags -= 1;
            next.lag = Some(Lag {
                id: world.cloud.things[which].remote.id().to_owned(),
                answers_read: true,
                answers_list: true,
            });
        }
        ModelAction::Whole => next.skips = None,
        action => unreachable!("{action} is handled elsewhere"),
    }
    next
}

/// A user or a third party changes a CR or its Secret.
fn to_a_cr<K: Modelled>(check: &ModelCheck<K>, world: &ModelWorld<K>, action: ModelAction) -> Option<ModelWorld<K>> {
    let mut next = world.clone();
    let stale = check.scope.stale;
    match action {
        ModelAction::Edit(index) => {
            next.left.edits -= 1;
            next.crs[index].edit(stale);
        }
        ModelAction::Delete(index) => {
            next.left.deletions -= 1;
            next.crs[index].delete(stale);
        }
        ModelAction::Password(index) => {
            let used = check.scope.faults.passwords - next.left.passwords + 1;
            next.left.passwords -= 1;
            let secret = &mut next.crs[index].secret;
            secret.value = *check.scope.values.get(usize::from(used))?;
            secret.version += 1;
            return Some(Work::on(check, &next, index).hear_of_secret());
        }
        ModelAction::Touch(index) => {
            next.left.touches -= 1;
            next.crs[index].secret.version += 1;
            return Some(Work::on(check, &next, index).hear_of_secret());
        }
        ModelAction::Copy(index) => {
            next.left.copies -= 1;
            let status = world.crs[0].object.as_ref()?.status.clone();
            next.crs[index].write(stale, |object| object.status = status);
        }
        ModelAction::ChangeToManage(index) => {
            next.left.policy_changes -= 1;
            next.crs[index].permit(stale);
        }
        ModelAction::Wipe(index) => {
            next.left.wipes -= 1;
            next.crs[index].refused = None;
            next.crs[index].write(stale, |object| object.status = K::Status::default());
        }
        action => unreachable!("{action} is handled elsewhere"),
    }
    Some(next)
}

/// The clock advances: requests end, and creations are confirmed.
fn time_passes<K: Modelled>(check: &ModelCheck<K>, world: &ModelWorld<K>) -> Option<ModelWorld<K>> {
    let mut next = world.clone();
    let now = next_moment(check, world)?;
    next.now = now;
    next.left.waits -= u8::from(waits_for_permit(world));
    next.cloud
        .requests
        .retain(|request| request.by.is_some() || request.until >= now);
    for thing in &mut next.cloud.things {
        if thing.confirmed_at.is_some_and(|at| at < now) {
            thing.confirmed_at = None;
            thing.hidden &= check.scope.manners.shows_late;
        }
    }
    Some(next)
}

/// The process loses its memory, and starts from CRs as they were so many versions before.
fn killed<K: Modelled>(check: &ModelCheck<K>, world: &ModelWorld<K>, back: usize) -> ModelWorld<K> {
    let mut next = world.clone();
    next.left.kills -= 1;
    next.process.started = world.instant(check.base);
    next.process.known = kept_known::<K>(CacheContents::new(OWNER_KEY.to_owned()));
    next.process.queries.clear();
    for (seat, cr) in next.process.seats.iter_mut().zip(&world.crs) {
        let newest = cr.object.clone();
        let shown = back
            .checked_sub(1)
            .and_then(|back| cr.older.get(back).cloned())
            .or(newest.clone());
        *seat = Seat {
            heard: match (newest, shown) {
                (Some(_), Some(shown)) => CrKnowledge::Listed(shown),
                _ => CrKnowledge::Nothing,
            },
            phase: Phase::Idle,
        };
    }
    for request in &mut next.cloud.requests {
        request.by = None;
    }
    next.forget_done();
    next
}

/// The request whose answer the worker of a CR waits for.
fn waited_for<K: Modelled>(world: &ModelWorld<K>, index: usize) -> Option<usize> {
    world
        .cloud
        .requests
        .iter()
        .position(|request| request.by == Some(index))
}

/// Lets a request take effect, unless it already did.
fn commit<K: Modelled>(check: &ModelCheck<K>, world: &mut ModelWorld<K>, which: usize) {
    let request = world.cloud.requests[which].clone();
    if request.done.is_some() {
        return;
    }
    let target = match &*request.call {
        WriteCall::Change { id, .. } | WriteCall::Delete { id, .. } => world.cloud.find(id),
        WriteCall::Create { .. } => None,
    };
    if target.is_some_and(|thing| thing.owner.as_deref() != Some(request.uid.as_str())) {
        world.harm = true;
    }
    if let WriteCall::Change { id, .. } | WriteCall::Delete { id, .. } = &*request.call
        && world.takes_denial(id)
    {
        world.cloud.requests[which].done = Some(Kept::by_text(WriteReply::Refused(ErrorKind::Gone)));
        return;
    }
    let reply = world
        .cloud
        .perform(&request.call, Some(&request.uid), world.now, check.scope.manners);
    world.cloud.requests[which].done = Some(Kept::by_text(reply));
}
