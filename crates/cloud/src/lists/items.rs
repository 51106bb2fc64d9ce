//! Lists in responses: `null` is an empty list, but a response without its list is an error. So is one with far too
//! many items: small items in a body of the greatest length would take many times its memory.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use crate::lists::listed::{Listed, Unreadable};
use crate::text::one_line;
use crate::values::bounded_value::BoundedValue;
use crate::values::fields::checked_id;

/// A page has 200 items, and a gateway 20 tags. A server without paging may return everything at once.
const MOST_ITEMS: usize = 10_000;

/// Values in one item, nested ones included: a gateway with 20 tags has less than a tenth of that.
const LARGEST_ITEM: usize = 2_000;

const ID: &str = "id";

/// Logged problems of one item.
const MOST_PROBLEMS: usize = 3;

const LONGEST_PROBLEM: usize = 200;

/// Reads a list field without a default.
pub(crate) fn or_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    optional(deserializer).map(Option::unwrap_or_default)
}

/// Reads a list field that may be missing.
pub(crate) fn optional<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    let list = Option::<Bounded<T>>::deserialize(deserializer)?;
    Ok(list.map(|Bounded(items)| items))
}

/// The items of a list, each read separately: an unreadable item does not make the list unreadable.
#[derive(Debug)]
pub struct Items<T> {
    /// Includes items that are only partly readable, without their unreadable fields.
    pub readable: Vec<T>,
    pub unreadable: Vec<Unreadable>,
}

impl<T> Default for Items<T> {
    fn default() -> Self {
        Self {
            readable: Vec::new(),
            unreadable: Vec::new(),
        }
    }
}

/// Reads a field without a default that holds [`Items`].
pub(crate) fn items<'de, D: Deserializer<'de>, T: DeserializeOwned + Listed>(
    deserializer: D,
) -> Result<Items<T>, D::Error> {
    let items = Option::<Items<T>>::deserialize(deserializer)?;
    Ok(items.unwrap_or_default())
}

impl<'de, T: DeserializeOwned + Listed> Deserialize<'de> for Items<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(EachByItself(PhantomData))
    }
}

struct EachByItself<T>(PhantomData<T>);

impl<'de, T: DeserializeOwned + Listed> Visitor<'de> for EachByItself<T> {
    type Value = Items<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Items<T>, A::Error> {
        let mut items = Items::default();
        let mut count = 0;
        loop {
            let bound = BoundedValue::of(LARGEST_ITEM);
            let Some(value) = list.next_element_seed(&bound)? else {
                return Ok(items);
            };
            count += 1;
            if count > MOST_ITEMS {
                return Err(too_many());
            }
            let read = match bound.is_cut() {
                true => Err("it is too large".to_owned()),
                false => T::deserialize(&value).map_err(|problem| problem.to_string()),
            };
            match read {
                Ok(item) => items.readable.push(item),
                Err(problem) => {
                    let (item, unreadable) = salvage(value, &problem);
                    items.readable.extend(item);
                    items.unreadable.push(unreadable);
                }
            }
        }
    }
}

fn too_many<E: serde::de::Error>() -> E {
    E::custom(format_args!("a list has more than {MOST_ITEMS} items"))
}

/// Returns the readable part of an item: its id and each field that is readable on its own. Without an id, nothing.
fn salvage<T: DeserializeOwned + Listed>(value: Value, problem: &str) -> (Option<T>, Unreadable) {
    let nothing = |problem: &str| {
        let unreadable = Unreadable {
            id: None,
            problem: one_line(problem, LONGEST_PROBLEM),
        };
        (None, unreadable)
    };
    let Value::Object(fields) = value else {
        return nothing(problem);
    };
    let id = fields
        .get(ID)
        .and_then(Value::as_str)
        .filter(|id| checked_id(id).is_ok());
    let Some(id) = id.map(str::to_owned) else {
        return nothing(problem);
    };
    let with_id = || Map::from_iter([(ID.to_owned(), Value::from(id.clone()))]);
    let mut readable = with_id();
    let mut problems = Vec::new();
    for (name, value) in fields.into_iter().filter(|(name, _)| name != ID) {
        let mut alone = with_id();
        alone.insert(name.clone(), value);
        let mut alone = Value::Object(alone);
        match T::deserialize(&alone) {
            Ok(_) => {
                readable.insert(name.clone(), alone[&name].take());
            }
            Err(problem) if problems.len() < MOST_PROBLEMS => problems.push(format!("{name}: {problem}")),
            Err(_) => {}
        }
    }
    if problems.is_empty() {
        problems.push(problem.to_owned());
    }
    match T::deserialize(&Value::Object(readable)) {
        Ok(mut item) => {
            item.mark_partial();
            let unreadable = Unreadable {
                id: Some(id),
                problem: one_line(&problems.join("; "), LONGEST_PROBLEM),
            };
            (Some(item), unreadable)
        }
        Err(problem) => nothing(&problem.to_string()),
    }
}

struct Bounded<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Bounded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(BoundedItems(PhantomData)).map(Bounded)
    }
}

struct BoundedItems<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for BoundedItems<T> {
    type Value = Vec<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            if items.len() == MOST_ITEMS {
                return Err(too_many());
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
    struct ListAnswer {
        #[serde(deserialize_with = "or_null")]
        items: Vec<u8>,
    }

    fn read(text: &str) -> Option<Vec<u8>> {
        serde_json::from_str::<ListAnswer>(text).ok().map(|answer| answer.items)
    }

    #[test]
    fn a_null_list_is_empty_and_a_missing_list_is_an_error() {
        assert_eq!(read(r#"{"items": [1]}"#), Some(vec![1]));
        assert_eq!(read(r#"{"items": null}"#), Some(vec![]));
        assert_eq!(read("{}"), None);
        assert_eq!(read(r#"{"items": {}}"#), None);
    }

    #[test]
    fn an_oversized_list_is_an_error() {
        let items = |count: usize| serde_json::json!({"items": vec![0; count]}).to_string();
        assert_eq!(read(&items(MOST_ITEMS)).map(|items| items.len()), Some(MOST_ITEMS));
        assert_eq!(read(&items(MOST_ITEMS + 1)), None);
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct ReadItem {
        #[serde(deserialize_with = "crate::values::fields::some_id")]
        id: String,
        name: Option<String>,
        size: Option<i64>,
        #[serde(skip)]
        is_partial: bool,
    }

    impl Listed for ReadItem {
        fn id(&self) -> &str {
            &self.id
        }
        fn mark_partial(&mut self) {
            self.is_partial = true;
        }
    }

    #[derive(Deserialize)]
    struct ListOfItems {
        #[serde(deserialize_with = "items")]
        items: Items<ReadItem>,
    }

    fn item(id: &str, name: Option<&str>, size: Option<i64>) -> ReadItem {
        ReadItem {
            id: id.to_owned(),
            name: name.map(str::to_owned),
            size,
            is_partial: false,
        }
    }

    fn partial(id: &str, name: Option<&str>, size: Option<i64>) -> ReadItem {
        ReadItem {
            is_partial: true,
            ..item(id, name, size)
        }
    }

    #[test]
    fn only_the_unreadable_fields_of_an_item_are_dropped() {
        let list = serde_json::json!({"items": [
            {"id": "a", "name": "anna", "size": 1},
            {"id": "b", "name": 5, "size": 2, "more": {}},
            {"id": "c", "name": ["x"], "size": "y"},
            {"id": "", "name": "nobody"},
            {"id": 7},
            "no object",
            {"id": "d", "name": null},
        ]});
        let ListOfItems { items } = serde_json::from_value(list).expect("a list");
        assert_eq!(
            items.readable,
            [
                item("a", Some("anna"), Some(1)),
                partial("b", None, Some(2)),
                partial("c", None, None),
                item("d", None, None)
            ]
        );
        let ids: Vec<_> = items.unreadable.iter().map(|item| item.id.as_deref()).collect();
        assert_eq!(ids, [Some("b"), Some("c"), None, None, None]);
        let problems: Vec<_> = items.unreadable.iter().map(|item| item.problem.as_str()).collect();
        assert!(
            problems[0].starts_with("name: ") && !problems[0].contains("size"),
            "{problems:?}"
        );
        assert!(
            problems[1].contains("name: ") && problems[1].contains("; size: "),
            "{problems:?}"
        );
    }

    #[test]
    fn the_problem_of_an_unreadable_item_is_one_bounded_line() {
        let long = format!("a\n{}", "x".repeat(5000));
        let list = serde_json::json!({"items": [{"id": "a", "size": long}]});
        let ListOfItems { items } = serde_json::from_value(list).expect("a list");
        let problem = &items.unreadable[0].problem;
        assert!(
            problem.chars().count() <= LONGEST_PROBLEM + 3 && !problem.contains('\n'),
            "{problem}"
        );
    }

    #[test]
    fn oversized_items_are_unreadable_and_oversized_lists_errors() {
        let crowd = serde_json::json!({"items": [{"id": "a", "size": 1, "x": vec![0; LARGEST_ITEM]}, {"id": "b"}]});
        let ListOfItems { items } = serde_json::from_value(crowd).expect("a list");
        assert_eq!(items.readable, [partial("a", None, Some(1)), item("b", None, None)]);
        assert_eq!(items.unreadable[0].problem, "it is too large");
        let many = |count| serde_json::json!({"items": vec![serde_json::json!({"id": "a"}); count]}).to_string();
        let read = |text: String| serde_json::from_str::<ListOfItems>(&text).map(|list| list.items.readable.len());
        assert_eq!(read(many(MOST_ITEMS)).ok(), Some(MOST_ITEMS));
        assert!(read(many(MOST_ITEMS + 1)).is_err());
    }

    #[test]
    fn a_value_that_is_no_list_is_an_error() {
        for text in ["{}", r#"{"items": {}}"#, r#"{"items": [{"id": "a"}, "#] {
            assert!(serde_json::from_str::<ListOfItems>(text).is_err(), "{text}");
        }
        let null = serde_json::from_str::<ListOfItems>(r#"{"items": null}"#).expect("an empty list");
        assert!(null.items.readable.is_empty() && null.items.unreadable.is_empty());
    }
}
