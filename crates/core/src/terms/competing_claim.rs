//! Another object that has, or claims, the same cloud object or name.

/// Another CR that has, or claims, the same cloud object or the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompetingClaim {
    pub namespace: String,
    pub name: String,
    /// It is being deleted, which may release the object or the name without user action.
    pub deleting: bool,
}
