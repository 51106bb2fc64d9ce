//! The sources of the control plane's binaries, in this order: a folder that the user names, our cache, the official
//! envtest archive, or a build of the Go module beside this crate.

mod archive;
mod argo_cd;
mod cache;
mod go_build;
mod go_module;
mod go_program;
mod python;

use std::fmt;
use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::guardian::Guardian;
use cache::Cache;
use go_module::GoModule;

pub(crate) use argo_cd::{ArgoCdParts, Part};
pub use go_program::GoProgram;
pub use python::Python;

/// Two digits per byte.
fn lower_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The variable that envtest and setup-envtest use too.
const FOLDER_VARIABLE: &str = "KUBEBUILDER_ASSETS";

/// One of the programs of a control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// The store.
    Etcd,
    /// The API.
    KubeApiserver,
    /// Namespace deletion, garbage collection, service-account tokens.
    KubeControllerManager,
    /// The command-line client.
    Kubectl,
    /// The installer of charts.
    Helm,
}

impl Tool {
    const ALL: [Self; 5] = [
        Self::Etcd,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::Kubectl,
        Self::Helm,
    ];
    /// The tools that a control plane requires. The official archive contains only these.
    const ESSENTIAL: [Self; 3] = [Self::Etcd, Self::KubeApiserver, Self::Kubectl];

    /// The name of its file.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::Kubectl => "kubectl",
            Self::Helm => "helm",
        }
    }
}

/// The folder with the binaries.
#[derive(Debug, Clone)]
pub struct Assets {
    folder: PathBuf,
}

impl Assets {
    /// Finds, fetches or builds the binaries, and reports the source in one line on standard error.
    pub async fn find(guardian: &Arc<Guardian>) -> Result<Self> {
        if let Some(folder) = std::env::var_os(FOLDER_VARIABLE).filter(|value| !value.is_empty()) {
            return Self::from_variable(PathBuf::from(folder));
        }
        let cache = Cache::open()?;
        let module = GoModule::open()?;
        if let Some(assets) = Self::from_cache(&cache, &module) {
            return Ok(assets);
        }
        let lock = cache.lock().await?;
        // Another process may have filled it while we waited.
        if let Some(assets) = Self::from_cache(&cache, &module) {
            return Ok(assets);
        }
        let archive_failure = match archive::fetch(&cache).await {
            Ok(folder) => return Ok(Self::chosen(folder, "the official envtest archive")),
            Err(error) => error.to_string(),
        };
        report(&format!(
            "the official envtest archive is not available ({archive_failure}): building from source"
        ));
        let folder = module.build(&cache, guardian).await?;
        drop(lock);
        Ok(Self::chosen(folder, "a build of the Go module"))
    }

    /// The path of an essential tool, which every choice has.
    pub(crate) fn path(&self, tool: Tool) -> PathBuf {
        self.folder.join(tool.file_name())
    }

    /// The path of a tool; builds the Go module if the chosen folder lacks the tool.
    pub async fn tool(&self, tool: Tool, guardian: &Arc<Guardian>) -> Result<PathBuf> {
        if has(&self.folder, tool) {
            return Ok(self.path(tool));
        }
        let cache = Cache::open()?;
        let module = GoModule::open()?;
        let built = cache.folder(&module.name());
        if has(&built, tool) {
            return Ok(built.join(tool.file_name()));
        }
        let _lock = cache.lock().await?;
        if !has(&built, tool) {
            report(&format!(
                "{} has no {}: building from source",
                self.folder.display(),
                tool.file_name()
            ));
            module.build(&cache, guardian).await?;
        }
        Ok(built.join(tool.file_name()))
    }

    fn from_variable(folder: PathBuf) -> Result<Self> {
        match Tool::ESSENTIAL.into_iter().find(|tool| !has(&folder, *tool)) {
            None => Ok(Self::chosen(folder, FOLDER_VARIABLE)),
            Some(missing) => Err(Error::NoControlPlane(format!(
                "{FOLDER_VARIABLE} is {}, where {} is missing; correct it, or unset it to let the test bed fetch or \
                 build the binaries",
                folder.display(),
                missing.file_name()
            ))),
        }
    }

    fn from_cache(cache: &Cache, module: &GoModule) -> Option<Self> {
        [module.name(), archive::NAME.to_owned()]
            .into_iter()
            .map(|name| cache.folder(&name))
            .find(|folder| Tool::ESSENTIAL.into_iter().all(|tool| has(folder, tool)))
            .map(|folder| Self::chosen(folder, "the cache"))
    }

    fn chosen(folder: PathBuf, origin: &str) -> Self {
        report(&format!("control plane from {origin}: {}", folder.display()));
        Self { folder }
    }
}

fn has(folder: &Path, tool: Tool) -> bool {
    folder.join(tool.file_name()).is_file()
}

/// Writes a line to standard error directly, since the test harness would hold back the output of `eprintln!`: a build
/// of minutes must not look like a hang.
fn report(line: &(impl fmt::Display + ?Sized)) {
    // If it cannot be written, that is no reason to fail.
    let _ = writeln!(std::io::stderr(), "test bed: {line}");
}
