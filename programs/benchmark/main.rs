//! `cargo run --release --example benchmark` measures what the operator costs: calls to the cloud, writes to the apiserver,
//! memory, CPU and delays, each beside the limit that no operator can beat, or a baseline of the same run.

mod bed;
mod creation;
mod edit;
mod page;
mod population;
mod probes;
mod report;
mod rest;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use vpn_operator_testbed::interrupted;

use bed::Bed;
use report::{Goal, Measure, Report, Row};

/// An error of any type, to be printed.
type Failure = Box<dyn std::error::Error>;

/// Requests of the benchmark itself to the apiserver at once.
const AT_ONCE: usize = 32;

/// For each wait.
const DEADLINE: Duration = Duration::from_secs(600);

/// The options of a run.
#[derive(Parser)]
#[command(about = "Measures the operator against limits: calls, writes, memory, CPU, delays")]
pub(crate) struct Arguments {
    /// Numbers of objects at rest
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000")]
    sizes: Vec<usize>,
    /// Objects that are created and deleted
    #[arg(long, value_name = "NUMBER", default_value = "1000")]
    created: usize,
    /// Requests per second that the operator may send
    #[arg(long, value_name = "NUMBER", default_value = "50")]
    rate: u32,
    /// Latencies of the cloud in milliseconds, for creations and deletions
    #[arg(long, value_delimiter = ',', default_value = "20,100,400")]
    latency: Vec<u64>,
    /// Environment variables of the operator, for example of another allocator
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    operator_env: Vec<(String, String)>,
    /// Also write the rows and plots into this page
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// Fail if a count misses its goal. Times and sizes depend on the machine
    #[arg(long)]
    check_counts: bool,
    /// Also write the rows as JSON to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = tokio::select! {
        outcome = run(&arguments) => outcome,
        outcome = interrupted() => outcome.map_err(Failure::from).and(Err("interrupted".into())),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("benchmark: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn variable(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("use NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut report = Report::default();
    let bed = Bed::start(&arguments.operator_env).await?;
    creation::measure(&bed, arguments.created, arguments.rate, &arguments.latency, &mut report).await?;
    let latency = arguments.latency.iter().copied().max().unwrap_or_default();
    creation::edit_meanwhile(&bed, arguments.created, arguments.rate, latency, &mut report).await?;
    rest::measure(&bed, &arguments.sizes, &mut report).await?;
    report.add(Row {
        what: "connections to the apiserver at most".to_owned(),
        of: Measure::Count,
        unit: "",
        figure: probes::count(bed.connections.most()),
        baseline: None,
        goal: Goal::AtMost(32.0),
    });
    print!("{report}");
    if let Some(file) = &arguments.json {
        std::fs::write(file, report.to_json()?)?;
    }
    if let Some(page) = &arguments.page {
        page::write(&report, page)?;
    }
    match report.missed_counts() {
        missed if arguments.check_counts && !missed.is_empty() => {
            Err(format!("counts that miss their goal:\n{}", missed.join("\n")).into())
        }
        _ => Ok(()),
    }
}
