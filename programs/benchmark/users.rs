//! What VPN users cost: writes on one server are sent one at a time, and each creation must be confirmed.

use std::ops::Range;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DynamicObject, PostParams};
use serde_json::{Value, json};

use crate::Failure;
use crate::bed::{Bed, stop};
use crate::objects::{api, create_all, delete_all};
use crate::probes::{count, until_available};
use crate::report::{Goal, Report};

/// Of all users: the operator compares a keyed digest of it, which differs by object.
pub(crate) const PASSWORD: &str = "Benchmark-Pass-1";
const PASSWORD_SECRET: &str = "password-of-users";

/// The API of users in the run's namespace.
pub(crate) fn users(bed: &Bed) -> Api<DynamicObject> {
    api(bed, "VpnUser", "vpnusers")
}

/// The name of a user.
pub(crate) fn user_name(number: usize) -> String {
    format!("user-{number:08}")
}

/// The ID of a VPN server.
pub(crate) fn server(number: usize) -> String {
    format!("5e5e5e5e-0000-4000-9000-{number:012}")
}

/// Adds a VPN server with room for so many users.
pub(crate) async fn add_server(bed: &Bed, number: usize, users: usize) -> Result<(), Failure> {
    let server = json!({"id": server(number), "user_quota": users, "client_cidr": "10.64.0.0/16"});
    bed.simulator.post::<Value>("vpn-servers", &server).await?;
    Ok(())
}

/// Creates the Secret with the password of all users.
pub(crate) async fn add_password(bed: &Bed) -> Result<(), Failure> {
    let secret = json!({"metadata": {"name": PASSWORD_SECRET}, "stringData": {"password": PASSWORD}});
    let secret: Secret = serde_json::from_value(secret)?;
    Api::<Secret>::namespaced(bed.client.clone(), &bed.namespace)
        .create(&PostParams::default(), &secret)
        .await?;
    Ok(())
}

/// The manifest of a user on a server.
pub(crate) fn user(name: &str, server: &str) -> Value {
    json!({
        "apiVersion": "vpn.huaweicloud.com/v1alpha1", "kind": "VpnUser", "metadata": {"name": name},
        "spec": {"vpnServerID": server, "passwordSecretRef": {"name": PASSWORD_SECRET}},
    })
}

/// Creates users on the first server.
pub(crate) async fn create_users(bed: &Bed, numbers: Range<usize>) -> Result<(), Failure> {
    let manifests = numbers.map(|number| user(&user_name(number), &server(0)));
    create_all(&users(bed), manifests).await
}

/// Adds the rows for one server with so many users.
pub(crate) async fn measure(
    bed: &Bed,
    objects: usize,
    latency: u64,
    confirmation: Duration,
    report: &mut Report,
) -> Result<(), Failure> {
    add_server(bed, 0, objects).await?;
    add_password(bed).await?;
    bed.slow_down(latency).await?;
    let period = format!("--creation-confirmation-period={}s", confirmation.as_secs());
    let operator = bed
        .operator(&["--resync-period=0", "--max-requests-per-second=200", &period])
        .await?;
    let (calls, writes, began) = (
        bed.simulator.last_sequence().await?,
        bed.status_writes().await?,
        Instant::now(),
    );
    create_users(bed, 0..objects).await?;
    until_available(&operator, objects).await?;
    let took = began.elapsed().as_secs_f64();
    let what = format!("{objects} users on one server at {latency} ms");
    // One write after the other, and then the last is confirmed.
    let serial = Duration::from_millis(latency).as_secs_f64() * count(objects);
    let least = serial + confirmation.as_secs_f64();
    report.time(
        format!("{what}, from creation to Ready"),
        "s",
        took,
        Some(least),
        Goal::Ratio(1.03),
    );
    report.calls(
        format!("{what}, creations"),
        bed.calls_of("CreateVpnUser", calls).await?,
        Some(count(objects)),
        Goal::Ratio(1.0),
    );
    report.calls(
        format!("{what}, calls until Ready"),
        bed.calls_since(calls).await?,
        Some(count(objects)),
        Goal::None,
    );
    let written = (bed.status_writes().await? - writes) / count(objects);
    report.count(
        format!("{what}, status writes per user"),
        written,
        None,
        Goal::AtMost(4.0),
    );
    bed.simulator.clear_faults().await?;
    delete_all(&users(bed)).await?;
    stop(operator).await
}
