//! The models: each goes to its fixpoint.

use std::fmt::Write as _;
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model, Path, Property};
use vpn_operator_testbed::figures;

use super::Check;
use super::cloud::{Manners, Replay};
use super::kinds::Modelled;
use super::people::Deed;
use super::rest::told;
use super::scope::{Faults, Scope};
use super::world::World;
use crate::reconcile::customer_gateway::Gateways;
use crate::reconcile::vpn_user::Users;

/// Visits all that can be reached, and tells how much that was; panics with the shortest way to what should not be.
fn visit<K: Modelled>(name: &str, scope: Scope) {
    let began = Instant::now();
    let checker = Check::<K>::new(scope)
        .checker()
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    if let Some((_, path)) = checker.discoveries().into_iter().next() {
        let Story { wrong, steps, text } = story(checker.model(), path);
        panic!("{name}: not kept after {steps} steps: {wrong}\n{text}");
    }
    assert!(checker.is_done());
    let seconds = began.elapsed().as_secs();
    let count = |number: usize| u64::try_from(number).expect("fits");
    figures::report(
        "model check",
        &[
            (&format!("{name}: states"), count(checker.unique_state_count())),
            (&format!("{name}: steps"), count(checker.state_count())),
            (&format!("{name}: depth"), count(checker.max_depth())),
            (&format!("{name}: seconds"), seconds),
        ],
    );
}

/// A way through the model to the first state in which something is not kept.
pub struct Story {
    /// What is not kept.
    pub wrong: &'static str,
    pub steps: usize,
    /// For people.
    pub text: String,
}

pub fn story<K: Modelled>(check: &Check<K>, path: Path<World<K>, Deed>) -> Story {
    let mut text = String::new();
    let mut steps = 0;
    let mut last = None;
    for (world, deed) in path.into_vec() {
        let _ = writeln!(text, "   {}", told(&world));
        let broken = |property: &Property<Check<K>>| !(property.condition)(check, &world);
        if let Some(property) = check.properties().into_iter().find(broken) {
            if let Some(why) = check.why_no_rest(&world) {
                let _ = writeln!(text, "   and then: {why}");
            }
            last = Some(property.name);
            break;
        }
        steps += 1;
        if let Some(deed) = deed {
            let _ = writeln!(text, "{steps:2} {deed}");
        }
    }
    Story {
        wrong: last.expect("the way leads to what is not kept"),
        steps,
        text,
    }
}

/// A model of one CR, unless told otherwise.
pub fn one(faults: Faults) -> Scope {
    Scope {
        crs: 1,
        faults,
        values: &[1],
        ..Scope::default()
    }
}

/// Each fault so often, none that is not named.
macro_rules! faults {
    ($($fault:ident $times:literal),*) => {
        Faults { $($fault: $times,)* ..Faults::default() }
    };
}
pub(super) use faults;

#[test]
fn a_gateway_that_is_killed_and_unheard_and_deleted() {
    let faults = faults!(kills 2, losses 2, deletions 1);
    visit::<Gateways>("gateway: 2 kills, 2 lost answers, deletion", one(faults));
}

#[test]
fn a_gateway_among_people() {
    let faults = faults!(kills 1, losses 1, strangers 1, gifts 1, deletions 1);
    visit::<Gateways>(
        "gateway: kill, lost answer, stranger, given away, deletion",
        one(faults),
    );
}

#[test]
fn a_gateway_that_is_edited_and_changed_and_deleted_in_the_cloud() {
    let faults = faults!(kills 1, losses 1, edits 2, drifts 1, removals 1);
    visit::<Gateways>(
        "gateway: kill, lost answer, 2 edits, drift, out-of-band deletion",
        one(faults),
    );
}

#[test]
fn a_gateway_seen_through_lists_that_leave_things_out() {
    let mut scope = one(faults!(kills 1, losses 1, skips 1, lies 1, wipes 1, deletions 1));
    scope.manners.lists_without_tags = true;
    let name = "gateway: kill, lost answer, lists without tags and items, status wiped, deletion";
    visit::<Gateways>(name, scope);
}

#[test]
fn a_gateway_seen_through_stale_caches() {
    let mut scope = one(faults!(kills 2, losses 1, deletions 1));
    scope.stale = 2;
    visit::<Gateways>("gateway: 2 kills with stale caches, lost answer, deletion", scope);
}

#[test]
fn a_gateway_seen_through_slow_lists() {
    let mut scope = one(faults!(kills 1, losses 1, deletions 1));
    scope.slow_lists = true;
    visit::<Gateways>("gateway: kill, lost answer, deletion, slow lists", scope);
}

#[test]
fn two_gateways_of_one_name() {
    let mut scope = one(faults!(kills 1, losses 1, strangers 1));
    scope.crs = 2;
    scope.one_name = true;
    visit::<Gateways>("2 gateways of one name: kill, lost answer, stranger", scope);
}

#[test]
fn a_user_that_is_killed_and_unheard_and_deleted() {
    let faults = faults!(kills 2, losses 2, deletions 1);
    visit::<Users>("user: 2 kills, 2 lost answers, deletion", one(faults));
}

#[test]
fn a_user_in_each_kind_of_cloud() {
    for (replay, name) in [
        (Replay::SameId, "same id"),
        (Replay::Repeated, "refused"),
        (Replay::Ignored, "no tokens"),
    ] {
        let mut scope = one(faults!(kills 1, losses 1, strangers 1, edits 1));
        scope.manners.replay = replay;
        let name = format!("user: kill, lost answer, stranger, edit; token again: {name}");
        visit::<Users>(&name, scope);
    }
}

#[test]
fn a_user_that_shows_late_or_vanishes() {
    let mut scope = one(faults!(kills 1, losses 1, vanishings 1, deletions 1));
    scope.manners.hides = true;
    visit::<Users>("user: kill, lost answer, vanishing, deletion before it shows", scope);
    let mut scope = one(faults!(kills 1));
    scope.manners = Manners {
        hides: true,
        shows_late: true,
        ..Manners::default()
    };
    visit::<Users>("user: kill, shows after its settle time", scope);
}

#[test]
fn a_user_whose_password_goes_there_and_back() {
    let plans: [(&'static [u8], &str); 2] = [(&[1, 2, 1], "P1, P2, P1"), (&[1, 2, 3], "P1, P2, P3")];
    for (values, name) in plans {
        let mut scope = one(faults!(kills 1, losses 1, passwords 2, touches 1));
        scope.values = values;
        let name = format!("user: kill, lost answer, password {name}, Secret touched");
        visit::<Users>(&name, scope);
    }
}

#[test]
fn a_user_that_is_edited_and_changed_and_deleted_in_the_cloud() {
    let faults = faults!(kills 1, losses 1, edits 1, drifts 1, removals 1);
    visit::<Users>(
        "user: kill, lost answer, edit, drift, out-of-band deletion",
        one(faults),
    );
}

#[test]
fn a_user_seen_through_stale_caches() {
    let mut scope = one(faults!(kills 1, losses 1, deletions 1));
    scope.stale = 2;
    visit::<Users>("user: kill with stale caches, lost answer, deletion", scope);
}

#[test]
fn two_users_of_one_name() {
    let mut scope = one(faults!(losses 2));
    scope.crs = 2;
    scope.one_name = true;
    visit::<Users>("2 users of one name: 2 lost answers", scope.clone());
    scope.faults = faults!(kills 1, strangers 1);
    visit::<Users>("2 users of one name: kill, stranger", scope.clone());
    scope.faults = faults!(losses 1, deletions 1);
    visit::<Users>("2 users of one name: lost answer, deletion", scope);
}
