//! What the proofs counted: printed by them, and left as files for the document that shows them all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// How much of a proof is run: both do the real thing, in another amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// What the test command has time for.
    Quick,
    /// Everything; the environment says `RELIABILITY=full`.
    Full,
}

/// The effort that the environment asks for.
///
/// # Panics
/// If `RELIABILITY` is set to anything but `full` or `quick`.
pub fn effort() -> Effort {
    match env::var("RELIABILITY").as_deref() {
        Ok("full") => Effort::Full,
        Ok("quick") | Err(env::VarError::NotPresent) => Effort::Quick,
        other => panic!("RELIABILITY is {other:?}; it is full, quick or not set"),
    }
}

/// Figures of one proof, by what they count.
pub type Figures = BTreeMap<String, u64>;

/// Prints figures of a proof and keeps them with those that it reported before; a later value of one name wins.
///
/// They are kept where `RELIABILITY_FIGURES` says; without it they are only printed.
///
/// # Panics
/// If they cannot be written.
pub fn report(proof: &str, counted: &[(&str, u64)]) {
    for (what, count) in counted {
        println!("figures: {proof}: {what} = {count}");
    }
    let Some(directory) = env::var_os("RELIABILITY_FIGURES").map(PathBuf::from) else {
        return;
    };
    keep(&directory, proof, counted).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
}

/// Every proof's figures that were kept in a directory.
///
/// # Errors
/// If the directory or a file of it cannot be read, or is not what [`report`] wrote.
pub fn kept(directory: &Path) -> io::Result<BTreeMap<String, Figures>> {
    let mut proofs: BTreeMap<String, Figures> = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let (proof, what, count): (String, String, u64) = serde_json::from_slice(&fs::read(entry?.path())?)?;
        proofs.entry(proof).or_default().insert(what, count);
    }
    Ok(proofs)
}

/// A file for each figure, so that tests of several processes do not disturb each other.
fn keep(directory: &Path, proof: &str, counted: &[(&str, u64)]) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for (what, count) in counted {
        let name = format!("{proof} {what}.json").replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-");
        fs::write(directory.join(name), serde_json::to_vec(&(proof, what, count))?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_several_reports_are_merged_by_last_value() {
        let directory = tempfile::tempdir().unwrap();
        keep(directory.path(), "kill sweep", &[("boundaries", 3), ("duplicates", 0)]).unwrap();
        keep(directory.path(), "kill sweep", &[("boundaries", 4)]).unwrap();
        keep(directory.path(), "model", &[("states", 9)]).unwrap();
        let kept = kept(directory.path()).unwrap();
        assert_eq!(kept["kill sweep"]["boundaries"], 4);
        assert_eq!(kept["kill sweep"]["duplicates"], 0);
        assert_eq!(kept["model"]["states"], 9);
    }
}
