//! The decision without each of its guards in turn: the model must show, in a few steps, what goes wrong.

use stateright::{Checker, HasDiscoveries, Model};
use vpn_operator_testbed::figures;

use super::Check;
use super::cloud::{Manners, Replay};
use super::kinds::Modelled;
use super::scope::{Faults, Role, Scope};
use super::scopes::{Story, explored, faults, one, story, two};
use crate::reconcile::customer_gateway::Gateways;
use crate::reconcile::decide::Guard;
use crate::reconcile::vpn_user::Users;

/// The most steps that a counter-example may have.
const SHORT: usize = 20;

/// Removes a guard and finds a short counter-example. Returns its number of steps.
fn without<K: Modelled>(guard: Guard, scope: Scope) -> u64 {
    not_kept::<K>(guard, scope, HasDiscoveries::AnyFailures)
}

fn not_kept<K: Modelled>(guard: Guard, scope: Scope, when: HasDiscoveries) -> u64 {
    // With the guard, every property holds in this scope.
    explored::<K>(scope.clone(), &format!("with {guard:?}"));
    let scope = Scope {
        without: Some(guard),
        ..scope
    };
    let checker = Check::<K>::new(scope)
        .checker()
        .finish_when(when)
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

fn gateways(guard: Guard, faults: Faults) -> u64 {
    without::<Gateways>(guard, one(faults))
}

fn users(guard: Guard, faults: Faults) -> u64 {
    without::<Users>(guard, one(faults))
}

fn users_where(guard: Guard, faults: Faults, manners: Manners) -> u64 {
    without::<Users>(guard, Scope { manners, ..one(faults) })
}

fn two_users(guard: Guard, faults: Faults) -> u64 {
    without::<Users>(guard, two(faults))
}

fn passwords(guard: Guard, faults: Faults, values: &'static [u8]) -> u64 {
    without::<Users>(guard, Scope { values, ..one(faults) })
}

#[test]
fn each_question_of_the_decision_is_needed() {
    use Guard as G;
    let untagged = Manners {
        lists_without_tags: true,
        ..Manners::default()
    };
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
    let stale = Scope {
        stale: 2,
        ..one(faults!(kills 1))
    };
    let told_no_tags = Scope {
        manners: untagged,
        ..one(faults!(losses 1))
    };
    let nothing = Faults::default();
    let claimed = |roles, faults| Scope { roles, ..two(faults) };
    let adopted = |role, faults| Scope {
        roles: [role; 2],
        ..one(faults)
    };
    let omitted = Scope {
        manners: Manners {
            lists_omit_fields: true,
            ..Manners::default()
        },
        ..adopted(Role::AdoptsOrCreates, faults!(strangers 1))
    };
    let stories: [(Guard, &dyn Fn(Guard) -> u64); 38] = [
        (G::OneHolder, &|guard| without::<Users>(guard, two(faults!(copies 1)))),
        (G::OneHolderAtWrite, &|guard| {
            without::<Users>(guard, claimed([Role::AdoptsOrCreates; 2], faults!(strangers 1)))
        }),
        (G::ObserverClaims, &|guard| {
            without::<Users>(guard, adopted(Role::Observes, faults!(strangers 1, turns 1)))
        }),
        (G::NameBeforeAdoption, &|guard| {
            without::<Users>(
                guard,
                claimed([Role::Creates, Role::AdoptsOrCreates], faults!(losses 1)),
            )
        }),
        (G::FieldsBeforeConclusions, &|guard| {
            without::<Gateways>(guard, omitted.clone())
        }),
        (G::CandidatesBeforeCreation, &|guard| {
            without::<Gateways>(guard, adopted(Role::AdoptsOrCreates, faults!(strangers 2)))
        }),
        (G::FinalizerFirst, &|guard| gateways(guard, faults!(deletions 1))),
        (G::IntentFirst, &|guard| gateways(guard, faults!(kills 1))),
        (G::RecordCoversRequest, &|guard| {
            gateways(guard, faults!(waits 1, losses 1))
        }),
        (G::PinnedWrites, &|guard| without::<Gateways>(guard, stale.clone())),
        (G::ProofAfterDeadline, &|guard| gateways(guard, faults!(losses 1))),
        (G::ProofAfterSettling, &|guard| gateways(guard, faults!(losses 1))),
        (G::ProofIsComplete, &|guard| gateways(guard, faults!(losses 1, skips 1))),
        (G::TagsBeforeConclusions, &|guard| {
            without::<Gateways>(guard, told_no_tags.clone())
        }),
        (G::OwnTagBeforeChange, &|guard| gateways(guard, faults!(gifts 1))),
        (G::OwnTagBeforeDelete, &|guard| {
            gateways(guard, faults!(gifts 1, deletions 1))
        }),
        (G::TwinWithinWindow, &|guard| gateways(guard, faults!(strangers 1))),
        (G::OnlyGetProvesGone, &|guard| gateways(guard, faults!(lies 1))),
        (G::AbsenceIsConfirmed, &|guard| {
            gateways(guard, faults!(edits 1, denials 1))
        }),
        (G::AbsenceIsConfirmed, &|guard| {
            users(guard, faults!(denials 1, deletions 1))
        }),
        (G::LostIsNotLeftBehind, &|guard| {
            gateways(guard, faults!(edits 1, lags 1))
        }),
        (G::DeleteBeforeRelease, &|guard| {
            gateways(guard, faults!(lags 1, deletions 1))
        }),
        (G::DeleteBeforeRelease, &|guard| {
            users(guard, faults!(lags 1, deletions 1))
        }),
        (G::LostBeforeRelease, &|guard| {
            users(guard, faults!(lags 2, deletions 1))
        }),
        (G::IntentBeforeRelease, &|guard| {
            gateways(guard, faults!(losses 1, deletions 1))
        }),
        (G::CompleteBeforeRelease, &|guard| {
            gateways(guard, faults!(kills 1, wipes 1, deletions 1, skips 1))
        }),
        (G::SettledBeforeGone, &|guard| {
            users_where(guard, faults!(deletions 1), hiding)
        }),
        (G::SettledBeforeConfirmed, &|guard| users(guard, nothing)),
        (G::VanishedIsRemembered, &|guard| users_where(guard, nothing, late)),
        (G::NameOfFellow, &|guard| two_users(guard, faults!(losses 1))),
        (G::NameOfFellowInLane, &|guard| two_users(guard, faults!(losses 2))),
        (G::NameOfStranger, &|guard| users(guard, faults!(strangers 1))),
        (G::WindowOfRecord, &|guard| users(guard, faults!(strangers 1))),
        (G::ReplayedOnce, &|guard| {
            users_where(guard, faults!(strangers 1, losses 1), repeated)
        }),
        (G::PasswordOnce, &|guard| users(guard, nothing)),
        (G::PasswordWaits, &|guard| {
            passwords(guard, faults!(passwords 2, losses 1), &[1, 2, 3])
        }),
        (G::RefusedOnce, &|guard| {
            passwords(guard, faults!(passwords 2), &[1, 2, 1])
        }),
        (G::PasswordAmbiguous, &|guard| {
            passwords(guard, faults!(passwords 2, losses 1), &[1, 2, 1])
        }),
    ];
    let results = stories.map(|(guard, tell)| {
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| tell(guard)));
        (guard, told.ok())
    });
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
