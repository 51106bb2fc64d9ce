//! SDK-HMAC-SHA256, the signature that the gateway of the API asks of every request made with an access
//! key: pure pieces, which a client puts together to sign and a server to verify.

use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac, digest::Key};
use jiff::{Timestamp, civil::DateTime, tz::Offset};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// The name of the algorithm: the first word of the `Authorization` header.
pub const ALGORITHM: &str = "SDK-HMAC-SHA256";

/// The header that holds the time of signing.
pub const DATE_HEADER: &str = "x-sdk-date";

const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

const DATE_FORMAT: &str = "%Y%m%dT%H%M%SZ";

/// Escapes one path segment, or one key or value of a query: everything but letters, digits and `-_.~`.
pub fn escape(text: &str) -> String {
    escape_bytes(text.as_bytes())
}

fn escape_bytes(bytes: &[u8]) -> String {
    percent_encode(bytes, ESCAPED).to_string()
}

/// The path as it is signed: decoded, each segment escaped again, a slash at the end.
pub fn canonical_uri(path: &str) -> String {
    let decoded: Vec<u8> = percent_decode_str(path).collect();
    let mut uri = decoded
        .split(|byte| *byte == b'/')
        .map(escape_bytes)
        .collect::<Vec<_>>()
        .join("/");
    if !uri.ends_with('/') {
        uri.push('/');
    }
    uri
}

/// The query as it is signed, and best sent too: sorted by key, then value; an empty value keeps its `=`.
pub(crate) fn canonical_query<K: AsRef<str>, V: AsRef<str>>(parameters: &[(K, V)]) -> String {
    sorted_query(
        parameters
            .iter()
            .map(|(key, value)| (key.as_ref().into(), value.as_ref().into()))
            .collect(),
    )
}

/// The same, from a query as it came in a request. A plus sign is a plus sign, not a space.
pub fn canonical_raw_query(query: &str) -> String {
    let decode = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
    let parameters = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key), decode(value))
    });
    sorted_query(parameters.collect())
}

fn sorted_query(mut parameters: Vec<(Vec<u8>, Vec<u8>)>) -> String {
    parameters.sort();
    let pairs = parameters
        .iter()
        .map(|(key, value)| format!("{}={}", escape_bytes(key), escape_bytes(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// What a signature covers of the headers: names in lower case, sorted; values trimmed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignedHeaders(Vec<(String, String)>);

impl SignedHeaders {
    /// Takes the headers to sign, in any order and case.
    pub fn new<N: AsRef<str>, V: AsRef<str>>(headers: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut headers: Vec<_> = headers
            .into_iter()
            .map(|(name, value)| (name.as_ref().to_ascii_lowercase(), value.as_ref().trim().to_owned()))
            .collect();
        headers.sort();
        Self(headers)
    }

    /// The list of names, as it stands in the `Authorization` header.
    pub fn names(&self) -> String {
        self.0
            .iter()
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>()
            .join(";")
    }

    fn lines(&self) -> String {
        let mut lines = String::new();
        for (name, value) in &self.0 {
            lines.extend([name.as_str(), ":", value.as_str(), "\n"]);
        }
        lines
    }
}

/// Lower-case hex of SHA-256: of a body, or of a canonical request.
pub fn sha256_hex(bytes: &[u8]) -> String {
    lower_hex(&Sha256::digest(bytes))
}

/// The request in the one form that both sides sign. `uri` and `query` are canonical already.
pub fn canonical_request(method: &str, uri: &str, query: &str, headers: &SignedHeaders, body: &[u8]) -> String {
    let (lines, names, hash) = (headers.lines(), headers.names(), sha256_hex(body));
    format!("{method}\n{uri}\n{query}\n{lines}\n{names}\n{hash}")
}

/// The text under the signature. `date` is the value of the date header.
pub fn string_to_sign(date: &str, canonical_request: &str) -> String {
    format!("{ALGORITHM}\n{date}\n{}", sha256_hex(canonical_request.as_bytes()))
}

/// The signature, in lower-case hex.
pub fn signature(secret_key: &SecretString, string_to_sign: &str) -> String {
    lower_hex(&mac(secret_key, string_to_sign).finalize().into_bytes())
}

/// The value of the `Authorization` header.
pub fn authorization(access_key: &str, headers: &SignedHeaders, signature: &str) -> String {
    format!(
        "{ALGORITHM} Access={access_key}, SignedHeaders={}, Signature={signature}",
        headers.names()
    )
}

/// An instant as the date header writes it.
pub fn format_date(instant: Timestamp) -> String {
    instant.strftime(DATE_FORMAT).to_string()
}

/// The instant that a date header means, if it is well formed.
pub fn parse_date(date: &str) -> Option<Timestamp> {
    let civil = DateTime::strptime(DATE_FORMAT, date).ok()?;
    // Parsing is lenient about missing zeros; what does not come out as it went in was not well formed.
    Offset::UTC
        .to_timestamp(civil)
        .ok()
        .filter(|instant| format_date(*instant) == date)
}

/// An `Authorization` header, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// The access key in clear text; it selects the secret key.
    pub access_key: String,
    /// As listed: lower case.
    pub signed_headers: Vec<String>,
    /// As received; hex in either case if it is well formed.
    pub signature: String,
}

impl Authorization {
    /// `None`: not of this algorithm, or a part is missing.
    pub fn parse(header: &str) -> Option<Self> {
        let parts = header.trim().strip_prefix(ALGORITHM)?.strip_prefix(' ')?;
        let part = |name: &str| {
            parts
                .split(',')
                .find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
                .map(str::to_owned)
        };
        let signed_headers = part("SignedHeaders")?.split(';').map(str::to_ascii_lowercase).collect();
        Some(Self {
            access_key: part("Access")?,
            signed_headers,
            signature: part("Signature")?,
        })
    }

    /// Whether the signature fits the request as it came, with exactly the headers that it lists. `header` looks
    /// one up by its lower-case name; a listed header that did not come fails. How old the date may be, and
    /// whose key this is, is for the caller to say.
    pub fn verify<'a>(
        &self,
        secret_key: &SecretString,
        method: &str,
        path: &str,
        raw_query: &str,
        header: impl Fn(&str) -> Option<&'a str>,
        body: &[u8],
    ) -> bool {
        let listed = self
            .signed_headers
            .iter()
            .map(|name| header(name).map(|value| (name.as_str(), value)));
        let (Some(headers), Some(date)) = (listed.collect::<Option<Vec<_>>>(), header(DATE_HEADER)) else {
            return false;
        };
        let Some(signature) = from_hex(&self.signature) else {
            return false;
        };
        let (uri, query) = (canonical_uri(path), canonical_raw_query(raw_query));
        let request = canonical_request(method, &uri, &query, &SignedHeaders::new(headers), body);
        // The library compares in constant time.
        mac(secret_key, &string_to_sign(date.trim(), &request))
            .verify_slice(&signature)
            .is_ok()
    }
}

fn mac(secret_key: &SecretString, text: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new(&block_of(secret_key.expose_secret().as_bytes()));
    mac.update(text.as_bytes());
    mac
}

/// Extends a secret to the block size, as RFC 2104 does: a longer one is hashed, and the rest is zeros.
fn block_of(secret: &[u8]) -> Key<Hmac<Sha256>> {
    let mut block = Key::<Hmac<Sha256>>::default();
    let hash = Sha256::digest(secret);
    let start = if secret.len() > block.len() {
        hash.as_slice()
    } else {
        secret
    };
    for (place, byte) in block.iter_mut().zip(start) {
        *place = *byte;
    }
    block
}

fn lower_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
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
    use proptest::prelude::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Deserialize)]
    struct VectorFile {
        access_key: String,
        secret_key: String,
        vectors: Vec<Vector>,
    }

    #[derive(Deserialize)]
    struct Vector {
        name: String,
        input: Input,
        headers_signed: BTreeMap<String, String>,
        canonical_query: String,
        canonical_request: String,
        canonical_request_sha256: String,
        string_to_sign: String,
        signature: String,
        request_target: String,
        url: String,
        authorization: String,
    }

    #[derive(Deserialize)]
    struct Input {
        method: String,
        scheme: String,
        host: String,
        path: String,
        query: Vec<(String, serde_json::Value)>,
        headers_set_by_caller: BTreeMap<String, String>,
        project_id_header: Option<String>,
        security_token: Option<String>,
        body: Option<String>,
        body_sha256: String,
    }

    fn vectors() -> VectorFile {
        let text = include_str!("../../../../tests/fixtures/signing-vectors.json");
        serde_json::from_str(text).expect("the fixture is well formed")
    }

    fn headers(input: &Input) -> Vec<(String, String)> {
        let mut headers: Vec<_> = input.headers_set_by_caller.clone().into_iter().collect();
        headers.push(("Host".to_owned(), input.host.clone()));
        headers.extend(
            input
                .project_id_header
                .iter()
                .map(|id| ("X-Project-Id".to_owned(), id.clone())),
        );
        headers.extend(
            input
                .security_token
                .iter()
                .map(|token| ("X-Security-Token".to_owned(), token.clone())),
        );
        headers
    }

    fn query(input: &Input) -> Vec<(String, String)> {
        let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        input
            .query
            .iter()
            .map(|(key, value)| (key.clone(), text(value)))
            .collect()
    }

    #[test]
    fn signatures_match_every_vector_of_the_official_signer() {
        let file = vectors();
        assert_eq!(file.vectors.len(), 15);
        for vector in &file.vectors {
            let (name, input) = (&vector.name, &vector.input);
            let body = input.body.as_deref().unwrap_or_default().as_bytes();
            let headers = SignedHeaders::new(headers(input));
            let expected: Vec<_> = vector.headers_signed.clone().into_iter().collect();
            assert_eq!(headers.0, expected, "{name}: signed headers");
            assert_eq!(sha256_hex(body), input.body_sha256, "{name}: hash of the body");

            let query = canonical_query(&query(input));
            assert_eq!(query, vector.canonical_query, "{name}: query");
            let target = if query.is_empty() {
                input.path.clone()
            } else {
                format!("{}?{query}", input.path)
            };
            assert_eq!(target, vector.request_target, "{name}: target");
            assert_eq!(
                format!("{}://{}{target}", input.scheme, input.host),
                vector.url,
                "{name}: URL"
            );

            let request = canonical_request(&input.method, &canonical_uri(&input.path), &query, &headers, body);
            assert_eq!(request, vector.canonical_request, "{name}: canonical request");
            assert_eq!(
                sha256_hex(request.as_bytes()),
                vector.canonical_request_sha256,
                "{name}: its hash"
            );
            let text = string_to_sign(&input.headers_set_by_caller["X-Sdk-Date"], &request);
            assert_eq!(text, vector.string_to_sign, "{name}: string to sign");
            let signature = signature(&file.secret_key.clone().into(), &text);
            assert_eq!(signature, vector.signature, "{name}: signature");
            let header = authorization(&file.access_key, &headers, &signature);
            assert_eq!(header, vector.authorization, "{name}: Authorization");
        }
    }

    fn verifies(file: &VectorFile, vector: &Vector, secret_key: &str, change: impl Fn(&str, &str) -> String) -> bool {
        let (path, raw_query) = vector
            .request_target
            .split_once('?')
            .unwrap_or((&vector.request_target, ""));
        let came: BTreeMap<_, _> = headers(&vector.input)
            .into_iter()
            .map(|(name, value)| (name.to_lowercase(), change(&name.to_lowercase(), &value)))
            .collect();
        let parsed = Authorization::parse(&vector.authorization).expect("it is well formed");
        assert_eq!(parsed.access_key, file.access_key);
        let header = |name: &str| came.get(name).map(String::as_str);
        let body = change("body", vector.input.body.as_deref().unwrap_or_default());
        parsed.verify(
            &secret_key.into(),
            &vector.input.method,
            path,
            raw_query,
            header,
            body.as_bytes(),
        )
    }

    #[test]
    fn a_verifier_accepts_every_vector_and_refuses_modified_ones() {
        let file = vectors();
        for vector in &file.vectors {
            let name = &vector.name;
            let secret = &file.secret_key;
            assert!(verifies(&file, vector, secret, |_, value| value.to_owned()), "{name}");
            assert!(
                !verifies(&file, vector, "another", |_, value| value.to_owned()),
                "{name}: another key"
            );
            for changed in vector.headers_signed.keys().map(String::as_str).chain(["body"]) {
                let change = |part: &str, value: &str| match part == changed {
                    true => format!("{value}x"),
                    false => value.to_owned(),
                };
                assert!(
                    !verifies(&file, vector, secret, change),
                    "{name}: {changed} was changed"
                );
            }
        }
    }

    #[test]
    fn a_verifier_reads_listed_headers_and_empty_query_values() {
        let secret = SecretString::from("secret");
        let headers = SignedHeaders::new([("User-Agent", "go"), ("X-Sdk-Date", "20250813T023456Z")]);
        let request = canonical_request("GET", "/v5/p/a%3Ab/", "limit=2&marker=", &headers, b"{}\n");
        let signature = signature(&secret, &string_to_sign("20250813T023456Z", &request));
        let parsed = Authorization::parse(&authorization("AK", &headers, &signature)).expect("it is well formed");
        assert_eq!(parsed.signed_headers, ["user-agent", "x-sdk-date"]);
        let header = |name: &str| match name {
            "user-agent" => Some("go"),
            "x-sdk-date" => Some("20250813T023456Z"),
            "host" => Some("not.signed"),
            _ => None,
        };
        assert!(parsed.verify(&secret, "GET", "/v5/p/a:b", "limit=2&marker", header, b"{}\n"));
        assert!(!parsed.verify(&secret, "GET", "/v5/p/a:b", "limit=2&marker", |_| None, b"{}\n"));
    }

    #[test]
    fn the_key_of_a_mac_may_have_any_length() {
        for length in [0, 1, 40, 63, 64, 65, 200] {
            let secret = "k".repeat(length);
            let mut expected = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
            expected.update(b"text");
            let expected = lower_hex(&expected.finalize().into_bytes());
            assert_eq!(signature(&secret.into(), "text"), expected, "{length}");
        }
    }

    #[test]
    fn other_authorization_headers_are_not_parsed() {
        for header in [
            "",
            "Bearer abc",
            "SDK-HMAC-SHA256",
            "SDK-HMAC-SHA256 Access=a, SignedHeaders=b",
            "SDK-HMAC-SHA256 Access=a, Signature=b",
            "SDK-HMAC-SHA256X Access=a, SignedHeaders=b, Signature=c",
        ] {
            assert_eq!(Authorization::parse(header), None, "{header}");
        }
    }

    #[test]
    fn dates_are_parsed_only_in_their_written_form() {
        let instant: Timestamp = "2025-08-13T02:34:56Z".parse().expect("a time");
        assert_eq!(format_date(instant), "20250813T023456Z");
        assert_eq!(parse_date("20250813T023456Z"), Some(instant));
        for wrong in [
            "",
            "2025-08-13T02:34:56Z",
            "20250813T023456",
            "20251313T023456Z",
            "20250813T023456Zx",
        ] {
            assert_eq!(parse_date(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn path_canonicalization_is_idempotent(path in "/[ -~äöü用户]{0,40}") {
            let once = canonical_uri(&path.split('/').map(escape).collect::<Vec<_>>().join("/"));
            prop_assert_eq!(canonical_uri(&once), once.clone());
            prop_assert!(once.ends_with('/'));
        }

        #[test]
        fn escaping_is_reversible_and_leaves_only_unreserved_characters(text in any::<String>()) {
            let escaped = escape(&text);
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte);
            prop_assert!(escaped.bytes().all(plain));
            prop_assert_eq!(percent_decode_str(&escaped).decode_utf8().ok(), Some(text.as_str().into()));
        }

        #[test]
        fn the_canonical_query_ignores_order_and_reads_back(
            parameters in prop::collection::vec((any::<String>(), any::<String>()), 0..6),
            seed in any::<u64>(),
        ) {
            // An empty key with an empty value would travel as a lone `=`.
            let query = canonical_query(&parameters);
            let mut shuffled = parameters.clone();
            let permit = usize::try_from(seed % 7).unwrap_or(0).min(shuffled.len());
            shuffled.rotate_left(permit);
            shuffled.reverse();
            prop_assert_eq!(canonical_query(&shuffled), query.clone());
            prop_assert_eq!(canonical_raw_query(&query), query);
        }

        #[test]
        fn signed_headers_ignore_case_and_order(
            headers in prop::collection::btree_map("[a-z]{1,8}", "[!-~]{0,8}", 0..5),
        ) {
            let signed = SignedHeaders::new(&headers);
            let other = headers.iter().rev().map(|(name, value)| (name.to_uppercase(), format!(" {value} ")));
            prop_assert_eq!(SignedHeaders::new(other), signed);
        }
    }
}
