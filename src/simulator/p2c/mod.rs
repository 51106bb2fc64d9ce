//! VPN servers with their users and groups (P2C): the part for people who dial in.

pub mod admin;
pub mod admin_api;
pub mod batches;
mod cidr;
mod client_tokens;
mod codes;
pub mod groups;
mod life;
pub mod members;
pub mod passwords;
pub mod servers;
mod user_rules;
pub mod users;
mod writes;

use axum::http::StatusCode;
use jiff::Timestamp;

use self::{
    admin::VpnServerSpec,
    client_tokens::ClientTokens,
    codes::{P2cCode, refuse},
    groups::Groups,
    servers::{Servers, USABLE_AUTH_TYPE, USABLE_STATUS},
    users::Users,
    writes::Writes,
};
use super::{
    calls::Call,
    operations::Operation,
    refusal::Refusal,
    state::State,
    switches::{LastMarker, P2cLastMarker, P2cPublished, ServerNotReady, Switches},
};

/// Everything of P2C that the simulated cloud knows.
#[derive(Debug, Default)]
pub struct P2c {
    pub servers: Servers,
    pub users: Users,
    pub groups: Groups,
    pub client_tokens: ClientTokens,
    pub writes: Writes,
}

impl P2c {
    /// The servers of the start, without users, each with its default group.
    pub fn new(servers: &[VpnServerSpec], project_id: &str) -> Self {
        let mut p2c = Self::default();
        for spec in servers {
            // A server that names an id twice is refused where the settings are read.
            let _ = p2c.add_server(spec.clone(), project_id, servers::OPENING);
        }
        p2c
    }

    /// Adds a server and its default group; its id.
    pub fn add_server(
        &mut self,
        spec: VpnServerSpec,
        project_id: &str,
        created_at: Timestamp,
    ) -> Result<String, String> {
        let id = self.servers.add(spec, project_id, created_at)?;
        self.groups.add_default(&id, created_at);
        Ok(id)
    }

    /// Takes a server away, and all that is on it.
    pub fn remove_server(&mut self, id: &str) -> bool {
        self.users.remove_all_of(id);
        self.groups.remove_all_of(id);
        self.servers.remove(id)
    }

    /// Takes a user or a group away behind everybody's back.
    pub fn remove(&mut self, id: &str) -> bool {
        self.users.remove(id) || self.remove_group(id)
    }

    /// Takes a group away; its members are in none then.
    pub fn remove_group(&mut self, id: &str) -> bool {
        self.users.leave(id);
        self.groups.remove(id)
    }

    /// The creation of a user or group will turn out to have failed once it has settled.
    pub fn doom(&mut self, id: &str) {
        let life = self.users.life(id).or_else(|| self.groups.life(id));
        if life.is_some_and(|life| life.doom()) {
            self.remove(id);
        }
    }

    /// Lets happen what was due by now.
    pub fn pass(&mut self, now: Timestamp) {
        self.users.pass(now);
        for group in self.groups.pass(now) {
            self.users.leave(&group);
        }
    }

    /// Everything that is settling has settled; how many they were.
    pub fn settle(&mut self, now: Timestamp) -> usize {
        let lives = self.users.lives().chain(self.groups.lives());
        let settled = lives.filter_map(|life| life.settle_now().then_some(())).count();
        self.pass(now);
        settled
    }

    /// Everything that is being deleted is gone; how many they were.
    pub fn finish_deletions(&mut self, now: Timestamp) -> usize {
        let lives = self.users.lives().chain(self.groups.lives());
        let finished = lives.filter_map(|life| life.finish_deletion().then_some(())).count();
        self.pass(now);
        finished
    }
}

/// Why a call is not even looked at, where P2C is not published.
pub fn unpublished(operation: Operation, path: &str, switches: &Switches) -> Result<(), Refusal> {
    match switches.p2c {
        _ if !operation.is_p2c() => Ok(()),
        P2cPublished::Published => Ok(()),
        P2cPublished::NotFound => Err(Refusal::gateway(
            StatusCode::NOT_FOUND,
            "0101",
            format!("The API does not exist or has not been published in the environment: {path}"),
        )),
        P2cPublished::Forbidden => Err(Refusal::gateway(
            StatusCode::FORBIDDEN,
            "0302",
            "The IAM user is not authorized to access the API",
        )),
    }
}

/// Whether the server of a call is there, fit for changes, and not busy.
pub fn admit(state: &mut State, call: &Call<'_>, sequence: u64) -> Result<(), Refusal> {
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
            ServerNotReady::Status409 => Refusal::service(StatusCode::CONFLICT, "VPN.0016", text),
            ServerNotReady::Status403 => Refusal::service(StatusCode::FORBIDDEN, "VPN.0003", text),
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
pub fn queue_full() -> Refusal {
    Refusal::service(
        StatusCode::BAD_REQUEST,
        "VPN.0030",
        "The system is busy. Please try again later.",
    )
}

/// What lists of P2C tell on their last page.
fn last_marker(switches: &Switches) -> LastMarker {
    match switches.p2c_last_marker {
        P2cLastMarker::Null => LastMarker::Null,
        P2cLastMarker::Absent => LastMarker::Absent,
        P2cLastMarker::Present => LastMarker::Present,
        P2cLastMarker::Empty => LastMarker::Empty,
    }
}
