//! Groups of users as data: looking them up, their ids, and the default group of a server.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rand::RngExt;
use sha2::{Digest, Sha256};

use crate::calls::ServiceCall;
use crate::ids;
use crate::ids::ResourceNames;
use crate::p2c::codes::{P2cCode, refuse};
use crate::p2c::stores::life::Life;
use crate::refusal::ApiRefusal;
use crate::switches::Switches;

const GROUP: ResourceNames = ResourceNames {
    parameter: "group_id",
    kind: "VPN_USER_GROUP",
    name: "VPN user group",
};

const DEFAULT_NAME: &str = "default";

const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A group.
#[derive(Clone, Debug)]
pub(crate) struct StoredGroup {
    pub id: String,
    pub server_id: String,
    pub name: String,
    pub description: String,
    /// Every server has one such, which can neither be changed nor deleted.
    pub is_default: bool,
    /// Whether something keeps it from being deleted.
    pub access_policy: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub life: Life,
}

/// Groups by id.
#[derive(Debug, Default)]
pub(crate) struct GroupStore(BTreeMap<String, StoredGroup>);

impl GroupStore {
    /// All groups of a server, seen or not.
    pub(crate) fn of<'a>(&'a self, server_id: &'a str) -> impl Iterator<Item = &'a StoredGroup> {
        self.0.values().filter(move |group| group.server_id == server_id)
    }

    /// All groups of all servers, oldest first.
    pub(crate) fn all(&self) -> Vec<&StoredGroup> {
        let mut groups: Vec<_> = self.0.values().collect();
        groups.sort_by_key(|group| (group.created_at, &group.id));
        groups
    }

    pub(crate) fn get(&self, id: &str) -> Option<&StoredGroup> {
        self.0.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut StoredGroup> {
        self.0.get_mut(id)
    }

    fn seen_mut(&mut self, server_id: &str, id: &str) -> Option<&mut StoredGroup> {
        let group = self.0.get_mut(id)?;
        (group.server_id == server_id && group.life.is_visible()).then_some(group)
    }

    /// The group of the call.
    pub(crate) fn find(&mut self, call: &ServiceCall<'_>, switches: &Switches) -> Result<&mut StoredGroup, ApiRefusal> {
        let id = call.route.id.as_str();
        ids::check(id, &GROUP, switches)?;
        self.seen_mut(&call.route.server_id, id)
            .ok_or_else(|| ids::unknown(id, &GROUP, switches))
    }

    /// The group of a call that changes its members. The server takes such calls as soon as the creation is answered, even
    /// while the group is not seen: Terraform adds users right after it creates a group.
    pub(crate) fn find_for_members(
        &self,
        call: &ServiceCall<'_>,
        switches: &Switches,
    ) -> Result<&StoredGroup, ApiRefusal> {
        let id = call.route.id.as_str();
        ids::check(id, &GROUP, switches)?;
        self.get(id)
            .filter(|group| group.server_id == call.route.server_id)
            .ok_or_else(|| ids::unknown(id, &GROUP, switches))
    }

    /// That id, if a user of that server can be in the group.
    pub(crate) fn named(&self, server_id: &str, id: &str, switches: &Switches) -> Result<String, ApiRefusal> {
        let found = self.get(id);
        if found.is_some_and(|group| group.server_id == server_id && group.life.is_visible()) {
            return Ok(id.to_owned());
        }
        let text = format!("user_group_id {id:?}: the user group does not exist");
        Err(refuse(P2cCode::GroupMissing, text, switches))
    }

    /// The id of the group of that name on that server.
    pub(crate) fn by_name(&self, server_id: &str, name: &str) -> Option<String> {
        let found = self.of(server_id).find(|group| group.name == name)?;
        found.life.is_visible().then(|| found.id.clone())
    }

    /// The id of the default group of a server.
    pub(crate) fn default_of(&self, server_id: &str) -> Option<String> {
        self.of(server_id)
            .find(|group| group.is_default)
            .map(|group| group.id.clone())
    }

    /// Makes the default group of a new server. Its id follows from the server's, so that it is the same after a
    /// reset.
    pub(crate) fn add_default(&mut self, server_id: &str, created_at: Timestamp) {
        let digest: [u8; 32] = Sha256::digest(server_id).into();
        self.insert(StoredGroup {
            id: id_from(|place| digest[place % digest.len()]),
            server_id: server_id.to_owned(),
            name: DEFAULT_NAME.to_owned(),
            description: String::new(),
            is_default: true,
            access_policy: false,
            created_at,
            updated_at: created_at,
            life: Life::default(),
        });
    }

    pub(crate) fn insert(&mut self, group: StoredGroup) {
        self.0.insert(group.id.clone(), group);
    }

    pub(crate) fn remove(&mut self, id: &str) -> bool {
        self.0.remove(id).is_some()
    }

    pub(crate) fn remove_all_of(&mut self, server_id: &str) {
        self.0.retain(|_, group| group.server_id != server_id);
    }

    pub(crate) fn life(&mut self, id: &str) -> Option<&mut Life> {
        self.0.get_mut(id).map(|group| &mut group.life)
    }

    pub(crate) fn lives(&mut self) -> impl Iterator<Item = &mut Life> {
        self.0.values_mut().map(|group| &mut group.life)
    }

    /// Removes the groups whose deletion is complete by now, and returns their ids.
    pub(crate) fn pass(&mut self, now: Timestamp) -> Vec<String> {
        let mut deleted = Vec::new();
        self.0.retain(|id, group| {
            let stays = group.life.pass(now);
            if !stays {
                deleted.push(id.clone());
            }
            stays
        });
        deleted
    }

    pub(crate) fn check_free(&self, server_id: &str, name: &str, switches: &Switches) -> Result<(), ApiRefusal> {
        match self.of(server_id).any(|group| group.name == name) {
            true => Err(refuse(P2cCode::DuplicateGroup, "Duplicate user group name.", switches)),
            false => Ok(()),
        }
    }
}

/// Ids of groups are of 36 letters, digits and dashes, but no UUIDs.
pub(crate) fn new_id() -> String {
    let mut random = rand::rng();
    id_from(|_| random.random())
}

fn id_from(mut byte: impl FnMut(usize) -> u8) -> String {
    let letter = |place| match place {
        8 | 13 | 18 | 23 => '-',
        _ => char::from(LETTERS[usize::from(byte(place)) % LETTERS.len()]),
    };
    (0..36).map(letter).collect()
}
