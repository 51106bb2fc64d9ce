//! Fields of answers that are not taken just as they come: no server can fill memory, status or messages with them.

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::text::cut_to_bytes;

/// Ids have 36 characters; the documents' own samples are not exact, so some more are borne.
const LONGEST_ID: usize = 128;

/// Far more than any text of the API: the longest are the names in certificates.
const LONGEST_TEXT: usize = 4096;

/// An id; an empty one is none, and an answer without one is not an answer. It goes into paths, status and messages.
pub(crate) fn some_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let id = String::deserialize(deserializer)?;
    match checked_id(&id) {
        Ok(()) => Ok(id),
        Err(problem) => Err(D::Error::custom(problem)),
    }
}

/// Whether a text can be an id of the cloud's.
pub(crate) fn checked_id(id: &str) -> Result<(), &'static str> {
    if id.is_empty() {
        Err("the id is empty")
    } else if id.len() > LONGEST_ID || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err("the id is too long, or holds characters that no id has")
    } else {
        Ok(())
    }
}

/// A text that may be missing. One that is longer than any of the API's is cut, for it stands in a list with others that
/// are right; it equals nothing that a spec can ask for, whether it is whole or not.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.map(|text| match text.len() {
        0..=LONGEST_TEXT => text,
        _ => cut_to_bytes(&text, LONGEST_TEXT).to_owned(),
    }))
}

/// A text that must be there.
pub(crate) fn some_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    text(deserializer)?.ok_or_else(|| D::Error::custom("a text is missing"))
}

/// For references, where some answers write `""` for "none".
pub(crate) fn none_if_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(text(deserializer)?.filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[derive(Deserialize)]
    struct FieldItem {
        #[serde(deserialize_with = "some_id")]
        id: String,
        #[serde(default, deserialize_with = "text")]
        name: Option<String>,
    }

    fn read(item: Value) -> Result<(String, Option<String>), String> {
        let item = FieldItem::deserialize(item).map_err(|error| error.to_string())?;
        Ok((item.id, item.name))
    }

    #[test]
    fn plausible_ids_and_texts_are_accepted() {
        let id = "yWYnJt0R-Q0a7-4b1c-9d2e-0123456789ab";
        assert_eq!(read(json!({"id": id})), Ok((id.to_owned(), None)));
        let long = "é".repeat(2000);
        let taken = read(json!({"id": "g1", "name": long.clone()}));
        assert_eq!(taken, Ok(("g1".to_owned(), Some(long))));
        assert_eq!(read(json!({"id": "g1", "name": null})), Ok(("g1".to_owned(), None)));
    }

    #[test]
    fn an_implausible_id_is_an_error_that_does_not_repeat_it() {
        let too_long = "a".repeat(LONGEST_ID + 1);
        for id in ["", "a b", "a\nb", "\u{1b}[31m", "ü", too_long.as_str()] {
            let error = read(json!({"id": id})).expect_err(id);
            assert!(error.contains("the id") && error.len() < 80, "{error}");
        }
    }

    #[test]
    fn an_oversized_text_is_truncated() {
        let read = read(json!({"id": "g1", "name": "é".repeat(LONGEST_TEXT)})).expect("read");
        assert_eq!(read.1, Some("é".repeat(LONGEST_TEXT / 2)));
    }
}
