//! Argo CD from source: its CRDs, and one Go program that acts as the part by whose name it is called.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cache::Cache;
use super::go_build::{GoSource, go};
use crate::error::{Error, Result};
use crate::guardian::Guardian;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/argo-cd");
const MODULE: &str = "github.com/argoproj/argo-cd/v3";
const PROGRAM: &str = "argo-cd";
const CRDS: &str = "manifests/crds";
/// The script with which the repository server checks the signature of a commit.
const VERIFIER: &str = "git-verify-wrapper.sh";

/// A part of Argo CD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Compares, applies, prunes, deletes.
    ApplicationController,
    /// Renders the manifests from Git.
    RepoServer,
    /// Answers Git's requests for credentials for the repository server.
    GitAskPass,
    /// The data that the others share, in memory.
    Redis,
}

impl Part {
    const ALL: [Self; 4] = [
        Self::ApplicationController,
        Self::RepoServer,
        Self::GitAskPass,
        Self::Redis,
    ];

    /// The name by which the program is called.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ApplicationController => "argocd-application-controller",
            Self::RepoServer => "argocd-repo-server",
            Self::GitAskPass => "argocd-git-ask-pass",
            Self::Redis => "argocd-redis",
        }
    }
}

/// The folder with the parts and the CRDs.
#[derive(Debug)]
pub(crate) struct ArgoCdParts {
    folder: PathBuf,
}

impl ArgoCdParts {
    /// Finds them in the cache, or builds them.
    pub(crate) async fn find(guardian: &Arc<Guardian>) -> Result<Self> {
        let source = GoSource::open(Path::new(SOURCE))?;
        let cache = Cache::open()?;
        let name = format!("{PROGRAM}-{}", source.hash());
        let folder = cache.folder(&name);
        if folder.is_dir() {
            return Ok(Self { folder });
        }
        let _lock = cache.lock().await?;
        // Another process may have built it in the meantime.
        if !folder.is_dir() {
            let go = go().ok_or_else(|| {
                Error::NoProgram(
                    "Argo CD is built from source. Install Go 1.21 or newer, which fetches the Go that Argo CD asks for; \
                     https://go.dev/dl/"
                        .to_owned(),
                )
            })?;
            super::report("building Argo CD from source; the first time takes about 6 minutes on two idle cores");
            let staging = cache.staging()?;
            let program = staging.join(PROGRAM);
            source.build(&go, &program, "-s -w", "Argo CD", guardian).await?;
            let module = source.module_folder(&go, MODULE, guardian).await?;
            copy_crds(&module.join(CRDS), &staging.join("crds"))?;
            copy_script(&module.join("hack").join(VERIFIER), &staging.join(VERIFIER))?;
            for part in Part::ALL {
                std::os::unix::fs::symlink(PROGRAM, staging.join(part.name()))
                    .map_err(Error::io(format!("cannot link {}", part.name())))?;
            }
            cache.publish(&staging, &name)?;
        }
        Ok(Self { folder })
    }

    /// The program of a part.
    pub(crate) fn path(&self, part: Part) -> PathBuf {
        self.folder.join(part.name())
    }

    /// The folder with all parts, through which they find each other.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder with the CRDs.
    pub(crate) fn crds(&self) -> PathBuf {
        self.folder.join("crds")
    }
}

fn copy_crds(from: &Path, to: &Path) -> Result<()> {
    let failure = || Error::io(format!("cannot copy the CRDs from {}", from.display()));
    std::fs::create_dir(to).map_err(failure())?;
    for entry in std::fs::read_dir(from).map_err(failure())? {
        let path = entry.map_err(failure())?.path();
        let name = path.file_name().unwrap_or_default();
        if name.to_string_lossy().ends_with("-crd.yaml") {
            std::fs::copy(&path, to.join(name)).map_err(failure())?;
        }
    }
    Ok(())
}

/// Copies a script and makes it executable: Go modules do not keep that permission.
fn copy_script(from: &Path, to: &Path) -> Result<()> {
    let failure = || Error::io(format!("cannot copy {}", from.display()));
    let script = std::fs::read(from).map_err(failure())?;
    std::fs::write(to, script).map_err(failure())?;
    std::fs::set_permissions(to, PermissionsExt::from_mode(0o755)).map_err(failure())
}
