//! What all endpoints of the admin API use: how they get the simulator, parse a body and respond.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State as Extracted,
    http::{HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::admin::AdminError;
use crate::api::Simulator;

pub(crate) type SharedSimulator = Extracted<Arc<Simulator>>;

/// What a handler returns.
pub(crate) type AdminResult<T = Response<Body>> = Result<T, AdminRefusal>;

/// A refusal.
pub(crate) struct AdminRefusal(StatusCode, String);

impl AdminRefusal {
    #[expect(clippy::needless_pass_by_value, reason = "`map_err` passes an error by value")]
    pub(crate) fn bad(text: impl ToString) -> Self {
        Self(StatusCode::BAD_REQUEST, text.to_string())
    }

    pub(crate) fn missing(what: &str, name: impl std::fmt::Display) -> Self {
        Self::not_found(format!("there is no {what} {name}"))
    }

    pub(crate) fn not_found(text: impl Into<String>) -> Self {
        Self(StatusCode::NOT_FOUND, text.into())
    }
}

impl IntoResponse for AdminRefusal {
    fn into_response(self) -> Response<Body> {
        respond(self.0, &AdminError { error: self.1 })
    }
}

pub(crate) fn respond<T: Serialize>(status: StatusCode, body: &T) -> Response<Body> {
    // Maps with string keys and plain fields: this cannot fail.
    let body = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[expect(clippy::unnecessary_wraps, reason = "handlers that can fail end with it")]
pub(crate) fn ok<T: Serialize>(body: &T) -> AdminResult {
    Ok(respond(StatusCode::OK, body))
}

#[expect(clippy::unnecessary_wraps, reason = "handlers that can fail end with it")]
pub(crate) fn done() -> AdminResult {
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> AdminResult<T> {
    // A request without a body asks for the defaults.
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(AdminRefusal::bad)
}
