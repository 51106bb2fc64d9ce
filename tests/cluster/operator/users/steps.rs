//! Steps that the tests of users share: servers of their own, unmanaged users, kubectl's verbs, and requests to the
//! cloud.

use kube::Api;
use kube::api::{DeleteParams, DynamicObject};
use serde_json::{Value, json};
use vpn_operator_testbed::eventually;

use crate::operator::world::{DEADLINE, World, user, user_resource};

/// The password of users in these tests; in the Secret `pw`.
pub(crate) const PASSWORD: &str = "Sentinel Pass-1";

/// The id of a server for one scenario only.
pub(crate) fn server_id(number: usize) -> String {
    format!("5e5e5e5e-0000-4000-8000-1{number:011}")
}

/// Adds a VPN server for one scenario only: its failures do not affect others.
pub(crate) async fn add_server(world: &World, number: usize) -> String {
    let id = server_id(number);
    let made: Value = world
        .simulator
        .admin_post("vpn-servers", &json!({"id": id}))
        .await
        .unwrap();
    assert_eq!(made["servers"][0]["id"], id.as_str());
    id
}

/// A manifest of a user on that server, with the usual password; `more` is the rest of the spec, in flow style.
pub(crate) fn on(server: &str, name: &str, more: &str) -> String {
    let comma = if more.is_empty() { "" } else { ", " };
    user(
        name,
        &format!("{{vpnServerID: {server}, passwordSecretRef: {{name: pw}}{comma}{more}}}"),
    )
}

/// Applies the Secret with the usual password.
pub(crate) async fn apply_pw(world: &mut World) {
    world.apply_password("pw", PASSWORD).await;
}

/// Waits until a user is available. Returns its id.
pub(crate) async fn available(world: &World, name: &str) -> String {
    let object = world.users().wait_for_reason(name, "Available").await;
    object["status"]["id"].as_str().expect("an id").to_owned()
}

/// The cloud's users on a server, as the admin API shows them.
pub(crate) async fn cloud_users_on(world: &World, server: &str) -> Vec<Value> {
    let mut users = world.cloud_users().await;
    users.retain(|user| user["server_id"] == server);
    users
}

/// A user as the cloud has it, or null.
pub(crate) async fn cloud_user(world: &World, id: &str) -> Value {
    let users = world.cloud_users().await;
    users.into_iter().find(|user| user["id"] == id).unwrap_or_default()
}

/// Waits until the object is available. Checks that its user is the only one on the server, and returns its id.
pub(crate) async fn the_only_one(world: &World, server: &str, name: &str) -> String {
    let id = available(world, name).await;
    let users = cloud_users_on(world, server).await;
    assert_eq!(users.len(), 1, "{name}: {users:?}");
    assert_eq!(users[0]["id"], id.as_str(), "{name}");
    let status = &world.users().get(name).await["status"];
    assert!(status["intent"].is_null(), "{name}: {status}");
    assert!(world.simulator.is_password(&id, PASSWORD).await.unwrap(), "{name}");
    id
}

/// Creates an unmanaged user outside the operator. Returns it as the cloud shows it.
pub(crate) async fn unmanaged_user(world: &World, server: &str, name: &str, more: Value) -> Value {
    let mut seed = json!({"server_id": server, "name": name, "description": "theirs", "password": "Str4nger pass"});
    let fields = seed.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    let made: Vec<Value> = world.simulator.seed_users(&seed).await.unwrap();
    made[0].clone()
}

/// The requests of an operation on a server, in their order.
pub(crate) async fn requests(world: &World, server: &str, operation: &str) -> Vec<Value> {
    let page: Value = world.simulator.log_since(0).await.unwrap();
    let all = page["requests"].as_array().expect("requests").clone();
    let is_meant = |request: &Value| {
        request["operation"] == operation && request["path"].as_str().is_some_and(|path| path.contains(server))
    };
    all.into_iter().filter(is_meant).collect()
}

/// Creations on a server: all of them, and those that took effect.
pub(crate) async fn posts(world: &World, server: &str) -> (usize, usize) {
    let posts = requests(world, server, "CreateVpnUser").await;
    let committed = posts.iter().filter(|post| post["committed"] == true).count();
    (posts.len(), committed)
}

/// Waits until so many requests of an operation came to a server.
pub(crate) async fn wait_for_requests(world: &World, server: &str, operation: &str, count: usize) {
    let result = eventually(&format!("{count} {operation}"), DEADLINE, async || {
        let came = requests(world, server, operation).await.len();
        if came >= count {
            Ok(())
        } else {
            Err(format!("{came} came"))
        }
    })
    .await;
    result.unwrap_or_else(|error| panic!("{error}\n{}", world.log_tail()));
}

/// `kubectl delete --wait=false`.
pub(crate) async fn delete(world: &World, name: &str) {
    world
        .users()
        .api()
        .delete(name, &DeleteParams::default())
        .await
        .unwrap();
}

/// Deletes an object and waits until it no longer exists.
pub(crate) async fn delete_whole(world: &World, name: &str) {
    delete(world, name).await;
    world.users().wait_until_deleted(name).await;
}

/// Asks for a reconcile now.
pub(crate) async fn request(world: &World, name: &str) {
    let unique = uuid::Uuid::new_v4().to_string();
    let annotations = json!({"vpn.huaweicloud.com/reconcile-requested-at": unique});
    let patch = json!({"metadata": {"annotations": annotations}});
    world.users().patch(name, patch).await;
}

/// The users of another namespace.
pub(crate) fn users_in(world: &World, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(world.client.clone(), namespace, &user_resource())
}

/// A fault that hits creations of users on a server.
pub(crate) fn creation_fault(server: &str, fault: Value) -> Value {
    let mut fault = fault;
    fault["operation"] = json!("CreateVpnUser");
    fault["path_contains"] = json!(server);
    fault
}
