//! Leaves no process and no folder behind, even when the test process is killed with SIGKILL. A shell that waits for
//! the end of a pipe does what a destructor then cannot do.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::process::{Launch, Process};

/// With this variable set (to anything) the logs of a run stay where they are.
const KEEP_VARIABLE: &str = "VPN_OPERATOR_TESTBED_KEEP";

/// One run: a folder of its own, and a shell. Once this value is dropped or this process has ended, the shell ends the
/// run's processes and removes the folder.
#[derive(Debug)]
pub struct Guardian {
    shell: Mutex<Child>,
    orders: Mutex<Option<ChildStdin>>,
    folder: PathBuf,
    started: AtomicUsize,
}

impl Guardian {
    /// Begins a run.
    pub fn start() -> Result<Arc<Self>> {
        let folder = tempfile::Builder::new()
            .prefix("vpn-operator-testbed-")
            .tempdir()
            .map_err(Error::io("cannot make a temporary folder"))?;
        let keep = std::env::var_os(KEEP_VARIABLE).is_some();
        let mut shell = Command::new("sh")
            .args(["-c", include_str!("guardian.sh"), "guardian"])
            .arg(folder.path())
            .arg(if keep { "keep" } else { "remove" })
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C in a terminal goes to the whole group; the guardian must outlive it.
            .process_group(0)
            .spawn()
            .map_err(Error::io("cannot start sh, which guards the run's processes"))?;
        let orders = shell.stdin.take();
        Ok(Arc::new(Self {
            shell: Mutex::new(shell),
            orders: Mutex::new(orders),
            // From here on the shell removes it.
            folder: folder.keep(),
            started: AtomicUsize::new(0),
        }))
    }

    /// The run's folder: logs, data, kubeconfig.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts a process of this run, its output in a log file of the run's folder.
    ///
    /// A shell becomes the program only after the guardian knows of it: if this process is killed in between, the shell
    /// reads EOF and ends.
    pub fn spawn(self: &Arc<Self>, launch: Launch) -> Result<Process> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let log_path = self.folder.join(format!("{number:03}-{}.log", launch.name));
        let log =
            std::fs::File::create(&log_path).map_err(Error::io(format!("cannot write {}", log_path.display())))?;
        let errors = log.try_clone().map_err(Error::io("cannot share a log file"))?;

        let mut command = Command::new("sh");
        command.args(["-c", "read -r go && exec \"$@\" </dev/null", "sh"]);
        launch.fill(&mut command, &self.folder);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(Error::io(format!("cannot start {}", launch.name)))?;
        let gate = child.stdin.take();
        self.order('+', child.id())?;
        if let Some(mut gate) = gate {
            gate.write_all(b"go\n")
                .map_err(Error::io(format!("cannot let {} go", launch.name)))?;
        }
        Ok(Process::new(launch.name, child, log_path, Arc::clone(self)))
    }

    /// Reports to the guardian that a process has ended and was waited for.
    pub(crate) fn forget(&self, pid: u32) -> Result<()> {
        self.order('-', pid)
    }

    fn order(&self, sign: char, pid: u32) -> Result<()> {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        match orders.as_mut() {
            Some(pipe) => {
                writeln!(pipe, "{sign}{pid}").map_err(Error::io("the guardian of the run's processes no longer runs"))
            }
            None => Ok(()),
        }
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        drop(self.orders.lock().unwrap_or_else(PoisonError::into_inner).take());
        // An error means that the shell has ended, and nothing is left to do.
        let _ = self.shell.lock().unwrap_or_else(PoisonError::into_inner).wait();
    }
}
