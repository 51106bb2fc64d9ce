//! Tags of customer gateways: how they travel as JSON, and their calls.

use std::{collections::BTreeMap, fmt};

use reqwest::Method;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};

use crate::error::cloud_error::{CloudError, Operation};
use crate::http::client::{Client, ProjectRequest};
use crate::http::response::CloudResponse;
use crate::lists::items;

/// One tag as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tag {
    #[serde(deserialize_with = "crate::values::fields::some_text")]
    pub key: String,
    /// `null` or nothing is an empty one.
    #[serde(default, deserialize_with = "empty_if_null")]
    pub value: String,
}

fn empty_if_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(crate::values::fields::text(deserializer)?.unwrap_or_default())
}

/// Reads and writes `[{"key","value"}]` or `null`; reads nothing as `null`.
pub(crate) mod optional_map {
    use super::{BTreeMap, Tag, items, list};
    use serde::{Deserializer, Serializer};

    /// In the order of the keys.
    #[expect(clippy::ref_option, reason = "serde's signature")]
    pub(crate) fn serialize<S: Serializer>(
        tags: &Option<BTreeMap<String, String>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match tags {
            Some(tags) => list::serialize(tags, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// `None` when the answer did not say.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<BTreeMap<String, String>>, D::Error> {
        let tags = items::optional::<_, Tag>(deserializer)?;
        Ok(tags.map(|tags| tags.into_iter().map(|tag| (tag.key, tag.value)).collect()))
    }
}

/// Writes a map as `[{"key","value"}]`.
pub(crate) mod list {
    use super::{BTreeMap, Serialize};
    use serde::{Serializer, ser::SerializeSeq};

    #[derive(Serialize)]
    struct Borrowed<'a> {
        key: &'a str,
        value: &'a str,
    }

    /// In the order of the keys.
    pub(crate) fn serialize<S: Serializer>(tags: &BTreeMap<String, String>, serializer: S) -> Result<S::Ok, S::Error> {
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
struct SentTags<'a> {
    #[serde(serialize_with = "list::serialize")]
    tags: &'a BTreeMap<String, String>,
}

/// The tags of an answer that holds nothing else. It is read without serde's `flatten`, which would keep every value of a
/// foreign answer in memory.
pub(crate) struct TagsBody(pub Vec<Tag>);

#[derive(Deserialize)]
#[serde(transparent)]
struct TagList(#[serde(deserialize_with = "items::or_null")] Vec<Tag>);

impl<'de> Deserialize<'de> for TagsBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TagsVisitor)
    }
}

struct TagsVisitor;

impl<'de> Visitor<'de> for TagsVisitor {
    type Value = TagsBody;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with tags")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<TagsBody, A::Error> {
        let mut tags = None;
        let mut has_other_fields = false;
        while let Some(name) = fields.next_key::<String>()? {
            if name == "tags" {
                tags = Some(fields.next_value::<TagList>()?.0);
            } else {
                fields.next_value::<IgnoredAny>()?;
                has_other_fields = true;
            }
        }
        match tags {
            Some(tags) => Ok(TagsBody(tags)),
            // A server may omit empty lists; such an answer has no other field.
            None if !has_other_fields => Ok(TagsBody(Vec::new())),
            None => Err(A::Error::custom("there are no tags in it")),
        }
    }
}

/// The tags of some gateways, by their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagsPage {
    pub gateways: BTreeMap<String, BTreeMap<String, String>>,
    /// Of the project, gateways that the answer has no tags of included.
    pub total_count: Option<u64>,
    /// On this page.
    pub count: u64,
}

#[derive(Deserialize)]
pub struct TaggedResources {
    #[serde(deserialize_with = "items::or_null")]
    pub resources: Vec<TaggedResource>,
    total_count: Option<u64>,
}

#[derive(Deserialize)]
pub struct TaggedResource {
    #[serde(deserialize_with = "crate::values::fields::some_id")]
    resource_id: String,
    #[serde(default, deserialize_with = "optional_map::deserialize")]
    tags: Option<BTreeMap<String, String>>,
}

impl From<TaggedResources> for TagsPage {
    fn from(page: TaggedResources) -> Self {
        Self {
            count: u64::try_from(page.resources.len()).unwrap_or(u64::MAX),
            total_count: page.total_count,
            gateways: page
                .resources
                .into_iter()
                .filter_map(|resource| Some((resource.resource_id, resource.tags?)))
                .collect(),
        }
    }
}

/// Asks for every gateway, whatever its tags.
#[derive(Serialize)]
struct NoFilter {}

impl Client {
    /// Reads the tags of so many gateways of the project behind the first `offset` ones.
    pub async fn customer_gateway_tags_page(
        &self,
        limit: u64,
        offset: u64,
    ) -> Result<CloudResponse<TagsPage>, CloudError> {
        let (limit, offset) = (limit.to_string(), offset.to_string());
        let request = ProjectRequest {
            operation: Operation::FilterCustomerGateways,
            method: Method::POST,
            path: &[CUSTOMER_GATEWAY, "resource-instances", "filter"],
            query: &[("limit", &limit), ("offset", &offset)],
        };
        let answer = self.fetch::<TaggedResources>(request, Some(&NoFilter {})).await?;
        Ok(answer.map(TagsPage::from))
    }

    /// Adds tags, or gives existing keys another value.
    pub async fn add_customer_gateway_tags(
        &self,
        id: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<CloudResponse<()>, CloudError> {
        let request = ProjectRequest {
            operation: Operation::AddCustomerGatewayTags,
            method: Method::POST,
            path: &[CUSTOMER_GATEWAY, id, "tags", "create"],
            query: &[],
        };
        self.execute(request, Some(&SentTags { tags })).await
    }

    /// Removes tags; keys and values are sent.
    pub async fn remove_customer_gateway_tags(
        &self,
        id: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<CloudResponse<()>, CloudError> {
        let request = ProjectRequest {
            operation: Operation::RemoveCustomerGatewayTags,
            method: Method::POST,
            path: &[CUSTOMER_GATEWAY, id, "tags", "delete"],
            query: &[],
        };
        self.execute(request, Some(&SentTags { tags })).await
    }

    /// Reads the tags of one gateway.
    pub async fn customer_gateway_tags(&self, id: &str) -> Result<CloudResponse<BTreeMap<String, String>>, CloudError> {
        let request = ProjectRequest {
            operation: Operation::ListCustomerGatewayTags,
            method: Method::GET,
            path: &[CUSTOMER_GATEWAY, id, "tags"],
            query: &[],
        };
        let answer = self.fetch::<TagsBody>(request, None::<&()>).await?;
        Ok(answer.map(|TagsBody(tags)| tags.into_iter().map(|tag| (tag.key, tag.value)).collect()))
    }
}
