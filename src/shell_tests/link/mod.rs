//! A kind that only tests have: it refers to a `CustomerGateway` by its object's name, and its resource is in progress
//! for a while after its creation. In the cloud it is a customer gateway with two tags: `peer`, the ID of the gateway it
//! refers to, and `state`. A file per trait, as in the shipped kinds.

mod compare;
mod effects;
mod ledger;
mod ownership;
mod shape;

use kube::CustomResource;
use serde::{Deserialize, Serialize};
use vpn_core::api::{Lifecycle, ObjectStatus};

/// The tag with the ID of the gateway that the link refers to.
pub(crate) const PEER: &str = "peer";

/// The tag with the state of the link.
pub(crate) const STATE: &str = "state";

/// The kind of links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Links {}

/// The desired state of a link.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "vpn.huaweicloud.com",
    version = "v1alpha1",
    kind = "Link",
    plural = "links",
    namespaced,
    status = "LinkStatus",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LinkSpec {
    /// The address of the link.
    id_value: String,
    /// The gateway, an object of this namespace.
    gateway_ref: GatewayRef,
    #[serde(flatten)]
    lifecycle: Lifecycle,
}

/// Names a `CustomerGateway` of the namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GatewayRef {
    name: String,
}

/// The observed state of a link.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LinkStatus {
    /// The gateway that the link refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gateway: Option<RecordedGateway>,
    #[serde(flatten)]
    object: ObjectStatus,
}

/// The name of an object, and the ID that it led to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedGateway {
    name: String,
    id: String,
}

/// What the spec refers to; nothing where it is not compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkDereferenced {
    gateway: Option<RecordedGateway>,
}
