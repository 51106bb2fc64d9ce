//! Which tests prove what, and how they are run.

/// Tests that are run together.
pub struct Run {
    pub name: &'static str,
    /// The arguments of cargo.
    pub cargo: &'static [&'static str],
}

/// One proof's figures, as the document shows them.
pub struct Proof {
    /// As the tests report it.
    pub name: &'static str,
    pub says: &'static str,
}

/// In the order in which they are run.
pub const RUNS: &[Run] = &[
    Run {
        name: "model check",
        cargo: &[
            "test",
            "--profile",
            "proof",
            "--lib",
            "--",
            "--nocapture",
            "reconcile::model::",
        ],
    },
    Run {
        name: "fuzzing",
        cargo: &["test", "--profile", "proof", "--test", "fuzz", "--", "--nocapture"],
    },
    Run {
        name: "kill sweep",
        cargo: &["test", "--test", "operator", "--", "--nocapture", "sweep::"],
    },
    Run {
        name: "faults",
        cargo: &[
            "test",
            "--test",
            "operator",
            "--",
            "--nocapture",
            "outcomes::",
            "users::replays::",
            "errors::",
            "breaker::",
        ],
    },
    Run {
        name: "leadership",
        cargo: &[
            "test",
            "--test",
            "operator",
            "--",
            "--nocapture",
            "leadership::",
            "world_fails::",
        ],
    },
    Run {
        name: "adversaries",
        cargo: &["test", "--test", "operator", "--", "--nocapture", "adversaries::"],
    },
    Run {
        name: "adversaries' threats",
        cargo: &[
            "test",
            "--test",
            "docs",
            "--",
            "--nocapture",
            "every_threat_names_tests_that_exist",
        ],
    },
    Run {
        name: "disasters",
        cargo: &[
            "test",
            "--test",
            "operator",
            "--",
            "--nocapture",
            "disaster::",
            "random_specs::",
        ],
    },
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
