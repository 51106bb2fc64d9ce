//! Upgrades from an earlier chart with its CRDs to today's, and back: all objects remain, and nothing in the cloud is
//! created, updated or deleted. `earlier/` holds the first version of the chart.

use std::collections::BTreeMap;

use serde_json::Value;
use vpn_operator_testbed::eventually;

use crate::chart::install::plane;
use crate::chart::release::{DEADLINE, Release};
use crate::chart::story::ready;

const EARLIER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/chart/earlier/vpn-operator");

const GATEWAYS: &str = "apiVersion: vpn.huaweicloud.com/v1alpha1\nkind: CustomerGateway\nmetadata: {name: office}\n\
                        spec: {idValue: 203.0.113.1, tags: {team: net}}\n---\n\
                        apiVersion: vpn.huaweicloud.com/v1alpha1\nkind: CustomerGateway\nmetadata: {name: branch}\n\
                        spec: {idType: FQDN, idValue: branch.example.com}\n";

fn user(password: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: anna}}\nstringData: {{password: {password}}}\n---\n\
         apiVersion: vpn.huaweicloud.com/v1alpha1\nkind: VpnUser\nmetadata: {{name: anna}}\n\
         spec: {{vpnServerID: 5e5e5e5e-0000-4000-8000-000000000001, passwordSecretRef: {{name: anna}}}}\n"
    )
}

const OBJECTS: [(&str, &str); 3] = [
    ("customergateway", "office"),
    ("customergateway", "branch"),
    ("vpnuser", "anna"),
];

/// What must not change: uid and the cloud's id of each object.
async fn identities(release: &Release) -> BTreeMap<&'static str, (Value, Value)> {
    let mut identities = BTreeMap::new();
    for (kind, name) in OBJECTS {
        let object = release.get(kind, name).await;
        let id = object["status"]["id"].clone();
        assert!(id.is_string(), "{object}");
        identities.insert(name, (object["metadata"]["uid"].clone(), id));
    }
    identities
}

/// The lines of `/readyz` on CRDs that are older than the operator.
async fn crd_skew_lines(release: &Release) -> Vec<String> {
    let (_, page) = release.operator().get("/readyz", DEADLINE).await.unwrap();
    let lines = page.lines().filter(|line| line.starts_with("[i] age of crd "));
    lines.map(str::to_owned).collect()
}

/// Checks that the operator reports once for each CRD which fields the earlier one does not keep.
async fn reports_pruned_fields(release: &Release) {
    let lost = [
        (
            "customergateways",
            "status.lostCreatedAt, status.massDeletionSuspectedAt, status.observeOnly",
        ),
        (
            "vpnusers",
            "status.formerPasswords, status.lostCreatedAt, status.massDeletionSuspectedAt, status.observeOnly, \
             status.passwordRefused",
        ),
    ];
    for (_, fields) in lost {
        let line = format!("prunes {fields};");
        release.operator().wait_for_log(&line, DEADLINE).await.unwrap();
    }
    let printed = crd_skew_lines(release).await;
    assert_eq!(printed.len(), lost.len(), "{printed:?}");
    for ((plural, fields), line) in lost.iter().zip(&printed) {
        assert!(
            line.starts_with(&format!("[i] age of crd {plural}: ")) && line.contains(&format!("prunes {fields};")),
            "{line}"
        );
    }
}

/// Waits until the user's Ready condition has this reason, and returns the user.
async fn awaits(release: &Release, reason: &str) -> Value {
    let mut object = Value::Null;
    eventually(reason, DEADLINE, async || {
        object = release.get("vpnuser", "anna").await;
        let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
        let mut ready = conditions.filter(|condition| condition["type"] == "Ready");
        if ready
            .any(|ready| ready["reason"] == reason && ready["observedGeneration"] == object["metadata"]["generation"])
        {
            Ok(())
        } else {
            Err(object["status"].to_string())
        }
    })
    .await
    .unwrap();
    object
}

/// Starts an operator as the present Deployment specifies, and waits until every object is Available.
async fn all_is_well(release: &mut Release) {
    release.start_operator().await;
    release.operator().wait_until_ready(DEADLINE).await.unwrap();
    for (kind, count) in [("CustomerGateway", 2), ("VpnUser", 1)] {
        let line = format!("vpn_operator_objects{{kind=\"{kind}\",reason=\"Available\"}} {count}");
        eventually(&line, DEADLINE, async || {
            let metrics = release.operator().metrics(DEADLINE).await.unwrap();
            if metrics.lines().any(|other| other == line) {
                Ok(())
            } else {
                Err(metrics)
            }
        })
        .await
        .unwrap();
    }
}

/// Checks that the operator has read from the cloud and written nothing.
async fn wrote_nothing_since(release: &Release, mark: u64) {
    let calls = release.simulator.calls_since(mark).await.unwrap();
    assert!(!calls.is_empty(), "the cloud was read");
    let writes = release.simulator.writes_since(mark).await.unwrap();
    assert_eq!(writes, Vec::<String>::new());
}

/// Whether the CRD of users is today's: the earlier one has no field for refused passwords.
async fn crd_keeps_refused_passwords(release: &Release) -> bool {
    let crd = release.get("crd", "vpnusers.vpn.huaweicloud.com").await;
    let status = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"];
    assert!(status["properties"]["intent"].is_object(), "{status}");
    status["properties"]["passwordRefused"].is_object()
}

#[tokio::test]
async fn upgrade_and_downgrade_keep_every_object_and_send_no_writes() {
    let plane = plane().await;
    let namespace = plane.create_namespace("earlier").await.unwrap();
    let mut release = Release::prepare(plane, namespace.clone()).await;
    release.helm_with(EARLIER, "install", &[]).await;
    assert!(!crd_keeps_refused_passwords(&release).await);
    release.start_operator().await;
    release.operator().wait_until_ready(DEADLINE).await.unwrap();
    release.apply(GATEWAYS).await;
    release.apply(&user("Chart-Pass-one-1")).await;
    for (kind, name) in OBJECTS {
        ready(&release, &namespace, kind, name).await.unwrap();
    }
    let identities_before = identities(&release).await;
    reports_pruned_fields(&release).await;
    // A password that the CRD cannot record is not sent; the previous password is no change.
    let mark = release.simulator.last_sequence().await.unwrap();
    release.apply(&user("Chart-Pass-two-2")).await;
    let object = awaits(&release, "DependencyNotReady").await;
    let printed = object["status"]["conditions"].to_string();
    assert!(
        printed.contains("drops status.formerPasswords, status.passwordRefused, so nothing is sent to the cloud"),
        "{printed}"
    );
    let (status, page) = release.operator().get("/readyz", DEADLINE).await.unwrap();
    assert!(
        status == 503 && page.contains("[-] fields of crd vpnusers: pending: "),
        "{page}"
    );
    release.apply(&user("Chart-Pass-one-1")).await;
    awaits(&release, "Available").await;
    let writes = release.simulator.writes_since(mark).await.unwrap();
    assert_eq!(writes, Vec::<String>::new());
    release.stop_operator().await;

    let mark = release.simulator.last_sequence().await.unwrap();
    release.helm("upgrade", &[]).await;
    assert!(
        crd_keeps_refused_passwords(&release).await,
        "the CRDs are upgraded with the chart"
    );
    all_is_well(&mut release).await;
    assert_eq!(identities(&release).await, identities_before);
    wrote_nothing_since(&release, mark).await;
    assert_eq!(crd_skew_lines(&release).await, Vec::<String>::new());
    // The fields that only today's CRD has are present from now on.
    release.apply(&user("Chart-Pass-two-2")).await;
    eventually("the former password is remembered", DEADLINE, async || {
        let user = release.get("vpnuser", "anna").await;
        match user["status"]["formerPasswords"].as_array().map(Vec::len) {
            Some(1) => Ok(()),
            _ => Err(user.to_string()),
        }
    })
    .await
    .unwrap();
    ready(&release, &namespace, "vpnuser", "anna").await.unwrap();

    let mark = release.simulator.last_sequence().await.unwrap();
    let rollback = ["rollback", "vpn-operator", "1", "--namespace", &namespace];
    plane.helm(rollback).await.unwrap().success().unwrap();
    assert!(
        !crd_keeps_refused_passwords(&release).await,
        "the CRDs are those of before"
    );
    // A running operator notices it, and so does one that starts.
    reports_pruned_fields(&release).await;
    release.stop_operator().await;
    all_is_well(&mut release).await;
    assert_eq!(identities(&release).await, identities_before);
    wrote_nothing_since(&release, mark).await;
    reports_pruned_fields(&release).await;
    release.stop_operator().await;

    let mark = release.simulator.last_sequence().await.unwrap();
    release.helm("upgrade", &[]).await;
    all_is_well(&mut release).await;
    assert_eq!(identities(&release).await, identities_before);
    wrote_nothing_since(&release, mark).await;
    let everything = ["delete", "customergateways,vpnusers", "--all", "--timeout=60s"];
    release.kubectl(everything).await.unwrap();
    assert_eq!(release.simulator.gateways::<Value>().await.unwrap().len(), 0);
    assert_eq!(release.simulator.users::<Value>().await.unwrap().len(), 0);
    release.stop_operator().await;
}
