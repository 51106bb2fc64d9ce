//! Every proof of the operator's promises in its full form, and the document that shows what they counted:
//! `cargo run --example reliability` runs them and writes the figures into `docs/reliability.md`.

mod document;
mod proofs;

use std::path::Path;
use std::process::{Command, ExitCode};

use clap::Parser;
use vpn_operator_testbed::figures;

use proofs::{RUNS, Run};

/// Whatever ends a proof early; people read it, nobody acts on its kind.
type Failure = Box<dyn std::error::Error>;

#[derive(Parser)]
#[command(about = "Runs every proof in its full form and writes what they counted into docs/reliability.md")]
struct Arguments {
    /// Run only the proofs whose name contains this, and leave the document alone
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

fn prove(arguments: &Arguments) -> Result<(), Failure> {
    let figures = tempfile::tempdir()?;
    let only = arguments.only.as_deref().unwrap_or_default();
    let chosen: Vec<&Run> = RUNS.iter().filter(|run| run.name.contains(only)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = RUNS.iter().map(|run| run.name).collect();
        return Err(format!("no proof's name contains {only:?}; there are: {}", names.join(", ")).into());
    }
    for run in &chosen {
        start(run, arguments.quick, figures.path())?;
    }
    let counted = figures::kept(figures.path())?;
    print!("\n{}", document::tables(&counted));
    if arguments.only.is_some() || arguments.quick {
        return Ok(());
    }
    document::write(&counted)
}

/// Runs one proof's tests, whose output people see as it comes.
fn start(run: &Run, quick: bool, figures: &Path) -> Result<(), Failure> {
    let arguments = [&["test"], run.target, &["--", "--nocapture"], run.tests].concat();
    println!("reliability: == {}: cargo {}", run.name, arguments.join(" "));
    let status = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(arguments)
        .env("RELIABILITY", if quick { "quick" } else { "full" })
        .env("RELIABILITY_FIGURES", figures)
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{}: {status}", run.name).into())
    }
}
