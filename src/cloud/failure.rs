//! From whatever came instead of a good answer to an error that says what it means.

use std::error::Error as _;

use jiff::Timestamp;
use reqwest::StatusCode;

use super::{
    clock::SIGNATURE_SKEW, error::CloudError, error_body, error_body::bounded, meaning::Meaning, redaction::Redaction,
    request::Call, time,
};

/// The gateway's codes for a signature from another time, among other things.
const CLOCK_CODES: [&str; 2] = ["APIGW.0303", "APIG.0303"];

/// An answer as it came.
pub(super) struct Said {
    pub status: StatusCode,
    pub body: Vec<u8>,
    /// As it stands in the header: it may hold anything.
    pub request_id: Option<String>,
    /// The `Date` header.
    pub date: Option<Timestamp>,
    /// The header, as it is written.
    pub retry_after: Option<String>,
}

impl Said {
    /// The request id, fit to be told.
    pub fn told_request_id(&self, redaction: &Redaction) -> Option<String> {
        let id = shown(redaction, self.request_id.as_deref()?);
        (!id.is_empty()).then_some(id)
    }
}

/// Foreign text without what must not be told. It is hidden before the text is cut, or a part of it would be left, and
/// again after it was tidied up, which may bring together what a line break kept apart.
fn shown(redaction: &Redaction, foreign: &str) -> String {
    redaction.hide(&bounded(&redaction.hide(foreign)))
}

/// A failed call, with its label for metrics.
pub(super) struct Failure {
    pub error: Box<CloudError>,
    pub outcome: &'static str,
}

impl Failure {
    fn new(error: CloudError, outcome: &'static str) -> Self {
        Self {
            error: Box::new(error),
            outcome,
        }
    }

    /// What was asked for is no request; nothing was sent.
    pub fn invalid(call: &Call<'_>, problem: String) -> Self {
        Self::new(CloudError::new(call.operation, Meaning::Rejected, problem), "invalid")
    }

    /// There was no answer, or only a part of one.
    pub fn on_the_way(call: &Call<'_>, error: &reqwest::Error) -> Self {
        let (causes, endpoint) = (with_causes(error), call.endpoint);
        let fault = |text| CloudError::new(call.operation, Meaning::CloudFault, text);
        if error.is_builder() {
            Self::invalid(call, format!("the request cannot be made: {causes}"))
        } else if error.is_connect() {
            Self::new(fault(format!("no connection to {endpoint}: {causes}")), "connect")
        } else if error.is_timeout() {
            Self::new(
                fault(format!("no answer from {endpoint} in time")).with_unknown_outcome(),
                "timeout",
            )
        } else {
            let text = format!("the connection to {endpoint} failed: {causes}");
            Self::new(fault(text).with_unknown_outcome(), "network")
        }
    }

    /// A success in words that are not the API's.
    pub fn unreadable(call: &Call<'_>, said: &Said, problem: &serde_json::Error) -> Self {
        let (endpoint, service, shown) = (call.endpoint, call.operation.service(), error_body::excerpt(&said.body));
        let text = match said.body.as_slice() {
            // Both the problem and the answer may quote what was sent.
            [_, ..] if Redaction::of(call.password).is_needed() => {
                format!(
                    "{endpoint} did not answer as the {service}; the answer is not shown, it could repeat the password"
                )
            }
            [] => format!("{endpoint} did not answer as the {service}: the answer is empty"),
            // JSON, but of something else.
            _ if problem.is_data() => {
                format!("{endpoint} did not answer as the {service}: {problem}; the answer begins {shown}")
            }
            _ => format!("{endpoint} did not answer as the {service} but with: {shown}"),
        };
        Self::bad_success(call, said, &text)
    }

    /// A success that nobody wants to read.
    pub fn too_long(call: &Call<'_>, said: &Said, most: usize) -> Self {
        Self::bad_success(
            call,
            said,
            &format!("{} answered with more than {most} bytes", call.endpoint),
        )
    }

    fn bad_success(call: &Call<'_>, said: &Said, text: &str) -> Self {
        let error = CloudError {
            status: Some(said.status.as_u16()),
            request_id: said.told_request_id(&Redaction::of(call.password)),
            ..CloudError::new(call.operation, Meaning::CloudFault, bounded(text))
        };
        Self::new(error.with_unknown_outcome(), "unreadable")
    }

    /// Any status but a success.
    pub fn refusal(call: &Call<'_>, said: Said, now: Timestamp) -> Self {
        let (operation, status, redaction) = (call.operation, said.status, Redaction::of(call.password));
        let shown = |foreign: &str| shown(&redaction, foreign);
        let parsed = error_body::parse(&said.body);
        let code = parsed.as_ref().map(|body| body.code.as_str());
        let words = bounded(parsed.as_ref().map_or("", |body| &body.text));
        let mut meaning = Meaning::of(operation, status.as_u16(), code, &words);
        // Only the API tells its time: not a proxy, nor a node that refuses our signature for its time.
        let date = said
            .date
            .filter(|_| parsed.is_some() && meaning != Meaning::Unauthorized);
        let mut text = match &parsed {
            Some(body) if !words.is_empty() => shown(&body.text),
            _ => without_words(call, &said),
        };
        let skew = said.date.map(|date| date.duration_since(now).unsigned_abs());
        if let (Meaning::Unauthorized, Some(skew)) = (meaning, skew.filter(|skew| *skew > SIGNATURE_SKEW)) {
            text += &format!("; our clock and the cloud's differ by {} minutes", skew.as_secs() / 60);
            if code.is_some_and(|code| CLOCK_CODES.contains(&code)) {
                // It does not count towards the lock of the access key, and one API node alone may be wrong.
                meaning = Meaning::CloudFault;
                text += ": check the clock of the operator's node";
            }
        }
        let request_id = parsed.as_ref().and_then(|body| body.request_id.as_deref());
        let request_id = request_id.map(shown).filter(|id| !id.is_empty());
        let error = CloudError {
            operation,
            meaning,
            status: Some(status.as_u16()),
            code: code.map(shown),
            text,
            request_id: said.told_request_id(&redaction).or(request_id),
            retry_after: said
                .retry_after
                .and_then(|wait| time::parse_retry_after(&wait, said.date.unwrap_or(now))),
            outcome_unknown: false,
            date,
        };
        match status.as_u16() {
            429 => Self::new(error, "429"),
            300..=399 => Self::new(error, "3xx"),
            // The one that is repeated may have been done.
            _ if meaning == Meaning::Repeated => Self::new(error.with_unknown_outcome(), "4xx"),
            // A server that failed, or a proxy that did not hear from it, may have done what it was asked.
            500..=599 => Self::new(error.with_unknown_outcome(), "5xx"),
            _ => Self::new(error, "4xx"),
        }
    }
}

/// For a refusal without a message of the cloud's.
fn without_words(call: &Call<'_>, said: &Said) -> String {
    let (endpoint, service, reason) = (call.endpoint, call.operation.service(), reason(said.status));
    let unshown = Redaction::of(call.password).is_needed();
    if said.status.is_redirection() {
        format!("{endpoint} redirects ({reason}), which is not followed")
    } else if said.body.is_empty() {
        format!("{endpoint} answered {reason} without a word")
    } else if unshown {
        format!(
            "{endpoint} answered {reason}, not as the {service}; the answer is not shown, it could repeat the password"
        )
    } else {
        let shown = error_body::excerpt(&said.body);
        format!("{endpoint} answered {reason}, not as the {service} but with: {shown}")
    }
}

fn reason(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("HTTP {} {reason}", status.as_u16()),
        None => format!("HTTP {}", status.as_u16()),
    }
}

/// What happened, down to the innermost cause; the URL is left out, it is long and known.
pub(super) fn with_causes(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // The number says the same as the words before it.
        let words = cause_text.split(" (os error ").next().unwrap_or_default();
        causes.push(words.to_owned());
        next = cause.source();
    }
    causes.dedup();
    // What the HTTP library calls its own steps helps nobody, unless it is all there is.
    let innermost = causes.len().saturating_sub(1);
    let step = |cause: &str| cause.starts_with("client error (") || cause == "tcp connect error";
    let told = causes.iter().enumerate();
    let told = told.filter(|(at, cause)| *at == innermost || !step(cause));
    let told: Vec<&str> = told.map(|(_, cause)| cause.as_str()).collect();
    bounded(&told.join(": "))
}
