//! The passwords that a user has had. No password is ever shown.

use std::collections::VecDeque;

use secrecy::{ExposeSecret, SecretString};

/// How many of the latest passwords are refused.
const REMEMBERED: usize = 5;

/// The latest passwords of a user, and how often they were replaced.
#[derive(Clone, Debug, Default)]
pub(crate) struct Passwords {
    /// The last one is in force.
    latest: VecDeque<SecretString>,
    /// By an administrator.
    pub resets: u64,
    /// By the user.
    pub changes: u64,
}

impl Passwords {
    pub(crate) fn new(password: &str) -> Self {
        let mut passwords = Self::default();
        passwords.set(password);
        passwords
    }

    pub(crate) fn set(&mut self, password: &str) {
        if self.latest.len() == REMEMBERED {
            self.latest.pop_front();
        }
        self.latest.push_back(SecretString::from(password));
    }

    pub(crate) fn is_current(&self, password: &str) -> bool {
        self.latest
            .back()
            .is_some_and(|current| current.expose_secret() == password)
    }

    pub(crate) fn is_recent(&self, password: &str) -> bool {
        self.latest.iter().any(|recent| recent.expose_secret() == password)
    }
}
