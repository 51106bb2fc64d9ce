//! The settings of the operator that decisions depend on.

use std::time::Duration;

use crate::api::DeletionPolicy;
use crate::terms::guard::Guard;

/// The operator's settings that decisions depend on.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// `--cluster-name`; `None`: it is unset.
    pub cluster_name: Option<String>,
    /// `--owner-tag-key`.
    pub owner_tag_key: String,
    /// `--default-deletion-policy`.
    pub default_deletion: DeletionPolicy,
    /// Whether many losses at once suspend recreation.
    pub mass_deletion_guard: bool,
    /// `--read-only`: nothing is written to the cloud.
    pub read_only: bool,
    /// `--creation-confirmation-period`.
    pub confirmation_period: Duration,
    /// Only Huawei Cloud has certificates and FQDN identifiers.
    pub is_otc: bool,
    /// The guard that a test disables, to see the effect.
    #[cfg(test)]
    pub without: Option<Guard>,
}
impl Policy {
    /// The defaults, for tests of decisions.
    #[cfg(test)]
    pub(crate) fn of_tests(owner_tag_key: &str) -> Self {
        Self {
            cluster_name: None,
            owner_tag_key: owner_tag_key.to_owned(),
            default_deletion: crate::api::DeletionPolicy::Delete,
            mass_deletion_guard: true,
            read_only: false,
            confirmation_period: std::time::Duration::from_secs(30),
            is_otc: false,
            without: None,
        }
    }

    /// Whether this guard is checked.
    #[cfg(test)]
    pub fn keeps(&self, guard: Guard) -> bool {
        self.without != Some(guard)
    }

    /// Whether this guard is checked: always.
    #[cfg(not(test))]
    pub const fn keeps(&self, _: Guard) -> bool {
        true
    }
}
