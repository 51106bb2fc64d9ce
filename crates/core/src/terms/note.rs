//! Facts that are recorded without a request.

/// A fact to record.
#[derive(Clone, Debug, PartialEq)]
pub enum Note<R> {
    /// This object is ours.
    Found {
        /// The resource as it was read.
        remote: R,
        /// The reason and message of the Event about it, if there is one.
        event: Option<(&'static str, String)>,
    },
    /// The recorded object no longer exists and is to be recreated.
    Lost,
    /// The intent led to no creation.
    GivenUp,
    /// The recorded object no longer exists, and its creation was never confirmed.
    Disappeared,
    /// The recorded object, whose loss was suspected to be part of a mass deletion, exists again.
    Returned,
    /// A recorded time is later than any request can last: the cloud's clock was wrong when it was recorded.
    Unbelievable,
}
