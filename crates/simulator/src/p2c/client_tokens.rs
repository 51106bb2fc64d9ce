//! `X-Client-Token`: a creation that is asked for twice is done once.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::calls::{CallAnswer, ServiceCall};
use crate::operations::SimulatedOperation;
use crate::refusal::ApiRefusal;
use crate::state::CloudState;
use crate::switches::{TokenOtherBody, TokenReplay};

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

/// Creates, unless a creation with the same token has been before.
pub(crate) fn once(
    state: &mut CloudState,
    call: &ServiceCall<'_>,
    create: impl FnOnce(&mut CloudState) -> Result<CallAnswer, ApiRefusal>,
) -> Result<CallAnswer, ApiRefusal> {
    let Some(token) = call.client_token else {
        return create(state);
    };
    if token.len() != 36 {
        return Err(ApiRefusal::invalid("X-Client-Token must be a UUID of 36 characters"));
    }
    let route = call.route;
    let key = (route.operation, route.server_id.clone(), token.to_owned());
    let body = digest(call.body);
    if let Some(before) = state.p2c.client_tokens.0.get(&key) {
        let switches = &state.switches;
        match before.body == body {
            true => match switches.token_replay {
                TokenReplay::SameAnswer => return Ok(before.answer.again()),
                TokenReplay::Vpn0031 => return Err(repeated()),
                TokenReplay::Ignored => {}
            },
            false => match switches.token_other_body {
                TokenOtherBody::Vpn0031 => return Err(repeated()),
                TokenOtherBody::NewObject => {}
            },
        }
    }
    let answer = create(state)?;
    let done = Done {
        body,
        answer: answer.clone(),
    };
    state.p2c.client_tokens.0.entry(key).or_insert(done);
    Ok(answer)
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
