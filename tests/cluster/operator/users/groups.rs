//! What a user depends on in the cloud: its group, its server, its address, and the quota.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use vpn_operator_testbed::eventually;

use crate::operator::world::{DEADLINE, Options, VPN_SERVER, World, condition};

/// Adds a group to the simulator's own server; returns its id.
async fn add_group(world: &World, name: &str) -> String {
    let added: Value = world
        .simulator
        .admin_post("vpn-groups", &json!({"name": name}))
        .await
        .unwrap();
    text(&added["groups"][0]["id"])
}

async fn remove_group(world: &World, id: &str) {
    let path = format!("vpn-groups/{id}");
    world.simulator.admin_delete::<Value>(&path).await.unwrap();
}

async fn add_server(world: &World, server: Value) {
    world
        .simulator
        .admin_post::<Value>("vpn-servers", &server)
        .await
        .unwrap();
}

async fn edit_server(world: &World, id: &str, edit: Value) {
    let path = format!("vpn-servers/{id}");
    world.simulator.admin_patch::<Value>(&path, &edit).await.unwrap();
}

fn server_id(number: u32) -> String {
    format!("5e5e5e5e-0000-4000-8000-{number:012}")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The user of that name, as the cloud has it.
async fn in_cloud(world: &World, name: &str) -> Value {
    let users = world.cloud_users().await;
    users
        .iter()
        .find(|user| user["name"] == name)
        .cloned()
        .unwrap_or_default()
}

async fn ask(world: &World, name: &str) {
    let stamp = format!("after-{}", world.mark().await);
    let annotations = json!({"vpn.huaweicloud.com/reconcile-requested-at": stamp});
    world
        .users()
        .patch(name, json!({"metadata": {"annotations": annotations}}))
        .await;
}

/// Waits until the user has this reason, and a message with all of these words.
async fn expect(world: &World, name: &str, reason: &str, words: &[&str]) -> Value {
    let awaited = format!("{reason}, saying {words:?}");
    world
        .users()
        .wait_for(name, &awaited, |object| {
            let ready = condition(object, "Ready");
            let message = text(&ready["message"]);
            ready["reason"] == reason
                && ready["observedGeneration"] == object["metadata"]["generation"]
                && words.iter().all(|word| message.contains(word))
        })
        .await
}

/// Waits until the user is Ready in the group of this id, in status and in the cloud.
async fn expect_group(world: &World, name: &str, id: &str, group_name: &str) {
    let awaited = format!("Ready in the group {group_name} ({id})");
    world
        .users()
        .wait_for(name, &awaited, |object| {
            let status = &object["status"];
            condition(object, "Ready")["status"] == "True"
                && status["observedGeneration"] == object["metadata"]["generation"]
                && text(&status["userGroupID"]) == id
                && text(&status["userGroupName"]) == group_name
        })
        .await;
    assert_eq!(text(&in_cloud(world, name).await["user_group_id"]), id);
}

#[tokio::test]
async fn a_user_waits_for_its_named_group_and_follows_its_new_id() {
    let mut world = World::with(Options::with(["--resync-period=1s"])).await;
    world.apply_password("shared", "Sentinel Pass-1").await;
    for (user, group) in [("patient", "early"), ("asking", "early"), ("renamed", "former")] {
        let spec = format!("{{passwordSecretRef: {{name: shared}}, userGroupName: {group}}}");
        world.apply_user(user, &spec).await;
    }
    // No user is created before the group exists.
    for (user, group) in [("patient", "early"), ("asking", "early"), ("renamed", "former")] {
        expect(
            &world,
            user,
            "DependencyNotReady",
            &["userGroupName", group, "create it"],
        )
        .await;
    }
    assert_eq!(world.calls_since(0).await.get("CreateVpnUser"), None);
    let early = add_group(&world, "early").await;
    let former = add_group(&world, "former").await;
    ask(&world, "asking").await;
    expect_group(&world, "asking", &early, "early").await;
    expect_group(&world, "patient", &early, "early").await;
    expect_group(&world, "renamed", &former, "former").await;

    // The group is recreated under its name with another id: the users follow.
    remove_group(&world, &early).await;
    let again = add_group(&world, "early").await;
    assert_ne!(again, early);
    expect_group(&world, "asking", &again, "early").await;
    expect_group(&world, "patient", &again, "early").await;

    // A renamed group is not the group that the spec names.
    let path = format!("vpn-groups/{former}");
    let edit = json!({"name": "later"});
    world.simulator.admin_patch::<Value>(&path, &edit).await.unwrap();
    expect(&world, "renamed", "DependencyNotReady", &["userGroupName", "former"]).await;
    assert_eq!(in_cloud(&world, "renamed").await["user_group_id"], former.as_str());
    let edit = json!({"spec": {"userGroupName": "later"}});
    world.users().patch("renamed", edit).await;
    expect_group(&world, "renamed", &former, "later").await;

    // The group is deleted with members in it: reported until there is one of that name again.
    remove_group(&world, &former).await;
    expect(&world, "renamed", "DependencyNotReady", &["userGroupName", "later"]).await;
    let later = add_group(&world, "later").await;
    expect_group(&world, "renamed", &later, "later").await;
    world.finish().await;
}

#[tokio::test]
async fn a_user_joins_and_leaves_groups_by_id_and_name() {
    let mut world = World::start().await;
    world.apply_password("shared", "Sentinel Pass-1").await;
    let red = add_group(&world, "red").await;
    let blue = add_group(&world, "blue").await;
    world
        .apply_user("mover", "{passwordSecretRef: {name: shared}, userGroupName: red}")
        .await;
    expect_group(&world, "mover", &red, "red").await;
    let edits = [
        (
            json!({"userGroupName": null, "userGroupID": blue}),
            blue.as_str(),
            "blue",
            "UpdateVpnUser",
        ),
        (json!({"userGroupID": red}), &red, "red", "UpdateVpnUser"),
        (json!({"userGroupID": "None"}), "", "", "RemoveVpnUsersFromGroup"),
        (
            json!({"userGroupID": null, "userGroupName": "blue"}),
            &blue,
            "blue",
            "UpdateVpnUser",
        ),
        (
            json!({"userGroupName": null, "userGroupID": "None"}),
            "",
            "",
            "RemoveVpnUsersFromGroup",
        ),
        (
            json!({"userGroupID": null, "userGroupName": "red"}),
            &red,
            "red",
            "UpdateVpnUser",
        ),
        (json!({"userGroupName": "blue"}), &blue, "blue", "UpdateVpnUser"),
    ];
    for (edit, id, name, call) in edits {
        let mark = world.mark().await;
        world.users().patch("mover", json!({"spec": edit})).await;
        expect_group(&world, "mover", id, name).await;
        let calls = world.calls_since(mark).await;
        assert_eq!(calls.get(call), Some(&1), "{edit}: {calls:?}");
        let writes: u64 = ["UpdateVpnUser", "RemoveVpnUsersFromGroup", "AddVpnUsersToGroup"]
            .iter()
            .filter_map(|name| calls.get(*name))
            .sum();
        assert_eq!(writes, 1, "{edit}: {calls:?}");
    }
    // What spec does not name stays as it is.
    let mark = world.mark().await;
    world
        .users()
        .patch("mover", json!({"spec": {"userGroupName": null}}))
        .await;
    expect_group(&world, "mover", &blue, "blue").await;
    assert_eq!(world.calls_since(mark).await.get("UpdateVpnUser"), None);

    // A cloud that puts users without a group into its default group.
    let default_group = json!({"user-without-group": "default-group"});
    world.simulator.set_switches(&default_group).await.unwrap();
    world
        .apply_user("loner", "{passwordSecretRef: {name: shared}, userGroupID: None}")
        .await;
    expect_group(&world, "loner", "", "").await;
    world
        .apply_user("whatever", "{passwordSecretRef: {name: shared}}")
        .await;
    let object = world.users().wait_for_reason("whatever", "Available").await;
    assert_eq!(object["status"]["userGroupName"], "default");
    assert_eq!(in_cloud(&world, "whatever").await["user_group_name"], "default");
    world.finish().await;
}

#[tokio::test]
async fn an_unknown_group_id_sets_a_condition_and_backs_off() {
    let mut world = World::with(Options::with(["--resync-period=1s"])).await;
    world.apply_password("shared", "Sentinel Pass-1").await;
    let missing = "77777777-0000-4000-8000-000000000001";
    let mark = world.mark().await;
    let spec = format!("{{passwordSecretRef: {{name: shared}}, userGroupID: {missing}}}");
    world.apply_user("too-early", &spec).await;
    let words = ["user group does not exist", "VPN.1303", "request id"];
    expect(&world, "too-early", "DependencyNotReady", &words).await;
    world.apply_user("moved", "{passwordSecretRef: {name: shared}}").await;
    world.users().wait_for_reason("moved", "Available").await;
    world
        .users()
        .patch("moved", json!({"spec": {"userGroupID": missing}}))
        .await;
    expect(&world, "moved", "DependencyNotReady", &words).await;

    let log = format!("log?since={mark}&operation=CreateVpnUser&finished=true");
    let refused = eventually("a second attempt is refused", DEADLINE, async || {
        let log: Value = world
            .simulator
            .admin_get(&log)
            .await
            .map_err(|error| error.to_string())?;
        let requests = log["requests"].as_array().expect("a list");
        let refused: Vec<Timestamp> = requests
            .iter()
            .filter(|request| request["status"] == 400)
            .map(|request| text(&request["at"]).parse().expect("an instant"))
            .collect();
        if refused.len() >= 2 {
            Ok(refused)
        } else {
            Err(format!("{requests:?}"))
        }
    })
    .await
    .unwrap();
    for tries in refused.windows(2) {
        let pause = tries[1].duration_since(tries[0]);
        assert!(pause >= SignedDuration::from_millis(3_900), "{refused:?}");
    }

    let group = json!({"name": "late", "id": missing});
    world.simulator.admin_post::<Value>("vpn-groups", &group).await.unwrap();
    expect_group(&world, "too-early", missing, "late").await;
    expect_group(&world, "moved", missing, "late").await;

    // The group is deleted while they are in it: the cloud removes them, and they cannot be added again.
    remove_group(&world, missing).await;
    expect(&world, "moved", "DependencyNotReady", &words).await;
    world
        .users()
        .patch("moved", json!({"spec": {"userGroupID": "None"}}))
        .await;
    expect_group(&world, "moved", "", "").await;
    world.finish().await;
}

#[tokio::test]
async fn an_unavailable_static_ip_is_reported_with_the_clouds_message() {
    let mut world = World::start().await;
    world.apply_password("shared", "Sentinel Pass-1").await;
    let has = |ip: &str| format!("{{passwordSecretRef: {{name: shared}}, staticIP: {ip}}}");
    world.apply_user("first", &has("192.168.10.5")).await;
    world.users().wait_for_reason("first", "Available").await;
    world.apply_user("second", &has("192.168.10.5")).await;
    world.apply_user("outside", &has("10.0.0.5")).await;
    world.apply_user("gateway", &has("192.168.10.1")).await;
    world.apply_user("none", &has("Disabled")).await;
    expect(
        &world,
        "second",
        "Rejected",
        &["192.168.10.5", "used by another user", "VPN.1310"],
    )
    .await;
    expect(&world, "outside", "Rejected", &["10.0.0.5", "VPN.1309"]).await;
    expect(&world, "gateway", "Rejected", &["192.168.10.1", "VPN.1309"]).await;
    let object = world.users().wait_for_reason("none", "Available").await;
    assert_eq!(object["status"]["staticIP"], "Disabled");

    // A refused edit changes nothing; the present state stays.
    world
        .users()
        .patch(
            "none",
            json!({"spec": {"staticIP": "192.168.10.5", "description": "ops"}}),
        )
        .await;
    expect(&world, "none", "Rejected", &["used by another user"]).await;
    assert_eq!(in_cloud(&world, "none").await["static_ip"], Value::Null);

    // The address becomes free: a reconcile request succeeds, and so does an edit at once.
    world
        .users()
        .patch("first", json!({"spec": {"staticIP": "Disabled"}}))
        .await;
    expect(&world, "first", "Available", &[]).await;
    assert_eq!(in_cloud(&world, "first").await["static_ip"], Value::Null);
    ask(&world, "second").await;
    let object = expect(&world, "second", "Available", &[]).await;
    assert_eq!(object["status"]["staticIP"], "192.168.10.5");
    for (name, ip) in [
        ("outside", "192.168.10.9"),
        ("gateway", "192.168.10.13"),
        ("none", "192.168.10.17"),
    ] {
        world.users().patch(name, json!({"spec": {"staticIP": ip}})).await;
        let object = expect(&world, name, "Available", &[]).await;
        assert_eq!(object["status"]["staticIP"], ip);
        assert_eq!(in_cloud(&world, name).await["static_ip"], ip);
    }
    world.finish().await;
}

#[tokio::test]
async fn a_user_waits_for_a_server_that_accepts_users() {
    let mut world = World::start().await;
    world.apply_password("shared", "Sentinel Pass-1").await;
    let [pending, certificates, unknown, full] = [11, 12, 13, 14].map(server_id);
    add_server(&world, json!({"id": pending, "status": "PENDING_CREATE"})).await;
    add_server(&world, json!({"id": certificates, "client_auth_type": "CERT"})).await;
    add_server(&world, json!({"id": full, "user_quota": 1})).await;
    let on = |server: &str| format!("{{vpnServerID: {server}, passwordSecretRef: {{name: shared}}}}");
    for (name, server) in [
        ("pending", &pending),
        ("certificates", &certificates),
        ("unknown", &unknown),
    ] {
        world.apply_user(name, &on(server)).await;
    }
    let not_ready = ["is not ready", "ACTIVE", "LOCAL_PASSWORD", "VPN.1311", "request id"];
    expect(&world, "pending", "DependencyNotReady", &not_ready).await;
    expect(&world, "certificates", "DependencyNotReady", &not_ready).await;
    expect(
        &world,
        "unknown",
        "DependencyNotReady",
        &[&unknown, "VPN.0004", "VPN server"],
    )
    .await;
    edit_server(&world, &pending, json!({"status": "ACTIVE"})).await;
    edit_server(&world, &certificates, json!({"client_auth_type": "LOCAL_PASSWORD"})).await;
    add_server(&world, json!({"id": unknown})).await;
    for name in ["pending", "certificates", "unknown"] {
        expect(&world, name, "Available", &[]).await;
    }
    // A server that is frozen later: its users stay Ready until a change is due.
    edit_server(&world, &pending, json!({"status": "FROZEN"})).await;
    ask(&world, "pending").await;
    expect(&world, "pending", "Available", &[]).await;
    world
        .users()
        .patch("pending", json!({"spec": {"description": "ops"}}))
        .await;
    expect(&world, "pending", "DependencyNotReady", &not_ready).await;
    edit_server(&world, &pending, json!({"status": "ACTIVE"})).await;
    expect(&world, "pending", "Available", &[]).await;
    assert_eq!(in_cloud(&world, "pending").await["description"], "ops");

    // A quota of one: the deletion of the first enqueues the second, long before its backoff ends.
    world.apply_user("first", &on(&full)).await;
    world.users().wait_for_reason("first", "Available").await;
    world.apply_user("second", &on(&full)).await;
    expect(&world, "second", "QuotaExceeded", &["quota", "VPN.1305"]).await;
    world.kubectl(["delete", "vpnu", "first"]).await;
    expect(&world, "second", "Available", &[]).await;
    world.finish().await;
}

#[tokio::test]
async fn a_cloud_without_the_user_api_is_reported() {
    let mut world = World::start().await;
    world.apply_password("shared", "Sentinel Pass-1").await;
    world.simulator.set_switches(&json!({"p2c": "404"})).await.unwrap();
    world.apply_user("alice", "{passwordSecretRef: {name: shared}}").await;
    world
        .apply_user("bob.1", "{passwordSecretRef: {name: shared}, userGroupName: default}")
        .await;
    for name in ["alice", "bob.1"] {
        expect(&world, name, "NotAvailable", &["APIGW.0101", "not served there"]).await;
    }
    let refusal = json!({"p2c": "403", "gateway-code-prefix": "APIG"});
    world.simulator.set_switches(&refusal).await.unwrap();
    for name in ["alice", "bob.1"] {
        ask(&world, name).await;
        expect(&world, name, "Forbidden", &["APIG.0302"]).await;
    }
    assert_eq!(world.calls_since(0).await.get("CreateVpnUser"), None);
    world.simulator.set_switches(&json!({})).await.unwrap();
    for name in ["alice", "bob.1"] {
        ask(&world, name).await;
        expect(&world, name, "Available", &[]).await;
    }

    // The API is no longer published: that is never a deletion.
    world.simulator.set_switches(&json!({"p2c": "404"})).await.unwrap();
    ask(&world, "alice").await;
    expect(&world, "alice", "NotAvailable", &["APIGW.0101"]).await;
    world.simulator.set_switches(&json!({})).await.unwrap();
    ask(&world, "alice").await;
    let object = expect(&world, "alice", "Available", &[]).await;
    assert_eq!(object["status"]["id"], in_cloud(&world, "alice").await["id"]);
    assert_eq!(world.calls_since(0).await.get("CreateVpnUser"), Some(&2));
    assert_eq!(world.cloud_users().await.len(), 2);
    let server: Value = world
        .simulator
        .admin_get(&format!("vpn-servers/{VPN_SERVER}"))
        .await
        .unwrap();
    assert_eq!(server["most_writes_at_once"], 1);
    world.finish().await;
}
