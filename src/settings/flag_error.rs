//! What is wrong with the value of a flag.

use std::{io, path::PathBuf};

use rustls::pki_types::pem;
use thiserror::Error;
use vpn_cloud::regions::endpoints::{AliasError, EndpointError};

/// A flag that is invalid, or conflicts with another.
#[derive(Debug, Error)]
#[error("{flag}: {problem}")]
pub struct FlagError {
    /// With its dashes.
    pub flag: &'static str,
    /// What is wrong with its value.
    #[source]
    pub problem: FlagProblem,
}

impl FlagError {
    pub(crate) fn new(flag: &'static str, problem: impl Into<FlagProblem>) -> Self {
        Self {
            flag,
            problem: problem.into(),
        }
    }
}

/// What is wrong with the value of a flag.
#[derive(Debug, Error)]
pub enum FlagProblem {
    /// It breaks this rule.
    #[error("{0}")]
    Rule(String),
    /// It is not an endpoint.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// It is an endpoint without TLS.
    #[error("{0}; --allow-insecure-endpoints allows them")]
    Insecure(#[source] EndpointError),
    /// The aliases are ambiguous.
    #[error(transparent)]
    Aliases(#[from] AliasError),
    /// The CA file cannot be used.
    #[error("{} {problem}", path.display())]
    CaFile {
        /// The value of the flag.
        path: PathBuf,
        /// What is wrong with the file.
        #[source]
        problem: CaFileError,
    },
}

impl From<String> for FlagProblem {
    fn from(rule: String) -> Self {
        Self::Rule(rule)
    }
}

impl From<&str> for FlagProblem {
    fn from(rule: &str) -> Self {
        Self::Rule(rule.to_owned())
    }
}

/// What is wrong with the CA file.
#[derive(Debug, Error)]
pub enum CaFileError {
    /// The error of the operating system.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// The content is not PEM.
    #[error("is not PEM: {0}")]
    Pem(#[source] pem::Error),
    /// The content is PEM, or a text, without a certificate.
    #[error("contains no certificate (-----BEGIN CERTIFICATE-----)")]
    Empty,
    /// A certificate is not valid as a root.
    #[error("contains a certificate (number {number}) that cannot be a root: {source}")]
    InvalidRoot {
        /// Its place in the file, counted from 1.
        number: usize,
        /// Why not.
        source: rustls::Error,
    },
}

/// The value is not a duration.
#[derive(Debug, Error)]
#[error("{0}; write a duration such as 30s, 5m or 1h")]
pub(crate) struct InvalidDuration(#[from] humantime::DurationError);

/// The value is not the URL of `/readyz`.
#[derive(Debug, Error)]
pub(crate) enum InvalidProbeUrl {
    #[error("not a URL: {0}")]
    Syntax(#[from] url::ParseError),
    #[error("must be http://HOST:PORT/readyz")]
    Form,
}

const LOG_FILTER: &str = "write a level such as info or debug, or TARGET=LEVEL pairs with commas";

/// The value is not a log filter.
#[derive(Debug, Error)]
pub(crate) enum InvalidLogFilter {
    #[error("`{0}` is not a level; {LOG_FILTER}")]
    Level(String),
    #[error("{0}; {LOG_FILTER}")]
    Syntax(#[from] tracing_subscriber::filter::ParseError),
}
