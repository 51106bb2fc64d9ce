//! Looks at the cloud: which are due is for what is known to say; here they are answered.

use std::sync::Arc;

use tokio::time::Instant;

use super::cloud::{Manners, at};
use super::kinds::Modelled;
use super::operator::Work;
use super::world::{UnderWay, World};
use crate::cloud::error::Operation;
use crate::cloud::{CloudError, Meaning};
use crate::mirror::{Known, Listing, Look, Remote};
use crate::reconcile::key::Key;

impl<K: Modelled> Work<'_, K> {
    /// The drift poll lists the collection.
    pub fn poll(mut self) -> World<K> {
        if let Some(look) = self.known.begin(Look::Collection) {
            self.start(look);
        }
        self.start_due();
        self.done()
    }

    pub(super) fn look(&mut self, look: Look, since: Instant) {
        let key = self.world.key(self.index);
        if !self.known.want(&key, look, since) {
            self.start_due();
        }
    }

    pub(super) fn start_due(&mut self) {
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

    pub(super) fn start(&mut self, look: Look) {
        let manners = self.check.scope.manners;
        let with_tags = Manners {
            lists_without_tags: false,
            ..manners
        };
        let is_denied = match &look {
            Look::Object(id) | Look::Whole(id) | Look::Tags(id) => self.world.takes_denial(id),
            Look::Collection | Look::AllTags => false,
        };
        let cloud = &self.world.cloud;
        let under_way = UnderWay {
            started: self.now,
            second: self.world.now,
            list: match &look {
                Look::Collection => Some(cloud.list(manners, self.world.skips.as_ref())),
                Look::AllTags => Some(cloud.list(with_tags, self.world.skips.as_ref())),
                Look::Object(_) | Look::Whole(_) | Look::Tags(_) => None,
            },
            object: match &look {
                Look::Object(id) | Look::Whole(id) | Look::Tags(id) if !is_denied => cloud.get(id),
                Look::Object(_) | Look::Whole(_) | Look::Tags(_) => None,
                Look::Collection | Look::AllTags => None,
            },
            look,
        };
        if under_way.list.is_some() && self.check.scope.slow_lists {
            self.world.process.looks.push(Arc::new(under_way));
        } else {
            ended(&mut self.known, &under_way);
        }
    }

    /// The answer of a look that was started earlier comes.
    pub fn end_look(mut self, which: usize) -> World<K> {
        let under_way = self.world.process.looks.remove(which);
        ended(&mut self.known, &under_way);
        self.start_due();
        self.done()
    }
}

fn ended<K: Modelled>(known: &mut Known<K::Remote, Key>, under_way: &UnderWay<K>) {
    let UnderWay {
        look,
        started,
        second,
        list,
        object,
    } = under_way;
    let gone = || CloudError::new(Operation::GetCustomerGateway, Meaning::Gone, "no such object");
    match look {
        Look::Collection => {
            if let Some(list) = list {
                let list = Listing {
                    items: list.items.clone(),
                    complete: list.complete,
                };
                known.ended_list(Ok(list), *started, at(*second));
            }
        }
        Look::AllTags => {
            let items = list.iter().flat_map(|list| &list.items);
            let tags = items.map(|item| (item.id().to_owned(), item.tags().cloned().unwrap_or_default()));
            known.ended_all_tags(Ok(tags.collect()), *started);
        }
        Look::Object(id) | Look::Whole(id) => {
            known.ended_get(look, id, object.clone().ok_or_else(gone), *started);
        }
        Look::Tags(id) => {
            let tags = object.as_ref().map(|object| object.tags().cloned().unwrap_or_default());
            known.ended_tags(look, id, tags.ok_or_else(gone), *started);
        }
    }
}
