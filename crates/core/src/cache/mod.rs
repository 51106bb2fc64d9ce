//! A cache of the cloud's objects, with the time of each read: what a reflector is for the apiserver.
//!
//! A reader requests an object or the whole collection "as of no earlier than T". It is enqueued when an answer whose
//! request was *started* after T is in. Readers that wait at the same time share one LIST; a lone reader gets a GET. A
//! LIST proves presence. Absence of a known id needs two answers: "no such object" to a request about that id, and a
//! complete LIST, started later, that lacks it. If that LIST is incomplete, another "no such object" after it is
//! needed. No reader blocks: it registers and returns.

pub(crate) mod answers;
pub(crate) mod contents;
pub(crate) mod listed_item;
pub(crate) mod losses;
#[cfg(test)]
pub(crate) mod model_time;
pub(crate) mod pending;
pub(crate) mod queries;
pub(crate) mod query;
pub(crate) mod running;
pub(crate) mod shared;
pub(crate) mod source;
pub(crate) mod stored_remote;
#[cfg(test)]
pub(crate) mod tests;

pub use crate::cache::contents::CacheContents;
pub use crate::cache::listed_item::ListedItem;
pub use crate::cache::losses::{IfMissing, LostAt};
pub use crate::cache::query::{LastList, MassDeletion, Observed, Query, ReaderKey, Remote, Urgency};
pub use crate::cache::running::RunningQuery;
pub use crate::cache::shared::Cache;
pub use crate::cache::source::{KeepItem, Listing, Source, TagsById};
