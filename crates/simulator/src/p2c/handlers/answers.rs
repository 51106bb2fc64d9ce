//! Parts of answers that users, groups and servers share.

use serde_json::{Value, json};

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
pub(crate) fn last_marker(switches: &Switches) -> LastMarker {
    match switches.p2c_last_marker {
        P2cLastMarker::Null => LastMarker::Null,
        P2cLastMarker::Absent => LastMarker::Absent,
        P2cLastMarker::Present => LastMarker::Present,
        P2cLastMarker::Empty => LastMarker::Empty,
    }
}
