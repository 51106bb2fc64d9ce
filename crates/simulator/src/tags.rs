//! Tags of gateways: adding and removing, those of the project, and finding gateways by them.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use crate::calls::{CallAnswer, Fields, ServiceCall, wrapped};
use crate::gateway_rules::{MOST_TAGS, read_tags, too_many_tags};
use crate::gateway_store::{Gateway, show_tags};
use crate::refusal::ApiRefusal;
use crate::state::CloudState;
use crate::switches::{FilterName, TagExists, TagUnmatched, TagsMoveUpdatedAt};

const MOST_RESOURCES: usize = 1000;

const MOST_VALUES: usize = 20;

/// POST …/tags/create.
pub(crate) fn add(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<CallAnswer, ApiRefusal> {
    let switches = state.switches;
    let tags = read_tags(&tag_list(call)?, &switches)?;
    let gateway = state.gateways.find(call, &switches)?;
    if switches.tag_exists == TagExists::Refused
        && let Some(key) = tags.keys().find(|key| gateway.tags.contains_key(*key))
    {
        return Err(ApiRefusal::invalid(format!("tag key {key:?} already exists")));
    }
    let mut all = gateway.tags.clone();
    all.extend(tags);
    if all.len() > MOST_TAGS {
        return Err(too_many_tags());
    }
    change(state, call, all)
}

/// POST …/tags/delete.
pub(crate) fn remove(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<CallAnswer, ApiRefusal> {
    let switches = state.switches;
    let unwanted = tag_list(call)?;
    let mut left = state.gateways.find(call, &switches)?.tags.clone();
    for tag in &unwanted {
        let key = tag
            .text("key")?
            .ok_or_else(|| ApiRefusal::invalid("a tag needs a key"))?;
        let value = tag.text("value")?;
        if left.get(key).is_some_and(|has| value.is_none_or(|value| value == has)) {
            left.remove(key);
            continue;
        }
        let text = format!("invalid request: tag {key:?} is not found");
        match switches.tag_unmatched {
            TagUnmatched::Ignored => {}
            TagUnmatched::Status400 => return Err(ApiRefusal::service(StatusCode::BAD_REQUEST, "VPN.0001", text)),
            TagUnmatched::Status404 => return Err(ApiRefusal::service(StatusCode::NOT_FOUND, "VPN.0004", text)),
        }
    }
    change(state, call, left)
}

/// GET of one gateway's tags.
pub(crate) fn of_gateway(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<CallAnswer, ApiRefusal> {
    let gateway = state.gateways.find(call, &state.switches)?;
    Ok(CallAnswer::read(wrapped("tags", show_tags(&gateway.tags))).without_request_id())
}

/// GET of the tags of all gateways of the project.
pub(crate) fn of_project(state: &CloudState, call: &ServiceCall<'_>) -> CallAnswer {
    let mut tags: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for gateway in state.gateways.of(&call.route.project_id) {
        for (key, value) in &gateway.tags {
            tags.entry(key).or_default().insert(value);
        }
    }
    let tags: Value = tags
        .into_iter()
        .map(|(key, values)| json!({"key": key, "values": values}))
        .collect();
    CallAnswer::read(wrapped("tags", tags)).without_request_id()
}

/// POST …/resource-instances/filter.
pub(crate) fn filter(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<CallAnswer, ApiRefusal> {
    let limit = number(call, "limit", MOST_RESOURCES, 1..=MOST_RESOURCES)?;
    let offset = number(call, "offset", 0, 0..=usize::MAX)?;
    let found = found(state, call)?;
    let resources: Value = found
        .iter()
        .skip(offset)
        .take(limit)
        .map(|gateway| {
            json!({
                "resource_id": gateway.id,
                "resource_name": gateway.name,
                "resource_detail": Map::new(),
                "tags": show_tags(&gateway.tags),
            })
        })
        .collect();
    let mut body = wrapped("resources", resources);
    body.insert("total_count".to_owned(), found.len().into());
    Ok(CallAnswer::read(body).without_request_id())
}

/// POST …/resource-instances/count.
pub(crate) fn count(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<CallAnswer, ApiRefusal> {
    let count = found(state, call)?.len();
    Ok(CallAnswer::read(wrapped("total_count", count.into())).without_request_id())
}

fn tag_list(call: &ServiceCall<'_>) -> Result<Vec<Fields>, ApiRefusal> {
    let tags = call.object()?.objects("tags")?.unwrap_or_default();
    match tags.len() {
        0 => Err(ApiRefusal::invalid("tags is required")),
        1..=MOST_TAGS => Ok(tags),
        _ => Err(too_many_tags()),
    }
}

fn change(
    state: &mut CloudState,
    call: &ServiceCall<'_>,
    tags: BTreeMap<String, String>,
) -> Result<CallAnswer, ApiRefusal> {
    let time = state.clock.tick();
    let switches = state.switches;
    let gateway = state.gateways.find(call, &switches)?;
    gateway.tags = tags;
    if switches.tags_move_updated_at == TagsMoveUpdatedAt::Yes {
        gateway.updated_at = time;
    }
    Ok(CallAnswer::done().without_request_id())
}

fn number(
    call: &ServiceCall<'_>,
    name: &str,
    default: usize,
    allowed: std::ops::RangeInclusive<usize>,
) -> Result<usize, ApiRefusal> {
    match call.parameter(name)?.filter(|text| !text.is_empty()) {
        None => Ok(default),
        Some(text) => text
            .parse()
            .ok()
            .filter(|number| allowed.contains(number))
            .ok_or_else(|| ApiRefusal::invalid(format!("{name} must be a number, {} or more", allowed.start()))),
    }
}

/// Oldest first.
fn found<'a>(state: &'a CloudState, call: &ServiceCall<'_>) -> Result<Vec<&'a Gateway>, ApiRefusal> {
    let wanted = TagFilter::read(call)?;
    let mut found: Vec<_> = state
        .gateways
        .of(&call.route.project_id)
        .filter(|gateway| wanted.matches(gateway, state.switches.filter_name))
        .collect();
    found.sort_by_key(|gateway| (gateway.created_at, gateway.id.clone()));
    Ok(found)
}

/// What a filter asks for: all of its tags, each with one of its values.
struct TagFilter {
    tags: Vec<(String, Vec<String>)>,
    names: Vec<String>,
    without_any_tag: bool,
}

impl TagFilter {
    fn read(call: &ServiceCall<'_>) -> Result<Self, ApiRefusal> {
        let body = if call.body.is_empty() {
            Fields::default()
        } else {
            call.object()?
        };
        let mut tags = Vec::new();
        for tag in body.objects("tags")?.unwrap_or_default() {
            let key = tag
                .text("key")?
                .ok_or_else(|| ApiRefusal::invalid("a tag needs a key"))?;
            let values = match tag.get("values") {
                None => Vec::new(),
                Some(values) => serde_json::from_value::<Vec<String>>(values.clone())
                    .map_err(|_| ApiRefusal::invalid("values must be a list of strings"))?,
            };
            if values.len() > MOST_VALUES {
                return Err(ApiRefusal::invalid("a tag can have at most 20 values"));
            }
            tags.push((key.to_owned(), values));
        }
        if tags.len() > MOST_TAGS {
            return Err(ApiRefusal::invalid("a filter can have at most 20 tags"));
        }
        let mut names = Vec::new();
        for item in body.objects("matches")?.unwrap_or_default() {
            match (item.text("key")?, item.text("value")?) {
                (Some("resource_name"), Some(name)) => names.push(name.to_owned()),
                _ => return Err(ApiRefusal::invalid("matches takes the key resource_name with a value")),
            }
        }
        // The documents call it a boolean, their example sends a string.
        let without_any_tag = match body.get("without_any_tag") {
            None | Some(Value::Bool(false)) => false,
            Some(Value::Bool(true)) => true,
            Some(Value::String(text)) if text == "true" || text == "false" => text == "true",
            Some(_) => return Err(ApiRefusal::invalid("without_any_tag must be true or false")),
        };
        Ok(Self {
            tags,
            names,
            without_any_tag,
        })
    }

    fn matches(&self, gateway: &Gateway, how: FilterName) -> bool {
        let named = |name: &String| match how {
            FilterName::Exact => gateway.name == *name,
            FilterName::Fuzzy => gateway.name.contains(name.as_str()),
        };
        let tagged = |(key, values): &(String, Vec<String>)| {
            gateway
                .tags
                .get(key)
                .is_some_and(|value| values.is_empty() || values.contains(value))
        };
        self.names.iter().all(named)
            && match self.without_any_tag {
                true => gateway.tags.is_empty(),
                false => self.tags.iter().all(tagged),
            }
    }
}
