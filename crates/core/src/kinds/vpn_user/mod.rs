//! The kind `VpnUser`: users have no tags, their creation is confirmed later, and their password cannot be read back.

mod compare;
mod ledger;
mod ownership;
mod password;
mod shape;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use vpn_cloud::limits::clock::creation_window;
use vpn_cloud::resources::users::{NO_STATIC_IP, NewUser, User, UserUpdate};
use vpn_cloud::values::password::Password;

use self::password::WantedPassword;
use crate::api::user_record::{PasswordRecord, SentUser};
use crate::api::{Intent, VpnUserSpec, VpnUserStatus};
use crate::cache::Remote;
use crate::kind::Shape;

/// In `userGroupID`: a user in no group.
pub(super) const NO_GROUP: &str = "None";

/// In `staticIP`: a random address.
pub(super) const NO_ADDRESS: &str = "Disabled";

/// The kind of VPN users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Users {}

/// The id of the VPN server that a user is on.
pub type ServerId = String;

/// What the spec refers to: the password, and the id of the group that it names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserDereferenced {
    /// `None` if the spec names no Secret, or none is needed.
    pub password: Option<KnownPassword>,
    /// The ID of the group that the spec names by its name, if it was found.
    pub group_id: Option<String>,
}

/// A password, and what may be stored of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPassword {
    /// The value, which is sent and never stored.
    pub value: Password,
    /// A keyed digest of the value, and the version of its Secret.
    pub record: PasswordRecord,
    /// The annotation that asks for a reconcile, as it was when the password was read.
    pub requested_at: Option<String>,
}

/// A creation: what is sent, and what is stored of its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserCreation {
    /// The body of the request.
    pub user: NewUser,
    /// What is stored of the password in it.
    pub password: PasswordRecord,
    /// As in [`KnownPassword`].
    pub requested_at: Option<String>,
}

impl KnownPassword {
    fn asked(&self) -> WantedPassword<'_> {
        WantedPassword {
            password: &self.record,
            requested_at: self.requested_at.as_deref(),
        }
    }
}

impl UserCreation {
    fn asked(&self) -> WantedPassword<'_> {
        WantedPassword {
            password: &self.password,
            requested_at: self.requested_at.as_deref(),
        }
    }
}

/// A call that changes a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserChange {
    /// Updates description, group and address together.
    Update(UserUpdate),
    /// Removes the user from this group.
    LeaveGroup(String),
    /// Sets this password.
    ResetPassword(KnownPassword),
}

/// The group that a spec asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WantedGroup<'a> {
    Unmanaged,
    None,
    Id(&'a str),
    /// A name without its id, where only differences are reported.
    Named(&'a str),
}

impl Remote for User {
    const TAGGED: bool = false;

    fn id(&self) -> &str {
        &self.id
    }

    fn created(&self) -> Option<&str> {
        self.created_at.as_deref()
    }

    fn tags(&self) -> Option<&BTreeMap<String, String>> {
        None
    }

    fn set_tags(&mut self, _: Option<BTreeMap<String, String>>) {}

    fn complete_from(&mut self, earlier: &Self) {
        // A list item is a whole user: fields that it omits are unset. Only fields that cannot be unset are kept.
        self.name = self.name.take().or_else(|| earlier.name.clone());
        self.created_at = self.created_at.take().or_else(|| earlier.created_at.clone());
        self.updated_at = self.updated_at.take().or_else(|| earlier.updated_at.clone());
    }

    fn is_partial(&self) -> bool {
        self.is_partial
    }
}

impl Remote for vpn_cloud::resources::user_groups::UserGroup {
    const TAGGED: bool = false;

    fn id(&self) -> &str {
        &self.id
    }

    fn created(&self) -> Option<&str> {
        self.created_at.as_deref()
    }

    fn tags(&self) -> Option<&BTreeMap<String, String>> {
        None
    }

    fn set_tags(&mut self, _: Option<BTreeMap<String, String>>) {}

    fn complete_from(&mut self, _: &Self) {}
}

pub(super) fn group<'a>(spec: &'a VpnUserSpec, dereferenced: &'a UserDereferenced) -> WantedGroup<'a> {
    match (&spec.user_group_id, &spec.user_group_name, &dereferenced.group_id) {
        (Some(id), _, _) if id == NO_GROUP => WantedGroup::None,
        (Some(id), _, _) | (None, Some(_), Some(id)) => WantedGroup::Id(id),
        (None, Some(name), None) => WantedGroup::Named(name),
        (None, None, _) => WantedGroup::Unmanaged,
    }
}

/// The address; the cloud has several values for none.
pub(super) fn static_ip(remote: &User) -> &str {
    remote
        .static_ip
        .as_deref()
        .filter(|ip| !ip.is_empty())
        .unwrap_or(NO_STATIC_IP)
}

/// Converts `spec.staticIP` to the cloud's form.
pub(super) fn in_cloud(static_ip: &str) -> &str {
    if static_ip == NO_ADDRESS {
        NO_STATIC_IP
    } else {
        static_ip
    }
}

/// Whether we created the user: the cloud once returned its id, or it has the sent fields and was created during a
/// creation of ours.
pub(super) fn is_made_by_us(
    status: &VpnUserStatus,
    intent: Option<&Intent>,
    remote: &User,
    confirmation_period: Duration,
) -> bool {
    if status.record.disappeared_ids.contains(&remote.id) {
        return true;
    }
    let (Some(sent), Some(created)) = (&status.record.sent, Users::times(remote).0) else {
        return false;
    };
    let open = intent.map(|intent| (intent.recorded_at.0, intent.deadline.0));
    is_as_sent(sent, remote)
        && open.into_iter().chain(given_up(status)).any(|(recorded_at, deadline)| {
            creation_window(recorded_at, Some(deadline), confirmation_period).contains(&created)
        })
}

pub(super) fn sent(new: &UserCreation) -> SentUser {
    let user = &new.user;
    SentUser {
        name: user.name.clone(),
        description: user.description.clone(),
        user_group_id: user.user_group_id.clone(),
        static_ip: user.static_ip.clone(),
        password: new.password.clone(),
    }
}

/// Whether the user has the fields that were sent and no others. If no group was sent, the cloud may choose one.
pub(super) fn is_as_sent(sent: &SentUser, remote: &User) -> bool {
    let group = sent.user_group_id.as_ref();
    remote.name.as_ref() == Some(&sent.name)
        && remote.description.as_deref().unwrap_or_default() == sent.description.as_deref().unwrap_or_default()
        && group.is_none_or(|group| remote.user_group_id.as_ref() == Some(group))
        && static_ip(remote) == sent.static_ip.as_deref().unwrap_or(NO_STATIC_IP)
}

/// From record to deadline, for each creation that was given up although it may still take effect.
pub(super) fn given_up(status: &VpnUserStatus) -> impl Iterator<Item = (Timestamp, Timestamp)> {
    let unresolved = status.object.unresolved_creations();
    unresolved.map(|past| (past.recorded_at.0, past.deadline.0))
}

pub(super) fn ambiguous() -> String {
    "spec.passwordSecretRef: another password was sent before this one and its answer was lost, so it is unknown \
     which of the two is in force, and the cloud accepts neither again: put a new password into the Secret, \
     which resolves this; the operator notices it immediately"
        .to_owned()
}
