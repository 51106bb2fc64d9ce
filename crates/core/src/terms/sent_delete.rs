//! DELETE requests that this process sent, and what came of them.

use crate::write_order::WriteEnd;

/// The outcome of a DELETE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// The cloud deletes the object, sooner or later.
    Accepted,
    /// The cloud has no such object.
    NotFound,
    /// The answer was lost: the cloud may have accepted the DELETE.
    Lost,
}

impl DeleteOutcome {
    /// `None`: the cloud refused the DELETE.
    pub fn of<T>(end: &WriteEnd<T>) -> Option<Self> {
        match end {
            WriteEnd::Done(_) => Some(Self::Accepted),
            WriteEnd::AlreadyAbsent(_) => Some(Self::NotFound),
            WriteEnd::Unknown(_) => Some(Self::Lost),
            WriteEnd::Refused(_) | WriteEnd::ReplayShowedNothing => None,
        }
    }
}

/// A DELETE that this process sent, and the cloud did not refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentDelete {
    /// `Accepted` if it was accepted at any time.
    pub outcome: DeleteOutcome,
    /// It was accepted so recently that reads may still return the object: it is not sent again.
    pub is_pending: bool,
}

impl SentDelete {
    /// Whether the cloud accepted it, or had no such object.
    pub fn is_answered(self) -> bool {
        self.outcome != DeleteOutcome::Lost
    }
}

#[cfg(test)]
impl SentDelete {
    /// The cloud has just accepted it.
    pub(crate) const PENDING: Self = Self {
        outcome: DeleteOutcome::Accepted,
        is_pending: true,
    };
    /// The cloud answered it, and the wait for its effect is over.
    pub(crate) const ANSWERED: Self = Self {
        outcome: DeleteOutcome::NotFound,
        is_pending: false,
    };
}
