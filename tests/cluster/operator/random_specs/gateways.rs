//! Random specs of gateways: every field, within the rules of admission.

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};

use super::draft::{Step, Subject, one_of};

/// Secrets with CA certificates.
pub(super) const CERTIFICATES: [&str; 3] = ["ca-0", "ca-1", "ca-2"];
const TAG_KEYS: [&str; 6] = ["team", "Team", "site", "cost center", "región", "a.b:c=d+e-f@g"];
const TAG_VALUES: [&str; 5] = ["", "net", "Net", "paris / 2", "ñandú 7"];

/// The next spec of a gateway.
pub(super) fn spec(
    subject: &mut Subject,
    before: Option<&Value>,
    rng: &mut StdRng,
    steps: &mut Vec<Step>,
) -> Map<String, Value> {
    let (number, life) = (subject.number, subject.life);
    let mut spec = Map::new();
    // Immutable fields depend on the life, not on the edit.
    let is_name = (number + life) % 3 == 0;
    let id_value = if is_name {
        format!("peer-{life}.sq{number:03}.example.com")
    } else {
        format!("10.1.{number}.{}", life % 250 + 1)
    };
    spec.insert("idValue".to_owned(), json!(id_value));
    let had = |field: &str| before.is_some_and(|before| !before[field].is_null());
    if is_name {
        spec.insert("idType".to_owned(), json!("FQDN"));
    } else if had("idType") || rng.random_bool(0.3) {
        spec.insert("idType".to_owned(), json!("IP"));
    }
    if !is_name && (number + life).is_multiple_of(2) {
        let keeps = before.is_none() || subject.rests || rng.random_bool(0.6);
        if !keeps && had("bgpASN") {
            // If it were omitted before it was ever sent, it would stay unset, and could not be added later.
            steps.push(Step::WaitUntilReady);
        }
        if keeps {
            spec.insert(
                "bgpASN".to_owned(),
                json!(64512_i64 + 7_000_000 * i64::try_from(number).expect("a small number")),
            );
        }
    }
    if rng.random_bool(0.7) {
        let name = match rng.random_range(0..4) {
            0 => format!("Office-SQ{number:03}"),
            1 => format!("office-sq{number:03}"),
            2 => format!("sq{number:03}_branch.{life}"),
            _ => format!("SQ{number:03}"),
        };
        subject.names("name", Some(&name));
        spec.insert("name".to_owned(), json!(name));
    }
    if rng.random_bool(0.7) {
        let mut tags = Map::new();
        for key in TAG_KEYS {
            if rng.random_bool(0.4) {
                tags.insert(key.to_owned(), json!(one_of(rng, &TAG_VALUES)));
            }
        }
        spec.insert("tags".to_owned(), Value::Object(tags));
    }
    if rng.random_bool(0.3) {
        let secret = one_of(rng, &CERTIFICATES);
        subject.names("caCertificateSecretRef", Some(secret));
        let mut reference = json!({"name": secret});
        if rng.random_bool(0.3) {
            reference["key"] = json!("ca.crt");
        }
        spec.insert("caCertificateSecretRef".to_owned(), reference);
    }
    spec
}
