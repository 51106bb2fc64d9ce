//! Ids in paths: which of them are well formed, and how an unknown one is answered.

use axum::http::StatusCode;

use crate::refusal::ApiRefusal;
use crate::switches::{MalformedId, Switches, UnknownId};

/// The type of an id's resource, as the cloud names it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResourceNames {
    /// The name of the parameter in the path.
    pub parameter: &'static str,
    /// As the text of VPN.0004 names it.
    pub kind: &'static str,
    /// As other texts name it.
    pub name: &'static str,
}

/// Refuses what cannot be an id. Ids are 36 characters, but not all of them are of RFC 9562.
pub(crate) fn check(id: &str, resource: &ResourceNames, switches: &Switches) -> Result<(), ApiRefusal> {
    if id.len() == 36 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Ok(());
    }
    Err(match switches.malformed_id {
        MalformedId::Status400 => {
            ApiRefusal::invalid(format!("{} must be a UUID of 36 characters", resource.parameter))
        }
        MalformedId::Status404 => not_found(id, resource),
    })
}

/// The refusal for an unknown id.
pub(crate) fn unknown(id: &str, resource: &ResourceNames, switches: &Switches) -> ApiRefusal {
    match switches.unknown_id {
        UnknownId::Status404 => not_found(id, resource),
        UnknownId::NotFound => ApiRefusal::invalid(format!("{} {id} not found", resource.name)),
        UnknownId::NotExist => ApiRefusal::invalid(format!("{} {id} does not exist", resource.name)),
    }
}

/// 404 VPN.0004.
pub(crate) fn not_found(id: &str, resource: &ResourceNames) -> ApiRefusal {
    let text = format!("the resource (type={}, ID={id}) is not found", resource.kind);
    ApiRefusal::service(StatusCode::NOT_FOUND, "VPN.0004", text)
}
