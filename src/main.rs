//! The command line: reads it, and leaves the rest to the library.
#![forbid(unsafe_code)]
#![warn(clippy::expect_used, clippy::unwrap_used)]

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{CommandFactory as _, FromArgMatches as _, error::ErrorKind};
use thiserror::Error;
use url::Url;
use vpn_core::api;
use vpn_operator::error_chain::one_line;
use vpn_operator::operator::OperatorError;
use vpn_operator::settings::{Cli, Command, OperatorSettings, ProbeArgs, RunArgs, validate};
use vpn_operator::wiring::CrdsError;
use vpn_operator::{operator, probe, wiring};

/// Enough for a process that mostly waits; each thread has its own stack and allocator arena.
const WORKER_THREADS: usize = 2;

/// Why a command failed.
#[derive(Debug, Error)]
enum CommandError {
    #[error("the runtime cannot start: {0}")]
    Runtime(#[source] io::Error),
    #[error(transparent)]
    Crds(#[from] CrdsError),
    #[error(transparent)]
    Operator(#[from] OperatorError),
    #[error("the CRDs cannot be printed: {0}")]
    PrintCrds(#[source] io::Error),
    #[error("the answers cannot be printed: {0}")]
    PrintAnswers(#[source] io::Error),
    #[error("no operator is ready at {0}")]
    NotReady(Url),
}

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
        Err(error) => {
            // Nobody may be there to read it any more, which changes nothing.
            let _ = writeln!(io::stderr(), "error: {}", one_line(&error));
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

fn run(settings: OperatorSettings) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .enable_all()
        .build()
        .map_err(CommandError::Runtime)?;
    let crds = api::crds().map_err(CrdsError::from)?;
    let ended = runtime.block_on(operator::run(settings, &crds, wiring::controllers));
    // A name that is still being resolved must not hold the process.
    runtime.shutdown_background();
    Ok(ended?)
}

fn ask(args: &ProbeArgs) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CommandError::Runtime)?;
    let answers = runtime.block_on(probe::until_ready(&args.url, args.timeout));
    // As in `run`.
    runtime.shutdown_background();
    print(&answers.text).map_err(CommandError::PrintAnswers)?;
    if answers.ready {
        Ok(())
    } else {
        Err(CommandError::NotReady(args.url.clone()))
    }
}

fn print_crds() -> Result<(), CommandError> {
    print(&wiring::crd_yaml()?).map_err(CommandError::PrintCrds)
}

fn print(text: &str) -> io::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        // `crd | head` is no mistake.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
