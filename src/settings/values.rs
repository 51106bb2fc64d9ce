//! Reads the value of one flag.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tracing_subscriber::{EnvFilter, filter::LevelFilter};
use url::Url;
use vpn_cloud::resources::iam::is_project_id;

use crate::settings::dns_names::{is_dns_label, is_dns_subdomain};
use crate::settings::flag_error::{InvalidDuration, InvalidLogFilter, InvalidProbeUrl};
use crate::settings::selector::{SelectorError, check_label_selector};

/// Other objects are named after the Lease, with a suffix, and must still have valid names.
const MAX_LEASE_NAME: usize = 200;

/// `30s`, `5m`, `1h`, `0`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, InvalidDuration> {
    Ok(humantime::parse_duration(text.trim())?)
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
    if text.len() <= MAX_LEASE_NAME && is_dns_subdomain(text) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "a name has 1 to {MAX_LEASE_NAME} of a-z, 0-9, `-` and `.`, a letter or digit at both ends"
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
pub(crate) fn parse_selector(text: &str) -> Result<String, SelectorError> {
    check_label_selector(text).map(|()| text.trim().to_owned())
}

/// The URL of `/readyz`, over `http`.
pub(crate) fn parse_probe_url(text: &str) -> Result<Url, InvalidProbeUrl> {
    let url = Url::parse(text)?;
    match (url.scheme(), url.has_host()) {
        ("http", true) => Ok(url),
        _ => Err(InvalidProbeUrl::Form),
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
pub(crate) fn parse_log_filter(text: &str) -> Result<String, InvalidLogFilter> {
    // Span filters contain commas themselves.
    if !text.contains('[') {
        let no_level = |word: &&str| !word.contains('=') && word.parse::<LevelFilter>().is_err();
        if let Some(word) = text.split(',').map(str::trim).find(no_level) {
            return Err(InvalidLogFilter::Level(word.to_owned()));
        }
    }
    EnvFilter::builder().parse(text)?;
    Ok(text.to_owned())
}
