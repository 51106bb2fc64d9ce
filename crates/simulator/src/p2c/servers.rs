//! VPN servers: the store, and the two lists. No call of the API changes them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::calls::{CallAnswer, ServiceCall, wrapped};
use crate::clock::in_read_answer;
use crate::ids;
use crate::ids::ResourceNames;
use crate::p2c::admin::{VpnServerDump, VpnServerEdit, VpnServerSpec};
use crate::p2c::cidr::Cidr;
use crate::p2c::last_marker;
use crate::p2c::users::UserStore;
use crate::p2c::writes::Writes;
use crate::paging::{PageQuery, page};
use crate::refusal::ApiRefusal;
use crate::state::CloudState;
use crate::switches::{ServerPages, Switches, UnknownServer};

/// Users can be changed only on a server in this status …
pub(crate) const USABLE_STATUS: &str = "ACTIVE";

/// … and of this type.
pub(crate) const USABLE_AUTH_TYPE: &str = "LOCAL_PASSWORD";

/// Creation time of the initial servers: the first second of 2025.
pub(crate) const OPENING: Timestamp = Timestamp::constant(1_735_689_600, 0);

/// Expiry of their certificates: the last second of 2099.
const CERTIFICATE_END: Timestamp = Timestamp::constant(4_102_444_799, 0);

const STATUSES: [&str; 5] = ["PENDING_CREATE", "PENDING_UPDATE", USABLE_STATUS, "FAULT", "FROZEN"];

const AUTH_TYPES: [&str; 4] = ["CERT", USABLE_AUTH_TYPE, "IAM", "FEDERATED"];

const SERVER: ResourceNames = ResourceNames {
    parameter: "vpn_server_id",
    kind: "VPN_SERVER",
    name: "VPN server",
};

/// A VPN server.
#[derive(Clone, Debug)]
pub(crate) struct StoredServer {
    pub id: String,
    pub project_id: String,
    pub p2c_vgw_id: String,
    pub client_cidr: Cidr,
    pub client_auth_type: String,
    pub status: String,
    pub user_quota: usize,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// Servers by id.
#[derive(Debug, Default)]
pub(crate) struct ServerStore(BTreeMap<String, StoredServer>);

impl ServerStore {
    pub(crate) fn add(
        &mut self,
        spec: VpnServerSpec,
        project_id: &str,
        created_at: Timestamp,
    ) -> Result<String, String> {
        let id = spec.id.unwrap_or_else(|| Uuid::new_v4().to_string());
        if self.0.contains_key(&id) {
            return Err(format!("there is a VPN server with the id {id}"));
        }
        let server = StoredServer {
            id: id.clone(),
            project_id: spec.project_id.unwrap_or_else(|| project_id.to_owned()),
            p2c_vgw_id: spec.p2c_vgw_id,
            client_cidr: spec.client_cidr.parse()?,
            client_auth_type: auth_type(spec.client_auth_type)?,
            status: status(spec.status)?,
            user_quota: spec.user_quota,
            created_at,
            updated_at: created_at,
        };
        self.0.insert(id.clone(), server);
        Ok(id)
    }

    /// Changes a server out of band; false if there is none of that id.
    pub(crate) fn edit(&mut self, id: &str, edit: VpnServerEdit, now: Timestamp) -> Result<bool, String> {
        let Some(server) = self.0.get_mut(id) else {
            return Ok(false);
        };
        let cidr = edit.client_cidr.map(|text| text.parse()).transpose()?;
        let auth_type = edit.client_auth_type.map(auth_type).transpose()?;
        let status = edit.status.map(status).transpose()?;
        server.client_cidr = cidr.unwrap_or(server.client_cidr);
        server.client_auth_type = auth_type.unwrap_or_else(|| server.client_auth_type.clone());
        server.status = status.unwrap_or_else(|| server.status.clone());
        server.user_quota = edit.user_quota.unwrap_or(server.user_quota);
        server.updated_at = now;
        Ok(true)
    }

    pub(crate) fn remove(&mut self, id: &str) -> bool {
        self.0.remove(id).is_some()
    }

    pub(crate) fn get(&self, id: &str) -> Option<&StoredServer> {
        self.0.get(id)
    }

    /// The default server: the oldest.
    pub(crate) fn first(&self) -> Option<&StoredServer> {
        self.0.values().min_by_key(|server| (server.created_at, &server.id))
    }

    /// The server of the call, in the project of the call.
    pub(crate) fn find(&self, call: &ServiceCall<'_>, switches: &Switches) -> Result<&StoredServer, ApiRefusal> {
        let id = call.route.server_id.as_str();
        ids::check(id, &SERVER, switches)?;
        let found = self.0.get(id);
        found
            .filter(|server| server.project_id == call.route.project_id)
            .ok_or_else(|| match switches.unknown_server {
                UnknownServer::Status404 => ids::not_found(id, &SERVER),
                UnknownServer::NotFound => ApiRefusal::invalid(format!("{} {id} not found", SERVER.name)),
                UnknownServer::NotExist => ApiRefusal::invalid(format!("{} {id} does not exist", SERVER.name)),
            })
    }

    /// All servers of all projects, oldest first.
    pub(crate) fn dump(&self, users: &UserStore, writes: &Writes) -> Vec<VpnServerDump> {
        let mut servers: Vec<_> = self.0.values().collect();
        servers.sort_by_key(|server| (server.created_at, &server.id));
        let dump = |server: &StoredServer| {
            let seen = writes.seen(&server.id);
            VpnServerDump {
                project_id: server.project_id.clone(),
                id: server.id.clone(),
                p2c_vgw_id: server.p2c_vgw_id.clone(),
                client_cidr: server.client_cidr.to_string(),
                client_auth_type: server.client_auth_type.clone(),
                status: server.status.clone(),
                user_quota: server.user_quota,
                users: users.of(&server.id).count(),
                writes: seen.total,
                writes_at_once: seen.under_way,
                most_writes_at_once: seen.most,
            }
        };
        servers.into_iter().map(dump).collect()
    }
}

/// Returns the text if it is a status of servers.
pub(crate) fn status(text: String) -> Result<String, String> {
    allowed(text, &STATUSES)
}

/// Returns the text if it is a type of authentication.
pub(crate) fn auth_type(text: String) -> Result<String, String> {
    allowed(text, &AUTH_TYPES)
}

fn allowed(text: String, values: &[&str]) -> Result<String, String> {
    match values.contains(&text.as_str()) {
        true => Ok(text),
        false => Err(format!("{text:?} is none of {}", values.join(", "))),
    }
}

fn show(server: &StoredServer, switches: &Switches) -> Value {
    json!({
        "id": server.id,
        "p2c_vgw_id": server.p2c_vgw_id,
        "client_cidr": server.client_cidr.to_string(),
        "local_subnets": ["10.0.0.0/16"],
        "client_auth_type": server.client_auth_type,
        "tunnel_protocol": "SSL",
        "server_certificate": {
            "id": "scm0000000000000",
            "name": "server",
            "serial_number": "01",
            "expiration_time": in_read_answer(CERTIFICATE_END, switches),
            "signature_algorithm": "SHA256WITHRSA",
            "issuer": "CN=ca",
            "subject": "CN=server",
        },
        "client_ca_certificates": [],
        "ssl_options": {
            "protocol": "TCP",
            "port": 443,
            "encryption_algorithm": "AES-128-GCM",
            "authentication_algorithm": "SHA256",
            "is_compressed": false,
        },
        "dns_servers": [],
        "status": server.status,
        "created_at": in_read_answer(server.created_at, switches),
        "updated_at": in_read_answer(server.updated_at, switches),
    })
}

/// GET of the servers of a project.
pub(crate) fn list(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<CallAnswer, ApiRefusal> {
    let switches = &state.switches;
    let query = PageQuery::read(call, switches)?;
    let all = of(state, call, |_| true);
    if switches.server_pages == ServerPages::Absent {
        let shown: Value = all.into_iter().map(|server| show(server, switches)).collect();
        return Ok(CallAnswer::read(wrapped("vpn_servers", shown)));
    }
    let total = all.len();
    let place = |server: &&StoredServer| (server.created_at, server.id.clone());
    let (servers, page_info) = page(all, place, query, last_marker(switches), switches);
    let shown: Value = servers.into_iter().map(|server| show(server, switches)).collect();
    let mut body = wrapped("vpn_servers", shown);
    body.insert("total_count".to_owned(), total.into());
    body.insert("page_info".to_owned(), page_info.into());
    Ok(CallAnswer::read(body))
}

/// GET of the servers of a P2C gateway; an unknown one has none.
pub(crate) fn list_of_gateway(state: &CloudState, call: &ServiceCall<'_>) -> CallAnswer {
    let servers = of(state, call, |server| server.p2c_vgw_id == call.route.id);
    let shown: Value = servers
        .into_iter()
        .map(|server| show(server, &state.switches))
        .collect();
    CallAnswer::read(wrapped("vpn_servers", shown))
}

/// The matching servers in the project of the call, oldest first.
fn of<'a>(
    state: &'a CloudState,
    call: &ServiceCall<'_>,
    fits: impl Fn(&StoredServer) -> bool,
) -> Vec<&'a StoredServer> {
    let servers = state.p2c.servers.0.values();
    let mut servers: Vec<_> = servers
        .filter(|server| server.project_id == call.route.project_id && fits(server))
        .collect();
    servers.sort_by_key(|server| (server.created_at, &server.id));
    servers
}
