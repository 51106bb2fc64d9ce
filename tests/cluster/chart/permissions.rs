//! The chart grants exactly the permissions for the operator's requests, by the apiserver's audit log, and the operator
//! names each missing one.

use std::collections::BTreeSet;

use serde_json::Value;
use vpn_operator_testbed::{ApiCall, Comparison, ControlPlane, Permission, eventually};

use crate::chart::release::{DEADLINE, Release};
use crate::chart::story::live;

/// The mode that permits only reads of named Secrets.
const NAMED_SECRETS: &str = "secrets.names";

/// A verb of a rule, for one of its resources.
struct RemovedPermission {
    kind: String,
    role: String,
    /// The namespace of the role; none for a `ClusterRole`.
    namespace: Option<String>,
    rule: usize,
    verb: String,
    resource: String,
}

#[tokio::test]
async fn each_removed_permission_is_reported_by_name() {
    check_each_removed_permission("all namespaces", false, &[], |_, _| true).await;
}

#[tokio::test]
async fn with_watched_namespaces_removed_digest_key_permissions_are_named() {
    check_each_removed_permission("watchNamespaces", true, &[], |permission, operator_namespace| {
        permission.namespace.as_deref() == Some(operator_namespace) && permission.resource == "secrets"
    })
    .await;
}

#[tokio::test]
async fn with_named_secrets_removed_permissions_are_reported_by_name() {
    let names = "secrets.names={all-permissions-password,right-0-password,right-1-password,right-2-password}";
    let values = [names, "resyncPeriod=2s"].map(str::to_owned);
    check_each_removed_permission(NAMED_SECRETS, false, &values, |permission, _| {
        permission.resource == "secrets"
    })
    .await;
}

/// Runs the story once with all permissions: each must be used, and none may be missing. Then runs it without each
/// chosen permission in turn.
async fn check_each_removed_permission(
    mode: &str,
    in_one_namespace: bool,
    more: &[String],
    chosen: impl Fn(&RemovedPermission, &str) -> bool,
) {
    let plane = ControlPlane::own().await.unwrap();
    let namespace = plane.create_namespace("watched").await.unwrap();
    let mut values = vec!["rbac.aggregateClusterRoles=false".to_owned()];
    values.extend_from_slice(more);
    if in_one_namespace {
        values.push(format!("watchNamespaces={{{namespace}}}"));
    }
    let mut release = Release::install(plane, &values).await;
    let mut permissions = permissions(&release).await;
    permissions.retain(|permission| chosen(permission, &release.namespace));
    assert!(permissions.len() >= 2, "the chart grants permissions");
    release.start_operator().await;
    live(&release, &namespace, "all-permissions", 250).await.unwrap();
    release.stop_operator().await;
    recreate_the_digest_key(&mut release).await;
    permissions_match_the_calls(&release, mode).await;
    let mut unmissed = Vec::new();
    for (number, permission) in permissions.iter().enumerate() {
        let whole = take_away(&release, permission).await;
        // Objects of an earlier start would need no permission to create them.
        release.kubectl(["delete", "lease", "--all"]).await.unwrap();
        lose_the_digest_key(&release, permission.verb == "create").await;
        release.start_operator().await;
        let prefix = format!("right-{number}");
        let octet = u8::try_from(number + 1).unwrap();
        let failure = if permission.resource == "leases" && permission.verb == "update" {
            // Nothing needs this permission before the first renewal of the Lease.
            Some(reported(&release, permission).await)
        } else {
            tokio::select! {
                reported = reported(&release, permission) => Some(reported),
                lived = live(&release, &namespace, &prefix, octet) => lived.err(),
            }
        };
        println!(
            "without {permission}: {}",
            failure.as_deref().unwrap_or("nothing fails")
        );
        if failure.is_none() {
            unmissed.push(permission.to_string());
        }
        release.stop_operator().await;
        replace(&release, &whole).await;
    }
    assert!(unmissed.is_empty(), "permissions that nothing needs: {unmissed:#?}");
}

/// Deletes the digest key, so that it must be `created`, or written to a Secret without one.
async fn lose_the_digest_key(release: &Release, created: bool) {
    let secret = "vpn-operator-digest-key";
    let delete = ["delete", "secret", secret, "--ignore-not-found"];
    release.kubectl(delete).await.unwrap();
    if !created {
        release.kubectl(["create", "secret", "generic", secret]).await.unwrap();
    }
}

/// Waits until the log or a condition reports the apiserver's refusal and names the permission.
async fn reported(release: &Release, permission: &RemovedPermission) -> String {
    let phrase = format!("cannot {} resource \"{}\"", permission.verb, permission.resource);
    eventually("the missing permission is named", DEADLINE * 4, async || {
        let log = release.operator().log();
        if let Some(line) = log.lines().find(|line| line.contains(&phrase)) {
            return Ok(line.to_owned());
        }
        let path = "jsonpath={range .items[*]}{.status.conditions[?(@.type==\"Ready\")].message}{\"\\n\"}{end}";
        let messages = release
            .kubectl(["get", "customergateways,vpnusers", "--output", path])
            .await?;
        let message = messages.lines().find(|message| message.contains(&phrase));
        message.map(str::to_owned).ok_or_else(|| "it is not".to_owned())
    })
    .await
    .unwrap()
}

async fn recreate_the_digest_key(release: &mut Release) {
    lose_the_digest_key(release, false).await;
    release.start_operator().await;
    let made = eventually("the digest key is made", DEADLINE, async || {
        let secret = release.get("secret", "vpn-operator-digest-key").await;
        secret["data"]["key"].as_str().map(drop).ok_or("there is none")
    });
    made.await.unwrap();
    release.stop_operator().await;
}

/// Prints a table of the release's permissions and of the operator's requests to the apiserver, and compares both.
async fn permissions_match_the_calls(release: &Release, mode: &str) {
    let roles = roles(release).await;
    let permissions: Vec<Permission> = roles.iter().flat_map(Permission::of_role).collect();
    let compare = || Comparison::new(&permissions, &calls(release));
    // The log shows a request a moment after its answer.
    let exact = eventually("the permissions are the calls", DEADLINE / 4, async || {
        let mut comparison = compare();
        // With named Secrets, only the refusal shows the operator that it may not watch Secrets.
        let is_attempt = |call: &ApiCall| mode == NAMED_SECRETS && call.verb == "list" && call.resource == "secrets";
        comparison.not_granted.retain(|call| !is_attempt(call));
        if comparison.is_exact() {
            Ok(())
        } else {
            Err(format!("{comparison:#?}"))
        }
    });
    let outcome = exact.await;
    println!("permissions and requests, {mode}:\n{}", compare().table);
    outcome.unwrap();
}

fn calls(release: &Release) -> BTreeSet<ApiCall> {
    release.plane.calls_of(&release.namespace, "vpn-operator").unwrap()
}

/// The roles of the release, which is the only one on the control plane.
async fn roles(release: &Release) -> Vec<Value> {
    let get = ["get", "clusterroles,roles", "--all-namespaces", "--output=json"];
    let of_release = ["--selector", "app.kubernetes.io/instance=vpn-operator"];
    let found = release.plane.kubectl(get.into_iter().chain(of_release)).await.unwrap();
    let found: Value = serde_json::from_str(&found.success().unwrap()).unwrap();
    found["items"].as_array().unwrap().clone()
}

async fn permissions(release: &Release) -> Vec<RemovedPermission> {
    let mut permissions = Vec::new();
    for role in roles(release).await {
        let text = |pointer| role.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        for (rule, content) in role["rules"].as_array().unwrap().iter().enumerate() {
            for verb in texts(&content["verbs"]) {
                for resource in texts(&content["resources"]) {
                    permissions.push(RemovedPermission {
                        kind: text("/kind").unwrap().to_lowercase(),
                        role: text("/metadata/name").unwrap(),
                        namespace: text("/metadata/namespace"),
                        rule,
                        verb: verb.clone(),
                        resource,
                    });
                }
            }
        }
    }
    permissions
}

/// Removes a permission; returns the role as it was.
async fn take_away(release: &Release, permission: &RemovedPermission) -> Value {
    let whole = release.get(&permission.kind, &permission.role).await;
    let mut less = whole.clone();
    let rules = less["rules"].as_array_mut().unwrap();
    let rule = rules.remove(permission.rule);
    // Keep the other verbs for this resource, and every verb for the other resources.
    let part = |verbs: Vec<String>, resources: Vec<String>| {
        let mut part = rule.clone();
        part["verbs"] = verbs.into();
        part["resources"] = resources.into();
        part
    };
    let mut other_verbs = texts(&rule["verbs"]);
    other_verbs.retain(|verb| *verb != permission.verb);
    if !other_verbs.is_empty() {
        rules.push(part(other_verbs, vec![permission.resource.clone()]));
    }
    let mut other_resources = texts(&rule["resources"]);
    other_resources.retain(|resource| *resource != permission.resource);
    if !other_resources.is_empty() {
        rules.push(part(texts(&rule["verbs"]), other_resources));
    }
    replace(release, &less).await;
    whole
}

async fn replace(release: &Release, role: &Value) {
    let mut role = role.clone();
    role["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let arguments = ["replace", "--filename", "-"];
    let output = release
        .plane
        .kubectl_with_input(arguments, &role.to_string())
        .await
        .unwrap();
    output.success().unwrap();
}

fn texts(value: &Value) -> Vec<String> {
    serde_json::from_value(value.clone()).unwrap()
}

impl std::fmt::Display for RemovedPermission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} in {} {}", self.verb, self.resource, self.kind, self.role)
    }
}
