//! Tags of customer gateways: how they travel as JSON, and their calls (contract §2.8).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One tag as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    pub key: String,
    #[serde(default)]
    pub value: String,
}

/// Reads `[{"key","value"}]`, `null` or nothing.
pub mod optional_map {
    use super::{BTreeMap, Deserialize, Tag};
    use serde::Deserializer;

    /// `None` when the answer did not say.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<BTreeMap<String, String>>, D::Error> {
        let tags = Option::<Vec<Tag>>::deserialize(deserializer)?;
        Ok(tags.map(|tags| tags.into_iter().map(|tag| (tag.key, tag.value)).collect()))
    }
}

/// Writes a map as `[{"key","value"}]`.
pub mod list {
    use super::{BTreeMap, Serialize};
    use serde::{Serializer, ser::SerializeSeq};

    #[derive(Serialize)]
    struct Borrowed<'a> {
        key: &'a str,
        value: &'a str,
    }

    /// In the order of the keys.
    pub fn serialize<S: Serializer>(tags: &BTreeMap<String, String>, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(tags.len()))?;
        for (key, value) in tags {
            list.serialize_element(&Borrowed { key, value })?;
        }
        list.end()
    }
}
