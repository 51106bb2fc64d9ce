//! Objects as the operator wrote them, kept as test data of the health scripts for Argo CD. There is one for each
//! reason, and one for each special case of the scripts. What differs between runs is replaced.

use std::path::PathBuf;

use regex::Regex;
use serde_json::Value;
use vpn_core::api::conditions::Reason;

use super::Shown;
use crate::operator::world::{World, repository};

/// Goldens that are samples, besides the first of each reason.
const MORE: [&str; 7] = [
    "available-paused",
    "available-report-drift",
    "deleting-slowly",
    "user-available-paused",
    "user-available-report-drift",
    "user-deleting-slowly",
    "user-forbidden-delete",
];

/// Patterns, and their replacements in every sample.
const PATTERNS: [(&str, &str); 4] = [
    (
        r"request id [0-9a-f]{32}\b",
        "request id 0123456789abcdef0123456789abcdef",
    ),
    (
        r"\b[0-9a-f]{64}\b",
        "0000000000000000000000000000000000000000000000000000000000000000",
    ),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "2026-01-01T12:00:00Z"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:8180"),
];
/// The id of a server's default group has letters beyond a to f.
const UUID: &str = r"\b[0-9A-Za-z]{8}-[0-9A-Za-z]{4}-[0-9A-Za-z]{4}-[0-9A-Za-z]{4}-[0-9A-Za-z]{12}\b";

/// Whether a golden's object is a sample.
pub(super) fn is_sample(kind: Shown, golden: &str) -> bool {
    let first = |reason| kind.goldens_of(reason).first().copied();
    MORE.contains(&golden) || Reason::ALL.into_iter().filter_map(first).any(|name| name == golden)
}

/// Compares an object with its stored sample. `INSTA_UPDATE=always` stores it, as with the goldens.
pub(super) fn check(kind: Shown, world: &World, name: &str, object: &Value) {
    let folder = match kind {
        Shown::Gateways => "CustomerGateway",
        Shown::Users => "VpnUser",
    };
    let name = name.strip_prefix("user-").unwrap_or(name);
    let path: PathBuf = repository()
        .join("deploy/argocd/resource_customizations/vpn.huaweicloud.com")
        .join(folder)
        .join("testdata")
        .join(format!("{name}.yaml"));
    let text = serde_saphyr::to_string(&Alike::new(world).make(object)).unwrap();
    if std::env::var("INSTA_UPDATE").is_ok_and(|mode| mode == "always") {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "{} is not\n{text}", path.display());
}

/// Makes objects of different runs alike.
struct Alike {
    namespace: String,
    patterns: Vec<(Regex, &'static str)>,
    uuid: Regex,
    /// In order of appearance.
    uuids: Vec<String>,
}

impl Alike {
    fn new(world: &World) -> Self {
        let patterns = PATTERNS.map(|(pattern, stands)| (Regex::new(pattern).unwrap(), stands));
        Self {
            namespace: world.namespace.clone(),
            patterns: patterns.into(),
            uuid: Regex::new(UUID).unwrap(),
            uuids: Vec::new(),
        }
    }

    fn make(&mut self, object: &Value) -> Value {
        let mut object = object.clone();
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.remove("managedFields");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
            if annotations.is_empty() {
                metadata.remove("annotations");
            }
        }
        self.visit("", &mut object);
        object
    }

    fn visit(&mut self, key: &str, value: &mut Value) {
        match value {
            Value::Object(fields) => fields.iter_mut().for_each(|(key, value)| self.visit(key, value)),
            Value::Array(items) => items.iter_mut().for_each(|item| self.visit(key, item)),
            Value::String(text) => {
                *text = match key {
                    "resourceVersion" | "secretResourceVersion" => "1".to_owned(),
                    "keyID" => "01234567".to_owned(),
                    _ => self.text(text),
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, text: &str) -> String {
        let mut text = text.replace(&self.namespace, "network");
        for (pattern, stands) in &self.patterns {
            text = pattern.replace_all(&text, *stands).into_owned();
        }
        let met: Vec<String> = self
            .uuid
            .find_iter(&text)
            .map(|found| found.as_str().to_owned())
            .collect();
        for uuid in met {
            let known = self.uuids.iter().position(|other| *other == uuid);
            let number = known.unwrap_or_else(|| {
                self.uuids.push(uuid.clone());
                self.uuids.len() - 1
            });
            text = text.replace(&uuid, &format!("00000000-0000-4000-8000-{:012}", number + 1));
        }
        text
    }
}
