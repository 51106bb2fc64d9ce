//! One outgoing call: headers, signature, and path and query in the one form that is both sent and signed.

use jiff::Timestamp;
use reqwest::{
    Method,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use secrecy::ExposeSecret;
use url::Url;

use crate::credentials::access_key::Credentials;
use crate::credentials::signing;
use crate::credentials::signing::SignedHeaders;
use crate::error::cause::RequestError;
use crate::error::operation::Operation;
use crate::values::password::Password;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

const CLIENT_TOKEN: HeaderName = HeaderName::from_static("x-client-token");

const PROJECT_ID: HeaderName = HeaderName::from_static("x-project-id");

const SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-security-token");

const SDK_DATE: HeaderName = HeaderName::from_static(signing::DATE_HEADER);

/// One call to any service.
pub struct OutgoingCall<'a> {
    pub operation: Operation,
    pub method: Method,
    pub endpoint: &'a str,
    pub path: Vec<&'a str>,
    pub query: Vec<(&'a str, &'a str)>,
    pub project_id: Option<&'a str>,
    pub credentials: &'a Credentials,
    /// Set for calls that the cloud recognizes when they are repeated.
    pub client_token: Option<&'a str>,
    /// The password in the body, so that no error message repeats it.
    pub password: Option<&'a Password>,
    /// JSON.
    pub body: Option<Vec<u8>>,
}

impl OutgoingCall<'_> {
    /// Returns the request, signed as of `now`, or why there can be none.
    pub fn signed(&self, now: Timestamp) -> Result<reqwest::Request, RequestError> {
        // These would change the path, for example from a read to a list.
        if let Some(segment) = self.path.iter().find(|segment| matches!(**segment, "" | "." | "..")) {
            return Err(RequestError::Id((*segment).to_owned()));
        }
        let mut path = String::new();
        for segment in &self.path {
            path.push('/');
            path.push_str(&signing::escape(segment));
        }
        let query = signing::canonical_query(&self.query);
        let target = if query.is_empty() {
            path.clone()
        } else {
            format!("{path}?{query}")
        };
        let endpoint = self.endpoint;
        let url = Url::parse(&format!("{endpoint}{target}")).map_err(|source| RequestError::Endpoint {
            endpoint: endpoint.to_owned(),
            source,
        })?;
        let host = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => return Err(RequestError::NoHost(endpoint.to_owned())),
        };

        let mut headers = HeaderMap::new();
        let date = signing::format_date(now);
        headers.insert(SDK_DATE, header("date", &date)?);
        if self.body.is_some() {
            headers.insert(CONTENT_TYPE, JSON);
        }
        if let Some(project_id) = self.project_id {
            headers.insert(PROJECT_ID, header("project id", project_id)?);
        }
        if let Some(token) = self.client_token {
            headers.insert(CLIENT_TOKEN, header("client token", token)?);
        }
        if let Some(token) = &self.credentials.security_token {
            headers.insert(SECURITY_TOKEN, secret_header("security token", token.expose_secret())?);
        }
        // All values were made from text.
        let texts = headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let signed = SignedHeaders::new(texts.chain([("host", host.as_str())]));
        let body = self.body.as_deref().unwrap_or_default();
        let uri = signing::canonical_uri(&path);
        let canonical = signing::canonical_request(self.method.as_str(), &uri, &query, &signed, body);
        let text = signing::string_to_sign(&date, &canonical);
        let signature = signing::signature(&self.credentials.secret_key, &text);
        let authorization = signing::authorization(&self.credentials.access_key, &signed, &signature);
        headers.insert(AUTHORIZATION, secret_header("access key", &authorization)?);
        headers.insert(ACCEPT, JSON);

        let mut request = reqwest::Request::new(self.method.clone(), url);
        *request.headers_mut() = headers;
        *request.body_mut() = self.body.clone().map(Into::into);
        Ok(request)
    }
}

fn header(what: &'static str, value: &str) -> Result<HeaderValue, RequestError> {
    HeaderValue::from_str(value).map_err(|_| RequestError::Header(what))
}

/// Returns a header value that libraries do not print.
fn secret_header(what: &'static str, value: &str) -> Result<HeaderValue, RequestError> {
    let mut value = header(what, value)?;
    value.set_sensitive(true);
    Ok(value)
}
