//! The life of a user or group: a creation that settles later, and a deletion that takes time.

use jiff::Timestamp;

use crate::switches::{Settling, Switches, Unsettled, UserDeletion};

#[derive(Clone, Copy, Debug)]
enum Wait {
    Until(Timestamp),
    Held,
}

impl Wait {
    fn is_over(self, now: Timestamp) -> bool {
        matches!(self, Self::Until(end) if end <= now)
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Life {
    settling: Option<Wait>,
    /// Invisible while it is settling.
    hidden: bool,
    /// Removed once it has settled.
    doomed: bool,
    deleting: Option<Wait>,
}

impl Life {
    /// Begins the life of an object that was created through the API. Slow settling ends at `slow_end`.
    pub(crate) fn begin(slow_end: Timestamp, switches: &Switches) -> Self {
        Self {
            settling: match switches.settling {
                Settling::Immediate => None,
                Settling::Slow => Some(Wait::Until(slow_end)),
                Settling::Held => Some(Wait::Held),
            },
            hidden: switches.unsettled == Unsettled::Invisible,
            ..Self::default()
        }
    }

    pub(crate) fn is_visible(&self) -> bool {
        !self.hidden || self.is_settled()
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.settling.is_none()
    }

    pub(crate) fn is_being_deleted(&self) -> bool {
        self.deleting.is_some()
    }

    /// Requests deletion, which ends at `slow_end` if it is slow. Returns whether the object is deleted immediately.
    #[must_use]
    pub(crate) fn delete(&mut self, slow_end: Timestamp, switches: &Switches) -> bool {
        match switches.user_deletion {
            // A second request does not make the first one take longer.
            _ if self.deleting.is_some() => return false,
            UserDeletion::Immediate => return true,
            UserDeletion::Slow => self.deleting = Some(Wait::Until(slow_end)),
            UserDeletion::Held => self.deleting = Some(Wait::Held),
        }
        false
    }

    /// Makes the creation fail once it has settled. Returns whether it has settled already.
    #[must_use]
    pub(crate) fn doom(&mut self) -> bool {
        self.doomed = true;
        self.is_settled()
    }

    /// Applies what is due by now. Returns whether the object still exists.
    #[must_use]
    pub(crate) fn pass(&mut self, now: Timestamp) -> bool {
        if self.settling.is_some_and(|wait| wait.is_over(now)) {
            self.settling = None;
        }
        let failed = self.doomed && self.is_settled();
        let deleted = self.deleting.is_some_and(|wait| wait.is_over(now));
        !failed && !deleted
    }

    /// Makes settling due. Returns whether it was in progress.
    pub(crate) fn settle_now(&mut self) -> bool {
        hurry(&mut self.settling)
    }

    /// Makes deletion due. Returns whether it was in progress.
    pub(crate) fn finish_deletion(&mut self) -> bool {
        hurry(&mut self.deleting)
    }
}

fn hurry(wait: &mut Option<Wait>) -> bool {
    if let Some(wait) = wait {
        *wait = Wait::Until(Timestamp::MIN);
    }
    wait.is_some()
}
