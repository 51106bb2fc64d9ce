//! Fields of answers that are not taken just as they come.

use serde::{Deserialize, Deserializer, de::Error as _};

/// An id; an empty one is none, and an answer without one is not an answer.
pub(super) fn some_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match String::deserialize(deserializer)? {
        id if id.is_empty() => Err(D::Error::custom("the id is empty")),
        id => Ok(id),
    }
}

/// For references, where some answers write `""` for "none".
pub(super) fn none_if_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.filter(|text| !text.is_empty()))
}
