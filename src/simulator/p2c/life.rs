//! The life of a user or group: creation that is decided later, and deletion that takes its time.

use jiff::{SignedDuration, Timestamp};

use crate::simulator::switches::{Settling, Switches, Unsettled, UserDeletion};

/// How long what is slow takes.
const SLOW: SignedDuration = SignedDuration::from_secs(3);

#[derive(Clone, Copy, Debug)]
enum Wait {
    Until(Timestamp),
    Held,
}

impl Wait {
    fn slow(now: Timestamp) -> Self {
        Self::Until(now.saturating_add(SLOW).unwrap_or(Timestamp::MAX))
    }

    fn is_over(self, now: Timestamp) -> bool {
        matches!(self, Self::Until(end) if end <= now)
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Life {
    settling: Option<Wait>,
    /// Not seen while it is settling.
    hidden: bool,
    /// Gone once it has settled.
    doomed: bool,
    deleting: Option<Wait>,
}

impl Life {
    /// Of what was created through the API now.
    pub fn begin(now: Timestamp, switches: &Switches) -> Self {
        Self {
            settling: match switches.settling {
                Settling::Immediate => None,
                Settling::Slow => Some(Wait::slow(now)),
                Settling::Held => Some(Wait::Held),
            },
            hidden: switches.unsettled == Unsettled::Invisible,
            ..Self::default()
        }
    }

    pub fn is_visible(&self) -> bool {
        !self.hidden || self.is_settled()
    }

    pub fn is_settled(&self) -> bool {
        self.settling.is_none()
    }

    pub fn is_being_deleted(&self) -> bool {
        self.deleting.is_some()
    }

    /// Deletion is asked for; whether it is gone at once.
    #[must_use]
    pub fn delete(&mut self, now: Timestamp, switches: &Switches) -> bool {
        match switches.user_deletion {
            // A second request does not make the first one take longer.
            _ if self.deleting.is_some() => return false,
            UserDeletion::Immediate => return true,
            UserDeletion::Slow => self.deleting = Some(Wait::slow(now)),
            UserDeletion::Held => self.deleting = Some(Wait::Held),
        }
        false
    }

    /// It fails once it has settled; whether it has already.
    #[must_use]
    pub fn doom(&mut self) -> bool {
        self.doomed = true;
        self.is_settled()
    }

    /// What is due by now happens; whether it is still there.
    #[must_use]
    pub fn pass(&mut self, now: Timestamp) -> bool {
        if self.settling.is_some_and(|wait| wait.is_over(now)) {
            self.settling = None;
        }
        let failed = self.doomed && self.is_settled();
        let deleted = self.deleting.is_some_and(|wait| wait.is_over(now));
        !failed && !deleted
    }

    /// Settling is due; whether it was under way.
    pub fn settle_now(&mut self) -> bool {
        hurry(&mut self.settling)
    }

    /// Deletion is due; whether it was under way.
    pub fn finish_deletion(&mut self) -> bool {
        hurry(&mut self.deleting)
    }
}

fn hurry(wait: &mut Option<Wait>) -> bool {
    if let Some(wait) = wait {
        *wait = Wait::Until(Timestamp::MIN);
    }
    wait.is_some()
}
