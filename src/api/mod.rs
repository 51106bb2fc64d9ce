//! The API that people write: kinds, admission rules, conditions and reasons. Knows nothing else of this crate.

pub mod conditions;
pub mod crd;
pub mod customer_gateway;
pub mod lifecycle;
pub mod status;
pub mod user_record;
pub mod vpn_user;

pub use crd::crds;
pub use customer_gateway::{CustomerGateway, CustomerGatewaySpec, CustomerGatewayStatus};
pub use lifecycle::{AdoptionPolicy, DeletionPolicy, Lifecycle, ManagementPolicy};
pub use status::{Intent, ObjectStatus, PastIntent, Scope};
pub use vpn_user::{VpnUser, VpnUserSpec, VpnUserStatus};

/// The API group.
pub const GROUP: &str = "vpn.huaweicloud.com";

/// On a CR: `"true"` = hands off, deletion included.
pub const PAUSED_ANNOTATION: &str = "vpn.huaweicloud.com/paused";

/// On a CR: any change of the value = look and mend now.
pub const RECONCILE_REQUESTED_ANNOTATION: &str = "vpn.huaweicloud.com/reconcile-requested-at";

/// On a CR: a person allows it to be made anew although many objects vanished at once.
pub const RECREATE_APPROVED_ANNOTATION: &str = "vpn.huaweicloud.com/recreate-approved-at";

/// On every CR that has, or may have, something in the cloud.
pub const FINALIZER: &str = "vpn.huaweicloud.com/cleanup";

/// The tag key that marks a cloud object as ours unless `--owner-tag-key` says otherwise.
pub const DEFAULT_OWNER_TAG_KEY: &str = "vpn-operator-owner";
