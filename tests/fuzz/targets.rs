//! Fuzz targets: code that reads external data. Each target panics if one of its invariants does not hold.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;
use vpn_core::kind::Shape;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use vpn_cloud::credentials::signing;
use vpn_cloud::credentials::signing::Authorization;
use vpn_cloud::lists::paging::{Listed, NextPage, Page, Pages};
use vpn_cloud::parsing;
use vpn_cloud::parsing::{Asked, Heard, Read};
use vpn_cloud::regions::endpoints;
use vpn_cloud::regions::endpoints::EndpointAliases;
use vpn_cloud::resources::iam;
use vpn_cloud::text::is_unseen;
use vpn_cloud::values::password::Password;
use vpn_cloud::values::{password_rules, time};
use vpn_cloud::{Cloud, CloudError, Credentials, Operation};
use vpn_core::api::conditions::{ReadyCondition, Reason};
use vpn_core::api::{DeletionPolicy, GROUP};
use vpn_core::kind::Kind;
use vpn_core::kinds::customer_gateway::{Gateways, certificate};
use vpn_core::kinds::vpn_user::Users;
use vpn_core::object::Object;
use vpn_core::owner_tag::Owner;
use vpn_core::terms::failure::failure_of;
use vpn_operator::reconcile::session::credential as access;
use vpn_operator::settings::{LogFormat, LogSettings, Namespaces, OperatorSettings};

/// One fuzz target.
pub(crate) struct Target {
    /// The name of its corpus folder, and its name on the command line.
    pub name: &'static str,
    pub run: fn(&[u8]),
}

/// All targets.
pub(crate) const TARGETS: [Target; 10] = [
    Target {
        name: "answers",
        run: answers,
    },
    Target {
        name: "times",
        run: times,
    },
    Target {
        name: "authorization",
        run: authorization,
    },
    Target {
        name: "credentials-secret",
        run: credentials_secret,
    },
    Target {
        name: "credentials-file",
        run: credentials_file,
    },
    Target {
        name: "passwords",
        run: passwords,
    },
    Target {
        name: "certificates",
        run: certificates,
    },
    Target {
        name: "endpoints",
        run: endpoint,
    },
    Target {
        name: "owner-tags",
        run: owner_tags,
    },
    Target {
        name: "objects",
        run: objects,
    },
];

/// A placeholder in inputs where a response may repeat a secret; the target replaces it by the secret.
const PLACE: &str = "{{secret}}";
/// A secret with characters that JSON, HTML and URLs escape, and that occurs in no other text.
const SECRET: &str = "Zq7\"&<Zq7 \\Zq7";
/// A secret key, which has no space.
const SECRET_KEY: &str = "Zq7KeyZq7/Zq7+=";
/// The part that all encoded forms of the secret contain, in lower case.
const OF_THE_SECRET: &str = "zq7";
/// Characters of a quoted text, `…` included.
const LONGEST_QUOTE: usize = 301;
const LONGEST_MESSAGE: usize = 2001;
const NOW: i64 = 1_750_000_000;

fn assert_plain(what: &str, text: &str, longest: usize) {
    assert!(!text.contains(is_unseen), "{what} steers: {text:?}");
    let length = text.chars().count();
    assert!(length <= longest, "{what} has {length} characters: {text}");
}

fn assert_tags_unknown(what: &str, text: &str) {
    assert!(
        !text.to_lowercase().contains(OF_THE_SECRET),
        "{what} shows the secret: {text}"
    );
}

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

/// A response: `Status`, headers, an empty line and a body. The line `Operation` names the API call.
fn answers(input: &[u8]) {
    let secret = String::from_utf8_lossy(input).contains(PLACE);
    let filled = replace(input, PLACE, SECRET);
    let blank = filled.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = blank.map_or((&filled[..0], &filled[..]), |at| (&filled[..at], &filled[at + 2..]));
    let head = String::from_utf8_lossy(head);
    let header = |name: &str| {
        head.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    let status = header("Status").and_then(|status| status.parse().ok()).unwrap_or(200);
    let named = Operation::ALL
        .into_iter()
        .find(|operation| header("Operation") == Some(operation.name()));
    let sum: usize = input.iter().copied().map(usize::from).sum();
    let operation = named.unwrap_or(Operation::ALL[sum % Operation::ALL.len()]);
    let credentials = Credentials::new("AK".to_owned(), SecretString::from(SECRET_KEY), None).unwrap();
    let password = Password::new(SECRET);
    let asked = Asked {
        operation,
        endpoint: "https://vpn.example.com",
        password: secret.then_some(&password),
        credentials: &credentials,
    };
    let heard = Heard {
        status: if (100..=599).contains(&status) { status } else { 200 },
        request_id: header("X-Request-Id"),
        date: header("Date"),
        retry_after: header("Retry-After"),
        body,
    };
    match parsing::read(asked, heard, now()) {
        Ok(read) => {
            assert!((200..300).contains(&heard.status));
            check_read(read);
        }
        Err(error) => check_error(&error, secret),
    }
}

fn check_error(error: &CloudError, secret: bool) {
    assert_plain("the text", &error.text(), LONGEST_QUOTE + 100);
    for (what, part) in [("the code", &error.code), ("the request id", &error.request_id)] {
        assert_plain(what, part.as_deref().unwrap_or_default(), LONGEST_QUOTE);
    }
    let reported = error.to_string();
    assert_plain("the error", &reported, 4 * LONGEST_QUOTE);
    let failure = failure_of(error);
    assert_plain("the message", &failure.condition.message, LONGEST_MESSAGE);
    if secret {
        assert_tags_unknown("the error", &reported);
        assert_tags_unknown("Debug of it", &format!("{error:?}"));
        assert_tags_unknown("the message", &failure.condition.message);
    }
    assert!(error.retry_after.unwrap_or_default() <= Duration::from_secs(3600));
    assert!(error.delay(1_000_000) <= Duration::from_secs(7200));
    assert!(
        !error.outcome_unknown || error.operation.is_write(),
        "reads have no outcome"
    );
}

fn check_read(read: Read) {
    match read {
        Read::Gateways(page) => check_page(page),
        Read::Users(page) => check_page(page),
        Read::Groups(page) => check_page(page),
        Read::Members(page) => check_page(page),
        Read::Servers(page) => check_page(page),
        Read::Gateway(gateway) => {
            check_id(&gateway.id);
            let times = Gateways::times(&gateway);
            let name = gateway.name.unwrap_or_default();
            assert!(name.len() <= 4096 && gateway.tags.is_none_or(|tags| tags.len() <= 10_000));
            assert!(times.0.is_none() || gateway.created_at.is_some());
        }
        Read::User(user) => {
            check_id(&user.id);
            assert_ne!(user.user_group_id.as_deref(), Some(""), "an empty group is none");
        }
        Read::Created(created) => check_id(&created.id),
        Read::Project(id) => assert!(iam::is_project_id(&id)),
        Read::Tags(count) => assert!(count <= 10_000),
        Read::Done => {}
    }
}

fn check_id(id: &str) {
    assert!(
        !id.is_empty() && id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_graphic()),
        "{id:?}"
    );
}

fn check_page<T: Listed>(page: Page<T>) {
    assert!(page.items.len() <= 10_000);
    page.items.iter().for_each(|item| check_id(item.id()));
    let (total, marker) = (page.total_count, page.next_marker.clone());
    let mut pages = Pages::default();
    if let NextPage::Fetch(next) = pages.add(page) {
        assert!(!next.is_empty() && next.len() <= 4096);
        assert_eq!(Some(next), marker);
    }
    let listing = pages.finish();
    let mut ids: Vec<_> = listing.items.iter().map(|item| item.id().to_owned()).collect();
    let found = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), found, "each id once");
    assert!(
        !listing.complete || total == Some(found as u64),
        "complete is as many as there are"
    );
}

/// A time in a body, in a `Date` and in a `Retry-After`.
fn times(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match time::parse(&text) {
        Ok(instant) => {
            assert_eq!(instant.subsec_nanosecond(), 0, "whole seconds");
            assert_eq!(time::parse(&instant.to_string()), Ok(instant));
        }
        Err(error) => assert_plain("the error", &error.to_string(), 500),
    }
    if let Some(date) = time::parse_http_date(&text) {
        let written = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        // The format has four digits for the year.
        if (0..=253_402_300_799).contains(&date.as_second()) {
            assert_eq!(time::parse_http_date(&written), Some(date), "{written}");
        }
    }
    let wait = time::parse_retry_after(&text, now());
    assert!(wait.unwrap_or_default() <= Duration::from_secs(3600));
    if let Some(date) = signing::parse_date(&text) {
        assert_eq!(signing::format_date(date), text);
    }
}

/// An `Authorization` header, as the simulator reads it; after an empty line, the path and query of the request.
fn authorization(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (header, target) = text.split_once("\n\n").unwrap_or((&text, ""));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let uri = signing::canonical_uri(path);
    assert_eq!(signing::canonical_uri(&uri), uri);
    assert!(uri.is_ascii() && uri.ends_with('/'));
    let canonical = signing::canonical_raw_query(query);
    assert_eq!(signing::canonical_raw_query(&canonical), canonical);
    let Some(claim) = Authorization::parse(header) else {
        return;
    };
    let written = format!(
        "{} Access={}, SignedHeaders={}, Signature={}",
        signing::ALGORITHM,
        claim.access_key,
        claim.signed_headers.join(";"),
        claim.signature
    );
    assert_eq!(Authorization::parse(&written), Some(claim.clone()), "{written}");
    // Without the secret key, the input has no valid signature.
    let key = SecretString::from(SECRET_KEY);
    assert!(!claim.verify(&key, "GET", path, query, |_| Some("20250615T150640Z"), b""));
    // The right signature is valid, whatever was signed.
    let headers = signing::SignedHeaders::new([(signing::DATE_HEADER, "20250615T150640Z")]);
    let request = signing::canonical_request("GET", &uri, &canonical, &headers, b"");
    let right = signing::signature(&key, &signing::string_to_sign("20250615T150640Z", &request));
    let claim = Authorization::parse(&signing::authorization("AK", &headers, &right)).unwrap();
    assert!(
        claim.verify(&key, "GET", path, query, |_| Some("20250615T150640Z"), b""),
        "{path:?} {query:?}"
    );
}

fn settings() -> OperatorSettings {
    OperatorSettings {
        cloud: Cloud::Huawei,
        region: Some("eu-west-101".to_owned()),
        project_id: None,
        vpn_endpoint: Some("https://own.example.com".to_owned()),
        iam_endpoint: None,
        allow_insecure_endpoints: false,
        allowed_endpoints: vec!["https://allowed.example.com".to_owned()],
        endpoint_aliases: EndpointAliases::default(),
        default_credentials_namespaces: Namespaces::All,
        watch_namespaces: Namespaces::All,
        watch_selector: None,
        cluster_name: None,
        owner_tag_key: "vpn-operator-owner".to_owned(),
        default_deletion_policy: DeletionPolicy::Delete,
        mass_deletion_guard: true,
        read_only: false,
        ca_bundle: None,
        resync_period: None,
        confirmation_period: Duration::from_secs(30),
        max_requests_per_second: NonZeroU32::MIN,
        request_timeout: Duration::from_secs(10),
        leader_election: None,
        operator_namespace: None,
        lease_name: "vpn-operator".to_owned(),
        bind_address: ([127, 0, 0, 1], 0).into(),
        log: LogSettings {
            format: LogFormat::Text,
            filter: "info".to_owned(),
        },
    }
}

/// Whether a Secret may name this endpoint.
fn is_allowed(endpoint: &str) -> bool {
    let of_the_cloud = |service: &str| {
        let host = endpoint
            .strip_prefix("https://")
            .and_then(|rest| rest.strip_prefix(service));
        let region = host.and_then(|host| {
            host.strip_suffix(".myhuaweicloud.com")
                .or_else(|| host.strip_suffix(".myhuaweicloud.eu"))
        });
        region.is_some_and(|region| region.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-'))
    };
    let named = [
        "https://own.example.com",
        "https://allowed.example.com",
        "https://iam.myhuaweicloud.com",
    ];
    named.contains(&endpoint) || of_the_cloud("vpn.") || of_the_cloud("iam.")
}

/// The keys of a credentials Secret: `key: value` on each line, where `\n` stands for a line break.
fn credentials_secret(input: &[u8]) {
    let mut data: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for line in input.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let key = String::from_utf8_lossy(&line[..colon]).trim().to_owned();
        data.insert(
            key,
            replace(&replace(&line[colon + 1..], "\\n", "\n"), PLACE, SECRET_KEY),
        );
    }
    match access::from_secret(&settings(), "ns/keys", &data) {
        Ok(credential) => {
            assert!(is_allowed(&credential.vpn_endpoint), "{}", credential.vpn_endpoint);
            let iam = credential.iam_endpoint.as_deref();
            assert!(iam.is_none_or(is_allowed), "{iam:?}");
            assert!(
                iam.is_some() || credential.project_id.is_some(),
                "the project can be found"
            );
            assert!(credential.project_id.as_deref().is_none_or(iam::is_project_id));
            check_keys(&credential.keys);
            assert_eq!(credential.fingerprint(), credential.clone().fingerprint());
        }
        Err(failure) => {
            let message = &failure.condition.message;
            // The message quotes a hundred characters, and each may be escaped as ten.
            assert_plain("the message", message, 1400);
            // The message quotes invalid endpoints and regions: they are no secrets.
            let quoted = ["endpoint", "iamEndpoint", "region"].into_iter();
            let is_quoted = quoted.filter_map(|key| data.get(key)).any(|value| {
                let value = String::from_utf8_lossy(value).to_lowercase();
                value.contains(OF_THE_SECRET)
            });
            if !is_quoted {
                assert_tags_unknown("the message", message);
            }
        }
    }
}

fn check_keys(keys: &Credentials) {
    let token = keys.security_token.as_ref().map_or("-", |token| token.expose_secret());
    for (part, most) in [
        (keys.access_key.as_str(), 512),
        (keys.secret_key.expose_secret(), 512),
        (token, 16 * 1024),
    ] {
        assert!(!part.is_empty() && part.len() <= most && part.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    assert_tags_unknown("Debug of it", &format!("{keys:?}"));
}

/// The file with the default credentials.
fn credentials_file(input: &[u8]) {
    let filled = replace(input, PLACE, SECRET_KEY);
    match parsing::default_credentials(&String::from_utf8_lossy(&filled)) {
        Ok(own) => check_keys(&own.credentials),
        Err(error) => {
            assert_plain("the error", &error.to_string(), 300);
            assert_tags_unknown("the error", &error.to_string());
            assert_tags_unknown("Debug of it", &format!("{error:?}"));
        }
    }
}

/// The value of a password Secret.
fn passwords(input: &[u8]) {
    match password_rules::read(input) {
        Ok(password) => {
            let value = password.expose();
            assert!(input.starts_with(value.as_bytes()) && input.len() - value.len() <= 2);
            assert_eq!(password_rules::read(value.as_bytes()), Ok(password.clone()));
            if let Ok(()) = password_rules::check(value, "alice") {
                assert!((8..=32).contains(&value.len()) && value != "alice");
            }
            assert!(value.len() < 4 || !format!("{password:?}").contains(value) || "[redacted]".contains(value));
        }
        Err(problem) => assert_plain("the problem", &problem.to_string(), 300),
    }
}

/// The value of a certificate's Secret.
fn certificates(input: &[u8]) {
    match certificate(input.to_vec()) {
        Ok(text) => {
            assert_eq!(text.as_bytes(), input);
            assert!(text.len() <= 64 * 1024 && !text.contains("PRIVATE KEY-----"));
        }
        Err(problem) => assert_plain("the problem", problem, 200),
    }
}

/// A base URL.
fn endpoint(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for insecure in [false, true] {
        match endpoints::validate(&text, insecure) {
            Ok(endpoint) => {
                let url = url::Url::parse(&endpoint).unwrap();
                assert!(url.scheme() == "https" || insecure && url.scheme() == "http");
                assert!(url.username().is_empty() && url.password().is_none());
                assert!(url.path() == "/" && url.query().is_none() && url.fragment().is_none());
                assert!(
                    endpoint.is_ascii() && !endpoint.contains(is_unseen) && !endpoint.ends_with('/'),
                    "{endpoint}"
                );
                assert_eq!(endpoints::validate(&endpoint, insecure), Ok(endpoint.clone()));
                // A path that a call appends does not change the host.
                let call = url::Url::parse(&format!("{endpoint}/v5/p")).unwrap();
                assert_eq!(
                    (call.host_str(), call.port(), call.path()),
                    (url.host_str(), url.port(), "/v5/p")
                );
            }
            Err(error) => assert_plain("the error", &error.to_string(), 1400),
        }
    }
    for region in [Cloud::Huawei.vpn_endpoint(&text), Cloud::Otc.iam_endpoint(&text)]
        .into_iter()
        .flatten()
    {
        assert!(
            region.ends_with(".myhuaweicloud.com") || region.ends_with(".otc.t-systems.com"),
            "{region}"
        );
        assert_eq!(endpoints::validate(&region, false), Ok(region.clone()));
    }
}

/// The value of an owner tag.
fn owner_tags(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let Some(owner) = Owner::parse(&text) else { return };
    assert_eq!(owner.to_string(), text);
    assert!(owner.same_place(&owner));
    if owner.can_exist() {
        for part in [&owner.namespace, &owner.name] {
            assert!(
                part.bytes()
                    .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || b"-.".contains(&it))
            );
            assert!(!part.starts_with('.'), "it would lead upwards in a path");
        }
        let again = Owner::new(&owner.uid, Some(owner.cluster.as_str()), &owner.namespace, &owner.name);
        assert!(owner.may_be_cut() || again == owner);
    }
    let condition = ReadyCondition::new(Reason::AlreadyManaged, format!("its tag is {text}"));
    assert_plain("the message", &condition.message, LONGEST_MESSAGE);
}

/// A custom resource as the apiserver returns it, whatever its CRD accepted.
fn objects(input: &[u8]) {
    object::<Gateways>(input);
    object::<Users>(input);
}

fn object<K: Kind>(input: &[u8])
where
    K::Spec: Serialize,
{
    let Ok(object) = serde_json::from_slice::<Object<K>>(input) else {
        return;
    };
    assert!(!object.uid().is_empty() || object.metadata.uid.is_some());
    assert_eq!(
        (&object.metadata.labels, &object.metadata.managed_fields),
        (&None, &None)
    );
    let annotations = object.metadata.annotations.iter().flatten();
    assert!(annotations.into_iter().all(|(key, _)| key.starts_with(GROUP)));
    match &object.spec {
        Ok(spec) => assert_eq!(&round_trip(spec), spec),
        Err(problem) => {
            let condition = ReadyCondition::new(Reason::InvalidSpec, problem.clone());
            assert_plain("the message", &condition.message, LONGEST_MESSAGE);
        }
    }
    assert_eq!(round_trip(&object.status), object.status);
    if let Some(approved) = object.annotation(vpn_core::api::RECREATE_APPROVED_ANNOTATION) {
        drop(approved.parse::<Timestamp>());
    }
}

fn round_trip<T: Serialize + DeserializeOwned>(value: &T) -> T {
    serde_json::from_slice(&serde_json::to_vec(value).unwrap()).unwrap()
}

fn replace(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let (mut replaced, mut rest) = (Vec::with_capacity(bytes.len()), bytes);
    while let Some(at) = rest.windows(from.len()).position(|window| window == from.as_bytes()) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(to.as_bytes());
        rest = &rest[at + from.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced
}
