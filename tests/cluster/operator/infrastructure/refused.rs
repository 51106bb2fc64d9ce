//! An admission policy, or a webhook that does not answer, refuses what the operator writes.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vpn_operator_testbed::eventually;

use super::reasons::{Reasons, lines};
use super::{LEDGER, check_totals};
use crate::operator::console::counts;
use crate::operator::world::{DEADLINE, Options, World};

const STATUS: [&str; 2] = ["customergateways/status", "vpnusers/status"];
const OBJECTS: [&str; 2] = ["customergateways", "vpnusers"];

/// Cluster-wide manifests that refuse updates in this world's namespace only.
struct Obstacle {
    manifests: Vec<Value>,
    world_namespace: String,
}

impl Obstacle {
    /// An admission policy that refuses updates of these resources.
    fn policy(world: &World, resources: &[&str]) -> Self {
        let name = format!("refuses-{}", world.namespace);
        let policy = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [rule(resources)]},
                "validations": [{"expression": "false", "message": "not today"}],
            },
        });
        let binding = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {
                "policyName": name,
                "validationActions": ["Deny"],
                "matchResources": {"namespaceSelector": selector(world)},
            },
        });
        Self::of(world, vec![policy, binding])
    }

    /// A webhook that does not exist, and without which no update is allowed.
    fn webhook(world: &World, resources: &[&str]) -> Self {
        let webhook = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": format!("nobody-{}", world.namespace)},
            "webhooks": [{
                "name": "nobody.example.com",
                // The discard port, at which nobody listens.
                "clientConfig": {"url": "https://127.0.0.1:9/"},
                "rules": [rule(resources)],
                "namespaceSelector": selector(world),
                "failurePolicy": "Fail",
                "timeoutSeconds": 2,
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }],
        });
        Self::of(world, vec![webhook])
    }

    fn of(world: &World, manifests: Vec<Value>) -> Self {
        Self {
            manifests,
            world_namespace: world.namespace.clone(),
        }
    }

    /// Applies it, and waits until the apiserver enforces it; `probe` is a patch that it refuses.
    async fn put_up(&self, world: &World, probe: &[&str]) {
        for manifest in &self.manifests {
            world.apply(&manifest.to_string()).await;
        }
        self.wait_for(world, probe, "is refused", false).await;
    }

    /// Deletes it, and waits until the apiserver no longer enforces it.
    async fn take_away(&self, world: &World, probe: &[&str]) {
        for manifest in &self.manifests {
            let (kind, name) = (
                manifest["kind"].as_str().unwrap(),
                manifest["metadata"]["name"].as_str().unwrap(),
            );
            world.kubectl(["delete", kind, name]).await;
        }
        self.wait_for(world, probe, "is taken", true).await;
    }

    async fn wait_for(&self, world: &World, probe: &[&str], awaited: &str, taken: bool) {
        let fixed = [
            "--namespace",
            &self.world_namespace,
            "patch",
            "--dry-run=server",
            "--type=merge",
        ];
        eventually(&format!("an update {awaited}"), DEADLINE, async || {
            let output = world
                .plane
                .kubectl(fixed.iter().chain(probe).copied())
                .await
                .map_err(|error| error.to_string())?;
            if output.status.success() == taken {
                Ok(())
            } else {
                Err(output.stderr)
            }
        })
        .await
        .unwrap();
    }
}

fn rule(resources: &[&str]) -> Value {
    json!({
        "apiGroups": ["vpn.huaweicloud.com"], "apiVersions": ["*"], "operations": ["UPDATE"], "resources": resources,
    })
}

fn selector(world: &World) -> Value {
    json!({"matchLabels": {"kubernetes.io/metadata.name": world.namespace}})
}

/// A change of a status, or of an object itself.
const STATUS_PROBE: [&str; 5] = [
    "cgw",
    "calm",
    "--subresource=status",
    "--patch",
    r#"{"status": {"id": "probe"}}"#,
];
const OBJECT_PROBE: [&str; 4] = [
    "cgw",
    "calm",
    "--patch",
    r#"{"metadata": {"annotations": {"example.com/a": "b"}}}"#,
];

/// While status cannot be written, nothing is sent, and requests in progress are not sent again. All of it continues
/// afterwards. The log reports the refusal once for each object.
async fn refused(obstacle_of: impl Fn(&World) -> Obstacle) {
    let flags = [
        "--resync-period=1s",
        "--log-level=info",
        "--log-format=json",
        // Held requests must not time out meanwhile.
        "--request-timeout=60s",
        "--leader-elect-lease-duration=2m",
    ];
    let mut world = World::with(Options::with(flags)).await;
    let reasons = Reasons::follow(&world).await;
    world.apply_password("people", "Refused Pass-1").await;
    world.create("calm", "{name: calm, idValue: 203.0.113.1}").await;
    world.create("edited", "{name: edited, idValue: 203.0.113.2}").await;
    let mark = world.mark().await;
    let hold = json!({"fault": "hold", "operation": "CreateCustomerGateway", "commit": true});
    world.simulator.add_fault(&hold).await.unwrap();
    world
        .apply_gateway("under-way", "{name: under-way, idValue: 203.0.113.3}")
        .await;
    world.simulator.wait_for_held::<Value>(1).await.unwrap();

    let obstacle = obstacle_of(&world);
    obstacle.put_up(&world, &STATUS_PROBE).await;
    world.simulator.release(&json!({})).await.unwrap();
    world.apply_gateway("new", "{name: new, idValue: 203.0.113.4}").await;
    world.apply_user("alice", "{passwordSecretRef: {name: people}}").await;
    world.patch("edited", json!({"spec": {"name": "edited-since"}})).await;
    let refusing = [
        ("CustomerGateway", "under-way"),
        ("CustomerGateway", "new"),
        ("CustomerGateway", "edited"),
        ("VpnUser", "alice"),
    ];
    eventually("each object reports that it is refused", DEADLINE, async || {
        let refused = refusals(&world.running().log());
        let all = refusing
            .iter()
            .all(|(kind, name)| refused.contains_key(&((*kind).to_owned(), (*name).to_owned())));
        if all { Ok(()) } else { Err(format!("{refused:?}")) }
    })
    .await
    .unwrap();
    world.wait_for_cycles(5).await;
    let sent = world.writes_since(mark).await;
    assert_eq!(
        sent,
        counts([("CreateCustomerGateway", 1)]),
        "only the write in progress"
    );

    obstacle.take_away(&world, &STATUS_PROBE).await;
    world.wait_until_all_ready(4).await;
    world.wait_for_reason("edited", "Available").await;
    world.users().wait_for_reason("alice", "Available").await;
    let sent = world.writes_since(mark).await;
    let expected = [
        ("CreateCustomerGateway", 2),
        ("CreateVpnUser", 1),
        ("UpdateCustomerGateway", 1),
    ];
    assert_eq!(sent, counts(expected));
    let log = world.running().log();
    let (refusals_in_log, of_objects) = (refusals(&log), lines(&log));
    let refusals_of = |kind: &str, name: &str| {
        let refusals = refusals_in_log.get(&(kind.to_owned(), name.to_owned()));
        refusals.copied().unwrap_or_default()
    };
    for ((kind, name), lines) in &of_objects {
        assert!(refusals_of(kind, name) <= 1, "{name}: {lines:#?}");
    }
    let surplus = || -> u64 {
        let of_object = |((kind, name), lines): (&(String, String), &Vec<Value>)| {
            let allowed = reasons.of(kind, name) + refusals_of(kind, name);
            (lines.len() as u64).saturating_sub(allowed)
        };
        of_objects.iter().map(of_object).sum()
    };
    // The watch of this test may lag behind the log. If it does not explain a line in time, the line is counted.
    let _ = eventually("a change of reason for each line", DEADLINE, async || match surplus() {
        0 => Ok(()),
        more => Err(more),
    })
    .await;
    let more_lines_than_reasons = surplus();
    check_totals(&world, 1).await;
    LEDGER.add(&[("log lines beyond one per change of reason", more_lines_than_reasons)]);
    assert_eq!(more_lines_than_reasons, 0, "{of_objects:#?}");
    world.finish().await;
}

/// How often the log reports a refusal by the apiserver, for each object.
fn refusals(log: &str) -> BTreeMap<(String, String), u64> {
    let is_refusal = |line: &&Value| line["message"] == "will try again";
    let count = |lines: Vec<Value>| lines.iter().filter(is_refusal).count() as u64;
    let all = lines(log).into_iter().map(|(name, lines)| (name, count(lines)));
    all.filter(|(_, count)| *count > 0).collect()
}

#[tokio::test]
async fn an_admission_policy_that_refuses_status_stops_writes_without_loss() {
    refused(|world| Obstacle::policy(world, &STATUS)).await;
}

#[tokio::test]
async fn an_unreachable_webhook_stops_writes_without_loss() {
    refused(|world| Obstacle::webhook(world, &STATUS)).await;
}

#[tokio::test]
async fn refused_finalizer_changes_cause_no_creation_and_one_delete() {
    let world = World::with(Options::with([
        "--resync-period=1s",
        "--log-level=info",
        "--log-format=json",
    ]))
    .await;
    world.create("calm", "{name: calm, idValue: 203.0.113.1}").await;
    world.create("leaving", "{name: leaving, idValue: 203.0.113.2}").await;
    let mark = world.mark().await;
    let obstacle = Obstacle::policy(&world, &OBJECTS);
    obstacle.put_up(&world, &OBJECT_PROBE).await;
    world.apply_gateway("new", "{name: new, idValue: 203.0.113.3}").await;
    world.kubectl(["delete", "cgw/leaving", "--wait=false"]).await;
    eventually("both are refused", DEADLINE, async || {
        let refused = refusals(&world.running().log());
        if refused.len() == 2 {
            Ok(())
        } else {
            Err(format!("{refused:?}"))
        }
    })
    .await
    .unwrap();
    world.wait_for_cycles(5).await;
    assert_eq!(world.writes_since(mark).await, counts([("DeleteCustomerGateway", 1)]));
    obstacle.take_away(&world, &OBJECT_PROBE).await;
    world.wait_until_deleted("leaving").await;
    world.wait_until_all_ready(2).await;
    let expected = [("CreateCustomerGateway", 1), ("DeleteCustomerGateway", 1)];
    assert_eq!(world.writes_since(mark).await, counts(expected));
    assert!(refusals(&world.running().log()).values().all(|count| *count == 1));
    check_totals(&world, 1).await;
    world.finish().await;
}
