//! The calls about users, counted by the cloud: none is unnecessary.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vpn_operator_testbed::eventually;

use crate::operator::world::{DEADLINE, Options, World, condition, user};

fn counts(expected: &[(&str, u64)]) -> BTreeMap<String, u64> {
    expected
        .iter()
        .map(|(operation, count)| ((*operation).to_owned(), *count))
        .collect()
}

async fn seed_group(world: &World, name: &str) -> String {
    let group: Value = world
        .simulator
        .admin_post("vpn-groups", &json!({"name": name}))
        .await
        .unwrap();
    group["groups"][0]["id"].as_str().expect("an id").to_owned()
}

/// Applies this many users, each with its own password.
async fn apply_users(world: &mut World, count: usize) {
    let mut manifests = Vec::new();
    for number in 1..=count {
        let name = format!("user-{number}");
        world.apply_password(&name, &format!("Sentinel Calls-{number}")).await;
        manifests.push(user(&name, &format!("{{passwordSecretRef: {{name: {name}}}}}")));
    }
    world.apply(&manifests.join("---\n")).await;
}

#[tokio::test]
async fn an_edit_of_a_user_costs_one_get_and_the_required_writes() {
    let mut world = World::start().await;
    let (admins, guests) = (seed_group(&world, "admins").await, seed_group(&world, "guests").await);
    let mark = world.mark().await;
    world.apply_password("alice", "Sentinel Edit-1").await;
    world.apply_user("alice", "{passwordSecretRef: {name: alice}}").await;
    world.users().wait_for_reason("alice", "Available").await;
    let first = [
        ("LookUpProject", 1),
        ("ListCustomerGateways", 1),
        ("ListVpnUsers", 1),
        ("CreateVpnUser", 1),
        ("GetVpnUser", 1),
    ];
    let mut calls = world.calls_since(mark).await;
    // Without gateway objects, gateways are not listed.
    calls.entry("ListCustomerGateways".to_owned()).or_insert(1);
    assert_eq!(calls, counts(&first));

    let edits: [(Value, &[(&str, u64)]); 8] = [
        (json!({"description": "net"}), &[("UpdateVpnUser", 1)]),
        (json!({"staticIP": "192.168.10.5"}), &[("UpdateVpnUser", 1)]),
        (json!({"userGroupID": admins}), &[("UpdateVpnUser", 1)]),
        (
            json!({"userGroupID": guests, "description": "ops", "staticIP": "192.168.10.9"}),
            &[("UpdateVpnUser", 1)],
        ),
        (json!({"userGroupID": "None"}), &[("RemoveVpnUsersFromGroup", 1)]),
        (
            json!({"userGroupID": null, "userGroupName": "admins"}),
            &[("ListVpnUserGroups", 1), ("UpdateVpnUser", 1)],
        ),
        // Values that the cloud has already, and fields that are no longer managed.
        (json!({"userGroupID": admins, "userGroupName": null}), &[]),
        (json!({"description": null, "staticIP": null, "userGroupID": null}), &[]),
    ];
    for (edit, expected) in edits {
        let mark = world.mark().await;
        world.users().patch("alice", json!({"spec": edit})).await;
        let object = world.users().wait_for_reason("alice", "Available").await;
        let mut all = counts(expected);
        all.insert("GetVpnUser".to_owned(), 1);
        assert_eq!(world.calls_since(mark).await, all, "{edit}");
        let cloud = &world.cloud_users().await[0];
        for (field, in_spec) in [("description", "description"), ("static_ip", "staticIP")] {
            if let Some(wanted) = object["spec"].get(in_spec) {
                assert_eq!(cloud[field], *wanted, "{edit}");
            }
        }
    }
    let cloud = &world.cloud_users().await[0];
    assert_eq!(
        (&cloud["description"], &cloud["static_ip"], &cloud["user_group_id"]),
        (&json!("ops"), &json!("192.168.10.9"), &json!(admins)),
        "an omitted field is not managed"
    );

    // A new password costs a read and a reset; together with an edit, each costs its own calls.
    let mark = world.mark().await;
    world.apply_password("alice", "Sentinel Edit-2").await;
    let is_set = |object: &Value| object["status"]["passwordSetAt"] != Value::Null;
    world.users().wait_for("alice", "has a password", is_set).await;
    world.users().wait_for_event("alice", "PasswordSet").await;
    world.users().wait_for_reason("alice", "Available").await;
    assert_eq!(
        world.calls_since(mark).await,
        counts(&[("GetVpnUser", 1), ("ResetVpnUserPassword", 1)])
    );
    assert_eq!(world.cloud_users().await[0]["password_resets"], 1);
    world.finish().await;
}

#[tokio::test]
async fn creating_users_costs_one_create_and_at_most_one_read_each() {
    let mut world = World::with(Options::with([
        "--resync-period=0",
        "--creation-confirmation-period=20s",
    ]))
    .await;
    let mark = world.mark().await;
    apply_users(&mut world, 20).await;
    world.users().wait_until_all_ready(20).await;
    let calls = world.calls_since(mark).await;
    assert_eq!(calls.get("CreateVpnUser"), Some(&20), "{calls:?}");
    let others: u64 = calls
        .iter()
        .filter(|(name, _)| *name != "CreateVpnUser")
        .map(|(_, count)| count)
        .sum();
    // How many users share a confirming list depends on the time between their creations. At most there are one read of
    // each, the first list and the lookup of the project.
    assert!(others <= 22, "{calls:?}");
    assert_eq!(world.cloud_users().await.len(), 20);
    world.finish().await;
}

#[tokio::test]
async fn unchanged_users_cost_only_list_calls() {
    let mut world = World::with(Options::with(["--resync-period=1s"])).await;
    let group = seed_group(&world, "admins").await;
    apply_users(&mut world, 4).await;
    world.apply_password("named", "Sentinel Calls-named").await;
    let spec = "{passwordSecretRef: {name: named}, userGroupName: admins, staticIP: 192.168.10.13, description: d}";
    world.apply_user("named", spec).await;
    world.users().wait_until_all_ready(5).await;
    for name in ["user-1", "user-2", "user-3", "user-4", "named"] {
        world.users().wait_for_event(name, "Created").await;
    }
    let versions = |objects: &[Value]| -> BTreeMap<String, String> {
        let field = |object: &Value, field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        objects
            .iter()
            .map(|object| (field(object, "name"), field(object, "resourceVersion")))
            .collect()
    };
    let before = versions(&world.users().list().await);
    let events = world.plane_events().await;
    let mark = world.mark().await;
    let is_a_list = |operation: &String| operation.starts_with("List");
    eventually("four cycles", DEADLINE, async || {
        let calls = world.calls_since(mark).await;
        if calls.get("ListVpnUsers").is_some_and(|lists| *lists >= 4) {
            Ok(())
        } else {
            Err(format!("{calls:?}"))
        }
    })
    .await
    .unwrap();
    let calls = world.calls_since(mark).await;
    assert!(calls.keys().all(is_a_list), "{calls:?}");

    world.set_argument("--resync-period=0");
    world.stop_operator().await;
    let mark = world.mark().await;
    world.start_operator().await;
    world
        .wait_for_metric("vpn_operator_objects{kind=\"VpnUser\",reason=\"Available\"} 5")
        .await;
    let mut expected = counts(&[("LookUpProject", 1), ("ListVpnUsers", 1), ("ListVpnUserGroups", 1)]);
    let calls = eventually("the reads of the start", DEADLINE, async || {
        let calls = world.calls_since(mark).await;
        if expected.keys().all(|operation| calls.contains_key(operation)) {
            Ok(calls)
        } else {
            Err(format!("{calls:?}"))
        }
    })
    .await
    .unwrap();
    if calls.contains_key("ListCustomerGateways") {
        expected.insert("ListCustomerGateways".to_owned(), 1);
    }
    assert_eq!(calls, expected, "{}", world.log_tail());
    assert_eq!(versions(&world.users().list().await), before);
    assert_eq!(world.plane_events().await, events);
    assert_eq!(world.users().get("named").await["status"]["userGroupID"], group);
    world.finish().await;
}

#[tokio::test]
async fn drift_of_a_user_is_corrected_at_the_next_drift_check() {
    let mut world = World::with(Options::with(["--resync-period=1s"])).await;
    let (admins, guests) = (seed_group(&world, "admins").await, seed_group(&world, "guests").await);
    let specs = [
        ("described", "description: ops".to_owned()),
        ("addressed", "staticIP: 192.168.10.5".to_owned()),
        ("disabled", "staticIP: Disabled".to_owned()),
        ("grouped", format!("userGroupID: {admins}")),
        ("group-named", "userGroupName: admins".to_owned()),
        ("groupless", "userGroupID: None".to_owned()),
        ("removed", "description: mine".to_owned()),
        ("unmanaged", "deletionPolicy: Delete".to_owned()),
    ];
    for (name, spec) in &specs {
        world.apply_password(name, &format!("Sentinel Drift {name}")).await;
        let spec = format!("{{passwordSecretRef: {{name: {name}}}, {spec}}}");
        world.apply_user(name, &spec).await;
    }
    let objects = world.users().wait_until_all_ready(specs.len()).await;
    let id = |name: &str| {
        let object = objects.iter().find(|object| object["metadata"]["name"] == name);
        object
            .and_then(|object| object["status"]["id"].as_str())
            .expect("an id")
            .to_owned()
    };
    let everything = json!({"description": "theirs", "static_ip": "192.168.10.21", "user_group_id": guests});
    world.simulator.edit_user(&id("unmanaged"), &everything).await.unwrap();
    let edits = [
        ("described", json!({"description": ""}), "description"),
        ("addressed", json!({"static_ip": "192.168.10.9"}), "staticIP"),
        ("disabled", json!({"static_ip": "192.168.10.17"}), "staticIP"),
        ("grouped", json!({"user_group_id": guests}), "userGroupID"),
        ("group-named", json!({"user_group_id": ""}), "userGroupName"),
        ("groupless", json!({"user_group_id": guests}), "userGroupID"),
    ];
    let mark = world.mark().await;
    for (name, edit, _) in &edits {
        world.simulator.edit_user(&id(name), edit).await.unwrap();
    }
    for (name, _, field) in &edits {
        for event in ["DriftDetected", "DriftCorrected"] {
            let note = world.users().wait_for_event(name, event).await;
            assert!(note.contains(field), "{name}: {note}");
        }
    }
    let calls = world.calls_since(mark).await;
    assert_eq!(calls.get("UpdateVpnUser"), Some(&5), "{calls:?}");
    assert_eq!(calls.get("RemoveVpnUsersFromGroup"), Some(&1), "{calls:?}");
    assert!(!calls.contains_key("ResetVpnUserPassword"), "{calls:?}");
    let cloud = world.cloud_users().await;
    for (name, field, value) in [
        ("described", "description", json!("ops")),
        ("addressed", "static_ip", json!("192.168.10.5")),
        ("disabled", "static_ip", json!(null)),
        ("grouped", "user_group_id", json!(admins)),
        ("group-named", "user_group_id", json!(admins)),
        ("groupless", "user_group_id", json!(null)),
        ("unmanaged", "description", json!("theirs")),
        ("unmanaged", "static_ip", json!("192.168.10.21")),
        ("unmanaged", "user_group_id", json!(guests)),
    ] {
        let user = cloud.iter().find(|user| user["name"] == name).expect("it is there");
        assert_eq!(user[field], value, "{name}");
    }
    // Shown, though not managed.
    let shows =
        |object: &Value| object["status"]["userGroupID"] == guests && object["status"]["staticIP"] == "192.168.10.21";
    world
        .users()
        .wait_for("unmanaged", "shows the cloud's values", shows)
        .await;
    assert!(
        world
            .users()
            .events("unmanaged")
            .await
            .iter()
            .all(|event| event["reason"] == "Created")
    );

    // Deleted outside the operator: recreated once, with the password of the Secret.
    let removed = id("removed");
    let mark = world.mark().await;
    world.simulator.remove_user(&removed).await.unwrap();
    let again = world
        .users()
        .wait_for("removed", "has a new id and is Ready", |object| {
            object["status"]["id"] != removed.as_str() && condition(object, "Ready")["status"] == "True"
        })
        .await;
    world.users().wait_for_event("removed", "DriftDetected").await;
    world.users().wait_for_event("removed", "Recreated").await;
    let new = again["status"]["id"].as_str().expect("an id");
    assert!(
        world
            .simulator
            .is_password(new, "Sentinel Drift removed")
            .await
            .unwrap()
    );
    let calls = world.calls_since(mark).await;
    assert_eq!(calls.get("CreateVpnUser"), Some(&1), "{calls:?}");
    assert!(!calls.contains_key("ResetVpnUserPassword"), "{calls:?}");
    world.finish().await;
}
