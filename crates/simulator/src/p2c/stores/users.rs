//! VPN users as data: looking them up, and the checks that compare a user with the others.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use jiff::Timestamp;

use crate::calls::ServiceCall;
use crate::ids;
use crate::ids::ResourceNames;
use crate::p2c::codes::{P2cCode, refuse};
use crate::p2c::stores::life::Life;
use crate::p2c::stores::passwords::Passwords;
use crate::p2c::stores::servers::StoredServer;
use crate::p2c::user_rules;
use crate::refusal::ApiRefusal;
use crate::switches::{DeletedName, DuplicateUser, Switches, UserNameCase};

const USER: ResourceNames = ResourceNames {
    parameter: "user_id",
    kind: "VPN_USER",
    name: "VPN user",
};

/// Means an address of the server's choice.
pub(crate) const NO_STATIC_IP: &str = "disable";

/// A user.
#[derive(Clone, Debug)]
pub(crate) struct StoredUser {
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
pub(crate) struct UserStore(BTreeMap<String, StoredUser>);

impl UserStore {
    /// All users of a server, visible or not.
    pub(crate) fn of<'a>(&'a self, server_id: &'a str) -> impl Iterator<Item = &'a StoredUser> {
        self.0.values().filter(move |user| user.server_id == server_id)
    }

    /// The visible users of a server.
    pub(crate) fn seen<'a>(&'a self, server_id: &'a str) -> impl Iterator<Item = &'a StoredUser> {
        self.of(server_id).filter(|user| user.life.is_visible())
    }

    /// All users of all servers, oldest first.
    pub(crate) fn all(&self) -> Vec<&StoredUser> {
        let mut users: Vec<_> = self.0.values().collect();
        users.sort_by_key(|user| (user.created_at, &user.id));
        users
    }

    pub(crate) fn get(&self, id: &str) -> Option<&StoredUser> {
        self.0.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut StoredUser> {
        self.0.get_mut(id)
    }

    /// The user of that id, if it is visible on that server.
    pub(crate) fn seen_mut(&mut self, server_id: &str, id: &str) -> Option<&mut StoredUser> {
        let user = self.0.get_mut(id)?;
        (user.server_id == server_id && user.life.is_visible()).then_some(user)
    }

    /// The user of the call.
    pub(crate) fn find(&mut self, call: &ServiceCall<'_>, switches: &Switches) -> Result<&mut StoredUser, ApiRefusal> {
        let id = call.route.id.as_str();
        ids::check(id, &USER, switches)?;
        self.seen_mut(&call.route.server_id, id)
            .ok_or_else(|| ids::unknown(id, &USER, switches))
    }

    pub(crate) fn insert(&mut self, user: StoredUser) {
        self.0.insert(user.id.clone(), user);
    }

    pub(crate) fn remove(&mut self, id: &str) -> bool {
        self.0.remove(id).is_some()
    }

    pub(crate) fn remove_all_of(&mut self, server_id: &str) {
        self.0.retain(|_, user| user.server_id != server_id);
    }

    /// Removes all users from that group.
    pub(crate) fn leave(&mut self, group_id: &str) {
        for user in self.0.values_mut() {
            user.group_id.take_if(|group| group == group_id);
        }
    }

    pub(crate) fn life(&mut self, id: &str) -> Option<&mut Life> {
        self.0.get_mut(id).map(|user| &mut user.life)
    }

    pub(crate) fn lives(&mut self) -> impl Iterator<Item = &mut Life> {
        self.0.values_mut().map(|user| &mut user.life)
    }

    /// Applies what is due by now, and removes the users that no longer exist.
    pub(crate) fn pass(&mut self, now: Timestamp) {
        self.0.retain(|_, user| user.life.pass(now));
    }

    /// Refuses a name that another user on the server has.
    pub(crate) fn check_free(&self, server_id: &str, name: &str, switches: &Switches) -> Result<(), ApiRefusal> {
        let same = |other: &str| match switches.user_name_case {
            UserNameCase::Insensitive => other.eq_ignore_ascii_case(name),
            UserNameCase::Sensitive => other == name,
        };
        let Some(holder) = self.of(server_id).find(|user| same(&user.name)) else {
            return Ok(());
        };
        if holder.life.is_being_deleted() && switches.deleted_name == DeletedName::Message {
            return Err(ApiRefusal::invalid(format!(
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
    pub(crate) fn static_ip(
        &self,
        text: &str,
        server: &StoredServer,
        own_id: &str,
        switches: &Switches,
    ) -> Result<Option<String>, ApiRefusal> {
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
