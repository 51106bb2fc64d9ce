//! Whether a signature is right: `SDK-HMAC-SHA256`, verified over exactly the headers that the client says
//! it signed, since clients differ in which ones they sign.

use axum::http::{HeaderMap, Method, Uri};
use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::Offset};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

const ALGORITHM: &str = "SDK-HMAC-SHA256";
/// How far the client's clock may be off.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(15);
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A request as it came.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    pub method: &'a Method,
    pub uri: &'a Uri,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

impl<'a> Received<'a> {
    /// The text of a header, if it has one.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// What an `Authorization` header claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim<'a> {
    pub access_key: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Claim<'a> {
    /// `SDK-HMAC-SHA256 Access=…, SignedHeaders=…, Signature=…`.
    pub fn parse(authorization: &'a str) -> Option<Self> {
        let mut claim = Self {
            access_key: "",
            signed_headers: "",
            signature: "",
        };
        for part in authorization.strip_prefix(ALGORITHM)?.strip_prefix(' ')?.split(',') {
            let (name, value) = part.trim().split_once('=')?;
            match name {
                "Access" => claim.access_key = value,
                "SignedHeaders" => claim.signed_headers = value,
                "Signature" => claim.signature = value,
                _ => return None,
            }
        }
        (!claim.access_key.is_empty() && !claim.signature.is_empty()).then_some(claim)
    }
}

/// Whether `X-Sdk-Date` is there and close enough to now.
pub fn date_is_fresh(date: Option<&str>, now: Timestamp) -> bool {
    let Some(Ok(civil)) = date.map(|date| DateTime::strptime("%Y%m%dT%H%M%SZ", date)) else {
        return false;
    };
    Offset::UTC
        .to_timestamp(civil)
        .is_ok_and(|time| now.duration_since(time).abs() <= TOLERANCE)
}

/// Whether the signature of the claim is the one that this key makes over this request.
pub fn signature_is_right(request: Received<'_>, claim: Claim<'_>, secret_key: &SecretString) -> bool {
    let Some(signature) = from_hex(claim.signature) else {
        return false;
    };
    let Some(canonical) = canonical_request(request, claim.signed_headers) else {
        return false;
    };
    let date = request.header("x-sdk-date").unwrap_or_default();
    let text = format!("{ALGORITHM}\n{date}\n{}", to_hex(&Sha256::digest(canonical.as_bytes())));
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret_key.expose_secret().as_bytes()) else {
        return false;
    };
    mac.update(text.as_bytes());
    mac.verify_slice(&signature).is_ok()
}

/// Nothing if a header that is said to be signed did not come.
fn canonical_request(request: Received<'_>, signed_headers: &str) -> Option<String> {
    let mut headers = String::new();
    for name in signed_headers.split(';').filter(|name| !name.is_empty()) {
        let value = request.headers.get(name)?;
        headers.push_str(&format!(
            "{name}:{}\n",
            String::from_utf8_lossy(value.as_bytes()).trim()
        ));
    }
    let payload = match request.header("x-sdk-content-sha256") {
        Some(said) if said == "UNSIGNED-PAYLOAD" => said.to_owned(),
        _ => to_hex(&Sha256::digest(request.body)),
    };
    Some(format!(
        "{}\n{}\n{}\n{headers}\n{signed_headers}\n{payload}",
        request.method,
        canonical_path(request.uri.path()),
        canonical_query(request.uri.query().unwrap_or_default()),
    ))
}

fn canonical_path(path: &str) -> String {
    let mut canonical: String = path.split('/').map(escape_again).collect::<Vec<_>>().join("/");
    if !canonical.ends_with('/') {
        canonical.push('/');
    }
    canonical
}

/// A key without `=` counts as one with an empty value.
fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (percent_decode_str(key).collect(), percent_decode_str(value).collect()))
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(key, value)| format!("{}={}", percent_encode(key, ESCAPED), percent_encode(value, ESCAPED)))
        .collect();
    pairs.join("&")
}

/// Clients differ in what they escape on the wire, not in what they sign; `+` is never a space.
fn escape_again(text: &str) -> String {
    let decoded: Vec<u8> = percent_decode_str(text).collect();
    percent_encode(&decoded, ESCAPED).to_string()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || text.len() % 2 != 0 {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authorization_header_is_taken_apart() {
        let claim = Claim::parse("SDK-HMAC-SHA256 Access=AK, SignedHeaders=host;x-sdk-date, Signature=00ff").unwrap();
        assert_eq!(
            (claim.access_key, claim.signed_headers, claim.signature),
            ("AK", "host;x-sdk-date", "00ff")
        );
        for wrong in [
            "Bearer x",
            "SDK-HMAC-SHA256",
            "SDK-HMAC-SHA256 Access=AK",
            "SDK-HMAC-SHA256 Who=AK, Signature=0",
        ] {
            assert_eq!(Claim::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_clock_may_be_off_by_fifteen_minutes() {
        let now: Timestamp = "2025-08-13T02:34:56Z".parse().unwrap();
        for (date, fresh) in [
            ("20250813T023456Z", true),
            ("20250813T021956Z", true),
            ("20250813T021955Z", false),
            ("20250813T024956Z", true),
            ("20250813T024957Z", false),
            ("2025-08-13T02:34:56Z", false),
        ] {
            assert_eq!(date_is_fresh(Some(date), now), fresh, "{date}");
        }
        assert!(!date_is_fresh(None, now));
    }

    #[test]
    fn escapes_on_the_wire_do_not_change_what_was_signed() {
        assert_eq!(canonical_path("/v5/a:b+c~=/x%20y"), "/v5/a%3Ab%2Bc~%3D/x%20y/");
        assert_eq!(canonical_query("marker&limit=2"), "limit=2&marker=");
        assert_eq!(canonical_query("b=2&a=%2B&a=+"), "a=%2B&a=%2B&b=2");
    }
}
