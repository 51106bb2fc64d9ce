//! Text that breaks lines, controls terminals or is very long, from every source: the log, Events, status and metrics
//! stay intact.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};
use vpn_cloud::text::is_unseen;
use vpn_operator_testbed::{eventually, figures};

use super::hostile::{Hostile, Reply};
use crate::operator::console::{OWNER, message};
use crate::operator::failures::{ask_again, warnings_about};
use crate::operator::world::{DEADLINE, Options, World, condition};

/// The apiserver's limit for the note of an Event, in bytes.
const LONGEST_NOTE: usize = 1024;
/// The operator's limit for a message, in characters.
const LONGEST_MESSAGE: usize = 2001;
/// Part of every injected text, so that tests can find it.
const MARK: &str = "1nj3cted";

/// A separate line, an escape sequence in each of its forms, a text that runs backwards, one that is hidden.
fn evil() -> String {
    format!(
        "{MARK}\r\n2030-01-01T00:00:00Z ERROR vpn_operator: forged {MARK}\n\u{1b}]0;t\u{7}\u{1b}[2J\u{9b}31m\u{202e}gpj\u{2066}\u{200b}\u{e0041}\u{0}\tend"
    )
}

/// The same, and much more text, in characters of four bytes.
fn endless() -> String {
    format!("{}{}", evil(), "🜂".repeat(20_000))
}

/// Collects every text that a reader of the objects sees.
fn texts_of(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts_of(item, texts)),
        Value::Object(fields) => fields.values().for_each(|field| texts_of(field, texts)),
        _ => {}
    }
}

/// The lines of a log that are not whole events, or contain control or hidden characters.
fn forged(log: &str, json: bool) -> Vec<&str> {
    let is_event = |line: &&str| {
        if json {
            return serde_json::from_str::<Value>(line).is_ok_and(|event| event["timestamp"].is_string());
        }
        let stamp = line.split(' ').next().unwrap_or_default();
        let now = stamp.parse::<jiff::Timestamp>();
        now.is_ok_and(|at| at.as_second() < 1_893_456_000 && at.as_second() > 0)
    };
    log.lines()
        .filter(|line| !is_event(line) || line.contains(is_unseen))
        .collect()
}

/// Adds a fault that puts the texts into the code and the message of an answer.
async fn inject_faults(world: &World, operation: &str, code: &str, message: &str) {
    let fault = json!({
        "fault": "error", "operation": operation, "times": 0, "status": 400, "code": code, "message": message,
    });
    world.simulator.add_fault(&fault).await.unwrap();
}

#[tokio::test]
async fn cloud_texts_cannot_forge_log_lines_or_control_a_terminal() {
    let body = json!({"error_code": evil(), "error_msg": endless(), "request_id": evil()}).to_string();
    let refusing = Hostile::start(Reply::answer(
        "400 Bad Request",
        "X-Request-Id: \u{202e}\u{9b}31mx\r\n",
        body,
    ))
    .await;
    let page = format!("<html><title>{}</title></html>", evil());
    let page = Hostile::start(Reply::answer("502 Bad Gateway", "", page)).await;
    let strange = json!({"customer_gateways": [{"id": evil()}]}).to_string();
    let strange = Hostile::start(Reply::answer("200 OK", "", strange)).await;
    let number = json!({"customer_gateways": evil()}).to_string();
    let number = Hostile::start(Reply::answer("200 OK", "", number)).await;
    let odd_status = Hostile::start(Reply::Whole(
        format!("HTTP/1.1 499 {MARK} \u{1b}[2J\r\nContent-Length: 0\r\n\r\n").into_bytes(),
    ))
    .await;
    let servers = [refusing, page, strange, number, odd_status];
    let urls: Vec<String> = servers.iter().map(Hostile::url).collect();
    let flag = format!("--allowed-endpoint={}", urls.join(","));
    let mut world = World::with(Options::with(["--resync-period=0", &flag])).await;
    let (access_key, secret_key) = (world.access_key.clone(), world.secret_key.clone());
    let mut injected = 0;
    for (number, url) in urls.iter().enumerate() {
        let name = format!("server-{number}");
        let more = [("endpoint", url.as_str()), ("projectID", "p")];
        world.apply_credentials(&name, &access_key, &secret_key, &more).await;
        let spec = format!("{{idValue: 203.0.113.{number}, credentialsRef: {{name: {name}}}}}");
        world.apply_gateway(&name, &spec).await;
        injected += 1;
    }
    // Text from the author of a Secret.
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    for key in [
        "accessKey",
        "secretKey",
        "endpoint",
        "region",
        "projectID",
        "iamEndpoint",
    ] {
        let name = format!("secret-{}", key.to_lowercase());
        let mut data = BTreeMap::from([
            ("accessKey", "AK".to_owned()),
            ("secretKey", "S3cret-of-nobody".to_owned()),
        ]);
        data.insert(key, evil());
        let data: BTreeMap<&str, ByteString> = data
            .into_iter()
            .map(|(key, value)| (key, ByteString(value.into_bytes())))
            .collect();
        let secret = json!({"metadata": {"name": name}, "data": data});
        // Not through an apply: its body is YAML, which allows no control characters.
        secrets
            .create(&PostParams::default(), &serde_json::from_value(secret).unwrap())
            .await
            .unwrap();
        let spec = format!("{{idValue: 203.0.113.9, credentialsRef: {{name: {name}}}}}");
        world.apply_gateway(&name, &spec).await;
        injected += 1;
    }
    // Text from a client that may write tags and names in the cloud.
    let tagged = world
        .seed(
            json!({"name": "tagged", "id_value": "203.0.113.50", "tags": {OWNER: format!("uid:other:ns:{}", evil())}}),
        )
        .await;
    world
        .apply_gateway("tagged", &format!("{{externalID: {tagged}, idValue: 203.0.113.50}}"))
        .await;
    injected += 1;
    // Text in the name of an adopted user.
    let named = json!({"name": "named", "description": endless(), "password": "Str4nger pass"});
    let seeded: Vec<Value> = world.simulator.seed_users(&named).await.unwrap();
    let user_id = seeded[0]["id"].as_str().unwrap().to_owned();
    world
        .simulator
        .edit_user(&user_id, &json!({"name": evil()}))
        .await
        .unwrap();
    world.apply_password("pw", "Sentinel Pass-1").await;
    world
        .apply_user(
            "named",
            &format!("{{externalID: {user_id}, name: wanted, passwordSecretRef: {{name: pw}}}}"),
        )
        .await;
    injected += 1;

    for number in 0..urls.len() {
        world
            .wait_for(&format!("server-{number}"), "it is not Ready", |object| {
                condition(object, "Ready")["status"] == "False" && !message(object).is_empty()
            })
            .await;
    }
    world.wait_for_reason("tagged", "AlreadyManaged").await;
    world.users().wait_for_reason("named", "InvalidSpec").await;
    // The same from the simulator, whose answers differ from the API's only in this text.
    inject_faults(&world, "CreateCustomerGateway", &evil(), &endless()).await;
    inject_faults(&world, "CreateVpnUser", "VPN.0001", &evil()).await;
    world.apply_gateway("refused", "{idValue: 203.0.113.60}").await;
    world
        .apply_user("refused", "{name: refused, passwordSecretRef: {name: pw}}")
        .await;
    world.wait_for_reason("refused", "Rejected").await;
    world.users().wait_for_reason("refused", "Rejected").await;
    injected += 2;
    // An Event appears a little later than the status that it reports; a note that is too long would be refused.
    for (kind, name) in [
        ("CustomerGateway", "server-0"),
        ("CustomerGateway", "tagged"),
        ("CustomerGateway", "refused"),
        ("VpnUser", "named"),
        ("VpnUser", "refused"),
    ] {
        eventually(
            &format!("a Warning about {name}"),
            DEADLINE,
            async || match warnings_about(&world, kind, name).await {
                warnings if warnings.is_empty() => Err("none"),
                _ => Ok(()),
            },
        )
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    }
    let text_log = world.running().log();
    world.set_argument("--log-format=json");
    world.restart_operator().await;
    ask_again(&world, "refused").await;
    ask_again(&world, "server-0").await;
    ask_again(&world, "server-4").await;
    let json_log = eventually("the JSON log contains the texts as well", DEADLINE, async || {
        let log = world.running().log();
        if log.contains(MARK) { Ok(log) } else { Err("not yet") }
    })
    .await
    .unwrap();

    assert!(text_log.contains(MARK), "the cloud's text is reported");
    let mut lines = forged(&text_log, false);
    lines.extend(forged(&json_log, true));
    assert!(lines.is_empty(), "forged lines: {lines:#?}");

    let mut shown = Vec::new();
    for object in world.list().await.into_iter().chain(world.users().list().await) {
        texts_of(&object["status"], &mut shown);
    }
    assert!(
        shown.iter().any(|text| text.contains(MARK)),
        "the cloud's text is reported"
    );
    let notes: Vec<String> = {
        let events: Api<Event> = Api::namespaced(world.client.clone(), &world.namespace);
        let events = events.list(&ListParams::default()).await.unwrap();
        events.items.into_iter().filter_map(|event| event.note).collect()
    };
    assert!(notes.iter().any(|note| note.contains(MARK)));
    let metrics = world.running().metrics(DEADLINE).await.unwrap();
    assert!(!metrics.contains(MARK) && !metrics.contains("server-0"), "{metrics}");
    let too_long = shown
        .iter()
        .filter(|text| text.chars().count() > LONGEST_MESSAGE)
        .count()
        + notes.iter().filter(|note| note.len() > LONGEST_NOTE).count();
    let steering: Vec<&String> = shown
        .iter()
        .chain(&notes)
        .filter(|text| text.contains(is_unseen))
        .collect();
    assert!(steering.is_empty(), "{steering:#?}");
    assert_eq!(too_long, 0);
    figures::report(
        "adversaries",
        &[
            ("hostile texts injected", injected),
            ("log lines forged", lines.len() as u64),
            (
                "texts shown with control characters or too long",
                (steering.len() + too_long) as u64,
            ),
        ],
    );
    world.finish().await;
}
