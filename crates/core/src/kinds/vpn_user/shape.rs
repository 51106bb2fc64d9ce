//! Types, names and places.

use jiff::Timestamp;
use vpn_cloud::resources::users::{NewUser, User};
use vpn_cloud::values::time;

use super::{NO_GROUP, ServerId, UserChange, UserCreation, UserDereferenced, Users, WantedGroup, group, in_cloud};
use crate::api::conditions::Reason;
use crate::api::{ManagementPolicy, ObjectStatus, VpnUserSpec, VpnUserStatus};
use crate::kind::Shape;
use crate::terms::dereferenced::SecretRef;
use crate::terms::policy::Policy;
use crate::terms::reference::{Reference, ReferenceTarget};

impl Shape for Users {
    type Resource = crate::api::VpnUser;

    type Spec = VpnUserSpec;

    type Status = VpnUserStatus;

    type Remote = User;

    type Dereferenced = UserDereferenced;

    type New = UserCreation;

    type Change = UserChange;

    type Parent = ServerId;

    const KIND: &'static str = "VpnUser";

    const NOUN: &'static str = "VPN user";

    const PLACE: &'static str = "on the VPN server that vpnServerID names";

    const UNIQUE_NAMES: bool = true;

    const LOSS_RECORD: &'static str = "status.vanishedIDs";

    fn object(status: &Self::Status) -> &ObjectStatus {
        &status.object
    }

    fn object_mut(status: &mut Self::Status) -> &mut ObjectStatus {
        &mut status.object
    }

    fn parent(spec: Option<&Self::Spec>, status: &Self::Status) -> Option<Self::Parent> {
        let is_binding = status.object.id.is_some() || status.object.intent.is_some();
        let recorded = status.record.vpn_server_id.clone();
        let wanted = spec.map(|spec| spec.vpn_server_id.clone());
        if is_binding {
            recorded.or(wanted)
        } else {
            wanted.or(recorded)
        }
    }

    fn write_queue(parent: &Self::Parent) -> Option<&str> {
        Some(parent)
    }

    fn secret_refs(spec: &Self::Spec) -> Vec<SecretRef> {
        let password = spec.password_secret_ref.iter();
        password
            .filter(|_| spec.lifecycle.management() != ManagementPolicy::Observe)
            .map(|secret| SecretRef {
                field: "passwordSecretRef",
                name: secret.name.clone(),
                key: secret.key().to_owned(),
            })
            .collect()
    }

    fn references(spec: &Self::Spec) -> Vec<Reference> {
        let group = spec.user_group_name.iter();
        group
            .map(|name| Reference {
                field: "userGroupName",
                target: ReferenceTarget::UserGroup {
                    server: spec.vpn_server_id.clone(),
                    name: name.clone(),
                },
            })
            .collect()
    }

    fn problem(spec: &Self::Spec, _: &Policy) -> Option<String> {
        // Admission refuses all of these; an older CRD may have admitted them.
        let is_id = |text: &str| text.len() == 36 && text.chars().all(|it| it.is_ascii_alphanumeric() || it == '-');
        let group_id = spec.user_group_id.as_deref();
        let problem = if !is_id(&spec.vpn_server_id) {
            "vpnServerID must be the id of a VPN server: 36 letters, digits and '-'"
        } else if group_id.is_some() && spec.user_group_name.is_some() {
            "userGroupName and userGroupID are mutually exclusive: keep one of the two"
        } else if group_id.is_some_and(|id| id != NO_GROUP && !is_id(id)) {
            "userGroupID must be the id of a user group, 36 letters, digits and '-', or None"
        } else {
            return None;
        };
        Some(problem.to_owned())
    }

    fn cloud_name(spec: &Self::Spec, status: &Self::Status, object_name: &str) -> String {
        // The name of an adopted user counts, since it is immutable.
        let named = spec.name.as_ref().or(status.name.as_ref());
        named.cloned().unwrap_or_else(|| object_name.to_owned())
    }

    fn remote_name(remote: &Self::Remote) -> Option<&str> {
        remote.name.as_deref()
    }

    fn recorded_name(status: &Self::Status) -> Option<&str> {
        status.name.as_deref()
    }

    fn new(
        spec: &Self::Spec,
        name: &str,
        dereferenced: &Self::Dereferenced,
        _: (&str, &str),
    ) -> Result<Self::New, (Reason, String)> {
        let Some(password) = dereferenced.password.clone() else {
            let message = "passwordSecretRef is required to create a user: name a Secret with the password".to_owned();
            return Err((Reason::InvalidSpec, message));
        };
        let group = match group(spec, dereferenced) {
            WantedGroup::Id(id) => Some(id.to_owned()),
            WantedGroup::Unmanaged | WantedGroup::None | WantedGroup::Named(_) => None,
        };
        Ok(UserCreation {
            user: NewUser {
                name: name.to_owned(),
                password: password.value,
                description: spec.description.clone().filter(|text| !text.is_empty()),
                user_group_id: group,
                static_ip: spec.static_ip.as_deref().map(|ip| in_cloud(ip).to_owned()),
            },
            password: password.record,
            requested_at: password.requested_at,
        })
    }

    fn times(remote: &Self::Remote) -> (Option<Timestamp>, Option<Timestamp>) {
        let read = |text: &Option<String>| text.as_deref().and_then(|text| time::parse(text).ok());
        (read(&remote.created_at), read(&remote.updated_at))
    }
}
