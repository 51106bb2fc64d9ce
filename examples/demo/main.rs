//! The whole operator on this machine, in one command: a real kube-apiserver, the cloud's simulator
//! and the operator. `cargo run --example demo` shows objects becoming real, makes changes behind
//! the operator's back, shows them being mended and a password being sent once, and stays for you to
//! try things until Ctrl-C.

mod objects;
mod scenes;
mod script;
mod table;

use std::process::ExitCode;

use clap::Parser;
use vpn_operator_testbed::interrupted;

use script::Demo;

/// Whatever ends the demo early; people read it, nobody acts on its kind.
type Failure = Box<dyn std::error::Error>;

/// What shells report for a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

#[derive(Parser)]
#[command(about = "Shows the vpn-operator at work against a simulated cloud")]
struct Arguments {
    /// End with status 0 once everything was shown, instead of waiting for Ctrl-C
    #[arg(long)]
    exit_when_ready: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut demo = Demo::default();
    // What is dropped at the end of this function ends with it: no process stays behind.
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
