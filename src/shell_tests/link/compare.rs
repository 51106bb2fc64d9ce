//! Differences between a spec and a resource, and the state of the resource.

use std::collections::BTreeMap;

use vpn_core::kind::{Compare, Correction, DesiredState, Difference, Immutable};
use vpn_core::kinds::customer_gateway::{GatewayChange, Gateways};
use vpn_core::terms::health::Health;

use super::{Links, PEER, STATE};

impl Compare for Links {
    fn is_candidate(spec: &Self::Spec, name: &str, remote: &Self::Remote) -> bool {
        remote.name.as_deref() == Some(name) && remote.id_value.as_ref() == Some(&spec.id_value)
    }

    fn is_identified(remote: &Self::Remote) -> bool {
        remote.id_value.is_some()
    }

    fn immutable_difference(_: &Self::Spec, _: &Self::Remote, _: bool) -> Immutable {
        Immutable::Same
    }

    fn difference(wanted: &DesiredState<'_, Self>, remote: &Self::Remote) -> Option<Difference<Self::Change>> {
        let gateway = wanted.dereferenced.gateway.as_ref()?;
        let has = remote.tags.as_ref()?.get(PEER);
        (has != Some(&gateway.id)).then(|| Difference {
            fields: vec!["gatewayRef".to_owned()],
            correction: Correction::Call(GatewayChange::AddTags([(PEER.to_owned(), gateway.id.clone())].into())),
        })
    }

    fn needs_whole(_: &Self::Change) -> bool {
        false
    }

    fn tag(tags: BTreeMap<String, String>) -> Option<Self::Change> {
        Gateways::tag(tags)
    }

    fn untag(tags: BTreeMap<String, String>) -> Option<Self::Change> {
        Gateways::untag(tags)
    }

    fn health(remote: &Self::Remote) -> Health {
        let Some(tags) = &remote.tags else {
            return Health::Unknown;
        };
        match tags.get(STATE).map(String::as_str) {
            Some("in progress") => Health::InProgress,
            Some("degraded") => Health::Degraded("one of two addresses answers".to_owned()),
            Some("failed") => Health::Failed("no address is left".to_owned()),
            _ => Health::Ready,
        }
    }

    fn apply_change(change: &Self::Change, remote: &mut Self::Remote) {
        Gateways::apply_change(change, remote);
    }
}
