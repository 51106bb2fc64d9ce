//! Reading a whole list page by page. Markers are creation times, so a page border can lose or repeat items:
//! what is collected says whether it is all there is.

use std::collections::HashSet;

/// Items of a page: the most that the API gives.
pub const LIMIT: u64 = 200;
/// A list that goes on for ever ends here.
const MOST_PAGES: usize = 1000;

/// An item of a list.
pub trait Listed {
    /// Unique in the list.
    fn id(&self) -> &str;
}

/// One page, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Of the whole list.
    pub total_count: Option<u64>,
    pub next_marker: Option<String>,
    /// Of this page, as the cloud counts.
    pub current_count: Option<u64>,
}

/// What to do after a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask for the page behind this marker.
    Fetch(String),
    /// There is no more to be had.
    Done,
}

/// What a walk over the pages found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<T> {
    /// Each id once, in the order of the pages.
    pub items: Vec<T>,
    /// As many as the cloud says there are, on every page. If not, an item that is not here may still exist.
    pub complete: bool,
}

/// The pages so far.
#[derive(Debug)]
pub struct Pages<T> {
    items: Vec<T>,
    ids: HashSet<String>,
    pages: usize,
    marker: Option<String>,
    /// `None` before the first page; then what all pages agreed on, if they did.
    total: Option<Option<u64>>,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            ids: HashSet::new(),
            pages: 0,
            marker: None,
            total: None,
        }
    }
}

impl<T: Listed> Pages<T> {
    /// Takes a page, and says which one is next.
    pub fn add(&mut self, page: Page<T>) -> Next {
        self.pages += 1;
        // A total that moves while we read means that something came or went at an unknown place.
        self.total = Some(match self.total {
            None => page.total_count,
            Some(total) => total.filter(|total| page.total_count == Some(*total)),
        });
        let on_page = u64::try_from(page.items.len()).unwrap_or(u64::MAX);
        let before = self.items.len();
        for item in page.items {
            if self.ids.insert(item.id().to_owned()) {
                self.items.push(item);
            }
        }
        let nothing_new = self.items.len() == before;
        let last = on_page == 0 || page.current_count.unwrap_or(on_page) < LIMIT;
        let marker = page.next_marker.filter(|marker| !marker.is_empty());
        match marker {
            Some(marker)
                if !last && !nothing_new && self.pages < MOST_PAGES && self.marker.as_ref() != Some(&marker) =>
            {
                self.marker = Some(marker.clone());
                Next::Fetch(marker)
            }
            _ => Next::Done,
        }
    }

    /// What was found.
    pub fn finish(self) -> Listing<T> {
        let found = u64::try_from(self.items.len()).ok();
        let complete = found.is_some() && self.total.flatten() == found;
        Listing {
            items: self.items,
            complete,
        }
    }
}
