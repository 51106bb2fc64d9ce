//! The cloud locks an access key for all clients after more than five bad signatures in a row. With any number of
//! objects on a bad key, the operator sends few bad signatures and does not delay other credentials.

use serde_json::{Value, json};
use vpn_operator_testbed::{eventually, figures};

use crate::operator::failures::{add_access_key, add_tenant, ask_again, count, expect_recovered, refusals, secret_of};
use crate::operator::objects::Objects;
use crate::operator::users::steps::{add_server, on};
use crate::operator::world::{DEADLINE, Options, PROJECT, World, condition, gateway};

/// Objects that use one access key; half of them gateways, half users.
const OBJECTS: usize = 100;
/// The number of servers that those users are on.
const SERVERS: usize = 10;
/// More bad signatures in a row than this lock an access key.
const BEARABLE: u64 = 5;

/// Manifests of all objects; some use the Secret `keys`, some `pinned`, which holds the same keys.
fn manifests(servers: &[String], edit: &str) -> String {
    let secret = |number: usize| if number.is_multiple_of(2) { "keys" } else { "pinned" };
    let gateways = (0..OBJECTS / 2).map(|number| {
        let spec = format!(
            "{{name: gw-{number}{edit}, idValue: 203.0.113.{number}, credentialsRef: {{name: {}}}}}",
            secret(number)
        );
        gateway(&format!("gw-{number}"), &spec)
    });
    let users = (0..OBJECTS / 2).map(|number| {
        let more = format!(
            "description: \"it{edit}\", credentialsRef: {{name: {}}}",
            secret(number / SERVERS)
        );
        on(&servers[number % SERVERS], &format!("user-{number}"), &more)
    });
    gateways.chain(users).collect::<Vec<_>>().join("---\n")
}

/// Gives both Secrets this secret key.
async fn apply_keys(world: &mut World, access_key: &str, secret_key: &str) {
    world.apply_credentials("keys", access_key, secret_key, &[]).await;
    let pinned = [("projectID", PROJECT)];
    world.apply_credentials("pinned", access_key, secret_key, &pinned).await;
}

/// Waits until all objects that use the key have this reason.
async fn wait_until_all_have(world: &World, reason: &str) {
    let wait_for_report = async |objects: Objects<'_>, prefix: &str| {
        let objects = objects.list().await;
        let of_key = objects.iter().filter(|object| {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let ready = condition(object, "Ready");
            name.starts_with(prefix)
                && ready["reason"] == reason
                && ready["observedGeneration"] == object["metadata"]["generation"]
        });
        of_key.count()
    };
    let awaited = format!("all are {reason}");
    let result = eventually(&awaited, DEADLINE * 3, async || {
        let gateways = wait_for_report(world.gateway_objects(), "gw-").await;
        let users = wait_for_report(world.users(), "user-").await;
        if gateways + users == OBJECTS {
            Ok(())
        } else {
            Err(format!("{gateways} gateways and {users} users are"))
        }
    });
    result
        .await
        .unwrap_or_else(|error| panic!("{error}\n{}", world.log_tail()));
}

/// Bad signatures in a row as the cloud counts them, and whether they have locked the key.
async fn counted_by_the_cloud(world: &World, access_key: &str) -> (u64, bool) {
    let page: Value = world.simulator.get("credentials").await.unwrap();
    let credentials = page["credentials"].as_array().expect("a list");
    let found = credentials.iter().find(|it| it["access_key"] == access_key);
    let found = found.expect("the key is known");
    let failures = found["failures"].as_u64().expect("a number");
    (failures, found["locked_until"].is_string())
}

async fn world_with(flags: &[&str]) -> (World, Vec<String>) {
    let mut world = World::with(Options {
        arguments: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        ..Options::default()
    })
    .await;
    let mut servers = Vec::new();
    for number in 0..SERVERS {
        servers.push(add_server(&world, number).await);
    }
    crate::operator::users::steps::apply_pw(&mut world).await;
    (world, servers)
}

#[tokio::test]
async fn a_wrong_secret_key_costs_one_request_until_the_secret_changes() {
    let (mut world, servers) = world_with(&["--resync-period=0"]).await;
    let (access_key, secret_key) = (world.access_key.clone(), world.secret_key.clone());
    apply_keys(&mut world, &access_key, &secret_of("wrong")).await;
    let mark = world.mark().await;
    world.apply(&manifests(&servers, "")).await;
    wait_until_all_have(&world, "Unauthorized").await;
    // Neither a reconcile request nor an edit costs another bad signature, and a good key is not delayed.
    for number in 0..5 {
        ask_again(&world, &format!("gw-{number}")).await;
    }
    world.apply(&manifests(&servers, "-b")).await;
    world.apply_gateway("other", "{idValue: 198.51.100.1}").await;
    expect_recovered(&world, "other").await;
    wait_until_all_have(&world, "Unauthorized").await;
    let bad = refusals(&world, mark, "APIGW.0301").await;
    assert_eq!(bad, 1);
    let (_, locked) = counted_by_the_cloud(&world, &access_key).await;
    assert!(!locked);
    assert_eq!(world.cloud_users().await, Vec::<Value>::new());

    apply_keys(&mut world, &access_key, &secret_key).await;
    wait_until_all_have(&world, "Available").await;
    assert_eq!(refusals(&world, mark, "APIGW.0301").await, 1);
    let creations = count(&world, mark, &["CreateCustomerGateway", "CreateVpnUser"]).await;
    assert_eq!(creations, OBJECTS as u64 + 1);
    figures::report(
        "credentials breaker",
        &[
            ("objects on one key that is invalid from the start", OBJECTS as u64),
            ("invalid signatures of a key that is invalid from the start", bad),
            ("objects requeued by the corrected Secret", creations - 1),
            ("keys locked that were invalid from the start", u64::from(locked)),
        ],
    );
    world.finish().await;
}

#[tokio::test]
async fn a_revoked_key_fails_only_requests_in_progress() {
    // Held requests must not time out, or more could follow.
    let flags = [
        "--resync-period=0",
        "--leader-elect-lease-duration=240s",
        "--request-timeout=120s",
    ];
    let (mut world, servers) = world_with(&flags).await;
    add_access_key(&world, "AKMIDLIFE", &secret_of("first"), json!({})).await;
    apply_keys(&mut world, "AKMIDLIFE", &secret_of("first")).await;
    world.apply(&manifests(&servers, "")).await;
    add_tenant(&mut world, "bystander", json!({})).await;
    let bystanders = |edit: &str| {
        let manifest = |number: usize| {
            let spec = format!(
                "{{name: by-{number}{edit}, idValue: 198.51.100.{number}, credentialsRef: {{name: bystander}}}}"
            );
            gateway(&format!("by-{number}"), &spec)
        };
        (0..10).map(manifest).collect::<Vec<_>>().join("---\n")
    };
    world.apply(&bystanders("")).await;
    wait_until_all_have(&world, "Available").await;
    for number in 0..10 {
        expect_recovered(&world, &format!("by-{number}")).await;
    }

    // Every request of the key is held before its signature is verified.
    let hold = json!({"fault": "hold", "access_key": "AKMIDLIFE", "times": 0});
    world.simulator.add_fault(&hold).await.unwrap();
    let mark = world.mark().await;
    world.apply(&manifests(&servers, "-b")).await;
    let held: Vec<Value> = world
        .simulator
        .wait_for_held(usize::try_from(BEARABLE).unwrap())
        .await
        .unwrap();
    // A bad credential does not slow another: all work of the good one is done while requests of the bad one are held.
    world.apply(&bystanders("-b")).await;
    for number in 0..10 {
        expect_recovered(&world, &format!("by-{number}")).await;
    }
    let more: Value = world.simulator.get("held?count=6&timeout_ms=3000").await.unwrap();
    assert_eq!(more["enough"], false, "{more}");
    let in_progress = more["held"].as_array().map_or(0, Vec::len) as u64;
    assert_eq!(in_progress, held.len() as u64);
    assert!(in_progress <= BEARABLE);

    add_access_key(&world, "AKMIDLIFE", &secret_of("second"), json!({})).await;
    world.simulator.clear_faults().await.unwrap();
    world.simulator.release(&json!({})).await.unwrap();
    wait_until_all_have(&world, "Unauthorized").await;
    // The same while the circuit breaker is open.
    world.apply(&bystanders("-c")).await;
    for number in 0..10 {
        expect_recovered(&world, &format!("by-{number}")).await;
    }
    let bad = refusals(&world, mark, "APIGW.0301").await;
    assert!((1..=in_progress).contains(&bad), "{bad} of {in_progress}");
    let (in_a_row, locked) = counted_by_the_cloud(&world, "AKMIDLIFE").await;
    assert_eq!((in_a_row, locked), (bad, false));

    apply_keys(&mut world, "AKMIDLIFE", &secret_of("second")).await;
    wait_until_all_have(&world, "Available").await;
    assert_eq!(refusals(&world, mark, "APIGW.0301").await, bad);
    assert_eq!(
        count(&world, mark, &["CreateCustomerGateway", "CreateVpnUser"]).await,
        0,
        "nothing was treated as deleted"
    );
    let gateways = world.cloud_gateways().await;
    let edited = |item: &Value, field: &str| item[field].as_str().is_some_and(|text| text.ends_with("-b"));
    let edited = gateways.iter().filter(|it| edited(it, "name")).count()
        + world
            .cloud_users()
            .await
            .iter()
            .filter(|it| edited(it, "description"))
            .count();
    assert_eq!(edited, OBJECTS);
    figures::report(
        "credentials breaker",
        &[
            ("objects on one key that becomes invalid", OBJECTS as u64),
            (
                "requests in progress when a key becomes invalid, default rate limit",
                in_progress,
            ),
            ("invalid signatures of a key that becomes invalid", bad),
            ("keys locked that became invalid", u64::from(locked)),
        ],
    );
    world.finish().await;
}
