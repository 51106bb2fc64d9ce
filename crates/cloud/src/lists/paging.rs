//! Reads a whole list page by page. Markers are creation times, so a page boundary can lose or repeat items.
//! [`PagedList::complete`] reports whether all items were read.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};

use indexmap::IndexSet;
use serde::Deserialize;

use crate::lists::items::Items;
pub use crate::lists::listed::{Listed, Unreadable};

/// Items per page: the maximum of the API.
pub const LIMIT: u64 = 200;

/// Items per page where the cloud refuses [`LIMIT`]: for users, groups, members and servers the range is not
/// documented, but official clients request 50.
pub const SMALL_LIMIT: u64 = 50;

/// Maximum pages of a list, in case a list never ends.
const MOST_PAGES: usize = 1000;

/// Unreadable items that are kept; further ones are only counted.
const MOST_NAMED: usize = 20;

/// One page as the cloud returned it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// In the order of the list, partly readable ones included.
    pub items: Vec<T>,
    /// Items that cannot be read completely.
    pub unreadable: Vec<Unreadable>,
    /// Items of the whole list.
    pub total_count: Option<u64>,
    /// The creation time after which the next page begins; the last page may have one, too.
    pub next_marker: Option<String>,
    /// Items on this page, by the cloud's count.
    pub current_count: Option<u64>,
}

/// The paging fields of a list.
#[derive(Default, Deserialize)]
pub struct PageInfo {
    /// The marker of the next page; on the last page `null`, `""`, absent, or a marker like any other.
    #[serde(default, deserialize_with = "crate::values::fields::text")]
    pub next_marker: Option<String>,
    /// Items on this page, by the cloud's count.
    pub current_count: Option<u64>,
}

impl<T> Page<T> {
    /// Builds a page from the content of a list.
    pub fn new(items: Items<T>, total_count: Option<u64>, info: Option<PageInfo>) -> Self {
        let PageInfo {
            next_marker,
            current_count,
        } = info.unwrap_or_default();
        Self {
            items: items.readable,
            unreadable: items.unreadable,
            total_count,
            next_marker,
            current_count,
        }
    }

    /// The same page with each item in another form.
    pub fn map<U>(self, form: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(form).collect(),
            unreadable: self.unreadable,
            total_count: self.total_count,
            next_marker: self.next_marker,
            current_count: self.current_count,
        }
    }
}

/// Returns the query parameters for a page. The limit is always sent: the cloud may refuse a marker alone.
pub fn query<'a>(limit: &'a str, marker: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    let marker = marker.map(|marker| ("marker", marker));
    [("limit", limit)].into_iter().chain(marker).collect()
}

/// What to do after a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextPage {
    /// Read the page after this marker.
    Fetch(String),
    /// No further page can be read.
    Done,
}

/// The result of reading all pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PagedList<T> {
    /// Each id once, in the order of the pages.
    pub items: Vec<T>,
    /// Every page reported the same total, and as many items with an id were read. If false, an item that is not here
    /// may still exist.
    pub complete: bool,
    /// The first items that cannot be read completely.
    pub unreadable: Vec<Unreadable>,
    /// The number of all such items.
    pub unreadable_count: usize,
    /// Total of the list, if all pages agree on it.
    pub total: Option<u64>,
}

/// An item that equals another one with its id: no second copy of the ids is needed to find the repeated ones.
#[derive(Debug)]
struct ById<T>(T);

impl<T: Listed> PartialEq for ById<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.id() == other.0.id()
    }
}

impl<T: Listed> Eq for ById<T> {}

impl<T: Listed> Hash for ById<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id().hash(state);
    }
}

impl<T: Listed> Borrow<str> for ById<T> {
    fn borrow(&self) -> &str {
        self.0.id()
    }
}

/// The pages read so far.
#[derive(Debug)]
pub struct Pages<T> {
    /// Items requested per page.
    limit: u64,
    /// In the order of the pages.
    items: IndexSet<ById<T>>,
    unreadable: Vec<Unreadable>,
    unreadable_count: usize,
    /// Items without a readable id.
    pub without_id: usize,
    /// Creation time of the last item of each page that another page follows. Items of the same time may be missing.
    pub borders: HashSet<String>,
    /// The same time of a page with fewer items than requested. It counts only if another page follows.
    short_border: Option<String>,
    added: usize,
    marker: Option<String>,
    /// The total that all pages report, if they agree.
    total: Option<u64>,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self::of(LIMIT)
    }
}

impl<T> Pages<T> {
    /// Starts a list with pages of this many items.
    pub fn of(limit: u64) -> Self {
        Self {
            limit,
            items: IndexSet::new(),
            unreadable: Vec::new(),
            unreadable_count: 0,
            without_id: 0,
            borders: HashSet::new(),
            short_border: None,
            added: 0,
            marker: None,
            total: None,
        }
    }
}

impl<T: Listed> Pages<T> {
    /// Adds a page and returns the next step.
    pub fn add(&mut self, page: Page<T>) -> NextPage {
        self.add_of(self.limit, page)
    }

    /// The same for a page that was requested with this limit.
    pub(crate) fn add_of(&mut self, limit: u64, page: Page<T>) -> NextPage {
        self.added += 1;
        // A total that changes between pages means that an item was created or deleted at an unknown place.
        self.total = match self.added {
            1 => page.total_count,
            _ => self.total.filter(|total| page.total_count == Some(*total)),
        };
        let without_id = page.unreadable.iter().filter(|item| item.id.is_none()).count();
        self.without_id += without_id;
        for item in page.unreadable {
            // A page can repeat items.
            if item.id.as_ref().is_none_or(|id| !self.items.contains(id.as_str())) {
                self.unreadable_count += 1;
                if self.unreadable.len() < MOST_NAMED {
                    self.unreadable.push(item);
                }
            }
        }
        let on_page = u64::try_from(page.items.len() + without_id).unwrap_or(u64::MAX);
        let before = self.items.len();
        if let Some(border) = self.short_border.take().filter(|_| on_page > 0) {
            self.borders.insert(border);
        }
        let border = page.items.last().and_then(Listed::created).map(str::to_owned);
        self.items.extend(page.items.into_iter().map(ById));
        let nothing_new = self.items.len() == before;
        // Some lists return a marker even on their last page; others may return shorter pages than requested.
        let is_short = page.current_count.unwrap_or(on_page) < limit;
        let all_seen = page
            .total_count
            .is_none_or(|total| u64::try_from(self.items.len() + self.without_id).is_ok_and(|found| found >= total));
        let last = on_page == 0 || is_short && all_seen;
        let marker = page.next_marker.filter(|marker| !marker.is_empty());
        match marker {
            Some(marker)
                if !last && !nothing_new && self.added < MOST_PAGES && self.marker.as_ref() != Some(&marker) =>
            {
                self.marker = Some(marker.clone());
                if is_short {
                    self.short_border = border;
                } else {
                    self.borders.extend(border);
                }
                NextPage::Fetch(marker)
            }
            _ => NextPage::Done,
        }
    }

    /// Returns what was read.
    pub fn finish(self) -> PagedList<T> {
        PagedList {
            complete: is_complete(self.items.len(), self.total, self.without_id),
            items: self.items.into_iter().map(|ById(item)| item).collect(),
            unreadable: self.unreadable,
            unreadable_count: self.unreadable_count,
            total: self.total,
        }
    }
}

/// Whether this number of items with ids is the whole list. An item without an id could be any.
pub fn is_complete(found: usize, total: Option<u64>, without_id: usize) -> bool {
    let found = u64::try_from(found).ok();
    found.is_some() && total == found && without_id == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct PagedItem {
        id: String,
        created: u32,
    }

    impl Listed for PagedItem {
        fn id(&self) -> &str {
            &self.id
        }
    }

    fn items(range: std::ops::Range<u32>) -> Vec<PagedItem> {
        range
            .map(|number| PagedItem {
                id: number.to_string(),
                created: number,
            })
            .collect()
    }

    fn page(items: Vec<PagedItem>, total: u64, marker: Option<&str>) -> Page<PagedItem> {
        let current_count = Some(items.len() as u64);
        Page {
            items,
            unreadable: Vec::new(),
            total_count: Some(total),
            next_marker: marker.map(str::to_owned),
            current_count,
        }
    }

    fn fetch(marker: &str) -> NextPage {
        NextPage::Fetch(marker.to_owned())
    }

    #[test]
    fn a_short_page_that_reaches_the_total_is_the_last_one() {
        let mut pages = Pages::default();
        assert_eq!(pages.add(page(items(0..200), 203, Some("a"))), fetch("a"));
        assert_eq!(pages.add(page(items(200..203), 203, Some("b"))), NextPage::Done);
        let listing = pages.finish();
        assert_eq!(listing.items, items(0..203));
        assert!(listing.complete);
    }

    #[test]
    fn pages_shorter_than_the_limit_are_read_to_the_total() {
        let mut pages = Pages::default();
        assert_eq!(pages.add(page(items(0..50), 120, Some("a"))), fetch("a"));
        assert_eq!(pages.add(page(items(50..100), 120, Some("b"))), fetch("b"));
        assert_eq!(pages.add(page(items(100..120), 120, Some("c"))), NextPage::Done);
        assert!(pages.finish().complete);
        let mut pages = Pages::default();
        assert_eq!(
            pages.add(page(items(0..50), 120, None)),
            NextPage::Done,
            "there is no way on"
        );
        assert!(!pages.finish().complete);
    }

    #[test]
    fn an_empty_list_is_complete() {
        let mut pages = Pages::<PagedItem>::default();
        assert_eq!(pages.add(page(vec![], 0, None)), NextPage::Done);
        assert_eq!(
            pages.finish(),
            PagedList {
                items: vec![],
                complete: true,
                unreadable: vec![],
                unreadable_count: 0,
                total: Some(0),
            }
        );
    }

    #[test]
    fn a_full_page_ends_the_list_without_a_new_marker_or_new_items() {
        for marker in [None, Some("")] {
            assert_eq!(Pages::default().add(page(items(0..200), 200, marker)), NextPage::Done);
        }
        let mut pages = Pages::default();
        assert_eq!(pages.add(page(items(0..200), 900, Some("a"))), fetch("a"));
        assert_eq!(
            pages.add(page(items(200..400), 900, Some("a"))),
            NextPage::Done,
            "the marker stands still"
        );
        let mut pages = Pages::default();
        assert_eq!(pages.add(page(items(0..200), 900, Some("a"))), fetch("a"));
        assert_eq!(
            pages.add(page(items(0..200), 900, Some("b"))),
            NextPage::Done,
            "nothing new"
        );
        assert!(!pages.finish().complete);
    }

    #[test]
    fn a_missing_or_changing_total_does_not_complete_a_list() {
        for totals in [
            [None, None],
            [Some(300), None],
            [Some(301), Some(300)],
            [Some(301), Some(301)],
        ] {
            let mut pages = Pages::default();
            for (total, range) in totals.into_iter().zip([0..200, 200..300]) {
                pages.add(Page {
                    total_count: total,
                    ..page(items(range), 0, Some("a"))
                });
            }
            let listing = pages.finish();
            assert_eq!(listing.items.len(), 300);
            assert!(!listing.complete, "{totals:?}");
        }
    }

    fn unreadable(id: Option<&str>) -> Unreadable {
        Unreadable {
            id: id.map(str::to_owned),
            problem: "name: a number".to_owned(),
        }
    }

    #[test]
    fn an_item_without_a_readable_id_makes_the_list_incomplete() {
        for (id, total, complete) in [(Some("1"), 3, true), (None, 4, false), (None, 3, false)] {
            let mut pages = Pages::default();
            let with_unreadable = Page {
                unreadable: vec![unreadable(id)],
                ..page(items(0..3), total, None)
            };
            assert_eq!(pages.add(with_unreadable), NextPage::Done);
            let listing = pages.finish();
            assert_eq!((listing.complete, listing.unreadable), (complete, vec![unreadable(id)]));
        }
    }

    #[test]
    fn a_page_is_full_by_the_requested_limit() {
        let without_total = |range, marker| Page {
            total_count: None,
            ..page(items(range), 0, marker)
        };
        let mut pages = Pages::of(SMALL_LIMIT);
        assert_eq!(pages.add(without_total(0..50, Some("a"))), fetch("a"));
        assert_eq!(pages.add(without_total(50..60, Some("b"))), NextPage::Done);
        assert_eq!(pages.finish().items.len(), 60);
    }

    #[test]
    fn a_list_without_pages_is_incomplete() {
        assert!(!Pages::<PagedItem>::default().finish().complete);
    }

    #[test]
    fn an_endless_list_stops_at_the_page_limit() {
        let mut pages = Pages::default();
        let mut next = 0;
        while let NextPage::Fetch(_) = pages.add(page(items(next..next + 200), u64::MAX, Some(&next.to_string()))) {
            next += 200;
        }
        let listing = pages.finish();
        assert_eq!(listing.items.len(), MOST_PAGES * 200);
        assert!(!listing.complete);
    }

    /// A cloud with the variants that its documents leave open.
    #[derive(Clone, Debug)]
    struct PagingCloud {
        items: Vec<PagedItem>,
        descending: bool,
        /// Whether items of the marker's time are repeated; otherwise those not shown yet are lost.
        repeats: bool,
        marker_on_last_page: bool,
        counts_page: bool,
    }

    impl PagingCloud {
        fn page(&self, marker: Option<&str>) -> Page<PagedItem> {
            let mut items = self.items.clone();
            items.sort_by_key(|item| item.created);
            if self.descending {
                items.reverse();
            }
            let total = items.len() as u64;
            if let Some(marker) = marker {
                let marker: u32 = marker.parse().expect("one of ours");
                items.retain(|item| match item.created.cmp(&marker) {
                    std::cmp::Ordering::Equal => self.repeats,
                    order => order.is_lt() == self.descending,
                });
            }
            let more = items.len() as u64 > LIMIT;
            items.truncate(usize::try_from(LIMIT).expect("a small number"));
            let marker = items.last().map(|item| item.created.to_string());
            Page {
                unreadable: Vec::new(),
                total_count: Some(total),
                next_marker: marker.filter(|_| more || self.marker_on_last_page),
                current_count: self.counts_page.then_some(items.len() as u64),
                items,
            }
        }
    }

    fn clouds() -> impl Strategy<Value = PagingCloud> {
        let times = (1_u32..900).prop_flat_map(|distinct| prop::collection::vec(0..distinct, 0..700));
        (times, any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
            |(times, descending, repeats, marker_on_last_page, counts_page)| {
                let items = times.into_iter().zip(0..).map(|(created, id): (u32, u32)| PagedItem {
                    id: id.to_string(),
                    created,
                });
                PagingCloud {
                    items: items.collect(),
                    descending,
                    repeats,
                    marker_on_last_page,
                    counts_page,
                }
            },
        )
    }

    fn walk(cloud: &PagingCloud) -> (PagedList<PagedItem>, u64) {
        let (mut pages, mut next, mut asked) = (Pages::default(), None, 0);
        loop {
            asked += 1;
            match pages.add(cloud.page(next.as_deref())) {
                NextPage::Fetch(marker) => next = Some(marker),
                NextPage::Done => return (pages.finish(), asked),
            }
        }
    }

    proptest! {
        #[test]
        fn a_read_ends_without_duplicates_and_is_complete_if_all_was_seen(cloud in clouds()) {
            let (listing, asked) = walk(&cloud);
            let total = cloud.items.len() as u64;
            prop_assert!(asked <= total / LIMIT * 2 + 2, "{} pages for {}", asked, total);
            let ids: HashSet<_> = listing.items.iter().map(|item| &item.id).collect();
            prop_assert_eq!(ids.len(), listing.items.len(), "an id came twice");
            prop_assert_eq!(listing.complete, listing.items.len() as u64 == total);
        }

        #[test]
        fn with_distinct_creation_times_no_item_is_missed(mut cloud in clouds()) {
            for (item, created) in cloud.items.iter_mut().zip(0..) {
                item.created = created;
            }
            let (listing, asked) = walk(&cloud);
            prop_assert!(listing.complete);
            prop_assert!(asked <= cloud.items.len() as u64 / LIMIT + 2);
        }

        #[test]
        fn any_sequence_of_pages_ends_with_unique_ids(
            pages in prop::collection::vec(
                (0_u32..1000, 0_u32..260, prop::option::of(0_u8..4), prop::option::of(0_u64..900), prop::option::of(0_u64..300)),
                1..12,
            ),
        ) {
            let mut collected = Pages::default();
            let mut totals = HashSet::new();
            for (start, length, marker, total_count, current_count) in pages {
                totals.insert(total_count);
                let next_marker = marker.map(|marker| marker.to_string());
                let page = Page { items: items(start..start + length), unreadable: Vec::new(), total_count, next_marker, current_count };
                if collected.add(page) == NextPage::Done {
                    break;
                }
            }
            let listing = collected.finish();
            let ids: HashSet<_> = listing.items.iter().map(|item| &item.id).collect();
            prop_assert_eq!(ids.len(), listing.items.len());
            if listing.complete {
                prop_assert_eq!(totals, HashSet::from([Some(listing.items.len() as u64)]));
            }
        }
    }
}
