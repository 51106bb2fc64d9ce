//! Random specs of users, and their passwords.

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};

use super::draft::{Step, Subject, one_of};

/// Number of servers: several, so that not all writes wait for each other.
pub(super) const SERVERS: usize = 4;
/// Groups on each server, besides `default`.
pub(super) const GROUPS: [&str; 2] = ["developers", "Operations"];
/// Prefix of every password here: it must never show.
pub(super) const SENTINEL: &str = "SENTINEL.pw/";
const DESCRIPTIONS: [&str; 5] = ["", "ops", "Ops", "it's Ann - from Paris", "x"];

/// The id of a server.
pub(super) fn server(number: usize) -> String {
    format!("5e5e5e5e-0000-4000-8000-7{:011}", number % SERVERS)
}

/// The id of a group on a server.
pub(super) fn group(server: usize, group: usize) -> String {
    format!("66666666-0000-4000-8{group:03}-7{:011}", server % SERVERS)
}

/// The next spec of a user.
pub(super) fn spec(
    subject: &mut Subject,
    before: Option<&Value>,
    rng: &mut StdRng,
    steps: &mut Vec<Step>,
) -> Map<String, Value> {
    let (number, life) = (subject.number, subject.life);
    let mut spec = Map::new();
    spec.insert("vpnServerID".to_owned(), json!(server(number)));
    let own_name = match (number + life) % 3 {
        0 => None,
        1 => Some(format!("Person.SQ{number:03}")),
        _ => Some(format!("person.sq{number:03}_{life}")),
    };
    // The default name may be set explicitly, and omitted again.
    let default = || rng.random_bool(0.3).then(|| subject.name());
    if let Some(name) = own_name.or_else(default) {
        spec.insert("name".to_owned(), json!(name));
    }
    let reference = match before {
        Some(before) if !before["passwordSecretRef"].is_null() && rng.random_bool(0.8) => {
            before["passwordSecretRef"].clone()
        }
        _ => another_secret(subject, rng, steps),
    };
    spec.insert("passwordSecretRef".to_owned(), reference);
    if rng.random_bool(0.6) {
        let description = one_of(rng, &DESCRIPTIONS);
        subject.names("description", Some(description));
        spec.insert("description".to_owned(), json!(description));
    }
    if rng.random_bool(0.6) {
        let which = rng.random_range(0..6);
        let (field, value, id) = match which {
            0 | 1 => ("userGroupID", "None".to_owned(), String::new()),
            2 | 3 => ("userGroupID", group(number, which - 2), group(number, which - 2)),
            _ => ("userGroupName", GROUPS[which - 4].to_owned(), group(number, which - 4)),
        };
        subject.names("group", Some(&id));
        spec.insert(field.to_owned(), json!(value));
    }
    if rng.random_bool(0.6) {
        let ip = match rng.random_range(0..3) {
            0 => "Disabled".to_owned(),
            // Another one in each life, since two users cannot share an address.
            other => format!("10.1.{number}.{}", 8 * (life % 30) + 4 * other - 3),
        };
        subject.names("staticIP", Some(&ip));
        spec.insert("staticIP".to_owned(), json!(ip));
    }
    spec
}

/// Writes a new value into the Secret of the spec, sometimes under another key or in another Secret.
pub(super) fn change_password(subject: &mut Subject, rng: &mut StdRng, steps: &mut Vec<Step>) {
    let Some(mut spec) = subject.spec.take() else { return };
    if rng.random_bool(0.3) {
        spec["passwordSecretRef"] = another_secret(subject, rng, steps);
        steps.push(Step::Apply {
            paused: subject.paused,
            spec: spec.clone(),
        });
    } else {
        let reference = &spec["passwordSecretRef"];
        let secret = reference["name"].as_str().unwrap_or_default().to_owned();
        let key = reference["key"].as_str().unwrap_or("password").to_owned();
        write_new(subject, secret, key, steps);
    }
    subject.spec = Some(spec);
}

/// Writes a value that was never used into a Secret and key: the cloud refuses the last five.
fn another_secret(subject: &mut Subject, rng: &mut StdRng, steps: &mut Vec<Step>) -> Value {
    let secret = format!("sq{:03}-{}", subject.number, one_of(rng, &["a", "b"]));
    let key = one_of(rng, &["", "login"]);
    let key = (!key.is_empty()).then(|| key.to_owned());
    write_new(
        subject,
        secret.clone(),
        key.clone().unwrap_or_else(|| "password".to_owned()),
        steps,
    );
    match key {
        None => json!({"name": secret}),
        Some(key) => json!({"name": secret, "key": key}),
    }
}

fn write_new(subject: &mut Subject, secret: String, key: String, steps: &mut Vec<Step>) {
    subject.passwords += 1;
    subject.password = format!("{SENTINEL}SQ{:03}-{}", subject.number, subject.passwords);
    steps.push(Step::Password {
        secret,
        key,
        value: subject.password.clone(),
    });
}
