//! The chart's README: its values with their defaults, generated from `values.yaml` and its comments.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::chart::release::CHART;

const INTRODUCTION: &str = "\
# vpn-operator

```console
$ helm install vpn-operator charts/vpn-operator -n vpn-operator --create-namespace \\
    --set image.repository=registry.example.com/vpn-operator --set clusterName=prod --set region=eu-west-101 \\
    --set credentials.secretName=cloud
```

This chart installs vpn-operator, which manages customer gateways and VPN users of Huawei Cloud and Open Telekom Cloud as
Kubernetes objects. To try it without a cloud account, add `--set simulator.enabled=true`: it installs a simulator of the cloud
beside the operator.

The chart needs Kubernetes 1.31 or newer, and for now an image that you build yourself (`image.*`). It grants the minimum RBAC:
for every rule, a test fails when the rule is removed.

`helm test` checks whether an operator is ready. If none is, `kubectl logs` of its pod says what is missing.

## Values

Generated from `values.yaml` by `UPDATE_DOCS=1 cargo test --test cluster readme`. `helm install` rejects unknown values, and
values that the operator would refuse at start.

| value | default | |
|---|---|---|
";

/// A value with a text of its own.
struct Documented {
    path: Vec<String>,
    text: String,
}

/// `UPDATE_DOCS=1 cargo test --test cluster readme` regenerates it.
#[test]
fn the_readme_matches_the_values() {
    let path = Path::new(CHART).join("README.md");
    let expected = readme();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == expected,
        "the chart's README is out of date: run UPDATE_DOCS=1 cargo test --test cluster readme"
    );
}

#[test]
fn every_value_is_described() {
    let (values, documented) = values();
    for path in leaves(&values, &[]) {
        let is_described = documented.iter().any(|known| path.starts_with(&known.path));
        assert!(is_described, "values.yaml: {} has no text", path.join("."));
    }
}

fn readme() -> String {
    let (values, documented) = values();
    let mut page = INTRODUCTION.to_owned();
    for Documented { path, text } in &documented {
        let value = path.iter().fold(&values, |value, key| &value[key]);
        let is_map = value.as_object().is_some_and(|fields| !fields.is_empty());
        let has_rows_of_its_own = is_map && !is_given_whole(path, &documented);
        let default = if has_rows_of_its_own {
            String::new()
        } else {
            format!("`{value}`")
        };
        writeln!(page, "| `{}` | {default} | {text} |", path.join(".")).unwrap();
    }
    page
}

/// Whether a value, such as a security context, has fields of Kubernetes that have no texts here.
fn is_given_whole(path: &[String], documented: &[Documented]) -> bool {
    !documented
        .iter()
        .any(|other| other.path.len() > path.len() && other.path.starts_with(path))
}

fn values() -> (Value, Vec<Documented>) {
    let text = std::fs::read_to_string(Path::new(CHART).join("values.yaml")).unwrap();
    (serde_saphyr::from_str(&text).unwrap(), documented(&text))
}

/// A text is the line `# -- ...` before its value.
fn documented(yaml: &str) -> Vec<Documented> {
    let (mut found, mut place, mut text) = (Vec::new(), Vec::<String>::new(), None);
    for line in yaml.lines() {
        let depth = (line.len() - line.trim_start().len()) / 2;
        if let Some(printed) = line.trim_start().strip_prefix("# -- ") {
            text = Some(printed.to_owned());
        } else if let Some((key, _)) = line.trim_start().split_once(':').filter(|_| !line.contains("# ")) {
            place.truncate(depth);
            place.push(key.to_owned());
            if let Some(text) = text.take() {
                found.push(Documented {
                    path: place.clone(),
                    text,
                });
            }
        }
    }
    found
}

/// Returns the paths of all values except maps with fields.
fn leaves(value: &Value, path: &[String]) -> Vec<Vec<String>> {
    match value {
        Value::Object(fields) if !fields.is_empty() => fields
            .iter()
            .flat_map(|(key, value)| leaves(value, &[path, std::slice::from_ref(key)].concat()))
            .collect(),
        _ => vec![path.to_vec()],
    }
}
