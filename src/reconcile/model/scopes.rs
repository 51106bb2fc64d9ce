//! The models: each goes to its fixpoint.

use std::fmt::Write as _;
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model, Path};
use vpn_operator_testbed::figures;

use super::Check;
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
    if let Some((wrong, path)) = checker.discoveries().into_iter().next() {
        panic!("{name}: not kept: {wrong}\n{}", story(checker.model(), path));
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

/// A way through the model, for people.
fn story<K: Modelled>(check: &Check<K>, path: Path<World<K>, Deed>) -> String {
    let mut story = String::new();
    let mut last = None;
    for (number, (world, deed)) in path.into_vec().into_iter().enumerate() {
        let _ = writeln!(story, "   {}", told(&world));
        if let Some(deed) = deed {
            let _ = writeln!(story, "{:2} {deed}", number + 1);
        }
        last = Some(world);
    }
    if let Some(wrong) = last.and_then(|world| check.why_no_rest(&world)) {
        let _ = writeln!(story, "   and then: {wrong}");
    }
    story
}

#[test]
fn a_gateway_that_is_killed_and_unheard() {
    let faults = Faults {
        kills: 2,
        losses: 2,
        deletions: 1,
        ..Faults::default()
    };
    visit::<Gateways>(
        "gateway, killed and unheard",
        Scope {
            crs: 1,
            faults,
            ..Scope::default()
        },
    );
}

#[test]
fn a_user_that_is_killed_and_unheard() {
    let faults = Faults {
        kills: 1,
        losses: 1,
        deletions: 1,
        ..Faults::default()
    };
    visit::<Users>(
        "user, killed and unheard",
        Scope {
            crs: 1,
            faults,
            ..Scope::default()
        },
    );
}
