//! Lists in answers: `null` is an empty list, but an answer that lacks its list is not an answer.

use serde::{Deserialize, Deserializer};

/// For a field without a default.
pub(super) fn or_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Answer {
        #[serde(deserialize_with = "or_null")]
        items: Vec<u8>,
    }

    fn read(text: &str) -> Option<Vec<u8>> {
        serde_json::from_str::<Answer>(text).ok().map(|answer| answer.items)
    }

    #[test]
    fn null_is_empty_and_missing_is_an_error() {
        assert_eq!(read(r#"{"items": [1]}"#), Some(vec![1]));
        assert_eq!(read(r#"{"items": null}"#), Some(vec![]));
        assert_eq!(read("{}"), None);
    }
}
