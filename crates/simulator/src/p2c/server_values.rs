//! The values that a field of a VPN server can have.

/// Users can be changed only on a server in this status …
pub(crate) const USABLE_STATUS: &str = "ACTIVE";

/// … and of this type.
pub(crate) const USABLE_AUTH_TYPE: &str = "LOCAL_PASSWORD";

const STATUSES: [&str; 5] = ["PENDING_CREATE", "PENDING_UPDATE", USABLE_STATUS, "FAULT", "FROZEN"];

const AUTH_TYPES: [&str; 4] = ["CERT", USABLE_AUTH_TYPE, "IAM", "FEDERATED"];

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
