//! What the apiserver refuses and accepts by the CRDs alone: no operator and no cloud is needed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{JSONSchemaProps, JSONSchemaPropsOrArray};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use vpn_core::api::crds;
use vpn_operator_testbed::ControlPlane;

use crate::operator::world::shared_plane;

mod gateways;
mod users;

const ID: &str = "11111111-2222-3333-4444-555555555555";
const OTHER_ID: &str = "99999999-2222-3333-4444-555555555555";

/// Texts of messages about allowed values, for the rows of both kinds.
const SECRET_NAME: &[&str] = &["the name of a Secret: lower-case letters, digits, '-' and '.'"];
const SECRET_KEY: &[&str] = &["a key of a Secret: letters, digits, '-', '_' and '.'"];
const UUID: &[&str] = &["36"];

/// What is wrong, the spec, the field that the message must name, and the texts that it must contain.
type Refusal<'a> = (&'a str, Value, &'a str, &'a [&'a str]);

/// The same for an edit of the object of that name.
type EditRefusal<'a> = (&'a str, &'a str, Value, &'a str, &'a [&'a str]);

/// A namespace in which only the apiserver acts, and the kind that is tested there.
struct Bench {
    plane: &'static ControlPlane,
    namespace: String,
    resource: ApiResource,
    objects: Api<DynamicObject>,
}

impl Bench {
    async fn new(resource: ApiResource) -> Self {
        let plane = shared_plane().await;
        let namespace = plane.create_namespace("admission").await.unwrap();
        let client = plane.client().await.unwrap();
        let objects = Api::namespaced_with(client, &namespace, &resource);
        Self {
            plane,
            namespace,
            resource,
            objects,
        }
    }

    /// Creates an object and returns the apiserver's answer; a dry run leaves nothing behind.
    async fn create(&self, name: &str, spec: &Value, dry_run: bool) -> Result<(), String> {
        let object = serde_json::from_value(json!({
            "apiVersion": self.resource.api_version, "kind": self.resource.kind,
            "metadata": {"name": name}, "spec": spec,
        }));
        let params = PostParams {
            dry_run,
            ..PostParams::default()
        };
        let created = self.objects.create(&params, &object.unwrap()).await;
        created.map(|_| ()).map_err(message)
    }

    /// Creates an object, with this id in its status if there is one.
    async fn existing(&self, name: &str, spec: &Value, id: Option<&str>) {
        self.create(name, spec, false).await.unwrap();
        if let Some(id) = id {
            self.set_status(name, json!({"id": id})).await;
        }
    }

    async fn set_status(&self, name: &str, status: Value) {
        let status = Patch::Merge(json!({"status": status}));
        self.objects
            .patch_status(name, &PatchParams::default(), &status)
            .await
            .unwrap();
    }

    /// Edits an object in a dry run and returns the apiserver's answer.
    async fn edit(&self, name: &str, spec: &Value) -> Result<(), String> {
        let params = PatchParams {
            dry_run: true,
            ..PatchParams::default()
        };
        let edited = self
            .objects
            .patch(name, &params, &Patch::Merge(json!({"spec": spec})))
            .await;
        edited.map(|_| ()).map_err(message)
    }

    async fn refuses(&self, verdicts: &mut Verdicts, rows: impl IntoIterator<Item = Refusal<'_>>) {
        for (what, spec, field, expected_words) in rows {
            verdicts.refused(what, field, expected_words, self.create("some-row", &spec, true).await);
        }
    }

    async fn accepts(&self, verdicts: &mut Verdicts, rows: impl IntoIterator<Item = (&str, Value)>) {
        for (what, spec) in rows {
            verdicts.accepted(what, self.create("some-row", &spec, true).await);
        }
    }

    async fn refuses_edits(&self, verdicts: &mut Verdicts, rows: impl IntoIterator<Item = EditRefusal<'_>>) {
        for (what, name, edit, field, expected_words) in rows {
            verdicts.refused(what, field, expected_words, self.edit(name, &edit).await);
        }
    }

    async fn accepts_edits(&self, verdicts: &mut Verdicts, rows: impl IntoIterator<Item = (&str, &str, Value)>) {
        for (what, name, edit) in rows {
            verdicts.accepted(what, self.edit(name, &edit).await);
        }
    }

    async fn kubectl<const N: usize>(&self, arguments: [&str; N]) -> String {
        let all = ["--namespace", &self.namespace].into_iter().chain(arguments);
        self.plane.kubectl(all).await.unwrap().success().unwrap()
    }

    /// Asserts that `kubectl apply` refuses this manifest with this text.
    async fn kubectl_refuses(&self, manifest: &str, expected_words: &str) {
        let arguments = [
            "--namespace",
            &self.namespace,
            "apply",
            "--dry-run=server",
            "--filename",
            "-",
        ];
        let output = self.plane.kubectl_with_input(arguments, manifest).await.unwrap();
        assert!(!output.status.success(), "{manifest} is accepted");
        assert!(output.stderr.contains(expected_words), "{manifest}: {}", output.stderr);
    }

    /// Asserts that `kubectl explain` prints these texts for these fields.
    async fn explains(&self, texts: impl IntoIterator<Item = (&str, &str)>) {
        for (path, expected_words) in texts {
            let text = self.kubectl(["explain", path]).await;
            let words: Vec<&str> = text.split_whitespace().collect();
            assert!(words.join(" ").contains(expected_words), "{path}: {text}");
        }
    }
}

/// Returns the message that kubectl shows.
fn message(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message,
        other => panic!("the apiserver could not be asked: {other}"),
    }
}

/// Collects failures, so that one run reports every row.
#[derive(Default)]
struct Verdicts {
    rows: usize,
    wrong: Vec<String>,
}

impl Verdicts {
    /// Checks that a row is refused, with a message that names the field and contains all these texts.
    fn refused(&mut self, what: &str, field: &str, expected_words: &[&str], answer: Result<(), String>) {
        self.rows += 1;
        match answer {
            Ok(()) => self.wrong.push(format!("{what}: accepted")),
            Err(message) => {
                let expected = expected_words.iter().copied().chain([field]);
                let missing: Vec<_> = expected.filter(|text| !message.contains(text)).collect();
                if !missing.is_empty() {
                    self.wrong.push(format!("{what}: {missing:?} is not in: {message}"));
                }
            }
        }
    }

    fn accepted(&mut self, what: &str, answer: Result<(), String>) {
        self.rows += 1;
        if let Err(message) = answer {
            self.wrong.push(format!("{what}: {message}"));
        }
    }

    fn finish(self, at_least: usize) {
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n\n"));
        assert!(self.rows >= at_least, "only {} rows", self.rows);
    }
}

fn with(mut spec: Value, more: Value) -> Value {
    let (Value::Object(spec_fields), Value::Object(more)) = (&mut spec, more) else {
        panic!("specs are objects");
    };
    spec_fields.extend(more);
    spec
}

/// The titles of a table's columns.
fn titles(table: &str) -> Vec<&str> {
    table.lines().next().unwrap_or_default().split_whitespace().collect()
}

/// The paths of fields without a description.
fn unexplained(schema: &JSONSchemaProps, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (name, property) in schema.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        if property.description.as_deref().unwrap_or_default().trim().is_empty() {
            found.push(path.clone());
        }
        found.extend(unexplained(property, &path));
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
        found.extend(unexplained(items, &format!("{path}[]")));
    }
    found
}

#[test]
fn every_field_has_a_description_and_the_crd_stays_small() {
    for crd in crds().expect("the rules fit the schemas") {
        assert_eq!(
            crd.spec.names.categories.as_deref(),
            Some(["vpn".to_owned()].as_slice())
        );
        for version in &crd.spec.versions {
            let schema = version
                .schema
                .as_ref()
                .and_then(|schema| schema.open_api_v3_schema.as_ref());
            let schema = schema.expect("a version has a schema");
            assert!(schema.description.is_some());
            assert_eq!(unexplained(schema, ""), Vec::<String>::new());
        }
        let text = serde_saphyr::to_string(&crd).expect("a CRD is plain data");
        assert!(text.len() < 256 * 1024, "{} bytes", text.len());
        for noise in ["preserveUnknownFields", "deprecated", "nullable", "title:", "- null"] {
            assert!(!text.contains(noise), "{noise} is printed");
        }
    }
}
