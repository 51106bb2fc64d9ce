//! HTTP clients for loopback and for the one download.

use reqwest::ClientBuilder;

/// A client for any runtime: a kept connection would belong to the first runtime. It uses no
/// proxies, since all its servers are on this machine.
pub(crate) fn loopback_client() -> ClientBuilder {
    with_provider().no_proxy().pool_max_idle_per_host(0)
}

/// A client builder with the TLS provider in place.
pub(crate) fn with_provider() -> ClientBuilder {
    // An error means that the same provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
}
