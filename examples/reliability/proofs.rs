//! Which tests prove what, and how they are run.

/// Tests that are run together.
pub struct Run {
    pub name: &'static str,
    /// Which of cargo's test targets they are in, and how it is built.
    pub target: &'static [&'static str],
    /// What their names contain; none: all of the target.
    pub tests: &'static [&'static str],
    /// Names of the proofs whose figures they report.
    pub proves: &'static [&'static str],
}

/// One proof's figures, as the document shows them.
pub struct Proof {
    /// As the tests report it.
    pub name: &'static str,
    pub says: &'static str,
}

impl Run {
    /// Of the operator's own tests.
    const fn of_operator(name: &'static str, tests: &'static [&'static str], proves: &'static [&'static str]) -> Self {
        Self {
            name,
            target: &["--test", "operator"],
            tests,
            proves,
        }
    }
}

/// In the order in which they are run.
pub const RUNS: &[Run] = &[
    Run {
        name: "model check",
        target: &["--profile", "proof", "--lib"],
        tests: &["reconcile::model::"],
        proves: &["model check"],
    },
    Run {
        name: "fuzzing",
        target: &["--profile", "proof", "--test", "fuzz"],
        tests: &[],
        proves: &["fuzzing"],
    },
    Run::of_operator("kill sweep", &["sweep::"], &["kill sweep"]),
    Run::of_operator(
        "unknown outcomes",
        &["outcomes::", "users::replays::"],
        &["unknown outcomes"],
    ),
    Run::of_operator("error table", &["errors::"], &["error table"]),
    Run::of_operator("credentials breaker", &["breaker::"], &["credentials breaker"]),
    Run::of_operator("leadership", &["leadership::"], &["leadership"]),
    Run::of_operator("world fails", &["world_fails::"], &["world fails"]),
    Run::of_operator("adversaries", &["adversaries::"], &["adversaries"]),
    Run {
        name: "adversaries' threats",
        target: &["--test", "docs"],
        tests: &["every_threat_names_tests_that_exist"],
        proves: &["threats"],
    },
    Run::of_operator("disasters", &["disaster::"], &["disasters"]),
    Run::of_operator("random specs", &["random_specs::"], &["random specs"]),
];

/// In the order in which the document shows them.
pub const PROOFS: &[Proof] = &[
    Proof {
        name: "model check",
        says: "every state that the decisions can reach in the bounds of the model",
    },
    Proof {
        name: "kill sweep",
        says: "the real binary, killed before and after each request to the cloud and each write to the apiserver",
    },
    Proof {
        name: "unknown outcomes",
        says: "answers that are lost, late or wrong",
    },
    Proof {
        name: "error table",
        says: "every documented refusal of the cloud, for each operation that can meet it",
    },
    Proof {
        name: "credentials breaker",
        says: "100 objects on one access key that is bad, or goes bad",
    },
    Proof {
        name: "leadership",
        says: "several replicas that are stopped, cut off, robbed of their Lease and replaced",
    },
    Proof {
        name: "world fails",
        says: "the apiserver, etcd, the CRDs, webhooks and the cloud going away and coming back",
    },
    Proof {
        name: "adversaries",
        says: "people who may write objects and Secrets in one namespace, and a cloud that lies",
    },
    Proof {
        name: "threats",
        says: "every threat of docs/security.md names the tests that hold it",
    },
    Proof {
        name: "disasters",
        says: "lost clusters, restores, wiped status, moved objects, wrong credentials",
    },
    Proof {
        name: "random specs",
        says: "random sequences of edits, each compared with a fresh apply of its last spec",
    },
    Proof {
        name: "fuzzing",
        says: "random input for whatever reads data from outside",
    },
];
