//! An access key with its secret, as requests are signed with it.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// Access keys and secret keys have 20 and 40 characters, much less than this limit.
const LONGEST_KEY: usize = 512;

/// The gateway of the API accepts headers of 32 KiB.
const LONGEST_TOKEN: usize = 16 * 1024;

/// An access key with its secret.
#[derive(Clone)]
pub struct Credentials {
    /// Sent in clear text; visible ASCII characters without a comma, as [`Self::new`] checks.
    pub access_key: String,
    /// Signs requests; is never sent.
    pub secret_key: SecretString,
    /// Temporary keys have one.
    pub security_token: Option<SecretString>,
}

impl Credentials {
    /// Checks that each part is valid in a header, so that a stray line break is reported as such.
    pub fn new(
        access_key: String,
        secret_key: SecretString,
        security_token: Option<SecretString>,
    ) -> Result<Self, UnusableCredentials> {
        let token = security_token
            .as_ref()
            .map(|token| ("security token", token.expose_secret()));
        let parts = [
            ("access key", access_key.as_str()),
            ("secret key", secret_key.expose_secret()),
        ];
        for (part, text) in parts.into_iter().chain(token) {
            if text.is_empty() {
                return Err(UnusableCredentials {
                    part,
                    problem: "is empty",
                });
            }
            let longest = if part == "security token" {
                LONGEST_TOKEN
            } else {
                LONGEST_KEY
            };
            if text.len() > longest {
                return Err(UnusableCredentials {
                    part,
                    problem: "is too long to be one",
                });
            }
            // The header contains the access key in a comma-separated list.
            if !text.bytes().all(|byte| byte.is_ascii_graphic()) || part == "access key" && text.contains(',') {
                return Err(UnusableCredentials {
                    part,
                    problem: "holds characters that no key has",
                });
            }
        }
        Ok(Self {
            access_key,
            secret_key,
            security_token,
        })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.security_token.as_ref().map(|_| "[redacted]");
        formatter
            .debug_struct("Credentials")
            .field("access_key", &"[redacted]")
            .field("secret_key", &"[redacted]")
            .field("security_token", &token)
            .finish()
    }
}

impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        let parts = |it: &Self| {
            let token = it.security_token.as_ref().map(|token| token.expose_secret().to_owned());
            (it.access_key.clone(), it.secret_key.expose_secret().to_owned(), token)
        };
        parts(self) == parts(other)
    }
}

impl Eq for Credentials {}

/// A part of a credential that is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {part} {problem}")]
pub struct UnusableCredentials {
    /// `access key`, `secret key` or `security token`.
    pub part: &'static str,
    /// Why it is not valid, as the rest of a sentence: `is empty`.
    pub problem: &'static str,
}
