//! With watched namespaces the permissions on objects are not in the namespace, so that it can be deleted whole.

use serde_json::Value;
use vpn_operator_testbed::eventually;

use crate::chart::install::plane;
use crate::chart::release::{DEADLINE, Release};
use crate::chart::story::ready;

#[tokio::test]
async fn a_namespace_deletion_completes_after_its_role_bindings_are_deleted() {
    let plane = plane().await;
    let (running, restarted) = (
        plane.create_namespace("running").await.unwrap(),
        plane.create_namespace("restarted").await.unwrap(),
    );
    let watched = format!("watchNamespaces={{{running},{restarted}}}");
    let mut release = Release::install(plane, &[watched]).await;
    release.start_operator().await;
    release.operator().wait_until_ready(DEADLINE).await.unwrap();
    release.credentials_in("own", &running).await;
    for (namespace, octet, credentials) in [(&running, 1, ", credentialsRef: {name: own}"), (&restarted, 2, "")] {
        release.apply_in(namespace, &objects(octet, credentials)).await;
        ready(&release, namespace, "customergateway", "office").await.unwrap();
        ready(&release, namespace, "vpnuser", "alice").await.unwrap();
    }
    // What the deletion of a namespace may do at any moment is done before it.
    let _controllers = plane.start_controllers(&["namespace-controller"]).await.unwrap();
    lose_permissions(&release, &running).await;
    delete(&release, &running).await;
    wait_until_deleted(&release, &running).await;

    release.stop_operator().await;
    lose_permissions(&release, &restarted).await;
    delete(&release, &restarted).await;
    release.start_operator().await;
    wait_until_deleted(&release, &restarted).await;

    assert_eq!(release.simulator.gateways::<Value>().await.unwrap().len(), 0);
    assert_eq!(release.simulator.users::<Value>().await.unwrap().len(), 0);
    release.stop_operator().await;
}

fn objects(octet: u8, credentials: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: password}}\nstringData: {{password: Chart-Pass-one-1}}\n---\n\
         apiVersion: vpn.huaweicloud.com/v1alpha1\nkind: CustomerGateway\nmetadata: {{name: office}}\n\
         spec: {{idValue: 203.0.113.{octet}{credentials}}}\n---\n\
         apiVersion: vpn.huaweicloud.com/v1alpha1\nkind: VpnUser\nmetadata: {{name: alice}}\n\
         spec: {{vpnServerID: 5e5e5e5e-0000-4000-8000-000000000001, name: alice-{octet}, \
         passwordSecretRef: {{name: password}}{credentials}}}\n"
    )
}

async fn lose_permissions(release: &Release, namespace: &str) {
    let delete = ["--namespace", namespace, "delete", "rolebinding,role", "--all"];
    release.plane.kubectl(delete).await.unwrap().success().unwrap();
}

async fn delete(release: &Release, namespace: &str) {
    let delete = ["delete", "namespace", namespace, "--wait=false"];
    release.plane.kubectl(delete).await.unwrap().success().unwrap();
}

async fn wait_until_deleted(release: &Release, namespace: &str) {
    let deleted = eventually("the namespace is deleted", DEADLINE, async || {
        let get = ["get", "namespace", namespace, "--output=yaml", "--ignore-not-found"];
        let found = release.plane.kubectl(get).await.unwrap().success().unwrap();
        if found.is_empty() { Ok(()) } else { Err(found) }
    });
    deleted
        .await
        .unwrap_or_else(|error| panic!("{error}\n{}", release.operator().log()));
}
