//! Passwords: sent exactly once for each new value, even after edits, losses, refusals and kills. The cloud counts
//! them.

mod adopted;
mod killed;
mod lost;
mod missing;
mod once;
mod refused;
mod rules;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use vpn_operator_testbed::eventually;

use crate::operator::world::{DEADLINE, World, condition};

/// The operator's own Secret; its key is used for the recorded digests of passwords.
const DIGEST_KEY: &str = "vpn-operator-digest-key";
/// Additional servers, for users that must not wait for each other.
const SECOND_SERVER: &str = "5e5e5e5e-0000-4000-8000-000000000002";
const THIRD_SERVER: &str = "5e5e5e5e-0000-4000-8000-000000000003";

/// Creates a server.
async fn seed_server(world: &World, id: &str) {
    let server = json!({"id": id});
    let _: Value = world.simulator.admin_post("vpn-servers", &server).await.unwrap();
}

/// Applies a user, and the Secret with its password, both of one name.
async fn apply(world: &mut World, name: &str, password: &str) {
    apply_on(world, crate::operator::world::VPN_SERVER, name, password).await;
}

async fn apply_on(world: &mut World, server: &str, name: &str, password: &str) {
    world.apply_password(name, password).await;
    let spec = format!("{{vpnServerID: {server}, passwordSecretRef: {{name: {name}}}}}");
    world.apply_user(name, &spec).await;
}

/// The cloud's user of that name, as the simulator's admin API shows it.
async fn in_cloud(world: &World, name: &str) -> Value {
    let users = world.cloud_users().await;
    let found = users.iter().find(|user| user["name"] == name).cloned();
    found.unwrap_or_else(|| panic!("no {name} among {users:?}"))
}

async fn id(world: &World, name: &str) -> String {
    in_cloud(world, name).await["id"]
        .as_str()
        .expect("a user has an id")
        .to_owned()
}

/// Resets that took effect.
async fn resets(world: &World, name: &str) -> u64 {
    in_cloud(world, name).await["password_resets"]
        .as_u64()
        .expect("a number")
}

/// Requests for a reset of a user's password, refused and lost ones included.
async fn reset_calls(world: &World, id: &str, mark: u64) -> usize {
    let log: Value = world.simulator.log_since(mark).await.unwrap();
    let requests = log["requests"].as_array().expect("a list");
    let of_user = |request: &&Value| {
        request["operation"] == "ResetVpnUserPassword" && request["path"].as_str().is_some_and(|path| path.contains(id))
    };
    requests.iter().filter(of_user).count()
}

/// Waits until a password is in force, and the object reports it: no recorded reset is open.
async fn wait_for_password(world: &World, name: &str, password: &str) -> Value {
    let id = id(world, name).await;
    let awaited = format!("{name} has its new password");
    let in_force = eventually(&awaited, DEADLINE, async || {
        match world.simulator.is_password(&id, password).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(world.users().get(name).await["status"].to_string()),
            Err(error) => Err(error.to_string()),
        }
    });
    in_force
        .await
        .unwrap_or_else(|error| panic!("{error}\n{}", world.log_tail()));
    let is_done = |object: &Value| {
        condition(object, "Ready")["reason"] == "Available" && object["status"]["passwordReset"].is_null()
    };
    world
        .users()
        .wait_for(name, "is Available, and no reset is open", is_done)
        .await
}

/// Waits for a reason; returns its message.
async fn wait_for_message(world: &World, name: &str, reason: &str) -> String {
    let object = world.users().wait_for_reason(name, reason).await;
    let message = condition(&object, "Ready")["message"].as_str().map(str::to_owned);
    message.expect("a condition has a message")
}

/// Waits until the operator has listed all users three more times.
async fn wait_for_cycles(world: &World) {
    let mark = world.mark().await;
    eventually("three cycles", DEADLINE, async || {
        let calls = world.calls_since(mark).await;
        if calls.get("ListVpnUsers").is_some_and(|lists| *lists >= 3) {
            Ok(())
        } else {
            Err(format!("{calls:?}"))
        }
    })
    .await
    .unwrap();
}

fn secrets(world: &World) -> Api<Secret> {
    Api::namespaced(world.client.clone(), &world.namespace)
}

async fn patch_secret(world: &World, name: &str, patch: Value) {
    secrets(world)
        .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
}

async fn delete_secret(world: &World, name: &str) {
    secrets(world).delete(name, &DeleteParams::default()).await.unwrap();
}
