//! Why a request is refused, in the cloud's codes and words.

use axum::http::StatusCode;

/// Who refuses; each has its own shape of error body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaker {
    /// The gateway before the service; its codes get the prefix that is switched.
    Gateway,
    Iam,
    Service,
}

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiRefusal {
    pub speaker: Speaker,
    pub status: StatusCode,
    /// Without prefix for the gateway (`0301`), whole otherwise (`VPN.0001`).
    pub code: String,
    pub message: String,
    /// Value of a `Retry-After` header that was asked for.
    pub retry_after: Option<String>,
}

impl ApiRefusal {
    pub(crate) fn gateway(status: StatusCode, number: &str, message: impl Into<String>) -> Self {
        Self::new(Speaker::Gateway, status, number, message)
    }

    pub(crate) fn iam(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self::new(Speaker::Iam, status, code, message)
    }

    pub(crate) fn service(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self::new(Speaker::Service, status, code, message)
    }

    /// 404 with 0101: there is no operation at the path.
    pub(crate) fn not_published(method: &str, path: &str) -> Self {
        let text = format!("The API does not exist or has not been published in the environment: {method} {path}");
        Self::gateway(StatusCode::NOT_FOUND, "0101", text)
    }

    /// 400 VPN.0001, the service's code for almost everything.
    pub(crate) fn invalid(message: impl AsRef<str>) -> Self {
        Self::service(
            StatusCode::BAD_REQUEST,
            "VPN.0001",
            format!("invalid request: {}", message.as_ref()),
        )
    }

    fn new(speaker: Speaker, status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self {
            speaker,
            status,
            code: code.to_owned(),
            message: message.into(),
            retry_after: None,
        }
    }
}
