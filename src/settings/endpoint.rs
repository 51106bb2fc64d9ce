//! The base URL of a cloud service, in one spelling, so that two of them can be compared.

use std::fmt;

use thiserror::Error;
use url::Url;

/// `scheme://host[:port]`, lower case, without the scheme's usual port and without a trailing slash.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint(String);

/// Why a text is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EndpointError {
    #[error("is not a URL ({0}); write it as https://HOST")]
    NotAUrl(url::ParseError),
    #[error("must begin with https://")]
    WrongScheme,
    #[error("must not carry a user name or password")]
    Credentials,
    #[error("must end after host and port: no path, query or fragment")]
    Tail,
}

impl Endpoint {
    /// Reads `https://…` or `http://…`; whether the latter is welcome is the caller's matter.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let url = Url::parse(text).map_err(EndpointError::NotAUrl)?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(EndpointError::WrongScheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EndpointError::Credentials);
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(EndpointError::Tail);
        }
        Ok(Self(url.origin().ascii_serialization()))
    }

    /// The URL, without a trailing slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether requests to it travel unencrypted.
    pub fn is_insecure(&self) -> bool {
        self.0.starts_with("http://")
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_endpoint_has_one_spelling() {
        for text in [
            "https://vpn.example.com",
            "https://VPN.example.com/",
            "https://vpn.example.com:443",
        ] {
            assert_eq!(
                Endpoint::parse(text).unwrap().as_str(),
                "https://vpn.example.com",
                "{text}"
            );
        }
        assert_eq!(
            Endpoint::parse("http://[::1]:8180/").unwrap().as_str(),
            "http://[::1]:8180"
        );
    }

    #[test]
    fn what_is_more_or_less_than_a_base_url_is_refused() {
        assert!(matches!(
            Endpoint::parse("vpn.example.com"),
            Err(EndpointError::NotAUrl(_))
        ));
        assert!(matches!(Endpoint::parse(""), Err(EndpointError::NotAUrl(_))));
        assert_eq!(Endpoint::parse("vpn.example.com:443"), Err(EndpointError::WrongScheme));
        assert_eq!(
            Endpoint::parse("ftp://vpn.example.com"),
            Err(EndpointError::WrongScheme)
        );
        assert_eq!(
            Endpoint::parse("https://u:p@vpn.example.com"),
            Err(EndpointError::Credentials)
        );
        assert_eq!(Endpoint::parse("https://vpn.example.com/v5"), Err(EndpointError::Tail));
        assert_eq!(Endpoint::parse("https://vpn.example.com?x=1"), Err(EndpointError::Tail));
        assert_eq!(Endpoint::parse("https://vpn.example.com#x"), Err(EndpointError::Tail));
    }

    #[test]
    fn plain_http_is_told_apart() {
        assert!(Endpoint::parse("http://127.0.0.1:8180").unwrap().is_insecure());
        assert!(!Endpoint::parse("https://127.0.0.1:8180").unwrap().is_insecure());
    }
}
