//! Reading a whole list although its page borders can lose items: a marker is a creation time, so that items of the same
//! time as the last one of a page may be on no page. An incomplete walk is repeated with shorter pages where that can have
//! happened, and the ids of both are united.

use std::collections::{HashMap, HashSet};

use super::paging::{Listed, Listing, Next, Page, Pages, Unreadable, is_complete};

/// Walks over one list, at most. The second one sees what the first one lost; a third is for a list that changed between
/// the two.
pub const MOST_WALKS: usize = 3;

/// A page to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    pub limit: u64,
    pub marker: Option<String>,
}

/// See the module. Pure: it says which page is next, and what all of them prove.
#[derive(Debug)]
pub struct Walks<T> {
    limit: u64,
    request: Option<PageRequest>,
    walk: Pages<T>,
    walks: usize,
    /// Creation times at which no page of this walk is to end.
    avoided: HashSet<String>,
    united: Option<United<T>>,
    /// Items of walks that do not agree with the last one.
    others: Vec<T>,
}

impl<T: Listed> Walks<T> {
    /// Pages of so many items, none of which was read yet.
    pub fn of(limit: u64) -> Self {
        Self {
            limit,
            request: Some(PageRequest { limit, marker: None }),
            walk: Pages::of(limit),
            walks: 0,
            avoided: HashSet::new(),
            united: None,
            others: Vec::new(),
        }
    }

    /// The page to ask for next; `None`: there is no more to be had.
    pub fn request(&self) -> Option<&PageRequest> {
        self.request.as_ref()
    }

    /// Takes the page that was asked for.
    pub fn add(&mut self, page: Page<T>) {
        let Some(request) = self.request.take() else { return };
        if let Some(limit) = self.shorter(&request, &page) {
            self.request = Some(PageRequest { limit, ..request });
            return;
        }
        self.request = match self.walk.add_of(request.limit, page) {
            Next::Fetch(marker) => Some(PageRequest {
                limit: self.limit,
                marker: Some(marker),
            }),
            Next::Done if self.walk_ended() => Some(PageRequest {
                limit: self.limit,
                marker: None,
            }),
            Next::Done => None,
        };
    }

    /// How many items to ask for instead, if the page ends where an earlier walk may have lost items: those before all that
    /// were created at that time.
    fn shorter(&self, request: &PageRequest, page: &Page<T>) -> Option<u64> {
        let ends_at = page.items.last()?.created()?;
        let has_next = page.next_marker.as_ref().is_some_and(|marker| !marker.is_empty());
        // A page is asked for anew only once: a cloud may give as many items as it likes.
        if request.limit != self.limit || !has_next || !self.avoided.contains(ends_at) {
            return None;
        }
        let before = page.items.iter().position(|item| item.created() == Some(ends_at))?;
        u64::try_from(before).ok().filter(|before| *before > 0)
    }

    /// A walk has ended; whether another one can find more.
    fn walk_ended(&mut self) -> bool {
        self.walks += 1;
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
        let goes_on = self.walks < MOST_WALKS && !is_futile && united.may_lack_tied_items();
        self.avoided.clone_from(&united.borders);
        self.united = Some(united);
        goes_on
    }

    /// What was found.
    pub fn finish(self) -> Listing<T> {
        let Some(united) = self.united else {
            return self.walk.finish();
        };
        let complete = united.is_complete();
        let mut items = united.items;
        if !complete {
            // That they were there is proved, unlike that nothing else is.
            let ids: HashSet<String> = items.iter().map(|item| item.id().to_owned()).collect();
            let mut others: Vec<T> = self.others;
            others.retain(|item| !ids.contains(item.id()));
            items.extend(others);
        }
        Listing {
            items,
            complete,
            unreadable: united.unreadable,
            unreadable_count: united.unreadable_count,
            total: united.total,
        }
    }
}

/// What walks that agree have found together.
#[derive(Debug)]
struct United<T> {
    items: Vec<T>,
    without_id: usize,
    /// Of the last walk.
    unreadable: Vec<Unreadable>,
    unreadable_count: usize,
    total: Option<u64>,
    /// Creation times at which each walk had a border.
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

    /// Whether all that one has and the other lacks can have been lost at a border. If not, the list has changed between the
    /// two: an item that is gone would make up in the count for one that was never seen.
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

    /// The later walk's answer counts where both have one.
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
    use crate::cloud::paging::LIMIT;

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Item {
        id: String,
        created: String,
    }

    impl Listed for Item {
        fn id(&self) -> &str {
            &self.id
        }
        fn created(&self) -> Option<&str> {
            Some(&self.created)
        }
    }

    fn item(id: usize, created: usize) -> Item {
        Item {
            id: format!("i{id}"),
            created: format!("t{created:05}"),
        }
    }

    /// A list whose markers are creation times, as the documents leave it open.
    #[derive(Clone, Debug)]
    struct Cloud {
        items: Vec<Item>,
        newest_first: bool,
        /// Whether items of the marker's own time come again; else those not shown yet are on no page.
        repeats: bool,
        total: u64,
        /// It gives as many items as it likes.
        page: Option<usize>,
    }

    impl Cloud {
        fn of(items: Vec<Item>) -> Self {
            Self {
                total: items.len() as u64,
                items,
                newest_first: true,
                repeats: false,
                page: None,
            }
        }

        fn answer(&self, request: &PageRequest) -> Page<Item> {
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
            items.truncate(self.page.unwrap_or(request.limit as usize));
            Page {
                unreadable: Vec::new(),
                total_count: Some(self.total),
                next_marker: items.last().map(|item| item.created.clone()),
                current_count: Some(items.len() as u64),
                items,
            }
        }
    }

    /// Walks over what `cloud` has at each request, the first being 1.
    fn walk(limit: u64, cloud: impl Fn(usize) -> Cloud) -> (Listing<Item>, Vec<PageRequest>) {
        let mut walks = Walks::of(limit);
        let mut asked = Vec::new();
        while let Some(request) = walks.request().cloned() {
            asked.push(request.clone());
            walks.add(cloud(asked.len()).answer(&request));
        }
        (walks.finish(), asked)
    }

    /// 205 items, four of which share a time around the 200th.
    fn tied_at_the_border() -> Vec<Item> {
        let created = |number: usize| if (198..202).contains(&number) { 198 } else { number };
        let newest_first = |number: usize| 1000 - created(number);
        (0..205).map(|number| item(number, newest_first(number))).collect()
    }

    #[test]
    fn what_a_border_lost_is_found_by_pages_that_end_elsewhere() {
        let (listing, asked) = walk(LIMIT, |_| Cloud::of(tied_at_the_border()));
        assert!(listing.complete);
        assert_eq!(listing.items.len(), 205);
        let limits: Vec<u64> = asked.iter().map(|request| request.limit).collect();
        // Each of them ends with a page that is empty, or that has the last item.
        assert_eq!(limits, [200, 200, 200, 200, 198, 200]);
    }

    #[test]
    fn a_list_that_was_complete_or_has_one_page_is_read_once() {
        let distinct = |count: usize| (0..count).map(|number| item(number, number)).collect();
        let (listing, asked) = walk(LIMIT, |_| Cloud::of(distinct(401)));
        assert!(listing.complete);
        assert_eq!(asked.len(), 3);
        let wrong_total = Cloud {
            total: 12,
            ..Cloud::of(distinct(10))
        };
        let (listing, asked) = walk(LIMIT, |_| wrong_total.clone());
        assert!(!listing.complete);
        assert_eq!(asked.len(), 2, "with the empty page that ends it");
    }

    #[test]
    fn a_total_that_is_never_reached_costs_one_more_walk() {
        let items: Vec<Item> = (0..500).map(|number| item(number, number)).collect();
        let wrong_total = Cloud {
            total: 501,
            ..Cloud::of(items)
        };
        let (listing, asked) = walk(LIMIT, |_| wrong_total.clone());
        assert!(!listing.complete);
        assert_eq!(listing.items.len(), 500);
        assert!(asked.len() <= 4 + 8, "each border elsewhere: {asked:?}");
        // Nor does a cloud that does not heed the limit make it go on.
        let deaf = Cloud {
            page: Some(50),
            ..wrong_total
        };
        let (listing, asked) = walk(LIMIT, |_| deaf.clone());
        assert!(!listing.complete);
        assert!(asked.len() <= 40, "{}", asked.len());
    }

    #[test]
    fn an_item_that_is_gone_does_not_make_up_for_one_that_was_never_seen() {
        // The first walk lacks the tied ones. Between the two a later item is deleted, and another one created.
        let before = tied_at_the_border();
        let mut after = before.clone();
        after.remove(50);
        after.push(item(999, 2000));
        // The second walk lacks one tied item as well: so many are found in all as there are.
        let still_lacks = Cloud {
            items: after.iter().filter(|item| item.id != "i198").cloned().collect(),
            ..Cloud::of(after.clone())
        };
        let cloud = |request: usize| match request {
            1..=3 => Cloud::of(before.clone()),
            _ => still_lacks.clone(),
        };
        let (listing, _) = walk(LIMIT, cloud);
        assert!(!listing.complete, "i198 exists");
        assert!(listing.items.iter().any(|item| item.id == "i999"));
    }

    #[test]
    fn a_list_that_changed_between_two_walks_is_read_a_third_time() {
        let before = tied_at_the_border();
        let mut after = before.clone();
        after.push(item(999, 2000));
        let cloud = |request: usize| match request {
            1..=3 => Cloud::of(before.clone()),
            _ => Cloud::of(after.clone()),
        };
        let (listing, _) = walk(LIMIT, cloud);
        assert!(listing.complete);
        assert_eq!(listing.items.len(), 206);
    }

    proptest! {
        #[test]
        fn whatever_items_tie_none_is_missed(
            sizes in prop::collection::vec(1_usize..20, 1..60),
            newest_first in any::<bool>(),
            repeats in any::<bool>(),
        ) {
            // Pages hardly longer than the greatest tie: most borders fall within one.
            let limit = 20;
            let times = sizes.iter().enumerate().flat_map(|(time, size)| std::iter::repeat_n(time, *size));
            let items: Vec<Item> = times.enumerate().map(|(number, time)| item(number, time)).collect();
            let count = items.len();
            let cloud = Cloud { newest_first, repeats, ..Cloud::of(items) };
            let (listing, asked) = walk(limit, |_| cloud.clone());
            prop_assert!(listing.complete, "{} of {count}", listing.items.len());
            prop_assert_eq!(listing.items.len(), count);
            // A page can end after its first item where the next ones tie.
            prop_assert!(asked.len() <= 3 * (sizes.len() + 2), "{} requests for {count}", asked.len());
        }
    }
}
