//! What a successful call returns.

use jiff::Timestamp;

/// A successful answer.
#[derive(Clone, Debug)]
pub struct CloudResponse<T> {
    /// The parsed body.
    pub value: T,
    /// From the header, for support requests.
    pub request_id: Option<String>,
    /// The cloud's clock, from its `Date` header.
    pub date: Option<Timestamp>,
}

impl<T> CloudResponse<T> {
    /// The same answer with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> CloudResponse<U> {
        CloudResponse {
            value: change(self.value),
            request_id: self.request_id,
            date: self.date,
        }
    }
}
