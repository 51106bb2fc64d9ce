//! Ids in paths: which of them are well formed, and how an unknown one is answered.

use axum::http::StatusCode;

use super::{
    refusal::Refusal,
    switches::{MalformedId, Switches, UnknownId},
};

/// The type of an id's resource, as the cloud names it.
#[derive(Clone, Copy, Debug)]
pub struct Resource {
    /// The name of the parameter in the path.
    pub parameter: &'static str,
    /// As the text of VPN.0004 names it.
    pub kind: &'static str,
    /// As other texts name it.
    pub name: &'static str,
}

/// Refuses what cannot be an id. Ids are 36 characters, but not all of them are of RFC 9562.
pub fn check(id: &str, resource: &Resource, switches: &Switches) -> Result<(), Refusal> {
    if id.len() == 36 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Ok(());
    }
    Err(match switches.malformed_id {
        MalformedId::Status400 => Refusal::invalid(format!("{} must be a UUID of 36 characters", resource.parameter)),
        MalformedId::Status404 => not_found(id, resource),
    })
}

/// The refusal for an unknown id.
pub fn unknown(id: &str, resource: &Resource, switches: &Switches) -> Refusal {
    match switches.unknown_id {
        UnknownId::Status404 => not_found(id, resource),
        UnknownId::NotFound => Refusal::invalid(format!("{} {id} not found", resource.name)),
        UnknownId::NotExist => Refusal::invalid(format!("{} {id} does not exist", resource.name)),
    }
}

/// 404 VPN.0004.
pub fn not_found(id: &str, resource: &Resource) -> Refusal {
    let text = format!("the resource (type={}, ID={id}) is not found", resource.kind);
    Refusal::service(StatusCode::NOT_FOUND, "VPN.0004", text)
}
