//! `cargo run --release --example benchmark` measures what the operator costs: calls to the cloud, writes to the apiserver,
//! memory, CPU and delays, each beside the limit that no operator can beat, or a baseline of the same run.

mod bed;
mod creation;
mod edit;
mod life;
mod memory;
mod objects;
mod options;
mod outage;
mod page;
mod population;
mod probes;
mod report;
mod rest;
mod rotation;
mod shards;
mod start;
mod takeover;
mod tenant;
mod tenants;
mod throttling;
mod users;
mod users_at_rest;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use vpn_operator_testbed::interrupted;

use bed::Bed;
use options::{Arguments, Group};
use report::{Goal, Report};

/// An error of any type, to be printed.
type Failure = Box<dyn std::error::Error>;

/// Requests of the benchmark itself to the apiserver at once.
const AT_ONCE: usize = 32;

/// Objects whose whole lives are counted: more would only take longer.
const MOST_LIVES: usize = 10;

/// For each wait.
const DEADLINE: Duration = Duration::from_secs(600);

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut report = Report::new(arguments.quick);
    let measured = tokio::select! {
        outcome = run(&arguments, &mut report) => outcome,
        outcome = interrupted() => outcome.map_err(Failure::from).and(Err("interrupted".into())),
    };
    // A run takes long: what was measured before it failed is shown, too.
    match show(&arguments, &report)
        .and(measured)
        .and_then(|()| checked(&arguments, &report))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("benchmark: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments, report: &mut Report) -> Result<(), Failure> {
    let mut most_connections = None;
    let bed = Bed::start(arguments.operator.clone(), &arguments.operator_env).await?;
    for group in Group::value_variants() {
        if arguments.includes(*group) {
            let began = Instant::now();
            bed.clear().await?;
            measure(*group, &bed, arguments, report).await?;
            let name = group.to_possible_value().map(|value| value.get_name().to_owned());
            eprintln!("benchmark: {} took {:.1?}", name.unwrap_or_default(), began.elapsed());
            if !group.has_several_operators() {
                most_connections = Some(bed.connections.most());
            }
        }
    }
    if let Some(most) = most_connections {
        let what = "connections of one operator to the apiserver at most";
        report.count(what, probes::count(most), None, Goal::AtMost(32.0));
    }
    Ok(())
}

/// Prints the rows, and writes them to the files that were named.
fn show(arguments: &Arguments, report: &Report) -> Result<(), Failure> {
    print!("{report}");
    if let Some(file) = &arguments.json {
        std::fs::write(file, report.to_json()?)?;
    }
    if let Some(page) = &arguments.page {
        page::write(report, page)?;
    }
    Ok(())
}

fn checked(arguments: &Arguments, report: &Report) -> Result<(), Failure> {
    match report.missed_counts() {
        missed if arguments.check_counts && !missed.is_empty() => {
            Err(format!("counts that miss their goal:\n{}", missed.join("\n")).into())
        }
        _ => Ok(()),
    }
}

async fn measure(group: Group, bed: &Bed, arguments: &Arguments, report: &mut Report) -> Result<(), Failure> {
    let least = arguments.latency.iter().copied().min().unwrap_or_default();
    let most = arguments.latency.iter().copied().max().unwrap_or_default();
    let period = format!("{}s", arguments.check_period);
    let (created, rate) = (arguments.created, arguments.rate);
    match group {
        Group::Start => start::measure(bed, report).await,
        Group::Life => life::measure(bed, created.min(MOST_LIVES), report).await,
        Group::Creation => creation::measure(bed, created, rate, &arguments.latency, report).await,
        Group::Edits => creation::edit_meanwhile(bed, created, rate, most, report).await,
        Group::Rest => rest::measure(bed, &arguments.sizes, arguments.check_period, report).await,
        Group::Users => {
            let confirmation = Duration::from_secs(arguments.confirmation);
            users::measure(bed, arguments.users, least, confirmation, report).await?;
            bed.clear().await?;
            users_at_rest::measure(bed, arguments.users_at_rest, arguments.servers, &period, report).await
        }
        Group::Throttling => throttling::measure(bed, arguments.throttled, arguments.cloud_rate, report).await,
        Group::Rotation => rotation::measure(bed, arguments.rotated, report).await,
        Group::Outage => {
            let outage = Duration::from_secs(arguments.outage);
            outage::measure(bed, arguments.outage_objects, rate, (outage, &period), report).await
        }
        Group::Tenants => tenants::measure(bed, &arguments.into(), rate, report).await,
        Group::Memory => {
            let changing = Duration::from_secs(arguments.changing);
            let secrets = (arguments.secrets, changing);
            memory::measure(bed, arguments.memory_objects, secrets, report).await
        }
        Group::Shards => shards::measure(bed, arguments.sharded, report).await,
        Group::Takeover => takeover::measure(bed, &arguments.sizes, report).await,
    }
}
