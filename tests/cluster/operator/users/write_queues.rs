//! Writes on one VPN server are sent one at a time; nothing else waits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use vpn_operator_testbed::{Simulator, eventually};
use vpn_simulator::tryout;

use crate::operator::world::{DEADLINE, Options, PROJECT, VPN_SERVER, World, condition, user};

const OTHER_SERVER: &str = "5e5e5e5e-0000-4000-8000-000000000002";
/// For tests that hold a request during many other steps: it must not time out before.
const HELD_FOR_LONG: [&str; 3] = [
    "--resync-period=0",
    "--request-timeout=120s",
    "--leader-elect-lease-duration=240s",
];
/// The calls that read users.
const READS: [&str; 2] = ["GetVpnUser", "ListVpnUsers"];
/// The calls that change a user.
const WRITES: [&str; 5] = [
    "CreateVpnUser",
    "UpdateVpnUser",
    "RemoveVpnUsersFromGroup",
    "ResetVpnUserPassword",
    "DeleteVpnUser",
];

/// A request in the simulator's log.
#[derive(Debug)]
struct Request {
    at: Timestamp,
    operation: String,
    path: String,
    access_key: String,
    status: u64,
}

async fn log_since(simulator: &Simulator, mark: u64) -> Vec<Request> {
    let page: Value = simulator.log_since(mark).await.unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let requests = page["requests"].as_array().expect("a list of requests");
    let read = |request: &Value| Request {
        at: text(&request["at"]).parse().expect("an instant"),
        operation: text(&request["operation"]),
        path: text(&request["path"]),
        access_key: text(&request["access_key"]),
        status: request["status"].as_u64().unwrap_or_default(),
    };
    requests.iter().map(read).collect()
}

fn of<'a>(log: &'a [Request], operation: &str) -> Vec<&'a Request> {
    log.iter().filter(|request| request.operation == operation).collect()
}

/// `GET` of one of the simulator's servers.
async fn server(world: &World, id: &str) -> Value {
    world.simulator.admin_get(&format!("vpn-servers/{id}")).await.unwrap()
}

async fn add_server(world: &World) {
    let seed = json!({"id": OTHER_SERVER});
    world.simulator.admin_post::<Value>("vpn-servers", &seed).await.unwrap();
}

async fn slow(world: &World, operations: &[&str], ms: u64) {
    for operation in operations {
        let fault = json!({"fault": "latency", "operation": operation, "ms": ms, "times": 0});
        world.simulator.add_fault(&fault).await.unwrap();
    }
}

fn manifests(names: &[String], spec: &str) -> String {
    let each: Vec<_> = names.iter().map(|name| user(name, spec)).collect();
    each.join("---\n")
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("{prefix}-{number:02}")).collect()
}

/// Waits until the cloud has seen so many calls of an operation after a mark.
async fn wait_for_calls(world: &World, mark: u64, operation: &str, count: u64) {
    let awaited = format!("{count} of {operation}");
    let result = eventually(&awaited, DEADLINE * 2, async || {
        let calls = world.calls_since(mark).await;
        if calls.get(operation).copied().unwrap_or_default() >= count {
            Ok(())
        } else {
            Err(format!("{calls:?}"))
        }
    })
    .await;
    result.unwrap_or_else(|error| panic!("{error}\n{}", world.log_tail()));
}

/// Waits until every user of the cloud is as it should be.
async fn wait_for_cloud_users(world: &World, awaited: &str, count: usize, fits: impl Fn(&Value) -> bool) {
    let result = eventually(awaited, DEADLINE * 2, async || {
        let users = world.cloud_users().await;
        let fitting = users.iter().filter(|user| fits(user)).count();
        if fitting == count && users.len() == count {
            Ok(())
        } else {
            Err(format!("{fitting} of {} are", users.len()))
        }
    })
    .await;
    result.unwrap_or_else(|error| panic!("{error}\n{}", world.log_tail()));
}

/// The reads among calls that were counted.
fn reads(calls: &BTreeMap<String, u64>) -> u64 {
    let is_read = |name: &&String| name.starts_with("Get") || name.starts_with("List");
    calls
        .iter()
        .filter(|(name, _)| is_read(name))
        .map(|(_, count)| count)
        .sum()
}

#[tokio::test]
async fn fifty_users_are_created_one_at_a_time_and_confirmed_together() {
    // A write that times out would be sent again.
    let options = Options::with([
        "--resync-period=0",
        "--creation-confirmation-period=5m",
        "--request-timeout=7s",
    ]);
    let mut world = World::with(options).await;
    slow(&world, &WRITES, 60).await;
    slow(&world, &READS, 200).await;
    world.apply_password("shared", "Sentinel Pass-1").await;
    let names = names("user", 50);
    let mark = world.mark().await;
    let spec = "{passwordSecretRef: {name: shared}, description: first}";
    world.apply(&manifests(&names, spec)).await;
    // No user is confirmed for long, and no write waits for that.
    wait_for_calls(&world, mark, "CreateVpnUser", 50).await;
    let result = eventually("all are recorded", DEADLINE, async || {
        let objects = world.users().list().await;
        let recorded = objects.iter().filter(|object| object["status"]["id"].is_string());
        let count = recorded.count();
        if count == 50 {
            Ok(objects)
        } else {
            Err(format!("{count} are"))
        }
    });
    for object in result.await.unwrap() {
        let ready = condition(&object, "Ready");
        assert_eq!(
            (&ready["status"], &ready["reason"]),
            (&json!("False"), &json!("Creating"))
        );
    }
    let calls = world.calls_since(mark).await;
    assert_eq!(calls["CreateVpnUser"], 50, "{calls:?}");
    assert!(reads(&calls) <= 2, "the first look is one for all: {calls:?}");

    // Their confirmation period is over, by the cloud's clock, and they are confirmed together.
    let mark = world.mark().await;
    let skew = json!({"skew_ms": 400_000});
    world.simulator.put::<Value>("clock", &skew).await.unwrap();
    world.restart_operator().await;
    world.users().wait_until_all_ready(50).await;
    let calls = world.calls_since(mark).await;
    assert_eq!(calls.get("CreateVpnUser"), None, "{calls:?}");
    assert!(reads(&calls) <= 10, "a list shows them all: {calls:?}");

    let mark = world.mark().await;
    let spec = "{passwordSecretRef: {name: shared}, description: second}";
    world.apply(&manifests(&names, spec)).await;
    wait_for_cloud_users(&world, "has the new description", 50, |user| {
        user["description"] == "second"
    })
    .await;
    world.users().wait_until_all_ready(50).await;
    let calls = world.calls_since(mark).await;
    assert_eq!(calls.get("UpdateVpnUser"), Some(&50), "{calls:?}");
    assert!(reads(&calls) <= 100, "two reads a user at the most: {calls:?}");

    let mark = world.mark().await;
    world.apply_password("shared", "Sentinel Pass-2").await;
    wait_for_cloud_users(&world, "with a new password", 50, |user| user["password_resets"] == 1).await;
    world.users().wait_until_all_ready(50).await;
    let calls = world.calls_since(mark).await;
    assert_eq!(calls.get("ResetVpnUserPassword"), Some(&50), "{calls:?}");
    assert_eq!(calls.get("UpdateVpnUser"), None, "{calls:?}");
    assert!(reads(&calls) <= 100, "two reads a user at the most: {calls:?}");

    let mark = world.mark().await;
    world.kubectl(["delete", "vpnu", "--all"]).await;
    assert!(world.cloud_users().await.is_empty());
    let calls = world.calls_since(mark).await;
    assert_eq!(calls.get("DeleteVpnUser"), Some(&50), "{calls:?}");
    let count = |operation| calls.get(operation).copied().unwrap_or_default();
    assert!(count("GetVpnUser") <= 100, "two reads a user at the most: {calls:?}");
    assert!(
        count("ListVpnUsers") <= 50,
        "absences are confirmed by lists, most of which are shared: {calls:?}"
    );

    let server = server(&world, VPN_SERVER).await;
    assert_eq!(
        (&server["writes"], &server["most_writes_at_once"]),
        (&json!(200), &json!(1))
    );
    world.finish().await;
}

#[tokio::test]
async fn users_are_confirmed_after_the_confirmation_period() {
    let options = Options::with(["--resync-period=0", "--creation-confirmation-period=5s"]);
    let mut world = World::with(options).await;
    world.apply_password("shared", "Sentinel Pass-1").await;
    let mark = world.mark().await;
    let spec = "{passwordSecretRef: {name: shared}}";
    world.apply(&manifests(&names("user", 10), spec)).await;
    world.users().wait_until_all_ready(10).await;
    let log = log_since(&world.simulator, mark).await;
    let posts = of(&log, "CreateVpnUser");
    let (first, last) = (posts[0].at, posts[9].at);
    assert_eq!(posts.len(), 10);
    let read_requests = [of(&log, "ListVpnUsers"), of(&log, "GetVpnUser")].concat();
    let mut confirming: Vec<Timestamp> = read_requests
        .iter()
        .map(|read_request| read_request.at)
        .filter(|at| *at > first)
        .collect();
    confirming.sort_unstable();
    let confirmation_period = Duration::from_secs(5);
    assert!(
        confirming[0] >= first + confirmation_period,
        "{confirming:?}, after {first}"
    );
    assert!(
        confirming[confirming.len() - 1] >= last + confirmation_period,
        "{confirming:?}, after {last}"
    );
    let count = |operation| {
        of(&log, operation)
            .iter()
            .filter(|read_request| read_request.at > first)
            .count()
    };
    // Users that are due together share a list, even if a GET of one of them is in progress.
    assert!(
        count("GetVpnUser") <= 10 && count("ListVpnUsers") <= 5,
        "one read of a user, or one list for several: {confirming:?}"
    );
    world.finish().await;
}

#[tokio::test]
async fn write_queues_are_per_server_and_shared_by_credentials() {
    let options = Options::with(HELD_FOR_LONG);
    let mut world = World::with(options).await;
    add_server(&world).await;
    world.apply_password("shared", "Sentinel Pass-1").await;
    let secret_key = "SENTINEL-second-key";
    let credential = json!({"secret_key": secret_key});
    world
        .simulator
        .put::<Value>("credentials/SECONDACCESSKEY", &credential)
        .await
        .unwrap();
    world
        .apply_credentials("second", "SECONDACCESSKEY", secret_key, &[])
        .await;

    // One write on this server is held: no other one arrives, with any credentials, but one on another server does.
    let held = json!({"fault": "hold", "operation": "CreateVpnUser", "path_contains": VPN_SERVER});
    world.simulator.add_fault(&held).await.unwrap();
    let mark = world.mark().await;
    world.apply_user("held-1", "{passwordSecretRef: {name: shared}}").await;
    world.simulator.wait_for_held::<Value>(1).await.unwrap();
    let own = names("own", 5);
    let seconds = names("second", 5);
    world
        .apply(&manifests(&own, "{passwordSecretRef: {name: shared}}"))
        .await;
    let spec = "{passwordSecretRef: {name: shared}, credentialsRef: {name: second}}";
    world.apply(&manifests(&seconds, spec)).await;
    let spec = format!("{{vpnServerID: {OTHER_SERVER}, passwordSecretRef: {{name: shared}}}}");
    world.apply_user("elsewhere", &spec).await;
    world.users().wait_for_reason("elsewhere", "Available").await;
    let log = log_since(&world.simulator, mark).await;
    let here = of(&log, "CreateVpnUser")
        .iter()
        .filter(|post| post.path.contains(VPN_SERVER))
        .count();
    assert_eq!(here, 1, "the held one");
    slow(&world, &WRITES, 30).await;
    world.simulator.release(&json!({})).await.unwrap();
    world.users().wait_until_all_ready(12).await;

    let log = log_since(&world.simulator, mark).await;
    let posts = of(&log, "CreateVpnUser");
    assert_eq!(posts.len(), 12, "{posts:?}");
    let keys: BTreeSet<&str> = posts.iter().map(|post| post.access_key.as_str()).collect();
    assert_eq!(keys, BTreeSet::from([world.access_key.as_str(), "SECONDACCESSKEY"]));
    let server = server(&world, VPN_SERVER).await;
    assert_eq!(
        (&server["writes"], &server["most_writes_at_once"]),
        (&json!(11), &json!(1))
    );
    world.finish().await;
}

#[tokio::test]
async fn an_edit_is_sent_before_queued_creations() {
    let options = Options::with(HELD_FOR_LONG);
    let mut world = World::with(options).await;
    world.apply_password("shared", "Sentinel Pass-1").await;
    world
        .apply_user("edited", "{passwordSecretRef: {name: shared}, description: first}")
        .await;
    world.users().wait_for_reason("edited", "Available").await;
    let held = json!({"fault": "hold", "operation": "CreateVpnUser"});
    world.simulator.add_fault(&held).await.unwrap();
    let mark = world.mark().await;
    world.apply_user("held-1", "{passwordSecretRef: {name: shared}}").await;
    world.simulator.wait_for_held::<Value>(1).await.unwrap();
    world
        .apply(&manifests(&names("new", 5), "{passwordSecretRef: {name: shared}}"))
        .await;
    world.wait_for_metric("vpn_operator_budget_queue 5").await;
    let edit = json!({"spec": {"description": "second"}});
    world.users().patch("edited", edit).await;
    world.wait_for_metric("vpn_operator_budget_queue 6").await;
    world.simulator.release(&json!({})).await.unwrap();
    world.users().wait_until_all_ready(7).await;
    let log = log_since(&world.simulator, mark).await;
    let writes = log
        .iter()
        .filter(|request| WRITES.contains(&request.operation.as_str()));
    let order: Vec<_> = writes.map(|write| write.operation.as_str()).collect();
    let mut expected = vec!["CreateVpnUser", "UpdateVpnUser"];
    expected.extend(["CreateVpnUser"; 5]);
    assert_eq!(order, expected);
    world.finish().await;
}

#[tokio::test]
async fn fifty_users_are_created_exactly_once_despite_a_kill() {
    let options = Options::with(["--resync-period=0", "--creation-confirmation-period=2s"]);
    let mut world = World::with(options).await;
    slow(&world, &WRITES, 60).await;
    world.apply_password("shared", "Sentinel Pass-1").await;
    let names = names("user", 50);
    let mark = world.mark().await;
    let spec = "{passwordSecretRef: {name: shared}, description: once}";
    world.apply(&manifests(&names, spec)).await;
    wait_for_calls(&world, mark, "CreateVpnUser", 20).await;
    world.kill_operator();
    world.start_operator().await;
    let objects = world.users().wait_until_all_ready(50).await;
    let users = world.cloud_users().await;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let in_cloud: BTreeSet<_> = users
        .iter()
        .map(|user| (text(&user["name"]), text(&user["id"])))
        .collect();
    let in_status = objects
        .iter()
        .map(|object| (text(&object["metadata"]["name"]), text(&object["status"]["id"])));
    assert_eq!(in_cloud, in_status.collect());
    assert_eq!(users.len(), 50);
    let log = log_since(&world.simulator, mark).await;
    let posts = of(&log, "CreateVpnUser");
    assert_eq!(posts.len(), 50, "{posts:?}");
    let server = server(&world, VPN_SERVER).await;
    // A request of a killed process may still be in progress when its successor writes.
    assert!(
        server["most_writes_at_once"].as_u64().is_some_and(|most| most <= 2),
        "{server}"
    );
    world.finish().await;
}

/// A token for requests by hand.
async fn token(world: &World, client: &reqwest::Client) -> String {
    let iam_user = json!({"name": tryout::USER, "password": tryout::PASSWORD, "domain": {"name": tryout::DOMAIN}});
    let identity = json!({"methods": ["password"], "password": {"user": iam_user}});
    let body = json!({"auth": {"identity": identity, "scope": {"project": {"id": PROJECT}}}});
    let url = format!("{}/v3/auth/tokens", world.simulator.url());
    let answer = client.post(url).body(body.to_string()).send().await.unwrap();
    let token = answer.headers().get("x-subject-token").expect("a token");
    token.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_full_cloud_queue_pauses_its_server_until_all_writes_succeed() {
    let mut world = World::start().await;
    add_server(&world).await;
    world.apply_password("shared", "Sentinel Pass-1").await;

    // One server reports once that its queue is full; on the other, a write of another client fills it.
    let full = json!({"fault": "queue-full", "operation": "CreateVpnUser", "path_contains": VPN_SERVER});
    world.simulator.add_fault(&full).await.unwrap();
    world
        .simulator
        .set_switches(&json!({"write-queue": "1"}))
        .await
        .unwrap();
    let hold = json!({"fault": "hold", "operation": "CreateVpnUserGroup"});
    world.simulator.add_fault(&hold).await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let foreign = client
        .post(format!(
            "{}/v5/{PROJECT}/p2c-vpn-gateways/vpn-servers/{OTHER_SERVER}/groups",
            world.simulator.url()
        ))
        .header("x-auth-token", token(&world, &client).await)
        .header("content-type", "application/json")
        .body(json!({"user_group": {"name": "somebody-elses"}}).to_string());
    let foreign = tokio::spawn(foreign.send());
    world.simulator.wait_for_held::<Value>(1).await.unwrap();

    let mark = world.mark().await;
    world
        .apply(&manifests(&names("here", 4), "{passwordSecretRef: {name: shared}}"))
        .await;
    let spec = format!("{{vpnServerID: {OTHER_SERVER}, passwordSecretRef: {{name: shared}}}}");
    world.apply(&manifests(&names("there", 4), &spec)).await;
    wait_for_calls(&world, mark, "CreateVpnUser", 2).await;
    // The first report may be over before the second one.
    let mut reported: BTreeMap<String, String> = BTreeMap::new();
    eventually("both servers are reported as busy", DEADLINE, async || {
        for object in world.users().list().await {
            let ready = condition(&object, "Ready");
            if ready["reason"] == "Throttled" {
                let server = object["spec"]["vpnServerID"].as_str().unwrap_or_default().to_owned();
                reported.insert(server, ready["message"].to_string());
            }
        }
        if reported.len() == 2 {
            Ok(())
        } else {
            Err(format!("{reported:?}"))
        }
    })
    .await
    .unwrap();
    assert!(
        reported.values().all(|message| message.contains("VPN.0030")),
        "{reported:?}"
    );
    world.simulator.release(&json!({})).await.unwrap();
    foreign.await.unwrap().unwrap();
    let released = Timestamp::now();
    world.users().wait_until_all_ready(8).await;

    let log = log_since(&world.simulator, mark).await;
    for id in [VPN_SERVER, OTHER_SERVER] {
        let posts: Vec<_> = of(&log, "CreateVpnUser")
            .into_iter()
            .filter(|post| post.path.contains(id))
            .collect();
        // One is refused, and one more for each pause that ends while the foreign write is held.
        let refused = posts.iter().take_while(|post| post.status == 400).count();
        let held = Duration::try_from(released.duration_since(posts[0].at)).unwrap_or_default();
        let more = if id == OTHER_SERVER { held.as_secs() / 9 } else { 0 };
        assert!((1..=1 + more).contains(&(refused as u64)), "{more} more: {posts:?}");
        assert_eq!(posts.len(), refused + 4, "{posts:?}");
        assert!(posts[refused..].iter().all(|post| post.status == 201), "{posts:?}");
        for pair in posts[..=refused].windows(2) {
            let pause = Duration::try_from(pair[1].at.duration_since(pair[0].at)).unwrap();
            assert!(pause >= Duration::from_secs(9), "the server is left alone: {pause:?}");
        }
    }
    world.finish().await;
}
