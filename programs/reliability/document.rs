//! The figures as tables, one section of the document per proof, written by its run.

use std::fmt::Write as _;
use std::fs;

use vpn_operator_testbed::figures::Figures;

use crate::Failure;
use crate::proofs::Proof;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/contributing/reliability.md");
const END: &str = "<!-- end of figures -->\n";

/// A proof's table, with the commit that it was counted at.
pub(crate) fn table(proof: &Proof, version: &str, figures: &Figures) -> String {
    // Writing to a String cannot fail.
    let mut text = String::new();
    let _ = writeln!(text, "{}, counted at `{version}`:\n", capital(proof.subject));
    let _ = writeln!(text, "| counted | |\n|---|---|");
    for (what, count) in figures {
        let _ = writeln!(text, "| {what} | {} |", grouped(*count));
    }
    text
}

/// Replaces a proof's table in the document.
///
/// # Errors
/// If the document cannot be read or written, or has no section for this proof.
pub(crate) fn write(proof: &Proof, table: &str) -> Result<(), Failure> {
    let text = fs::read_to_string(DOCUMENT).map_err(|error| format!("{DOCUMENT}: {error}"))?;
    let begin = format!("<!-- figures of {} -->\n", proof.name);
    let (before, after) = text
        .split_once(&begin)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)))
        .ok_or_else(|| format!("{DOCUMENT}: the marks of the figures of {:?} are missing", proof.name))?;
    fs::write(DOCUMENT, format!("{before}{begin}\n{table}\n{END}{after}"))?;
    Ok(())
}

/// With a capital letter.
fn capital(text: &str) -> String {
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
