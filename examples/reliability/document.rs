//! The figures as tables, and their place in the document.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use vpn_operator_testbed::figures::Figures;

use crate::Failure;
use crate::proofs::PROOFS;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reliability.md");
const BEGIN: &str = "<!-- figures: written by `cargo run --example reliability` -->\n";
const END: &str = "<!-- end of figures -->\n";

/// A table for each proof.
pub fn tables(counted: &BTreeMap<String, Figures>) -> String {
    let mut text = String::new();
    for proof in PROOFS {
        let Some(figures) = counted.get(proof.name) else {
            continue;
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "### {}\n\n{}.\n\n| counted | |\n|---|---|",
            heading(proof.name),
            heading(proof.says)
        );
        for (what, count) in figures {
            let _ = writeln!(text, "| {what} | {} |", grouped(*count));
        }
        text.push('\n');
    }
    text
}

/// Replaces the figures in the document.
///
/// # Errors
/// If a proof reported nothing or is not known here, or if the document cannot be read or written.
pub fn write(counted: &BTreeMap<String, Figures>) -> Result<(), Failure> {
    if let Some(silent) = PROOFS.iter().find(|proof| !counted.contains_key(proof.name)) {
        return Err(format!("the proof {:?} reported no figures", silent.name).into());
    }
    if let Some(unknown) = counted
        .keys()
        .find(|name| PROOFS.iter().all(|proof| proof.name != **name))
    {
        return Err(format!("figures of {unknown:?}, which examples/reliability/proofs.rs does not name").into());
    }
    let path = Path::new(DOCUMENT);
    let text = fs::read_to_string(path).map_err(|error| format!("{DOCUMENT}: {error}"))?;
    let (before, after) = text
        .split_once(BEGIN)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)))
        .ok_or_else(|| format!("{DOCUMENT}: the marks of the figures are missing"))?;
    fs::write(path, format!("{before}{BEGIN}\n{}{END}{after}", tables(counted)))?;
    Ok(())
}

/// With a capital letter.
fn heading(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + characters.as_str()
}

/// With commas between thousands.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
