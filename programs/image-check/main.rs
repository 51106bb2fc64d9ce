//! Runs the image like a node: both programs as podman containers, as the chart's Deployments specify (arguments, environment,
//! user, read-only root, no capabilities, seccomp, memory limit). It uses a real kube-apiserver, and 1,000 gateways become
//! Ready. `image/check` builds the image and runs this. Needs root, podman and runc.

mod check;
mod cluster;
mod container;
mod memory;
mod names;
mod pod;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use vpn_operator_testbed::interrupted;

/// An error of any type, to be printed.
type Failure = Box<dyn std::error::Error>;

#[derive(Parser)]
#[command(about = "Runs the image as the chart specifies until many gateways are Ready")]
struct Arguments {
    /// The image: an OCI layout and a tag, DIRECTORY:TAG
    image: String,

    /// Number of gateways
    #[arg(long, default_value_t = 1000)]
    gateways: usize,

    /// OCI runtime of podman; crun fails if both versions of cgroups are mounted
    #[arg(long, default_value = "runc")]
    runtime: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Dropping this at the end of the statement stops all containers.
    let outcome = tokio::select! {
        outcome = check::run(&arguments) => outcome,
        outcome = interrupted() => outcome.map_err(Failure::from).and(Err("it was interrupted".into())),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nThe image failed: {failure}");
            ExitCode::FAILURE
        }
    }
}
