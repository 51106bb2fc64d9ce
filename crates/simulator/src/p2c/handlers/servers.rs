//! The two lists of VPN servers. No call of the API changes a server.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::calls::{CallAnswer, ServiceCall, wrapped};
use crate::clock::in_read_answer;
use crate::p2c::handlers::answers::page_of;
use crate::p2c::stores::servers::StoredServer;
use crate::paging::PageQuery;
use crate::refusal::ApiRefusal;
use crate::state::CloudState;
use crate::switches::{ServerPages, Switches};

/// Expiry of the certificates of all servers: the last second of 2099.
const CERTIFICATE_END: Timestamp = Timestamp::constant(4_102_444_799, 0);

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
    let place = |server: &&StoredServer| (server.created_at, server.id.clone());
    let show = |server: &StoredServer| show(server, switches);
    Ok(page_of("vpn_servers", all, query, switches, place, show))
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
    let servers = state.p2c.servers.all().into_iter();
    servers
        .filter(|server| server.project_id == call.route.project_id && fits(server))
        .collect()
}
