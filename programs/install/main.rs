//! `cargo run --example install` installs the Helm chart on this machine: a real kube-apiserver, the real Helm, and the chart
//! with the simulator beside the operator. The samples become Ready under the chart's RBAC. It then runs until Ctrl-C.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use vpn_operator_testbed::{Binaries, Error, Installation, interrupted};

/// The exit status of a program that Ctrl-C stopped, as shells report it.
const INTERRUPTED: u8 = 130;

#[derive(Parser)]
#[command(about = "Installs the Helm chart into a control plane of its own, against a simulated cloud")]
struct Arguments {
    /// Exit with status 0 when the samples are Ready, instead of waiting for Ctrl-C
    #[arg(long)]
    exit_when_ready: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut installation = Installation::default();
    let mut is_ready = false;
    // Dropping this at the end of the function stops all processes.
    let outcome = tokio::select! {
        outcome = install(&mut installation, &mut is_ready, arguments.exit_when_ready) => outcome,
        outcome = interrupted() => outcome,
    };
    match outcome {
        Ok(()) => {
            println!("\nEnding the operator, the simulator and the control plane.");
            ExitCode::from(if is_ready { 0 } else { INTERRUPTED })
        }
        Err(failure) => {
            eprintln!("\nThe installation failed: {failure}");
            installation.print_logs();
            ExitCode::FAILURE
        }
    }
}

async fn install(installation: &mut Installation, is_ready: &mut bool, exit_when_ready: bool) -> Result<(), Error> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    println!("\n==> Building the operator and the simulator");
    let binaries = Binaries::build(project).await?;
    installation.run(project, &binaries).await?;
    *is_ready = true;
    if exit_when_ready {
        return installation.stop().await;
    }
    installation.print_what_next().await?;
    println!("Ctrl-C stops and removes everything.");
    installation.watch().await
}
