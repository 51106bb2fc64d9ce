//! State of a VPN user that the cloud does not return: the progress of its creation, and the password that was sent
//! last. It never contains a password, because many can read status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The part of a user's status that only the operator uses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserRecord {
    /// ID of the VPN server on which the user exists or is being created.
    #[serde(rename = "vpnServerID", default, skip_serializing_if = "Option::is_none")]
    pub vpn_server_id: Option<String>,

    /// When the creation is confirmed, by the cloud's clock. Until then the creation may still fail. Absent once it is
    /// confirmed.
    #[serde(rename = "settlesAt", default, skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<Time>,

    /// IDs of users of this object that were missing in the cloud. If one reappears, it still belongs to this object.
    /// Empty once another user is confirmed.
    #[serde(rename = "vanishedIDs", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub disappeared_ids: Vec<String>,

    /// Fields of the create request that is recorded in `intent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<SentUser>,

    /// The password that was last set: a keyed digest and its Secret, never the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<PasswordRecord>,

    /// The password reset in progress, recorded before its request is sent: a keyed digest and the Secret of the
    /// password, never the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_reset: Option<PasswordReset>,

    /// The password that the cloud last refused. It is not sent again until the Secret has another value, or until the
    /// annotation `vpn.huaweicloud.com/reconcile-requested-at` changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_refused: Option<PasswordRefused>,

    /// Passwords that were set before the last one, latest last. The cloud refuses recently used passwords.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub former_passwords: Vec<FormerPassword>,
}

/// Fields of a create request. A user with these fields that was created at the time of the request belongs to this
/// object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SentUser {
    /// Name of the user.
    pub name: String,

    /// Description of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,

    /// ID of the user's group.
    #[serde(rename = "userGroupID", default, skip_serializing_if = "Option::is_none")]
    pub user_group_id: Option<String>,

    /// Static address of the user.
    #[serde(rename = "staticIP", default, skip_serializing_if = "Option::is_none")]
    pub static_ip: Option<String>,

    /// The password: a keyed digest and its Secret, never the value.
    pub password: PasswordRecord,
}

/// Identifies a password without revealing it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasswordRecord {
    /// HMAC-SHA256 of the password, with the operator's digest key.
    pub digest: String,

    /// ID of the digest key, specific to this object. Digests with different key IDs cannot be compared.
    #[serde(rename = "keyID")]
    pub key_id: String,

    /// UID of the Secret that contained the password.
    #[serde(rename = "secretUID")]
    pub secret_uid: String,

    /// resourceVersion of that Secret.
    pub secret_resource_version: String,
}

/// A password that the cloud refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasswordRefused {
    /// The password: a keyed digest and its Secret, never the value.
    pub password: PasswordRecord,

    /// Why the cloud refused it.
    pub message: String,

    /// Value of the annotation `vpn.huaweicloud.com/reconcile-requested-at` at that time. Another value requests
    /// another try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_at: Option<String>,
}

/// A password that was set earlier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FormerPassword {
    /// HMAC-SHA256 of the password, with the operator's digest key.
    pub digest: String,

    /// ID of the digest key, specific to this object.
    #[serde(rename = "keyID")]
    pub key_id: String,
}

/// A password reset in progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasswordReset {
    /// The password: a keyed digest and its Secret, never the value.
    pub password: PasswordRecord,

    /// Time by which the request has ended, whether or not it succeeded, by the cloud's clock.
    pub deadline: Time,

    /// True if the password may have been sent before. If the cloud then refuses it as recently used, it is already
    /// set.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,

    /// True if an earlier request for another password has an unknown outcome, so either password may be set.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub after_another: bool,
}
