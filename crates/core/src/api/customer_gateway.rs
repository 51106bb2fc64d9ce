//! The `CustomerGateway` API: the remote end of a site-to-site VPN.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceColumnDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::lifecycle;
use crate::api::lifecycle::{Admission, Lifecycle};
use crate::api::printer::{column, wide_column};
use crate::api::status::ObjectStatus;

/// The desired state of the customer gateway.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "vpn.huaweicloud.com",
    version = "v1alpha1",
    kind = "CustomerGateway",
    plural = "customergateways",
    shortname = "cgw",
    category = "vpn",
    namespaced,
    status = "CustomerGatewayStatus",
    doc = "A customer gateway of the VPN service: the remote end of a site-to-site VPN."
)]
#[serde(rename_all = "camelCase")]
pub struct CustomerGatewaySpec {
    /// Name in the cloud: 1 to 64 letters, digits, '_', '-' and '.'. If unset, the gateway is created with
    /// metadata.name, and its name is not managed afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub name: Option<String>,

    /// Type of the identifier: `IP` or `FQDN`. Defaults to `IP` when the gateway is created. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_type: Option<IdType>,

    /// Identifier of the gateway: its static public or private IPv4 address, or its FQDN. Required unless
    /// `managementPolicy: Observe`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub id_value: Option<String>,

    /// BGP AS number, 1 to 4294967295, for `idType: IP` only. Immutable once set.
    #[serde(rename = "bgpASN", default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_295_i64))]
    pub bgp_asn: Option<i64>,

    /// Secret in this namespace with the CA certificate of the gateway in PEM format. Huawei Cloud only.
    #[serde(rename = "caCertificateSecretRef", default, skip_serializing_if = "Option::is_none")]
    pub ca_certificate_secret_ref: Option<CertificateRef>,

    /// Tags of the gateway in the cloud, at most 19. The operator adds its owner tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    // Atomic: if the map were merged by key, a server-side apply that removes the last key would leave null, which is
    // not a map.
    #[schemars(extend("maxProperties" = 19, "x-kubernetes-map-type" = "atomic"))]
    pub tags: Option<BTreeMap<String, TagValue>>,

    /// The fields that every kind has.
    #[serde(flatten)]
    pub lifecycle: Lifecycle,
}

/// See [`CustomerGatewaySpec::id_type`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IdType {
    #[serde(rename = "IP")]
    Ip,
    #[serde(rename = "FQDN")]
    Fqdn,
}

impl IdType {
    /// The spelling of the cloud's API.
    pub const fn wire(self) -> &'static str {
        match self {
            IdType::Ip => "ip",
            IdType::Fqdn => "fqdn",
        }
    }
}

/// The value of a tag, at most 255 characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct TagValue(#[schemars(length(max = 255))] pub String);

/// Reference to a Secret with a PEM certificate, in the namespace of the object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in the Secret. Defaults to `ca.crt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
}

impl CertificateRef {
    /// The key, or the default.
    pub fn key(&self) -> &str {
        self.key.as_deref().unwrap_or("ca.crt")
    }
}

/// The observed state of the customer gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CustomerGatewayStatus {
    /// The fields that every kind has.
    #[serde(flatten)]
    pub object: ObjectStatus,

    /// The CA certificate of the gateway in the cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_certificate: Option<CertificateStatus>,

    /// Keys of the tags that were last set from spec.tags. They are removed when spec.tags is unset.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 19))]
    pub managed_tags: Vec<String>,
}

/// A certificate in the cloud.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// ID of the certificate in the cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Issuer of the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Subject of the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When the certificate expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// SHA-256 of the PEM text that was last sent. The cloud does not return that text, so the operator detects changes
    /// by this value.
    #[serde(rename = "contentSHA256", default, skip_serializing_if = "Option::is_none")]
    pub content_sha256: Option<String>,
}

/// The columns of `kubectl get`. The message is the last, because its length varies.
pub(crate) fn columns() -> Vec<CustomResourceColumnDefinition> {
    vec![
        column("Ready", "string", ".status.conditions[?(@.type==\"Ready\")].status"),
        column("Reason", "string", ".status.conditions[?(@.type==\"Ready\")].reason"),
        column("Identifier", "string", ".spec.idValue"),
        column("ID", "string", ".status.id"),
        column("Age", "date", ".metadata.creationTimestamp"),
        wide_column("ASN", "integer", ".spec.bgpASN"),
        wide_column("Created", "date", ".status.createdAt"),
        wide_column("Updated", "date", ".status.updatedAt"),
        wide_column("Message", "string", ".status.conditions[?(@.type==\"Ready\")].message"),
    ]
}

/// CEL: whether the identifier is an address. FQDN is always explicit. Without idType, an adopted gateway may have
/// either type.
const IS_ADDRESS: &str = "(has(self.idType) ? self.idType == 'IP' : !has(self.externalID))";

/// CEL: the identifier is unchanged, so it was checked on creation. It is immutable, so other edits must not fail
/// because of it: `deletionPolicy: Retain` where an older CRD admitted it, or the removal of `externalID` where it is
/// an FQDN.
const IDENTIFIER_WAS_THERE: &str = "(has(self.idValue) && has(oldSelf.value().idValue) \
    && self.idValue == oldSelf.value().idValue && has(self.idType) == has(oldSelf.value().idType))";

/// The admission rules of this kind, in addition to [`lifecycle::admissions`].
pub(crate) fn admissions() -> Vec<Admission> {
    let mut rules = name_rules();
    rules.push(id_type_is_immutable());
    rules.extend(id_value_rules());
    rules.extend(bgp_asn_rules());
    rules.extend(tag_rules());
    rules.extend(lifecycle::secret_ref_admissions(
        "spec.caCertificateSecretRef.name",
        "spec.caCertificateSecretRef.key",
    ));
    rules
}

/// The name in the cloud, which defaults to `metadata.name`.
fn name_rules() -> Vec<Admission> {
    vec![
        Admission::at(
            "spec.name",
            "self.matches('^[A-Za-z0-9_.-]{1,64}$')",
            "name must be 1 to 64 letters, digits, '_', '-' and '.'",
        ),
        Admission::ratcheted(
            "",
            |it| format!("has({it}.spec.name) || has({it}.spec.externalID) || size({it}.metadata.name) <= 64"),
            "metadata.name is longer than 64 characters and cannot be the gateway's name in the cloud: set spec.name",
        )
        .about(".spec.name")
        .missing(),
    ]
}

/// The type of the identifier, which the cloud cannot change.
fn id_type_is_immutable() -> Admission {
    Admission::at(
        "spec",
        // Unset means IP, except for a gateway that is adopted, or was adopted and is identified by a name.
        "has(self.idType) ? (has(oldSelf.idType) ? self.idType == oldSelf.idType \
         : (self.idType == 'IP' || has(self.externalID) || has(oldSelf.externalID) \
         || (has(self.idValue) && !isIP(self.idValue)))) : !has(oldSelf.idType)",
        &immutable("idType", " and cannot be removed (if it was unset, it is IP)"),
    )
    .about(".idType")
    .forbidden()
}

/// The identifier: required, immutable, and of the form that its type demands.
fn id_value_rules() -> Vec<Admission> {
    vec![
        Admission::ratcheted(
            "spec",
            |it| format!("has({it}.idValue) || (has({it}.managementPolicy) && {it}.managementPolicy == 'Observe')"),
            "idValue is required: set it to the gateway's IPv4 address or FQDN (optional only with managementPolicy: \
             Observe)",
        )
        .about(".idValue")
        .missing(),
        Admission::at(
            "spec",
            "!has(oldSelf.idValue) || (has(self.idValue) && self.idValue == oldSelf.idValue)",
            &immutable("idValue", " and cannot be removed"),
        )
        .about(".idValue")
        .forbidden(),
        Admission::unless_before(
            "spec",
            &format!(
                "!has(self.idValue) || !{IS_ADDRESS} || (isIP(self.idValue) && ip(self.idValue).family() == 4 \
                 && self.idValue.matches('^([1-9]|[1-9][0-9]|1[0-9][0-9]|2[01][0-9]|22[0-3])[.]') \
                 && !self.idValue.startsWith('127.'))"
            ),
            IDENTIFIER_WAS_THERE,
            "idValue must be a dotted IPv4 address such as 203.0.113.7 if idType is IP or unset, from 1.0.0.0 to \
             223.255.255.255 and not loopback (127.x); for a name, set idType: FQDN",
        )
        .about(".idValue"),
        Admission::unless_before(
            "spec",
            &format!("!has(self.idValue) || {IS_ADDRESS} || self.idValue.matches(\"^[!-%'-;=@-Z^-~]+$\")"),
            IDENTIFIER_WAS_THERE,
            "idValue must be ASCII letters, digits and special characters with idType: FQDN, without spaces and \
             without any of & < > [ ] \\ ?",
        )
        .about(".idValue"),
    ]
}

/// The ASN, which only an address can have, and which the cloud cannot change.
fn bgp_asn_rules() -> Vec<Admission> {
    vec![
        Admission::ratcheted(
            "spec",
            |it| format!("!has({it}.bgpASN) || !has({it}.idType) || {it}.idType == 'IP'"),
            "bgpASN is allowed only with idType: IP; remove it for a gateway that is identified by FQDN",
        )
        .about(".bgpASN"),
        Admission::at(
            "spec.bgpASN",
            "self == oldSelf",
            &immutable("bgpASN", " once set (you may remove it: the gateway keeps its ASN)"),
        )
        .forbidden(),
    ]
}

/// Keys and values of tags, as the cloud accepts them; some keys belong to the cloud or to the operator.
fn tag_rules() -> Vec<Admission> {
    vec![
        Admission::each(
            "spec.tags",
            "size(key) >= 1 && size(key) <= 128",
            "a key must have 1 to 128 characters",
        ),
        Admission::each(
            "spec.tags",
            "!key.startsWith('_sys_') && key != 'vpn-operator-owner'",
            "a key must not start with _sys_ or be vpn-operator-owner, which belongs to the operator",
        ),
        Admission::each(
            "spec.tags",
            "key.matches('^[A-Za-z0-9À-ÖØ-öø-ÿ\\\\p{Han} _.:=+@-]*$') && !key.startsWith(' ') && !key.endsWith(' ')",
            "a key may contain letters (also Spanish, Portuguese and Chinese), digits, '_', '.', ':', '=', '+', '-', \
             '@' and spaces, but not start or end with a space",
        ),
        Admission::each(
            "spec.tags",
            "self[key].matches('^[A-Za-z0-9À-ÖØ-öø-ÿ\\\\p{Han} _.:=+@/-]*$') && !self[key].startsWith(' ') \
             && !self[key].endsWith(' ')",
            "a value may contain letters (also Spanish, Portuguese and Chinese), digits, '_', '.', ':', '=', '+', '-', \
             '@', '/' and spaces, but not start or end with a space",
        ),
    ]
}

/// The message for a field that is immutable in the cloud, and how to replace the gateway.
fn immutable(field: &str, details: &str) -> String {
    format!(
        "{field} is immutable{details}: to replace the gateway, create another CustomerGateway with the new {field} \
         beside this one, move the VPN connection to it, then delete this one"
    )
}
