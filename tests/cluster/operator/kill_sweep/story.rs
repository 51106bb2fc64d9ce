//! The stories of an object whose operator is killed: the initial state, the user's action, and the required end state.

use serde_json::{Value, json};

use super::cell::Cell;

/// In force before a password change; it must never be visible.
pub(super) const FIRST_PASSWORD: &str = "Sentinel Sweep-1\"+";
/// In force afterwards.
pub(super) const SECOND_PASSWORD: &str = "Sentinel Sweep-2\"+";
/// The password of users that another client created.
pub(super) const FOREIGN_PASSWORD: &str = "Foreign Sweep-0";

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Story {
    CreateGateway,
    UpdateGateway,
    DeleteGateway,
    RetainGateway,
    AdoptGateway,
    AdoptGatewayIfExists,
    RecreateGateway,
    ReadoptGateway,
    CreateUser,
    UpdateUser,
    ChangePassword,
    DeleteUser,
    RetainUser,
    AdoptUser,
    AdoptUserIfExists,
    RecreateUser,
}

/// How many objects there are at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// One in the cloud, and the object in the cluster is Ready.
    One,
    /// None in either.
    None,
    /// One unmanaged in the cloud, and none in the cluster.
    Kept,
}

impl Story {
    pub(super) const GATEWAYS: [Self; 8] = [
        Self::CreateGateway,
        Self::UpdateGateway,
        Self::DeleteGateway,
        Self::RetainGateway,
        Self::AdoptGateway,
        Self::AdoptGatewayIfExists,
        Self::RecreateGateway,
        Self::ReadoptGateway,
    ];

    pub(super) const USERS: [Self; 8] = [
        Self::CreateUser,
        Self::UpdateUser,
        Self::ChangePassword,
        Self::DeleteUser,
        Self::RetainUser,
        Self::AdoptUser,
        Self::AdoptUserIfExists,
        Self::RecreateUser,
    ];

    pub(super) fn is_of_users(self) -> bool {
        Self::USERS.contains(&self)
    }

    /// Whether the operator finds that an existing object no longer exists.
    pub(super) fn loses_its_object(self) -> bool {
        matches!(
            self,
            Self::DeleteGateway | Self::DeleteUser | Self::RecreateGateway | Self::RecreateUser
        )
    }

    pub(super) fn end(self) -> End {
        match self {
            Self::DeleteGateway | Self::DeleteUser => End::None,
            Self::RetainGateway | Self::RetainUser => End::Kept,
            _ => End::One,
        }
    }

    /// Whether the object exists, and is Ready, before the story begins.
    pub(super) fn begins_with_an_object(self) -> bool {
        !matches!(
            self,
            Self::CreateGateway
                | Self::AdoptGateway
                | Self::AdoptGatewayIfExists
                | Self::ReadoptGateway
                | Self::CreateUser
                | Self::AdoptUser
                | Self::AdoptUserIfExists
        )
    }

    /// The resource that another client created in the cloud, and that the object is to adopt.
    pub(super) fn foundling(self, cell: &Cell, namespace: &str) -> Option<Value> {
        let gateway = |tags: Value| {
            json!({
                "project_id": cell.project, "name": cell.name, "id_value": "203.0.113.7", "bgp_asn": 65010, "tags": tags,
            })
        };
        match self {
            Self::AdoptGateway | Self::AdoptGatewayIfExists => Some(gateway(json!({"theirs": "stays"}))),
            // The owner tag names this object as it was before the restore of its cluster.
            Self::ReadoptGateway => {
                let owner = format!("00000000-0000-4000-8000-000000000000:test:{namespace}:{}", cell.name);
                Some(gateway(json!({"vpn-operator-owner": owner})))
            }
            Self::AdoptUser | Self::AdoptUserIfExists => Some(json!({
                "server_id": cell.server, "name": cell.name, "password": FOREIGN_PASSWORD, "description": "theirs",
            })),
            _ => None,
        }
    }

    /// The initial spec of the object; `found` is the id of the foundling.
    pub(super) fn spec(self, cell: &Cell, found: Option<&str>) -> Value {
        let mut spec = json!({"credentialsRef": {"name": cell.name}, "name": cell.name});
        let more = if self.is_of_users() {
            json!({
                "vpnServerID": cell.server, "passwordSecretRef": {"name": cell.password_secret()}, "description": "ops",
                "userGroupName": "default", "staticIP": "192.168.10.5",
            })
        } else {
            json!({"idValue": "203.0.113.7", "bgpASN": 65010, "tags": {"team": "net", "old": "yes"}})
        };
        let lifecycle = match self {
            Self::RetainGateway | Self::RetainUser => json!({"deletionPolicy": "Retain"}),
            Self::AdoptGateway | Self::AdoptUser => json!({"externalID": found}),
            Self::AdoptGatewayIfExists | Self::AdoptUserIfExists => json!({"adoptionPolicy": "IfExists"}),
            _ => json!({}),
        };
        for part in [more, lifecycle] {
            let part = part.as_object().expect("an object").clone();
            spec.as_object_mut().expect("an object").extend(part);
        }
        spec
    }

    /// The user's edit of the object.
    pub(super) fn edit(self) -> Option<Value> {
        match self {
            Self::UpdateGateway => Some(json!({"spec": {
                "name": "renamed", "tags": {"team": "core", "old": null, "site": "paris"},
            }})),
            Self::UpdateUser => Some(json!({"spec": {
                "description": "net", "userGroupName": null, "userGroupID": "None", "staticIP": "Disabled",
            }})),
            Self::RecreateGateway | Self::RecreateUser => Some(super::cell::request("again")),
            _ => None,
        }
    }

    /// The fields and tags that the object in the cloud must have at the end.
    pub(super) fn outcome(self, cell: &Cell) -> Value {
        match self {
            Self::UpdateGateway => json!({"name": "renamed", "tags": {"team": "core", "site": "paris", "old": null}}),
            Self::AdoptGateway | Self::AdoptGatewayIfExists => {
                json!({"name": cell.name, "tags": {"team": "net", "old": "yes", "theirs": "stays"}})
            }
            story if !story.is_of_users() => json!({
                "name": cell.name, "id_value": "203.0.113.7", "bgp_asn": 65010, "tags": {"team": "net", "old": "yes"},
            }),
            Self::UpdateUser => json!({
                "name": cell.name, "description": "net", "user_group_id": null, "static_ip": null,
            }),
            _ => json!({
                "name": cell.name, "description": "ops", "user_group_name": "default", "static_ip": "192.168.10.5",
            }),
        }
    }

    /// The password in force at the end.
    pub(super) fn password(self) -> Option<&'static str> {
        match self {
            Self::ChangePassword => Some(SECOND_PASSWORD),
            story => story.is_of_users().then_some(FIRST_PASSWORD),
        }
    }

    /// How often a password is reset, without that of the creation.
    pub(super) fn resets(self) -> u64 {
        u64::from(matches!(
            self,
            Self::ChangePassword | Self::AdoptUser | Self::AdoptUserIfExists
        ))
    }

    /// How many creations take effect in the story.
    pub(super) fn creations(self) -> usize {
        usize::from(matches!(
            self,
            Self::CreateGateway | Self::RecreateGateway | Self::CreateUser | Self::RecreateUser
        ))
    }
}
