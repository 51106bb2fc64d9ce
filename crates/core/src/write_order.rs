//! The order of a cloud write, as data: the operator executes it, and the model runs the same order with a failure at each
//! stage. Imports nothing.

/// A check or an effect of a cloud write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// A place in the write queue and with the rate limiter. Others pass it until it is taken.
    Reserve,
    /// The name or id in the index of claims.
    Claim,
    /// The intent in status, pinned to the version that was read.
    Record,
    /// Whether the apiserver kept the record: an older CRD drops fields.
    Kept,
    /// The permit of the rate limiter and of the write queue. From here on nothing waits for the apiserver.
    Permit,
    /// Whether the claim still holds, now that no other write can be in progress.
    Recheck,
    /// Whether this process still leads, and the record covers the request. Checked last before the request.
    Fence,
    /// The request.
    Send,
}

/// The stages, in order.
pub const ORDER: [Stage; 8] = [
    Stage::Reserve,
    Stage::Claim,
    Stage::Record,
    Stage::Kept,
    Stage::Permit,
    Stage::Recheck,
    Stage::Fence,
    Stage::Send,
];

/// What follows when a stage does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Abort {
    /// Nothing is recorded: the object is requeued when a place is free, or reports a long wait.
    Wait,
    /// Nothing is recorded: decide again.
    Decide,
    /// The CRD must be updated: report it.
    ReportCrd,
    /// Withdraw the record, and wait for the permit.
    WithdrawAndWait,
    /// Withdraw the record, and decide again.
    WithdrawAndDecide,
    /// Withdraw the record and retry with backoff. If this process no longer leads, the record stays: the next leader
    /// waits until the request can no longer take effect.
    WithdrawIfLeading,
}

impl Stage {
    /// What follows when the stage does not pass. `None`: it always passes, or fails with an error.
    pub const fn abort(self) -> Option<Abort> {
        match self {
            Self::Reserve => Some(Abort::Wait),
            Self::Claim => Some(Abort::Decide),
            Self::Kept => Some(Abort::ReportCrd),
            Self::Permit => Some(Abort::WithdrawAndWait),
            Self::Recheck => Some(Abort::WithdrawAndDecide),
            // The operator checks the fence while it sends, after the last wait.
            Self::Fence | Self::Send => Some(Abort::WithdrawIfLeading),
            Self::Record => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(stage: Stage) -> usize {
        ORDER.iter().position(|other| *other == stage).expect("in the order")
    }

    #[test]
    fn nothing_is_sent_before_its_record_is_kept_and_the_fence_is_checked() {
        for earlier in [Stage::Claim, Stage::Record, Stage::Kept, Stage::Permit, Stage::Recheck] {
            assert!(position(earlier) < position(Stage::Fence), "{earlier:?}");
        }
        assert_eq!(position(Stage::Fence) + 1, position(Stage::Send));
    }

    #[test]
    fn no_permit_is_held_while_the_apiserver_is_asked() {
        for before in [Stage::Record, Stage::Kept] {
            assert!(position(before) < position(Stage::Permit), "{before:?}");
        }
    }

    #[test]
    fn an_abort_withdraws_the_record_exactly_when_there_is_one() {
        for stage in ORDER {
            let Some(abort) = stage.abort() else { continue };
            let withdraws = matches!(
                abort,
                Abort::WithdrawAndWait | Abort::WithdrawAndDecide | Abort::WithdrawIfLeading
            );
            assert_eq!(withdraws, position(stage) > position(Stage::Kept), "{stage:?}");
        }
    }
}
