//! What a cache reads from.

use std::collections::BTreeMap;

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use vpn_cloud::{CloudError, Operation};

use crate::cache::listed_item::ListedItem;
use crate::cache::query::Query;
use crate::cache::running::RunningQuery;

/// Tags of objects, by their ids.
pub type TagsById = BTreeMap<String, BTreeMap<String, String>>;

/// A finished LIST.
pub struct Listing<T> {
    /// The objects that the cloud listed, on all pages.
    pub items: Vec<T>,
    /// As many ids as the cloud's `total_count`: an object that is not in it did not exist.
    pub complete: bool,
}

/// Puts an item of a LIST into the form in which it waits for the end of the LIST.
pub type KeepItem<'a, R> = dyn Fn(R) -> ListedItem<R> + Send + Sync + 'a;

/// Reads the cloud. Each call waits for a permit of the rate limiter, and then starts the query that it runs.
pub trait Source<R>: Send + Sync + 'static {
    /// Lists the whole collection. Each page is put into the form of `keep` when it is read.
    fn list<'a>(
        &'a self,
        run: &'a RunningQuery,
        keep: &'a KeepItem<'a, R>,
    ) -> BoxFuture<'a, Result<Listing<ListedItem<R>>, CloudError>>;
    /// Reads one object by its ID, with all of its fields.
    fn get<'a>(&'a self, run: &'a RunningQuery, id: &'a str) -> BoxFuture<'a, Result<R, CloudError>>;
    /// Reads the tags of one object by its ID.
    fn tags<'a>(
        &'a self,
        run: &'a RunningQuery,
        id: &'a str,
    ) -> BoxFuture<'a, Result<BTreeMap<String, String>, CloudError>>;
    /// The tags of all objects, as far as they can be read together. Called only for kinds whose objects carry tags.
    fn all_tags<'a>(&'a self, _: &'a RunningQuery) -> BoxFuture<'a, Result<TagsById, CloudError>> {
        std::future::ready(Ok(TagsById::new())).boxed()
    }
    /// The operation that answers a query.
    fn operation(&self, query: &Query) -> Operation;
    /// The cloud's present time, never ahead of it; `None` until an answer contains it.
    fn cloud_now(&self) -> Option<Timestamp>;
    /// Reports the end of a LIST of the whole collection to the log and the metrics.
    fn listed(&self, result: Result<usize, &CloudError>);
}
