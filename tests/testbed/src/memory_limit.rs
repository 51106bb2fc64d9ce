//! A limit on a process's memory, as a node's kernel enforces it for a container.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};
use crate::process::{Launch, Process};

const CGROUPS: &str = "/sys/fs/cgroup";
/// Joins the group before the program begins, since memory is charged to the group in which it is first used.
const JOIN: &str = "echo $$ > \"$1\" && shift && exec \"$@\"";

static GROUPS: AtomicUsize = AtomicUsize::new(0);

/// A control group with a memory limit; without the permission to make one, only the limit's number.
#[derive(Debug)]
pub struct MemoryLimit {
    bytes: u64,
    group: Option<PathBuf>,
}

impl MemoryLimit {
    /// Makes the group where the machine allows it.
    pub fn new(bytes: u64) -> Self {
        let name = format!(
            "vpn-operator-testbed-{}-{}",
            std::process::id(),
            GROUPS.fetch_add(1, Ordering::Relaxed)
        );
        let group = version_two(&name, bytes).or_else(|_| version_one(&name, bytes));
        Self {
            bytes,
            group: group.ok(),
        }
    }

    /// The limit.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the kernel enforces it. If not, compare [`unreclaimable`] with it.
    pub fn is_enforced(&self) -> bool {
        self.group.is_some()
    }

    /// The same launch, in the group.
    #[must_use]
    pub fn around(&self, launch: Launch) -> Launch {
        match &self.group {
            Some(group) => {
                let members = group.join("cgroup.procs").into_os_string();
                launch.through("/bin/sh", ["-c".into(), JOIN.into(), "sh".into(), members])
            }
            None => launch,
        }
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        if let Some(group) = &self.group {
            // A group that still has a process stays, empty of meaning.
            let _ = fs::remove_dir(group);
        }
    }
}

fn version_two(name: &str, bytes: u64) -> std::io::Result<PathBuf> {
    let root = Path::new(CGROUPS);
    fs::metadata(root.join("cgroup.controllers"))?;
    fs::write(root.join("cgroup.subtree_control"), "+memory")?;
    let group = make(root, name)?;
    limited(group, "memory.max", bytes).inspect(|group| {
        // Not every kernel counts swap.
        let _ = fs::write(group.join("memory.swap.max"), "0");
    })
}

fn version_one(name: &str, bytes: u64) -> std::io::Result<PathBuf> {
    let group = make(&Path::new(CGROUPS).join("memory"), name)?;
    limited(group, "memory.limit_in_bytes", bytes).inspect(|group| {
        let _ = fs::write(group.join("memory.swappiness"), "0");
    })
}

fn make(root: &Path, name: &str) -> std::io::Result<PathBuf> {
    let group = root.join(name);
    fs::create_dir(&group)?;
    Ok(group)
}

fn limited(group: PathBuf, file: &str, bytes: u64) -> std::io::Result<PathBuf> {
    match fs::write(group.join(file), bytes.to_string()) {
        Ok(()) => Ok(group),
        Err(error) => {
            let _ = fs::remove_dir(&group);
            Err(error)
        }
    }
}

/// The memory of a process that the kernel cannot take back: without the pages of its program, in bytes.
pub fn unreclaimable(process: &Process) -> Result<u64> {
    memory(process, &["RssAnon:", "RssShmem:"])
}

/// The resident memory of a process, with the pages of its program, in bytes.
pub fn resident(process: &Process) -> Result<u64> {
    memory(process, &["VmRSS:"])
}

/// The most resident memory that a process has had, in bytes.
pub fn most_resident(process: &Process) -> Result<u64> {
    memory(process, &["VmHWM:"])
}

/// The sum of these lines of the kernel's status of a process.
fn memory(process: &Process, names: &[&str]) -> Result<u64> {
    let file = format!("/proc/{}/status", process.pid());
    let status = fs::read_to_string(&file).map_err(Error::io(format!("cannot read {file}")))?;
    let kibibytes = |name: &&str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    let found: Vec<u64> = names.iter().filter_map(kibibytes).collect();
    if found.is_empty() {
        return Err(Error::io(format!("{file} has none of {names:?}"))(
            ErrorKind::InvalidData.into(),
        ));
    }
    Ok(found.iter().sum::<u64>() * 1024)
}
