//! What the model needs of a kind: the specs to apply, and the effect of its calls in the cloud.

use std::collections::BTreeMap;
use std::hash::Hash;

use jiff::{SignedDuration, Timestamp};
use vpn_cloud::ErrorKind;
use vpn_cloud::resources::customer_gateways::{CustomerGateway, NewCustomerGateway};
use vpn_cloud::resources::users::{NO_STATIC_IP, User};
use vpn_cloud::values::password::Password;

use crate::api::customer_gateway::IdType;
use crate::api::user_record::PasswordRecord;
use crate::api::vpn_user::PasswordRef;
use crate::api::{CustomerGatewaySpec, CustomerGatewayStatus, VpnUserSpec, VpnUserStatus};
use crate::kind::Kind;
use crate::kinds::customer_gateway::{GatewayChange, GatewayDereferenced, Gateways};
use crate::kinds::vpn_user::{KnownPassword, UserChange, UserCreation, UserDereferenced, Users};
use crate::model::cloud::{ModelResource, at};

/// The key of the owner tag.
pub(crate) const OWNER_KEY: &str = "owner";

/// Age of gateways that belong to others.
const LONG_AGO: SignedDuration = SignedDuration::from_secs(1000);

const SERVER: &str = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb";

const ASN: i64 = 65_010;

/// The Secret of a CR: which value it holds, and how often it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Secret {
    pub value: u8,
    pub version: u8,
}

/// A kind, as the model needs it.
pub(crate) trait Modelled: Kind<Remote: Hash> {
    /// The spec that a user applies, first or after an edit, with its own name or a shared one.
    fn wish(edited: bool, name: &str) -> Self::Spec;
    /// The parent of all of them.
    fn shared_parent() -> Self::Parent;
    fn dereferenced_of(secret: Secret) -> Self::Dereferenced;
    fn name_of(new: &Self::New) -> &str;
    fn password_of(new: &Self::New) -> Option<u8>;
    /// The body of a creation, as text.
    fn body_of(new: &Self::New) -> String;
    /// The password that a change sets.
    fn password_set_by(call: &Self::Change) -> Option<u8>;
    /// The resource that a creation makes.
    fn made(new: &Self::New, id: String, now: Timestamp) -> Self::Remote;
    /// The resource as the operator reads it from the response to a creation.
    fn answer_to_creation(new: &Self::New, made: &Self::Remote) -> Self::Remote;
    /// Applies a change. Returns the resource if the response contains it.
    fn apply(
        call: &Self::Change,
        thing: &mut ModelResource<Self::Remote>,
        now: u16,
    ) -> Result<Option<Self::Remote>, ErrorKind>;
    /// Until when the object waits, by its record, for a change in progress.
    fn waits_until(status: &Self::Status) -> Option<Timestamp>;
    /// Whether status records the value of the Secret, and the resource really has it.
    fn is_as_recorded(status: &Self::Status, thing: &ModelResource<Self::Remote>, secret: Secret) -> bool;
    /// Removes the immutable fields that a list may omit.
    fn omit(remote: &mut Self::Remote);
    /// Causes drift in a field that the spec sets.
    fn drift(remote: &mut Self::Remote);
    /// Whether the resource has this drift.
    fn is_drifted(remote: &Self::Remote) -> bool;
    /// Number of sorts of unmanaged resources that could be mistaken for the CR's own.
    const UNMANAGED: usize;
    fn unmanaged(name: &str, uid: &str, id: String, now: u16) -> Vec<Self::Remote>;
}

fn gateway(name: &str, id: String, now: Timestamp, tags: BTreeMap<String, String>) -> CustomerGateway {
    CustomerGateway {
        id,
        name: Some(name.to_owned()),
        id_type: Some("ip".to_owned()),
        id_value: Some("203.0.113.7".to_owned()),
        bgp_asn: Some(ASN),
        created_at: Some(now.to_string()),
        tags: Some(tags),
        ..CustomerGateway::default()
    }
}

impl Modelled for Gateways {
    const UNMANAGED: usize = 3;

    fn wish(edited: bool, name: &str) -> CustomerGatewaySpec {
        let suffix = if edited { "-edited" } else { "" };
        CustomerGatewaySpec {
            name: Some(format!("{name}{suffix}")),
            id_type: Some(IdType::Ip),
            id_value: Some("203.0.113.7".to_owned()),
            bgp_asn: Some(ASN),
            ..CustomerGatewaySpec::default()
        }
    }

    fn shared_parent() {}

    fn dereferenced_of(_: Secret) -> GatewayDereferenced {
        GatewayDereferenced::default()
    }

    fn name_of(new: &NewCustomerGateway) -> &str {
        &new.name
    }

    fn password_of(_: &NewCustomerGateway) -> Option<u8> {
        None
    }

    fn body_of(new: &NewCustomerGateway) -> String {
        format!("{new:?}")
    }

    fn password_set_by(_: &GatewayChange) -> Option<u8> {
        None
    }

    fn made(new: &NewCustomerGateway, id: String, now: Timestamp) -> CustomerGateway {
        CustomerGateway {
            id_type: Some(new.id_type.clone()),
            id_value: Some(new.id_value.clone()),
            bgp_asn: new.bgp_asn,
            ..gateway(&new.name, id, now, new.tags.clone())
        }
    }

    fn answer_to_creation(_: &NewCustomerGateway, made: &CustomerGateway) -> CustomerGateway {
        made.clone()
    }

    fn apply(
        call: &GatewayChange,
        thing: &mut ModelResource<CustomerGateway>,
        _: u16,
    ) -> Result<Option<CustomerGateway>, ErrorKind> {
        let remote = &mut thing.remote;
        let tags = remote.tags.get_or_insert_default();
        match call {
            GatewayChange::Update(update) => {
                remote.name = update.name.clone().or(remote.name.take());
                return Ok(Some(remote.clone()));
            }
            GatewayChange::AddTags(added) => tags.extend(added.clone()),
            GatewayChange::RemoveTags(removed) => tags.retain(|key, value| removed.get(key) != Some(value)),
        }
        Ok(None)
    }

    fn waits_until(_: &CustomerGatewayStatus) -> Option<Timestamp> {
        None
    }

    fn is_as_recorded(_: &CustomerGatewayStatus, _: &ModelResource<CustomerGateway>, _: Secret) -> bool {
        true
    }

    fn omit(remote: &mut CustomerGateway) {
        remote.bgp_asn = None;
    }

    fn drift(remote: &mut CustomerGateway) {
        remote.name = Some("drifted".to_owned());
    }

    fn is_drifted(remote: &CustomerGateway) -> bool {
        remote.name.as_deref() == Some("drifted")
    }

    fn unmanaged(name: &str, uid: &str, id: String, now: u16) -> Vec<CustomerGateway> {
        let owner = |value: String| BTreeMap::from([(OWNER_KEY.to_owned(), value)]);
        [
            BTreeMap::new(),
            owner("another:cluster:n:a".to_owned()),
            // Another user copied all our tags to a gateway.
            owner(format!("{uid}:c:n:{name}")),
        ]
        .map(|tags| gateway(name, id.clone(), at(now) - LONG_AGO, tags))
        .into()
    }
}

/// The password of that number.
pub(crate) fn password(number: u8) -> Password {
    Password::new(format!("Passw0rd-{number}"))
}

fn number(password: &Password) -> u8 {
    let digit = password.expose().bytes().last().unwrap_or_default();
    digit - b'0'
}

pub(crate) fn known(secret: Secret) -> KnownPassword {
    KnownPassword {
        value: password(secret.value),
        record: PasswordRecord {
            digest: format!("digest-{}", secret.value),
            key_id: "key".to_owned(),
            secret_uid: "secret".to_owned(),
            secret_resource_version: secret.version.to_string(),
        },
        requested_at: None,
    }
}

impl Modelled for Users {
    const UNMANAGED: usize = 2;

    fn wish(edited: bool, name: &str) -> VpnUserSpec {
        let text = if edited { "edited" } else { "first" };
        VpnUserSpec {
            vpn_server_id: SERVER.to_owned(),
            name: Some(name.to_owned()),
            password_secret_ref: Some(PasswordRef {
                name: "secret".to_owned(),
                key: None,
            }),
            description: Some(text.to_owned()),
            ..VpnUserSpec::default()
        }
    }

    fn shared_parent() -> String {
        SERVER.to_owned()
    }

    fn dereferenced_of(secret: Secret) -> UserDereferenced {
        UserDereferenced {
            password: Some(known(secret)),
            group_id: None,
        }
    }

    fn name_of(new: &UserCreation) -> &str {
        &new.user.name
    }

    fn password_of(new: &UserCreation) -> Option<u8> {
        Some(number(&new.user.password))
    }

    fn body_of(new: &UserCreation) -> String {
        format!("{:?} {}", new.user, number(&new.user.password))
    }

    fn password_set_by(call: &UserChange) -> Option<u8> {
        match call {
            UserChange::ResetPassword(password) => Some(number(&password.value)),
            UserChange::Update(_) | UserChange::LeaveGroup(_) => None,
        }
    }

    fn made(new: &UserCreation, id: String, now: Timestamp) -> User {
        User {
            id,
            name: Some(new.user.name.clone()),
            description: Some(new.user.description.clone().unwrap_or_default()),
            user_group_id: new.user.user_group_id.clone(),
            static_ip: Some(new.user.static_ip.clone().unwrap_or(NO_STATIC_IP.to_owned())),
            created_at: Some(now.to_string()),
            ..User::default()
        }
    }

    fn answer_to_creation(new: &UserCreation, made: &User) -> User {
        User {
            id: made.id.clone(),
            name: Some(new.user.name.clone()),
            description: new.user.description.clone(),
            user_group_id: new.user.user_group_id.clone(),
            static_ip: new.user.static_ip.clone(),
            ..User::default()
        }
    }

    fn apply(call: &UserChange, thing: &mut ModelResource<User>, _: u16) -> Result<Option<User>, ErrorKind> {
        let remote = &mut thing.remote;
        match call {
            UserChange::Update(update) => {
                remote.description = Some(update.description.clone());
                remote.static_ip = update.static_ip.clone().or(remote.static_ip.take());
                remote.user_group_id = update.user_group_id.clone().or(remote.user_group_id.take());
                Ok(Some(remote.clone()))
            }
            UserChange::LeaveGroup(_) => {
                remote.user_group_id = None;
                Ok(None)
            }
            UserChange::ResetPassword(password) => {
                let number = number(&password.value);
                if thing.passwords.iter().rev().take(5).any(|recent| *recent == number) {
                    return Err(ErrorKind::RecentPassword);
                }
                thing.passwords.push(number);
                Ok(None)
            }
        }
    }

    fn waits_until(status: &VpnUserStatus) -> Option<Timestamp> {
        let reset = status.record.password_reset.as_ref();
        reset.map(|reset| reset.deadline.0 + SignedDuration::from_secs(super::CONFIRMATION_PERIOD.into()))
    }

    fn is_as_recorded(status: &VpnUserStatus, thing: &ModelResource<User>, secret: Secret) -> bool {
        let digest = status.record.password.as_ref().map(|password| password.digest.clone());
        thing.passwords.last() == Some(&secret.value) && digest == Some(format!("digest-{}", secret.value))
    }

    fn omit(_: &mut User) {}

    fn drift(remote: &mut User) {
        remote.description = Some("drifted".to_owned());
    }

    fn is_drifted(remote: &User) -> bool {
        remote.description.as_deref() == Some("drifted")
    }

    fn unmanaged(name: &str, _: &str, id: String, now: u16) -> Vec<User> {
        // The second looks like a creation of ours.
        let described = ["unmanaged", "first"].into_iter();
        let users = described.map(|description| User {
            id: id.clone(),
            name: Some(name.to_owned()),
            description: Some(description.to_owned()),
            static_ip: Some(NO_STATIC_IP.to_owned()),
            created_at: Some(at(now).to_string()),
            ..User::default()
        });
        users.collect()
    }
}
