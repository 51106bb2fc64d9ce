//! Reads a whole list although page borders can lose items. A marker is a creation time, so items created at the same
//! time as the last one of a page may be on no page. An incomplete walk is repeated with shorter pages at such borders,
//! and the items of both walks are merged.

use std::collections::{HashMap, HashSet};

use crate::lists::paging::{Listed, NextPage, Page, PagedList, Pages, Unreadable, is_complete};

/// Maximum number of walks over one list. The second finds what the first lost; a third is for a list that changed
/// between the two.
pub(crate) const MOST_WALKS: usize = 3;

/// A page to request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// Items at most.
    pub limit: u64,
    /// The creation time after which the page begins; `None`: the first page.
    pub marker: Option<String>,
}

/// See the module. Pure: it determines the next page, and what all pages prove.
#[derive(Debug)]
pub struct Walks<T> {
    limit: u64,
    request: Option<PageRequest>,
    walk: Pages<T>,
    ended: usize,
    /// Creation times at which no page of this walk should end.
    avoided: HashSet<String>,
    united: Option<United<T>>,
    /// Items of walks that do not agree with the last one.
    others: Vec<T>,
}

impl<T: Listed> Walks<T> {
    /// Starts with pages of `limit` items.
    pub fn of(limit: u64) -> Self {
        Self {
            limit,
            request: Some(PageRequest { limit, marker: None }),
            walk: Pages::of(limit),
            ended: 0,
            avoided: HashSet::new(),
            united: None,
            others: Vec::new(),
        }
    }

    /// The page to request next; `None`: there are no more pages.
    pub fn request(&self) -> Option<&PageRequest> {
        self.request.as_ref()
    }

    /// Adds the requested page.
    pub fn add(&mut self, page: Page<T>) {
        let Some(request) = self.request.take() else { return };
        if let Some(limit) = self.shorter(&request, &page) {
            self.request = Some(PageRequest { limit, ..request });
            return;
        }
        self.request = match self.walk.add_of(request.limit, page) {
            NextPage::Fetch(marker) => Some(PageRequest {
                limit: self.limit,
                marker: Some(marker),
            }),
            NextPage::Done if self.walk_ended() => Some(PageRequest {
                limit: self.limit,
                marker: None,
            }),
            NextPage::Done => None,
        };
    }

    /// Returns a shorter limit for a page that ends where an earlier walk may have lost items: the number of items
    /// before all those created at that time.
    fn shorter(&self, request: &PageRequest, page: &Page<T>) -> Option<u64> {
        let ends_at = page.items.last()?.created()?;
        let has_next = page.next_marker.as_ref().is_some_and(|marker| !marker.is_empty());
        // A page is requested again only once: a cloud may ignore the limit.
        if request.limit != self.limit || !has_next || !self.avoided.contains(ends_at) {
            return None;
        }
        let before = page.items.iter().position(|item| item.created() == Some(ends_at))?;
        u64::try_from(before).ok().filter(|before| *before > 0)
    }

    /// Ends a walk. Returns whether another one can find more.
    fn walk_ended(&mut self) -> bool {
        self.ended += 1;
        let walk = United::from(std::mem::replace(&mut self.walk, Pages::of(self.limit)));
        let mut is_futile = false;
        let united = match self.united.take() {
            Some(earlier) if earlier.agrees_with(&walk) => {
                let before = earlier.items.len();
                let united = earlier.unite(walk);
                is_futile = united.items.len() == before;
                united
            }
            Some(earlier) => {
                self.others.extend(earlier.items);
                walk
            }
            None => walk,
        };
        let goes_on = self.ended < MOST_WALKS && !is_futile && united.may_lack_tied_items();
        self.avoided.clone_from(&united.borders);
        self.united = Some(united);
        goes_on
    }

    /// Returns the list as found.
    pub fn finish(self) -> PagedList<T> {
        let Some(united) = self.united else {
            return self.walk.finish();
        };
        let complete = united.is_complete();
        let mut items = united.items;
        if !complete {
            // They were seen; only the completeness of the list is not proven.
            let ids: HashSet<String> = items.iter().map(|item| item.id().to_owned()).collect();
            let mut others: Vec<T> = self.others;
            others.retain(|item| !ids.contains(item.id()));
            items.extend(others);
        }
        PagedList {
            items,
            complete,
            unreadable: united.unreadable,
            unreadable_count: united.unreadable_count,
            total: united.total,
        }
    }
}

/// The merged result of walks that agree.
#[derive(Debug)]
struct United<T> {
    items: Vec<T>,
    without_id: usize,
    /// Of the last walk.
    unreadable: Vec<Unreadable>,
    unreadable_count: usize,
    total: Option<u64>,
    /// Creation times at which every walk had a page border.
    borders: HashSet<String>,
}

impl<T: Listed> From<Pages<T>> for United<T> {
    fn from(mut walk: Pages<T>) -> Self {
        let (without_id, borders) = (walk.without_id, std::mem::take(&mut walk.borders));
        let listing = walk.finish();
        Self {
            items: listing.items,
            without_id,
            unreadable: listing.unreadable,
            unreadable_count: listing.unreadable_count,
            total: listing.total,
            borders,
        }
    }
}

impl<T: Listed> United<T> {
    fn is_complete(&self) -> bool {
        is_complete(self.items.len(), self.total, self.without_id)
    }

    fn may_lack_tied_items(&self) -> bool {
        let found = u64::try_from(self.items.len()).unwrap_or(u64::MAX);
        self.without_id == 0 && self.total.is_some_and(|total| found < total) && !self.borders.is_empty()
    }

    /// Whether every item that only one of the walks has can have been lost at a border of the other. If not, the list
    /// changed between the two: in the count, a deleted item would make up for one that was never seen.
    fn agrees_with(&self, walk: &Self) -> bool {
        let lacks_only_tied = |one: &Self, other: &Self| {
            let ids: HashSet<&str> = one.items.iter().map(Listed::id).collect();
            let lacked = other.items.iter().filter(|item| !ids.contains(item.id()));
            lacked
                .map(Listed::created)
                .all(|created| created.is_some_and(|created| one.borders.contains(created)))
        };
        self.total.is_some() && self.total == walk.total && lacks_only_tied(self, walk) && lacks_only_tied(walk, self)
    }

    /// Merges two walks. The later one counts for items in both.
    fn unite(mut self, walk: Self) -> Self {
        let mut index: HashMap<String, usize> = HashMap::with_capacity(self.items.len());
        for (place, item) in self.items.iter().enumerate() {
            index.insert(item.id().to_owned(), place);
        }
        for item in walk.items {
            match index.get(item.id()).and_then(|place| self.items.get_mut(*place)) {
                Some(earlier) => *earlier = item,
                None => self.items.push(item),
            }
        }
        self.borders.retain(|border| walk.borders.contains(border));
        Self {
            items: self.items,
            borders: self.borders,
            ..walk
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::lists::paging::LIMIT;

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct WalkedItem {
        id: String,
        created: String,
    }

    impl Listed for WalkedItem {
        fn id(&self) -> &str {
            &self.id
        }
        fn created(&self) -> Option<&str> {
            Some(&self.created)
        }
    }

    fn item(id: usize, created: usize) -> WalkedItem {
        WalkedItem {
            id: format!("i{id}"),
            created: format!("t{created:05}"),
        }
    }

    /// A list whose markers are creation times, with the behavior that the documentation leaves open.
    #[derive(Clone, Debug)]
    struct WalkedCloud {
        items: Vec<WalkedItem>,
        newest_first: bool,
        /// Whether items created at the marker's time are repeated; otherwise those not shown yet are on no page.
        repeats: bool,
        total: u64,
        /// A page size regardless of the limit.
        page: Option<usize>,
    }

    impl WalkedCloud {
        fn of(items: Vec<WalkedItem>) -> Self {
            Self {
                total: items.len() as u64,
                items,
                newest_first: true,
                repeats: false,
                page: None,
            }
        }

        fn answer(&self, request: &PageRequest) -> Page<WalkedItem> {
            let mut items = self.items.clone();
            items.sort_by_key(|item| item.created.clone());
            if self.newest_first {
                items.reverse();
            }
            if let Some(marker) = &request.marker {
                items.retain(|item| match item.created.cmp(marker) {
                    std::cmp::Ordering::Equal => self.repeats,
                    order => order.is_lt() == self.newest_first,
                });
            }
            items.truncate(
                self.page
                    .unwrap_or(usize::try_from(request.limit).expect("a small number")),
            );
            Page {
                unreadable: Vec::new(),
                total_count: Some(self.total),
                next_marker: items.last().map(|item| item.created.clone()),
                current_count: Some(items.len() as u64),
                items,
            }
        }
    }

    /// Walks over the list that `cloud` returns for the number of each request, starting at 1.
    fn walk(limit: u64, cloud: impl Fn(usize) -> WalkedCloud) -> (PagedList<WalkedItem>, Vec<PageRequest>) {
        let mut walks = Walks::of(limit);
        let mut asked = Vec::new();
        while let Some(request) = walks.request().cloned() {
            asked.push(request.clone());
            assert!(asked.len() < 1000, "the walks do not end: {request:?}");
            walks.add(cloud(asked.len()).answer(&request));
        }
        (walks.finish(), asked)
    }

    /// 205 items, four of which share a time around the 200th.
    fn tied_at_the_border() -> Vec<WalkedItem> {
        let created = |number: usize| if (198..202).contains(&number) { 198 } else { number };
        let newest_first = |number: usize| 1000 - created(number);
        (0..205).map(|number| item(number, newest_first(number))).collect()
    }

    #[test]
    fn an_item_lost_at_a_page_border_is_found_with_another_page_size() {
        let (listing, asked) = walk(LIMIT, |_| WalkedCloud::of(tied_at_the_border()));
        assert!(listing.complete);
        assert_eq!(listing.items.len(), 205);
        let limits: Vec<u64> = asked.iter().map(|request| request.limit).collect();
        // Each walk ends with an empty page, or with the page that has the last item.
        assert_eq!(limits, [200, 200, 200, 200, 198, 200]);
    }

    #[test]
    fn a_complete_or_single_page_list_is_read_once() {
        let distinct = |count: usize| (0..count).map(|number| item(number, number)).collect();
        let (listing, asked) = walk(LIMIT, |_| WalkedCloud::of(distinct(401)));
        assert!(listing.complete);
        assert_eq!(asked.len(), 3);
        let wrong_total = WalkedCloud {
            total: 12,
            ..WalkedCloud::of(distinct(10))
        };
        let (listing, asked) = walk(LIMIT, |_| wrong_total.clone());
        assert!(!listing.complete);
        assert_eq!(asked.len(), 2, "with the empty page that ends it");
    }

    #[test]
    fn an_unreached_total_costs_one_more_walk() {
        let items: Vec<WalkedItem> = (0..500).map(|number| item(number, number)).collect();
        let wrong_total = WalkedCloud {
            total: 501,
            ..WalkedCloud::of(items)
        };
        let (listing, asked) = walk(LIMIT, |_| wrong_total.clone());
        assert!(!listing.complete);
        assert_eq!(listing.items.len(), 500);
        assert!(asked.len() <= 4 + 8, "each border elsewhere: {asked:?}");
        // A cloud that ignores the limit does not cause endless requests either.
        let deaf = WalkedCloud {
            page: Some(50),
            ..wrong_total
        };
        let (listing, asked) = walk(LIMIT, |_| deaf.clone());
        assert!(!listing.complete);
        assert!(asked.len() <= 40, "{}", asked.len());
    }

    #[test]
    fn a_deleted_item_does_not_compensate_for_an_unseen_one() {
        // The first walk lacks the tied items. Then a later item is deleted, and another one is created.
        let before = tied_at_the_border();
        let mut after = before.clone();
        after.remove(50);
        after.push(item(999, 2000));
        // The second walk lacks one tied item, too: as many items are found in all as there are.
        let still_lacks = WalkedCloud {
            items: after.iter().filter(|item| item.id != "i198").cloned().collect(),
            ..WalkedCloud::of(after.clone())
        };
        let cloud = |request: usize| match request {
            1..=3 => WalkedCloud::of(before.clone()),
            _ => still_lacks.clone(),
        };
        let (listing, _) = walk(LIMIT, cloud);
        assert!(!listing.complete, "i198 exists");
        assert!(listing.items.iter().any(|item| item.id == "i999"));
    }

    #[test]
    fn a_list_changed_between_walks_has_its_later_state() {
        let before = tied_at_the_border();
        let mut after = before.clone();
        after.push(item(999, 2000));
        let cloud = |request: usize| match request {
            1..=3 => WalkedCloud::of(before.clone()),
            _ => WalkedCloud::of(after.clone()),
        };
        let (listing, _) = walk(LIMIT, cloud);
        assert!(listing.complete);
        assert_eq!(listing.items.len(), 206);
    }

    fn ids(listing: &PagedList<WalkedItem>) -> Vec<&str> {
        let mut ids: Vec<&str> = listing.items.iter().map(Listed::id).collect();
        ids.sort_unstable();
        ids
    }

    /// 405 items: some share a time around the 200th, and some where the second page of a second walk ends.
    fn tied_at_two_borders() -> Vec<WalkedItem> {
        let created = |number: usize| match number {
            198..202 => 198,
            397..400 => 397,
            _ => number,
        };
        (0..405).map(|number| item(number, 1000 - created(number))).collect()
    }

    #[test]
    fn a_third_walk_finds_items_lost_by_a_concurrent_change() {
        let before = tied_at_two_borders();
        let mut after = before.clone();
        after.remove(50);
        after.extend([item(998, 2000), item(999, 2001)]);
        let begun = std::cell::Cell::new(0);
        let mut walks = Walks::of(LIMIT);
        while let Some(request) = walks.request().cloned() {
            begun.set(begun.get() + usize::from(request.marker.is_none() && request.limit == LIMIT));
            let list = if begun.get() == 1 { &before } else { &after };
            walks.add(WalkedCloud::of(list.clone()).answer(&request));
        }
        assert_eq!(begun.get(), 3);
        let listing = walks.finish();
        assert!(listing.complete);
        let mut expected: Vec<&str> = after.iter().map(Listed::id).collect();
        expected.sort_unstable();
        assert_eq!(ids(&listing), expected, "without the one that was deleted");
    }

    #[test]
    fn an_incomplete_list_contains_the_items_of_every_walk() {
        let before = tied_at_the_border();
        let mut after = before.clone();
        after.remove(50);
        let cloud = |request: usize| match request {
            1..=3 => WalkedCloud::of(before.clone()),
            _ => WalkedCloud {
                total: 300,
                ..WalkedCloud::of(after.clone())
            },
        };
        let (listing, _) = walk(LIMIT, cloud);
        assert!(!listing.complete);
        let mut expected: Vec<&str> = before.iter().map(Listed::id).collect();
        expected.sort_unstable();
        assert_eq!(ids(&listing), expected, "also the one that only the first has found");
    }

    /// The result of a walk: the items by number and time, and the times at which its pages ended.
    fn found(items: &[(usize, usize)], total: Option<u64>, borders: &[usize]) -> United<WalkedItem> {
        United {
            items: items.iter().map(|(number, created)| item(*number, *created)).collect(),
            without_id: 0,
            unreadable: Vec::new(),
            unreadable_count: 0,
            total,
            borders: borders.iter().map(|border| item(0, *border).created).collect(),
        }
    }

    #[test]
    fn walks_agree_if_each_lacks_only_items_at_its_borders() {
        let whole = || found(&[(1, 10), (2, 20), (3, 30)], Some(3), &[10]);
        let lacks_the_second = |borders: &[usize]| found(&[(1, 10), (3, 30)], Some(3), borders);
        for (other, agrees) in [
            (whole(), true),
            (lacks_the_second(&[20]), true),
            (lacks_the_second(&[10]), false),
            (lacks_the_second(&[]), false),
            (found(&[(1, 10), (2, 20), (3, 30)], Some(4), &[10]), false),
        ] {
            assert_eq!(whole().agrees_with(&other), agrees, "{other:?}");
            assert_eq!(other.agrees_with(&whole()), agrees, "{other:?}");
        }
        let uncounted = || found(&[(1, 10)], None, &[10]);
        assert!(
            !uncounted().agrees_with(&uncounted()),
            "nothing shows whether the list has changed"
        );
    }

    #[test]
    fn united_walks_keep_later_items_and_common_borders() {
        let earlier = found(&[(1, 10), (2, 20)], Some(3), &[10, 20]);
        let united = earlier.unite(found(&[(2, 21), (3, 30)], Some(3), &[20, 30]));
        assert_eq!(united.items, [item(1, 10), item(2, 21), item(3, 30)]);
        assert_eq!(united.borders, HashSet::from([item(0, 20).created]));
        assert!(united.is_complete());
    }

    #[test]
    fn an_item_without_an_id_makes_every_walk_incomplete() {
        let nameless = United {
            without_id: 1,
            ..found(&[(1, 10)], Some(2), &[10])
        };
        assert!(!nameless.may_lack_tied_items());
        let counted_short = United {
            total: Some(1),
            ..nameless
        };
        assert!(!counted_short.is_complete());
        assert!(found(&[(1, 10)], Some(2), &[10]).may_lack_tied_items());
    }

    proptest! {
        #[test]
        fn no_item_is_missed_with_equal_creation_times(
            sizes in prop::collection::vec(1_usize..20, 1..60),
            newest_first in any::<bool>(),
            repeats in any::<bool>(),
        ) {
            // Pages hardly longer than the greatest tie: most borders fall within a tie.
            let limit = 20;
            let times = sizes.iter().enumerate().flat_map(|(time, size)| std::iter::repeat_n(time, *size));
            let items: Vec<WalkedItem> = times.enumerate().map(|(number, time)| item(number, time)).collect();
            let count = items.len();
            let cloud = WalkedCloud { newest_first, repeats, ..WalkedCloud::of(items) };
            let (listing, asked) = walk(limit, |_| cloud.clone());
            prop_assert!(listing.complete, "{} of {count}", listing.items.len());
            prop_assert_eq!(listing.items.len(), count);
            // A page can end after its first item where the next ones tie.
            prop_assert!(asked.len() <= 3 * (sizes.len() + 2), "{} requests for {count}", asked.len());
        }
    }
}
