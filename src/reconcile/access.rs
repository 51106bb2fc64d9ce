//! From a credentials Secret, or the operator's own credentials, to what can be sent where.

use std::collections::BTreeMap;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::api::conditions::{Reason, Verdict};
use crate::cloud::credentials::{OwnCredentials, OwnCredentialsError};
use crate::cloud::{Cloud, Credentials, endpoints, iam};
use crate::settings::Settings;

use super::decide::{PERSON, Trouble, WAIT};

/// The keys of a credentials Secret.
pub const SECRET_KEYS: [&str; 7] = [
    "accessKey",
    "secretKey",
    "securityToken",
    "projectID",
    "region",
    "endpoint",
    "iamEndpoint",
];

/// Everything that a credential says, checked.
#[derive(Clone)]
pub struct Credential {
    pub keys: Arc<Credentials>,
    pub vpn_endpoint: String,
    pub iam_endpoint: Option<String>,
    pub region: Option<String>,
    pub project_id: Option<String>,
    /// For people: where it comes from.
    pub origin: String,
    /// Namespace and name of the Secret that it comes from.
    pub secret: Option<(String, String)>,
}

impl Credential {
    /// Equal for equal content, wherever it comes from.
    pub fn fingerprint(&self) -> [u8; 32] {
        fingerprint(&[
            &self.key_fingerprint(),
            self.region.as_deref().unwrap_or_default().as_bytes(),
            self.project_id.as_deref().unwrap_or_default().as_bytes(),
        ])
    }

    /// Equal where the cloud counts bad signatures together: the same keys, shown to the same cloud.
    pub fn key_fingerprint(&self) -> [u8; 32] {
        let token = self.keys.security_token.as_ref();
        fingerprint(&[
            self.keys.access_key.as_bytes(),
            self.keys.secret_key.expose_secret().as_bytes(),
            token.map(|token| token.expose_secret()).unwrap_or_default().as_bytes(),
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

/// The operator's own credentials, as a namespace may use them.
pub fn own(
    settings: &Settings,
    namespace: &str,
    read: Result<OwnCredentials, OwnCredentialsError>,
) -> Result<Credential, Trouble> {
    if !settings.own_credentials_namespaces.contains(namespace) {
        return Err(person(
            Reason::Forbidden,
            format!(
                "objects in the namespace {namespace} may not use the operator's own credentials \
                 (--own-credentials-namespace): name a Secret with spec.credentialsRef"
            ),
        ));
    }
    let read = read.map_err(|error| person(Reason::Unauthorized, error.to_string()))?;
    let region = settings.region.clone();
    let vpn_endpoint = settings
        .vpn_endpoint
        .clone()
        .map_or_else(|| template(settings.cloud, &region), Ok);
    let vpn_endpoint = vpn_endpoint.map_err(|why| {
        person(
            Reason::InvalidSpec,
            format!("the operator's own credentials have no endpoint: {why} (--region)"),
        )
    })?;
    // The flag was checked at the start; the file may change at any time.
    let in_file = read
        .iam_endpoint
        .map(|endpoint| endpoints::validate(&endpoint, settings.allow_insecure_endpoints))
        .transpose()
        .map_err(|error| {
            let message = format!("the operator's own credentials: iam_endpoint: {error}");
            person(Reason::InvalidSpec, message)
        })?;
    let project_id = settings.project_id.clone().or(read.project_id);
    if project_id.as_deref().is_some_and(|id| !iam::is_project_id(id)) {
        let message = format!("the operator's own credentials: project_id: {NO_PROJECT_ID}");
        return Err(person(Reason::InvalidSpec, message));
    }
    Ok(Credential {
        keys: read.credentials,
        vpn_endpoint,
        iam_endpoint: settings
            .iam_endpoint
            .clone()
            .or(in_file)
            .or_else(|| iam_template(settings.cloud, &region)),
        region,
        project_id,
        origin: "the operator's own credentials".to_owned(),
        secret: None,
    })
}

/// A credentials Secret. `name` is `namespace/name`, for messages.
pub fn from_secret(settings: &Settings, name: &str, data: &BTreeMap<String, Vec<u8>>) -> Result<Credential, Trouble> {
    let text = |key: &str| -> Result<Option<String>, Trouble> {
        let Some(bytes) = data.get(key) else { return Ok(None) };
        let text = std::str::from_utf8(bytes).map(str::trim).ok();
        match text {
            Some("") => Ok(None),
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(person(
                Reason::Unauthorized,
                format!("the Secret {name}: the key {key} is no text: correct it; it is picked up at once"),
            )),
        }
    };
    let needed = |key: &str| -> Result<String, Trouble> {
        text(key)?.ok_or_else(|| Trouble {
            verdict: Verdict::new(
                Reason::SecretNotFound,
                format!("the Secret {name} has no key {key}, or it is empty: set it; it is picked up at once"),
            ),
            pace: WAIT,
        })
    };
    let (access_key, secret_key) = (needed("accessKey")?, SecretString::from(needed("secretKey")?));
    let token = text("securityToken")?.map(SecretString::from);
    let keys = Credentials::new(access_key, secret_key, token).map_err(|error| {
        person(
            Reason::Unauthorized,
            format!("the Secret {name} cannot be used: {error}: correct it; it is picked up at once"),
        )
    })?;
    let named_region = text("region")?;
    let same_region = named_region.is_none() || named_region == settings.region;
    let region = named_region.or_else(|| settings.region.clone());
    let invalid = |key: &str, why: String| person(Reason::InvalidSpec, format!("the Secret {name}: {key}: {why}"));
    if region.is_some() {
        // It stands in host names and in a look-up, whether or not an endpoint is given.
        template(settings.cloud, &region).map_err(|why| invalid("region", why))?;
    }
    let checked = |key: &str, own: &Option<String>, template: Result<String, String>| -> Result<String, Trouble> {
        if let Some(endpoint) = text(key)? {
            let endpoint = endpoints::validate(&endpoint, settings.allow_insecure_endpoints)
                .map_err(|error| invalid(key, error.to_string()))?;
            let is_own = own.as_ref() == Some(&endpoint) || template.as_ref() == Ok(&endpoint);
            if !is_own && !settings.allowed_endpoints.contains(&endpoint) {
                let why =
                    format!("{endpoint} is not allowed: leave it out, or have it allowed with --allowed-endpoint");
                return Err(person(Reason::Forbidden, format!("the Secret {name}: {key}: {why}")));
            }
            return Ok(endpoint);
        }
        match own {
            Some(own) if same_region => Ok(own.clone()),
            _ => template.map_err(|why| invalid("region", why)),
        }
    };
    let vpn_endpoint = checked("endpoint", &settings.vpn_endpoint, template(settings.cloud, &region))?;
    let iam = iam_template(settings.cloud, &region).ok_or_else(|| "no region is set".to_owned());
    let project_id = text("projectID")?;
    if project_id.as_deref().is_some_and(|id| !iam::is_project_id(id)) {
        return Err(invalid("projectID", NO_PROJECT_ID.to_owned()));
    }
    let iam_endpoint = match checked("iamEndpoint", &settings.iam_endpoint, iam) {
        Ok(endpoint) => Some(endpoint),
        // Not needed where the project is given.
        Err(_) if project_id.is_some() && text("iamEndpoint")?.is_none() => None,
        Err(trouble) => return Err(trouble),
    };
    Ok(Credential {
        keys: Arc::new(keys),
        vpn_endpoint,
        iam_endpoint,
        region,
        project_id,
        origin: format!("the Secret {name}"),
        secret: name
            .split_once('/')
            .map(|(namespace, name)| (namespace.to_owned(), name.to_owned())),
    })
}

/// The value is not repeated: it may be anything.
const NO_PROJECT_ID: &str =
    "a project id has 1 to 64 letters, digits and dashes, such as 0605767a5b0b3f5c2f3dc0123456789a";

fn template(cloud: Cloud, region: &Option<String>) -> Result<String, String> {
    let region = region.as_deref().ok_or("no region is set")?;
    cloud.vpn_endpoint(region).map_err(|error| error.to_string())
}

fn iam_template(cloud: Cloud, region: &Option<String>) -> Option<String> {
    cloud.iam_endpoint(region.as_deref()?).ok()
}

/// Only a person can mend it.
pub fn person(reason: Reason, message: impl Into<String>) -> Trouble {
    Trouble {
        verdict: Verdict::new(reason, message),
        pace: PERSON,
    }
}
