//! The kernel's accounting of a container's memory, with either version of cgroups.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Failure;

/// The mount point of cgroups.
const CGROUPS: &str = "/sys/fs/cgroup";

/// The memory cgroup of one container.
pub(crate) struct Memory {
    folder: PathBuf,
    version: Version,
}

#[derive(Clone, Copy)]
enum Version {
    One,
    Two,
}

impl Memory {
    /// The cgroup of this path.
    pub(crate) fn of(path: &str) -> Self {
        let path = path.trim_start_matches('/');
        let root = Path::new(CGROUPS);
        if root.join("cgroup.controllers").exists() {
            Self {
                folder: root.join(path),
                version: Version::Two,
            }
        } else {
            Self {
                folder: root.join("memory").join(path),
                version: Version::One,
            }
        }
    }

    /// The limit in the kernel.
    pub(crate) fn limit(&self) -> Result<u64, Failure> {
        self.number(match self.version {
            Version::One => "memory.limit_in_bytes",
            Version::Two => "memory.max",
        })
    }

    /// The peak charge: heap, stacks, and the pages of the program.
    pub(crate) fn peak(&self) -> Result<u64, Failure> {
        self.number(match self.version {
            Version::One => "memory.max_usage_in_bytes",
            Version::Two => "memory.peak",
        })
    }

    /// The number of processes killed because of the limit.
    pub(crate) fn kills(&self) -> Result<u64, Failure> {
        let file = self.folder.join(match self.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        });
        let text = fs::read_to_string(&file)?;
        let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(kills
            .ok_or_else(|| format!("{} does not count kills", file.display()))?
            .parse()?)
    }

    fn number(&self, file: &str) -> Result<u64, Failure> {
        let file = self.folder.join(file);
        let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(text.trim().parse()?)
    }
}

/// The peak resident memory of a process.
pub(crate) fn peak_of_process(pid: u32) -> Result<u64, Failure> {
    let kibibytes = status_of_process(pid, "VmHWM")?;
    let number = kibibytes.strip_suffix(" kB").ok_or("VmHWM is not in kB")?;
    Ok(number.trim().parse::<u64>()? << 10)
}

/// A line of `/proc/PID/status`.
pub(crate) fn status_of_process(pid: u32, name: &str) -> Result<String, Failure> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .ok_or_else(|| format!("the kernel does not report {name}"))?;
    Ok(value.trim().to_owned())
}
