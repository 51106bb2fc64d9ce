//! The folder in the user's cache directory: not in `target/`, since every clean checkout would then
//! fetch or build again.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

const STAGING_PREFIX: &str = ".staging-";

/// Our folder in the user's cache directory.
#[derive(Debug)]
pub(super) struct Cache {
    root: PathBuf,
}

impl Cache {
    pub(super) fn open() -> Result<Self> {
        let caches = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
            .ok_or_else(|| {
                Error::NoControlPlane("there is no home folder to cache it in; set XDG_CACHE_HOME".to_owned())
            })?;
        Self::at(caches.join("vpn-operator"))
    }

    /// A cache in this folder.
    pub(super) fn at(root: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&root).map_err(Error::io(format!("cannot make {}", root.display())))?;
        Ok(Self { root })
    }

    /// Where a finished set of binaries lives.
    pub(super) fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Waits until no other process fetches or builds. The lock ends with the returned file, or with
    /// this process.
    pub(super) async fn lock(&self) -> Result<File> {
        let path = self.root.join("lock");
        let failure = Error::io(format!("cannot lock {}", path.display()));
        let locked = tokio::task::spawn_blocking(move || {
            let file = File::options().create(true).append(true).open(path)?;
            if file.try_lock().is_err() {
                super::report("waiting for another process that fetches or builds the control plane");
                file.lock()?;
            }
            Ok(file)
        });
        locked
            .await
            .unwrap_or_else(|error| Err(std::io::Error::other(error)))
            .map_err(failure)
    }

    /// A new folder to fill; what earlier, killed attempts left is removed. Only under the lock.
    pub(super) fn staging(&self) -> Result<PathBuf> {
        let failure = || Error::io(format!("cannot prepare {}", self.root.display()));
        for entry in std::fs::read_dir(&self.root).map_err(failure())? {
            let path = entry.map_err(failure())?.path();
            if file_name(&path).starts_with(STAGING_PREFIX) {
                std::fs::remove_dir_all(&path).map_err(failure())?;
            }
        }
        let folder = self.root.join(format!("{STAGING_PREFIX}{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).map_err(failure())?;
        Ok(folder)
    }

    /// Moves a filled folder to its place, whole or not at all.
    pub(super) fn publish(&self, staging: &Path, name: &str) -> Result<PathBuf> {
        let folder = self.folder(name);
        let failure = || Error::io(format!("cannot move the binaries to {}", folder.display()));
        if folder.exists() {
            std::fs::remove_dir_all(&folder).map_err(failure())?;
        }
        std::fs::rename(staging, &folder).map_err(failure())?;
        Ok(folder)
    }
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}
