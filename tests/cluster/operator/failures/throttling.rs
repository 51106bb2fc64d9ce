//! The cloud asks for a long wait: the waiting objects report its end, and the wait ends by itself.

use serde_json::{Value, json};
use vpn_operator_testbed::eventually;

use super::credentials::expect_credentials;
use super::{add_tenant, expect_recovered, warnings_about};
use crate::operator::world::{DEADLINE, Options, World, condition};

const REFUSAL: &str = "VPN.0429";
const WARNING: &str = "the cloud throttles the credentials";
const RECOVERY: &str = "the credentials work again";

async fn world() -> World {
    let mut world = World::with(Options::with(["--resync-period=1s", "--log-level=info"])).await;
    add_tenant(&mut world, "keys", json!({})).await;
    world.apply_password("people", "Throttled Pass-1").await;
    world
}

async fn apply(world: &World, name: &str, address: &str) {
    let spec = format!("{{name: {name}, idValue: {address}, credentialsRef: {{name: keys}}}}");
    world.apply_gateway(name, &spec).await;
}

/// The next LIST of gateways is refused, with a wait in seconds.
async fn refuse_a_list(world: &World, wait: u32) {
    let fault = json!({
        "fault": "throttled-by-service", "operation": "ListCustomerGateways",
        "retry_after": wait.to_string(), "times": 1,
    });
    world.simulator.add_fault(&fault).await.unwrap();
}

fn lines(world: &World, text: &str) -> Vec<String> {
    let log = world.running().log();
    let credential = format!("credential={}/keys", world.namespace);
    let fits = |line: &&str| line.contains(text) && line.contains(&credential);
    log.lines().filter(fits).map(str::to_owned).collect()
}

async fn wait_for_line(world: &World, text: &str) -> String {
    eventually(text, DEADLINE, async || lines(world, text).pop().ok_or("not yet"))
        .await
        .unwrap_or_else(|error| panic!("{error}: {}", world.log_tail()))
}

/// The time that a message names.
fn end(message: &str) -> jiff::Timestamp {
    let (_, end) = message
        .split_once("is sent before ")
        .unwrap_or_else(|| panic!("{message}"));
    let end: String = end
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || "-:".contains(*c))
        .collect();
    end.parse().unwrap_or_else(|error| panic!("{message}: {error}"))
}

/// The number of failed drift checks so far.
async fn failed_checks(world: &World) -> u64 {
    let metrics = world.running().metrics(DEADLINE).await.unwrap();
    let name = "vpn_operator_mirror_lists_total{";
    let fits = |line: &&str| line.starts_with(name) && line.contains("customer-gateways") && !line.contains("\"ok\"");
    let counts = metrics.lines().filter(fits);
    counts
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

#[tokio::test]
async fn a_long_retry_after_is_reported_once_with_its_end() {
    let world = world().await;
    apply(&world, "office", "203.0.113.1").await;
    let ready = expect_recovered(&world, "office").await;
    let before = jiff::Timestamp::now();
    refuse_a_list(&world, 3600).await;
    let line = wait_for_line(&world, WARNING).await;
    let until = end(&line);
    let mark = world.mark().await;

    // New objects of both kinds, and one that is edited below.
    apply(&world, "branch", "203.0.113.2").await;
    world
        .apply_user(
            "alice",
            "{passwordSecretRef: {name: people}, credentialsRef: {name: keys}}",
        )
        .await;
    let throttled = |object: &Value| {
        let ready = condition(object, "Ready");
        ready["status"] == "False" && ready["reason"] == "Throttled"
    };
    let branch = world.wait_for("branch", "Throttled", throttled).await;
    let alice = world.users().wait_for("alice", "Throttled", throttled).await;
    for object in [&branch, &alice] {
        let message = condition(object, "Ready")["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        for word in [REFUSAL, "request id", "listing the customer gateways"] {
            assert!(message.contains(word), "{word:?} is not in {message:?}");
        }
        assert_eq!(end(&message), until, "the same for all: {message}");
        assert_eq!(condition(object, "Reconciling")["status"], "True", "{object}");
    }
    // The end is named in whole seconds, truncated.
    let almost_an_hour = jiff::SignedDuration::from_secs(3599);
    assert!(until.duration_since(before) >= almost_an_hour, "{until}");
    // An object without changes stays Ready, and shows that its credentials are throttled.
    let office = expect_credentials(&world, "office", "False", "Throttled").await;
    assert_eq!(condition(&office, "Ready"), condition(&ready, "Ready"));
    let shown = condition(&office, "CredentialsHealthy")["message"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert_eq!(end(&shown), until, "{shown}");
    let healthy = format!(
        "vpn_operator_credential_healthy{{credential=\"{}/keys\"}} 0",
        world.namespace
    );
    world.wait_for_metric(&healthy).await;
    let about_secret = warnings_about(&world, "Secret", "keys").await;
    assert_eq!(about_secret.len(), 1, "{about_secret:?}");

    world.patch("office", json!({"spec": {"name": "office-2"}})).await;
    world.wait_for("office", "Throttled", throttled).await;
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    let branch = expect_credentials(&world, "branch", "False", "Throttled").await;
    let checks = failed_checks(&world).await;
    eventually("more checks for drift fail", DEADLINE, async || {
        let more = failed_checks(&world).await - checks;
        if more >= 3 { Ok(()) } else { Err(more) }
    })
    .await
    .unwrap();
    assert_eq!(
        version(&world.get("branch").await),
        version(&branch),
        "nothing is written again"
    );

    assert_eq!(world.calls_since(mark).await, std::collections::BTreeMap::new());
    assert_eq!(lines(&world, WARNING).len(), 1);
    assert_eq!(lines(&world, RECOVERY), Vec::<String>::new());
    world.finish().await;
}

#[tokio::test]
async fn reconciliation_continues_after_a_long_retry_after() {
    let world = world().await;
    apply(&world, "office", "203.0.113.1").await;
    expect_recovered(&world, "office").await;
    refuse_a_list(&world, 15).await;
    let until = end(&wait_for_line(&world, WARNING).await);
    let mark = world.mark().await;
    apply(&world, "branch", "203.0.113.2").await;
    expect_recovered(&world, "branch").await;
    let line = wait_for_line(&world, RECOVERY).await;
    let at: jiff::Timestamp = line.split_whitespace().next().unwrap().parse().unwrap();
    assert!(at >= until, "{until}: {line}");
    world.patch("office", json!({"spec": {"name": "office-2"}})).await;
    world.wait_for_reason("office", "Available").await;
    let is_taken_back = |object: &Value| condition(object, "CredentialsHealthy")["status"] != "False";
    world.wait_for("office", "its credentials work", is_taken_back).await;
    world.wait_for("branch", "its credentials work", is_taken_back).await;
    assert_eq!(lines(&world, WARNING).len(), 1);
    assert_eq!(lines(&world, RECOVERY).len(), 1);
    assert_eq!(world.calls_since(mark).await.get("CreateCustomerGateway"), Some(&1));
    world.finish().await;
}
