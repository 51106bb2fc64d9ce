//! Creations that came with an `X-Client-Token`, and the answer to a repeated one.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::calls::{CallAnswer, ServiceCall};
use crate::operations::SimulatedOperation;
use crate::refusal::ApiRefusal;
use crate::switches::{Switches, TokenOtherBody, TokenReplay};

/// A token is good for one operation on one server.
type TokenKey = (SimulatedOperation, String, String);

/// Creations that came with a token.
#[derive(Debug, Default)]
pub(crate) struct ClientTokens(BTreeMap<TokenKey, Done>);

#[derive(Debug)]
struct Done {
    /// Bodies hold passwords, so only their digest is kept.
    body: [u8; 32],
    answer: CallAnswer,
}

/// A requested creation with a token.
#[derive(Debug)]
pub(crate) struct TokenUse {
    key: TokenKey,
    body: [u8; 32],
}

impl TokenUse {
    pub(crate) fn new(call: &ServiceCall<'_>, token: &str) -> Result<Self, ApiRefusal> {
        if token.len() != 36 {
            return Err(ApiRefusal::invalid("X-Client-Token must be a UUID of 36 characters"));
        }
        let route = call.route;
        Ok(Self {
            key: (route.operation, route.server_id.clone(), token.to_owned()),
            body: digest(call.body),
        })
    }
}

impl ClientTokens {
    /// Returns the answer to a creation that is not executed, because one with the same token was.
    pub(crate) fn replay(&self, requested: &TokenUse, switches: &Switches) -> Result<Option<CallAnswer>, ApiRefusal> {
        let Some(before) = self.0.get(&requested.key) else {
            return Ok(None);
        };
        match before.body == requested.body {
            true => match switches.token_replay {
                TokenReplay::SameAnswer => Ok(Some(before.answer.again())),
                TokenReplay::Vpn0031 => Err(repeated()),
                TokenReplay::Ignored => Ok(None),
            },
            false => match switches.token_other_body {
                TokenOtherBody::Vpn0031 => Err(repeated()),
                TokenOtherBody::NewObject => Ok(None),
            },
        }
    }

    /// Records an executed creation. The first one with a token counts.
    pub(crate) fn record(&mut self, requested: TokenUse, answer: CallAnswer) {
        let TokenUse { key, body } = requested;
        self.0.entry(key).or_insert(Done { body, answer });
    }
}

/// Of what the body says, however it is written.
fn digest(body: &[u8]) -> [u8; 32] {
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => Sha256::digest(value.to_string()).into(),
        Err(_) => Sha256::digest(body).into(),
    }
}

fn repeated() -> ApiRefusal {
    ApiRefusal::service(
        StatusCode::BAD_REQUEST,
        "VPN.0031",
        "Repeated operation. Please try again later.",
    )
}
