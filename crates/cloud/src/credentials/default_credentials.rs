//! The default credentials, and why there may be none.

use std::{io, path::PathBuf, sync::Arc};

use crate::credentials::access_key::{Credentials, UnusableCredentials};

/// Environment name of the access key.
pub const ACCESS_KEY: &str = "HUAWEICLOUD_SDK_AK";

/// Environment name of the secret key.
pub const SECRET_KEY: &str = "HUAWEICLOUD_SDK_SK";

/// Environment name of the security token, which temporary keys have.
pub(crate) const SECURITY_TOKEN: &str = "HUAWEICLOUD_SDK_SECURITY_TOKEN";

/// Environment name of the file that holds the above, or of a folder with a file for each, as a Secret is mounted.
pub const CREDENTIALS_FILE: &str = "HUAWEICLOUD_SDK_CREDENTIALS_FILE";

/// The section of the file for services that live in a project.
pub(crate) const SECTION: &str = "basic";

/// The default credentials, with the other settings that the file may contain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultCredentials {
    /// The keys that sign requests.
    pub credentials: Arc<Credentials>,
    /// `project_id` of the file; the other sources have none.
    pub project_id: Option<String>,
    /// `iam_endpoint` of the file, not validated; the other sources have none.
    pub iam_endpoint: Option<String>,
}

/// Why there are no default credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefaultCredentialsError {
    /// Nothing was configured.
    #[error(
        "the operator has no default credentials: set {ACCESS_KEY} and {SECRET_KEY}, or {CREDENTIALS_FILE}, or name a \
         Secret with credentialsRef"
    )]
    NotConfigured,
    /// Half of a pair is set in the environment.
    #[error("{missing} is not set, although {present} is")]
    MissingVariable {
        /// The variable to set.
        missing: &'static str,
        /// The variable that is set.
        present: &'static str,
    },
    /// The value of a variable is not valid.
    #[error("{variable} cannot be used: {problem}")]
    BadVariable {
        /// Its name.
        variable: &'static str,
        /// The part that is not valid.
        #[source]
        problem: UnusableCredentials,
    },
    /// The file cannot be read.
    #[error("the credentials file {} ({CREDENTIALS_FILE}) cannot be read: {source}", file.display())]
    Unreadable {
        /// The file, or the folder of a mounted Secret.
        file: PathBuf,
        /// The error of the operating system, or what is missing.
        source: UnreadableCredentials,
    },
    /// The file is not INI. The parser's error is no source: what it quotes of the file is its own choice.
    #[error("the credentials file {} ({CREDENTIALS_FILE}) is not an INI file: line {line}", file.display())]
    Malformed {
        /// The file with the default credentials.
        file: PathBuf,
        /// The first line that is not INI, counted from 1.
        line: usize,
    },
    /// The file lacks a key.
    #[error("the credentials file {} ({CREDENTIALS_FILE}) has no {key} in its section [{SECTION}]", file.display())]
    MissingKey {
        /// The file with the default credentials.
        file: PathBuf,
        /// `ak` or `sk`.
        key: &'static str,
    },
    /// The value of a key is not valid.
    #[error("the credentials file {} ({CREDENTIALS_FILE}) cannot be used: {problem}", file.display())]
    BadKey {
        /// The file, or the folder of a mounted Secret.
        file: PathBuf,
        /// The part that is not valid.
        #[source]
        problem: UnusableCredentials,
    },
}

/// Why a file with credentials, or the folder of a mounted Secret, cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum UnreadableCredentials {
    /// A part is missing.
    #[error("there is no such file, or nothing in it")]
    Missing,
    /// Each attempt found another version.
    #[error("it changes all the time")]
    Unstable,
    /// The error of the operating system.
    #[error(transparent)]
    Io(Arc<io::Error>),
}

impl From<io::Error> for UnreadableCredentials {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

/// Errors of the operating system are equal if their messages are.
impl PartialEq for UnreadableCredentials {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for UnreadableCredentials {}
