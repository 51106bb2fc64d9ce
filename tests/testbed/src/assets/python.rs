//! Python packages of the tests: programs of others that exist in Python only, each in an environment of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::process::Command;

use super::cache::Cache;
use crate::error::{Error, Result};
use crate::guardian::Guardian;
use crate::tool::{self, ToolOutput};

/// A Python that has a package, made once for all checkouts of this user.
#[derive(Debug)]
pub struct Python {
    path: PathBuf,
    guardian: Arc<Guardian>,
}

impl Python {
    /// Finds the environment in the cache, or makes it. `module` is what the package is imported as.
    pub async fn with(package: &str, version: &str, module: &str, guardian: &Arc<Guardian>) -> Result<Self> {
        let cache = Cache::open()?;
        let name = format!("python-{package}-{version}");
        let path = interpreter(&cache.folder(&name));
        let _lock = cache.lock().await?;
        if !imports(&path, module).await {
            super::report(&format!("fetching {package} {version}"));
            let staging = cache.staging()?;
            install(&staging, &format!("{package}=={version}")).await?;
            cache.publish(&staging, &name)?;
        }
        Ok(Self {
            path,
            guardian: Arc::clone(guardian),
        })
    }

    /// Runs a script to its end, with no variables but these.
    pub async fn run(
        &self,
        script: &Path,
        variables: Vec<(&str, OsString)>,
        input: Option<&str>,
    ) -> Result<ToolOutput> {
        let arguments = vec![script.as_os_str().to_owned()];
        tool::run(&self.path, arguments, variables, self.guardian.folder(), input).await
    }
}

fn interpreter(environment: &Path) -> PathBuf {
    environment.join("bin/python")
}

/// An environment breaks when the Python that made it goes.
async fn imports(python: &Path, module: &str) -> bool {
    let import = Command::new(python).args(["-c", &format!("import {module}")]).output();
    import.await.is_ok_and(|output| output.status.success())
}

async fn install(environment: &Path, package: &str) -> Result<()> {
    let make = Command::new("python3").args(["-m", "venv"]).arg(environment).output();
    let made = make
        .await
        .map_err(|error| Error::NoProgram(format!("python3 cannot be run ({error}): install Python 3 with venv")))?;
    if !made.status.success() {
        return Err(Error::NoProgram(format!(
            "python3 -m venv failed: install Python's venv and pip (on Debian: apt install python3-venv)\n{}",
            String::from_utf8_lossy(&made.stderr)
        )));
    }
    let install = Command::new(interpreter(environment))
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            package,
        ])
        .output();
    let installed = install
        .await
        .map_err(Error::io(format!("cannot run pip to install {package}")))?;
    if !installed.status.success() {
        return Err(Error::NoProgram(format!(
            "pip cannot install {package}; it needs pip and a Python package index that it can reach\n{}",
            String::from_utf8_lossy(&installed.stderr)
        )));
    }
    Ok(())
}
