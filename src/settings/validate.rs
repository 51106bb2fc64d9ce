//! Validates the flags: the rules of each value, and those between flags.

use std::{
    fmt, io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use rustls::pki_types::{CertificateDer, pem::PemObject};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};
use url::Url;
use vpn_cloud::regions::endpoints;
use vpn_cloud::regions::endpoints::{EndpointAliases, EndpointError};
use vpn_cloud::resources::iam::is_project_id;

use crate::settings::{
    CaBundle, LeaderElection, LogSettings, Namespaces, OperatorSettings, RunArgs, check_label_selector,
};

/// The shortest lease: with a shorter one, a slow apiserver alone would cost the leadership.
const MIN_LEASE_DURATION: Duration = Duration::from_secs(5);

/// The longest lease: it is also how long no replica works after the leader was killed.
const MAX_LEASE_DURATION: Duration = Duration::from_secs(3600);

/// The cloud's times are whole seconds, so no shorter period is measurable.
const MIN_SETTLE_TIME: Duration = Duration::from_secs(1);

const MAX_SETTLE_TIME: Duration = Duration::from_secs(3600);

const MIN_RESYNC_PERIOD: Duration = Duration::from_secs(1);

const MIN_REQUEST_TIMEOUT: Duration = Duration::from_millis(100);

const MAX_REQUEST_TIMEOUT: Duration = Duration::from_secs(300);

/// Other objects are named after the Lease, with a suffix, and must still have valid names.
const MAX_HOME_NAME: usize = 200;

/// A flag that is invalid, or conflicts with another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagError {
    /// With its dashes.
    pub flag: &'static str,
    /// What is wrong with its value.
    pub problem: String,
}

impl FlagError {
    fn new(flag: &'static str, problem: impl fmt::Display) -> Self {
        Self {
            flag,
            problem: problem.to_string(),
        }
    }
}

impl fmt::Display for FlagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.flag, self.problem)
    }
}

impl std::error::Error for FlagError {}

/// Checks the rules that need more than the text of one flag. `read` reads files; it is called for `--ca-file` only.
pub fn validate(args: RunArgs, read: impl FnOnce(&Path) -> io::Result<Vec<u8>>) -> Result<OperatorSettings, FlagError> {
    let insecure = args.allow_insecure_endpoints;
    let endpoint = |flag, text: Option<&String>| text.map(|text| parse_endpoint(flag, text, insecure)).transpose();

    let leader_election = leader_election(&args)?;
    check_durations(&args)?;
    Ok(OperatorSettings {
        cloud: args.cloud,
        region: args.region,
        project_id: args.project_id,
        vpn_endpoint: endpoint("--vpn-endpoint", args.vpn_endpoint.as_ref())?,
        iam_endpoint: endpoint("--iam-endpoint", args.iam_endpoint.as_ref())?,
        allow_insecure_endpoints: insecure,
        allowed_endpoints: args
            .allowed_endpoints
            .iter()
            .map(|text| parse_endpoint("--allowed-endpoint", text, insecure))
            .collect::<Result<_, _>>()?,
        endpoint_aliases: endpoint_aliases(&args.endpoint_aliases, insecure)?,
        default_credentials_namespaces: namespaces(args.default_credentials_namespaces),
        watch_namespaces: namespaces(args.watch_namespaces),
        watch_selector: args.watch_selector,
        cluster_name: args.cluster_name,
        owner_tag_key: args.owner_tag_key,
        default_deletion_policy: args.default_deletion_policy,
        mass_deletion_guard: args.mass_deletion_guard,
        read_only: args.read_only,
        ca_bundle: args.ca_file.map(|path| ca_bundle(&path, read)).transpose()?,
        resync_period: Some(args.resync_period).filter(|period| !period.is_zero()),
        confirmation_period: args.creation_confirmation_period,
        max_requests_per_second: args.max_requests_per_second,
        request_timeout: args.request_timeout,
        leader_election,
        home_namespace: args.leader_elect_resource_namespace,
        home_name: args.leader_elect_resource_name,
        bind_address: args.bind_address,
        log: LogSettings {
            format: args.log_format,
            filter: args.log_level,
        },
    })
}

fn parse_endpoint(flag: &'static str, text: &str, insecure_allowed: bool) -> Result<String, FlagError> {
    endpoints::validate(text, insecure_allowed).map_err(|error| match error {
        EndpointError::Insecure(_) => FlagError::new(flag, format!("{error}; --allow-insecure-endpoints allows them")),
        error => FlagError::new(flag, error),
    })
}

fn endpoint_aliases(pairs: &[String], insecure_allowed: bool) -> Result<EndpointAliases, FlagError> {
    const FLAG: &str = "--endpoint-alias";
    let pair = |text: &String| {
        // The value may be anything, so the message does not repeat it.
        let (old, new) = text
            .split_once('=')
            .ok_or_else(|| FlagError::new(FLAG, "must have the form OLD=NEW, with two endpoints"))?;
        Ok((
            parse_endpoint(FLAG, old, insecure_allowed)?,
            parse_endpoint(FLAG, new, insecure_allowed)?,
        ))
    };
    let pairs = pairs.iter().map(pair).collect::<Result<Vec<_>, FlagError>>()?;
    EndpointAliases::new(pairs).map_err(|error| FlagError::new(FLAG, error))
}

fn namespaces(mut names: Vec<String>) -> Namespaces {
    names.sort();
    names.dedup();
    if names.is_empty() {
        Namespaces::All
    } else {
        Namespaces::Only(names)
    }
}

fn leader_election(args: &RunArgs) -> Result<Option<LeaderElection>, FlagError> {
    if !args.leader_elect {
        return Ok(None);
    }
    let lease = args.leader_elect_lease_duration;
    if lease < MIN_LEASE_DURATION || lease > MAX_LEASE_DURATION {
        let problem = format!("{} is not between 5s and 1h", written(lease));
        return Err(FlagError::new("--leader-elect-lease-duration", problem));
    }
    if lease.subsec_nanos() != 0 {
        let problem = format!(
            "{} is not a whole number of seconds, as a Lease requires",
            written(lease)
        );
        return Err(FlagError::new("--leader-elect-lease-duration", problem));
    }
    if args.request_timeout > lease / 2 {
        let problem = format!(
            "{} is more than half of --leader-elect-lease-duration ({}): the leader could lose it during a request",
            written(args.request_timeout),
            written(lease)
        );
        return Err(FlagError::new("--request-timeout", problem));
    }
    let Some(namespace) = args.leader_elect_resource_namespace.clone() else {
        return Err(FlagError::new(
            "--leader-elect-resource-namespace",
            "is needed for leader election and POD_NAMESPACE is not set; name the Lease's namespace, or turn leader \
             election off with --leader-elect=false",
        ));
    };
    Ok(Some(LeaderElection {
        namespace,
        name: args.leader_elect_resource_name.clone(),
        lease_duration: lease,
    }))
}

fn check_durations(args: &RunArgs) -> Result<(), FlagError> {
    let resync = args.resync_period;
    if !resync.is_zero() && resync < MIN_RESYNC_PERIOD {
        let problem = format!("{} is less than 1s; 0 disables drift checks", written(resync));
        return Err(FlagError::new("--resync-period", problem));
    }
    if args.creation_confirmation_period < MIN_SETTLE_TIME || args.creation_confirmation_period > MAX_SETTLE_TIME {
        let problem = format!(
            "{} is not between 1s and 1h",
            written(args.creation_confirmation_period)
        );
        return Err(FlagError::new("--creation-confirmation-period", problem));
    }
    if args.request_timeout < MIN_REQUEST_TIMEOUT || args.request_timeout > MAX_REQUEST_TIMEOUT {
        let problem = format!("{} is not between 100ms and 5m", written(args.request_timeout));
        return Err(FlagError::new("--request-timeout", problem));
    }
    Ok(())
}

fn ca_bundle(path: &Path, read: impl FnOnce(&Path) -> io::Result<Vec<u8>>) -> Result<CaBundle, FlagError> {
    let wrong = |problem: String| FlagError::new("--ca-file", format!("{} {problem}", path.display()));
    let pem = read(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let certificates: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(format!("is not PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(wrong(
            "contains no certificate (-----BEGIN CERTIFICATE-----)".to_owned(),
        ));
    }
    let mut roots = rustls::RootCertStore::empty();
    for (index, certificate) in certificates.into_iter().enumerate() {
        roots.add(certificate).map_err(|error| {
            wrong(format!(
                "contains a certificate (number {}) that cannot be a root: {error}",
                index + 1
            ))
        })?;
    }
    Ok(CaBundle {
        path: path.to_owned(),
        pem,
    })
}

fn written(duration: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(duration)
}

/// `30s`, `5m`, `1h`, `0`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim()).map_err(|error| format!("{error}; write a duration such as 30s, 5m or 1h"))
}

/// A region's id, as it stands in host names.
pub(crate) fn parse_region(text: &str) -> Result<String, String> {
    if is_dns_label(text) {
        Ok(text.to_owned())
    } else {
        Err("a region has the form eu-west-101: a-z, 0-9 and `-`".to_owned())
    }
}

/// A project's id.
pub(crate) fn parse_project_id(text: &str) -> Result<String, String> {
    if is_project_id(text) {
        Ok(text.to_owned())
    } else {
        Err("a project id has the form 0605767a5b0b3f5c2f3dc0123456789a: letters, digits and `-`".to_owned())
    }
}

/// A namespace's name.
pub(crate) fn parse_namespace(text: &str) -> Result<String, String> {
    let text = text.trim();
    if is_dns_label(text) {
        Ok(text.to_owned())
    } else {
        Err("a namespace has 1 to 63 of a-z, 0-9 and `-`, a letter or digit at both ends".to_owned())
    }
}

/// An object's name with room for a suffix.
pub(crate) fn parse_object_name(text: &str) -> Result<String, String> {
    if text.len() <= MAX_HOME_NAME && is_dns_subdomain(text) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "a name has 1 to {MAX_HOME_NAME} of a-z, 0-9, `-` and `.`, a letter or digit at both ends"
        ))
    }
}

/// A part of the owner tag, whose parts are separated by `:`.
pub(crate) fn parse_cluster_name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=32).contains(&text.len()) && text.chars().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err("a cluster name has 1 to 32 of a-z, 0-9 and `-`".to_owned())
    }
}

/// A tag key that both editions of the cloud's documentation allow.
pub(crate) fn parse_owner_tag_key(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_alphanumeric() || " _.:=+-@".contains(c);
    if !(1..=128).contains(&text.chars().count()) {
        Err("a tag key has 1 to 128 characters".to_owned())
    } else if let Some(wrong) = text.chars().find(|c| !allowed(*c)) {
        Err(format!(
            "a tag key has letters, digits, spaces and _ . : = + - @, but not {wrong:?}"
        ))
    } else if text.starts_with(' ') || text.ends_with(' ') {
        Err("a tag key neither begins nor ends with a space".to_owned())
    } else if text.starts_with("_sys_") {
        Err("tag keys that begin with _sys_ are reserved by the cloud".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// A label selector.
pub(crate) fn parse_selector(text: &str) -> Result<String, String> {
    check_label_selector(text)
        .map(|()| text.trim().to_owned())
        .map_err(|error| error.to_string())
}

/// The URL of `/readyz`, over `http`.
pub(crate) fn parse_probe_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
    match (url.scheme(), url.has_host()) {
        ("http", true) => Ok(url),
        _ => Err("must be http://HOST:PORT/readyz".to_owned()),
    }
}

/// `ADDRESS:PORT`, or `:PORT` for every address.
pub(crate) fn parse_bind_address(text: &str) -> Result<SocketAddr, String> {
    let port_only = text.strip_prefix(':').and_then(|port| port.parse().ok());
    match port_only {
        Some(port) => Ok(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)),
        None => text
            .parse()
            .map_err(|_| "write ADDRESS:PORT, [V6ADDRESS]:PORT or :PORT".to_owned()),
    }
}

/// A filter for `EnvFilter`, which takes a bare word that is no level as a target: `warning` or `infoo` would silence
/// everything else. Here a target has to be written as `TARGET=LEVEL`.
pub(crate) fn parse_log_filter(text: &str) -> Result<String, String> {
    const HINT: &str = "write a level such as info or debug, or TARGET=LEVEL pairs with commas";
    // Span filters contain commas themselves.
    if !text.contains('[') {
        let no_level = |word: &&str| !word.contains('=') && word.parse::<LevelFilter>().is_err();
        if let Some(word) = text.split(',').map(str::trim).find(no_level) {
            return Err(format!("`{word}` is not a level; {HINT}"));
        }
    }
    match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{error}; {HINT}")),
    }
}

fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && !text.contains('.') && is_dns_subdomain(text)
}

/// Labels of a-z, 0-9 and `-`, with dots between them, a letter or digit at both ends of each.
pub(crate) fn is_dns_subdomain(text: &str) -> bool {
    let at_end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= 253
        && text.split('.').all(|label| {
            label.starts_with(at_end) && label.ends_with(at_end) && label.chars().all(|c| at_end(c) || c == '-')
        })
}
