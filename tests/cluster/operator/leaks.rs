//! Secrets must be in no log, metric, status or Event: every world has some, and they are searched for in every
//! possible form.

use serde_json::{Value, json};
use vpn_operator_testbed::ControlPlane;

use crate::operator::world::World;

/// Texts that must never appear.
pub(crate) struct Sentinels(Vec<String>);

impl Sentinels {
    pub(crate) fn new<const N: usize>(secrets: [String; N]) -> Self {
        Self(secrets.into())
    }

    pub(crate) fn add(&mut self, secret: &str) {
        self.0.push(secret.to_owned());
    }

    /// Each secret as it is, in base64 (at each of its three alignments), as JSON and as URLs write it, and as Rust's
    /// Debug does.
    fn forms(&self) -> Vec<(String, &'static str)> {
        let mut forms = Vec::new();
        for secret in &self.0 {
            forms.push((secret.clone(), "raw"));
            for shift in 0..3 {
                forms.push((inner_base64(secret, shift), "base64"));
            }
            let json = Value::String(secret.clone()).to_string();
            forms.push((json[1..json.len() - 1].to_owned(), "JSON-escaped"));
            let twice = Value::String(json[1..json.len() - 1].to_owned()).to_string();
            forms.push((twice[1..twice.len() - 1].to_owned(), "JSON-escaped twice"));
            let debug = format!("{secret:?}");
            forms.push((debug[1..debug.len() - 1].to_owned(), "Debug"));
            forms.push((
                url::form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
                "URL-encoded",
            ));
            let percent = percent_encoding::utf8_percent_encode(secret, percent_encoding::NON_ALPHANUMERIC);
            forms.push((percent.to_string(), "percent-encoded"));
        }
        forms
    }
}

/// The part of a secret's base64 that does not depend on what stands before and after it.
fn inner_base64(secret: &str, shift: usize) -> String {
    let padded: Vec<u8> = std::iter::repeat_n(0, shift).chain(secret.bytes()).collect();
    let text = base64(&padded);
    let whole = padded.len() / 3 * 4;
    let start = if shift == 0 { 0 } else { 4 };
    text[start..whole].to_owned()
}

fn base64(bytes: &[u8]) -> String {
    let value = k8s_openapi::ByteString(bytes.to_vec());
    let text = serde_json::to_value(value).expect("bytes are written as base64");
    text.as_str().unwrap_or_default().to_owned()
}

fn unbase64(text: &str) -> Vec<u8> {
    let value: k8s_openapi::ByteString = serde_json::from_value(json!(text)).expect("etcd answers in base64");
    value.0
}

/// Finds the secrets in a text.
pub(crate) fn search_text(place: &str, text: &str, sentinels: &Sentinels) -> Vec<String> {
    search_forms(place, text, &sentinels.forms())
}

fn search_forms(place: &str, text: &str, forms: &[(String, &'static str)]) -> Vec<String> {
    let shown = forms.iter().filter(|(form, _)| text.contains(form.as_str()));
    shown.map(|(form, kind)| format!("{place}: {kind}: {form}")).collect()
}

/// The present revision of what the apiserver stores: what changes from now on has a later one.
pub(crate) async fn revision(plane: &ControlPlane) -> i64 {
    let range = json!({"key": base64(b"/registry/")});
    let answer = plane.ask_etcd("range", &range).await.unwrap();
    let revision = answer["header"]["revision"].as_str().unwrap_or_default();
    revision.parse().expect("etcd returns its revision")
}

/// Finds the secrets in what the apiserver has stored after that revision, except in Secrets. The worlds share a store, and
/// the secrets of each are its own: what is older cannot have them.
pub(crate) async fn search_etcd(plane: &ControlPlane, after: i64, sentinels: &Sentinels) -> Vec<String> {
    let range = json!({
        "key": base64(b"/registry/"),
        "range_end": base64(b"/registry0"),
        "min_mod_revision": (after + 1).to_string(),
    });
    let answer = plane.ask_etcd("range", &range).await.unwrap();
    let entries = answer["kvs"].as_array().expect("a world stores something");
    let forms = sentinels.forms();
    let mut found = Vec::new();
    for entry in entries {
        let key = String::from_utf8(unbase64(entry["key"].as_str().unwrap_or_default())).unwrap();
        if key.starts_with("/registry/secrets/") {
            continue;
        }
        let value = unbase64(entry["value"].as_str().unwrap_or_default());
        found.extend(search_forms(&key, &String::from_utf8_lossy(&value), &forms));
    }
    found
}

/// Checks the search itself: it finds a leak in any form.
#[test]
fn the_search_finds_a_leak_in_every_encoding() {
    let secret = "SENTINEL+sk/1\"x=end";
    let sentinels = Sentinels::new([secret.to_owned()]);
    for (form, kind) in sentinels.forms() {
        let text = format!("something before {form} and after");
        assert!(!search_text("log", &text, &sentinels).is_empty(), "{kind}");
    }
    for prefix in ["", "a", "ab", "abc"] {
        let text = base64(format!("{prefix}{secret} and more").as_bytes());
        assert!(!search_text("log", &text, &sentinels).is_empty(), "{prefix:?}");
    }
    assert!(search_text("log", "nothing of the kind", &sentinels).is_empty());
}

#[tokio::test]
async fn the_search_finds_a_leak_in_an_object() {
    let world = World::start().await;
    let planted = format!(
        "{{idValue: 203.0.113.7, idType: FQDN, name: x, tags: {{leak: {:?}}}}}",
        "see the annotation"
    );
    world.apply_gateway("leaky", &planted).await;
    world
        .patch(
            "leaky",
            json!({"metadata": {"annotations": {"note": world.secret_key.clone()}}}),
        )
        .await;
    let found = search_etcd(world.plane, world.began_after, &world.sentinels).await;
    assert!(found.iter().any(|place| place.contains("leaky")), "{found:?}");
    world
        .patch("leaky", json!({"metadata": {"annotations": {"note": null}}}))
        .await;
    world.finish().await;
}
