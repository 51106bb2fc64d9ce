//! All that can happen next, by the process, the cloud, the clock and people.

use std::cell::Cell;
use std::fmt;

use super::Check;
use super::cloud::{Call, Reply, Skip, Thing, second};
use super::kept::Kept;
use super::kinds::{Modelled, OWNER_KEY};
use super::operator::Work;
use super::scope::Faults;
use super::world::{Cr, Heard, Lag, Phase, Seat, World, kept_known, unresolved, version};
use crate::api::{AdoptionPolicy, ManagementPolicy, ObjectStatus};
use crate::cache::{Known, Remote};
use crate::cloud::ErrorKind;
use crate::reconcile::decide::Guard;
use crate::reconcile::object::Object;

/// Something that happens. The numbers are those of CRs, requests, objects and reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deed {
    /// A reconcile: it observes, decides, and takes the first step.
    Pass(usize),
    /// The process begins what it decided.
    Begin(usize),
    /// The permit for a recorded write comes.
    Permit(usize),
    /// The permit does not come.
    NoPermit(usize),
    /// The answer comes and is recorded.
    Answer(usize),
    /// The answer is lost on its way.
    Lose(usize),
    /// The cloud refuses, for a reason of its own.
    Refuse(usize),
    /// The watch delivers a CR.
    Hear(usize),
    /// The watch delivers a CR again as it was so many versions before.
    HearAgain(usize, usize),
    /// The answer to a read or list comes.
    EndLook(usize),
    /// The drift check.
    Poll,
    /// A request takes effect.
    Commit(usize),
    /// A creation fails after its answer.
    Vanish(usize),
    /// A hidden object becomes visible.
    Show(usize),
    /// The clock advances to the next moment that matters.
    Tick,
    /// The process is killed. Another starts from what the watch delivers, so many versions old.
    Kill(usize),
    Edit(usize),
    Delete(usize),
    /// The Secret gets another value.
    Password(usize),
    /// The Secret is written without a change.
    Touch(usize),
    /// Someone creates an unmanaged object of that sort.
    Stranger(usize, usize),
    /// Someone deletes an object in the cloud.
    Remove(usize),
    /// Someone changes an object in the cloud.
    Drift(usize),
    /// Someone gives an object to another owner.
    Give(usize),
    /// Lists omit an object.
    Skip(usize),
    /// Lists omit an object and do not count it.
    Lie(usize),
    /// The next request about an object is answered with 404.
    Deny(usize),
    /// A replica that lacks an object answers the next read of it, and the next list.
    Lag(usize),
    /// Lists are complete again.
    Whole,
    /// A status is wiped.
    Wipe(usize),
    /// A CR changes from Observe to Manage.
    TurnToManage(usize),
    /// A CR gets a copy of the first one's status.
    Copy(usize),
}

impl fmt::Display for Deed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Pass(cr) => format!("the operator reconciles cr{cr}"),
            Self::Begin(cr) => format!("the operator begins what it decided about cr{cr}"),
            Self::Permit(cr) => format!("the permit for what was recorded of cr{cr} is granted"),
            Self::NoPermit(cr) => format!("no permit is granted for what was recorded of cr{cr}"),
            Self::Answer(cr) => format!("the response for cr{cr} arrives and is recorded"),
            Self::Lose(cr) => format!("the response for cr{cr} is lost"),
            Self::Refuse(cr) => format!("the cloud refuses what was sent for cr{cr}"),
            Self::Hear(cr) => format!("the watch delivers cr{cr}"),
            Self::HearAgain(cr, back) => format!("the watch delivers cr{cr} again as it was {back} writes ago"),
            Self::EndLook(look) => format!("the response to query {look} arrives"),
            Self::Poll => "the drift check lists".to_owned(),
            Self::Commit(request) => format!("request {request} takes effect"),
            Self::Vanish(thing) => format!("the creation of object {thing} fails in the cloud"),
            Self::Show(thing) => format!("object {thing} becomes visible"),
            Self::Tick => "time passes".to_owned(),
            Self::Kill(0) => "the process is killed and restarts".to_owned(),
            Self::Kill(back) => {
                format!("the process is killed and restarts, seeing CRs as they were {back} writes ago")
            }
            Self::Edit(cr) => format!("a user edits cr{cr}"),
            Self::Delete(cr) => format!("a user deletes cr{cr}"),
            Self::Password(cr) => format!("the Secret of cr{cr} gets another value"),
            Self::Touch(cr) => format!("the Secret of cr{cr} is written as it was"),
            Self::Stranger(cr, sort) => {
                format!("another client creates an object that looks like that of cr{cr} (sort {sort})")
            }
            Self::Remove(thing) => format!("another client deletes object {thing} in the cloud"),
            Self::Drift(thing) => format!("another client changes object {thing} in the cloud"),
            Self::Give(thing) => format!("another client gives object {thing} to another owner"),
            Self::Skip(thing) => format!("lists omit object {thing} from now on"),
            Self::Lie(thing) => format!("lists omit object {thing} from now on, and do not count it"),
            Self::Deny(thing) => format!("the next request about object {thing} is answered with 404"),
            Self::Lag(thing) => {
                format!("a replica that lacks object {thing} answers the next read of it and the next list")
            }
            Self::Whole => "lists are complete again".to_owned(),
            Self::Wipe(cr) => format!("another client clears the status of cr{cr}"),
            Self::Copy(cr) => format!("another client copies the status of cr0 to cr{cr}"),
            Self::TurnToManage(cr) => format!("a user changes cr{cr} from Observe to Manage"),
        };
        formatter.write_str(&text)
    }
}

/// Lists all that may happen next.
pub fn possible<K: Modelled>(check: &Check<K>, world: &World<K>, deeds: &mut Vec<Deed>) {
    let left = world.left;
    // While nothing has happened to any CR, they are interchangeable: only the first one acts.
    let [first, second] = check.scope.roles;
    let are_alike = check.scope.one_name
        && first == second
        && world.crs.len() > 1
        && (0..world.crs.len()).all(|it| is_untouched(world, it));
    let movable = if are_alike { 1 } else { world.crs.len() };
    for (index, seat) in world.process.seats.iter().enumerate().take(movable) {
        match (&seat.phase, &seat.heard) {
            (Phase::Idle, Heard::Nothing) => {}
            (Phase::Idle, _) => deeds.push(Deed::Pass(index)),
            (Phase::Decided(..), _) => deeds.push(Deed::Begin(index)),
            (Phase::Recorded(_), _) => {
                deeds.push(Deed::Permit(index));
                if left.waits > 0 {
                    deeds.push(Deed::NoPermit(index));
                }
            }
            (Phase::Sent(..), _) => {
                deeds.push(Deed::Answer(index));
                if left.losses > 0 {
                    deeds.push(Deed::Lose(index));
                }
                if left.refusals > 0 {
                    deeds.push(Deed::Refuse(index));
                }
            }
        }
        if is_news(world, index) {
            deeds.push(Deed::Hear(index));
        }
        if matches!(seat.heard, Heard::Known(..)) {
            let older = 1..=world.crs[index].older.len();
            deeds.extend(older.map(|back| Deed::HearAgain(index, back)));
        }
    }
    deeds.extend((0..world.process.queries.len()).map(Deed::EndLook));
    for (index, request) in world.cloud.requests.iter().enumerate() {
        // An awaited request takes effect with its answer, except where another CR could see it in between.
        let is_seen = request.by.is_none() || world.crs.len() > 1;
        if request.done.is_none() && is_seen {
            deeds.push(Deed::Commit(index));
        }
    }
    for (index, thing) in world.cloud.things.iter().enumerate() {
        if thing.hidden {
            deeds.push(Deed::Show(index));
        }
        if thing.settles.is_some() && left.vanishings > 0 {
            deeds.push(Deed::Vanish(index));
        }
        if thing.owner.is_none() {
            continue;
        }
        if left.removals > 0 && !thing.hidden {
            deeds.push(Deed::Remove(index));
        }
        if left.drifts > 0 && !thing.hidden {
            deeds.push(Deed::Drift(index));
        }
        // Nothing can prevent a change of owner between a read and the step that follows.
        let is_calm = |index: usize| {
            let object = world.crs[index].object.as_ref();
            !is_news(world, index) && object.is_none_or(|object| object.deleting_since().is_none())
        };
        let are_calm = Check::<K>::is_idle(world) && (0..world.crs.len()).all(is_calm);
        if left.gifts > 0 && are_calm && world.cloud.requests.is_empty() {
            deeds.push(Deed::Give(index));
        }
        // A list that omits an unrecorded object: this can lead to a second object.
        let are_kept = check.scope.faults.wipes == 0;
        let is_knowable = are_kept || check.scope.indistinguishable || !is_forgotten(world, thing);
        if left.skips > 0 && world.skips.is_none() && is_knowable {
            deeds.push(Deed::Skip(index));
        }
        // An object that is in no record and no list cannot be known.
        let is_recorded = world.crs.iter().any(|cr| cr.has_record_of(thing.remote.id()));
        if left.lies > 0 && world.skips.is_none() && is_recorded {
            deeds.push(Deed::Lie(index));
        }
        if left.denials > 0 && world.denied.is_none() && is_recorded && !thing.hidden {
            deeds.push(Deed::Deny(index));
        }
        if left.lags > 0 && world.lag.is_none() && is_recorded && !thing.hidden {
            deeds.push(Deed::Lag(index));
        }
    }
    // An answer comes, or is lost, before anything else is due.
    let is_waited_for = world.cloud.requests.iter().any(|request| request.by.is_some());
    let may_pass = left.waits > 0 || !waits_for_permit(world);
    if !is_waited_for && may_pass && next_moment(check, world).is_some() {
        deeds.push(Deed::Tick);
    }
    let may_poll = !check.scope.sparse || left == Faults::default();
    if may_poll && is_behind(check, world) {
        deeds.push(Deed::Poll);
    }
    if world.skips.is_some() {
        deeds.push(Deed::Whole);
    }
    let may_kill = !check.scope.sparse || is_sending(world) || check.scope.faults.turns > left.turns;
    if left.kills > 0 && may_kill {
        let oldest = world.crs.iter().map(|cr| cr.older.len()).max().unwrap_or(0);
        deeds.extend((0..=oldest).map(Deed::Kill));
    }
    for (index, cr) in world.crs.iter().enumerate().take(movable) {
        let Some(object) = &cr.object else { continue };
        let is_deleted = object.deleting_since().is_some();
        // The operator cannot know what was in a wiped intent.
        let has_intent = K::object(&object.status).intent.is_some();
        let is_settled = world.cloud.requests.is_empty() && !has_intent;
        let is_listed = world.skips.is_none() || is_deleted || check.scope.indistinguishable;
        if left.wipes > 0 && is_settled && is_listed {
            deeds.push(Deed::Wipe(index));
        }
        if is_deleted {
            continue;
        }
        if left.edits > 0 {
            deeds.push(Deed::Edit(index));
        }
        let is_blank = status_of(object).id.is_none() && status_of(object).intent.is_none();
        if left.copies > 0 && index > 0 && is_blank && world.crs[0].is_ready() {
            deeds.push(Deed::Copy(index));
        }
        if left.turns > 0 && object.lifecycle.management() == ManagementPolicy::Observe {
            deeds.push(Deed::TurnToManage(index));
        }
        if left.deletions > 0 {
            deeds.push(Deed::Delete(index));
        }
        if left.passwords > 0 {
            deeds.push(Deed::Password(index));
        }
        if left.touches > 0 {
            deeds.push(Deed::Touch(index));
        }
        // If an existing object forbids a creation, it exists from the beginning.
        let adopts = |cr: &Cr<K>| {
            let object = cr.object.as_ref();
            object.is_some_and(|object| object.lifecycle.adoption() != AdoptionPolicy::Never)
        };
        let is_beginning = (0..world.crs.len()).all(|it| is_untouched(world, it));
        if left.strangers > 0 && (is_beginning || !world.crs.iter().any(adopts)) {
            let has_id = K::object(&object.status).id.is_some();
            // An object with our tag is ours while we have no other, even if someone else tagged it.
            let sorts = (0..K::STRANGERS).filter(|sort| match (K::Remote::TAGGED, sort) {
                (true, sort) => *sort < 2 || has_id,
                (false, sort) => *sort == 0 || check.scope.indistinguishable,
            });
            deeds.extend(sorts.map(|sort| Deed::Stranger(index, sort)));
        }
    }
}

fn status_of<K: Modelled>(object: &Object<K>) -> &ObjectStatus {
    K::object(&object.status)
}

/// Whether a CR is as it was created, and the process has not reconciled it yet.
fn is_untouched<K: Modelled>(world: &World<K>, index: usize) -> bool {
    let (cr, seat) = (&world.crs[index], &world.process.seats[index]);
    let is_first = cr.object.as_deref().is_some_and(|object| version(object) == 1);
    is_first && cr.secret.version == 1 && matches!((&seat.heard, &seat.phase), (Heard::Listed(_), Phase::Idle))
}

/// Whether an object's CR is not being deleted and has recorded neither an id nor an intent.
fn is_forgotten<K: Modelled>(world: &World<K>, thing: &Thing<K::Remote>) -> bool {
    let mut owners = world.crs.iter().filter(|cr| thing.owner.as_ref() == Some(&cr.uid));
    owners.any(|cr| {
        let object = cr.object.as_ref().filter(|object| object.deleting_since().is_none());
        object.is_some_and(|object| {
            let status = K::object(&object.status);
            status.id.is_none() && status.intent.is_none()
        })
    })
}

fn is_sending<K: Modelled>(world: &World<K>) -> bool {
    let mut seats = world.process.seats.iter();
    seats.any(|seat| matches!(seat.phase, Phase::Recorded(_) | Phase::Sent(..)))
}

/// Whether a recorded write waits for its permit.
fn waits_for_permit<K: Modelled>(world: &World<K>) -> bool {
    let mut seats = world.process.seats.iter();
    seats.any(|seat| matches!(seat.phase, Phase::Recorded(_)))
}

/// Whether the watch has something to deliver.
pub fn is_news<K: Modelled>(world: &World<K>, index: usize) -> bool {
    let newest = world.crs[index].object.as_deref().map(version);
    let heard = world.believed(index).map(|object| version(&object));
    // The watch also delivers what one of our writes returned, with the changes requested meanwhile.
    let is_new = match &world.process.seats[index].heard {
        Heard::Known(entry, _) => entry.has_news(),
        Heard::Listed(_) | Heard::Nothing => false,
    };
    newest != heard || is_new
}

/// Whether a list would show the process anything new.
fn is_behind<K: Modelled>(check: &Check<K>, world: &World<K>) -> bool {
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
fn next_moment<K: Modelled>(check: &Check<K>, world: &World<K>) -> Option<u16> {
    // A creation is proved to have failed only after its confirmation period.
    let asks_for_settling = check.policy.keeps(Guard::ProofAfterSettling);
    let of_intent = |status: &ObjectStatus| {
        unresolved(status).flat_map(move |deadline| {
            let early = (!asks_for_settling).then_some(deadline + 1);
            early.into_iter().chain([deadline + super::SETTLE + 1])
        })
    };
    let records = world.crs.iter().filter_map(|cr| cr.object.as_ref());
    let recorded = records.flat_map(|object| {
        let settles = K::confirmed_at(&object.status).map(|at| second(at.0));
        // While there is an intent, this is the time of its record, and no confirmation period has begun.
        let settles = settles.filter(|_| K::object(&object.status).id.is_some());
        let waits = K::waits_until(&object.status).map(|at| second(at) + 1);
        of_intent(K::object(&object.status)).chain(settles).chain(waits)
    });
    let requests = world.cloud.requests.iter().map(|request| request.until + 1);
    // An object that becomes visible when it settles must be seen; for all others the record has a later moment.
    let shows = world.cloud.things.iter().filter(|thing| thing.hidden);
    let shows = shows.filter_map(|thing| thing.settles).map(|at| at + 1);
    recorded.chain(requests).chain(shows).filter(|at| *at > world.now).min()
}

/// The world after a deed; `None` if it is not possible.
pub fn done<K: Modelled>(check: &Check<K>, world: &World<K>, deed: Deed) -> Option<World<K>> {
    let mut next = world.clone();
    let stale = check.scope.stale;
    match deed {
        Deed::Pass(index) => return Work::on(check, world, index).pass(),
        Deed::Begin(index) => return Work::on(check, world, index).begin(),
        Deed::Permit(index) => return Work::on(check, world, index).permitted(true),
        Deed::NoPermit(index) => {
            next.left.waits -= 1;
            return Work::on(check, &next, index).permitted(false);
        }
        Deed::Hear(index) => return Work::on(check, world, index).hear(),
        Deed::HearAgain(index, back) => return Work::on(check, world, index).hear_again(back),
        Deed::EndLook(which) => return Some(Work::on(check, world, 0).end_query(which)),
        Deed::Poll => return Some(Work::on(check, world, 0).poll()),
        Deed::Answer(index) => {
            let which = waited_for(world, index)?;
            commit(check, &mut next, which);
            let request = next.cloud.requests.remove(which);
            return Work::on(check, &next, index).answered(request.done.as_deref().cloned(), &request.call);
        }
        Deed::Lose(index) => {
            next.left.losses -= 1;
            let which = waited_for(world, index)?;
            next.cloud.requests[which].by = None;
            let call = next.cloud.requests[which].call.clone();
            next.forget_done();
            return Work::on(check, &next, index).answered(None, &call);
        }
        Deed::Refuse(index) => {
            next.left.refusals -= 1;
            let which = waited_for(world, index)?;
            if next.cloud.requests[which].done.is_some() {
                return None;
            }
            let request = next.cloud.requests.remove(which);
            let refusal = Reply::Refused(ErrorKind::QueueFull);
            return Work::on(check, &next, index).answered(Some(refusal), &request.call);
        }
        Deed::Commit(which) => {
            commit(check, &mut next, which);
            next.forget_done();
        }
        Deed::Vanish(which) => {
            next.left.vanishings -= 1;
            next.cloud.things.remove(which);
        }
        Deed::Show(which) => next.cloud.things[which].hidden = false,
        Deed::Tick => {
            let now = next_moment(check, world)?;
            next.now = now;
            next.left.waits -= u8::from(waits_for_permit(world));
            next.cloud
                .requests
                .retain(|request| request.by.is_some() || request.until >= now);
            for thing in &mut next.cloud.things {
                if thing.settles.is_some_and(|at| at < now) {
                    thing.settles = None;
                    thing.hidden &= check.scope.manners.shows_late;
                }
            }
        }
        Deed::Kill(back) => {
            next.left.kills -= 1;
            next.process.started = world.instant(check.base);
            next.process.known = kept_known::<K>(Known::new(OWNER_KEY.to_owned()));
            next.process.queries.clear();
            for (seat, cr) in next.process.seats.iter_mut().zip(&world.crs) {
                let newest = cr.object.clone();
                let shown = back
                    .checked_sub(1)
                    .and_then(|back| cr.older.get(back).cloned())
                    .or(newest.clone());
                *seat = Seat {
                    heard: match (newest, shown) {
                        (Some(_), Some(shown)) => Heard::Listed(shown),
                        _ => Heard::Nothing,
                    },
                    phase: Phase::Idle,
                };
            }
            for request in &mut next.cloud.requests {
                request.by = None;
            }
            next.forget_done();
        }
        Deed::Edit(index) => {
            next.left.edits -= 1;
            next.crs[index].edit(stale);
        }
        Deed::Delete(index) => {
            next.left.deletions -= 1;
            next.crs[index].delete(stale);
        }
        Deed::Password(index) => {
            let used = check.scope.faults.passwords - next.left.passwords + 1;
            next.left.passwords -= 1;
            let secret = &mut next.crs[index].secret;
            secret.value = *check.scope.values.get(usize::from(used))?;
            secret.version += 1;
            return Some(Work::on(check, &next, index).hear_of_secret());
        }
        Deed::Touch(index) => {
            next.left.touches -= 1;
            next.crs[index].secret.version += 1;
            return Some(Work::on(check, &next, index).hear_of_secret());
        }
        Deed::Stranger(index, sort) => {
            next.left.strangers -= 1;
            let cr = &world.crs[index];
            let takes = |thing: &Thing<K::Remote>| K::remote_name(&thing.remote) == Some(cr.name.as_str());
            if K::UNIQUE_NAMES && next.cloud.things.iter().any(takes) {
                return None;
            }
            next.cloud.add(|id| Thing {
                remote: K::strangers(&cr.name, &cr.uid, id, world.now).remove(sort),
                owner: None,
                settles: None,
                hidden: false,
                passwords: Vec::new(),
            });
        }
        Deed::Remove(which) => {
            next.left.removals -= 1;
            next.cloud.things.remove(which);
        }
        Deed::Drift(which) => {
            next.left.drifts -= 1;
            K::drift(&mut next.cloud.things[which].remote);
        }
        Deed::Give(which) => {
            next.left.gifts -= 1;
            let thing = &mut next.cloud.things[which];
            let mut tags = thing.remote.tags()?.clone();
            tags.insert(OWNER_KEY.to_owned(), "another:cluster:n:a".to_owned());
            thing.remote.set_tags(Some(tags));
            thing.owner = None;
        }
        Deed::Skip(which) => {
            next.left.skips -= 1;
            let id = world.cloud.things[which].remote.id().to_owned();
            next.skips = Some(Skip { id, lies: false });
        }
        Deed::Lie(which) => {
            next.left.lies -= 1;
            let id = world.cloud.things[which].remote.id().to_owned();
            next.skips = Some(Skip { id, lies: true });
        }
        Deed::Deny(which) => {
            next.left.denials -= 1;
            next.denied = Some(world.cloud.things[which].remote.id().to_owned());
        }
        Deed::Lag(which) => {
            next.left.lags -= 1;
            next.lag = Some(Lag {
                id: world.cloud.things[which].remote.id().to_owned(),
                answers_read: true,
                answers_list: true,
            });
        }
        Deed::Whole => next.skips = None,
        Deed::Copy(index) => {
            next.left.copies -= 1;
            let status = world.crs[0].object.as_ref()?.status.clone();
            next.crs[index].write(stale, |object| object.status = status);
        }
        Deed::TurnToManage(index) => {
            next.left.turns -= 1;
            next.crs[index].permit(stale);
        }
        Deed::Wipe(index) => {
            next.left.wipes -= 1;
            next.crs[index].refused = None;
            next.crs[index].write(stale, |object| object.status = K::Status::default());
        }
    }
    Some(next)
}

/// The request whose answer the worker of a CR waits for.
fn waited_for<K: Modelled>(world: &World<K>, index: usize) -> Option<usize> {
    world
        .cloud
        .requests
        .iter()
        .position(|request| request.by == Some(index))
}

/// Lets a request take effect, unless it already did.
fn commit<K: Modelled>(check: &Check<K>, world: &mut World<K>, which: usize) {
    let request = world.cloud.requests[which].clone();
    if request.done.is_some() {
        return;
    }
    let target = match &*request.call {
        Call::Change { id, .. } | Call::Delete { id, .. } => world.cloud.find(id),
        Call::Create { .. } => None,
    };
    if target.is_some_and(|thing| thing.owner.as_deref() != Some(request.uid.as_str())) {
        world.harm = true;
    }
    if let Call::Change { id, .. } | Call::Delete { id, .. } = &*request.call
        && world.takes_denial(id)
    {
        world.cloud.requests[which].done = Some(Kept::by_text(Reply::Refused(ErrorKind::Gone)));
        return;
    }
    let reply = world
        .cloud
        .perform(&request.call, Some(&request.uid), world.now, check.scope.manners);
    world.cloud.requests[which].done = Some(Kept::by_text(reply));
}
