//! Builds the operator and the simulator as cargo would, and asks cargo where they are: an example
//! is not told.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

use crate::Failure;

/// The two programs that the demo starts.
pub struct Binaries {
    pub operator: PathBuf,
    pub simulator: PathBuf,
}

impl Binaries {
    /// Builds them in the profile of this example; cargo shows its progress on standard error.
    pub async fn build() -> Result<Self, Failure> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args([
                "build",
                "--bins",
                "--profile",
                &profile()?,
                "--message-format=json-render-diagnostics",
            ])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| format!("cannot run cargo: {error}"))?;
        if !output.status.success() {
            return Err(format!("cargo build --bins failed ({})", output.status).into());
        }
        let messages = String::from_utf8(output.stdout)?;
        let find = |name: &str| executable(&messages, name).ok_or_else(|| format!("cargo did not say where {name} is"));
        Ok(Self {
            operator: find("vpn-operator")?,
            simulator: find("vpn-simulator")?,
        })
    }
}

/// The profile whose folder this program lies in: `target/PROFILE/examples/demo`.
fn profile() -> Result<String, Failure> {
    let program = std::env::current_exe()?;
    let folder = program.ancestors().nth(2).and_then(|folder| folder.file_name());
    let name = folder
        .ok_or("this program is not in a folder of cargo's")?
        .to_string_lossy();
    Ok(if name == "debug" {
        "dev".to_owned()
    } else {
        name.into_owned()
    })
}

fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    messages
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}
