//! A process of a run: its log, its signals, its end.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::error::{Error, Result};
use crate::guardian::Guardian;
use crate::wait::PAUSE;

/// Lines of a log that an error message quotes.
const TAIL_LINES: usize = 40;

/// What to start, and how.
#[derive(Debug)]
pub struct Launch {
    pub(crate) name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    folder: Option<PathBuf>,
    inherits_environment: bool,
}

impl Launch {
    /// A program to start, with the name for its log and errors. It gets its own environment: the
    /// developer's proxies, credentials and kubeconfig must not change a test.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            arguments: Vec::new(),
            variables: Vec::new(),
            folder: None,
            inherits_environment: false,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets environment variables.
    #[must_use]
    pub fn envs(mut self, variables: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>) -> Self {
        self.variables
            .extend(variables.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// Starts another program, which gets these arguments and then this program with its own.
    #[must_use]
    pub fn through(
        mut self,
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Self {
        let own = std::mem::replace(&mut self.program, program.into()).into_os_string();
        let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).chain([own]).collect();
        self.arguments.splice(0..0, arguments);
        self
    }

    /// Starts it in this folder.
    #[must_use]
    pub fn current_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Gives it the whole environment of this process.
    #[must_use]
    pub fn inherit_environment(mut self) -> Self {
        self.inherits_environment = true;
        self
    }

    /// Fills a command that ends with program and arguments; `home` stands in for the developer's.
    pub(crate) fn fill(&self, command: &mut Command, home: &Path) {
        command.arg(&self.program).args(&self.arguments);
        if !self.inherits_environment {
            command.env_clear();
            command.envs(kept_environment()).env("HOME", home);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
    }
}

/// The variables without which programs do not start, or leave no coverage data.
pub(crate) fn kept_environment() -> impl Iterator<Item = (&'static str, OsString)> {
    ["PATH", "TMPDIR", "LLVM_PROFILE_FILE"]
        .into_iter()
        .filter_map(|name| std::env::var_os(name).map(|value| (name, value)))
}

/// A running (or ended) process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: u32,
    child: Mutex<Child>,
    log_path: PathBuf,
    guardian: Arc<Guardian>,
}

impl Process {
    pub(crate) fn new(name: String, child: Child, log_path: PathBuf, guardian: Arc<Guardian>) -> Self {
        Self {
            name,
            pid: child.id(),
            child: Mutex::new(child),
            log_path,
            guardian,
        }
    }

    /// The name that it was launched under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id, which is its process group too.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The file with its standard output and standard error.
    pub fn log_path(&self) -> &Path {
        &self.log_path
    }

    /// All that it has written so far.
    pub fn log(&self) -> String {
        match std::fs::read(&self.log_path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => format!("({} cannot be read: {error})", self.log_path.display()),
        }
    }

    /// The last lines that it has written.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// How it ended, if it has ended.
    pub fn exit_status(&self) -> Result<Option<ExitStatus>> {
        let mut child = self.lock();
        let status = child
            .try_wait()
            .map_err(Error::io(format!("cannot read the state of {}", self.name)))?;
        if status.is_some() {
            self.guardian.forget(self.pid)?;
        }
        Ok(status)
    }

    /// Sends SIGKILL to it and its children, and waits until it has ended.
    pub fn kill(&self) -> Result<ExitStatus> {
        self.signal(Signal::KILL)?;
        let status = self
            .lock()
            .wait()
            .map_err(Error::io(format!("cannot wait for {}", self.name)))?;
        self.guardian.forget(self.pid)?;
        Ok(status)
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn terminate(&self, deadline: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(deadline).await
    }

    /// Waits for its end.
    pub async fn wait(&self, deadline: Duration) -> Result<ExitStatus> {
        let ended = async {
            loop {
                match self.exit_status()? {
                    Some(status) => return Ok(status),
                    None => tokio::time::sleep(PAUSE).await,
                }
            }
        };
        tokio::time::timeout(deadline, ended)
            .await
            .unwrap_or_else(|_| Err(self.too_late("its end", deadline)))
    }

    /// Stops it as a debugger or an overloaded machine would (SIGSTOP).
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Resumes it (SIGCONT).
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Waits until its log has a line with this text, and returns the first such line.
    pub async fn wait_for_log(&self, text: &str, deadline: Duration) -> Result<String> {
        self.wait_for_log_line(&format!("{text:?} in the log of {}", self.name), deadline, |line| {
            line.contains(text).then(|| line.to_owned())
        })
        .await
    }

    /// Waits until `pick` finds something in a whole line of its log.
    pub(crate) async fn wait_for_log_line<T>(
        &self,
        awaited: &str,
        deadline: Duration,
        pick: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        let found = async {
            loop {
                // Checks for the exit first, so that no earlier output is missed.
                let ended = self.exit_status()?;
                let log = self.log();
                let whole_lines = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
                if let Some(found) = whole_lines.map(str::trim_end).find_map(&pick) {
                    return Ok(found);
                }
                if let Some(status) = ended {
                    return Err(self.ended(status, awaited));
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(deadline, found)
            .await
            .unwrap_or_else(|_| Err(self.too_late(awaited, deadline)))
    }

    /// The error for an end that came too early.
    pub(crate) fn ended(&self, status: ExitStatus, awaited: &str) -> Error {
        Error::Ended {
            name: self.name.clone(),
            status,
            awaited: awaited.to_owned(),
            log: self.log_tail(),
        }
    }

    fn too_late(&self, awaited: &str, deadline: Duration) -> Error {
        Error::Deadline {
            awaited: format!("{}: {awaited}", self.name),
            deadline,
            last: format!("still running, the end of its log:\n{}", self.log_tail()),
        }
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        // Under the lock nothing else waits for the child, so its pid cannot be reused yet.
        let mut child = self.lock();
        let ended = child
            .try_wait()
            .map_err(Error::io(format!("cannot read the state of {}", self.name)))?;
        if ended.is_some() {
            return Ok(());
        }
        kill_process_group(Pid::from_child(&child), signal)
            .map_err(|error| Error::io(format!("cannot signal {}", self.name))(error.into()))
    }

    fn lock(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // If this fails, the guardian kills the process at the end of the run.
        let _ = self.kill();
    }
}
