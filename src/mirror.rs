//! What the cloud has, and since when we know: to the cloud what a reflector is to the apiserver.
//!
//! A reader asks for an object or for the whole collection "as of no earlier than T" and is woken when an answer that
//! was *started* after T is in. Readers that wait at the same time share one LIST; a lone reader gets a GET. A LIST
//! proves presence. That a known id is gone is proved by two answers: "no such object" to a request about that id, and a
//! complete LIST that was started later and lacks it; if that LIST is incomplete, by another "no such object" after it.
//! Nobody parks: a reader registers and leaves.

mod known;
mod losses;

use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::time::Instant;
use tracing::error;

pub use self::known::Known;
pub use self::losses::{IfMissing, LostAt};
use crate::cloud::clock::earlier;
use crate::cloud::{CloudError, Meaning, Operation};

/// An object of the cloud that a mirror can hold.
pub trait Remote: Clone + Debug + PartialEq + Send + Sync + 'static {
    /// Whether such objects can carry tags, and so tell whose they are.
    const TAGGED: bool;

    fn id(&self) -> &str;
    /// `None` if the answer did not say, or if there can be none.
    fn tags(&self) -> Option<&BTreeMap<String, String>>;
    fn set_tags(&mut self, tags: Option<BTreeMap<String, String>>);
    /// Takes over from an earlier, fuller answer what a list item left out.
    fn complete_from(&mut self, earlier: &Self);
    /// It comes from a list in which some of its fields cannot be read, and a field that is missing in it would be taken for
    /// one that is not set: only a GET tells.
    fn is_partial(&self) -> bool {
        false
    }
}

/// Tags of objects, by their ids.
pub type TagsById = BTreeMap<String, BTreeMap<String, String>>;

/// A finished LIST.
pub struct Listing<R> {
    pub items: Vec<R>,
    /// As many ids as the cloud's total_count: what is not in it was not there.
    pub complete: bool,
}

/// Reads the cloud; each call waits its turn in the request budget.
pub trait Source<R>: Send + Sync + 'static {
    fn list(&self) -> BoxFuture<'_, Result<Listing<R>, CloudError>>;
    fn get<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<R, CloudError>>;
    fn tags<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<BTreeMap<String, String>, CloudError>>;
    /// The tags of all objects, as far as they can be had together. Only kinds whose objects carry tags are asked.
    fn all_tags(&self) -> BoxFuture<'_, Result<TagsById, CloudError>> {
        std::future::ready(Ok(TagsById::new())).boxed()
    }
    /// The call that answers a look.
    fn operation(&self, look: &Look) -> Operation;
    /// The cloud's present time, never ahead of it; `None` until an answer tells it.
    fn cloud_now(&self) -> Option<Timestamp>;
    /// Tells that a look at the whole collection ended, for the log and the metrics.
    fn listed(&self, result: Result<usize, &CloudError>);
}

/// Who waits for, or holds, an object.
pub trait Reader: Clone + Debug + Eq + std::hash::Hash + Send + Sync + 'static {}
impl<T: Clone + Debug + Eq + std::hash::Hash + Send + Sync + 'static> Reader for T {}

/// What a reader wants to know.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Look {
    /// One object, by id.
    Object(String),
    /// The same with all of its fields, which a list may leave out: only a GET will do, however many wait.
    Whole(String),
    /// The tags of one object, by id.
    Tags(String),
    /// The tags of all objects, where the LIST has omitted them.
    AllTags,
    /// All of them.
    Collection,
}

/// What is known of one id.
#[derive(Clone, Debug, PartialEq)]
pub enum Sighting<R> {
    /// Nothing.
    Unknown,
    Seen {
        remote: R,
        /// Seen as of the reader's time.
        fresh: bool,
        /// From an answer about this one object, not from a list that may leave fields out.
        full: bool,
    },
    /// The last LIST did not have it, which proves nothing yet.
    Missing,
    /// A request about it that was started at the reader's time or later was answered with "no such object". One answer
    /// can be wrong: a LIST that is started later is to confirm it.
    Unconfirmed {
        /// The last such LIST was incomplete, so that it confirmed nothing.
        list_incomplete: bool,
    },
    /// The same, and a complete LIST that was started later did not have it; or an incomplete one, after which another
    /// request was answered so.
    Gone,
}

/// The last finished LIST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Started at the reader's time or later.
    pub fresh: bool,
    /// The cloud's time when it was started.
    pub started: Timestamp,
    pub complete: bool,
}

/// Many of a credential's objects were lost at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MassDeletion {
    pub missing: usize,
    pub of: usize,
}

impl MassDeletion {
    /// More than max(10, 20 %) are missing at once.
    pub fn suspected(missing: usize, of: usize) -> Option<Self> {
        (missing > 10.max(of / 5)).then_some(Self { missing, of })
    }
}

/// See the module. `R` is what is mirrored, `K` names a reader.
pub struct Mirror<R, K> {
    source: Arc<dyn Source<R>>,
    wake: Box<dyn Fn(K) + Send + Sync>,
    known: Mutex<Known<R, K>>,
}

impl<R: Remote, K: Reader> Mirror<R, K> {
    /// `wake` is called, at once and without waiting, for readers whose answer is in or whose object differs.
    pub fn new(
        owner_tag_key: String,
        source: Arc<dyn Source<R>>,
        wake: impl Fn(K) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            source,
            wake: Box::new(wake),
            known: Mutex::new(Known::new(owner_tag_key)),
        })
    }

    /// What is known. While it is held nothing else can be learnt.
    pub fn known(&self) -> MutexGuard<'_, Known<R, K>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for an answer that is started at `since` or later; the reader is woken when it is in.
    pub fn want(self: &Arc<Self>, reader: K, look: Look, since: Instant) {
        let mut known = self.known();
        if known.want(&reader, look, since) {
            drop(known);
            (self.wake)(reader);
            return;
        }
        for look in known.due() {
            self.start(look);
        }
    }

    /// Looks at the whole collection for nobody in particular: the drift poll.
    pub fn relist(self: &Arc<Self>) {
        if let Some(look) = self.known().begin(Look::Collection) {
            self.start(look);
        }
    }

    /// A look that this reader asked for failed; told once.
    pub fn take_failure(&self, reader: &K) -> Option<CloudError> {
        self.known().take_failure(reader)
    }

    /// The answer of one of our own writes: it is newer than any look that began before it.
    pub fn wrote(&self, remote: R) {
        self.known().wrote(remote, Instant::now());
    }

    /// One of our own writes, which was answered without the object, changed it so.
    pub fn wrote_change(&self, id: &str, change: impl FnOnce(&mut R)) {
        self.known().wrote_change(id, change, Instant::now());
    }

    /// A write of ours was answered with "no such object", or with its deletion.
    pub fn wrote_absence(&self, id: &str) {
        self.known().wrote_absence(id, Instant::now());
    }

    fn start(self: &Arc<Self>, look: Look) {
        let mirror = Arc::clone(self);
        tokio::spawn(async move {
            let started = Instant::now();
            let cloud_started = mirror.source.cloud_now();
            let operation = mirror.source.operation(&look);
            let woken = match &look {
                Look::Collection => {
                    let result = survived(operation, async { mirror.source.list().await }).await;
                    mirror.source.listed(result.as_ref().map(|listing| listing.items.len()));
                    // If its own answer was the first to tell the time, that tells when it was started as well.
                    let told_now = || Some(earlier(mirror.source.cloud_now()?, started.elapsed()));
                    let cloud_started = cloud_started.or_else(told_now).unwrap_or(Timestamp::MIN);
                    mirror.ended(operation, result, |known, result| {
                        known.ended_list(result, started, cloud_started)
                    })
                }
                Look::Object(id) | Look::Whole(id) => {
                    let result = survived(operation, async { mirror.source.get(id).await }).await;
                    mirror.ended(operation, result, |known, result| {
                        known.ended_get(&look, id, result, started)
                    })
                }
                Look::Tags(id) => {
                    let result = survived(operation, async { mirror.source.tags(id).await }).await;
                    mirror.ended(operation, result, |known, result| {
                        known.ended_tags(&look, id, result, started)
                    })
                }
                Look::AllTags => {
                    let result = survived(operation, async { mirror.source.all_tags().await }).await;
                    mirror.ended(operation, result, |known, result| known.ended_all_tags(result, started))
                }
            };
            for reader in woken {
                (mirror.wake)(reader);
            }
            for look in mirror.known().due() {
                mirror.start(look);
            }
        });
    }

    /// Takes in what a look found. An answer that makes the operator panic is a failed look: a look that never ended would
    /// keep the collection from being looked at for ever.
    fn ended<T>(
        &self,
        operation: Operation,
        result: Result<T, CloudError>,
        take: impl Fn(&mut Known<R, K>, Result<T, CloudError>) -> HashSet<K>,
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

/// What the panic says may quote anything; where it was is in the log.
fn panicked(operation: Operation) -> CloudError {
    error!(
        operation = operation.name(),
        "reading the cloud failed: the operator panicked; it is tried again"
    );
    let text = "the operator has a bug and panicked on the answer: report it with the operator's log";
    CloudError::new(operation, Meaning::CloudFault, text)
}

#[cfg(test)]
mod tests;
