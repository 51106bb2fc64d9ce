//! The API: kinds, admission rules, conditions and reasons. It depends on no other module except `text`.

pub mod conditions;
pub mod crd;
pub(crate) mod customer_gateway;
pub(crate) mod lifecycle;
pub mod printer;
pub(crate) mod status;
pub mod user_record;
pub(crate) mod vpn_user;

pub use crate::api::crd::crds;
pub use crate::api::customer_gateway::{CustomerGateway, CustomerGatewaySpec, CustomerGatewayStatus};
pub use crate::api::lifecycle::{AdoptionPolicy, DeletionPolicy, Lifecycle, ManagementPolicy};
pub use crate::api::status::{Intent, ObjectStatus, PastIntent, Scope};
pub use crate::api::vpn_user::{VpnUser, VpnUserSpec, VpnUserStatus};

/// The API group.
pub const GROUP: &str = "vpn.huaweicloud.com";

/// On an object: `"true"` pauses reconciliation, deletion included.
pub const PAUSED_ANNOTATION: &str = "vpn.huaweicloud.com/paused";

/// On an object: any change of the value requests an immediate reconciliation.
pub const RECONCILE_REQUESTED_ANNOTATION: &str = "vpn.huaweicloud.com/reconcile-requested-at";

/// On an object: approves its recreation, which the mass-deletion guard has suspended.
pub const RECREATE_APPROVED_ANNOTATION: &str = "vpn.huaweicloud.com/recreate-approved-at";

/// On every object that has, or may have, a cloud resource.
pub const FINALIZER: &str = "vpn.huaweicloud.com/cleanup";

/// Key of the owner tag unless `--owner-tag-key` sets another one.
pub const DEFAULT_OWNER_TAG_KEY: &str = "vpn-operator-owner";
