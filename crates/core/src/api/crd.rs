//! The `CustomResourceDefinition`s: the schemas of the kinds, with the admission rules added.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrBool,
    ValidationRule,
};
use kube::CustomResourceExt;
use serde_json::json;

use crate::api::customer_gateway::CustomerGateway;
use crate::api::lifecycle::Admission;
use crate::api::vpn_user::VpnUser;
use crate::api::{customer_gateway, lifecycle, vpn_user};

/// `observedGeneration` before the operator has seen an object. Without it, kstatus reports a new object without status
/// as current, and tools that wait for it continue before the cloud has the resource.
const NOT_YET_OBSERVED: i64 = -1;

/// A kind's schema and admission rules do not match: a bug in this crate, which its tests find.
#[derive(Debug, thiserror::Error)]
pub enum CrdError {
    /// A rule names a field that the schema does not have.
    #[error("cannot add an admission rule to the CRD {crd}: it has no field {path}")]
    NoSuchField {
        /// The name of the CRD.
        crd: String,
        /// The dotted path of the field from the root.
        path: String,
    },
    /// A rule cannot be converted to the type of the schema.
    #[error("cannot serialize an admission rule as JSON")]
    Json(#[from] serde_json::Error),
}

/// The CRDs that `vpn-operator crd` prints. Add new kinds here.
pub fn crds() -> Result<Vec<CustomResourceDefinition>, CrdError> {
    let kinds = [
        (
            CustomerGateway::crd(),
            customer_gateway::admissions(),
            customer_gateway::columns(),
        ),
        (VpnUser::crd(), vpn_user::admissions(), vpn_user::columns()),
    ];
    kinds
        .into_iter()
        .map(|(crd, admissions, columns)| build(crd, &admissions, &columns))
        .collect()
}

fn build(
    mut crd: CustomResourceDefinition,
    own: &[Admission],
    columns: &[CustomResourceColumnDefinition],
) -> Result<CustomResourceDefinition, CrdError> {
    let name = crd.metadata.name.clone().unwrap_or_default();
    for version in &mut crd.spec.versions {
        version.additional_printer_columns = Some(columns.to_vec());
        let Some(root) = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
        else {
            continue;
        };
        tidy(root);
        for admission in own.iter().chain(&lifecycle::admissions()) {
            let no_such_field = || CrdError::NoSuchField {
                crd: name.clone(),
                path: admission.path.to_owned(),
            };
            let schema = at(root, admission.path).ok_or_else(no_such_field)?;
            let mut rule: ValidationRule = serde_json::from_value(serde_json::to_value(&admission.rule)?)?;
            rule.message_expression.clone_from(&admission.message_expression);
            schema.x_kubernetes_validations.get_or_insert_with(Vec::new).push(rule);
        }
        if let Some(status) = at(root, "status") {
            status.default = Some(JSON(json!({"observedGeneration": NOT_YET_OBSERVED})));
        }
        for key in ["spec", "status"] {
            if let Some(conditions) = at(root, &format!("{key}.conditions")) {
                conditions.x_kubernetes_list_type = Some("map".to_owned());
                conditions.x_kubernetes_list_map_keys = Some(vec!["type".to_owned()]);
            }
        }
    }
    Ok(crd)
}

fn at<'a>(root: &'a mut JSONSchemaProps, path: &str) -> Option<&'a mut JSONSchemaProps> {
    path.split('.')
        .filter(|name| !name.is_empty())
        .try_fold(root, |schema, name| schema.properties.as_mut()?.get_mut(name))
}

/// Removes what serves Rust and not users: `nullable` on optional fields, which would admit `null` as a value; `null`
/// in the list of allowed values; titles; and formats that Kubernetes does not know.
fn tidy(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.title = None;
    if let Some(values) = &mut schema.enum_ {
        values.retain(|value| !value.0.is_null());
    }
    if let Some(description) = &mut schema.description {
        *description = description.replace('\n', " ");
    }
    if matches!(schema.format.as_deref(), Some(format) if !matches!(format, "int32" | "int64" | "date-time")) {
        schema.format = None;
    }
    for property in schema
        .properties
        .iter_mut()
        .flat_map(|properties| properties.values_mut())
    {
        tidy(property);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        tidy(values);
    }
    if let Some(k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaPropsOrArray::Schema(
        items,
    )) = &mut schema.items
    {
        tidy(items);
    }
}
