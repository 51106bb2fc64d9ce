//! The `VpnUser` API: a remote-access user of a VPN server.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceColumnDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::lifecycle;
use crate::api::lifecycle::{Admission, Lifecycle};
use crate::api::printer::{column, wide_column};
use crate::api::status::ObjectStatus;
use crate::api::user_record::UserRecord;

/// The desired state of the VPN user.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "vpn.huaweicloud.com",
    version = "v1alpha1",
    kind = "VpnUser",
    plural = "vpnusers",
    shortname = "vpnu",
    category = "vpn",
    namespaced,
    status = "VpnUserStatus",
    doc = "A remote-access user of a VPN server, with a user name and a password. Huawei Cloud only."
)]
#[serde(rename_all = "camelCase")]
#[expect(
    clippy::doc_markdown,
    reason = "the text is a description in the CRD, which shows no Markdown"
)]
pub struct VpnUserSpec {
    /// ID of the user's VPN server: 36 characters. The server must accept password authentication (LOCAL_PASSWORD).
    /// Immutable.
    #[serde(rename = "vpnServerID")]
    #[schemars(length(min = 36, max = 36))]
    pub vpn_server_id: String,

    /// Name that the user signs in with: 4 to 32 letters, digits, '.', '_' and '-', except names that the cloud
    /// reserves. Defaults to metadata.name, or with externalID to the name of the adopted user. Immutable; if it was
    /// unset, it may be set to that default later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 4, max = 32))]
    pub name: Option<String>,

    /// Secret in this namespace with the password: 8 to 32 characters of at least two kinds (upper-case letter,
    /// lower-case letter, digit, special character or space), and not the name, forwards or backwards. The operator
    /// sends it once per change of the Secret's value, without one trailing newline. Required unless `externalID`,
    /// `adoptionPolicy: Required` or `managementPolicy: Observe` is set. If unset, the operator never changes the
    /// password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<PasswordRef>,

    /// Description in the cloud, at most 64 characters. An empty one clears it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub description: Option<String>,

    /// ID of the user's group on the same server: 36 characters, or `None` for a user in no group. Mutually exclusive
    /// with userGroupName. If both are unset, the group is not managed.
    #[serde(rename = "userGroupID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub user_group_id: Option<String>,

    /// Name of the user's group, 1 to 64 characters. The operator finds the group on the server. Mutually exclusive
    /// with userGroupID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub user_group_name: Option<String>,

    /// Static address of the user: an IPv4 address in the server's client CIDR whose last number is one more than a
    /// multiple of four, or `Disabled` for a random one. If unset, the address is not managed.
    // Longer than any address, so that the message of the rule is shown and not that of the length.
    #[serde(rename = "staticIP", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub static_ip: Option<String>,

    /// The fields that every kind has.
    #[serde(flatten)]
    pub lifecycle: Lifecycle,
}

/// Reference to a Secret with a password, in the namespace of the object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasswordRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in the Secret. Defaults to `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
}

impl PasswordRef {
    /// The key, or the default.
    pub fn key(&self) -> &str {
        self.key.as_deref().unwrap_or("password")
    }
}

/// The observed state of the VPN user.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VpnUserStatus {
    /// The fields that every kind has.
    #[serde(flatten)]
    pub object: ObjectStatus,

    /// Name of the user in the cloud. Until the user exists, the name that it will be created with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,

    /// ID of the user's group in the cloud. Absent for a user in no group.
    #[serde(rename = "userGroupID", default, skip_serializing_if = "Option::is_none")]
    pub user_group_id: Option<String>,

    /// Name of the user's group in the cloud. Absent for a user in no group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_group_name: Option<String>,

    /// The user's static address in the cloud, or `Disabled`.
    #[serde(rename = "staticIP", default, skip_serializing_if = "Option::is_none")]
    pub static_ip: Option<String>,

    /// When the password was last set, by the cloud's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_set_at: Option<Time>,

    /// What only the operator uses.
    #[serde(flatten)]
    pub record: UserRecord,
}

/// The columns of `kubectl get`. The message is the last, because its length varies.
pub(crate) fn columns() -> Vec<CustomResourceColumnDefinition> {
    vec![
        column("Ready", "string", ".status.conditions[?(@.type==\"Ready\")].status"),
        column("Reason", "string", ".status.conditions[?(@.type==\"Ready\")].reason"),
        // Not spec.name, which may be unset.
        column("User", "string", ".status.name"),
        column("Group", "string", ".status.userGroupName"),
        column("Age", "date", ".metadata.creationTimestamp"),
        wide_column("Server", "string", ".spec.vpnServerID"),
        wide_column("ID", "string", ".status.id"),
        wide_column("Created", "date", ".status.createdAt"),
        wide_column("Updated", "date", ".status.updatedAt"),
        wide_column("Message", "string", ".status.conditions[?(@.type==\"Ready\")].message"),
    ]
}

/// CEL: an unset name may be set only to its present value: the cloud's name if status has it, else metadata.name. The
/// name of an adopted user is unknown until the operator has read it. The name may be removed only if it equals
/// metadata.name.
const NAME_STAYS: &str = "has(self.spec.name) ? (has(oldSelf.spec.name) ? self.spec.name == oldSelf.spec.name \
    : (has(oldSelf.status) && has(oldSelf.status.name) && self.spec.name == oldSelf.status.name) \
    || (!has(oldSelf.spec.externalID) && self.spec.name == self.metadata.name) \
    || (!(has(oldSelf.status) && has(oldSelf.status.name)) && (has(self.spec.externalID) || has(oldSelf.spec.externalID)))) \
    : (!has(oldSelf.spec.name) || oldSelf.spec.name == self.metadata.name)";

/// The admission rules of this kind, in addition to [`lifecycle::admissions`].
pub(crate) fn admissions() -> Vec<Admission> {
    let mut rules = server_rules();
    rules.extend(name_rules());
    rules.push(password_is_required());
    rules.extend(group_rules());
    rules.push(static_ip_rule());
    rules.extend(lifecycle::secret_ref_admissions(
        "spec.passwordSecretRef.name",
        "spec.passwordSecretRef.key",
    ));
    rules
}

/// The VPN server, which the cloud cannot change.
fn server_rules() -> Vec<Admission> {
    vec![
        Admission::at(
            "spec.vpnServerID",
            "self.matches('^[A-Za-z0-9-]{36}$')",
            "vpnServerID must be the id of a VPN server: 36 letters, digits and '-'",
        ),
        Admission::at("spec.vpnServerID", "self == oldSelf", &immutable("vpnServerID", "")).forbidden(),
    ]
}

/// The name in the cloud, which defaults to `metadata.name` and is immutable.
fn name_rules() -> Vec<Admission> {
    vec![
        Admission::at(
            "spec.name",
            "self.matches('^[A-Za-z0-9._-]{4,32}$')",
            "name must be 4 to 32 letters, digits, '.', '_' and '-'",
        ),
        Admission::at(
            "spec.name",
            "!self.matches('^(?i)(l3sw_.*|link|cascade|securenat|localbridge|administrator)$')",
            "name is reserved by the cloud: choose one that does not start with L3SW_ and is none of link, Cascade, \
             SecureNAT, localbridge and administrator, in upper or lower case",
        ),
        // metadata.name allows fewer characters than a user's name, so only its length and reserved names are checked.
        Admission::ratcheted(
            "",
            |it| {
                format!(
                    "has({it}.spec.name) || has({it}.spec.externalID) || (size({it}.metadata.name) >= 4 \
                     && size({it}.metadata.name) <= 32 && !({it}.metadata.name in \
                     ['link', 'cascade', 'securenat', 'localbridge', 'administrator']))"
                )
            },
            "metadata.name cannot be the user's name in the cloud (4 to 32 characters, none of link, cascade, \
             securenat, localbridge and administrator): set spec.name",
        )
        .about(".spec.name")
        .missing(),
        Admission::at(
            "",
            NAME_STAYS,
            &immutable(
                "name",
                " (if unset, it is metadata.name or the name of the adopted user, and may be set only to that)",
            ),
        )
        .about(".spec.name")
        .forbidden(),
    ]
}

/// A user that the operator may create needs a password.
fn password_is_required() -> Admission {
    Admission::ratcheted(
        "spec",
        |it| {
            format!(
                "has({it}.passwordSecretRef) || has({it}.externalID) || (has({it}.managementPolicy) \
                 && {it}.managementPolicy == 'Observe') || (has({it}.adoptionPolicy) \
                 && {it}.adoptionPolicy == 'Required')"
            )
        },
        "passwordSecretRef is required: set it to the name of a Secret in this namespace with the user's password \
         under the key password (optional only with externalID or adoptionPolicy: Required)",
    )
    .about(".passwordSecretRef")
    .missing()
}

/// The group, by ID or by name.
fn group_rules() -> Vec<Admission> {
    vec![
        Admission::ratcheted(
            "spec",
            |it| format!("!has({it}.userGroupID) || !has({it}.userGroupName)"),
            "userGroupName and userGroupID are mutually exclusive: keep one of the two",
        )
        .about(".userGroupName"),
        Admission::at(
            "spec.userGroupID",
            "self == 'None' || self.matches('^[A-Za-z0-9-]{36}$')",
            "userGroupID must be the id of a user group, 36 letters, digits and '-', or None for a user in no group; \
             remove it to leave the group unmanaged",
        ),
        Admission::at(
            "spec.userGroupName",
            "size(self) >= 1",
            "userGroupName must be 1 to 64 characters; for a user in no group, set userGroupID: None instead; remove \
             both to leave the group unmanaged",
        ),
    ]
}

/// The address, as the cloud assigns them.
fn static_ip_rule() -> Admission {
    Admission::at(
        "spec.staticIP",
        "self == 'Disabled' || (isIP(self) && ip(self).family() == 4 && int(self.split('.')[3]) % 4 == 1)",
        "staticIP must be a dotted IPv4 address whose last number is one more than a multiple of four, such as \
         192.168.10.5, .9 or .13 (the cloud gives each user the first host of a /30), or Disabled for a random \
         address",
    )
}

/// The message for a field that is immutable in the cloud, and how to replace the user.
fn immutable(field: &str, details: &str) -> String {
    format!(
        "{field} is immutable{details}: to replace the user, create another VpnUser with the new {field} beside this \
         one, give its name and password to the people who use this one, then delete this one"
    )
}
