//! Which apiserver is asked, as whom, and through which proxy: a kubeconfig, else the pod's service account.
//!
//! kube itself matches `NO_PROXY` against the host of the proxy, the kubeconfig's own `proxy-url` included, and refuses the
//! whole kubeconfig for an item that it cannot read, such as an empty one. So the proxy is decided here.

use std::io;

use axum::http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use k8s_openapi::ByteString;
use kube::Config;
use kube::config::{Cluster, Context, InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use thiserror::Error;

/// Why there is no access to Kubernetes.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// There is no kubeconfig, and the process runs in no pod.
    #[error(transparent)]
    Inferred(#[from] InferConfigError),
    /// The kubeconfig is not complete.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    /// The kubeconfig has no valid CA certificates.
    #[error("the kubeconfig's certificate-authority cannot be read: {0}")]
    CertificateAuthority(#[from] AuthorityError),
    /// The proxy, without its user name and password.
    #[error("the proxy {0:?} is not a URL such as http://proxy:3128")]
    Proxy(String),
}

/// What is wrong with the CA certificates of a kubeconfig.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// The data is not base64.
    #[error(transparent)]
    Data(#[from] serde_json::Error),
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] io::Error),
    /// The content is not PEM.
    #[error(transparent)]
    Pem(#[from] pem::Error),
}

/// The kubeconfig that `KUBECONFIG` or `~/.kube/config` names, else the pod's service account.
pub(crate) async fn infer() -> Result<Config, ConfigError> {
    // Without a usable one it is a pod's own access, or an error that says what is wrong with both.
    let Ok(kubeconfig) = Kubeconfig::read() else {
        return Ok(Config::infer().await?);
    };
    let mut config = match Config::from_custom_kubeconfig(kubeconfig.clone(), &KubeConfigOptions::default()).await {
        Ok(config) => config,
        Err(KubeconfigError::ParseNoProxy(_)) => without_proxy(kubeconfig.clone())?,
        Err(_) => return Ok(Config::infer().await?),
    };
    config.apply_debug_overrides();
    let own = current(kubeconfig).ok().and_then(|(_, cluster)| cluster.proxy_url);
    config.proxy_url = proxy(own, &config.cluster_url, |name| std::env::var(name).ok())?;
    Ok(config)
}

/// The proxy for an apiserver: the kubeconfig's own, else the one that the environment names for such URLs, unless
/// `NO_PROXY` exempts the apiserver's host.
fn proxy(
    own: Option<String>,
    apiserver: &Uri,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Uri>, ConfigError> {
    let given = |name: &str| {
        let value = variable(name).or_else(|| variable(&name.to_lowercase()));
        value
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    };
    if let Some(own) = own.filter(|own| !own.trim().is_empty()) {
        return url(own.trim()).map(Some);
    }
    let name = match apiserver.scheme_str() {
        Some("http") => "HTTP_PROXY",
        _ => "HTTPS_PROXY",
    };
    let Some(proxy) = given(name) else { return Ok(None) };
    let url = url(&proxy)?;
    // Its credentials are of no interest to the rules, which any proxy would do for.
    let rules = Matcher::builder()
        .all("http://proxy")
        .no(given("NO_PROXY").unwrap_or_default());
    Ok(rules.build().intercept(apiserver).map(|_| url))
}

fn url(text: &str) -> Result<Uri, ConfigError> {
    let url = match text.contains("://") {
        true => text.parse::<Uri>(),
        false => format!("http://{text}").parse(),
    };
    // What it says may hold a password.
    let shown = || text.rsplit('@').next().unwrap_or_default().to_owned();
    url.ok()
        .filter(|url| url.host().is_some_and(|host| !host.is_empty()))
        .ok_or_else(|| ConfigError::Proxy(shown()))
}

/// As kube makes it, without a proxy.
fn without_proxy(kubeconfig: Kubeconfig) -> Result<Config, ConfigError> {
    let (context, cluster) = current(kubeconfig.clone())?;
    let server = cluster.server.clone().ok_or(KubeconfigError::MissingClusterUrl)?;
    let mut config = Config::new(server.parse().map_err(KubeconfigError::ParseClusterUrl)?);
    let mut users = kubeconfig.auth_infos.into_iter();
    let user = context.user.and_then(|user| users.find(|named| named.name == user));
    config.auth_info = user.and_then(|named| named.auth_info).unwrap_or_default();
    if let Some(exec) = &mut config.auth_info.exec
        && exec.provide_cluster_info
    {
        exec.cluster = Some((&cluster).try_into()?);
    }
    config.root_cert = certificates(&cluster)?;
    config.accept_invalid_certs = cluster.insecure_skip_tls_verify.unwrap_or(false);
    config.disable_compression = cluster.disable_compression.unwrap_or(false);
    config.tls_server_name = cluster.tls_server_name;
    config.default_namespace = context.namespace.unwrap_or(config.default_namespace);
    Ok(config)
}

/// The current context and its cluster.
fn current(kubeconfig: Kubeconfig) -> Result<(Context, Cluster), KubeconfigError> {
    let name = kubeconfig
        .current_context
        .ok_or(KubeconfigError::CurrentContextNotSet)?;
    let mut contexts = kubeconfig.contexts.into_iter();
    let context = contexts
        .find(|named| named.name == name)
        .and_then(|named| named.context);
    let context = context.ok_or(KubeconfigError::LoadContext(name))?;
    let mut clusters = kubeconfig.clusters.into_iter();
    let cluster = clusters.find(|named| named.name == context.cluster);
    let cluster = cluster.and_then(|named| named.cluster);
    let cluster = cluster.ok_or_else(|| KubeconfigError::LoadClusterOfContext(context.cluster.clone()))?;
    Ok((context, cluster))
}

fn certificates(cluster: &Cluster) -> Result<Option<Vec<Vec<u8>>>, AuthorityError> {
    let pem = if let Some(data) = &cluster.certificate_authority_data {
        serde_json::from_value::<ByteString>(data.as_str().into())?.0
    } else if let Some(file) = &cluster.certificate_authority {
        std::fs::read(file)?
    } else {
        return Ok(None);
    };
    let certificates = CertificateDer::pem_slice_iter(&pem).map(|der| der.map(|der| der.to_vec()));
    Ok(Some(certificates.collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(own: &str, apiserver: &str, environment: &[(&str, &str)]) -> Option<String> {
        let variable = |name: &str| {
            let mut found = environment.iter().filter(|(given, _)| *given == name);
            found.next().map(|(_, value)| (*value).to_owned())
        };
        let own = (!own.is_empty()).then(|| own.to_owned());
        let proxy = proxy(own, &apiserver.parse().unwrap(), variable).unwrap();
        proxy.map(|proxy| proxy.to_string())
    }

    #[test]
    fn no_proxy_is_matched_against_the_host_of_the_apiserver() {
        let apiserver = "https://api.cluster.example:6443";
        for (no_proxy, is_proxied) in [
            ("", true),
            (",", true),
            ("*", false),
            ("proxy.example", true),
            ("proxy.example,,", true),
            ("10.0.0.0/8", true),
            ("api.cluster.example", false),
            ("API.cluster.example", false),
            (" , api.cluster.example ,", false),
            ("cluster.example", false),
            (".cluster.example", false),
            ("er.example", true),
            ("api.cluster.example.org", true),
        ] {
            let environment = [("HTTPS_PROXY", "http://proxy.example:3128"), ("NO_PROXY", no_proxy)];
            let expected = is_proxied.then_some("http://proxy.example:3128/");
            assert_eq!(chosen("", apiserver, &environment).as_deref(), expected, "{no_proxy:?}");
        }
        for (apiserver, no_proxy, is_proxied) in [
            ("https://10.1.2.3:6443", "10.0.0.0/8", false),
            ("https://11.1.2.3:6443", "10.0.0.0/8", true),
            ("https://10.1.2.3:6443", "10.1.2.3", false),
            ("https://[fd00::1]:6443", "fd00::/8", false),
            ("https://[fd00::1]:6443", "fd01::1", true),
        ] {
            let environment = [("HTTPS_PROXY", "http://proxy.example:3128"), ("NO_PROXY", no_proxy)];
            let proxy = chosen("", apiserver, &environment);
            assert_eq!(proxy.is_some(), is_proxied, "{apiserver} {no_proxy:?}");
        }
    }

    #[test]
    fn the_kubeconfig_proxy_overrides_the_environment_proxies() {
        let own = "http://user:pa%40ss@own.example:8080";
        let everything = [
            ("HTTPS_PROXY", "http://secure.example:1"),
            ("HTTP_PROXY", "plain.example:2"),
            ("NO_PROXY", "*"),
        ];
        assert_eq!(chosen(own, "https://api", &everything), Some(format!("{own}/")));
        let [secure, plain, _] = everything;
        let both = [secure, plain];
        for (apiserver, expected) in [
            ("https://api", "http://secure.example:1/"),
            ("http://api", "http://plain.example:2/"),
        ] {
            assert_eq!(chosen("", apiserver, &both).as_deref(), Some(expected));
        }
        assert_eq!(chosen("", "https://api", &[plain]), None);
        let lower = [("https_proxy", "http://low.example:3"), ("no_proxy", "api")];
        assert_eq!(chosen(" ", "https://api", &lower), None);
        assert_eq!(
            chosen("", "https://other", &lower).as_deref(),
            Some("http://low.example:3/")
        );
        assert_eq!(chosen("", "https://other", &[("HTTPS_PROXY", " ")]), None);
    }

    #[test]
    fn an_invalid_proxy_url_is_reported_without_its_password() {
        for text in ["http://", "user:hunter2@a b", "http://user:hunter2@a b"] {
            let error = url(text).unwrap_err().to_string();
            assert!(error.starts_with("the proxy ") && !error.contains("hunter2"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_kubeconfig_is_read_like_in_kube() {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["api".to_owned()]).unwrap();
        let file = folder.path().join("ca.crt");
        std::fs::write(&file, made.cert.pem()).unwrap();
        let data = serde_json::to_value(ByteString(made.cert.pem().into_bytes())).unwrap();
        let document = |authority: serde_json::Value| {
            let mut cluster = serde_json::json!({"server": "https://api:6443", "tls-server-name": "other"});
            cluster
                .as_object_mut()
                .unwrap()
                .extend(authority.as_object().unwrap().clone());
            let exec = serde_json::json!({
                "apiVersion": "client.authentication.k8s.io/v1", "command": "true", "interactiveMode": "Never",
                "provideClusterInfo": true,
            });
            // The first of each is not the current one.
            serde_json::json!({
                "current-context": "c",
                "contexts": [
                    {"name": "other", "context": {"cluster": "other", "user": "other", "namespace": "other"}},
                    {"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "team"}},
                ],
                "clusters": [
                    {"name": "other", "cluster": {"server": "https://other:6443", "insecure-skip-tls-verify": true}},
                    {"name": "k", "cluster": cluster},
                ],
                "users": [
                    {"name": "other", "user": {"token": "other"}},
                    {"name": "u", "user": {"token": "sentinel", "exec": exec}},
                ],
            })
        };
        for authority in [
            serde_json::json!({"certificate-authority": file}),
            serde_json::json!({"certificate-authority-data": data, "insecure-skip-tls-verify": false}),
            serde_json::json!({
                "certificate-authority-data": data, "insecure-skip-tls-verify": true, "disable-compression": true,
            }),
        ] {
            let kubeconfig: Kubeconfig = serde_json::from_value(document(authority)).unwrap();
            let options = KubeConfigOptions::default();
            let kubes = Config::from_custom_kubeconfig(kubeconfig.clone(), &options).await;
            let (kubes, ours) = (kubes.unwrap(), without_proxy(kubeconfig).unwrap());
            assert_eq!(ours.cluster_url, kubes.cluster_url);
            assert_eq!(ours.root_cert, kubes.root_cert);
            assert_eq!(ours.root_cert.as_ref().map(Vec::len), Some(1));
            assert_eq!(ours.default_namespace, kubes.default_namespace);
            assert_eq!(ours.tls_server_name, kubes.tls_server_name);
            assert_eq!(ours.accept_invalid_certs, kubes.accept_invalid_certs);
            assert_eq!(ours.disable_compression, kubes.disable_compression);
            assert_eq!(
                serde_json::to_value(&ours.auth_info).unwrap(),
                serde_json::to_value(&kubes.auth_info).unwrap()
            );
            let cluster = |config: &Config| format!("{:?}", config.auth_info.exec.as_ref().map(|exec| &exec.cluster));
            assert!(cluster(&ours).contains("https://api:6443"), "{}", cluster(&ours));
            assert_eq!(cluster(&ours), cluster(&kubes));
            assert_eq!(ours.proxy_url, None);
        }
    }
}
