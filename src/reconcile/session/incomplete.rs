//! Lists of the cloud that are not complete: logged once per change.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// A collection, and its VPN server if it belongs to one.
type IncompleteListKey = (&'static str, Option<String>);

/// So many incomplete lists in a row are reported: one alone may have changed while it was read.
const REPORTED_FROM: u32 = 2;

/// How often in a row each list was incomplete.
#[derive(Default)]
pub(crate) struct IncompleteReports {
    in_a_row: Mutex<HashMap<IncompleteListKey, u32>>,
}

#[derive(Debug, PartialEq, Eq)]
enum News {
    Incomplete,
    CompleteAgain,
}

impl IncompleteReports {
    /// Logs that a list stays incomplete, and that it is complete again. `total` is how many items the cloud says there
    /// are, if it says the same on each page.
    pub(crate) fn report(
        &self,
        place: (&'static str, Option<&str>),
        credentials: &str,
        is_complete: bool,
        found: usize,
        total: Option<u64>,
    ) {
        let (collection, server) = place;
        match self.news(place, is_complete) {
            None => {}
            Some(News::CompleteAgain) => {
                tracing::info!(collection, server, credentials, "the cloud's list is complete again");
            }
            Some(News::Incomplete) => tracing::warn!(
                collection,
                server,
                credentials,
                found,
                total_count = total,
                "the cloud's list is incomplete: it does not have as many items as its total_count, which must be the \
                 same on all pages, although it was read again with other page sizes where items of one creation time \
                 can be lost; missing items may exist, so nothing is created, recreated or released based on it; it \
                 is read again"
            ),
        }
    }

    fn news(&self, (collection, server): (&'static str, Option<&str>), is_complete: bool) -> Option<News> {
        let place = (collection, server.map(str::to_owned));
        let mut in_a_row = self.in_a_row.lock().unwrap_or_else(PoisonError::into_inner);
        if is_complete {
            let was_reported = in_a_row.remove(&place)? >= REPORTED_FROM;
            return was_reported.then_some(News::CompleteAgain);
        }
        let count = in_a_row.entry(place).or_default();
        *count = count.saturating_add(1);
        (*count == REPORTED_FROM).then_some(News::Incomplete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permanently_incomplete_list_and_its_recovery_are_reported_once() {
        let reports = IncompleteReports::default();
        let users = ("vpn-users", Some("one"));
        let news: Vec<_> = [false, true, false, false, false, true, true]
            .map(|is_complete| reports.news(users, is_complete))
            .into();
        let (incomplete, again) = (Some(News::Incomplete), Some(News::CompleteAgain));
        assert_eq!(news, [None, None, None, incomplete, None, again, None]);
        assert_eq!(reports.news(users, false), None);
        assert_eq!(reports.news(("vpn-users", Some("other")), false), None);
    }
}
