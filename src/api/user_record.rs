//! What the operator must remember of a VPN user beside what the cloud shows: how its creation stands, and which
//! password was sent last. No value is in here: status is readable by many.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The part of a user's status that only the operator reads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserRecord {
    /// The server on which the user is, or is about to be created.
    #[serde(rename = "vpnServerID", default, skip_serializing_if = "Option::is_none")]
    pub vpn_server_id: Option<String>,

    /// Until then, by the cloud's clock, the creation may still come to nothing; absent once it is confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settles_at: Option<Time>,

    /// Users of this object that the cloud no longer had: one that is there after all is still this object's. Empty once
    /// another one is confirmed.
    #[serde(rename = "vanishedIDs", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub vanished_ids: Vec<String>,

    /// What the announced creation sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<SentUser>,

    /// Which password was set last: a keyed digest and the Secret that held it, never the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<PasswordRecord>,

    /// Which password is about to be set, told in the same way: written before the request is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_reset: Option<PasswordReset>,

    /// Which password the cloud refused last: it is not sent again before the Secret holds another one, or a person asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_refused: Option<PasswordRefused>,

    /// Which passwords were set before the last one, latest last: the cloud does not take them again so soon.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub former_passwords: Vec<FormerPassword>,
}

/// What a creation sends: a user that looks so, and was created when it was sent, is ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SentUser {
    /// The name.
    pub name: String,

    /// The description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,

    /// The group's id.
    #[serde(rename = "userGroupID", default, skip_serializing_if = "Option::is_none")]
    pub user_group_id: Option<String>,

    /// The static address.
    #[serde(rename = "staticIP", default, skip_serializing_if = "Option::is_none")]
    pub static_ip: Option<String>,

    /// Which password: a keyed digest and the Secret that held it, never the value.
    pub password: PasswordRecord,
}

/// Tells a password from another without telling it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasswordRecord {
    /// HMAC-SHA256 of the value, under the key in the operator's own Secret.
    pub digest: String,

    /// Names that key, for this object: digests under another key, or of another object, say nothing.
    #[serde(rename = "keyID")]
    pub key_id: String,

    /// The Secret that held the value.
    #[serde(rename = "secretUID")]
    pub secret_uid: String,

    /// That Secret's version.
    pub secret_resource_version: String,
}

/// A password that the cloud does not take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasswordRefused {
    /// Which password: a keyed digest and the Secret that held it, never the value.
    pub password: PasswordRecord,

    /// Why.
    pub message: String,

    /// What the annotation `vpn.huaweicloud.com/reconcile-requested-at` said then: another value of it asks for another
    /// try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_at: Option<String>,
}

/// A password that was in force once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FormerPassword {
    /// HMAC-SHA256 of the value, under the key in the operator's own Secret.
    pub digest: String,

    /// Names that key, for this object.
    #[serde(rename = "keyID")]
    pub key_id: String,
}

/// A password on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasswordReset {
    /// Which password: a keyed digest and the Secret that held it, never the value.
    pub password: PasswordRecord,

    /// When the request will have ended, one way or the other, by the cloud's clock.
    pub deadline: Time,

    /// True if it may have been sent before: a refusal as recently used then proves that it is in force.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,

    /// True if another password may be in force as well, because what came of its request is not known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub after_another: bool,
}
