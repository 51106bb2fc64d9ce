//! Writes the conditions that stand beside whatever else an object's status says: how its credentials are, and what is wrong
//! with its annotations.

use std::sync::Arc;

use super::context::KindContext;
use super::key::Key;
use super::kind::Kind;
use super::managed::Managed;
use super::record;
use super::registrations::Registrations;
use super::report::stamp;
use crate::api::conditions::{self, CREDENTIALS_HEALTHY, CredentialsHealth, INVALID_ANNOTATION};

/// Writes them where they are due; the object as it is then.
pub async fn write_conditions_beside<K: Kind>(
    context: &KindContext<K>,
    key: &Key,
    object: Arc<Managed<K>>,
    registrations: &Registrations,
) -> Result<Arc<Managed<K>>, kube::Error> {
    let shown = &K::object(&object.status).conditions;
    let stamp = stamp(&object);
    let invalid = object.invalid_annotations(stamp.now);
    // What is paused or deleted stays as it is, but for why it is paused.
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
        // Somebody else has written: the next pass does this.
        Err(kube::Error::Api(status)) if status.code == 409 => return Ok(object),
        Err(error) => return Err(error),
    };
    context.memory.wrote(key, &written);
    if let Some((CredentialsHealth::Fails(verdict), true)) = &credentials {
        reporter
            .warning(&*written, verdict.reason.as_str(), &verdict.message)
            .await;
    }
    if let (true, Some(problem)) = (is_newly_invalid, &invalid) {
        reporter.warning(&*written, "InvalidAnnotation", problem).await;
    }
    Ok(written)
}
