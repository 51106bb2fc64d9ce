//! The two repositories of the documentation's Application: one with the chart, one with gateways and users.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;

/// A repository that Argo CD reads, and where it is edited.
pub struct Repository {
    work: PathBuf,
    bare: PathBuf,
}

impl Repository {
    /// An empty one, in a folder of its own.
    pub fn create(folder: &Path, name: &str) -> Result<Self, Failure> {
        let (work, bare) = (folder.join(name), folder.join(format!("{name}.git")));
        std::fs::create_dir_all(&work)?;
        std::fs::create_dir_all(&bare)?;
        git(&bare, &["init", "--quiet", "--bare", "--initial-branch=main"])?;
        git(&work, &["init", "--quiet", "--initial-branch=main"])?;
        Ok(Self { work, bare })
    }

    /// What the Application names in place of an address of yours.
    pub fn url(&self) -> String {
        format!("file://{}", self.bare.display())
    }

    /// The folder in which files are edited.
    pub fn folder(&self) -> &Path {
        &self.work
    }

    /// Writes a file, to be pushed with the others.
    pub fn write(&self, path: &str, text: &str) -> Result<(), Failure> {
        let path = self.work.join(path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(std::fs::write(path, text)?)
    }

    /// Commits all that was changed, and pushes it.
    pub fn push(&self, message: &str) -> Result<(), Failure> {
        let author = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.com"];
        git(&self.work, &["add", "--all"])?;
        git(
            &self.work,
            &[&author[..], &["commit", "--quiet", "--message", message]].concat(),
        )?;
        let bare = self.bare.display().to_string();
        git(&self.work, &["push", "--quiet", &bare, "main"])
    }
}

fn git(folder: &Path, arguments: &[&str]) -> Result<(), Failure> {
    // What the developer has configured, such as a signature of every commit, is not asked for.
    let output = Command::new("git")
        .current_dir(folder)
        .args(arguments)
        .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1")])
        .output()?;
    if output.status.success() {
        Ok(())
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("git {}: {said}", arguments.join(" ")).into())
    }
}
