//! The decision without each of its guards in turn: the model must show, in a few steps, what goes wrong.

use stateright::{Checker, HasDiscoveries, Model};
use vpn_operator_testbed::figures;

use crate::kinds::customer_gateway::Gateways;
use crate::kinds::vpn_user::Users;
use crate::model::ModelCheck;
use crate::model::cloud::{Manners, Replay};
use crate::model::kinds::Modelled;
use crate::model::scope::{EventLimits, ModelScope, Role};
use crate::model::scopes::{Story, explored, faults, one, story, two};
use crate::terms::guard::Guard;

/// The most steps that a counter-example may have.
const SHORT: usize = 20;

/// Removes a guard and finds a short counter-example. Returns its number of steps.
fn without<K: Modelled>(guard: Guard, mut scope: ModelScope) -> u64 {
    // With the guard, every property holds in this scope.
    explored::<K>(scope.clone(), &format!("with {guard:?}"));
    scope.without = Some(guard);
    let checker = ModelCheck::<K>::new(scope)
        .checker()
        .finish_when(HasDiscoveries::AnyFailures)
        .target_max_depth(SHORT + 1)
        .spawn_bfs()
        .join();
    let stories = checker
        .discoveries()
        .into_values()
        .map(|path| story(checker.model(), path));
    let shortest = stories.min_by_key(|story| story.steps);
    let Story { wrong, steps, text } = shortest.unwrap_or_else(|| panic!("without {guard:?} no property is violated"));
    println!("without {guard:?}, violated: {wrong}\n{text}");
    assert!(steps <= SHORT, "{guard:?}: {steps} steps");
    u64::try_from(steps).expect("a small number")
}

fn gateways(guard: Guard, faults: EventLimits) -> u64 {
    without::<Gateways>(guard, one(faults))
}

fn users(guard: Guard, faults: EventLimits) -> u64 {
    without::<Users>(guard, one(faults))
}

fn users_where(guard: Guard, faults: EventLimits, manners: Manners) -> u64 {
    without::<Users>(guard, ModelScope { manners, ..one(faults) })
}

fn two_users(guard: Guard, faults: EventLimits) -> u64 {
    without::<Users>(guard, two(faults))
}

fn passwords(guard: Guard, faults: EventLimits, values: &'static [u8]) -> u64 {
    without::<Users>(guard, ModelScope { values, ..one(faults) })
}

/// A guard, and how a counter-example is found without it: the number of its steps.
type GuardCase = (Guard, Box<dyn Fn(Guard) -> u64>);

/// Claims of several CRs, and adoption.
fn of_claims() -> Vec<GuardCase> {
    use Guard as G;
    let claimed = |roles, faults| ModelScope { roles, ..two(faults) };
    let adopted = |role, faults| ModelScope {
        roles: [role; 2],
        ..one(faults)
    };
    let omitted = ModelScope {
        manners: Manners {
            lists_omit_fields: true,
            ..Manners::default()
        },
        ..adopted(Role::AdoptsOrCreates, faults!(unmanaged 1))
    };
    vec![
        (
            G::OneHolder,
            Box::new(move |guard| without::<Users>(guard, two(faults!(copies 1)))),
        ),
        (
            G::OneHolderAtWrite,
            Box::new(move |guard| without::<Users>(guard, claimed([Role::AdoptsOrCreates; 2], faults!(unmanaged 1)))),
        ),
        (
            G::ObserverClaims,
            Box::new(move |guard| {
                without::<Users>(guard, adopted(Role::Observes, faults!(unmanaged 1, policy_changes 1)))
            }),
        ),
        (
            G::NameBeforeAdoption,
            Box::new(move |guard| {
                without::<Users>(
                    guard,
                    claimed([Role::Creates, Role::AdoptsOrCreates], faults!(losses 1)),
                )
            }),
        ),
        (
            G::FieldsBeforeConclusions,
            Box::new(move |guard| without::<Gateways>(guard, omitted.clone())),
        ),
        (
            G::CandidatesBeforeCreation,
            Box::new(move |guard| without::<Gateways>(guard, adopted(Role::AdoptsOrCreates, faults!(unmanaged 2)))),
        ),
    ]
}

/// Creations of gateways.
fn of_gateways() -> Vec<GuardCase> {
    use Guard as G;
    let stale = ModelScope {
        stale: 2,
        ..one(faults!(kills 1))
    };
    let lists_without_tags = ModelScope {
        manners: Manners {
            lists_without_tags: true,
            ..Manners::default()
        },
        ..one(faults!(losses 1))
    };
    vec![
        (
            G::FinalizerFirst,
            Box::new(move |guard| gateways(guard, faults!(deletions 1))),
        ),
        (G::IntentFirst, Box::new(move |guard| gateways(guard, faults!(kills 1)))),
        (
            G::RecordCoversRequest,
            Box::new(move |guard| gateways(guard, faults!(waits 1, losses 1))),
        ),
        (
            G::PinnedWrites,
            Box::new(move |guard| without::<Gateways>(guard, stale.clone())),
        ),
        (
            G::ProofAfterDeadline,
            Box::new(move |guard| gateways(guard, faults!(losses 1))),
        ),
        (
            G::ProofAfterConfirmationPeriod,
            Box::new(move |guard| gateways(guard, faults!(losses 1))),
        ),
        (
            G::ProofIsComplete,
            Box::new(move |guard| gateways(guard, faults!(losses 1, skips 1))),
        ),
        (
            G::TagsBeforeConclusions,
            Box::new(move |guard| without::<Gateways>(guard, lists_without_tags.clone())),
        ),
    ]
}

/// Changes, losses and deletions of gateways.
fn of_existing_gateways() -> Vec<GuardCase> {
    use Guard as G;
    vec![
        (
            G::OwnTagBeforeChange,
            Box::new(move |guard| gateways(guard, faults!(gifts 1))),
        ),
        (
            G::OwnTagBeforeDelete,
            Box::new(move |guard| gateways(guard, faults!(gifts 1, deletions 1))),
        ),
        (
            G::DuplicateWithinWindow,
            Box::new(move |guard| gateways(guard, faults!(unmanaged 1))),
        ),
        (
            G::OnlyGetProvesAbsence,
            Box::new(move |guard| gateways(guard, faults!(lies 1))),
        ),
        (
            G::AbsenceIsConfirmed,
            Box::new(move |guard| gateways(guard, faults!(edits 1, denials 1))),
        ),
        (
            G::LostIsNotLeftBehind,
            Box::new(move |guard| gateways(guard, faults!(edits 1, lags 1))),
        ),
        (
            G::DeleteBeforeRelease,
            Box::new(move |guard| gateways(guard, faults!(lags 1, deletions 1))),
        ),
        (
            G::IntentBeforeRelease,
            Box::new(move |guard| gateways(guard, faults!(losses 1, deletions 1))),
        ),
        (
            G::CompleteBeforeRelease,
            Box::new(move |guard| gateways(guard, faults!(kills 1, wipes 1, deletions 1, skips 1))),
        ),
    ]
}

/// Creations and deletions of users, which have no tags.
fn of_users() -> Vec<GuardCase> {
    use Guard as G;
    let nothing = EventLimits::default();
    let hiding = Manners {
        hides: true,
        ..Manners::default()
    };
    let late = Manners {
        shows_late: true,
        ..hiding
    };
    let repeated = Manners {
        replay: Replay::Repeated,
        ..Manners::default()
    };
    vec![
        (
            G::AbsenceIsConfirmed,
            Box::new(move |guard| users(guard, faults!(denials 1, deletions 1))),
        ),
        (
            G::DeleteBeforeRelease,
            Box::new(move |guard| users(guard, faults!(lags 1, deletions 1))),
        ),
        (
            G::LostBeforeRelease,
            Box::new(move |guard| users(guard, faults!(lags 2, deletions 1))),
        ),
        (
            G::ConfirmationBeforeAbsence,
            Box::new(move |guard| users_where(guard, faults!(deletions 1), hiding)),
        ),
        (
            G::PeriodBeforeConfirmation,
            Box::new(move |guard| users(guard, nothing)),
        ),
        (
            G::DisappearanceIsRecorded,
            Box::new(move |guard| users_where(guard, nothing, late)),
        ),
        (
            G::NameOfAnotherObject,
            Box::new(move |guard| two_users(guard, faults!(losses 1))),
        ),
        (
            G::NameOfAnotherObjectInQueue,
            Box::new(move |guard| two_users(guard, faults!(losses 2))),
        ),
        (
            G::NameOfUnmanaged,
            Box::new(move |guard| users(guard, faults!(unmanaged 1))),
        ),
        (
            G::WindowOfRecord,
            Box::new(move |guard| users(guard, faults!(unmanaged 1))),
        ),
        (
            G::ReplayedOnce,
            Box::new(move |guard| users_where(guard, faults!(unmanaged 1, losses 1), repeated)),
        ),
    ]
}

/// Passwords of users.
fn of_passwords() -> Vec<GuardCase> {
    use Guard as G;
    let nothing = EventLimits::default();
    vec![
        (G::PasswordOnce, Box::new(move |guard| users(guard, nothing))),
        (
            G::PasswordWaits,
            Box::new(move |guard| passwords(guard, faults!(passwords 2, losses 1), &[1, 2, 3])),
        ),
        (
            G::RefusedOnce,
            Box::new(move |guard| passwords(guard, faults!(passwords 2), &[1, 2, 1])),
        ),
        (
            G::PasswordAmbiguous,
            Box::new(move |guard| passwords(guard, faults!(passwords 2, losses 1), &[1, 2, 1])),
        ),
    ]
}

#[test]
fn every_guard_of_the_decision_is_necessary() {
    let cases = [
        of_claims(),
        of_gateways(),
        of_existing_gateways(),
        of_users(),
        of_passwords(),
    ];
    let results = cases.into_iter().flatten().map(|(guard, run)| {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(guard)));
        (guard, outcome.ok())
    });
    let results: Vec<_> = results.collect();
    assert_eq!(results.len(), 38);
    let missed: Vec<_> = results.iter().filter(|(_, steps)| steps.is_none()).collect();
    assert!(missed.is_empty(), "not shown in a few steps: {missed:?}");
    let guards: std::collections::HashSet<Guard> = results.iter().map(|(guard, _)| *guard).collect();
    let count = u64::try_from(guards.len()).expect("a small number");
    let longest = results.iter().filter_map(|(_, steps)| *steps).max().unwrap_or_default();
    figures::report(
        "guards",
        &[
            ("guards whose removal is detected", count),
            ("longest counter-example, steps", longest),
        ],
    );
}
