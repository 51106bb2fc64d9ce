//! What readers ask of a cache, and what it answers.

use std::collections::BTreeMap;
use std::fmt::Debug;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// An object of the cloud that a cache can hold.
pub trait Remote: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Whether such objects can carry tags, which name their owner.
    const TAGGED: bool;
    /// Whether such objects have an identifier besides their ID. Two with one identifier can be taken for each other.
    const IDENTIFIED: bool = false;

    /// Its ID in the cloud.
    fn id(&self) -> &str;
    /// The text of its creation time, by which lists are ordered; `None` if the answer has none.
    fn created(&self) -> Option<&str> {
        None
    }
    /// The identifier, in a form that is equal for equal ones; `None` if it is unknown.
    fn identifier(&self) -> Option<String> {
        None
    }
    /// `None` if the answer omits them, or if there can be none.
    fn tags(&self) -> Option<&BTreeMap<String, String>>;
    /// Replaces the tags; `None`: they are unknown.
    fn set_tags(&mut self, tags: Option<BTreeMap<String, String>>);
    /// Copies fields that a list item omits from an earlier, more complete answer, but no state, which changes by itself.
    fn complete_from(&mut self, earlier: &Self);
    /// Whether the object comes from a list in which some of its fields cannot be read. A missing field would count as
    /// unset, so it needs a GET.
    fn is_partial(&self) -> bool {
        false
    }
}

/// Identifies a reader, which waits for an object or holds it.
pub trait ReaderKey: Clone + Debug + Eq + std::hash::Hash + Send + Sync + 'static {}

impl<T: Clone + Debug + Eq + std::hash::Hash + Send + Sync + 'static> ReaderKey for T {}

/// How soon a query is sent, compared with the writes and with other queries of the same access key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// For a change that a user just made: before the writes for other objects.
    Edit,
    /// For any other reader: after the writes.
    Reader,
    /// For the drift check.
    Background,
}

impl Urgency {
    /// The most urgent first.
    pub const ALL: [Self; 3] = [Self::Edit, Self::Reader, Self::Background];
}

/// What a reader requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Query {
    /// One object, by id.
    Object(String),
    /// The same with all of its fields. A list may omit some, so this takes a GET, however many readers wait.
    Whole(String),
    /// The tags of one object, by id.
    Tags(String),
    /// The tags of all objects, where the LIST has omitted them.
    AllTags,
    /// All objects.
    Collection,
}

/// What is known of one id.
#[derive(Clone, Debug, PartialEq)]
pub enum Observed<R> {
    /// Nothing.
    Unknown,
    /// The object exists, by the newest answer about it.
    Seen {
        /// The object as that answer showed it.
        remote: R,
        /// Seen as of the reader's time.
        fresh: bool,
        /// From an answer about this one object, not from a list that may omit fields.
        full: bool,
    },
    /// The last LIST lacked it, which proves nothing yet.
    Missing,
    /// A request about it, started at the reader's time or later, was answered with "no such object". One answer can be
    /// wrong: a LIST that is started later must confirm it.
    Unconfirmed {
        /// The last such LIST was incomplete, so it confirmed nothing.
        list_incomplete: bool,
    },
    /// The same, and a complete LIST that was started later lacked it. Or an incomplete one lacked it, and another
    /// request after it was answered with "no such object".
    Absent,
}

/// The last finished LIST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastList {
    /// Started at the reader's time or later.
    pub fresh: bool,
    /// The cloud's time when it was started.
    pub started: Timestamp,
    /// See [`Listing::complete`].
    pub complete: bool,
}

/// Many of a credential's objects were lost at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MassDeletion {
    /// The number of objects that are missing.
    pub missing: usize,
    /// The number of objects that could be missing: the held ones, and those lost at the same time.
    pub of: usize,
}

impl MassDeletion {
    /// More than max(10, 20 %) are missing at once.
    pub fn suspected(missing: usize, of: usize) -> Option<Self> {
        (missing > 10.max(of / 5)).then_some(Self { missing, of })
    }
}
