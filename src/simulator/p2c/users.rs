//! VPN users: the store, and the five calls on it.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    client_tokens,
    codes::{P2cCode, refuse},
    groups::Groups,
    last_marker,
    life::Life,
    passwords::Passwords,
    servers::Server,
    user_rules::{self, check_description},
};
use crate::simulator::{
    calls::{Answer, Call, Fields, wrapped},
    clock::in_read_answer,
    ids::{self, Resource},
    paging::{PageQuery, page},
    refusal::Refusal,
    state::State,
    switches::{
        DeletedName, DuplicateUser, EmptyGroup, ImmutableFields, OmittedFields, Switches, UnsetDescription, UnsetGroup,
        UnsetStaticIp, UserNameCase, UserWithoutGroup,
    },
};

const WRAPPER: &str = "user";
const USER: Resource = Resource {
    parameter: "user_id",
    kind: "VPN_USER",
    name: "VPN user",
};
/// Means an address of the server's choice.
pub const NO_STATIC_IP: &str = "disable";

/// A user.
#[derive(Clone, Debug)]
pub struct User {
    pub id: String,
    pub server_id: String,
    pub name: String,
    pub description: String,
    pub group_id: Option<String>,
    pub static_ip: Option<String>,
    pub passwords: Passwords,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub life: Life,
}

/// Users by id.
#[derive(Debug, Default)]
pub struct Users(BTreeMap<String, User>);

impl Users {
    /// All users of a server, visible or not.
    pub fn of<'a>(&'a self, server_id: &'a str) -> impl Iterator<Item = &'a User> {
        self.0.values().filter(move |user| user.server_id == server_id)
    }

    /// The visible users of a server.
    pub fn seen<'a>(&'a self, server_id: &'a str) -> impl Iterator<Item = &'a User> {
        self.of(server_id).filter(|user| user.life.is_visible())
    }

    /// All users of all servers, oldest first.
    pub fn all(&self) -> Vec<&User> {
        let mut users: Vec<_> = self.0.values().collect();
        users.sort_by_key(|user| (user.created_at, &user.id));
        users
    }

    pub fn get(&self, id: &str) -> Option<&User> {
        self.0.get(id)
    }

    pub fn get_mut(&mut self, id: &str) -> Option<&mut User> {
        self.0.get_mut(id)
    }

    /// The user of that id, if it is visible on that server.
    pub fn seen_mut(&mut self, server_id: &str, id: &str) -> Option<&mut User> {
        let user = self.0.get_mut(id)?;
        (user.server_id == server_id && user.life.is_visible()).then_some(user)
    }

    /// The user of the call.
    pub fn find(&mut self, call: &Call<'_>, switches: &Switches) -> Result<&mut User, Refusal> {
        let id = call.route.id.as_str();
        ids::check(id, &USER, switches)?;
        self.seen_mut(&call.route.server_id, id)
            .ok_or_else(|| ids::unknown(id, &USER, switches))
    }

    pub fn insert(&mut self, user: User) {
        self.0.insert(user.id.clone(), user);
    }

    pub fn remove(&mut self, id: &str) -> bool {
        self.0.remove(id).is_some()
    }

    pub fn remove_all_of(&mut self, server_id: &str) {
        self.0.retain(|_, user| user.server_id != server_id);
    }

    /// Removes all users from that group.
    pub fn leave(&mut self, group_id: &str) {
        for user in self.0.values_mut() {
            user.group_id.take_if(|group| group == group_id);
        }
    }

    pub fn life(&mut self, id: &str) -> Option<&mut Life> {
        self.0.get_mut(id).map(|user| &mut user.life)
    }

    pub fn lives(&mut self) -> impl Iterator<Item = &mut Life> {
        self.0.values_mut().map(|user| &mut user.life)
    }

    /// Applies what is due by now, and removes the users that no longer exist.
    pub fn pass(&mut self, now: Timestamp) {
        self.0.retain(|_, user| user.life.pass(now));
    }

    /// Refuses a name that another user on the server has.
    pub fn check_free(&self, server_id: &str, name: &str, switches: &Switches) -> Result<(), Refusal> {
        let same = |other: &str| match switches.user_name_case {
            UserNameCase::Insensitive => other.eq_ignore_ascii_case(name),
            UserNameCase::Sensitive => other == name,
        };
        let Some(holder) = self.of(server_id).find(|user| same(&user.name)) else {
            return Ok(());
        };
        if holder.life.is_being_deleted() && switches.deleted_name == DeletedName::Message {
            return Err(Refusal::invalid(format!(
                "VPN user {name} is being deleted, try again later"
            )));
        }
        let mut refusal = refuse(P2cCode::DuplicateUser, "Duplicate user name.", switches);
        if switches.duplicate_user == DuplicateUser::Status409 {
            refusal.status = StatusCode::CONFLICT;
        }
        Err(refusal)
    }

    /// Checks a static ip, which no other user may have, and returns it as it is stored.
    pub fn static_ip(
        &self,
        text: &str,
        server: &Server,
        own_id: &str,
        switches: &Switches,
    ) -> Result<Option<String>, Refusal> {
        if text == NO_STATIC_IP {
            return Ok(None);
        }
        user_rules::check_static_ip(text, server.client_cidr)
            .map_err(|text| refuse(P2cCode::StaticIpRule, text, switches))?;
        let taken = self
            .of(&server.id)
            .any(|user| user.static_ip.as_deref() == Some(text) && user.id != own_id);
        match taken {
            true => {
                let text = format!("static_ip {text} is used by another user");
                Err(refuse(P2cCode::StaticIpTaken, text, switches))
            }
            false => Ok(Some(text.to_owned())),
        }
    }
}

/// The requested user; each creation and each item of a batch has one.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    pub name: &'a str,
    pub password: &'a str,
    pub description: &'a str,
    pub static_ip: &'a str,
}

impl<'a> Wanted<'a> {
    pub fn read(fields: &'a Fields) -> Result<Self, Refusal> {
        let needed = |name| {
            let value = fields.text(name)?;
            value.ok_or_else(|| Refusal::invalid(format!("{name} is required")))
        };
        Ok(Self {
            name: needed("name")?,
            password: needed("password")?,
            description: fields.text("description")?.unwrap_or_default(),
            static_ip: fields.text("static_ip")?.unwrap_or(NO_STATIC_IP),
        })
    }

    /// Returns the user, if the request passes all checks.
    pub fn check(&self, state: &mut State, server: &Server, group_id: Option<String>) -> Result<User, Refusal> {
        let switches = state.switches;
        let users = &state.p2c.users;
        user_rules::check_name(self.name).map_err(|text| refuse(P2cCode::UserName, text, &switches))?;
        user_rules::check_password(self.password, self.name)
            .map_err(|text| refuse(P2cCode::PasswordRule, text, &switches))?;
        check_description(self.description).map_err(Refusal::invalid)?;
        users.check_free(&server.id, self.name, &switches)?;
        let static_ip = users.static_ip(self.static_ip, server, "", &switches)?;
        let group_id = group_id.or_else(|| match switches.user_without_group {
            UserWithoutGroup::None => None,
            UserWithoutGroup::Default => state.p2c.groups.default_of(&server.id),
        });
        let created_at = state.clock.creation(&switches);
        Ok(User {
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
pub fn check_quota(state: &State, server: &Server, more: usize) -> Result<(), Refusal> {
    let quota = server.user_quota;
    match state.p2c.users.of(&server.id).count() + more <= quota {
        true => Ok(()),
        false => {
            let text = format!("The quota of VPN users ({quota}) is exceeded.");
            Err(refuse(P2cCode::QuotaExceeded, text, &state.switches))
        }
    }
}

/// POST of a user.
pub fn create(state: &mut State, call: &Call<'_>) -> Result<Answer, Refusal> {
    client_tokens::once(state, call, |state| {
        let switches = state.switches;
        let server = state.p2c.servers.find(call, &switches)?.clone();
        let fields = wrapped_fields(call)?;
        let group = fields.text("user_group_id")?.filter(|id| !id.is_empty());
        let group = group
            .map(|id| state.p2c.groups.named(&server.id, id, &switches))
            .transpose()?;
        let user = Wanted::read(&fields)?.check(state, &server, group)?;
        check_quota(state, &server, 1)?;
        let id = user.id.clone();
        state.p2c.users.insert(user);
        Ok(Answer::created(wrapped(WRAPPER, json!({"id": id})), id))
    })
}

/// GET of a user.
pub fn get(state: &mut State, call: &Call<'_>) -> Result<Answer, Refusal> {
    let switches = state.switches;
    let user = state.p2c.users.find(call, &switches)?.clone();
    Ok(Answer::read(wrapped(
        WRAPPER,
        show(&user, &state.p2c.groups, &switches),
    )))
}

/// GET of a page of users.
pub fn list(state: &mut State, call: &Call<'_>) -> Result<Answer, Refusal> {
    let switches = &state.switches;
    let query = PageQuery::read(call, switches)?;
    let all: Vec<&User> = state.p2c.users.seen(&call.route.server_id).collect();
    let total = all.len();
    let place = |user: &&User| (user.created_at, user.id.clone());
    let (users, page_info) = page(all, place, query, last_marker(switches), switches);
    let shown: Value = users
        .into_iter()
        .map(|user| show(user, &state.p2c.groups, switches))
        .collect();
    let mut body = wrapped("users", shown);
    body.insert("total_count".to_owned(), total.into());
    body.insert("page_info".to_owned(), page_info.into());
    Ok(Answer::read(body))
}

/// PUT of a user.
pub fn update(state: &mut State, call: &Call<'_>) -> Result<Answer, Refusal> {
    let switches = state.switches;
    let fields = wrapped_fields(call)?;
    let server = state.p2c.servers.find(call, &switches)?.clone();
    let before = state.p2c.users.find(call, &switches)?.clone();
    for immutable in ["name", "password"] {
        if fields.get(immutable).is_some() && switches.immutable_fields == ImmutableFields::Refused {
            let text = format!("unsupported attribute: {immutable}");
            return Err(Refusal::service(StatusCode::BAD_REQUEST, "VPN.0013", text));
        }
    }
    let clears = switches.omitted_fields != OmittedFields::Kept;
    let description = match fields.text("description")? {
        Some(text) => {
            check_description(text).map_err(Refusal::invalid)?;
            text.to_owned()
        }
        None if clears => String::new(),
        None => before.description,
    };
    let group_id = match (fields.text("user_group_id")?, switches.empty_group) {
        (Some(""), EmptyGroup::Refused) => return Err(Refusal::invalid("user_group_id must have 36 characters")),
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
    Ok(Answer::updated(wrapped(
        WRAPPER,
        show(&user, &state.p2c.groups, &switches),
    )))
}

/// DELETE of a user.
pub fn delete(state: &mut State, call: &Call<'_>) -> Result<Answer, Refusal> {
    let (slow_end, switches) = (state.clock.slow_end(), state.switches);
    let user = state.p2c.users.find(call, &switches)?;
    if user.life.delete(slow_end, &switches) {
        state.p2c.users.remove(&call.route.id);
    }
    Ok(Answer::done())
}

fn wrapped_fields(call: &Call<'_>) -> Result<Fields, Refusal> {
    call.object()?
        .object(WRAPPER)?
        .ok_or_else(|| Refusal::invalid(format!("{WRAPPER} is required")))
}

/// The value of a description in answers, if it is present there.
pub fn show_description(description: &str, switches: &Switches) -> Option<Value> {
    match switches.unset_description {
        UnsetDescription::Absent if description.is_empty() => None,
        UnsetDescription::Null if description.is_empty() => Some(Value::Null),
        _ => Some(json!(description)),
    }
}

fn show(user: &User, groups: &Groups, switches: &Switches) -> Value {
    let mut shown = Map::new();
    let mut tell = |name: &str, value: Value| shown.insert(name.to_owned(), value);
    tell("id", json!(user.id));
    tell("name", json!(user.name));
    if let Some(description) = show_description(&user.description, switches) {
        tell("description", description);
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
            tell(name, value);
        }
    }
    let unset = match switches.unset_static_ip {
        UnsetStaticIp::Disable => Some(json!(NO_STATIC_IP)),
        UnsetStaticIp::Absent => None,
        UnsetStaticIp::Empty => Some(json!("")),
    };
    if let Some(ip) = user.static_ip.as_ref().map(|ip| json!(ip)).or(unset) {
        tell("static_ip", ip);
    }
    tell("created_at", json!(in_read_answer(user.created_at, switches)));
    tell("updated_at", json!(in_read_answer(user.updated_at, switches)));
    Value::Object(shown)
}
