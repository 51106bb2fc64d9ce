//! A cache of the cloud's objects, with the time of each read: what a reflector is for the apiserver.
//!
//! A reader requests an object or the whole collection "as of no earlier than T". It is enqueued when an answer whose
//! request was *started* after T is in. Readers that wait at the same time share one LIST; a lone reader gets a GET. A
//! LIST proves presence. Absence of a known id needs two answers: "no such object" to a request about that id, and a
//! complete LIST, started later, that lacks it. If that LIST is incomplete, another "no such object" after it is
//! needed. No reader blocks: it registers and returns.

pub(crate) mod answers;
pub(crate) mod contents;
pub(crate) mod losses;
#[cfg(test)]
pub(crate) mod model_time;
pub(crate) mod queries;
#[cfg(test)]
pub(crate) mod tests;

pub use crate::cache::contents::CacheContents;
pub use crate::cache::losses::{IfMissing, LostAt};
use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::time::Instant;
use tracing::error;
use vpn_cloud::limits::clock::earlier;
use vpn_cloud::{CloudError, ErrorKind, Operation};

/// An object of the cloud that a cache can hold.
pub trait Remote: Clone + Debug + PartialEq + Send + Sync + 'static {
    /// Whether such objects can carry tags, which name their owner.
    const TAGGED: bool;

    /// Its ID in the cloud.
    fn id(&self) -> &str;
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

/// Tags of objects, by their ids.
pub type TagsById = BTreeMap<String, BTreeMap<String, String>>;

/// A finished LIST.
pub struct Listing<R> {
    /// The objects that the cloud listed, on all pages.
    pub items: Vec<R>,
    /// As many ids as the cloud's `total_count`: an object that is not in it did not exist.
    pub complete: bool,
}

/// Reads the cloud; each call waits for a permit of the rate limiter.
pub trait Source<R>: Send + Sync + 'static {
    /// Lists the whole collection.
    fn list(&self) -> BoxFuture<'_, Result<Listing<R>, CloudError>>;
    /// Reads one object by its ID, with all of its fields.
    fn get<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<R, CloudError>>;
    /// Reads the tags of one object by its ID.
    fn tags<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<BTreeMap<String, String>, CloudError>>;
    /// The tags of all objects, as far as they can be read together. Called only for kinds whose objects carry tags.
    fn all_tags(&self) -> BoxFuture<'_, Result<TagsById, CloudError>> {
        std::future::ready(Ok(TagsById::new())).boxed()
    }
    /// The operation that answers a query.
    fn operation(&self, look: &Query) -> Operation;
    /// The cloud's present time, never ahead of it; `None` until an answer contains it.
    fn cloud_now(&self) -> Option<Timestamp>;
    /// Reports the end of a LIST of the whole collection to the log and the metrics.
    fn listed(&self, result: Result<usize, &CloudError>);
}

/// Identifies a reader, which waits for an object or holds it.
pub trait ReaderKey: Clone + Debug + Eq + std::hash::Hash + Send + Sync + 'static {}

impl<T: Clone + Debug + Eq + std::hash::Hash + Send + Sync + 'static> ReaderKey for T {}

/// What a reader requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
    Gone,
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

/// See the module. `R` is the cached object, `K` names a reader.
pub struct Cache<R, K> {
    source: Arc<dyn Source<R>>,
    enqueue: Box<dyn Fn(K) + Send + Sync>,
    known: Mutex<CacheContents<R, K>>,
}

impl<R: Remote, K: ReaderKey> Cache<R, K> {
    /// Calls `enqueue`, at once and without waiting, for readers whose answer is in or whose object differs.
    pub fn new(
        owner_tag_key: String,
        source: Arc<dyn Source<R>>,
        enqueue: impl Fn(K) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            source,
            enqueue: Box::new(enqueue),
            known: Mutex::new(CacheContents::new(owner_tag_key)),
        })
    }

    /// Locks what is known. While the guard is held, no new answer is stored.
    pub fn known(&self) -> MutexGuard<'_, CacheContents<R, K>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests an answer that is started at `since` or later; enqueues the reader when it is in.
    pub fn want(self: &Arc<Self>, reader: K, look: Query, since: Instant) {
        let mut known = self.known();
        if known.want(&reader, look, since) {
            drop(known);
            (self.enqueue)(reader);
            return;
        }
        for look in known.due() {
            self.start(look);
        }
    }

    /// Lists the whole collection without a reader: the drift check.
    pub fn relist(self: &Arc<Self>) {
        if let Some(look) = self.known().begin(Query::Collection) {
            self.start(look);
        }
    }

    /// Returns the failure of a query of this reader, once.
    pub fn take_failure(&self, reader: &K) -> Option<CloudError> {
        self.known().take_failure(reader)
    }

    /// Stores the answer to one of our own writes: it is newer than any read that was started before it.
    pub fn wrote(&self, remote: R) {
        self.known().wrote(remote, Instant::now());
    }

    /// Records that a write of ours was answered with "no such object", or with the deletion of the object.
    pub fn wrote_absence(&self, id: &str) {
        self.known().wrote_absence(id, Instant::now());
    }

    fn start(self: &Arc<Self>, look: Query) {
        let cache = Arc::clone(self);
        tokio::spawn(async move {
            let started = Instant::now();
            let cloud_started = cache.source.cloud_now();
            let operation = cache.source.operation(&look);
            let enqueued = match &look {
                Query::Collection => {
                    let result = survived(operation, async { cache.source.list().await }).await;
                    cache.source.listed(result.as_ref().map(|listing| listing.items.len()));
                    // If its own answer is the first with the cloud's time, the time of its start is derived from that.
                    let told_now = || Some(earlier(cache.source.cloud_now()?, started.elapsed()));
                    let cloud_started = cloud_started.or_else(told_now).unwrap_or(Timestamp::MIN);
                    cache.ended(operation, result, |known, result| {
                        known.ended_list(result, started, cloud_started)
                    })
                }
                Query::Object(id) | Query::Whole(id) => {
                    let result = survived(operation, async { cache.source.get(id).await }).await;
                    cache.ended(operation, result, |known, result| {
                        known.ended_get(&look, id, result, started)
                    })
                }
                Query::Tags(id) => {
                    let result = survived(operation, async { cache.source.tags(id).await }).await;
                    cache.ended(operation, result, |known, result| {
                        known.ended_tags(&look, id, result, started)
                    })
                }
                Query::AllTags => {
                    let result = survived(operation, async { cache.source.all_tags().await }).await;
                    cache.ended(operation, result, |known, result| known.ended_all_tags(result, started))
                }
            };
            for reader in enqueued {
                (cache.enqueue)(reader);
            }
            for look in cache.known().due() {
                cache.start(look);
            }
        });
    }

    /// Stores the result of a query. An answer that makes the operator panic counts as a failed query: a query that
    /// never ended would block reads of the collection forever.
    fn ended<T>(
        &self,
        operation: Operation,
        result: Result<T, CloudError>,
        take: impl Fn(&mut CacheContents<R, K>, Result<T, CloudError>) -> HashSet<K>,
    ) -> HashSet<K> {
        let taken = catch_unwind(AssertUnwindSafe(|| take(&mut self.known(), result)));
        taken.unwrap_or_else(|_| take(&mut self.known(), Err(panicked(operation))))
    }
}

/// A panic while the cloud is read counts as a failed read.
async fn survived<T>(operation: Operation, read: impl Future<Output = Result<T, CloudError>>) -> Result<T, CloudError> {
    let read = AssertUnwindSafe(read).catch_unwind().await;
    read.unwrap_or_else(|_| Err(panicked(operation)))
}

/// Omits the panic's message, which may quote anything; its location is in the log.
fn panicked(operation: Operation) -> CloudError {
    error!(
        target: "vpn_operator::cache",
        operation = operation.name(),
        "reading the cloud failed: the operator panicked; the read is retried"
    );
    let text = "the operator has a bug and panicked on the response: report it with the operator's log";
    CloudError::new(operation, ErrorKind::CloudFault, text)
}
