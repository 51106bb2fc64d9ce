//! Helm refuses a value that the operator would refuse at start, names it, and refuses no other.

use std::collections::BTreeSet;
use std::path::Path;

use clap::{CommandFactory as _, Parser as _};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use vpn_operator::settings::{Cli, Command, validate};

use crate::chart::options::render_with;
use crate::chart::release::CHART;
use crate::chart::rendering::arguments;

/// The pod's own namespace, and a file whose content Helm does not see.
const FLAGS_WITHOUT_VALUE: [&str; 2] = ["--leader-elect-resource-namespace", "--ca-file"];
/// Values that the template of the flags reads, but that no flag repeats.
const VALUES_WITHOUT_FLAG: [&str; 3] = ["ca", "extraArgs", "simulator"];
const PARALLEL: usize = 4;

/// A value with its flag, and settings of both.
struct Rule {
    value: &'static str,
    flag: &'static str,
    good: Vec<Setting>,
    bad: Vec<Setting>,
}

/// One setting, for Helm and for the operator.
#[derive(Clone)]
struct Setting {
    values: Value,
    flags: Vec<String>,
}

impl Rule {
    fn new(value: &'static str, flag: &'static str) -> Self {
        Self {
            value,
            flag,
            good: Vec::new(),
            bad: Vec::new(),
        }
    }

    fn good<V: Into<Value>>(mut self, settings: impl IntoIterator<Item = V>) -> Self {
        let settings = settings.into_iter().map(|setting| self.setting(setting, &[]));
        self.good = self.good.iter().cloned().chain(settings).collect();
        self
    }

    fn bad<V: Into<Value>>(mut self, settings: impl IntoIterator<Item = V>) -> Self {
        let settings = settings.into_iter().map(|setting| self.setting(setting, &[]));
        self.bad = self.bad.iter().cloned().chain(settings).collect();
        self
    }

    /// Good together with other values, which lead to these flags.
    fn good_with(mut self, setting: impl Into<Value>, others: &[(Value, &[&str])]) -> Self {
        self.good.push(self.setting(setting, others));
        self
    }

    fn bad_with(mut self, setting: impl Into<Value>, others: &[(Value, &[&str])]) -> Self {
        self.bad.push(self.setting(setting, others));
        self
    }

    /// As the chart renders it: a list repeats the flag.
    fn setting(&self, setting: impl Into<Value>, others: &[(Value, &[&str])]) -> Setting {
        let setting = setting.into();
        let flag = |item: &Value| {
            let text = item.as_str().map_or_else(|| item.to_string(), str::to_owned);
            match self.value {
                "port" => format!("{}=[::]:{text}", self.flag),
                // The name of the test's release.
                "nameOverride" => format!("{}=vpn-operator-{text}", self.flag),
                "allowInsecureEndpoints" if text == "true" => self.flag.to_owned(),
                _ => format!("{}={text}", self.flag),
            }
        };
        let mut flags: Vec<String> = match &setting {
            Value::Array(items) => items.iter().map(flag).collect(),
            // Not rendered.
            Value::Bool(false) if self.value == "allowInsecureEndpoints" => Vec::new(),
            item => vec![flag(item)],
        };
        let mut values = json!({self.value: setting});
        for (other, other_flags) in others {
            for (name, other) in other.as_object().unwrap() {
                values[name] = other.clone();
            }
            flags.extend(other_flags.iter().map(|flag| (*flag).to_owned()));
        }
        Setting { values, flags }
    }
}

fn rules() -> Vec<Rule> {
    let mut rules = vec![
        Rule::new("cloud", "--cloud").good(["huawei", "otc"]).bad(["aws", ""]),
        Rule::new("region", "--region")
            .good(["eu-west-101", "a", &"a".repeat(63)])
            .bad(["EU-West", "a.b", "-eu", "eu-", &"a".repeat(64)]),
        Rule::new("projectID", "--project-id")
            .good(["0605767a5b0b3f5c2f3dc0123456789a", "A-1", &"a".repeat(64)])
            .bad(["a/b", "..", &"a".repeat(65)]),
        endpoint("vpnEndpoint", "--vpn-endpoint"),
        endpoint("iamEndpoint", "--iam-endpoint"),
        switch("allowInsecureEndpoints", "--allow-insecure-endpoints").good([true, false]),
        allowed_endpoints(),
        endpoint_aliases(),
        namespaces("defaultCredentialsNamespaces", "--default-credentials-namespace"),
        namespaces("watchNamespaces", "--watch-namespace"),
        selector(),
        Rule::new("clusterName", "--cluster-name")
            .good(["prod-1", "-", &"a".repeat(32)])
            .bad(["Prod", "a:b", "a.b", &"a".repeat(33)]),
        Rule::new("ownerTagKey", "--owner-tag-key")
            .good(["corp:owner", "dueño", "a b", "a+b=c@d.e-f_g", "_sys", &"ñ".repeat(128)])
            .bad(["", "_sys_x", "a/b", "a\tb", " a", "a ", &"k".repeat(129)]),
        Rule::new("defaultDeletionPolicy", "--default-deletion-policy")
            .good(["Delete", "Retain"])
            .bad(["Keep"]),
        switch("massDeletionGuard", "--mass-deletion-guard").good([true, false]),
        switch("readOnly", "--read-only").good([true, false]),
        Rule::new("maxRequestsPerSecond", "--max-requests-per-second")
            .good([1_u64, 4_294_967_295])
            .bad([json!(0), json!(-1), json!(4_294_967_296_u64), json!(1.5), json!("fast")]),
        switch("leaderElect", "--leader-elect")
            .good([true])
            .good_with(false, &[(json!({"replicaCount": 1}), &[])]),
        Rule::new("port", "--bind-address")
            .good([1, 65535])
            .bad([json!(65536), json!(-1), json!("http")]),
        Rule::new("logFormat", "--log-format")
            .good(["text", "json"])
            .bad(["xml"]),
        log_level(),
    ];
    rules.extend(durations());
    rules.extend(["fullnameOverride", "nameOverride"].map(|value| {
        Rule::new(value, "--leader-elect-resource-name")
            .good(["shard-a", "0"])
            .bad(["Shard", "a_b", "a b", "é"])
    }));
    rules
}

fn switch(value: &'static str, flag: &'static str) -> Rule {
    Rule::new(value, flag).bad([json!("maybe"), json!(2)])
}

const INSECURE: &str = "http://127.0.0.1:8180";
const ALLOW_INSECURE: &str = "--allow-insecure-endpoints";

fn endpoint(value: &'static str, flag: &'static str) -> Rule {
    let overridden = format!("{flag}=https://vpn.example.com");
    let with_host = |length: usize| format!("https://{}", "a".repeat(length));
    Rule::new(value, flag)
        .good([
            "https://vpn.example.com",
            "https://vpn.example.com/",
            "https://VPN.example.com:8443 ",
            "https://vpn.example.com:65535//",
            "https://[2001:db8::1]:443",
            "https://255.0.2.100:443",
            "https://@vpn.example.com",
            "https:///%76pn.example.com",
        ])
        .good_with(
            INSECURE,
            &[(json!({"allowInsecureEndpoints": true}), &[ALLOW_INSECURE])],
        )
        .good_with(INSECURE, &[(json!({"extraArgs": [ALLOW_INSECURE]}), &[ALLOW_INSECURE])])
        .good_with(INSECURE, &[(json!({"extraArgs": [overridden]}), &[&overridden])])
        .bad([
            INSECURE,
            "vpn.example.com",
            "ftp://vpn.example.com",
            "https://vpn.example.com/v5",
            "https://vpn.example.com?a=b",
            "https://vpn.example.com#a",
            "https://me:hunter2@vpn.example.com",
            "https://me@vpn.example.com",
            "https://vpn.example.com:65536",
            "https://vpn.example.com:port",
            "https://a b.example.com",
            "https://%vpn.example.com",
            "https://10.0.0.256:8443",
            "https://",
            &with_host(300),
        ])
}

fn allowed_endpoints() -> Rule {
    Rule::new("allowedEndpoints", "--allowed-endpoint")
        .good([
            json!(["https://a.example.com", "https://b.example.com:8443/"]),
            json!(["https://a.example.com,https://b.example.com"]),
        ])
        .good_with(
            json!([INSECURE]),
            &[(json!({"allowInsecureEndpoints": true}), &[ALLOW_INSECURE])],
        )
        .bad([
            json!([INSECURE]),
            json!(["https://a.example.com", "https://b.example.com/v5"]),
            json!(["https://a.example.com,bad"]),
            json!(["https://a.example.com,"]),
        ])
}

fn endpoint_aliases() -> Rule {
    Rule::new("endpointAliases", "--endpoint-alias")
        .good([
            json!(["https://a.example.com=https://b.example.com"]),
            json!(["https://a.example.com=https://b.example.com,https://c.example.com=https://d.example.com"]),
            // Two new names of one endpoint, and a pair twice in other words.
            json!([
                "https://a.example.com=https://b.example.com",
                "https://a.example.com=https://c.example.com",
                "https://A.example.com:443/=https://b.example.com"
            ]),
        ])
        .bad([
            json!(["https://a.example.com"]),
            json!(["https://a.example.com=b"]),
            json!(["https://a.example.com=https://b.example.com,https://c.example.com"]),
            json!(["https://a.example.com=https://b.example.com/v5"]),
            json!(["http://a.example.com=https://b.example.com"]),
            json!(["https://a.example.com=https://A.example.com:443/"]),
            json!([
                "https://a.example.com=https://c.example.com",
                "https://b.example.com=https://c.example.com"
            ]),
            json!([
                "https://a.example.com=https://b.example.com",
                "https://b.example.com=https://c.example.com"
            ]),
        ])
}

fn namespaces(value: &'static str, flag: &'static str) -> Rule {
    Rule::new(value, flag)
        .good([json!(["one", "two"]), json!(["a".repeat(63)])])
        .bad([
            json!(["Net"]),
            json!(["net", "a.b"]),
            json!(["-a"]),
            json!([""]),
            json!(["a".repeat(64)]),
        ])
}

fn selector() -> Rule {
    let longest = format!("example.com/{}={}", "a".repeat(63), "b".repeat(63));
    Rule::new("watchSelector", "--watch-selector")
        // What the program's own test accepts.
        .good(include_str!("../../fixtures/label-selectors.txt").lines())
        .good([longest.as_str()])
        .bad([
            "==",
            " ",
            "a=1,,b=2",
            "a=1,",
            "-a=1",
            "=1",
            "a/b/c=1",
            "Ex_ample/x",
            "a=b c",
            "a=b=c",
            "!a=b",
            "a in (b",
            "a in b",
            "a within (b)",
            "a b",
            "a in (b)c",
            &"a".repeat(64),
        ])
}

fn durations() -> [Rule; 4] {
    let confirmation_period = "--creation-confirmation-period=30s";
    let lease = |text: &'static str| -> (Value, [String; 1]) {
        (
            json!({"leaseDuration": text}),
            [format!("--leader-elect-lease-duration={text}")],
        )
    };
    let alone: (Value, &[&str]) = (
        json!({"leaderElect": false, "replicaCount": 1}),
        &["--leader-elect=false"],
    );
    let short: (Value, &[&str]) = (json!({"requestTimeout": "1s"}), &["--request-timeout=1s"]);
    let mut timeout = Rule::new("requestTimeout", "--request-timeout")
        .good([
            "15s",
            "100ms",
            "15000 millis",
            "14s 999ms 1000us",
            "14.999999999s",
            "0.1s",
        ])
        .good_with("5min", std::slice::from_ref(&alone))
        .good_with(
            "20s",
            &[(
                json!({"extraArgs": ["--leader-elect-lease-duration=1m"]}),
                &["--leader-elect-lease-duration=1m"],
            )],
        )
        .good_with(
            "1h",
            &[(
                json!({"extraArgs": ["--request-timeout=1s"]}),
                &["--request-timeout=1s"],
            )],
        )
        .bad(["15001ms", "15.000000001s", "20s", "0", "99ms", "5", "soon"])
        .bad_with("301s", std::slice::from_ref(&alone));
    for (good, bad, text) in [
        ("45s", "45001ms", "1m30s"),
        ("2500ms", "3s", "5s"),
        ("2m 500ms", "2m 501ms", "4 minutes 1sec"),
        ("5m", "6m", "1h"),
    ] {
        let (values, flags) = lease(text);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let others = [(values, &flags[..])];
        timeout = timeout.good_with(good, &others).bad_with(bad, &others);
    }
    [
        Rule::new("resyncPeriod", "--resync-period")
            .good([json!(0), json!("0"), json!("0s"), json!("1s"), json!("1000ms")])
            .good([
                "1 day",
                "2weeks",
                "1M",
                "1.25y 2months 3d 4.5hrs 5.123456789mins 6secs",
                "1000.25ms",
            ])
            .good_with(
                "10ms",
                &[(json!({"extraArgs": ["--resync-period=1m"]}), &["--resync-period=1m"])],
            )
            .bad([
                json!(5),
                json!("5"),
                json!(-1),
                json!("-5m"),
                json!("often"),
                json!("5x"),
            ])
            .bad(["10ms", "999999us", "999 msec 999 µs 999nanos"]),
        Rule::new("creationConfirmationPeriod", "--creation-confirmation-period")
            .good(["1s", "1h", "59min 60sec", "999999us 1000nsec", " 30s "])
            .good_with(
                "0",
                &[(json!({"extraArgs": [confirmation_period]}), &[confirmation_period])],
            )
            .bad([
                json!("0"),
                json!(0),
                json!("999ms"),
                json!("2h"),
                json!("1h1ns"),
                json!("1d"),
            ]),
        timeout,
        Rule::new("leaseDuration", "--leader-elect-lease-duration")
            .good(["1h", "1m30s", "90sec", "29s 1000ms"])
            .good_with("5s", std::slice::from_ref(&short))
            .good_with("1s", std::slice::from_ref(&alone))
            .good_with(
                "1s",
                &[(
                    json!({"extraArgs": ["--leader-elect=false"]}),
                    &["--leader-elect=false"],
                )],
            )
            .bad(["3s", "0", "2h", "1h1s", "30s500ms", "30.5s", "30s1ns"])
            .bad_with("4s", std::slice::from_ref(&short))
            .bad_with("4999ms", std::slice::from_ref(&short)),
    ]
}

fn log_level() -> Rule {
    Rule::new("logLevel", "--log-level")
        .good([
            "info",
            "DEBUG",
            "5",
            "off",
            "info,vpn_operator=trace",
            "vpn_cloud=Debug, warn",
            "info,",
            "vpn_operator=",
            "info,[reconcile]=debug",
            "vpn_operator[reconcile{name=office}]=trace",
            "vpn_operator,[reconcile]",
        ])
        .bad([
            "info;foo",
            "loud",
            "info,warning",
            "6",
            "vpn_operator=shouting",
            "a=b=c",
            "=info",
            "info, vpn_operator=debug",
            "[reconcile",
            "vpn_operator[reconcile=",
            "info,[reconcile]=loud",
        ])
}

/// What the operator says of these flags.
fn operator_validates(flags: &[String]) -> Result<(), String> {
    let namespace = "--leader-elect-resource-namespace=somewhere".to_owned();
    let arguments = ["vpn-operator".to_owned()].into_iter().chain(flags.iter().cloned());
    let cli = Cli::try_parse_from(arguments.chain([namespace])).map_err(|error| error.to_string())?;
    let Command::Run(run) = cli.command else {
        return Err("not run".to_owned());
    };
    let settings = validate(*run, |path| Err(std::io::Error::other(path.display().to_string())));
    settings.map(|_| ()).map_err(|error| error.to_string())
}

/// The problems of settings, rendered a few at a time.
async fn problems<'a, F: Future<Output = Option<String>> + 'a>(checks: impl Iterator<Item = F>) -> Vec<String> {
    let checks = stream::iter(checks).buffer_unordered(PARALLEL);
    checks.filter_map(std::future::ready).collect().await
}

#[tokio::test]
async fn helm_and_the_operator_accept_the_same_values() {
    let rules = rules();
    let settings = rules.iter().flat_map(|rule| &rule.good);
    let checks = settings.map(async |Setting { values, flags }: &Setting| {
        let rendered = match render_with(values).await {
            Ok(objects) => arguments(&objects),
            Err(refused) => return Some(format!("{values}: Helm refuses it: {refused}")),
        };
        if let Some(missing) = flags.iter().find(|flag| !rendered.contains(flag)) {
            return Some(format!("{values}: {missing} is not among {rendered:?}"));
        }
        let refused = operator_validates(&rendered).err()?;
        Some(format!("{values}: the operator refuses it: {refused}"))
    });
    let problems = problems(checks).await;
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[tokio::test]
async fn helm_and_the_operator_refuse_the_same_values_by_name() {
    let defaults = arguments(&render_with(&json!({})).await.unwrap());
    let rules = rules();
    let settings = rules
        .iter()
        .flat_map(|rule| rule.bad.iter().map(move |setting| (rule, setting)));
    let defaults = &defaults;
    let checks = settings.map(async |(rule, Setting { values, flags }): (&Rule, &Setting)| {
        let Err(refused) = render_with(values).await else {
            return Some(format!("{values}: Helm accepts it"));
        };
        let names = [
            format!("'/{}'", rule.value),
            format!("'/{}/", rule.value),
            format!(": {}: ", rule.value),
        ];
        if !names.iter().any(|name| refused.contains(name)) {
            return Some(format!("{values}: Helm does not name {}: {refused}", rule.value));
        }
        match operator_validates(&[&defaults[..], flags].concat()) {
            Ok(()) => Some(format!("{values}: the operator accepts {flags:?}")),
            Err(refused) if !refused.contains(rule.flag) => {
                Some(format!("{values}: the operator does not name {}: {refused}", rule.flag))
            }
            Err(_) => None,
        }
    });
    let problems = problems(checks).await;
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Helm removes a value that is null, and with it the default.
#[tokio::test]
async fn helm_refuses_null_or_omits_the_flag() {
    let rules = rules();
    let checks = rules.iter().map(async |rule: &Rule| {
        let problem = match render_with(&json!({rule.value: null})).await {
            Ok(objects) => operator_validates(&arguments(&objects)).err()?,
            Err(refused) if refused.contains(&format!("'{}'", rule.value)) => return None,
            Err(refused) => refused,
        };
        Some(format!("{}: {problem}", rule.value))
    });
    let problems = problems(checks).await;
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[tokio::test]
async fn helm_does_not_repeat_a_password_in_an_endpoint() {
    let endpoint = "https://me:hunter2@vpn.example.com";
    for values in [
        json!({"vpnEndpoint": endpoint}),
        json!({"allowedEndpoints": [endpoint]}),
        json!({"endpointAliases": [format!("{endpoint}={endpoint}")]}),
    ] {
        let refused = render_with(&values).await.unwrap_err();
        assert!(!refused.contains("hunter2"), "{refused}");
    }
}

/// Unknown to the chart, a `ConfigMap` or a Secret may allow it.
#[tokio::test]
async fn helm_accepts_insecure_endpoints_if_a_variable_may_allow_them() {
    for values in [
        json!({"extraEnv": [{"name": "VPN_OPERATOR_ALLOW_INSECURE_ENDPOINTS", "value": "true"}]}),
        json!({"extraEnvFrom": [{"configMapRef": {"name": "more"}}]}),
    ] {
        let mut values = values;
        values["vpnEndpoint"] = json!(INSECURE);
        render_with(&values).await.unwrap();
    }
}

#[test]
fn every_flag_has_a_valid_and_an_invalid_test_value() {
    let rules = rules();
    for rule in &rules {
        assert!(!rule.good.is_empty() && !rule.bad.is_empty(), "{}", rule.value);
    }
    let command = Cli::command();
    let flags: BTreeSet<String> = command
        .find_subcommand("run")
        .unwrap()
        .get_arguments()
        .filter_map(|argument| Some(format!("--{}", argument.get_long()?)))
        .filter(|flag| !FLAGS_WITHOUT_VALUE.contains(&flag.as_str()))
        .collect();
    let covered: BTreeSet<String> = rules.iter().map(|rule| rule.flag.to_owned()).collect();
    assert_eq!(flags, covered);
}

#[test]
fn every_value_rendered_as_a_flag_has_a_rule() {
    let template = std::fs::read_to_string(Path::new(CHART).join("templates/_run.tpl")).unwrap();
    let (_, flags) = template.split_once("{{- define \"vpn-operator.args\" -}}").unwrap();
    let (flags, _) = flags.split_once("{{- define ").unwrap();
    let is_of_name = |c: char| c.is_ascii_alphanumeric();
    let values: BTreeSet<&str> = flags
        .split(".Values.")
        .skip(1)
        .map(|rest| rest.split(|c| !is_of_name(c)).next().unwrap())
        .filter(|value| !VALUES_WITHOUT_FLAG.contains(value))
        .collect();
    let rules = rules();
    // The two that name the objects are read by another template.
    let covered: BTreeSet<&str> = rules
        .iter()
        .map(|rule| rule.value)
        .filter(|value| !value.ends_with("Override"))
        .collect();
    assert_eq!(values, covered);
}
