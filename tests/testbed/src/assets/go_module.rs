//! The control plane from source: one Go program that acts as each of the tools by the name that it
//! is called by. It can be had wherever Go modules can.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Tool;
use super::cache::Cache;
use super::go_build::{GoSource, go};
use crate::error::{Error, Result};
use crate::guardian::Guardian;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/control-plane");
const PROGRAM: &str = "control-plane";

/// The module's source, by its content.
#[derive(Debug)]
pub(super) struct GoModule {
    /// Of Kubernetes, as in `v1.37.2`.
    version: String,
    source: GoSource,
}

impl GoModule {
    /// Reads the source.
    pub(super) fn open() -> Result<Self> {
        let path = Path::new(SOURCE).join("go.mod");
        let text = std::fs::read_to_string(&path).map_err(Error::io(format!("cannot read {}", path.display())))?;
        let version = required_version(&text, "k8s.io/kubernetes");
        Ok(Self {
            version: version
                .ok_or_else(|| Error::NoControlPlane(format!("{SOURCE}/go.mod requires no k8s.io/kubernetes")))?
                .to_owned(),
            source: GoSource::open(Path::new(SOURCE))?,
        })
    }

    /// The cache folder's name.
    pub(super) fn name(&self) -> String {
        format!("control-plane-{}-{}", self.version, self.source.hash())
    }

    /// Builds the program into the cache. Only under the cache's lock.
    pub(super) async fn build(&self, cache: &Cache, guardian: &Arc<Guardian>) -> Result<PathBuf> {
        let staging = cache.staging()?;
        let go = go().ok_or_else(|| {
            Error::NoControlPlane(
                "to build it from source Go is missing. Install Go 1.26 (or 1.21 and newer, which fetch it; \
                 https://go.dev/dl/), or set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver and kubectl (for \
                 some tests also kube-controller-manager and helm)"
                    .to_owned(),
            )
        })?;
        super::report(&format!(
            "building Kubernetes {} and Helm from source; the first time takes about 6 minutes on two idle cores, later \
             runs find it in {}",
            self.version,
            cache.folder(&self.name()).display()
        ));
        let (program, what) = (staging.join(PROGRAM), "the control plane");
        self.source
            .build(&go, &program, &linker_flags(&self.version), what, guardian)
            .await?;
        for tool in Tool::ALL {
            std::os::unix::fs::symlink(PROGRAM, staging.join(tool.file_name()))
                .map_err(Error::io(format!("cannot link {}", tool.file_name())))?;
        }
        cache.publish(&staging, &self.name())
    }
}

/// The version must be stamped, or neither kubectl nor Helm can parse what the apiserver says.
fn linker_flags(version: &str) -> String {
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let stamps = [("gitVersion", version), ("gitMajor", major), ("gitMinor", minor)];
    stamps.iter().fold("-s -w".to_owned(), |flags, (name, value)| {
        format!("{flags} -X k8s.io/component-base/version.{name}={value}")
    })
}

fn required_version<'a>(go_mod: &'a str, module: &str) -> Option<&'a str> {
    go_mod
        .lines()
        .find_map(|line| line.trim().strip_prefix(module)?.strip_prefix(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_required_version_is_read_from_go_mod() {
        let go_mod = "require (\n\tk8s.io/kubernetes-x v0.1.0\n\tk8s.io/kubernetes v1.2.3\n)\n";
        assert_eq!(required_version(go_mod, "k8s.io/kubernetes"), Some("v1.2.3"));
        assert_eq!(required_version(go_mod, "k8s.io/other"), None);
    }

    #[test]
    fn linker_flags_contain_the_version_numbers() {
        let flags = linker_flags("v1.37.2");
        assert!(flags.ends_with("version.gitVersion=v1.37.2 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37"), "{flags}");
    }
}
