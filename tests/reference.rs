//! `docs/reference.md` matches the CRDs: fields, types, rules with their messages.

use std::fmt::Write as _;
use std::path::Path;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, CustomResourceDefinitionVersion, JSONSchemaProps,
    JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use vpn_core::api::{FINALIZER, PAUSED_ANNOTATION, RECONCILE_REQUESTED_ANNOTATION, RECREATE_APPROVED_ANNOTATION, crds};

const INTRODUCTION: &str = "\
# Reference of the API

`kubectl explain cgw.spec` and `kubectl explain vpnu.spec` show the same texts. `kubectl apply` rejects an object that
breaks a rule, with the message of the rule. Reasons of conditions: [conditions.md](conditions.md).

This page is generated from the CRDs: `UPDATE_DOCS=1 cargo test --test reference`.
";

/// `UPDATE_DOCS=1 cargo test --test reference` rewrites it.
#[test]
fn the_reference_documentation_matches_the_crds() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference.md");
    let expected = reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected).expect("docs/reference.md can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == expected,
        "docs/reference.md is out of date: UPDATE_DOCS=1 cargo test --test reference"
    );
}

/// Users need a text for every field and a message for every rule.
#[test]
fn every_field_is_described_and_every_rule_has_a_message() {
    for crd in crds().expect("the rules fit the schemas") {
        for version in &crd.spec.versions {
            for (path, schema) in fields(root(version), "") {
                assert!(schema.description.is_some(), "{path} has no description");
                for rule in schema.x_kubernetes_validations.iter().flatten() {
                    assert!(
                        rule.message.is_some(),
                        "{path}: a rule without a message: {}",
                        rule.rule
                    );
                }
            }
        }
    }
}

fn reference() -> String {
    let mut page = INTRODUCTION.to_owned();
    for crd in crds().expect("the rules fit the schemas") {
        for version in &crd.spec.versions {
            append_kind(&mut page, &crd, version);
        }
    }
    append_annotations(&mut page);
    page
}

fn append_kind(page: &mut String, crd: &CustomResourceDefinition, version: &CustomResourceDefinitionVersion) {
    let names = &crd.spec.names;
    let schema = root(version);
    let about = [
        format!("`apiVersion: {}/{}`", crd.spec.group, version.name),
        format!("plural `{}`", names.plural),
        format!(
            "short `{}`",
            names
                .short_names
                .iter()
                .flatten()
                .cloned()
                .collect::<Vec<_>>()
                .join("`, `")
        ),
        format!(
            "category `{}`",
            names
                .categories
                .iter()
                .flatten()
                .cloned()
                .collect::<Vec<_>>()
                .join("`, `")
        ),
        crd.spec.scope.to_lowercase(),
    ];
    let mut section = format!("\n## {}\n\n", names.kind);
    section += schema.description.as_deref().unwrap_or_default();
    let _ = write!(section, "\n\n{}.\n\n", about.join(", "));
    section += &columns(version.additional_printer_columns.as_deref().unwrap_or_default());
    for part in ["spec", "status"] {
        let schema = property(schema, part);
        let _ = write!(
            section,
            "\n### {part} of {}\n\n| field | type | meaning |\n|---|---|---|\n",
            names.kind
        );
        for (path, field) in fields(schema, "").into_iter().filter(|(path, _)| !is_standard(path)) {
            let _ = writeln!(section, "| `{path}` | {} | {} |", type_of(field), described(field));
        }
        if part == "spec" {
            let _ = write!(section, "\n### Rules of {}\n\n{}", names.kind, rules(root(version)));
        }
    }
    page.push_str(&section);
}

/// The fields of a Condition are Kubernetes' own.
fn is_standard(path: &str) -> bool {
    path.starts_with("conditions[].")
}

fn columns(columns: &[CustomResourceColumnDefinition]) -> String {
    let names = |wide: bool| {
        let shown = columns
            .iter()
            .filter(|column| (column.priority.unwrap_or(0) > 0) == wide);
        shown
            .map(|column| column.name.to_uppercase())
            .collect::<Vec<_>>()
            .join(", ")
    };
    format!(
        "`kubectl get` shows {}; `-o wide` adds {}.\n",
        names(false),
        names(true)
    )
}

fn rules(root: &JSONSchemaProps) -> String {
    let mut list = String::new();
    let whole = std::iter::once((String::new(), root));
    for (path, schema) in whole.chain(fields(root, "")) {
        for rule in schema.x_kubernetes_validations.iter().flatten() {
            let place = match path.as_str() {
                "" => "the whole object".to_owned(),
                path => format!("`{path}`"),
            };
            let message = rule.message.as_deref().unwrap_or(&rule.rule);
            // Writing to a String cannot fail.
            let _ = writeln!(list, "* {place}: {}", plain(message));
        }
    }
    list
}

fn append_annotations(page: &mut String) {
    let rows = [
        (
            PAUSED_ANNOTATION,
            "`\"true\"`, `yes`, `on` or `1`: reconciliation and deletion are paused. A value that cannot be read also \
             pauses them. The condition `Paused` reports it; `Ready` keeps its last value",
        ),
        (
            RECONCILE_REQUESTED_ANNOTATION,
            "any change of the value: read the object from the cloud and correct drift now",
        ),
        (
            RECREATE_APPROVED_ANNOTATION,
            "a time (`date -u +%FT%TZ`) after `status.massDeletionSuspectedAt`: this object may be \
             recreated although many are missing at once",
        ),
    ];
    page.push_str("\n## Annotations\n\n| annotation | value |\n|---|---|\n");
    for (name, meaning) in rows {
        let _ = writeln!(page, "| `{name}` | {meaning} |");
    }
    page.push_str(
        "\nThe condition `InvalidAnnotation` reports any other annotation with this prefix, and values that are not \
         valid.\n",
    );
    let _ = writeln!(
        page,
        "\nEvery object that has, or may have, a resource in the cloud has the finalizer `{FINALIZER}`."
    );
}

fn root(version: &CustomResourceDefinitionVersion) -> &JSONSchemaProps {
    let schema = version
        .schema
        .as_ref()
        .and_then(|schema| schema.open_api_v3_schema.as_ref());
    schema.expect("every version has a schema")
}

fn property<'a>(schema: &'a JSONSchemaProps, name: &str) -> &'a JSONSchemaProps {
    let properties = schema.properties.as_ref().expect("an object has properties");
    properties
        .get(name)
        .unwrap_or_else(|| panic!("{name} is in the schema"))
}

/// Every field below a schema, parents first, with its path; `[]` stands for the items of a list.
fn fields<'a>(schema: &'a JSONSchemaProps, path: &str) -> Vec<(String, &'a JSONSchemaProps)> {
    let mut found = Vec::new();
    for (name, field) in schema.properties.iter().flatten() {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        found.push((path.clone(), field));
        found.extend(fields(field, &path));
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &field.items {
            found.extend(fields(items, &format!("{path}[]")));
        }
    }
    found
}

fn type_of(schema: &JSONSchemaProps) -> String {
    let choices: Vec<String> = schema
        .enum_
        .iter()
        .flatten()
        .filter_map(|choice| choice.0.as_str().map(|choice| format!("`{choice}`")))
        .collect();
    if !choices.is_empty() {
        return choices.join(", ");
    }
    let name = match (schema.type_.as_deref(), schema.format.as_deref()) {
        (Some("string"), Some("date-time")) => "time".to_owned(),
        (Some("array"), _) => "list".to_owned(),
        (Some("object"), _) if matches!(schema.additional_properties, Some(JSONSchemaPropsOrBool::Schema(_))) => {
            "map".to_owned()
        }
        (name, _) => name.unwrap_or("any").to_owned(),
    };
    [Some(name), limits(schema)]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(", ")
}

fn limits(schema: &JSONSchemaProps) -> Option<String> {
    let count = |least: Option<i64>, most: Option<i64>, of: &str| match (least, most) {
        (Some(least), Some(most)) if least == most => Some(format!("{most}{of}")),
        (Some(least), Some(most)) => Some(format!("{least}–{most}{of}")),
        (None, Some(most)) => Some(format!("at most {most}{of}")),
        (Some(least), None) => Some(format!("at least {least}{of}")),
        (None, None) => None,
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "limits in the CRDs are small whole numbers"
    )]
    let whole = |number: Option<f64>| number.map(|number| number as i64);
    count(schema.min_length, schema.max_length, " characters")
        .or_else(|| count(whole(schema.minimum), whole(schema.maximum), ""))
        .or_else(|| count(schema.min_properties, schema.max_properties, " entries"))
        .or_else(|| count(schema.min_items, schema.max_items, " entries"))
}

fn described(schema: &JSONSchemaProps) -> String {
    plain(schema.description.as_deref().unwrap_or_default())
}

/// Escapes text for Markdown, also in a table.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for character in text.replace('\n', " ").chars() {
        if "|<>[]\\_*".contains(character) {
            plain.push('\\');
        }
        plain.push(character);
    }
    plain
}
