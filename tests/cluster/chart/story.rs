//! The lifecycle of both kinds, in steps whose errors name what they waited for.

use serde_json::{Value, json};
use vpn_operator_testbed::eventually;

use crate::chart::release::{DEADLINE, Release};

/// Runs both kinds through their lifecycle in a namespace: create, edit during a request to the cloud, adopt, drift
/// twice, change the password, delete. `prefix` distinguishes the names of the objects.
///
/// # Errors
/// The step that did not finish.
pub(crate) async fn live(release: &Release, namespace: &str, prefix: &str, octet: u8) -> Result<(), String> {
    let (gateway, user) = (format!("{prefix}-gateway"), format!("{prefix}-user"));
    let held = hold_creation(release, octet).await.map_err(|error| error.to_string())?;
    apply(release, namespace, &manifests(prefix, octet, 65010, "Chart-Pass-one-1")).await;
    ready(release, namespace, "customergateway", &gateway).await?;
    edit_while_held(release, namespace, &user).await?;
    ready(release, namespace, "vpnuser", &user).await?;
    creations_are(release, &held, 1).await?;
    let id = field(release, namespace, "customergateway", &gateway, "{.status.id}").await?;
    readopt_an_orphan(release, namespace, prefix, octet).await?;
    // The same Event twice: the second one updates the first.
    for (changed_name, times) in [("stray-one", 1), ("stray-two", 2)] {
        release.rename_in_cloud(&id, changed_name).await;
        let request = format!("vpn.huaweicloud.com/reconcile-requested-at={changed_name}");
        let arguments = [
            "--namespace",
            namespace,
            "annotate",
            "--overwrite",
            "customergateway",
            &gateway,
            &request,
        ];
        succeed(release, &arguments).await?;
        eventually("the gateway's name is corrected", DEADLINE, async || {
            let gateways: Vec<Value> = release.simulator.gateways().await.map_err(|error| error.to_string())?;
            let ours = gateways
                .iter()
                .find(|other| other["id"] == *id)
                .ok_or("it no longer exists")?;
            if ours["name"] == *gateway {
                Ok(())
            } else {
                Err(ours.to_string())
            }
        })
        .await
        .map_err(|error| error.to_string())?;
        // Drift that comes before this Event would belong to the same correction.
        corrections_are_reported(release, namespace, &gateway, times).await?;
    }
    let before = field(release, namespace, "vpnuser", &user, "{.status.password.digest}").await?;
    apply(release, namespace, &manifests(prefix, octet, 65010, "Chart-Pass-two-2")).await;
    eventually("the password is changed", DEADLINE, async || {
        let after = field(release, namespace, "vpnuser", &user, "{.status.password.digest}").await?;
        if after == before { Err(after) } else { Ok(()) }
    })
    .await
    .map_err(|error| error.to_string())?;
    let arguments = ["--namespace", namespace, "delete", "--timeout=60s"];
    let adopter = format!("customergateway/{prefix}-adopter");
    let objects = [format!("customergateway/{gateway}"), format!("vpnuser/{user}"), adopter];
    let objects: Vec<&str> = objects.iter().map(String::as_str).collect();
    succeed(release, &[&arguments[..], &objects].concat()).await
}

/// Holds the answer to the creation of the user on a server after it took effect. Returns the server.
async fn hold_creation(release: &Release, octet: u8) -> vpn_operator_testbed::Result<String> {
    let server = server(octet);
    let simulator = &release.simulator;
    simulator
        .admin_post::<Value>("vpn-servers", &json!({"id": server}))
        .await?;
    let hold = json!({"fault": "hold", "operation": "CreateVpnUser", "path_contains": server, "commit": true});
    simulator.add_fault(&hold).await?;
    Ok(server)
}

/// Another client updates the object between a request to the cloud and the record of its outcome.
async fn edit_while_held(release: &Release, namespace: &str, user: &str) -> Result<(), String> {
    let held = release.simulator.wait_for_held::<Value>(1).await;
    held.map_err(|error| error.to_string())?;
    let label = ["--namespace", namespace, "label", "vpnuser", user, "edited=meanwhile"];
    succeed(release, &label).await?;
    let released = release.simulator.release(&json!({})).await;
    released.map_err(|error| error.to_string())
}

async fn creations_are(release: &Release, server: &str, expected: usize) -> Result<(), String> {
    let log: Value = release
        .simulator
        .log_since(0)
        .await
        .map_err(|error| error.to_string())?;
    let requests = log["requests"].as_array().cloned().unwrap_or_default();
    let is_creation = |request: &&Value| {
        request["operation"] == "CreateVpnUser" && request["path"].as_str().is_some_and(|path| path.contains(server))
    };
    match requests.iter().filter(is_creation).count() {
        count if count == expected => Ok(()),
        count => Err(format!("the creation was sent {count} times")),
    }
}

/// Waits until Events report that many corrections of the gateway.
async fn corrections_are_reported(release: &Release, namespace: &str, gateway: &str, times: u64) -> Result<(), String> {
    let arguments = [
        "--namespace",
        namespace,
        "get",
        "events.events.k8s.io",
        "--output",
        "json",
    ];
    eventually("the correction is reported", DEADLINE, async || {
        let output = release
            .plane
            .kubectl(arguments)
            .await
            .map_err(|error| error.to_string())?;
        let text = output.success().map_err(|error| error.to_string())?;
        let events: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let events = events["items"].as_array().cloned().unwrap_or_default();
        let is_correction =
            |event: &&Value| event["reason"] == "DriftCorrected" && event["regarding"]["name"] == gateway;
        let corrections = events.iter().filter(is_correction);
        let reported: u64 = corrections
            .map(|event| event["series"]["count"].as_u64().unwrap_or(1))
            .sum();
        if reported >= times {
            Ok(())
        } else {
            Err(format!("{reported}"))
        }
    })
    .await
    .map_err(|error| error.to_string())
}

/// The VPN server of a story's user.
fn server(octet: u8) -> String {
    format!("5e5e5e5e-0000-4000-8000-{:012}", 1000 + u32::from(octet))
}

/// The owner tag names an object of this cluster that no longer exists, which only the apiserver can confirm.
async fn readopt_an_orphan(release: &Release, namespace: &str, prefix: &str, octet: u8) -> Result<(), String> {
    let owner = format!("11111111-1111-4111-8111-111111111111:test:{namespace}:long-gone");
    let seeds = json!([{
        "name": format!("{prefix}-left"), "id_type": "ip", "id_value": format!("198.51.100.{octet}"),
        "tags": {"vpn-operator-owner": owner},
    }]);
    let seeded: Vec<Value> = release
        .simulator
        .seed_gateways(&seeds)
        .await
        .map_err(|error| error.to_string())?;
    let name = format!("{prefix}-adopter");
    let id = seeded[0]["id"].as_str().ok_or("no gateway was seeded")?;
    let manifest = format!(
        "apiVersion: vpn.huaweicloud.com/v1alpha1\nkind: CustomerGateway\nmetadata: {{name: {name}}}\n\
         spec: {{name: {prefix}-left, idValue: 198.51.100.{octet}, externalID: {id}, deletionPolicy: Retain}}\n"
    );
    apply(release, namespace, &manifest).await;
    let path = "{.status.conditions[?(@.type==\"Ready\")].reason}";
    let reason = eventually("the remaining gateway is reconciled", DEADLINE, async || {
        let reason = field(release, namespace, "customergateway", &name, path).await?;
        if ["", "Creating", "Updating"].contains(&reason.as_str()) {
            Err(reason)
        } else {
            Ok(reason)
        }
    })
    .await
    .map_err(|error| error.to_string())?;
    if reason == "Available" {
        Ok(())
    } else {
        Err(format!("adoption ends with {reason}"))
    }
}

/// The objects of a story.
fn manifests(prefix: &str, octet: u8, asn: u32, password: &str) -> String {
    format!(
        "apiVersion: vpn.huaweicloud.com/v1alpha1\nkind: CustomerGateway\nmetadata: {{name: {prefix}-gateway}}\n\
         spec: {{name: {prefix}-gateway, idValue: 203.0.113.{octet}, bgpASN: {asn}}}\n---\n\
         apiVersion: v1\nkind: Secret\nmetadata: {{name: {prefix}-password}}\nstringData: {{password: {password}}}\n---\n\
         apiVersion: vpn.huaweicloud.com/v1alpha1\nkind: VpnUser\nmetadata: {{name: {prefix}-user}}\n\
         spec: {{vpnServerID: {}, passwordSecretRef: {{name: {prefix}-password}}}}\n",
        server(octet)
    )
}

async fn apply(release: &Release, namespace: &str, manifest: &str) {
    let arguments = ["--namespace", namespace, "apply", "--filename", "-"];
    let output = release.plane.kubectl_with_input(arguments, manifest).await.unwrap();
    output.success().unwrap();
}

/// Waits until an object is Ready.
///
/// # Errors
/// The output of kubectl if it does not become Ready.
pub(crate) async fn ready(release: &Release, namespace: &str, kind: &str, name: &str) -> Result<(), String> {
    let object = format!("{kind}/{name}");
    succeed(
        release,
        &[
            "--namespace",
            namespace,
            "wait",
            "--for=condition=Ready",
            "--timeout=60s",
            &object,
        ],
    )
    .await
}

async fn field(release: &Release, namespace: &str, kind: &str, name: &str, path: &str) -> Result<String, String> {
    let path = format!("jsonpath={path}");
    let arguments = ["--namespace", namespace, "get", kind, name, "--output", &path];
    let output = release
        .plane
        .kubectl(arguments)
        .await
        .map_err(|error| error.to_string())?;
    output.success().map_err(|error| error.to_string())
}

async fn succeed(release: &Release, arguments: &[&str]) -> Result<(), String> {
    let arguments = arguments.iter().map(|argument| (*argument).to_owned());
    let output = release
        .plane
        .kubectl(arguments)
        .await
        .map_err(|error| error.to_string())?;
    output.success().map(drop).map_err(|error| error.to_string())
}
