//! Drift: differences between a spec and a resource, and their corrections.

use std::collections::BTreeMap;

use vpn_cloud::resources::customer_gateways::{CertificateContent, CustomerGateway, CustomerGatewayUpdate};

use super::{GatewayChange, Gateways, TagDifference, id_type};
use crate::api::customer_gateway::IdType;
use crate::api::{CustomerGatewaySpec, CustomerGatewayStatus};
use crate::kind::{Compare, Correction, DesiredState, Difference, Immutable};
use crate::kinds::customer_gateway::folded_identifier;
use crate::owner_tag::hex_sha256;

impl Compare for Gateways {
    fn is_candidate(spec: &Self::Spec, name: &str, remote: &Self::Remote) -> bool {
        remote.name.as_deref() == Some(name) && has_identifier(spec, remote)
    }

    fn identifier(spec: &Self::Spec) -> Option<String> {
        spec.id_value.as_deref().map(folded_identifier)
    }

    fn is_same_peer(spec: &Self::Spec, remote: &Self::Remote) -> bool {
        // An ASN that the spec omits matches any; a list may omit it, too.
        let is_asked = |asn: i64| spec.bgp_asn.is_none_or(|wanted| wanted == asn);
        let wanted_type = id_type(spec).wire();
        has_identifier(spec, remote)
            && remote.bgp_asn.is_none_or(is_asked)
            && remote
                .id_type
                .as_deref()
                .is_none_or(|reported| reported.eq_ignore_ascii_case(wanted_type))
    }

    fn is_duplicate(one: &Self::Remote, other: &Self::Remote) -> bool {
        let same_identifier = match (&one.id_value, &other.id_value) {
            (Some(one), Some(other)) => is_same_identifier(one, other),
            (one, other) => one == other,
        };
        same_identifier && one.bgp_asn == other.bgp_asn
    }

    fn is_identified(remote: &Self::Remote) -> bool {
        remote.id_value.is_some() && remote.bgp_asn.is_some()
    }

    fn immutable_difference(spec: &Self::Spec, remote: &Self::Remote, full: bool) -> Immutable {
        let differs = |field: &'static str, wanted: &str, has: &str| {
            let id = &remote.id;
            // Only what admission still permits: bgpASN may be unset, the others stay once they are set.
            let way_out = match field {
                "bgpASN" => "omit bgpASN".to_owned(),
                _ => format!(
                    "delete this object (with deletionPolicy: Retain, to keep the cloud's) and recreate it with \
                     externalID: {id} and {field}: {has}"
                ),
            };
            let message = format!(
                "{field}: the customer gateway {id} has {has} in the cloud, not {wanted}, and it is immutable there: \
                 {way_out}; for a gateway with {wanted}, create another CustomerGateway beside this one, move the VPN \
                 connection to it, then delete this one"
            );
            Immutable::Differs { field, message }
        };
        let wanted_type = spec.id_type.map(IdType::wire);
        if let Some(wanted) = wanted_type {
            match remote.id_type.as_deref() {
                Some(has) if !has.eq_ignore_ascii_case(wanted) => {
                    return differs("idType", &wanted.to_uppercase(), &has.to_uppercase());
                }
                None if !full => return Immutable::Unknown,
                _ => {}
            }
        }
        if let Some(wanted) = &spec.id_value {
            match &remote.id_value {
                Some(has) if !is_same_identifier(has, wanted) => return differs("idValue", wanted, has),
                None if !full => return Immutable::Unknown,
                _ => {}
            }
        }
        if let Some(wanted) = spec.bgp_asn {
            match remote.bgp_asn {
                Some(has) if has != wanted => return differs("bgpASN", &wanted.to_string(), &has.to_string()),
                None if !full => return Immutable::Unknown,
                None => return differs("bgpASN", &wanted.to_string(), "none"),
                _ => {}
            }
        }
        Immutable::Same
    }

    fn difference(wanted: &DesiredState<'_, Self>, remote: &Self::Remote) -> Option<Difference<Self::Change>> {
        let DesiredState {
            spec,
            status,
            dereferenced,
            ..
        } = wanted;
        let mut fields = Vec::new();
        let mut update = CustomerGatewayUpdate::default();
        // A name that is missing in a response is no difference: every gateway has a name.
        if let (Some(name), Some(has)) = (&spec.name, &remote.name)
            && has != name
        {
            fields.push("name".to_owned());
            update.name = Some(name.clone());
        }
        if let Some(content) = &dereferenced.certificate
            && certificate_differs(status, content, remote)
        {
            fields.push("caCertificateSecretRef".to_owned());
            update.ca_certificate = Some(CertificateContent {
                content: content.clone(),
            });
        }
        let tags = TagDifference::of(
            spec,
            status,
            remote,
            &wanted.policy.owner_tag_key,
            wanted.overwrites_tags,
        );
        if tags.is_some() {
            fields.push("tags".to_owned());
        }
        let call = if update == CustomerGatewayUpdate::default() {
            let tags = tags?;
            if tags.remove.is_empty() {
                GatewayChange::AddTags(tags.add)
            } else {
                GatewayChange::RemoveTags(tags.remove)
            }
        } else {
            GatewayChange::Update(update)
        };
        Some(Difference {
            fields,
            correction: Correction::Call(call),
        })
    }

    fn needs_whole(change: &Self::Change) -> bool {
        // A list may omit the certificate, which would look like its removal.
        matches!(change, GatewayChange::Update(update) if update.ca_certificate.is_some())
    }

    fn tag(tags: BTreeMap<String, String>) -> Option<Self::Change> {
        Some(GatewayChange::AddTags(tags))
    }

    fn untag(tags: BTreeMap<String, String>) -> Option<Self::Change> {
        Some(GatewayChange::RemoveTags(tags))
    }

    fn apply_change(change: &Self::Change, remote: &mut Self::Remote) {
        // Tags that are not known stay unknown.
        let Some(tags) = &mut remote.tags else { return };
        match change {
            GatewayChange::Update(_) => {}
            GatewayChange::AddTags(added) => tags.extend(added.clone()),
            GatewayChange::RemoveTags(removed) => tags.retain(|key, _| !removed.contains_key(key)),
        }
    }

    fn overwrites(change: &Self::Change) -> bool {
        matches!(change, GatewayChange::AddTags(_))
    }
}

/// Domain names are case-insensitive, and addresses have no letters.
fn is_same_identifier(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

/// Whether a gateway has the identifier that the spec names, if it names one.
fn has_identifier(spec: &CustomerGatewaySpec, remote: &CustomerGateway) -> bool {
    let has = remote.id_value.as_deref();
    let wanted = spec.id_value.as_deref();
    wanted.is_none_or(|wanted| has.is_none_or(|has| is_same_identifier(has, wanted)))
}

/// The cloud never returns a certificate: the digest identifies the one that was sent last. Another id shows that
/// someone else replaced it.
pub(super) fn certificate_differs(status: &CustomerGatewayStatus, content: &str, remote: &CustomerGateway) -> bool {
    let Some(recorded) = &status.ca_certificate else {
        return true;
    };
    let replaced = match (&remote.ca_certificate, &recorded.id) {
        (Some(has), Some(id)) => has.id.as_ref() != Some(id),
        (None, _) => true,
        (Some(_), None) => false,
    };
    replaced || recorded.content_sha256.as_deref() != Some(hex_sha256(content).as_str())
}
