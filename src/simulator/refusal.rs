//! Why a request is refused, in the cloud's codes and words.

use axum::http::StatusCode;

/// Who refuses; each has its own shape of error body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// The gateway before the service; its codes get the prefix that is switched.
    Gateway,
    Iam,
    Service,
}

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub speaker: Speaker,
    pub status: StatusCode,
    /// Without prefix for the gateway (`0301`), whole otherwise (`VPN.0001`).
    pub code: String,
    pub message: String,
    /// Value of a `Retry-After` header that was asked for.
    pub retry_after: Option<String>,
}

impl Refusal {
    pub fn gateway(status: StatusCode, number: &str, message: impl Into<String>) -> Self {
        Self::new(Speaker::Gateway, status, number, message)
    }

    pub fn iam(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self::new(Speaker::Iam, status, code, message)
    }

    pub fn service(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self::new(Speaker::Service, status, code, message)
    }

    /// 400 VPN.0001, the service's code for almost everything.
    pub fn invalid(message: impl AsRef<str>) -> Self {
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
