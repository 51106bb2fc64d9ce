//! The proofs: their tests, and how to run them.

/// Tests that run together, with a section of the document for their figures.
pub(crate) struct Proof {
    /// The name that the tests report.
    pub name: &'static str,
    /// The subject of the proof, for the document.
    pub subject: &'static str,
    /// The test target of cargo, and its profile.
    pub target: &'static [&'static str],
    /// Filters for their names; empty for all tests of the target.
    pub tests: &'static [&'static str],
}

impl Proof {
    /// A proof by tests of tests/cluster/operator.
    const fn of_operator(name: &'static str, subject: &'static str, tests: &'static [&'static str]) -> Self {
        Self {
            name,
            subject,
            target: &["--test", "cluster"],
            tests,
        }
    }
}

/// All proofs, in the order in which they run.
pub(crate) const PROOFS: &[Proof] = &[
    Proof {
        name: "model check",
        subject: "every state that the operator can reach, within the bounds of the model",
        target: &["--profile", "proof", "-p", "vpn-core", "--lib"],
        tests: &["model::scopes::", "model::conformance::"],
    },
    Proof {
        name: "guards",
        subject: "every check that the guarantees rest on, removed in turn: the model finds a counterexample of a few steps",
        target: &["-p", "vpn-core", "--lib"],
        tests: &["model::guards::"],
    },
    Proof {
        name: "fuzzing",
        subject: "random input for every parser of external data",
        target: &["--profile", "proof", "--test", "fuzz"],
        tests: &[],
    },
    Proof::of_operator(
        "kill sweep",
        "the real binary, killed before and after each request to the cloud and each write to the apiserver",
        &["kill_sweep::"],
    ),
    Proof::of_operator(
        "unknown outcomes",
        "responses that are lost, late or wrong",
        &["outcomes::", "users::replays::"],
    ),
    Proof::of_operator(
        "error table",
        "every documented error of the cloud, for each operation that can receive it",
        &["errors::"],
    ),
    Proof::of_operator(
        "credentials breaker",
        "100 objects on one access key that is invalid, or becomes invalid",
        &["breaker::"],
    ),
    Proof::of_operator(
        "leadership",
        "replicas that are stopped, disconnected, replaced, or lose their Lease",
        &["leadership::"],
    ),
    Proof::of_operator(
        "infrastructure failures",
        "failures and recoveries of the apiserver, etcd, the CRDs, webhooks and the cloud",
        &["infrastructure::"],
    ),
    Proof::of_operator(
        "adversaries",
        "hostile authors of objects and Secrets in one namespace, and a hostile cloud",
        &["adversaries::"],
    ),
    Proof {
        name: "threats",
        subject: "every threat of docs/security.md, with the tests that cover it",
        target: &["--test", "docs"],
        tests: &["every_threat_references_existing_tests"],
    },
    Proof::of_operator(
        "disasters",
        "lost clusters, restores, wiped status, moved objects, wrong credentials",
        &["disaster::"],
    ),
    Proof::of_operator(
        "capacity",
        "memory and connections of many objects under the chart's memory limit, with a program built without optimization",
        &["capacity::"],
    ),
    Proof::of_operator(
        "random specs",
        "random sequences of edits, each compared with a fresh apply of its last spec",
        &["random_specs::"],
    ),
];
