//! Members of groups: adding, removing and listing users.

use serde_json::json;

use crate::calls::{CallAnswer, ServiceCall};
use crate::p2c::codes::{P2cCode, refuse};
use crate::p2c::handlers::answers::page_of;
use crate::p2c::stores::users::StoredUser;
use crate::paging::PageQuery;
use crate::refusal::ApiRefusal;
use crate::state::CloudState;
use crate::switches::{AddMember, RemoveNonMember};

/// POST …/add-users; all of them or none.
pub(crate) fn add(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<CallAnswer, ApiRefusal> {
    let switches = state.switches;
    let group = state.p2c.groups.find_for_members(call, &switches)?.id.clone();
    let users = named_users(state, call)?;
    for user in &users {
        let elsewhere = user.group_id.as_ref().is_some_and(|other| *other != group);
        if elsewhere && switches.add_member == AddMember::Refused {
            let text = format!("VPN user {} is in another user group.", user.id);
            return Err(refuse(P2cCode::InOtherGroup, text, &switches));
        }
    }
    put(state, users, Some(&group));
    Ok(CallAnswer::accepted())
}

/// POST …/remove-users; all of them or none.
pub(crate) fn remove(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<CallAnswer, ApiRefusal> {
    let switches = state.switches;
    let group = state.p2c.groups.find_for_members(call, &switches)?.id.clone();
    let (members, non_members): (Vec<_>, Vec<_>) = named_users(state, call)?
        .into_iter()
        .partition(|user| user.group_id.as_ref() == Some(&group));
    if let Some(non_member) = non_members.first()
        && switches.remove_non_member == RemoveNonMember::Refused
    {
        let text = format!("VPN user {} is not in the user group.", non_member.id);
        return Err(refuse(P2cCode::NotInGroup, text, &switches));
    }
    put(state, members, None);
    Ok(CallAnswer::accepted())
}

/// GET of a page of the members of a group.
pub(crate) fn list(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<CallAnswer, ApiRefusal> {
    let switches = state.switches;
    let query = PageQuery::read(call, &switches)?;
    let group = state.p2c.groups.find(call, &switches)?.id.clone();
    let users = state.p2c.users.seen(&call.route.server_id);
    let all: Vec<&StoredUser> = users.filter(|user| user.group_id.as_ref() == Some(&group)).collect();
    let place = |user: &&StoredUser| (user.created_at, user.id.clone());
    let show = |user: &StoredUser| json!({"id": user.id, "name": user.name, "description": user.description});
    Ok(page_of("users", all, query, &switches, place, show))
}

/// The users that the body names by id, each of which must be there.
fn named_users(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<Vec<StoredUser>, ApiRefusal> {
    let switches = state.switches;
    let mut users = Vec::new();
    for id in named_ids(call, state)? {
        let Some(user) = state.p2c.users.seen_mut(&call.route.server_id, &id) else {
            let text = format!("VPN user {id} does not exist.");
            return Err(refuse(P2cCode::UserMissing, text, &switches));
        };
        users.push(user.clone());
    }
    Ok(users)
}

/// The ids in `users`, of which there must be one.
pub(crate) fn named_ids(call: &ServiceCall<'_>, state: &CloudState) -> Result<Vec<String>, ApiRefusal> {
    let items = call.object()?.objects("users")?.unwrap_or_default();
    if items.is_empty() {
        return Err(refuse(P2cCode::NoUsers, "User list is empty.", &state.switches));
    }
    let mut ids = Vec::new();
    for item in &items {
        let id = item.text("id")?.ok_or_else(|| ApiRefusal::invalid("id is required"))?;
        ids.push(id.to_owned());
    }
    Ok(ids)
}

fn put(state: &mut CloudState, users: Vec<StoredUser>, group_id: Option<&String>) {
    let updated_at = state.clock.tick();
    for user in users {
        if let Some(user) = state.p2c.users.get_mut(&user.id)
            && user.group_id.as_ref() != group_id
        {
            user.group_id = group_id.cloned();
            user.updated_at = updated_at;
        }
    }
}
