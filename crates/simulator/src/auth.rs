//! What a request claims about its sender, and whether that is true.

use axum::http::{HeaderMap, Method, Uri};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use vpn_cloud::credentials::signing::{Authorization, DATE_HEADER, parse_date};

/// How far the client's clock may be off.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(15);

/// A request as it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IncomingRequest<'a> {
    pub method: &'a Method,
    pub uri: &'a Uri,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

impl<'a> IncomingRequest<'a> {
    /// The text of a header, if it has one.
    pub(crate) fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Its `Authorization` header, if it is one of a signature.
    pub(crate) fn claim(&self) -> Option<Authorization> {
        Authorization::parse(self.header("authorization")?)
    }

    /// Whether it says when it was signed, and that is close enough to now.
    pub(crate) fn is_fresh(&self, now: Timestamp) -> bool {
        let signed_at = self.header(DATE_HEADER).and_then(parse_date);
        signed_at.is_some_and(|time| now.duration_since(time).abs() <= TOLERANCE)
    }

    /// Whether this key made the signature that is claimed, over the headers that are claimed: clients differ
    /// in which ones they sign.
    pub(crate) fn is_signed(&self, claim: &Authorization, secret_key: &SecretString) -> bool {
        let query = self.uri.query().unwrap_or_default();
        let header = |name: &str| self.header(name);
        claim.verify(
            secret_key,
            self.method.as_str(),
            self.uri.path(),
            query,
            header,
            self.body,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifteen_minutes_of_clock_skew_are_accepted() {
        let now: Timestamp = "2025-08-13T02:34:56Z".parse().unwrap();
        let (method, uri) = (Method::GET, Uri::from_static("/"));
        for (date, fresh) in [
            ("20250813T023456Z", true),
            ("20250813T021956Z", true),
            ("20250813T021955Z", false),
            ("20250813T024956Z", true),
            ("20250813T024957Z", false),
            ("2025-08-13T02:34:56Z", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([("x-sdk-date".parse().unwrap(), date.parse().unwrap())]);
            let received = IncomingRequest {
                method: &method,
                uri: &uri,
                headers: &headers,
                body: b"",
            };
            assert_eq!(received.is_fresh(now), fresh, "{date}");
        }
    }
}
