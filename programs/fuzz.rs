//! Fuzzes the parsers of external data: `cargo run --profile proof --example fuzz -- [TARGET]… [--seconds N] [--seed N]`.
//! Without a target it runs all of them. It writes an input that breaks a property to `target/fuzz/`. Correct the bug, and add
//! the input to `tests/fuzz/corpus/`.

#[path = "../tests/fuzz/corpus.rs"]
mod corpus;
#[path = "../tests/fuzz/mutate.rs"]
mod mutate;
#[path = "../tests/fuzz/targets.rs"]
mod targets;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{fs, panic};

use clap::Parser;
use vpn_operator_testbed::figures;

use mutate::Mutator;
use targets::{TARGETS, Target};

#[derive(Parser)]
#[command(about = "Fuzzes the parsers of external data")]
struct Arguments {
    /// Targets; defaults to all
    targets: Vec<String>,
    /// Seconds per target
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seed of the random numbers; defaults to the current time
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let is_wanted =
        |target: &&Target| arguments.targets.is_empty() || arguments.targets.iter().any(|it| it == target.name);
    let wanted: Vec<&Target> = TARGETS.iter().filter(is_wanted).collect();
    if wanted.is_empty() {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("unknown target; the targets are {}", names.join(", "));
        return ExitCode::FAILURE;
    }
    let seed = arguments
        .seed
        .unwrap_or_else(|| jiff::Timestamp::now().as_millisecond().unsigned_abs());
    // Panics are reported below, once.
    panic::set_hook(Box::new(|_| {}));
    let (mut tried, mut broken) = (0, 0);
    for target in wanted {
        let inputs: Vec<Vec<u8>> = corpus::read(target.name).into_iter().map(|(_, input)| input).collect();
        let mut mutator = Mutator::new(&inputs, seed);
        let (begun, mut of_this) = (Instant::now(), 0_u64);
        while begun.elapsed() < Duration::from_secs(arguments.seconds) {
            let input = mutator.input();
            of_this += 1;
            if let Err(problem) = panic::catch_unwind(|| (target.run)(&input)) {
                broken += 1;
                let place = keep(target.name, &input);
                eprintln!("{}: {} ({})", target.name, words(problem.as_ref()), place.display());
                break;
            }
        }
        println!(
            "{}: {of_this} inputs in {} s, seed {seed}",
            target.name,
            begun.elapsed().as_secs()
        );
        tried += of_this;
    }
    figures::report(
        "fuzzing",
        &[
            ("inputs tried by the command", tried),
            ("properties violated by them", broken),
        ],
    );
    if broken == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn words(problem: &(dyn std::any::Any + Send)) -> String {
    let text = problem.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| problem.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}

/// Writes an input to a file.
fn keep(target: &str, input: &[u8]) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("target/fuzz")
        .join(target);
    let file = folder.join(&vpn_cloud::credentials::signing::sha256_hex(input)[..16]);
    fs::create_dir_all(&folder).expect("the directory can be created");
    fs::write(&file, input).expect("the file can be written");
    file
}
