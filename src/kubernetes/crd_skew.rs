//! Detects a CRD in the cluster that is older than this program. The apiserver prunes status fields that the CRD lacks
//! as soon as they are written, and not every loss is visible before a request is sent to the cloud.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::{Api, Client, Resource as _};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::metrics::Metrics;
use crate::web::{Readiness, ReadinessCheck};

/// The command that updates the CRDs of a cluster, for messages.
pub(crate) const UPDATE: &str = "vpn-operator crd | kubectl apply --server-side -f -  (or helm upgrade)";

/// Time between two checks: a CRD may be updated or rolled back while this runs.
const PAUSE: Duration = Duration::from_secs(30);

/// How long the apiserver may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The status fields that one CRD in the cluster prunes, as far as it could be read. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct PrunedFields(Arc<Mutex<Vec<String>>>);

impl PrunedFields {
    /// Returns those of `fields` that are pruned.
    pub(crate) fn among(&self, fields: &[&'static str]) -> Vec<&'static str> {
        let pruned_fields = self.lock();
        let is_lost = |field: &&&str| pruned_fields.iter().any(|lost| lost == *field);
        fields.iter().filter(is_lost).copied().collect()
    }

    /// Whether no field is pruned, as far as is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        // No code panics while it holds the lock; the list would be complete in any case.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Periodically checks the age of the CRD of one kind. Reports it in the log, on `/readyz` and in a metric.
pub(crate) struct CrdSkew {
    pub kind: &'static str,
    /// The CRD of this program.
    pub own: CustomResourceDefinition,
    pub client: Client,
    pub readiness: Readiness,
    /// Set to ok when the CRD is found to keep every field.
    pub check: ReadinessCheck,
    pub metrics: Metrics,
    pub found: SkewFindings,
}

/// The results of the checks so far.
#[derive(Default)]
pub(crate) struct SkewFindings {
    pruned_fields: PrunedFields,
    /// The generation of the CRD that was compared last.
    generation: Option<i64>,
}

impl CrdSkew {
    /// Returns the pruned fields; each check updates them.
    pub(crate) fn pruned_fields(&self) -> PrunedFields {
        self.found.pruned_fields.clone()
    }

    /// Checks until `stopped`.
    pub(crate) async fn watch(mut self, stopped: CancellationToken) {
        loop {
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = stopped.cancelled() => return,
            }
            self.refresh().await;
        }
    }

    /// Checks once. Earlier results stay until the CRD is read again: an unavailable apiserver or a missing permission
    /// proves nothing.
    pub(crate) async fn refresh(&mut self) {
        match timeout(LIMIT, self.changed()).await {
            Ok(Ok(Some(found))) => self.compare(&found),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => debug!(crd = self.name(), %error, "the CRD cannot be read to compare it"),
            Err(_) => debug!(crd = self.name(), "the apiserver did not return the CRD in time"),
        }
    }

    /// Returns the CRD, unless it is the one that was compared last.
    async fn changed(&self) -> Result<Option<CustomResourceDefinition>, kube::Error> {
        let crds = Api::<CustomResourceDefinition>::all(self.client.clone());
        let generation = crds.get_metadata(self.name()).await?.metadata.generation;
        if generation.is_some() && generation == self.found.generation {
            return Ok(None);
        }
        crds.get(self.name()).await.map(Some)
    }

    fn compare(&mut self, found: &CustomResourceDefinition) {
        self.found.generation = found.metadata.generation;
        let unknown = unknown_fields(&self.own, found);
        self.metrics.set_crd_missing_fields(self.kind, unknown.len());
        if *self.found.pruned_fields.lock() == unknown {
            return;
        }
        let name = self.name();
        let note = format!("age of crd {}", self.own.spec.names.plural);
        if unknown.is_empty() {
            self.check.ok();
            info!("the CRD {name} is up to date now");
            self.readiness.note(note, "up to date");
        } else {
            let line = format!(
                "the CRD {name} is older than this operator, so the apiserver prunes {}; update it with: {UPDATE}",
                unknown.join(", ")
            );
            warn!("{line}");
            self.readiness.note(note, line);
        }
        *self.found.pruned_fields.lock() = unknown;
    }

    fn name(&self) -> &str {
        self.own.meta().name.as_deref().unwrap_or_default()
    }
}

/// Returns the status fields that `own` has and `found` lacks.
fn unknown_fields(own: &CustomResourceDefinition, found: &CustomResourceDefinition) -> Vec<String> {
    let mut unknown = Vec::new();
    for version in own.spec.versions.iter().filter(|version| version.storage) {
        let there = found.spec.versions.iter().find(|there| there.name == version.name);
        compare(
            version
                .schema
                .as_ref()
                .and_then(|schema| status(schema.open_api_v3_schema.as_ref())),
            there
                .and_then(|there| there.schema.as_ref())
                .and_then(|schema| status(schema.open_api_v3_schema.as_ref())),
            "status",
            &mut unknown,
        );
    }
    unknown
}

fn status(root: Option<&JSONSchemaProps>) -> Option<&JSONSchemaProps> {
    root?.properties.as_ref()?.get("status")
}

fn compare(own: Option<&JSONSchemaProps>, found: Option<&JSONSchemaProps>, path: &str, unknown: &mut Vec<String>) {
    let Some(own) = own else { return };
    let Some(found) = found else {
        unknown.push(path.to_owned());
        return;
    };
    for (name, field) in own.properties.iter().flatten() {
        let there = found.properties.as_ref().and_then(|fields| fields.get(name));
        compare(Some(field), there, &format!("{path}.{name}"), unknown);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &own.items {
        let there = match &found.items {
            Some(JSONSchemaPropsOrArray::Schema(there)) => Some(&**there),
            _ => None,
        };
        compare(Some(items), there, &format!("{path}[]"), unknown);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &own.additional_properties {
        let there = match &found.additional_properties {
            Some(JSONSchemaPropsOrBool::Schema(there)) => Some(&**there),
            _ => None,
        };
        compare(Some(values), there, &format!("{path}.*"), unknown);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use vpn_core::api;

    /// Our CRD of a kind, and the same without one status field.
    fn without(kind: &str, pointer: &str, field: &str) -> (CustomResourceDefinition, CustomResourceDefinition) {
        let crds = api::crds().unwrap();
        let own = crds.into_iter().find(|crd| crd.spec.names.kind == kind).unwrap();
        let mut older = serde_json::to_value(&own).unwrap();
        let status = "/spec/versions/0/schema/openAPIV3Schema/properties/status";
        let fields = older.pointer_mut(&format!("{status}{pointer}/properties")).unwrap();
        assert!(fields.as_object_mut().unwrap().remove(field).is_some());
        (own, serde_json::from_value(older).unwrap())
    }

    #[test]
    fn an_identical_crd_has_no_unknown_fields() {
        for crd in api::crds().unwrap() {
            assert_eq!(unknown_fields(&crd, &crd), Vec::<String>::new());
        }
    }

    #[test]
    fn each_missing_field_is_reported_once_at_any_depth() {
        for (pointer, field, reported) in [
            ("", "passwordRefused", "status.passwordRefused"),
            (
                "/properties/passwordReset",
                "afterAnother",
                "status.passwordReset.afterAnother",
            ),
            (
                "/properties/formerPasswords/items",
                "digest",
                "status.formerPasswords[].digest",
            ),
        ] {
            let (own, older) = without("VpnUser", pointer, field);
            assert_eq!(unknown_fields(&own, &older), [reported]);
            assert_eq!(
                unknown_fields(&older, &own),
                Vec::<String>::new(),
                "a newer CRD loses nothing"
            );
        }
    }

    #[test]
    fn only_requested_pruned_fields_are_returned() {
        let (own, older) = without("VpnUser", "", "passwordRefused");
        let pruned_fields = PrunedFields(Arc::new(Mutex::new(unknown_fields(&own, &older))));
        assert_eq!(
            pruned_fields.among(&["status.formerPasswords", "status.passwordRefused"]),
            ["status.passwordRefused"]
        );
        assert!(pruned_fields.among(&["status.formerPasswords"]).is_empty() && !pruned_fields.is_empty());
    }

    #[test]
    fn a_crd_without_this_version_prunes_all_status_fields() {
        let crds = api::crds().unwrap();
        let mut other: Value = serde_json::to_value(&crds[0]).unwrap();
        other["spec"]["versions"][0]["name"] = json!("v1");
        let other: CustomResourceDefinition = serde_json::from_value(other).unwrap();
        assert_eq!(unknown_fields(&crds[0], &other), ["status"]);
    }
}
