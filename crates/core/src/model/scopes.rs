//! The model checks: each explores all states of its scope.

use std::fmt::Write as _;
use std::num::NonZero;
use std::thread;
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model, Path, Property};
use vpn_operator_testbed::figures::{self, Effort};

use crate::kinds::customer_gateway::Gateways;
use crate::kinds::vpn_user::Users;
use crate::model::ModelCheck;
use crate::model::action::ModelAction;
use crate::model::cloud::Replay;
use crate::model::kinds::Modelled;
use crate::model::rest::describe;
use crate::model::scope::{EventLimits, ModelScope, Role};
use crate::model::world::ModelWorld;

/// Sets how often each named fault may happen; all others never happen.
macro_rules! faults {
    ($($fault:ident $times:literal),*) => {
        EventLimits { $($fault: $times,)* ..EventLimits::default() }
    };
}

pub(super) use faults;

/// Explores all reachable states, and reports their number. Panics with a path to a violated property. A full run uses
/// `more` faults.
fn visit<K: Modelled>(mut scope: ModelScope, more: EventLimits) {
    if figures::effort() == Effort::Full {
        scope.faults = more;
    }
    let name = format!("{}, {scope}", K::KIND);
    let began = Instant::now();
    let checker = explored::<K>(scope, &name);
    let count = |number: usize| u64::try_from(number).expect("fits");
    figures::report(
        "model check",
        &[
            (&format!("{name}: states"), count(checker.unique_state_count())),
            (&format!("{name}: steps"), count(checker.state_count())),
            (&format!("{name}: depth"), count(checker.max_depth())),
            (&format!("{name}: seconds"), began.elapsed().as_secs()),
        ],
    );
}

/// Explores all reachable states; panics with a path to a violated property.
pub(crate) fn explored<K: Modelled>(scope: ModelScope, name: &str) -> impl Checker<ModelCheck<K>> {
    let checker = ModelCheck::<K>::new(scope)
        .checker()
        // The largest scope ends last and runs alone, so it may use all CPUs.
        .threads(thread::available_parallelism().map_or(1, NonZero::get))
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    if let Some((_, path)) = checker.discoveries().into_iter().next() {
        let Story { wrong, steps, text } = story(checker.model(), path);
        panic!("{name}: violated after {steps} steps: {wrong}\n{text}");
    }
    assert!(checker.is_done());
    checker
}

/// A path through the model to the first state that violates a property.
pub(crate) struct Story {
    /// The violated property.
    pub wrong: &'static str,
    pub steps: usize,
    /// The path as text.
    pub text: String,
}

pub(crate) fn story<K: Modelled>(check: &ModelCheck<K>, path: Path<ModelWorld<K>, ModelAction>) -> Story {
    let mut text = String::new();
    let mut steps = 0;
    let mut last = None;
    for (world, action) in path.into_vec() {
        let _ = writeln!(text, "   {}", describe(&world));
        let broken = |property: &Property<ModelCheck<K>>| !(property.condition)(check, &world);
        if let Some(property) = check.properties().into_iter().find(broken) {
            if let Some(why) = check.why_no_rest(&world) {
                let _ = writeln!(text, "   and then: {why}");
            }
            last = Some(property.name);
            break;
        }
        steps += 1;
        if let Some(action) = action {
            let _ = writeln!(text, "{steps:2} {action}");
        }
    }
    Story {
        wrong: last.expect("the path leads to a violated property"),
        steps,
        text,
    }
}

/// Returns a scope of one CR.
pub(crate) fn one(faults: EventLimits) -> ModelScope {
    ModelScope {
        crs: 1,
        faults,
        values: &[1],
        ..ModelScope::default()
    }
}

/// Returns a scope of two CRs that use one name.
pub(crate) fn two(faults: EventLimits) -> ModelScope {
    ModelScope {
        crs: 2,
        one_name: true,
        ..one(faults)
    }
}

#[test]
fn invariants_hold_for_a_gateway_with_kills_lost_responses_and_deletion() {
    let scope = one(faults!(kills 2, losses 2, deletions 1));
    visit::<Gateways>(scope, faults!(kills 3, losses 3, refusals 1, edits 1, deletions 1));
}

/// A recorded write waits for its permit and may be withdrawn; time may pass meanwhile.
#[test]
fn invariants_hold_for_a_gateway_with_late_or_missing_permits() {
    visit::<Gateways>(
        one(faults!(waits 1, losses 1)),
        faults!(waits 2, kills 1, losses 1, edits 1, deletions 1),
    );
}

#[test]
fn invariants_hold_for_users_with_late_or_missing_permits() {
    visit::<Users>(
        one(faults!(waits 1, losses 1)),
        faults!(waits 2, kills 1, losses 1, deletions 1),
    );
    let mut scope = one(faults!(waits 1, passwords 1));
    scope.values = &[1, 2];
    visit::<Users>(scope, faults!(waits 2, losses 1, passwords 1));
    visit::<Users>(two(faults!(waits 1)), faults!(waits 1, losses 1));
}

#[test]
fn invariants_hold_for_a_gateway_beside_unmanaged_and_given_gateways() {
    let scope = one(faults!(kills 1, unmanaged 1, gifts 1, deletions 1));
    visit::<Gateways>(scope, faults!(kills 2, losses 2, unmanaged 2, gifts 1, deletions 1));
}

#[test]
fn invariants_hold_for_a_gateway_with_edits_drift_and_cloud_deletion() {
    let scope = one(faults!(losses 1, edits 2, removals 1));
    visit::<Gateways>(scope, faults!(kills 2, losses 2, edits 2, drifts 1, removals 1));
}

#[test]
fn invariants_hold_for_a_gateway_with_stale_caches() {
    let mut scope = one(faults!(kills 1, losses 1, deletions 1));
    scope.stale = 2;
    visit::<Gateways>(scope, faults!(kills 2, losses 2, edits 1, deletions 1));
}

#[test]
fn invariants_hold_for_a_gateway_with_slow_lists() {
    let mut scope = one(faults!(kills 1, losses 1, deletions 1));
    scope.slow_lists = true;
    visit::<Gateways>(scope, faults!(kills 2, losses 2, removals 1, deletions 1));
}

#[test]
fn invariants_hold_for_a_gateway_with_lists_omitting_objects_or_tags() {
    let scope = one(faults!(kills 1, losses 1, skips 1, deletions 1));
    visit::<Gateways>(scope, faults!(kills 2, losses 2, skips 1, deletions 1));
    let scope = one(faults!(kills 1, losses 1, lies 1, deletions 1));
    visit::<Gateways>(scope, faults!(kills 2, losses 2, lies 1, deletions 1));
    let mut scope = one(faults!(kills 1, losses 1, unmanaged 1, deletions 1));
    scope.manners.lists_without_tags = true;
    visit::<Gateways>(scope, faults!(kills 2, losses 2, unmanaged 1, deletions 1));
}

/// One wrong 404, to a GET or to a write, changes nothing.
#[test]
fn invariants_hold_for_a_gateway_with_a_false_404() {
    let scope = one(faults!(edits 1, denials 1, deletions 1));
    visit::<Gateways>(scope, faults!(kills 1, losses 1, edits 1, denials 1, deletions 1));
    let scope = one(faults!(gifts 1, denials 1, deletions 1));
    visit::<Gateways>(scope, faults!(kills 1, gifts 1, denials 1, deletions 1));
}

#[test]
fn invariants_hold_for_a_user_with_a_false_404() {
    let scope = one(faults!(losses 1, denials 1, deletions 1));
    visit::<Users>(scope, faults!(kills 1, losses 1, edits 1, denials 1, deletions 1));
}

/// A replica that lacks the gateway answers a read and the list that must confirm it. The gateway may be recreated. The
/// old one is not deleted then, nor left behind once the object is deleted.
#[test]
fn invariants_hold_for_a_gateway_with_lagging_replica_reads() {
    visit::<Gateways>(one(faults!(edits 1, lags 1)), faults!(edits 2, lags 1, drifts 1));
    let scope = one(faults!(lags 1, deletions 1));
    visit::<Gateways>(scope, faults!(kills 2, lags 1, deletions 1));
}

#[test]
fn invariants_hold_for_a_user_with_lagging_replica_reads() {
    visit::<Users>(one(faults!(losses 1, lags 1)), faults!(kills 1, edits 1, lags 1));
    let scope = one(faults!(lags 1, deletions 1));
    visit::<Users>(scope, faults!(kills 1, lags 1, deletions 1));
}

/// A limit of what the operator can know: neither the record nor the list shows the first gateway.
#[test]
fn a_wiped_status_and_an_incomplete_list_cause_a_second_gateway() {
    let mut scope = one(faults!(kills 1, skips 1, wipes 1));
    visit::<Gateways>(scope.clone(), scope.faults);
    scope.indistinguishable = true;
    assert_eq!(
        broken_in::<Gateways>(scope),
        ["no CR has two objects at once"],
        "but one of them is deleted again"
    );
}

#[test]
fn invariants_hold_for_two_gateways_with_one_name() {
    visit::<Gateways>(two(faults!(kills 1, losses 1)), faults!(kills 1, losses 1, unmanaged 1));
    visit::<Gateways>(two(faults!(deletions 1)), faults!(losses 1, deletions 2));
}

#[test]
fn invariants_hold_for_a_user_with_kills_lost_responses_and_deletion() {
    visit::<Users>(
        one(faults!(kills 2, losses 2)),
        faults!(kills 3, losses 3, refusals 1, edits 1),
    );
    let scope = one(faults!(kills 1, losses 1, deletions 1));
    visit::<Users>(scope, faults!(kills 2, losses 2, edits 1, deletions 1));
}

#[test]
fn invariants_hold_for_a_user_with_each_form_of_token_replay() {
    for replay in [Replay::SameId, Replay::Repeated, Replay::Ignored] {
        let mut scope = one(faults!(losses 1, unmanaged 1, edits 1));
        scope.manners.replay = replay;
        visit::<Users>(scope, faults!(kills 2, losses 2, unmanaged 1, edits 2, deletions 1));
    }
}

/// In a cloud that supports tokens, a replay proves the owner of a user that differs from the spec. In other clouds it
/// does no harm.
#[test]
fn invariants_hold_for_a_user_changed_before_its_creation_is_resolved() {
    for replay in [Replay::SameId, Replay::Repeated, Replay::Ignored] {
        let mut scope = one(faults!(losses 1, unmanaged 1, drifts 1));
        scope.manners.replay = replay;
        visit::<Users>(scope, faults!(kills 1, losses 2, unmanaged 1, drifts 1));
    }
}

#[test]
fn invariants_hold_for_a_user_lost_after_its_creation() {
    let scope = one(faults!(kills 1, losses 1, disappearances 1));
    visit::<Users>(scope, faults!(kills 2, losses 2, disappearances 2));
    let scope = one(faults!(losses 1, disappearances 1, deletions 1));
    visit::<Users>(
        scope,
        faults!(kills 1, losses 2, removals 1, disappearances 1, deletions 1),
    );
}

#[test]
fn invariants_hold_for_a_user_invisible_before_its_confirmation() {
    let mut scope = one(faults!(kills 1, losses 1, deletions 1));
    scope.manners.hides = true;
    visit::<Users>(scope.clone(), faults!(kills 2, losses 2, deletions 1));
    scope.faults = faults!(disappearances 1, deletions 1);
    visit::<Users>(scope, faults!(kills 1, losses 1, disappearances 1, deletions 1));
}

#[test]
fn invariants_hold_for_a_user_visible_after_the_confirmation_period() {
    let mut scope = one(faults!(kills 1, losses 1));
    (scope.manners.hides, scope.manners.shows_late) = (true, true);
    visit::<Users>(scope.clone(), faults!(kills 2, losses 2));
    scope.faults = faults!(losses 1, disappearances 1);
    visit::<Users>(scope, faults!(kills 1, losses 1, disappearances 1));
}

/// A limit of what the operator can know: it relies on the configured confirmation period.
#[test]
fn only_a_deletion_can_orphan_a_late_visible_user() {
    let mut scope = one(faults!(deletions 1));
    (scope.manners.hides, scope.manners.shows_late) = (true, true);
    assert_eq!(
        broken_in::<Users>(scope),
        ["a finished deletion leaves nothing behind"],
        "but never two, nor another one"
    );
}

#[test]
fn invariants_hold_for_a_user_with_drift_and_cloud_deletion() {
    let scope = one(faults!(kills 1, drifts 1, removals 1));
    visit::<Users>(scope, faults!(kills 1, losses 1, edits 1, drifts 1, removals 1));
}

#[test]
fn invariants_hold_for_a_user_with_stale_caches() {
    let mut scope = one(faults!(kills 1, losses 1, deletions 1));
    scope.stale = 2;
    visit::<Users>(scope, faults!(kills 2, losses 2, edits 1, deletions 1));
}

#[test]
fn invariants_hold_for_a_user_with_lists_omitting_objects() {
    visit::<Users>(
        one(faults!(kills 1, losses 1, skips 1)),
        faults!(kills 2, losses 2, skips 1),
    );
    visit::<Users>(
        one(faults!(losses 1, skips 1, deletions 1)),
        faults!(kills 1, losses 1, skips 1, deletions 1),
    );
    visit::<Users>(
        one(faults!(kills 1, losses 1, lies 1)),
        faults!(kills 2, losses 2, lies 1, deletions 1),
    );
}

#[test]
fn invariants_hold_for_a_user_with_a_password_changed_back() {
    for values in [&[1, 2, 1][..], &[1, 2, 3]] {
        let mut scope = one(faults!(kills 1, losses 1, passwords 2));
        scope.values = values;
        visit::<Users>(scope, faults!(kills 2, losses 2, passwords 2));
    }
}

#[test]
fn invariants_hold_for_a_user_with_secret_writes_without_a_change() {
    let mut scope = one(faults!(kills 1, losses 1, passwords 1, touches 1));
    scope.values = &[1, 2];
    visit::<Users>(scope, faults!(kills 1, losses 2, passwords 1, touches 2));
}

/// A repeated watch event only triggers a reconcile, which may come at any moment anyway. Its content is known.
#[test]
fn repeated_watch_events_change_nothing() {
    let mut scope = one(faults!(kills 1, losses 1, edits 1));
    (scope.repeats, scope.stale) = (true, 1);
    visit::<Users>(scope.clone(), faults!(kills 2, losses 1, edits 1, deletions 1));
    visit::<Gateways>(scope, faults!(kills 2, losses 1, edits 1, deletions 1));
}

/// All at once: two CRs, an unmanaged user, two kills, two lost responses.
#[test]
fn invariants_hold_for_two_users_with_one_name_and_combined_faults() {
    let scope = ModelScope {
        sparse: true,
        ..two(faults!(kills 2, losses 2, unmanaged 1))
    };
    visit::<Users>(scope, faults!(kills 3, losses 2, unmanaged 1));
}

#[test]
fn invariants_hold_for_two_users_with_one_name() {
    visit::<Users>(two(faults!(losses 2)), faults!(losses 3));
    visit::<Users>(
        two(faults!(losses 1, deletions 1)),
        faults!(kills 1, losses 1, deletions 2),
    );
}

/// Each resource has one owner. While the first CR creates, holds or deletes it, the second one names its id, adopts
/// it, or has only observed it until now.
#[test]
fn a_resource_of_one_cr_is_not_taken_by_another() {
    for second in [Role::Names, Role::AdoptsOrCreates, Role::Adopts, Role::Observes] {
        let mut scope = two(faults!(losses 1));
        scope.roles = [Role::Creates, second];
        scope.faults.policy_changes = u8::from(second == Role::Observes);
        scope.sparse = true;
        let mut more = EventLimits {
            kills: 1,
            ..scope.faults
        };
        visit::<Users>(scope.clone(), more);
        visit::<Gateways>(scope.clone(), more);
        scope.faults = EventLimits {
            policy_changes: scope.faults.policy_changes,
            ..faults!(deletions 1)
        };
        more.deletions = 1;
        // Deletions of observed resources have a scope of one CR of their own.
        if second != Role::Observes || figures::effort() == Effort::Full {
            visit::<Users>(scope, more);
        }
    }
}

/// Stale responses make the first CR take its user for lost. The user reappears, and the second CR could adopt it.
#[test]
fn a_reappeared_user_of_one_cr_is_not_taken_by_another() {
    for second in [Role::Names, Role::AdoptsOrCreates, Role::Adopts] {
        let mut scope = two(faults!(lags 1));
        (scope.roles, scope.sparse) = ([Role::Creates, second], true);
        visit::<Users>(scope, faults!(kills 1, losses 1, lags 1));
    }
}

/// The process restarts between the observation and the edit, and between the edit and its first reconcile.
#[test]
fn a_resource_observed_before_a_restart_is_not_held_after_it() {
    let mut scope = one(faults!(kills 1, unmanaged 1, policy_changes 1, deletions 1));
    scope.roles = [Role::Observes; 2];
    let more = EventLimits {
        kills: 2,
        losses: 1,
        ..scope.faults
    };
    visit::<Users>(scope.clone(), more);
    visit::<Gateways>(scope, more);
    let mut scope = two(faults!(kills 1, policy_changes 1));
    (scope.roles, scope.sparse) = ([Role::Creates, Role::Observes], true);
    let more = EventLimits {
        losses: 1,
        ..scope.faults
    };
    visit::<Users>(scope, more);
}

/// Of two CRs that adopt one resource, one gets it, and gives it up only when it is deleted.
#[test]
fn only_one_of_two_crs_adopts_a_resource() {
    for roles in [
        [Role::AdoptsOrCreates, Role::Names],
        [Role::Adopts, Role::AdoptsOrCreates],
        [Role::Observes, Role::Names],
        [Role::Observes, Role::Observes],
    ] {
        let mut scope = two(faults!(unmanaged 1));
        (scope.roles, scope.sparse) = (roles, true);
        scope.faults.policy_changes = u8::from(roles.contains(&Role::Observes)) * 2;
        // A deletion shows whether a claim ends with its object.
        scope.faults.deletions = u8::from(roles[1] == Role::Names && roles[0] != Role::Observes);
        let more = EventLimits {
            kills: 1,
            deletions: 1,
            ..scope.faults
        };
        visit::<Users>(scope.clone(), more);
        if roles != [Role::Observes; 2] {
            visit::<Gateways>(scope, more);
        }
    }
}

/// Of two CRs with one id in status, as after a restore under another name, one manages and deletes the resource.
#[test]
fn only_one_of_two_crs_with_one_id_in_status_manages_it() {
    visit::<Users>(two(faults!(copies 1)), faults!(copies 1, kills 1, deletions 2));
    visit::<Gateways>(
        two(faults!(copies 1, deletions 1)),
        faults!(copies 1, kills 1, deletions 2),
    );
}

/// Lists omit immutable fields and tags; several resources could be meant.
#[test]
fn an_existing_gateway_is_adopted_despite_omitted_list_fields() {
    for role in [Role::AdoptsOrCreates, Role::Adopts, Role::Observes] {
        for lists_without_tags in [false, true] {
            let mut scope = one(faults!(unmanaged 2, losses 1));
            scope.roles = [role; 2];
            scope.manners.lists_omit_fields = true;
            scope.manners.lists_without_tags = lists_without_tags;
            scope.faults.policy_changes = u8::from(role == Role::Observes);
            let more = EventLimits {
                kills: 1,
                ..scope.faults
            };
            visit::<Gateways>(scope, more);
        }
    }
}

/// A limit of what the operator can know: users have no tags.
#[test]
fn an_indistinguishable_user_is_taken_only_during_an_unknown_outcome() {
    let mut scope = one(faults!(unmanaged 1, edits 1, deletions 1));
    scope.indistinguishable = true;
    visit::<Users>(scope.clone(), faults!(unmanaged 2, edits 1, refusals 1, deletions 1));
    // If a response is lost, that user is taken for the result of the creation: one user, not ours. The lost request
    // may take effect once that user is deleted.
    scope.faults = faults!(unmanaged 1, losses 1, deletions 1);
    let taken = [
        "a finished deletion leaves nothing behind",
        "no object of another owner is changed or deleted",
        "there is a way to rest, with one object for each CR",
    ];
    assert_eq!(broken_in::<Users>(scope), taken, "but never two objects at once");
}

/// Returns the properties that are violated in a scope with events that the operator cannot detect.
fn broken_in<K: Modelled>(scope: ModelScope) -> Vec<&'static str> {
    let checker = ModelCheck::<K>::new(scope).checker().spawn_bfs().join();
    let mut broken: Vec<_> = checker.discoveries().into_keys().collect();
    broken.sort_unstable();
    broken
}
