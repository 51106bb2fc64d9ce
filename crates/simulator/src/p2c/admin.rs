//! Requests and answers of the admin API about VPN servers, users and groups.

use std::str::FromStr;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::p2c::cidr::Cidr;
use crate::p2c::server_values::{USABLE_AUTH_TYPE, USABLE_STATUS, auth_type, status};
use crate::secret_fields::{conceal, conceal_optional, expose, expose_optional};
use crate::tryout;

/// A VPN server to create: `POST /_simulator/vpn-servers` takes one or a list, `--vpn-server` one as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VpnServerSpec {
    /// Defaults to the first project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// Defaults to a random UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The P2C gateway that it belongs to.
    #[serde(default = "usual_gateway")]
    pub p2c_vgw_id: String,
    /// The addresses for clients, such as `192.168.10.0/24`.
    #[serde(default = "usual_cidr")]
    pub client_cidr: String,
    /// `LOCAL_PASSWORD` (where users can be changed), `CERT`, `IAM` or `FEDERATED`.
    #[serde(default = "usual_auth_type")]
    pub client_auth_type: String,
    /// `ACTIVE` (where users can be changed), `PENDING_CREATE`, `PENDING_UPDATE`, `FAULT` or `FROZEN`.
    #[serde(default = "usual_status")]
    pub status: String,
    /// How many users it may have.
    #[serde(default = "usual_quota")]
    pub user_quota: usize,
}

impl Default for VpnServerSpec {
    fn default() -> Self {
        Self {
            project_id: None,
            id: None,
            p2c_vgw_id: usual_gateway(),
            client_cidr: usual_cidr(),
            client_auth_type: usual_auth_type(),
            status: usual_status(),
            user_quota: usual_quota(),
        }
    }
}

fn usual_gateway() -> String {
    tryout::P2C_GATEWAY_ID.to_owned()
}

fn usual_cidr() -> String {
    tryout::CLIENT_CIDR.to_owned()
}

fn usual_auth_type() -> String {
    USABLE_AUTH_TYPE.to_owned()
}

fn usual_status() -> String {
    USABLE_STATUS.to_owned()
}

fn usual_quota() -> usize {
    500
}

/// `id=…,gateway=…,status=…,auth=…,cidr=…,quota=…`; omitted values have their defaults, and an omitted id is random.
impl FromStr for VpnServerSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut spec = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| format!("{part:?} is not of the form NAME=VALUE"))?;
            let value = value.to_owned();
            match name {
                "id" if value.len() != 36 => return Err(format!("the id {value:?} has not 36 characters")),
                "id" => spec.id = Some(value),
                "gateway" => spec.p2c_vgw_id = value,
                "status" => spec.status = status(value)?,
                "auth" => spec.client_auth_type = auth_type(value)?,
                "cidr" => spec.client_cidr = value.parse::<Cidr>()?.to_string(),
                "quota" => {
                    spec.user_quota = value.parse().map_err(|_| format!("the quota {value:?} is no number"))?;
                }
                _ => return Err(format!("{name:?} is none of id, gateway, status, auth, cidr, quota")),
            }
        }
        spec.id.get_or_insert_with(|| Uuid::new_v4().to_string());
        Ok(spec)
    }
}

/// An edit of a VPN server: `PATCH /_simulator/vpn-servers/{id}`. Omitted fields stay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VpnServerEdit {
    /// The addresses for clients; existing static addresses are not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cidr: Option<String>,
    /// `LOCAL_PASSWORD`, `CERT`, `IAM` or `FEDERATED`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_auth_type: Option<String>,
    /// `ACTIVE`, `PENDING_CREATE`, `PENDING_UPDATE`, `FAULT` or `FROZEN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// How many users it may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_quota: Option<usize>,
}

/// A VPN server, and counts of the changes on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpnServerDump {
    /// The project that it belongs to.
    pub project_id: String,
    /// A random UUID, unless it was given.
    pub id: String,
    /// The P2C gateway that it belongs to.
    pub p2c_vgw_id: String,
    /// The addresses for clients.
    pub client_cidr: String,
    /// `LOCAL_PASSWORD`, `CERT`, `IAM` or `FEDERATED`.
    pub client_auth_type: String,
    /// `ACTIVE`, `PENDING_CREATE`, `PENDING_UPDATE`, `FAULT` or `FROZEN`.
    pub status: String,
    /// How many users it may have.
    pub user_quota: usize,
    /// How many users it has, invisible ones included.
    pub users: usize,
    /// Requests to change something on it.
    pub writes: u64,
    /// Those in progress, from arrival to answer.
    pub writes_at_once: usize,
    /// The most that were ever in progress at the same time.
    pub most_writes_at_once: usize,
}

/// `GET` and `POST /_simulator/vpn-servers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpnServerList {
    /// Oldest first; after `POST`, those that were added.
    pub servers: Vec<VpnServerDump>,
}

/// A user created outside of the API: `POST /_simulator/vpn-users` takes one or a list. Nothing is validated.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VpnUserSeed {
    /// Defaults to the oldest server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_id: Option<String>,
    /// Defaults to a random UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// May break the rules of the API.
    pub name: String,
    /// `None`: no password matches.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "expose_optional",
        deserialize_with = "conceal_optional"
    )]
    pub password: Option<SecretString>,
    /// Empty: none.
    #[serde(default)]
    pub description: String,
    /// `None`: in no group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_group_id: Option<String>,
    /// `None` or `disable`: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub static_ip: Option<String>,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
}

/// An edit outside of the API: `PATCH /_simulator/vpn-users/{id}`. Omitted fields stay.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VpnUserEdit {
    /// The new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The new password; counts neither as reset nor as change.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "expose_optional",
        deserialize_with = "conceal_optional"
    )]
    pub password: Option<SecretString>,
    /// Empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Empty: no group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_group_id: Option<String>,
    /// `disable`: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub static_ip: Option<String>,
    /// RFC 3339; for ties at a page border.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
}

/// A user as the admin API shows it: everything but the password, independent of the switches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpnUserDump {
    /// The VPN server that it belongs to.
    pub server_id: String,
    /// A random UUID, unless it was seeded.
    pub id: String,
    /// Unique on its server, unless it was seeded.
    pub name: String,
    /// Empty: none.
    pub description: String,
    /// `None`: in no group.
    #[serde(default)]
    pub user_group_id: Option<String>,
    /// The name of that group.
    #[serde(default)]
    pub user_group_name: Option<String>,
    /// `None`: an address of the server's choice.
    #[serde(default)]
    pub static_ip: Option<String>,
    /// RFC 3339, with full precision.
    pub created_at: String,
    /// RFC 3339, with full precision.
    pub updated_at: String,
    /// How often an administrator reset the password.
    pub password_resets: u64,
    /// How often the user changed it.
    pub password_changes: u64,
    /// Whether the API shows it.
    pub visible: bool,
    /// Whether its creation is complete.
    pub settled: bool,
    /// Whether it is being deleted slowly.
    pub deleting: bool,
}

/// `GET` and `POST /_simulator/vpn-users`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpnUserList {
    /// Oldest first; after `POST`, those that were added.
    pub users: Vec<VpnUserDump>,
}

/// A possible password of a user: `POST /_simulator/vpn-users/{id}/check-password`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasswordCandidate {
    /// The password to compare.
    #[serde(serialize_with = "expose", deserialize_with = "conceal")]
    pub password: SecretString,
}

/// Whether it is the password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordVerdict {
    /// It is in force.
    pub current: bool,
    /// It is one of the latest five, including the one in force.
    pub recent: bool,
}

/// A group created outside of the API: `POST /_simulator/vpn-groups` takes one or a list. Nothing is validated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VpnGroupSeed {
    /// Defaults to the oldest server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_id: Option<String>,
    /// Defaults to 36 random letters and digits with dashes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// May break the rules of the API.
    pub name: String,
    /// Empty: none.
    #[serde(default)]
    pub description: String,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
}

/// An edit outside of the API: `PATCH /_simulator/vpn-groups/{id}`. Omitted fields stay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VpnGroupEdit {
    /// The new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it has an access policy, which keeps it from being deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_policy: Option<bool>,
    /// RFC 3339; for ties at a page border.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
}

/// A group as the admin API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpnGroupDump {
    /// The VPN server that it belongs to.
    pub server_id: String,
    /// 36 letters, digits and dashes, not a UUID, unless it was seeded.
    pub id: String,
    /// Unique on its server, unless it was seeded.
    pub name: String,
    /// Empty: none.
    pub description: String,
    /// Whether it is the default group of its server, which the API does not change.
    pub is_default: bool,
    /// Whether an access policy keeps it from being deleted.
    pub access_policy: bool,
    /// Ids of users.
    pub members: Vec<String>,
    /// RFC 3339, with full precision.
    pub created_at: String,
    /// RFC 3339, with full precision.
    pub updated_at: String,
    /// Whether the API shows it.
    pub visible: bool,
    /// Whether its creation is complete.
    pub settled: bool,
    /// Whether it is being deleted slowly.
    pub deleting: bool,
}

/// `GET` and `POST /_simulator/vpn-groups`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpnGroupList {
    /// Oldest first; after `POST`, those that were added.
    pub groups: Vec<VpnGroupDump>,
}

/// `POST /_simulator/settle`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// How many users and groups were settled.
    pub settled: usize,
}

/// An error code of users and groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeDump {
    /// The simulator's number, such as `VPN.1301`.
    pub code: String,
    /// When it is sent.
    pub meaning: String,
    /// The code that is sent instead.
    pub shown: String,
}

/// `GET` and `PUT /_simulator/p2c-codes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeList {
    /// All codes, in the order of their numbers.
    pub codes: Vec<CodeDump>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_parsed_from_one_line() {
        let id = "0e325fb6-83b9-4004-a343-8b6fc714a5d9";
        let text = format!("id={id},gateway=g,status=FAULT,auth=CERT,cidr=10.9.8.7/16,quota=3");
        let expected = VpnServerSpec {
            project_id: None,
            id: Some(id.to_owned()),
            p2c_vgw_id: "g".to_owned(),
            client_cidr: "10.9.0.0/16".to_owned(),
            client_auth_type: "CERT".to_owned(),
            status: "FAULT".to_owned(),
            user_quota: 3,
        };
        assert_eq!(text.parse(), Ok(expected));
        let usual: VpnServerSpec = "".parse().unwrap();
        assert_eq!(usual.id.as_ref().map(String::len), Some(36));
        assert_eq!(VpnServerSpec { id: None, ..usual }, VpnServerSpec::default());
    }

    #[test]
    fn an_invalid_server_line_is_refused_with_the_cause() {
        for (text, words) in [
            ("id=short", "36 characters"),
            ("status=FINE", "PENDING_UPDATE"),
            ("auth=NONE", "FEDERATED"),
            ("cidr=10.0.0.0", "192.168.10.0/24"),
            ("quota=many", "no number"),
            ("color=red", "gateway"),
            ("FAULT", "NAME=VALUE"),
        ] {
            let error = text.parse::<VpnServerSpec>().unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
