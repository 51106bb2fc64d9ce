//! The permissions that the chart grants to an operator of all namespaces, for an account of a test's own: every world's
//! operator runs under them, and none may ask for more.

use std::path::PathBuf;

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::Api;
use kube::api::{DynamicObject, PostParams};
use kube::core::ApiResource;
use serde_json::Value;
use tokio::sync::OnceCell;
use vpn_operator_testbed::{ControlPlane, eventually};

use crate::operator::world::{DEADLINE, repository};

/// The account, and the Lease, of the rendered chart.
pub(crate) const ACCOUNT: &str = "vpn-operator";
/// Stands for the namespace while the chart is rendered, which is done once for all tests.
const ANY_NAMESPACE: &str = "any-namespace";

static RENDERED: OnceCell<Vec<Value>> = OnceCell::const_new();

/// Grants them to an account in `operator_namespace`, where the Lease and the digest key will be; a kubeconfig of the account.
pub(crate) async fn grant(plane: &ControlPlane, operator_namespace: &str) -> PathBuf {
    grant_of(plane, operator_namespace, |_| true).await;
    // The apiserver hears of them a moment later.
    is_granted(
        plane,
        operator_namespace,
        operator_namespace,
        "patch",
        "vpn.huaweicloud.com",
        "vpnusers",
    )
    .await;
    plane
        .service_account_kubeconfig(operator_namespace, ACCOUNT)
        .await
        .unwrap()
}

/// The same for an account that has them in its own and one other namespace only: see [`extend_to`].
pub(crate) async fn grant_only_in(plane: &ControlPlane, operator_namespace: &str, namespace: &str) -> PathBuf {
    grant_of(plane, operator_namespace, |kind| kind != "ClusterRoleBinding").await;
    for place in [operator_namespace, namespace] {
        extend_to(plane, operator_namespace, place).await;
    }
    plane
        .service_account_kubeconfig(operator_namespace, ACCOUNT)
        .await
        .unwrap()
}

/// Gives them to the account of `operator_namespace` in one more namespace.
pub(crate) async fn extend_to(plane: &ControlPlane, operator_namespace: &str, namespace: &str) {
    let is_role = |object: &&Value| object["kind"] == "ClusterRole";
    let rendered = RENDERED.get_or_init(|| render(plane)).await;
    let role = in_namespace(rendered.iter().find(is_role).unwrap(), operator_namespace);
    let role = format!("{}-{operator_namespace}", role["metadata"]["name"].as_str().unwrap());
    let account = format!("--serviceaccount={operator_namespace}:{ACCOUNT}");
    let create = [
        "create",
        "rolebinding",
        "watched",
        "--namespace",
        namespace,
        "--clusterrole",
        &role,
        &account,
    ];
    plane.kubectl(create).await.unwrap().success().unwrap();
    is_granted(
        plane,
        operator_namespace,
        namespace,
        "patch",
        "vpn.huaweicloud.com",
        "vpnusers",
    )
    .await;
}

async fn grant_of(plane: &ControlPlane, operator_namespace: &str, kinds: impl Fn(&str) -> bool) {
    let client = plane.client().await.unwrap();
    let rendered = RENDERED.get_or_init(|| render(plane)).await;
    for object in rendered.iter().filter(|object| kinds(object["kind"].as_str().unwrap())) {
        let mut object = in_namespace(object, operator_namespace);
        let kind = object["kind"].as_str().unwrap().to_owned();
        let resource = match kind.as_str() {
            "ServiceAccount" => ApiResource::erase::<ServiceAccount>(&()),
            "Role" => ApiResource::erase::<Role>(&()),
            "RoleBinding" => ApiResource::erase::<RoleBinding>(&()),
            "ClusterRole" => ApiResource::erase::<ClusterRole>(&()),
            "ClusterRoleBinding" => ApiResource::erase::<ClusterRoleBinding>(&()),
            other => panic!("a {other} of the chart is not about permissions"),
        };
        let api: Api<DynamicObject> = if kind.starts_with("Cluster") {
            // The chart may name them by a hash, which does not change with the namespace that is put in later.
            let name = |text: &mut Value| *text = format!("{}-{operator_namespace}", text.as_str().unwrap()).into();
            name(&mut object["metadata"]["name"]);
            if kind == "ClusterRoleBinding" {
                name(&mut object["roleRef"]["name"]);
            }
            Api::all_with(client.clone(), &resource)
        } else {
            Api::namespaced_with(client.clone(), operator_namespace, &resource)
        };
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        api.create(&PostParams::default(), &object).await.unwrap();
    }
    is_granted(
        plane,
        operator_namespace,
        operator_namespace,
        "create",
        "coordination.k8s.io",
        "leases",
    )
    .await;
}

/// Of every release in `any-namespace`, only what is about permissions.
async fn render(plane: &ControlPlane) -> Vec<Value> {
    let chart = repository().join("charts/vpn-operator");
    let arguments = [
        "template",
        ACCOUNT,
        chart.to_str().unwrap(),
        "--namespace",
        ANY_NAMESPACE,
    ];
    let values = ["--set", "rbac.aggregateClusterRoles=false"];
    let rendered = plane
        .helm(arguments.into_iter().chain(values))
        .await
        .unwrap()
        .success()
        .unwrap();
    let documents = rendered.split("\n---\n").filter(|document| document.contains("kind:"));
    let objects = documents.map(|document| serde_saphyr::from_str::<Value>(document).unwrap());
    let is_about_permissions = |object: &Value| {
        let kind = object["kind"].as_str().unwrap_or_default();
        kind == "ServiceAccount" || kind.ends_with("Role") || kind.ends_with("RoleBinding")
    };
    objects.filter(is_about_permissions).collect()
}

fn in_namespace(object: &Value, namespace: &str) -> Value {
    serde_json::from_str(&object.to_string().replace(ANY_NAMESPACE, namespace)).unwrap()
}

async fn is_granted(
    plane: &ControlPlane,
    operator_namespace: &str,
    namespace: &str,
    verb: &str,
    group: &str,
    resource: &str,
) {
    let reviews: Api<SubjectAccessReview> = Api::all(plane.client().await.unwrap());
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(format!("system:serviceaccount:{operator_namespace}:{ACCOUNT}")),
            resource_attributes: Some(ResourceAttributes {
                verb: Some(verb.to_owned()),
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                namespace: Some(namespace.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let granted = eventually("the permissions are granted", DEADLINE, async || {
        let answer = reviews.create(&PostParams::default(), &review).await;
        let status = answer.map_err(|error| error.to_string())?.status.unwrap_or_default();
        status.allowed.then_some(()).ok_or(format!("{status:?}"))
    });
    granted.await.unwrap();
}
