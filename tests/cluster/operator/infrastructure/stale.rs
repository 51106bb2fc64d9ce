//! A restart against an apiserver whose view is older than the truth: lists of an earlier time, and watches that bring
//! nothing yet. What the operator writes is pinned to what it has read, so it finds out before it sends anything.

use serde_json::{Value, json};
use vpn_operator_testbed::{Answer, ApiRequest, Moment, Verb, eventually};

use super::{LEDGER, check_totals, wait_until_ready};
use crate::operator::console::counts;
use crate::operator::world::{DEADLINE, Options, World, gateway, user};

const KINDS: [&str; 2] = ["customergateways", "vpnusers"];
const GATEWAYS: usize = 4;

fn manifests() -> String {
    let mut manifests: Vec<String> = (1..=GATEWAYS)
        .map(|number| {
            gateway(
                &format!("gw-{number}"),
                &format!("{{name: gw-{number}, idValue: 203.0.113.{number}}}"),
            )
        })
        .collect();
    let of_user = |name| user(name, "{passwordSecretRef: {name: people}}");
    manifests.extend(["alice", "bobby"].map(of_user));
    manifests.join("---\n")
}

/// What lists of both kinds say at one moment.
struct View {
    what: &'static str,
    lists: [Value; 2],
}

impl View {
    async fn of(world: &World, what: &'static str) -> Self {
        let list = async |plural: &str| -> Value {
            let path = format!(
                "/apis/vpn.huaweicloud.com/v1alpha1/namespaces/{}/{plural}",
                world.namespace
            );
            serde_json::from_str(&world.kubectl(["get", "--raw", &path]).await).unwrap()
        };
        let [gateways, users] = KINDS;
        Self {
            what,
            lists: [list(gateways).await, list(users).await],
        }
    }
}

/// A write of a status that has this field.
fn records_field(field: &'static str) -> impl Fn(&ApiRequest) -> bool + Send + Sync + 'static {
    move |request| request.verb == Verb::Patch && !request.body["status"][field].is_null()
}

/// The operator begins with that view, and does what it would do then; the truth reaches it only afterwards.
async fn begins_with(world: &mut World, view: &View) -> u64 {
    let proxy = world.proxy();
    let mut stale = Vec::new();
    let mut watches = Vec::new();
    for (plural, list) in KINDS.into_iter().zip(&view.lists) {
        let is_list = move |request: &ApiRequest| request.verb == Verb::List && request.resource == plural;
        let is_watch = move |request: &ApiRequest| request.verb == Verb::Watch && request.resource == plural;
        stale.push(proxy.answer(Answer::body(list.clone()), None, is_list));
        watches.push(proxy.hold_all(Moment::Before, is_watch));
    }
    let mark = world.mark().await;
    world.start_operator_behind(&proxy).await;
    // Each object of the view was tried to be written, which failed, and read once more.
    let objects: Vec<(&str, String)> = KINDS
        .into_iter()
        .zip(&view.lists)
        .flat_map(|(plural, list)| {
            let items = list["items"].as_array().cloned().unwrap_or_default();
            items
                .into_iter()
                .map(move |item| (plural, item["metadata"]["name"].as_str().unwrap().to_owned()))
        })
        .collect();
    let result = eventually("each stale object is detected", DEADLINE, async || {
        let requests = proxy.requests_since(0);
        let of = |plural: &str, name: &str, verb: Verb| {
            requests
                .iter()
                .any(|request| request.verb == verb && request.resource == plural && request.about() == Some(name))
        };
        let blind = objects
            .iter()
            .filter(|(plural, name)| !(of(plural, name, Verb::Patch) && of(plural, name, Verb::Get)));
        let blind: Vec<_> = blind.collect();
        if blind.is_empty() {
            Ok(())
        } else {
            Err(format!("{blind:?}"))
        }
    })
    .await;
    result.unwrap_or_else(|error| panic!("{}: {error}\n{}", view.what, world.log_tail()));
    // Time passes, and the truth comes through.
    drop(stale);
    for watch in &watches {
        watch.release();
    }
    drop(watches);
    wait_until_ready(world).await;
    world.wait_until_all_ready(GATEWAYS).await;
    world.users().wait_until_all_ready(2).await;
    let writes = world.writes_since(mark).await;
    assert_eq!(writes, counts([]), "{}", view.what);
    world.stop_operator().await;
    writes.values().sum()
}

#[tokio::test]
async fn a_restart_with_stale_objects_creates_no_duplicates() {
    let mut world = World::with(Options {
        stopped: true,
        ..Options::with([
            "--resync-period=0",
            "--request-timeout=60s",
            "--leader-elect-lease-duration=2m",
        ])
    })
    .await;
    world.apply_password("people", "Stale Pass-1").await;
    world.apply(&manifests()).await;
    let mut views = vec![View::of(&world, "before the first write").await];
    let proxy = world.proxy();
    let hold = proxy.hold_all(Moment::Before, records_field("intent"));
    world.start_operator_behind(&proxy).await;
    eventually(
        "the first creation of each kind is about to be recorded",
        DEADLINE,
        async || {
            let held = hold.held();
            if held.len() == GATEWAYS + 1 {
                Ok(())
            } else {
                Err(format!("{held:?}"))
            }
        },
    )
    .await
    .unwrap();
    views.push(View::of(&world, "before the intents").await);
    let on_the_way = json!({"fault": "hold", "operation": "CreateCustomerGateway", "times": GATEWAYS, "commit": true});
    world.simulator.add_fault(&on_the_way).await.unwrap();
    let on_the_way = json!({"fault": "hold", "operation": "CreateVpnUser", "commit": true});
    world.simulator.add_fault(&on_the_way).await.unwrap();
    hold.release();
    drop(hold);
    world.simulator.wait_for_held::<Value>(GATEWAYS + 1).await.unwrap();
    views.push(View::of(&world, "with intents").await);
    world.simulator.release(&json!({})).await.unwrap();
    world.wait_until_all_ready(GATEWAYS).await;
    world.users().wait_until_all_ready(2).await;
    world.stop_operator().await;
    drop(proxy);
    let created = world.writes_since(0).await;
    assert_eq!(
        created,
        counts([("CreateCustomerGateway", GATEWAYS as u64), ("CreateVpnUser", 2)])
    );

    let mut repeated = 0;
    for view in &views {
        repeated += begins_with(&mut world, view).await;
    }

    // The password that is in force is one that the view does not know of.
    let before = View::of(&world, "before the password was changed").await;
    world.start_operator().await;
    world.apply_password("people", "Stale Pass-2").await;
    for name in ["alice", "bobby"] {
        world.users().wait_for_event(name, "PasswordSet").await;
        world.users().wait_for_reason(name, "Available").await;
    }
    world.stop_operator().await;
    let gateways_as_they_are = View::of(&world, "").await.lists[0].clone();
    let [_, users] = before.lists;
    // Of gateways nothing is to be found out this time.
    let mut empty = gateways_as_they_are;
    empty["items"] = json!([]);
    let before = View {
        what: before.what,
        lists: [empty, users],
    };
    repeated += begins_with(&mut world, &before).await;
    check_totals(&world, views.len() as u64 + 1).await;
    LEDGER.add(&[
        ("restarts with an older state", views.len() as u64 + 1),
        ("writes repeated after restarts with an older state", repeated),
    ]);
    world.finish().await;
}
