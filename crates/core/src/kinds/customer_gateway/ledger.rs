//! What status records.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use vpn_cloud::CloudError;
use vpn_cloud::limits::clock::whole_seconds;
use vpn_cloud::resources::customer_gateways::{CertificateContent, CustomerGateway};
use vpn_cloud::text::one_line;
use vpn_cloud::values::time;

use super::{GatewayChange, Gateways, wanted_tags};
use crate::api::CustomerGatewayStatus;
use crate::api::customer_gateway::CertificateStatus;
use crate::kind::{Ledger, RecordContext, Refused};
use crate::owner_tag::hex_sha256;

/// Maximum length of a text that is only shown.
const LONGEST_SHOWN: usize = 1024;

/// As many as a spec can name.
const MAX_MANAGED_TAGS: usize = 19;

impl Ledger for Gateways {
    fn created(status: &mut Self::Status, new: &Self::New, remote: &Self::Remote, record: &RecordContext<'_>) {
        if let Some(certificate) = &new.ca_certificate {
            remember_certificate(status, certificate, Some(remote));
        }
        remember_tags(status, &new.tags, &record.policy.owner_tag_key);
    }

    fn confirm(
        status: &mut Self::Status,
        spec: Option<&Self::Spec>,
        _: Option<&Self::Dereferenced>,
        remote: &Self::Remote,
    ) {
        // Where drift is only reported, tags of the spec may be missing, and tags that it dropped may still exist.
        let wanted = spec.and_then(wanted_tags).unwrap_or_default();
        let has = remote.tags.clone().unwrap_or_default();
        let is_put = |key: &String| wanted.contains_key(key) && wanted.get(key) == has.get(key);
        let earlier = std::mem::take(&mut status.managed_tags).into_iter();
        let kept = earlier.filter(|key| !is_put(key) && (has.contains_key(key) || wanted.contains_key(key)));
        let put = wanted.keys().filter(|key| is_put(key)).cloned();
        status.managed_tags = put.chain(kept).take(MAX_MANAGED_TAGS).collect();
        let recorded = status.ca_certificate.take().unwrap_or_default();
        status.ca_certificate = remote.ca_certificate.as_ref().map(|reported| CertificateStatus {
            // Another id means another certificate than the one that was sent. Where drift is only reported, it must
            // not count as ours from now on.
            content_sha256: match (&recorded.id, &reported.id) {
                (Some(ours), Some(its)) if ours != its => None,
                _ => recorded.content_sha256,
            },
            id: reported.id.clone(),
            // The author of the certificate chose these texts.
            issuer: reported.issuer.as_deref().map(shown),
            subject: reported.subject.as_deref().map(shown),
            expires_at: reported
                .expire_time
                .as_deref()
                .and_then(|text| time::parse(text).ok())
                .map(|at| Time(whole_seconds(at))),
        });
    }

    fn changed(
        status: &mut Self::Status,
        change: &Self::Change,
        remote: Option<&Self::Remote>,
        record: &RecordContext<'_>,
    ) {
        match change {
            GatewayChange::Update(update) => {
                if let Some(certificate) = &update.ca_certificate {
                    remember_certificate(status, certificate, remote);
                }
            }
            GatewayChange::AddTags(added) => remember_tags(status, added, &record.policy.owner_tag_key),
            GatewayChange::RemoveTags(removed) => status.managed_tags.retain(|key| !removed.contains_key(key)),
        }
    }

    fn refused(_: &mut Self::Status, _: &Self::Change, _: &CloudError, _: &RecordContext<'_>) -> Refused {
        Refused::AsReported
    }
}

pub(super) fn remember_certificate(
    status: &mut CustomerGatewayStatus,
    certificate: &CertificateContent,
    remote: Option<&CustomerGateway>,
) {
    let reported = remote.and_then(|remote| remote.ca_certificate.as_ref());
    let recorded = status.ca_certificate.get_or_insert_default();
    recorded.id = reported.and_then(|reported| reported.id.clone());
    recorded.content_sha256 = Some(hex_sha256(&certificate.content));
}

/// Records tags that the operator added: it may remove them even if the spec changes before they are confirmed.
fn remember_tags(status: &mut CustomerGatewayStatus, put: &BTreeMap<String, String>, owner_tag_key: &str) {
    let earlier = std::mem::take(&mut status.managed_tags);
    let earlier = earlier.into_iter().filter(|key| !put.contains_key(key));
    let new = put.keys().filter(|key| *key != owner_tag_key).cloned();
    status.managed_tags = new.chain(earlier).take(MAX_MANAGED_TAGS).collect();
}

pub(super) fn shown(foreign: &str) -> String {
    one_line(foreign, LONGEST_SHOWN)
}
