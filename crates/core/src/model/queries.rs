//! Queries of the cloud. The cache determines which are due; this module answers them.

use std::sync::Arc;

use tokio::time::Instant;
use vpn_cloud::error::cloud_error::Operation;
use vpn_cloud::{CloudError, ErrorKind};

use crate::cache::{CacheContents, Listing, Query, Remote};
use crate::model::cloud::{Manners, at};
use crate::model::kinds::Modelled;
use crate::model::operator::Work;
use crate::model::world::{ModelWorld, StartedQuery};
use crate::terms::key::ObjectKey;

impl<K: Modelled> Work<'_, K> {
    /// The drift check lists the collection.
    pub(crate) fn poll(mut self) -> ModelWorld<K> {
        if let Some(look) = self.known.begin(Query::Collection) {
            self.start(look);
        }
        self.start_due();
        self.done()
    }

    pub(crate) fn look(&mut self, look: Query, since: Instant) {
        let key = ModelWorld::<K>::key(self.index);
        if !self.known.want(&key, look, since) {
            self.start_due();
        }
    }

    pub(crate) fn start_due(&mut self) {
        loop {
            let due = self.known.due();
            if due.is_empty() {
                return;
            }
            for look in due {
                self.start(look);
            }
        }
    }

    pub(crate) fn start(&mut self, look: Query) {
        let manners = self.check.scope.manners;
        let with_tags = Manners {
            lists_without_tags: false,
            ..manners
        };
        let is_denied = match &look {
            Query::Object(id) | Query::Whole(id) | Query::Tags(id) => {
                self.world.takes_denial(id) || self.world.takes_lagging_read(id)
            }
            Query::Collection | Query::AllTags => false,
        };
        let lagging = match &look {
            Query::Collection | Query::AllTags => self.world.takes_lagging_list(),
            Query::Object(_) | Query::Whole(_) | Query::Tags(_) => None,
        };
        let skips = lagging.as_ref().or(self.world.skips.as_ref());
        let cloud = &self.world.cloud;
        let under_way = StartedQuery {
            started: self.now,
            second: self.world.now,
            list: match &look {
                Query::Collection => Some(cloud.list(manners, skips)),
                Query::AllTags => Some(cloud.list(with_tags, skips)),
                Query::Object(_) | Query::Whole(_) | Query::Tags(_) => None,
            },
            object: match &look {
                Query::Object(id) | Query::Whole(id) | Query::Tags(id) if !is_denied => cloud.get(id),
                _ => None,
            },
            look,
        };
        if under_way.list.is_some() && self.check.scope.slow_lists {
            self.world.process.queries.push(Arc::new(under_way));
        } else {
            ended(&mut self.known, &under_way);
        }
    }

    /// Delivers the response to a query that was started earlier.
    pub(crate) fn end_query(mut self, which: usize) -> ModelWorld<K> {
        let under_way = self.world.process.queries.remove(which);
        ended(&mut self.known, &under_way);
        self.start_due();
        self.done()
    }
}

fn ended<K: Modelled>(known: &mut CacheContents<K::Remote, ObjectKey>, under_way: &StartedQuery<K>) {
    let StartedQuery {
        look,
        started,
        second,
        list,
        object,
    } = under_way;
    let gone = || CloudError::new(Operation::GetCustomerGateway, ErrorKind::Gone, "no such object");
    match look {
        Query::Collection => {
            if let Some(list) = list {
                let list = Listing {
                    items: list.items.clone(),
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
            known.ended_get(look, id, object.clone().ok_or_else(gone), *started);
        }
        Query::Tags(id) => {
            let tags = object.as_ref().map(|object| object.tags().cloned().unwrap_or_default());
            known.ended_tags(look, id, tags.ok_or_else(gone), *started);
        }
    }
}
