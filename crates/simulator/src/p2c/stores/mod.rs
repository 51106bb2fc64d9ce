//! The state of P2C. Stores hold data, and do not import the state of the cloud.

pub(crate) mod client_tokens;
pub(crate) mod groups;
pub(crate) mod life;
pub(crate) mod passwords;
pub(crate) mod servers;
pub(crate) mod users;
pub(crate) mod writes;

use jiff::Timestamp;

use crate::p2c::admin::VpnServerSpec;
use crate::p2c::codes::CodeTable;
use crate::p2c::stores::client_tokens::ClientTokens;
use crate::p2c::stores::groups::GroupStore;
use crate::p2c::stores::life::Life;
use crate::p2c::stores::servers::{OPENING, ServerStore};
use crate::p2c::stores::users::UserStore;
use crate::p2c::stores::writes::Writes;

/// Everything of P2C that the simulated cloud knows.
#[derive(Debug, Default)]
pub(crate) struct P2c {
    pub servers: ServerStore,
    pub users: UserStore,
    pub groups: GroupStore,
    pub client_tokens: ClientTokens,
    pub writes: Writes,
    pub codes: CodeTable,
}

impl P2c {
    /// Creates the initial servers, each with its default group and without users.
    pub(crate) fn new(servers: &[VpnServerSpec], project_id: &str) -> Result<Self, String> {
        let mut p2c = Self::default();
        for spec in servers {
            p2c.add_server(spec.clone(), project_id, OPENING)?;
        }
        Ok(p2c)
    }

    /// Adds a server and its default group. Returns the server's id.
    pub(crate) fn add_server(
        &mut self,
        spec: VpnServerSpec,
        project_id: &str,
        created_at: Timestamp,
    ) -> Result<String, String> {
        let id = self.servers.add(spec, project_id, created_at)?;
        self.groups.add_default(&id, created_at);
        Ok(id)
    }

    /// Removes a server with its users and groups.
    pub(crate) fn remove_server(&mut self, id: &str) -> bool {
        self.users.remove_all_of(id);
        self.groups.remove_all_of(id);
        self.servers.remove(id)
    }

    /// Removes a user or a group without an API call.
    pub(crate) fn remove(&mut self, id: &str) -> bool {
        self.users.remove(id) || self.remove_group(id)
    }

    /// Removes a group; its members are then in none.
    pub(crate) fn remove_group(&mut self, id: &str) -> bool {
        self.users.leave(id);
        self.groups.remove(id)
    }

    /// Makes the creation of a user or group fail when it settles.
    pub(crate) fn doom(&mut self, id: &str) {
        let life = self.users.life(id).or_else(|| self.groups.life(id));
        if life.is_some_and(Life::doom) {
            self.remove(id);
        }
    }

    /// Applies all changes that are due at `now`.
    pub(crate) fn pass(&mut self, now: Timestamp) {
        self.users.pass(now);
        for group in self.groups.pass(now) {
            self.users.leave(&group);
        }
    }

    /// Settles all unsettled users and groups. Returns how many.
    pub(crate) fn settle(&mut self, now: Timestamp) -> usize {
        let lives = self.users.lives().chain(self.groups.lives());
        let settled = lives.filter_map(|life| life.settle_now().then_some(())).count();
        self.pass(now);
        settled
    }

    /// Completes all deletions in progress. Returns how many.
    pub(crate) fn finish_deletions(&mut self, now: Timestamp) -> usize {
        let lives = self.users.lives().chain(self.groups.lives());
        let finished = lives.filter_map(|life| life.finish_deletion().then_some(())).count();
        self.pass(now);
        finished
    }
}
