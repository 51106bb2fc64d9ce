//! What the chart renders, without a cluster.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use vpn_operator::settings::flag_reference;
use vpn_operator_testbed::ControlPlane;

use crate::chart::release::CHART;

/// Values that give every flag something to say.
const EVERY_FLAG: [&str; 15] = [
    "cloud=otc",
    "region=eu-de",
    "projectID=0123456789abcdef0123456789abcdef",
    "vpnEndpoint=https://vpn.example.com",
    "iamEndpoint=https://iam.example.com",
    "allowInsecureEndpoints=true",
    "allowedEndpoints={https://a.example.com,https://b.example.com}",
    "endpointAliases={https://old.example.com=https://vpn.example.com}",
    "defaultCredentialsNamespaces={one,two}",
    "watchNamespaces={one,two}",
    "watchSelector=shard=a",
    "clusterName=prod",
    "ca.configMapName=roots",
    "fullnameOverride=my-operator",
    "logFormat=json",
];

pub(crate) async fn render(values: &[&str]) -> Result<Vec<Value>, String> {
    let values: Vec<&str> = values.iter().flat_map(|value| ["--set", value]).collect();
    render_release("vpn-operator", "somewhere", &values).await
}

/// A release of another name, with arguments of Helm's.
pub(crate) async fn render_release(release: &str, namespace: &str, arguments: &[&str]) -> Result<Vec<Value>, String> {
    let plane = ControlPlane::shared().await.unwrap();
    let template = ["template", release, CHART, "--namespace", namespace];
    let arguments = [&template[..], arguments].concat();
    let text = plane
        .helm(arguments)
        .await
        .unwrap()
        .success()
        .map_err(|error| error.to_string())?;
    Ok(serde_saphyr::from_multiple(&text).unwrap())
}

pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

pub(crate) fn arguments(objects: &[Value]) -> Vec<String> {
    let deployment = of_kind(objects, "Deployment")[0];
    serde_json::from_value(deployment["spec"]["template"]["spec"]["containers"][0]["args"].clone()).unwrap()
}

#[tokio::test]
async fn every_flag_is_a_value() {
    let rendered = arguments(&render(&EVERY_FLAG).await.unwrap());
    let reference = flag_reference();
    let flags: Vec<&str> = reference
        .split('`')
        .filter(|word| word.starts_with("--") && !word.contains('='))
        .collect();
    assert!(flags.len() > 20, "{flags:?}");
    // The pod's own namespace is given by the environment.
    for flag in flags
        .iter()
        .filter(|flag| **flag != "--leader-elect-resource-namespace")
    {
        let is_given = rendered.iter().any(|argument| argument.split('=').next() == Some(flag));
        assert!(is_given, "{flag} is not among {rendered:?}");
    }
    assert!(
        rendered.contains(&"--leader-elect-resource-name=my-operator".to_owned()),
        "{rendered:?}"
    );
}

#[tokio::test]
async fn an_invalid_value_is_refused_by_name() {
    for (values, expected) in [
        (&["watchNamespace=a"][..], "'watchNamespace' not allowed"),
        (&["replicaCount=two"], "/replicaCount"),
        (&["cloud=aws"], "/cloud"),
        (&["clusterName=Prod"], "/clusterName"),
        (&["image.digest=sha256:12"], "/image/digest"),
        (&["resyncPeriod=often"], "/resyncPeriod"),
        (&["crds.kept=true"], "'kept' not allowed"),
        (
            &["leaderElect=false"],
            "replicaCount: more than one replica needs leaderElect",
        ),
        (
            &["simulator.enabled=true", "vpnEndpoint=https://a.example.com"],
            "simulator.enabled",
        ),
    ] {
        let refused = render(values).await.unwrap_err();
        assert!(refused.contains(expected), "{values:?}: {refused}");
    }
}

#[tokio::test]
async fn the_charts_crds_match_the_operators() {
    let rendered = render(&[]).await.unwrap();
    let mut crds: Vec<Value> = of_kind(&rendered, "CustomResourceDefinition")
        .into_iter()
        .cloned()
        .collect();
    assert_eq!(crds.len(), 2);
    for crd in &mut crds {
        let annotations = &crd["metadata"]["annotations"];
        assert_eq!(annotations["helm.sh/resource-policy"], "keep");
        assert_eq!(annotations["argocd.argoproj.io/sync-options"], "Prune=false");
        let name = crd["metadata"]["name"].as_str().unwrap();
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("crds/{name}.yaml"));
        let own: Value = serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        assert_eq!(crd["spec"], own["spec"], "{name}");
    }
    let unkept = render(&["crds.keep=false"]).await.unwrap();
    for crd in of_kind(&unkept, "CustomResourceDefinition") {
        assert!(crd["metadata"]["annotations"]["helm.sh/resource-policy"].is_null());
    }
    let without = render(&["crds.enabled=false"]).await.unwrap();
    assert!(of_kind(&without, "CustomResourceDefinition").is_empty());
}

/// Every map of labels in an object: its own, its pods' and the selectors'.
fn label_maps(object: &Value) -> Vec<&Value> {
    let places = [
        "/metadata/labels",
        "/spec/selector/matchLabels",
        "/spec/template/metadata/labels",
        "/spec/podSelector/matchLabels",
    ];
    places.iter().filter_map(|place| object.pointer(place)).collect()
}

#[tokio::test]
async fn label_maps_are_merged_and_selectors_cannot_be_overridden() {
    let name = r"app\.kubernetes\.io/name";
    let values = [
        "commonLabels.team=net",
        "podLabels.team=vpn",
        &format!("commonLabels.{name}=other"),
        &format!("podLabels.{name}=other"),
        "metrics.serviceMonitor.enabled=true",
        "metrics.serviceMonitor.labels.team=monitoring",
        r"commonLabels.rbac\.authorization\.k8s\.io/aggregate-to-view=no",
        "simulator.enabled=true",
        "networkPolicy.enabled=true",
        r"podAnnotations.helm\.sh/hook=pre-install",
        r"podAnnotations.kubectl\.kubernetes\.io/default-container=proxy",
    ];
    // A key that stands twice would not be read here.
    let objects = render(&values).await.unwrap();
    for object in objects.iter().filter(|object| !object.is_null()) {
        for labels in label_maps(object) {
            assert_eq!(labels["app.kubernetes.io/name"], "vpn-operator", "{object}");
        }
        let labels = &object["metadata"]["labels"];
        let team = match object["kind"].as_str().unwrap() {
            "ServiceMonitor" => "monitoring",
            "Pod" => "vpn",
            _ => "net",
        };
        assert_eq!(labels["team"], team, "{object}");
    }
    let [operator, simulator] = of_kind(&objects, "Deployment").try_into().unwrap();
    let pod = &operator["spec"]["template"]["metadata"];
    assert_eq!(pod["labels"]["team"], "vpn");
    assert_eq!(pod["annotations"]["kubectl.kubernetes.io/default-container"], "proxy");
    assert_eq!(simulator["spec"]["template"]["metadata"]["labels"]["team"], "net");
    assert_eq!(
        of_kind(&objects, "Pod")[0]["metadata"]["annotations"]["helm.sh/hook"],
        "test"
    );
    let view = of_kind(&objects, "ClusterRole")
        .into_iter()
        .find(|role| role["metadata"]["name"].as_str().unwrap().ends_with("-view"));
    let aggregates = &view.unwrap()["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"];
    assert_eq!(aggregates, "true");
}

/// Names of what has no namespace, and of what the release has in namespaces of others.
async fn names_outside(release: &str, namespace: &str) -> BTreeSet<String> {
    let watched = ["--set", "watchNamespaces={watched}", "--set", "crds.enabled=false"];
    let objects = render_release(release, namespace, &watched).await.unwrap();
    let outside = objects.iter().filter(|object| {
        let place = &object["metadata"]["namespace"];
        !object.is_null() && (place.is_null() || place == "watched")
    });
    outside
        .map(|object| format!("{} {}", object["kind"], object["metadata"]["name"]))
        .collect()
}

#[tokio::test]
async fn two_releases_share_no_cluster_scoped_name() {
    let releases = [
        ("b", "c-a"),
        ("a-b", "c"),
        ("b", "c-a-vpn-operator-and-a-namespace-so-long-that-its-name-is-cut"),
        ("c", "c-a-vpn-operator-and-a-namespace-so-long-that-its-name-is-cut"),
    ];
    let mut seen = BTreeSet::new();
    for (release, namespace) in releases {
        let names = names_outside(release, namespace).await;
        assert!(names.len() >= 5, "{names:?}");
        for name in names {
            let length = name.split('"').nth(3).unwrap().len();
            assert!(length <= 63 + "-view".len(), "{name}");
            assert!(
                seen.insert(name.clone()),
                "{release} in {namespace}: {name} is another release's"
            );
        }
    }
}

#[tokio::test]
async fn namespace_override_applies_to_all_objects() {
    let values = [
        "namespaceOverride=other",
        "simulator.enabled=true",
        "networkPolicy.enabled=true",
        "metrics.podMonitor.enabled=true",
        "metrics.prometheusRule.enabled=true",
        "metrics.dashboard.enabled=true",
    ];
    let values: Vec<&str> = values.iter().flat_map(|value| ["--set", value]).collect();
    let objects = render_release("vpn-operator", "overridden", &values).await.unwrap();
    for object in objects.iter().filter(|object| !object.is_null()) {
        let place = &object["metadata"]["namespace"];
        assert!(place.is_null() || place == "other", "{object}");
        assert!(!object.to_string().contains("overridden"), "{object}");
    }
}

#[tokio::test]
async fn the_simulators_keys_are_stable_across_renderings() {
    let secret = async || {
        let objects = render(&["simulator.enabled=true"]).await.unwrap();
        of_kind(&objects, "Secret")[0].clone()
    };
    let first = secret().await;
    assert_eq!(first["stringData"].as_object().unwrap().len(), 2);
    assert_eq!(first, secret().await);
}

/// Rendered, a replace of the manifests would empty the Secret of the digest key.
#[tokio::test]
async fn no_secret_is_rendered_without_the_simulator() {
    assert!(of_kind(&render(&[]).await.unwrap(), "Secret").is_empty());
}
