//! `X-Client-Token`: a creation that is asked for twice is done once.

use crate::calls::{CallAnswer, ServiceCall};
use crate::p2c::stores::client_tokens::TokenUse;
use crate::refusal::ApiRefusal;
use crate::state::CloudState;

/// Creates, unless a creation with the same token has been before.
pub(crate) fn once(
    state: &mut CloudState,
    call: &ServiceCall<'_>,
    create: impl FnOnce(&mut CloudState) -> Result<CallAnswer, ApiRefusal>,
) -> Result<CallAnswer, ApiRefusal> {
    let Some(token) = call.client_token else {
        return create(state);
    };
    let requested = TokenUse::new(call, token)?;
    if let Some(answer) = state.p2c.client_tokens.replay(&requested, &state.switches)? {
        return Ok(answer);
    }
    let answer = create(state)?;
    state.p2c.client_tokens.record(requested, answer.clone());
    Ok(answer)
}
