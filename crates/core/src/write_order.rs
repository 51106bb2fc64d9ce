//! The order of a cloud write and the ways in which it ends, as data: the operator executes this order, and the model runs
//! it with failures at the claim, the record, the permit, the fence and the response. Imports only the cloud's errors.

use vpn_cloud::{CloudError, ErrorKind};

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

/// The kind of a request, as far as the meaning of its response depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteRequest {
    /// The first request of a creation.
    Create,
    /// The same request once more, with its client token, since the first response was lost.
    ReplayOfCreate,
    /// A change of a resource.
    Change,
    /// A deletion.
    Delete,
}

/// How a write ends that was sent. One that was not sent ends with an [`Abort`].
#[derive(Debug)]
pub enum WriteEnd<T> {
    /// The cloud has done it.
    Done(T),
    /// A deletion, and the cloud has no such resource.
    AlreadyAbsent(CloudError),
    /// It may have been done: a later read shows it.
    Unknown(CloudError),
    /// The cloud has not done it.
    Refused(CloudError),
    /// A replay without success. It does not show what the first request did: its resource is searched for, as before.
    ReplayShowedNothing,
}

impl WriteRequest {
    /// How a write of this kind ends with that response.
    pub fn end<T>(self, response: Result<T, CloudError>) -> WriteEnd<T> {
        match (self, response) {
            (_, Ok(done)) => WriteEnd::Done(done),
            (Self::ReplayOfCreate, Err(_)) => WriteEnd::ReplayShowedNothing,
            (Self::Delete, Err(error)) if error.kind == ErrorKind::Gone => WriteEnd::AlreadyAbsent(error),
            (_, Err(error)) if error.outcome_unknown => WriteEnd::Unknown(error),
            (_, Err(error)) => WriteEnd::Refused(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use vpn_cloud::Operation;

    use super::*;

    #[test]
    fn only_a_definite_answer_counts_as_refused() {
        use WriteRequest::{Change, Create, Delete, ReplayOfCreate};
        let end = |request: WriteRequest, kind: ErrorKind, outcome_unknown: bool| {
            let mut error = CloudError::new(Operation::CreateVpnUser, kind, "text");
            error.outcome_unknown = outcome_unknown;
            match request.end(Err::<(), _>(error)) {
                WriteEnd::Done(()) => "done",
                WriteEnd::AlreadyAbsent(_) => "already absent",
                WriteEnd::Unknown(_) => "unknown",
                WriteEnd::Refused(_) => "refused",
                WriteEnd::ReplayShowedNothing => "nothing",
            }
        };
        for request in [Create, ReplayOfCreate, Change, Delete] {
            assert!(matches!(request.end(Ok(7)), WriteEnd::Done(7)), "{request:?}");
            let is_replay = request == ReplayOfCreate;
            let or_nothing = |expected| if is_replay { "nothing" } else { expected };
            assert_eq!(
                end(request, ErrorKind::CloudFault, true),
                or_nothing("unknown"),
                "{request:?}"
            );
            assert_eq!(
                end(request, ErrorKind::Rejected, false),
                or_nothing("refused"),
                "{request:?}"
            );
            let expected = if request == Delete {
                "already absent"
            } else {
                or_nothing("refused")
            };
            assert_eq!(end(request, ErrorKind::Gone, false), expected, "{request:?}");
        }
    }

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
