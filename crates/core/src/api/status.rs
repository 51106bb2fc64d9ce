//! The fields of `status` that every kind has: the observed state, and what the operator must remember.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Fields that the status of every kind has, in addition to its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(
    clippy::doc_markdown,
    reason = "the text is a description in the CRD, which shows no Markdown"
)]
pub struct ObjectStatus {
    /// ID of the cloud resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,

    /// UID of this object, recorded once the owner tag of the cloud resource names it. If the tag names another object
    /// later, it was changed by someone else. Absent for kinds without tags.
    #[serde(rename = "ownerUID", default, skip_serializing_if = "Option::is_none")]
    pub owner_uid: Option<String>,

    /// True if `id` was recorded with managementPolicy: Observe. The object does not own the cloud resource, and must
    /// adopt it before it manages it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub observe_only: bool,

    /// When the cloud resource was created, by the cloud's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Time>,

    /// When the cloud resource was last changed, by the cloud's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Time>,

    /// Creation time, by the cloud's clock, of the newest cloud resource that was recorded as lost. Resources created
    /// up to that time are never deleted as duplicates. Absent for kinds without tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_created_at: Option<Time>,

    /// Generation of the spec that the conditions describe. -1 until the operator has seen the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Endpoint and project of the cloud resource. If the credentials lead to another one, reconciliation stops
    /// (ScopeChanged).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,

    /// A create request whose outcome is not yet known. It is recorded before it is sent, so that no crash can lead to
    /// a second cloud resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<Intent>,

    /// Creation windows of earlier create requests. A cloud resource that appears later and was created in one of them
    /// belongs to this object. It is deleted if the object has another one, and adopted if not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub past_intents: Vec<PastIntent>,

    /// When the cloud resource was found missing together with many others (MassDeletionSuspected), by the operator's
    /// clock. It is recreated only if the annotation `vpn.huaweicloud.com/recreate-approved-at` has a later time.
    /// Absent once the resource is recreated or exists again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mass_deletion_suspected_at: Option<Time>,

    /// Ready, with the reason; Reconciling and Stalled as defined by kstatus; Drifted; Paused; CredentialsHealthy;
    /// InvalidAnnotation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl ObjectStatus {
    /// Earlier creations that may still take effect.
    pub(crate) fn unresolved_creations(&self) -> impl Iterator<Item = &PastIntent> {
        self.past_intents.iter().filter(|past| past.given_up)
    }
}

/// Endpoint and project of a cloud resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scope {
    /// Base URL of the VPN API.
    pub endpoint: String,
    /// ID of the cloud project.
    #[serde(rename = "projectID")]
    pub project_id: String,
}

/// A recorded create request. Times are by the cloud's clock, in whole seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// Client token of the request.
    pub token: String,
    /// When the request was recorded.
    pub recorded_at: Time,
    /// Time by which the request has ended, whether or not it succeeded.
    pub deadline: Time,
    /// Name of the resource to create.
    pub name: String,
}

/// The creation window of an earlier create request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PastIntent {
    /// When the request was recorded.
    pub recorded_at: Time,
    /// Time by which the request had ended.
    pub deadline: Time,
    /// True if the operator stopped waiting for the outcome, because no resource had appeared in time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub given_up: bool,
}
