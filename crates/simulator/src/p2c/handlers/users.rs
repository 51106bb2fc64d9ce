//! The five calls on VPN users.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::calls::{CallAnswer, Fields, ServiceCall, wrapped};
use crate::clock::in_read_answer;
use crate::p2c::codes::{P2cCode, refuse};
use crate::p2c::handlers::answers::{page_of, show_description};
use crate::p2c::handlers::client_tokens;
use crate::p2c::stores::groups::GroupStore;
use crate::p2c::stores::life::Life;
use crate::p2c::stores::passwords::Passwords;
use crate::p2c::stores::servers::StoredServer;
use crate::p2c::stores::users::{NO_STATIC_IP, StoredUser};
use crate::p2c::user_rules;
use crate::p2c::user_rules::check_description;
use crate::paging::PageQuery;
use crate::refusal::ApiRefusal;
use crate::state::CloudState;
use crate::switches::{
    EmptyGroup, ImmutableFields, OmittedFields, Switches, UnsetGroup, UnsetStaticIp, UserWithoutGroup,
};

const WRAPPER: &str = "user";

/// The requested user; each creation and each item of a batch has one.
#[derive(Clone, Debug)]
pub(crate) struct RequestedUser<'a> {
    pub name: &'a str,
    pub password: &'a str,
    pub description: &'a str,
    pub static_ip: &'a str,
}

impl<'a> RequestedUser<'a> {
    pub(crate) fn read(fields: &'a Fields) -> Result<Self, ApiRefusal> {
        let needed = |name| {
            let value = fields.text(name)?;
            value.ok_or_else(|| ApiRefusal::invalid(format!("{name} is required")))
        };
        Ok(Self {
            name: needed("name")?,
            password: needed("password")?,
            description: fields.text("description")?.unwrap_or_default(),
            static_ip: fields.text("static_ip")?.unwrap_or(NO_STATIC_IP),
        })
    }

    /// Returns the user, if the request passes all checks.
    pub(crate) fn check(
        &self,
        state: &mut CloudState,
        server: &StoredServer,
        group_id: Option<String>,
    ) -> Result<StoredUser, ApiRefusal> {
        let switches = state.switches;
        let users = &state.p2c.users;
        user_rules::check_name(self.name).map_err(|text| refuse(P2cCode::UserName, text, &switches))?;
        user_rules::check_password(self.password, self.name)
            .map_err(|text| refuse(P2cCode::PasswordRule, text, &switches))?;
        check_description(self.description).map_err(ApiRefusal::invalid)?;
        users.check_free(&server.id, self.name, &switches)?;
        let static_ip = users.static_ip(self.static_ip, server, "", &switches)?;
        let group_id = group_id.or_else(|| match switches.user_without_group {
            UserWithoutGroup::None => None,
            UserWithoutGroup::Default => state.p2c.groups.default_of(&server.id),
        });
        let created_at = state.clock.creation(&switches);
        Ok(StoredUser {
            id: Uuid::new_v4().to_string(),
            server_id: server.id.clone(),
            name: self.name.to_owned(),
            description: self.description.to_owned(),
            group_id,
            static_ip,
            passwords: Passwords::new(self.password),
            created_at,
            updated_at: created_at,
            life: Life::begin(state.clock.slow_end(), &switches),
        })
    }
}

/// Refuses `more` users if they exceed the server's quota.
pub(crate) fn check_quota(state: &CloudState, server: &StoredServer, more: usize) -> Result<(), ApiRefusal> {
    let quota = server.user_quota;
    if state.p2c.users.of(&server.id).count() + more <= quota {
        return Ok(());
    }
    let text = format!("The quota of VPN users ({quota}) is exceeded.");
    Err(refuse(P2cCode::QuotaExceeded, text, &state.switches))
}

/// POST of a user.
pub(crate) fn create(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<CallAnswer, ApiRefusal> {
    client_tokens::once(state, call, |state| {
        let switches = state.switches;
        let server = state.p2c.servers.find(call, &switches)?.clone();
        let fields = wrapped_fields(call)?;
        let group = fields.text("user_group_id")?.filter(|id| !id.is_empty());
        let group = group
            .map(|id| state.p2c.groups.named(&server.id, id, &switches))
            .transpose()?;
        let user = RequestedUser::read(&fields)?.check(state, &server, group)?;
        check_quota(state, &server, 1)?;
        let id = user.id.clone();
        state.p2c.users.insert(user);
        Ok(CallAnswer::created(wrapped(WRAPPER, json!({"id": id})), id))
    })
}

/// GET of a user.
pub(crate) fn get(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<CallAnswer, ApiRefusal> {
    let switches = state.switches;
    let user = state.p2c.users.find(call, &switches)?.clone();
    Ok(CallAnswer::read(wrapped(
        WRAPPER,
        show(&user, &state.p2c.groups, &switches),
    )))
}

/// GET of a page of users.
pub(crate) fn list(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<CallAnswer, ApiRefusal> {
    let switches = &state.switches;
    let query = PageQuery::read(call, switches)?;
    let all: Vec<&StoredUser> = state.p2c.users.seen(&call.route.server_id).collect();
    let place = |user: &&StoredUser| (user.created_at, user.id.clone());
    let show = |user: &StoredUser| show(user, &state.p2c.groups, switches);
    Ok(page_of("users", all, query, switches, place, show))
}

/// PUT of a user.
pub(crate) fn update(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<CallAnswer, ApiRefusal> {
    let switches = state.switches;
    let fields = wrapped_fields(call)?;
    let server = state.p2c.servers.find(call, &switches)?.clone();
    let before = state.p2c.users.find(call, &switches)?.clone();
    for immutable in ["name", "password"] {
        if fields.get(immutable).is_some() && switches.immutable_fields == ImmutableFields::Refused {
            let text = format!("unsupported attribute: {immutable}");
            return Err(ApiRefusal::service(StatusCode::BAD_REQUEST, "VPN.0013", text));
        }
    }
    let clears = switches.omitted_fields != OmittedFields::Kept;
    let description = match fields.text("description")? {
        Some(text) => {
            check_description(text).map_err(ApiRefusal::invalid)?;
            text.to_owned()
        }
        None if clears => String::new(),
        None => before.description,
    };
    let group_id = match (fields.text("user_group_id")?, switches.empty_group) {
        (Some(""), EmptyGroup::Refused) => return Err(ApiRefusal::invalid("user_group_id must have 36 characters")),
        (Some(""), EmptyGroup::Leaves) => None,
        (Some(id), _) => Some(state.p2c.groups.named(&server.id, id, &switches)?),
        (None, _) if switches.omitted_fields == OmittedFields::AllCleared => None,
        (None, _) => before.group_id,
    };
    let static_ip = match fields.text("static_ip")? {
        Some(text) => state.p2c.users.static_ip(text, &server, &before.id, &switches)?,
        None if clears => None,
        None => before.static_ip,
    };
    let updated_at = state.clock.tick();
    let user = state.p2c.users.find(call, &switches)?;
    user.description = description;
    user.group_id = group_id;
    user.static_ip = static_ip;
    user.updated_at = updated_at;
    let user = user.clone();
    Ok(CallAnswer::updated(wrapped(
        WRAPPER,
        show(&user, &state.p2c.groups, &switches),
    )))
}

/// DELETE of a user.
pub(crate) fn delete(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<CallAnswer, ApiRefusal> {
    let (slow_end, switches) = (state.clock.slow_end(), state.switches);
    let user = state.p2c.users.find(call, &switches)?;
    if user.life.delete(slow_end, &switches) {
        state.p2c.users.remove(&call.route.id);
    }
    Ok(CallAnswer::done())
}

fn wrapped_fields(call: &ServiceCall<'_>) -> Result<Fields, ApiRefusal> {
    call.object()?
        .object(WRAPPER)?
        .ok_or_else(|| ApiRefusal::invalid(format!("{WRAPPER} is required")))
}

fn show(user: &StoredUser, groups: &GroupStore, switches: &Switches) -> Value {
    let mut shown = Map::new();
    let mut set = |name: &str, value: Value| shown.insert(name.to_owned(), value);
    set("id", json!(user.id));
    set("name", json!(user.name));
    if let Some(description) = show_description(&user.description, switches) {
        set("description", description);
    }
    let group = user.group_id.as_deref().and_then(|id| groups.get(id));
    let fields = group.map_or([None, None], |group| [Some(json!(group.id)), Some(json!(group.name))]);
    for (name, value) in ["user_group_id", "user_group_name"].into_iter().zip(fields) {
        let unset = match switches.unset_group {
            UnsetGroup::Absent => None,
            UnsetGroup::Empty => Some(json!("")),
            UnsetGroup::Null => Some(Value::Null),
        };
        if let Some(value) = value.or(unset) {
            set(name, value);
        }
    }
    let unset = match switches.unset_static_ip {
        UnsetStaticIp::Disable => Some(json!(NO_STATIC_IP)),
        UnsetStaticIp::Absent => None,
        UnsetStaticIp::Empty => Some(json!("")),
    };
    if let Some(ip) = user.static_ip.as_ref().map(|ip| json!(ip)).or(unset) {
        set("static_ip", ip);
    }
    set("created_at", json!(in_read_answer(user.created_at, switches)));
    set("updated_at", json!(in_read_answer(user.updated_at, switches)));
    Value::Object(shown)
}
