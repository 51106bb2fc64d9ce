//! VPN servers with their users and groups (P2C), for remote access.

pub mod admin;
pub(crate) mod admin_api;
pub(crate) mod batches;
pub(crate) mod cidr;
pub(crate) mod client_tokens;
pub(crate) mod codes;
pub(crate) mod groups;
pub(crate) mod life;
pub(crate) mod members;
pub(crate) mod passwords;
pub(crate) mod servers;
pub(crate) mod user_rules;
pub(crate) mod users;
pub(crate) mod writes;

use axum::http::StatusCode;
use jiff::Timestamp;

use crate::calls::ServiceCall;
use crate::operations::SimulatedOperation;
use crate::p2c::admin::VpnServerSpec;
use crate::p2c::client_tokens::ClientTokens;
use crate::p2c::codes::{CodeTable, P2cCode, refuse};
use crate::p2c::groups::GroupStore;
use crate::p2c::servers::{ServerStore, USABLE_AUTH_TYPE, USABLE_STATUS};
use crate::p2c::users::UserStore;
use crate::p2c::writes::Writes;
use crate::refusal::ApiRefusal;
use crate::state::CloudState;
use crate::switches::{LastMarker, P2cLastMarker, P2cPublished, ServerNotReady, Switches};

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
            p2c.add_server(spec.clone(), project_id, servers::OPENING)?;
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
        if life.is_some_and(life::Life::doom) {
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

/// Refuses a P2C call if P2C is not published.
pub(crate) fn unpublished(operation: SimulatedOperation, path: &str, switches: &Switches) -> Result<(), ApiRefusal> {
    match switches.p2c {
        _ if !operation.is_p2c() => Ok(()),
        P2cPublished::Published => Ok(()),
        P2cPublished::NotFound => Err(ApiRefusal::gateway(
            StatusCode::NOT_FOUND,
            "0101",
            format!("The API does not exist or has not been published in the environment: {path}"),
        )),
        P2cPublished::Forbidden => Err(ApiRefusal::gateway(
            StatusCode::FORBIDDEN,
            "0302",
            "The IAM user is not authorized to access the API",
        )),
    }
}

/// Checks that the server of a call exists, is ready for changes, and is not busy.
pub(crate) fn admit(state: &mut CloudState, call: &ServiceCall<'_>, sequence: u64) -> Result<(), ApiRefusal> {
    let switches = state.switches;
    let server_id = call.route.server_id.as_str();
    if server_id.is_empty() {
        return Ok(());
    }
    let server = state.p2c.servers.find(call, &switches)?;
    if !call.route.operation.is_p2c_write() {
        return Ok(());
    }
    let trouble = if server.status != USABLE_STATUS {
        Some(format!("currently {}", server.status))
    } else if server.client_auth_type != USABLE_AUTH_TYPE {
        Some(format!(
            "its client_auth_type is {}, not {USABLE_AUTH_TYPE}",
            server.client_auth_type
        ))
    } else {
        None
    };
    if let Some(trouble) = trouble {
        let text = format!("resource (type=VPN_SERVER, ID={server_id}) is not ready, {trouble}");
        return Err(match switches.server_not_ready {
            ServerNotReady::Status400 => refuse(P2cCode::ServerNotReady, text, &switches),
            ServerNotReady::Status409 => ApiRefusal::service(StatusCode::CONFLICT, "VPN.0016", text),
            ServerNotReady::Status403 => ApiRefusal::service(StatusCode::FORBIDDEN, "VPN.0003", text),
        });
    }
    let now = state.clock.now();
    match state
        .p2c
        .writes
        .has_room(server_id, sequence, now, switches.write_queue)
    {
        true => Ok(()),
        false => Err(queue_full()),
    }
}

/// 400 VPN.0030.
pub(crate) fn queue_full() -> ApiRefusal {
    ApiRefusal::service(
        StatusCode::BAD_REQUEST,
        "VPN.0030",
        "The system is busy. Please try again later.",
    )
}

/// The marker on the last page of P2C lists.
fn last_marker(switches: &Switches) -> LastMarker {
    match switches.p2c_last_marker {
        P2cLastMarker::Null => LastMarker::Null,
        P2cLastMarker::Absent => LastMarker::Absent,
        P2cLastMarker::Present => LastMarker::Present,
        P2cLastMarker::Empty => LastMarker::Empty,
    }
}
