//! Whether a P2C call is executed, before its own checks: P2C is published, and the VPN server takes changes.

use axum::http::StatusCode;

use crate::calls::ServiceCall;
use crate::operations::SimulatedOperation;
use crate::p2c::codes::{P2cCode, refuse};
use crate::p2c::server_values::{USABLE_AUTH_TYPE, USABLE_STATUS};
use crate::refusal::ApiRefusal;
use crate::state::CloudState;
use crate::switches::{P2cPublished, ServerNotReady, Switches};

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
    let problem = if server.status != USABLE_STATUS {
        Some(format!("currently {}", server.status))
    } else if server.client_auth_type != USABLE_AUTH_TYPE {
        Some(format!(
            "its client_auth_type is {}, not {USABLE_AUTH_TYPE}",
            server.client_auth_type
        ))
    } else {
        None
    };
    if let Some(problem) = problem {
        let text = format!("resource (type=VPN_SERVER, ID={server_id}) is not ready, {problem}");
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
