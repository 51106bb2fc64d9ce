//! Resolves a credentials Secret, or the default credentials, to keys and endpoints.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use thiserror::Error;
use vpn_cloud::credentials::keys::{DefaultCredentials, DefaultCredentialsError};
use vpn_cloud::regions::endpoints;
use vpn_cloud::regions::endpoints::EndpointError;
use vpn_cloud::resources::iam;
use vpn_cloud::{Cloud, Credentials};
use vpn_core::api::conditions::{ReadyCondition, Reason};
use vpn_core::terms::failure::{Failure, POLL, user_action};

use crate::settings::OperatorSettings;

/// The keys of a credentials Secret.
pub(crate) const SECRET_KEYS: [&str; 7] = [
    "accessKey",
    "secretKey",
    "securityToken",
    "projectID",
    "region",
    "endpoint",
    "iamEndpoint",
];

/// The checked content of a credential.
#[derive(Clone)]
pub struct ResolvedCredential {
    /// What requests are signed with.
    pub keys: Arc<Credentials>,
    /// Base URL of the VPN service.
    pub vpn_endpoint: String,
    /// Base URL of IAM, which the look-up of the project needs.
    pub iam_endpoint: Option<String>,
    /// Names the project for its look-up.
    pub region: Option<String>,
    /// `None`: looked up by the region.
    pub project_id: Option<String>,
    /// Its source, for messages.
    pub origin: String,
    /// Namespace and name of the Secret that it comes from.
    pub secret: Option<(String, String)>,
}

impl ResolvedCredential {
    /// Equal for equal content, independent of the source.
    pub fn fingerprint(&self) -> [u8; 32] {
        fingerprint(&[
            &self.key_fingerprint(),
            self.region.as_deref().unwrap_or_default().as_bytes(),
            self.project_id.as_deref().unwrap_or_default().as_bytes(),
        ])
    }

    /// Equal where the cloud counts bad signatures together: the same keys, sent to the same endpoints.
    pub(crate) fn key_fingerprint(&self) -> [u8; 32] {
        let token = self.keys.security_token.as_ref();
        fingerprint(&[
            self.keys.access_key.as_bytes(),
            self.keys.secret_key.expose_secret().as_bytes(),
            token.map(ExposeSecret::expose_secret).unwrap_or_default().as_bytes(),
            self.vpn_endpoint.as_bytes(),
            self.iam_endpoint.as_deref().unwrap_or_default().as_bytes(),
        ])
    }
}

fn fingerprint(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// Returns the default credentials, if `namespace` may use them.
pub fn own(
    settings: &OperatorSettings,
    namespace: &str,
    read: Result<DefaultCredentials, DefaultCredentialsError>,
) -> Result<ResolvedCredential, Failure> {
    if !settings.default_credentials_namespaces.contains(namespace) {
        return Err(user_action(
            Reason::Forbidden,
            format!(
                "objects in the namespace {namespace} may not use the default credentials \
                 (--default-credentials-namespace): name a Secret with spec.credentialsRef"
            ),
        ));
    }
    let read = read.map_err(|error| user_action(Reason::Unauthorized, error.to_string()))?;
    let region = settings.region.clone();
    let vpn_endpoint = settings
        .vpn_endpoint
        .clone()
        .map_or_else(|| template(settings.cloud, region.as_deref()), Ok);
    let vpn_endpoint = vpn_endpoint.map_err(|why| {
        user_action(
            Reason::InvalidSpec,
            format!("the default credentials have no endpoint: {why} (--region)"),
        )
    })?;
    // The flag was checked at the start; the file may change at any time.
    let in_file = read
        .iam_endpoint
        .map(|endpoint| endpoints::validate(&endpoint, settings.allow_insecure_endpoints))
        .transpose()
        .map_err(|error| {
            let message = format!("the default credentials: iam_endpoint: {error}");
            user_action(Reason::InvalidSpec, message)
        })?;
    let project_id = settings.project_id.clone().or(read.project_id);
    if project_id.as_deref().is_some_and(|id| !iam::is_project_id(id)) {
        let message = format!("the default credentials: project_id: {NO_PROJECT_ID}");
        return Err(user_action(Reason::InvalidSpec, message));
    }
    Ok(ResolvedCredential {
        keys: read.credentials,
        vpn_endpoint,
        iam_endpoint: settings
            .iam_endpoint
            .clone()
            .or(in_file)
            .or_else(|| iam_template(settings.cloud, region.as_deref())),
        region,
        project_id,
        origin: "the default credentials".to_owned(),
        secret: None,
    })
}

/// Reads a credentials Secret. `name` is `namespace/name`, for messages.
pub fn from_secret(
    settings: &OperatorSettings,
    name: &str,
    data: &BTreeMap<String, Vec<u8>>,
) -> Result<ResolvedCredential, Failure> {
    let text = |key: &str| text_of(name, data, key);
    let needed = |key: &str| -> Result<String, Failure> {
        text(key)?.ok_or_else(|| Failure {
            condition: ReadyCondition::new(
                Reason::SecretNotFound,
                format!(
                    "the Secret {name} has no key {key}, or it is empty: set it; the operator notices it immediately"
                ),
            ),
            backoff: POLL,
        })
    };
    let (access_key, secret_key) = (needed("accessKey")?, SecretString::from(needed("secretKey")?));
    let token = text("securityToken")?.map(SecretString::from);
    let keys = Credentials::new(access_key, secret_key, token).map_err(|error| {
        user_action(
            Reason::Unauthorized,
            format!("the Secret {name} cannot be used: {error}: correct it; the operator notices it immediately"),
        )
    })?;
    let named_region = text("region")?;
    let same_region = named_region.is_none() || named_region == settings.region;
    let region = named_region.or_else(|| settings.region.clone());
    let vpn_template = || template(settings.cloud, region.as_deref());
    let invalid = |key: &str, why: &dyn fmt::Display| {
        user_action(Reason::InvalidSpec, format!("the Secret {name}: {key}: {why}"))
    };
    if region.is_some() {
        // Host names and a lookup contain the region, whether or not an endpoint is given.
        vpn_template().map_err(|why| invalid("region", &why))?;
    }
    let checked = |key: &str, own: &Option<String>, template: Result<_, TemplateError>| -> Result<_, Failure> {
        if let Some(endpoint) = text(key)? {
            let endpoint = endpoints::validate(&endpoint, settings.allow_insecure_endpoints)
                .map_err(|error| invalid(key, &error))?;
            let is_own = own.as_ref() == Some(&endpoint) || template.as_ref() == Ok(&endpoint);
            if !is_own && !settings.allowed_endpoints.contains(&endpoint) {
                let why = format!("{key}: {endpoint} is not allowed: omit it, or allow it with --allowed-endpoint");
                return Err(user_action(Reason::Forbidden, format!("the Secret {name}: {why}")));
            }
            return Ok(endpoint);
        }
        match own {
            Some(own) if same_region => Ok(own.clone()),
            _ => template.map_err(|why| invalid("region", &why)),
        }
    };
    let vpn_endpoint = checked("endpoint", &settings.vpn_endpoint, vpn_template())?;
    let iam = iam_template(settings.cloud, region.as_deref()).ok_or(TemplateError::NoRegion);
    let project_id = text("projectID")?;
    if project_id.as_deref().is_some_and(|id| !iam::is_project_id(id)) {
        return Err(invalid("projectID", &NO_PROJECT_ID));
    }
    let iam_endpoint = match checked("iamEndpoint", &settings.iam_endpoint, iam) {
        Ok(endpoint) => Some(endpoint),
        // Not needed where the project is given.
        Err(_) if project_id.is_some() && text("iamEndpoint")?.is_none() => None,
        Err(failure) => return Err(failure),
    };
    Ok(ResolvedCredential {
        keys: Arc::new(keys),
        vpn_endpoint,
        iam_endpoint,
        region,
        project_id,
        origin: format!("the Secret {name}"),
        secret: namespace_and_name(name),
    })
}

/// The value of a key, without blanks around it; `None`: there is none.
fn text_of(name: &str, data: &BTreeMap<String, Vec<u8>>, key: &str) -> Result<Option<String>, Failure> {
    let Some(bytes) = data.get(key) else { return Ok(None) };
    match std::str::from_utf8(bytes).map(str::trim) {
        Ok("") => Ok(None),
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_) => Err(user_action(
            Reason::Unauthorized,
            format!("the Secret {name}: the key {key} is not text: correct it; the operator notices it immediately"),
        )),
    }
}

fn namespace_and_name(name: &str) -> Option<(String, String)> {
    let (namespace, name) = name.split_once('/')?;
    Some((namespace.to_owned(), name.to_owned()))
}

/// Does not repeat the value, which may be anything.
const NO_PROJECT_ID: &str =
    "a project id has 1 to 64 letters, digits and dashes, such as 0605767a5b0b3f5c2f3dc0123456789a";

/// Why the region gives no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
enum TemplateError {
    #[error("no region is set")]
    NoRegion,
    #[error(transparent)]
    Region(#[from] EndpointError),
}

fn template(cloud: Cloud, region: Option<&str>) -> Result<String, TemplateError> {
    Ok(cloud.vpn_endpoint(region.ok_or(TemplateError::NoRegion)?)?)
}

fn iam_template(cloud: Cloud, region: Option<&str>) -> Option<String> {
    cloud.iam_endpoint(region?).ok()
}
