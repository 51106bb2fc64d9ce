//! Tags of customer gateways: how they travel as JSON, and their calls.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::{Deserialize, Deserializer, Serialize, de::IgnoredAny};

use super::{
    client::{Answer, Client, Request},
    error::{CloudError, Operation},
    lists,
};

/// One tag as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    #[serde(deserialize_with = "super::fields::some_text")]
    pub key: String,
    /// `null` or nothing is an empty one.
    #[serde(default, deserialize_with = "empty_if_null")]
    pub value: String,
}

fn empty_if_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(super::fields::text(deserializer)?.unwrap_or_default())
}

/// Reads `[{"key","value"}]`, `null` or nothing.
pub mod optional_map {
    use super::{BTreeMap, Tag, lists};
    use serde::Deserializer;

    /// `None` when the answer did not say.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<BTreeMap<String, String>>, D::Error> {
        let tags = lists::optional::<_, Tag>(deserializer)?;
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

/// The type of the resource in the paths of its tags: singular, unlike its own path.
const CUSTOMER_GATEWAY: &str = "customer-gateway";

#[derive(Serialize)]
struct Sent<'a> {
    #[serde(serialize_with = "list::serialize")]
    tags: &'a BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(try_from = "Said")]
pub(super) struct Received(pub Vec<Tag>);

#[derive(Deserialize)]
struct Said {
    #[serde(default, deserialize_with = "some_or_null")]
    tags: Option<Vec<Tag>>,
    #[serde(flatten)]
    rest: BTreeMap<String, IgnoredAny>,
}

fn some_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Tag>>, D::Error> {
    lists::or_null(deserializer).map(Some)
}

impl TryFrom<Said> for Received {
    type Error = &'static str;

    fn try_from(said: Said) -> Result<Self, Self::Error> {
        match said.tags {
            Some(tags) => Ok(Self(tags)),
            // A server may leave empty lists out; nothing else stands in this answer.
            None if said.rest.is_empty() => Ok(Self(Vec::new())),
            None => Err("there are no tags in it"),
        }
    }
}

impl Client {
    /// Adds tags, or gives existing keys another value.
    pub async fn add_customer_gateway_tags(
        &self,
        id: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<Answer<()>, CloudError> {
        let request = Request {
            operation: Operation::AddCustomerGatewayTags,
            method: Method::POST,
            path: &[CUSTOMER_GATEWAY, id, "tags", "create"],
            query: &[],
        };
        self.act(request, Some(&Sent { tags })).await
    }

    /// Removes tags; keys and values are sent.
    pub async fn remove_customer_gateway_tags(
        &self,
        id: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<Answer<()>, CloudError> {
        let request = Request {
            operation: Operation::RemoveCustomerGatewayTags,
            method: Method::POST,
            path: &[CUSTOMER_GATEWAY, id, "tags", "delete"],
            query: &[],
        };
        self.act(request, Some(&Sent { tags })).await
    }

    /// Reads the tags of one gateway.
    pub async fn customer_gateway_tags(&self, id: &str) -> Result<Answer<BTreeMap<String, String>>, CloudError> {
        let request = Request {
            operation: Operation::ListCustomerGatewayTags,
            method: Method::GET,
            path: &[CUSTOMER_GATEWAY, id, "tags"],
            query: &[],
        };
        let answer = self.fetch::<Received>(request, None::<&()>).await?;
        Ok(answer.map(|Received(tags)| tags.into_iter().map(|tag| (tag.key, tag.value)).collect()))
    }
}
