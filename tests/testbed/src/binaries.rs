//! Builds the project's two programs for an example, and asks cargo for their paths, which an example does not get.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::error::{Error, Result};

/// The two programs of the image.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// `vpn-operator`.
    pub operator: PathBuf,
    /// `vpn-simulator`.
    pub simulator: PathBuf,
}

impl Binaries {
    /// Builds them in the profile of the running example, and together with it. Alone they would need the libraries
    /// with fewer features, and cargo would build those again. Cargo shows its progress on standard error.
    pub async fn build(project: &Path) -> Result<Self> {
        let Example { name, profile } = Example::running()?;
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args([
                "build",
                "--bins",
                "--example",
                &name,
                "--profile",
                &profile,
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
            // The cause is on standard error already.
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

/// This program, as cargo knows it.
struct Example {
    name: String,
    profile: String,
}

impl Example {
    /// By its path: `target/PROFILE/examples/NAME`.
    fn running() -> Result<Self> {
        let program = std::env::current_exe().map_err(Error::io("cannot tell where this program is"))?;
        let part = |number| {
            let part = program.ancestors().nth(number).and_then(Path::file_name);
            part.map(|part| part.to_string_lossy().into_owned())
        };
        match (part(0), part(1).as_deref(), part(2)) {
            (Some(name), Some("examples"), Some(folder)) => Ok(Self {
                name,
                profile: if folder == "debug" { "dev".to_owned() } else { folder },
            }),
            _ => Err(Error::NoProgram(format!(
                "{} is no example of cargo's",
                program.display()
            ))),
        }
    }
}

fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    messages
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}
