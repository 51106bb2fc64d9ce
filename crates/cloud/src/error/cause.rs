//! Why a call failed: the cloud's message, or an error of this program or its libraries.

use std::{borrow::Cow, error::Error};

use crate::error::http_error::HttpError;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The cloud's message, or what is wrong with its answer; bounded, one line, no control characters. A JSON error is
    /// part of this text and no source: it can quote the answer in full length, and with it the password of the request.
    #[error("{0}")]
    Message(Box<str>),
    /// There is no valid request, so nothing was sent.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// There was no answer, or only a part of one.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The answer names no project that can be used.
    #[error(transparent)]
    Project(#[from] ProjectError),
}

impl Cause {
    /// The message.
    pub(crate) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Message(text) => Cow::Borrowed(text),
            error => Cow::Owned(error.to_string()),
        }
    }

    /// The error; a message of the cloud is none.
    pub(crate) fn error(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Message(_) => None,
            Self::Request(error) => Some(error),
            Self::Connection(error) => Some(error),
            Self::Project(error) => Some(error),
        }
    }
}

impl From<String> for Cause {
    fn from(text: String) -> Self {
        Self::Message(text.into())
    }
}

impl From<&str> for Cause {
    fn from(text: &str) -> Self {
        Self::Message(text.into())
    }
}

/// Why a request cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The id would change the path.
    #[error("{0:?} cannot be an id")]
    Id(String),
    /// Endpoint and path are no URL.
    #[error("the endpoint {endpoint} cannot be used: {source}")]
    Endpoint {
        /// The base URL.
        endpoint: String,
        /// What is wrong with the URL.
        source: url::ParseError,
    },
    /// The URL has no host.
    #[error("the endpoint {0} names no host")]
    NoHost(String),
    /// The value of this header is not valid. It may be secret, so no message has it. The error of the HTTP library is no
    /// source, since it has no details.
    #[error("the {0} holds characters that cannot be sent")]
    Header(&'static str),
    /// The body cannot be serialized.
    #[error("the request cannot be written: {0}")]
    Body(#[from] serde_json::Error),
    /// The HTTP library rejects the request.
    #[error("the request cannot be made: {0}")]
    Refused(#[source] HttpError),
}

/// What failed on the way to the cloud or back.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// Nothing was sent.
    #[error("no connection to {endpoint}: {source}")]
    Connect {
        /// The base URL.
        endpoint: String,
        /// The error of the HTTP library.
        source: HttpError,
    },
    /// The request as a whole took too long.
    #[error("no answer from {endpoint} in time")]
    Timeout {
        /// The base URL.
        endpoint: String,
        /// The error of the HTTP library.
        source: HttpError,
    },
    /// The connection ended before the answer did.
    #[error("the connection to {endpoint} failed: {source}")]
    Broken {
        /// The base URL.
        endpoint: String,
        /// The error of the HTTP library.
        source: HttpError,
    },
}

/// Why a region has no usable project, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProjectError {
    /// There is none of this name.
    #[error("no project named {0:?} is visible to the credential: set the project id")]
    NotFound(String),
    /// The name is not unique.
    #[error("several projects are named {0:?}: set the project id")]
    Several(String),
    /// It has no id that can be one.
    #[error("the project {0:?} came without an id that can be one: set the project id")]
    NoId(String),
    /// It is disabled.
    #[error("the project {region:?} ({id}) is disabled: enable it, or set the project id of another")]
    Disabled {
        /// The region, whose name the project has.
        region: String,
        /// The project's id.
        id: String,
    },
}
