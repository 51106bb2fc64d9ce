//! What status records: the gateway that the link refers to, once it does.

use vpn_cloud::CloudError;
use vpn_core::kind::{Ledger, RecordContext, Refused};

use super::{Links, PEER};

impl Ledger for Links {
    fn created(_: &mut Self::Status, _: &Self::New, _: &Self::Remote, _: &RecordContext<'_>) {}

    fn confirm(
        status: &mut Self::Status,
        _: Option<&Self::Spec>,
        dereferenced: Option<&Self::Dereferenced>,
        remote: &Self::Remote,
    ) {
        let peer = remote.tags.as_ref().and_then(|tags| tags.get(PEER));
        let gateway = dereferenced.and_then(|dereferenced| dereferenced.gateway.clone());
        if let Some(gateway) = gateway.filter(|gateway| peer == Some(&gateway.id)) {
            status.gateway = Some(gateway);
        }
    }

    fn changed(_: &mut Self::Status, _: &Self::Change, _: Option<&Self::Remote>, _: &RecordContext<'_>) {}

    fn refused(_: &mut Self::Status, _: &Self::Change, _: &CloudError, _: &RecordContext<'_>) -> Refused {
        Refused::AsReported
    }
}
