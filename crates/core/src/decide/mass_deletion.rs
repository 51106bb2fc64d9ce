//! The mass-deletion guard.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::conditions::Reason;
use crate::api::{ManagementPolicy, RECREATE_APPROVED_ANNOTATION, conditions};
use crate::cache::MassDeletion;
use crate::decide::inputs::{Inputs, object};
use crate::decide::step::Step;
use crate::decide::stops::stop;
use crate::kind::Kind;

/// Once suspected, a mass deletion stays suspected for this object until recreation is approved or the object exists
/// again. Other objects have no influence on it then.
pub(crate) fn suspects_mass_deletion<K: Kind>(inputs: &Inputs<'_, K>) -> bool {
    let exempt = inputs.lifecycle.external_id.is_some()
        || inputs.lifecycle.management() != ManagementPolicy::Manage
        || !inputs.policy.mass_deletion_guard;
    !exempt
        && match &object(inputs).mass_deletion_suspected_at {
            Some(suspected_at) => !is_recreation_approved(inputs, suspected_at),
            None => inputs.observation.mass_deletion.is_some(),
        }
}

/// An approval counts if it was given after the suspicion began.
pub(crate) fn is_recreation_approved<K: Kind>(inputs: &Inputs<'_, K>, suspected_at: &Time) -> bool {
    let approved = inputs.recreation_approved_at;
    approved.is_some_and(|approved| approved >= suspected_at.0)
}

/// Precedes the time of an approval that does not count.
pub(crate) const TOO_EARLY: &str = "; the approval of ";

pub(crate) fn mass_deletion<K: Kind>(inputs: &Inputs<'_, K>) -> Step<K> {
    let ready = conditions::find(&object(inputs).conditions, conditions::READY);
    let reported = ready.filter(|ready| ready.reason == Reason::MassDeletionSuspected.as_str());
    let too_early = match inputs.recreation_approved_at {
        Some(approved) => {
            format!("{TOO_EARLY}{approved} was given before that, by its date: set it again to the present time")
        }
        None => String::new(),
    };
    if let Some(reported) = reported {
        // Keeps the count from the start of the suspicion: a changing count would change the message each time.
        let began = reported.message.split(TOO_EARLY).next().unwrap_or_default();
        return stop(Reason::MassDeletionSuspected, format!("{began}{too_early}"));
    }
    let how_many = match inputs.observation.mass_deletion {
        Some(MassDeletion { missing, of }) => format!("{missing} of {of}"),
        None => "many".to_owned(),
    };
    let message = format!(
        "{how_many} resources of these credentials were missing in the cloud at once, this one among them; automatic \
         recreation is suspended: check the project; to recreate this one: kubectl annotate {} {} -n {} \
         {RECREATE_APPROVED_ANNOTATION}=$(date -u +%FT%TZ) --overwrite{too_early}",
        <K::Resource as kube::CustomResourceExt>::crd_name(),
        inputs.name,
        inputs.namespace
    );
    stop(Reason::MassDeletionSuspected, message)
}
