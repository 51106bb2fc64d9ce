//! Builds the project's two programs as cargo would, and asks cargo where they are: an example is not told.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::error::{Error, Result};

/// The two programs: what the image holds.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// `vpn-operator`.
    pub operator: PathBuf,
    /// `vpn-simulator`.
    pub simulator: PathBuf,
}

impl Binaries {
    /// Builds them in the profile of the example that asks; cargo shows its progress on standard error.
    pub async fn build(project: &Path) -> Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args([
                "build",
                "--bins",
                "--profile",
                &profile()?,
                "--message-format=json-render-diagnostics",
            ])
            .current_dir(project)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(Error::io("cannot run cargo"))?;
        let messages = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            // What went wrong stands on standard error already.
            return Err(Error::Tool {
                command: "cargo build --bins".to_owned(),
                status: output.status,
                stderr: String::new(),
            });
        }
        let find = |name: &str| {
            executable(&messages, name)
                .ok_or_else(|| Error::NoProgram(format!("cargo did not say where it has put {name}")))
        };
        Ok(Self {
            operator: find("vpn-operator")?,
            simulator: find("vpn-simulator")?,
        })
    }
}

/// The profile whose folder this program lies in: `target/PROFILE/examples/NAME`.
fn profile() -> Result<String> {
    let program = std::env::current_exe().map_err(Error::io("cannot tell where this program is"))?;
    let folder = program.ancestors().nth(2).and_then(Path::file_name);
    let name = folder.map(|name| name.to_string_lossy().into_owned());
    let name = name.ok_or_else(|| Error::NoProgram("this one is not in a folder of cargo's".to_owned()))?;
    Ok(if name == "debug" { "dev".to_owned() } else { name })
}

fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    messages
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}
