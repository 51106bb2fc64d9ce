//! Where the API is served: the two clouds' templates by region, and which base URLs we accept.

use std::{fmt, str::FromStr};

use url::Url;

/// Regions of Huawei Cloud with an IAM endpoint of their own; all others share the global one.
const HUAWEI_REGIONAL_IAM: &[&str] = &[
    "ae-ad-1",
    "af-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "cn-east-2",
    "cn-east-3",
    "cn-east-4",
    "cn-east-5",
    "cn-north-1",
    "cn-north-12",
    "cn-north-2",
    "cn-north-4",
    "cn-north-9",
    "cn-south-1",
    "cn-south-2",
    "cn-southwest-2",
    "eu-west-0",
    "la-north-2",
    "la-south-2",
    "me-east-1",
    "my-kualalumpur-1",
    "na-mexico-1",
    "ru-moscow-1",
    "sa-brazil-1",
    "tr-west-1",
];

/// A host's name has 253 characters at most, and a scheme and a port stand round it.
const LONGEST: usize = 300;

/// The clouds that speak this API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cloud {
    /// Huawei Cloud.
    Huawei,
    /// Open Telekom Cloud.
    Otc,
}

impl Cloud {
    /// Base URL of the VPN API in a region.
    pub fn vpn_endpoint(self, region: &str) -> Result<String, EndpointError> {
        let region = checked_region(region)?;
        Ok(match self {
            Self::Huawei => format!("https://vpn.{region}.myhuaweicloud.com"),
            Self::Otc => format!("https://vpn.{region}.otc.t-systems.com"),
        })
    }

    /// Base URL of IAM for a region.
    pub fn iam_endpoint(self, region: &str) -> Result<String, EndpointError> {
        let region = checked_region(region)?;
        Ok(match self {
            Self::Huawei if HUAWEI_REGIONAL_IAM.contains(&region) => format!("https://iam.{region}.myhuaweicloud.com"),
            Self::Huawei => "https://iam.myhuaweicloud.com".to_owned(),
            Self::Otc => format!("https://iam.{region}.otc.t-systems.com"),
        })
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
    #[error("an endpoint has at most {LONGEST} characters, but this one goes on after {0:?}")]
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
    fn templates_know_the_clouds_and_which_regions_have_their_own_iam() {
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
                "https://iam.myhuaweicloud.com",
            ),
            (
                Cloud::Huawei,
                "cn-north-11",
                "https://vpn.cn-north-11.myhuaweicloud.com",
                "https://iam.myhuaweicloud.com",
            ),
            (
                Cloud::Otc,
                "eu-de",
                "https://vpn.eu-de.otc.t-systems.com",
                "https://iam.eu-de.otc.t-systems.com",
            ),
        ] {
            assert_eq!(cloud.vpn_endpoint(region).as_deref(), Ok(vpn));
            assert_eq!(cloud.iam_endpoint(region).as_deref(), Ok(iam));
        }
    }

    #[test]
    fn a_region_cannot_aim_the_template_at_another_host() {
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

    #[test]
    fn names_of_clouds_are_read_as_they_are_written() {
        for cloud in [Cloud::Huawei, Cloud::Otc] {
            assert_eq!(cloud.to_string().parse(), Ok(cloud));
        }
        let error = "aws".parse::<Cloud>().expect_err("not ours").to_string();
        assert!(error.contains("\"aws\"") && error.contains("huawei and otc"), "{error}");
    }

    #[test]
    fn a_good_endpoint_comes_out_in_one_form() {
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
    fn a_bad_endpoint_is_told_what_is_allowed_and_its_password_is_not_repeated() {
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
