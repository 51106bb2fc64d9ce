//! What an object owns, claims and waits for: as a customer gateway, which it is in the cloud.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use vpn_core::api::Intent;
use vpn_core::kind::{Ownership, RecordContext};
use vpn_core::kinds::customer_gateway::Gateways;

use super::Links;

impl Ownership for Links {
    fn claimed_name(spec: Option<&Self::Spec>, name: &str) -> String {
        let address = spec.map(|spec| spec.id_value.as_str()).unwrap_or_default();
        format!("{name} {address}")
    }

    fn claimed_name_of(remote: &Self::Remote) -> Option<String> {
        Gateways::claimed_name_of(remote)
    }

    fn awaited(status: &mut Self::Status) -> Vec<&mut Time> {
        let intent = status.object.intent.as_mut();
        intent.map(|intent| &mut intent.deadline).into_iter().collect()
    }

    fn resolves_intent(intent: &Intent, remote: &Self::Remote, record: &RecordContext<'_>) -> bool {
        Gateways::resolves_intent(intent, remote, record)
    }
}
