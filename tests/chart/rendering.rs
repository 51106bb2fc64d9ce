//! What the chart renders, without a cluster.

use std::path::Path;

use serde_json::Value;
use vpn_operator::settings::flag_reference;
use vpn_operator_testbed::ControlPlane;

use crate::release::CHART;

/// Values that give every flag something to say.
const EVERY_FLAG: [&str; 14] = [
    "cloud=otc",
    "region=eu-de",
    "projectID=0123456789abcdef0123456789abcdef",
    "vpnEndpoint=https://vpn.example.com",
    "iamEndpoint=https://iam.example.com",
    "allowInsecureEndpoints=true",
    "allowedEndpoints={https://a.example.com,https://b.example.com}",
    "ownCredentialsNamespaces={one,two}",
    "watchNamespaces={one,two}",
    "watchSelector=shard=a",
    "clusterName=prod",
    "ca.configMapName=roots",
    "fullnameOverride=my-operator",
    "logFormat=json",
];

pub async fn render(values: &[&str]) -> Result<Vec<Value>, String> {
    let plane = ControlPlane::shared().await.unwrap();
    let mut arguments = ["template", "vpn", CHART, "--namespace", "somewhere"].to_vec();
    for value in values {
        arguments.extend(["--set", value]);
    }
    let text = plane
        .helm(arguments)
        .await
        .unwrap()
        .success()
        .map_err(|error| error.to_string())?;
    Ok(serde_saphyr::from_multiple(&text).unwrap())
}

pub fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

fn arguments(objects: &[Value]) -> Vec<String> {
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
    for flag in flags.iter().filter(|flag| **flag != "--leader-elect-namespace") {
        let is_given = rendered.iter().any(|argument| argument.split('=').next() == Some(flag));
        assert!(is_given, "{flag} is not among {rendered:?}");
    }
    assert!(
        rendered.contains(&"--leader-elect-name=my-operator".to_owned()),
        "{rendered:?}"
    );
}

#[tokio::test]
async fn a_value_that_makes_no_sense_is_refused_by_its_name() {
    for (values, said) in [
        (&["watchNamespace=a"][..], "'watchNamespace' not allowed"),
        (&["replicas=two"], "/replicas"),
        (&["cloud=aws"], "/cloud"),
        (&["clusterName=Prod"], "/clusterName"),
        (&["image.digest=sha256:12"], "/image/digest"),
        (&["resyncPeriod=often"], "/resyncPeriod"),
        (&["crds.kept=true"], "'kept' not allowed"),
        (
            &["leaderElect=false"],
            "replicas: more than one replica needs leaderElect",
        ),
        (
            &["simulator.enabled=true", "vpnEndpoint=https://a.example.com"],
            "simulator.enabled",
        ),
    ] {
        let refused = render(values).await.unwrap_err();
        assert!(refused.contains(said), "{values:?}: {refused}");
    }
}

#[tokio::test]
async fn the_crds_of_the_chart_are_those_of_the_operator() {
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
