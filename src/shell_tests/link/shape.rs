//! Types, names and places.

use jiff::Timestamp;
use vpn_cloud::resources::customer_gateways::{CustomerGateway, NewCustomerGateway};
use vpn_core::api::ObjectStatus;
use vpn_core::api::conditions::Reason;
use vpn_core::kind::Shape;
use vpn_core::kinds::customer_gateway::{GatewayChange, Gateways};
use vpn_core::terms::dereferenced::SecretRef;
use vpn_core::terms::policy::Policy;
use vpn_core::terms::reference::{Reference, ReferenceTarget};

use super::{Link, LinkDereferenced, LinkSpec, LinkStatus, Links, PEER, STATE};

impl Shape for Links {
    type Resource = Link;

    type Spec = LinkSpec;

    type Status = LinkStatus;

    type Remote = CustomerGateway;

    type Dereferenced = LinkDereferenced;

    type New = NewCustomerGateway;

    type Change = GatewayChange;

    type Parent = ();

    const KIND: &'static str = "Link";

    const NOUN: &'static str = "link";

    const PLACE: &'static str = "in the cloud project";

    const UNIQUE_NAMES: bool = false;

    const LOSS_RECORD: &'static str = "status.lostCreatedAt";

    fn object(status: &Self::Status) -> &ObjectStatus {
        &status.object
    }

    fn object_mut(status: &mut Self::Status) -> &mut ObjectStatus {
        &mut status.object
    }

    fn parent(_: Option<&Self::Spec>, _: &Self::Status) -> Option<Self::Parent> {
        Some(())
    }

    fn secret_refs(_: &Self::Spec) -> Vec<SecretRef> {
        Vec::new()
    }

    fn references(spec: &Self::Spec) -> Vec<Reference> {
        vec![Reference {
            field: "gatewayRef",
            target: ReferenceTarget::Object {
                kind: Gateways::KIND,
                name: spec.gateway_ref.name.clone(),
            },
        }]
    }

    fn recorded_reference<'a>(status: &'a Self::Status, reference: &Reference) -> Option<&'a str> {
        let recorded = status.gateway.as_ref()?;
        let is_same = matches!(&reference.target, ReferenceTarget::Object { name, .. } if *name == recorded.name);
        is_same.then_some(recorded.id.as_str())
    }

    fn problem(_: &Self::Spec, _: &Policy) -> Option<String> {
        None
    }

    fn cloud_name(_: &Self::Spec, _: &Self::Status, object_name: &str) -> String {
        object_name.to_owned()
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
        let gateway = dereferenced.gateway.clone().unwrap_or_default();
        let tags = [owner_tag, (PEER, gateway.id.as_str()), (STATE, "in progress")];
        Ok(NewCustomerGateway {
            name: name.to_owned(),
            id_type: "ip".to_owned(),
            id_value: spec.id_value.clone(),
            bgp_asn: None,
            ca_certificate: None,
            tags: tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        })
    }

    fn times(remote: &Self::Remote) -> (Option<Timestamp>, Option<Timestamp>) {
        Gateways::times(remote)
    }
}
