//! The command line: reads it, and leaves the rest to the library.
#![forbid(unsafe_code)]

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{CommandFactory as _, FromArgMatches as _, error::ErrorKind};
use vpn_core::api;
use vpn_operator::error_chain::one_line;
use vpn_operator::settings::{Cli, Command, OperatorSettings, ProbeArgs, RunArgs, validate};
use vpn_operator::{operator, probe, wiring};

/// Enough for a process that mostly waits; each thread has its own stack and allocator arena.
const WORKER_THREADS: usize = 2;

fn main() -> ExitCode {
    let matches = Cli::command_ignoring_empty_environment().get_matches();
    let result = match Cli::from_arg_matches(&matches)
        .unwrap_or_else(|error| error.exit())
        .command
    {
        Command::Crd => print_crds(),
        Command::Run(args) => run(checked(*args)),
        Command::Probe(args) => ask(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(line) => {
            // Nobody may be there to read it any more, which changes nothing.
            let _ = writeln!(io::stderr(), "error: {line}");
            ExitCode::FAILURE
        }
    }
}

/// Ends the process with status 2, as for every other mistake on the command line, if the flags make no sense.
fn checked(args: RunArgs) -> OperatorSettings {
    validate(args, |path| std::fs::read(path)).unwrap_or_else(|wrong| {
        let mut command = Cli::command();
        command.build();
        match command.find_subcommand_mut("run") {
            Some(run) => run.error(ErrorKind::ValueValidation, wrong).exit(),
            None => command.error(ErrorKind::ValueValidation, wrong).exit(),
        }
    })
}

fn run(settings: OperatorSettings) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime cannot start: {error}"))?;
    let crds = api::crds().map_err(|error| one_line(&error))?;
    let ended = runtime.block_on(operator::run(settings, &crds, wiring::controllers));
    // A name that is still being resolved must not hold the process.
    runtime.shutdown_background();
    ended.map_err(|error| one_line(&error))
}

fn ask(args: &ProbeArgs) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime cannot start: {error}"))?;
    let answers = runtime.block_on(probe::until_ready(&args.url, args.timeout));
    // As in `run`.
    runtime.shutdown_background();
    print(&answers.text).map_err(|error| format!("the answers cannot be printed: {error}"))?;
    if answers.ready {
        Ok(())
    } else {
        Err(format!("no operator is ready at {}", args.url))
    }
}

fn print_crds() -> Result<(), String> {
    let text = wiring::crd_yaml().map_err(|error| one_line(&error))?;
    print(&text).map_err(|error| format!("the CRDs cannot be printed: {error}"))
}

fn print(text: &str) -> io::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        // `crd | head` is no mistake.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
