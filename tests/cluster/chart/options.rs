//! What the values of the chart do to what it renders, without a cluster.

use std::path::Path;

use serde_json::{Value, json};
use vpn_operator_testbed::ControlPlane;

use crate::chart::release::CHART;
use crate::chart::rendering::{of_kind, render, render_release};

fn pod(objects: &[Value]) -> Value {
    of_kind(objects, "Deployment")[0]["spec"]["template"]["spec"].clone()
}

/// A values file, for what `--set` cannot say.
pub(crate) async fn render_with(values: &Value) -> Result<Vec<Value>, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), values.to_string()).unwrap();
    render_release(
        "vpn-operator",
        "somewhere",
        &["--values", file.path().to_str().unwrap()],
    )
    .await
}

/// Copies a folder with everything in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_parent_chart_can_depend_on_the_chart_conditionally() {
    let plane = ControlPlane::shared().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let parent = folder.path().join("parent");
    copy(Path::new(CHART), &parent.join("charts/vpn-operator"));
    let chart = "apiVersion: v2\nname: parent\nversion: 1.0.0\n\
                 dependencies: [{name: vpn-operator, version: 0.1.0, condition: vpn-operator.enabled}]\n";
    std::fs::write(parent.join("Chart.yaml"), chart).unwrap();
    let render = async |values: &[&str]| {
        let mut arguments = vec![
            "template",
            "platform",
            parent.to_str().unwrap(),
            "--namespace=somewhere",
        ];
        arguments.extend(values.iter().flat_map(|value| ["--set", value]));
        let text = plane.helm(arguments).await.unwrap().success().unwrap();
        serde_saphyr::from_multiple::<Value>(&text).unwrap()
    };
    let with = render(&[
        "vpn-operator.enabled=true",
        "global.imageRegistry=registry.example.com",
        "global.imagePullSecrets={registry}",
        "global.storageClass=of-another-chart",
    ])
    .await;
    let pod = pod(&with);
    assert_eq!(pod["containers"][0]["image"], "registry.example.com/vpn-operator:0.1.0");
    assert_eq!(pod["imagePullSecrets"], json!([{"name": "registry"}]));
    let without = render(&["vpn-operator.enabled=false"]).await;
    assert!(of_kind(&without, "Deployment").is_empty());
    // Parents have written other things than truth values, too.
    for value in ["vpn-operator.enabled=null", "vpn-operator.enabled=yes-please"] {
        assert_eq!(of_kind(&render(&[value]).await, "Deployment").len(), 1, "{value}");
    }
}

#[tokio::test]
async fn environment_variables_can_be_overridden_without_duplicates() {
    let values = json!({
        "credentials": {"secretName": "cloud"},
        "extraEnv": [
            {"name": "POD_NAME", "value": "another"},
            {"name": "HUAWEICLOUD_SDK_CREDENTIALS_FILE", "value": "/vault/credentials"},
            {"name": "HTTPS_PROXY", "value": "http://proxy.example.com:3128"},
        ],
    });
    let objects = render_with(&values).await.unwrap();
    let environment = pod(&objects)["containers"][0]["env"].clone();
    let environment = environment.as_array().unwrap();
    for given in values["extraEnv"].as_array().unwrap() {
        let same: Vec<_> = environment.iter().filter(|it| it["name"] == given["name"]).collect();
        assert_eq!(same, [given]);
    }
    assert!(environment.iter().any(|it| it["name"] == "POD_NAMESPACE"));
}

/// Helm reads numbers of a values file as floats.
/// Of a flag that is given twice, the operator takes the last.
#[tokio::test]
async fn extra_arguments_override_flags() {
    let extra = [
        "--log-level=debug",
        "--bind-address=127.0.0.1:9090",
        "--resync-period=1m",
    ];
    let objects = render_with(&json!({"extraArgs": extra})).await.unwrap();
    let pod = pod(&objects);
    let arguments = pod["containers"][0]["args"].as_array().unwrap();
    for extra in extra {
        let flag = &extra[..=extra.find('=').unwrap()];
        let given: Vec<&str> = arguments
            .iter()
            .filter_map(Value::as_str)
            .filter(|argument| argument.starts_with(flag))
            .collect();
        assert_eq!((given.len(), given.last()), (2, Some(&extra)), "{given:?}");
    }
}

#[tokio::test]
async fn large_numbers_are_rendered_as_integers() {
    let values = json!({"maxRequestsPerSecond": 1_000_000, "terminationGracePeriodSeconds": 2_000_000});
    let pod = pod(&render_with(&values).await.unwrap());
    let arguments = pod["containers"][0]["args"].as_array().unwrap();
    assert!(
        arguments.contains(&json!("--max-requests-per-second=1000000")),
        "{arguments:?}"
    );
    assert_eq!(pod["terminationGracePeriodSeconds"], 2_000_000);
}

#[tokio::test]
async fn without_leader_election_the_strategy_prevents_concurrent_pods() {
    let strategy = async |values: &[&str]| {
        let objects = render(values).await?;
        Ok::<_, String>(of_kind(&objects, "Deployment")[0]["spec"]["strategy"].clone())
    };
    let alone = ["leaderElect=false", "replicaCount=1"];
    assert_eq!(strategy(&alone).await, Ok(json!({"type": "Recreate"})));
    let refused = strategy(&[&alone[..], &["strategy.type=RollingUpdate"]].concat()).await;
    assert!(refused.unwrap_err().contains("strategy: without leaderElect"));
    assert_eq!(strategy(&[]).await.unwrap()["type"], "RollingUpdate");
    let surge = ["strategy.type=RollingUpdate", "strategy.rollingUpdate.maxSurge=0"];
    let surge = strategy(&surge).await;
    assert_eq!(
        surge,
        Ok(json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0}}))
    );
}

#[tokio::test]
async fn network_policies_include_additional_rules() {
    let values = json!({"networkPolicy": {
        "enabled": true,
        "dnsPorts": [53, 5353],
        "extraIngress": [{"from": [{"podSelector": {}}]}],
        "extraEgress": [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}],
    }});
    let objects = render_with(&values).await.unwrap();
    let [operator, test] = of_kind(&objects, "NetworkPolicy").try_into().unwrap();
    let dns = json!([
        {"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53},
        {"protocol": "UDP", "port": 5353}, {"protocol": "TCP", "port": 5353},
    ]);
    for policy in [operator, test] {
        assert_eq!(policy["spec"]["egress"][0]["ports"], dns);
    }
    for (direction, more) in [("ingress", "extraIngress"), ("egress", "extraEgress")] {
        let rules = operator["spec"][direction].as_array().unwrap();
        assert_eq!(rules.last(), values["networkPolicy"][more].as_array().unwrap().first());
        assert!(rules.len() > 1);
    }
}

#[tokio::test]
async fn network_policies_have_no_rule_for_an_empty_list_of_ports() {
    let lists = ["dnsPorts", "apiserverPorts", "cloudPorts"];
    let every_set =
        (0..1 << lists.len()).map(|set: usize| (0..lists.len()).filter(move |index| set & (1 << index) != 0));
    for emptied in every_set {
        let emptied: Vec<&str> = emptied.map(|index| lists[index]).collect();
        let mut values = json!({"networkPolicy": {"enabled": true}});
        for list in &emptied {
            values["networkPolicy"][list] = json!([]);
        }
        let objects = render_with(&values).await.unwrap();
        let [operator, test] = of_kind(&objects, "NetworkPolicy").try_into().unwrap();
        for policy in [operator, test] {
            // Without ports and peers a rule allows everything.
            let rules = policy["spec"]["egress"].as_array().cloned().unwrap_or_default();
            assert!(
                rules
                    .iter()
                    .all(|rule| rule["ports"].as_array().is_some_and(|ports| !ports.is_empty())),
                "{emptied:?}: {policy}"
            );
        }
        let rules = operator["spec"]["egress"].as_array().map_or(0, Vec::len);
        let dns = usize::from(!emptied.contains(&"dnsPorts"));
        let both = emptied.contains(&"apiserverPorts") && emptied.contains(&"cloudPorts");
        assert_eq!(rules, dns + usize::from(!both), "{emptied:?}");
    }
}

#[tokio::test]
async fn on_openshift_pods_set_no_user_and_group_ids() {
    let values = ["openshift.enabled=true", "simulator.enabled=true"];
    let objects = render(&values).await.unwrap();
    let deployments = of_kind(&objects, "Deployment");
    let pods = deployments.iter().map(|it| &it["spec"]["template"]["spec"]);
    let pods: Vec<&Value> = pods
        .chain(of_kind(&objects, "Pod").iter().map(|it| &it["spec"]))
        .collect();
    assert_eq!(pods.len(), 3);
    for pod in pods {
        // What restricted-v2 wants besides, and what it refuses.
        assert_eq!(
            pod["securityContext"],
            json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}})
        );
        let container = &pod["containers"][0]["securityContext"];
        assert_eq!(container["allowPrivilegeEscalation"], false);
        assert_eq!(container["capabilities"], json!({"drop": ["ALL"]}));
        for id in ["runAsUser", "runAsGroup"] {
            assert!(container[id].is_null(), "{container}");
        }
    }
    let elsewhere = pod(&render(&[]).await.unwrap());
    assert_eq!(elsewhere["securityContext"]["runAsUser"], 65532);
}

#[tokio::test]
async fn the_image_uses_the_registry_and_requires_a_repository() {
    let image = async |values: &[&str]| {
        let pod = pod(&render(values).await?);
        Ok::<_, String>(pod["containers"][0]["image"].as_str().unwrap().to_owned())
    };
    let named = ["image.repository=team/vpn-operator", "image.tag=1.2.3"];
    assert_eq!(image(&named).await.unwrap(), "team/vpn-operator:1.2.3");
    let own = [&named[..], &["image.registry=registry.example.com"]].concat();
    assert_eq!(
        image(&own).await.unwrap(),
        "registry.example.com/team/vpn-operator:1.2.3"
    );
    let global = [&own[..], &["global.imageRegistry=global.example.com:5000/"]].concat();
    assert_eq!(
        image(&global).await.unwrap(),
        "global.example.com:5000/team/vpn-operator:1.2.3"
    );
    let refused = image(&["image.repository="]).await.unwrap_err();
    assert!(
        refused.contains("set image.repository, see docs/contributing/releasing.md"),
        "{refused}"
    );
}

#[tokio::test]
async fn pull_secrets_of_a_parent_chart_are_added_once_each() {
    let values = json!({
        "global": {"imagePullSecrets": ["shared", {"name": "both"}]},
        "imagePullSecrets": [{"name": "both"}, {"name": "own"}],
        "simulator": {"enabled": true},
    });
    let objects = render_with(&values).await.unwrap();
    let expected = json!([{"name": "shared"}, {"name": "both"}, {"name": "own"}]);
    for deployment in of_kind(&objects, "Deployment") {
        assert_eq!(deployment["spec"]["template"]["spec"]["imagePullSecrets"], expected);
    }
    assert_eq!(of_kind(&objects, "Pod")[0]["spec"]["imagePullSecrets"], expected);
}

#[tokio::test]
async fn pod_options_are_passed_through() {
    let values = json!({
        "revisionHistoryLimit": 2,
        "hostAliases": [{"ip": "192.0.2.1", "hostnames": ["vpn.example.com"]}],
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["192.0.2.53"]},
        "runtimeClassName": "gvisor",
        "initContainers": [{"name": "wait", "image": "busybox"}],
        "extraContainers": [{"name": "proxy", "image": "proxy"}],
        "serviceAccount": {"labels": {"team": "net"}},
        "podDisruptionBudget": {"minAvailable": "50%"},
        "rbac": {"extraRules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}]},
    });
    let objects = render_with(&values).await.unwrap();
    let deployment = of_kind(&objects, "Deployment")[0];
    assert_eq!(deployment["spec"]["revisionHistoryLimit"], 2);
    let pod = pod(&objects);
    for given in [
        "hostAliases",
        "dnsPolicy",
        "dnsConfig",
        "runtimeClassName",
        "initContainers",
    ] {
        assert_eq!(pod[given], values[given], "{given}");
    }
    let names: Vec<_> = pod["containers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["name"])
        .collect();
    assert_eq!(names, ["operator", "proxy"]);
    assert_eq!(
        of_kind(&objects, "ServiceAccount")[0]["metadata"]["labels"]["team"],
        "net"
    );
    let budget = &of_kind(&objects, "PodDisruptionBudget")[0]["spec"];
    assert_eq!(
        (&budget["minAvailable"], &budget["maxUnavailable"]),
        (&json!("50%"), &Value::Null)
    );
    let rules = of_kind(&objects, "ClusterRole")
        .into_iter()
        .flat_map(|role| role["rules"].as_array().unwrap());
    assert_eq!(
        rules.filter(|rule| **rule == values["rbac"]["extraRules"][0]).count(),
        1
    );
    let none = render(&["podDisruptionBudget.minAvailable=0"]).await.unwrap();
    assert_eq!(of_kind(&none, "PodDisruptionBudget")[0]["spec"]["minAvailable"], 0);
}

/// Helm takes the default away then.
#[tokio::test]
async fn a_null_map_or_list_counts_as_empty() {
    let everything = [
        "networkPolicy.enabled=true",
        "openshift.enabled=true",
        "metrics.prometheusRule.enabled=true",
        "metrics.serviceMonitor.enabled=true",
    ];
    for value in [
        "affinity",
        "commonLabels",
        "dnsConfig",
        "extraArgs",
        "extraEnv",
        "extraObjects",
        "global",
        "imagePullSecrets",
        "metrics.prometheusRule.alertLabels",
        "metrics.serviceMonitor.labels",
        "networkPolicy.apiserverPorts",
        "networkPolicy.dnsPorts",
        "podAnnotations",
        "podLabels",
        "podSecurityContext",
        "rbac.extraRules",
        "resources",
        "securityContext",
        "serviceAccount.labels",
        "strategy",
        "watchNamespaces",
    ] {
        let null = format!("{value}=null");
        let values = [&everything[..], &[null.as_str()]].concat();
        let objects = render(&values).await.unwrap_or_else(|error| panic!("{value}: {error}"));
        assert_eq!(of_kind(&objects, "Deployment").len(), 1, "{value}");
    }
}

#[tokio::test]
async fn extra_objects_can_be_manifests_or_templates() {
    let values = json!({"extraObjects": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"in": "{{ .Release.Namespace }}"}},
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ include \"vpn-operator.fullname\" . }}-two\n",
    ]});
    let objects = render_with(&values).await.unwrap();
    let [one, two] = of_kind(&objects, "ConfigMap").try_into().unwrap();
    assert_eq!(one["data"]["in"], "somewhere");
    assert_eq!(two["metadata"]["name"], "vpn-operator-two");
}

#[tokio::test]
async fn monitors_use_the_values_and_only_one_can_be_enabled() {
    for (monitor, kind, endpoints) in [
        ("serviceMonitor", "ServiceMonitor", "endpoints"),
        ("podMonitor", "PodMonitor", "podMetricsEndpoints"),
    ] {
        let values = json!({"metrics": {monitor: {
            "enabled": true,
            "namespace": "monitoring",
            "scrapeTimeout": "5s",
            "relabelings": [{"targetLabel": "cluster", "replacement": "prod"}],
            "metricRelabelings": [{"action": "labeldrop", "regex": "pod"}],
        }}});
        let objects = render_with(&values).await.unwrap();
        let rendered = of_kind(&objects, kind)[0];
        assert_eq!(rendered["metadata"]["namespace"], "monitoring");
        assert_eq!(
            rendered["spec"]["namespaceSelector"],
            json!({"matchNames": ["somewhere"]})
        );
        let endpoint = &rendered["spec"][endpoints][0];
        for given in ["scrapeTimeout", "relabelings", "metricRelabelings"] {
            assert_eq!(endpoint[given], values["metrics"][monitor][given], "{kind}");
        }
        let plain = render(&[&format!("metrics.{monitor}.enabled=true")]).await.unwrap();
        let plain = of_kind(&plain, kind)[0];
        assert_eq!(plain["metadata"]["namespace"], "somewhere");
        assert!(plain["spec"]["namespaceSelector"].is_null());
    }
    let both = ["metrics.serviceMonitor.enabled=true", "metrics.podMonitor.enabled=true"];
    let refused = render(&both).await.unwrap_err();
    assert!(refused.contains("would both scrape every pod"), "{refused}");
}

#[tokio::test]
async fn alert_severity_can_be_overridden_and_runbooks_are_urls() {
    let rules = async |values: &[&str]| {
        let objects = render(&[&["metrics.prometheusRule.enabled=true"], values].concat()).await?;
        let rules = &of_kind(&objects, "PrometheusRule")[0]["spec"]["groups"][0]["rules"];
        Ok::<_, String>(rules.as_array().unwrap().clone())
    };
    // A key that stands twice would not be read here.
    let labels = [
        "metrics.prometheusRule.alertLabels.severity=page",
        "metrics.prometheusRule.alertLabels.team=net",
    ];
    for rule in rules(&labels).await.unwrap() {
        assert_eq!(rule["labels"], json!({"severity": "page", "team": "net"}));
    }
    for rule in rules(&[]).await.unwrap() {
        assert!(rule["annotations"]["runbook_url"].is_null(), "{rule}");
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning"].contains(&severity), "{rule}");
    }
    let relative = rules(&["metrics.prometheusRule.docsURL=docs"]).await.unwrap_err();
    assert!(relative.contains("/metrics/prometheusRule/docsURL"), "{relative}");
}
