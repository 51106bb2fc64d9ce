//! What carries the calls: one HTTP client for all credentials, with its trust, its limits and its signature.
//! Retries and redirects are off: whoever asked decides what comes next.

use std::{
    error::Error as _,
    fmt, fs, io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use reqwest::{
    Method, Response, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
    redirect, retry,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, pem::PemObject},
};
use rustls_platform_verifier::Verifier;
use secrecy::ExposeSecret;
use serde::de::{DeserializeOwned, IgnoredAny};
use tracing::{Instrument, field};
use url::Url;

use super::{
    client::Answer,
    credentials::Credentials,
    error::CloudError,
    error_body,
    meaning::Meaning,
    operation::Operation,
    signing::{self, SignedHeaders},
    time,
};

/// No answer of the API comes near this.
const LONGEST_BODY: usize = 4 * 1024 * 1024;
/// The gateway refuses signatures that are older or younger than 15 minutes.
const MOST_SKEW: Duration = Duration::from_secs(15 * 60);
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROJECT_ID: HeaderName = HeaderName::from_static("x-project-id");
const SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-security-token");
const SDK_DATE: HeaderName = HeaderName::from_static(signing::DATE_HEADER);
const REQUEST_IDS: [&str; 2] = ["x-request-id", "x-iam-trace-id"];

/// Hears of every request that came to an end; for metrics.
pub trait Observer: Send + Sync {
    /// `outcome` is `ok`, the class of the HTTP status (`3xx`, `4xx`, `5xx`; `429` stands alone), or what went
    /// wrong without one: `timeout`, `connect`, `network`, `unreadable`, `invalid`.
    fn finished(&self, operation: Operation, outcome: &'static str, elapsed: Duration);
}

/// How to reach the cloud.
#[derive(Clone, Debug)]
pub struct TransportOptions {
    /// A PEM bundle with more roots to trust.
    pub ca_file: Option<PathBuf>,
    /// For one request as a whole.
    pub request_timeout: Duration,
}

/// Why no connection can be made at all.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error("the CA file {} cannot be read: {source}", file.display())]
    UnreadableCaFile { file: PathBuf, source: io::Error },
    #[error("the CA file {} holds no certificates in PEM that can be trusted: {problem}", file.display())]
    InvalidCaFile { file: PathBuf, problem: String },
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the HTTP client cannot be set up: {}", with_causes(.0))]
    Http(reqwest::Error),
}

/// Shared by all clients; cheap to clone.
#[derive(Clone)]
pub struct Transport {
    http: reqwest::Client,
    observer: Arc<dyn Observer>,
}

impl fmt::Debug for Transport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Transport").finish_non_exhaustive()
    }
}

/// One call, whatever service it is for.
pub(super) struct Call<'a> {
    pub operation: Operation,
    pub method: Method,
    pub endpoint: &'a str,
    pub path: Vec<&'a str>,
    pub query: Vec<(&'a str, &'a str)>,
    pub project_id: Option<&'a str>,
    pub credentials: &'a Credentials,
    /// JSON.
    pub body: Option<Vec<u8>>,
}

/// An answer whose status is 2xx.
struct Success {
    body: Vec<u8>,
    status: u16,
    request_id: Option<String>,
    date: Option<Timestamp>,
}

impl Transport {
    /// Reads the CA file and the system's roots; nothing is sent.
    pub fn new(options: &TransportOptions, observer: Arc<dyn Observer>) -> Result<Self, TransportError> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(options.ca_file.as_ref())?)
            .user_agent(concat!("vpn-operator/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .timeout(options.request_timeout)
            // A connection that was never made leaves no doubt about a write, so it is told from a slow answer.
            .connect_timeout(options.request_timeout / 2)
            .build()
            .map_err(TransportError::Http)?;
        Ok(Self { http, observer })
    }

    /// Sends a call and reads its answer.
    pub(super) async fn fetch<T: DeserializeOwned>(&self, call: &Call<'_>) -> Result<Answer<T>, CloudError> {
        self.send(call, |body| serde_json::from_slice(body)).await
    }

    /// Sends a call whose answer says no more than that it was done.
    pub(super) async fn act(&self, call: &Call<'_>) -> Result<Answer<()>, CloudError> {
        let done = |body: &[u8]| match body {
            [] => Ok(()),
            // A page that greets every request must not pass for a deletion.
            body => serde_json::from_slice::<IgnoredAny>(body).map(drop),
        };
        self.send(call, done).await
    }

    async fn send<T>(
        &self,
        call: &Call<'_>,
        read: impl FnOnce(&[u8]) -> serde_json::Result<T>,
    ) -> Result<Answer<T>, CloudError> {
        let operation = call.operation;
        let span = tracing::debug_span!(
            "cloud_request",
            operation = operation.name(),
            status = field::Empty,
            request_id = field::Empty,
        );
        let started = Instant::now();
        let result = self.exchange(call).instrument(span.clone()).await.and_then(|success| {
            span.record("status", success.status);
            let value = read(&success.body).map_err(|error| Failure::unreadable(operation, &success, &error))?;
            Ok(Answer {
                value,
                request_id: success.request_id,
                date: success.date,
            })
        });
        let elapsed = started.elapsed();
        let outcome = result.as_ref().map_or_else(|failure| failure.outcome, |_| "ok");
        let request_id = match &result {
            Ok(answer) => answer.request_id.as_deref(),
            Err(failure) => failure.error.request_id.as_deref(),
        };
        if let Err(Failure {
            error: CloudError {
                status: Some(status), ..
            },
            ..
        }) = &result
        {
            span.record("status", *status);
        }
        span.record("request_id", request_id);
        span.in_scope(|| tracing::debug!(outcome, latency = ?elapsed, "the cloud was asked"));
        self.observer.finished(operation, outcome, elapsed);
        result.map_err(|failure| failure.error)
    }

    async fn exchange(&self, call: &Call<'_>) -> Result<Success, Failure> {
        let request = self.request(call)?;
        let fault = |error: reqwest::Error| Failure::on_the_way(call.operation, &error);
        let mut response = self.http.execute(request).await.map_err(fault)?;
        let success = response.status().is_success();
        let mut body = Vec::new();
        let too_long = loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > LONGEST_BODY => break true,
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break false,
                // The status of a refusal says enough.
                Err(_) if !success => break false,
                Err(error) => return Err(fault(error)),
            }
        };
        let said = Success {
            body,
            status: response.status().as_u16(),
            request_id: request_id(response.headers()),
            date: text(response.headers(), DATE).and_then(time::parse_http_date),
        };
        match (success, too_long) {
            (true, false) => Ok(said),
            (true, true) => Err(Failure::too_long(call.operation, &said)),
            (false, _) => Err(Failure::refusal(call.operation, &response, said)),
        }
    }

    fn request(&self, call: &Call<'_>) -> Result<reqwest::Request, Failure> {
        let invalid = |text: String| Failure {
            error: CloudError::new(call.operation, Meaning::Rejected, text),
            outcome: "invalid",
        };
        // These would make another path of it: a list of a read, say.
        if let Some(segment) = call.path.iter().find(|segment| matches!(**segment, "" | "." | "..")) {
            return Err(invalid(format!("{segment:?} cannot be an id")));
        }
        let path: String = call
            .path
            .iter()
            .map(|segment| format!("/{}", signing::escape(segment)))
            .collect();
        let query = signing::canonical_query(&call.query);
        let target = if query.is_empty() {
            path.clone()
        } else {
            format!("{path}?{query}")
        };
        let url = Url::parse(&format!("{}{target}", call.endpoint))
            .map_err(|error| invalid(format!("the endpoint {} cannot be used: {error}", call.endpoint)))?;
        let host = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => return Err(invalid(format!("the endpoint {} names no host", call.endpoint))),
        };

        let mut headers = HeaderMap::new();
        let header = |name: &str, value: &str, secret: bool| {
            let mut value = HeaderValue::from_str(value)
                .map_err(|_| invalid(format!("the {name} holds characters that cannot be sent")))?;
            value.set_sensitive(secret);
            Ok::<_, Failure>(value)
        };
        let date = signing::format_date(Timestamp::now());
        headers.insert(SDK_DATE, header("date", &date, false)?);
        if call.body.is_some() {
            headers.insert(CONTENT_TYPE, JSON);
        }
        if let Some(project_id) = call.project_id {
            headers.insert(PROJECT_ID, header("project id", project_id, false)?);
        }
        if let Some(token) = &call.credentials.security_token {
            headers.insert(SECURITY_TOKEN, header("security token", token.expose_secret(), true)?);
        }
        let body = call.body.clone().unwrap_or_default();
        // What is in the map now was made from text, so it is text.
        let texts = headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let signed = SignedHeaders::new(texts.chain([("host", host.as_str())]));
        let uri = signing::canonical_uri(&path);
        let canonical = signing::canonical_request(call.method.as_str(), &uri, &query, &signed, &body);
        let signature = signing::signature(
            &call.credentials.secret_key,
            &signing::string_to_sign(&date, &canonical),
        );
        let authorization = signing::authorization(&call.credentials.access_key, &signed, &signature);
        headers.insert(AUTHORIZATION, header("access key", &authorization, true)?);
        headers.insert(ACCEPT, JSON);

        let mut request = reqwest::Request::new(call.method.clone(), url);
        *request.headers_mut() = headers;
        if call.body.is_some() {
            *request.body_mut() = Some(body.into());
        }
        Ok(request)
    }
}

/// A failed call, with its label for metrics.
struct Failure {
    error: CloudError,
    outcome: &'static str,
}

impl Failure {
    fn on_the_way(operation: Operation, error: &reqwest::Error) -> Self {
        let causes = with_causes(error);
        let (outcome, text, sent) = if error.is_connect() {
            ("connect", format!("no connection: {causes}"), false)
        } else if error.is_builder() {
            ("invalid", format!("the request cannot be made: {causes}"), false)
        } else if error.is_timeout() {
            ("timeout", "no answer in time".to_owned(), true)
        } else {
            ("network", format!("the connection failed: {causes}"), true)
        };
        let error = CloudError::new(operation, Meaning::CloudFault, text);
        Self {
            error: if sent { error.with_unknown_outcome() } else { error },
            outcome,
        }
    }

    fn unreadable(operation: Operation, said: &Success, problem: &serde_json::Error) -> Self {
        let shown = error_body::excerpt(&said.body);
        let text = match said.body.as_slice() {
            [] => "the endpoint did not answer as the VPN API: the answer is empty".to_owned(),
            // JSON, but of something else.
            _ if problem.is_data() => error_body::bounded(&format!(
                "the endpoint did not answer as the VPN API: {problem}; the answer begins {shown}"
            )),
            _ => format!("the endpoint did not answer as the VPN API but with: {shown}"),
        };
        Self::bad_success(operation, said, text)
    }

    fn too_long(operation: Operation, said: &Success) -> Self {
        Self::bad_success(
            operation,
            said,
            format!("the answer is longer than {LONGEST_BODY} bytes"),
        )
    }

    fn bad_success(operation: Operation, said: &Success, text: String) -> Self {
        let error = CloudError {
            status: Some(said.status),
            request_id: said.request_id.clone(),
            date: said.date,
            ..CloudError::new(operation, Meaning::CloudFault, text)
        };
        Self {
            error: error.with_unknown_outcome(),
            outcome: "unreadable",
        }
    }

    fn refusal(operation: Operation, response: &Response, said: Success) -> Self {
        let status = response.status();
        let parsed = error_body::parse(&said.body);
        let code = parsed.as_ref().map(|body| body.code.clone());
        let words = parsed.as_ref().map_or("", |body| body.text.as_str());
        let meaning = Meaning::of(operation, said.status, code.as_deref(), words);
        let mut text = match &parsed {
            Some(body) if body.text.is_empty() => reason(status),
            Some(body) => body.text.clone(),
            None if status.is_redirection() => {
                format!("the endpoint redirects ({}), which is not followed", reason(status))
            }
            None if said.body.is_empty() => format!("{}, without a word", reason(status)),
            None => format!(
                "{}, not in the words of the VPN API: {}",
                reason(status),
                error_body::excerpt(&said.body)
            ),
        };
        let now = Timestamp::now();
        let skew = said
            .date
            .map(|date| date.duration_since(now).unsigned_abs())
            .filter(|skew| *skew > MOST_SKEW);
        if let (Meaning::Unauthorized, Some(skew)) = (meaning, skew) {
            text.push_str(&format!(
                "; our clock and the cloud's differ by {} minutes",
                skew.as_secs() / 60
            ));
        }
        let error = CloudError {
            operation,
            meaning,
            status: Some(said.status),
            code,
            text,
            request_id: said.request_id.or(parsed.and_then(|body| body.request_id)),
            retry_after: super::transport::text(response.headers(), RETRY_AFTER)
                .and_then(|wait| time::parse_retry_after(wait, said.date.unwrap_or(now))),
            outcome_unknown: false,
            date: said.date,
        };
        let outcome = match status.as_u16() {
            429 => "429",
            300..=399 => "3xx",
            500..=599 => "5xx",
            _ => "4xx",
        };
        // A server that failed, or a proxy that did not hear from it, may have done what it was asked.
        Self {
            error: if status.is_server_error() {
                error.with_unknown_outcome()
            } else {
                error
            },
            outcome,
        }
    }
}

fn reason(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("HTTP {} {reason}", status.as_u16()),
        None => format!("HTTP {}", status.as_u16()),
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn request_id(headers: &HeaderMap) -> Option<String> {
    let ids = REQUEST_IDS.iter().filter_map(|name| headers.get(*name)?.to_str().ok());
    ids.map(error_body::bounded).find(|id| !id.is_empty())
}

/// The innermost cause says what happened; the URL is left out, it is long and known.
fn with_causes(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes.dedup();
    error_body::bounded(&causes.join(": "))
}

fn tls(ca_file: Option<&PathBuf>) -> Result<ClientConfig, TransportError> {
    let extra = ca_file.map(read_ca_file).transpose()?.unwrap_or_default();
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let config = match (Verifier::new_with_extra_roots(extra.clone(), provider), ca_file) {
        (Ok(verifier), _) => config.dangerous().with_custom_certificate_verifier(Arc::new(verifier)),
        (Err(error), Some(file)) => {
            return Err(TransportError::InvalidCaFile {
                file: file.clone(),
                problem: error.to_string(),
            });
        }
        // A container without roots can still speak to a simulator; TLS then trusts nobody.
        (Err(error), None) => {
            tracing::warn!(%error, "no CA certificates: https endpoints will be refused; a CA file can be given");
            config.with_root_certificates(RootCertStore::empty())
        }
    };
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn read_ca_file(file: &PathBuf) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    let pem = fs::read(file).map_err(|source| TransportError::UnreadableCaFile {
        file: file.clone(),
        source,
    })?;
    let invalid = |problem: String| TransportError::InvalidCaFile {
        file: file.clone(),
        problem,
    };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(invalid("there is none".to_owned())),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(invalid(error.to_string())),
    }
}
