//! Parts of answers that users, groups and servers share.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::calls::{CallAnswer, wrapped};
use crate::paging::{PageQuery, page};
use crate::switches::{LastMarker, P2cLastMarker, Switches, UnsetDescription};

/// The value of a description in answers, if it is present there.
pub(crate) fn show_description(description: &str, switches: &Switches) -> Option<Value> {
    match switches.unset_description {
        UnsetDescription::Absent if description.is_empty() => None,
        UnsetDescription::Null if description.is_empty() => Some(Value::Null),
        _ => Some(json!(description)),
    }
}

/// The marker on the last page of P2C lists.
fn last_marker(switches: &Switches) -> LastMarker {
    match switches.p2c_last_marker {
        P2cLastMarker::Null => LastMarker::Null,
        P2cLastMarker::Absent => LastMarker::Absent,
        P2cLastMarker::Present => LastMarker::Present,
        P2cLastMarker::Empty => LastMarker::Empty,
    }
}

/// The answer to a GET of a page: the items under this name, how many there are in all, and the place of the page.
pub(crate) fn page_of<T>(
    name: &str,
    all: Vec<T>,
    query: PageQuery,
    switches: &Switches,
    place: impl Fn(&T) -> (Timestamp, String),
    show: impl Fn(T) -> Value,
) -> CallAnswer {
    let total = all.len();
    let (items, page_info) = page(all, place, query, last_marker(switches), switches);
    let shown: Value = items.into_iter().map(show).collect();
    let mut body = wrapped(name, shown);
    body.insert("total_count".to_owned(), total.into());
    body.insert("page_info".to_owned(), page_info.into());
    CallAnswer::read(body)
}
