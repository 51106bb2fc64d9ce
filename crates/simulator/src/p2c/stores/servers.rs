//! VPN servers as data: looking them up, and edits out of band.

use std::collections::BTreeMap;

use jiff::Timestamp;
use uuid::Uuid;

use crate::calls::ServiceCall;
use crate::ids;
use crate::ids::ResourceNames;
use crate::p2c::admin::{VpnServerEdit, VpnServerSpec};
use crate::p2c::cidr::Cidr;
use crate::p2c::server_values::{auth_type, status};
use crate::refusal::ApiRefusal;
use crate::switches::{Switches, UnknownServer};

/// Creation time of the initial servers: the first second of 2025.
pub(crate) const OPENING: Timestamp = Timestamp::constant(1_735_689_600, 0);

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
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
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
    pub(crate) fn all(&self) -> Vec<&StoredServer> {
        let mut servers: Vec<_> = self.0.values().collect();
        servers.sort_by_key(|server| (server.created_at, &server.id));
        servers
    }
}
