//! Writes the conditions that are independent of the rest of the status: credentials health and invalid annotations.

use std::sync::Arc;

use vpn_core::api::conditions;
use vpn_core::api::conditions::{CREDENTIALS_HEALTHY, CredentialsHealth, INVALID_ANNOTATION};
use vpn_core::kind::Kind;
use vpn_core::ledger::record;
use vpn_core::object::Object;
use vpn_core::terms::key::ObjectKey;

use crate::reconcile::k8s::report::stamp;
use crate::reconcile::pipeline::context::KindContext;
use crate::reconcile::state::registrations::Registrations;

/// Writes the conditions that have changed, and returns the resulting object.
pub(crate) async fn write_conditions_beside<K: Kind>(
    context: &KindContext<K>,
    key: &ObjectKey,
    object: Arc<Object<K>>,
    registrations: &Registrations,
) -> Result<Arc<Object<K>>, kube::Error> {
    let shown = &K::object(&object.status).conditions;
    let stamp = stamp(&object);
    let invalid = object.invalid_annotations(stamp.now);
    // A paused or deleted object keeps its conditions, except for an invalid annotation, which may be why it is paused.
    let credentials = if object.is_paused() || object.deleting_since().is_some() {
        None
    } else {
        let shown = conditions::find(shown, CREDENTIALS_HEALTHY).map(|shown| shown.status.as_str());
        registrations.credential.to_show(shown)
    };
    let before = conditions::find(shown, INVALID_ANNOTATION).map(|shown| shown.message.as_str());
    let is_newly_invalid = invalid.is_some() && invalid.as_deref() != before;
    if credentials.is_none() && invalid.as_deref() == before {
        return Ok(object);
    }
    let reporter = &context.shared.reporter;
    let change = |status: &mut K::Status| {
        if let Some((health, _)) = &credentials {
            record::credentials::<K>(status, health, stamp);
        }
        record::annotations::<K>(status, invalid.as_deref(), stamp);
    };
    let written = match reporter.write(&*object, change).await {
        Ok(Some(written)) => Arc::new(written),
        Ok(None) => return Ok(object),
        // Another client has written: the next reconcile does this.
        Err(kube::Error::Api(status)) if status.code == 409 => return Ok(object),
        Err(error) => return Err(error),
    };
    context.states.wrote(key, &written);
    if let Some((health, _)) = &credentials {
        registrations
            .credential
            .shows(matches!(health, CredentialsHealth::Fails(_)));
    }
    if let Some((CredentialsHealth::Fails(condition), true)) = &credentials {
        reporter
            .warning(&*written, condition.reason.as_str(), &condition.message)
            .await;
    }
    if let (true, Some(problem)) = (is_newly_invalid, &invalid) {
        reporter.warning(&*written, "InvalidAnnotation", problem).await;
    }
    Ok(written)
}
