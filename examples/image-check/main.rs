//! Runs the image as a node would: both programs as containers of podman, as the chart's Deployments say (arguments,
//! environment, user, read-only root, no capabilities, seccomp, memory limit), against a real kube-apiserver; 1,000
//! gateways become Ready. `image/check` builds the image and calls this. Needs root, podman and runc.

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

/// Whatever ends the check; people read it, nobody acts on its kind.
type Failure = Box<dyn std::error::Error>;

#[derive(Parser)]
#[command(about = "Runs the image under the chart's terms until many gateways are Ready")]
struct Arguments {
    /// The image: an OCI layout and a tag in it, FOLDER:TAG
    image: String,

    /// How many gateways
    #[arg(long, default_value_t = 1000)]
    gateways: usize,

    /// What podman runs containers by; crun cannot where both versions of cgroups are in use
    #[arg(long, default_value = "runc")]
    runtime: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // What is dropped at the end of this statement ends with it: no container stays behind.
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
