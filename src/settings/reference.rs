//! The table of flags for the documentation, written from the definition that clap works by.

use std::fmt::Write as _;

use clap::{Command, CommandFactory as _};

use crate::settings::cli::Cli;

/// Markdown: every flag of `run`, with environment name, default and meaning, under the headings of `--help`.
pub fn flag_reference() -> String {
    let command = Cli::command();
    let mut page = String::from(
        "# Flags of `vpn-operator run`\n\n\
         Generated from the program; update it with `UPDATE_DOCS=1 cargo test --test flags`.\n\n\
         A flag takes precedence over its environment variable; an empty variable counts as unset. An invalid \
         value ends the process at once with status 2 and an error that names the flag. Switches take a value only \
         after `=`: `--leader-elect=false`. If a flag is given twice, the last value counts; values of a repeatable \
         flag add up.\n",
    );
    if let Some(run) = command.find_subcommand("run") {
        append_tables(&mut page, run);
    }
    page
}

/// Markdown: what `probe` takes.
pub fn probe_reference() -> String {
    let command = Cli::command();
    let mut page = String::from(
        "\n# Flags of `vpn-operator probe`\n\n| flag | environment | default | meaning |\n|---|---|---|---|\n",
    );
    if let Some(probe) = command.find_subcommand("probe") {
        for arg in probe.get_arguments() {
            // Writing to a String cannot fail.
            let _ = writeln!(page, "{}", row(arg));
        }
    }
    page
}

fn append_tables(page: &mut String, run: &Command) {
    let mut headings: Vec<&str> = Vec::new();
    for heading in run.get_arguments().filter_map(clap::Arg::get_help_heading) {
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    for heading in headings {
        // Writing to a String cannot fail.
        let _ = write!(
            page,
            "\n## {heading}\n\n| flag | environment | default | meaning |\n|---|---|---|---|\n"
        );
        for arg in run
            .get_arguments()
            .filter(|arg| arg.get_help_heading() == Some(heading))
        {
            let _ = writeln!(page, "{}", row(arg));
        }
    }
}

fn row(arg: &clap::Arg) -> String {
    let name = match arg.get_long() {
        Some(long) => format!("--{long}"),
        None => arg.get_id().to_string().to_uppercase(),
    };
    let environment = arg
        .get_env()
        .map(|env| format!("`{}`", env.to_string_lossy()))
        .unwrap_or_default();
    let default = match arg.get_default_values() {
        [] => "–".to_owned(),
        values => values
            .iter()
            .map(|value| format!("`{}`", value.to_string_lossy()))
            .collect::<Vec<_>>()
            .join(", "),
    };
    let mut kind = arg
        .get_help()
        .map(ToString::to_string)
        .unwrap_or_default()
        .replace('\n', " ")
        .replace('|', "\\|");
    let choices = arg.get_possible_values();
    if !choices.is_empty() && !arg.is_hide_possible_values_set() {
        let described = choices.iter().map(|choice| match choice.get_help() {
            Some(help) => format!("`{}` ({help})", choice.get_name()),
            None => format!("`{}`", choice.get_name()),
        });
        kind = format!("{kind}. One of {}", described.collect::<Vec<_>>().join(", "));
    }
    format!("| `{name}` | {environment} | {default} | {kind} |")
}
