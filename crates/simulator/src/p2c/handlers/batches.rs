//! Users by the dozen: batch creation, of which all or nothing comes true, and batch deletion.

use serde_json::{Map, Value, json};

use crate::calls::{CallAnswer, Fields, ServiceCall, wrapped};
use crate::p2c::codes::{P2cCode, refuse};
use crate::p2c::handlers::client_tokens;
use crate::p2c::handlers::members::named_ids;
use crate::p2c::handlers::users::{RequestedUser, check_quota};
use crate::p2c::stores::users::StoredUser;
use crate::refusal::ApiRefusal;
use crate::state::CloudState;
use crate::switches::{BatchLimit, BatchUnknown};

const MOST: usize = 100;

/// POST …/batch-create. 201 even if nothing was created: `invalid_users` says why.
pub(crate) fn create(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<CallAnswer, ApiRefusal> {
    client_tokens::once(state, call, |state| {
        let server = state.p2c.servers.find(call, &state.switches)?.clone();
        let items = call.object()?.objects("users")?.unwrap_or_default();
        if items.is_empty() {
            return Err(refuse(P2cCode::NoUsers, "User list is empty.", &state.switches));
        }
        refuse_too_many(items.len(), state)?;
        check_quota(state, &server, items.len())?;
        let (mut made, mut invalid): (Vec<String>, Vec<Value>) = Default::default();
        for item in &items {
            match check(state, call, item) {
                Ok(user) => {
                    made.push(user.id.clone());
                    // In the store at once, so that the next ones are compared with it as well.
                    state.p2c.users.insert(user);
                }
                Err(cause) => invalid.push(show_invalid(item, &cause)),
            }
        }
        if !invalid.is_empty() {
            for id in made.drain(..) {
                state.p2c.users.remove(&id);
            }
        }
        let committed = invalid.is_empty();
        let answer = CallAnswer::created(wrapped("invalid_users", invalid.into()), String::new());
        Ok(CallAnswer {
            committed,
            created: made,
            ..answer
        })
    })
}

/// POST …/batch-delete.
pub(crate) fn delete(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<CallAnswer, ApiRefusal> {
    let (slow_end, switches) = (state.clock.slow_end(), state.switches);
    let ids = named_ids(call, state)?;
    refuse_too_many(ids.len(), state)?;
    let server_id = call.route.server_id.as_str();
    let users = &mut state.p2c.users;
    let unknown = ids.iter().find(|id| users.seen_mut(server_id, id).is_none());
    if let Some(id) = unknown
        && switches.batch_unknown == BatchUnknown::Refused
    {
        let text = format!("VPN user {id} does not exist.");
        return Err(refuse(P2cCode::UserMissing, text, &switches));
    }
    for id in &ids {
        let is_absent = users
            .seen_mut(server_id, id)
            .is_some_and(|user| user.life.delete(slow_end, &switches));
        if is_absent {
            users.remove(id);
        }
    }
    Ok(CallAnswer::updated(Map::new()))
}

/// The user that an item asks for, or why there cannot be one.
fn check(state: &mut CloudState, call: &ServiceCall<'_>, item: &Fields) -> Result<StoredUser, String> {
    let message_of = |refusal: ApiRefusal| refusal.message;
    let server = state
        .p2c
        .servers
        .find(call, &state.switches)
        .map_err(message_of)?
        .clone();
    let group = match item.text("user_group_name").map_err(message_of)? {
        None | Some("") => None,
        Some(name) => Some(
            state
                .p2c
                .groups
                .by_name(&server.id, name)
                .ok_or("User group does not exist.")?,
        ),
    };
    RequestedUser::read(item)
        .and_then(|wanted| wanted.check(state, &server, group))
        .map_err(message_of)
}

fn show_invalid(item: &Fields, cause: &str) -> Value {
    let field = |name| item.get(name).cloned().unwrap_or_default();
    json!({
        "name": field("name"),
        "description": field("description"),
        "user_group_name": field("user_group_name"),
        "static_ip": field("static_ip"),
        "cause": cause,
    })
}

fn refuse_too_many(count: usize, state: &CloudState) -> Result<(), ApiRefusal> {
    match state.switches.batch_limit {
        BatchLimit::Hundred if count > MOST => {
            let text = format!("A batch can have at most {MOST} users.");
            Err(refuse(P2cCode::TooManyUsers, text, &state.switches))
        }
        _ => Ok(()),
    }
}
