//! Customer gateways: what is sent, what comes back, and the calls (contract §2).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A customer gateway as the cloud answers it. Every field but the id may be missing in a list (§2.3, §1.4).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct CustomerGateway {
    pub id: String,
    #[serde(default)]
    pub name: Option<String>,
    /// `ip` or `fqdn`; may be absent in list items.
    #[serde(default)]
    pub id_type: Option<String>,
    #[serde(default)]
    pub id_value: Option<String>,
    #[serde(default)]
    pub bgp_asn: Option<i64>,
    #[serde(default)]
    pub ca_certificate: Option<CaCertificate>,
    /// The cloud's text, kept as it came: it also serves as a page marker.
    #[serde(default)]
    pub created_at: Option<String>,
    #[serde(default)]
    pub updated_at: Option<String>,
    /// `None`: the answer did not say, which is not the same as "has none" (§2.3).
    #[serde(default, deserialize_with = "super::tags::optional_map::deserialize")]
    pub tags: Option<BTreeMap<String, String>>,
}

/// What the cloud tells of a CA certificate; the PEM itself is never returned (§2.6).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct CaCertificate {
    #[serde(default)]
    pub id: Option<String>,
    #[serde(default)]
    pub serial_number: Option<String>,
    #[serde(default)]
    pub issuer: Option<String>,
    #[serde(default)]
    pub subject: Option<String>,
    #[serde(default)]
    pub expire_time: Option<String>,
    #[serde(default)]
    pub is_updatable: Option<bool>,
}

/// The body of a creation (§2.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewCustomerGateway {
    pub name: String,
    /// `ip` or `fqdn`.
    pub id_type: String,
    pub id_value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bgp_asn: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_certificate: Option<CertificateContent>,
    /// With our ownership tag among them.
    #[serde(serialize_with = "super::tags::list::serialize")]
    pub tags: BTreeMap<String, String>,
}

/// The body of an update: nothing else can be changed (§2.4).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CustomerGatewayChange {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_certificate: Option<CertificateContent>,
}

/// A certificate to upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CertificateContent {
    /// PEM.
    pub content: String,
}
