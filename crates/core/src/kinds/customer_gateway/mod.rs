//! The kind of customer gateways: desired state from a spec, differences from the cloud, and correcting calls.

mod compare;
mod ledger;
mod ownership;
mod shape;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use vpn_cloud::resources::customer_gateways::{CustomerGateway, CustomerGatewayUpdate};

use crate::api::customer_gateway::IdType;
use crate::api::{CustomerGatewaySpec, CustomerGatewayStatus};
use crate::cache::Remote;
use crate::terms::secret::LONGEST_VALUE;

/// Tags with this prefix belong to the cloud itself.
pub(super) const SYSTEM_TAG_PREFIX: &str = "_sys_";

/// The kind of customer gateways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gateways {}

/// What the spec refers to: the certificate's PEM text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayDereferenced {
    /// The PEM text; `None` if the spec names no Secret.
    pub certificate: Option<String>,
}

/// A call that changes a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GatewayChange {
    /// Changes the name or the certificate.
    Update(CustomerGatewayUpdate),
    /// Adds these tags.
    AddTags(BTreeMap<String, String>),
    /// Removes these tags.
    RemoveTags(BTreeMap<String, String>),
}

/// An identifier in a form that is equal for equal ones: the case of domain names does not count.
fn folded_identifier(identifier: &str) -> String {
    identifier.to_ascii_lowercase()
}

impl Remote for CustomerGateway {
    const TAGGED: bool = true;
    const IDENTIFIED: bool = true;

    fn id(&self) -> &str {
        &self.id
    }

    fn created(&self) -> Option<&str> {
        self.created_at.as_deref()
    }

    fn identifier(&self) -> Option<String> {
        self.id_value.as_deref().map(folded_identifier)
    }

    fn tags(&self) -> Option<&BTreeMap<String, String>> {
        self.tags.as_ref()
    }

    fn set_tags(&mut self, tags: Option<BTreeMap<String, String>>) {
        self.tags = tags;
    }

    fn complete_from(&mut self, earlier: &Self) {
        // A list item may omit fields. The earlier values of immutable ones are still valid.
        self.id_type = self.id_type.take().or_else(|| earlier.id_type.clone());
        self.id_value = self.id_value.take().or_else(|| earlier.id_value.clone());
        self.bgp_asn = self.bgp_asn.or(earlier.bgp_asn);
        self.created_at = self.created_at.take().or_else(|| earlier.created_at.clone());
        self.updated_at = self.updated_at.take().or_else(|| earlier.updated_at.clone());
        self.name = self.name.take().or_else(|| earlier.name.clone());
        self.ca_certificate = self.ca_certificate.take().or_else(|| earlier.ca_certificate.clone());
    }
}

pub(super) struct TagDifference {
    add: BTreeMap<String, String>,
    remove: BTreeMap<String, String>,
}

impl TagDifference {
    /// Changes only tags that the spec names, or that an earlier spec added. Tags of others stay.
    fn of(
        spec: &CustomerGatewaySpec,
        status: &CustomerGatewayStatus,
        remote: &CustomerGateway,
        owner_tag_key: &str,
        overwrites_tags: bool,
    ) -> Option<Self> {
        let has = remote.tags.as_ref()?;
        let wanted = wanted_tags(spec).unwrap_or_default();
        let is_ours = |key: &String| key != owner_tag_key && !key.starts_with(SYSTEM_TAG_PREFIX);
        let is_managed = |key: &String| is_ours(key) && (wanted.contains_key(key) || status.managed_tags.contains(key));
        let add: BTreeMap<_, _> = wanted
            .iter()
            .filter(|(key, value)| has.get(*key) != Some(*value))
            .map(own)
            .collect();
        let surplus = has.iter().filter(|(key, _)| {
            let in_the_way = !overwrites_tags && add.contains_key(*key);
            is_managed(key) && (!wanted.contains_key(*key) || in_the_way)
        });
        let remove: BTreeMap<_, _> = surplus.map(own).collect();
        (!add.is_empty() || !remove.is_empty()).then_some(Self { add, remove })
    }
}

/// Returns the certificates of a Secret, or what is wrong with it and what to do.
pub fn certificate(content: Vec<u8>) -> Result<String, &'static str> {
    let is_long = content.len() > LONGEST_VALUE;
    match String::from_utf8(content) {
        _ if is_long => Err("holds more than 64 KiB: put only the CA certificate there"),
        // It would be sent to the cloud, which might quote it in its response.
        Ok(text) if text.contains("PRIVATE KEY-----") => {
            Err("holds a private key, which is not sent anywhere: put only the CA certificate there")
        }
        Ok(text) if text.contains("-----BEGIN CERTIFICATE-----") => Ok(text),
        _ => Err("holds no PEM certificate (-----BEGIN CERTIFICATE-----): put one there"),
    }
}

/// An omitted type means IP, on creation.
pub(super) fn id_type(spec: &CustomerGatewaySpec) -> IdType {
    spec.id_type.unwrap_or(IdType::Ip)
}

pub(super) fn wanted_tags(spec: &CustomerGatewaySpec) -> Option<BTreeMap<String, String>> {
    let tags = spec.tags.as_ref()?;
    Some(tags.iter().map(|(key, value)| (key.clone(), value.0.clone())).collect())
}

pub(super) fn own((key, value): (&String, &String)) -> (String, String) {
    (key.clone(), value.clone())
}
