//! Runs every input of the corpus, and a number of inputs made from it, in the test command. For longer runs:
//! `cargo run --profile proof --example fuzz -- --seconds 60` (docs/security.md).

mod corpus;
mod mutate;
mod targets;

use std::panic;

use vpn_operator_testbed::{Effort, effort, figures};

use mutate::Mutator;
use targets::TARGETS;

/// Runs one input. A failure reports the input.
fn run(target: &targets::Target, name: &str, input: &[u8]) {
    let result = panic::catch_unwind(|| (target.run)(input));
    assert!(
        result.is_ok(),
        "{}: {name}: {:?}",
        target.name,
        String::from_utf8_lossy(input)
    );
}

#[test]
fn fuzz_targets_hold_their_properties_for_any_input() {
    let made = match effort() {
        Effort::Quick => 3_000,
        Effort::Full => 200_000,
    };
    let (mut known, mut tried) = (0, 0);
    for target in &TARGETS {
        let inputs = corpus::read(target.name);
        assert!(inputs.len() >= 5, "{} has {} inputs", target.name, inputs.len());
        for (name, input) in &inputs {
            run(target, name, input);
        }
        known += inputs.len() as u64;
        let corpus: Vec<Vec<u8>> = inputs.into_iter().map(|(_, input)| input).collect();
        let mut mutator = Mutator::new(&corpus, 1);
        for number in 0..made {
            run(target, &format!("mutation {number}"), &mutator.input());
        }
        tried += made;
    }
    figures::report(
        "fuzzing",
        &[
            ("targets", TARGETS.len() as u64),
            ("inputs of the corpus", known),
            ("mutated inputs tried", tried),
            ("properties violated", 0),
        ],
    );
}

/// The targets are useful only if parsers accept some inputs of the corpus.
#[test]
fn the_corpus_contains_accepted_and_refused_inputs() {
    use vpn_cloud::credentials::signing::Authorization;
    use vpn_cloud::regions::endpoints;
    use vpn_cloud::values::{password_rules, time};
    use vpn_core::owner_tag::Owner;
    let taken = |target: &str, is_taken: &dyn Fn(&[u8]) -> bool| {
        let inputs = corpus::read(target);
        let taken = inputs.iter().filter(|(_, input)| is_taken(input)).count();
        assert!(
            taken > 0 && taken < inputs.len(),
            "{target}: {taken} of {} are taken",
            inputs.len()
        );
    };
    let text = |input: &[u8]| String::from_utf8_lossy(input).into_owned();
    taken("times", &|input| time::parse(&text(input)).is_ok());
    taken("authorization", &|input| {
        let header = text(input);
        Authorization::parse(header.split("\n\n").next().unwrap_or_default()).is_some()
    });
    taken("passwords", &|input| password_rules::read(input).is_ok());
    taken("endpoints", &|input| endpoints::validate(&text(input), true).is_ok());
    taken("owner-tags", &|input| {
        Owner::parse(&text(input)).is_some_and(|owner| owner.can_exist())
    });
    taken("answers", &|input| text(input).contains("Status: 2"));
}
