//! HTTP clients for loopback and for the one download.

use reqwest::ClientBuilder;

/// A client that works on whichever runtime uses it: a kept connection would belong to the first
/// one. It knows no proxies, since all it asks is on this machine.
pub(crate) fn loopback_client() -> ClientBuilder {
    with_provider().no_proxy().pool_max_idle_per_host(0)
}

/// A client builder with the TLS provider in place.
pub(crate) fn with_provider() -> ClientBuilder {
    // An error means that somebody else was first, with the same provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
}
