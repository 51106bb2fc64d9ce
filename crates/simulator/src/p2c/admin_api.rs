//! The admin API's endpoints for VPN servers, users and groups.

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State as Extracted},
    http::StatusCode,
    routing::{get, post},
};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::admin_http::{AdminRefusal, AdminResult, SharedSimulator, done, ok, parse, respond};
use crate::api::Simulator;
use crate::p2c::admin::{
    CodeList, PasswordCandidate, PasswordVerdict, Settled, VpnGroupDump, VpnGroupEdit, VpnGroupList, VpnGroupSeed,
    VpnServerDump, VpnServerEdit, VpnServerList, VpnServerSpec, VpnUserDump, VpnUserEdit, VpnUserList, VpnUserSeed,
};
use crate::p2c::codes::CodeTable;
use crate::p2c::stores::P2c;
use crate::p2c::stores::groups::{StoredGroup, new_id};
use crate::p2c::stores::life::Life;
use crate::p2c::stores::passwords::Passwords;
use crate::p2c::stores::servers::StoredServer;
use crate::p2c::stores::users::{NO_STATIC_IP, StoredUser};
use crate::state::CloudState;

/// Returns the routes of these endpoints.
pub(crate) fn router() -> Router<std::sync::Arc<Simulator>> {
    Router::new()
        .route("/vpn-servers", get(servers).post(add_servers))
        .route(
            "/vpn-servers/{id}",
            get(server).patch(edit_server).delete(remove_server),
        )
        .route("/vpn-users", get(users).post(seed_users))
        .route("/vpn-users/{id}", get(user).patch(edit_user).delete(remove_user))
        .route("/vpn-users/{id}/check-password", post(check_password))
        .route("/vpn-groups", get(groups).post(seed_groups))
        .route("/vpn-groups/{id}", get(group).patch(edit_group).delete(remove_group))
        .route("/settle", post(settle))
        .route("/p2c-codes", get(codes).put(put_codes))
}

/// Parses one item, or a list.
fn parse_list<T: DeserializeOwned>(body: &[u8]) -> AdminResult<Vec<T>> {
    match body.trim_ascii_start().starts_with(b"[") {
        true => parse(body),
        false => Ok(vec![parse(body)?]),
    }
}

fn instant(text: Option<String>) -> AdminResult<Option<Timestamp>> {
    let parse = |text: String| {
        text.parse()
            .map_err(|error| AdminRefusal::bad(format!("created_at {text:?} is no time of RFC 3339: {error}")))
    };
    text.map(parse).transpose()
}

/// Returns the named server, or the oldest.
fn server_id(p2c: &P2c, named: Option<String>) -> AdminResult<String> {
    match named {
        Some(id) if p2c.servers.get(&id).is_none() => Err(AdminRefusal::missing("VPN server", id)),
        Some(id) => Ok(id),
        None => {
            let first = p2c.servers.first();
            first
                .map(|server| server.id.clone())
                .ok_or_else(|| AdminRefusal::bad("there is no VPN server"))
        }
    }
}

/// Returns the VPN servers as they are now.
pub(crate) fn dump_servers(p2c: &P2c) -> Vec<VpnServerDump> {
    p2c.servers
        .all()
        .into_iter()
        .map(|server| dump_server(server, p2c))
        .collect()
}

pub(crate) fn dump_users(p2c: &P2c) -> Vec<VpnUserDump> {
    p2c.users.all().into_iter().map(|user| dump_user(user, p2c)).collect()
}

pub(crate) fn dump_groups(p2c: &P2c) -> Vec<VpnGroupDump> {
    p2c.groups
        .all()
        .into_iter()
        .map(|group| dump_group(group, p2c))
        .collect()
}

fn dump_server(server: &StoredServer, p2c: &P2c) -> VpnServerDump {
    let seen = p2c.writes.seen(&server.id);
    VpnServerDump {
        project_id: server.project_id.clone(),
        id: server.id.clone(),
        p2c_vgw_id: server.p2c_vgw_id.clone(),
        client_cidr: server.client_cidr.to_string(),
        client_auth_type: server.client_auth_type.clone(),
        status: server.status.clone(),
        user_quota: server.user_quota,
        users: p2c.users.of(&server.id).count(),
        writes: seen.total,
        writes_at_once: seen.in_progress,
        most_writes_at_once: seen.most,
    }
}

fn dump_user(user: &StoredUser, p2c: &P2c) -> VpnUserDump {
    let group = user.group_id.as_deref().and_then(|id| p2c.groups.get(id));
    VpnUserDump {
        server_id: user.server_id.clone(),
        id: user.id.clone(),
        name: user.name.clone(),
        description: user.description.clone(),
        user_group_id: user.group_id.clone(),
        user_group_name: group.map(|group| group.name.clone()),
        static_ip: user.static_ip.clone(),
        created_at: user.created_at.to_string(),
        updated_at: user.updated_at.to_string(),
        password_resets: user.passwords.resets,
        password_changes: user.passwords.changes,
        visible: user.life.is_visible(),
        settled: user.life.is_settled(),
        deleting: user.life.is_being_deleted(),
    }
}

fn dump_group(group: &StoredGroup, p2c: &P2c) -> VpnGroupDump {
    let users = p2c.users.of(&group.server_id);
    VpnGroupDump {
        server_id: group.server_id.clone(),
        id: group.id.clone(),
        name: group.name.clone(),
        description: group.description.clone(),
        is_default: group.is_default,
        access_policy: group.access_policy,
        members: users
            .filter(|user| user.group_id.as_deref() == Some(&group.id))
            .map(|user| user.id.clone())
            .collect(),
        created_at: group.created_at.to_string(),
        updated_at: group.updated_at.to_string(),
        visible: group.life.is_visible(),
        settled: group.life.is_settled(),
        deleting: group.life.is_being_deleted(),
    }
}

async fn servers(Extracted(cloud): SharedSimulator) -> AdminResult {
    let servers = dump_servers(&cloud.up_to_date().p2c);
    ok(&VpnServerList { servers })
}

fn find_server(state: &CloudState, id: &str) -> AdminResult<VpnServerDump> {
    let found = dump_servers(&state.p2c).into_iter().find(|server| server.id == id);
    found.ok_or_else(|| AdminRefusal::missing("VPN server", id))
}

async fn server(Extracted(cloud): SharedSimulator, Path(id): Path<String>) -> AdminResult {
    ok(&find_server(&cloud.up_to_date(), &id)?)
}

async fn add_servers(Extracted(cloud): SharedSimulator, body: Bytes) -> AdminResult {
    let mut state = cloud.state();
    let mut made = Vec::new();
    for spec in parse_list::<VpnServerSpec>(&body)? {
        if let Some(project) = spec.project_id.as_ref().filter(|id| !state.projects.contains_key(*id)) {
            return Err(AdminRefusal::missing("project", project));
        }
        let created_at = state.clock.tick();
        let id = state
            .p2c
            .add_server(spec, &cloud.settings.project_id, created_at)
            .map_err(AdminRefusal::bad)?;
        made.push(find_server(&state, &id)?);
    }
    Ok(respond(StatusCode::CREATED, &VpnServerList { servers: made }))
}

async fn edit_server(Extracted(cloud): SharedSimulator, Path(id): Path<String>, body: Bytes) -> AdminResult {
    let edit: VpnServerEdit = parse(&body)?;
    let mut state = cloud.up_to_date();
    let now = state.clock.tick();
    match state.p2c.servers.edit(&id, edit, now).map_err(AdminRefusal::bad)? {
        true => ok(&find_server(&state, &id)?),
        false => Err(AdminRefusal::missing("VPN server", id)),
    }
}

async fn remove_server(Extracted(cloud): SharedSimulator, Path(id): Path<String>) -> AdminResult {
    match cloud.state().p2c.remove_server(&id) {
        true => done(),
        false => Err(AdminRefusal::missing("VPN server", id)),
    }
}

async fn users(Extracted(cloud): SharedSimulator) -> AdminResult {
    let users = dump_users(&cloud.up_to_date().p2c);
    ok(&VpnUserList { users })
}

fn find_user(p2c: &P2c, id: &str) -> AdminResult<VpnUserDump> {
    let user = p2c.users.get(id).ok_or_else(|| AdminRefusal::missing("VPN user", id))?;
    Ok(dump_user(user, p2c))
}

async fn user(Extracted(cloud): SharedSimulator, Path(id): Path<String>) -> AdminResult {
    ok(&find_user(&cloud.up_to_date().p2c, &id)?)
}

async fn seed_users(Extracted(cloud): SharedSimulator, body: Bytes) -> AdminResult {
    let mut state = cloud.up_to_date();
    let mut made = Vec::new();
    for seed in parse_list::<VpnUserSeed>(&body)? {
        let time = state.clock.tick();
        let created_at = instant(seed.created_at)?.unwrap_or(time);
        let p2c = &mut state.p2c;
        let id = seed.id.unwrap_or_else(|| Uuid::new_v4().to_string());
        if p2c.users.get(&id).is_some() {
            return Err(AdminRefusal::bad(format!("there is a VPN user with the id {id}")));
        }
        if let Some(group) = seed.user_group_id.as_ref().filter(|id| p2c.groups.get(id).is_none()) {
            return Err(AdminRefusal::missing("group", group));
        }
        let password = seed.password.as_ref().map(ExposeSecret::expose_secret);
        p2c.users.insert(StoredUser {
            id: id.clone(),
            server_id: server_id(p2c, seed.server_id)?,
            name: seed.name,
            description: seed.description,
            group_id: seed.user_group_id,
            static_ip: seed.static_ip.filter(|ip| ip != NO_STATIC_IP),
            passwords: password.map(Passwords::new).unwrap_or_default(),
            created_at,
            updated_at: created_at,
            life: Life::default(),
        });
        made.push(find_user(p2c, &id)?);
    }
    Ok(respond(StatusCode::CREATED, &VpnUserList { users: made }))
}

async fn edit_user(Extracted(cloud): SharedSimulator, Path(id): Path<String>, body: Bytes) -> AdminResult {
    let edit: VpnUserEdit = parse(&body)?;
    let mut state = cloud.up_to_date();
    let CloudState { p2c, clock, .. } = &mut *state;
    if let Some(group) = edit.user_group_id.as_ref().filter(|id| !id.is_empty())
        && p2c.groups.get(group).is_none()
    {
        return Err(AdminRefusal::missing("group", group));
    }
    let created_at = instant(edit.created_at)?;
    let Some(user) = p2c.users.get_mut(&id) else {
        return Err(AdminRefusal::missing("VPN user", id));
    };
    // Changes that the API would count as an update. A change of only the creation time does not change updated_at.
    let updates = edit.name.is_some()
        || edit.password.is_some()
        || edit.description.is_some()
        || edit.user_group_id.is_some()
        || edit.static_ip.is_some();
    user.name = edit.name.unwrap_or(std::mem::take(&mut user.name));
    user.description = edit.description.unwrap_or(std::mem::take(&mut user.description));
    if let Some(group) = edit.user_group_id {
        user.group_id = (!group.is_empty()).then_some(group);
    }
    if let Some(ip) = edit.static_ip {
        user.static_ip = (ip != NO_STATIC_IP).then_some(ip);
    }
    if let Some(password) = edit.password {
        user.passwords.set(password.expose_secret());
    }
    user.created_at = created_at.unwrap_or(user.created_at);
    if updates {
        user.updated_at = clock.tick();
    }
    ok(&find_user(p2c, &id)?)
}

async fn remove_user(Extracted(cloud): SharedSimulator, Path(id): Path<String>) -> AdminResult {
    match cloud.state().p2c.users.remove(&id) {
        true => done(),
        false => Err(AdminRefusal::missing("VPN user", id)),
    }
}

async fn check_password(Extracted(cloud): SharedSimulator, Path(id): Path<String>, body: Bytes) -> AdminResult {
    let candidate: PasswordCandidate = parse(&body)?;
    let state = cloud.up_to_date();
    let Some(user) = state.p2c.users.get(&id) else {
        return Err(AdminRefusal::missing("VPN user", id));
    };
    let password = candidate.password.expose_secret();
    ok(&PasswordVerdict {
        current: user.passwords.is_current(password),
        recent: user.passwords.is_recent(password),
    })
}

async fn groups(Extracted(cloud): SharedSimulator) -> AdminResult {
    let groups = dump_groups(&cloud.up_to_date().p2c);
    ok(&VpnGroupList { groups })
}

fn find_group(p2c: &P2c, id: &str) -> AdminResult<VpnGroupDump> {
    let group = p2c.groups.get(id).ok_or_else(|| AdminRefusal::missing("group", id))?;
    Ok(dump_group(group, p2c))
}

async fn group(Extracted(cloud): SharedSimulator, Path(id): Path<String>) -> AdminResult {
    ok(&find_group(&cloud.up_to_date().p2c, &id)?)
}

async fn seed_groups(Extracted(cloud): SharedSimulator, body: Bytes) -> AdminResult {
    let mut state = cloud.up_to_date();
    let mut made = Vec::new();
    for seed in parse_list::<VpnGroupSeed>(&body)? {
        let time = state.clock.tick();
        let created_at = instant(seed.created_at)?.unwrap_or(time);
        let p2c = &mut state.p2c;
        let id = seed.id.unwrap_or_else(new_id);
        if p2c.groups.get(&id).is_some() {
            return Err(AdminRefusal::bad(format!("there is a group with the id {id}")));
        }
        p2c.groups.insert(StoredGroup {
            id: id.clone(),
            server_id: server_id(p2c, seed.server_id)?,
            name: seed.name,
            description: seed.description,
            is_default: false,
            access_policy: false,
            created_at,
            updated_at: created_at,
            life: Life::default(),
        });
        made.push(find_group(p2c, &id)?);
    }
    Ok(respond(StatusCode::CREATED, &VpnGroupList { groups: made }))
}

async fn edit_group(Extracted(cloud): SharedSimulator, Path(id): Path<String>, body: Bytes) -> AdminResult {
    let edit: VpnGroupEdit = parse(&body)?;
    let created_at = instant(edit.created_at)?;
    let mut state = cloud.up_to_date();
    let CloudState { p2c, clock, .. } = &mut *state;
    let Some(group) = p2c.groups.get_mut(&id) else {
        return Err(AdminRefusal::missing("group", id));
    };
    let updates = edit.name.is_some() || edit.description.is_some();
    group.name = edit.name.unwrap_or(std::mem::take(&mut group.name));
    group.description = edit.description.unwrap_or(std::mem::take(&mut group.description));
    group.access_policy = edit.access_policy.unwrap_or(group.access_policy);
    group.created_at = created_at.unwrap_or(group.created_at);
    if updates {
        group.updated_at = clock.tick();
    }
    ok(&find_group(p2c, &id)?)
}

async fn remove_group(Extracted(cloud): SharedSimulator, Path(id): Path<String>) -> AdminResult {
    match cloud.state().p2c.remove_group(&id) {
        true => done(),
        false => Err(AdminRefusal::missing("group", id)),
    }
}

async fn settle(Extracted(cloud): SharedSimulator) -> AdminResult {
    let mut state = cloud.state();
    let now = state.clock.now();
    let settled = state.p2c.settle(now);
    ok(&Settled { settled })
}

async fn codes(Extracted(cloud): SharedSimulator) -> AdminResult {
    let codes = cloud.state().p2c.codes.dump();
    ok(&CodeList { codes })
}

/// Codes that are not named stay as they are.
async fn put_codes(Extracted(cloud): SharedSimulator, body: Bytes) -> AdminResult {
    cloud.state().p2c.codes = CodeTable::new(parse(&body)?).map_err(AdminRefusal::bad)?;
    codes(Extracted(cloud)).await
}
