//! What a kind may read for its spec: Secrets and the digest key here, other resources in `references`.

use std::sync::Arc;

use kube::Error;
use tokio::time::Instant;
use vpn_core::api::conditions::{ReadyCondition, Reason};
use vpn_core::cache::Urgency;
use vpn_core::terms::dereferenced::SecretRef;
use vpn_core::terms::failure::{Failure, POLL, user_action};
use vpn_core::terms::key::ObjectKey;
use vpn_core::terms::reference::Reference;
use vpn_core::terms::secret::SecretName;

use crate::reconcile::k8s::digest_key::{DigestKey, DigestKeys};
use crate::reconcile::k8s::secrets::{FoundSecret, SecretReader};
use crate::reconcile::session::project::Project;
use crate::reconcile::state::references::ReferenceUser;

/// Why a reference could not be read.
#[derive(Debug)]
pub(crate) enum DereferenceError {
    /// Something is wrong or missing.
    Failure(Box<Failure>),
    /// The cloud was read and does not have what the spec names.
    Absent(Box<Failure>),
    /// The read is in progress; the object is requeued when it ends.
    Waiting,
    /// A request to the apiserver failed.
    Kube(Error),
}

impl From<Failure> for DereferenceError {
    fn from(failure: Failure) -> Self {
        Self::Failure(Box::new(failure))
    }
}

impl From<Error> for DereferenceError {
    fn from(error: Error) -> Self {
        Self::Kube(error)
    }
}

/// The content of one key of a Secret. It has no Debug: it may be a password.
pub(crate) struct SecretValue {
    pub uid: String,
    pub resource_version: String,
    pub bytes: Vec<u8>,
}

/// Reads the references of one object.
pub(crate) struct Dereferencer<'a> {
    pub key: &'a ObjectKey,
    pub digest_keys: &'a DigestKeys,
    /// When this process started: it made every observation since then itself.
    pub started: Instant,
    pub secrets: &'a SecretReader,
    pub references: &'a ReferenceUser,
    /// The IDs that status has for references of a resource that exists.
    pub recorded: Vec<(Reference, String)>,
    /// Value of the annotation that requests a reconciliation.
    pub requested_at: Option<&'a str>,
    /// The project of the credentials.
    pub open: &'a Project,
    /// Reads of the cloud must have started at that time or later.
    pub since: Option<Instant>,
    /// Only an earlier reconciliation, which found something missing, requires a fresh read.
    pub waits: bool,
    /// Of the queries for this object.
    pub urgency: Urgency,
    /// Whether requests to the cloud are allowed yet.
    pub may_ask_cloud: bool,
}

impl Dereferencer<'_> {
    /// The object's name.
    pub(crate) fn object_name(&self) -> &str {
        &self.key.name
    }

    /// Reads a key of a Secret in the object's namespace.
    pub(crate) async fn secret(&self, reference: &SecretRef) -> Result<SecretValue, DereferenceError> {
        let field = format!("spec.{}", reference.field);
        if let Some(failure) = impossible_secret(&reference.name, &field) {
            return Err(failure.into());
        }
        let secret: SecretName = (self.key.namespace.clone(), reference.name.clone());
        let name = format!("{}/{}", secret.0, secret.1);
        let read = self.secrets.read(&secret, &[reference.key.as_str()]).await;
        let may = reading_a_secret(&secret, &field);
        let content = match read.map_err(|error| not_allowed(error, &may))? {
            FoundSecret::Present(content) => content,
            FoundSecret::Remembered(_) | FoundSecret::Absent => return Err(missing_secret(&name, &field, "").into()),
        };
        match content.data.get(&reference.key) {
            Some(bytes) => Ok(SecretValue {
                uid: content.uid.clone(),
                resource_version: content.resource_version.clone(),
                bytes: bytes.clone(),
            }),
            None => Err(missing_secret(&name, &field, &reference.key).into()),
        }
    }

    /// Returns the key of the digests in status.
    pub(crate) async fn digest_key(&self) -> Result<Arc<DigestKey>, DereferenceError> {
        let keys = self.digest_keys;
        keys.get().await.map_err(|error| {
            let (namespace, name) = keys.secret();
            let may = format!(
                "create, read and patch the Secret {namespace}/{name} with the key of its password digests: grant \
                 get, create and patch on secrets to its service account in the namespace {namespace}"
            );
            not_allowed(error, &may)
        })
    }
}

/// Turns a 403 of the apiserver into a failure with a message. Other errors stay errors of the apiserver.
fn not_allowed(error: Error, what: &str) -> DereferenceError {
    forbidden(error, what).map_or_else(DereferenceError::Kube, DereferenceError::from)
}

/// Returns the failure for a 403 of the apiserver, and other errors unchanged.
pub(crate) fn forbidden(error: Error, what: &str) -> Result<Failure, Error> {
    match error {
        Error::Api(status) if status.code == 403 => Ok(Failure {
            condition: ReadyCondition::new(
                Reason::Forbidden,
                format!("the operator may not {what}; it is tried again"),
            ),
            backoff: POLL,
        }),
        error => Err(error),
    }
}

/// Describes what is forbidden if the operator may not read the Secret of a field, and what to do about it.
pub(crate) fn reading_a_secret((namespace, name): &SecretName, field: &str) -> String {
    format!(
        "read the Secret {namespace}/{name}, which {field} names: grant get on secrets to its service account in the \
         namespace {namespace}"
    )
}

/// A name that an older CRD accepted, but no Secret can have, must not become part of a request's path.
pub(crate) fn impossible_secret(name: &str, field: &str) -> Option<Failure> {
    let is_inner = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-.".contains(letter);
    let is_possible = !name.is_empty() && name.chars().all(is_inner) && !name.starts_with('.') && !name.contains("..");
    (!is_possible).then(|| {
        let message = format!("{field} names the Secret {name:?}, but no Secret can have that name: correct it");
        user_action(Reason::InvalidSpec, message)
    })
}

/// Returns the failure for a Secret, or a key of it, that does not exist.
pub(crate) fn missing_secret(name: &str, field: &str, key: &str) -> Failure {
    let message = if key.is_empty() {
        format!(
            "the Secret {name}, which {field} names, does not exist: create it; the operator notices it immediately"
        )
    } else {
        format!("the Secret {name} has no key {key}, which {field} names: add it; the operator notices it immediately")
    };
    Failure {
        condition: ReadyCondition::new(Reason::SecretNotFound, message),
        backoff: POLL,
    }
}
