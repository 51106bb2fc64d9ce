//! Writes with an unknown outcome: every way to lose an answer, at every write, before and after it took effect. Each
//! way has its own tenant, gateway and user, so that all run in parallel.

use std::collections::BTreeMap;

use futures::future::join_all;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use vpn_operator_testbed::{Effort, effort, figures};

use crate::operator::failures::{add_tenant, owned_gateways};
use crate::operator::objects::Objects;
use crate::operator::seen::{PATIENCE, Seen};
use crate::operator::users::steps::{add_server, server_id};
use crate::operator::world::{Options, World, condition};

/// A way to lose an answer.
struct Way {
    name: String,
    fault: Value,
    /// Whether the write takes effect; `None`: late.
    commit: Option<bool>,
}

fn ways() -> Vec<Way> {
    let lost = ["lost-answer", "connection-reset", "timeout", "html-502", "html-504"];
    let both = lost.into_iter().flat_map(|fault| {
        [false, true].map(|commit| Way {
            name: format!("{fault}-{}", if commit { "after" } else { "before" }),
            fault: json!({"fault": fault, "commit": commit}),
            commit: Some(commit),
        })
    });
    let late = Way {
        name: "late-commit".to_owned(),
        fault: json!({"fault": "late-commit", "ms": 1500}),
        commit: None,
    };
    both.chain([late]).collect()
}

/// Undocumented behavior of the cloud that affects how the operator resolves an outcome.
fn positions() -> Vec<Value> {
    let all = vec![
        json!({}),
        json!({
            "list-tags": "absent", "create-answer-tags": "absent", "user-settling": "slow", "unsettled-users": "invisible",
            "p2c-codes": "VPN.0001",
        }),
        json!({
            "tag-add-existing-key": "refused", "tag-remove-unmatched": "404", "unknown-id": "400-not-found",
            "client-token-replay": "VPN.0031", "error-shape": "code",
        }),
        json!({
            "tag-remove-unmatched": "400", "list-order": "oldest-first", "unset-group": "null",
            "p2c-codes": "VPN.93xx", "client-token-replay": "ignored", "remove-users-not-in-group": "refused",
        }),
    ];
    match effort() {
        Effort::Full => all,
        Effort::Quick => all.into_iter().take(1).collect(),
    }
}

/// The writes of one lifecycle, in order.
const GATEWAY: [&str; 5] = [
    "CreateCustomerGateway",
    "UpdateCustomerGateway",
    "AddCustomerGatewayTags",
    "RemoveCustomerGatewayTags",
    "DeleteCustomerGateway",
];
const USER: [&str; 5] = [
    "CreateVpnUser",
    "UpdateVpnUser",
    "ResetVpnUserPassword",
    "RemoveVpnUsersFromGroup",
    "DeleteVpnUser",
];

#[derive(Default)]
struct Counted {
    unknown: u64,
    duplicates: u64,
    repeated_writes: u64,
    left: u64,
}

#[tokio::test]
async fn lost_responses_cause_no_duplicate_and_no_missing_write() {
    let mut sum = Counted::default();
    let rounds = positions();
    for (round, position) in rounds.iter().enumerate() {
        let counted = live_through(position).await;
        sum.unknown += counted.unknown;
        sum.duplicates += counted.duplicates;
        sum.repeated_writes += counted.repeated_writes;
        sum.left += counted.left;
        println!("round {round} is over: {position}");
    }
    let expected = rounds.len() * ways().len() * (GATEWAY.len() + USER.len());
    assert_eq!(sum.unknown, expected as u64);
    figures::report(
        "unknown outcomes",
        &[
            (
                "ways to lose a response, before and after its effect, and late",
                ways().len() as u64,
            ),
            ("writes of both kinds", (GATEWAY.len() + USER.len()) as u64),
            ("cloud variants", rounds.len() as u64),
            ("writes with an unknown outcome", sum.unknown),
            ("duplicates", sum.duplicates),
            ("writes executed twice", sum.repeated_writes),
            ("orphans", sum.left),
        ],
    );
    assert_eq!((sum.duplicates, sum.repeated_writes, sum.left), (0, 0, 0));
}

async fn live_through(position: &Value) -> Counted {
    // With these flags, the load alone causes no loss of the lease or of an answer.
    let flags = [
        "--resync-period=0",
        "--creation-confirmation-period=2s",
        "--leader-elect-lease-duration=60s",
        "--request-timeout=4s",
        "--log-level=info,vpn_operator=debug",
    ];
    let mut world = World::with(Options::with(flags)).await;
    world.simulator.set_switches(position).await.unwrap();
    world
        .simulator
        .set_pace(std::time::Duration::from_secs(1))
        .await
        .unwrap();
    let ways = ways();
    for (number, way) in ways.iter().enumerate() {
        add_tenant(&mut world, &way.name, json!({})).await;
        add_server(&world, number).await;
        for edit in 0..2 {
            world.sentinels.add(&password(number, edit));
        }
        set_password(&world, number, 0).await;
    }
    let seen = Seen::start(&world);
    let lives = ways.iter().enumerate().flat_map(|(number, way)| {
        [false, true].map(|is_user| Life {
            world: &world,
            seen: &seen,
            number,
            way,
            is_user,
            name: format!("{}-{}", way.name, if is_user { "user" } else { "gateway" }),
        })
    });
    let counted = join_all(lives.map(Life::live)).await;
    let mut sum = Counted::default();
    for one in counted {
        sum.unknown += one.unknown;
        sum.duplicates += one.duplicates;
        sum.repeated_writes += one.repeated_writes;
    }
    sum.left = (world.cloud_gateways().await.len() + world.cloud_users().await.len()) as u64;
    world.finish().await;
    sum
}

fn password(number: usize, edit: usize) -> String {
    format!("Sentinel Unk{number}-{edit}")
}

async fn set_password(world: &World, number: usize, edit: usize) {
    let password = password(number, edit);
    let data = BTreeMap::from([("password", password.as_str())]);
    world.apply_secret(&format!("password-{number}"), &data).await;
}

struct Life<'a> {
    world: &'a World,
    seen: &'a Seen,
    number: usize,
    way: &'a Way,
    is_user: bool,
    name: String,
}

impl Life<'_> {
    async fn live(self) -> Counted {
        let mut counted = Counted::default();
        for operation in if self.is_user { USER } else { GATEWAY } {
            if operation == "RemoveVpnUsersFromGroup" {
                let shown = self.seen.times(&self.name);
                self.patch(json!({"userGroupName": "default"})).await;
                self.is_well(shown, operation).await;
            }
            let fault = self.lose(operation).await;
            let (mark, shown) = (self.world.mark().await, self.seen.times(&self.name));
            self.act(operation).await;
            self.is_well(shown, operation).await;
            let (calls, committed) = self.calls(operation, mark).await;
            let hits = calls
                .iter()
                .filter(|call| !call["faults"].as_array().is_none_or(Vec::is_empty));
            counted.unknown += hits.count() as u64;
            let expected = self.expected(operation);
            assert!(
                expected.contains(&calls.len()),
                "{}: {expected:?} times {operation} with {fault}, but {calls:#?}",
                self.name
            );
            // A repeated reset is no second change: the cloud refuses it, or the password is the same.
            counted.repeated_writes += committed.saturating_sub(Self::bearable_writes(operation)) as u64;
            counted.duplicates += self.check(operation).await;
        }
        counted
    }

    /// How often a write may be sent: twice if it did not take effect; once if a read shows its effect.
    fn expected(&self, operation: &str) -> std::ops::RangeInclusive<usize> {
        match (operation, self.way.commit) {
            // No read shows a password. Reads that do not return a resource may be stale: only an answer to a DELETE
            // confirms the deletion.
            ("ResetVpnUserPassword", _) | ("DeleteCustomerGateway" | "DeleteVpnUser", Some(_)) | (_, Some(false)) => {
                2..=2
            }
            // The operator waits for a creation as long as it can be late. It repeats other writes if no read shows
            // them.
            (_, Some(true)) | ("CreateCustomerGateway" | "CreateVpnUser", None) => 1..=1,
            (_, None) => 1..=2,
        }
    }

    /// How often a write may take effect without a second change.
    fn bearable_writes(operation: &str) -> usize {
        let is_creation = operation.starts_with("Create");
        // Repeating the same change has no effect.
        if is_creation || operation.starts_with("Delete") {
            1
        } else {
            2
        }
    }

    /// Injects this life's fault into the next write of its tenant.
    async fn lose(&self, operation: &str) -> Value {
        let mut fault = self.way.fault.clone();
        fault["operation"] = json!(operation);
        fault["access_key"] = json!(self.access_key());
        self.world.simulator.add_fault(&fault).await.unwrap();
        fault
    }

    fn access_key(&self) -> String {
        format!("AK{}", self.way.name.to_uppercase())
    }

    fn objects(&self) -> Objects<'_> {
        if self.is_user {
            self.world.users()
        } else {
            self.world.gateway_objects()
        }
    }

    async fn patch(&self, spec: Value) {
        self.objects().patch(&self.name, json!({"spec": spec})).await;
    }

    async fn act(&self, operation: &str) {
        let name = &self.name;
        match operation {
            "CreateCustomerGateway" => {
                let spec = format!(
                    "{{name: {name}, idValue: 203.0.113.{}, tags: {{old: x}}, credentialsRef: {{name: {}}}}}",
                    self.number, self.way.name
                );
                self.world.apply_gateway(name, &spec).await;
            }
            "CreateVpnUser" => {
                let spec = format!(
                    "{{vpnServerID: {}, passwordSecretRef: {{name: password-{}}}, credentialsRef: {{name: {}}}}}",
                    server_id(self.number),
                    self.number,
                    self.way.name
                );
                self.world.apply_user(name, &spec).await;
            }
            "UpdateCustomerGateway" => self.patch(json!({"name": format!("{name}-2")})).await,
            "AddCustomerGatewayTags" => self.patch(json!({"tags": {"new": "y"}})).await,
            "RemoveCustomerGatewayTags" => self.patch(json!({"tags": {"old": null}})).await,
            "UpdateVpnUser" => self.patch(json!({"description": "edited"})).await,
            "ResetVpnUserPassword" => set_password(self.world, self.number, 1).await,
            "RemoveVpnUsersFromGroup" => self.patch(json!({"userGroupName": null, "userGroupID": "None"})).await,
            _ => drop(
                self.objects()
                    .api()
                    .delete(name, &DeleteParams::default())
                    .await
                    .unwrap(),
            ),
        }
    }

    /// Waits until the request is fulfilled and status reports it.
    async fn is_well(&self, mut shown: usize, operation: &str) {
        let wait = async |after: usize, fits: &dyn Fn(&Value) -> bool| {
            self.seen.wait_for(&self.name, after, operation, PATIENCE, fits).await.0
        };
        if operation.starts_with("Delete") {
            wait(shown, &|object| object.is_null()).await;
            return;
        }
        if operation == "ResetVpnUserPassword" {
            shown = wait(shown, &|object| !object["status"]["passwordReset"].is_null()).await;
        }
        let generation = self.objects().get(&self.name).await["metadata"]["generation"].clone();
        wait(shown, &|object| {
            let (ready, status) = (condition(object, "Ready"), &object["status"]);
            let is_done = status["passwordReset"].is_null() && status["intent"].is_null();
            ready["reason"] == "Available" && ready["observedGeneration"] == generation && is_done
        })
        .await;
    }

    /// The calls of an operation by this tenant, and how many of them took effect.
    async fn calls(&self, operation: &str, mark: u64) -> (Vec<Value>, usize) {
        let path = format!(
            "log?since={mark}&operation={operation}&access_key={}",
            self.access_key()
        );
        let log: Value = self.world.simulator.get(&path).await.unwrap();
        let calls = log["requests"].as_array().expect("requests").clone();
        let committed = calls.iter().filter(|call| call["committed"] == true).count();
        (calls, committed)
    }

    /// Checks that the cloud has the requested resource; returns the number of surplus ones.
    async fn check(&self, operation: &str) -> u64 {
        if self.is_user {
            let mut users = self.world.cloud_users().await;
            users.retain(|user| user["server_id"] == server_id(self.number).as_str());
            if operation.starts_with("Delete") {
                return users.len() as u64;
            }
            let object = self.objects().get(&self.name).await;
            let user = users.iter().find(|user| user["id"] == object["status"]["id"]);
            let user = user.unwrap_or_else(|| panic!("{}: {object} is not among {users:?}", self.name));
            let place = USER.iter().position(|other| *other == operation).expect("one of them");
            let id = user["id"].as_str().expect("an id");
            let password = password(self.number, usize::from(place >= 2));
            assert!(
                self.world.simulator.is_password(id, &password).await.unwrap(),
                "{}",
                self.name
            );
            assert_eq!(
                user["password_resets"],
                u64::from(place >= 2).min(1),
                "{}: {user}",
                self.name
            );
            assert_eq!(user["description"] == "edited", place >= 1, "{}: {user}", self.name);
            assert!(
                user["user_group_id"].as_str().is_none_or(str::is_empty),
                "{}: {user}",
                self.name
            );
            return users.len() as u64 - 1;
        }
        let of_name = |gateway: &Value| gateway["id_value"] == format!("203.0.113.{}", self.number);
        let mut gateways = self.world.cloud_gateways().await;
        gateways.retain(of_name);
        if operation.starts_with("Delete") {
            return gateways.len() as u64;
        }
        let object = self.objects().get(&self.name).await;
        let owned = owned_gateways(self.world, &object).await;
        assert_eq!(owned.len(), 1, "{}: {gateways:?}", self.name);
        assert_eq!(owned[0]["id"], object["status"]["id"], "{}", self.name);
        let place = GATEWAY
            .iter()
            .position(|other| *other == operation)
            .expect("one of them");
        let name = if place >= 1 {
            format!("{}-2", self.name)
        } else {
            self.name.clone()
        };
        assert_eq!(owned[0]["name"], name);
        assert_eq!(
            owned[0]["tags"]["new"].is_string(),
            place >= 2,
            "{}: {owned:?}",
            self.name
        );
        assert_eq!(
            owned[0]["tags"]["old"].is_string(),
            place < 3,
            "{}: {owned:?}",
            self.name
        );
        gateways.len() as u64 - 1
    }
}

/// A write that takes effect after the next write is drift, and is corrected.
#[tokio::test]
async fn a_late_update_is_corrected_as_drift() {
    let mut world = World::with(Options::with(["--resync-period=1s"])).await;
    crate::operator::users::steps::apply_pw(&mut world).await;
    let server = add_server(&world, 0).await;
    world
        .apply_gateway("office", "{name: office, idValue: 203.0.113.1}")
        .await;
    world
        .apply(&crate::operator::users::steps::on(
            &server,
            "alice",
            "description: first",
        ))
        .await;
    world.wait_for_reason("office", "Available").await;
    world.users().wait_for_reason("alice", "Available").await;
    for operation in ["UpdateCustomerGateway", "UpdateVpnUser"] {
        // The cloud applies the change when the test releases it.
        let late = json!({"fault": "late-commit", "operation": operation});
        world.simulator.add_fault(&late).await.unwrap();
    }
    world.patch("office", json!({"spec": {"name": "second"}})).await;
    world
        .users()
        .patch("alice", json!({"spec": {"description": "second"}}))
        .await;
    let held: Vec<Value> = world.simulator.wait_for_held(2).await.unwrap();
    assert_eq!(held.len(), 2);
    world.patch("office", json!({"spec": {"name": "third"}})).await;
    world
        .users()
        .patch("alice", json!({"spec": {"description": "third"}}))
        .await;
    world.wait_for_reason("office", "Available").await;
    world.users().wait_for_reason("alice", "Available").await;
    let (gateway, user) = (world.cloud_gateways().await, world.cloud_users().await);
    assert_eq!(
        (&gateway[0]["name"], &user[0]["description"]),
        (&json!("third"), &json!("third"))
    );
    let mark = world.mark().await;
    world.simulator.release(&json!({})).await.unwrap();
    world.wait_for_event("office", "DriftCorrected").await;
    world.users().wait_for_event("alice", "DriftCorrected").await;
    let (gateway, user) = (world.cloud_gateways().await, world.cloud_users().await);
    assert_eq!(
        (&gateway[0]["name"], &user[0]["description"]),
        (&json!("third"), &json!("third"))
    );
    assert_eq!((gateway.len(), user.len()), (1, 1));
    let calls = world.calls_since(mark).await;
    assert_eq!(
        (calls["UpdateCustomerGateway"], calls["UpdateVpnUser"]),
        (1, 1),
        "{calls:?}"
    );
    world.finish().await;
}
