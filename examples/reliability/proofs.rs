//! Which tests prove what, and how they are run.

/// Tests that are run together, and whose figures have a part of the document.
pub struct Proof {
    /// As the tests report it.
    pub name: &'static str,
    /// What is proved, for the document.
    pub says: &'static str,
    /// Which of cargo's test targets they are in, and how it is built.
    pub target: &'static [&'static str],
    /// What their names contain; none: all of the target.
    pub tests: &'static [&'static str],
}

impl Proof {
    /// By the operator's own tests.
    const fn of_operator(name: &'static str, says: &'static str, tests: &'static [&'static str]) -> Self {
        Self {
            name,
            says,
            target: &["--test", "operator"],
            tests,
        }
    }
}

/// In the order in which they are run.
pub const PROOFS: &[Proof] = &[
    Proof {
        name: "model check",
        says: "every state that the decisions can reach in the bounds of the model",
        target: &["--profile", "proof", "--lib"],
        tests: &["reconcile::model::scopes::", "reconcile::model::conformance::"],
    },
    Proof {
        name: "guards",
        says: "every question on which the promise rests, left out in turn: the model finds what goes wrong in a few steps",
        target: &["--lib"],
        tests: &["reconcile::model::guards::"],
    },
    Proof {
        name: "fuzzing",
        says: "random input for whatever reads data from outside",
        target: &["--profile", "proof", "--test", "fuzz"],
        tests: &[],
    },
    Proof::of_operator(
        "kill sweep",
        "the real binary, killed before and after each request to the cloud and each write to the apiserver",
        &["sweep::"],
    ),
    Proof::of_operator(
        "unknown outcomes",
        "answers that are lost, late or wrong",
        &["outcomes::", "users::replays::"],
    ),
    Proof::of_operator(
        "error table",
        "every documented refusal of the cloud, for each operation that can meet it",
        &["errors::"],
    ),
    Proof::of_operator(
        "credentials breaker",
        "100 objects on one access key that is bad, or goes bad",
        &["breaker::"],
    ),
    Proof::of_operator(
        "leadership",
        "several replicas that are stopped, cut off, robbed of their Lease and replaced",
        &["leadership::"],
    ),
    Proof::of_operator(
        "world fails",
        "the apiserver, etcd, the CRDs, webhooks and the cloud going away and coming back",
        &["world_fails::"],
    ),
    Proof::of_operator(
        "adversaries",
        "people who may write objects and Secrets in one namespace, and a cloud that lies",
        &["adversaries::"],
    ),
    Proof {
        name: "threats",
        says: "every threat of docs/security.md names the tests that hold it",
        target: &["--test", "docs"],
        tests: &["every_threat_names_tests_that_exist"],
    },
    Proof::of_operator(
        "disasters",
        "lost clusters, restores, wiped status, moved objects, wrong credentials",
        &["disaster::"],
    ),
    Proof::of_operator(
        "capacity",
        "what many objects cost, under the memory limit of the chart, the program built without optimization",
        &["capacity::"],
    ),
    Proof::of_operator(
        "random specs",
        "random sequences of edits, each compared with a fresh apply of its last spec",
        &["random_specs::"],
    ),
];
