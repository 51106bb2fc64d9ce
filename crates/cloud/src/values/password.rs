//! A VPN user's password: a secret that can be compared, sent, and nothing else.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::Serializer;

/// What nobody may see. It is no `Serialize`: only a request's own body may hold it.
#[derive(Clone)]
pub struct Password(SecretString);

impl Password {
    /// Whether the cloud would take it is for [`crate::values::password_rules`] to say.
    pub fn new(value: impl Into<SecretString>) -> Self {
        Self(value.into())
    }

    /// The value, for a digest or a check of it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Writes the value into a request.
    pub(crate) fn expose_in_body<S: Serializer>(password: &Self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(password.expose())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Password {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_can_be_compared_but_not_printed() {
        let password = Password::new("S3cret pass");
        assert_eq!(password, password.clone());
        assert_ne!(password, Password::new("S3cret pasS"));
        assert_eq!(format!("{password:?} {password:#?}"), "[redacted] [redacted]");
    }
}
