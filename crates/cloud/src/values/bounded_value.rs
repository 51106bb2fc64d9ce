//! A JSON value of a bounded size: what is beyond the bound is read over. Small values in a body of the greatest length
//! would take many times its memory.

use std::{cell::Cell, fmt};

use serde::{
    Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

/// Reads one value, as a seed.
pub struct BoundedValue {
    left: Cell<usize>,
    is_cut: Cell<bool>,
}

impl BoundedValue {
    /// So many values within each other, at most.
    pub fn of(most: usize) -> Self {
        Self {
            left: Cell::new(most),
            is_cut: Cell::new(false),
        }
    }

    /// Whether something was read over.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut.get()
    }
}

impl<'de> DeserializeSeed<'de> for &BoundedValue {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if let Some(left) = self.left.get().checked_sub(1) {
            self.left.set(left);
            deserializer.deserialize_any(self)
        } else {
            self.is_cut.set(true);
            deserializer.deserialize_ignored_any(IgnoredAny).map(|_| Value::Null)
        }
    }
}

impl<'de> Visitor<'de> for &BoundedValue {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(self)? {
            if !self.is_cut() {
                values.push(value);
            }
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(self)?;
            if !self.is_cut() {
                fields.insert(name, value);
            }
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, most: usize) -> (serde_json::Result<Value>, bool) {
        let seed = BoundedValue::of(most);
        let value = seed.deserialize(&mut serde_json::Deserializer::from_str(text));
        (value, seed.is_cut())
    }

    #[test]
    fn a_value_within_the_limit_is_read_completely() {
        let text = r#"{"a": [1, -2, 1.5, true, null, "x\n"], "b": {"c": 18446744073709551615}}"#;
        let (value, is_cut) = read(text, 10);
        assert_eq!(
            value.expect("readable"),
            serde_json::from_str::<Value>(text).expect("readable")
        );
        assert!(!is_cut);
    }

    #[test]
    fn a_value_above_the_limit_is_truncated() {
        let (value, is_cut) = read(&format!("[{}1]", "[],".repeat(100_000)), 50);
        assert_eq!(value.expect("readable").as_array().map(Vec::len), Some(49));
        assert!(is_cut);
        assert!(read(r#"{"a": [1, 2"#, 2).0.is_err(), "a value that breaks off is none");
    }
}
