//! Attempts to take over a cloud resource that another object owns.

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, PatchParams, PostParams};
use kube::core::ApiResource;
use serde_json::{Value, json};
use vpn_operator_testbed::{eventually, figures};

use crate::operator::console::{OWNER, counts, message};
use crate::operator::world::{DEADLINE, Options, VPN_SERVER, World, condition, gateway_resource, user_resource};

/// Creates a world whose operator watches a second namespace as well: the adversary's.
async fn world_with_adversary() -> (World, String) {
    world_with_adversary_and(["--resync-period=0", "--creation-confirmation-period=1s"]).await
}

async fn world_with_adversary_and<const N: usize>(flags: [&str; N]) -> (World, String) {
    let options = Options {
        stopped: true,
        ..Options::with(flags)
    };
    let mut world = World::with(options).await;
    let adversary = world.plane.create_namespace("adversary").await.unwrap();
    world.arguments.push(format!("--watch-namespace={adversary}"));
    world.start_operator().await;
    world.apply_password("pw", "Sentinel Pass-1").await;
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &adversary);
    let secret = json!({"metadata": {"name": "pw"}, "stringData": {"password": "Sentinel Pass-2"}});
    world.sentinels.add("Sentinel Pass-2");
    secrets
        .create(&PostParams::default(), &serde_json::from_value(secret).unwrap())
        .await
        .unwrap();
    (world, adversary)
}

struct Elsewhere<'a> {
    world: &'a World,
    api: Api<DynamicObject>,
    kind: &'static str,
}

impl<'a> Elsewhere<'a> {
    fn new(world: &'a World, namespace: &str, kind: &'static str, resource: &ApiResource) -> Self {
        Self {
            world,
            api: Api::namespaced_with(world.client.clone(), namespace, resource),
            kind,
        }
    }

    async fn create(&self, name: &str, spec: Value) {
        let object = json!({
            "apiVersion": "vpn.huaweicloud.com/v1alpha1", "kind": self.kind, "metadata": {"name": name}, "spec": spec,
        });
        let object = serde_json::from_value(object).unwrap();
        self.api.create(&PostParams::default(), &object).await.unwrap();
    }

    async fn patch(&self, name: &str, patch: Value) {
        self.api
            .patch(name, &PatchParams::default(), &kube::api::Patch::Merge(&patch))
            .await
            .unwrap();
    }

    async fn wait_for(&self, name: &str, awaited: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let result = eventually(&format!("{name}: {awaited}"), DEADLINE, async || {
            let object = self.api.get(name).await.map_err(|error| error.to_string())?;
            let object = serde_json::to_value(object).unwrap();
            if fits(&object) {
                Ok(object)
            } else {
                Err(object["status"].to_string())
            }
        })
        .await;
        result.unwrap_or_else(|error| panic!("{error}\n{}", self.world.log_tail()))
    }

    async fn wait_for_reason(&self, name: &str, reason: &str) -> Value {
        self.wait_for(name, reason, |object| condition(object, "Ready")["reason"] == reason)
            .await
    }

    /// Deletes an object that never had a resource in the cloud.
    async fn delete(&self, name: &str) {
        self.api.delete(name, &DeleteParams::default()).await.unwrap();
        let deleted = eventually(&format!("{name} is deleted"), DEADLINE, async || {
            match self.api.get_opt(name).await {
                Ok(None) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        deleted.unwrap_or_else(|error| panic!("{error}\n{}", self.world.log_tail()));
    }
}

/// Creates a gateway and a user, each with an object of the victim, and returns their ids.
async fn victims_objects(world: &World) -> (String, String) {
    let gateway = world.create("office", "{name: office, idValue: 203.0.113.1}").await;
    world
        .apply_user("alice", "{name: alice, passwordSecretRef: {name: pw}}")
        .await;
    let user = world.users().wait_for_reason("alice", "Available").await;
    (gateway, user["status"]["id"].as_str().expect("an id").to_owned())
}

/// Returns the victim's resources in the cloud, as far as an adversary could change them.
async fn belongings(world: &World) -> (Vec<Value>, Vec<Value>) {
    (world.cloud_gateways().await, world.cloud_users().await)
}

#[tokio::test]
async fn resources_of_another_namespaces_objects_cannot_be_adopted() {
    let (mut world, adversary) = world_with_adversary().await;
    let (gateway_id, user_id) = victims_objects(&world).await;
    let before = belongings(&world).await;
    let mark = world.mark().await;
    let gateways = Elsewhere::new(&world, &adversary, "CustomerGateway", &gateway_resource());
    let users = Elsewhere::new(&world, &adversary, "VpnUser", &user_resource());
    let pw = json!({"name": "pw"});
    let attempts = [
        (
            &gateways,
            "by-id",
            json!({"externalID": gateway_id, "idValue": "203.0.113.1"}),
            "AlreadyManaged",
            "office",
        ),
        (
            &gateways,
            "to-delete",
            json!({"externalID": gateway_id, "idValue": "203.0.113.1", "deletionPolicy": "Delete"}),
            "AlreadyManaged",
            "office",
        ),
        (
            &users,
            "by-id",
            json!({"vpnServerID": VPN_SERVER, "externalID": user_id, "passwordSecretRef": pw}),
            "AlreadyManaged",
            "alice",
        ),
        (
            &users,
            "by-name",
            json!({"vpnServerID": VPN_SERVER, "name": "alice", "adoptionPolicy": "IfExists", "passwordSecretRef": pw}),
            "NameConflict",
            "alice",
        ),
        (
            &users,
            "by-case",
            json!({"vpnServerID": VPN_SERVER, "name": "ALICE", "adoptionPolicy": "IfExists", "passwordSecretRef": pw}),
            "NameConflict",
            "alice",
        ),
    ];
    let holder = |name: &str| format!("{}/{name}", world.namespace);
    for (objects, name, spec, reason, victim) in &attempts {
        objects.create(name, spec.clone()).await;
        let object = objects.wait_for_reason(name, reason).await;
        assert!(
            message(&object).contains(&holder(victim)),
            "{name}: {}",
            message(&object)
        );
        assert!(object["status"]["id"].is_null(), "{name}: {object}");
    }
    assert_eq!(world.writes_since(mark).await, counts([]));
    let tried = attempts.len() as u64 + 4;
    // An observer may read, and nothing more.
    let observed = json!({"externalID": gateway_id, "managementPolicy": "Observe"});
    gateways.create("observer", observed).await;
    gateways.wait_for_reason("observer", "Available").await;
    gateways.delete("observer").await;

    // The same after a restart, whichever object is reconciled first.
    let (gateway_resource, user_resource) = (gateway_resource(), user_resource());
    world.restart_operator().await;
    let gateways = Elsewhere::new(&world, &adversary, "CustomerGateway", &gateway_resource);
    let users = Elsewhere::new(&world, &adversary, "VpnUser", &user_resource);
    for (objects, name, reason) in [
        (&gateways, "by-id", "AlreadyManaged"),
        (&users, "by-id", "AlreadyManaged"),
        (&users, "by-name", "NameConflict"),
    ] {
        let annotations = json!({"metadata": {"annotations": {"vpn.huaweicloud.com/reconcile-requested-at": "again"}}});
        objects
            .api
            .patch(name, &PatchParams::default(), &kube::api::Patch::Merge(&annotations))
            .await
            .unwrap();
        objects.wait_for_reason(name, reason).await;
    }
    // The same while the victim's object is being deleted, but still has its gateway.
    world.edit(&gateway_id, json!({"connection": "vpn-1"})).await;
    world.delete("office").await;
    world.wait_for_reason("office", "DependencyNotReady").await;
    gateways
        .create(
            "at-the-end",
            json!({"externalID": gateway_id, "idValue": "203.0.113.1"}),
        )
        .await;
    gateways.wait_for_reason("at-the-end", "DependencyNotReady").await;
    // The adversary's deletions delete nothing in the cloud.
    for name in ["by-id", "to-delete", "at-the-end"] {
        gateways.delete(name).await;
    }
    for name in ["by-id", "by-name", "by-case"] {
        users.delete(name).await;
    }
    let mut after = belongings(&world).await;
    // Not the adversary's changes: the connection was attached in the cloud.
    for field in ["connection", "updated_at"] {
        after.0[0][field] = before.0[0][field].clone();
    }
    assert_eq!(after, before);
    world.edit(&gateway_id, json!({"connection": ""})).await;
    world.request("office").await;
    world.wait_until_deleted("office").await;
    let takeovers = world.writes_since(mark).await;
    let not_the_victims: u64 = takeovers
        .iter()
        .filter(|(name, _)| *name != "DeleteCustomerGateway")
        .map(|(_, count)| count)
        .sum();
    assert_eq!(not_the_victims, 0, "{takeovers:?}");
    figures::report(
        "adversaries",
        &[
            ("takeovers tried across namespaces", tried),
            ("takeovers", not_the_victims),
        ],
    );
    world.finish().await;
}

#[tokio::test]
async fn a_change_from_observe_to_manage_takes_nothing_over() {
    let (mut world, adversary) =
        world_with_adversary_and(["--resync-period=1s", "--creation-confirmation-period=1s"]).await;
    let (gateway_id, user_id) = victims_objects(&world).await;
    let before = belongings(&world).await;
    let mark = world.mark().await;
    let (gateway_resource, user_resource) = (gateway_resource(), user_resource());
    let spies = [
        (
            "CustomerGateway",
            &gateway_resource,
            json!({"externalID": gateway_id}),
            "office",
        ),
        (
            "VpnUser",
            &user_resource,
            json!({"externalID": user_id, "vpnServerID": VPN_SERVER}),
            "alice",
        ),
    ];
    let turned = |kind: &str, policy: &str| match kind {
        "CustomerGateway" => json!({"spec": {"managementPolicy": policy, "idValue": "203.0.113.1", "name": "taken"}}),
        _ => json!({"spec": {"managementPolicy": policy, "passwordSecretRef": {"name": "pw"}, "description": "taken"}}),
    };
    for (kind, resource, spec, victim) in &spies {
        let objects = Elsewhere::new(&world, &adversary, kind, resource);
        for policy in ["Manage", "ReportDrift"] {
            let name = format!("spy-{}", policy.to_lowercase());
            let mut observing = spec.clone();
            observing["managementPolicy"] = "Observe".into();
            objects.create(&name, observing).await;
            objects.wait_for_reason(&name, "Available").await;
            objects.patch(&name, turned(kind, policy)).await;
            let object = objects.wait_for_reason(&name, "AlreadyManaged").await;
            let shown = message(&object);
            assert!(shown.contains(&format!("{}/{victim}", world.namespace)), "{shown}");
        }
    }
    // The same when one process observed, and another one is the first to see the edit.
    for (kind, resource, spec, _) in &spies {
        let objects = Elsewhere::new(&world, &adversary, kind, resource);
        let mut observing = spec.clone();
        observing["managementPolicy"] = "Observe".into();
        objects.create("sleeper", observing).await;
        objects.wait_for_reason("sleeper", "Available").await;
    }
    world.stop_operator().await;
    for (kind, resource, ..) in &spies {
        let objects = Elsewhere::new(&world, &adversary, kind, resource);
        objects.patch("sleeper", turned(kind, "Manage")).await;
    }
    world.start_operator().await;
    for (kind, resource, ..) in &spies {
        let objects = Elsewhere::new(&world, &adversary, kind, resource);
        objects.wait_for_reason("sleeper", "AlreadyManaged").await;
    }
    assert_eq!(world.writes_since(mark).await, counts([]));
    for (kind, resource, ..) in &spies {
        let objects = Elsewhere::new(&world, &adversary, kind, resource);
        objects.delete("sleeper").await;
        objects.delete("spy-reportdrift").await;
    }
    assert_eq!(belongings(&world).await, before);
    assert!(world.simulator.is_password(&user_id, "Sentinel Pass-1").await.unwrap());
    // The owners still notice what happens to their resources.
    world.simulator.remove_gateway(&gateway_id).await.unwrap();
    world.simulator.remove_user(&user_id).await.unwrap();
    let is_recreated = |old: &str| {
        let old = old.to_owned();
        move |object: &Value| {
            let id = object["status"]["id"].as_str();
            id.is_some_and(|id| id != old) && condition(object, "Ready")["reason"] == "Available"
        }
    };
    world.wait_for("office", "recreated", is_recreated(&gateway_id)).await;
    world
        .users()
        .wait_for("alice", "recreated", is_recreated(&user_id))
        .await;
    figures::report(
        "adversaries",
        &[("objects changed from Observe to Manage", 6), ("takeovers", 0)],
    );
    world.finish().await;
}

#[tokio::test]
async fn a_resource_in_creation_by_another_object_cannot_be_adopted() {
    // No held request may time out before both are held.
    let flags = [
        "--resync-period=0",
        "--creation-confirmation-period=1s",
        "--request-timeout=7s",
    ];
    let (mut world, adversary) = world_with_adversary_and(flags).await;
    let mark = world.mark().await;
    let (gateway_resource, user_resource) = (gateway_resource(), user_resource());
    for operation in ["CreateCustomerGateway", "CreateVpnUser"] {
        let hold = json!({"fault": "hold", "operation": operation, "commit": true});
        world.simulator.add_fault(&hold).await.unwrap();
    }
    world
        .apply_gateway("office", "{name: office, idValue: 203.0.113.1}")
        .await;
    world
        .apply_user("dave", "{name: dave, passwordSecretRef: {name: pw}}")
        .await;
    let _: Vec<Value> = world.simulator.wait_for_held(2).await.unwrap();
    // The responses are lost.
    world.kill_operator();
    let (gateways, users) = belongings(&world).await;
    let id_of = |things: &[Value]| things[0]["id"].as_str().expect("it was committed").to_owned();
    let (gateway_id, user_id) = (id_of(&gateways), id_of(&users));
    let pw = json!({"name": "pw"});
    let thieves = [
        (
            "VpnUser",
            "by-name",
            json!({"vpnServerID": VPN_SERVER, "name": "dave", "adoptionPolicy": "IfExists", "passwordSecretRef": pw}),
        ),
        (
            "VpnUser",
            "by-case",
            json!({"vpnServerID": VPN_SERVER, "name": "Dave", "adoptionPolicy": "Required", "passwordSecretRef": pw}),
        ),
        (
            "VpnUser",
            "by-id",
            json!({"vpnServerID": VPN_SERVER, "externalID": user_id, "passwordSecretRef": pw}),
        ),
        (
            "CustomerGateway",
            "by-id",
            json!({"externalID": gateway_id, "idValue": "203.0.113.1"}),
        ),
        (
            "CustomerGateway",
            "by-name",
            json!({"name": "office", "idValue": "203.0.113.1", "adoptionPolicy": "Required"}),
        ),
    ];
    let refused = |object: &Value| {
        let reason = condition(object, "Ready")["reason"].clone();
        ["AlreadyManaged", "NameConflict", "NotFound"]
            .iter()
            .any(|expected| reason == *expected)
    };
    world.start_operator().await;
    let of = |kind| {
        if kind == "VpnUser" {
            &user_resource
        } else {
            &gateway_resource
        }
    };
    for (kind, name, spec) in &thieves {
        let objects = Elsewhere::new(&world, &adversary, kind, of(*kind));
        objects.create(name, spec.clone()).await;
        let object = objects.wait_for(name, "refused", refused).await;
        assert!(object["status"]["id"].is_null(), "{object}");
    }
    world.wait_for_reason("office", "Available").await;
    world.users().wait_for_reason("dave", "Available").await;
    for (kind, name, _) in &thieves {
        let objects = Elsewhere::new(&world, &adversary, kind, of(*kind));
        objects.wait_for(name, "refused", refused).await;
        objects.delete(name).await;
    }
    assert_eq!(world.get("office").await["status"]["id"], gateway_id.as_str());
    assert_eq!(world.users().get("dave").await["status"]["id"], user_id.as_str());
    assert!(world.simulator.is_password(&user_id, "Sentinel Pass-1").await.unwrap());
    let mut writes = world.writes_since(mark).await;
    for creation in ["CreateCustomerGateway", "CreateVpnUser"] {
        writes.remove(creation);
    }
    assert_eq!(writes, counts([]), "no password is set, nothing is changed or deleted");
    figures::report(
        "adversaries",
        &[
            ("adoptions tried during creations", thieves.len() as u64),
            ("takeovers", 0),
        ],
    );
    world.finish().await;
}

/// The gateway `office` and the user `bobb` are deleted in the cloud, their recreation is refused, and both objects are
/// paused. Then both reappear.
async fn lose_while_recreation_is_refused(world: &World, gateway_id: &str, user_id: &str) {
    for operation in ["CreateCustomerGateway", "CreateVpnUser"] {
        let refusal = json!({"fault": "error", "operation": operation, "times": 0, "status": 400, "code": "VPN.0001",
            "message": "Invalid request: not today."});
        world.simulator.add_fault(&refusal).await.unwrap();
    }
    let gateway = world.cloud_gateway(gateway_id).await;
    world.simulator.remove_gateway(gateway_id).await.unwrap();
    world.simulator.remove_user(user_id).await.unwrap();
    world.request("office").await;
    let again = json!({"metadata": {"annotations": {"vpn.huaweicloud.com/reconcile-requested-at": "again"}}});
    world.users().patch("bobb", again).await;
    let is_refused = |object: &Value| {
        let status = &object["status"];
        message(object).contains("not today") && status["id"].is_null() && status["intent"].is_null()
    };
    world.wait_for("office", "recreation refused", is_refused).await;
    let object = world.users().wait_for("bobb", "recreation refused", is_refused).await;
    assert_eq!(object["status"]["vanishedIDs"], json!([user_id]));
    let pause = json!({"metadata": {"annotations": {"vpn.huaweicloud.com/paused": "true"}}});
    let is_paused = |object: &Value| condition(object, "Paused")["status"] == "True";
    world.patch("office", pause.clone()).await;
    world.users().patch("bobb", pause).await;
    world.wait_for("office", "paused", is_paused).await;
    world.users().wait_for("bobb", "paused", is_paused).await;
    world.simulator.clear_faults().await.unwrap();
    let tags = json!({OWNER: world.owner_value("office").await});
    assert_eq!(gateway["tags"], tags);
    let seed = json!({"id": gateway_id, "name": "office", "id_value": "203.0.113.1", "tags": tags});
    assert_eq!(world.seed(seed).await, gateway_id);
    let seed = json!({"id": user_id, "server_id": VPN_SERVER, "name": "bobb", "password": "Sentinel Pass-1"});
    let _: Vec<Value> = world.simulator.seed_users(&seed).await.unwrap();
}

#[tokio::test]
async fn a_reappeared_resource_of_another_object_cannot_be_adopted() {
    let (mut world, adversary) = world_with_adversary().await;
    let gateway_id = world.create("office", "{name: office, idValue: 203.0.113.1}").await;
    world
        .apply_user("bobb", "{name: bobb, passwordSecretRef: {name: pw}}")
        .await;
    let user = world.users().wait_for_reason("bobb", "Available").await;
    let user_id = user["status"]["id"].as_str().expect("an id").to_owned();
    lose_while_recreation_is_refused(&world, &gateway_id, &user_id).await;
    let before = belongings(&world).await;
    let mark = world.mark().await;
    let (gateway_resource, user_resource) = (gateway_resource(), user_resource());
    let of_user = |more: Value| {
        let mut spec = json!({"vpnServerID": VPN_SERVER, "passwordSecretRef": {"name": "pw"}});
        let fields = spec.as_object_mut().expect("an object");
        fields.extend(more.as_object().expect("an object").clone());
        ("VpnUser", &user_resource, spec)
    };
    let of_gateway = |more: Value| {
        let mut spec = more;
        spec["idValue"] = "203.0.113.1".into();
        ("CustomerGateway", &gateway_resource, spec)
    };
    let thieves = [
        ("by-id", of_user(json!({"externalID": user_id})), "AlreadyManaged"),
        (
            "by-both",
            of_user(json!({"externalID": user_id, "name": "bobb"})),
            "AlreadyManaged",
        ),
        (
            "by-name",
            of_user(json!({"name": "bobb", "adoptionPolicy": "IfExists"})),
            "NameConflict",
        ),
        (
            "by-case",
            of_user(json!({"name": "BOBB", "adoptionPolicy": "Required"})),
            "NameConflict",
        ),
        ("creates", of_user(json!({"name": "bobb"})), "NameConflict"),
        ("by-id", of_gateway(json!({"externalID": gateway_id})), "AlreadyManaged"),
        (
            "by-name",
            of_gateway(json!({"name": "office", "adoptionPolicy": "Required"})),
            "NotFound",
        ),
    ];
    // The second time they exist before a process starts, which knows from status alone what was lost.
    for at_start in [false, true] {
        if at_start {
            world.stop_operator().await;
        }
        for (name, (kind, resource, spec), _) in &thieves {
            let objects = Elsewhere::new(&world, &adversary, kind, resource);
            objects.create(name, spec.clone()).await;
        }
        if at_start {
            world.start_operator().await;
        }
        for (name, (kind, resource, _), reason) in &thieves {
            let objects = Elsewhere::new(&world, &adversary, kind, resource);
            let object = objects.wait_for_reason(name, reason).await;
            assert!(object["status"]["id"].is_null(), "{kind} {name}: {object}");
            let owner = format!("{}/bobb", world.namespace);
            let shown = message(&object);
            assert!(*kind != "VpnUser" || shown.contains(&owner), "{name}: {shown}");
        }
        assert_eq!(world.writes_since(mark).await, counts([]));
        for (name, (kind, resource, _), _) in &thieves {
            let objects = Elsewhere::new(&world, &adversary, kind, resource);
            objects.delete(name).await;
        }
        assert_eq!(belongings(&world).await, before);
    }
    // The owners take them back.
    let resume = json!({"metadata": {"annotations": {"vpn.huaweicloud.com/paused": null}}});
    world.patch("office", resume.clone()).await;
    world.users().patch("bobb", resume).await;
    let has = |id: &str| {
        let id = id.to_owned();
        move |object: &Value| {
            object["status"]["id"] == id.as_str() && condition(object, "Ready")["reason"] == "Available"
        }
    };
    world.wait_for("office", "taken back", has(&gateway_id)).await;
    world.users().wait_for("bobb", "taken back", has(&user_id)).await;
    assert!(world.simulator.is_password(&user_id, "Sentinel Pass-1").await.unwrap());
    figures::report(
        "adversaries",
        &[
            ("adoptions tried after losses", 2 * thieves.len() as u64),
            ("takeovers", 0),
        ],
    );
    world.finish().await;
}

#[tokio::test]
async fn an_unwatched_existing_owner_keeps_its_gateway() {
    let world = World::with(Options::with(["--resync-period=0", "--watch-selector=shard=ours"])).await;
    // An object of another shard, and with a name that does not fit into the tag.
    let long = "victim-".to_owned() + &"x".repeat(240);
    world
        .apply(&crate::operator::world::gateway(
            &long,
            "{name: victim, idValue: 203.0.113.1}",
        ))
        .await;
    let uid = world.get(&long).await["metadata"]["uid"].as_str().unwrap().to_owned();
    let owner = vpn_core::owner_tag::Owner::new(&uid, Some("test"), &world.namespace, &long);
    assert_eq!(owner.to_string().len(), 255, "the name is cut");
    let tags = [
        owner.to_string(),
        // No object can have such a name, so the operator must not put it into a path of the apiserver.
        format!(
            "{uid}:test:{}:../../../../api/v1/namespaces/kube-system/secrets/x",
            world.namespace
        ),
        format!("{uid}:test:{}:{}/status", world.namespace, "x"),
        format!("{uid}:test:../../..:x"),
        format!("{uid}:test:{}:x?watch=true", world.namespace),
    ];
    let mark = world.mark().await;
    for (number, tag) in tags.iter().enumerate() {
        let id = world
            .seed(json!({"name": "theirs", "id_value": "203.0.113.1", "tags": {OWNER: tag}}))
            .await;
        let name = format!("thief-{number}");
        let manifest = crate::operator::world::gateway(&name, &format!("{{externalID: {id}, idValue: 203.0.113.1}}"));
        world
            .apply(&manifest.replace("metadata: {", "metadata: {labels: {shard: ours}, "))
            .await;
        let object = world.wait_for_reason(&name, "AlreadyManaged").await;
        assert!(object["status"]["id"].is_null(), "{object}");
        assert_eq!(world.cloud_gateway(&id).await["tags"][OWNER], tag.as_str());
    }
    assert_eq!(world.writes_since(mark).await, counts([]));
    let log = world.running().log();
    let asked: Vec<&str> = log.lines().filter(|line| line.contains("http.url=")).collect();
    assert!(
        asked.iter().any(|line| line.contains("/customergateways?")),
        "the log shows the requests"
    );
    for path in ["kube-system", "x/status", "x?watch=true", "/namespaces/.."] {
        let strange: Vec<_> = asked.iter().filter(|line| line.contains(path)).collect();
        assert!(strange.is_empty(), "{path}: {strange:#?}");
    }
    figures::report("adversaries", &[("tags forged in the cloud", tags.len() as u64)]);
    world.finish().await;
}

#[tokio::test]
async fn editors_of_objects_cannot_write_status_or_the_owner_tag() {
    let (world, adversary) = world_with_adversary().await;
    let (gateway_id, user_id) = victims_objects(&world).await;
    let rules = json!([
        {"apiGroups": ["vpn.huaweicloud.com"], "resources": ["customergateways", "vpnusers"], "verbs": ["*"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["*"]},
    ]);
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "author", "namespace": adversary}, "rules": rules});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "author", "namespace": adversary},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "author"},
        "subjects": [{"kind": "User", "name": "mallory", "apiGroup": "rbac.authorization.k8s.io"}]});
    for manifest in [role, binding] {
        let output = world
            .plane
            .kubectl_with_input(["apply", "--filename", "-"], &manifest.to_string())
            .await;
        output.unwrap().success().unwrap();
    }
    let as_mallory = async |arguments: &[&str], manifest: &str| {
        let who = ["--as", "mallory", "--namespace", &adversary];
        let all = who.iter().chain(arguments).copied();
        world.plane.kubectl_with_input(all, manifest).await.unwrap()
    };
    // The apiserver drops a status that is sent with the object.
    let mark = world.mark().await;
    let scope = json!({"endpoint": world.simulator.url(), "projectID": crate::operator::world::PROJECT});
    let forged = [
        json!({"apiVersion": "vpn.huaweicloud.com/v1alpha1", "kind": "CustomerGateway", "metadata": {"name": "forged"},
            "spec": {"idValue": "203.0.113.1", "name": "mine-now", "managementPolicy": "ReportDrift"},
            "status": {"id": gateway_id, "scope": scope}}),
        json!({"apiVersion": "vpn.huaweicloud.com/v1alpha1", "kind": "VpnUser", "metadata": {"name": "forged"},
            "spec": {"vpnServerID": VPN_SERVER, "name": "mallory", "passwordSecretRef": {"name": "pw"}},
            "status": {"id": user_id, "scope": scope, "name": "alice"}}),
    ];
    for manifest in &forged {
        as_mallory(&["apply", "--filename", "-"], &manifest.to_string())
            .await
            .success()
            .unwrap();
    }
    for (kind, resource) in [("CustomerGateway", gateway_resource()), ("VpnUser", user_resource())] {
        let objects = Elsewhere::new(&world, &adversary, kind, &resource);
        let object = objects.wait_for_reason("forged", "Available").await;
        let id = &object["status"]["id"];
        assert!(
            id.is_string() && *id != gateway_id.as_str() && *id != user_id.as_str(),
            "{object}"
        );
    }
    // The subresource has a permission of its own, which authors do not need.
    let mut refused = 0;
    for resource in ["customergateway", "vpnuser"] {
        let patch = json!({"status": {"id": gateway_id}}).to_string();
        let arguments = [
            "patch",
            resource,
            "forged",
            "--subresource=status",
            "--type=merge",
            "--patch",
            &patch,
        ];
        let output = as_mallory(&arguments, "").await;
        assert!(!output.status.success());
        let subresource = format!("{resource}s/status");
        let shown = &output.stderr;
        assert!(shown.contains("Forbidden") && shown.contains(&subresource), "{shown}");
        refused += 1;
    }
    // The owner tag cannot be set through a spec.
    let uid = world.get("office").await["metadata"]["uid"]
        .as_str()
        .unwrap()
        .to_owned();
    let tag = world.owner_of(&uid, "office");
    let manifest = json!({"apiVersion": "vpn.huaweicloud.com/v1alpha1", "kind": "CustomerGateway",
        "metadata": {"name": "tagger"}, "spec": {"idValue": "203.0.113.2", "tags": {OWNER: tag}}});
    let output = as_mallory(&["apply", "--filename", "-"], &manifest.to_string()).await;
    assert!(
        !output.status.success() && output.stderr.contains(OWNER),
        "{}",
        output.stderr
    );
    refused += 1;
    // Mallory has only what mallory created.
    let writes = world.writes_since(mark).await;
    assert_eq!(writes, counts([("CreateCustomerGateway", 1), ("CreateVpnUser", 1)]));
    // Permissions in one namespace do not cover the objects of another.
    let output = world
        .plane
        .kubectl([
            "--as",
            "mallory",
            "--namespace",
            &world.namespace,
            "get",
            "secrets,cgw,vpnu",
        ])
        .await
        .unwrap();
    assert!(!output.status.success());
    figures::report("adversaries", &[("writes of status and owner tags refused", refused)]);
    world.finish().await;
}
