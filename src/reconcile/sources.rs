//! What a kind may read for its extras: Secrets, the digest key, and the groups of a VPN server.

use std::sync::Arc;
use std::time::Duration;

use kube::Error;
use tokio::time::Instant;

use super::access::person;
use super::context::Context;
use super::decide::{AGAIN, Trouble, WAIT};
use super::digest_key::DigestKey;
use super::key::Key;
use super::kind::SecretRef;
use super::secrets::{Found, SecretName, SecretReader};
use super::tenant::{Open, trouble};
use crate::api::conditions::{Reason, Verdict};
use crate::cloud::user_groups::UserGroup;
use crate::mirror::Look;

/// For so long those who wait for a group share one list of them.
const SHARED_FOR: Duration = WAIT.first;

/// Why extras are not there.
#[derive(Debug)]
pub enum Lack {
    /// Something is wrong or missing.
    Trouble(Box<Trouble>),
    /// What the spec names was looked for in the cloud, and is not there.
    Absent(Box<Trouble>),
    /// They are being read; the object is woken when they are in.
    Waiting,
    /// The apiserver refused to answer.
    Kube(Error),
}

impl From<Trouble> for Lack {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(Box::new(trouble))
    }
}

impl From<Error> for Lack {
    fn from(error: Error) -> Self {
        Self::Kube(error)
    }
}

/// The content of one key of a Secret. It has no Debug: it may be a password.
pub struct SecretValue {
    pub uid: String,
    pub resource_version: String,
    pub bytes: Vec<u8>,
}

/// Reads for one object.
pub struct Sources<'a> {
    pub context: &'a Context,
    pub key: &'a Key,
    pub secrets: &'a SecretReader,
    /// What a person asked for last, by the annotation.
    pub requested_at: Option<&'a str>,
    /// Where the credentials lead.
    pub open: &'a Open,
    /// Answers of the cloud must have been started at that time or later.
    pub since: Option<Instant>,
    /// Nothing has asked for attention but an earlier pass, which found something missing.
    pub waits: bool,
    /// Whether the cloud may be asked yet.
    pub may_ask_cloud: bool,
}

impl Sources<'_> {
    /// The object's name.
    pub fn object_name(&self) -> &str {
        &self.key.name
    }

    /// A key of a Secret in the object's namespace.
    pub async fn secret(&self, reference: &SecretRef) -> Result<SecretValue, Lack> {
        let field = format!("spec.{}", reference.field);
        if let Some(trouble) = impossible_secret(&reference.name, &field) {
            return Err(trouble.into());
        }
        let secret: SecretName = (self.key.namespace.clone(), reference.name.clone());
        let name = format!("{}/{}", secret.0, secret.1);
        let read = self.secrets.read(&secret, &[reference.key.as_str()]).await;
        let may = reading_a_secret(&secret, &field);
        let content = match read.map_err(|error| not_allowed(error, &may))? {
            Found::Present(content) => content,
            Found::Remembered(_) | Found::Absent => return Err(missing_secret(&name, &field, "").into()),
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

    /// The key of the digests in status.
    pub async fn digest_key(&self) -> Result<Arc<DigestKey>, Lack> {
        let keys = &self.context.digest_keys;
        keys.get().await.map_err(|error| {
            let (namespace, name) = keys.secret();
            let may = format!(
                "make, read and change the Secret {namespace}/{name}, under whose key it remembers passwords: have get, \
                 create and patch of secrets granted to its service account in the namespace {namespace}"
            );
            not_allowed(error, &may)
        })
    }

    /// The group of that name on a server, as of the time that counts; it is followed from now on.
    pub fn group(&self, server: &str, name: &str) -> Result<Option<UserGroup>, Lack> {
        if !self.may_ask_cloud {
            return Err(Lack::Waiting);
        }
        let server = self.open.server(server, self.key);
        let groups = server.groups();
        if let Some(error) = groups.take_failure(self.key) {
            return Err(trouble(&error).into());
        }
        let since = self.since.unwrap_or(self.context.started);
        // Many may wait for one group: what one of them has read is recent enough for all.
        let since = if self.waits {
            since.checked_sub(SHARED_FOR).unwrap_or(since)
        } else {
            since
        };
        let listed = groups.known().listed(Some(since)).filter(|listed| listed.fresh);
        let Some(listed) = listed else {
            groups.want(self.key.clone(), Look::Collection, since);
            return Err(Lack::Waiting);
        };
        let mut known = groups.known();
        let found = known
            .find(|group| group.name.as_deref() == Some(name))
            .into_iter()
            .next();
        known.watch(self.key, found.as_ref().map(|group| group.id.as_str()));
        let is_any_nameless = || !known.find(|group| group.name.is_none()).is_empty();
        if found.is_none() && (!listed.complete || is_any_nameless()) {
            return Err(unknown_group(name).into());
        }
        Ok(found)
    }
}

/// A list that lacks groups does not prove that there is none of a name.
fn unknown_group(name: &str) -> Trouble {
    let message = format!(
        "spec.userGroupName: whether there is a user group {name} is not known: the cloud's list of groups is incomplete, or \
         has one whose name cannot be read; it is read again"
    );
    Trouble {
        verdict: Verdict::new(Reason::CloudError, message),
        pace: AGAIN,
    }
}

/// What the apiserver forbids to the operator, in words; anything else is the apiserver's trouble.
fn not_allowed(error: Error, what: &str) -> Lack {
    forbidden(error, what).map_or_else(Lack::Kube, Lack::from)
}

/// The same outside of extras.
pub fn forbidden(error: Error, what: &str) -> Result<Trouble, Error> {
    match error {
        Error::Api(status) if status.code == 403 => Ok(Trouble {
            verdict: Verdict::new(
                Reason::Forbidden,
                format!("the operator may not {what}; it is tried again"),
            ),
            pace: WAIT,
        }),
        error => Err(error),
    }
}

/// What is forbidden where a Secret that a field names may not be read, and what to do about it.
pub fn reading_a_secret((namespace, name): &SecretName, field: &str) -> String {
    format!(
        "read the Secret {namespace}/{name}, which {field} names: have get of secrets granted to its service account in the \
         namespace {namespace}"
    )
}

/// A name that an older CRD let through and that no Secret can have must not become part of a request's path.
pub fn impossible_secret(name: &str, field: &str) -> Option<Trouble> {
    let is_inner = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-.".contains(letter);
    let is_possible = !name.is_empty() && name.chars().all(is_inner) && !name.starts_with('.') && !name.contains("..");
    (!is_possible).then(|| {
        let message = format!("{field} names the Secret {name:?}, but no Secret can have that name: correct it");
        person(Reason::InvalidSpec, message)
    })
}

/// A Secret, or a key of it, that is not there.
pub fn missing_secret(name: &str, field: &str, key: &str) -> Trouble {
    let message = if key.is_empty() {
        format!("the Secret {name}, which {field} names, does not exist: create it; it is picked up at once")
    } else {
        format!("the Secret {name} has no key {key}, which {field} names: add it; it is picked up at once")
    };
    Trouble {
        verdict: Verdict::new(Reason::SecretNotFound, message),
        pace: WAIT,
    }
}
