//! Queries of the cloud. The cache determines which are due; this module answers them.

use std::sync::Arc;

use tokio::time::Instant;
use vpn_cloud::error::cloud_error::Operation;
use vpn_cloud::{CloudError, ErrorKind};

use crate::cache::{CacheContents, Listing, Query, Remote, Urgency};
use crate::model::cloud::{Manners, at};
use crate::model::kinds::Modelled;
use crate::model::operator::Work;
use crate::model::world::{ModelWorld, StartedQuery};
use crate::terms::key::ObjectKey;

impl<K: Modelled> Work<'_, K> {
    /// The drift check lists the collection.
    pub(crate) fn poll(mut self) -> ModelWorld<K> {
        if let Some(query) = self.known.begin(Query::Collection, Urgency::Background) {
            self.start(query);
        }
        self.start_next_queries();
        self.done()
    }

    pub(crate) fn query(&mut self, query: Query, since: Instant) {
        let key = ModelWorld::<K>::key(self.index);
        if !self.known.request(&key, query, since, Urgency::Reader) {
            self.start_next_queries();
        }
    }

    pub(crate) fn start_next_queries(&mut self) {
        loop {
            let next_queries = self.known.next_queries();
            if next_queries.is_empty() {
                return;
            }
            for query in next_queries {
                self.start(query);
            }
        }
    }

    pub(crate) fn start(&mut self, query: Query) {
        let manners = self.check.scope.manners;
        let with_tags = Manners {
            lists_without_tags: false,
            ..manners
        };
        let is_denied = match &query {
            Query::Object(id) | Query::Whole(id) | Query::Tags(id) => {
                self.world.takes_denial(id) || self.world.takes_lagging_read(id)
            }
            Query::Collection | Query::AllTags => false,
        };
        let lagging = match &query {
            Query::Collection | Query::AllTags => self.world.takes_lagging_list(),
            Query::Object(_) | Query::Whole(_) | Query::Tags(_) => None,
        };
        let skips = lagging.as_ref().or(self.world.skips.as_ref());
        let cloud = &self.world.cloud;
        let in_progress = StartedQuery {
            started: self.now,
            second: self.world.now,
            list: match &query {
                Query::Collection => Some(cloud.list(manners, skips)),
                Query::AllTags => Some(cloud.list(with_tags, skips)),
                Query::Object(_) | Query::Whole(_) | Query::Tags(_) => None,
            },
            object: match &query {
                Query::Object(id) | Query::Whole(id) | Query::Tags(id) if !is_denied => cloud.get(id),
                _ => None,
            },
            query,
        };
        if in_progress.list.is_some() && self.check.scope.slow_lists {
            self.world.process.queries.push(Arc::new(in_progress));
        } else {
            ended(&mut self.known, &in_progress);
        }
    }

    /// Delivers the response to a query that was started earlier.
    pub(crate) fn end_query(mut self, which: usize) -> ModelWorld<K> {
        let in_progress = self.world.process.queries.remove(which);
        ended(&mut self.known, &in_progress);
        self.start_next_queries();
        self.done()
    }
}

fn ended<K: Modelled>(known: &mut CacheContents<K::Remote, ObjectKey>, in_progress: &StartedQuery<K>) {
    let StartedQuery {
        query,
        started,
        second,
        list,
        object,
    } = in_progress;
    let not_found = || CloudError::new(Operation::GetCustomerGateway, ErrorKind::Gone, "no such object");
    match query {
        Query::Collection => {
            if let Some(list) = list {
                let list = Listing {
                    items: list.items.iter().cloned().map(|item| known.keep(item)).collect(),
                    complete: list.complete,
                };
                known.ended_list(Ok(list), *started, at(*second));
            }
        }
        Query::AllTags => {
            let items = list.iter().flat_map(|list| &list.items);
            let tags = items.map(|item| (item.id().to_owned(), item.tags().cloned().unwrap_or_default()));
            known.ended_all_tags(Ok(tags.collect()), *started);
        }
        Query::Object(id) | Query::Whole(id) => {
            known.ended_get(query, id, object.clone().ok_or_else(not_found), *started);
        }
        Query::Tags(id) => {
            let tags = object.as_ref().map(|object| object.tags().cloned().unwrap_or_default());
            known.ended_tags(query, id, tags.ok_or_else(not_found), *started);
        }
    }
}
