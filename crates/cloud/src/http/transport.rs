//! Sends the calls: one HTTP client for all credentials, with its trusted roots, limits and signatures.
//! Retries and redirects are off: the caller decides what happens next.

use crate::error::cloud_error::CloudError;
use crate::error::operation::Operation;
use crate::http::failure::{CallFailure, RawResponse};
use crate::http::http_client::HttpClient;
use crate::http::response::CloudResponse;

pub use crate::http::options::{TransportError, TransportOptions};
use crate::http::redaction::Redaction;
use crate::http::request::OutgoingCall;
use crate::text::one_line;
use crate::values::time;
use jiff::Timestamp;
use serde::de::{DeserializeOwned, IgnoredAny};
use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};
use tracing::{Instrument, field};

/// Far more than any response of the API has.
const LONGEST_BODY: usize = 4 * 1024 * 1024;

/// Far more than any refusal has. Messages quote no more than a sentence of it.
const LONGEST_REFUSAL: usize = 64 * 1024;

/// Headers of the service and its gateway, and of IAM.
const REQUEST_IDS: [&str; 2] = ["x-request-id", "x-iam-trace-id"];

/// Receives every finished request, for metrics.
pub trait RequestObserver: Send + Sync {
    /// `outcome` is `ok`, the class of the HTTP status (`3xx`, `4xx`, `5xx`; `429` stands alone), or what went
    /// wrong without one: `timeout`, `connect`, `network`, `unreadable`, `invalid`.
    fn finished(&self, operation: Operation, outcome: &'static str, elapsed: Duration);
}

/// Shared by all clients; cheap to clone.
#[derive(Clone)]
pub struct Transport {
    http: Arc<HttpClient>,
    observer: Arc<dyn RequestObserver>,
}

impl fmt::Debug for Transport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Transport").finish_non_exhaustive()
    }
}

impl Transport {
    /// Reads the CA file and the system's roots; nothing is sent.
    pub fn new(options: &TransportOptions, observer: Arc<dyn RequestObserver>) -> Result<Self, TransportError> {
        Ok(Self {
            http: Arc::new(HttpClient::new(options.clone())?),
            observer,
        })
    }

    /// Sends a call and reads its answer.
    pub async fn fetch<T: DeserializeOwned>(&self, call: &OutgoingCall<'_>) -> Result<CloudResponse<T>, CloudError> {
        self.send(call, |body| serde_json::from_slice(body)).await
    }

    /// Sends a call whose response only confirms success.
    pub async fn execute(&self, call: &OutgoingCall<'_>) -> Result<CloudResponse<()>, CloudError> {
        self.send(call, done).await
    }

    async fn send<T>(
        &self,
        call: &OutgoingCall<'_>,
        read: impl FnOnce(&[u8]) -> serde_json::Result<T>,
    ) -> Result<CloudResponse<T>, CloudError> {
        let operation = call.operation;
        let span = tracing::debug_span!(
            target: "vpn_operator::cloud",
            "cloud_request",
            operation = operation.name(),
            status = field::Empty,
            request_id = field::Empty,
        );
        let started = Instant::now();
        let exchanged = self.exchange(call).instrument(span.clone()).await;
        let result = exchanged.and_then(|raw| match read(&raw.body) {
            Ok(value) => Ok((
                raw.status,
                CloudResponse {
                    value,
                    request_id: raw.redacted_request_id(&Redaction::of(call.password)),
                    date: raw.date,
                },
            )),
            Err(problem) => Err(CallFailure::unreadable(call, &raw, &problem)),
        });
        let elapsed = started.elapsed();
        let (outcome, status, request_id) = match &result {
            Ok((status, answer)) => ("ok", Some(status.as_u16()), &answer.request_id),
            Err(failure) => (failure.outcome, failure.error.status, &failure.error.request_id),
        };
        span.record("status", status).record("request_id", request_id);
        span.in_scope(
            || tracing::debug!(target: "vpn_operator::cloud", outcome, latency = ?elapsed, "request to the cloud finished"),
        );
        self.observer.finished(operation, outcome, elapsed);
        result.map(|(_, answer)| answer).map_err(|failure| *failure.error)
    }

    async fn exchange(&self, call: &OutgoingCall<'_>) -> Result<RawResponse, CallFailure> {
        let request = call
            .signed(Timestamp::now())
            .map_err(|problem| CallFailure::invalid(call, problem))?;
        let fault = |error: reqwest::Error| CallFailure::on_the_way(call, error);
        let mut response = self.http.current().execute(request).await.map_err(fault)?;
        let (status, success) = (response.status(), response.status().is_success());
        let most = if success { LONGEST_BODY } else { LONGEST_REFUSAL };
        let mut body = Vec::new();
        let too_long = loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > most => {
                    // Messages quote the beginning of a page.
                    body.extend_from_slice(&chunk[..most - body.len()]);
                    break true;
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break false,
                // The status of a refusal is enough.
                Err(_) if !success => break false,
                Err(error) => return Err(fault(error)),
            }
        };
        let header = |name: &str| response.headers().get(name)?.to_str().ok();
        let ids = REQUEST_IDS.into_iter().filter_map(header);
        let raw = RawResponse {
            status,
            body,
            request_id: ids.map(str::to_owned).find(|id| !one_line(id, 1).is_empty()),
            date: header("date").and_then(time::parse_http_date),
            retry_after: header("retry-after").map(str::to_owned),
        };
        match (success, too_long) {
            (true, false) => Ok(raw),
            (true, true) => Err(CallFailure::too_long(call, &raw, most)),
            (false, _) => Err(CallFailure::refusal(call, &raw, Timestamp::now())),
        }
    }
}

/// Reads a response that only confirms success.
pub fn done(body: &[u8]) -> serde_json::Result<()> {
    match body {
        [] => Ok(()),
        // A web page that answers every request must not count as a successful deletion.
        body => serde_json::from_slice::<IgnoredAny>(body).map(drop),
    }
}
