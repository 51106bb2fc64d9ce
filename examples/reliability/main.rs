//! Every proof of the operator's promises in its full form, and the document that shows what they counted:
//! `cargo run --example reliability` runs them and writes the figures into `docs/contributing/reliability.md`, each with the version that
//! it is about.

mod document;
mod proofs;

use std::process::{Command, ExitCode};

use clap::Parser;
use vpn_operator_testbed::figures::{self, Figures};

use proofs::{PROOFS, Proof};

/// Whatever ends a proof early; people read it, nobody acts on its kind.
type Failure = Box<dyn std::error::Error>;

#[derive(Parser)]
#[command(
    about = "Runs every proof in its full form and writes what they counted into docs/contributing/reliability.md"
)]
struct Arguments {
    /// Run only the proofs whose name contains this, and renew only their figures
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Run each proof in the form that the test command has time for, and leave the document alone
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    match prove(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("reliability: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what was chosen, one after the other; what was counted is written at once, so that a run that ends early loses
/// nothing, and one that failed keeps none of the others from being run.
fn prove(arguments: &Arguments) -> Result<(), Failure> {
    let only = arguments.only.as_deref().unwrap_or_default();
    let chosen: Vec<&Proof> = PROOFS.iter().filter(|proof| proof.name.contains(only)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = PROOFS.iter().map(|proof| proof.name).collect();
        return Err(format!("no proof's name contains {only:?}; there are: {}", names.join(", ")).into());
    }
    let version = version()?;
    let mut failed = Vec::new();
    for proof in chosen {
        match figures_of(proof, arguments.quick) {
            Ok(figures) => {
                let table = document::table(proof, &version, &figures);
                println!("\n{table}");
                if !arguments.quick {
                    document::write(proof, &table)?;
                }
            }
            Err(failure) => {
                eprintln!("reliability: {}: {failure}", proof.name);
                failed.push(proof.name);
            }
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("failed: {}", failed.join(", ")).into())
    }
}

/// Runs a proof's tests, whose output people see as it comes, and returns what they counted.
fn figures_of(proof: &Proof, quick: bool) -> Result<Figures, Failure> {
    let directory = tempfile::tempdir()?;
    let arguments = [&["test"], proof.target, &["--", "--nocapture"], proof.tests].concat();
    println!("reliability: == {}: cargo {}", proof.name, arguments.join(" "));
    let status = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(arguments)
        .env("RELIABILITY", if quick { "quick" } else { "full" })
        .env("RELIABILITY_FIGURES", directory.path())
        .status()?;
    if !status.success() {
        return Err(status.to_string().into());
    }
    let mut counted = figures::kept(directory.path())?;
    let figures = counted.remove(proof.name).ok_or("it reported no figures")?;
    match counted.into_keys().next() {
        Some(other) => Err(format!("it reported figures of {other:?}").into()),
        None => Ok(figures),
    }
}

/// Of the code that the figures are about: a commit, and whether more than the document has changed since.
fn version() -> Result<String, Failure> {
    let changed = git(&["status", "--porcelain", "--", ".", ":!docs/contributing/reliability.md"])?;
    let commit = git(&["rev-parse", "--short", "HEAD"])?;
    Ok(if changed.is_empty() {
        commit
    } else {
        format!("{commit}, with changes")
    })
}

fn git(arguments: &[&str]) -> Result<String, Failure> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()?;
    if output.status.success() {
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    } else {
        Err(format!("git: {}", String::from_utf8_lossy(&output.stderr)).into())
    }
}
