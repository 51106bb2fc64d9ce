//! Items of the cloud's lists that cannot be read in full: logged once per change.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use vpn_cloud::lists::paging::Unreadable;

/// Maximum number of items that one line names.
const MOST_NAMED: usize = 5;

/// A collection, and the VPN server that it belongs to.
type UnreadableListKey = (&'static str, Option<String>);

/// The last report of each list.
#[derive(Default)]
pub(crate) struct UnreadableReports {
    last: Mutex<HashMap<UnreadableListKey, (Vec<Unreadable>, usize)>>,
}

impl UnreadableReports {
    /// Logs the unreadable items of a list, unless they were logged before: `count` in all, `items` are the first.
    pub(crate) fn report(
        &self,
        place: (&'static str, Option<&str>),
        credentials: &str,
        items: &[Unreadable],
        count: usize,
    ) {
        let Some(line) = self.news(place, items, count) else {
            return;
        };
        let (collection, server) = place;
        if count == 0 {
            tracing::info!(
                collection,
                server,
                credentials,
                "all items of the list can be read again"
            );
        } else {
            tracing::warn!(
                collection,
                server,
                credentials,
                count,
                "items of the list cannot be read in full: {line}; they count as present, nothing is concluded from \
                 what cannot be read, and all other items are compared as usual"
            );
        }
    }

    /// Returns the text of the items if they differ from the last report.
    fn news(
        &self,
        (collection, server): (&'static str, Option<&str>),
        items: &[Unreadable],
        count: usize,
    ) -> Option<String> {
        let place = (collection, server.map(str::to_owned));
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match count {
            0 => last.remove(&place)?,
            _ => last.insert(place, (items.to_vec(), count)).unwrap_or_default(),
        };
        (before != (items.to_vec(), count)).then(|| in_words(items, count))
    }
}

fn in_words(items: &[Unreadable], count: usize) -> String {
    let mut line = String::new();
    for item in items.iter().take(MOST_NAMED) {
        let id = item.id.as_deref().unwrap_or("an item without an id");
        // Writing to a text does not fail.
        let _ = write!(
            line,
            "{}{id} ({})",
            if line.is_empty() { "" } else { ", " },
            item.problem
        );
    }
    let more = count.saturating_sub(MOST_NAMED);
    if more > 0 {
        let _ = write!(line, " and {more} more");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(id: Option<&str>) -> Unreadable {
        Unreadable {
            id: id.map(str::to_owned),
            problem: "name: a number".to_owned(),
        }
    }

    #[test]
    fn unreadable_items_are_reported_once_per_change_and_list() {
        let reports = UnreadableReports::default();
        let place = ("vpn-users", Some("s1"));
        let both = [item(Some("a")), item(None)];
        assert_eq!(reports.news(place, &[], 0), None, "nothing ever was");
        let line = reports.news(place, &both, 2).expect("news");
        assert_eq!(line, "a (name: a number), an item without an id (name: a number)");
        assert_eq!(reports.news(place, &both, 2), None);
        assert!(
            reports.news(("vpn-users", Some("s2")), &both, 2).is_some(),
            "another list"
        );
        assert!(reports.news(place, &both[..1], 1).is_some(), "others than before");
        assert!(reports.news(place, &[], 0).is_some(), "its end");
        assert_eq!(reports.news(place, &[], 0), None);
    }

    #[test]
    fn a_line_names_a_few_items_and_counts_the_rest() {
        let many: Vec<_> = (0..20).map(|number| item(Some(&format!("g{number}")))).collect();
        let line = in_words(&many, 30);
        assert!(
            line.contains("g4") && !line.contains("g5") && line.ends_with(" and 25 more"),
            "{line}"
        );
    }
}
