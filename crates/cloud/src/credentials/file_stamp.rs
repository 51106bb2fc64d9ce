//! Detects a change of a file without reading it.

use std::{fs, io, path::Path, time::SystemTime};

/// See the module. A mounted Secret or `ConfigMap` is replaced as a whole, with new times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileStamp {
    modified: Option<SystemTime>,
    length: u64,
}

impl FileStamp {
    /// Returns the stamp of the file as it is now. Follows symbolic links.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self {
            modified: metadata.modified().ok(),
            length: metadata.len(),
        })
    }
}
