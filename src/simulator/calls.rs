//! A call as the service sees it, and its answer.

use axum::http::StatusCode;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::{operations::Route, refusal::Refusal};

/// An authorised call.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub route: &'a Route,
    pub query: &'a str,
    pub body: &'a [u8],
    /// `X-Client-Token`, where it was sent.
    pub client_token: Option<&'a str>,
}

impl Call<'_> {
    /// A parameter of the query, decoded; `+` is no space.
    pub fn parameter(&self, name: &str) -> Result<Option<String>, Refusal> {
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
            Err(_) => Err(Refusal::invalid(format!("{name} is not UTF-8"))),
        }
    }

    /// The body, which must be an object.
    pub fn object(&self) -> Result<Fields, Refusal> {
        match serde_json::from_slice(self.body) {
            Ok(Value::Object(fields)) => Ok(Fields(fields)),
            Ok(_) => Err(Refusal::invalid("the body is not a JSON object")),
            Err(_) => Err(Refusal::invalid("the body cannot be parsed as JSON")),
        }
    }
}

/// Fields of a JSON object; `null` counts as omitted.
#[derive(Clone, Debug, Default)]
pub struct Fields(Map<String, Value>);

impl Fields {
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub fn text(&self, name: &str) -> Result<Option<&str>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Refusal::invalid(format!("{name} must be a string"))),
        }
    }

    pub fn whole_number(&self, name: &str) -> Result<Option<i64>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => value
                .as_i64()
                .map(Some)
                .ok_or_else(|| Refusal::invalid(format!("{name} must be a whole number"))),
        }
    }

    pub fn object(&self, name: &str) -> Result<Option<Self>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Self(fields.clone()))),
            Some(_) => Err(Refusal::invalid(format!("{name} must be an object"))),
        }
    }

    pub fn objects(&self, name: &str) -> Result<Option<Vec<Self>>, Refusal> {
        let wrong = || Refusal::invalid(format!("{name} must be a list of objects"));
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
pub struct Answer {
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

impl Answer {
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
    pub fn read(body: Map<String, Value>) -> Self {
        Self::new(StatusCode::OK, Some(body), false)
    }

    /// 200 to a change.
    pub fn updated(body: Map<String, Value>) -> Self {
        Self::new(StatusCode::OK, Some(body), true)
    }

    /// 201.
    pub fn created(body: Map<String, Value>, id: String) -> Self {
        Self {
            created: vec![id],
            ..Self::new(StatusCode::CREATED, Some(body), true)
        }
    }

    /// 201 to a change that creates nothing.
    pub fn accepted() -> Self {
        Self::new(StatusCode::CREATED, Some(Map::new()), true)
    }

    /// The same answer again, which changes nothing.
    pub fn again(&self) -> Self {
        Self {
            committed: false,
            created: Vec::new(),
            ..self.clone()
        }
    }

    /// 204.
    pub fn done() -> Self {
        Self::new(StatusCode::NO_CONTENT, None, true)
    }

    /// The endpoints of tags and of IAM do not return the request id in the body.
    pub fn without_request_id(self) -> Self {
        Self {
            with_request_id: false,
            ..self
        }
    }
}

/// An object of one field.
pub fn wrapped(name: &str, value: Value) -> Map<String, Value> {
    Map::from_iter([(name.to_owned(), value)])
}
