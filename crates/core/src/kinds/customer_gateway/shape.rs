//! Types, names and places.

use jiff::Timestamp;
use vpn_cloud::resources::customer_gateways::{CertificateContent, CustomerGateway, NewCustomerGateway};
use vpn_cloud::values::time;

use super::{GatewayChange, GatewayDereferenced, Gateways, id_type, wanted_tags};
use crate::api::conditions::Reason;
use crate::api::{CustomerGatewaySpec, CustomerGatewayStatus, ManagementPolicy, ObjectStatus};
use crate::kind::Shape;
use crate::terms::dereferenced::SecretRef;
use crate::terms::policy::Policy;

impl Shape for Gateways {
    type Resource = crate::api::CustomerGateway;

    type Spec = CustomerGatewaySpec;

    type Status = CustomerGatewayStatus;

    type Remote = CustomerGateway;

    type Dereferenced = GatewayDereferenced;

    type New = NewCustomerGateway;

    type Change = GatewayChange;

    /// A project has one collection of gateways.
    type Parent = ();

    const KIND: &'static str = "CustomerGateway";

    const NOUN: &'static str = "customer gateway";

    const PLACE: &'static str = "in the cloud project";

    const UNIQUE_NAMES: bool = false;

    const LOSS_RECORD: &'static str = "status.lostCreatedAt";

    fn object(status: &Self::Status) -> &ObjectStatus {
        &status.object
    }

    fn object_mut(status: &mut Self::Status) -> &mut ObjectStatus {
        &mut status.object
    }

    fn secret_refs(spec: &Self::Spec) -> Vec<SecretRef> {
        let certificate = spec.ca_certificate_secret_ref.iter();
        certificate
            .map(|secret| SecretRef {
                field: "caCertificateSecretRef",
                name: secret.name.clone(),
                key: secret.key().to_owned(),
            })
            .collect()
    }

    fn parent(_: Option<&Self::Spec>, _: &Self::Status) -> Option<Self::Parent> {
        Some(())
    }

    fn problem(spec: &Self::Spec, policy: &Policy) -> Option<String> {
        if policy.is_otc && spec.ca_certificate_secret_ref.is_some() {
            return Some("caCertificateSecretRef: Open Telekom Cloud has no CA certificates; remove it".to_owned());
        }
        // Admission requires it; an older CRD may not have required it.
        if spec.id_value.is_none() && spec.lifecycle.management() != ManagementPolicy::Observe {
            return Some("idValue is required: set it to the gateway's IPv4 address or FQDN".to_owned());
        }
        let tags = spec.tags.as_ref()?;
        tags.contains_key(&policy.owner_tag_key).then(|| {
            format!(
                "tags: the key {} belongs to the operator (--owner-tag-key); remove it",
                policy.owner_tag_key
            )
        })
    }

    fn cloud_name(spec: &Self::Spec, _: &Self::Status, object_name: &str) -> String {
        spec.name.clone().unwrap_or_else(|| object_name.to_owned())
    }

    fn remote_name(remote: &Self::Remote) -> Option<&str> {
        remote.name.as_deref()
    }

    fn new(
        spec: &Self::Spec,
        name: &str,
        dereferenced: &Self::Dereferenced,
        owner_tag: (&str, &str),
    ) -> Result<Self::New, (Reason, String)> {
        let mut tags = wanted_tags(spec).unwrap_or_default();
        tags.insert(owner_tag.0.to_owned(), owner_tag.1.to_owned());
        Ok(NewCustomerGateway {
            name: name.to_owned(),
            id_type: id_type(spec).wire().to_owned(),
            id_value: spec.id_value.clone().unwrap_or_default(),
            bgp_asn: spec.bgp_asn,
            ca_certificate: dereferenced
                .certificate
                .clone()
                .map(|content| CertificateContent { content }),
            tags,
        })
    }

    fn times(remote: &Self::Remote) -> (Option<Timestamp>, Option<Timestamp>) {
        let read = |text: &Option<String>| text.as_deref().and_then(|text| time::parse(text).ok());
        (read(&remote.created_at), read(&remote.updated_at))
    }
}
