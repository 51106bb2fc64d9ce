//! The Helm chart, installed on this machine in one command: a real kube-apiserver, the real Helm, the chart with the cloud's
//! simulator beside the operator. `cargo run --example install` gets the samples Ready under the chart's rights, and stays
//! for you to try things until Ctrl-C.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use vpn_operator_testbed::{Binaries, Error, Installation, interrupted};

/// What shells report for a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

#[derive(Parser)]
#[command(about = "Installs the Helm chart into a control plane of its own, against a simulated cloud")]
struct Arguments {
    /// End with status 0 once the samples are Ready, instead of waiting for Ctrl-C
    #[arg(long)]
    exit_when_ready: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut installation = Installation::default();
    let mut is_ready = false;
    // What is dropped at the end of this function ends with it: no process stays behind.
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
    println!("Ctrl-C ends it all and removes it.");
    installation.watch().await
}
