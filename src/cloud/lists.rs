//! Lists in answers: `null` is an empty list, but an answer that lacks its list is not an answer. Nor is one with more
//! items than anybody asked for: small items in a body of the greatest length would take many times its memory.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, SeqAccess, Visitor},
};

/// A page has 200, and a gateway 20 tags; a server may not know of pages and give all that there is at once.
const MOST_ITEMS: usize = 10_000;

/// For a field without a default.
pub(super) fn or_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    optional(deserializer).map(Option::unwrap_or_default)
}

/// For a field that may be missing.
pub(super) fn optional<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    let list = Option::<Bounded<T>>::deserialize(deserializer)?;
    Ok(list.map(|Bounded(items)| items))
}

struct Bounded<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Bounded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Items(PhantomData)).map(Bounded)
    }
}

struct Items<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
    type Value = Vec<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            if items.len() == MOST_ITEMS {
                return Err(A::Error::custom(format_args!(
                    "a list has more than {MOST_ITEMS} items"
                )));
            }
            items.push(item);
        }
        Ok(items)
    }
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
        assert_eq!(read(r#"{"items": {}}"#), None);
    }

    #[test]
    fn a_list_without_end_is_an_error() {
        let items = |count: usize| serde_json::json!({"items": vec![0; count]}).to_string();
        assert_eq!(read(&items(MOST_ITEMS)).map(|items| items.len()), Some(MOST_ITEMS));
        assert_eq!(read(&items(MOST_ITEMS + 1)), None);
    }
}
