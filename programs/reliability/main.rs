//! `cargo run --example reliability` runs every proof of the guarantees in its full form, and writes the figures to
//! `docs/contributing/reliability.md`, each with the commit that it was counted at.

mod document;
mod proofs;

use std::process::{Command, ExitCode};

use clap::Parser;
use vpn_operator_testbed::figures::{self, Figures};

use proofs::{PROOFS, Proof};

/// An error of any type, to be printed.
type Failure = Box<dyn std::error::Error>;

#[derive(Parser)]
#[command(about = "Runs every proof in its full form and writes the figures to docs/contributing/reliability.md")]
struct Arguments {
    /// Run only the proofs whose name contains this, and update only their figures
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Run each proof in its short form, as `cargo test` does, and do not write the document
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

/// Runs the selected proofs one after the other. Writes the figures of each immediately, so that an aborted run keeps them. A
/// failed proof does not stop the others.
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

/// Runs a proof's tests with their output, and returns their figures.
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

/// The commit of the code, and whether anything but the document has changed since.
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
