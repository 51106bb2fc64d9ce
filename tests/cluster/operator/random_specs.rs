//! Random sequences of edits, many in parallel. Each must end like a fresh apply of its last spec, field by field in
//! the cloud and in status.

mod compare;
mod draft;
mod drive;
mod gateways;
mod users;

use std::env;

use futures::stream::{self, StreamExt};
use rand::SeedableRng;
use rand::rngs::StdRng;
use vpn_operator_testbed::{Effort, effort, figures};

use crate::operator::world::{Options, World, alone};
use draft::{Kind, Subject};

/// Objects that are edited in parallel.
const GATEWAYS: usize = 150;
const USERS: usize = 100;
/// Sequences that run at once.
const AT_ONCE: usize = 32;
/// Without `RANDOM_SPECS_SEED` every run has the same sequences.
const SEED: u64 = 20_251_123;

fn seed() -> u64 {
    match env::var("RANDOM_SPECS_SEED") {
        Ok(seed) => seed.parse().expect("RANDOM_SPECS_SEED is a number"),
        Err(_) => SEED,
    }
}

/// How many sequences each object runs.
fn rounds() -> u64 {
    match effort() {
        Effort::Quick => 1,
        Effort::Full => 4,
    }
}

#[tokio::test]
async fn random_edits_end_in_the_same_state_as_a_fresh_apply() {
    let _alone = alone().await;
    let seed = seed();
    println!("random specs: RANDOM_SPECS_SEED={seed}");
    let mut world = World::with(Options::with([
        "--resync-period=0",
        "--max-requests-per-second=2000",
        "--leader-elect-lease-duration=60s",
        "--log-level=info,vpn_operator=debug",
    ]))
    .await;
    drive::furnish(&mut world).await;
    let of_kind = |kind: Kind, count: usize| (0..count).map(move |number| Subject::new(kind, number));
    let mut subjects: Vec<Subject> = of_kind(Kind::Gateway, GATEWAYS)
        .chain(of_kind(Kind::User, USERS))
        .collect();
    let (mut sequences, mut edits, mut fields, mut differ) = (0, 0, 0, 0);
    for round in 0..rounds() {
        let world = &world;
        let run = |(number, mut subject): (usize, Subject)| async move {
            // Each object has its own sequence, independent of what runs in parallel.
            let mut rng = StdRng::seed_from_u64(seed ^ (round << 32) ^ (number as u64 + 1));
            let sequence = subject.draft(&mut rng);
            drive::play(world, &subject, &sequence).await;
            (subject, sequence)
        };
        let numbered: Vec<(usize, Subject)> = subjects.drain(..).enumerate().collect();
        let completed: Vec<_> = stream::iter(numbered).map(run).buffered(AT_ONCE).collect().await;
        let duplicates: Vec<Subject> = completed.iter().map(|(subject, _)| subject.duplicate()).collect();
        stream::iter(&duplicates)
            .for_each_concurrent(AT_ONCE, |duplicate| drive::apply(world, duplicate))
            .await;
        for (subject, sequence) in &completed {
            edits += sequence.len() as u64;
            sequences += 1;
            drive::wait_until_reconciled(world, subject).await;
        }
        for duplicate in &duplicates {
            drive::wait_until_reconciled(world, duplicate).await;
        }
        let (compared, differing) = compare::all(world, &completed, &duplicates).await;
        fields += compared;
        differ += differing;
        drive::remove(world, &duplicates).await;
        subjects = completed.into_iter().map(|(subject, _)| subject).collect();
        compare::assert_nothing_else_exists(world, &subjects).await;
    }
    figures::report(
        "random specs",
        &[
            ("sequences", sequences),
            ("edits", edits),
            ("fields compared", fields),
            ("fields that differ", differ),
            ("seed", seed),
        ],
    );
    assert_eq!(differ, 0);
    world.finish().await;
}
