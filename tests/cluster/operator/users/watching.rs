//! What `kubectl get vpnu --watch` and the log show: each reason once, and nothing else.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use vpn_operator_testbed::eventually;

use crate::operator::follow::follow;
use crate::operator::world::{DEADLINE, Options, World, condition};

/// What a watch has shown: name, USER and REASON, without repetitions.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<(String, String, String)>>>);

impl Seen {
    /// Watches the world's users from now on.
    async fn start(world: &World) -> Self {
        let seen = Self::default();
        let lines = Arc::clone(&seen.0);
        follow(world.users().api(), "", move |object| {
            let object = serde_json::to_value(object).unwrap();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let line = (
                text(&object["metadata"]["name"]),
                text(&object["status"]["name"]),
                text(&condition(&object, "Ready")["reason"]),
            );
            let mut lines = lines.lock().unwrap();
            if lines.iter().rfind(|other| other.0 == line.0) != Some(&line) {
                lines.push(line);
            }
        })
        .await;
        seen
    }

    /// USER and REASON of one object, in the order of arrival.
    fn of(&self, name: &str) -> Vec<(String, String)> {
        let lines = self.0.lock().unwrap();
        let of_name = lines.iter().filter(|line| line.0 == name);
        of_name
            .map(|(_, user, reason)| (user.clone(), reason.clone()))
            .collect()
    }
}

/// The reasons that the log shows for one object, and its other lines as they are.
fn logged(world: &World, name: &str) -> Vec<String> {
    let log = world.running().log();
    let of_name = log.lines().filter(|line| line.contains(&format!("name=\"{name}\"")));
    // Those of the audit log have a test of their own.
    of_name
        .filter(|line| !line.contains("cloud write"))
        .map(|line| match line.split_once("reason=\"") {
            Some((_, rest)) => rest.split('"').next().unwrap_or_default().to_owned(),
            None => line.split("name=").next().unwrap_or_default().to_owned(),
        })
        .collect()
}

async fn until(awaited: &str, is_so: impl Fn() -> bool) {
    eventually(awaited, DEADLINE, async || is_so().then_some(()).ok_or("not yet"))
        .await
        .unwrap();
}

#[tokio::test]
async fn each_reason_is_set_and_logged_once() {
    let flags = [
        "--resync-period=0",
        "--creation-confirmation-period=2s",
        "--log-level=info",
    ];
    let mut world = World::with(Options::with(flags)).await;
    let seen = Seen::start(&world).await;
    world
        .apply_user("alice", "{passwordSecretRef: {name: alice}, description: on call}")
        .await;
    world.users().wait_for_reason("alice", "SecretNotFound").await;
    world.apply_password("alice", "Watched Pass-1").await;
    world.users().wait_for_reason("alice", "Available").await;
    world
        .users()
        .patch("alice", json!({"spec": {"description": "on leave"}}))
        .await;
    world.users().wait_for_reason("alice", "Available").await;
    world.apply_password("alice", "Watched Pass-2").await;
    world.users().wait_for_event("alice", "PasswordSet").await;
    world.users().wait_for_reason("alice", "Available").await;

    // Three throttled tries are one failure.
    let fault = json!({"fault": "throttled-by-service", "operation": "CreateVpnUser", "times": 3});
    world.simulator.add_fault(&fault).await.unwrap();
    world.apply_user("bobby", "{passwordSecretRef: {name: alice}}").await;
    world.users().wait_for_reason("bobby", "Available").await;
    world.kubectl(["delete", "vpnu", "alice"]).await;

    let reasons = |user: &str, reasons: &[&str]| -> Vec<(String, String)> {
        // Before the operator has written a status, nothing is shown.
        let first = [(String::new(), String::new())];
        let then = reasons.iter().map(|reason| (user.to_owned(), (*reason).to_owned()));
        first.into_iter().chain(then).collect()
    };
    let shown = [
        "SecretNotFound",
        "Creating",
        "Available",
        "Updating",
        "Available",
        "Updating",
        "Available",
        "Deleting",
    ];
    // The watch and the log may follow the object.
    let expected = reasons("alice", &shown);
    until("the watch shows the end of alice", || {
        seen.of("alice").len() >= expected.len()
    })
    .await;
    assert_eq!(seen.of("alice"), expected);
    let expected = reasons("bobby", &["Creating", "Throttled", "Creating", "Available"]);
    until("the watch shows that bobby is available", || {
        seen.of("bobby").len() >= expected.len()
    })
    .await;
    assert_eq!(seen.of("bobby"), expected);
    until("the log reports both objects", || {
        logged(&world, "alice").len() >= 5 && logged(&world, "bobby").len() >= 2
    })
    .await;
    let of_alice = logged(&world, "alice");
    assert_eq!(
        of_alice[..4],
        ["SecretNotFound", "Available", "Available", "Available"],
        "{of_alice:?}"
    );
    assert!(
        of_alice.len() == 5 && of_alice[4].contains("finalizer removed"),
        "{of_alice:?}"
    );
    assert_eq!(logged(&world, "bobby"), ["Throttled", "Available"]);
    world.finish().await;
}
