//! Errors of the test bed itself, with so much detail that the reader need not open a log file.

use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

/// A result of the test bed.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong.
#[derive(thiserror::Error)]
pub enum Error {
    /// A file or a process could not be handled.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The error of the system.
        source: io::Error,
    },

    /// No control plane is available on this machine.
    #[error("no Kubernetes control plane for the tests: {0}")]
    NoControlPlane(String),

    /// A program that the tests need is not available on this machine.
    #[error("a program for the tests is missing: {0}")]
    NoProgram(String),

    /// A process ended that should have continued.
    #[error("{name} ended ({status}) while it was waited for: {awaited}\n--- end of its log ---\n{log}")]
    Ended {
        /// The process.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// What it should have done.
        awaited: String,
        /// The last lines of its log.
        log: String,
    },

    /// Something did not happen in time.
    #[error("not within {deadline:?}: {awaited}\nlast seen: {last}")]
    Deadline {
        /// What was waited for.
        awaited: String,
        /// For how long.
        deadline: Duration,
        /// The last state that was seen.
        last: String,
    },

    /// A command-line tool failed.
    #[error("{command} failed ({status})\n{stderr}")]
    Tool {
        /// The tool and its arguments.
        command: String,
        /// Its exit status.
        status: ExitStatus,
        /// Its standard error.
        stderr: String,
    },

    /// A Deployment needs something that the test bed cannot simulate.
    #[error("a pod that cannot be run here: {0}")]
    Pod(String),

    /// A pod's Secret does not exist yet, or lacks a key.
    #[error("a pod waits: the Secret {name} has no {key}")]
    NoSecret {
        /// The Secret.
        name: String,
        /// The key.
        key: String,
    },

    /// The apiserver refused, or could not be reached.
    #[error("kube-apiserver: {0}")]
    Kube(#[from] kube::Error),

    /// The kubeconfig that the test bed wrote cannot be used.
    #[error("kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),

    /// A key or certificate could not be made.
    #[error("certificate of the control plane: {0}")]
    Certificate(#[from] rcgen::Error),

    /// An HTTP request failed.
    #[error("{}", with_causes(.0))]
    Http(#[from] reqwest::Error),

    /// An HTTP request got an unexpected response.
    #[error("{method} {url} answered {status}: {body}")]
    Answer {
        /// The method of the request.
        method: String,
        /// The URL of the request.
        url: String,
        /// The status of the response.
        status: u16,
        /// The body of the response.
        body: String,
    },

    /// The apiserver's audit log has a line that cannot be read.
    #[error("the audit log: {0}")]
    Audit(String),

    /// A body is not the JSON that it should be.
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Returns the error with its causes: reqwest keeps the problem, such as a refused connection, there.
fn with_causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", with_causes(cause)),
        None => error.to_string(),
    }
}

/// The same as `Display`: tests unwrap these errors, and the log that they quote has many lines.
impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl Error {
    /// Turns an [`io::Error`] into ours, with what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
