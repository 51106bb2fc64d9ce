//! One reconciliation: its object, its deadline, and how it logs errors of the apiserver.

use tokio::time::Instant;
use vpn_core::terms::key::ObjectKey;

use crate::reconcile::pipeline::context::KindContext;
use crate::reconcile::pipeline::slots::Slot;
use crate::reconcile::provider::cloud_kind::CloudKind;

/// One reconcile, with its object and deadline.
pub(crate) struct Visit<'a, K: CloudKind> {
    pub context: &'a KindContext<K>,
    pub key: &'a ObjectKey,
    pub slot: &'a Slot,
    pub deadline: Instant,
}

/// Logs an error of the apiserver: as a warning first, then at debug level while it stays the same.
pub(crate) fn log_refusal<K: CloudKind>(context: &KindContext<K>, key: &ObjectKey, error: &kube::Error) {
    let (namespace, name) = (&key.namespace, &key.name);
    let how = refusal(error);
    let error = format!("the apiserver: {error}");
    if context.states.is_refused(key, how) {
        tracing::warn!(kind = K::KIND, namespace, name, %error, "will try again");
    } else {
        tracing::debug!(kind = K::KIND, namespace, name, %error, "will try again");
    }
}

/// A description of the error that is the same for each try; the apiserver's message may contain ports and times.
fn refusal(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} {}", status.code, status.reason),
        _ => "no answer".to_owned(),
    }
}
