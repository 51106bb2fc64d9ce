//! The two repositories of the documentation's Application: one with the chart, one with gateways and users.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;

/// A repository that Argo CD reads, with its work tree.
pub(crate) struct Repository {
    work: PathBuf,
    bare: PathBuf,
}

impl Repository {
    /// An empty repository in its own directory.
    pub(crate) fn create(folder: &Path, name: &str) -> Result<Self, Failure> {
        let (work, bare) = (folder.join(name), folder.join(format!("{name}.git")));
        std::fs::create_dir_all(&work)?;
        std::fs::create_dir_all(&bare)?;
        git(&bare, &["init", "--quiet", "--bare", "--initial-branch=main"])?;
        git(&work, &["init", "--quiet", "--initial-branch=main"])?;
        Ok(Self { work, bare })
    }

    /// The URL that replaces your address in the Application.
    pub(crate) fn url(&self) -> String {
        format!("file://{}", self.bare.display())
    }

    /// The work tree.
    pub(crate) fn folder(&self) -> &Path {
        &self.work
    }

    /// Writes a file, for the next push.
    pub(crate) fn write(&self, path: &str, text: &str) -> Result<(), Failure> {
        let path = self.work.join(path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(std::fs::write(path, text)?)
    }

    /// Commits and pushes all changes.
    pub(crate) fn push(&self, message: &str) -> Result<(), Failure> {
        let author = ["-c", "user.name=someone", "-c", "user.email=someone@example.com"];
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
    // Ignores the developer's configuration, such as signed commits.
    let output = Command::new("git")
        .current_dir(folder)
        .args(arguments)
        .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1")])
        .output()?;
    if output.status.success() {
        Ok(())
    } else {
        let printed = String::from_utf8_lossy(&output.stderr);
        Err(format!("git {}: {printed}", arguments.join(" ")).into())
    }
}
