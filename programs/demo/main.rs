//! `cargo run --example demo` starts a real kube-apiserver, the simulator and the operator on this machine. It shows that
//! objects become Ready, that out-of-band changes are corrected, and that a password is sent once. It then runs until Ctrl-C.

mod objects;
mod scenes;
mod script;
mod table;

use std::process::ExitCode;

use clap::Parser;
use vpn_operator_testbed::interrupted;

use script::Demo;

/// An error of any type, to be printed.
type Failure = Box<dyn std::error::Error>;

/// The exit status of a program that Ctrl-C stopped, as shells report it.
const INTERRUPTED: u8 = 130;

#[derive(Parser)]
#[command(about = "Demonstrates vpn-operator with a simulated cloud")]
struct Arguments {
    /// Exit with status 0 after the last step, instead of waiting for Ctrl-C
    #[arg(long)]
    exit_when_ready: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut demo = Demo::default();
    // Dropping this at the end of the function stops all processes.
    let outcome = tokio::select! {
        outcome = demo.run(arguments.exit_when_ready) => outcome,
        outcome = interrupted() => outcome.map_err(Failure::from),
    };
    match outcome {
        Ok(()) => {
            println!("\nEnding the operator, the simulator and the control plane.");
            ExitCode::from(if demo.has_shown_everything() { 0 } else { INTERRUPTED })
        }
        Err(failure) => {
            eprintln!("\nThe demo failed: {failure}");
            demo.print_logs();
            ExitCode::FAILURE
        }
    }
}
