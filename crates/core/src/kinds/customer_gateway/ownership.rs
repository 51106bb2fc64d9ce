//! What an object owns, claims and waits for.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Gateways;
use crate::api::Intent;
use crate::kind::{Ownership, RecordContext};
use crate::terms::owner::owner_of;

impl Ownership for Gateways {
    fn claimed_name(spec: Option<&Self::Spec>, name: &str) -> String {
        let identifier = spec.and_then(|spec| spec.id_value.as_deref()).unwrap_or_default();
        named_and_identified(name, identifier)
    }

    fn claimed_name_of(remote: &Self::Remote) -> Option<String> {
        let (name, identifier) = (remote.name.as_deref()?, remote.id_value.as_deref()?);
        Some(named_and_identified(name, identifier))
    }

    fn awaited(status: &mut Self::Status) -> Vec<&mut Time> {
        let intent = status.object.intent.as_mut();
        intent.map(|intent| &mut intent.deadline).into_iter().collect()
    }

    fn resolves_intent(intent: &Intent, remote: &Self::Remote, record: &RecordContext<'_>) -> bool {
        let owner = owner_of(remote, &record.policy.owner_tag_key);
        let is_marked = owner.is_some_and(|owner| owner.uid == record.uid);
        is_marked && record.is_in_window::<Self>(intent, remote)
    }
}

fn named_and_identified(name: &str, identifier: &str) -> String {
    format!("{name} {}", identifier.to_ascii_lowercase())
}
