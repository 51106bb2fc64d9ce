//! The cache as its readers share it: it starts the queries that are due, and enqueues the readers of their answers.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use jiff::Timestamp;
use tokio::time::Instant;
use tracing::error;
use vpn_cloud::limits::clock::earlier;
use vpn_cloud::{CloudError, ErrorKind, Operation};

use crate::cache::contents::CacheContents;
use crate::cache::query::{Query, ReaderKey, Remote, Urgency};
use crate::cache::running::RunningQuery;
use crate::cache::source::Source;

/// See [`crate::cache`]. `R` is the cached object, `K` names a reader.
pub struct Cache<R, K> {
    source: Arc<dyn Source<R>>,
    enqueue: Box<dyn Fn(K) + Send + Sync>,
    known: Mutex<CacheContents<R, K>>,
    /// The queries in progress.
    running: Mutex<HashMap<Query, Arc<RunningQuery>>>,
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
            known: Mutex::new(CacheContents::new(owner_tag_key).in_little_memory()),
            running: Mutex::default(),
        })
    }

    /// Locks what is known. While the guard is held, no new answer is stored.
    pub fn known(&self) -> MutexGuard<'_, CacheContents<R, K>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> MutexGuard<'_, HashMap<Query, Arc<RunningQuery>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests an answer that is started at `since` or later; enqueues the reader when it is in.
    pub fn request(self: &Arc<Self>, reader: K, query: Query, since: Instant, urgency: Urgency) {
        let mut known = self.known();
        if known.request(&reader, query.clone(), since, urgency) {
            drop(known);
            (self.enqueue)(reader);
            return;
        }
        self.raise(query, urgency);
        self.start_next(known);
    }

    /// Lists the whole collection without a reader: the drift check.
    pub fn relist(self: &Arc<Self>) {
        let mut known = self.known();
        if let Some(query) = known.begin(Query::Collection, Urgency::Background) {
            self.start(query, Urgency::Background);
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

    /// Records that a write of ours was answered with "no such object". Enqueues the other readers that this concerns.
    pub fn wrote_absence(&self, writer: &K, id: &str) {
        let concerned = self.known().wrote_absence(id, Instant::now());
        self.enqueue_others(writer, concerned);
    }

    /// Records that the cloud accepted a deletion of ours. Enqueues the other readers that this concerns.
    pub fn wrote_deletion(&self, writer: &K, id: &str) {
        let concerned = self.known().wrote_deletion(id, Instant::now());
        self.enqueue_others(writer, concerned);
    }

    fn enqueue_others(&self, writer: &K, concerned: Vec<K>) {
        for reader in concerned.into_iter().filter(|reader| reader != writer) {
            (self.enqueue)(reader);
        }
    }

    /// Makes the queries in progress that can answer this one as urgent.
    fn raise(&self, query: Query, urgency: Urgency) {
        let of_all = match query {
            Query::Tags(_) => Query::AllTags,
            _ => Query::Collection,
        };
        let of_one = match query {
            Query::Whole(id) => Query::Object(id),
            query => query,
        };
        let running = self.running();
        for run in [of_all, of_one].iter().filter_map(|query| running.get(query)) {
            run.raise(urgency);
        }
    }

    fn start_next(self: &Arc<Self>, mut known: MutexGuard<'_, CacheContents<R, K>>) {
        for query in known.next_queries() {
            let urgency = known.urgency(&query);
            self.start(query, urgency);
        }
    }

    /// Starts a query that is marked as in progress, while that mark is not seen by others yet.
    fn start(self: &Arc<Self>, query: Query, urgency: Urgency) {
        let cache = Arc::clone(self);
        let run = Arc::new(RunningQuery::new(urgency));
        self.running().insert(query.clone(), Arc::clone(&run));
        tokio::spawn(async move {
            let enqueued = cache.run(&query, &run).await;
            for reader in enqueued {
                (cache.enqueue)(reader);
            }
            cache.start_next(cache.known());
        });
    }

    /// Sends a query, and stores its answer. Returns the readers to enqueue.
    async fn run(&self, query: &Query, run: &RunningQuery) -> HashSet<K> {
        let source = &self.source;
        let operation = source.operation(query);
        match query {
            Query::Collection => {
                self.writes_ended(run).await;
                let keep = |item| self.known().keep(item);
                let result = survived(operation, async { source.list(run, &keep).await }).await;
                source.listed(result.as_ref().map(|listing| listing.items.len()));
                let (started, cloud_started) = run.started();
                // If its own answer is the first with the cloud's time, the time of its start is derived from that.
                let estimated_start = || Some(earlier(source.cloud_now()?, started.elapsed()));
                let cloud_started = cloud_started.or_else(estimated_start).unwrap_or(Timestamp::MIN);
                self.ended(query, operation, result, |known, result| {
                    known.ended_list(result, started, cloud_started)
                })
            }
            Query::Object(id) | Query::Whole(id) => {
                let result = survived(operation, async { source.get(run, id).await }).await;
                let (started, _) = run.started();
                self.ended(query, operation, result, |known, result| {
                    known.ended_get(query, id, result, started)
                })
            }
            Query::Tags(id) => {
                let result = survived(operation, async { source.tags(run, id).await }).await;
                let (started, _) = run.started();
                self.ended(query, operation, result, |known, result| {
                    known.ended_tags(query, id, result, started)
                })
            }
            Query::AllTags => {
                let result = survived(operation, async { source.all_tags(run).await }).await;
                let (started, _) = run.started();
                self.ended(query, operation, result, |known, result| {
                    known.ended_all_tags(result, started)
                })
            }
        }
    }

    /// Waits until a LIST is worth its pages, unless an edit waits for it.
    async fn writes_ended(&self, run: &RunningQuery) {
        loop {
            // Not in the condition of a loop: the guard would be held during the pause.
            let pause = self.known().pause_before_list(Instant::now());
            match pause {
                Some(pause) if run.urgency() != Urgency::Edit => tokio::time::sleep(pause).await,
                _ => return,
            }
        }
    }

    /// Stores the result of a query. An answer that makes the operator panic counts as a failed query: a query that
    /// never ended would block reads of the collection forever.
    fn ended<T>(
        &self,
        query: &Query,
        operation: Operation,
        result: Result<T, CloudError>,
        take: impl Fn(&mut CacheContents<R, K>, Result<T, CloudError>) -> HashSet<K>,
    ) -> HashSet<K> {
        self.running().remove(query);
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
