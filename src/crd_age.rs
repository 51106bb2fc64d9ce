//! Says that a CRD in the cluster is older than this program: what it does not know is lost as soon as it is written, and
//! not everything of that shows before something is sent to the cloud.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::{Api, Client, Resource as _};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::web::Readiness;

/// Between two looks at CRDs that are too old: somebody may bring them up to date.
const PAUSE: Duration = Duration::from_secs(60);
/// How long the apiserver may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Tells in the log and on `/readyz` that the CRD in the cluster is older than `own`, until it is not, or `stopped`.
pub async fn tell(client: Client, own: CustomResourceDefinition, readiness: Readiness, stopped: CancellationToken) {
    let note = format!("age of crd {}", own.spec.names.plural);
    let mut told = false;
    loop {
        match look(&client, &own).await {
            Some(unknown) if unknown.is_empty() => break,
            Some(unknown) if !told => {
                let line = format!(
                    "the CRD {} is older than this operator and does not keep {}; update it with: vpn-operator crd | kubectl \
                     apply --server-side -f -  (or helm upgrade)",
                    name(&own),
                    unknown.join(", ")
                );
                readiness.note(&note, line.as_str());
                warn!("{line}");
                told = true;
            }
            None if !told => return,
            // What was told stands until it is seen to be otherwise: an apiserver that is away proves nothing.
            Some(_) | None => {}
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = stopped.cancelled() => return,
        }
    }
    if told {
        info!("the CRD {} is up to date now", name(&own));
        readiness.note(note, "up to date");
    }
}

/// What the CRD in the cluster would lose; nothing is known if it cannot be read.
async fn look(client: &Client, own: &CustomResourceDefinition) -> Option<Vec<String>> {
    let crds = Api::<CustomResourceDefinition>::all(client.clone());
    let Ok(Ok(found)) = timeout(LIMIT, crds.get(name(own))).await else {
        // A right that is missing is told where it is needed.
        debug!("the CRD {} cannot be read to see how old it is", name(own));
        return None;
    };
    Some(unknown_fields(own, &found))
}

fn name(crd: &CustomResourceDefinition) -> &str {
    crd.meta().name.as_deref().unwrap_or_default()
}

/// Fields of the status that `own` has and `found` has not.
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
    use crate::api;

    /// Our CRD of a kind, and the same without a field of its status.
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
    fn the_same_crd_knows_everything() {
        for crd in api::crds().unwrap() {
            assert_eq!(unknown_fields(&crd, &crd), Vec::<String>::new());
        }
    }

    #[test]
    fn each_field_that_is_missing_is_named_however_deep_and_only_once() {
        for (pointer, field, told) in [
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
            assert_eq!(unknown_fields(&own, &older), [told]);
            assert_eq!(
                unknown_fields(&older, &own),
                Vec::<String>::new(),
                "a newer CRD loses nothing"
            );
        }
    }

    #[test]
    fn a_crd_without_this_version_knows_nothing() {
        let crds = api::crds().unwrap();
        let mut other: Value = serde_json::to_value(&crds[0]).unwrap();
        other["spec"]["versions"][0]["name"] = json!("v1");
        let other: CustomResourceDefinition = serde_json::from_value(other).unwrap();
        assert_eq!(unknown_fields(&crds[0], &other), ["status"]);
    }
}
