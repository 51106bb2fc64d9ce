//! Quotas of a project.

use serde_json::json;

use crate::calls::{CallAnswer, ServiceCall, wrapped};
use crate::state::CloudState;

/// GET …/vpn/quotas. There are neither VPN gateways nor connections in here, only their quotas.
pub(crate) fn list(state: &CloudState, call: &ServiceCall<'_>) -> CallAnswer {
    let project_id = call.route.project_id.as_str();
    let quota = state
        .projects
        .get(project_id)
        .map_or(0, |project| project.gateway_quota);
    let used = state.gateways.of(project_id).count();
    let connections = state
        .gateways
        .of(project_id)
        .filter(|gateway| gateway.connection.is_some())
        .count();
    let resources = json!({"resources": [
        {"type": "customer_gateway", "quota": quota, "used": used},
        {"type": "vpn_connection", "quota": 100, "used": connections},
        {"type": "vpn_gateway", "quota": 50, "used": 0},
    ]});
    CallAnswer::read(wrapped("quotas", resources))
}
