//! Where the API is served: by region from the table of known regions, else by template; and which base URLs we accept.

pub use crate::regions::cloud::Cloud;
use std::{collections::BTreeMap, fmt, str::FromStr};

use url::Url;

use crate::regions::table;

/// A host's name has 253 characters at most, and a scheme and a port stand round it.
const LONGEST: usize = 300;

impl Cloud {
    /// Base URL of the VPN API in a region.
    pub fn vpn_endpoint(self, region: &str) -> Result<String, EndpointError> {
        let region = checked_region(region)?;
        let host = match (table::vpn_host(self, region), self) {
            (Some(host), _) => host.to_owned(),
            (None, Self::Huawei) => format!("vpn.{region}.myhuaweicloud.com"),
            (None, Self::Otc) => format!("vpn.{region}.otc.t-systems.com"),
        };
        Ok(format!("https://{host}"))
    }

    /// Base URL of IAM for a region.
    pub fn iam_endpoint(self, region: &str) -> Result<String, EndpointError> {
        let region = checked_region(region)?;
        let host = match (table::iam_host(self, region), self) {
            (Some(host), _) => host.to_owned(),
            // All regions without one of their own share the global one.
            (None, Self::Huawei) => "iam.myhuaweicloud.com".to_owned(),
            (None, Self::Otc) => format!("iam.{region}.otc.t-systems.com"),
        };
        Ok(format!("https://{host}"))
    }
}

impl fmt::Display for Cloud {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Huawei => "huawei",
            Self::Otc => "otc",
        })
    }
}

impl FromStr for Cloud {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        match text {
            "huawei" => Ok(Self::Huawei),
            "otc" => Ok(Self::Otc),
            other => Err(EndpointError::Cloud(shown(other))),
        }
    }
}

/// What is wrong with a region or an endpoint, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Not one of ours.
    #[error("{0:?} is not a known cloud: allowed are huawei and otc")]
    Cloud(String),
    /// A region becomes part of a host name, so it may hold nothing else.
    #[error("{0:?} is not a region: allowed are 1 to 63 lower-case letters, digits and dashes, such as eu-west-101")]
    Region(String),
    /// Not a URL.
    #[error("{0:?} is not a URL: an endpoint is https://host or https://host:port")]
    NotAUrl(String),
    /// Longer than any host.
    #[error("an endpoint has at most {LONGEST} characters, but this one continues after {0:?}")]
    TooLong(String),
    /// Plain HTTP without permission.
    #[error(
        "{0:?} is not allowed: an endpoint must begin with https:// (http:// only where insecure endpoints are allowed)"
    )]
    Insecure(String),
    /// Neither HTTP nor HTTPS.
    #[error("{0:?} is not allowed: an endpoint must begin with https://")]
    Scheme(String),
    /// The URL is not repeated: it holds a password.
    #[error("the endpoint holds a user name or password: an endpoint is https://host or https://host:port")]
    Credentials,
    /// The URL has more than a host and a port.
    #[error("{0:?} is not allowed: an endpoint has no path, query or fragment, only https://host or https://host:port")]
    More(String),
}

/// The base URL in its one form (no slash at the end, lower-case host, no default port), if it may be used.
pub fn validate(endpoint: &str, allow_insecure: bool) -> Result<String, EndpointError> {
    let trimmed = endpoint.trim().trim_end_matches('/');
    // It is quoted in messages and stands before every path.
    if trimmed.len() > LONGEST && !trimmed.contains('@') {
        return Err(EndpointError::TooLong(shown(endpoint)));
    }
    let url = match Url::parse(trimmed) {
        Ok(url) if url.has_host() => url,
        // What is no URL may still hold a password.
        _ if trimmed.contains('@') => return Err(EndpointError::Credentials),
        _ => return Err(EndpointError::NotAUrl(shown(endpoint))),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(EndpointError::Credentials);
    }
    match url.scheme() {
        "https" => {}
        "http" if allow_insecure => {}
        "http" => return Err(EndpointError::Insecure(shown(endpoint))),
        _ => return Err(EndpointError::Scheme(shown(endpoint))),
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(EndpointError::More(shown(endpoint)));
    }
    let form = url.as_str().trim_end_matches('/');
    // An `@` with nothing before it leaves the length open until here, and letters of other scripts grow.
    if form.len() > LONGEST {
        return Err(EndpointError::TooLong(shown(endpoint)));
    }
    Ok(form.to_owned())
}

/// Endpoints that serve what another one served before: objects live where they were recorded, whatever its name now is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointAliases {
    recorded_by_alias: BTreeMap<String, String>,
}

impl EndpointAliases {
    /// From pairs of the recorded and the present endpoint, both in the one form.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, AliasError> {
        let mut recorded_by_alias = BTreeMap::new();
        for (recorded, alias) in pairs {
            if recorded == alias {
                return Err(AliasError::Itself(alias));
            }
            let before = recorded_by_alias.insert(alias.clone(), recorded.clone());
            if before.is_some_and(|before| before != recorded) {
                return Err(AliasError::Ambiguous(alias));
            }
        }
        match recorded_by_alias
            .values()
            .find(|recorded| recorded_by_alias.contains_key(*recorded))
        {
            Some(recorded) => Err(AliasError::Chain(recorded.clone())),
            None => Ok(Self { recorded_by_alias }),
        }
    }

    /// The name under which objects at this endpoint are recorded: its own, unless it is an alias.
    pub fn recorded_as<'a>(&'a self, endpoint: &'a str) -> &'a str {
        self.recorded_by_alias.get(endpoint).map_or(endpoint, String::as_str)
    }
}

/// Aliases that do not say which objects are meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AliasError {
    /// Both sides of a pair are the same endpoint.
    #[error("{0} is an alias of itself: write OLD=NEW with two endpoints")]
    Itself(String),
    /// The same endpoint is the present side of two pairs.
    #[error("{0} is an alias of two endpoints: it can serve what one of them served")]
    Ambiguous(String),
    /// The recorded side of a pair is the present side of another.
    #[error("{0} is an alias and has one: name the endpoint that status.scope records in each pair")]
    Chain(String),
}

fn checked_region(region: &str) -> Result<&str, EndpointError> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let ends = [region.as_bytes().first(), region.as_bytes().last()];
    match region.len() {
        1..=63 if region.bytes().all(allowed) && !ends.contains(&Some(&b'-')) => Ok(region),
        _ => Err(EndpointError::Region(shown(region))),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_come_from_the_region_table_or_the_template() {
        for (cloud, region, vpn, iam) in [
            (
                Cloud::Huawei,
                "cn-north-4",
                "https://vpn.cn-north-4.myhuaweicloud.com",
                "https://iam.cn-north-4.myhuaweicloud.com",
            ),
            (
                Cloud::Huawei,
                "eu-west-101",
                "https://vpn.eu-west-101.myhuaweicloud.com",
                "https://iam.eu-west-101.myhuaweicloud.eu",
            ),
            (
                Cloud::Huawei,
                "cn-north-11",
                "https://vpn.cn-north-11.myhuaweicloud.com",
                "https://iam.myhuaweicloud.com",
            ),
            (
                Cloud::Huawei,
                "xx-new-1",
                "https://vpn.xx-new-1.myhuaweicloud.com",
                "https://iam.myhuaweicloud.com",
            ),
            (
                Cloud::Otc,
                "eu-de",
                "https://vpn.eu-de.otc.t-systems.com",
                "https://iam.eu-de.otc.t-systems.com",
            ),
            (
                Cloud::Otc,
                "eu-ch2",
                "https://vpn.eu-ch2.sc.otc.t-systems.com",
                "https://iam-pub.eu-ch2.sc.otc.t-systems.com",
            ),
            (
                Cloud::Otc,
                "xx-new",
                "https://vpn.xx-new.otc.t-systems.com",
                "https://iam.xx-new.otc.t-systems.com",
            ),
        ] {
            assert_eq!(cloud.vpn_endpoint(region).as_deref(), Ok(vpn));
            assert_eq!(cloud.iam_endpoint(region).as_deref(), Ok(iam));
        }
    }

    #[test]
    fn an_invalid_region_cannot_change_the_host() {
        for region in [
            "",
            "evil.com/",
            "eu-de.evil.com",
            "eu-de#",
            "EU-DE",
            "-eu",
            "eu-",
            "a b",
            &"a".repeat(64),
        ] {
            let error = Cloud::Huawei.vpn_endpoint(region).expect_err(region);
            assert!(
                error.to_string().contains("lower-case letters, digits and dashes"),
                "{error}"
            );
            assert_eq!(Cloud::Otc.iam_endpoint(region), Err(error));
        }
    }

    fn aliases(pairs: &[(&str, &str)]) -> Result<EndpointAliases, AliasError> {
        EndpointAliases::new(pairs.iter().map(|(old, new)| ((*old).to_owned(), (*new).to_owned())))
    }

    #[test]
    fn an_alias_is_recorded_under_its_first_endpoint() {
        let aliases = aliases(&[
            ("https://a", "https://b"),
            ("https://a", "https://c"),
            ("https://x", "https://y"),
        ]);
        let aliases = aliases.expect("they are clear");
        for (endpoint, recorded) in [
            ("https://a", "https://a"),
            ("https://b", "https://a"),
            ("https://c", "https://a"),
            ("https://y", "https://x"),
            ("https://z", "https://z"),
        ] {
            assert_eq!(aliases.recorded_as(endpoint), recorded);
        }
    }

    #[test]
    fn ambiguous_aliases_are_refused() {
        for pairs in [
            &[("https://a", "https://a")][..],
            &[("https://a", "https://c"), ("https://b", "https://c")],
            &[("https://a", "https://b"), ("https://b", "https://c")],
        ] {
            assert!(aliases(pairs).is_err(), "{pairs:?}");
        }
    }

    #[test]
    fn cloud_names_parse_from_their_display_form() {
        for cloud in [Cloud::Huawei, Cloud::Otc] {
            assert_eq!(cloud.to_string().parse(), Ok(cloud));
        }
        let error = "aws".parse::<Cloud>().expect_err("not ours").to_string();
        assert!(error.contains("\"aws\"") && error.contains("huawei and otc"), "{error}");
    }

    #[test]
    fn valid_endpoints_are_normalized() {
        for (given, insecure, expected) in [
            ("https://vpn.example.com", false, "https://vpn.example.com"),
            (" https://VPN.example.com/ ", false, "https://vpn.example.com"),
            ("https://vpn.example.com:443//", false, "https://vpn.example.com"),
            ("https://vpn.example.com:8443", false, "https://vpn.example.com:8443"),
            ("http://127.0.0.1:8180/", true, "http://127.0.0.1:8180"),
            ("http://[::1]:8180", true, "http://[::1]:8180"),
        ] {
            assert_eq!(validate(given, insecure).as_deref(), Ok(expected), "{given}");
        }
    }

    #[test]
    fn an_invalid_endpoint_is_refused_without_repeating_its_password() {
        for (given, words) in [
            ("", "https://host"),
            ("vpn.example.com", "https://host"),
            ("https://", "https://host"),
            ("vpn.example.com:443", "https://host"),
            ("http://vpn.example.com", "must begin with https://"),
            ("ftp://vpn.example.com", "must begin with https://"),
            ("https://vpn.example.com/v5", "no path"),
            ("https://vpn.example.com?x=1", "no path, query"),
            ("https://vpn.example.com#x", "fragment"),
            ("https://me:hunter2@vpn.example.com", "user name or password"),
            ("me:hunter2@vpn.example.com", "user name or password"),
            (
                &format!("https://{}.example.com", "a".repeat(300)),
                "at most 300 characters",
            ),
            (&format!("https://@{}.com", "a".repeat(300)), "at most 300 characters"),
            (
                &format!("https://me:hunter2@{}.com", "a".repeat(300)),
                "user name or password",
            ),
        ] {
            let error = validate(given, false).expect_err(given).to_string();
            assert!(error.contains(words), "{given}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
