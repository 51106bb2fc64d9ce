//! Follows docs/multi-tenant.md: a tenant creates objects with its own credentials, and has no other access.

use serde_json::{Value, json};
use vpn_operator_testbed::{ControlPlane, eventually};

use crate::chart::documented::{UNTIL_READY, commands, project};
use crate::chart::install::plane;
use crate::chart::release::{DEADLINE, Release, binaries};

const NAMESPACE: &str = "team-a";
const ACCESS_KEY: &str = "TENANTACCESSKEY";
const SECRET_KEY: &str = "tenant-secret-key";
const OF_TENANT: [&str; 4] = ["--namespace", NAMESPACE, "--as=alice", "--as-group=team-a"];

/// The page's manifests, in their order: the administrator's grants, the tenant's objects, the admission policy.
fn manifests() -> [String; 3] {
    let page = std::fs::read_to_string(project().join("docs/multi-tenant.md")).unwrap();
    let blocks = page.split("```yaml\n").skip(1);
    let blocks: Vec<String> = blocks
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect();
    blocks.try_into().unwrap()
}

async fn apply(plane: &ControlPlane, who: &[&str], manifest: &str) -> Result<String, String> {
    let arguments = who.iter().copied().chain(["apply", "--filename", "-"]);
    let output = plane.kubectl_with_input(arguments, manifest).await.unwrap();
    output.success().map_err(|error| error.to_string())
}

fn gateway(name: &str, more: &str) -> String {
    format!(
        "apiVersion: vpn.huaweicloud.com/v1alpha1\nkind: CustomerGateway\nmetadata: {{name: {name}}}\n\
         spec: {{idValue: 203.0.113.41{more}}}\n"
    )
}

/// Waits until the apiserver refuses this with that message: policies and quotas take effect a moment later.
async fn is_refused(plane: &ControlPlane, manifest: &str, printed: &str) {
    let refused = eventually(printed, DEADLINE, async || {
        let arguments = OF_TENANT
            .into_iter()
            .chain(["apply", "--dry-run=server", "--filename", "-"]);
        let output = plane.kubectl_with_input(arguments, manifest).await.unwrap();
        match output.success() {
            Err(error) if error.to_string().contains(printed) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    refused.await.unwrap();
}

#[tokio::test]
async fn a_tenant_has_exactly_the_documented_permissions() {
    let plane = plane().await;
    let values = ["defaultCredentialsNamespaces={platform}".to_owned()];
    let mut release = Release::install(plane, &values).await;
    // They aggregate roles and count quotas. The second one discovers new kinds at its start, and seldom later.
    let controllers = ["clusterrole-aggregation-controller", "resourcequota-controller"];
    let _controllers = plane.start_controllers(&controllers).await.unwrap();
    release.start_operator().await;
    release.operator().wait_until_ready(DEADLINE).await.unwrap();
    let key = json!({"secret_key": SECRET_KEY});
    let path = format!("credentials/{ACCESS_KEY}");
    release.simulator.put::<Value>(&path, &key).await.unwrap();
    let [of_administrator, of_tenant, admission] = manifests();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tenant.yaml"), of_administrator).unwrap();
    for command in commands("multi-tenant.md", "A tenant") {
        let output = plane.shell(folder.path(), &binaries(), &command).await.unwrap();
        output.success().unwrap();
    }

    // Once the roles are aggregated.
    let keys = [("THEACCESSKEY", ACCESS_KEY), ("the-secret-key", SECRET_KEY)];
    let of_tenant = keys.iter().fold(of_tenant, |text, (shown, real)| {
        assert!(text.contains(shown));
        text.replace(shown, real)
    });
    let made = eventually("the role edit has the two kinds", DEADLINE, async || {
        apply(plane, &OF_TENANT, &of_tenant).await
    });
    made.await.unwrap();
    let ready = plane.kubectl(OF_TENANT.into_iter().chain(UNTIL_READY)).await.unwrap();
    ready.success().unwrap();
    every_request_used_the_tenants_key(&release).await;

    // The default credentials are for other namespaces.
    apply(plane, &OF_TENANT, &gateway("own", "")).await.unwrap();
    let message = eventually("the default credentials are refused", DEADLINE, async || {
        let get = ["get", "cgw", "own", "--output=json"];
        let text = plane.kubectl(OF_TENANT.into_iter().chain(get)).await.unwrap().success();
        let object: Value = serde_json::from_str(&text.unwrap()).unwrap();
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let forbidden = conditions.iter().find(|condition| condition["reason"] == "Forbidden");
        forbidden
            .map(|condition| condition["message"].to_string())
            .ok_or(object.to_string())
    });
    let message = message.await.unwrap();
    assert!(message.contains("may not use the default credentials"), "{message}");
    every_request_used_the_tenants_key(&release).await;
    for (verb, resource, namespace, answer) in [
        ("create", "customergateways.vpn.huaweicloud.com", NAMESPACE, "yes"),
        ("delete", "vpnusers.vpn.huaweicloud.com", NAMESPACE, "yes"),
        ("get", "vpnusers.vpn.huaweicloud.com", NAMESPACE, "yes"),
        ("get", "secrets", release.namespace.as_str(), "no"),
        ("create", "vpnusers.vpn.huaweicloud.com", "default", "no"),
        ("get", "customergateways.vpn.huaweicloud.com", "default", "no"),
    ] {
        can(plane, &[verb, resource, "--namespace", namespace], answer).await;
    }
    for kind in ["customergateways", "vpnusers"] {
        let resource = format!("{kind}.vpn.huaweicloud.com");
        for verb in ["patch", "update"] {
            let status = [verb, &resource, "--subresource=status", "--namespace", NAMESPACE];
            can(plane, &status, "no").await;
        }
    }

    apply(plane, &[], &admission).await.unwrap();
    let refused = "name a Secret of this namespace with spec.credentialsRef";
    is_refused(plane, &gateway("other", ""), refused).await;
    let with_own = ", credentialsRef: {name: cloud}";
    let adopts = format!("{with_own}, externalID: 00000000-0000-4000-8000-000000000001");
    is_refused(
        plane,
        &gateway("other", &adopts),
        "tenants adopt nothing (spec.externalID)",
    )
    .await;
    let adopts = format!("{with_own}, adoptionPolicy: IfExists");
    is_refused(
        plane,
        &gateway("other", &adopts),
        "tenants adopt nothing (spec.adoptionPolicy)",
    )
    .await;
    // Existing objects can be deleted: removing the operator's finalizer does not change the spec.
    let delete = ["delete", "--timeout=60s", "cgw/own", "cgw/office", "vpnu/alice"];
    let deleted = plane.kubectl(OF_TENANT.into_iter().chain(delete)).await.unwrap();
    deleted.success().unwrap();
    for number in 0..5 {
        apply(plane, &OF_TENANT, &gateway(&format!("office-{number}"), with_own))
            .await
            .unwrap();
    }
    is_refused(plane, &gateway("one-more", with_own), "exceeded quota: vpn").await;
    release.stop_operator().await;
}

/// With the page's commands; the test above has values for the simulator.
#[tokio::test]
async fn the_documented_multi_tenant_operator_can_be_installed() {
    let plane = ControlPlane::start().await.unwrap();
    for command in commands("multi-tenant.md", "The operator") {
        let output = plane.shell(project(), &binaries(), &command).await.unwrap();
        output.success().unwrap();
    }
    let get = [
        "get",
        "deployment",
        "vpn-operator",
        "--namespace=vpn-operator",
        "--output=yaml",
    ];
    let deployment = plane.kubectl(get).await.unwrap().success().unwrap();
    assert!(
        deployment.contains("- --default-credentials-namespace=platform"),
        "{deployment}"
    );
}

async fn can(plane: &ControlPlane, what: &[&str], answer: &str) {
    let who = ["auth", "can-i", "--as=alice", "--as-group=team-a"];
    let printed = plane.kubectl(who.iter().chain(what)).await.unwrap().stdout;
    assert_eq!(printed.trim(), answer, "{what:?}");
}

/// Checks that no request used the operator's own access key.
async fn every_request_used_the_tenants_key(release: &Release) {
    let log: Value = release.simulator.log_since(0).await.unwrap();
    let requests = log["requests"].as_array().unwrap();
    assert!(!requests.is_empty());
    for request in requests {
        assert_eq!(request["access_key"], ACCESS_KEY, "{request}");
    }
}
