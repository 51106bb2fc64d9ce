//! What the cloud says about the state of a resource that exists.

/// The state of a resource that exists in the cloud, as the cloud returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It can be used and changed.
    Ready,
    /// The cloud is still working on it, and accepts no change until then.
    InProgress,
    /// It exists as specified and does not work in full, for this reason.
    Degraded(String),
    /// The cloud has given it up, for this reason.
    Failed(String),
    /// The answer does not show it: the resource itself must be read. After a write of our own: it is in progress.
    Unknown,
}

impl Health {
    /// Whether the cloud is at work, as far as is known: an answer to a write does not show the state, and the cloud has
    /// just begun.
    pub fn is_in_progress(&self) -> bool {
        matches!(self, Health::InProgress | Health::Unknown)
    }
}
