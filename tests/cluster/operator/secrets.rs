//! How the operator reads and watches Secrets that many objects share, and that nothing of a deleted object remains.

use serde_json::{Value, json};
use vpn_operator_testbed::{ApiProxy, ApiRequest, Line, Moment, Verb, eventually};

use crate::operator::failures::{add_access_key, add_tenant, secret_of};
use crate::operator::world::{DEADLINE, Options, World, gateway};

fn reads(secret: &'static str) -> impl Fn(&ApiRequest) -> bool + Clone + Send + Sync + 'static {
    move |request| request.verb == Verb::Get && request.resource == "secrets" && request.name.as_deref() == Some(secret)
}

/// The requests that the cloud has received since.
async fn requests_since(world: &World, mark: u64) -> Result<Vec<Value>, String> {
    let log: Value = world
        .simulator
        .log_since(mark)
        .await
        .map_err(|error| error.to_string())?;
    Ok(log["requests"].as_array().cloned().unwrap_or_default())
}

async fn world_behind_a_proxy(flag: &str) -> (World, ApiProxy) {
    let mut world = World::with(Options {
        stopped: true,
        ..Options::with([flag])
    })
    .await;
    let proxy = world.proxy();
    world.start_operator_behind(&proxy).await;
    (world, proxy)
}

#[tokio::test]
async fn a_changed_secret_of_60_objects_is_read_at_most_3_times() {
    let (mut world, proxy) = world_behind_a_proxy("--resync-period=0").await;
    add_tenant(&mut world, "shared", json!({})).await;
    let manifest = |number: usize| {
        let spec = format!("{{idValue: 203.0.113.{number}, credentialsRef: {{name: shared}}}}");
        gateway(&format!("gw-{number}"), &spec)
    };
    let manifests: Vec<String> = (1..=60).map(manifest).collect();
    world.apply(&manifests.join("---\n")).await;
    world.wait_until_all_ready(60).await;
    let before = proxy.last_number();
    // Another access key of the same project: each object that uses it has read the Secret.
    add_access_key(&world, "AKROTATED", &secret_of("rotated"), json!({})).await;
    let mark = world.mark().await;
    world
        .apply_credentials("shared", "AKROTATED", &secret_of("rotated"), &[])
        .await;
    // From then on each reconciliation uses the new content.
    eventually("the new key is used", DEADLINE, async || {
        let requests = requests_since(&world, mark).await?;
        let is_used = requests.iter().any(|it| it["access_key"] == "AKROTATED");
        if is_used { Ok(()) } else { Err("no request".to_owned()) }
    })
    .await
    .unwrap();
    for number in 1..=60 {
        let edit = json!({"spec": {"name": format!("edited-{number}")}});
        world.patch(&format!("gw-{number}"), edit).await;
    }
    eventually("each edit is sent with the new key", DEADLINE, async || {
        let requests = requests_since(&world, mark).await?;
        let edits = requests
            .iter()
            .filter(|it| it["operation"] == "UpdateCustomerGateway" && it["access_key"] == "AKROTATED");
        let edits = edits.count();
        if edits == 60 {
            Ok(())
        } else {
            Err(format!("{edits} are"))
        }
    })
    .await
    .unwrap();
    let reads = proxy.requests_since(before).into_iter().filter(reads("shared")).count();
    assert!((1..=3).contains(&reads), "{reads} reads");
    world.finish().await;
}

#[tokio::test]
async fn a_password_changed_while_the_watch_is_down_reaches_every_user() {
    let (mut world, proxy) = world_behind_a_proxy("--resync-period=0").await;
    let passwords = ["Sentinel Down-1", "Sentinel Down-2", "Sentinel Down-3"];
    for password in passwords {
        world.sentinels.add(password);
    }
    world
        .apply_secret("pair", &[("a", passwords[0]), ("b", passwords[1])].into())
        .await;
    world.apply_secret("marker", &[("password", passwords[0])].into()).await;
    for (name, secret, key) in [
        ("alice", "pair", "a"),
        ("bobby", "pair", "b"),
        ("carol", "marker", "password"),
    ] {
        let spec = format!("{{passwordSecretRef: {{name: {secret}, key: {key}}}}}");
        world.apply_user(name, &spec).await;
        world.users().wait_for_reason(name, "Available").await;
    }
    // The watch ends and cannot begin again.
    let is_watch =
        |request: &ApiRequest| request.resource == "secrets" && matches!(request.verb, Verb::List | Verb::Watch);
    let watch = proxy.hold_all(Moment::Before, is_watch);
    proxy.set_line(Line::Closed);
    eventually("the watch fails", DEADLINE, async || {
        let fails = world.running().log().contains("the watch of Secrets failed");
        if fails { Ok(()) } else { Err("it does not") }
    })
    .await
    .unwrap();
    proxy.set_line(Line::Open);
    watch.reached(DEADLINE).await.unwrap();
    // One of the two users has another change, for which the operator reads the Secret.
    let read = proxy.hold(Moment::Before, 0, reads("pair"));
    world
        .users()
        .patch("alice", json!({"spec": {"description": "on call"}}))
        .await;
    read.reached(DEADLINE).await.unwrap();
    world
        .apply_secret("pair", &[("a", passwords[0]), ("b", passwords[2])].into())
        .await;
    watch.release();
    drop(watch);
    // The watch delivers in order: once a later change has arrived, the earlier one has too.
    world.apply_secret("marker", &[("password", passwords[2])].into()).await;
    wait_for_password(&world, "carol", passwords[2]).await;
    read.release();
    wait_for_password(&world, "bobby", passwords[2]).await;
    world.finish().await;
}

async fn wait_for_password(world: &World, name: &str, password: &str) {
    let id = world.users().get(name).await["status"]["id"].clone();
    let id = id.as_str().unwrap_or_default();
    eventually(&format!("{name} has its new password"), DEADLINE, async || match world
        .simulator
        .is_password(id, password)
        .await
    {
        Ok(true) => Ok(()),
        Ok(false) => Err(world.log_tail()),
        Err(error) => Err(error.to_string()),
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_access_key_is_unused_after_its_last_object_is_deleted() {
    const OBJECTS: usize = 120;
    let (mut world, proxy) = world_behind_a_proxy("--resync-period=1s").await;
    world.make_room().await;
    // Its drift checks serve as the clock of this test.
    world.apply_gateway("clock", "{idValue: 198.51.100.1}").await;
    world.wait_for_reason("clock", "Available").await;
    let id = world.cloud_gateways().await[0]["id"].as_str().unwrap().to_owned();
    add_access_key(&world, "AKBRIEF", &secret_of("brief"), json!({})).await;
    world.sentinels.add(&secret_of("brief"));
    let gateways = world.gateway_objects();
    let mut names = Vec::new();
    for number in 0..OBJECTS {
        names.push(format!("brief-{number}"));
    }
    for name in &names {
        let data = [
            ("accessKey", "AKBRIEF"),
            ("secretKey", secret_of("brief").leak() as &str),
        ];
        world.apply_secret(name, &data.into()).await;
    }
    let requests = async |access_key: &str, mark: u64| -> Result<u64, String> {
        let requests = requests_since(&world, mark).await?;
        Ok(requests.iter().filter(|it| it["access_key"] == access_key).count() as u64)
    };
    let is_used = async |mark: u64| requests("AKBRIEF", mark).await.map(|used| used > 0);
    for (number, name) in names.iter().enumerate() {
        let before = proxy.last_number();
        let mark = world.simulator.last_sequence().await.unwrap();
        let object = json!({
            "apiVersion": "vpn.huaweicloud.com/v1alpha1", "kind": "CustomerGateway", "metadata": {"name": name},
            "spec": {"idValue": "198.51.100.1", "managementPolicy": "Observe", "externalID": id,
                "credentialsRef": {"name": name}},
        });
        gateways.create(object).await;
        // So that the deletions come at different steps of the first reconcile.
        eventually("the first reconciliation has reached its step", DEADLINE, async || {
            let asked = proxy.requests_since(before);
            let asks = |resource: &str| {
                let mut asked = asked.iter().filter(|it| it.resource == resource);
                asked.any(|it| it.name.as_deref() == Some(name.as_str()))
            };
            let is_reached = match number % 4 {
                0 => true,
                1 => asks("secrets"),
                2 => is_used(mark).await?,
                _ => asks("customergateways"),
            };
            if is_reached { Ok(()) } else { Err(format!("{asked:?}")) }
        })
        .await
        .unwrap();
        gateways.delete(name).await;
    }
    for name in &names {
        world.wait_until_deleted(name).await;
    }
    let own = world.access_key.clone();
    let last = async || world.simulator.last_sequence().await.map_err(|error| error.to_string());
    let mut mark = last().await.unwrap();
    eventually(
        "two drift checks without the key of the deleted objects",
        DEADLINE,
        async || {
            if requests(&own, mark).await? < 2 {
                return Err("the next two have not come".to_owned());
            }
            match requests("AKBRIEF", mark).await? {
                0 => Ok(()),
                more => {
                    mark = last().await?;
                    Err(format!("{more} requests"))
                }
            }
        },
    )
    .await
    .unwrap();
    world.finish().await;
}
