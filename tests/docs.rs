//! Checks the documentation: the operator reads its manifests, its links have targets, and its flags, metrics,
//! variables, annotations and IAM actions exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use prometheus_client::registry::Registry;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use vpn_cloud::Operation;
use vpn_core::api;
use vpn_core::api::{CustomerGateway, VpnUser};
use vpn_operator::metrics;
use vpn_operator::metrics::Metrics;
use vpn_operator::settings::flag_reference;
use vpn_operator_testbed::{ControlPlane, figures};

/// Flags of other programs in the documentation.
const FLAGS_OF_OTHERS: &[&str] = &[
    "--all",
    "--all-namespaces",
    "--all-targets",
    "--build-arg",
    "--certificate-identity-regexp",
    "--certificate-oidc-issuer",
    "--check",
    "--check-counts",
    "--condition",
    "--create-namespace",
    "--created",
    "--digestfile",
    "--dry-run",
    "--example",
    "--exit-when-ready",
    "--field-selector",
    "--filename",
    "--for",
    "--force-conflicts",
    "--format",
    "--from-env-file",
    "--from-file",
    "--from-literal",
    "--help",
    "--install",
    "--json",
    "--latency",
    "--lib",
    "--locked",
    "--logs",
    "--namespace",
    "--nocapture",
    "--only",
    "--outage",
    "--outage-objects",
    "--output",
    "--overwrite",
    "--page",
    "--patch",
    "--patch-file",
    "--platform",
    "--predicate",
    "--prefix",
    "--profile",
    "--quick",
    "--rate",
    "--recursive",
    "--release",
    "--replicas",
    "--reset-then-reuse-values",
    "--resource-version",
    "--reuse-values",
    "--seconds",
    "--seed",
    "--selector",
    "--server-side",
    "--set",
    "--sign",
    "--sizes",
    "--skip-tests",
    "--sort-by",
    "--stat",
    "--tag",
    "--tail",
    "--take-ownership",
    "--test",
    "--timeout",
    "--type",
    "--version",
    "--wait",
    "--watch",
    "--workspace",
];

/// Variables of the test bed, which belong to no flag.
const OTHER_VARIABLES: [&str; 1] = ["VPN_OPERATOR_TESTBED_KEEP"];

/// Kinds that a manifest in the documentation may have beside our own.
const OTHER_KINDS: [&str; 9] = [
    "Secret",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "ResourceQuota",
    "NetworkPolicy",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

/// Kinds of Argo CD, Flux and others, whose CRDs no test installs.
const FOREIGN_KINDS: [&str; 5] = [
    "Application",
    "ExternalSecret",
    "GitRepository",
    "HelmRelease",
    "Kustomization",
];

struct Page {
    /// Relative to the project.
    path: PathBuf,
    text: String,
}

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> Page {
    let text =
        std::fs::read_to_string(project().join(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Page {
        path: path.to_owned(),
        text,
    }
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(project().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let names = entries.map(|entry| entry.expect("a readable folder").file_name());
    let mut files: Vec<PathBuf> = names.map(|name| Path::new(folder).join(name)).collect();
    files.retain(|file| file.extension().is_some_and(|it| it == extension));
    files.sort();
    files
}

/// The pages in the project's root, the chart's README and everything in docs/.
fn pages() -> Vec<Page> {
    let top = [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "charts/vpn-operator/README.md",
    ]
    .map(PathBuf::from);
    let docs = ["docs", "docs/contributing"].map(|folder| files(folder, "md"));
    let paths = top.into_iter().chain(docs.into_iter().flatten());
    paths.map(|path| read(&path)).collect()
}

/// The texts of the fenced blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in text.lines() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(info)) => open = Some((info == language, String::new())),
            (Some(_), Some(_)) => {
                if let Some((true, block)) = open.take() {
                    blocks.push(block);
                }
                open = None;
            }
            (Some((_, block)), None) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

/// Samples to apply as a whole, and samples that first need a resource in the cloud.
fn samples() -> Vec<Page> {
    let paths = ["examples", "examples/adopting"].map(|folder| files(folder, "yaml"));
    paths.iter().flatten().map(|path| read(path)).collect()
}

/// Every manifest in the documentation: its place and its text.
fn manifests() -> Vec<(String, String)> {
    let samples = samples()
        .into_iter()
        .map(|sample| (sample.path.display().to_string(), sample.text));
    let in_pages = pages().into_iter().flat_map(|page| {
        let blocks = blocks(&page.text, "yaml").into_iter().enumerate();
        let named =
            blocks.map(|(number, block)| (format!("{}, yaml block {}", page.path.display(), number + 1), block));
        named.collect::<Vec<_>>()
    });
    let texts = samples.chain(in_pages);
    let documents = texts.flat_map(|(place, text)| {
        let documents = text.split("\n---\n").map(str::to_owned);
        documents.map(|document| (place.clone(), document)).collect::<Vec<_>>()
    });
    documents.collect()
}

#[test]
fn every_manifest_has_only_fields_of_its_type() {
    let (mut gateways, mut users) = (0, 0);
    for (place, text) in manifests() {
        let written: Value = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{place}: {error}"));
        let (read, count) = match written["kind"].as_str().unwrap_or_default() {
            "CustomerGateway" => (read_by::<CustomerGateway>(&place, &text), &mut gateways),
            "VpnUser" => (read_by::<VpnUser>(&place, &text), &mut users),
            kind => {
                let is_known = OTHER_KINDS.contains(&kind) || FOREIGN_KINDS.contains(&kind);
                assert!(is_known, "{place}: a manifest of kind {kind:?}");
                continue;
            }
        };
        assert_eq!(written, read, "{place}: a field that the type does not know");
        *count += 1;
    }
    for (kind, count) in [("gateways", gateways), ("users", users)] {
        assert!(count > 3, "the samples, and some in the pages: {count} {kind}");
    }
}

/// Reads a manifest as a type and serializes it again.
fn read_by<T: Serialize + DeserializeOwned>(place: &str, text: &str) -> Value {
    let object: T = serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{place}: {error}"));
    serde_json::to_value(&object).expect("plain data")
}

/// Admission checks more than the type does.
#[tokio::test]
async fn the_apiserver_accepts_every_manifest() {
    let control_plane = ControlPlane::start().await.expect("a control plane");
    control_plane
        .apply_crds(&project().join("crds"))
        .await
        .expect("our CRDs");
    let namespace = ["create", "namespace", "vpn-operator"];
    let output = control_plane.kubectl(namespace).await.expect("kubectl runs");
    output.success().expect("the namespace of the operator");
    let folder = tempfile::tempdir().expect("a folder");
    for (number, (place, text)) in manifests().into_iter().enumerate() {
        let written: Value = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{place}: {error}"));
        if FOREIGN_KINDS.contains(&written["kind"].as_str().unwrap_or_default()) {
            continue;
        }
        let file = folder.path().join(format!("{number}.yaml"));
        std::fs::write(&file, text).expect("written");
        let arguments = ["apply", "--dry-run=server", "--validate=strict", "--filename"].map(Into::into);
        let arguments = arguments.into_iter().chain([file.clone().into_os_string()]);
        let output = control_plane.kubectl(arguments).await.expect("kubectl runs");
        output.success().unwrap_or_else(|error| panic!("{place}: {error}"));
    }
}

#[test]
fn the_manifest_in_the_readme_is_one_of_the_samples() {
    let samples: Vec<String> = samples().into_iter().map(|sample| sample.text).collect();
    let shown = blocks(&read(Path::new("README.md")).text, "yaml");
    assert!(!shown.is_empty());
    for block in shown {
        assert!(samples.contains(&block), "not in examples:\n{block}");
    }
}

/// Artifact Hub shows them.
#[test]
fn the_examples_of_the_chart_are_samples() {
    let documents = samples().into_iter().flat_map(|sample| {
        let documents = sample.text.split("\n---\n").map(str::to_owned);
        documents.collect::<Vec<_>>()
    });
    let samples: Vec<Value> = documents
        .map(|text| serde_saphyr::from_str(&text).expect("YAML"))
        .collect();
    let chart = read(Path::new("charts/vpn-operator/Chart.yaml")).text;
    let chart: Value = serde_saphyr::from_str(&chart).expect("YAML");
    let annotations = &chart["annotations"];
    let shown = annotations["artifacthub.io/crdsExamples"].as_str().expect("text");
    let shown: Vec<Value> = serde_saphyr::from_str(shown).expect("a list");
    assert!(!shown.is_empty());
    for example in shown {
        assert!(samples.contains(&example), "not in examples: {example}");
    }
}

/// So that `kubectl apply -f examples` is enough.
#[test]
fn every_referenced_password_secret_is_in_the_samples() {
    let texts = files("examples", "yaml").into_iter().map(|path| read(&path).text);
    let documents: Vec<Value> = texts
        .flat_map(|text| text.split("\n---\n").map(str::to_owned).collect::<Vec<_>>())
        .map(|text| serde_saphyr::from_str(&text).expect("YAML"))
        .collect();
    let of_kind = |kind: &str| documents.iter().filter(|it| it["kind"] == kind).collect::<Vec<_>>();
    let (users, secrets) = (of_kind("VpnUser"), of_kind("Secret"));
    assert_eq!(users.len(), 3);
    for user in users {
        let wanted: VpnUser = serde_json::from_value(user.clone()).expect("a user");
        let reference = wanted.spec.password_secret_ref.expect("a new user has a password");
        let secret = secrets.iter().find(|it| it["metadata"]["name"] == reference.name);
        let value = secret.map(|secret| &secret["stringData"][reference.key()]);
        assert!(value.is_some_and(Value::is_string), "{}", user["metadata"]["name"]);
    }
}

#[test]
fn relative_links_have_existing_targets() {
    let mut links = 0;
    for page in pages() {
        for target in link_targets(&page.text) {
            if target.contains("://") {
                continue;
            }
            links += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let path = match file {
                "" => page.path.clone(),
                file => page.path.parent().unwrap_or(Path::new("")).join(file),
            };
            let place = page.path.display();
            assert!(
                project().join(&path).exists(),
                "{place} links to {target}, which is not there"
            );
            if !anchor.is_empty() {
                let headings = headings(&read(&path).text);
                assert!(
                    headings.contains(anchor),
                    "{place} links to {target}, but has {headings:?}"
                );
            }
        }
    }
    assert!(links > 10, "{links} links");
}

/// Messages, comments and test names refer to pages, too. The chart's first version stays unchanged.
#[test]
fn every_page_referenced_in_code_exists() {
    let page = regex::Regex::new(r"\bdocs/[a-z/-]+\.md\b").unwrap();
    let mut left: Vec<PathBuf> = ["src", "crates", "tests", "programs", "charts", "image", ".ci", "deploy"]
        .map(PathBuf::from)
        .into();
    let mut named = 0;
    while let Some(path) = left.pop() {
        let whole = project().join(&path);
        if path.ends_with("tests/cluster/chart/earlier") || path.ends_with("target") {
            continue;
        }
        if whole.is_dir() {
            let entries = std::fs::read_dir(&whole).expect("a readable folder");
            left.extend(entries.map(|entry| path.join(entry.expect("a readable folder").file_name())));
        } else if let Ok(text) = std::fs::read_to_string(&whole) {
            for found in page.find_iter(&text) {
                named += 1;
                let there = project().join(found.as_str()).is_file();
                assert!(
                    there,
                    "{} names {}, which does not exist",
                    path.display(),
                    found.as_str()
                );
            }
        }
    }
    assert!(named > 20, "{named}");
}

/// The targets of `[text](target)` outside of fenced blocks.
fn link_targets(text: &str) -> Vec<String> {
    let mut targets = Vec::new();
    for line in prose(text) {
        for part in line.split("](").skip(1) {
            let target = part.split(')').next().unwrap_or_default();
            targets.push(target.to_owned());
        }
    }
    targets
}

/// The lines outside of fenced blocks.
fn prose(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            lines.push(line);
        }
    }
    lines
}

/// The anchors of a page's headings, as code hosts make them.
fn headings(text: &str) -> BTreeSet<String> {
    let lines = prose(text).into_iter().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title
            .chars()
            .filter(|it| it.is_alphanumeric() || *it == '-' || *it == '_' || *it == ' ');
        kept.map(|it| if it == ' ' { '-' } else { it }).collect()
    };
    lines.map(anchor).collect()
}

/// Words that begin with `prefix` and continue with the characters that `belongs` allows.
fn words(text: &str, prefix: &str, belongs: impl Fn(char) -> bool) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for (at, _) in text.match_indices(prefix) {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|before| before.is_alphanumeric() || before == '-' || before == '_') {
            continue;
        }
        let rest: String = text[at + prefix.len()..]
            .chars()
            .take_while(|it| belongs(*it))
            .collect();
        if !rest.is_empty() {
            words.insert(format!("{prefix}{rest}").trim_end_matches(['-', '_']).to_owned());
        }
    }
    words
}

/// Other operators have kinds of these names, too, and kubectl may choose any of them.
#[test]
fn kubectl_commands_use_fully_qualified_resource_names() {
    let notes = read(Path::new("charts/vpn-operator/templates/NOTES.txt"));
    let plain = regex::Regex::new(r"\b(customergateways?|vpnusers?)\b(\.vpn\.huaweicloud\.com\b)?").unwrap();
    let mut commands = 0;
    for page in pages().into_iter().chain([notes]) {
        // A command may span several lines, or be part of a sentence.
        let text = page.text.replace("\\\n", " ");
        let lines = text.lines().filter(|line| line.contains("kubectl "));
        let in_sentences = |line: &str| line.split('`').map(str::to_owned).collect::<Vec<_>>();
        for command in lines.flat_map(in_sentences).filter(|part| part.contains("kubectl ")) {
            commands += 1;
            for found in plain.captures_iter(&command) {
                assert!(found.get(2).is_some(), "{}: {command}", page.path.display());
            }
        }
    }
    assert!(commands > 40, "{commands}");
}

fn flags(text: &str) -> BTreeSet<String> {
    let mut flags = words(text, "--", |it| it.is_ascii_lowercase() || it == '-');
    flags.retain(|flag| flag.len() > 3);
    flags
}

#[test]
fn every_documented_flag_exists() {
    let mut known = flags(&flag_reference());
    assert!(known.contains("--cluster-name"), "{known:?}");
    // The simulator's own page is the reference of its flags.
    known.extend(flags(&read(Path::new("docs/simulator.md")).text));
    known.extend(FLAGS_OF_OTHERS.iter().map(|flag| (*flag).to_owned()));
    for page in pages() {
        for flag in flags(&page.text) {
            assert!(
                known.contains(&flag),
                "{} names {flag}, which no program has",
                page.path.display()
            );
        }
    }
}

#[test]
fn every_documented_environment_variable_exists() {
    let is_name = |it: char| it.is_ascii_uppercase() || it.is_ascii_digit() || it == '_';
    let mut known = words(&flag_reference(), "VPN_OPERATOR_", is_name);
    assert!(known.contains("VPN_OPERATOR_REGION"), "{known:?}");
    known.extend(OTHER_VARIABLES.map(str::to_owned));
    for page in pages() {
        for variable in words(&page.text, "VPN_OPERATOR_", is_name) {
            assert!(known.contains(&variable), "{} names {variable}", page.path.display());
        }
    }
}

/// Every name on `/metrics`: families and samples.
fn metric_names() -> (BTreeSet<String>, BTreeSet<String>) {
    let metrics = Metrics::default();
    metrics.reconciled("kind", "outcome", Duration::ZERO);
    metrics.cloud_request("operation", "outcome", Duration::ZERO);
    metrics.object_moved("kind", None, Some("reason"));
    metrics.object_drifted("kind", false, false);
    metrics.set_crd_missing_fields("kind", 0);
    metrics.set_watch_up("kind", "namespace", true);
    metrics.cache_listed("collection", "outcome");
    metrics.read_unreadable_items("collection", 1);
    metrics.credential_failed("reason");
    metrics.credential_healthy("credential", true);
    metrics.credential_succeeded("credential", jiff::Timestamp::UNIX_EPOCH);
    metrics.creation_sent_again("kind", true);
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let page = metrics::encode(&registry).expect("text");
    let families = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let families = families.filter_map(|line| line.split(' ').next()).map(str::to_owned);
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    let samples = samples
        .filter_map(|line| line.split(['{', ' ']).next())
        .map(str::to_owned);
    (families.collect(), samples.collect())
}

#[test]
fn documented_metrics_match_the_existing_metrics() {
    let (families, samples) = metric_names();
    assert!(families.contains("vpn_operator_leader"), "{families:?}");
    for page in pages() {
        for name in words(&page.text, "vpn_operator_", |it| it.is_ascii_lowercase() || it == '_') {
            let exists = families.contains(&name) || samples.contains(&name);
            assert!(exists, "{} names {name}, which is no metric", page.path.display());
        }
    }
    let monitoring = read(Path::new("docs/monitoring.md")).text;
    for family in families {
        assert!(
            monitoring.contains(&family),
            "docs/monitoring.md does not mention {family}"
        );
    }
}

#[test]
fn every_documented_annotation_exists() {
    let known = [
        api::PAUSED_ANNOTATION,
        api::RECONCILE_REQUESTED_ANNOTATION,
        api::RECREATE_APPROVED_ANNOTATION,
        api::FINALIZER,
        &format!("{}/v1alpha1", api::GROUP),
    ]
    .map(str::to_owned);
    let prefix = format!("{}/", api::GROUP);
    for page in pages() {
        for name in words(&page.text, &prefix, |it| it.is_ascii_alphanumeric() || it == '-') {
            assert!(known.contains(&name), "{} names {name}", page.path.display());
        }
    }
}

/// `tests/cluster/operator/iam.rs` shows that they are enough, and that each of them is needed.
#[test]
fn every_documented_iam_action_exists() {
    let known: BTreeSet<String> = Operation::ALL.map(|operation| operation.iam_action().to_owned()).into();
    let belongs = |it: char| it.is_ascii_alphanumeric() || it == ':';
    let mut named = 0;
    for page in pages() {
        // The simulator serves more of the cloud's API than the operator uses.
        if page.path.ends_with("simulator.md") {
            continue;
        }
        let actions = ["vpn:", "iam:"].map(|service| words(&page.text, service, belongs));
        // Two parts name a kind of resource, three an action.
        for action in actions.iter().flatten().filter(|it| it.matches(':').count() == 2) {
            named += 1;
            assert!(known.contains(action), "{} names {action}", page.path.display());
        }
    }
    assert!(named > 10, "{named} actions");
}

/// The rows of a page's tables, by their cells.
fn rows(text: &str) -> Vec<Vec<String>> {
    let lines = prose(text).into_iter().filter(|line| line.starts_with('|'));
    let cells = |line: &str| -> Vec<String> {
        let inner = line.trim().trim_matches('|');
        inner.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    lines.map(cells).collect()
}

/// Names of functions that are run as tests, of the whole project.
fn tests(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            tests(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let text = std::fs::read_to_string(&path).expect("text");
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                let signature = line.trim_start_matches("async ");
                if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                    is_test = true;
                } else if let Some(rest) = signature.strip_prefix("fn ") {
                    let name = rest.split(['(', '<']).next().unwrap_or_default();
                    if std::mem::take(&mut is_test) {
                        found.insert(name.to_owned());
                    }
                }
            }
        }
    }
}

#[test]
fn every_threat_references_existing_tests() {
    let mut known = BTreeSet::new();
    for folder in ["crates", "src", "tests"] {
        tests(&project().join(folder), &mut known);
    }
    assert!(
        known.contains("every_threat_references_existing_tests"),
        "{}",
        known.len()
    );
    let page = read(Path::new("docs/security.md")).text;
    let (_, threats) = page.split_once("## Threats").expect("threats");
    let (threats, _) = threats.split_once("## Known limits").expect("known limits");
    let is_threat = |row: &Vec<String>| row.len() == 3 && row[0] != "threat" && !row[0].starts_with("---");
    let mut named = BTreeSet::new();
    let mut held = 0_u64;
    for row in rows(threats).into_iter().filter(is_threat) {
        let tests: Vec<&str> = row[2].split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test holds: {}", row[0]);
        for test in tests {
            let name = test.rsplit("::").next().unwrap_or_default();
            assert!(
                known.contains(name),
                "{test} holds \"{}\", but there is no such test",
                row[0]
            );
            named.insert(name.to_owned());
        }
        held += 1;
    }
    assert!(held > 20, "{held} threats");
    figures::report(
        "threats",
        &[
            ("threats covered", held),
            ("tests that cover the threats", named.len() as u64),
        ],
    );
}

/// The figure is updated by `cargo run --example reliability -- --only guards`.
#[test]
fn the_documented_number_of_guards_is_correct() {
    let source = std::fs::read_to_string(project().join("crates/core/src/terms/guard.rs")).expect("the guards");
    let (_, guards) = source.split_once("pub enum Guard {").expect("the enum");
    let (guards, _) = guards.split_once("\n}").expect("its end");
    let variants = guards.lines().map(str::trim).filter(|line| line.ends_with(','));
    let count = variants.filter(|line| !line.starts_with("//")).count();
    let page = read(Path::new("docs/contributing/reliability.md")).text;
    let row = format!("| guards whose removal is detected | {count} |");
    assert!(page.contains(&row), "the page lacks {row:?}");
}
