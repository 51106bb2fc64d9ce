//! `VpnUser`: a person or a machine that dials in to a VPN server, as people declare it.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceColumnDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::crd::{column, wide_column};
use super::lifecycle::{self, Admission, Lifecycle};
use super::status::ObjectStatus;
use super::user_record::UserRecord;

/// What is wanted.
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
    doc = "A user of the VPN service: who dials in to a VPN server with a name and a password. Huawei Cloud only."
)]
#[serde(rename_all = "camelCase")]
pub struct VpnUserSpec {
    /// Id of the VPN server that the user dials in to: 36 characters. Its clients must sign in by password
    /// (LOCAL_PASSWORD). Cannot be changed.
    #[serde(rename = "vpnServerID")]
    #[schemars(length(min = 36, max = 36))]
    pub vpn_server_id: String,

    /// Name that the user signs in with: 4 to 32 letters, digits, '.', '_' and '-', none that the cloud reserves. Left
    /// out: metadata.name, or with externalID whatever the adopted user is called. Cannot be changed; the name that
    /// was left out may be written out later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 4, max = 32))]
    pub name: Option<String>,

    /// A Secret, in this namespace, with the password: 8 to 32 characters, two of the four kinds upper-case letter,
    /// lower-case letter, digit, special character or space; not the name, forwards or backwards. It is sent once per
    /// change of the Secret's value; one newline at its end is cut. Required unless `externalID`,
    /// `adoptionPolicy: Required` or `managementPolicy: Observe`; omitted, the password is never touched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<PasswordRef>,

    /// Description in the cloud, at most 64 characters. An empty one clears it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub description: Option<String>,

    /// Id of the user's group on the same server: 36 characters, or `none` for a user in no group. Not together with
    /// userGroupName. Both left out: the group is not managed.
    #[serde(rename = "userGroupID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub user_group_id: Option<String>,

    /// Name of the user's group, 1 to 64 characters; it is looked up on the server. Not together with userGroupID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub user_group_name: Option<String>,

    /// The address that the user always gets: an IPv4 address within the server's client CIDR whose last number is one
    /// more than a multiple of four, or `disable` for a random one. Left out: not managed.
    // Longer than any address, so that the rule speaks and not the length.
    #[serde(rename = "staticIP", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub static_ip: Option<String>,

    #[serde(flatten)]
    pub lifecycle: Lifecycle,
}

/// Names a Secret with a password in the object's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasswordRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key within the Secret; `password` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
}

impl PasswordRef {
    /// The key in force.
    pub fn key(&self) -> &str {
        self.key.as_deref().unwrap_or("password")
    }
}

/// What the cloud has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VpnUserStatus {
    #[serde(flatten)]
    pub object: ObjectStatus,

    /// Name of the user in the cloud; until it is there, the one that it is going to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,

    /// Id of the user's group in the cloud; absent for a user in no group.
    #[serde(rename = "userGroupID", default, skip_serializing_if = "Option::is_none")]
    pub user_group_id: Option<String>,

    /// Name of the user's group in the cloud; absent for a user in no group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_group_name: Option<String>,

    /// The user's static address in the cloud, or `disable`.
    #[serde(rename = "staticIP", default, skip_serializing_if = "Option::is_none")]
    pub static_ip: Option<String>,

    /// When the password was last set, by the cloud's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_set_at: Option<Time>,

    #[serde(flatten)]
    pub record: UserRecord,
}

/// What `kubectl get` shows; the message, which has no end, is the last.
pub fn columns() -> Vec<CustomResourceColumnDefinition> {
    vec![
        column("Ready", "string", ".status.conditions[?(@.type==\"Ready\")].status"),
        column("Reason", "string", ".status.conditions[?(@.type==\"Ready\")].reason"),
        // Not spec.name, which may be left out.
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

/// The name may come if it says what is so already: the cloud's name where status knows it, else metadata.name; what an
/// adopted user is called is not known before it was read. It may go only if leaving it out means the same.
const NAME_STAYS: &str = "has(self.spec.name) ? (has(oldSelf.spec.name) ? self.spec.name == oldSelf.spec.name \
    : (has(oldSelf.status) && has(oldSelf.status.name) && self.spec.name == oldSelf.status.name) \
    || (!has(oldSelf.spec.externalID) && self.spec.name == self.metadata.name) \
    || (!(has(oldSelf.status) && has(oldSelf.status.name)) && (has(self.spec.externalID) || has(oldSelf.spec.externalID)))) \
    : (!has(oldSelf.spec.name) || oldSelf.spec.name == self.metadata.name)";

/// The kind's own rules of admission, beside [`lifecycle::admissions`].
pub fn admissions() -> Vec<Admission> {
    let mut rules = vec![
        Admission::at(
            "spec.vpnServerID",
            "self.matches('^[A-Za-z0-9-]{36}$')",
            "vpnServerID must be the id of a VPN server: 36 letters, digits and '-'",
        ),
        Admission::at(
            "spec.vpnServerID",
            "self == oldSelf",
            &immutable("vpnServerID", "changed"),
        )
        .forbidden(),
        Admission::at(
            "spec.name",
            "self.matches('^[A-Za-z0-9._-]{4,32}$')",
            "name must be 4 to 32 letters, digits, '.', '_' and '-'",
        ),
        Admission::at(
            "spec.name",
            "!self.matches('^(?i)(l3sw_.*|link|cascade|securenat|localbridge|administrator)$')",
            "name is reserved by the cloud: choose one that does not begin with L3SW_ and is none of link, Cascade, \
             SecureNAT, localbridge and administrator, in upper or lower case",
        ),
        // Its characters are fewer than those of a user's name, so only length and reserved names are left to say.
        Admission::ratcheted(
            "",
            |it| {
                format!(
                    "has({it}.spec.name) || has({it}.spec.externalID) || (size({it}.metadata.name) >= 4 \
                     && size({it}.metadata.name) <= 32 && !({it}.metadata.name in \
                     ['link', 'cascade', 'securenat', 'localbridge', 'administrator']))"
                )
            },
            "metadata.name cannot be the user's name in the cloud (4 to 32 characters, none of link, cascade, securenat, \
             localbridge and administrator): set spec.name",
        )
        .about(".spec.name")
        .missing(),
        Admission::at(
            "",
            NAME_STAYS,
            &immutable(
                "name",
                "changed (left out, it is metadata.name, or what the adopted user is called, and only that may be written \
                 out)",
            ),
        )
        .about(".spec.name")
        .forbidden(),
        Admission::ratcheted(
            "spec",
            |it| {
                format!(
                    "has({it}.passwordSecretRef) || has({it}.externalID) || (has({it}.managementPolicy) \
                     && {it}.managementPolicy == 'Observe') || (has({it}.adoptionPolicy) \
                     && {it}.adoptionPolicy == 'Required')"
                )
            },
            "passwordSecretRef is required: the name of a Secret in this namespace whose key password holds the user's \
             password (only a user that externalID names, or adoptionPolicy: Required finds, goes without)",
        )
        .about(".passwordSecretRef")
        .missing(),
        Admission::ratcheted(
            "spec",
            |it| format!("!has({it}.userGroupID) || !has({it}.userGroupName)"),
            "userGroupName and userGroupID say the same: keep one of the two",
        )
        .about(".userGroupName"),
        Admission::at(
            "spec.userGroupID",
            "self == 'none' || self.matches('^[A-Za-z0-9-]{36}$')",
            "userGroupID must be the id of a user group, 36 letters, digits and '-', or none for a user in no group; leave \
             it out to let the group be as it is",
        ),
        Admission::at(
            "spec.userGroupName",
            "size(self) >= 1",
            "userGroupName must be 1 to 64 characters; for a user in no group write userGroupID: none instead, or leave \
             both out to let the group be as it is",
        ),
        Admission::at(
            "spec.staticIP",
            "self == 'disable' || (isIP(self) && ip(self).family() == 4 && int(self.split('.')[3]) % 4 == 1)",
            "staticIP must be a dotted IPv4 address whose last number is one more than a multiple of four, such as \
             192.168.10.5, .9 or .13 (the cloud gives each user the first host of a /30), or disable for a random address",
        ),
    ];
    rules.extend(lifecycle::secret_ref_admissions(
        "spec.passwordSecretRef.name",
        "spec.passwordSecretRef.key",
    ));
    rules
}

/// The cloud cannot change it: what to do instead.
fn immutable(field: &str, what: &str) -> String {
    format!(
        "{field} cannot be {what}: to replace the user, create another VpnUser with the other {field} beside this one, move \
         the connection to it, then delete this one"
    )
}
