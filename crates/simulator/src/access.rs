//! Authentication and permissions: access keys with their lock, users and tokens.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};

use crate::admin::{CredentialDump, CredentialSpec, Permissions, UserSpec};
use crate::auth::IncomingRequest;
use crate::refusal::ApiRefusal;

/// More bad signatures in a row than this lock an access key.
const FAILURES_BORNE: u32 = 5;

const LOCK_TIME: SignedDuration = SignedDuration::from_mins(5);

const TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(24);

/// The sender of a request.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Set for a token.
    pub user: Option<String>,
    permissions: Permissions,
    /// For a token: the one project that it is valid for.
    project_id: Option<String>,
}

impl Caller {
    pub(crate) fn may_do(&self, action: &str) -> bool {
        let covers = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => action.starts_with(start),
            None => pattern == action,
        };
        action.is_empty()
            || (self.permissions.allowed_actions.iter().any(covers)
                && !self.permissions.denied_actions.iter().any(covers))
    }

    pub(crate) fn may_reach(&self, project_id: &str) -> bool {
        self.permissions
            .projects
            .as_ref()
            .is_none_or(|projects| projects.contains(project_id))
            && (self.user.is_none() || self.project_id.as_deref() == Some(project_id))
    }
}

#[derive(Debug)]
struct StoredCredential {
    spec: CredentialSpec,
    expires_at: Option<Timestamp>,
    failures: u32,
    locked_until: Option<Timestamp>,
}

#[derive(Debug)]
struct Token {
    user: String,
    project_id: Option<String>,
    expires_at: Timestamp,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct IdentityStore {
    credentials: BTreeMap<String, StoredCredential>,
    users: BTreeMap<String, UserSpec>,
    tokens: BTreeMap<String, Token>,
}

impl IdentityStore {
    /// Adds or replaces an access key, without failures or lock.
    pub(crate) fn put_credential(&mut self, access_key: String, spec: CredentialSpec) -> Result<(), jiff::Error> {
        let expires_at = spec.expires_at.as_deref().map(str::parse).transpose()?;
        self.credentials.insert(
            access_key,
            StoredCredential {
                spec,
                expires_at,
                failures: 0,
                locked_until: None,
            },
        );
        Ok(())
    }

    /// Changes the permissions of an access key, nothing else. Returns whether the key exists.
    pub(crate) fn set_permissions(&mut self, access_key: &str, permissions: Permissions) -> bool {
        self.credentials
            .get_mut(access_key)
            .map(|credential| credential.spec.permissions = permissions)
            .is_some()
    }

    pub(crate) fn remove_credential(&mut self, access_key: &str) -> bool {
        self.credentials.remove(access_key).is_some()
    }

    /// Locks an access key for the usual time, or unlocks it. Returns whether the key exists.
    pub(crate) fn set_lock(&mut self, access_key: &str, locked: bool, now: Timestamp) -> bool {
        let Some(credential) = self.credentials.get_mut(access_key) else {
            return false;
        };
        credential.failures = 0;
        credential.locked_until = locked.then(|| later(now, LOCK_TIME));
        true
    }

    pub(crate) fn credentials(&self) -> Vec<CredentialDump> {
        self.credentials
            .iter()
            .map(|(access_key, credential)| CredentialDump {
                access_key: access_key.clone(),
                temporary: credential.spec.security_token.is_some(),
                expires_at: credential.spec.expires_at.clone(),
                permissions: credential.spec.permissions.clone(),
                failures: credential.failures,
                locked_until: credential.locked_until.map(|until| until.to_string()),
            })
            .collect()
    }

    pub(crate) fn put_user(&mut self, name: String, spec: UserSpec) {
        self.users.insert(name, spec);
    }

    pub(crate) fn remove_user(&mut self, name: &str) -> bool {
        self.users.remove(name).is_some()
    }

    pub(crate) fn users(&self) -> Vec<String> {
        self.users.keys().cloned().collect()
    }

    /// The domain that a user belongs to.
    pub(crate) fn domain_of(&self, name: &str) -> Option<&str> {
        self.users.get(name).map(|user| user.domain.as_str())
    }

    /// Expires every token.
    pub(crate) fn expire_tokens(&mut self) {
        for token in self.tokens.values_mut() {
            token.expires_at = Timestamp::MIN;
        }
    }

    /// Returns the permissions of the user if name, domain and password are correct.
    pub(crate) fn log_in(&self, name: &str, domain: &str, password: &SecretString) -> Option<Permissions> {
        let user = self.users.get(name)?;
        let right = user.domain == domain && user.password.expose_secret() == password.expose_secret();
        right.then(|| user.permissions.clone())
    }

    /// Issues a token for that project. Returns when it expires.
    pub(crate) fn issue_token(
        &mut self,
        token: String,
        user: String,
        project_id: Option<String>,
        now: Timestamp,
    ) -> Timestamp {
        let expires_at = later(now, TOKEN_LIFE);
        self.tokens.insert(
            token,
            Token {
                user,
                project_id,
                expires_at,
            },
        );
        expires_at
    }

    /// Authenticates the sender of a request.
    pub(crate) fn authenticate(&mut self, request: IncomingRequest<'_>, now: Timestamp) -> Result<Caller, ApiRefusal> {
        if request.headers.contains_key("authorization") {
            return self.by_signature(request, now);
        }
        match request.header("x-auth-token") {
            Some(token) => self.by_token(token, now),
            None => Err(unauthorized(
                "neither an Authorization nor an X-Auth-Token header was sent",
            )),
        }
    }

    fn by_token(&self, token: &str, now: Timestamp) -> Result<Caller, ApiRefusal> {
        let Some(token) = self.tokens.get(token) else {
            return Err(unauthorized("decrypt token fail"));
        };
        match self.users.get(&token.user) {
            Some(user) if now < token.expires_at => Ok(Caller {
                user: Some(token.user.clone()),
                permissions: user.permissions.clone(),
                project_id: token.project_id.clone(),
            }),
            _ => Err(ApiRefusal::gateway(
                StatusCode::UNAUTHORIZED,
                "0307",
                "The token must be updated.",
            )),
        }
    }

    fn by_signature(&mut self, request: IncomingRequest<'_>, now: Timestamp) -> Result<Caller, ApiRefusal> {
        let Some(claim) = request.claim() else {
            return Err(unauthorized(
                "the Authorization header is not in the form of SDK-HMAC-SHA256",
            ));
        };
        if !request.is_fresh(now) {
            return Err(ApiRefusal::gateway(
                StatusCode::UNAUTHORIZED,
                "0303",
                "Incorrect app authentication information: signature expired, X-Sdk-Date is missing or more than 15 \
                 minutes off",
            ));
        }
        let Some(credential) = self.credentials.get_mut(&claim.access_key) else {
            return Err(unauthorized(format!(
                "Get secretKey failed,ak {} not exist",
                claim.access_key
            )));
        };
        if credential.locked_until.is_some_and(|until| now < until) {
            return Err(unauthorized("AK access failed to reach the limit,forbidden"));
        }
        if !request.is_signed(&claim, &credential.spec.secret_key) {
            credential.failures += 1;
            if credential.failures > FAILURES_BORNE {
                credential.failures = 0;
                credential.locked_until = Some(later(now, LOCK_TIME));
            }
            return Err(unauthorized("verify aksk signature fail"));
        }
        credential.failures = 0;
        credential.locked_until = None;
        let sent = request.header("x-security-token");
        let token_is_correct = match (&credential.spec.security_token, sent) {
            (None, None) => true,
            (Some(token), Some(sent)) => token.expose_secret() == sent,
            _ => false,
        };
        if !token_is_correct || credential.expires_at.is_some_and(|end| now >= end) {
            return Err(unauthorized("decrypt token fail"));
        }
        Ok(Caller {
            user: None,
            permissions: credential.spec.permissions.clone(),
            project_id: None,
        })
    }
}

fn unauthorized(why: impl AsRef<str>) -> ApiRefusal {
    let text = format!("Incorrect IAM authentication information: {}", why.as_ref());
    ApiRefusal::gateway(StatusCode::UNAUTHORIZED, "0301", text)
}

fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.saturating_add(by).unwrap_or(Timestamp::MAX)
}
