//! VPN users, as people see them.

mod cloud_errors;
mod life;
mod passwords;
mod read_only;
mod user_actions;
mod waits;

use serde_json::{Value, json};
use vpn_core::api::conditions::Reason;

use super::{Shown, show_farewell_of, show_of};
use crate::operator::world::World;

/// Every golden of a user, by the reason that it shows. A new reason does not compile until it is here.
pub(super) fn goldens_of(reason: Reason) -> &'static [&'static str] {
    match reason {
        Reason::Available => &[
            "user-available",
            "user-available-adopted",
            "user-available-drift-corrected",
            "user-available-full",
            "user-available-observed",
            "user-available-password-set",
            "user-available-paused",
            "user-available-recreated",
            "user-available-report-drift",
            "user-available-updated",
        ],
        Reason::Creating => &[
            "user-creating",
            "user-creating-read-only",
            "user-creating-read-only-adopted",
            "user-creating-unconfirmed",
            "user-creating-unconfirmed-after-failure",
        ],
        Reason::Updating => &[
            "user-updating",
            "user-updating-password",
            "user-updating-read-only",
            "user-updating-read-only-password",
        ],
        Reason::Deleting => &[
            "user-deleting",
            "user-deleting-read-only",
            "user-deleting-slowly",
            "user-deleting-unconfirmed",
        ],
        Reason::SecretNotFound => &[
            "user-secret-not-found",
            "user-secret-not-found-credentials",
            "user-secret-not-found-key",
        ],
        Reason::DependencyNotReady => &[
            "user-dependency-group-id",
            "user-dependency-group-name",
            "user-dependency-name-held",
            "user-dependency-server-not-ready",
            "user-dependency-server-unknown",
            "user-dependency-user-held",
        ],
        Reason::Throttled => &["user-throttled", "user-throttled-password", "user-throttled-queue-full"],
        Reason::CloudError => &[
            "user-cloud-error",
            "user-cloud-error-unknown-outcome",
            "user-cloud-error-unknown-password",
            "user-cloud-error-disappeared",
        ],
        Reason::InvalidSpec => &[
            "user-invalid-spec-adopted-name",
            "user-invalid-spec-both-groups",
            "user-invalid-spec-no-password",
            "user-invalid-spec-server",
            "user-invalid-spec-unreadable",
        ],
        Reason::InvalidPassword => &[
            "user-invalid-password-ambiguous",
            "user-invalid-password-recent",
            "user-invalid-password-rule",
        ],
        Reason::NameConflict => &[
            "user-name-conflict-case",
            "user-name-conflict-other-object",
            "user-name-conflict-unmanaged",
        ],
        Reason::AlreadyManaged => &["user-already-managed"],
        Reason::NotFound => &[
            "user-not-found-adopted",
            "user-not-found-external-id",
            "user-not-found-observed",
            "user-not-found-report-drift",
        ],
        Reason::ScopeChanged => &["user-scope-changed"],
        Reason::MassDeletionSuspected => &["user-mass-deletion-suspected"],
        Reason::CrdDeleting => &["user-crd-deleting"],
        Reason::Unauthorized => &["user-unauthorized"],
        Reason::Forbidden => &[
            "user-forbidden-create",
            "user-forbidden-delete",
            "user-forbidden-get",
            "user-forbidden-groups",
            "user-forbidden-leave-group",
            "user-forbidden-list",
            "user-forbidden-reset",
            "user-forbidden-update",
        ],
        Reason::NotAvailable => &["user-not-available"],
        Reason::QuotaExceeded => &["user-quota-exceeded"],
        Reason::Rejected => &["user-rejected-static-ip-elsewhere", "user-rejected-static-ip-taken"],
        // No outside event causes it.
        Reason::InternalError => &[],
    }
}

/// See [`super::show`].
async fn show(world: &World, golden: &str, name: &str, reason: Reason, events: &[&str]) -> Value {
    show_of(Shown::Users, world, golden, name, reason, events).await
}

/// See [`super::show_farewell`].
async fn show_farewell(world: &World, golden: &str, name: &str, object: &Value, events: &[&str]) {
    show_farewell_of(Shown::Users, world, golden, name, object, events).await;
}

/// Applies a user with the password of the Secret `login`, which [`login`] creates.
async fn apply(world: &World, name: &str, spec: &str) {
    let spec = spec.replacen('{', "{passwordSecretRef: {name: login}, ", 1);
    world.apply_user(name, &spec).await;
}

/// Creates the Secret for users whose password does not matter.
async fn login(world: &mut World) {
    world.apply_password("login", "Golden Login-1").await;
}

/// Applies a user, waits until it is Available, and returns its id.
async fn create(world: &World, name: &str, spec: &str) -> String {
    apply(world, name, spec).await;
    let object = world.users().wait_for_reason(name, "Available").await;
    object["status"]["id"].as_str().unwrap().to_owned()
}

/// Requests a reconciliation by annotation.
async fn request_reconcile(world: &World, name: &str, when: &str) {
    let annotations = json!({"vpn.huaweicloud.com/reconcile-requested-at": when});
    let patch = json!({"metadata": {"annotations": annotations}});
    world.users().patch(name, patch).await;
}

/// Creates a user out of band; returns its id.
async fn seed(world: &World, seed: Value) -> String {
    let made: Vec<Value> = world.simulator.seed_users(&seed).await.unwrap();
    made[0]["id"].as_str().unwrap().to_owned()
}

/// Creates a VPN server; returns its id.
async fn server(world: &World, mut seed: Value) -> String {
    let id = uuid::Uuid::new_v4().to_string();
    seed["id"] = json!(id);
    let _: Value = world.simulator.admin_post("vpn-servers", &seed).await.unwrap();
    id
}

/// Makes the simulator hold the next request of this operation.
async fn hold(world: &World, operation: &str) {
    let fault = json!({"fault": "hold", "operation": operation});
    world.simulator.add_fault(&fault).await.unwrap();
}

/// Releases the held request.
async fn go_on(world: &World) {
    world.simulator.wait_for_held::<Value>(1).await.unwrap();
    world.simulator.release(&json!({})).await.unwrap();
}

/// Applies this fault to the next requests of this operation, until there is another fault.
async fn inject_fault(world: &World, operation: &str, mut fault: Value) {
    world.simulator.clear_faults().await.unwrap();
    fault["operation"] = json!(operation);
    fault["times"] = json!(0);
    world.simulator.add_fault(&fault).await.unwrap();
}
