//! A call as the service sees it, and its answer.

use axum::http::StatusCode;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::operations::Route;
use crate::refusal::ApiRefusal;

/// An authorised call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServiceCall<'a> {
    pub route: &'a Route,
    pub query: &'a str,
    pub body: &'a [u8],
    /// `X-Client-Token`, where it was sent.
    pub client_token: Option<&'a str>,
}

impl ServiceCall<'_> {
    /// A parameter of the query, decoded; `+` is no space.
    pub(crate) fn parameter(&self, name: &str) -> Result<Option<String>, ApiRefusal> {
        let found = self
            .query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .find(|(key, _)| {
                let key: Vec<u8> = percent_decode_str(key).collect();
                key == name.as_bytes()
            });
        let Some((_, value)) = found else { return Ok(None) };
        match percent_decode_str(value).decode_utf8() {
            Ok(value) => Ok(Some(value.into_owned())),
            Err(_) => Err(ApiRefusal::invalid(format!("{name} is not UTF-8"))),
        }
    }

    /// The body, which must be an object.
    pub(crate) fn object(&self) -> Result<Fields, ApiRefusal> {
        match serde_json::from_slice(self.body) {
            Ok(Value::Object(fields)) => Ok(Fields(fields)),
            Ok(_) => Err(ApiRefusal::invalid("the body is not a JSON object")),
            Err(_) => Err(ApiRefusal::invalid("the body cannot be parsed as JSON")),
        }
    }
}

/// Fields of a JSON object; `null` counts as omitted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, ApiRefusal> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ApiRefusal::invalid(format!("{name} must be a string"))),
        }
    }

    pub(crate) fn whole_number(&self, name: &str) -> Result<Option<i64>, ApiRefusal> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => value
                .as_i64()
                .map(Some)
                .ok_or_else(|| ApiRefusal::invalid(format!("{name} must be a whole number"))),
        }
    }

    pub(crate) fn object(&self, name: &str) -> Result<Option<Self>, ApiRefusal> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Self(fields.clone()))),
            Some(_) => Err(ApiRefusal::invalid(format!("{name} must be an object"))),
        }
    }

    pub(crate) fn objects(&self, name: &str) -> Result<Option<Vec<Self>>, ApiRefusal> {
        let wrong = || ApiRefusal::invalid(format!("{name} must be a list of objects"));
        match self.get(name) {
            None => Ok(None),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| item.as_object().cloned().map(Self).ok_or_else(wrong))
                .collect::<Result<_, _>>()
                .map(Some),
            Some(_) => Err(wrong()),
        }
    }
}

/// A successful answer.
#[derive(Clone, Debug)]
pub(crate) struct CallAnswer {
    pub status: StatusCode,
    pub body: Option<Map<String, Value>>,
    /// Whether the body contains the request id.
    pub with_request_id: bool,
    /// Whether something was changed.
    pub committed: bool,
    /// The ids of what was created, for a fault that deletes it again.
    pub created: Vec<String>,
    pub subject_token: Option<String>,
}

impl CallAnswer {
    fn new(status: StatusCode, body: Option<Map<String, Value>>, committed: bool) -> Self {
        Self {
            status,
            body,
            with_request_id: true,
            committed,
            created: Vec::new(),
            subject_token: None,
        }
    }

    /// 200 to a read.
    pub(crate) fn read(body: Map<String, Value>) -> Self {
        Self::new(StatusCode::OK, Some(body), false)
    }

    /// 200 to a change.
    pub(crate) fn updated(body: Map<String, Value>) -> Self {
        Self::new(StatusCode::OK, Some(body), true)
    }

    /// 201.
    pub(crate) fn created(body: Map<String, Value>, id: String) -> Self {
        Self {
            created: vec![id],
            ..Self::new(StatusCode::CREATED, Some(body), true)
        }
    }

    /// 201 to a change that creates nothing.
    pub(crate) fn accepted() -> Self {
        Self::new(StatusCode::CREATED, Some(Map::new()), true)
    }

    /// The same answer again, which changes nothing.
    pub(crate) fn again(&self) -> Self {
        Self {
            committed: false,
            created: Vec::new(),
            ..self.clone()
        }
    }

    /// 204.
    pub(crate) fn done() -> Self {
        Self::new(StatusCode::NO_CONTENT, None, true)
    }

    /// The endpoints of tags and of IAM do not return the request id in the body.
    pub(crate) fn without_request_id(self) -> Self {
        Self {
            with_request_id: false,
            ..self
        }
    }
}

/// An object of one field.
pub(crate) fn wrapped(name: &str, value: Value) -> Map<String, Value> {
    Map::from_iter([(name.to_owned(), value)])
}
