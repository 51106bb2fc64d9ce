//! The benchmark in its quick form. It fails on counts only, which are the same on every machine: requests to the cloud, writes
//! to the apiserver, reconciles, Events and connections.

use std::process::Command;

#[test]
fn the_counts_of_a_quick_benchmark_meet_their_goals() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args([
            "run",
            "--quiet",
            "--example",
            "benchmark",
            "--",
            "--quick",
            "--check-counts",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(status.success(), "{status}: see the rows above");
}
