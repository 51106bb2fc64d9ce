//! Lists in pages by a marker that is a creation time.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::calls::ServiceCall;
use crate::clock::{in_list, in_read_answer};
use crate::refusal::ApiRefusal;
use crate::switches::{
    BorderTies, LastMarker, LimitTooLarge, LimitZero, ListOrder, MarkerWithoutLimit, P2cPageLimit, Switches,
};

const MOST: usize = 200;

/// Which page is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageQuery {
    limit: usize,
    marker: Option<Timestamp>,
}

impl PageQuery {
    /// From `limit` and `marker`.
    pub(crate) fn read(call: &ServiceCall<'_>, switches: &Switches) -> Result<Self, ApiRefusal> {
        let limit = call.parameter("limit")?;
        let marker = call.parameter("marker")?.filter(|marker| !marker.is_empty());
        if limit.is_none() && marker.is_some() && switches.marker_without_limit == MarkerWithoutLimit::Refused {
            return Err(ApiRefusal::invalid("marker must be used together with limit"));
        }
        let most = match switches.p2c_page_limit {
            P2cPageLimit::L50 if call.route.operation.is_p2c() => 50,
            _ => MOST,
        };
        let out_of_range = |least| ApiRefusal::invalid(format!("limit must be a number from {least} to {most}"));
        let limit = match limit.as_deref() {
            None | Some("") => most,
            Some(text) => match text.parse::<usize>() {
                Err(_) => return Err(out_of_range(0)),
                Ok(0) => match switches.limit_zero {
                    LimitZero::EmptyPage => 0,
                    LimitZero::Default => most,
                    LimitZero::Refused => return Err(out_of_range(1)),
                },
                Ok(limit) if limit > most => match switches.limit_too_large {
                    LimitTooLarge::Refused => return Err(out_of_range(0)),
                    LimitTooLarge::Clamped => most,
                },
                Ok(limit) => limit,
            },
        };
        let marker = match marker.map(|text| text.parse::<Timestamp>()) {
            None => None,
            Some(Ok(time)) => Some(time),
            Some(Err(_)) => return Err(ApiRefusal::invalid("marker must be the creation time of an item")),
        };
        Ok(Self { limit, marker })
    }
}

/// The items of a page, and its `page_info`.
pub(crate) fn page<T>(
    mut items: Vec<T>,
    place: impl Fn(&T) -> (Timestamp, String),
    query: PageQuery,
    last_marker: LastMarker,
    switches: &Switches,
) -> (Vec<T>, Map<String, Value>) {
    items.sort_by_cached_key(&place);
    if switches.list_order == ListOrder::NewestFirst {
        items.reverse();
    }
    // A marker holds no more of a time than the lists tell.
    let shown = |item: &T| in_list(place(item).0, switches);
    if let Some(marker) = query.marker {
        let tied = items.iter().filter(|item| shown(item) == marker).count() > 1;
        let again = tied && switches.border_ties == BorderTies::Repeated;
        items.retain(|item| {
            let time = shown(item);
            (again && time == marker)
                || match switches.list_order {
                    ListOrder::NewestFirst => time < marker,
                    ListOrder::OldestFirst => time > marker,
                }
        });
    }
    let is_last = items.len() <= query.limit;
    items.truncate(query.limit);
    let mut info = Map::new();
    let marker = items
        .last()
        .map(|item| Value::from(in_read_answer(place(item).0, switches)));
    match (is_last, last_marker) {
        (false, _) | (true, LastMarker::Present) => {
            info.insert("next_marker".to_owned(), marker.unwrap_or(Value::Null));
        }
        (true, LastMarker::Null) => {
            info.insert("next_marker".to_owned(), Value::Null);
        }
        (true, LastMarker::Empty) => {
            info.insert("next_marker".to_owned(), Value::from(""));
        }
        (true, LastMarker::Absent) => {}
    }
    info.insert("current_count".to_owned(), Value::from(items.len()));
    (items, info)
}
