//! The five calls on groups of users.

use serde_json::{Value, json};

use crate::calls::{CallAnswer, Fields, ServiceCall, wrapped};
use crate::clock::in_read_answer;
use crate::p2c::codes::{P2cCode, refuse};
use crate::p2c::handlers::answers::{page_of, show_description};
use crate::p2c::handlers::client_tokens;
use crate::p2c::stores::groups::{StoredGroup, new_id};
use crate::p2c::stores::life::Life;
use crate::p2c::stores::users::UserStore;
use crate::p2c::user_rules::check_description;
use crate::paging::PageQuery;
use crate::refusal::ApiRefusal;
use crate::state::CloudState;
use crate::switches::{GroupWithMembers, Switches};

const WRAPPER: &str = "user_group";

/// POST of a group.
pub(crate) fn create(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<CallAnswer, ApiRefusal> {
    client_tokens::once(state, call, |state| {
        let switches = state.switches;
        let fields = wrapped_fields(call)?;
        let name = fields
            .text("name")?
            .ok_or_else(|| ApiRefusal::invalid("name is required"))?;
        let fits = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        if !(1..=64).contains(&name.len()) || !name.chars().all(fits) {
            return Err(ApiRefusal::invalid(
                "name must be 1 to 64 letters, digits, underscores and hyphens",
            ));
        }
        let description = fields.text("description")?.unwrap_or_default();
        check_description(description).map_err(ApiRefusal::invalid)?;
        let server_id = call.route.server_id.as_str();
        state.p2c.groups.check_free(server_id, name, &switches)?;
        let created_at = state.clock.creation(&switches);
        let group = StoredGroup {
            id: new_id(),
            server_id: server_id.to_owned(),
            name: name.to_owned(),
            description: description.to_owned(),
            is_default: false,
            access_policy: false,
            created_at,
            updated_at: created_at,
            life: Life::begin(state.clock.slow_end(), &switches),
        };
        let id = group.id.clone();
        state.p2c.groups.insert(group);
        Ok(CallAnswer::created(wrapped(WRAPPER, json!({"id": id})), id))
    })
}

/// GET of a group.
pub(crate) fn get(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<CallAnswer, ApiRefusal> {
    let switches = state.switches;
    let group = state.p2c.groups.find(call, &switches)?.clone();
    Ok(CallAnswer::read(wrapped(
        WRAPPER,
        show(&group, &state.p2c.users, &switches),
    )))
}

/// GET of a page of groups.
pub(crate) fn list(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<CallAnswer, ApiRefusal> {
    let switches = &state.switches;
    let query = PageQuery::read(call, switches)?;
    let groups = state.p2c.groups.of(&call.route.server_id);
    let all: Vec<&StoredGroup> = groups.filter(|group| group.life.is_visible()).collect();
    let place = |group: &&StoredGroup| (group.created_at, group.id.clone());
    let show = |group: &StoredGroup| show(group, &state.p2c.users, switches);
    Ok(page_of("user_groups", all, query, switches, place, show))
}

/// PUT of a group.
pub(crate) fn update(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<CallAnswer, ApiRefusal> {
    let switches = state.switches;
    let fields = wrapped_fields(call)?;
    let before = state.p2c.groups.find(call, &switches)?.clone();
    refuse_default(&before, &switches)?;
    let name = fields.text("name")?.unwrap_or(&before.name);
    // The page on updates allows more characters than the one on creations.
    if !(1..=64).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return Err(ApiRefusal::invalid("name must have 1 to 64 characters"));
    }
    if name != before.name {
        state.p2c.groups.check_free(&before.server_id, name, &switches)?;
    }
    let description = fields.text("description")?.unwrap_or(&before.description);
    check_description(description).map_err(ApiRefusal::invalid)?;
    let updated_at = state.clock.tick();
    let group = state.p2c.groups.find(call, &switches)?;
    name.clone_into(&mut group.name);
    description.clone_into(&mut group.description);
    group.updated_at = updated_at;
    let group = group.clone();
    Ok(CallAnswer::updated(wrapped(
        WRAPPER,
        show(&group, &state.p2c.users, &switches),
    )))
}

/// DELETE of a group.
pub(crate) fn delete(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<CallAnswer, ApiRefusal> {
    let (slow_end, switches) = (state.clock.slow_end(), state.switches);
    let group = state.p2c.groups.find(call, &switches)?.clone();
    refuse_default(&group, &switches)?;
    if group.access_policy {
        let text = "The user group has an access policy. Delete the access policy first.";
        return Err(refuse(P2cCode::HasAccessPolicy, text, &switches));
    }
    if switches.group_with_members == GroupWithMembers::Refused && members(&group, &state.p2c.users) > 0 {
        let text = "The user group has users. Remove them first.";
        return Err(refuse(P2cCode::GroupHasMembers, text, &switches));
    }
    if state.p2c.groups.find(call, &switches)?.life.delete(slow_end, &switches) {
        state.p2c.remove_group(&group.id);
    }
    Ok(CallAnswer::done())
}

fn refuse_default(group: &StoredGroup, switches: &Switches) -> Result<(), ApiRefusal> {
    match group.is_default {
        true => {
            let text = "The default user group cannot be modified or deleted.";
            Err(refuse(P2cCode::DefaultGroup, text, switches))
        }
        false => Ok(()),
    }
}

fn wrapped_fields(call: &ServiceCall<'_>) -> Result<Fields, ApiRefusal> {
    call.object()?
        .object(WRAPPER)?
        .ok_or_else(|| ApiRefusal::invalid(format!("{WRAPPER} is required")))
}

fn members(group: &StoredGroup, users: &UserStore) -> usize {
    users
        .seen(&group.server_id)
        .filter(|user| user.group_id.as_deref() == Some(&group.id))
        .count()
}

fn show(group: &StoredGroup, users: &UserStore, switches: &Switches) -> Value {
    let mut shown = json!({
        "id": group.id,
        "name": group.name,
        "type": if group.is_default { "Default" } else { "Custom" },
        "user_number": members(group, users),
        "created_at": in_read_answer(group.created_at, switches),
        "updated_at": in_read_answer(group.updated_at, switches),
    });
    if let Some(description) = show_description(&group.description, switches) {
        shown["description"] = description;
    }
    shown
}
