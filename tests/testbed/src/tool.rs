//! Running kubectl and helm for a moment, and what they said.

use std::ffi::OsString;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::error::{Error, Result};
use crate::process::kept_environment;

/// What a command-line tool said.
#[derive(Debug, Clone)]
pub struct ToolOutput {
    /// The tool and its arguments.
    pub command: String,
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl ToolOutput {
    /// Standard output if the tool succeeded, an error with its standard error otherwise.
    pub fn success(self) -> Result<String> {
        if self.status.success() {
            Ok(self.stdout)
        } else {
            Err(Error::Tool {
                command: self.command,
                status: self.status,
                stderr: self.stderr,
            })
        }
    }
}

/// Runs a tool to its end, with `home` as home folder: nothing of the developer's is read or written.
pub(crate) async fn run(
    program: &Path,
    arguments: Vec<OsString>,
    variables: Vec<(&str, OsString)>,
    home: &Path,
    input: Option<&str>,
) -> Result<ToolOutput> {
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy();
    let command = arguments
        .iter()
        .fold(name.into_owned(), |text, word| text + " " + &word.to_string_lossy());
    let failure = |error| Error::io(format!("cannot run {command}"))(error);
    let mut child = Command::new(program)
        .args(&arguments)
        .env_clear()
        .envs(kept_environment())
        .env("HOME", home)
        .envs(variables)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failure)?;
    let stdin = child.stdin.take();
    let feed = async {
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            // A tool that refuses its arguments reads nothing; what it says is what counts.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    let ((), output) = tokio::join!(feed, child.wait_with_output());
    let output = output.map_err(failure)?;
    Ok(ToolOutput {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        command,
    })
}
