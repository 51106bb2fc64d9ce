//! The part of `status` that every kind shares: what the cloud said, and what the operator must remember.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Fields that every kind's status has, beside its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectStatus {
    /// Id of the cloud object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,

    /// This object's own uid, once the cloud object's ownership tag was seen to name it: a tag that names another one
    /// after that was put there by somebody else. Absent for kinds without tags.
    #[serde(rename = "ownerUID", default, skip_serializing_if = "Option::is_none")]
    pub owner_uid: Option<String>,

    /// True if `id` was recorded while managementPolicy was Observe: the cloud object is not this object's own, and must be
    /// adopted before it is managed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub observe_only: bool,

    /// When the cloud object was created, by the cloud's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Time>,

    /// When the cloud object was last changed, by the cloud's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Time>,

    /// The generation of the spec that the conditions speak of; -1 before the operator has seen the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Where the cloud object lives. Credentials that lead elsewhere stop everything (ScopeChanged).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,

    /// A creation that was announced and whose outcome is not known yet: written before the request is sent, so
    /// that no crash can lead to a second cloud object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<Intent>,

    /// The windows of earlier creations of this object: a cloud object that turns up later and was created within one
    /// of them is ours. It is removed if there is another, and taken if there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub past_intents: Vec<PastIntent>,

    /// When the object was found missing in the cloud together with many others (MassDeletionSuspected), by the operator's
    /// clock: it is recreated only if the annotation `vpn.huaweicloud.com/recreate-approved-at` holds a later time. Absent
    /// once the object was recreated or is there again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mass_deletion_suspected_at: Option<Time>,

    /// Ready, with the reason; Reconciling and Stalled as kstatus understands them; Drifted; Paused; CredentialsHealthy;
    /// InvalidAnnotation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// Endpoint and project in which a cloud object lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scope {
    /// Base URL of the VPN API.
    pub endpoint: String,
    /// Id of the cloud project.
    #[serde(rename = "projectID")]
    pub project_id: String,
}

/// An announced creation. Times are the cloud's, in whole seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// Names this attempt.
    pub token: String,
    /// When it was announced.
    pub recorded_at: Time,
    /// When the request will have ended, one way or the other.
    pub deadline: Time,
    /// The name that is about to be created.
    pub name: String,
}

/// The window of an earlier creation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PastIntent {
    /// When it was announced.
    pub recorded_at: Time,
    /// When its request ended at the latest.
    pub deadline: Time,
    /// True if the operator gave it up: no object had shown itself in time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub given_up: bool,
}
