//! Injects every row of the error table at the calls where the cloud may return it, and checks the reason, the backoff,
//! and the recovery without a restart. Each row has its own object, access key and VPN server, so that all run in
//! parallel.

mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};
use vpn_cloud::error::cloud_error::{Operation, known_codes};
use vpn_operator_testbed::{Effort, effort, figures};

pub(crate) use self::table::NEVER;
use self::table::{GATEWAY, ROWS, Row, Then, USER};
use crate::operator::failures::{add_access_key, secret_of};
use crate::operator::objects::Objects;
use crate::operator::seen::{PATIENCE, Seen};
use crate::operator::users::steps::{add_server, server_id};
use crate::operator::world::{Options, PROJECT, World, condition};

/// Number of objects in parallel.
const SIDE_BY_SIDE: usize = 30;
/// Within this time, an object that requires user action sends no request; any other has retried.
const WINDOW: Duration = Duration::from_millis(2500);
/// Calls on the way to the first status, in this order.
const FIRST: [Operation; 6] = [
    Operation::LookUpProject,
    Operation::ListCustomerGateways,
    Operation::ListCustomerGatewayTags,
    Operation::CreateCustomerGateway,
    Operation::ListVpnUsers,
    Operation::CreateVpnUser,
];

/// One object that meets one row at some calls.
struct Subject<'a> {
    world: &'a World,
    seen: &'a Seen,
    number: usize,
    row: &'static Row,
    at: Vec<Operation>,
    name: String,
    /// Number of the current access key: each changed Secret has another one.
    keys: usize,
    edits: usize,
    /// Whether a gateway exists beforehand that could be ours by a list without tags.
    meets_tags: bool,
}

/// Counts of one object.
#[derive(Default)]
struct Counted {
    met: u64,
    recovered: u64,
    by_user_action: u64,
    /// Calls that came too early: where, and the time of each.
    too_soon: Vec<String>,
}

/// Assigns rows to calls and objects (`true`: users). In a full run a row meets each of its calls; in a quick run only
/// a few, such that many rows meet every call.
fn plan() -> Vec<(usize, bool, Vec<Operation>)> {
    let most = match effort() {
        Effort::Full => usize::MAX,
        Effort::Quick => 2,
    };
    let mut met: BTreeMap<&str, usize> = BTreeMap::new();
    let mut plan = Vec::new();
    for (number, row) in ROWS.iter().enumerate() {
        let mut at: Vec<Operation> = row.at.to_vec();
        at.sort_by_key(|operation| met.get(operation.name()).copied().unwrap_or_default());
        at.truncate(most);
        for operation in &at {
            *met.entry(operation.name()).or_default() += 1;
        }
        for kind in [GATEWAY, USER] {
            let is_of_kind =
                |at: &&Operation| kind.contains(at) || (**at == Operation::LookUpProject && kind == GATEWAY);
            let (first, later): (Vec<Operation>, Vec<Operation>) =
                at.iter().filter(is_of_kind).partition(|at| FIRST.contains(at));
            // Consecutive failures wait longer and longer, so each call before the first status has an object of its
            // own.
            let mut lives: Vec<Vec<Operation>> = first.into_iter().map(|at| vec![at]).collect();
            if lives.is_empty() && !later.is_empty() {
                lives.push(Vec::new());
            }
            if let Some(life) = lives.first_mut() {
                let order = kind.iter().copied().filter(|at| later.contains(at));
                life.extend(order);
            }
            plan.extend(lives.into_iter().map(|life| (number, kind == USER, life)));
        }
    }
    plan
}

#[tokio::test]
async fn every_error_of_every_call_sets_its_reason_backs_off_and_recovers() {
    let flags = [
        "--resync-period=0",
        "--request-timeout=5s",
        "--leader-elect-lease-duration=60s",
        "--log-level=info,vpn_operator=debug",
    ];
    let mut world = World::with(Options::with(flags)).await;
    world.sentinels.add(&secret_of("errors"));
    for edit in 0..20 {
        world.sentinels.add(&password(edit));
    }
    world.make_room().await;
    // So that tags are read by calls of their own.
    let switches = json!({"list-tags": "absent"});
    world.simulator.set_switches(&switches).await.unwrap();
    let seen = Seen::start(&world);
    let plan = plan();
    let calls: BTreeSet<&str> = plan.iter().flat_map(|(_, _, at)| at).map(|at| at.name()).collect();
    assert_eq!(calls.len(), Operation::ALL.len() - NEVER.len(), "{calls:?}");

    let lives = plan.iter().enumerate().map(|(number, (row, is_user, at))| {
        let subject = Subject {
            world: &world,
            seen: &seen,
            number,
            row: &ROWS[*row],
            at: at.clone(),
            name: format!("row-{row}-{number}-{}", if *is_user { "user" } else { "gateway" }),
            keys: 0,
            edits: 0,
            meets_tags: at.contains(&Operation::ListCustomerGatewayTags),
        };
        subject.live()
    });
    let counted: Vec<Counted> = stream::iter(lives).buffer_unordered(SIDE_BY_SIDE).collect().await;
    let sum = |count: fn(&Counted) -> u64| counted.iter().map(count).sum::<u64>();
    let (met, recovered) = (sum(|it| it.met), sum(|it| it.recovered));
    let too_soon: Vec<&String> = counted.iter().flat_map(|it| &it.too_soon).collect();
    let (duplicates, orphans) = left_over(&world).await;
    let log: Value = world.simulator.log_since(0).await.unwrap();
    let is_injected = |call: &&Value| call["faults"].as_array().is_some_and(|faults| !faults.is_empty());
    let injected = log["requests"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(is_injected)
        .count();
    let known: BTreeSet<&str> = known_codes().collect();
    figures::report(
        "error table",
        &[
            ("error codes that the operator knows", known.len() as u64),
            ("documented errors", ROWS.len() as u64),
            ("operations that receive errors", calls.len() as u64),
            ("pairs of documented error and operation", met),
            ("refusals injected", injected as u64),
            ("recovered without a restart", recovered),
            (
                "recovered after a requested reconciliation or changed credentials",
                sum(|it| it.by_user_action),
            ),
            ("requests before the backoff ended", too_soon.len() as u64),
            ("duplicates", duplicates),
            ("orphans", orphans),
        ],
    );
    assert!(too_soon.is_empty(), "{too_soon:#?}");
    assert_eq!((duplicates, orphans), (0, 0));
    assert_eq!(met, recovered);
    assert!(world.ended.is_empty(), "it never ended, so it was never started again");
    world.finish().await;
}

/// Counts duplicates of cloud objects, and cloud objects whose object no longer exists.
async fn left_over(world: &World) -> (u64, u64) {
    let mut held: BTreeMap<String, u64> = BTreeMap::new();
    for object in world
        .gateway_objects()
        .list()
        .await
        .into_iter()
        .chain(world.users().list().await)
    {
        let id = object["status"]["id"].as_str().expect("an id").to_owned();
        held.insert(id, 0);
    }
    let mut unheld = 0;
    for gateway in world.cloud_gateways().await {
        let is_marked = gateway["tags"]["vpn-operator-owner"].is_string();
        match held.get_mut(gateway["id"].as_str().unwrap_or_default()) {
            Some(times) => *times += 1,
            None if is_marked => unheld += 1,
            // Seeded by the test.
            None => {}
        }
    }
    for user in world.cloud_users().await {
        match held.get_mut(user["id"].as_str().unwrap_or_default()) {
            Some(times) => *times += 1,
            None => unheld += 1,
        }
    }
    assert!(held.values().all(|times| *times == 1), "{held:?}");
    let creations = world.calls_since(0).await;
    assert!(creations["CreateCustomerGateway"] > 0 && creations["CreateVpnUser"] > 0);
    // If an access key has more than one committed creation, all but one are duplicates.
    let log: Value = world.simulator.log_since(0).await.unwrap();
    let mut made: BTreeMap<String, u64> = BTreeMap::new();
    for call in log["requests"].as_array().into_iter().flatten() {
        let operation = call["operation"].as_str().unwrap_or_default();
        if operation.starts_with("Create") && call["committed"] == true {
            let subject = call["access_key"].as_str().unwrap_or_default().split('V').next();
            *made.entry(subject.unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    let duplicates = made.values().map(|made| made - 1).sum();
    (duplicates, unheld)
}

fn password(edit: usize) -> String {
    format!("Sentinel Err-{edit}x")
}

impl Subject<'_> {
    async fn live(mut self) -> Counted {
        let mut counted = Counted::default();
        self.give_key().await;
        let at = std::mem::take(&mut self.at);
        let (first, later) = at.split_at(at.iter().take_while(|at| FIRST.contains(at)).count());
        for at in first {
            self.refuse(*at).await;
        }
        let (mark, mut shown) = (self.world.mark().await, self.seen.times(&self.name));
        self.apply().await;
        for at in first {
            shown = self.meet(*at, mark, shown, &mut counted).await;
        }
        self.is_well(shown).await;
        counted.recovered += first.len() as u64;
        for &at in later {
            self.prepare(at).await;
            self.refuse(at).await;
            let (mark, shown) = (self.world.mark().await, self.seen.times(&self.name));
            self.edit(at).await;
            let shown = self.meet(at, mark, shown, &mut counted).await;
            if is_deletion(at) {
                let is_deleted = |object: &Value| object.is_null();
                self.seen
                    .wait_for(&self.name, shown, "gone", PATIENCE, is_deleted)
                    .await;
            } else {
                self.is_well(shown).await;
            }
            counted.recovered += 1;
        }
        counted
    }

    /// Waits until status shows the refusal, checks the backoff, and ends the refusal. Returns how often the object was
    /// shown until the refusal was seen.
    async fn meet(&mut self, at: Operation, mark: u64, shown: usize, counted: &mut Counted) -> usize {
        let (reason, then) = self.row.expected(at);
        counted.met += 1;
        if then == Then::Gone {
            return shown;
        }
        let code = self.row.code;
        let is_reported = |object: &Value| {
            let ready = condition(object, "Ready");
            let message = ready["message"].as_str().unwrap_or_default();
            ready["reason"] == reason && message.contains(at.what()) && message.contains(code)
        };
        let awaited = format!("{reason} of {code} {} at {}", self.row.status, at.name());
        let (shown, object) = self
            .seen
            .wait_for(&self.name, shown, &awaited, PATIENCE, is_reported)
            .await;
        let recovers_by_itself = !matches!(then, Then::UserAction | Then::Credentials);
        let (there, not_there) = match recovers_by_itself && reason != "NameConflict" {
            true => ("Reconciling", "Stalled"),
            false => ("Stalled", "Reconciling"),
        };
        assert_eq!(
            condition(&object, "Ready")["status"],
            "False",
            "{}: {awaited}",
            self.name
        );
        assert_eq!(condition(&object, there)["status"], "True", "{}: {awaited}", self.name);
        assert_eq!(condition(&object, not_there), Value::Null, "{}: {awaited}", self.name);

        let refused = self.refusals(at);
        if recovers_by_itself {
            let calls = self.calls(at, mark, refused + 1).await;
            if is_too_soon(&calls, then) {
                counted.too_soon.push(format!("{awaited}: {calls:?}"));
            }
            return shown;
        }
        counted.by_user_action += 1;
        if then == Then::Credentials {
            // A reconcile request does not close the circuit breaker.
            self.ask().await;
        }
        let path = format!(
            "{}&count={}&timeout_ms={}",
            self.log_of(at, mark),
            refused + 1,
            WINDOW.as_millis()
        );
        let log: Value = self.world.simulator.get(&path).await.unwrap();
        if log["enough"] == true {
            counted.too_soon.push(format!("{awaited}: {log}"));
        }
        if then == Then::Credentials {
            self.keys += 1;
            self.give_key().await;
        } else {
            self.ask().await;
        }
        shown
    }

    /// How often the call is refused before it succeeds.
    fn refusals(&self, at: Operation) -> usize {
        let (reason, then) = self.row.expected(at);
        // If a failing server did not answer a creation, the operator first waits for its outcome.
        let is_unknown = FIRST.contains(&at) && (self.row.status >= 500 || self.row.code == "VPN.0031");
        let absorbed = at == Operation::AddCustomerGatewayTags && ["Rejected", "NameConflict"].contains(&reason);
        // After a refusal to overwrite a tag, the operator sends another request, which no condition reports. The same
        // applies to a page of 200 items, which may be longer than the cloud allows.
        let lists = [Operation::ListVpnUsers, Operation::ListVpnUserGroups];
        let absorbed = absorbed || (lists.contains(&at) && self.row.status == 400 && reason == "Rejected");
        let absorbed = usize::from(absorbed);
        match then {
            Then::Again if !is_unknown => 2,
            _ => 1 + absorbed,
        }
    }

    async fn refuse(&self, at: Operation) {
        let mut fault = json!({
            "fault": "error", "operation": at.name(), "access_key": self.access_key(), "status": self.row.status,
            "message": self.row.text, "times": self.refusals(at),
        });
        if !self.row.code.is_empty() {
            fault["code"] = json!(self.row.code);
        }
        if self.row.then == Then::Gone {
            fault["commit"] = json!(true);
        }
        self.world.simulator.add_fault(&fault).await.unwrap();
    }

    fn log_of(&self, at: Operation, mark: u64) -> String {
        format!(
            "log?since={mark}&operation={}&access_key={}",
            at.name(),
            self.access_key()
        )
    }

    /// Waits for this number of calls and returns their times.
    async fn calls(&self, at: Operation, mark: u64, count: usize) -> Vec<Timestamp> {
        let path = format!("{}&count={count}&timeout_ms=20000", self.log_of(at, mark));
        let waited = async {
            loop {
                let log: Value = self.world.simulator.get(&path).await.unwrap();
                if log["enough"] == true {
                    return log;
                }
            }
        };
        let log = tokio::time::timeout(PATIENCE, waited).await;
        let log = log.unwrap_or_else(|_| panic!("{}: not {count} times {}", self.name, at.name()));
        let calls = log["requests"].as_array().expect("requests").iter().take(count);
        calls
            .map(|call| call["at"].as_str().and_then(|at| at.parse().ok()).expect("a time"))
            .collect()
    }

    fn objects(&self) -> Objects<'_> {
        if self.is_user() {
            self.world.users()
        } else {
            self.world.gateway_objects()
        }
    }

    fn is_user(&self) -> bool {
        self.name.ends_with("user")
    }

    fn access_key(&self) -> String {
        let kind = if self.is_user() { 'U' } else { 'G' };
        format!("AK{kind}{}V{}", self.number, self.keys)
    }

    /// Puts a key that the cloud knows and no other object uses into the object's Secret.
    async fn give_key(&self) {
        let (access_key, secret_key) = (self.access_key(), secret_of("errors"));
        add_access_key(self.world, &access_key, &secret_key, json!({})).await;
        let mut data = BTreeMap::from([("accessKey", access_key.as_str()), ("secretKey", secret_key.as_str())]);
        if self.is_user() {
            data.insert("projectID", PROJECT);
        }
        self.world.apply_secret(&self.name, &data).await;
    }

    async fn set_password(&self) {
        let name = format!("{}-password", self.name);
        let password = password(self.edits);
        self.world
            .apply_secret(&name, &BTreeMap::from([("password", password.as_str())]))
            .await;
    }

    async fn apply(&self) {
        let name = &self.name;
        let spec = if self.is_user() {
            add_server(self.world, self.number).await;
            self.set_password().await;
            json!({
                "vpnServerID": server_id(self.number), "passwordSecretRef": {"name": format!("{name}-password")},
                "credentialsRef": {"name": name},
            })
        } else {
            let address = format!("203.0.{}.{}", 100 + self.number / 200, self.number % 200 + 1);
            if self.meets_tags {
                let seed = json!({"name": name, "id_value": address});
                self.world.simulator.seed_gateways::<Value>(&seed).await.unwrap();
            }
            json!({
                "name": name, "idValue": address, "tags": {"old": "x"}, "credentialsRef": {"name": name},
            })
        };
        let kind = if self.is_user() { "VpnUser" } else { "CustomerGateway" };
        let object = json!({
            "apiVersion": "vpn.huaweicloud.com/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec,
        });
        let object = serde_json::from_value(object).expect("an object");
        self.objects()
            .api()
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
    }

    /// Creates the state that an edit needs to cause this call.
    async fn prepare(&self, at: Operation) {
        if at == Operation::RemoveVpnUsersFromGroup {
            let shown = self.seen.times(&self.name);
            self.objects()
                .patch(&self.name, json!({"spec": {"userGroupName": "default"}}))
                .await;
            let is_member = |object: &Value| {
                object["status"]["userGroupName"] == "default" && condition(object, "Ready")["status"] == "True"
            };
            self.seen
                .wait_for(&self.name, shown.saturating_sub(1), "in the group", PATIENCE, is_member)
                .await;
        }
    }

    /// Makes an edit that causes this call.
    async fn edit(&mut self, at: Operation) {
        self.edits += 1;
        let text = format!("{}-{}", self.name, self.edits);
        let spec = match at {
            Operation::GetCustomerGateway | Operation::UpdateCustomerGateway => json!({"name": text}),
            Operation::AddCustomerGatewayTags => json!({"tags": {"new": text}}),
            Operation::RemoveCustomerGatewayTags => json!({"tags": {"old": null}}),
            Operation::GetVpnUser | Operation::UpdateVpnUser => json!({"description": text}),
            Operation::ListVpnUserGroups => json!({"userGroupName": "default"}),
            Operation::RemoveVpnUsersFromGroup => json!({"userGroupName": null, "userGroupID": "None"}),
            Operation::ResetVpnUserPassword => return self.set_password().await,
            _ => {
                let deleted = self.objects().api().delete(&self.name, &DeleteParams::default()).await;
                return drop(deleted.unwrap());
            }
        };
        self.objects().patch(&self.name, json!({"spec": spec})).await;
    }

    async fn ask(&self) {
        let unique = uuid::Uuid::new_v4().to_string();
        let asked = json!({"vpn.huaweicloud.com/reconcile-requested-at": unique});
        self.objects()
            .patch(&self.name, json!({"metadata": {"annotations": asked}}))
            .await;
    }

    /// Waits until the object is Available at the newest generation.
    async fn is_well(&self, shown: usize) {
        let version = self.objects().get(&self.name).await["metadata"]["generation"].clone();
        let is_password_reported = |object: &Value| object["status"]["passwordReset"].is_null();
        let is_well = |object: &Value| {
            let ready = condition(object, "Ready");
            ready["reason"] == "Available" && ready["observedGeneration"] == version && is_password_reported(object)
        };
        self.seen
            .wait_for(&self.name, shown, "Available again", PATIENCE, is_well)
            .await;
    }
}

fn is_deletion(at: Operation) -> bool {
    matches!(at, Operation::DeleteCustomerGateway | Operation::DeleteVpnUser)
}

/// Whether any call came too early: the wait doubles, and may be a fifth shorter.
fn is_too_soon(calls: &[Timestamp], then: Then) -> bool {
    let mut least = Duration::from_secs(then.seconds()).mul_f64(0.8);
    calls.windows(2).any(|pair| {
        let gap = Duration::try_from(pair[1].duration_since(pair[0])).unwrap_or_default();
        // The log has whole milliseconds.
        let is_early = gap + Duration::from_millis(1) < least;
        least *= 2;
        is_early
    })
}
