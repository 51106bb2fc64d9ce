//! Whatever the cloud does where its documents are silent, a user's life cycle ends in the same state. The same story
//! runs with every position of every switch of the simulator that concerns users, groups or servers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use vpn_operator_testbed::eventually;
use vpn_simulator::Switches;

use crate::operator::world::{DEADLINE, Options, VPN_SERVER, World, condition};

/// Switches that concern only customer gateways and their tags, certificates, quota and lists.
const NOT_ABOUT_USERS: [&str; 24] = [
    "has-connection-status",
    "duplicate-name",
    "duplicate-id-value",
    "quota-exceeded-status",
    "last-page-marker",
    "tag-add-existing-key",
    "tag-remove-unmatched",
    "gateway-deletion",
    "fqdn",
    "ca-certificate",
    "ca-certificate-updatable",
    "ca-certificate-duplicate",
    "list-tags",
    "list-id-type",
    "list-bgp-asn",
    "create-answer-tags",
    "empty-tags",
    "unset-fields",
    "deprecated-fields",
    "create-answer-times",
    "tags-move-updated-at",
    "create-tag-without-value",
    "tag-value-slash",
    "filter-name-match",
];

/// Positions in which the story cannot end the same way.
const OTHER_STORIES: [(&str, &str); 1] = [(
    "p2c",
    "where the API is not published nothing can be made: see groups::a_cloud_without_the_user_api_is_reported",
)];

/// Two positions that together would make every second write wait ten seconds.
const APART: [(&str, &str); 2] = [("write-queue", "1"), ("write-queue-pace", "one-a-second")];

const FULL_SERVER: &str = "5e5e5e5e-0000-4000-8000-0000000000f1";
const NO_SERVER: &str = "5e5e5e5e-0000-4000-8000-0000000000f2";
const TEAM: &str = "66666666-0000-4000-8000-000000000001";
const OPS: &str = "66666666-0000-4000-8000-000000000002";

type Positions = BTreeMap<String, String>;

/// Returns the positions of the runs: all defaults in the first one, another value of each switch in the others.
fn runs() -> Vec<Positions> {
    let all = Switches::default().list();
    let concerned: Vec<_> = all
        .iter()
        .filter(|switch| !NOT_ABOUT_USERS.contains(&switch.name))
        .filter(|switch| OTHER_STORIES.iter().all(|(name, _)| *name != switch.name))
        .collect();
    let most = concerned.iter().map(|switch| switch.allowed.len()).max().unwrap_or(1);
    let mut runs: Vec<Positions> = (0..most)
        .map(|run| {
            let value = |values: &[&str]| values[run % values.len()].to_owned();
            concerned
                .iter()
                .map(|switch| (switch.name.to_owned(), value(switch.allowed)))
                .collect()
        })
        .collect();
    for run in &mut runs {
        if APART.iter().all(|(name, value)| run[*name] == *value) {
            run.insert(APART[1].0.to_owned(), "at-once".to_owned());
        }
    }
    runs
}

#[test]
fn the_runs_cover_every_value_of_every_switch() {
    let runs = runs();
    let names: BTreeSet<&str> = Switches::default().list().iter().map(|switch| switch.name).collect();
    for name in NOT_ABOUT_USERS.iter().chain(OTHER_STORIES.iter().map(|(name, _)| name)) {
        assert!(names.contains(name), "there is no switch {name} any more");
    }
    for switch in Switches::default().list() {
        let is_omitted =
            NOT_ABOUT_USERS.contains(&switch.name) || OTHER_STORIES.iter().any(|(name, _)| *name == switch.name);
        for value in switch.allowed.iter().filter(|_| !is_omitted) {
            let is_met = runs.iter().any(|run| run[switch.name] == *value);
            assert!(is_met, "{} is never {value}", switch.name);
        }
    }
    for run in &runs {
        assert!(APART.iter().any(|(name, value)| run[*name] != *value), "{run:?}");
    }
}

/// The story in one world.
struct Story {
    world: World,
    reported: Vec<(String, Value)>,
}

impl Story {
    async fn begin(positions: &Positions) -> Self {
        let options = Options::with(["--resync-period=0", "--creation-confirmation-period=6s"]);
        let mut world = World::with(options).await;
        world.simulator.set_switches(positions).await.unwrap();
        world.simulator.set_pace(Duration::from_secs(1)).await.unwrap();
        let groups = json!([{"name": "team", "id": TEAM}, {"name": "ops", "id": OPS}]);
        world
            .simulator
            .admin_post::<Value>("vpn-groups", &groups)
            .await
            .unwrap();
        let server = json!({"id": FULL_SERVER, "user_quota": 1});
        world
            .simulator
            .admin_post::<Value>("vpn-servers", &server)
            .await
            .unwrap();
        world.apply_password("first", "Sentinel Pass-1").await;
        world.apply_password("alice", "Sentinel Pass-1").await;
        Self {
            world,
            reported: Vec::new(),
        }
    }

    async fn fault(&self, operation: &str, fault: &str) {
        let fault = json!({
            "fault": fault, "operation": operation, "commit": fault == "lost-answer", "path_contains": VPN_SERVER,
        });
        self.world.simulator.add_fault(&fault).await.unwrap();
    }

    async fn patch(&self, name: &str, spec: Value) {
        self.world.users().patch(name, json!({"spec": spec})).await;
    }

    async fn ask(&self, name: &str) {
        let stamp = format!("after-{}", self.world.mark().await);
        let annotations = json!({"vpn.huaweicloud.com/reconcile-requested-at": stamp});
        let patch = json!({"metadata": {"annotations": annotations}});
        self.world.users().patch(name, patch).await;
    }

    /// Returns the user of that name, visible to the API or not.
    async fn in_cloud(&self, name: &str) -> Option<Value> {
        let users = self.world.cloud_users().await;
        users.into_iter().find(|user| user["name"] == name)
    }

    /// Waits until a user is created, and ends the time that a slow cloud takes for that.
    async fn wait_until_available(&self, name: &str) {
        let awaited = format!("{name} is made");
        self.until(&awaited, async || {
            self.in_cloud(name).await.map(drop).ok_or("not yet".to_owned())
        })
        .await;
        self.world.simulator.post::<Value>("settle", &json!({})).await.unwrap();
    }

    /// Waits, and panics with the last state on timeout.
    async fn until(&self, awaited: &str, check: impl AsyncFnMut() -> Result<(), String>) {
        let result = eventually(awaited, DEADLINE, check).await;
        result.unwrap_or_else(|error| panic!("{error}\n{}", self.world.log_tail()));
    }

    /// Sends a POST without parameters to the simulator's admin API.
    async fn post(&self, path: &str) {
        self.world.simulator.post::<Value>(path, &json!({})).await.unwrap();
    }

    /// Waits for the reason, and records the state at that time. A retry in progress, which a slow machine makes likely,
    /// is not at rest.
    async fn note(&mut self, chapter: &str, name: &str, reason: &str) {
        let what = format!("is at rest with {reason}");
        let is_at_rest = |object: &Value| {
            let ready = condition(object, "Ready");
            ready["reason"] == reason
                && ready["observedGeneration"] == object["metadata"]["generation"]
                && object["status"]["intent"].is_null()
        };
        let object = self.world.users().wait_for(name, &what, is_at_rest).await;
        let status = &object["status"];
        let fields: BTreeSet<_> = status
            .as_object()
            .into_iter()
            .flatten()
            .map(|(field, _)| field.clone())
            .collect();
        let spec_name = object["spec"]["name"].as_str().unwrap_or(name);
        let user = self.in_cloud(spec_name).await.unwrap_or_default();
        // The number of password resets is omitted: a cloud that accepts a recent password again sets it twice.
        let cloud = [
            "name",
            "description",
            "user_group_id",
            "user_group_name",
            "static_ip",
            "server_id",
        ];
        let cloud: BTreeMap<_, _> = cloud.iter().map(|field| (*field, user[*field].clone())).collect();
        let ready = condition(&object, "Ready");
        let shown = ["userGroupID", "userGroupName", "staticIP", "name"];
        let shown: BTreeMap<_, _> = shown.iter().map(|field| (*field, status[*field].clone())).collect();
        let reported = json!({
            "status": shown,
            "fields": fields,
            "ready": [ready["status"], ready["reason"]],
            "stalled": condition(&object, "Stalled")["status"],
            "reconciling": condition(&object, "Reconciling")["status"],
            "drifted": condition(&object, "Drifted")["status"],
            "is the recorded one": status["id"].is_string() && status["id"] == user["id"],
            "cloud": cloud,
        });
        self.reported.push((format!("{chapter}: {name}"), reported));
    }

    async fn run(mut self) -> Vec<(String, Value)> {
        // The response is lost, and the user is found.
        self.fault("CreateVpnUser", "lost-answer").await;
        let spec = "{passwordSecretRef: {name: alice}, description: ops, userGroupName: team, staticIP: 192.168.10.5}";
        self.world.apply_user("alice", spec).await;
        self.wait_until_available("alice").await;
        self.note("created", "alice", "Available").await;

        self.world
            .apply_user("loner", "{passwordSecretRef: {name: first}, userGroupID: None}")
            .await;
        self.wait_until_available("loner").await;
        self.note("in no group", "loner", "Available").await;
        self.refusals().await;

        self.fault("UpdateVpnUser", "throttled-by-service").await;
        self.patch("alice", json!({"description": "net"})).await;
        self.note("with a new description", "alice", "Available").await;
        self.patch("alice", json!({"staticIP": "192.168.10.9"})).await;
        self.note("with another address", "alice", "Available").await;
        self.patch("alice", json!({"userGroupName": "ops"})).await;
        self.note("in another group", "alice", "Available").await;
        self.patch("alice", json!({"description": ""})).await;
        self.note("without a description", "alice", "Available").await;
        self.patch("alice", json!({"userGroupName": null, "userGroupID": "None"}))
            .await;
        self.note("left its group", "alice", "Available").await;

        self.rotate().await;
        self.correct_drift().await;
        self.go().await;
        let Self { world, reported } = self;
        world.finish().await;
        reported
    }

    /// Requests that the cloud refuses, with whatever texts and codes.
    async fn refusals(&mut self) {
        // Explicitly in no group; otherwise the cloud may choose a group.
        let on =
            |server: &str| format!("{{vpnServerID: {server}, passwordSecretRef: {{name: first}}, userGroupID: None}}");
        self.world.apply_user("full-1", &on(FULL_SERVER)).await;
        self.wait_until_available("full-1").await;
        self.note("the last place", "full-1", "Available").await;
        self.world.apply_user("full-2", &on(FULL_SERVER)).await;
        self.world.apply_user("nowhere", &on(NO_SERVER)).await;
        self.world
            .apply_user("same-ip", "{passwordSecretRef: {name: first}, staticIP: 192.168.10.5}")
            .await;
        // Created after the last list of the users, so that only the cloud can detect it.
        let unmanaged = json!({"server_id": VPN_SERVER, "name": "taken", "password": "Str4nger pass"});
        self.world.simulator.seed_users::<Value>(&unmanaged).await.unwrap();
        self.world
            .apply_user("taken", "{passwordSecretRef: {name: first}}")
            .await;
        self.note("no place left", "full-2", "QuotaExceeded").await;
        self.note("no such server", "nowhere", "DependencyNotReady").await;
        self.note("a taken address", "same-ip", "Rejected").await;
        self.note("a taken name", "taken", "NameConflict").await;
    }

    /// The response to the reset is lost, and the new password is in force.
    async fn rotate(&mut self) {
        self.fault("ResetVpnUserPassword", "lost-answer").await;
        self.world.apply_password("alice", "Sentinel Pass-2").await;
        self.world
            .users()
            .wait_for("alice", "the reset is settled", |object| {
                let status = &object["status"];
                let is_done = status["passwordReset"].is_null() && condition(object, "Ready")["status"] == "True";
                is_done && status["passwordSetAt"] != status["createdAt"]
            })
            .await;
        let id = self.in_cloud("alice").await.unwrap_or_default()["id"].clone();
        let id = id.as_str().expect("an id");
        assert!(self.world.simulator.is_password(id, "Sentinel Pass-2").await.unwrap());
        self.note("with a new password", "alice", "Available").await;
    }

    /// Corrects what others changed.
    async fn correct_drift(&mut self) {
        let id = self.in_cloud("alice").await.unwrap_or_default()["id"].clone();
        let id = id.as_str().expect("an id").to_owned();
        let edit = json!({"description": "by hand", "static_ip": "disable", "user_group_id": TEAM});
        self.world.simulator.edit_user(&id, &edit).await.unwrap();
        self.ask("alice").await;
        self.until("alice is corrected", async || {
            let user = self.in_cloud("alice").await.unwrap_or_default();
            let is_correct =
                user["description"] == "" && user["static_ip"] == "192.168.10.9" && user["user_group_id"].is_null();
            if is_correct { Ok(()) } else { Err(user.to_string()) }
        })
        .await;
        self.note("corrected", "alice", "Available").await;

        let path = format!("vpn-servers/{VPN_SERVER}");
        let pending = json!({"status": "PENDING_UPDATE"});
        self.world
            .simulator
            .admin_patch::<Value>(&path, &pending)
            .await
            .unwrap();
        self.patch("alice", json!({"description": "later"})).await;
        self.note("a server at work", "alice", "DependencyNotReady").await;
        let active = json!({"status": "ACTIVE"});
        self.world.simulator.admin_patch::<Value>(&path, &active).await.unwrap();
        self.note("a server that is back", "alice", "Available").await;

        self.world.simulator.remove_user(&id).await.unwrap();
        self.ask("alice").await;
        self.wait_until_available("alice").await;
        self.world
            .users()
            .wait_for("alice", "recreated", |object| {
                object["status"]["id"].is_string() && object["status"]["id"] != id.as_str()
            })
            .await;
        self.note("recreated", "alice", "Available").await;
    }

    /// Deletes one user, whose name another one takes; then deletes all.
    async fn go(&mut self) {
        let id = self.in_cloud("alice").await.unwrap_or_default()["id"].clone();
        self.world.kubectl(["delete", "vpnu", "alice", "--wait=false"]).await;
        self.world
            .apply_user(
                "heir",
                "{name: alice, passwordSecretRef: {name: first}, userGroupID: None}",
            )
            .await;
        self.until("the first alice is deleted", async || {
            self.post("finish-deletions").await;
            let users = self.world.cloud_users().await;
            let is_there = users.iter().any(|user| user["id"] == id);
            if is_there { Err(format!("{users:?}")) } else { Ok(()) }
        })
        .await;
        self.world.users().wait_until_deleted("alice").await;
        self.wait_until_available("alice").await;
        self.note("the next user of the name", "heir", "Available").await;

        self.world.kubectl(["delete", "vpnu", "--all", "--wait=false"]).await;
        self.until("all are deleted", async || {
            self.post("finish-deletions").await;
            let left = self.world.users().list().await;
            if left.is_empty() {
                Ok(())
            } else {
                Err(format!("{left:?}"))
            }
        })
        .await;
        let users = self.world.cloud_users().await;
        let left: Vec<_> = users.iter().map(|user| user["name"].clone()).collect();
        assert_eq!(left, ["taken"], "the unmanaged user stays");
        assert_eq!(users[0]["password_resets"], 0);
    }
}

#[tokio::test]
async fn the_scenario_ends_the_same_with_every_switch_value() {
    let runs = runs();
    let stories = join_all(runs.iter().map(|positions| async {
        let story = Story::begin(positions).await;
        story.run().await
    }));
    let stories = stories.await;
    let (usual, others) = stories.split_first().expect("a run with the defaults");
    assert!(others.len() >= 2, "{} runs", stories.len());
    let reported: BTreeMap<_, _> = usual.iter().cloned().collect();
    for (chapter, description, group, ip) in [
        ("created", "ops", json!(TEAM), json!("192.168.10.5")),
        ("with a new description", "net", json!(TEAM), json!("192.168.10.5")),
        ("with another address", "net", json!(TEAM), json!("192.168.10.9")),
        ("in another group", "net", json!(OPS), json!("192.168.10.9")),
        ("without a description", "", json!(OPS), json!("192.168.10.9")),
        ("left its group", "", Value::Null, json!("192.168.10.9")),
        ("with a new password", "", Value::Null, json!("192.168.10.9")),
        ("corrected", "", Value::Null, json!("192.168.10.9")),
        ("recreated", "later", Value::Null, json!("192.168.10.9")),
    ] {
        let cloud = &reported[&format!("{chapter}: alice")]["cloud"];
        let found = (&cloud["description"], &cloud["user_group_id"], &cloud["static_ip"]);
        assert_eq!(found, (&json!(description), &group, &ip), "{chapter}");
    }
    for (positions, story) in runs.iter().skip(1).zip(others) {
        assert_eq!(story.len(), usual.len());
        for ((chapter, expected), (_, found)) in usual.iter().zip(story) {
            assert_eq!(found, expected, "{chapter}, with {positions:?}");
        }
    }
}
