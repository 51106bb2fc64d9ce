//! How to reach the cloud, and why that may be impossible.

use std::{io, path::PathBuf, time::Duration};

use rustls::pki_types::pem;

use crate::error::http_error::HttpError;

/// How to reach the cloud.
#[derive(Clone, Debug)]
pub struct TransportOptions {
    /// A PEM bundle with more roots to trust. It is read again when it changes.
    pub ca_file: Option<PathBuf>,
    /// For one request as a whole.
    pub request_timeout: Duration,
}

/// Why no connection can be made at all.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The CA file does not exist, or permissions forbid reading it.
    #[error("the CA file {} cannot be read: {source}", file.display())]
    UnreadableCaFile {
        /// The file from the options.
        file: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The CA file is not PEM, is empty, or has a certificate that the verifier rejects.
    #[error("the CA file {} holds no certificates in PEM that can be trusted: {source}", file.display())]
    InvalidCaFile {
        /// The file from the options.
        file: PathBuf,
        /// What is wrong with its content.
        source: CaFileProblem,
    },
    /// The crypto provider supports none of the default TLS versions.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The HTTP library rejects its configuration.
    #[error("the HTTP client cannot be set up: {0}")]
    Http(#[source] HttpError),
}

/// What is wrong with the content of a CA file.
#[derive(Debug, thiserror::Error)]
pub enum CaFileProblem {
    /// It has no certificate.
    #[error("there is none")]
    Empty,
    /// It is not PEM.
    #[error(transparent)]
    Pem(#[from] pem::Error),
    /// The verifier rejects a certificate.
    #[error(transparent)]
    Untrusted(#[from] rustls::Error),
}
