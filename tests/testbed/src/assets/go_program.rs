//! Go programs of the tests: short programs that call third-party libraries, which exist in Go only.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cache::Cache;
use super::go_build::{GoSource, go};
use crate::error::{Error, Result};
use crate::guardian::Guardian;
use crate::tool::{self, ToolOutput};

/// A program, built once for all checkouts of this user.
#[derive(Debug)]
pub struct GoProgram {
    path: PathBuf,
    guardian: Arc<Guardian>,
}

impl GoProgram {
    /// Finds the program of a folder in the cache, or builds it. It has the name of the folder.
    pub async fn build(folder: &Path, guardian: &Arc<Guardian>) -> Result<Self> {
        let source = GoSource::open(folder)?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let cache = Cache::open()?;
        let cached = format!("{name}-{}", source.hash());
        let path = cache.folder(&cached).join(&*name);
        if !path.is_file() {
            let _lock = cache.lock().await?;
            // Another process may have built it while this one waited.
            if !path.is_file() {
                let go = go().ok_or_else(|| {
                    Error::NoProgram(format!(
                        "{name} is written in Go. Install Go 1.26 (or 1.21 and newer, which fetch it), https://go.dev/dl/"
                    ))
                })?;
                super::report(&format!("building {name}"));
                let staging = cache.staging()?;
                source
                    .build(&go, &staging.join(&*name), "-s -w", &name, guardian)
                    .await?;
                cache.publish(&staging, &cached)?;
            }
        }
        Ok(Self {
            path,
            guardian: Arc::clone(guardian),
        })
    }

    /// Runs it to its end.
    pub async fn run(
        &self,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
        input: Option<&str>,
    ) -> Result<ToolOutput> {
        let arguments = arguments.into_iter().map(Into::into).collect();
        tool::run(&self.path, arguments, Vec::new(), self.guardian.folder(), input).await
    }
}
