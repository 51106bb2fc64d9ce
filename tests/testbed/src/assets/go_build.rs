//! Builds a Go program from its folder, and reports now and then that the build continues.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::lower_hex;
use crate::error::{Error, Result};
use crate::guardian::Guardian;
use crate::process::{Launch, Process};
use crate::wait::PAUSE;

const PROGRESS: Duration = Duration::from_secs(15);
/// A module that requires a newer Go gets it, whatever this machine's Go is set to.
const NEWER_GO: (&str, &str) = ("GOTOOLCHAIN", "auto");

/// A folder with a Go module, identified by its content: a program built from other content is another program.
#[derive(Debug)]
pub(super) struct GoSource {
    folder: PathBuf,
    hash: String,
}

impl GoSource {
    /// Reads the folder.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let failure = |path: &Path| Error::io(format!("cannot read {}", path.display()));
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(failure(folder))? {
            let path = entry.map_err(failure(folder))?.path();
            if path.extension().is_some_and(|extension| extension == "go") {
                files.push(path);
            }
        }
        files.sort();
        files.extend(["go.mod", "go.sum"].map(|name| folder.join(name)));
        let mut hash = Sha256::new();
        for path in files {
            hash.update(std::fs::read(&path).map_err(failure(&path))?);
        }
        Ok(Self {
            folder: folder.to_owned(),
            hash: lower_hex(&hash.finalize()[..6]),
        })
    }

    /// Part of the name under which the cache keeps what is built.
    pub(super) fn hash(&self) -> &str {
        &self.hash
    }

    /// Builds the program, which errors and progress call `what`.
    pub(super) async fn build(
        &self,
        go: &Path,
        program: &Path,
        linker_flags: &str,
        what: &str,
        guardian: &Arc<Guardian>,
    ) -> Result<()> {
        let launch = Launch::new("go-build", go)
            .args(["build", "-trimpath", "-ldflags", linker_flags, "-o"])
            .args([program.as_os_str(), ".".as_ref()])
            .envs([("CGO_ENABLED", "0"), NEWER_GO])
            .inherit_environment()
            .current_dir(&self.folder);
        watch(&guardian.spawn(launch)?, what).await
    }

    /// Returns the source folder of a module that the program is built from.
    pub(super) async fn module_folder(&self, go: &Path, module: &str, guardian: &Arc<Guardian>) -> Result<PathBuf> {
        let launch = Launch::new("go-list", go)
            .args(["list", "-m", "-f", "{{.Dir}}", module])
            .envs([NEWER_GO])
            .inherit_environment()
            .current_dir(&self.folder);
        let list = guardian.spawn(launch)?;
        watch(&list, &format!("the path of {module}")).await?;
        Ok(PathBuf::from(list.log().trim()))
    }
}

async fn watch(build: &Process, what: &str) -> Result<()> {
    let started = Instant::now();
    let mut last_line = started;
    loop {
        match build.exit_status()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(build.ended(status, &format!("the build of {what}"))),
            None => tokio::time::sleep(PAUSE).await,
        }
        if last_line.elapsed() >= PROGRESS {
            last_line = Instant::now();
            let seconds = started.elapsed().as_secs();
            super::report(&format!("still building {what} ({}:{:02})", seconds / 60, seconds % 60));
        }
    }
}

/// The Go tool, if there is one.
pub(super) fn go() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join("go"))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_source_changes_the_hash() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["go.mod", "go.sum", "main.go"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        let before = GoSource::open(folder.path()).unwrap();
        assert_eq!(GoSource::open(folder.path()).unwrap().hash(), before.hash());
        std::fs::write(folder.path().join("more.go"), "more").unwrap();
        assert_ne!(GoSource::open(folder.path()).unwrap().hash(), before.hash());
    }
}
