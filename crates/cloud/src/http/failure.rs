//! Turns a failed call or an unusable response into a [`CloudError`] with its [`ErrorKind`].

use std::sync::Arc;

use jiff::Timestamp;
use reqwest::StatusCode;

use crate::error::cause::{ConnectionError, RequestError};
use crate::error::cloud_error::CloudError;
use crate::error::error_body;
use crate::error::error_body::bounded;
use crate::error::error_kind::ErrorKind;
use crate::error::http_error::HttpError;
use crate::http::redaction::Redaction;
use crate::http::request::OutgoingCall;
use crate::limits::clock::SIGNATURE_SKEW;
use crate::limits::rate_limiter::LONG_WAIT;
use crate::values::time;

/// Gateway codes for a signature with a wrong time, among other causes.
const CLOCK_CODES: [&str; 2] = ["APIGW.0303", "APIG.0303"];

/// A response as it was received.
pub(crate) struct RawResponse {
    pub status: StatusCode,
    pub body: Vec<u8>,
    /// The raw header, which can hold anything.
    pub request_id: Option<String>,
    /// The `Date` header.
    pub date: Option<Timestamp>,
    /// The raw `Retry-After` header.
    pub retry_after: Option<String>,
}

impl RawResponse {
    /// Returns the request id, safe to show.
    pub(crate) fn redacted_request_id(&self, redaction: &Redaction) -> Option<String> {
        let id = shown(redaction, self.request_id.as_deref()?);
        (!id.is_empty()).then_some(id)
    }
}

/// Returns external text without the password. Redacts before the cut, which could leave a part of it, and again after
/// the cleanup, which can join what a line break separated.
fn shown(redaction: &Redaction, foreign: &str) -> String {
    redaction.hide(&bounded(&redaction.hide(foreign)))
}

/// A failed call, with its label for metrics.
pub(crate) struct CallFailure {
    pub error: Box<CloudError>,
    pub outcome: &'static str,
}

impl CallFailure {
    fn new(error: CloudError, outcome: &'static str) -> Self {
        Self {
            error: Box::new(error),
            outcome,
        }
    }

    /// No valid request can be built; nothing was sent.
    pub(crate) fn invalid(call: &OutgoingCall<'_>, problem: RequestError) -> Self {
        Self::new(CloudError::new(call.operation, ErrorKind::Rejected, problem), "invalid")
    }

    /// There was no response, or only a part of one.
    pub(crate) fn on_the_way(call: &OutgoingCall<'_>, error: reqwest::Error) -> Self {
        let endpoint = call.endpoint.to_owned();
        let (is_builder, is_connect, is_timeout) = (error.is_builder(), error.is_connect(), error.is_timeout());
        let mut source = HttpError::from(error);
        if Redaction::of(call.password).is_needed() {
            source = source.without_server_data();
        }
        let fault = |cause: ConnectionError| CloudError::new(call.operation, ErrorKind::CloudFault, cause);
        if is_builder {
            Self::invalid(call, RequestError::Refused(source))
        } else if is_connect {
            Self::new(fault(ConnectionError::Connect { endpoint, source }), "connect")
        } else if is_timeout {
            let error = fault(ConnectionError::Timeout { endpoint, source });
            Self::new(error.with_unknown_outcome(), "timeout")
        } else {
            let error = fault(ConnectionError::Broken { endpoint, source });
            Self::new(error.with_unknown_outcome(), "network")
        }
    }

    /// A success status with a body that is not the API's.
    pub(crate) fn unreadable(call: &OutgoingCall<'_>, raw: &RawResponse, problem: &serde_json::Error) -> Self {
        let (endpoint, service, shown) = (call.endpoint, call.operation.service(), error_body::excerpt(&raw.body));
        let text = match raw.body.as_slice() {
            // Both the parse error and the response may quote the request.
            [_, ..] if Redaction::of(call.password).is_needed() => {
                format!(
                    "{endpoint} did not answer as the {service}; the answer is not shown, it could repeat the password"
                )
            }
            [] => format!("{endpoint} did not answer as the {service}: the answer is empty"),
            // Valid JSON of another schema.
            _ if problem.is_data() => {
                format!("{endpoint} did not answer as the {service}: {problem}; the answer begins {shown}")
            }
            _ => format!("{endpoint} did not answer as the {service} but with: {shown}"),
        };
        Self::bad_success(call, raw, &text)
    }

    /// A success status with a body above the size limit.
    pub(crate) fn too_long(call: &OutgoingCall<'_>, raw: &RawResponse, most: usize) -> Self {
        Self::bad_success(
            call,
            raw,
            &format!("{} answered with more than {most} bytes", call.endpoint),
        )
    }

    fn bad_success(call: &OutgoingCall<'_>, raw: &RawResponse, text: &str) -> Self {
        let error = CloudError {
            status: Some(raw.status.as_u16()),
            request_id: raw.redacted_request_id(&Redaction::of(call.password)),
            ..CloudError::new(call.operation, ErrorKind::CloudFault, bounded(text))
        };
        Self::new(error.with_unknown_outcome(), "unreadable")
    }

    /// Any status outside 2xx.
    pub(crate) fn refusal(call: &OutgoingCall<'_>, raw: &RawResponse, now: Timestamp) -> Self {
        let (operation, status, redaction) = (call.operation, raw.status, Redaction::of(call.password));
        let shown = |foreign: &str| shown(&redaction, foreign);
        let parsed = error_body::parse(&raw.body);
        let code = parsed.as_ref().map(|body| body.code.as_str());
        let words = bounded(parsed.as_ref().map_or("", |body| &body.text));
        let mut kind = ErrorKind::of(operation, status.as_u16(), code, &words);
        // Trust only the API's `Date`: not a proxy's, nor that of a node that rejects our signature due to its clock.
        let date = raw.date.filter(|_| parsed.is_some() && kind != ErrorKind::Unauthorized);
        let mut text = match &parsed {
            Some(body) if !words.is_empty() => shown(&body.text),
            _ => without_words(call, raw),
        };
        let skew = raw.date.map(|date| date.duration_since(now).unsigned_abs());
        if let (ErrorKind::Unauthorized, Some(skew)) = (kind, skew.filter(|skew| *skew > SIGNATURE_SKEW)) {
            let minutes = skew.as_secs() / 60;
            text.push_str("; the operator's clock and the cloud's differ by ");
            text.push_str(&minutes.to_string());
            text.push_str(" minutes");
            if code.is_some_and(|code| CLOCK_CODES.contains(&code)) {
                // This does not count towards the lock of the access key, and only one API node's clock may be wrong.
                kind = ErrorKind::CloudFault;
                text += ": check the clock of the operator's node";
            }
        }
        let request_id = parsed.as_ref().and_then(|body| body.request_id.as_deref());
        let request_id = request_id.map(shown).filter(|id| !id.is_empty());
        let retry_after = raw
            .retry_after
            .as_ref()
            .and_then(|wait| time::parse_retry_after(wait, raw.date.unwrap_or(now)));
        let error = CloudError {
            operation,
            kind,
            status: Some(status.as_u16()),
            code: code.map(shown),
            cause: Arc::new(text.into()),
            request_id: raw.redacted_request_id(&redaction).or(request_id),
            retry_after,
            not_before: retry_after
                .filter(|wait| *wait > LONG_WAIT)
                .and_then(|wait| time::end_of(wait, now))
                .map(Box::new),
            outcome_unknown: false,
            date,
        };
        match status.as_u16() {
            429 => Self::new(error, "429"),
            300..=399 => Self::new(error, "3xx"),
            // The earlier request may have taken effect.
            _ if kind == ErrorKind::Repeated => Self::new(error.with_unknown_outcome(), "4xx"),
            // A server that failed, or one behind a proxy that timed out, may have executed the request.
            500..=599 => Self::new(error.with_unknown_outcome(), "5xx"),
            _ => Self::new(error, "4xx"),
        }
    }
}

/// Returns the message for a refusal without a text from the cloud.
fn without_words(call: &OutgoingCall<'_>, raw: &RawResponse) -> String {
    let (endpoint, service, reason) = (call.endpoint, call.operation.service(), reason(raw.status));
    let unshown = Redaction::of(call.password).is_needed();
    if raw.status.is_redirection() {
        format!("{endpoint} redirects ({reason}), which is not followed")
    } else if raw.body.is_empty() {
        format!("{endpoint} answered {reason} with an empty body")
    } else if unshown {
        format!(
            "{endpoint} answered {reason}, not as the {service}; the answer is not shown, it could repeat the password"
        )
    } else {
        let shown = error_body::excerpt(&raw.body);
        format!("{endpoint} answered {reason}, not as the {service} but with: {shown}")
    }
}

fn reason(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("HTTP {} {reason}", status.as_u16()),
        None => format!("HTTP {}", status.as_u16()),
    }
}
