//! An item of a list that is still being read. It takes little memory: what equals an entry of the cache shares its memory,
//! and the rest is compressed. So a list of any length takes little besides what the cache has.

use std::sync::Arc;

use vpn_cloud::lists::paging::Listed;

use crate::cache::query::Remote;
use crate::cache::stored_remote::StoredRemote;
use crate::compact_json::Dictionary;

/// See the module.
#[derive(Debug)]
pub struct ListedItem<R> {
    pub(super) id: Arc<str>,
    created: Option<Box<str>>,
    pub(super) is_partial: bool,
    /// Whether the list shows its tags.
    pub(super) has_tags: bool,
    pub(super) remote: StoredRemote<R>,
}

impl<R: Remote> ListedItem<R> {
    /// `known`: the entry with the item's ID.
    pub(super) fn new(item: R, known: Option<(Arc<str>, StoredRemote<R>)>, dictionary: Option<&Dictionary>) -> Self {
        let (id, known) = known.unzip();
        let same = known.filter(|known| known.get().is_some_and(|known| *known == item));
        Self {
            id: id.unwrap_or_else(|| item.id().into()),
            created: item.created().map(Into::into),
            is_partial: item.is_partial(),
            has_tags: item.tags().is_some(),
            remote: same.unwrap_or_else(|| StoredRemote::new(item, dictionary)),
        }
    }
}

impl<R: Remote> From<R> for ListedItem<R> {
    fn from(item: R) -> Self {
        Self::new(item, None, None)
    }
}

impl<R: Remote> Listed for ListedItem<R> {
    fn id(&self) -> &str {
        &self.id
    }
    fn created(&self) -> Option<&str> {
        self.created.as_deref()
    }
}
