//! Alerts and dashboard: Prometheus accepts them, the running operator exposes everything that they name, and each
//! alert fires when it should. `tests/prometheus-judge` checks this with Prometheus' own libraries.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};
use vpn_core::api::conditions::{Progress, Reason};
use vpn_operator_testbed::{ControlPlane, GoProgram, eventually};

use crate::chart::install::plane;
use crate::chart::release::{DEADLINE, Release};
use crate::chart::rendering::{of_kind, render};
use crate::chart::story::live;

/// The labels that Prometheus adds to every series of a pod.
const LABELS_OF_TARGETS: [&str; 3] = ["namespace", "pod", "job"];

/// A series and its values, in promtool's notation.
type Series = (String, &'static str);

/// A metric that an expression reads.
#[derive(Deserialize)]
struct Use {
    metric: String,
    labels: Vec<String>,
    values: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Rule {
    alert: String,
    uses: Vec<Use>,
}

#[derive(Deserialize)]
struct Alarm {
    alert: String,
    minute: u32,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Runs `tests/prometheus-judge` and returns its answer.
async fn judge<T: for<'de> Deserialize<'de>>(command: &str, input: &str) -> Result<T, String> {
    let plane = ControlPlane::shared().await.unwrap();
    let judge = GoProgram::build(&project().join("tests/prometheus-judge"), plane.guardian())
        .await
        .unwrap();
    let answer = judge.run([command], Some(input)).await.unwrap();
    let answer = answer.success().map_err(|error| error.to_string())?;
    Ok(serde_json::from_str(&answer).unwrap())
}

/// The alerts as a rule file of Prometheus.
async fn rules(values: &[&str]) -> Value {
    let objects = render(&[&["metrics.prometheusRule.enabled=true"], values].concat())
        .await
        .unwrap();
    of_kind(&objects, "PrometheusRule")[0]["spec"].clone()
}

async fn dashboard() -> Value {
    let objects = render(&["metrics.dashboard.enabled=true"]).await.unwrap();
    let text = of_kind(&objects, "ConfigMap")[0]["data"]["vpn-operator.json"].clone();
    serde_json::from_str(text.as_str().unwrap()).unwrap()
}

/// The expressions of every panel.
fn expressions(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    // Grafana replaces this variable.
    targets
        .map(|target| target["expr"].as_str().unwrap().replace("$__rate_interval", "2m"))
        .collect()
}

#[tokio::test]
async fn alerts_and_dashboard_use_only_exported_metrics_and_labels() {
    let rules: Vec<Rule> = judge("rules", &rules(&[]).await.to_string()).await.unwrap();
    let expressions = expressions(&dashboard().await);
    let panels: Vec<Vec<Use>> = judge("expressions", &json!(expressions).to_string()).await.unwrap();
    assert!(rules.len() > 5 && panels.len() > 10);
    let uses: Vec<(String, Use)> = rules
        .into_iter()
        .flat_map(|rule| rule.uses.into_iter().map(move |it| (rule.alert.clone(), it)))
        .chain(
            expressions
                .into_iter()
                .zip(panels)
                .flat_map(|(expression, uses)| uses.into_iter().map(move |it| (expression.clone(), it))),
        )
        .collect();
    let shown = scrape().await;
    for (place, it) in &uses {
        let Some(labels) = shown.get(&it.metric) else {
            panic!("{place} names {}, which is not shown", it.metric);
        };
        for label in it
            .labels
            .iter()
            .filter(|label| !LABELS_OF_TARGETS.contains(&label.as_str()))
        {
            // Prometheus renames a metric's label that the target has as well.
            let label = label.strip_prefix("exported_").unwrap_or(label);
            assert!(labels.contains_key(label), "{place}: {} has no {label}", it.metric);
        }
        if it.values.get("outcome").is_some_and(|outcome| outcome == "ok") {
            assert!(labels["outcome"].contains("ok"), "{place}: {labels:?}");
        }
    }
    let used: BTreeSet<&str> = uses.iter().map(|(_, it)| it.metric.as_str()).collect();
    assert!(used.len() > 8, "{used:?}");
}

/// Returns the metrics, labels and values of an operator that has reconciled objects and met a refused credential.
async fn scrape() -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let mut release = Release::install(plane().await, &[]).await;
    release.start_operator().await;
    release.operator().wait_until_ready(DEADLINE).await.unwrap();
    live(&release, &release.namespace, "life", 1).await.unwrap();
    let (access_key, secret_key) = ("--from-literal=accessKey=NOBODY", "--from-literal=secretKey=nothing");
    let create = ["create", "secret", "generic", "wrong", access_key, secret_key];
    release.kubectl(create).await.unwrap();
    release
        .apply(
            "apiVersion: vpn.huaweicloud.com/v1alpha1\nkind: CustomerGateway\nmetadata: {name: refused}\n\
             spec: {idValue: 203.0.113.9, credentialsRef: {name: wrong}}\n",
        )
        .await;
    let metrics = eventually("a credential is refused", DEADLINE, async || {
        let metrics = release.operator().metrics(DEADLINE).await.unwrap();
        if metrics.contains("vpn_operator_credential_failures_total{") {
            Ok(metrics)
        } else {
            Err(metrics)
        }
    });
    let metrics = metrics.await.unwrap();
    release.stop_operator().await;
    let mut shown: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let shown = shown.entry(name.to_owned()).or_default();
        for label in labels
            .trim_end_matches('}')
            .split(',')
            .filter(|label| !label.is_empty())
        {
            let (name, value) = label.split_once('=').unwrap();
            shown
                .entry(name.to_owned())
                .or_default()
                .insert(value.trim_matches('"').to_owned());
        }
    }
    shown
}

/// Every reason except the good one belongs to exactly one alert, which shows who must act.
#[tokio::test]
async fn every_failure_reason_has_exactly_one_alert() {
    let rules: Vec<Rule> = judge("rules", &rules(&[]).await.to_string()).await.unwrap();
    let mut alerted = BTreeMap::new();
    for rule in &rules {
        for reasons in rule.uses.iter().filter_map(|it| it.values.get("reason")) {
            for reason in reasons.split('|') {
                let before = alerted.insert(reason, rule.alert.as_str());
                assert_eq!(before, None, "{reason}");
            }
        }
    }
    for reason in Reason::ALL {
        let waits = ["VpnOperatorObjectsUnfinished", "VpnOperatorCloudFailing"];
        match (reason.progress(), alerted.remove(reason.as_str())) {
            (Progress::Done, None) => {}
            (Progress::Reconciling, Some(alert)) => assert!(waits.contains(&alert), "{reason:?}: {alert}"),
            (Progress::Stalled, Some(alert)) => assert!(!waits.contains(&alert), "{reason:?}: {alert}"),
            (progress, alert) => panic!("{reason:?}: {progress:?}, {alert:?}"),
        }
    }
    assert!(alerted.is_empty(), "no reasons: {alerted:?}");
}

#[tokio::test]
async fn an_alert_with_an_invalid_expression_is_refused() {
    let mut rules = rules(&[]).await;
    rules["groups"][0]["rules"][0]["expr"] = json!("absent(vpn_operator_build_info{");
    let refused = judge::<Value>("rules", &rules.to_string()).await.unwrap_err();
    assert!(refused.contains("could not parse expression"), "{refused}");
}

#[tokio::test]
async fn alerts_link_to_their_documentation() {
    let whole = rules(&["metrics.prometheusRule.docsURL=https://docs.example.com/"]).await;
    let runbooks = std::fs::read_to_string(project().join("docs/runbooks.md")).unwrap();
    let rules = whole["groups"][0]["rules"].as_array().unwrap();
    for rule in rules {
        let alert = rule["alert"].as_str().unwrap();
        let anchor = alert.to_lowercase();
        let link = format!("https://docs.example.com/runbooks.md#{anchor}");
        assert_eq!(rule["annotations"]["runbook_url"], *link);
        assert!(
            runbooks.contains(&format!("\n## {alert}\n")),
            "{alert} has no place in runbooks.md"
        );
        let severity = rule["labels"]["severity"].as_str().unwrap();
        let row = format!("\n| [{alert}](#{anchor}) | {severity} | ");
        assert!(runbooks.contains(&row), "runbooks.md lacks {row:?}");
    }
    assert_eq!(runbooks.matches("\n## VpnOperator").count(), rules.len());
}

fn names_of(rules: &[Value]) -> Vec<&str> {
    rules.iter().map(|rule| rule["alert"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn alerts_can_be_disabled_and_labeled() {
    let rules = rules(&[
        "metrics.prometheusRule.disabled={VpnOperatorDriftLeft}",
        "metrics.prometheusRule.alertLabels.team=net",
    ])
    .await;
    let rules = rules["groups"][0]["rules"].as_array().unwrap();
    assert!(rules.iter().all(|rule| rule["labels"]["team"] == "net"));
    assert!(rules.iter().all(|rule| rule["alert"] != "VpnOperatorDriftLeft"));
    let all = names_of(rules).join(",");
    let (first, others) = all.split_once(',').unwrap();
    let only_one = self::rules(&[&format!(
        "metrics.prometheusRule.disabled={{{others},VpnOperatorDriftLeft}}"
    )])
    .await;
    assert_eq!(names_of(only_one["groups"][0]["rules"].as_array().unwrap()), [first]);
    let refused = render(&["metrics.prometheusRule.disabled={Unheard}"])
        .await
        .unwrap_err();
    assert!(refused.contains("/metrics/prometheusRule/disabled"), "{refused}");
}

const POD: &str = r#"namespace="somewhere",pod="vpn-operator-7c9d8b6f5-x2x4z""#;
const FOLLOWER: &str = r#"namespace="somewhere",pod="vpn-operator-7c9d8b6f5-aaaaa""#;

/// The watch of one namespace.
fn watch(pod: &str) -> String {
    format!("vpn_operator_watch_up{{{pod},kind=\"VpnUser\",exported_namespace=\"team-a\"}}")
}

/// The series of a healthy release.
fn healthy() -> Vec<Series> {
    vec![
        (format!("vpn_operator_build_info{{{POD},version=\"1\"}}"), "1x150"),
        (format!("vpn_operator_leader{{{POD}}}"), "1x150"),
        (format!("vpn_operator_leader{{{FOLLOWER}}}"), "0x150"),
        (
            format!("vpn_operator_objects{{{POD},kind=\"VpnUser\",reason=\"Available\"}}"),
            "7x150",
        ),
        (
            format!("vpn_operator_drifted_objects{{{POD},kind=\"VpnUser\"}}"),
            "0x150",
        ),
        (
            format!("vpn_operator_crd_missing_fields{{{POD},kind=\"VpnUser\"}}"),
            "0x150",
        ),
        (watch(POD), "1x150"),
        (watch(FOLLOWER), "1x150"),
        (
            format!("vpn_operator_mirror_lists_total{{{POD},collection=\"vpn-users\",outcome=\"ok\"}}"),
            "0+1x150",
        ),
        (
            format!("vpn_operator_mirror_lists_total{{{POD},collection=\"vpn-users\",outcome=\"error\"}}"),
            "0+1x150",
        ),
        (
            format!("vpn_operator_credential_healthy{{{POD},credential=\"default\"}}"),
            "1x150",
        ),
        (
            format!("vpn_operator_credential_healthy{{{POD},credential=\"team-a/cloud\"}}"),
            "1x150",
        ),
        (
            format!("vpn_operator_reconciles_total{{{POD},kind=\"VpnUser\",outcome=\"ok\"}}"),
            "0+3x150",
        ),
        (
            format!("vpn_operator_reconciles_total{{{POD},kind=\"VpnUser\",outcome=\"error\"}}"),
            "5x150",
        ),
    ]
}

/// Returns the alerts that fire within two and a half hours, with these series replacing or joining the healthy ones.
async fn firing(changed: &[Series]) -> Vec<Alarm> {
    let mut series: BTreeMap<String, &str> = healthy().into_iter().collect();
    series.extend(changed.iter().map(|(name, values)| (name.clone(), *values)));
    let lines = series.iter().filter(|(_, values)| !values.is_empty());
    let loaded = lines.fold(String::new(), |loaded, (name, values)| {
        format!("{loaded}  {name} {values}\n")
    });
    let question = json!({
        "rules": rules(&[]).await.to_string(), "series": format!("load 1m\n{loaded}"), "minutes": 150,
    });
    judge("firing", &question.to_string()).await.unwrap()
}

#[tokio::test]
async fn no_alert_fires_for_a_healthy_operator() {
    let alarms = firing(&[]).await;
    let names: Vec<_> = alarms.iter().map(|alarm| alarm.alert.as_str()).collect();
    assert!(names.is_empty(), "{names:?}");
}

#[tokio::test]
async fn each_alert_fires_alone_in_its_condition() {
    let objects = |reason: &str| format!("vpn_operator_objects{{{POD},kind=\"VpnUser\",reason=\"{reason}\"}}");
    let leader = |pod: &str| format!("vpn_operator_leader{{{pod}}}");
    let lists = |outcome: &str| {
        format!("vpn_operator_mirror_lists_total{{{POD},collection=\"vpn-users\",outcome=\"{outcome}\"}}")
    };
    let build = format!("vpn_operator_build_info{{{POD},version=\"1\"}}");
    let refused = format!("vpn_operator_reconciles_total{{{POD},kind=\"VpnUser\",outcome=\"error\"}}");
    let drifted = format!("vpn_operator_drifted_objects{{{POD},kind=\"VpnUser\"}}");
    let crd = format!("vpn_operator_crd_missing_fields{{{POD},kind=\"VpnUser\"}}");
    let healthy = |credential: &str| format!("vpn_operator_credential_healthy{{{POD},credential=\"{credential}\"}}");
    // The minute at which the condition has lasted long enough; one that starts at minute 0 is seen at once.
    let cases: Vec<(&str, u32, Vec<Series>)> = vec![
        ("VpnOperatorAbsent", 10, vec![(build, "")]),
        ("VpnOperatorNoLeader", 5, vec![(leader(POD), "0x150")]),
        ("VpnOperatorSeveralLeaders", 10, vec![(leader(FOLLOWER), "1x150")]),
        (
            "VpnOperatorCredentialsRefused",
            5,
            vec![(objects("Unauthorized"), "2x150")],
        ),
        (
            "VpnOperatorDefaultCredentialsFailing",
            5,
            vec![(healthy("default"), "0x150")],
        ),
        (
            "VpnOperatorTenantCredentialsFailing",
            15,
            vec![(healthy("team-a/cloud"), "0x150")],
        ),
        (
            "VpnOperatorMassDeletionSuspected",
            1,
            vec![(objects("MassDeletionSuspected"), "12x150")],
        ),
        (
            "VpnOperatorObjectsStalled",
            15,
            vec![(objects("NameConflict"), "1x150")],
        ),
        (
            "VpnOperatorObjectsUnfinished",
            60,
            vec![(objects("SecretNotFound"), "1x150")],
        ),
        ("VpnOperatorCloudFailing", 15, vec![(objects("CloudError"), "3x150")]),
        ("VpnOperatorReconcilesFailing", 16, vec![(refused, "0+1x150")]),
        ("VpnOperatorDriftNotSeen", 16, vec![(lists("ok"), "3x150")]),
        ("VpnOperatorDriftLeft", 60, vec![(drifted, "1x150")]),
        ("VpnOperatorCrdOutdated", 15, vec![(crd, "2x150")]),
        ("VpnOperatorWatchDown", 10, vec![(watch(FOLLOWER), "0x150")]),
    ];
    let whole = rules(&[]).await;
    let count = whole["groups"][0]["rules"].as_array().unwrap().len();
    assert_eq!(cases.len(), count, "every alert is tried");
    for (alert, minute, changed) in cases {
        let alarms = firing(&changed).await;
        let fired: Vec<_> = alarms
            .iter()
            .map(|alarm| (alarm.alert.as_str(), alarm.minute))
            .collect();
        assert_eq!(fired, [(alert, minute)]);
        let alarm = &alarms[0];
        assert!(["critical", "warning"].contains(&alarm.labels["severity"].as_str()));
        let printed = &alarm.annotations["description"];
        assert!(!printed.contains("{{") && !printed.contains("<error"), "{printed}");
        let severity = match alert {
            "VpnOperatorDefaultCredentialsFailing" => Some("critical"),
            "VpnOperatorTenantCredentialsFailing" => {
                assert!(printed.contains("team-a/cloud"), "{printed}");
                Some("warning")
            }
            "VpnOperatorWatchDown" => {
                assert!(
                    printed.contains("The watch of VpnUser in namespace team-a is down"),
                    "{printed}"
                );
                Some("warning")
            }
            _ => None,
        };
        assert!(
            severity.is_none_or(|severity| alarm.labels["severity"] == severity),
            "{alert}"
        );
    }
}

#[tokio::test]
async fn short_conditions_fire_no_alert() {
    let objects = |reason: &str| format!("vpn_operator_objects{{{POD},kind=\"VpnUser\",reason=\"{reason}\"}}");
    let alarms = firing(&[
        (objects("CloudError"), "1x10 0x140"),
        (objects("Creating"), "40x50 0x100"),
        (objects("NotFound"), "1x10 0x140"),
        (format!("vpn_operator_leader{{{POD}}}"), "0x3 1x147"),
        (watch(POD), "0x5 1x145"),
    ])
    .await;
    let names: Vec<_> = alarms.iter().map(|alarm| alarm.alert.as_str()).collect();
    assert!(names.is_empty(), "{names:?}");
}

#[tokio::test]
async fn the_dashboard_has_its_label_and_shows_every_alert_metric() {
    let objects = render(&[
        "metrics.dashboard.enabled=true",
        "metrics.dashboard.annotations.grafana_folder=Network",
    ])
    .await
    .unwrap();
    let map = of_kind(&objects, "ConfigMap")[0];
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    assert_eq!(map["metadata"]["annotations"]["grafana_folder"], "Network");
    let dashboard = dashboard().await;
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        assert!(!panel["title"].as_str().unwrap().is_empty());
    }
    let shown = expressions(&dashboard).concat();
    let rules: Vec<Rule> = judge("rules", &rules(&[]).await.to_string()).await.unwrap();
    for it in rules.iter().flat_map(|rule| &rule.uses) {
        assert!(shown.contains(&it.metric), "{}", it.metric);
    }
}
